//! Layers that learn from a later epoch on.

use serde::Deserialize;

use crate::RecipeFile;
use crate::spec::{Recipe, Wrong, positive, wrong};
use tidemill_engine::error::Result;
use tidemill_engine::graph::GraphError;

/// Frozen layers learn from an epoch on, as models are fine-tuned: the new layers first, then those below them (Howard and Ruder
/// 2018, gradual unfreezing). What the optimizer keeps, such as Adam's moments, begins at 0 there for all layers, as where a model of Keras is
/// compiled again.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unfreeze {
    /// The first epoch in which the layers learn, from 2.
    pub epoch: u64,
    /// The layers, by path as in `model.frozen`, which they are part of.
    pub layers: Vec<String>,
}

impl Recipe {
    pub(crate) fn check_unfreeze(&self) -> std::result::Result<(), Wrong> {
        for (i, step) in self.training.unfreeze.iter().enumerate() {
            let key = format!("training.unfreeze[{i}].epoch");
            positive(&key, step.epoch)?;
            if step.layers.is_empty() {
                let key = format!("training.unfreeze[{i}].layers");
                return wrong(key, "must name layers, as model.frozen does");
            }
            if step.epoch == 1 {
                return wrong(
                    key,
                    "= 1 is the start of the run: leave the layers out of model.frozen",
                );
            }
        }
        Ok(())
    }
}

impl RecipeFile {
    /// The layers that learn, though they were frozen at the start, once so many epochs are done.
    pub fn thawed(&self, epochs: u64) -> Vec<String> {
        let steps = self.recipe.training.unfreeze.iter().filter(|step| step.epoch <= epochs + 1);
        steps.flat_map(|step| step.layers.clone()).collect()
    }

    /// The layers that learn from there on, once so many epochs are done.
    pub fn thaws_at(&self, epochs: u64) -> Vec<String> {
        let steps = self.recipe.training.unfreeze.iter().filter(|step| step.epoch == epochs + 1);
        steps.flat_map(|step| step.layers.clone()).collect()
    }

    /// Whether layers learn from there on, once so many epochs are done.
    pub fn starts_to_thaw(&self, epochs: u64) -> bool {
        self.recipe.training.unfreeze.iter().any(|step| step.epoch == epochs + 1)
    }

    /// The number of epochs after which the next layers learn, once so many are done.
    pub fn next_thaw(&self, epochs: u64) -> Option<u64> {
        let starts = self.recipe.training.unfreeze.iter().map(|step| step.epoch - 1);
        starts.filter(|&start| start > epochs).min()
    }

    /// Takes the layers out of `model.frozen` that learn once so many epochs are done. The recipe's text stays as it is.
    ///
    /// # Errors
    /// If the model has no such layers, or they were not frozen.
    pub fn thaw(&mut self, epochs: u64) -> Result<()> {
        if let Some(frozen) = self.frozen.take() {
            self.recipe.model.frozen = frozen;
        }
        let words = |e: GraphError| match e.help {
            Some(help) => format!(": {}; help: {help}", e.message),
            None => format!(": {}", e.message),
        };
        if let Err(e) = self.recipe.model.summary() {
            let key = if e.path == "frozen" { "model.frozen" } else { "model" };
            return Err(self.error_at(key, &words(e)));
        }
        for (i, step) in self.recipe.training.unfreeze.iter().enumerate() {
            for layer in &step.layers {
                if let Err(e) = self.recipe.model.clone().thaw(std::slice::from_ref(layer)) {
                    let key = format!("training.unfreeze[{i}].layers");
                    return Err(self.error_at(&key, &words(e)));
                }
            }
        }
        let paths = self.thawed(epochs);
        if paths.is_empty() {
            return Ok(());
        }
        let mut model = self.recipe.model.clone();
        model.thaw(&paths).map_err(|e| self.error_at("training.unfreeze", &words(e)))?;
        let frozen = std::mem::replace(&mut self.recipe.model, model).frozen;
        self.frozen.get_or_insert(frozen);
        Ok(())
    }
}
