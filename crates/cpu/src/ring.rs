//! Samples put into a ring, and the place of the next.

use crate::kernel::Kernel;

/// See [`tidemill_graph::Ring::Push`]. Arguments: `samples[batch, rows], next[1], kept[rows, len]`, changed in place.
pub struct RingPush {
    /// Values of a sample.
    pub rows: usize,
    /// Columns of the ring.
    pub len: usize,
    /// Samples of a step.
    pub batch: usize,
}

/// The place that `next` says; 0 for what is none.
fn place(next: f32, len: usize) -> usize {
    let next = next as usize;
    if next < len { next } else { 0 }
}

impl Kernel for RingPush {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, args: &[*mut f32], _chunk: usize, _scratch: *mut f32) {
        // SAFETY: the arguments have the documented sizes; a column is below `len`.
        unsafe {
            let (samples, kept) = (args[0], args[2]);
            let mut column = place(*args[1], self.len);
            for i in 0..self.batch {
                for row in 0..self.rows {
                    *kept.add(row * self.len + column) = *samples.add(i * self.rows + row);
                }
                column = if column + 1 == self.len { 0 } else { column + 1 };
            }
        }
    }
}

/// See [`tidemill_graph::Ring::Next`]. Arguments: `next[1], new[1]`.
pub struct RingNext {
    /// Samples of a step.
    pub batch: usize,
    /// Columns of the ring.
    pub len: usize,
}

impl Kernel for RingNext {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, args: &[*mut f32], _chunk: usize, _scratch: *mut f32) {
        // SAFETY: both have one value.
        unsafe { *args[1] = ((place(*args[0], self.len) + self.batch) % self.len) as f32 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run_all;

    #[test]
    fn the_oldest_are_replaced() {
        let (rows, len) = (2, 3);
        for batch in [1, 2, 3, 5] {
            let mut kept = vec![0.0f32; rows * len];
            let mut next = vec![0.0f32];
            let mut all: Vec<Vec<f32>> = Vec::new();
            for step in 0..7 {
                let samples: Vec<f32> =
                    (0..batch * rows).map(|v| (step * 100 + v + 1) as f32).collect();
                all.extend(samples.chunks_exact(rows).map(<[f32]>::to_vec));
                let mut args = [samples, next, kept];
                run_all(&[&RingPush { rows, len, batch }], &mut args);
                [_, next, kept] = args;
                let mut args = [next, vec![f32::NAN]];
                run_all(&[&RingNext { batch, len }], &mut args);
                [_, next] = args;
            }
            let last = all.len().saturating_sub(len);
            for (number, sample) in all.iter().enumerate().skip(last) {
                let column: Vec<f32> =
                    (0..rows).map(|row| kept[row * len + number % len]).collect();
                assert_eq!(&column, sample, "batch {batch}, sample {number}");
            }
            assert_eq!(next[0] as usize, all.len() % len);
        }
    }
}
