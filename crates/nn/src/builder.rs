//! What a custom layer, loss or metric builds with: declarations, and the common ops by name.
//!
//! All of it is [`Builder::apply`] in the end, which takes any op of [`tidemill_graph`].

use crate::build::{Mode, Start};
use crate::initializers::{Fans, Initializer};
use crate::layer::LayerSpec;
use crate::layers::{At, Builder};
use tidemill_graph::{
    Binary, DType, GraphError, Layout, MatMul, Op, Reduce, Reduction, Role, Sequence, Softmax,
    TensorId, Unary, ops,
};

type Built = Result<TensorId, GraphError>;

/// Declarations, for layers.
impl Builder<'_> {
    /// A learned tensor of the layer, f32. It is part of the state and of checkpoints under the layer's
    /// path and this name.
    ///
    /// # Errors
    /// For a name that the layer has already, or that is none, a dim of 0, and outside of a layer.
    pub fn parameter(&mut self, name: &str, shape: &[usize], initializer: Initializer) -> Built {
        self.check_declared(name, shape)?;
        let id = self.graph.parameter(name, shape);
        self.starts.push((id, Start::Drawn(initializer, Fans::of_kernel(shape))));
        Ok(id)
    }

    /// A tensor of the layer that is kept from step to step but not learned by gradient, such as a
    /// running mean; see [`Builder::assign`].
    ///
    /// # Errors
    /// As [`Builder::parameter`].
    pub fn state(&mut self, name: &str, shape: &[usize], initializer: Initializer) -> Built {
        self.check_declared(name, shape)?;
        let id = self.graph.state(name, shape);
        self.starts.push((id, Start::Drawn(initializer, Fans::of_kernel(shape))));
        Ok(id)
    }

    /// Sets a tensor made by [`Builder::state`] at the end of each training step; what reads it in the
    /// step sees the old value. Does nothing in evaluation, and in a frozen layer.
    ///
    /// # Errors
    /// If it is no state, or the value has another shape.
    pub fn assign(&mut self, state: TensorId, value: TensorId) -> Result<(), GraphError> {
        let (to, from) = (self.graph.tensor(state), self.graph.tensor(value));
        if to.role != Role::State || to.shape != from.shape || from.dtype != DType::F32 {
            return Err(GraphError::new(format!(
                "assign: {} {:?} takes no value of shape {:?}",
                to.name, to.shape, from.shape
            ))
            .help("declare it by `state`, with the shape of the value"));
        }
        if self.learns() {
            self.graph.assignments.push((state, value));
        }
        Ok(())
    }

    /// Built-in or other custom layers inside this one. Their parameters are called
    /// `<this layer>.<name>.<i>.<kind>.<parameter>`.
    ///
    /// # Errors
    /// Those of the layers, with their paths.
    pub fn layers(&mut self, name: &str, layers: &[LayerSpec], x: TensorId) -> Built {
        self.check_declared(name, &[])?;
        // `layers` in a path stands for the model's own.
        if name == "layers" {
            return Err(GraphError::new("`layers` is no name for layers inside another one")
                .help("give them a name of their own, such as `branch`"));
        }
        let at = At { x, mask: self.mask };
        Ok(self.sequence(layers, name, at)?.x)
    }

    /// Whether the graph is one that learns and the layer is not frozen; then statistics of the batch may
    /// be used, and running ones updated.
    pub fn is_training(&self) -> bool {
        self.asked.set(true);
        self.learns()
    }

    /// How much each position of a sequence counts, f32 `[batch, time]`: 1 up to each sample's end, then
    /// 0. None where the input has no time. In losses and metrics, weights of positions are in it.
    pub fn mask(&self) -> Option<TensorId> {
        self.mask
    }

    /// Sets random elements to zero during training and scales up the others.
    ///
    /// # Errors
    /// For a rate that is not from 0 to below 1.
    pub fn dropout(&mut self, x: TensorId, rate: f64) -> Built {
        if !(0.0..1.0).contains(&rate) {
            let message = format!("dropout: the rate must be from 0 to below 1, found {rate}");
            return Err(GraphError::new(message));
        }
        match self.dropout_stream(rate) {
            (_, None) => Ok(x),
            (stream, Some(key)) => {
                self.graph.apply(ops::Dropout { rate: rate as f32, stream }, &[x, key])
            }
        }
    }

    /// The number of another dropout, and the key where it drops.
    pub(crate) fn dropout_stream(&mut self, rate: f64) -> (u32, Option<TensorId>) {
        // The number counts in both modes, so that it never depends on the mode.
        let stream = self.dropouts;
        self.dropouts += 1;
        if self.mode == Mode::Eval || rate == 0.0 {
            return (stream, None);
        }
        let key = *self.key.get_or_insert_with(|| {
            let id = self.graph.input("key", &[4], DType::I32);
            self.graph.tensors[id.index()].name = "key".into();
            id
        });
        (stream, Some(key))
    }

    fn check_declared(&self, name: &str, shape: &[usize]) -> Result<(), GraphError> {
        if !self.in_layer {
            return Err(GraphError::new(format!("only a layer can declare `{name}`"))
                .help("put what is learned into a layer, and let the loss compare"));
        }
        crate::custom::check_name(name, "part", &self.graph.path())
            .map_err(|e| GraphError::new(e.message))?;
        if self.graph.find(&format!("{}.{name}", self.graph.path())).is_some() {
            return Err(GraphError::new(format!("declares `{name}` twice")));
        }
        if shape.contains(&0) {
            return Err(GraphError::new(format!("`{name}` of shape {shape:?} has no values")));
        }
        Ok(())
    }
}

/// Ops. Shapes of two tensors that are combined element by element are broadcast as in NumPy.
impl Builder<'_> {
    /// Any op of [`tidemill_graph`].
    ///
    /// # Errors
    /// If the op does not take inputs of these shapes.
    pub fn apply(&mut self, op: impl Into<Op>, inputs: &[TensorId]) -> Built {
        self.graph.apply(op, inputs)
    }

    /// The dims of a tensor, the batch first.
    pub fn shape(&self, x: TensorId) -> &[usize] {
        self.graph.shape(x)
    }

    /// The last dim of a tensor.
    pub fn width(&self, x: TensorId) -> usize {
        self.last_dim(x)
    }

    /// A number as a tensor.
    pub fn constant(&mut self, value: f32) -> TensorId {
        self.graph.constant(value)
    }

    /// `scale * x + shift`
    ///
    /// # Errors
    /// If `x` has integers.
    pub fn affine(&mut self, x: TensorId, scale: f32, shift: f32) -> Built {
        self.apply(Unary::Affine { scale, shift }, &[x])
    }

    /// The matrix product over the last dim of `a` and the first of `b`.
    ///
    /// # Errors
    /// If the two dims differ.
    pub fn matmul(&mut self, a: TensorId, b: TensorId) -> Built {
        self.apply(MatMul::default(), &[a, b])
    }

    /// Softmax over the last dim.
    ///
    /// # Errors
    /// If `x` has integers.
    pub fn softmax(&mut self, x: TensorId) -> Built {
        self.apply(Softmax::Plain, &[x])
    }

    /// The sum over these axes, which are gone then.
    ///
    /// # Errors
    /// If `x` has no such axes.
    pub fn sum(&mut self, x: TensorId, axes: &[usize]) -> Built {
        self.reduce(x, axes, Reduction::Sum)
    }

    /// The mean over these axes, which are gone then.
    ///
    /// # Errors
    /// If `x` has no such axes.
    pub fn mean(&mut self, x: TensorId, axes: &[usize]) -> Built {
        self.reduce(x, axes, Reduction::Mean)
    }

    fn reduce(&mut self, x: TensorId, axes: &[usize], reduction: Reduction) -> Built {
        self.apply(Reduce::Axes { reduction, axes: axes.to_vec(), keep_dims: false }, &[x])
    }

    /// The mean over the positions of `x`, `[batch, time, ...]`, by [`Builder::mask`]: `[batch, ...]`.
    ///
    /// # Errors
    /// If the input has no time.
    pub fn mean_over_positions(&mut self, x: TensorId) -> Built {
        let Some(mask) = self.mask else {
            return Err(GraphError::new(
                "takes the mean over positions, but its input has no time",
            )
            .help("give the model an input of tokens"));
        };
        self.apply(Sequence::WeightedMean, &[x, mask])
    }

    /// The same elements with other dims.
    ///
    /// # Errors
    /// If the number of elements differs.
    pub fn reshape(&mut self, x: TensorId, shape: &[usize]) -> Built {
        self.reshaped(x, shape.to_vec())
    }

    /// Tensors joined along their last dim.
    ///
    /// # Errors
    /// If other dims differ.
    pub fn concat(&mut self, parts: &[TensorId]) -> Built {
        let axis = parts.first().map_or(0, |&x| self.shape(x).len().saturating_sub(1));
        self.apply(Layout::Concat { axis }, parts)
    }

    /// Columns `start .. start + width` of the last dim.
    ///
    /// # Errors
    /// If `x` has fewer.
    pub fn columns(&mut self, x: TensorId, start: usize, width: usize) -> Built {
        let mut size = self.shape(x).to_vec();
        let mut first = vec![0; size.len()];
        if let (Some(last), Some(from)) = (size.last_mut(), first.last_mut()) {
            (*last, *from) = (width, start);
        }
        self.apply(Layout::Slice { start: first, size }, &[x])
    }
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident $op:expr;)*) => {
        /// Functions of each element.
        impl Builder<'_> {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// If `x` has integers.
            pub fn $name(&mut self, x: TensorId) -> Built {
                self.apply($op, &[x])
            }
        )*}
    };
}
unary! {
    /// `-x`
    neg Unary::Neg;
    /// `|x|`
    abs Unary::Abs;
    /// `x^2`
    square Unary::Square;
    /// The square root.
    sqrt Unary::Sqrt;
    /// `e^x`
    exp Unary::Exp;
    /// The natural logarithm.
    log Unary::Log;
    /// `ln(1 + e^x)`
    softplus Unary::Softplus;
    /// `max(x, 0)`
    relu Unary::Relu;
    /// `1 / (1 + e^-x)`
    sigmoid Unary::Sigmoid;
    /// The hyperbolic tangent.
    tanh Unary::Tanh;
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident $op:expr;)*) => {
        /// Functions of two elements.
        impl Builder<'_> {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// If the shapes cannot be broadcast.
            pub fn $name(&mut self, a: TensorId, b: TensorId) -> Built {
                self.apply($op, &[a, b])
            }
        )*}
    };
}
binary! {
    /// `a + b`
    add Binary::Add;
    /// `a - b`
    sub Binary::Sub;
    /// `a * b`
    mul Binary::Mul;
    /// `a / b`
    div Binary::Div;
    /// The greater of both.
    max Binary::Max;
    /// The smaller of both.
    min Binary::Min;
    /// 1 where `a >= b`, else 0; no gradient.
    greater_equal Binary::GreaterEqual;
}
