//! Softmax and losses over rows of the last dim.

use super::{Call, Real};
use crate::error::GraphError;

/// `x - log(sum(e^x))`, shifted by the maximum against overflow.
fn log_softmax<T: Real>(row: &[T]) -> Vec<T> {
    let max = row.iter().copied().fold(row[0], T::larger);
    let sum: T = row.iter().map(|&x| (x - max).exp()).sum();
    row.iter().map(|&x| x - max - sum.ln()).collect()
}

impl<T: Real> Call<'_, T> {
    fn classes(&self) -> usize {
        self.dims(0).last().copied().unwrap_or(1)
    }

    fn rows(&self, input: usize) -> impl Iterator<Item = &[T]> {
        self.floats(input).chunks(self.classes())
    }

    pub(super) fn softmax(&self) -> Vec<T> {
        self.log_softmax().into_iter().map(T::exp).collect()
    }

    pub(super) fn log_softmax(&self) -> Vec<T> {
        self.rows(0).flat_map(log_softmax).collect()
    }

    pub(super) fn softmax_grad(&self) -> Vec<T> {
        let row = |(y, dy): (&[T], &[T])| {
            let sum: T = y.iter().zip(dy).map(|(&y, &dy)| y * dy).sum();
            y.iter().zip(dy).map(|(&y, &dy)| y * (dy - sum)).collect::<Vec<_>>()
        };
        self.rows(0).zip(self.rows(1)).flat_map(row).collect()
    }

    pub(super) fn log_softmax_grad(&self) -> Vec<T> {
        let row = |(y, dy): (&[T], &[T])| {
            let sum: T = dy.iter().copied().sum();
            y.iter().zip(dy).map(|(&y, &dy)| dy - y.exp() * sum).collect::<Vec<_>>()
        };
        self.rows(0).zip(self.rows(1)).flat_map(row).collect()
    }

    /// Targets `(1 - s) onehot(labels) + s / c`.
    pub(super) fn sparse_targets(&self, smoothing: f32) -> Result<Vec<T>, GraphError> {
        let c = self.classes();
        let mut targets = vec![T::ZERO; self.floats(0).len()];
        for (row, &label) in self.ints(1).iter().enumerate() {
            let class =
                usize::try_from(label).ok().filter(|&class| class < c).ok_or_else(|| {
                    GraphError::new(format!("label {label} of row {row} is outside 0 to {}", c - 1))
                        .help("the last layer needs as many units as there are classes")
                })?;
            targets[row * c + class] = T::ONE;
        }
        Ok(smoothed(&targets, smoothing, c))
    }

    pub(super) fn dense_targets(&self, smoothing: f32) -> Vec<T> {
        smoothed(self.floats(1), smoothing, self.classes())
    }

    /// `-sum over classes of t log softmax(x)`
    pub(super) fn cross_entropy(&self, targets: &[T]) -> Vec<T> {
        let row = |(x, t): (&[T], &[T])| {
            log_softmax(x).iter().zip(t).map(|(&log_p, &t)| -t * log_p).sum()
        };
        self.rows(0).zip(targets.chunks(self.classes())).map(row).collect()
    }

    pub(super) fn cross_entropy_grad(&self, targets: &[T]) -> Vec<T> {
        let rows = self.rows(0).zip(targets.chunks(self.classes())).zip(self.floats(2));
        let row = |((x, t), &dloss): ((&[T], &[T]), &T)| {
            let total: T = t.iter().copied().sum();
            let slope = |(&log_p, &t): (&T, &T)| dloss * (log_p.exp() * total - t);
            log_softmax(x).iter().zip(t).map(slope).collect::<Vec<_>>()
        };
        rows.flat_map(row).collect()
    }

    pub(super) fn weighted_mean(&self) -> Vec<T> {
        let total: T = self.floats(1).iter().copied().sum();
        let sum: T = self.zipped(|loss, weight| loss * weight).into_iter().sum();
        vec![if total == T::ZERO { T::ZERO } else { sum / total }]
    }

    pub(super) fn weighted_mean_grad(&self) -> Vec<T> {
        let (weights, dmean) = (self.floats(0), self.floats(1)[0]);
        let total: T = weights.iter().copied().sum();
        let share = |&w: &T| if total == T::ZERO { T::ZERO } else { w * dmean / total };
        weights.iter().map(share).collect()
    }
}

fn smoothed<T: Real>(targets: &[T], smoothing: f32, classes: usize) -> Vec<T> {
    let s = T::of(smoothing);
    targets.iter().map(|&t| (T::ONE - s) * t + s / T::count(classes)).collect()
}
