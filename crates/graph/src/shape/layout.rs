//! Reductions and ops that move elements.

use super::{Call, Shape, count};
use crate::error::GraphError;

impl Call<'_> {
    pub(super) fn reduce(&self, axes: &[usize], keep_dims: bool) -> Shape {
        let dims = self.dims(0);
        self.check_axes(axes)?;
        let keep = |axis: usize, dim: usize| match axes.contains(&axis) {
            false => Some(dim),
            true => keep_dims.then_some(1),
        };
        Ok(dims.iter().enumerate().filter_map(|(axis, &dim)| keep(axis, dim)).collect())
    }

    /// `(x, y, dy)`; y and dy keep their dims.
    pub(super) fn reduce_max_grad(&self, axes: &[usize]) -> Shape {
        let reduced = self.reduce(axes, true)?;
        self.expect(1, "y", &reduced)?;
        self.expect(2, "dy", &reduced)?;
        Ok(self.dims(0).to_vec())
    }

    fn check_axes(&self, axes: &[usize]) -> Result<(), GraphError> {
        let dims = self.dims(0);
        if axes.iter().any(|&axis| axis >= dims.len()) {
            return Err(self.error(format!("axes {axes:?} are not all axes of shape {dims:?}")));
        }
        if axes.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(self.error(format!("axes {axes:?} must be sorted and distinct")));
        }
        Ok(())
    }

    pub(super) fn broadcast_to(&self, shape: &[usize]) -> Shape {
        let dims = self.dims(0);
        if super::broadcast(dims, shape).as_deref() == Some(shape) {
            return Ok(shape.to_vec());
        }
        Err(self
            .error(format!("shape {dims:?} does not broadcast to {shape:?}"))
            .help("dims are aligned at the end; they must be equal, or 1 on the input's side"))
    }

    pub(super) fn reshape(&self, shape: &[usize]) -> Shape {
        let dims = self.dims(0);
        if count(shape).is_some() && count(shape) == count(dims) {
            return Ok(shape.to_vec());
        }
        let total = |shape| count(shape).map_or("too many".to_owned(), |n| n.to_string());
        Err(self.error(format!(
            "shape {dims:?} has {} elements, {shape:?} has {}",
            total(dims),
            total(shape)
        )))
    }

    pub(super) fn transpose(&self, permutation: &[usize]) -> Shape {
        let dims = self.dims(0);
        let mut sorted = permutation.to_vec();
        sorted.sort_unstable();
        if sorted.iter().copied().ne(0..dims.len()) {
            return Err(self.error(format!(
                "{permutation:?} is not a permutation of the {} dims of shape {dims:?}",
                dims.len()
            )));
        }
        Ok(permutation.iter().map(|&axis| dims[axis]).collect())
    }

    pub(super) fn concat(&self, axis: usize) -> Shape {
        let mut shape = self.dims(0).to_vec();
        if axis >= shape.len() {
            return Err(self.error(format!("axis {axis} is not an axis of shape {shape:?}")));
        }
        for index in 1..self.inputs.len() {
            let dims = self.dims(index);
            let fits = dims.len() == shape.len()
                && (0..shape.len()).all(|other| other == axis || dims[other] == shape[other]);
            if !fits {
                return Err(self.error(format!(
                    "shapes {:?} and {dims:?} differ in other dims than axis {axis}",
                    self.dims(0)
                )));
            }
            shape[axis] = shape[axis].saturating_add(dims[axis]);
        }
        Ok(shape)
    }

    pub(super) fn slice(&self, start: &[usize], size: &[usize]) -> Shape {
        let dims = self.dims(0);
        let inside = start.len() == dims.len()
            && size.len() == dims.len()
            && (0..dims.len()).all(|axis| {
                start[axis].checked_add(size[axis]).is_some_and(|end| end <= dims[axis])
            });
        if !inside {
            return Err(self.error(format!(
                "start {start:?} and size {size:?} are not inside shape {dims:?}"
            )));
        }
        Ok(size.to_vec())
    }

    pub(super) fn pad(&self, before: &[usize], after: &[usize]) -> Shape {
        let dims = self.dims(0);
        if before.len() != dims.len() || after.len() != dims.len() {
            return Err(self.error(format!(
                "expected {} numbers before and after for shape {dims:?}, found {before:?} and \
                 {after:?}",
                dims.len()
            )));
        }
        let padded =
            |axis: usize| before[axis].saturating_add(dims[axis]).saturating_add(after[axis]);
        Ok((0..dims.len()).map(padded).collect())
    }
}
