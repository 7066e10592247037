//! Weighted means over the steps of sequences, and their gradients.
//!
//! Chunks are ranges of samples; a sample's sum adds its steps in their order.

use crate::call::{chunk_range, chunks_for};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::simd::{Simd, load_n, store_n};
use tidemill_graph::Sequences;

/// Registers that are summed at once.
const SUMS: usize = 4;

fn chunks(shape: &Sequences) -> usize {
    chunks_for(shape.batch, 5.0 + 0.1 * (shape.time * shape.units) as f64)
}

/// The sum of the rows of `x[steps, units]`, each times its weight, times `scale`; rows of weight 0
/// are not read.
#[inline(always)]
unsafe fn weighted_rows<S: Simd>(
    x: *const f32,
    weights: *const f32,
    scale: f32,
    steps: usize,
    units: usize,
    y: *mut f32,
) {
    // SAFETY: x has steps x units values, weights and y as many as steps and units; the last register
    // of a row may be partial.
    unsafe {
        let scale = S::splat(scale);
        let mut i = 0;
        while i + SUMS * S::LANES <= units {
            let mut sums = [S::splat(0.0); SUMS];
            for t in (0..steps).filter(|&t| *weights.add(t) != 0.0) {
                let (x, w) = (x.add(t * units + i), S::splat(*weights.add(t)));
                for (k, sum) in sums.iter_mut().enumerate() {
                    *sum = S::fma(w, S::load(x.add(k * S::LANES)), *sum);
                }
            }
            for (k, &sum) in sums.iter().enumerate() {
                S::store(y.add(i + k * S::LANES), S::mul(sum, scale));
            }
            i += SUMS * S::LANES;
        }
        while i < units {
            let n = units - i;
            let mut sum = S::splat(0.0);
            for t in (0..steps).filter(|&t| *weights.add(t) != 0.0) {
                let w = S::splat(*weights.add(t));
                sum = S::fma(w, load_n::<S>(x.add(t * units + i), n), sum);
            }
            store_n::<S>(y.add(i), S::mul(sum, scale), n);
            i += S::LANES;
        }
    }
}
kernel!(fn weighted_rows_on(
    x: *const f32, weights: *const f32, scale: f32, steps: usize, units: usize, y: *mut f32
) = weighted_rows;);

/// `dy` times the step's weight times `scale` in each row of `dx[steps, units]`; 0 in rows of weight 0.
#[inline(always)]
unsafe fn spread_weighted<S: Simd>(
    dy: *const f32,
    weights: *const f32,
    scale: f32,
    steps: usize,
    units: usize,
    dx: *mut f32,
) {
    // SAFETY: dx has steps x units values, weights and dy as many as steps and units; the last register
    // of a row may be partial.
    unsafe {
        for t in 0..steps {
            let (dx, w) = (dx.add(t * units), *weights.add(t));
            if w == 0.0 {
                std::slice::from_raw_parts_mut(dx, units).fill(0.0);
                continue;
            }
            let share = S::splat(w * scale);
            for i in (0..units).step_by(S::LANES) {
                let n = units - i;
                store_n::<S>(dx.add(i), S::mul(load_n::<S>(dy.add(i), n), share), n);
            }
        }
    }
}
kernel!(fn spread_weighted_on(
    dy: *const f32, weights: *const f32, scale: f32, steps: usize, units: usize, dx: *mut f32
) = spread_weighted;);

/// 1 over the sum of the weights, 0 where that is 0.
///
/// # Safety
/// There are `n` weights.
unsafe fn inverse_sum(weights: *const f32, n: usize) -> f64 {
    // SAFETY: by this function's contract.
    let sum: f64 = (0..n).map(|t| f64::from(unsafe { *weights.add(t) })).sum();
    if sum == 0.0 { 0.0 } else { 1.0 / sum }
}

type WeightedFn = unsafe fn(
    from: *const f32,
    weights: *const f32,
    scale: f32,
    steps: usize,
    units: usize,
    to: *mut f32,
);

/// `sum(w x) / sum(w)` over each sample's steps, 0 where the weights sum to 0. Arguments:
/// `x[batch, time, units], weights[batch, time], y[batch, units]`.
pub struct MeanOfSteps {
    shape: Sequences,
    chunks: usize,
    rows: WeightedFn,
}

impl MeanOfSteps {
    /// Weighted means of sequences.
    pub fn new(isa: Isa, shape: Sequences) -> MeanOfSteps {
        MeanOfSteps { shape, chunks: chunks(&shape), rows: weighted_rows_on(isa) }
    }
}

impl Kernel for MeanOfSteps {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let Sequences { batch, time, units } = self.shape;
        let (start, end) = chunk_range(batch, self.chunks, 1, chunk);
        for i in start..end {
            // SAFETY: i is below the batch.
            unsafe {
                let (x, w) = (args[0].add(i * time * units), args[1].add(i * time));
                let y = args[2].add(i * units);
                let scale = inverse_sum(w, time);
                if units == 1 {
                    // a step fills no vector
                    let counts = (0..time).filter(|&t| *w.add(t) != 0.0);
                    let sum = counts.map(|t| f64::from(*w.add(t)) * f64::from(*x.add(t)));
                    *y = (sum.sum::<f64>() * scale) as f32;
                } else {
                    (self.rows)(x, w, scale as f32, time, units, y);
                }
            }
        }
    }
}

/// Gradient of [`MeanOfSteps`]. Arguments: `weights[batch, time], dy[batch, units],
/// dx[batch, time, units]`.
pub struct MeanOfStepsGrad {
    shape: Sequences,
    chunks: usize,
    spread: WeightedFn,
}

impl MeanOfStepsGrad {
    /// Gradients of weighted means of sequences.
    pub fn new(isa: Isa, shape: Sequences) -> MeanOfStepsGrad {
        MeanOfStepsGrad { shape, chunks: chunks(&shape), spread: spread_weighted_on(isa) }
    }
}

impl Kernel for MeanOfStepsGrad {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let Sequences { batch, time, units } = self.shape;
        let (start, end) = chunk_range(batch, self.chunks, 1, chunk);
        for i in start..end {
            // SAFETY: i is below the batch.
            unsafe {
                let (w, dy) = (args[0].add(i * time), args[1].add(i * units));
                let scale = inverse_sum(w, time) as f32;
                (self.spread)(dy, w, scale, time, units, args[2].add(i * time * units));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, Random, close, run_all};
    use tidemill_graph::Sequence;

    /// Weights, many of them 0 where x is no number, all of them in one sample.
    #[test]
    fn weighted_means_and_their_gradients() {
        let mut random = Random(22);
        let shapes = [[1, 1, 1], [3, 50, 1], [3, 5, 7], [2, 9, 64], [5, 3, 131], [300, 40, 20]];
        for [batch, time, units] in shapes {
            let shape = Sequences { batch, time, units };
            let weight = |i: usize, random: &mut Random| match random.below(3) {
                0 => 0.0,
                _ if i / time == 1 => 0.0,
                _ => 0.25 + random.value().abs(),
            };
            let weights: Vec<f32> = (0..batch * time).map(|i| weight(i, &mut random)).collect();
            let mut x = random.values(batch * time * units);
            let dy = random.values(batch * units);
            let (mut y, mut dx) = (vec![0.0; batch * units], vec![0.0; batch * time * units]);
            for (step, &w) in weights.iter().enumerate() {
                let sample = step / time;
                let total: f64 =
                    weights[sample * time..][..time].iter().map(|&w| f64::from(w)).sum();
                let row = &mut x[step * units..][..units];
                if w == 0.0 {
                    row.fill(f32::NAN);
                    continue;
                }
                for u in 0..units {
                    y[sample * units + u] += f64::from(w) * f64::from(row[u]) / total;
                    let dy = f64::from(dy[sample * units + u]);
                    dx[step * units + u] = f64::from(w) * dy / total;
                }
            }
            for isa in Isa::available() {
                let mut args = vec![x.clone(), weights.clone(), vec![f32::NAN; y.len()]];
                run_all(&[&MeanOfSteps::new(isa, shape)], &mut args);
                close(&args[2], &y, 2e-6, "y");
                let mut args = vec![weights.clone(), dy.clone(), vec![f32::NAN; dx.len()]];
                run_all(&[&MeanOfStepsGrad::new(isa, shape)], &mut args);
                close(&args[2], &dx, 1e-6, "dx");
            }
        }
    }

    #[test]
    fn weighted_mean_on_the_planned_path() {
        for (batch, time, rest) in [(3, 5, &[][..]), (4, 6, &[9][..]), (2, 3, &[2, 40][..])] {
            let mut case = Case::new();
            let x = case.floats(&[&[batch, time][..], rest].concat());
            let weights = (0..batch * time).map(|i| (i % 3) as f32).collect();
            let weights = case.given(&[batch, time], weights);
            let y = case.apply(Sequence::WeightedMean, &[x, weights]);
            case.check(&format!("weighted mean {batch}x{time} {rest:?}"), y, &[x]);
        }
    }
}
