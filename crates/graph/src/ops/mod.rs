//! The ops by family: what each computes, its shape rule, its gradient and its reference, together in
//! one file.
//!
//! A new op is a variant of its family's enum. A new family is a file with a type that implements
//! `Family`, and its line in the list below.
//!
//! Legend of shapes: b batch, t time, h w height and width, c channels, m n k matrix dims, `...` any
//! dims. Images are NHWC, convolution weights HWIO, dense weights [in, out].

mod attention;
mod batch_norm;
pub(crate) mod binary;
mod conv;
mod copying;
mod ctc;
mod dropout;
mod embedding;
mod given;
mod layout;
mod loss;
mod matmul;
pub(crate) mod pair_loss;
mod pool;
mod recurrent;
mod reduce;
mod relative;
mod ring;
mod rotary;
mod row_norm;
mod sequence;
mod softmax;
mod transducer;
pub(crate) mod unary;
mod windows;

pub use attention::{Attention, AttentionShape, Heads};
pub use batch_norm::BatchNorm;
pub use binary::Binary;
pub use conv::{Conv, Conv2d, ConvShape};
pub use copying::{COPYING_GRADS, CopyShape, Copying};
pub use ctc::{Ctc, CtcShape};
pub use dropout::Dropout;
pub use embedding::{Embedding, Lookup};
pub use given::Given;
pub use layout::Layout;
pub use loss::Loss;
pub use matmul::{MatMul, Product};
pub use pair_loss::{PairLoss, PairLossGrad};
pub use pool::{Pool, Pool2d, PoolShape};
pub use recurrent::{Cell, Recurrent, Scan, ScanShape};
pub use reduce::{Reduce, Reduction};
pub use relative::Relative;
pub use ring::Ring;
pub use rotary::Rotary;
pub use row_norm::{Normalization, RowNorm};
pub use sequence::{Sequence, Sequences};
pub use softmax::Softmax;
pub use transducer::{JointInput, PerPosition, Transducer, TransducerShape};
pub use unary::{Saves, Unary, UnaryGrad};
pub use windows::{Window, Windows, WindowsShape};

use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Inputs, Shape};

/// What a family says of its ops; each has one output.
pub(crate) trait Family {
    /// Name for messages and `explain`.
    fn name(&self) -> &'static str;

    /// How many inputs, of which element types; `dims` has them in this order.
    fn inputs(&self) -> Inputs;

    /// The output's dims, or what is wrong with the op's settings or its inputs' dims.
    fn shape(&self, dims: &Dims<'_>) -> Shape;

    /// Adds the gradients of the inputs that need one, given that of the output.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done;

    /// The output's elements, in plain loops.
    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError>;
}

/// Makes [`Op`] from the list of families.
macro_rules! families {
    ($($(#[$comment:meta])* $family:ident,)*) => {
        /// An op, by family.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            $($(#[$comment])* $family($family),)*
        }

        $(impl From<$family> for Op {
            fn from(op: $family) -> Op {
                Op::$family(op)
            }
        })*

        impl Op {
            /// Name for messages and `explain`.
            pub fn name(&self) -> &'static str {
                match self { $(Op::$family(op) => op.name(),)* }
            }

            pub(crate) fn inputs(&self) -> Inputs {
                match self { $(Op::$family(op) => op.inputs(),)* }
            }

            pub(crate) fn shape(&self, dims: &Dims<'_>) -> Shape {
                match self { $(Op::$family(op) => op.shape(dims),)* }
            }

            pub(crate) fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
                match self { $(Op::$family(op) => op.gradient(back, node),)* }
            }

            pub(crate) fn evaluate<T: Real>(
                &self,
                args: &Args<'_, T>,
            ) -> Result<Value<T>, GraphError> {
                match self { $(Op::$family(op) => op.evaluate(args),)* }
            }
        }
    };
}

families! {
    /// Values that no op computes: inputs, state, constants.
    Given,
    /// Matrix products.
    MatMul,
    /// Convolutions of images.
    Conv,
    /// Maxima and means over windows of images.
    Pool,
    /// Normalization over the batch.
    BatchNorm,
    /// Normalization over the last dim of each row.
    RowNorm,
    /// Random zeros.
    Dropout,
    /// Rows of a table by ids.
    Embedding,
    /// A function of each element.
    Unary,
    /// Its gradient.
    UnaryGrad,
    /// A function of two elements, with broadcasting.
    Binary,
    /// The gradient of an elementwise loss.
    PairLossGrad,
    /// Softmax over the last dim.
    Softmax,
    /// Losses over rows, and their mean.
    Loss,
    /// Sums, means and maxima over axes.
    Reduce,
    /// Sequences of different lengths.
    Sequence,
    /// Positions of sequences that read others.
    Attention,
    /// Heads turned by their positions.
    Rotary,
    /// Mixtures with a source's tokens.
    Copying,
    /// A state carried through sequences.
    Recurrent,
    /// Labels without their places in time.
    Ctc,
    /// Labels written while a sequence is read.
    Transducer,
    /// Windows over positions.
    Windows,
    /// The last samples, kept in the state.
    Ring,
    /// Elements moved, repeated or left out.
    Layout,
}

impl From<Conv2d> for Op {
    fn from(conv: Conv2d) -> Op {
        Op::Conv(Conv::Forward(conv))
    }
}
