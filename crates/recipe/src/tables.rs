//! What a recipe says about tables and streams of rows: one encoder for both.

use tidemill_engine::data::{Encoder, TableSpec};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::metrics::Task;
use tidemill_engine::nn::{InputSpec, ModelSpec};

use crate::RecipeFile;
use crate::stream::features::Table;
use crate::stream::{FeaturesSpec, Format, FormatSpec, Standardize};

impl RecipeFile {
    /// The options of a table of `[batch]`, with what other sections say of it.
    pub(crate) fn table(&self, spec: &TableSpec) -> TableSpec {
        let mut spec = spec.clone();
        spec.context.stream = self.recipe.stream.clone();
        spec.context.features = self.recipe.online.features.clone();
        spec.context.values = self.recipe.task() == Task::Values;
        // Ids are rows of an embedding as they are.
        if let InputSpec::Ids { .. } = self.recipe.model.input {
            spec.context.features.standardize = Standardize::None;
        }
        spec
    }

    /// How the events of a stream in `format` are written: as `[stream]` says and, where that is
    /// silent, the table of `[batch]`.
    ///
    /// # Errors
    /// If the table gives a column by its place.
    pub fn stream_format(&self, format: Format) -> Result<FormatSpec> {
        let mut spec = match &self.recipe.batch.data {
            Some(tidemill_engine::data::DataSpec::Csv(table)) => table
                .for_stream(&self.recipe.stream, format)
                .map_err(|what| self.error_at("batch.data.csv", &what))?,
            _ => self.recipe.stream.clone(),
        };
        // A category is its text, also where that looks like a number.
        spec.text.extend(self.recipe.online.features.categorical.keys().cloned());
        Ok(spec)
    }

    /// How the columns of a stream become inputs: as `[online.features]` and the table of `[batch]`
    /// say.
    ///
    /// # Errors
    /// If options exclude each other.
    pub fn features(&self) -> Result<FeaturesSpec> {
        match &self.recipe.batch.data {
            Some(tidemill_engine::data::DataSpec::Csv(table)) => {
                let features = self.table(table).for_stream_features();
                features.map_err(|e| self.error_at("batch.data", &format!("cannot be used: {e}")))
            }
            _ => Ok(self.recipe.online.features.clone()),
        }
    }
}

/// Fails where the inputs that an encoder makes of a stream's events are not those of a model.
///
/// # Errors
/// If there are more or fewer than it `wants`, or rows of embeddings without tables for them.
pub fn check_inputs(encoder: &Encoder, model: &ModelSpec, wants: usize) -> Result<()> {
    let has = encoder.width();
    if wants != has {
        let names = encoder.names();
        let few: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
        let more = if names.len() > 8 { ", ..." } else { "" };
        return Err(Error::Usage(format!(
            "the model has {wants} inputs and an event of the stream {has} ({}{more}); set model.input to {{ features = \
             {has} }}, or leave columns out with stream.ignore",
            few.join(", ")
        )));
    }
    check_embeddings(encoder, model)
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
