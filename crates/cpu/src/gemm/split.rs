//! Products of few samples with many weights, cut along the reduction.
//!
//! Each part of the weights' rows makes a partial product, and [`Combine`] adds them up in their
//! order. The gain is not in the product: the weights' gradient is cut by the same rows, so a
//! thread reads only those weights that it updates. Were all of them read by all threads, every
//! update would have to take its cache lines back from the others, which doubled the time of the
//! gradient and its update on two cores.

use super::{Activation, Epilogue, GemmDesc};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::simd::{Simd, load_n, store_n};

/// Weights below which taking them back costs less than another kernel: 64 KB.
const MIN_WEIGHTS: usize = 16 * 1024;
/// Steps of the reduction that a part must have.
const MIN_STEPS: usize = 48;
/// Values of partial products that are one chunk.
const CHUNK_VALUES: usize = 32 * 1024;

/// Into how many parts to cut a product's reduction; 1: do not.
pub fn parts(d: &GemmDesc) -> usize {
    let plain = d.batch == 1
        && !d.by_row
        && d.time == 0
        && !d.transpose_a
        && !d.transpose_b
        && !d.epilogue.accumulate;
    if !plain || d.m < 2 || d.epilogue.update.is_some() || d.k * d.n < MIN_WEIGHTS {
        return 1;
    }
    // partial products must be few beside the weights
    let most = (d.k / (2 * d.m)).min(d.k / MIN_STEPS);
    [4, 2].into_iter().find(|&n| n <= most && d.k.is_multiple_of(n)).unwrap_or(1)
}

/// The partial products of `d`, `[parts, m, n]`: a batch.
pub fn partial(d: &GemmDesc, parts: usize) -> GemmDesc {
    let k = d.k / parts;
    GemmDesc {
        k,
        batch: parts,
        ldc: d.n,
        batch_strides: [k, k * d.ldb, d.m * d.n],
        epilogue: Epilogue::default(),
        ..*d
    }
}

/// `mask(activation(sum of partial products + [bias] + [residual]))`.
///
/// Arguments: `[partials, bias | null, residual | null, mask | null, C]`, the first `[parts, m, n]`,
/// the bias `[n]`, all others `[m, n]` without gaps.
pub struct Combine {
    m: usize,
    n: usize,
    parts: usize,
    relu: bool,
    row: RowFn,
}

/// One row's operands.
struct Row {
    partials: *const f32,
    parts: usize,
    /// Values between partial products.
    stride: usize,
    bias: *const f32,
    residual: *const f32,
    mask: *const f32,
    relu: bool,
    to: *mut f32,
    n: usize,
}

type RowFn = unsafe fn(&Row);

/// # Safety
/// The operands that are not null have `n` values.
#[inline(always)]
unsafe fn combine_row<S: Simd>(r: &Row) {
    // SAFETY: by this function's contract.
    unsafe {
        for j in (0..r.n).step_by(S::LANES) {
            let len = r.n - j;
            let mut sum = load_n::<S>(r.partials.add(j), len);
            for part in 1..r.parts {
                sum = S::add(sum, load_n::<S>(r.partials.add(part * r.stride + j), len));
            }
            if !r.bias.is_null() {
                sum = S::add(sum, load_n::<S>(r.bias.add(j), len));
            }
            if !r.residual.is_null() {
                sum = S::add(sum, load_n::<S>(r.residual.add(j), len));
            }
            if r.relu {
                sum = S::max(S::splat(0.0), sum); // NaN stays NaN
            }
            if !r.mask.is_null() {
                let on = S::gt(load_n::<S>(r.mask.add(j), len), S::splat(0.0));
                sum = S::select(on, sum, S::splat(0.0));
            }
            store_n::<S>(r.to.add(j), sum, len);
        }
    }
}
kernel!(fn combine_row_on(row: &Row) = combine_row;);

impl Combine {
    /// The end of a product that was cut into `parts`.
    pub fn new(isa: Isa, d: &GemmDesc, parts: usize) -> Combine {
        let relu = d.epilogue.activation == Activation::Relu;
        Combine { m: d.m, n: d.n, parts, relu, row: combine_row_on(isa) }
    }
}

impl Kernel for Combine {
    fn chunks(&self) -> usize {
        (self.parts * self.m * self.n / CHUNK_VALUES).clamp(1, self.m)
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let chunks = self.chunks();
        for i in chunk * self.m / chunks..(chunk + 1) * self.m / chunks {
            let at = i * self.n;
            let shift = |p: *mut f32| if p.is_null() { p } else { p.wrapping_add(at) };
            let row = Row {
                partials: args[0].wrapping_add(at),
                parts: self.parts,
                stride: self.m * self.n,
                bias: args[1],
                residual: shift(args[2]),
                mask: shift(args[3]),
                relu: self.relu,
                to: args[4].wrapping_add(at),
                n: self.n,
            };
            // SAFETY: row i is inside all operands.
            unsafe { (self.row)(&row) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Gemm, args};
    use super::*;

    fn run(kernel: &dyn Kernel, args: &[*mut f32]) {
        let mut scratch = vec![[f32::NAN; 16]; kernel.scratch_bytes().div_ceil(64) + 1];
        for chunk in (0..kernel.chunks()).rev() {
            // SAFETY: the tests give buffers of the documented sizes.
            unsafe { kernel.run(args, chunk, scratch.as_mut_ptr().cast()) };
        }
    }

    fn values(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 37 + seed * 11) % 101) as f32 * 0.01 - 0.5).collect()
    }

    #[test]
    fn sums_of_parts_are_products() {
        for (m, n, k, expected_parts) in
            [(32, 128, 784, 4), (2, 33, 512, 4), (7, 100, 194, 2), (48, 200, 192, 2)]
        {
            let mut d = GemmDesc::new(m, n, k, false, false);
            d.epilogue.bias = true;
            d.epilogue.residual = true;
            d.epilogue.activation = Activation::Relu;
            d.epilogue.mask = true;
            assert_eq!(parts(&d), expected_parts, "{m}x{n}x{k}");
            let [mut a, mut b, mut bias] = [values(m * k, 1), values(k * n, 2), values(n, 3)];
            let [mut residual, mut mask] = [values(m * n, 4), values(m * n, 5)];
            for isa in Isa::available() {
                let mut sums = vec![f32::NAN; expected_parts * m * n];
                let mut out = vec![f32::NAN; m * n];
                let mut of_product = vec![std::ptr::null_mut(); args::LEN];
                of_product[args::A] = a.as_mut_ptr();
                of_product[args::B] = b.as_mut_ptr();
                of_product[args::C] = sums.as_mut_ptr();
                run(&Gemm::new(isa, &partial(&d, expected_parts)), &of_product);
                let of_sum = [&mut sums, &mut bias, &mut residual, &mut mask, &mut out];
                run(&Combine::new(isa, &d, expected_parts), &of_sum.map(|v| v.as_mut_ptr()));
                for (at, &found) in out.iter().enumerate() {
                    let (i, j) = (at / n, at % n);
                    let product = |p| f64::from(a[i * k + p]) * f64::from(b[p * n + j]);
                    let sum = (0..k).map(product).sum::<f64>()
                        + f64::from(bias[j])
                        + f64::from(residual[at]);
                    let right = if mask[at] > 0.0 { sum.max(0.0) } else { 0.0 };
                    assert!(
                        (right - f64::from(found)).abs() < 1e-4,
                        "{isa:?} {at} {right} {found}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_not_cut() {
        assert_eq!(parts(&GemmDesc::new(1, 128, 784, false, false)), 1); // vectors have their own
        assert_eq!(parts(&GemmDesc::new(32, 10, 128, false, false)), 1); // few weights
        assert_eq!(parts(&GemmDesc::new(1024, 128, 784, false, false)), 1); // many samples
        assert_eq!(parts(&GemmDesc::new(32, 128, 784, true, false)), 1);
        assert_eq!(parts(&GemmDesc::new(32, 128, 784, false, true)), 1);
    }
}
