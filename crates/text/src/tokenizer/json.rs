//! `tokenizer.json`, the format of Hugging Face's `tokenizers`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::added::AddedToken;
use super::decoder::Decoder;
use super::model::Model;
use super::normalizer::Normalizer;
use super::pre_tokenizer::PreTokenizer;
use crate::TextError;

/// What a file consists of. How sequences are cut, padded and framed by special tokens is kept as it is:
/// encoding here does none of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Parts {
    pub(crate) version: String,
    pub(crate) truncation: Value,
    pub(crate) padding: Value,
    pub(crate) added_tokens: Vec<AddedToken>,
    pub(crate) normalizer: Option<Normalizer>,
    pub(crate) pre_tokenizer: Option<PreTokenizer>,
    pub(crate) post_processor: Value,
    pub(crate) decoder: Option<Decoder>,
    pub(crate) model: Model,
}

impl Parts {
    /// A model and nothing else.
    pub(crate) fn new(model: Model) -> Parts {
        Parts {
            version: "1.0".into(),
            truncation: Value::Null,
            padding: Value::Null,
            added_tokens: Vec::new(),
            normalizer: None,
            pre_tokenizer: None,
            post_processor: Value::Null,
            decoder: None,
            model,
        }
    }

    /// Reads a file.
    pub(crate) fn read(json: &str) -> Result<Parts, TextError> {
        let mut file: Map<String, Value> = serde_json::from_str(json)
            .map_err(|error| TextError::new(format!("not a tokenizer.json: {error}")))?;
        if let Some(Value::Object(model)) = file.get_mut("model")
            && !model.contains_key("type")
        {
            let kind = model_type(model);
            model.insert("type".into(), kind.into());
        }
        let version = part::<Option<_>>(&mut file, "version")?.unwrap_or_else(|| "1.0".to_owned());
        if version != "1.0" {
            return Err(TextError::new(format!(
                "tokenizer.json, `version`: {version} is not supported, only 1.0"
            )));
        }
        Ok(Parts {
            version,
            truncation: part(&mut file, "truncation")?,
            padding: part(&mut file, "padding")?,
            added_tokens: part::<Option<_>>(&mut file, "added_tokens")?.unwrap_or_default(),
            normalizer: part(&mut file, "normalizer")?,
            pre_tokenizer: part(&mut file, "pre_tokenizer")?,
            post_processor: part(&mut file, "post_processor")?,
            decoder: part(&mut file, "decoder")?,
            model: part(&mut file, "model")?,
        })
    }

    /// What an added token looks like in the text where it is looked for.
    pub(crate) fn pattern(&self, token: &AddedToken) -> String {
        match &self.normalizer {
            Some(normalizer) if token.normalized => {
                normalizer.apply(token.content.as_str().into()).into_owned()
            }
            _ => token.content.clone(),
        }
    }

    /// The text of the file.
    pub(crate) fn write(&self) -> String {
        // Only maps whose keys are no strings could fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A part of the file; `null` if it lacks.
fn part<T: DeserializeOwned>(file: &mut Map<String, Value>, name: &str) -> Result<T, TextError> {
    let value = file.remove(name).unwrap_or(Value::Null);
    serde_json::from_value(value)
        .map_err(|error| TextError::new(format!("tokenizer.json, `{name}`: {error}")))
}

/// The type of a model of an older file, which does not say it.
fn model_type(model: &Map<String, Value>) -> &'static str {
    match model.get("vocab") {
        Some(Value::Array(_)) => "Unigram",
        _ if model.contains_key("merges") => "BPE",
        _ if model.contains_key("max_input_chars_per_word") => "WordPiece",
        _ => "WordLevel",
    }
}
