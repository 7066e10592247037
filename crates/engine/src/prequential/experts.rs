//! What each part of a mixture would have predicted alone.

use serde::{Deserialize, Serialize};

use super::{Fading, Mean};
use crate::metrics::Figures;

/// The parts of a mixture, in the order of their weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Experts(Vec<Expert>);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Expert {
    name: String,
    weight: f32,
    /// Of its hits (accuracy), or of its errors.
    score: Mean,
    fading: Fading,
}

/// A part of a mixture, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertFigures {
    /// Its name.
    pub name: String,
    /// Its share of the mixture, from 0 to 1.
    pub weight: f64,
    /// Its accuracy, or its mean absolute error, over the whole stream.
    pub value: f64,
    /// The same, fading.
    pub fading: f64,
}

impl Experts {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn expert(&mut self, k: usize, name: &str) -> &mut Expert {
        if self.0.len() <= k {
            self.0.resize_with(k + 1, Expert::default);
        }
        let expert = &mut self.0[k];
        if expert.name != name {
            *expert = Expert { name: name.to_owned(), ..Expert::default() };
        }
        expert
    }

    /// What is not finite is left out.
    pub fn add(&mut self, k: usize, name: &str, score: f64, fading: f64) {
        let expert = self.expert(k, name);
        if score.is_finite() {
            expert.score.add(score, 1.0);
            expert.fading.add(score, fading);
        }
    }

    pub fn weigh(&mut self, weights: &[f32]) {
        for (expert, weight) in self.0.iter_mut().zip(weights) {
            expert.weight = *weight;
        }
    }

    pub fn figures(&self) -> impl Iterator<Item = ExpertFigures> + '_ {
        self.0.iter().filter_map(|expert| {
            Some(ExpertFigures {
                name: expert.name.clone(),
                weight: f64::from(expert.weight),
                value: expert.score.get()?,
                fading: expert.fading.get()?,
            })
        })
    }

    /// `expert.<name>.weight`, `expert.<name>.accuracy` or `.mae`, and that fading.
    pub fn append(&self, score: &str, figures: &mut Figures) {
        for ExpertFigures { name, weight, value, fading } in self.figures() {
            figures.insert(format!("expert.{name}.weight"), weight);
            figures.insert(format!("expert.{name}.{score}"), value);
            figures.insert(format!("expert.{name}.fading.{score}"), fading);
        }
    }
}
