//! Words that are copied from a source: mixtures of what a model would write and of the source's tokens.

use super::Family;
use super::softmax::log_softmax;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// The copy mechanism of See, Liu and Manning (2017): the logarithm of `g softmax(logits) + (1 - g) copied`, where `copied` is the
/// attention of a position to the tokens of a source, `softmax(q k' / sqrt(d))` over the source's length, added up by
/// token, and `g = sigmoid(z)` is the share that is not copied. A softmax of the result is the result's exponential, so that losses and
/// searches treat it as logits. Where a source is empty, nothing is copied. A token of the source that is no token of
/// the logits gives NaN.
///
/// All read `(logits[b, t, v], query[b, t, d + 1], keys[b, s, d], tokens i32[b, s], lengths i32[b])`; the last value of a query is `z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copying {
    /// `-> y[b, t, v]`
    Mix,
    /// `(..., y, dy) -> dlogits`
    GradLogits,
    /// `(..., y, dy) -> dquery`
    GradQuery,
    /// `(..., y, dy) -> dkeys`
    GradKeys,
}

/// The gradients, in the order of their inputs.
pub const COPYING_GRADS: [Copying; 3] =
    [Copying::GradLogits, Copying::GradQuery, Copying::GradKeys];

/// The sizes of a mixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyShape {
    /// Samples.
    pub batch: usize,
    /// Room for positions that are written.
    pub time: usize,
    /// Tokens of the vocabulary.
    pub tokens: usize,
    /// Room for positions of the source.
    pub source: usize,
    /// Values of a query and a key.
    pub dim: usize,
}

impl CopyShape {
    /// Of the dims of logits and keys.
    pub fn new(logits: &[usize], keys: &[usize]) -> CopyShape {
        CopyShape {
            batch: logits[0],
            time: logits[1],
            tokens: logits[2],
            source: keys[1],
            dim: keys[2],
        }
    }
}

impl Family for Copying {
    fn name(&self) -> &'static str {
        match self {
            Copying::Mix => "copy",
            Copying::GradLogits => "copy_grad_logits",
            Copying::GradQuery => "copy_grad_query",
            Copying::GradKeys => "copy_grad_keys",
        }
    }

    fn inputs(&self) -> Inputs {
        const F: Input = Input::FLOAT;
        const ALL: &[Input] = &[F, F, F, Input::integer("tokens"), Input::integer("lengths"), F, F];
        Inputs::Each(if *self == Copying::Mix { &ALL[..5] } else { ALL })
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        let [batch, time, tokens] = dims.rank(0, "logits", "batch, time, tokens")?;
        let [_, source, dim] = dims.rank(2, "keys", "batch, time, values")?;
        dims.at_least_one("sizes", &[tokens, dim])?;
        dims.expect(1, "queries", &[batch, time, dim + 1])?;
        dims.expect(2, "keys", &[batch, source, dim])?;
        dims.expect(3, "tokens", &[batch, source])?;
        dims.expect(4, "lengths", &[batch])?;
        let like = match self {
            Copying::Mix => return Ok(dims.of(0).to_vec()),
            Copying::GradLogits => 0,
            Copying::GradQuery => 1,
            Copying::GradKeys => 2,
        };
        dims.expect(5, "y", dims.of(0))?;
        dims.expect(6, "dy", dims.of(0))?;
        Ok(dims.of(like).to_vec())
    }

    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        if *self != Copying::Mix {
            return back.no_second_derivative(node);
        }
        let inputs = [&node.x[..], &[node.y, node.dy]].concat();
        for (i, gradient) in COPYING_GRADS.into_iter().enumerate() {
            if back.needs(node, i) {
                let dx = back.apply(gradient, &inputs)?;
                back.give(node, i, dx)?;
            }
        }
        Ok(())
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let shape = CopyShape::new(args.dims(0), args.dims(2));
        let naive = Naive {
            shape,
            logits: args.floats(0),
            query: args.floats(1),
            keys: args.floats(2),
            ids: args.ints(3),
            lengths: args.ints(4),
        };
        let mut out = args.zeros();
        match self {
            Copying::Mix => naive.forward(&mut out),
            _ => naive.backward(args.floats(6), *self, &mut out),
        }
        Ok(out.into())
    }
}

/// The reference.
struct Naive<'a, T> {
    shape: CopyShape,
    logits: &'a [T],
    query: &'a [T],
    keys: &'a [T],
    ids: &'a [i32],
    lengths: &'a [i32],
}

/// What a position's mixture is made of.
struct Row<T> {
    /// `softmax(logits)`
    written: Vec<T>,
    /// The attention to each position of the source.
    attention: Vec<T>,
    /// The same, by token.
    copied: Vec<T>,
    /// The share that is not copied.
    share: T,
}

impl<T: Real> Naive<'_, T> {
    /// The source of a sample: how long it is, and whether all of it are tokens of the logits.
    fn source(&self, b: usize) -> (&[i32], bool) {
        let CopyShape { source, tokens, .. } = self.shape;
        let length = (self.lengths[b].max(0) as usize).min(source);
        let ids = &self.ids[b * source..][..length];
        (ids, ids.iter().all(|&id| usize::try_from(id).is_ok_and(|id| id < tokens)))
    }

    fn row(&self, b: usize, t: usize) -> Row<T> {
        let CopyShape { time, tokens, source, dim, .. } = self.shape;
        let at = b * time + t;
        let softmax = |x: &[T]| log_softmax(x).into_iter().map(T::exp).collect::<Vec<T>>();
        let written = softmax(&self.logits[at * tokens..][..tokens]);
        let query = &self.query[at * (dim + 1)..][..dim + 1];
        let ids = self.source(b).0;
        let scale = T::of(1.0 / (dim as f32).sqrt());
        let score = |j: usize| {
            let key = &self.keys[(b * source + j) * dim..][..dim];
            scale * query.iter().zip(key).map(|(&q, &k)| q * k).sum::<T>()
        };
        let scores: Vec<T> = (0..ids.len()).map(score).collect();
        let attention = if ids.is_empty() { vec![] } else { softmax(&scores) };
        let mut copied = vec![T::ZERO; tokens];
        for (&id, &a) in ids.iter().zip(&attention) {
            copied[id as usize] += a;
        }
        let share =
            if ids.is_empty() { T::ONE } else { T::ONE / (T::ONE + (T::ZERO - query[dim]).exp()) };
        Row { written, attention, copied, share }
    }

    fn each(&self, out: &mut [T], width: usize, mut f: impl FnMut(usize, usize, &mut [T])) {
        for (at, out) in out.chunks_mut(width).enumerate() {
            let (b, t) = (at / self.shape.time, at % self.shape.time);
            match self.source(b).1 {
                true => f(b, t, out),
                false => out.fill(T::of(f32::NAN)),
            }
        }
    }

    fn forward(&self, y: &mut [T]) {
        self.each(y, self.shape.tokens, |b, t, y| {
            let row = self.row(b, t);
            for (y, (&w, &c)) in y.iter_mut().zip(row.written.iter().zip(&row.copied)) {
                *y = (row.share * w + (T::ONE - row.share) * c).ln();
            }
        });
    }

    fn backward(&self, dy: &[T], wanted: Copying, out: &mut [T]) {
        let CopyShape { batch, time, tokens, source, dim } = self.shape;
        let scale = T::of(1.0 / (dim as f32).sqrt());
        // Of the probabilities, not of their logarithms.
        let slopes = |b: usize, t: usize, row: &Row<T>| -> Vec<T> {
            let dy = &dy[(b * time + t) * tokens..][..tokens];
            let mixed = row.written.iter().zip(&row.copied);
            let mixed = mixed.map(|(&w, &c)| row.share * w + (T::ONE - row.share) * c);
            dy.iter().zip(mixed).map(|(&dy, p)| dy / p).collect()
        };
        // Of the scores.
        let of_scores = |b: usize, row: &Row<T>, dp: &[T]| -> Vec<T> {
            let da = |&id: &i32| (T::ONE - row.share) * dp[id as usize];
            let da: Vec<T> = self.source(b).0.iter().map(da).collect();
            let mean: T = da.iter().zip(&row.attention).map(|(&d, &a)| d * a).sum();
            da.iter().zip(&row.attention).map(|(&d, &a)| scale * a * (d - mean)).collect()
        };
        match wanted {
            Copying::Mix => {}
            Copying::GradLogits => self.each(out, tokens, |b, t, out| {
                let row = self.row(b, t);
                let dp = slopes(b, t, &row);
                let mean: T = dp.iter().zip(&row.written).map(|(&d, &w)| d * w).sum();
                for (out, (&w, &d)) in out.iter_mut().zip(row.written.iter().zip(&dp)) {
                    *out = row.share * w * (d - mean);
                }
            }),
            Copying::GradQuery => self.each(out, dim + 1, |b, t, out| {
                let row = self.row(b, t);
                if row.attention.is_empty() {
                    return;
                }
                let dp = slopes(b, t, &row);
                for (j, ds) in of_scores(b, &row, &dp).into_iter().enumerate() {
                    let key = &self.keys[(b * source + j) * dim..][..dim];
                    out.iter_mut().zip(key).for_each(|(out, &k)| *out += ds * k);
                }
                let both = row.written.iter().zip(&row.copied);
                let dg: T = dp.iter().zip(both).map(|(&d, (&w, &c))| d * (w - c)).sum();
                out[dim] = row.share * (T::ONE - row.share) * dg;
            }),
            Copying::GradKeys => {
                for b in 0..batch {
                    let out = &mut out[b * source * dim..][..source * dim];
                    if !self.source(b).1 {
                        out.fill(T::of(f32::NAN));
                        continue;
                    }
                    for t in 0..time {
                        let row = self.row(b, t);
                        let dp = slopes(b, t, &row);
                        let query = &self.query[(b * time + t) * (dim + 1)..][..dim];
                        let ds = of_scores(b, &row, &dp);
                        for (out, ds) in out.chunks_mut(dim).zip(ds) {
                            out.iter_mut().zip(query).for_each(|(out, &q)| *out += ds * q);
                        }
                    }
                }
            }
        }
    }
}
