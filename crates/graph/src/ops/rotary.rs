//! Rotary positions: heads of queries and keys that are turned by where they stand.

use super::Family;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// Rotary position embedding (Su et al. 2021): pairs of a head's values are turned by an angle that grows with the
/// position, so that the product of a query and a key depends on the distance between them and on no position alone.
///
/// `(x[b, t, width]) -> y[b, t, width]`, or `(x, positions i32[b, t]) -> y`. A row starts with `heads` heads of `dim` values
/// that are turned; what comes after them stays as it is. In a head the values `i` and `i + dim / 2` are a pair, as in
/// GPT-NeoX and Llama; it is turned by `position / base^(2 i / dim)` radians.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotary {
    /// Heads that are turned.
    pub heads: usize,
    /// Values of a head: an even number.
    pub dim: usize,
    /// The wavelengths are from 2 pi to nearly `base` times that.
    pub base: f64,
    /// Where rows stand: at their index in time, or (some) at the positions that are given, below this number. A row whose
    /// position is not gives NaN.
    pub room: Option<usize>,
    /// Whether rows are turned back, as their gradients are.
    pub inverse: bool,
}

impl Rotary {
    /// The angle of pair `i` at a position, in radians.
    pub fn angle(&self, position: usize, i: usize) -> f64 {
        position as f64 / self.base.powf(2.0 * i as f64 / self.dim as f64)
    }
}

impl Family for Rotary {
    fn name(&self) -> &'static str {
        if self.inverse { "rotary_inverse" } else { "rotary" }
    }

    fn inputs(&self) -> Inputs {
        const BOTH: &[Input] = &[Input::FLOAT, Input::integer("positions")];
        Inputs::Each(if self.room.is_some() { BOTH } else { &BOTH[..1] })
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        let &Rotary { heads, dim, base, room, .. } = self;
        dims.at_least_one("heads, values and room", &[heads, dim, room.unwrap_or(1)])?;
        dims.check(dim.is_multiple_of(2), || format!("{dim} values of a head are no pairs"))?;
        dims.check(base > 1.0 && base.is_finite(), || {
            format!("base must be above 1, found {base}")
        })?;
        let [batch, time, width] = dims.rank(0, "x", "batch, time, heads x values")?;
        dims.check(heads.checked_mul(dim).is_some_and(|turned| turned <= width), || {
            format!("{heads} heads of {dim} values are more than the {width} values of a position")
        })?;
        if room.is_some() {
            dims.expect(1, "positions", &[batch, time])?;
        }
        Ok(dims.of(0).to_vec())
    }

    /// A rotation's transpose is its inverse.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        if back.needs(node, 0) {
            let inputs = [&[node.dy], &node.x[1..]].concat();
            let dx = back.apply(Rotary { inverse: !self.inverse, ..*self }, &inputs)?;
            back.give(node, 0, dx)?;
        }
        Ok(())
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let [_, time, width] = [0, 1, 2].map(|i| args.dims(0)[i]);
        let mut y = args.floats(0).to_vec();
        for (row, y) in y.chunks_mut(width).enumerate() {
            let position = match self.room {
                None => Some(row % time),
                Some(room) => usize::try_from(args.ints(1)[row]).ok().filter(|&p| p < room),
            };
            let Some(position) = position else {
                y.fill(T::of(f32::NAN));
                continue;
            };
            for head in y.chunks_mut(self.dim).take(self.heads) {
                let (first, second) = head.split_at_mut(self.dim / 2);
                for (i, (a, b)) in first.iter_mut().zip(second).enumerate() {
                    let angle = self.angle(position, i);
                    let angle = if self.inverse { -angle } else { angle };
                    let (sin, cos) = (T::from_f64(angle.sin()), T::from_f64(angle.cos()));
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
        Ok(y.into())
    }
}
