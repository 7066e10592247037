//! Words that are copied from a source.

use crate::attention::Projection;
use crate::initializers::Initializer;
use crate::layer::LayerSpec;
use crate::layers::{At, Builder};
use serde::{Deserialize, Serialize};
use tidemill_graph::{Copying, DType, GraphError};

/// Options of a layer that mixes what its layers would write with tokens of a source (See, Liu and Manning 2017): each position attends to
/// the source, and a share that it learns goes to the tokens there. Its output is the logarithms of the probabilities, which
/// a loss takes as logits. Its parameters are kernels and biases of `query` (`units` values, and one for the share) and
/// `key`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopySpec {
    /// The input of the model whose tokens are copied; they must be tokens of the output.
    pub input: String,
    /// The name of the sequence made of that input, given by an `encode` layer, that positions attend to.
    pub over: String,
    /// Values of a query and a key; those of the layer's input by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<usize>,
    /// The layers that give the logits of what is not copied.
    pub layers: Vec<LayerSpec>,
}

impl Builder<'_> {
    pub(crate) fn copying(&mut self, spec: &CopySpec, at: At) -> Result<At, GraphError> {
        let (_, [_, _, width]) = self.sequence_dims(at)?;
        let logits = self.sequence(&spec.layers, "layers", at)?;
        let tokens = self.last_dim(logits.x);
        let known = self.vocabularies.iter().find(|(name, _)| *name == spec.input);
        if let Some((_, vocabulary)) = known.filter(|(_, vocabulary)| *vocabulary > tokens) {
            let last = vocabulary - 1;
            let what = format!("copies tokens up to {last}, and its layers have {tokens} outputs");
            return Err(GraphError::new(what)
                .help(format!("give the last of its layers {vocabulary} units")));
        }
        let over = self.input(&spec.over)?;
        let (mask, [_, time, _]) = self.sequence_dims(over)?;
        let ids = self.input(&spec.input)?;
        let of_ids = self.graph.tensor(ids.x);
        if of_ids.dtype != DType::I32 || of_ids.shape.len() != 2 || of_ids.shape[1] != time {
            let (input, over) = (&spec.input, &spec.over);
            let what = format!("\"{over}\" is not made of the tokens of the input \"{input}\"");
            return Err(GraphError::new(what).help(
                "input must be what the encode layer reads, and over the name that it gives",
            ));
        }
        let dim = spec.units.unwrap_or(width);
        let projection = |name, units| Projection {
            name,
            units,
            part: dim,
            initializer: Initializer::default(),
            bias: true,
        };
        let query = self.project(at, &projection("query", dim + 1))?;
        let keys = match self.known_memory(over, dim, at)? {
            Some(keys) => keys,
            None => {
                let keys = self.project(over, &projection("key", dim))?;
                self.keep_memory(keys, at);
                keys
            }
        };
        let lengths = self.lengths(mask)?;
        let inputs = [logits.x, query, keys, ids.x, lengths];
        Ok(at.with(self.graph.apply(Copying::Mix, &inputs)?))
    }
}
