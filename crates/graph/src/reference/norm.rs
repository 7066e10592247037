//! Normalisation, dropout, embedding. A matrix is `[rows, c]`: all dims but the last are rows.

use super::{Call, Real};
use crate::error::GraphError;
use crate::graph::DType;
use crate::random::DropoutMask;

/// Mean and biased variance.
fn moments<T: Real>(values: &[T]) -> (T, T) {
    let n = T::count(values.len());
    let mean = values.iter().copied().sum::<T>() / n;
    let variance = values.iter().map(|&x| (x - mean) * (x - mean)).sum::<T>() / n;
    (mean, variance)
}

fn rsqrt<T: Real>(variance: T, epsilon: f32) -> T {
    T::ONE / (variance + T::of(epsilon)).sqrt()
}

/// `dx = r (g - [mean(g)] - h mean(g h))` for one set of normalised values; the mean term is there
/// where the forward op subtracted the mean.
fn normalised_grad<T: Real>(r: T, h: &[T], g: &[T], centered: bool) -> Vec<T> {
    let n = T::count(h.len());
    let mean_g = if centered { g.iter().copied().sum::<T>() / n } else { T::ZERO };
    let mean_gh = g.iter().zip(h).map(|(&g, &h)| g * h).sum::<T>() / n;
    g.iter().zip(h).map(|(&g, &h)| r * (g - mean_g - h * mean_gh)).collect()
}

impl<T: Real> Call<'_, T> {
    /// Channels of input 0.
    fn channels(&self) -> usize {
        self.dims(0).last().copied().unwrap_or(1)
    }

    fn column(&self, input: usize, channel: usize) -> Vec<T> {
        self.floats(input).iter().skip(channel).step_by(self.channels()).copied().collect()
    }

    fn put_column(y: &mut [T], channels: usize, channel: usize, values: Vec<T>) {
        for (row, value) in values.into_iter().enumerate() {
            y[row * channels + channel] = value;
        }
    }

    pub(super) fn channel_moments(&self) -> Vec<T> {
        let c = self.channels();
        let by_channel: Vec<_> = (0..c).map(|channel| moments(&self.column(0, channel))).collect();
        let means = by_channel.iter().map(|m| m.0);
        means.chain(by_channel.iter().map(|m| m.1)).collect()
    }

    /// r and the normalised values of a channel, with the moments of input 1.
    fn normalised_column(&self, channel: usize, epsilon: f32) -> (T, Vec<T>) {
        let moments = self.floats(1);
        let r = rsqrt(moments[self.channels() + channel], epsilon);
        (r, self.column(0, channel).iter().map(|&x| (x - moments[channel]) * r).collect())
    }

    pub(super) fn batch_norm(&self, epsilon: f32) -> Vec<T> {
        let (gamma, beta, c) = (self.floats(2), self.floats(3), self.channels());
        let mut y = self.zeros();
        for (channel, (&gamma, &beta)) in gamma.iter().zip(beta).enumerate() {
            let (_, h) = self.normalised_column(channel, epsilon);
            let values = h.iter().map(|&h| gamma * h + beta).collect();
            Self::put_column(&mut y, c, channel, values);
        }
        y
    }

    pub(super) fn batch_norm_grad_input(&self, epsilon: f32) -> Vec<T> {
        let (gamma, c) = (self.floats(2), self.channels());
        let mut dx = self.zeros();
        for (channel, &gamma) in gamma.iter().enumerate() {
            let (r, h) = self.normalised_column(channel, epsilon);
            let g: Vec<T> = self.column(3, channel).iter().map(|&dy| gamma * dy).collect();
            Self::put_column(&mut dx, c, channel, normalised_grad(r, &h, &g, true));
        }
        dx
    }

    pub(super) fn batch_norm_grad_gamma(&self, epsilon: f32) -> Vec<T> {
        let sum = |channel| {
            let (_, h) = self.normalised_column(channel, epsilon);
            self.column(2, channel).iter().zip(&h).map(|(&dy, &h)| dy * h).sum()
        };
        (0..self.channels()).map(sum).collect()
    }

    /// A count below 2 leaves the variance biased.
    pub(super) fn update_moments(&self, momentum: f32, count: usize) -> Vec<T> {
        let c = self.channels();
        let share = T::of(momentum);
        let unbiased = if count < 2 { T::ONE } else { T::count(count) / T::count(count - 1) };
        let mixed = |(index, (&running, &new)): (usize, (&T, &T))| {
            let new = if index < c { new } else { new * unbiased };
            (T::ONE - share) * running + share * new
        };
        self.floats(0).iter().zip(self.floats(1)).enumerate().map(mixed).collect()
    }

    pub(super) fn layer_norm(&self, epsilon: f32) -> Vec<T> {
        let (gamma, beta) = (self.floats(1), self.floats(2));
        let row = |x: &[T]| {
            let (_, h) = layer_normalised(x, epsilon);
            (0..h.len()).map(|c| gamma[c] * h[c] + beta[c]).collect::<Vec<_>>()
        };
        self.floats(0).chunks(self.channels()).flat_map(row).collect()
    }

    pub(super) fn layer_norm_grad_input(&self, epsilon: f32) -> Vec<T> {
        self.row_norm_grad_input(|x| layer_normalised(x, epsilon), true)
    }

    pub(super) fn layer_norm_grad_gamma(&self, epsilon: f32) -> Vec<T> {
        self.row_norm_grad_gamma(|x| layer_normalised(x, epsilon))
    }

    pub(super) fn rms_norm(&self, epsilon: f32) -> Vec<T> {
        let gamma = self.floats(1);
        let row = |x: &[T]| {
            let (_, h) = rms_normalised(x, epsilon);
            (0..h.len()).map(|c| gamma[c] * h[c]).collect::<Vec<_>>()
        };
        self.floats(0).chunks(self.channels()).flat_map(row).collect()
    }

    pub(super) fn rms_norm_grad_input(&self, epsilon: f32) -> Vec<T> {
        self.row_norm_grad_input(|x| rms_normalised(x, epsilon), false)
    }

    pub(super) fn rms_norm_grad_gamma(&self, epsilon: f32) -> Vec<T> {
        self.row_norm_grad_gamma(|x| rms_normalised(x, epsilon))
    }

    /// `(x, gamma, dy) -> dx`
    fn row_norm_grad_input(&self, row: impl Fn(&[T]) -> (T, Vec<T>), centered: bool) -> Vec<T> {
        let (gamma, c) = (self.floats(1), self.channels());
        let rows = self.floats(0).chunks(c).zip(self.floats(2).chunks(c));
        let dx = |(x, dy): (&[T], &[T])| {
            let (r, h) = row(x);
            let g: Vec<T> = dy.iter().zip(gamma).map(|(&dy, &gamma)| dy * gamma).collect();
            normalised_grad(r, &h, &g, centered)
        };
        rows.flat_map(dx).collect()
    }

    /// `(x, dy) -> dgamma`
    fn row_norm_grad_gamma(&self, row: impl Fn(&[T]) -> (T, Vec<T>)) -> Vec<T> {
        let c = self.channels();
        let mut dgamma = self.zeros();
        for (x, dy) in self.floats(0).chunks(c).zip(self.floats(1).chunks(c)) {
            let (_, h) = row(x);
            for channel in 0..c {
                dgamma[channel] += dy[channel] * h[channel];
            }
        }
        dgamma
    }

    pub(super) fn dropout(&self, rate: f32, stream: u32) -> Vec<T> {
        let key = self.ints(1);
        let mask = DropoutMask::new(rate, stream, [key[0], key[1], key[2], key[3]]);
        let x = self.floats(0).iter().enumerate();
        x.map(|(index, &x)| x * T::of(mask.factor(index as u64))).collect()
    }

    pub(super) fn embedding(&self) -> Result<Vec<T>, GraphError> {
        let (table, width) = (self.floats(0), self.dims(0)[1]);
        let mut y = Vec::with_capacity(self.y.len());
        for id in self.ids(1) {
            let row = row_of(id, self.dims(0)[0])?;
            y.extend_from_slice(&table[row * width..(row + 1) * width]);
        }
        Ok(y)
    }

    /// Input `index` as ids; a float that is none becomes one that no table has.
    fn ids(&self, index: usize) -> Vec<i64> {
        match self.x[index].tensor.dtype {
            DType::I32 => self.ints(index).iter().map(|&id| i64::from(id)).collect(),
            DType::F32 => {
                let whole = |x: f64| if x.fract() == 0.0 { x as i64 } else { -1 };
                self.floats(index).iter().map(|x| whole(x.to_f64())).collect()
            }
        }
    }

    pub(super) fn embedding_grad(&self, rows: usize) -> Result<Vec<T>, GraphError> {
        let width = self.y.shape[1];
        let mut dtable = self.zeros();
        for (id, dy) in self.ids(0).into_iter().zip(self.floats(1).chunks(width)) {
            let row = row_of(id, rows)?;
            for column in 0..width {
                dtable[row * width + column] += dy[column];
            }
        }
        Ok(dtable)
    }

    pub(super) fn embedding_bag(&self) -> Result<Vec<T>, GraphError> {
        let (table, width, tokens) = (self.floats(0), self.dims(0)[1], self.dims(1)[1]);
        let mut y = self.zeros();
        for (i, id) in self.ids(1).into_iter().enumerate().filter(|&(_, id)| id != 0) {
            let row = row_of(id, self.dims(0)[0])?;
            for column in 0..width {
                y[i / tokens * width + column] += table[row * width + column];
            }
        }
        Ok(y)
    }

    pub(super) fn embedding_bag_grad(&self, rows: usize) -> Result<Vec<T>, GraphError> {
        let (width, tokens, dy) = (self.y.shape[1], self.dims(0)[1], self.floats(1));
        let mut dtable = self.zeros();
        for (i, id) in self.ids(0).into_iter().enumerate().filter(|&(_, id)| id != 0) {
            let row = row_of(id, rows)?;
            for column in 0..width {
                dtable[row * width + column] += dy[i / tokens * width + column];
            }
        }
        Ok(dtable)
    }
}

/// r and the normalised values of a row.
fn layer_normalised<T: Real>(x: &[T], epsilon: f32) -> (T, Vec<T>) {
    let (mean, variance) = moments(x);
    let r = rsqrt(variance, epsilon);
    (r, x.iter().map(|&x| (x - mean) * r).collect())
}

/// r and the normalised values of a row.
fn rms_normalised<T: Real>(x: &[T], epsilon: f32) -> (T, Vec<T>) {
    let mean_square = x.iter().map(|&x| x * x).sum::<T>() / T::count(x.len());
    let r = rsqrt(mean_square, epsilon);
    (r, x.iter().map(|&x| x * r).collect())
}

fn row_of(id: i64, rows: usize) -> Result<usize, GraphError> {
    usize::try_from(id).ok().filter(|&row| row < rows).ok_or_else(|| {
        GraphError::new(format!("id {id} is outside the table's rows, 0 to {}", rows - 1))
            .help("make the table as large as the largest id and one")
    })
}
