//! What is likely wrong with a model before its first step: `tidemill doctor`'s part on models.

use crate::activation::Activation;
use crate::build::LayerSummary;
use crate::error::{ModelError, key_path};
use crate::initializers::Initializer;
use crate::layer::LayerSpec;
use crate::link::Link;
use crate::loss::{LossSpec, Targets};
use crate::model::{InputSpec, ModelSpec};
use crate::optimizer::OptimizerSpec;
use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Training would run, but is not likely to be what was meant.
    Warning,
    /// Training cannot work.
    Error,
}

/// Something that is, or may be, wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Key path below `[model]`, `[training]` or `[batch]`, such as `layers[3]`, `loss`, `data`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it; empty where that is plain.
    pub help: String,
}

impl Finding {
    /// The key in a whole recipe: `model.layers[3]`, `training.loss`, `batch.data`.
    pub fn key(&self) -> String {
        let first = self.path.split(['.', '[']).next().unwrap_or_default();
        let section = match first {
            "layers" | "input" => "model",
            "data" => "batch",
            _ => "training",
        };
        format!("{section}.{}", self.path)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, "; help: {}", self.help) }
    }
}

impl From<ModelError> for Finding {
    fn from(error: ModelError) -> Finding {
        Finding {
            severity: Severity::Error,
            path: error.path,
            message: error.message,
            help: String::new(),
        }
    }
}

/// What the data's labels are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Labels {
    /// Not known yet.
    #[default]
    Unknown,
    /// Ids of this many classes.
    Classes(usize),
    /// So many numbers for each sample.
    Values(usize),
}

/// What is known beside the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What the data's labels are.
    pub labels: Labels,
    /// Samples of a step; 0 where not known.
    pub batch_size: usize,
}

/// Everything that looks wrong, errors first.
pub fn check(
    model: &ModelSpec,
    loss: &LossSpec,
    optimizer: &OptimizerSpec,
    facts: Facts,
) -> Vec<Finding> {
    let mut report = Report { findings: vec![] };
    for result in [model.validate(), loss.validate(), optimizer.validate()] {
        report.findings.extend(result.err().map(Finding::from));
    }
    if report.findings.is_empty() {
        report.each_layer(model, &model.layers, "layers", facts);
        report.last_layer(model, loss);
        report.learning_rate(optimizer);
        match model.summary() {
            Ok(layers) => report.shapes(model, loss, facts.labels, &layers),
            Err(error) => report.add(
                Severity::Error,
                key_path(&error.path),
                error.message,
                error.help.unwrap_or_default(),
            ),
        }
    }
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    report.findings
}

struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn add(
        &mut self,
        severity: Severity,
        path: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let (path, message, help) = (path.into(), message.into(), help.into());
        self.findings.push(Finding { severity, path, message, help });
    }

    fn error(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Error, path, message, help);
    }

    fn warning(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Warning, path, message, help);
    }

    fn each_layer(&mut self, model: &ModelSpec, layers: &[LayerSpec], prefix: &str, facts: Facts) {
        for (i, layer) in layers.iter().enumerate() {
            let path = format!("{prefix}[{i}]");
            let nested = |key| format!("{path}.{}.{key}", layer.kind());
            let kernel_starts_as = match layer {
                // One unit has no other that it could be the same as.
                LayerSpec::Dense(o) if o.units > 1 => Some(o.kernel_initializer),
                LayerSpec::Conv2d(o) if o.filters > 1 => Some(o.kernel_initializer),
                LayerSpec::DepthwiseConv2d(o) => Some(o.kernel_initializer),
                _ => None,
            };
            // Outputs are pulled in ways of their own from the first step on.
            let is_output = prefix == "layers" && i + 1 == layers.len();
            if !is_output
                && matches!(
                    kernel_starts_as,
                    Some(Initializer::Zeros | Initializer::Ones | Initializer::Constant { .. })
                )
            {
                self.warning(
                    &nested("kernel_initializer"),
                    "all units start the same and so stay the same",
                    "use a random one, such as \"glorot_uniform\"",
                );
            }
            match layer {
                LayerSpec::Dropout { rate } if *rate > 0.8 => self.warning(
                    &nested("rate"),
                    format!("drops {} % of the values", rate * 100.0),
                    "rate is the share that is dropped, not the share that is kept",
                ),
                LayerSpec::BatchNorm(_) if (1..8).contains(&facts.batch_size) => self.warning(
                    &path,
                    format!(
                        "batch_norm with a batch size of {} has noisy moments",
                        facts.batch_size
                    ),
                    "use layer_norm, or a batch size of at least 8",
                ),
                LayerSpec::Embedding(o) => {
                    if let InputSpec::Ids { vocabulary, .. } = model.input
                        && vocabulary > o.vocabulary
                    {
                        self.error(
                            &nested("vocabulary"),
                            format!("{} rows for {vocabulary} different ids", o.vocabulary),
                            format!("set vocabulary = {vocabulary}"),
                        );
                    }
                }
                LayerSpec::EmbeddingBag(o) => {
                    // Also where the text is a named input, of which there may be several.
                    let ids = model.named_inputs().into_iter().filter_map(|(_, i)| i.vocabulary());
                    if let Some(vocabulary) = ids.min().filter(|&ids| ids > o.vocabulary) {
                        self.error(
                            &nested("vocabulary"),
                            format!("{} rows for {vocabulary} different ids", o.vocabulary),
                            format!("set vocabulary = {vocabulary}"),
                        );
                    }
                }
                LayerSpec::Dense(a) if a.activation == Activation::Linear => {
                    if let Some(LayerSpec::Dense(_)) = layers.get(i + 1) {
                        self.warning(
                            &path,
                            "two dense layers without an activation between them are one linear layer",
                            "add activation = \"relu\" to the first",
                        );
                    }
                }
                LayerSpec::Residual(block) => {
                    self.each_layer(model, &block.layers, &nested("layers"), facts);
                    self.each_layer(model, &block.shortcut, &nested("shortcut"), facts);
                }
                LayerSpec::Repeat { layers, .. } | LayerSpec::Multiply { layers } => {
                    self.each_layer(model, layers, &nested("layers"), facts);
                }
                _ => {}
            }
        }
    }

    /// The function that the outputs went through last, against what the loss takes.
    fn last_layer(&mut self, model: &ModelSpec, loss: &LossSpec) {
        let Some((i, layer)) = last_that_computes(&model.layers) else {
            return self.error("layers", "nothing in the model can learn", "add a dense layer");
        };
        let path = format!("layers[{i}]");
        let name = loss.name();
        if let LayerSpec::Dropout { .. } = layer {
            return self.warning(
                &path,
                "dropout on the outputs themselves",
                "put it before the last dense layer",
            );
        }
        let last = match layer {
            LayerSpec::Softmax {} => Activation::Softmax,
            LayerSpec::Activation(activation) => *activation,
            LayerSpec::Dense(o) => o.activation,
            LayerSpec::Conv2d(o) => o.activation,
            LayerSpec::DepthwiseConv2d(o) => o.activation,
            LayerSpec::Residual(o) => o.activation,
            _ => Activation::Linear,
        };
        let remove = match layer {
            LayerSpec::Softmax {} => "remove the softmax layer".to_owned(),
            LayerSpec::Activation(_) => format!("remove the {} layer", last.name()),
            _ => format!("remove activation = \"{}\"", last.name()),
        };
        let takes_logits = loss.link() != Link::Identity || matches!(loss, LossSpec::Hinge {});
        match (loss.link(), last) {
            (Link::Softmax | Link::Sigmoid, Activation::Softmax | Activation::Sigmoid) => self
                .error(
                    &path,
                    format!(
                        "{} before {name}, which takes logits: the gradient vanishes",
                        last.name()
                    ),
                    format!("{remove}; predict gives probabilities all the same"),
                ),
            (_, Activation::Relu | Activation::Softplus) => self.warning(
                &path,
                format!("{} on the last layer: outputs cannot be negative", last.name()),
                if takes_logits {
                    remove
                } else {
                    format!("{remove}, unless no target is negative")
                },
            ),
            (_, Activation::Tanh) if takes_logits => self.warning(
                &path,
                format!("tanh before {name}: logits stay between -1 and 1"),
                remove,
            ),
            _ => {}
        }
    }

    fn learning_rate(&mut self, optimizer: &OptimizerSpec) {
        let usual = match optimizer {
            OptimizerSpec::Sgd(_) | OptimizerSpec::Adagrad(_) | OptimizerSpec::Ftrl(_) => 1.0,
            _ => 0.05,
        };
        let highest = optimizer.schedule().highest();
        let path = format!("optimizer.{}.learning_rate", optimizer.name());
        if highest > usual {
            self.warning(
                &path,
                format!("{highest} is far above what {} is used with", optimizer.name()),
                format!("start with {}", if usual == 1.0 { 0.01 } else { 0.001 }),
            );
        }
        if highest == 0.0 {
            self.warning(&path, "is 0, so that nothing is learned", "start with 0.001");
        }
    }

    fn shapes(
        &mut self,
        model: &ModelSpec,
        loss: &LossSpec,
        labels: Labels,
        layers: &[LayerSummary],
    ) {
        if layers.iter().all(|layer| layer.num_parameters == 0) {
            return self.error("layers", "nothing in the model can learn", "add a dense layer");
        }
        let Some(last) = layers.last() else { return };
        let shape = &last.output_shape;
        let path = format!("layers[{}]", model.layers.len() - 1);
        if shape.len() == 3 && loss.link() != Link::Identity {
            return match dense_on_images(model, layers) {
                Some((i, input)) => self.error(
                    &format!("layers[{i}]"),
                    format!("dense on images {input:?} sees one pixel at a time"),
                    "insert { flatten = {} } before it",
                ),
                None => self.error(
                    &path,
                    format!(
                        "the model gives images {shape:?}, {} takes one row a sample",
                        loss.name()
                    ),
                    "end with { flatten = {} } or { global_avg_pool = {} } and a dense layer",
                ),
            };
        }
        let outputs = shape.last().copied().unwrap_or(1);
        match (labels, loss.link()) {
            (Labels::Classes(0 | 1), _) => self.error(
                "data",
                "has fewer than 2 classes",
                "the label of a table needs two different values or more, and a folder one sub-folder for each class",
            ),
            (Labels::Classes(n), Link::Softmax) if outputs < n => {
                let help = if n == 2 && outputs == 1 {
                    "set units = 2, or loss = \"binary_crossentropy\"".to_owned()
                } else {
                    format!("set units = {n}")
                };
                self.error(&path, format!("{outputs} outputs for {n} classes"), help);
            }
            (Labels::Classes(n), Link::Softmax) if outputs > n => self.warning(
                &path,
                format!("{outputs} outputs for {n} classes: the others are never right"),
                format!("set units = {n}"),
            ),
            (Labels::Classes(n), _) if outputs != n && !(outputs == 1 && n == 2) => {
                let help = if loss.link() == Link::Identity {
                    "use sparse_categorical_crossentropy for classes".to_owned()
                } else {
                    format!("set units = {n}, or use sparse_categorical_crossentropy")
                };
                self.error(
                    &path,
                    format!("{outputs} outputs for {n} classes with {}", loss.name()),
                    help,
                );
            }
            (Labels::Classes(n), Link::Identity) if !matches!(loss, LossSpec::Hinge {}) => self
                .warning(
                    "loss",
                    format!("{} on the ids of {n} classes", loss.name()),
                    "use sparse_categorical_crossentropy for classes",
                ),
            (Labels::Classes(n), Link::Sigmoid) if outputs > 1 => self.warning(
                "loss",
                format!("{} judges each of {n} classes by itself", loss.name()),
                "use sparse_categorical_crossentropy where a sample has one class",
            ),
            (Labels::Values(n), _) if loss.targets() == Targets::ClassIds => self.error(
                "loss",
                format!("{} takes class ids, but labels are {n} numbers a sample", loss.name()),
                match n {
                    1 => {
                        "use mean_squared_error for amounts; for classes that are saved as floats, labels = \"class\" in `numpy`, or save \
                         them as integers"
                    }
                    _ => "use categorical_crossentropy, or labels that are class ids",
                },
            ),
            (Labels::Values(n), _) if outputs != n => self.error(
                &path,
                format!("{outputs} outputs for {n} target values"),
                format!("set units = {n}"),
            ),
            (Labels::Unknown, Link::Softmax) if outputs == 1 => self.error(
                &path,
                format!("one output has nothing to choose from with {}", loss.name()),
                "set units to the number of classes, or loss = \"binary_crossentropy\"",
            ),
            _ => {}
        }
    }
}

/// The last layer that is more than a change of shape, and its index.
fn last_that_computes(layers: &[LayerSpec]) -> Option<(usize, &LayerSpec)> {
    layers.iter().enumerate().rev().find(|(_, layer)| {
        !matches!(layer, LayerSpec::Flatten {} | LayerSpec::Reshape { .. })
            && !matches!(layer, LayerSpec::Activation(Activation::Linear))
    })
}

/// The first dense layer of the model itself whose input is an image, and that input's dims.
fn dense_on_images(model: &ModelSpec, layers: &[LayerSummary]) -> Option<(usize, Vec<usize>)> {
    let own = |layer: &&LayerSummary| layer.path.matches('.').count() == 2;
    let outputs = layers.iter().filter(own).map(|layer| layer.output_shape.clone());
    let inputs = std::iter::once(model.input.shape()).chain(outputs);
    inputs
        .zip(&model.layers)
        .enumerate()
        .find(|(_, (input, layer))| input.len() == 3 && matches!(layer, LayerSpec::Dense(_)))
        .map(|(i, (input, _))| (i, input))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
