//! Running standardization of all columns of numbers at once.
//!
//! Welford's update: with d = v - mean, n values, and the sum of squares s,
//! mean += d / n, s += d^2 (1 - 1/n); z = (v - mean) / sqrt(s / n).
//!
//! One outlier must not spoil the scale of a column for long: after the first values a value counts
//! for at most some standard deviations from the mean when the statistics learn from it.

use serde::{Deserialize, Serialize};

use super::bits;

/// Outliers are told after this many values.
const WARM_UP: f64 = 100.0;

/// Statistics of each column; NaN stands for a missing value.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Running {
    /// A value counts for at most this many standard deviations, squared.
    #[serde(with = "bits")]
    most: f64,
    #[serde(with = "bits")]
    pub counts: Vec<f64>,
    #[serde(with = "bits")]
    pub means: Vec<f64>,
    /// One over the counts, 0 before the first value.
    #[serde(with = "bits")]
    pub inverses: Vec<f64>,
    /// Sums of squared distances from the mean.
    #[serde(with = "bits")]
    pub squares: Vec<f64>,
}

impl Running {
    pub fn new(columns: usize, max_deviations: f64) -> Running {
        let zeros = vec![0.0; columns];
        let most = max_deviations * max_deviations;
        Running {
            most,
            counts: zeros.clone(),
            inverses: zeros.clone(),
            means: zeros.clone(),
            squares: zeros,
        }
    }

    /// The statistics of some columns.
    pub fn select(&self, columns: impl Iterator<Item = usize>) -> Running {
        let mut some = Running { most: self.most, ..Running::default() };
        for i in columns {
            some.counts.push(self.counts[i]);
            some.means.push(self.means[i]);
            some.inverses.push(self.inverses[i]);
            some.squares.push(self.squares[i]);
        }
        some
    }

    /// Forgets what was seen of a column.
    pub fn reset(&mut self, j: usize) {
        (self.counts[j], self.means[j], self.inverses[j], self.squares[j]) = (0.0, 0.0, 0.0, 0.0);
    }

    /// Learns from one value of each column.
    pub fn learn(&mut self, values: &[f64]) {
        // All columns have seen as many values, none is missing and none far out: the usual event,
        // without a branch per column. Both ways give the same bits.
        let count = self.counts.first().copied().unwrap_or(0.0);
        // A mask of integers, since a loop over `bool`s is not made into vector instructions.
        let mut unusual = 0_u64;
        let columns = self.counts.iter().zip(&self.means).zip(&self.squares);
        for (((own_count, mean), squares), v) in columns.zip(values) {
            unusual |= u64::from(*own_count != count);
            unusual |= u64::from(!near(v - mean, count, *squares, self.most));
        }
        if unusual != 0 {
            for (j, v) in values.iter().enumerate().filter(|(_, v)| !v.is_nan()) {
                self.learn_one(j, *v);
            }
            return;
        }
        let inverse = 1.0 / (count + 1.0);
        self.counts.fill(count + 1.0);
        self.inverses.fill(inverse);
        for ((mean, squares), v) in self.means.iter_mut().zip(&mut self.squares).zip(values) {
            (*mean, *squares) = learned(*mean, *squares, v - *mean, inverse);
        }
    }

    pub fn learn_one(&mut self, j: usize, v: f64) {
        let (count, mean, squares) = (self.counts[j], self.means[j], self.squares[j]);
        let mut d = v - mean;
        if count >= WARM_UP && squares > 0.0 && !near(d, count, squares, self.most) {
            let most = (self.most * squares / count).sqrt();
            d = d.clamp(-most, most);
        }
        let inverse = 1.0 / (count + 1.0);
        (self.counts[j], self.inverses[j]) = (count + 1.0, inverse);
        (self.means[j], self.squares[j]) = learned(mean, squares, d, inverse);
    }

    /// The standardized value of one number of column `j`, not clipped, by the operations of [`Running::transform`].
    pub fn place(&self, j: usize, value: f64) -> f32 {
        let variance = (self.squares[j] * self.inverses[j]) as f32;
        scaled((value - self.means[j]) as f32, variance, f32::INFINITY)
    }

    /// Standardized values of all columns, clipped; 0 where one is missing or all were the same.
    pub fn transform(&self, values: &[f64], clip: f32, z: &mut [f32]) {
        // In two loops, each of which fits the registers of its type: one loop is thrice as slow.
        // The distance in f64, as value and mean may be large; the root in f32.
        const CHUNK: usize = 16;
        for (c, z) in z[..values.len()].chunks_mut(CHUNK).enumerate() {
            let at = c * CHUNK..c * CHUNK + z.len();
            let mut variances = [0.0; CHUNK];
            let scales = self.squares[at.clone()].iter().zip(&self.inverses[at.clone()]);
            for (variance, (squares, inverse)) in variances.iter_mut().zip(scales) {
                *variance = (squares * inverse) as f32;
            }
            for ((z, v), mean) in z.iter_mut().zip(&values[at.clone()]).zip(&self.means[at]) {
                *z = (v - mean) as f32;
            }
            for (z, variance) in z.iter_mut().zip(&variances) {
                *z = scaled(*z, *variance, clip);
            }
        }
    }
}

/// Whether a distance is one that counts in full.
#[inline]
fn near(d: f64, count: f64, squares: f64, most: f64) -> bool {
    d * d * count <= most * squares
}

#[inline]
fn learned(mean: f64, squares: f64, d: f64, inverse: f64) -> (f64, f64) {
    (mean + d * inverse, squares + d * (d - d * inverse))
}

/// 0 where the distance is NaN (missing) or the variance is 0, in comparisons without branches.
#[inline]
fn scaled(distance: f32, variance: f32, clip: f32) -> f32 {
    let z = distance / variance.sqrt();
    let z = if z > clip { clip } else { z };
    let z = if z < -clip { -clip } else { z };
    if variance >= f32::MIN_POSITIVE && z >= -clip { z } else { 0.0 }
}
