//! Classification of texts by which words they have (Joulin et al. 2017, fastText).

use std::collections::BTreeMap;

use crate::embedding::EmbeddingBagSpec;
use crate::error::{ModelError, require};
use crate::form::count;
use crate::joins::{BranchSpec, ConcatSpec};
use crate::layer::{DenseSpec, LayerSpec};
use crate::model::{InputSpec, TokensSpec};
use crate::validate::ids_of_words;
use serde::{Deserialize, Serialize};

/// A model that classifies texts by which words they have, in any order: the mean of a row of a table for each word, and a
/// dense layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BagSpec {
    /// Length of a row of the table.
    #[serde(deserialize_with = "count")]
    pub units: usize,
    /// Number of classes.
    #[serde(deserialize_with = "count")]
    pub classes: usize,
    /// The column of a table or stream that has the text. Left out for a folder of texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Maximum number of ids of a text; 1024 by default. Longer texts are cut off, and counted.
    #[serde(default = "longest", deserialize_with = "count")]
    pub length: usize,
    /// Rows of the table, which words and groups of words share by their hashes; 262144 by default.
    #[serde(default = "rows", deserialize_with = "count")]
    pub vocabulary: usize,
    /// Words in a row that have an id together, beside those of each word and of fewer in a row; 2 by default.
    #[serde(default = "pairs", deserialize_with = "count")]
    pub ngrams: usize,
    /// Characters of the shortest part of a word that has an id of its own; 0 by default, for no parts.
    #[serde(default)]
    pub minn: usize,
    /// Characters of the longest part of a word that has an id of its own; 0 by default, for no parts. The start and the
    /// end of a word count as one character each, as in fastText.
    #[serde(default)]
    pub maxn: usize,
    /// Dropout of the mean; 0 by default.
    #[serde(default)]
    pub dropout: f64,
}

fn longest() -> usize {
    1024
}

fn rows() -> usize {
    1 << 18
}

fn pairs() -> usize {
    2
}

/// A model's input, or its named inputs, and its layers.
type Expanded = (InputSpec, BTreeMap<String, InputSpec>, Vec<LayerSpec>);

impl BagSpec {
    /// What it stands for.
    pub(crate) fn expand(&self) -> Result<Expanded, ModelError> {
        let &BagSpec { length, vocabulary, ngrams, minn, maxn, dropout, .. } = self;
        let tokens = TokensSpec { length, vocabulary, ngrams, minn, maxn };
        ids_of_words(tokens, "bag")?;
        let is_rate = (0.0..1.0).contains(&dropout);
        require(is_rate, || "bag.dropout".into(), "from 0 to below 1", dropout)?;
        let tokens = InputSpec::Tokens(tokens);
        let bag = EmbeddingBagSpec::new(vocabulary, self.units).into();
        let (input, inputs, first) = match &self.column {
            None => (tokens, BTreeMap::new(), bag),
            Some(column) => {
                let branch = BranchSpec { input: Some(column.clone()), layers: vec![bag] };
                let first = ConcatSpec { branches: vec![branch] }.into();
                (InputSpec::none(), BTreeMap::from([(column.clone(), tokens)]), first)
            }
        };
        let mut layers = vec![first];
        if dropout > 0.0 {
            layers.push(LayerSpec::Dropout { rate: dropout });
        }
        layers.push(DenseSpec::new(self.classes).into());
        Ok((input, inputs, layers))
    }
}
