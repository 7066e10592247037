//! Layers, losses and metrics written in another crate, from the same ops as the built-in ones.
//!
//! A custom part is a type that implements one of three traits. Its `build` adds ops to the graph by a
//! [`Builder`]: shapes are checked there, gradients come from the ops, and the planner fuses what it
//! fuses anywhere. It is called once for each graph (training, evaluation, prediction) and each batch
//! size, never during a step, so that it costs nothing at run time.
//!
//! ```
//! use tidemill_graph::{GraphError, TensorId};
//! use tidemill_nn::{Activation, Builder, CustomLayer, Initializer, Model};
//!
//! /// `x * sigmoid(x . w)`
//! struct Gate;
//!
//! impl CustomLayer for Gate {
//!     fn name(&self) -> &str {
//!         "gate"
//!     }
//!     fn build(&self, b: &mut Builder, x: TensorId) -> Result<TensorId, GraphError> {
//!         let width = b.width(x);
//!         let w = b.parameter("w", &[width, width], Initializer::default())?;
//!         let open = b.matmul(x, w)?;
//!         let open = b.sigmoid(open)?;
//!         b.mul(x, open)
//!     }
//! }
//!
//! let model = Model::features(8).layer(Gate).dense(2, Activation::Linear);
//! let summary = model.summary()?;
//! assert_eq!((summary[0].path.as_str(), summary[0].num_parameters), ("layers.0.gate", 64));
//! # Ok::<(), GraphError>(())
//! ```

use crate::build::Mode;
use crate::error::ModelError;
use crate::layer::LayerSpec;
use crate::layers::Builder;
use crate::link::Link;
use crate::loss::{LossSpec, Targets};
use serde::Serializer;
use std::sync::Arc;
use tidemill_graph::{DType, Graph, GraphError, TensorId};

/// A layer of another crate.
pub trait CustomLayer: Send + Sync {
    /// Its name in paths, summaries and errors: letters, digits and `_`, such as `gate`. Its weights are
    /// then called `layers.<i>.gate.<name>`.
    fn name(&self) -> &str;

    /// Adds the layer's ops: from `x`, `[batch, ...]`, to its output, which also has a row for each
    /// sample. The parameters that it declares must be the same for every batch size, in training and
    /// in evaluation.
    ///
    /// # Errors
    /// Those of the ops, whose shapes are checked; they are reported with the layer's path.
    fn build(&self, builder: &mut Builder<'_>, x: TensorId) -> Result<TensorId, GraphError>;

    /// Whether its output has the positions of a sequence `[batch, time, ...]`, if its input has them:
    /// yes by default. A layer that sums over time says no.
    fn keeps_time(&self) -> bool {
        true
    }
}

/// A loss of another crate.
pub trait CustomLoss: Send + Sync {
    /// Its name in errors.
    fn name(&self) -> &str;

    /// Adds the loss's ops: from the model's `outputs`, `[batch, ...]`, and the `truth` to the loss of
    /// each sample, `[batch]`; more dims are averaged. The truth is what
    /// [`targets`](CustomLoss::targets) says.
    ///
    /// # Errors
    /// Those of the ops, whose shapes are checked; they are reported with the loss's name.
    fn build(
        &self,
        builder: &mut Builder<'_>,
        outputs: TensorId,
        truth: TensorId,
    ) -> Result<TensorId, GraphError>;

    /// What it compares the outputs with: values (f32) by default, of the
    /// [`target_shape`](CustomLoss::target_shape), or class numbers (i32 `[batch]`, and `[batch, time]`
    /// for sequences).
    fn targets(&self) -> Targets {
        Targets::Dense
    }

    /// Dims of one sample's target values, for a model whose output has the dims `outputs`: the same by
    /// default. Where they differ, the built-in metrics have nothing to compare and are left out.
    fn target_shape(&self, outputs: &[usize]) -> Vec<usize> {
        outputs.to_vec()
    }

    /// How outputs become what `predict` gives; as they are by default. With softmax or sigmoid the
    /// model is a classifier, and is measured as one.
    fn link(&self) -> Link {
        Link::Identity
    }
}

/// A metric of another crate: what each sample adds is computed in the graph, beside the loss; the means
/// over all samples are combined at the end.
pub trait CustomMetric: Send + Sync {
    /// Its name among the figures: letters, digits and `_`.
    fn name(&self) -> &str;

    /// Adds the metric's ops: from `outputs`, `[batch, ...]` (before softmax or sigmoid), and the
    /// loss's `truth` to what each sample adds: `[batch]`, or `[batch, parts]`.
    ///
    /// # Errors
    /// Those of the ops, whose shapes are checked; they are reported with the metric's name.
    fn build(
        &self,
        builder: &mut Builder<'_>,
        outputs: TensorId,
        truth: TensorId,
    ) -> Result<TensorId, GraphError>;

    /// The metric, given the mean of each part over all samples, by their weights. The first mean by
    /// default. A value that is not finite is left out of the figures.
    fn value(&self, means: &[f64]) -> f64 {
        means.first().copied().unwrap_or(f64::NAN)
    }
}

/// A custom part as a specification holds it: shared, and equal only to its own copies.
pub struct Custom<T: ?Sized>(pub(crate) Arc<T>);

impl<T: ?Sized> Custom<T> {
    /// The part itself.
    pub fn get(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> Clone for Custom<T> {
    fn clone(&self) -> Self {
        Custom(self.0.clone())
    }
}

impl<T: ?Sized> PartialEq for Custom<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

macro_rules! custom {
    ($($part:ident)*) => {$(
        impl std::fmt::Debug for Custom<dyn $part> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({:?})", stringify!($part), self.0.name())
            }
        }

        impl<T: $part + 'static> From<T> for Custom<dyn $part> {
            fn from(part: T) -> Self {
                Custom(Arc::new(part))
            }
        }
    )*};
}
custom!(CustomLayer CustomLoss CustomMetric);

impl<T: CustomLayer + 'static> From<T> for LayerSpec {
    fn from(layer: T) -> LayerSpec {
        LayerSpec::Custom(layer.into())
    }
}

impl<T: CustomLoss + 'static> From<T> for LossSpec {
    fn from(loss: T) -> LossSpec {
        LossSpec::Custom(loss.into())
    }
}

/// Adds the metrics as outputs `metric.<name>` of a graph, of a model's outputs and its loss's truth.
pub(crate) fn build_metrics(
    metrics: &[Custom<dyn CustomMetric>],
    graph: &mut Graph,
    loss: &LossSpec,
    outputs: TensorId,
    mask: Option<TensorId>,
) -> Result<(), GraphError> {
    for (i, metric) in metrics.iter().enumerate() {
        let name = metric.get().name();
        let path = format!("metric.{name}");
        check_name(name, "metric", "metrics").map_err(|e| GraphError::new(e.to_string()))?;
        if metrics[..i].iter().any(|other| other.get().name() == name) {
            return Err(GraphError::new("there are two metrics of this name").at(&path));
        }
        let (truth, mask) = loss.truth_input(graph, outputs, mask)?;
        graph.enter(path.as_str());
        let mut builder = Builder::bare(graph, Mode::Eval).masked(mask);
        let built = metric.get().build(&mut builder, outputs, truth);
        graph.leave();
        let added = built.map_err(|error| error.at(&path))?;
        let (tensor, batch) = (graph.tensor(added), graph.shape(outputs)[0]);
        let fits = matches!(tensor.shape[..], [b] | [b, _] if b == batch);
        if !fits || tensor.dtype != DType::F32 {
            let found = format!("gives {:?} {:?} for {batch} samples", tensor.dtype, tensor.shape);
            let help = "give f32 [batch], or [batch, parts]";
            return Err(GraphError::new(found).help(help).at(&path));
        }
        graph.output(&path, added);
    }
    Ok(())
}

/// Fails where a name could not be part of a path.
pub(crate) fn check_name(name: &str, what: &str, path: &str) -> Result<(), ModelError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.is_empty() && name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Ok(());
    }
    let message = format!(
        "is a custom {what} with the name {name:?}; a name has letters, digits and `_`, and starts with \
         no digit"
    );
    Err(ModelError::new(path, message))
}

/// No recipe can hold Rust code.
pub(crate) fn write_layer<S: Serializer>(
    part: &Custom<dyn CustomLayer>,
    _: S,
) -> Result<S::Ok, S::Error> {
    Err(not_written("layer", part.get().name()))
}

/// As [`write_layer`].
pub(crate) fn write_loss<S: Serializer>(
    part: &Custom<dyn CustomLoss>,
    _: S,
) -> Result<S::Ok, S::Error> {
    Err(not_written("loss", part.get().name()))
}

fn not_written<E: serde::ser::Error>(what: &str, name: &str) -> E {
    E::custom(format!(
        "the custom {what} `{name}` is Rust code, which a recipe cannot hold; use the model from Rust"
    ))
}
