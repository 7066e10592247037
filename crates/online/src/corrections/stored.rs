//! The training data: pairs that are learned from again, and what is usual of their targets.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidemill_engine::data::{DataSpec, Dataset};
use tidemill_engine::error::Result;
use tidemill_recipe::data::open_one;
use tidemill_recipe::{DataPaths, RecipeFile};

/// What is usual in the training data; part of the checkpoint, so that it needs no data later.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Usual {
    /// Mean and standard deviation of the logarithm of the ratio of the targets' characters to their sources'.
    pub ratio: [f64; 2],
    /// The letters of the targets, as small ones.
    pub letters: BTreeSet<char>,
}

impl Usual {
    /// Of these pairs.
    pub fn of(pairs: &[(String, String)]) -> Usual {
        let ratios = || pairs.iter().map(|(source, target)| log_ratio(source, target));
        let n = pairs.len().max(1) as f64;
        let mean = ratios().sum::<f64>() / n;
        let variance = ratios().map(|r| (r - mean).powi(2)).sum::<f64>() / n;
        let letters = pairs.iter().flat_map(|(_, target)| target.chars());
        let letters = letters.filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect();
        Usual { ratio: [mean, variance.sqrt()], letters }
    }
}

/// The logarithm of the ratio of both lengths in characters.
pub(super) fn log_ratio(source: &str, target: &str) -> f64 {
    let length = |text: &str| text.chars().count() as f64 + 1.0;
    (length(target) / length(source)).ln()
}

/// The training data.
pub(super) struct Stored {
    pub pairs: Arc<dyn Dataset>,
    pub usual: Usual,
}

impl Stored {
    /// Of a recipe with its tokenizer; nothing where no pairs are wanted.
    ///
    /// # Errors
    /// If the recipe names no pairs, or they cannot be read.
    pub fn open(file: &RecipeFile) -> Result<Option<Stored>> {
        if file.recipe.online.corrections.stored == 0 {
            return Ok(None);
        }
        let spec = file.batch_data()?.clone();
        let DataSpec::Parallel(texts) = &spec else {
            return Err(file.error_at("batch.data", "has no pairs of texts to learn from again"));
        };
        let paths = DataPaths::new(&file.path);
        let pairs = open_one(file, "batch.data", &spec, &paths, None, || None).map_err(|e| {
            let hint = "pairs of the training data are learned from beside corrections, against forgetting; \
                        without them: --set online.corrections.stored=0";
            tidemill_engine::error::Error::Usage(format!("{e}\n  {hint}"))
        })?;
        let usual = Usual::of(&texts.pairs(&|name| paths.resolve(name))?);
        Ok(Some(Stored { pairs, usual }))
    }
}
