//! Maxima and means over windows of NHWC images.

use super::Family;
use super::conv::{image, pixel, positions, too_large};
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::indices::{each, position};
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// A pooling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2d {
    /// Rows, columns.
    pub size: [usize; 2],
    /// Rows, columns.
    pub stride: [usize; 2],
    /// Around the image: top, bottom, left, right. Padding never wins a maximum.
    pub padding: [usize; 4],
    /// Whether an average counts padding (PyTorch's default) or not (Keras).
    pub count_padding: bool,
}

/// Pooling and its gradients.
#[derive(Clone, Debug, PartialEq)]
pub enum Pool {
    /// `(x[b,h,w,c]) -> [b,h',w',c]`
    Max(Pool2d),
    /// `(x, y, dy) -> dx`; the first maximum in row order gets the gradient.
    MaxGrad(Pool2d),
    /// `(x[b,h,w,c]) -> [b,h',w',c]`
    Average(Pool2d),
    /// `(dy) -> dx` of the given shape.
    AverageGrad(Pool2d, Vec<usize>),
}

/// The shapes of a pooling: x `[batch, in_h, in_w, channels]`, y `[batch, out_h, out_w, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Images.
    pub batch: usize,
    /// Rows of x.
    pub in_h: usize,
    /// Columns of x.
    pub in_w: usize,
    /// Channels of x and y.
    pub channels: usize,
    /// Rows of y.
    pub out_h: usize,
    /// Columns of y.
    pub out_w: usize,
    /// Rows, columns of the window.
    pub size: [usize; 2],
    /// Rows, columns between windows.
    pub stride: [usize; 2],
    /// Padding above the image; that below follows from `out_h`.
    pub pad_top: usize,
    /// Padding left of the image; that to the right follows from `out_w`.
    pub pad_left: usize,
    /// Whether an average counts padding.
    pub count_padding: bool,
}

impl PoolShape {
    /// The pooling of tensors of these dims, which fit.
    pub fn new(pool: Pool2d, x: &[usize], y: &[usize]) -> PoolShape {
        PoolShape {
            batch: x[0],
            in_h: x[1],
            in_w: x[2],
            channels: x[3],
            out_h: y[1],
            out_w: y[2],
            size: pool.size,
            stride: pool.stride,
            pad_top: pool.padding[0],
            pad_left: pool.padding[2],
            count_padding: pool.count_padding,
        }
    }

    /// Values of x.
    pub fn x_len(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.channels
    }

    /// Values of y.
    pub fn y_len(&self) -> usize {
        self.batch * self.out_h * self.out_w * self.channels
    }
}

impl Family for Pool {
    fn name(&self) -> &'static str {
        match self {
            Pool::Max(_) => "max_pool2d",
            Pool::MaxGrad(_) => "max_pool2d_grad",
            Pool::Average(_) => "avg_pool2d",
            Pool::AverageGrad(..) => "avg_pool2d_grad",
        }
    }

    fn inputs(&self) -> Inputs {
        Inputs::Each(match self {
            Pool::Max(_) | Pool::Average(_) | Pool::AverageGrad(..) => &[Input::FLOAT],
            Pool::MaxGrad(_) => &[Input::FLOAT, Input::FLOAT, Input::FLOAT],
        })
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        match self {
            Pool::Max(pool) | Pool::Average(pool) => pool.output(dims, &image(dims, 0)?),
            Pool::MaxGrad(pool) => {
                let output = pool.output(dims, &image(dims, 0)?)?;
                dims.expect(1, "y", &output)?;
                dims.expect(2, "dy", &output)?;
                Ok(dims.of(0).to_vec())
            }
            Pool::AverageGrad(pool, input) => {
                dims.check_size(input)?;
                let output = match <&[usize; 4]>::try_from(&input[..]) {
                    Ok(image) => pool.output(dims, image)?,
                    Err(_) => {
                        let message = format!("expected an input of four dims, found {input:?}");
                        return Err(dims.error(message));
                    }
                };
                dims.expect(0, "dy", &output)?;
                Ok(input.clone())
            }
        }
    }

    /// y = max of a window: dy goes to the window's first maximum; saves x and y.
    /// y = mean of a window of n values: dy / n to each of them; saves nothing.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        let dx = match self {
            Pool::Max(pool) => back.apply(Pool::MaxGrad(*pool), &[node.x[0], node.y, node.dy])?,
            Pool::Average(pool) => {
                let op = Pool::AverageGrad(*pool, back.shape(node.x[0]));
                back.apply(op, &[node.dy])?
            }
            Pool::MaxGrad(_) | Pool::AverageGrad(..) => return back.no_second_derivative(node),
        };
        back.give(node, 0, dx)
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let (x, dims, result) = (args.floats(0), args.dims(0), &args.y.shape);
        let mut out = args.zeros();
        match self {
            Pool::Max(pool) => {
                let mut best: Vec<Option<T>> = vec![None; out.len()];
                windows(pool, dims, result, |x_at, y_at| {
                    best[y_at] = Some(best[y_at].map_or(x[x_at], |best| best.larger(x[x_at])));
                });
                // The shape rule sees to it that each window has a pixel.
                out = best.into_iter().map(|best| best.unwrap_or(T::ZERO)).collect();
            }
            Pool::MaxGrad(pool) => {
                let (y, dy) = (args.floats(1), args.floats(2));
                let mut given = vec![false; y.len()];
                windows(pool, dims, args.dims(1), |x_at, y_at| {
                    if x[x_at] == y[y_at] && !given[y_at] {
                        given[y_at] = true;
                        out[x_at] += dy[y_at];
                    }
                });
            }
            Pool::Average(pool) => {
                let counts = counts::<T>(pool, dims, result);
                windows(pool, dims, result, |x_at, y_at| out[y_at] += x[x_at]);
                out = out.iter().zip(counts).map(|(&sum, count)| sum / count).collect();
            }
            Pool::AverageGrad(pool, _) => {
                let (dy, y_dims) = (x, dims);
                let counts = counts::<T>(pool, result, y_dims);
                windows(pool, result, y_dims, |x_at, y_at| out[x_at] += dy[y_at] / counts[y_at]);
            }
        }
        Ok(out.into())
    }
}

impl Pool2d {
    fn output(&self, dims: &Dims<'_>, input: &[usize; 4]) -> Shape {
        let &[b, h, w, c] = input;
        dims.at_least_one("size", &self.size)?;
        dims.at_least_one("stride", &self.stride)?;
        let [top, bottom, left, right] = self.padding;
        let most = [self.size[0], self.size[0], self.size[1], self.size[1]];
        // A window that saw padding alone would have no maximum and no average.
        if self.padding.iter().zip(most).any(|(&padding, size)| padding >= size) {
            return Err(dims
                .error(format!(
                    "padding {:?} is not smaller than the window {:?}",
                    self.padding, self.size
                ))
                .help("pad less than the window's size on each side"));
        }
        let rows = positions(h, self.size[0], self.stride[0], 1, [top, bottom]);
        let columns = positions(w, self.size[1], self.stride[1], 1, [left, right]);
        let (Some(rows), Some(columns)) = (rows, columns) else {
            return Err(too_large(dims, "window", self.size, [1, 1], self.padding, input));
        };
        Ok(vec![b, rows, columns, c])
    }
}

/// Calls `f(x, y)` with the positions of every pixel in every window, windows in row order and
/// each window's pixels in row order.
fn windows(pool: &Pool2d, x: &[usize], y: &[usize], mut f: impl FnMut(usize, usize)) {
    each(y, |y_at, index| {
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
