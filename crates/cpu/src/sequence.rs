//! Means over the steps of sequences of different lengths, and their gradients.
//!
//! Chunks are ranges of samples; a sample's sum adds its steps in their order.

use crate::call::{chunk_range, chunks_for};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::simd::{Simd, load_n, store_n};
use tidemill_graph::Sequences;

/// `x` are the steps of one sample in the forward direction, `dx` in the gradient.
type MeanFn = unsafe fn(x: *const f32, steps: usize, units: usize, y: *mut f32);
type SpreadFn = unsafe fn(dy: *const f32, steps: usize, units: usize, dx: *mut f32);

/// Registers that are summed at once.
const SUMS: usize = 4;

/// The mean of the rows of `x[steps, units]`, at least one.
#[inline(always)]
unsafe fn mean_rows<S: Simd>(x: *const f32, steps: usize, units: usize, y: *mut f32) {
    // SAFETY: x has steps x units values and y has units; the last register of a row may be partial.
    unsafe {
        let count = S::splat(steps as f32);
        let mut i = 0;
        while i + SUMS * S::LANES <= units {
            let mut sums = [S::splat(0.0); SUMS];
            for t in 0..steps {
                let x = x.add(t * units + i);
                for (k, sum) in sums.iter_mut().enumerate() {
                    *sum = S::add(*sum, S::load(x.add(k * S::LANES)));
                }
            }
            for (k, &sum) in sums.iter().enumerate() {
                S::store(y.add(i + k * S::LANES), S::div(sum, count));
            }
            i += SUMS * S::LANES;
        }
        while i < units {
            let n = units - i;
            let mut sum = S::splat(0.0);
            for t in 0..steps {
                sum = S::add(sum, load_n::<S>(x.add(t * units + i), n));
            }
            store_n::<S>(y.add(i), S::div(sum, count), n);
            i += S::LANES;
        }
    }
}
kernel!(fn mean_rows_on(x: *const f32, steps: usize, units: usize, y: *mut f32) = mean_rows;);

/// `dy / steps` in each row of `dx[steps, units]`.
#[inline(always)]
unsafe fn spread_rows<S: Simd>(dy: *const f32, steps: usize, units: usize, dx: *mut f32) {
    // SAFETY: dx has steps x units values and dy has units; the last register of a row may be partial.
    unsafe {
        let count = S::splat(steps as f32);
        for i in (0..units).step_by(S::LANES) {
            let n = units - i;
            let share = S::div(load_n::<S>(dy.add(i), n), count);
            for t in 0..steps {
                store_n::<S>(dx.add(t * units + i), share, n);
            }
        }
    }
}
kernel!(fn spread_rows_on(dy: *const f32, steps: usize, units: usize, dx: *mut f32) = spread_rows;);

/// How many steps of sample `i` count; none if the sequence has no such number.
///
/// # Safety
/// `lengths` has more than `i` numbers.
unsafe fn steps_of(lengths: *const f32, i: usize, time: usize) -> Option<usize> {
    // SAFETY: by this function's contract.
    let length = unsafe { *lengths.cast::<i32>().add(i) };
    usize::try_from(length).ok().filter(|&steps| steps <= time)
}

fn chunks(shape: &Sequences) -> usize {
    chunks_for(shape.batch, 5.0 + 0.1 * (shape.time * shape.units) as f64)
}

/// The mean of the first `length` steps of each sample, 0 where that is 0. Arguments:
/// `x[batch, time, units], lengths[batch]` (i32), `y[batch, units]`. A length outside 0 to `time`
/// gives a row of NaN.
pub struct MaskedMean {
    shape: Sequences,
    chunks: usize,
    mean: MeanFn,
}

impl MaskedMean {
    /// Means of sequences.
    pub fn new(isa: Isa, shape: Sequences) -> MaskedMean {
        MaskedMean { shape, chunks: chunks(&shape), mean: mean_rows_on(isa) }
    }
}

impl Kernel for MaskedMean {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let Sequences { batch, time, units } = self.shape;
        let (start, end) = chunk_range(batch, self.chunks, 1, chunk);
        for i in start..end {
            // SAFETY: i is below the batch; at most `time` steps are read.
            unsafe {
                let y = args[2].add(i * units);
                match steps_of(args[1], i, time) {
                    None => std::slice::from_raw_parts_mut(y, units).fill(f32::NAN),
                    Some(0) => std::slice::from_raw_parts_mut(y, units).fill(0.0),
                    Some(steps) => (self.mean)(args[0].add(i * time * units), steps, units, y),
                }
            }
        }
    }
}

/// Gradient of [`MaskedMean`]. Arguments: `lengths[batch]` (i32), `dy[batch, units],
/// dx[batch, time, units]`. A length outside 0 to `time` gives NaN.
pub struct MaskedMeanGrad {
    shape: Sequences,
    chunks: usize,
    spread: SpreadFn,
}

impl MaskedMeanGrad {
    /// Gradients of means of sequences.
    pub fn new(isa: Isa, shape: Sequences) -> MaskedMeanGrad {
        MaskedMeanGrad { shape, chunks: chunks(&shape), spread: spread_rows_on(isa) }
    }
}

impl Kernel for MaskedMeanGrad {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let Sequences { batch, time, units } = self.shape;
        let (start, end) = chunk_range(batch, self.chunks, 1, chunk);
        for i in start..end {
            // SAFETY: i is below the batch; the steps and the rest make up `time` rows.
            unsafe {
                let dx = args[2].add(i * time * units);
                let (steps, rest) = match steps_of(args[0], i, time) {
                    None => (0, f32::NAN),
                    Some(steps) => (steps, 0.0),
                };
                (self.spread)(args[1].add(i * units), steps, units, dx);
                let after = (time - steps) * units;
                std::slice::from_raw_parts_mut(dx.add(steps * units), after).fill(rest);
            }
        }
    }
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

    /// Lengths in memory as the kernels take them.
    fn stored(lengths: &[i32]) -> Vec<f32> {
        lengths.iter().map(|&length| f32::from_bits(length as u32)).collect()
    }

    #[test]
    fn means_and_their_gradients() {
        let mut random = Random(21);
        let shapes = [[1, 1, 1], [3, 5, 7], [2, 9, 64], [5, 3, 131], [40, 17, 33], [300, 40, 20]];
        for [batch, time, units] in shapes {
            let shape = Sequences { batch, time, units };
            let mut lengths: Vec<i32> = (0..batch).map(|_| random.below(time + 1) as i32).collect();
            (lengths[0], lengths[batch - 1]) = (0, time as i32);
            let (x, dy) = (random.values(batch * time * units), random.values(batch * units));
            let (mut y, mut dx) = (vec![0.0; batch * units], vec![0.0; batch * time * units]);
            for (i, &length) in lengths.iter().enumerate() {
                for (t, u) in (0..length as usize).flat_map(|t| (0..units).map(move |u| (t, u))) {
                    let at = (i * time + t) * units + u;
                    y[i * units + u] += f64::from(x[at]) / f64::from(length);
                    dx[at] = f64::from(dy[i * units + u]) / f64::from(length);
                }
            }
            for isa in Isa::available() {
                let mut args = vec![x.clone(), stored(&lengths), vec![f32::NAN; y.len()]];
                run_all(&[&MaskedMean::new(isa, shape)], &mut args);
                close(&args[2], &y, 1e-6, "y");
                let mut args = vec![stored(&lengths), dy.clone(), vec![f32::NAN; dx.len()]];
                run_all(&[&MaskedMeanGrad::new(isa, shape)], &mut args);
                close(&args[2], &dx, 1e-7, "dx");
            }
        }
    }

    #[test]
    fn what_is_past_the_length_is_not_read() {
        for isa in Isa::available() {
            let x = vec![1.0, 3.0, f32::NAN, f32::INFINITY, f32::NAN, f32::NAN];
            let mut args = vec![x, stored(&[2, 0]), vec![f32::NAN; 2]];
            let shape = Sequences { batch: 2, time: 3, units: 1 };
            run_all(&[&MaskedMean::new(isa, shape)], &mut args);
            assert_eq!(args[2], [2.0, 0.0]);
        }
    }

    #[test]
    fn lengths_that_are_none_give_no_number() {
        let shape = Sequences { batch: 3, time: 2, units: 1 };
        let lengths = stored(&[-1, 1, 3]);
        let mut args = vec![vec![5.0; 6], lengths.clone(), vec![0.0; 3]];
        run_all(&[&MaskedMean::new(Isa::Portable, shape)], &mut args);
        assert!(args[2][0].is_nan() && args[2][1] == 5.0 && args[2][2].is_nan());
        let mut args = vec![lengths, vec![4.0; 3], vec![1.0; 6]];
        run_all(&[&MaskedMeanGrad::new(Isa::Portable, shape)], &mut args);
        assert!(args[2][..2].iter().chain(&args[2][4..]).all(|v| v.is_nan()));
        assert_eq!(args[2][2..4], [4.0, 0.0]);
    }

    /// Lengths from 0 to all of the time.
    #[test]
    fn masked_mean() {
        for [batch, time, units] in [[1, 1, 1], [5, 4, 3], [6, 9, 70]] {
            let mut case = Case::new();
            let x = case.floats(&[batch, time, units]);
            let lengths = (0..batch).map(|i| ((i * 5 + 1) % (time + 1)) as i32).collect();
            let lengths = case.ints(&[batch], lengths);
            let y = case.apply(Sequence::MaskedMean, &[x, lengths]);
            case.check(&format!("masked mean {batch}x{time}x{units}"), y, &[x]);
        }
    }

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
