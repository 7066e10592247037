//! What a recipe says about texts that become tokens.

use std::sync::Arc;

use tidemill_engine::data::tokens::Tokenizer;
use tidemill_engine::data::{DataSpec, Dataset, TextContext};
use tidemill_engine::error::Result;
use tidemill_engine::nn::{InputSpec, ModelError, TokensSpec};

use crate::RecipeFile;

impl RecipeFile {
    /// Whether its data are texts that a tokenizer makes tokens of.
    pub fn reads_tokens(&self) -> bool {
        matches!(self.recipe.batch.data, Some(DataSpec::Text(_) | DataSpec::Parallel(_)))
            || self.reads_transcripts()
    }

    /// What makes tokens of texts, once it is trained or read.
    pub fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        self.tokenizer.as_ref()
    }

    /// Says what makes tokens of texts; a model that is given by a few numbers gets its vocabulary.
    ///
    /// # Errors
    /// If the model has fewer tokens.
    pub fn set_tokenizer(&mut self, tokenizer: Arc<Tokenizer>) -> Result<()> {
        let tokens = tokenizer.vocabulary();
        self.tokenizer = Some(tokenizer);
        self.expand()?;
        for (name, input) in self.recipe.model.named_inputs() {
            if let InputSpec::Tokens(TokensSpec { vocabulary, .. }) = input
                && vocabulary < tokens
            {
                let key = match self.recipe.model.inputs.is_empty() {
                    true => "input.tokens.vocabulary".to_owned(),
                    false => format!("inputs.{name}.tokens.vocabulary"),
                };
                let what = format!("is {vocabulary}, and the tokenizer has {tokens} tokens");
                return Err(self.error_at(&key, &what));
            }
        }
        Ok(())
    }

    /// Takes over what makes tokens of the texts of `data`, if they are texts.
    ///
    /// # Errors
    /// As [`RecipeFile::set_tokenizer`].
    pub fn set_tokenizer_of(&mut self, data: &dyn Dataset) -> Result<()> {
        data.tokenizer().map_or(Ok(()), |tokenizer| self.set_tokenizer(tokenizer.clone()))
    }

    /// Fills in the layers of a model that is given by a few numbers.
    pub(crate) fn expand(&mut self) -> Result<()> {
        // Beside the tokens of sounds there is the blank.
        let blank = usize::from(self.reads_transcripts());
        let tokens = self.tokenizer.as_ref().map(|tokenizer| tokenizer.vocabulary() + blank);
        let expanded = self.recipe.model.expand(tokens);
        expanded.map_err(|ModelError { path, message }| self.error_at(&path, &message))?;
        // The samples of the longest kind that fit.
        if let Some(tokens) = self.recipe.batch.batch_tokens {
            let longest = self.lengths().into_iter().max().unwrap_or(1);
            self.recipe.batch.batch_size = (tokens / longest.max(1)).max(1);
        }
        Ok(())
    }

    /// What is given must have an effect.
    pub(crate) fn check_tokens(&self) -> Result<()> {
        let model = &self.recipe.model;
        if let Some((name, _)) = model.short_forms().iter().find(|(_, given)| *given) {
            for key in ["input", "inputs", "layers"] {
                // A model of images may have images of any size.
                if (*name, key) != ("vision", "input") && self.gives(&["model", key]) {
                    let what =
                        format!("has no place beside {name}, which stands for it; leave one out");
                    return Err(self.error_at(&format!("model.{key}"), &what));
                }
            }
        }
        self.check_ids_of_texts()?;
        if self.recipe.batch.batch_tokens.is_some() {
            let has_time = self.reads_tokens() || self.reads_sounds();
            let what = match (self.gives(&["batch", "batch_size"]), has_time) {
                (true, _) => Some("has no place beside batch.batch_size; leave one of them out"),
                (_, false) => Some(
                    "has no effect: only data of tokens (text, parallel) and of sounds (audio) have a length",
                ),
                _ if self.gives(&["batch", "drop_remainder"]) => {
                    Some("has no place beside batch.drop_remainder; leave that out")
                }
                _ => None,
            };
            if let Some(what) = what {
                return Err(self.error_at("batch.batch_tokens", what));
            }
        }
        match &self.recipe.text.tokenizer {
            Some(_) if !self.reads_tokens() => Err(self.error_at(
                "text.tokenizer",
                "has no effect: only data of tokens (text, parallel) and of sounds with the loss ctc or transducer have a tokenizer",
            )),
            _ => Ok(()),
        }
    }

    /// Words in a row and parts of words have ids only where a text is a bag of words.
    fn check_ids_of_texts(&self) -> Result<()> {
        let model = &self.recipe.model;
        let name = match &self.recipe.batch.data {
            Some(DataSpec::Tagged(_)) => "tagged",
            Some(DataSpec::Text(_)) => "text",
            Some(DataSpec::Parallel(_)) => "parallel",
            data => return self.check_column(data.as_ref()),
        };
        let more = |input: InputSpec| matches!(input, InputSpec::Tokens(tokens) if tokens.has_more_than_words());
        if model.bag.is_some() || model.named_inputs().into_iter().any(|(_, input)| more(input)) {
            let what = format!(
                "cannot be {name}, which has one id for each word or token; use text_directory or csv, \
                 or leave out model.bag, and ngrams, minn and maxn of the input"
            );
            return Err(self.error_at("batch.data", &what));
        }
        Ok(())
    }

    /// Data of tokens fill certain inputs.
    pub(crate) fn check_inputs_of_texts(&self) -> Result<()> {
        let inputs = self.recipe.model.named_inputs();
        let names: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
        let batch = &self.recipe.batch;
        for (key, data) in [("batch.data", &batch.data), ("batch.validation", &batch.validation)] {
            let (kind, fills, like) = match data {
                Some(DataSpec::Text(_)) => ("text", &["x"][..], "decoder_only"),
                Some(DataSpec::Parallel(_)) => {
                    ("parallel", &["source", "target"][..], "encoder_decoder")
                }
                _ => continue,
            };
            let are_tokens = inputs.iter().all(|(_, input)| matches!(input, InputSpec::Tokens(_)));
            if names != fills || !are_tokens {
                let what = format!(
                    "is {kind}, which is for models that read tokens as {}, as {like} does; this one reads \
                     {}{}",
                    fills.join(" and "),
                    names.join(" and "),
                    if are_tokens { "" } else { ", and not as tokens" }
                );
                return Err(self.error_at(key, &what));
            }
        }
        Ok(())
    }

    /// A bag reads a column of a table, and the whole of a text that is a file.
    fn check_column(&self, data: Option<&DataSpec>) -> Result<()> {
        let Some(bag) = &self.recipe.model.bag else { return Ok(()) };
        match (data, &bag.column) {
            (Some(DataSpec::Csv(_)), None) => Err(self.error_at(
                "model.bag",
                "lacks column, the name of the table's column that has the text",
            )),
            (Some(DataSpec::TextDirectory(_)), Some(_)) => Err(self.error_at(
                "model.bag.column",
                "has no place beside text_directory, whose files have no columns; leave it out",
            )),
            _ => Ok(()),
        }
    }

    /// The most tokens of each input of tokens.
    fn lengths(&self) -> Vec<usize> {
        let length = |(_, input): (&str, InputSpec)| match input {
            InputSpec::Tokens(tokens) => Some(tokens.length),
            InputSpec::Frames { length, .. } => Some(length),
            _ => None,
        };
        self.recipe.model.named_inputs().into_iter().filter_map(length).collect()
    }

    /// What other sections say of texts.
    pub(crate) fn text_context(&self) -> TextContext {
        TextContext {
            tokenizer: self.recipe.text.tokenizer.clone(),
            trained: self.tokenizer.clone(),
            lengths: self.lengths(),
        }
    }

    /// The data with what other sections say of texts, sounds and images. Only those of training are varied by augmentation.
    pub fn with_context(&self, spec: &DataSpec, is_training: bool) -> DataSpec {
        let context = self.text_context();
        let mut spec = spec.clone();
        match &mut spec {
            DataSpec::Text(text) => text.context = context,
            DataSpec::Parallel(pairs) => pairs.context = context,
            DataSpec::Documents(documents) => documents.inputs = self.sentence_inputs(),
            DataSpec::ImageDirectory(folder) => folder.augment = self.augment(is_training),
            DataSpec::Idx(idx) => idx.augment = self.augment(is_training),
            DataSpec::Numpy(arrays) => {
                arrays.augment = self.augment(is_training);
                // Other data has labels as the training data has them: a model has one meaning of its outputs.
                if let (false, Some(DataSpec::Numpy(train))) =
                    (is_training, &self.recipe.batch.data)
                {
                    (arrays.scale_targets, arrays.labels) = (train.scale_targets, train.labels);
                }
            }
            DataSpec::Audio(sounds) => sounds.context = self.audio_context(is_training),
            _ => {}
        }
        spec
    }
}
