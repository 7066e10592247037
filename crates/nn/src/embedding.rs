//! Rows of tables by integer ids.

use crate::form::count;
use crate::initializers::Initializer;
use crate::layers::{At, Builder};
use serde::{Deserialize, Serialize};
use tidemill_graph::{Binary, Embedding, GraphError, Layout, Reduce, Reduction, TensorId, Unary};

/// Options of an embedding. Table `[vocabulary, units]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingSpec {
    /// Rows of the table; ids are 0 to `vocabulary` - 1.
    #[serde(deserialize_with = "count", alias = "input_dim", alias = "num_embeddings")]
    pub vocabulary: usize,
    /// Length of a row.
    #[serde(deserialize_with = "count", alias = "output_dim", alias = "embedding_dim")]
    pub units: usize,
    /// How the table is initialized; uniform from -0.05 to 0.05 by default.
    #[serde(default = "uniform")]
    pub initializer: Initializer,
    /// The path of another embedding, such as `layers.0.embedding`, whose table is used. The layer has a table of its own
    /// by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tied: Option<String>,
    /// What the rows are multiplied by; 1 by default.
    #[serde(default = "unscaled", skip_serializing_if = "is_unscaled")]
    pub scale: f64,
}

fn unscaled() -> f64 {
    1.0
}

fn is_unscaled(scale: &f64) -> bool {
    *scale == 1.0
}

impl EmbeddingSpec {
    /// A table of this many rows and columns.
    pub fn new(vocabulary: usize, units: usize) -> EmbeddingSpec {
        EmbeddingSpec { vocabulary, units, initializer: uniform(), tied: None, scale: unscaled() }
    }
}

/// Options of an embedding of bags. Table `[vocabulary, units]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingBagSpec {
    /// Rows of the table; ids are 0 to `vocabulary` - 1.
    #[serde(deserialize_with = "count", alias = "num_embeddings")]
    pub vocabulary: usize,
    /// Length of a row.
    #[serde(deserialize_with = "count", alias = "embedding_dim")]
    pub units: usize,
    /// How the table is initialized; uniform from -0.05 to 0.05 by default.
    #[serde(default = "uniform")]
    pub initializer: Initializer,
}

impl EmbeddingBagSpec {
    /// A table of this many rows and columns.
    pub fn new(vocabulary: usize, units: usize) -> EmbeddingBagSpec {
        EmbeddingBagSpec { vocabulary, units, initializer: uniform() }
    }
}

/// Entity embeddings (Guo and Berkhahn 2016). The last features of `[batch, features]` are ids,
/// whole numbers from 0, one for each table; each is replaced by a row of `units` numbers of its
/// table. The features before them stay as they are. Table `i` has the shape `[vocabulary[i],
/// units]`. A table with several tokens, such as the words of a text, contributes the sum of their
/// rows; its row 0 stands for an empty place and contributes zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntityEmbeddingSpec {
    /// Number of rows of each table; ids are smaller than that.
    pub vocabulary: Vec<usize>,
    /// Number of features (tokens) of each table; 1 for all by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<usize>,
    /// Length of a row.
    #[serde(deserialize_with = "count")]
    pub units: usize,
    /// How the table is initialized; uniform from -0.05 to 0.05 by default.
    #[serde(default = "uniform")]
    pub initializer: Initializer,
}

impl EntityEmbeddingSpec {
    /// A table of so many rows for each of the last features.
    pub fn new(vocabulary: &[usize], units: usize) -> EntityEmbeddingSpec {
        let (vocabulary, tokens) = (vocabulary.to_vec(), Vec::new());
        EntityEmbeddingSpec { vocabulary, tokens, units, initializer: uniform() }
    }

    /// Rows and features of each table.
    pub fn tables(&self) -> impl Iterator<Item = (usize, usize)> {
        let tokens = self.tokens.iter().copied().chain(std::iter::repeat(1));
        self.vocabulary.iter().copied().zip(tokens)
    }

    /// How many of the last features are ids.
    pub fn num_ids(&self) -> usize {
        self.tables().map(|(_, tokens)| tokens).sum()
    }
}

fn uniform() -> Initializer {
    Initializer::Uniform { min: -0.05, max: 0.05 }
}

impl Builder<'_> {
    /// The table of the embedding at that path, for another layer that learns it too.
    pub(crate) fn tied(&self, path: &str, shape: &[usize]) -> Result<TensorId, GraphError> {
        let table = self.graph.find(&format!("{path}.table")).ok_or_else(|| {
            GraphError::new(format!("is tied to {path}, which is no embedding before it"))
                .help("name an embedding by its path, such as layers.0.embedding")
        })?;
        match self.graph.shape(table) == shape {
            true => Ok(table),
            false => Err(GraphError::new(format!(
                "is tied to {path}, whose table is {:?} and not {shape:?}",
                self.graph.shape(table)
            ))),
        }
    }

    /// The features that are no ids, then a row of a table for each that is one.
    pub(crate) fn entity_embedding(
        &mut self,
        x: TensorId,
        spec: &EntityEmbeddingSpec,
    ) -> Result<TensorId, GraphError> {
        let shape = self.graph.shape(x).to_vec();
        let ids = spec.num_ids();
        let &[batch, features] = shape.as_slice() else {
            let found = format!("takes features [batch, features], but its input is {shape:?}");
            return Err(GraphError::new(found).help("put flatten before it"));
        };
        if features < ids {
            let found = format!("has tables for {ids} ids, but its input has {features} features");
            return Err(GraphError::new(found).help(
                "give vocabulary one number for each feature that is an id; they come last",
            ));
        }
        let numbers = features - ids;
        let mut parts = Vec::new();
        if numbers > 0 {
            let op = Layout::Slice { start: vec![0, 0], size: vec![batch, numbers] };
            parts.push(self.graph.apply(op, &[x])?);
        }
        let mut start = numbers;
        for (i, (rows, tokens)) in spec.tables().enumerate() {
            let op = Layout::Slice { start: vec![0, start], size: vec![batch, tokens] };
            start += tokens;
            let ids = self.graph.apply(op, &[x])?;
            let table =
                self.parameter(&format!("table{i}"), &[rows, spec.units], spec.initializer)?;
            parts.push(if tokens > 1 {
                self.graph.apply(Embedding::Bag, &[table, ids])?
            } else {
                let flat = self.reshaped(ids, vec![batch])?;
                self.graph.apply(Embedding::Rows, &[table, flat])?
            });
        }
        let y = match parts.as_slice() {
            [one] => *one,
            parts => self.graph.apply(Layout::Concat { axis: 1 }, parts)?,
        };
        // What is no id stays where it is.
        self.follow_hats(x, y, 0);
        Ok(y)
    }

    /// The mean of a table's rows for a sample's ids: their sum in one pass, then one division, so that there is no
    /// tensor with a row for each position.
    pub(crate) fn embedding_bag(
        &mut self,
        spec: &EmbeddingBagSpec,
        at: At,
    ) -> Result<At, GraphError> {
        let shape = self.graph.shape(at.x);
        let (Some(mask), &[batch, _]) = (at.mask, shape) else {
            return Err(GraphError::new(format!(
                "takes ids [batch, time], but its input is {shape:?}"
            ))
            .help("put it first, and give the model an input of tokens"));
        };
        let table = self.parameter("table", &[spec.vocabulary, spec.units], spec.initializer)?;
        let sum = self.graph.apply(Embedding::Bag, &[table, at.x])?;
        let axes = Reduce::Axes { reduction: Reduction::Sum, axes: vec![1], keep_dims: false };
        let ids = self.graph.apply(axes, &[mask])?;
        // A row that fills up a batch has no ids: its mean is 0.
        let ids = self.graph.apply(Unary::Clip { low: 1.0, high: f32::MAX }, &[ids])?;
        let ids = self.graph.apply(Layout::Reshape(vec![batch, 1]), &[ids])?;
        Ok(At { x: self.graph.apply(Binary::Div, &[sum, ids])?, mask: None })
    }
}
