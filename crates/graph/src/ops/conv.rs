//! Convolutions of NHWC images.

use super::Family;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::indices::{each, position};
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// Settings of a 2-D convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Rows, columns.
    pub stride: [usize; 2],
    /// Rows, columns.
    pub dilation: [usize; 2],
    /// Zeros around the image: top, bottom, left, right.
    pub padding: [usize; 4],
    /// Channel groups; `in_channels` for a depthwise convolution.
    pub groups: usize,
}

/// A 2-D convolution and its gradients.
#[derive(Clone, Debug, PartialEq)]
pub enum Conv {
    /// `(x[b,h,w,c], weight[kh,kw,c/groups,o]) -> [b,h',w',o]`
    Forward(Conv2d),
    /// `(dy, weight) -> dx`; with the shape of x.
    GradInput(Conv2d, Vec<usize>),
    /// `(x, dy) -> dweight`; with the shape of the weight.
    GradWeight(Conv2d, Vec<usize>),
}

/// The shapes of a convolution and of its gradients; x is always the forward input, y the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Rows of x.
    pub in_h: usize,
    /// Columns of x.
    pub in_w: usize,
    /// Channels of x, a multiple of `groups`.
    pub in_c: usize,
    /// Rows of y.
    pub out_h: usize,
    /// Columns of y.
    pub out_w: usize,
    /// Channels of y, a multiple of `groups`.
    pub out_c: usize,
    /// Rows of the kernel.
    pub kernel_h: usize,
    /// Columns of the kernel.
    pub kernel_w: usize,
    /// Step between output pixels: rows, columns.
    pub stride: [usize; 2],
    /// Step between taps: rows, columns.
    pub dilation: [usize; 2],
    /// Zeros above the image; those below follow from `out_h`.
    pub pad_top: usize,
    /// Zeros left of the image; those to the right follow from `out_w`.
    pub pad_left: usize,
    /// Channel groups: output group g sees input group g only.
    pub groups: usize,
}

impl ConvShape {
    /// The convolution of tensors of these dims, which fit.
    pub fn new(conv: Conv2d, x: &[usize], weight: &[usize], y: &[usize]) -> ConvShape {
        ConvShape {
            batch: x[0],
            in_h: x[1],
            in_w: x[2],
            in_c: x[3],
            out_h: y[1],
            out_w: y[2],
            out_c: y[3],
            kernel_h: weight[0],
            kernel_w: weight[1],
            stride: conv.stride,
            dilation: conv.dilation,
            pad_top: conv.padding[0],
            pad_left: conv.padding[2],
            groups: conv.groups,
        }
    }

    /// Values of x.
    pub fn x_len(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.in_c
    }

    /// Values of y.
    pub fn y_len(&self) -> usize {
        self.batch * self.out_h * self.out_w * self.out_c
    }

    /// Values of the weight.
    pub fn w_len(&self) -> usize {
        self.kernel_h * self.kernel_w * (self.in_c / self.groups) * self.out_c
    }

    /// Floating-point operations of the forward pass; each gradient has the same number.
    pub fn flops(&self) -> usize {
        2 * self.batch * self.out_h * self.out_w * self.w_len()
    }
}

impl Family for Conv {
    fn name(&self) -> &'static str {
        match self {
            Conv::Forward(_) => "conv2d",
            Conv::GradInput(..) => "conv2d_grad_input",
            Conv::GradWeight(..) => "conv2d_grad_weight",
        }
    }

    fn inputs(&self) -> Inputs {
        Inputs::Each(&[Input::FLOAT, Input::FLOAT])
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        let weight = "kernel rows, kernel columns, channels / groups, filters";
        match self {
            Conv::Forward(conv) => {
                image(dims, 0)?;
                dims.rank::<4>(1, "a weight", weight)?;
                conv.output(dims, dims.of(0), dims.of(1))
            }
            Conv::GradInput(conv, input) => {
                dims.check_size(input)?;
                dims.rank::<4>(1, "a weight", weight)?;
                let output = conv.output(dims, input, dims.of(1))?;
                dims.expect(0, "dy", &output)?;
                Ok(input.clone())
            }
            Conv::GradWeight(conv, weight) => {
                dims.check_size(weight)?;
                image(dims, 0)?;
                let output = conv.output(dims, dims.of(0), weight)?;
                dims.expect(1, "dy", &output)?;
                Ok(weight.clone())
            }
        }
    }

    /// y[p, o] = sum over taps t and channels c of x[p s + t, c] w[t, c, o].
    /// dx scatters dy w^T back to the pixels that a window saw; dw sums x dy over all windows.
    /// Saves x and w.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        let conv = match self {
            Conv::Forward(conv) => *conv,
            Conv::GradInput(..) | Conv::GradWeight(..) => return back.no_second_derivative(node),
        };
        let (x, weight) = (node.x[0], node.x[1]);
        if back.needs(node, 0) {
            let op = Conv::GradInput(conv, back.shape(x));
            let dx = back.apply(op, &[node.dy, weight])?;
            back.give(node, 0, dx)?;
        }
        if back.needs(node, 1) {
            let op = Conv::GradWeight(conv, back.shape(weight));
            let dweight = back.apply(op, &[x, node.dy])?;
            back.give(node, 1, dweight)?;
        }
        Ok(())
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let (a, b) = (args.floats(0), args.floats(1));
        let (a_dims, b_dims, result) = (args.dims(0), args.dims(1), &args.y.shape);
        let mut out = args.zeros();
        match self {
            Conv::Forward(conv) => products(conv, a_dims, b_dims, result, |x, weight, y| {
                out[y] += a[x] * b[weight];
            }),
            Conv::GradInput(conv, _) => products(conv, result, b_dims, a_dims, |x, weight, y| {
                out[x] += a[y] * b[weight];
            }),
            Conv::GradWeight(conv, _) => products(conv, a_dims, result, b_dims, |x, weight, y| {
                out[weight] += a[x] * b[y];
            }),
        }
        Ok(out.into())
    }
}

impl Conv2d {
    fn output(&self, dims: &Dims<'_>, input: &[usize], weight: &[usize]) -> Shape {
        let (&[b, h, w, c], &[kh, kw, group_channels, filters]) = (input, weight) else {
            return Err(dims.error(format!(
                "expected four dims each, found images {input:?} and weight {weight:?}"
            )));
        };
        let groups = self.groups;
        dims.at_least_one("stride", &self.stride)?;
        dims.at_least_one("dilation", &self.dilation)?;
        dims.at_least_one("groups", &[groups])?;
        if !c.is_multiple_of(groups) {
            return Err(dims
                .error(format!("{groups} groups do not divide the {c} channels of {input:?}"))
                .help(format!("use one of {:?}", divisors(c))));
        }
        if !filters.is_multiple_of(groups) {
            return Err(dims
                .error(format!("{groups} groups do not divide the {filters} filters of {weight:?}"))
                .help(format!("use {} filters", filters.next_multiple_of(groups))));
        }
        if group_channels != c / groups {
            return Err(dims.error(format!(
                "expected a weight for {} channels a group, found images {input:?} and weight \
                 {weight:?} in {groups} groups",
                c / groups
            )));
        }
        let [top, bottom, left, right] = self.padding;
        let rows = positions(h, kh, self.stride[0], self.dilation[0], [top, bottom]);
        let columns = positions(w, kw, self.stride[1], self.dilation[1], [left, right]);
        let (Some(rows), Some(columns)) = (rows, columns) else {
            return Err(too_large(dims, "kernel", [kh, kw], self.dilation, self.padding, input));
        };
        Ok(vec![b, rows, columns, filters])
    }
}

/// An input that must be images.
pub(super) fn image(dims: &Dims<'_>, index: usize) -> Result<[usize; 4], GraphError> {
    let legend = "batch, height, width, channels";
    dims.rank(index, "images", legend).map_err(|error| match dims.of(index).len() {
        3 => error.help("add a channel dim: a grey image has 1 channel"),
        2 => error.help("reshape the rows to images; was the input flattened too early?"),
        _ => error,
    })
}

/// Number of window positions along one axis: windows of `size` values, `dilation` apart, over
/// `input` values with padding before and after. Nothing if no window fits or on overflow.
pub(super) fn positions(
    input: usize,
    size: usize,
    stride: usize,
    dilation: usize,
    padding: [usize; 2],
) -> Option<usize> {
    let padded = input.checked_add(padding[0])?.checked_add(padding[1])?;
    let extent = size.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    padded.checked_sub(extent)?.checked_div(stride)?.checked_add(1)
}

/// The error of a window that does not fit anywhere.
pub(super) fn too_large(
    dims: &Dims<'_>,
    what: &str,
    size: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 4],
    input: &[usize],
) -> GraphError {
    let dilated = match dilation {
        [1, 1] => String::new(),
        [rows, columns] => format!(" with dilation {rows}x{columns}"),
    };
    let [top, bottom, left, right] = padding;
    let height = input[1].saturating_add(top).saturating_add(bottom);
    let width = input[2].saturating_add(left).saturating_add(right);
    dims.error(format!(
        "a {}x{} {what}{dilated} does not fit into the padded image of {height}x{width}, \
         found shape {input:?}",
        size[0], size[1]
    ))
    .help(format!("use a smaller {what}, \"same\" padding, or fewer strides before this layer"))
}

fn divisors(n: usize) -> Vec<usize> {
    // Enough to choose from; channel counts are small, but a user may give any number.
    (1..=n.min(4096)).filter(|&d| n.is_multiple_of(d)).collect()
}

/// Position in the image that tap `tap` of output `output` sees, unless it is padding.
pub(super) fn pixel(
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
    each(y, |y_at, index| {
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
