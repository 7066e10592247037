//! Reductions and ops that move elements.

use super::indices::{broadcast_position, each, position, reduced, reduced_shape};
use super::{Call, Real, Value};
use crate::graph::DType;
use crate::op::Op;

impl<T: Real> Call<'_, T> {
    /// Each output element is an input's element or `fill`: `source(flat)` names (input, position).
    pub(super) fn moved(
        &self,
        source: impl Fn(usize) -> Option<(usize, usize)>,
        fill: T,
    ) -> Value<T> {
        let places = (0..self.y.len()).map(source);
        match self.y.dtype {
            DType::F32 => Value::Float(
                places.map(|place| place.map_or(fill, |(x, at)| self.floats(x)[at])).collect(),
            ),
            DType::I32 => Value::Int(
                places.map(|place| place.map_or(0, |(x, at)| self.ints(x)[at])).collect(),
            ),
        }
    }

    pub(super) fn movement(&self) -> Value<T> {
        let mut sources = Vec::with_capacity(self.y.len());
        each(&self.y.shape, |_, index| sources.push(self.source_of(index)));
        let fill = match self.y.op {
            Op::Pad { value, .. } => T::of(value),
            _ => T::ZERO,
        };
        self.moved(|flat| sources[flat], fill)
    }

    /// Where the output element at `index` comes from: (input, position).
    fn source_of(&self, index: &[usize]) -> Option<(usize, usize)> {
        let shape = self.dims(0);
        match &self.y.op {
            Op::BroadcastTo(_) => Some((0, broadcast_position(shape, index))),
            Op::Transpose(permutation) => {
                let mut from = vec![0; index.len()];
                for (to, &axis) in permutation.iter().enumerate() {
                    from[axis] = index[to];
                }
                Some((0, position(shape, &from)))
            }
            Op::Concat { axis } => {
                let mut from = index.to_vec();
                let mut input = 0;
                while from[*axis] >= self.dims(input)[*axis] {
                    from[*axis] -= self.dims(input)[*axis];
                    input += 1;
                }
                Some((input, position(self.dims(input), &from)))
            }
            Op::Slice { start, .. } => {
                let from: Vec<_> = index.iter().zip(start).map(|(i, start)| i + start).collect();
                Some((0, position(shape, &from)))
            }
            Op::Pad { before, .. } => {
                let inside = |axis: usize| {
                    index[axis].checked_sub(before[axis]).filter(|&i| i < shape[axis])
                };
                let from: Option<Vec<_>> = (0..index.len()).map(inside).collect();
                from.map(|from| (0, position(shape, &from)))
            }
            _ => None,
        }
    }

    /// `scale` times the sum.
    pub(super) fn reduce_sum(&self, axes: &[usize], scale: T) -> Vec<T> {
        let (x, shape) = (self.floats(0), self.dims(0));
        let mut y = self.zeros();
        let kept = reduced_shape(shape, axes);
        each(shape, |flat, index| y[position(&kept, &reduced(index, axes))] += x[flat]);
        y.into_iter().map(|sum| sum * scale).collect()
    }

    pub(super) fn reduce_mean(&self, axes: &[usize]) -> Vec<T> {
        let values: usize = axes.iter().map(|&axis| self.dims(0)[axis]).product();
        self.reduce_sum(axes, T::ONE / T::count(values))
    }

    pub(super) fn reduce_max(&self, axes: &[usize]) -> Vec<T> {
        let (x, shape) = (self.floats(0), self.dims(0));
        let kept = reduced_shape(shape, axes);
        let mut y: Vec<Option<T>> = vec![None; self.y.len()];
        each(shape, |flat, index| {
            let best = &mut y[position(&kept, &reduced(index, axes))];
            *best = Some(best.map_or(x[flat], |best| best.larger(x[flat])));
        });
        y.into_iter().map(|best| best.unwrap_or(T::ZERO)).collect()
    }

    /// `(x, y, dy)`: each of the k values equal to the maximum gets dy / k.
    pub(super) fn reduce_max_grad(&self, axes: &[usize]) -> Vec<T> {
        let (x, y, dy, shape) = (self.floats(0), self.floats(1), self.floats(2), self.dims(0));
        let kept = reduced_shape(shape, axes);
        let mut ties = vec![T::ZERO; y.len()];
        each(shape, |flat, index| {
            let at = position(&kept, &reduced(index, axes));
            if x[flat] == y[at] {
                ties[at] += T::ONE;
            }
        });
        let mut dx = self.zeros();
        each(shape, |flat, index| {
            let at = position(&kept, &reduced(index, axes));
            if x[flat] == y[at] {
                dx[flat] = dy[at] / ties[at];
            }
        });
        dx
    }
}
