//! What a recipe says about tables and streams of rows: one encoder for both.

use tidemill_engine::data::text::PLACE;
use tidemill_engine::data::{DataSpec, Encoder, TableInput, TableInputs, TableSpec};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::metrics::Task;
use tidemill_engine::nn::{HatsSpec, InputSpec, ModelSpec, Targets};

use crate::RecipeFile;
use crate::data::text_ids;
use crate::online::join::Missing;
use crate::stream::features::Table;
use crate::stream::{FeaturesSpec, Format, FormatSpec, Standardize};

impl RecipeFile {
    /// The options of a table of `[batch]`, with what other sections say of it.
    pub(crate) fn table(&self, spec: &TableSpec) -> TableSpec {
        let mut spec = spec.clone();
        spec.context.stream = self.recipe.stream.clone();
        spec.context.features = self.recipe.online.features.clone();
        spec.context.values = !self.recipe.task().has_classes();
        let inputs = self.table_inputs();
        spec.context.stream.text.extend(inputs.columns().cloned());
        spec.context.features.sequences = inputs.columns().cloned().collect();
        spec.context.features.hats = self.recipe.model.hats.map(|hats| hats.knots);
        spec.context.inputs = inputs;
        // Ids are rows of an embedding as they are.
        if let InputSpec::Ids { .. } = self.recipe.model.input {
            spec.context.features.standardize = Standardize::None;
        }
        spec
    }

    /// What the model's named inputs read of a row of a table or stream: an input of tokens the words
    /// of the column of its name, the others what the encoder makes of all other columns.
    pub fn table_inputs(&self) -> TableInputs {
        match self.recipe.model.inputs.is_empty() {
            true => TableInputs::default(),
            false => self.sentence_inputs(),
        }
    }

    /// What the model reads of a sentence: an input of tokens its words, another its place. The inputs of a row
    /// that is a table's differ where the model has one alone.
    pub(crate) fn sentence_inputs(&self) -> TableInputs {
        let input = |(name, input): (&str, InputSpec)| {
            let input = match input {
                InputSpec::Tokens(tokens) => TableInput::Words(text_ids(tokens)),
                _ => TableInput::Encoded,
            };
            (name.to_owned(), input)
        };
        TableInputs(self.recipe.model.named_inputs().into_iter().map(input).collect())
    }

    /// Sentences of documents are words and numbers, and what is learned of each is one number.
    pub(crate) fn check_sentences(&self) -> Result<()> {
        let (model, batch) = (&self.recipe.model, &self.recipe.batch);
        for (key, data) in [("batch.data", &batch.data), ("batch.validation", &batch.validation)] {
            let Some(DataSpec::Documents(_)) = data else { continue };
            let named = model.named_inputs();
            let (numbers, words): (Vec<_>, Vec<_>) =
                named.iter().partition(|input| is_numbers(input));
            let place = InputSpec::Features(PLACE);
            if words.len() != 1
                || numbers.len() > 1
                || numbers.iter().any(|(_, input)| *input != place)
            {
                let what = format!(
                    "is documents, which are for models that read the words of a sentence and its place, as \
                     inputs = {{ words = {{ tokens = {{ length = 128, vocabulary = 65536 }} }}, place = {{ \
                     features = {PLACE} }} }}, or an input of tokens alone"
                );
                return Err(self.error_at(key, &what));
            }
            let loss = &self.recipe.training.loss;
            if loss.targets() == Targets::ClassIds || loss.refuses_some() {
                let what = format!(
                    "is {}; how much a sentence has in common with a summary is a value from 0 to 1: use \
                     mean_squared_error, mean_absolute_error or huber",
                    loss.name()
                );
                return Err(self.error_at("training.loss", &what));
            }
        }
        Ok(())
    }

    /// How the events of a stream in `format` are written: as `[stream]` says and, where that is
    /// silent, the table of `[batch]`.
    ///
    /// # Errors
    /// If the table gives a column by its place.
    pub fn stream_format(&self, format: Format) -> Result<FormatSpec> {
        let mut spec = match &self.recipe.batch.data {
            Some(DataSpec::Csv(table)) => table
                .for_stream(&self.recipe.stream, format)
                .map_err(|what| self.error_at("batch.data.csv", &what))?,
            _ => self.recipe.stream.clone().for_format(format),
        };
        // A category is its text, also where that looks like a number.
        spec.text.extend(self.recipe.online.features.categorical.keys().cloned());
        spec.text.extend(self.table_inputs().columns().cloned());
        Ok(spec)
    }

    /// What is between the classes of a label that has any number of them, and their names where each has a column; none where a label
    /// is one class.
    pub fn sets(&self) -> Option<(char, Vec<String>)> {
        // Which format it is makes no difference.
        let spec =
            self.stream_format(Format::JsonLines).unwrap_or_else(|_| self.recipe.stream.clone());
        let table = match &self.recipe.batch.data {
            Some(DataSpec::Csv(table)) => {
                table.label_separator.or((!table.labels.is_empty()).then_some(';'))
            }
            _ => None,
        };
        let separator = spec.set_separator().or(table)?;
        Some((separator, spec.labels))
    }

    /// Where any number of classes is true of a sample, the loss takes a yes or no for each; and what has one class is not for them.
    pub(crate) fn check_sets(&self) -> Result<()> {
        if self.sets().is_none() {
            return Ok(());
        }
        let by = ["label_separator", "labels"];
        let by =
            by.into_iter().find(|key| self.gives(&["stream", key])).unwrap_or("label_separator");
        let what = format!(
            "where any number of classes is true of a sample (stream.{by}, or that of the table)"
        );
        let recipe = &self.recipe;
        if recipe.online.linear.is_some() {
            let what =
                format!("has one label, and cannot be used {what}; leave it out for a network");
            return Err(self.error_at("online.linear", &what));
        }
        if recipe.task() != Task::Binary {
            let name = recipe.training.loss.name();
            let what = format!(
                "is {name}, and must be binary_crossentropy {what}: each of the model's outputs is a yes or no"
            );
            return Err(self.error_at("training.loss", &what));
        }
        if recipe.model.output_shape().is_ok_and(|shape| shape.iter().product::<usize>() == 1) {
            let what = format!(
                "has one output, for one class, {what}: of one class each row is a yes or a no, which is a label of two \
                 classes; leave the key out"
            );
            return Err(self.error_at("model.layers", &what));
        }
        if recipe.training.class_weight.is_some() {
            return Err(self.error_at(
                "training.class_weight",
                &format!("has no meaning {what}; leave it out"),
            ));
        }
        if recipe.online.labels.as_ref().is_some_and(|labels| labels.missing == Missing::Negative) {
            let what = format!(
                "= \"negative\" has no meaning {what}: write events of none of the classes with an empty set"
            );
            return Err(self.error_at("online.labels.missing", &what));
        }
        Ok(())
    }

    /// How the columns of a stream become inputs: as `[online.features]` and the table of `[batch]`
    /// say.
    ///
    /// # Errors
    /// If options exclude each other.
    pub fn features(&self) -> Result<FeaturesSpec> {
        let mut features = match &self.recipe.batch.data {
            Some(DataSpec::Csv(table)) => {
                let features = self.table(table).for_stream_features();
                features
                    .map_err(|e| self.error_at("batch.data", &format!("cannot be used: {e}")))?
            }
            _ => self.recipe.online.features.clone(),
        };
        features.sequences = self.table_inputs().columns().cloned().collect();
        features.hats = self.recipe.model.hats.map(|hats| hats.knots);
        Ok(features)
    }
}

/// Fails where the inputs that an encoder makes of a stream's events are not those of a model.
///
/// # Errors
/// If there are more or fewer than the model wants, or rows of embeddings without tables for them.
pub fn check_inputs(encoder: &Encoder, model: &ModelSpec) -> Result<()> {
    if model.bag.is_some() && model.inputs.is_empty() {
        return Err(Error::Usage(
            "model.bag lacks column, the name of the stream's column that has the text".into(),
        ));
    }
    if let InputSpec::Tokens(_) = model.input {
        return Err(Error::Usage(
            "an input of tokens reads the column of its name, and model.input has none: name it, as in \
             inputs = { message = { tokens = { length = 64, vocabulary = 20000 } } }, and begin \
             model.layers with { concat = { branches = [{ input = \"message\", layers = [...] }] } }"
                .into(),
        ));
    }
    let numbers = is_numbers;
    let named = model.named_inputs();
    if named.iter().filter(|i| numbers(i)).count() > 1 {
        return Err(Error::Usage(
            "model.inputs has several inputs of numbers, and the columns of a table make one: join them \
             in one input, such as { features = 10 }"
                .into(),
        ));
    }
    let wants = wanted_inputs(model);
    let has = encoder.width();
    let columns = encoder.num_numbers();
    let hats = model.hats.map(|hats| hats.columns).filter(|hats| *hats != columns);
    if let Some(hats) = hats {
        let what = match columns {
            0 => "leave model.hats out".to_owned(),
            _ => format!(
                "set model.hats.columns to {columns} and the model's input to {{ features = {has} }}"
            ),
        };
        return Err(Error::Usage(format!(
            "model.hats is for {hats} columns of numbers and an event of the stream has {columns}; {what}"
        )));
    }
    if wants != has {
        let names = encoder.names();
        let few: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
        let more = if names.len() > 8 { ", ..." } else { "" };
        return Err(Error::Usage(format!(
            "the model has {wants} inputs and an event of the stream {has} ({}{more}); set the model's input to {{ features = \
             {has} }}, or leave columns out with stream.ignore",
            few.join(", ")
        )));
    }
    check_embeddings(encoder, model)
}

fn is_numbers((_, input): &(&str, InputSpec)) -> bool {
    !matches!(input, InputSpec::Tokens(_))
}

/// The inputs of a model that an encoder makes.
pub fn wanted_inputs(model: &ModelSpec) -> usize {
    let named = model.named_inputs();
    let numbers = named.iter().filter(|i| is_numbers(i));
    numbers.map(|(_, input)| input.shape().iter().product::<usize>()).sum()
}

/// The columns of numbers of which an encoder makes the inputs of a model: further inputs of hats have none of their own.
pub fn wanted_columns(model: &ModelSpec) -> usize {
    let hats = model.hats.as_ref().map_or(0, HatsSpec::inputs);
    wanted_inputs(model).saturating_sub(hats)
}

/// Columns that are rows of embeddings need tables, and tables need such columns.
///
/// # Errors
/// If a model has other tables than an encoder has columns for.
pub fn check_embeddings(encoder: &Encoder, model: &ModelSpec) -> Result<()> {
    let wanted = encoder.tables();
    let tables = model.entity_embedding();
    let has: Vec<(usize, usize)> = tables.map(|t| t.tables().collect()).unwrap_or_default();
    let fits =
        |(&(rows, inputs), b): (&(usize, usize), &Table<'_>)| rows >= b.rows && inputs == b.inputs;
    let enough = has.len() == wanted.len() && has.iter().zip(&wanted).all(fits);
    if enough {
        return Ok(());
    }
    let columns: Vec<&str> = wanted.iter().map(|w| w.column).collect();
    let rows: Vec<usize> = wanted.iter().map(|w| w.rows).collect();
    let tokens: Vec<usize> = wanted.iter().map(|w| w.inputs).collect();
    let tokens = match tokens.iter().all(|&n| n == 1) {
        true => String::new(),
        false => format!("tokens = {tokens:?}, "),
    };
    let columns = if columns.is_empty() { "none".into() } else { columns.join(", ") };
    Err(Error::Usage(match rows.is_empty() {
        true => format!(
            "the model has entity_embedding for {} columns and the data none: name them in \
             online.features.categorical, as user = {{ embedding = {{ capacity = 1000 }} }}",
            has.len()
        ),
        false => format!(
            "columns that are rows of embeddings: {columns}; put \
             {{ entity_embedding = {{ vocabulary = {rows:?}, {tokens}units = 8 }} }} first in \
             model.layers (found tables of rows and tokens {has:?})"
        ),
    }))
}
