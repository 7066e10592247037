//! What a model's outputs mean, and how wrong they are: the one place that knows.

use crate::link::Link;
use crate::loss::{LossSpec, Targets};
use serde::{Deserialize, Serialize};
use tidemill_fields::{Truth, argmax};

/// How logits are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// One of several classes, of a sample or of each position of a sequence: the greatest logit.
    Classes,
    /// A token at each position of a sequence: the greatest logit. Positions count alike, whatever sample
    /// they are of.
    Tokens,
    /// Labels of a sequence without their places in it, such as the words of a sound: what is left of the greatest logits of all positions
    /// once repeats and blanks are left out.
    Transcript,
    /// The same of a transducer: what is left of the greatest logits of all positions once blanks are left out. The same label at two positions
    /// in a row is there twice.
    Transduction,
    /// Yes or no for each output: the logit's sign.
    Binary,
    /// The outputs are the values themselves.
    Values,
    /// Expected counts: the outputs are their logarithms.
    Counts,
}

/// What a model says about one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// A class, and how probable it is.
    Class {
        /// Its number.
        class: usize,
        /// From 0 to 1.
        probability: f32,
    },
    /// The outputs themselves are the answer.
    Values,
}

impl Task {
    /// How the outputs of a model trained with this loss are read.
    pub fn of(loss: &LossSpec) -> Task {
        match (loss.link(), loss.targets()) {
            _ if matches!(loss, LossSpec::TokenCrossentropy { .. }) => Task::Tokens,
            _ if matches!(loss, LossSpec::Transducer { .. }) => Task::Transduction,
            _ if loss.has_own_labels() => Task::Transcript,
            (Link::Softmax, _) | (_, Targets::ClassIds) => Task::Classes,
            (Link::Sigmoid, _) => Task::Binary,
            (Link::Exponential, _) => Task::Counts,
            _ if matches!(loss, LossSpec::Hinge {}) => Task::Binary,
            _ => Task::Values,
        }
    }

    /// Whether the model writes labels of a sequence, such as what a sound says.
    pub fn is_transcript(self) -> bool {
        matches!(self, Task::Transcript | Task::Transduction)
    }

    /// Whether labels are classes.
    pub fn has_classes(self) -> bool {
        !matches!(self, Task::Values | Task::Counts)
    }

    /// Whether values may be in any units: outputs are then the values themselves, and targets may be
    /// standardized.
    pub fn in_any_units(self) -> bool {
        self == Task::Values
    }

    /// The value that a logit stands for, where labels are values.
    pub fn value(self, logit: f32) -> f32 {
        if self == Task::Counts { logit.exp() } else { logit }
    }

    /// The loss of a model that knows nothing: all classes as probable. 0 where there is no such
    /// value.
    pub fn ignorance(self, num_outputs: usize) -> f64 {
        match self {
            Task::Classes | Task::Tokens => (num_outputs.max(2) as f64).ln(),
            Task::Transcript | Task::Transduction => 0.0,
            Task::Binary => std::f64::consts::LN_2,
            Task::Values | Task::Counts => 0.0,
        }
    }

    /// What probabilities (or values) of one sample say.
    pub fn answer(self, outputs: &[f32]) -> Answer {
        match (self, outputs) {
            (Task::Values | Task::Counts, _) => Answer::Values,
            (Task::Binary, [p]) if *p > 0.5 => Answer::Class { class: 1, probability: *p },
            (Task::Binary, [p]) => Answer::Class { class: 0, probability: 1.0 - p },
            (
                Task::Binary | Task::Classes | Task::Tokens | Task::Transcript | Task::Transduction,
                outputs,
            ) => {
                let class = argmax(outputs);
                let probability = outputs.get(class).copied().unwrap_or(f32::NAN);
                Answer::Class { class, probability }
            }
        }
    }

    /// The class that the outputs of one sample say, as `name` calls it, and how probable it is; of a
    /// sequence with `width` outputs at each position, their classes with spaces between, and the least of
    /// their probabilities. With a `separator` any number of classes may be true: those that are more probable than not,
    /// and how probable this set is, each class by itself as the loss takes them. An output without a name has no class yet
    /// and is never what is said; the others keep their probabilities. None where there are no classes, or none has a name.
    pub fn class_in_words(
        self,
        outputs: &[f32],
        width: usize,
        separator: Option<char>,
        name: impl Fn(usize) -> Option<String>,
    ) -> Option<(String, f32)> {
        if let (Task::Binary, Some(separator)) = (self, separator) {
            let named = outputs.iter().enumerate().filter_map(|(i, &p)| Some((name(i)?, p)));
            let (names, of): (Vec<String>, Vec<f32>) = named.unzip();
            let likely = names.into_iter().zip(&of).filter(|(_, p)| **p > 0.5);
            let likely: Vec<String> = likely.map(|(name, _)| name).collect();
            let probability = of.iter().map(|p| p.max(1.0 - p)).product();
            return (!of.is_empty()).then(|| (likely.join(&separator.to_string()), probability));
        }
        let (mut names, mut least) = (Vec::new(), 1.0_f32);
        for row in outputs.chunks_exact(width.max(1)) {
            let Answer::Class { class, probability } = self.answer(row) else { continue };
            let (name, probability) = match name(class) {
                Some(name) => (name, probability),
                None => self.most_probable(row, &name)?,
            };
            names.push(name);
            least = least.min(probability);
        }
        (!names.is_empty()).then(|| (names.join(" "), least))
    }

    /// The most probable class of those with a name.
    fn most_probable(
        self,
        row: &[f32],
        name: &impl Fn(usize) -> Option<String>,
    ) -> Option<(String, f32)> {
        let both = [1.0 - row.first()?, row[0]];
        let row = if self == Task::Binary && row.len() == 1 { &both[..] } else { row };
        // The first of equal ones, as in `answer`.
        let named = row.iter().enumerate().rev().filter_map(|(i, &p)| Some((name(i)?, p)));
        named.max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The class that a truth is; the greatest of several values.
    pub fn class(self, truth: Truth<'_>) -> Option<usize> {
        match (truth, self) {
            (_, Task::Transcript | Task::Transduction) => None,
            (Truth::Values(v), Task::Classes | Task::Tokens | Task::Values | Task::Counts) => {
                Some(argmax(v))
            }
            (truth, _) => truth.class(),
        }
    }

    /// How wrong one sample's logits are: 0 or 1 for classes, the share of wrong outputs (or
    /// positions) where there are several, the mean absolute error of values.
    pub fn error(self, truth: Truth<'_>, logits: &[f32]) -> f64 {
        let wrong = |is: bool| f64::from(u8::from(is));
        match (self, truth) {
            (_, Truth::Unknown) => 0.0,
            // Of how many positions the logits are is known where they are decoded.
            (Task::Transcript | Task::Transduction, _) => f64::NAN,
            (Task::Classes | Task::Tokens, Truth::Classes(classes)) => {
                let width = logits.len() / classes.len().max(1);
                let rows = classes.iter().zip(logits.chunks(width.max(1)));
                let errors = rows.map(|(&class, row)| wrong(argmax(row) as i32 != class));
                errors.sum::<f64>() / classes.len().max(1) as f64
            }
            (Task::Classes | Task::Tokens, Truth::Class(class)) => wrong(argmax(logits) != class),
            (Task::Classes | Task::Tokens, Truth::Values(values)) => {
                wrong(argmax(logits) != argmax(values))
            }
            (Task::Binary, truth) => {
                let errors = logits.iter().enumerate().map(|(o, &logit)| {
                    wrong((logit > 0.0) != (truth.target(o, logits.len()) > 0.5))
                });
                errors.sum::<f64>() / logits.len() as f64
            }
            (Task::Values | Task::Counts, truth) => {
                let errors = logits.iter().enumerate().map(|(o, &x)| {
                    f64::from((truth.target(o, logits.len()) - self.value(x)).abs())
                });
                errors.sum::<f64>() / logits.len() as f64
            }
        }
    }
}
