//! Convolution and pooling.

use super::indices::position;
use super::{Call, Real};
use crate::op::{Conv2d, Pool2d};

/// Position in the image that tap `tap` of output `output` sees, unless it is padding.
fn pixel(
    output: usize,
    tap: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    size: usize,
) -> Option<usize> {
    (output * stride + tap * dilation).checked_sub(before).filter(|&at| at < size)
}

/// Calls `f(x, weight, y)` with the positions of every product `x[..] * weight[..]` that is part of
/// `y[..]`. The convolution and both gradients are sums over these.
fn products(
    conv: &Conv2d,
    x: &[usize],
    weight: &[usize],
    y: &[usize],
    mut f: impl FnMut(usize, usize, usize),
) {
    let [kernel_rows, kernel_columns, channels, _] = [weight[0], weight[1], weight[2], weight[3]];
    let filters_per_group = y[3] / conv.groups;
    super::indices::each(y, |y_at, index| {
        let [b, row, column, o] = [index[0], index[1], index[2], index[3]];
        let group = o / filters_per_group;
        for i in 0..kernel_rows {
            for j in 0..kernel_columns {
                let h = pixel(row, i, conv.stride[0], conv.dilation[0], conv.padding[0], x[1]);
                let w = pixel(column, j, conv.stride[1], conv.dilation[1], conv.padding[2], x[2]);
                let (Some(h), Some(w)) = (h, w) else { continue };
                for c in 0..channels {
                    let x_at = position(x, &[b, h, w, group * channels + c]);
                    f(x_at, position(weight, &[i, j, c, o]), y_at);
                }
            }
        }
    });
}

/// Calls `f(x, y)` with the positions of every pixel in every window, windows in row order and
/// each window's pixels in row order.
fn windows(pool: &Pool2d, x: &[usize], y: &[usize], mut f: impl FnMut(usize, usize)) {
    super::indices::each(y, |y_at, index| {
        let [b, row, column, c] = [index[0], index[1], index[2], index[3]];
        for i in 0..pool.size[0] {
            for j in 0..pool.size[1] {
                let h = pixel(row, i, pool.stride[0], 1, pool.padding[0], x[1]);
                let w = pixel(column, j, pool.stride[1], 1, pool.padding[2], x[2]);
                if let (Some(h), Some(w)) = (h, w) {
                    f(position(x, &[b, h, w, c]), y_at);
                }
            }
        }
    });
}

impl<T: Real> Call<'_, T> {
    pub(super) fn conv(&self, conv: &Conv2d) -> Vec<T> {
        let (x, weight) = (self.floats(0), self.floats(1));
        let mut y = self.zeros();
        products(conv, self.dims(0), self.dims(1), &self.y.shape, |x_at, w_at, y_at| {
            y[y_at] += x[x_at] * weight[w_at];
        });
        y
    }

    pub(super) fn conv_grad_input(&self, conv: &Conv2d) -> Vec<T> {
        let (dy, weight) = (self.floats(0), self.floats(1));
        let mut dx = self.zeros();
        products(conv, &self.y.shape, self.dims(1), self.dims(0), |x_at, w_at, y_at| {
            dx[x_at] += dy[y_at] * weight[w_at];
        });
        dx
    }

    pub(super) fn conv_grad_weight(&self, conv: &Conv2d) -> Vec<T> {
        let (x, dy) = (self.floats(0), self.floats(1));
        let mut dweight = self.zeros();
        products(conv, self.dims(0), &self.y.shape, self.dims(1), |x_at, w_at, y_at| {
            dweight[w_at] += x[x_at] * dy[y_at];
        });
        dweight
    }

    pub(super) fn max_pool(&self, pool: &Pool2d) -> Vec<T> {
        let x = self.floats(0);
        let mut y: Vec<Option<T>> = vec![None; self.y.len()];
        windows(pool, self.dims(0), &self.y.shape, |x_at, y_at| {
            y[y_at] = Some(y[y_at].map_or(x[x_at], |best| best.larger(x[x_at])));
        });
        // The shape rule sees to it that each window has a pixel.
        y.into_iter().map(|best| best.unwrap_or(T::ZERO)).collect()
    }

    pub(super) fn max_pool_grad(&self, pool: &Pool2d) -> Vec<T> {
        let (x, y, dy) = (self.floats(0), self.floats(1), self.floats(2));
        let mut dx = self.zeros();
        let mut given = vec![false; y.len()];
        windows(pool, self.dims(0), self.dims(1), |x_at, y_at| {
            if x[x_at] == y[y_at] && !given[y_at] {
                given[y_at] = true;
                dx[x_at] += dy[y_at];
            }
        });
        dx
    }

    pub(super) fn avg_pool(&self, pool: &Pool2d) -> Vec<T> {
        let x = self.floats(0);
        let counts = counts::<T>(pool, self.dims(0), &self.y.shape);
        let mut y = self.zeros();
        windows(pool, self.dims(0), &self.y.shape, |x_at, y_at| y[y_at] += x[x_at]);
        y.iter().zip(counts).map(|(&sum, count)| sum / count).collect()
    }

    pub(super) fn avg_pool_grad(&self, pool: &Pool2d) -> Vec<T> {
        let dy = self.floats(0);
        let counts = counts::<T>(pool, &self.y.shape, self.dims(0));
        let mut dx = self.zeros();
        windows(pool, &self.y.shape, self.dims(0), |x_at, y_at| {
            dx[x_at] += dy[y_at] / counts[y_at];
        });
        dx
    }
}

/// By what each window's sum is divided.
fn counts<T: Real>(pool: &Pool2d, x: &[usize], y: &[usize]) -> Vec<T> {
    let total = y.iter().product();
    if pool.count_padding {
        return vec![T::count(pool.size[0] * pool.size[1]); total];
    }
    let mut counts = vec![T::ZERO; total];
    windows(pool, x, y, |_, y_at| counts[y_at] += T::ONE);
    counts
}
