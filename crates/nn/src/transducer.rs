//! A model that writes labels while it reads a sequence, each by what was read and by the labels before (Graves 2012).

use crate::chunks::CONTEXT;
use crate::ctc_encoder::CtcEncoderSpec;
use crate::error::{ModelError, require};
use crate::form::count;
use crate::initializers::Initializer;
use crate::layer::{DenseSpec, LayerSpec};
use crate::layers::{At, Builder};
use crate::loss::BuiltLoss;
use crate::loss_ops::{by_label, of_labels, top_level_input};
use crate::model::InputSpec;
use serde::{Deserialize, Serialize};
use tidemill_graph::{
    Binary, DType, Embedding, Graph, GraphError, Layout, Op, PerPosition, TensorId, Transducer,
};

/// A model of the labels of a sequence, for the loss `transducer`: the blocks of `ctc_encoder`, and a `joiner`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransducerSpec {
    /// The blocks that read the sequence.
    pub encoder: CtcEncoderSpec,
    /// Values of the joiner: of a position, and of the labels before; those of the encoder by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<usize>,
    /// Labels before that the next one depends on; 2 by default.
    #[serde(default = "two", deserialize_with = "count")]
    pub context: usize,
}

/// Options of the layer `joiner`, the last one of a model with the loss `transducer`: `tanh(x + written) kernel + bias`, where `written` is the
/// sum of a row of a table for each of the last labels (Ghodsi et al. 2020). Tables `[context, outputs, units]`, kernel `[units, outputs]`, bias
/// `[outputs]`. A label or the blank is written at each position: its outputs are the logits of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinerSpec {
    /// Number of outputs: one for each label, after that of the blank.
    #[serde(deserialize_with = "count")]
    pub outputs: usize,
    /// Labels before that the next one depends on; 2 by default.
    #[serde(default = "two", deserialize_with = "count")]
    pub context: usize,
}

/// How many labels a way of the loss `transducer` writes at a position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelsPerPosition {
    /// One at most, as the joiner does (Sak et al. 2017, Tripathi et al. 2019).
    #[default]
    One,
    /// Any number (Graves 2012). After a label, the same position has to give the blank. Where a label comes twice in a row and
    /// `context` is 1, both are asked of the same values, so that the joiner, which writes what is more probable, leaves the second out.
    Any,
}

fn two() -> usize {
    2
}

/// More labels are a mistake: tables of so many are there.
const MAX_CONTEXT: usize = 16;

impl JoinerSpec {
    pub(crate) fn validate(self, at: &dyn Fn(&str) -> String) -> Result<(), ModelError> {
        require(self.outputs >= 2, || at("outputs"), "at least 2", self.outputs)?;
        let is_context = (1..=MAX_CONTEXT).contains(&self.context);
        require(is_context, || at("context"), "from 1 to 16", self.context)
    }
}

impl TransducerSpec {
    /// The input and the layers that it stands for, with `labels` outputs, that of the blank included.
    pub(crate) fn expand(&self, labels: usize) -> Result<(InputSpec, Vec<LayerSpec>), ModelError> {
        let units = self.units.unwrap_or(self.encoder.units);
        require(units > 0, || "transducer.units".into(), "a positive integer", units)?;
        let at = |key: &str| format!("transducer.{key}");
        let joiner = JoinerSpec { outputs: labels.max(2), context: self.context };
        joiner.validate(&at)?;
        let (input, mut layers) = self.encoder.blocks("transducer.encoder")?;
        layers.push(DenseSpec::new(units).into());
        layers.push(joiner.into());
        Ok((input, layers))
    }
}

impl Builder<'_> {
    /// What is written at each position. The labels before are kept where a sequence comes in chunks.
    pub(crate) fn joiner(&mut self, spec: JoinerSpec, at: At) -> Result<At, GraphError> {
        let (_, [batch, _, units]) = self.sequence_dims(at)?;
        let JoinerSpec { outputs, context } = spec;
        let start = Initializer::Uniform { min: -0.05, max: 0.05 };
        let tables = self.parameter("tables", &[context, outputs, units], start)?;
        let kernel = self.parameter("kernel", &[units, outputs], Initializer::default())?;
        let bias = self.parameter("bias", &[outputs], Initializer::Zeros)?;
        let kept = self.contexts.map(|index| format!("{CONTEXT}{index}"));
        self.contexts = self.contexts.map(|index| index + 1);
        let before = match &kept {
            Some(name) => top_level_input(self.graph, name, &[batch, context], DType::F32),
            None => {
                let none = self.graph.constant(0.0);
                self.graph.apply(Layout::BroadcastTo(vec![batch, context]), &[none])?
            }
        };
        let inputs = [at.x, tables, kernel, bias, before];
        let logits = self.graph.apply(Transducer::Greedy, &inputs)?;
        if let Some(name) = &kept {
            let after = self.graph.apply(Transducer::After, &[logits, before])?;
            self.graph.output(name, after);
        }
        Ok(at.with(logits))
    }
}

/// The loss of the labels of a transducer, whose joiner gives `logits`: minus the logarithm of the probability of all ways to write them.
pub(crate) fn loss(
    graph: &mut Graph,
    logits: TensorId,
    mask: Option<TensorId>,
    room: Option<usize>,
    per_position: LabelsPerPosition,
) -> Result<BuiltLoss, GraphError> {
    let tensor = graph.tensor(logits);
    let (Some(mask), Op::Transducer(Transducer::Greedy)) = (mask, &tensor.op) else {
        return Err(GraphError::new(
            "is of what a joiner writes, and the model ends with another layer",
        )
        .help(
            "end the layers with { joiner = { outputs = ... } }, or give the model as transducer",
        ));
    };
    let [frames, tables, kernel, bias] = [0, 1, 2, 3].map(|i| tensor.inputs[i]);
    let labels = of_labels(graph, mask, room);
    let per_position = match per_position {
        LabelsPerPosition::One => PerPosition::One,
        LabelsPerPosition::Any => PerPosition::Any,
    };
    let written = written(graph, tables, labels.ids)?;
    let (lengths, counts) = (labels.lengths, labels.counts);
    let inputs = [frames, written, kernel, bias, labels.ids, lengths, counts];
    let log_p = graph.apply(Transducer::Joint, &inputs)?;
    let losses = graph.apply(Transducer::Loss(per_position), &[log_p, lengths, counts])?;
    by_label(graph, losses, &labels)
}

/// What the labels before add to a position, `[batch, labels + 1, units]`: before the first label all are the blank.
fn written(graph: &mut Graph, tables: TensorId, labels: TensorId) -> Result<TensorId, GraphError> {
    let (&[context, outputs, units], &[batch, room]) = (graph.shape(tables), graph.shape(labels))
    else {
        return Err(GraphError::new("a joiner without tables; please report it"));
    };
    let blank = graph.integer(Transducer::BLANK as i32);
    let mut sum = None;
    for k in 0..context {
        let row = Layout::Slice { start: vec![k, 0, 0], size: vec![1, outputs, units] };
        let table = graph.apply(row, &[tables])?;
        let table = graph.apply(Layout::Reshape(vec![outputs, units]), &[table])?;
        let none = (k + 1).min(room + 1);
        let blanks = graph.apply(Layout::BroadcastTo(vec![batch, none]), &[blank])?;
        let ids = match room + 1 - none {
            0 => blanks,
            count => {
                let first = Layout::Slice { start: vec![0, 0], size: vec![batch, count] };
                let first = graph.apply(first, &[labels])?;
                graph.apply(Layout::Concat { axis: 1 }, &[blanks, first])?
            }
        };
        let rows = graph.apply(Embedding::Rows, &[table, ids])?;
        sum = Some(match sum {
            Some(sum) => graph.apply(Binary::Add, &[sum, rows])?,
            None => rows,
        });
    }
    sum.ok_or_else(|| GraphError::new("a joiner without tables; please report it"))
}
