//! A model as an ONNX file (opset 18), for any batch and any length of sequences up to the longest.
//!
//! # Layout
//! - `sizes`: which dims differ from call to call
//! - `writer`: nodes, constants and names
//! - `ops`, `images`, `sequences`: what each op becomes
//! - `wire`: the file's format

mod images;
mod ops;
mod sequences;
mod sizes;
mod wire;
mod writer;

use std::collections::HashMap;

use tidemill_engine::graph::{GraphError, TensorId};
use tidemill_engine::nn::{LossSpec, ModelSpec};

use sizes::Sizes;
use wire::{Parts, Type};
use writer::Writer;

/// The most bytes of a protobuf message; larger weights would need files beside it.
const MOST_BYTES: usize = i32::MAX as usize;

/// What a file is made of beside the graph.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// The tensors of the state by name.
    pub(crate) weights: HashMap<String, Vec<f32>>,
    /// Inputs that are bytes: by what each value is multiplied, and what is added, for each channel.
    pub(crate) pixels: HashMap<String, [Vec<f32>; 2]>,
    /// Whether the output is that of the last layer instead of probabilities.
    pub(crate) logits: bool,
    /// What an output is multiplied by and what is added then, to be in the units of the labels.
    pub(crate) unit: Option<[f32; 2]>,
    /// Keys and values for those who read the file.
    pub(crate) metadata: Vec<(String, String)>,
}

/// The bytes of the file.
///
/// # Errors
/// If an op of the model has no ONNX form, or the weights are too large for one file.
pub(crate) fn model(
    model: &ModelSpec,
    loss: &LossSpec,
    content: Content,
) -> Result<Vec<u8>, GraphError> {
    let bytes: usize = content.weights.values().map(|values| 4 * values.len()).sum();
    if bytes > MOST_BYTES {
        let what = format!("the weights take {bytes} bytes, and an ONNX file at most {MOST_BYTES}");
        return Err(GraphError::new(what));
    }
    let sizes = Sizes::new(model, loss).map_err(|e| with_key(model, e))?;
    let wanted = if content.logits { "logits" } else { "probabilities" };
    let output = sizes.graph.outputs.iter().find(|(name, _)| name == wanted);
    let Some(&(_, output)) = output else {
        return Err(GraphError::new(format!("the model has no {wanted}; please report it")));
    };
    let mut writer = Writer::new(&sizes, &content.weights, &content.pixels);
    for id in needed(&sizes, output) {
        writer.op(id)?;
    }
    writer.enter(output);
    let mut y = writer.get(output)?;
    if let Some([factor, summand]) = content.unit {
        let [factor, summand] = [factor, summand].map(|number| writer.scalar(number));
        y = writer.node("Mul", &[y, factor], &[]);
        y = writer.node("Add", &[y, summand], &[]);
    }
    writer.add("Identity", &[y], &[wanted.to_owned()], &[]);
    let output = wire::value(wanted, Type::Float, &writer.named_dims(output)?);
    let [nodes, initializers, inputs] = writer.finish(wanted);
    let metadata = content.metadata;
    Ok(wire::model(&Parts { nodes, initializers, inputs, output, metadata }))
}

/// An error of the whole graph, at the key whose label of the event before is the same for all samples of a batch.
fn with_key(model: &ModelSpec, error: GraphError) -> GraphError {
    if !model.last_label {
        return error;
    }
    let what =
        "model.last_label depends on the event before the one at hand, which has no ONNX form";
    GraphError::new(what).help("export a run whose recipe is without it")
}

/// What an output depends on, in the order of the graph.
fn needed(sizes: &Sizes, output: TensorId) -> Vec<TensorId> {
    let mut needed = vec![false; output.index() + 1];
    needed[output.index()] = true;
    for i in (0..=output.index()).rev() {
        if needed[i] {
            for input in &sizes.graph.tensors[i].inputs {
                needed[input.index()] = true;
            }
        }
    }
    (0..=output.index()).filter(|&i| needed[i]).map(|i| TensorId(i as u32)).collect()
}

#[cfg(test)]
mod tests;
