//! Losses over rows of the last dim, and their weighted mean.

use super::Family;
use super::softmax::log_softmax;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// Losses and their gradients. With label smoothing s, targets are `(1 - s) target + s / c`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// `(logits[..., c], labels[...] i32) -> loss[...]`
    SparseCrossEntropy {
        /// `s`
        label_smoothing: f32,
    },
    /// `(logits, labels, dloss[...]) -> dlogits`
    SparseCrossEntropyGrad {
        /// `s`
        label_smoothing: f32,
    },
    /// `(logits[..., c], targets[..., c]) -> loss[...]`
    DenseCrossEntropy {
        /// `s`
        label_smoothing: f32,
    },
    /// `(logits, targets, dloss[...]) -> dlogits`
    DenseCrossEntropyGrad {
        /// `s`
        label_smoothing: f32,
    },
    /// `(loss[b], weight[b]) -> []`: `sum(w l) / n` over the n samples whose weight is not
    /// 0, so that a weight scales its sample's gradient, as in Keras; 0 where n is 0. No gradient to
    /// the weights.
    WeightedMean,
    /// `(weight[b], dmean[]) -> [b]`: `w dmean / n`
    WeightedMeanGrad,
}

impl Family for Loss {
    fn name(&self) -> &'static str {
        match self {
            Loss::SparseCrossEntropy { .. } => "sparse_categorical_crossentropy",
            Loss::SparseCrossEntropyGrad { .. } => "sparse_categorical_crossentropy_grad",
            Loss::DenseCrossEntropy { .. } => "categorical_crossentropy",
            Loss::DenseCrossEntropyGrad { .. } => "categorical_crossentropy_grad",
            Loss::WeightedMean => "weighted_mean",
            Loss::WeightedMeanGrad => "weighted_mean_grad",
        }
    }

    fn inputs(&self) -> Inputs {
        const LABELS: Input = Input::integer("labels").help(
            "sparse cross-entropy takes class numbers; for one-hot or soft targets use \
             categorical_crossentropy",
        );
        const TARGETS: Input =
            Input::FLOAT.help("for class numbers use sparse_categorical_crossentropy");
        Inputs::Each(match self {
            Loss::SparseCrossEntropy { .. } => &[Input::FLOAT, LABELS],
            Loss::SparseCrossEntropyGrad { .. } => &[Input::FLOAT, LABELS, Input::FLOAT],
            Loss::DenseCrossEntropy { .. } => &[Input::FLOAT, TARGETS],
            Loss::DenseCrossEntropyGrad { .. } => &[Input::FLOAT, TARGETS, Input::FLOAT],
            Loss::WeightedMean | Loss::WeightedMeanGrad => &[Input::FLOAT, Input::FLOAT],
        })
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        match *self {
            Loss::SparseCrossEntropy { label_smoothing } => {
                dims.check_smoothing(label_smoothing)?;
                sparse_shape(dims)
            }
            Loss::DenseCrossEntropy { label_smoothing } => {
                dims.check_smoothing(label_smoothing)?;
                dense_shape(dims)
            }
            Loss::SparseCrossEntropyGrad { label_smoothing } => {
                dims.check_smoothing(label_smoothing)?;
                dims.expect(2, "the gradient of the loss", &sparse_shape(dims)?)?;
                Ok(dims.of(0).to_vec())
            }
            Loss::DenseCrossEntropyGrad { label_smoothing } => {
                dims.check_smoothing(label_smoothing)?;
                dims.expect(2, "the gradient of the loss", &dense_shape(dims)?)?;
                Ok(dims.of(0).to_vec())
            }
            Loss::WeightedMean => dims.same(&["the loss", "the weight"]).map(|_| vec![]),
            Loss::WeightedMeanGrad => {
                dims.expect(1, "the gradient of the mean", &[])?;
                Ok(dims.of(0).to_vec())
            }
        }
    }

    /// Cross-entropy: l = -sum t log softmax(x): dx = dl (softmax(x) sum(t) - t), t the smoothed
    /// target, whose sum is 1 for class numbers; saves x and the targets.
    /// Mean over the n samples with a weight: m = sum(w l) / n: dl = dm w / n; saves w.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        let (target, gradient, inputs) = match *self {
            Loss::SparseCrossEntropy { label_smoothing } => (
                "the target",
                Loss::SparseCrossEntropyGrad { label_smoothing },
                vec![node.x[0], node.x[1], node.dy],
            ),
            Loss::DenseCrossEntropy { label_smoothing } => (
                "the target",
                Loss::DenseCrossEntropyGrad { label_smoothing },
                vec![node.x[0], node.x[1], node.dy],
            ),
            Loss::WeightedMean => ("the weight", Loss::WeightedMeanGrad, vec![node.x[1], node.dy]),
            Loss::SparseCrossEntropyGrad { .. }
            | Loss::DenseCrossEntropyGrad { .. }
            | Loss::WeightedMeanGrad => return back.no_second_derivative(node),
        };
        back.constant_input(node, 1, target)?;
        if back.needs(node, 0) {
            let dx = back.apply(gradient, &inputs)?;
            back.give(node, 0, dx)?;
        }
        Ok(())
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let out = match *self {
            Loss::SparseCrossEntropy { label_smoothing } => {
                cross_entropy(args, &sparse_targets(args, label_smoothing)?)
            }
            Loss::SparseCrossEntropyGrad { label_smoothing } => {
                cross_entropy_grad(args, &sparse_targets(args, label_smoothing)?)
            }
            Loss::DenseCrossEntropy { label_smoothing } => {
                cross_entropy(args, &smoothed(args.floats(1), label_smoothing, args.channels()))
            }
            Loss::DenseCrossEntropyGrad { label_smoothing } => cross_entropy_grad(
                args,
                &smoothed(args.floats(1), label_smoothing, args.channels()),
            ),
            Loss::WeightedMean => {
                let sum: T = args.zipped(|loss, weight| loss * weight).into_iter().sum();
                let counted = counted(args.floats(1));
                vec![if counted == 0 { T::ZERO } else { sum / T::count(counted) }]
            }
            Loss::WeightedMeanGrad => {
                let (weights, dmean) = (args.floats(0), args.floats(1)[0]);
                // At least 1, so that weights of 0 give 0.
                let counted = T::count(counted(weights).max(1));
                weights.iter().map(|&w| w * dmean / counted).collect()
            }
        };
        Ok(out.into())
    }
}

/// How many weights are not 0.
fn counted<T: Real>(weights: &[T]) -> usize {
    weights.iter().filter(|&&w| w != T::ZERO).count()
}

/// `(logits[..., c], labels[...])`
fn sparse_shape(dims: &Dims<'_>) -> Shape {
    let classes = dims.channels(0)?;
    let (logits, labels) = (dims.of(0), dims.of(1));
    let leading = &logits[..logits.len() - 1];
    if labels == leading {
        return Ok(leading.to_vec());
    }
    let error = dims.error(format!(
        "expected labels of shape {leading:?} for logits of shape {logits:?}, found shape \
         {labels:?}"
    ));
    Err(if labels == logits {
        error.help("these look like one-hot labels: use categorical_crossentropy")
    } else if labels.split_last() == Some((&1, leading)) {
        error.help(format!("reshape the labels to {leading:?}"))
    } else if logits.len() > labels.len() + 1 {
        error.help(format!(
            "the logits have one dim of {classes} classes too many dims in front: add flatten \
             or global pooling before the last dense layer"
        ))
    } else {
        error
    })
}

/// `(logits[..., c], targets[..., c])`
fn dense_shape(dims: &Dims<'_>) -> Shape {
    dims.channels(0)?;
    let (logits, targets) = (dims.of(0), dims.of(1));
    let leading = &logits[..logits.len() - 1];
    if targets == logits {
        return Ok(leading.to_vec());
    }
    let error = dims.error(format!(
        "expected targets of the logits' shape {logits:?}, found shape {targets:?}"
    ));
    Err(if targets == leading {
        error.help("class numbers are for sparse_categorical_crossentropy")
    } else {
        error
    })
}

/// Targets `(1 - s) onehot(labels) + s / c`.
fn sparse_targets<T: Real>(args: &Args<'_, T>, smoothing: f32) -> Result<Vec<T>, GraphError> {
    let c = args.channels();
    let mut targets = vec![T::ZERO; args.floats(0).len()];
    for (row, &label) in args.ints(1).iter().enumerate() {
        let class = usize::try_from(label).ok().filter(|&class| class < c).ok_or_else(|| {
            GraphError::new(format!("label {label} of row {row} is outside 0 to {}", c - 1))
                .help("the last layer needs as many units as there are classes")
        })?;
        targets[row * c + class] = T::ONE;
    }
    Ok(smoothed(&targets, smoothing, c))
}

fn smoothed<T: Real>(targets: &[T], smoothing: f32, classes: usize) -> Vec<T> {
    let s = T::of(smoothing);
    targets.iter().map(|&t| (T::ONE - s) * t + s / T::count(classes)).collect()
}

/// `-sum over classes of t log softmax(x)`
fn cross_entropy<T: Real>(args: &Args<'_, T>, targets: &[T]) -> Vec<T> {
    let row =
        |(x, t): (&[T], &[T])| log_softmax(x).iter().zip(t).map(|(&log_p, &t)| -t * log_p).sum();
    args.rows(0).zip(targets.chunks(args.channels())).map(row).collect()
}

fn cross_entropy_grad<T: Real>(args: &Args<'_, T>, targets: &[T]) -> Vec<T> {
    let rows = args.rows(0).zip(targets.chunks(args.channels())).zip(args.floats(2));
    let row = |((x, t), &dloss): ((&[T], &[T]), &T)| {
        let total: T = t.iter().copied().sum();
        let slope = |(&log_p, &t): (&T, &T)| dloss * (log_p.exp() * total - t);
        log_softmax(x).iter().zip(t).map(slope).collect::<Vec<_>>()
    };
    rows.flat_map(row).collect()
}
