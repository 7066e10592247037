//! Mixtures of what a model would write and of a source's tokens, and their gradients: [`tidemill_graph::Copying`].
//!
//! Chunks are ranges of samples. A position is computed from its own row and its sample's source, in the order of the source, so that its
//! bits depend on neither the room for positions nor other samples.

use crate::call::{chunk_range, chunks_for};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::lanes::Lanes;
use crate::math;
use crate::rows::{row_dot, row_exp, row_exp_sum, row_max, row_zip};
use crate::simd::{load_n, store_n};
use crate::softmax::{exp1, log1};
use tidemill_graph::CopyShape;

/// One position's operands.
struct Row {
    logits: *const f32,
    /// `dim` values, and the logit of the share that is not copied.
    query: *const f32,
    keys: *const f32,
    ids: *const i32,
    /// Positions of the source, all of which are tokens.
    len: usize,
    tokens: usize,
    dim: usize,
    y: *mut f32,
    dy: *const f32,
    dlogits: *mut f32,
    dquery: *mut f32,
    dkeys: *mut f32,
    /// Room for the attention to each position of the source.
    attention: *mut f32,
    /// A value for each token: 0 between rows where rows are mixed, NaN where they have gradients.
    by_token: *mut f32,
}

type RowFn = unsafe fn(&Row);

/// `y += by x`
#[inline(always)]
unsafe fn add_to<S: Lanes>(y: *mut f32, by: f32, x: *const f32, n: usize) {
    // SAFETY: both have n values.
    unsafe {
        let by = S::splat(by);
        for i in (0..n).step_by(S::LANES) {
            let sum = S::fma(by, load_n::<S>(x.add(i), n - i), load_n::<S>(y.add(i), n - i));
            store_n::<S>(y.add(i), sum, n - i);
        }
    }
}

/// The attention to the source, and the shares that are not copied and that are.
#[inline(always)]
unsafe fn attend<S: Lanes>(r: &Row) -> [f32; 2] {
    if r.len == 0 {
        return [1.0, 0.0];
    }
    // SAFETY: by the contract of the kernels below.
    unsafe {
        let scale = 1.0 / (r.dim as f32).sqrt();
        for j in 0..r.len {
            let key = r.keys.add(j * r.dim);
            *r.attention.add(j) = scale * row_dot::<S>(r.query, key, r.dim, |q, k| S::mul(q, k));
        }
        let a = r.attention;
        let sum = row_exp::<S>(a, row_max::<S>(a, r.len), a, r.len);
        let by = S::splat(1.0 / sum);
        row_zip::<S>(a, a, a, r.len, |a, _| S::mul(a, by));
        let z = *r.query.add(r.dim);
        // Neither share is a difference that loses its digits.
        let e = exp1::<S>(-z.abs());
        let (larger, smaller) = (1.0 / (1.0 + e), e / (1.0 + e));
        if z >= 0.0 { [larger, smaller] } else { [smaller, larger] }
    }
}

#[inline(always)]
unsafe fn mix<S: Lanes>(r: &Row) {
    // SAFETY: by the contract of the kernel below.
    unsafe {
        let [share, rest] = attend::<S>(r);
        let max = row_max::<S>(r.logits, r.tokens);
        let sum = row_exp_sum::<S>(r.logits, S::splat(max), r.tokens);
        let (m, log) = (S::splat(max), S::splat(log1::<S>(sum) - log1::<S>(share)));
        row_zip::<S>(r.logits, r.logits, r.y, r.tokens, |x, _| S::sub(S::sub(x, m), log));
        for j in 0..r.len {
            *r.by_token.add(*r.ids.add(j) as usize) += *r.attention.add(j);
        }
        for j in 0..r.len {
            let id = *r.ids.add(j) as usize;
            let copied = *r.by_token.add(id);
            // Each token once.
            if copied != 0.0 {
                let written = exp1::<S>(*r.logits.add(id) - max) / sum;
                *r.y.add(id) = log1::<S>(share * written + rest * copied);
                *r.by_token.add(id) = 0.0;
            }
        }
    }
}
kernel!(fn mix_on(row: &Row) = mix;);

/// With `f = dy / p`: `dlogits = written (g f - mean)`, the slope of a source's position `(1 - g) f` of its token, that of the
/// share's logit `(1 - g) E - g M`, where `E` and `M` are the means of the slopes by what is written and by the
/// attention.
#[inline(always)]
unsafe fn slope<S: Lanes>(r: &Row) {
    // SAFETY: by the contract of the kernel below.
    unsafe {
        let [share, rest] = attend::<S>(r);
        let max = row_max::<S>(r.logits, r.tokens);
        let sum = row_exp_sum::<S>(r.logits, S::splat(max), r.tokens);
        // Of tokens that are not in the source, written / p is 1 / g.
        let mut mean = row_dot::<S>(r.dy, r.dy, r.tokens, |d, _| d);
        for j in 0..r.len {
            let id = *r.ids.add(j) as usize;
            if (*r.by_token.add(id)).is_nan() {
                let dy = *r.dy.add(id);
                let f = dy * exp1::<S>(-*r.y.add(id));
                mean += share * f * (exp1::<S>(*r.logits.add(id) - max) / sum) - dy;
                *r.by_token.add(id) = f;
            }
        }
        let (m, by, minus) = (S::splat(max), S::splat(1.0 / sum), S::splat(-mean));
        // no closure around exp, see `row_exp`
        for i in (0..r.tokens).step_by(S::LANES) {
            let n = r.tokens - i;
            let written = S::mul(math::exp::<S>(S::sub(load_n::<S>(r.logits.add(i), n), m)), by);
            store_n::<S>(r.dlogits.add(i), S::fma(written, minus, load_n::<S>(r.dy.add(i), n)), n);
        }
        for j in 0..r.len {
            let id = *r.ids.add(j) as usize;
            let written = exp1::<S>(*r.logits.add(id) - max) / sum;
            *r.dlogits.add(id) = written * (share * *r.by_token.add(id) - mean);
        }
        let slope = |j: usize| rest * *r.by_token.add(*r.ids.add(j) as usize);
        let mut of_source = 0.0;
        for j in 0..r.len {
            of_source += *r.attention.add(j) * slope(j);
        }
        std::slice::from_raw_parts_mut(r.dquery, r.dim).fill(0.0);
        let scale = 1.0 / (r.dim as f32).sqrt();
        for j in 0..r.len {
            let ds = scale * *r.attention.add(j) * (slope(j) - of_source);
            add_to::<S>(r.dquery, ds, r.keys.add(j * r.dim), r.dim);
            add_to::<S>(r.dkeys.add(j * r.dim), ds, r.query, r.dim);
        }
        *r.dquery.add(r.dim) = if r.len == 0 { 0.0 } else { rest * mean - share * of_source };
        for j in 0..r.len {
            *r.by_token.add(*r.ids.add(j) as usize) = f32::NAN;
        }
    }
}
kernel!(fn slope_on(row: &Row) = slope;);

/// A mixture, or its gradients. Arguments: `logits, query, keys, tokens, lengths, y`, or
/// `logits, query, keys, tokens, lengths, y, dy, dlogits, dquery, dkeys`.
pub struct CopyMixture {
    shape: CopyShape,
    chunks: usize,
    row: RowFn,
    is_gradient: bool,
}

impl CopyMixture {
    /// The mixture, or its gradients.
    pub fn new(isa: Isa, shape: CopyShape, is_gradient: bool) -> CopyMixture {
        let CopyShape { batch, time, tokens, source, dim } = shape;
        let ns = time as f64 * (tokens as f64 + source as f64 * (20.0 + dim as f64 / 4.0));
        let row = if is_gradient { slope_on(isa) } else { mix_on(isa) };
        CopyMixture { shape, chunks: chunks_for(batch, ns), row, is_gradient }
    }

    /// # Safety
    /// As for `run`, and there is a sample `b`.
    unsafe fn sample(&self, args: &[*mut f32], b: usize, scratch: [*mut f32; 2]) {
        let CopyShape { time, tokens, source, dim, .. } = self.shape;
        let ids = args[3].cast::<i32>().cast_const().wrapping_add(b * source);
        // SAFETY: the arguments have the sizes of the shape.
        let (len, ids_fit) = unsafe {
            let len = (*args[4].cast::<i32>().add(b)).clamp(0, source as i32) as usize;
            let known = |&id: &i32| usize::try_from(id).is_ok_and(|id| id < tokens);
            (len, std::slice::from_raw_parts(ids, len).iter().all(known))
        };
        let at = |argument: usize, offset: usize| {
            args.get(argument).copied().unwrap_or(std::ptr::null_mut()).wrapping_add(offset)
        };
        let keys = b * source * dim;
        if self.is_gradient {
            // SAFETY: as above.
            unsafe { std::slice::from_raw_parts_mut(at(9, keys), source * dim).fill(0.0) };
        }
        for t in b * time..(b + 1) * time {
            let row = Row {
                logits: at(0, t * tokens),
                query: at(1, t * (dim + 1)),
                keys: at(2, keys),
                ids,
                len,
                tokens,
                dim,
                y: at(5, t * tokens),
                dy: at(6, t * tokens),
                dlogits: at(7, t * tokens),
                dquery: at(8, t * (dim + 1)),
                dkeys: at(9, keys),
                attention: scratch[0],
                by_token: scratch[1],
            };
            // SAFETY: as above; the source's tokens are among those of the logits where that was found.
            unsafe {
                let fill = |to: *mut f32, n: usize| {
                    std::slice::from_raw_parts_mut(to, n).fill(f32::NAN);
                };
                match (ids_fit, self.is_gradient) {
                    (true, _) => (self.row)(&row),
                    (false, false) => fill(row.y, tokens),
                    (false, true) => {
                        fill(row.dlogits, tokens);
                        fill(row.dquery, dim + 1);
                        fill(row.dkeys, source * dim);
                    }
                }
            }
        }
    }

    /// Floats for the attention, with room for the vector that ends past it.
    fn attention_len(&self) -> usize {
        self.shape.source.next_multiple_of(16) + 16
    }
}

impl Kernel for CopyMixture {
    fn chunks(&self) -> usize {
        self.chunks
    }

    fn scratch_bytes(&self) -> usize {
        4 * (self.attention_len() + self.shape.tokens.next_multiple_of(16))
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let (start, end) = chunk_range(self.shape.batch, self.chunks, 1, chunk);
        let by_token = scratch.wrapping_add(self.attention_len());
        // SAFETY: by this function's contract.
        unsafe {
            let none = if self.is_gradient { f32::NAN } else { 0.0 };
            std::slice::from_raw_parts_mut(by_token, self.shape.tokens).fill(none);
            for b in start..end {
                self.sample(args, b, [scratch, by_token]);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::testing::Case;
    use tidemill_graph::Copying;

    fn mixed([time, tokens, source, dim]: [usize; 4], lengths: Vec<i32>) {
        let mut case = Case::new();
        let batch = lengths.len();
        let what = format!("{lengths:?} of {source}, {time} {tokens} {dim}");
        let logits = case.floats(&[batch, time, tokens]);
        let query = case.floats(&[batch, time, dim + 1]);
        let keys = case.floats(&[batch, source, dim]);
        // Some several times, some not at all.
        let ids = (0..batch * source).map(|_| case.below(tokens.min(source)) as i32).collect();
        let ids = case.ints(&[batch, source], ids);
        let lengths = case.ints(&[batch], lengths);
        let y = case.apply(Copying::Mix, &[logits, query, keys, ids, lengths]);
        case.check(&what, y, &[logits, query, keys]);
    }

    #[test]
    fn against_the_reference() {
        mixed([1, 1, 1, 1], vec![1]);
        mixed([3, 50, 7, 8], vec![7, 0, 1, 4]);
        mixed([5, 17, 40, 5], vec![40, 39]);
        mixed([2, 1000, 33, 32], vec![33]);
    }

    /// A token that is none of the logits' is no place in memory.
    #[test]
    fn tokens_that_are_not_there_give_nan() {
        use crate::runtime::{Input, Runtime};
        use tidemill_graph::{DType, Graph};
        let mut graph = Graph::new();
        let inputs = [
            graph.input("logits", &[3, 1, 2], DType::F32),
            graph.input("query", &[3, 1, 2], DType::F32),
            graph.input("keys", &[3, 2, 1], DType::F32),
            graph.input("tokens", &[3, 2], DType::I32),
            graph.input("lengths", &[3], DType::I32),
        ];
        let y = graph.apply(Copying::Mix, &inputs).unwrap();
        graph.output("y", y);
        for isa in crate::isa::Isa::available() {
            let mut runtime = Runtime::new(isa, 1, &graph);
            let plan = runtime.add(&graph, Default::default()).unwrap();
            let inputs = [
                Input::F32(&[0.0; 6]),
                Input::F32(&[0.0; 6]),
                Input::F32(&[0.0; 6]),
                // Beyond the length a token does not matter; a length beyond the room is the room.
                Input::I32(&[1, 2, 1, 2, -1, 0]),
                Input::I32(&[1, 9, 2]),
            ];
            runtime.run(plan, &inputs).unwrap();
            let y = runtime.output(plan, "y").unwrap();
            assert!(y[2..].iter().all(|y| y.is_nan()), "{isa:?}: {y:?}");
            assert!((y[0] - 0.25f32.ln()).abs() < 1e-6 && (y[1] - 0.75f32.ln()).abs() < 1e-6);
        }
    }
}
