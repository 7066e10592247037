//! The shape rule of each op, by family.
//!
//! No rule panics: sizes are multiplied with overflow checks, so absurd dims end as errors too.

mod conv;
mod eltwise;
mod layout;
mod loss;
mod matmul;
mod norm;

pub use conv::output_size;
pub use eltwise::{broadcast, broadcast_axes};

use crate::error::GraphError;
use crate::graph::{DType, Tensor};
use crate::op::{Op, PairLoss, Unary};

/// Most elements that a tensor may have; keeps every byte offset of an f64 copy in range.
const MAX_ELEMENTS: usize = isize::MAX as usize / 16;

/// Shape or an error, as each rule returns it.
type Shape = Result<Vec<usize>, GraphError>;

/// The output's shape and element type.
pub fn infer(op: &Op, inputs: &[&Tensor]) -> Result<(Vec<usize>, DType), GraphError> {
    let call = Call { op, inputs };
    call.check_arity()?;
    for input in inputs {
        call.check_size(&input.shape)?;
    }
    call.check_dtypes()?;
    let shape = call.shape()?;
    call.check_size(&shape)?;
    Ok((shape, call.output_dtype()))
}

/// Number of elements, unless that is more than any memory holds.
pub fn count(shape: &[usize]) -> Option<usize> {
    let total = shape.iter().try_fold(1usize, |total, &dim| total.checked_mul(dim))?;
    (total <= MAX_ELEMENTS).then_some(total)
}

/// An op on its inputs: what a rule looks at.
struct Call<'a> {
    op: &'a Op,
    inputs: &'a [&'a Tensor],
}

impl<'a> Call<'a> {
    /// Dims of input `index`.
    fn dims(&self, index: usize) -> &'a [usize] {
        &self.inputs[index].shape
    }

    /// An error that starts with the op's name.
    fn error(&self, message: impl std::fmt::Display) -> GraphError {
        GraphError::new(format!("{}: {message}", self.op.name()))
    }

    /// The only dims that an input may have.
    fn expect(&self, index: usize, what: &str, want: &[usize]) -> Result<(), GraphError> {
        let found = self.dims(index);
        if found == want {
            return Ok(());
        }
        Err(self.error(format!("expected {what} of shape {want:?}, found shape {found:?}")))
    }

    /// Dims of an input of fixed rank.
    fn rank<const N: usize>(
        &self,
        index: usize,
        what: &str,
        legend: &str,
    ) -> Result<[usize; N], GraphError> {
        let found = self.dims(index);
        found.try_into().map_err(|_| {
            self.error(format!("expected {what} of shape [{legend}], found shape {found:?}"))
        })
    }

    /// The last dim, which must exist.
    fn channels(&self, index: usize) -> Result<usize, GraphError> {
        self.dims(index).last().copied().ok_or_else(|| {
            self.error("expected at least one dim, found a scalar, shape []")
                .help("reshape it to [1] first")
        })
    }

    fn check_arity(&self) -> Result<(), GraphError> {
        let found = self.inputs.len();
        let Some(want) = arity(self.op) else {
            return if found == 0 {
                Err(self.error("expected inputs, found none"))
            } else {
                Ok(())
            };
        };
        if found == want {
            return Ok(());
        }
        let shapes: Vec<_> = self.inputs.iter().map(|t| &t.shape).collect();
        Err(self.error(format!("expected {want} inputs, found {found} of shapes {shapes:?}")))
    }

    fn check_size(&self, shape: &[usize]) -> Result<(), GraphError> {
        if shape.contains(&0) {
            return Err(self
                .error(format!("shape {shape:?} has no elements"))
                .help("every dim must be at least 1; look for a size that was rounded down to 0"));
        }
        match count(shape) {
            Some(_) => Ok(()),
            None => Err(self.error(format!("shape {shape:?} has more elements than memory holds"))),
        }
    }

    /// Labels, ids and keys are i32; all that is computed with is f32.
    fn check_dtypes(&self) -> Result<(), GraphError> {
        use Op::*;
        let integer = match self.op {
            // Moving elements around works for both.
            Reshape(_)
            | Transpose(_)
            | Concat { .. }
            | Slice { .. }
            | BroadcastTo(_)
            | StopGradient => {
                let first = self.inputs[0].dtype;
                if self.inputs.iter().any(|t| t.dtype != first) {
                    return Err(self.error("inputs mix f32 and i32"));
                }
                return Ok(());
            }
            Dropout { .. }
            | Embedding
            | EmbeddingBag
            | SparseCrossEntropy { .. }
            | SparseCrossEntropyGrad { .. } => Some(1),
            EmbeddingGrad { .. } | EmbeddingBagGrad { .. } => Some(0),
            _ => None,
        };
        for (index, input) in self.inputs.iter().enumerate() {
            let want = if Some(index) == integer { DType::I32 } else { DType::F32 };
            // Ids may be floats, which count exactly up to 2^24: columns of a table of floats.
            let ids = integer_input(self.op) == "ids" && want == DType::I32;
            if input.dtype == want || ids {
                continue;
            }
            let shape = &input.shape;
            let error = self.error(match want {
                DType::I32 => format!(
                    "expected {} of type i32, found f32 of shape {shape:?}",
                    integer_input(self.op)
                ),
                DType::F32 => {
                    format!("expected input {index} of type f32, found i32 of shape {shape:?}")
                }
            });
            return Err(match (self.op, want) {
                (SparseCrossEntropy { .. }, DType::I32) => error.help(
                    "sparse cross-entropy takes class numbers; for one-hot or soft targets use \
                     categorical_crossentropy",
                ),
                (DenseCrossEntropy { .. }, DType::F32) if index == 1 => {
                    error.help("for class numbers use sparse_categorical_crossentropy")
                }
                _ => error,
            });
        }
        Ok(())
    }

    fn output_dtype(&self) -> DType {
        use Op::*;
        match self.op {
            Reshape(_)
            | Transpose(_)
            | Concat { .. }
            | Slice { .. }
            | BroadcastTo(_)
            | StopGradient => self.inputs[0].dtype,
            _ => DType::F32,
        }
    }

    fn shape(&self) -> Shape {
        use Op::*;
        self.check_attributes()?;
        match self.op {
            Source => {
                Err(self.error("has no shape rule").help("make it with input, parameter or state"))
            }
            Constant(_) => Ok(vec![]),

            MatMul { transpose_a, transpose_b } => self.matmul(*transpose_a, *transpose_b),
            Conv2d(conv) => self.conv(conv),
            Conv2dGradInput(conv, input) => self.conv_grad_input(conv, input),
            Conv2dGradWeight(conv, weight) => self.conv_grad_weight(conv, weight),
            MaxPool2d(pool) | AvgPool2d(pool) => self.pool(pool, self.dims(0)),
            MaxPool2dGrad(pool) => self.max_pool_grad(pool),
            AvgPool2dGrad(pool, input) => self.avg_pool_grad(pool, input),

            ChannelMoments => Ok(vec![2, self.channels(0)?]),
            BatchNormTrain { .. } | BatchNormEval { .. } => self.batch_norm(),
            BatchNormTrainGradInput { .. } => self.batch_norm_grad_input(),
            BatchNormGradGamma { .. } => self.batch_norm_grad_gamma(),
            UpdateMoments { .. } => self.update_moments(),
            LayerNorm { .. } => self.norm(2),
            RmsNorm { .. } => self.norm(1),
            LayerNormGradInput { .. } | RmsNormGradInput { .. } => self.norm_grad_input(),
            LayerNormGradGamma { .. } | RmsNormGradGamma { .. } => self.norm_grad_gamma(),

            Dropout { .. } => self.dropout(),
            Embedding => self.embedding(),
            EmbeddingGrad { rows } => self.embedding_grad(*rows),
            EmbeddingBag => self.embedding_bag(),
            EmbeddingBagGrad { rows } => self.embedding_bag_grad(*rows),

            Unary(_) | StopGradient => Ok(self.dims(0).to_vec()),
            UnaryGrad(_) => self.same(&["the saved value", "dy"]),
            Binary(_) => self.binary(),
            PairLossGrad(_) => self.pair_loss_grad(),

            Softmax | LogSoftmax => self.channels(0).map(|_| self.dims(0).to_vec()),
            SoftmaxGrad | LogSoftmaxGrad => {
                self.channels(0)?;
                self.same(&["y", "dy"])
            }
            SparseCrossEntropy { .. } => self.sparse_loss(),
            SparseCrossEntropyGrad { .. } => self.loss_grad(Self::sparse_loss),
            DenseCrossEntropy { .. } => self.dense_loss(),
            DenseCrossEntropyGrad { .. } => self.loss_grad(Self::dense_loss),
            WeightedMean => self.same(&["the loss", "the weight"]).map(|_| vec![]),
            WeightedMeanGrad => {
                self.expect(1, "the gradient of the mean", &[])?;
                Ok(self.dims(0).to_vec())
            }

            Reduce { axes, keep_dims, .. } => self.reduce(axes, *keep_dims),
            ReduceMaxGrad(axes) => self.reduce_max_grad(axes),
            BroadcastTo(shape) => self.broadcast_to(shape),
            Reshape(shape) => self.reshape(shape),
            Transpose(permutation) => self.transpose(permutation),
            Concat { axis } => self.concat(*axis),
            Slice { start, size } => self.slice(start, size),
            Pad { before, after, .. } => self.pad(before, after),
        }
    }

    /// Numbers inside the op that would make it meaningless.
    fn check_attributes(&self) -> Result<(), GraphError> {
        use Op::*;
        let problem = match *self.op {
            Dropout { rate, .. } if !(0.0..1.0).contains(&rate) => {
                format!("rate must be at least 0 and below 1, found {rate}")
            }
            BatchNormTrain { epsilon }
            | BatchNormTrainGradInput { epsilon }
            | BatchNormGradGamma { epsilon }
            | BatchNormEval { epsilon }
            | LayerNorm { epsilon }
            | LayerNormGradInput { epsilon }
            | LayerNormGradGamma { epsilon }
            | RmsNorm { epsilon }
            | RmsNormGradInput { epsilon }
            | RmsNormGradGamma { epsilon }
                if !(epsilon >= 0.0 && epsilon.is_finite()) =>
            {
                format!("epsilon must be at least 0, found {epsilon}")
            }
            UpdateMoments { momentum, .. } if !(0.0..=1.0).contains(&momentum) => {
                format!("momentum must be from 0 to 1, found {momentum}")
            }
            SparseCrossEntropy { label_smoothing: s }
            | SparseCrossEntropyGrad { label_smoothing: s }
            | DenseCrossEntropy { label_smoothing: s }
            | DenseCrossEntropyGrad { label_smoothing: s }
            | Binary(crate::op::Binary::Loss(PairLoss::BinaryCrossEntropy {
                label_smoothing: s,
            })) if !(0.0..=1.0).contains(&s) => {
                format!("label_smoothing must be from 0 to 1, found {s}")
            }
            Binary(crate::op::Binary::Loss(PairLoss::Huber { delta }))
                if delta.is_nan() || delta <= 0.0 =>
            {
                format!("delta must be above 0, found {delta}")
            }
            Binary(crate::op::Binary::Loss(PairLoss::Focal { gamma, .. }))
                if gamma.is_nan() || gamma < 0.0 =>
            {
                format!("gamma must be at least 0, found {gamma}")
            }
            // Both save their output, whose sign must tell the input's.
            Unary(self::Unary::LeakyRelu { slope: s } | self::Unary::Elu { alpha: s })
                if s.is_nan() || s < 0.0 =>
            {
                format!("the negative side's factor must be at least 0, found {s}")
            }
            Unary(self::Unary::Clip { low, high })
                if low.is_nan() || high.is_nan() || low > high =>
            {
                format!("low must not be above high, found {low} and {high}")
            }
            _ => return Ok(()),
        };
        Err(self.error(problem))
    }

    /// Inputs that all have one shape, which is the output's.
    fn same(&self, names: &[&str]) -> Shape {
        let first = self.dims(0);
        for (index, name) in names.iter().enumerate().skip(1) {
            let found = self.dims(index);
            if found != first {
                let message = format!(
                    "expected {} and {name} of one shape, found shapes {first:?} and {found:?}",
                    names[0]
                );
                return Err(self.error(message));
            }
        }
        Ok(first.to_vec())
    }
}

fn integer_input(op: &Op) -> &'static str {
    match op {
        Op::Dropout { .. } => "a key",
        Op::Embedding
        | Op::EmbeddingGrad { .. }
        | Op::EmbeddingBag
        | Op::EmbeddingBagGrad { .. } => "ids",
        _ => "labels",
    }
}

/// Number of inputs; nothing where it is any number from one on.
fn arity(op: &Op) -> Option<usize> {
    use Op::*;
    Some(match op {
        Source | Constant(_) => 0,
        MaxPool2d(_)
        | AvgPool2d(_)
        | AvgPool2dGrad(..)
        | ChannelMoments
        | Unary(_)
        | Softmax
        | LogSoftmax
        | Reduce { .. }
        | BroadcastTo(_)
        | Reshape(_)
        | Transpose(_)
        | Slice { .. }
        | Pad { .. }
        | StopGradient => 1,
        MatMul { .. }
        | Conv2d(_)
        | Conv2dGradInput(..)
        | Conv2dGradWeight(..)
        | UpdateMoments { .. }
        | RmsNorm { .. }
        | LayerNormGradGamma { .. }
        | RmsNormGradGamma { .. }
        | Dropout { .. }
        | Embedding
        | EmbeddingGrad { .. }
        | EmbeddingBag
        | EmbeddingBagGrad { .. }
        | UnaryGrad(_)
        | Binary(_)
        | SoftmaxGrad
        | LogSoftmaxGrad
        | SparseCrossEntropy { .. }
        | DenseCrossEntropy { .. }
        | WeightedMean
        | WeightedMeanGrad => 2,
        MaxPool2dGrad(_)
        | BatchNormGradGamma { .. }
        | LayerNorm { .. }
        | LayerNormGradInput { .. }
        | RmsNormGradInput { .. }
        | PairLossGrad(_)
        | SparseCrossEntropyGrad { .. }
        | DenseCrossEntropyGrad { .. }
        | ReduceMaxGrad(_) => 3,
        BatchNormTrain { .. } | BatchNormEval { .. } | BatchNormTrainGradInput { .. } => 4,
        Concat { .. } => return None,
    })
}

#[cfg(test)]
mod tests;
