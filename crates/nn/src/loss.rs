//! Losses by Keras's names. All that are about classes take logits, not probabilities.

use crate::build::Mode;
use crate::custom::{Custom, CustomLoss, check_name, write_loss};
use crate::error::{ModelError, require};
use crate::form::name_or_table;
use crate::layers::Builder;
use crate::link::Link;
use crate::loss_ops::{
    by_token, focus, mean_but_first, pair, sparse, top_level_input, without_places,
};
use crate::transducer::{self, LabelsPerPosition};
use serde::{Deserialize, Serialize};
use tidemill_fields::{Dim, Field};
use tidemill_graph::{
    Binary, DType, Graph, GraphError, Loss, Op, PairLoss, Sequence, TensorId, Unary,
};

/// The loss that is minimized. Losses of classes take logits: the model needs no softmax or sigmoid
/// at its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum LossSpec {
    /// Softmax cross-entropy of logits and class ids. For two or more classes.
    #[serde(alias = "cross_entropy")]
    SparseCategoricalCrossentropy {
        /// Share of the target that is spread over all classes; 0 by default.
        #[serde(default)]
        label_smoothing: f64,
    },
    /// Softmax cross-entropy of the tokens of sequences: the mean over all positions of a batch, so that a
    /// long sample counts more than a short one. For language models, translation and summaries.
    #[serde(alias = "token_cross_entropy")]
    TokenCrossentropy {
        /// Share of the target that is spread over all tokens; 0 by default.
        #[serde(default)]
        label_smoothing: f64,
    },
    /// Connectionist temporal classification (Graves et al. 2006) of a sequence and of labels whose places in it are not known, such as
    /// the words of a sound: minus the logarithm of the probability of all ways to write the labels into the positions, divided by
    /// their number, as in PyTorch. The first of the model's outputs stands for no label (the blank).
    Ctc {},
    /// The loss of a recurrent neural network transducer (Graves 2012), whose last layer is a `joiner`: as `ctc`, and each label is written by
    /// what was read and by the labels before it. Minus the logarithm of the probability of all ways to write the labels, divided by their
    /// number.
    Transducer {
        /// How many labels a way writes at a position: `one` at most, by default, as the joiner does; or `any`.
        #[serde(default)]
        per_position: LabelsPerPosition,
    },
    /// Softmax cross-entropy of logits and one-hot labels, or any distribution over the classes.
    CategoricalCrossentropy {
        /// Share of the target that is spread over all classes; 0 by default.
        #[serde(default)]
        label_smoothing: f64,
    },
    /// Sigmoid cross-entropy of logits and targets from 0 to 1. For yes or no.
    #[serde(alias = "bce_with_logits")]
    BinaryCrossentropy {
        /// Share by which targets are moved towards 1/2; 0 by default.
        #[serde(default)]
        label_smoothing: f64,
    },
    /// Focal loss of logits and class ids: `(1 - p)^gamma * -ln p` (Lin et al. 2017).
    #[serde(alias = "sparse_focal")]
    SparseCategoricalFocalCrossentropy {
        /// Focusing exponent; 2 by default.
        #[serde(default = "two")]
        gamma: f64,
    },
    /// Focal loss of logits and targets 0 or 1.
    #[serde(alias = "focal")]
    BinaryFocalCrossentropy {
        /// Focusing exponent; 2 by default.
        #[serde(default = "two")]
        gamma: f64,
        /// Weight of the positive class; the negative class gets one minus it. Not weighted by
        /// default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alpha: Option<f64>,
    },
    /// Mean squared error, `(x - t)^2`.
    #[serde(alias = "mse")]
    MeanSquaredError {},
    /// Mean absolute error, `|x - t|`.
    #[serde(alias = "mae")]
    MeanAbsoluteError {},
    /// Huber loss: quadratic for errors within `delta`, linear beyond.
    Huber {
        /// Error at which the loss turns linear; 1 by default.
        #[serde(default = "one")]
        delta: f64,
    },
    /// Hinge loss, `max(0, 1 - t * x)`, with targets -1 and 1 or 0 and 1.
    Hinge {},
    /// Poisson loss, `e^x - t * x`, of counts: the model's output `x` is the logarithm of the expected
    /// count, and predictions and errors are counts. Targets of 0 or more, which need not be integers.
    #[serde(alias = "poisson_nll")]
    Poisson {},
    /// A loss of another crate, from Rust alone: no recipe has one.
    #[serde(skip_deserializing, serialize_with = "write_loss")]
    Custom(Custom<dyn CustomLoss>),
}

name_or_table!(LossSpec, "a loss's name, or a table such as { huber = { delta = 1.0 } }");

fn one() -> f64 {
    1.0
}

fn two() -> f64 {
    2.0
}

/// What a loss compares the model's output with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets {
    /// Input `labels`, i32 `[batch]`: class ids.
    ClassIds,
    /// Input `targets`, f32 `[batch, outputs]`.
    Dense,
}

/// A loss built into a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltLoss {
    /// `[batch]`
    pub per_sample: TensorId,
    /// Scalar: `sum(w l) / n` over the n samples whose weight `w` is not 0.
    pub mean: TensorId,
}

impl LossSpec {
    /// Its name in recipes.
    pub fn name(&self) -> &str {
        match self {
            LossSpec::SparseCategoricalCrossentropy { .. } => "sparse_categorical_crossentropy",
            LossSpec::TokenCrossentropy { .. } => "token_crossentropy",
            LossSpec::Ctc {} => "ctc",
            LossSpec::Transducer { .. } => "transducer",
            LossSpec::CategoricalCrossentropy { .. } => "categorical_crossentropy",
            LossSpec::SparseCategoricalFocalCrossentropy { .. } => {
                "sparse_categorical_focal_crossentropy"
            }
            LossSpec::BinaryCrossentropy { .. } => "binary_crossentropy",
            LossSpec::BinaryFocalCrossentropy { .. } => "binary_focal_crossentropy",
            LossSpec::MeanSquaredError {} => "mean_squared_error",
            LossSpec::MeanAbsoluteError {} => "mean_absolute_error",
            LossSpec::Huber { .. } => "huber",
            LossSpec::Hinge {} => "hinge",
            LossSpec::Poisson {} => "poisson",
            LossSpec::Custom(loss) => loss.get().name(),
        }
    }

    /// What it compares the output with.
    pub fn targets(&self) -> Targets {
        match self {
            LossSpec::SparseCategoricalCrossentropy { .. }
            | LossSpec::TokenCrossentropy { .. }
            | LossSpec::Ctc {}
            | LossSpec::Transducer { .. }
            | LossSpec::SparseCategoricalFocalCrossentropy { .. } => Targets::ClassIds,
            LossSpec::Custom(loss) => loss.get().targets(),
            _ => Targets::Dense,
        }
    }

    /// Whether labels are a sequence that is not that of the model's positions.
    pub fn has_own_labels(&self) -> bool {
        matches!(self, LossSpec::Ctc {} | LossSpec::Transducer { .. })
    }

    /// The least and the greatest target that it is defined for; none where it takes all.
    fn target_range(&self) -> Option<(f64, f64)> {
        match self {
            LossSpec::BinaryCrossentropy { .. }
            | LossSpec::BinaryFocalCrossentropy { .. }
            | LossSpec::CategoricalCrossentropy { .. } => Some((0.0, 1.0)),
            LossSpec::Hinge {} => Some((-1.0, 1.0)),
            LossSpec::Poisson {} => Some((0.0, f64::INFINITY)),
            _ => None,
        }
    }

    /// Whether there are targets that it is not defined for; [`LossSpec::refusal`] says which.
    pub fn refuses_some(&self) -> bool {
        self.target_range().is_some()
    }

    /// What it takes instead, where it is not defined for a target.
    pub fn refusal(&self, target: f64) -> Option<String> {
        let (least, most) = self.target_range()?;
        let is_wrong = target < least || target > most;
        is_wrong.then(|| {
            let name = self.name();
            match most.is_finite() {
                true => format!("the loss {name} takes targets from {least} to {most}"),
                false => format!("the loss {name} takes targets of {least} or more"),
            }
        })
    }

    /// How the output becomes probabilities, if it does.
    pub fn link(&self) -> Link {
        match self {
            LossSpec::SparseCategoricalCrossentropy { .. }
            | LossSpec::TokenCrossentropy { .. }
            | LossSpec::Ctc {}
            | LossSpec::Transducer { .. }
            | LossSpec::SparseCategoricalFocalCrossentropy { .. }
            | LossSpec::CategoricalCrossentropy { .. } => Link::Softmax,
            LossSpec::BinaryCrossentropy { .. } | LossSpec::BinaryFocalCrossentropy { .. } => {
                Link::Sigmoid
            }
            LossSpec::Poisson {} => Link::Exponential,
            LossSpec::Custom(loss) => loss.get().link(),
            _ => Link::Identity,
        }
    }

    /// Dims of one sample's target values, where it compares with values, for a model whose output has
    /// the dims `output`.
    pub fn target_shape(&self, output: &[usize]) -> Vec<usize> {
        match self {
            LossSpec::Custom(loss) => loss.get().target_shape(output),
            _ => output.to_vec(),
        }
    }

    /// The field of a sample that it reads, for a model whose output has this shape without the
    /// batch; `time` is the longest time where the output has a row for each position.
    pub fn truth(&self, output: &[usize], time: Option<usize>) -> Field {
        match (self.targets(), time) {
            (Targets::ClassIds, Some(most)) => Field::ids("labels", most),
            (Targets::ClassIds, None) => {
                let dims = output.iter().rev().skip(1).rev().map(|&n| Dim::Fixed(n)).collect();
                Field { name: "labels".to_owned(), dtype: DType::I32, dims }
            }
            (Targets::Dense, _) => Field::numbers("targets", &self.target_shape(output)),
        }
    }

    /// Adds the loss of `logits` `[batch, ...]` to a graph, with inputs `labels` or `targets`, and
    /// `weights` (f32 `[batch]`).
    pub fn build(&self, graph: &mut Graph, logits: TensorId) -> Result<BuiltLoss, GraphError> {
        self.build_masked(graph, logits, None, None)
    }

    /// The same of `logits` `[batch, time, classes]` where `mask` is given: `labels` are
    /// `[batch, time]`, and a further input `labels.mask` (f32 `[batch, time]`) is how much each
    /// position counts. A sample's loss is the weighted mean over its positions. `labels` is the room for labels where they are a
    /// sequence of their own ([`LossSpec::has_own_labels`]).
    pub(crate) fn build_masked(
        &self,
        graph: &mut Graph,
        logits: TensorId,
        mask: Option<TensorId>,
        labels: Option<usize>,
    ) -> Result<BuiltLoss, GraphError> {
        // The scope, and where an error is that names no op.
        let (path, place) = match self {
            LossSpec::Custom(loss) => {
                let path = format!("loss.{}", loss.get().name());
                (path.clone(), path)
            }
            _ => ("loss".to_owned(), self.name().to_owned()),
        };
        graph.enter(path);
        let whole = match *self {
            LossSpec::TokenCrossentropy { label_smoothing } => {
                Some(by_token(graph, logits, mask.is_some(), label_smoothing as f32))
            }
            LossSpec::Ctc {} => Some(without_places(graph, logits, mask, labels)),
            LossSpec::Transducer { per_position } => {
                Some(transducer::loss(graph, logits, mask, labels, per_position))
            }
            _ => None,
        };
        if let Some(built) = whole {
            graph.leave();
            return built.map_err(|error| error.at(&place));
        }
        let built = match (self, mask) {
            (LossSpec::Custom(loss), _) => self.custom(loss.get(), graph, logits, mask),
            (_, None) => self.per_sample(graph, logits),
            (_, Some(_)) => self.per_position(graph, logits),
        };
        graph.leave();
        let per_sample = built.map_err(|error| error.at(&place))?;
        let batch = graph.shape(per_sample)[0];
        let weights = top_level_input(graph, "weights", &[batch], DType::F32);
        let mean = graph.apply(Loss::WeightedMean, &[per_sample, weights])?;
        Ok(BuiltLoss { per_sample, mean })
    }

    /// The mean over the positions of each sample.
    fn per_position(&self, graph: &mut Graph, logits: TensorId) -> Result<TensorId, GraphError> {
        let shape = graph.shape(logits).to_vec();
        let (smoothing, gamma) = match *self {
            LossSpec::SparseCategoricalCrossentropy { label_smoothing } => {
                (label_smoothing as f32, None)
            }
            LossSpec::SparseCategoricalFocalCrossentropy { gamma } => (0.0, Some(gamma as f32)),
            _ => {
                return Err(GraphError::new(
                    "compares one row a sample, and the model gives a row \
                     for each position of a sequence",
                )
                .help(
                    "end the model's sequence with { global_avg_pool = {} }, or take \
                     sparse_categorical_crossentropy for a class at each position",
                ));
            }
        };
        let mut losses = sparse(graph, logits, &shape, smoothing)?;
        if let Some(gamma) = gamma {
            losses = focus(graph, losses, gamma)?;
        }
        let counts = top_level_input(graph, "labels.mask", &shape[..2], DType::F32);
        graph.apply(Sequence::WeightedMean, &[losses, counts])
    }

    fn per_sample(&self, graph: &mut Graph, logits: TensorId) -> Result<TensorId, GraphError> {
        let shape = graph.shape(logits).to_vec();
        if shape.len() < 2 {
            return Err(GraphError::new(format!("takes outputs [batch, ...], got {shape:?}")));
        }
        let op = match *self {
            LossSpec::SparseCategoricalCrossentropy { label_smoothing } => {
                let losses = sparse(graph, logits, &shape, label_smoothing as f32)?;
                return mean_but_first(graph, losses);
            }
            LossSpec::SparseCategoricalFocalCrossentropy { gamma } => {
                let losses = sparse(graph, logits, &shape, 0.0)?;
                let losses = focus(graph, losses, gamma as f32)?;
                return mean_but_first(graph, losses);
            }
            LossSpec::CategoricalCrossentropy { .. } if shape.last() == Some(&1) => {
                return Err(GraphError::new(
                    "takes an output for each class, and the model gives 1",
                )
                .help("give the last layer a unit for each class, or take binary_crossentropy"));
            }
            LossSpec::CategoricalCrossentropy { label_smoothing } => {
                Op::Loss(Loss::DenseCrossEntropy { label_smoothing: label_smoothing as f32 })
            }
            LossSpec::BinaryCrossentropy { label_smoothing } => {
                pair(PairLoss::BinaryCrossEntropy { label_smoothing: label_smoothing as f32 })
            }
            LossSpec::BinaryFocalCrossentropy { gamma, alpha } => {
                pair(PairLoss::Focal { gamma: gamma as f32, alpha: alpha.unwrap_or(-1.0) as f32 })
            }
            LossSpec::MeanSquaredError {} => pair(PairLoss::SquaredError),
            LossSpec::MeanAbsoluteError {} => pair(PairLoss::AbsoluteError),
            LossSpec::Huber { delta } => pair(PairLoss::Huber { delta: delta as f32 }),
            LossSpec::Hinge {} => pair(PairLoss::Hinge),
            LossSpec::Poisson {} => {
                let targets = top_level_input(graph, "targets", &shape, DType::F32);
                let rate = graph.apply(Unary::Exp, &[logits])?;
                let counted = graph.apply(Binary::Mul, &[targets, logits])?;
                let losses = graph.apply(Binary::Sub, &[rate, counted])?;
                return mean_but_first(graph, losses);
            }
            LossSpec::Custom(_)
            | LossSpec::TokenCrossentropy { .. }
            | LossSpec::Ctc {}
            | LossSpec::Transducer { .. } => {
                return Err(GraphError::new("is built by itself; please report it"));
            }
        };
        let targets = top_level_input(graph, "targets", &shape, DType::F32);
        let losses = graph.apply(op, &[logits, targets])?;
        mean_but_first(graph, losses)
    }

    fn custom(
        &self,
        loss: &dyn CustomLoss,
        graph: &mut Graph,
        outputs: TensorId,
        mask: Option<TensorId>,
    ) -> Result<TensorId, GraphError> {
        let (truth, mask) = self.truth_input(graph, outputs, mask)?;
        let batch = graph.shape(outputs)[0];
        let mut builder = Builder::bare(graph, Mode::Train).masked(mask);
        let losses = loss.build(&mut builder, outputs, truth)?;
        let tensor = graph.tensor(losses);
        if tensor.shape.first() != Some(&batch) || tensor.dtype != DType::F32 {
            let found = format!("gives {:?} {:?} for {batch} samples", tensor.dtype, tensor.shape);
            return Err(GraphError::new(found).help("give the loss of each sample, f32 [batch]"));
        }
        match mask {
            Some(mask) if graph.shape(losses) == graph.shape(mask) => {
                graph.apply(Sequence::WeightedMean, &[losses, mask])
            }
            _ => mean_but_first(graph, losses),
        }
    }

    /// The input that the loss compares with, and how much each position counts where there are some.
    pub(crate) fn truth_input(
        &self,
        graph: &mut Graph,
        outputs: TensorId,
        mask: Option<TensorId>,
    ) -> Result<(TensorId, Option<TensorId>), GraphError> {
        let shape = graph.shape(outputs).to_vec();
        match (self.targets(), mask) {
            (Targets::ClassIds, _) => {
                let dims = &shape[..shape.len().saturating_sub(1).max(1)];
                let labels = top_level_input(graph, "labels", dims, DType::I32);
                let counts = |_| top_level_input(graph, "labels.mask", &shape[..2], DType::F32);
                Ok((labels, mask.map(counts)))
            }
            (Targets::Dense, None) => {
                let mut dims = vec![shape[0]];
                dims.extend(self.target_shape(&shape[1..]));
                Ok((top_level_input(graph, "targets", &dims, DType::F32), None))
            }
            (Targets::Dense, Some(_)) => Err(GraphError::new(
                "compares with values, and the model gives a row for each position of a sequence",
            )
            .help("end the model's sequence with { global_avg_pool = {} }")),
        }
    }

    /// Whether its options make sense.
    pub fn validate(&self) -> Result<(), ModelError> {
        let at = |option: &str| format!("loss.{}.{option}", self.name());
        match *self {
            LossSpec::SparseCategoricalCrossentropy { label_smoothing: s }
            | LossSpec::TokenCrossentropy { label_smoothing: s }
            | LossSpec::CategoricalCrossentropy { label_smoothing: s }
            | LossSpec::BinaryCrossentropy { label_smoothing: s } => {
                require((0.0..1.0).contains(&s), || at("label_smoothing"), "from 0 to below 1", s)
            }
            LossSpec::SparseCategoricalFocalCrossentropy { gamma } => {
                require(gamma >= 0.0, || at("gamma"), "at least 0", gamma)
            }
            LossSpec::BinaryFocalCrossentropy { gamma, alpha } => {
                require(gamma >= 0.0, || at("gamma"), "at least 0", gamma)?;
                let alpha = alpha.unwrap_or(0.5);
                require((0.0..=1.0).contains(&alpha), || at("alpha"), "from 0 to 1", alpha)
            }
            LossSpec::Huber { delta } => require(delta > 0.0, || at("delta"), "above 0", delta),
            LossSpec::Custom(ref loss) => check_name(loss.get().name(), "loss", "loss"),
            LossSpec::MeanSquaredError {}
            | LossSpec::MeanAbsoluteError {}
            | LossSpec::Hinge {}
            | LossSpec::Ctc {}
            | LossSpec::Transducer { .. }
            | LossSpec::Poisson {} => Ok(()),
        }
    }
}
