//! Convolution and pooling on NHWC images.

use super::{Call, Shape};
use crate::error::GraphError;
use crate::op::{Conv2d, Op, Pool2d};

/// Number of window positions along one axis: windows of `size` values, `dilation` apart, over
/// `input` values with `before` and `after` zeros around. Nothing if no window fits or on overflow.
pub fn output_size(
    input: usize,
    size: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    after: usize,
) -> Option<usize> {
    let padded = input.checked_add(before)?.checked_add(after)?;
    let extent = size.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    padded.checked_sub(extent)?.checked_div(stride)?.checked_add(1)
}

impl Call<'_> {
    pub(super) fn conv(&self, conv: &Conv2d) -> Shape {
        self.image(0, "images")?;
        self.rank::<4>(1, "a weight", "kernel rows, kernel columns, channels / groups, filters")?;
        self.conv_shape(conv, self.dims(0), self.dims(1))
    }

    pub(super) fn conv_grad_input(&self, conv: &Conv2d, input: &[usize]) -> Shape {
        self.check_size(input)?;
        self.rank::<4>(1, "a weight", "kernel rows, kernel columns, channels / groups, filters")?;
        let output = self.conv_shape(conv, input, self.dims(1))?;
        self.expect(0, "dy", &output)?;
        Ok(input.to_vec())
    }

    pub(super) fn conv_grad_weight(&self, conv: &Conv2d, weight: &[usize]) -> Shape {
        self.check_size(weight)?;
        self.image(0, "images")?;
        let output = self.conv_shape(conv, self.dims(0), weight)?;
        self.expect(1, "dy", &output)?;
        Ok(weight.to_vec())
    }

    fn image(&self, index: usize, what: &str) -> Result<[usize; 4], GraphError> {
        let legend = "batch, height, width, channels";
        self.rank(index, what, legend).map_err(|error| match self.dims(index).len() {
            3 => error.help("add a channel dim: a grey image has 1 channel"),
            2 => error.help("reshape the rows to images; was the input flattened too early?"),
            _ => error,
        })
    }

    fn conv_shape(&self, conv: &Conv2d, input: &[usize], weight: &[usize]) -> Shape {
        let (&[b, h, w, c], &[kh, kw, group_channels, filters]) = (input, weight) else {
            return Err(self.error(format!(
                "expected four dims each, found images {input:?} and weight {weight:?}"
            )));
        };
        let groups = conv.groups;
        self.at_least_one("stride", &conv.stride)?;
        self.at_least_one("dilation", &conv.dilation)?;
        self.at_least_one("groups", &[groups])?;
        if !c.is_multiple_of(groups) {
            return Err(self
                .error(format!("{groups} groups do not divide the {c} channels of {input:?}"))
                .help(format!("use one of {:?}", divisors(c))));
        }
        if !filters.is_multiple_of(groups) {
            return Err(self
                .error(format!("{groups} groups do not divide the {filters} filters of {weight:?}"))
                .help(format!("use {} filters", filters.next_multiple_of(groups))));
        }
        if group_channels != c / groups {
            return Err(self.error(format!(
                "expected a weight for {} channels a group, found images {input:?} and weight \
                 {weight:?} in {groups} groups",
                c / groups
            )));
        }
        let [top, bottom, left, right] = conv.padding;
        let rows = output_size(h, kh, conv.stride[0], conv.dilation[0], top, bottom);
        let columns = output_size(w, kw, conv.stride[1], conv.dilation[1], left, right);
        let (Some(rows), Some(columns)) = (rows, columns) else {
            return Err(self.too_large([kh, kw], conv.dilation, conv.padding, input));
        };
        Ok(vec![b, rows, columns, filters])
    }

    pub(super) fn pool(&self, pool: &Pool2d, input: &[usize]) -> Shape {
        let &[b, h, w, c] = input else {
            return self.image(0, "images").map(|_| vec![]);
        };
        self.at_least_one("size", &pool.size)?;
        self.at_least_one("stride", &pool.stride)?;
        let [top, bottom, left, right] = pool.padding;
        let most = [pool.size[0], pool.size[0], pool.size[1], pool.size[1]];
        // A window that saw padding alone would have no maximum and no average.
        if pool.padding.iter().zip(most).any(|(&padding, size)| padding >= size) {
            return Err(self
                .error(format!(
                    "padding {:?} is not smaller than the window {:?}",
                    pool.padding, pool.size
                ))
                .help("pad less than the window's size on each side"));
        }
        let rows = output_size(h, pool.size[0], pool.stride[0], 1, top, bottom);
        let columns = output_size(w, pool.size[1], pool.stride[1], 1, left, right);
        let (Some(rows), Some(columns)) = (rows, columns) else {
            return Err(self.too_large(pool.size, [1, 1], pool.padding, input));
        };
        Ok(vec![b, rows, columns, c])
    }

    pub(super) fn max_pool_grad(&self, pool: &Pool2d) -> Shape {
        let output = self.pool(pool, self.dims(0))?;
        self.expect(1, "y", &output)?;
        self.expect(2, "dy", &output)?;
        Ok(self.dims(0).to_vec())
    }

    pub(super) fn avg_pool_grad(&self, pool: &Pool2d, input: &[usize]) -> Shape {
        if input.len() != 4 {
            return Err(self.error(format!("expected an input of four dims, found {input:?}")));
        }
        self.check_size(input)?;
        let output = self.pool(pool, input)?;
        self.expect(0, "dy", &output)?;
        Ok(input.to_vec())
    }

    fn at_least_one(&self, what: &str, values: &[usize]) -> Result<(), GraphError> {
        if values.contains(&0) {
            return Err(self.error(format!("{what} must be at least 1, found {values:?}")));
        }
        Ok(())
    }

    fn too_large(
        &self,
        size: [usize; 2],
        dilation: [usize; 2],
        padding: [usize; 4],
        input: &[usize],
    ) -> GraphError {
        let what = if matches!(self.op, Op::MaxPool2d(_) | Op::AvgPool2d(_)) {
            "window"
        } else {
            "kernel"
        };
        let dilated = match dilation {
            [1, 1] => String::new(),
            [rows, columns] => format!(" with dilation {rows}x{columns}"),
        };
        let [top, bottom, left, right] = padding;
        let height = input[1].saturating_add(top).saturating_add(bottom);
        let width = input[2].saturating_add(left).saturating_add(right);
        self.error(format!(
            "a {}x{} {what}{dilated} does not fit into the padded image of {height}x{width}, \
             found shape {input:?}",
            size[0], size[1]
        ))
        .help(format!("use a smaller {what}, \"same\" padding, or fewer strides before this layer"))
    }
}

fn divisors(n: usize) -> Vec<usize> {
    // Enough to choose from; channel counts are small, but a user may give any number.
    (1..=n.min(4096)).filter(|&d| n.is_multiple_of(d)).collect()
}
