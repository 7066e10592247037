//! Attention: each position of a sequence reads those of its own or another one.

use super::{Family, Relative};
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::random::DropoutMask;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// Most positions of a sequence that is attended to: a position is 20 bits of a random number's index.
const MAX_TIME: usize = 1 << 20;

/// How heads attend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// Heads of the queries.
    pub queries: usize,
    /// Heads of the keys and values; each is read by `queries / keys` heads of the queries (Ainslie et
    /// al. 2023).
    pub keys: usize,
    /// Whether a query reads no later keys: query `i` of `m` reads the keys up to `n - m + i` of `n`.
    pub causal: bool,
    /// Probability that a query leaves out a key.
    pub dropout: f32,
    /// Number of the dropout within the model; separates their random streams.
    pub stream: u32,
    /// Ranges of distances with a bias each, for attention within a sequence.
    pub relative: Option<Relative>,
}

/// Scaled dot-product attention (Vaswani et al. 2017): `softmax(q k' / sqrt(d)) v` for each head of `d`
/// values, over the positions up to each sample's length. Positions beyond it are not read, and
/// what they give is 0. With dropout there is one more input, a `key` i32 `[4]`; which
/// keys are left out depends on it and on sample, head and positions, not on the room for positions.
///
/// With `relative` there is one more input after the lengths, `bias[buckets, queries]`: a value for each range of distances and
/// head of the queries, which is added to the scores, `softmax(q k' / sqrt(d) + bias)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attention {
    /// `(qkv[b, t, (queries + 2 keys) d], lengths[b]) -> y[b, t, queries d]`: of one sequence. A row has
    /// the heads of the queries, then of the keys, then of the values.
    Within(Heads),
    /// `(qkv, lengths, bias?, y, dy) -> dqkv`
    WithinGrad(Heads),
    /// `(qkv, lengths, bias, y, dy) -> dbias`
    WithinGradBias(Heads),
    /// `(q[b, t, queries d], kv[b, s, 2 keys d], lengths of q[b], lengths of kv[b]) -> y[b, t, queries d]`:
    /// of another sequence.
    Across(Heads),
    /// `(q, kv, lengths of q, lengths of kv, y, dy) -> dq`
    AcrossGradQueries(Heads),
    /// `(q, kv, lengths of q, lengths of kv, y, dy) -> dkv`
    AcrossGradKeys(Heads),
    /// `(qkv[b, t, (queries + 2 keys) d], cache[s, n, 2 keys d], table[b, t, s], lengths[b, t]) -> y[b, t, queries d]`: of
    /// sequences that grow by a position at a time. Each of the `b t` rows is the new position of a sequence of its own:
    /// it reads the positions `j` below its length, whose keys and values are `cache[j, table[.., j]]`, then itself. So
    /// several rows may share what they have in common. An entry of the table that is no row of the cache gives NaN.
    /// Neither causal nor dropout say anything here. Has no gradient: it is for prediction.
    Cached(Heads),
}

/// The shapes of one attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// How heads attend.
    pub heads: Heads,
    /// Samples.
    pub batch: usize,
    /// Room for positions of the queries.
    pub queries: usize,
    /// Room for positions of the keys.
    pub keys: usize,
    /// Values of a head.
    pub dim: usize,
}

impl AttentionShape {
    /// Of dims `[batch, time, ...]` of queries and keys.
    pub fn new(heads: Heads, queries: &[usize], keys: &[usize], dim: usize) -> AttentionShape {
        AttentionShape { heads, batch: queries[0], queries: queries[1], keys: keys[1], dim }
    }

    /// Floating-point operations of one product of all queries and keys, at full length.
    pub fn products(&self) -> usize {
        let seen: usize = (0..self.queries).map(|i| self.visible(i, self.queries, self.keys)).sum();
        2 * self.batch * self.heads.queries * self.dim * seen
    }

    /// How many keys query `i` reads, for sequences of these lengths.
    pub fn visible(&self, i: usize, queries: usize, keys: usize) -> usize {
        match self.heads.causal {
            true => (i + 1 + keys).saturating_sub(queries).min(keys),
            false => keys,
        }
    }
}

impl Attention {
    fn heads(&self) -> &Heads {
        let (Attention::Within(heads)
        | Attention::WithinGrad(heads)
        | Attention::WithinGradBias(heads)
        | Attention::Across(heads)
        | Attention::AcrossGradQueries(heads)
        | Attention::AcrossGradKeys(heads)
        | Attention::Cached(heads)) = self;
        heads
    }

    /// Whether the first input has queries, keys and values side by side.
    pub fn is_within(&self) -> bool {
        !matches!(
            self,
            Attention::Across(_) | Attention::AcrossGradQueries(_) | Attention::AcrossGradKeys(_)
        )
    }

    fn drops(&self) -> bool {
        self.heads().dropout > 0.0 && !matches!(self, Attention::Cached(_))
    }

    /// The shapes, from the dims of the first two inputs.
    pub fn sizes(&self, first: &[usize], second: &[usize]) -> AttentionShape {
        let heads = *self.heads();
        match self.is_within() {
            true => {
                let dim = first[2] / (heads.queries + 2 * heads.keys);
                AttentionShape::new(heads, first, first, dim)
            }
            false => AttentionShape::new(heads, first, second, first[2] / heads.queries),
        }
    }
}

const LENGTHS: Input = Input::integer("lengths");
const KEY: Input = Input::integer("a key");
const TABLE: Input = Input::integer("a table");

impl Family for Attention {
    fn name(&self) -> &'static str {
        match self {
            Attention::Within(_) => "attention",
            Attention::WithinGrad(_) => "attention_grad",
            Attention::WithinGradBias(_) => "attention_grad_bias",
            Attention::Across(_) => "cross_attention",
            Attention::AcrossGradQueries(_) => "cross_attention_grad_queries",
            Attention::AcrossGradKeys(_) => "cross_attention_grad_keys",
            Attention::Cached(_) => "cached_attention",
        }
    }

    fn inputs(&self) -> Inputs {
        const F: Input = Input::FLOAT;
        let relative = self.heads().relative.is_some();
        let inputs: &'static [Input] = match self {
            Attention::Within(_) if relative => &[F, LENGTHS, F, KEY],
            Attention::Within(_) => &[F, LENGTHS, KEY],
            Attention::WithinGrad(_) if !relative => &[F, LENGTHS, F, F, KEY],
            Attention::WithinGrad(_) | Attention::WithinGradBias(_) => &[F, LENGTHS, F, F, F, KEY],
            Attention::Across(_) => &[F, F, LENGTHS, LENGTHS, KEY],
            Attention::AcrossGradQueries(_) | Attention::AcrossGradKeys(_) => {
                &[F, F, LENGTHS, LENGTHS, F, F, KEY]
            }
            Attention::Cached(_) if relative => return Inputs::Each(&[F, F, TABLE, LENGTHS, F]),
            Attention::Cached(_) => return Inputs::Each(&[F, F, TABLE, LENGTHS]),
        };
        Inputs::Each(if self.drops() { inputs } else { &inputs[..inputs.len() - 1] })
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        let heads = self.heads();
        dims.at_least_one("heads", &[heads.queries, heads.keys])?;
        dims.check(heads.queries.is_multiple_of(heads.keys), || {
            format!("{} heads of keys do not divide {} of queries", heads.keys, heads.queries)
        })?;
        dims.check((0.0..1.0).contains(&heads.dropout), || {
            format!("dropout must be at least 0 and below 1, found {}", heads.dropout)
        })?;
        let of_bias = matches!(self, Attention::WithinGradBias(_));
        dims.check(heads.relative.is_some() || !of_bias, || "there is no bias".into())?;
        let causal = heads.causal || matches!(self, Attention::Cached(_));
        if let Some((what, must)) = heads.relative.and_then(|relative| relative.fault(causal)) {
            return Err(dims.error(format!("{what} must be {must}, found {:?}", heads.relative)));
        }
        let [batch, time, width] = dims.rank(0, "queries", "batch, time, heads x values")?;
        let parts = match self.is_within() {
            true => heads.queries + 2 * heads.keys,
            false => heads.queries,
        };
        dims.check(width.is_multiple_of(parts), || {
            format!("{width} values of a position are no whole number for each of {parts} heads")
        })?;
        dims.check(time <= MAX_TIME, || format!("at most {MAX_TIME} positions, found {time}"))?;
        let dim = width / parts;
        let y = [batch, time, heads.queries * dim];
        if let Attention::Cached(_) = self {
            let [positions, rows, _] = dims.rank(1, "a cache", "positions, rows, values")?;
            dims.expect(1, "a cache", &[positions, rows, 2 * heads.keys * dim])?;
            dims.check(positions < MAX_TIME, || format!("at most {MAX_TIME} positions"))?;
            dims.expect(2, "a table", &[batch, time, positions])?;
            dims.expect(3, "lengths", &[batch, time])?;
            self.expect_bias(dims, 4)?;
            return Ok(y.to_vec());
        }
        let last = dims.len() - 1;
        if self.drops() {
            dims.expect(last, "a key", &[4])?;
        }
        if self.is_within() {
            dims.expect(1, "lengths", &[batch])?;
            self.expect_bias(dims, 2)?;
        } else {
            dims.check(heads.relative.is_none(), || {
                "positions of two sequences have no distance".into()
            })?;
            let [_, keys, _] = dims.rank(1, "keys", "batch, time, heads x values")?;
            dims.expect(1, "keys and values", &[batch, keys, 2 * heads.keys * dim])?;
            dims.check(keys <= MAX_TIME, || format!("at most {MAX_TIME} positions, found {keys}"))?;
            dims.expect(2, "lengths of queries", &[batch])?;
            dims.expect(3, "lengths of keys", &[batch])?;
        }
        let of_y = |first: usize| {
            dims.expect(first, "y", &y)?;
            dims.expect(first + 1, "dy", &y)
        };
        match self {
            Attention::Within(_) | Attention::Across(_) | Attention::Cached(_) => {
                return Ok(y.to_vec());
            }
            Attention::WithinGrad(_) | Attention::WithinGradBias(_) => {
                of_y(2 + usize::from(heads.relative.is_some()))?;
            }
            Attention::AcrossGradQueries(_) | Attention::AcrossGradKeys(_) => of_y(4)?,
        }
        Ok(dims.of(self.like()).to_vec())
    }

    /// With `p = softmax(s)` and `dp = dy v'`: `ds = p (dp - sum(p dp))`, `dq = ds k / sqrt(d)`,
    /// `dk = ds' q / sqrt(d)`, `dv = p' dy`; the gradient of a bias is the sum of `ds` where it was
    /// added. Saves the inputs and y; `sum(p dp) = sum(y dy)`.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        let (count, gradients): (usize, &[Attention]) = match *self {
            Attention::Within(heads) if heads.relative.is_some() => {
                (3, &[Attention::WithinGrad(heads), Attention::WithinGradBias(heads)])
            }
            Attention::Within(heads) => (2, &[Attention::WithinGrad(heads)]),
            Attention::Across(heads) => {
                (4, &[Attention::AcrossGradQueries(heads), Attention::AcrossGradKeys(heads)])
            }
            Attention::Cached(_) => {
                return Err(back.no_gradient(node, "cached attention is for prediction alone"));
            }
            _ => return back.no_second_derivative(node),
        };
        let (given, key) = node.x.split_at(count);
        let inputs = [given, &[node.y, node.dy], key].concat();
        for &gradient in gradients {
            let i = gradient.like();
            if back.needs(node, i) {
                let dx = back.apply(gradient, &inputs)?;
                back.give(node, i, dx)?;
            }
        }
        Ok(())
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let heads = self.heads();
        if let Attention::Cached(heads) = self {
            return Ok(cached(heads, args).into());
        }
        let second = if self.is_within() { 0 } else { 1 };
        let sizes = self.sizes(args.dims(0), args.dims(second));
        let lengths = if self.is_within() { [1, 1] } else { [2, 3] }.map(|i| args.ints(i));
        let mask = self.drops().then(|| {
            let key = args.ints(self.num_inputs() - 1);
            DropoutMask::new(heads.dropout, heads.stream, [key[0], key[1], key[2], key[3]])
        });
        let bias = heads.relative.map(|relative| (relative, args.floats(2)));
        let naive = Naive {
            sizes,
            bias,
            queries: args.floats(0),
            keys: args.floats(second),
            lengths,
            mask,
            within: self.is_within(),
        };
        let mut out = args.zeros();
        match self {
            Attention::Within(_) | Attention::Across(_) => naive.forward(&mut out),
            _ => {
                let dy = args.floats(self.num_inputs() - 1 - usize::from(self.drops()));
                naive.backward(dy, self, &mut out);
            }
        }
        Ok(out.into())
    }
}

impl Attention {
    /// The input that a gradient is of.
    fn like(&self) -> usize {
        match self {
            Attention::AcrossGradKeys(_) => 1,
            Attention::WithinGradBias(_) => 2,
            _ => 0,
        }
    }

    fn expect_bias(&self, dims: &Dims<'_>, index: usize) -> Result<(), GraphError> {
        let heads = self.heads();
        match heads.relative {
            Some(relative) => dims.expect(index, "a bias", &[relative.buckets, heads.queries]),
            None => Ok(()),
        }
    }

    fn num_inputs(&self) -> usize {
        match self.inputs() {
            Inputs::Each(inputs) => inputs.len(),
            Inputs::Alike(_) => 0,
        }
    }
}

/// The reference of [`Attention::Cached`].
fn cached<T: Real>(heads: &Heads, args: &Args<'_, T>) -> Vec<T> {
    let (qkv, cache, table) = (args.floats(0), args.floats(1), args.ints(2));
    let [positions, rows, width] = [0, 1, 2].map(|i| args.dims(1)[i]);
    let dim = width / (2 * heads.keys);
    let scale = T::of(1.0 / (dim as f32).sqrt());
    let mut out = args.zeros();
    let own = qkv.chunks((heads.queries + 2 * heads.keys) * dim);
    let each = own.zip(out.chunks_mut(heads.queries * dim)).zip(args.ints(3)).enumerate();
    for (r, ((own, y), &length)) in each {
        let table = &table[r * positions..][..(length.max(0) as usize).min(positions)];
        if table.iter().any(|&row| row < 0 || row as usize >= rows) {
            y.fill(T::of(f32::NAN));
            continue;
        }
        let row = |(j, &row): (usize, &i32)| &cache[(j * rows + row as usize) * width..][..width];
        let read: Vec<&[T]> =
            table.iter().enumerate().map(row).chain([&own[heads.queries * dim..]]).collect();
        for (head, y) in y.chunks_mut(dim).enumerate() {
            let group = head / (heads.queries / heads.keys);
            let q = &own[head * dim..][..dim];
            let bias = |key: usize| {
                let bucket = |relative: Relative| relative.bucket(table.len(), key, true);
                let at = heads.relative.map(|r| bucket(r) * heads.queries + head);
                at.map_or(T::ZERO, |at| args.floats(4)[at])
            };
            let score = |(j, row): (usize, &&[T])| {
                let product = q.iter().zip(&row[group * dim..]).map(|(&q, &k)| q * k).sum::<T>();
                scale * product + bias(j)
            };
            let scores: Vec<T> = read.iter().enumerate().map(score).collect();
            for (log, row) in super::softmax::log_softmax(&scores).into_iter().zip(&read) {
                let values = &row[(heads.keys + group) * dim..][..dim];
                y.iter_mut().zip(values).for_each(|(y, &v)| *y += log.exp() * v);
            }
        }
    }
    out
}

/// The reference.
struct Naive<'a, T> {
    sizes: AttentionShape,
    bias: Option<(Relative, &'a [T])>,
    queries: &'a [T],
    keys: &'a [T],
    lengths: [&'a [i32]; 2],
    mask: Option<DropoutMask>,
    within: bool,
}

impl<T: Real> Naive<'_, T> {
    /// Where the values of query `i` start.
    fn query(&self, b: usize, i: usize, head: usize) -> usize {
        let Heads { queries, keys, .. } = self.sizes.heads;
        let width = if self.within { queries + 2 * keys } else { queries };
        ((b * self.sizes.queries + i) * width + head) * self.sizes.dim
    }

    /// Where the values of key `j` and of what it stands for start, for a head of the queries.
    fn key(&self, b: usize, j: usize, head: usize) -> [usize; 2] {
        let Heads { queries, keys, .. } = self.sizes.heads;
        let (width, first) =
            if self.within { (queries + 2 * keys, queries) } else { (2 * keys, 0) };
        let group = head / (queries / keys);
        [first + group, first + keys + group]
            .map(|at| ((b * self.sizes.keys + j) * width + at) * self.sizes.dim)
    }

    /// Where the bias of key `j` for query `i` is.
    fn bias(&self, head: usize, i: usize, j: usize) -> Option<usize> {
        let Heads { queries, causal, .. } = self.sizes.heads;
        self.bias.map(|(relative, _)| relative.bucket(i, j, causal) * queries + head)
    }

    /// What is left of the weight of key `j` for query `i`.
    fn kept(&self, b: usize, head: usize, i: usize, j: usize) -> T {
        let row = (b * self.sizes.heads.queries + head) as u64;
        let index = row << 40 | (i as u64) << 20 | j as u64;
        T::of(self.mask.as_ref().map_or(1.0, |mask| mask.factor(index)))
    }

    /// Each query with its weights of the keys that it reads.
    fn each(&self, mut f: impl FnMut(usize, usize, usize, &[T])) {
        let scale = T::of(1.0 / (self.sizes.dim as f32).sqrt());
        let dim = self.sizes.dim;
        for b in 0..self.sizes.batch {
            let [queries, keys] = self.lengths.map(|lengths| lengths[b].max(0) as usize);
            for head in 0..self.sizes.heads.queries {
                for i in 0..queries {
                    let q = &self.queries[self.query(b, i, head)..][..dim];
                    let score = |j| {
                        let k = &self.keys[self.key(b, j, head)[0]..][..dim];
                        let bias = self.bias.zip(self.bias(head, i, j));
                        let bias = bias.map_or(T::ZERO, |((_, bias), at)| bias[at]);
                        scale * q.iter().zip(k).map(|(&q, &k)| q * k).sum::<T>() + bias
                    };
                    let scores: Vec<T> =
                        (0..self.sizes.visible(i, queries, keys)).map(score).collect();
                    if !scores.is_empty() {
                        let logs = super::softmax::log_softmax(&scores);
                        f(b, head, i, &logs.into_iter().map(T::exp).collect::<Vec<T>>());
                    }
                }
            }
        }
    }

    fn forward(&self, y: &mut [T]) {
        let (dim, heads) = (self.sizes.dim, self.sizes.heads.queries);
        self.each(|b, head, i, weights| {
            let y = &mut y[((b * self.sizes.queries + i) * heads + head) * dim..][..dim];
            for (j, &p) in weights.iter().enumerate() {
                let p = p * self.kept(b, head, i, j);
                let v = &self.keys[self.key(b, j, head)[1]..][..dim];
                y.iter_mut().zip(v).for_each(|(y, &v)| *y += p * v);
            }
        });
    }

    fn backward(&self, dy: &[T], wanted: &Attention, out: &mut [T]) {
        let (dim, heads) = (self.sizes.dim, self.sizes.heads.queries);
        let scale = T::of(1.0 / (dim as f32).sqrt());
        let of_queries = !matches!(wanted, Attention::AcrossGradKeys(_));
        let of_keys = !matches!(wanted, Attention::AcrossGradQueries(_));
        self.each(|b, head, i, weights| {
            let dy = &dy[((b * self.sizes.queries + i) * heads + head) * dim..][..dim];
            let slope = |j: usize| {
                let v = &self.keys[self.key(b, j, head)[1]..][..dim];
                self.kept(b, head, i, j) * dy.iter().zip(v).map(|(&d, &v)| d * v).sum::<T>()
            };
            let slopes: Vec<T> = (0..weights.len()).map(slope).collect();
            let mean: T = weights.iter().zip(&slopes).map(|(&p, &s)| p * s).sum();
            let query = self.query(b, i, head);
            for (j, (&p, &s)) in weights.iter().zip(&slopes).enumerate() {
                let ds = p * (s - mean);
                if let Attention::WithinGradBias(_) = wanted {
                    self.bias(head, i, j).into_iter().for_each(|at| out[at] += ds);
                    continue;
                }
                let ds = scale * ds;
                let [key, value] = self.key(b, j, head);
                let kept = p * self.kept(b, head, i, j);
                for d in 0..dim {
                    if of_queries {
                        out[query + d] += ds * self.keys[key + d];
                    }
                    if of_keys {
                        out[key + d] += ds * self.queries[query + d];
                        out[value + d] += kept * dy[d];
                    }
                }
            }
        });
    }
}
