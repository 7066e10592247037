//! Random zeros.

use super::Family;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::random::DropoutMask;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// `(x, key[4] i32) -> x`'s shape: keeps each element with probability `1 - rate` and scales it
/// by `1 / (1 - rate)`. The mask is a function of (key, stream, element index) by Philox 4x32-10
/// (Salmon et al. 2011), so nothing is stored and the gradient is the same op on dy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Probability of a zero.
    pub rate: f32,
    /// Number of the dropout within the model; separates their random streams.
    pub stream: u32,
}

impl Family for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn inputs(&self) -> Inputs {
        const KEY: Input = Input::integer("a key");
        Inputs::Each(&[Input::FLOAT, KEY])
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        dims.check((0.0..1.0).contains(&self.rate), || {
            format!("rate must be at least 0 and below 1, found {}", self.rate)
        })?;
        dims.expect(1, "a key", &[4])?;
        Ok(dims.of(0).to_vec())
    }

    /// y = m x with the mask m a function of the key: dx = m dy, the same op. Saves nothing.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        let dx = back.apply(*self, &[node.dy, node.x[1]])?;
        back.give(node, 0, dx)
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let key = args.ints(1);
        let mask = DropoutMask::new(self.rate, self.stream, [key[0], key[1], key[2], key[3]]);
        let x = args.floats(0).iter().enumerate();
        let y: Vec<T> = x.map(|(index, &x)| x * T::of(mask.factor(index as u64))).collect();
        Ok(y.into())
    }
}
