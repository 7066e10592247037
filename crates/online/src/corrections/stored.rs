//! The training data: pairs that are learned from again, and what is usual of their targets.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidemill_engine::data::{DataSpec, Dataset, Known};
use tidemill_engine::error::Result;
use tidemill_recipe::data::open_one;
use tidemill_recipe::{DataPaths, RecipeFile};

/// What is usual in the training data; part of the checkpoint, so that it needs no data later.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Usual {
    /// Mean and standard deviation of the logarithm of the ratio of the targets' characters to their sources', or to their positions
    /// where they are sounds.
    pub ratio: [f64; 2],
    /// The letters of the targets, as small ones.
    pub letters: BTreeSet<char>,
}

impl Usual {
    /// Of these targets with the lengths of their sources.
    pub fn of<'a>(pairs: impl Iterator<Item = (usize, &'a str)>) -> Usual {
        let (mut ratios, mut letters) = (Vec::new(), BTreeSet::new());
        for (length, target) in pairs {
            ratios.push(log_ratio(length, target));
            let own = target.chars().filter(|c| c.is_alphabetic());
            letters.extend(own.flat_map(char::to_lowercase));
        }
        let n = ratios.len().max(1) as f64;
        let mean = ratios.iter().sum::<f64>() / n;
        let variance = ratios.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n;
        Usual { ratio: [mean, variance.sqrt()], letters }
    }
}

/// The logarithm of the ratio of a target's characters to the length of its source.
pub(super) fn log_ratio(source: usize, target: &str) -> f64 {
    ((target.chars().count() as f64 + 1.0) / (source as f64 + 1.0)).ln()
}

/// The training data.
pub(super) struct Stored {
    pub pairs: Arc<dyn Dataset>,
    pub usual: Usual,
}

impl Stored {
    /// Of a recipe with its tokenizer; nothing where no pairs are wanted. Sounds are standardized as is `known`.
    ///
    /// # Errors
    /// If the recipe names no pairs, or they cannot be read.
    pub fn open(file: &RecipeFile, known: &Known) -> Result<Option<Stored>> {
        if file.recipe.online.corrections.stored == 0 {
            return Ok(None);
        }
        let spec = file.batch_data()?.clone();
        let paths = DataPaths::new(&file.path);
        // Sounds as they are, without augmentation: how long they are is known then.
        let mut plain = file.clone();
        plain.recipe.audio.augment = None;
        let known = Some(known).filter(|known| known.is_fitted());
        let pairs = open_one(&plain, "batch.data", &spec, &paths, known, || None).map_err(|e| {
            let hint = "pairs of the training data are learned from beside corrections, against forgetting; \
                        without them: --set online.corrections.stored=0";
            tidemill_engine::error::Error::Usage(format!("{e}\n  {hint}"))
        })?;
        let usual = match &spec {
            DataSpec::Parallel(texts) => {
                let texts = texts.pairs(&|name| paths.resolve(name))?;
                let length = |text: &String| text.chars().count();
                Usual::of(texts.iter().map(|(source, target)| (length(source), target.as_str())))
            }
            _ => {
                let mut lengths = Vec::with_capacity(pairs.len());
                for i in 0..pairs.len() {
                    lengths.push(pairs.lengths(i)?.first().copied().unwrap_or(0));
                }
                let text = |(i, length)| Some((length, pairs.text(i)?));
                Usual::of(lengths.into_iter().enumerate().filter_map(text))
            }
        };
        Ok(Some(Stored { pairs, usual }))
    }
}
