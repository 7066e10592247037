//! What is wrong with a batch that a model cannot take.

use tidemill_fields::{Batch, Column, DType, Truth};
use tidemill_nn::{EntityEmbeddingSpec, LayerSpec};

use super::{Engine, EngineError};

impl Engine {
    /// Checks what a step does not look at: ids ([`Engine::check_ids`]), and targets that the loss is not
    /// defined for, such as 3 for a cross-entropy of yes or no.
    ///
    /// # Errors
    /// Names the first sample, and its id or target.
    pub fn check(&self, batch: &Batch) -> Result<(), EngineError> {
        self.check_ids(batch)?;
        match self.wrong_target(batch) {
            Some((sample, what)) => {
                Err(EngineError(format!("the target of sample {sample} of the batch {what}")))
            }
            None => Ok(()),
        }
    }

    /// Checks the ids that entity embeddings read out of floats, where one without a row makes its loss
    /// NaN. (Ids of an input of ids are checked at each step.)
    ///
    /// # Errors
    /// Names the first sample and id that has no row.
    pub fn check_ids(&self, batch: &Batch) -> Result<(), EngineError> {
        for (input, layer) in self.spec.model.first_layers() {
            if let LayerSpec::EntityEmbedding(spec) = layer
                && let Some(column) = self.column(input, batch)
            {
                check_entities(spec, column)?;
            }
        }
        Ok(())
    }

    /// The first sample of a batch whose target the loss is not defined for, and what is wrong with it.
    pub fn wrong_target(&self, batch: &Batch) -> Option<(usize, String)> {
        let loss = &self.spec.loss;
        if !loss.refuses_some() {
            return None;
        }
        (0..batch.len).find_map(|i| match batch.truth(i) {
            Truth::Values(values) if batch.weights.get(i) != Some(&0.0) => {
                let refusal = |t: &f32| Some(format!("is {t}; {}", loss.refusal(f64::from(*t))?));
                Some((i, values.iter().find_map(refusal)?))
            }
            _ => None,
        })
    }

    /// Why a step on this batch gave what is not finite, and what to do.
    pub fn why_not_finite(&self, batch: &Batch) -> String {
        if let Err(EngineError(what)) = self.check(batch) {
            return what;
        }
        let fields = batch.signature().fields().iter().zip(&batch.columns);
        for (field, column) in fields.filter(|(f, _)| f.dtype == DType::F32) {
            let stride = column.stride().max(1);
            if let Some(at) = column.f32().iter().position(|v| !v.is_finite()) {
                let (value, sample) = (column.f32()[at], at / stride);
                return format!(
                    "`{}` of sample {sample} of the batch has the value {value}; help: leave such \
                     samples out, or replace the value",
                    field.name
                );
            }
        }
        let is_bad =
            |i: usize| self.values(i).is_ok_and(|values| values.iter().any(|v| !v.is_finite()));
        match self.weights().find(|&(i, _)| is_bad(i)) {
            Some((_, name)) => format!(
                "{name} has values that are not finite; help: load weights from before, lower the \
                 learning rate, or set clip_norm in the optimizer"
            ),
            None => "help: lower the learning rate, set clip_norm in the optimizer, or scale the \
                     inputs and targets"
                .to_owned(),
        }
    }

    /// The column of a batch for one of the model's inputs.
    fn column<'b>(&self, input: usize, batch: &'b Batch) -> Option<&'b Column> {
        let inputs = self.reads.signature.inputs();
        let single = inputs.len() == 1 && batch.signature().inputs().len() == 1;
        let at = if single { Some(0) } else { batch.signature().find(&inputs.get(input)?.name) };
        batch.columns.get(at?)
    }
}

fn check_entities(spec: &EntityEmbeddingSpec, column: &Column) -> Result<(), EngineError> {
    let (x, width) = (column.f32(), column.stride().max(1));
    let numbers = width.saturating_sub(spec.num_ids());
    for (sample, row) in x.chunks_exact(width).enumerate() {
        let mut ids = row[numbers..].iter();
        for (table, (rows, tokens)) in spec.tables().enumerate() {
            for &id in ids.by_ref().take(tokens) {
                if !(id >= 0.0 && id < rows as f32 && id.fract() == 0.0) {
                    return Err(EngineError(format!(
                        "sample {sample} of the batch has the id {id} for table {table} of the \
                         model's entity embedding, which has {rows} rows; help: ids are whole numbers \
                         from 0 to {}",
                        rows.saturating_sub(1)
                    )));
                }
            }
        }
    }
    Ok(())
}
