//! Events scored, judged, and learned from by a hashed linear model.

use tidemill_recipe::stream::Feature;

use super::LinearSpec;
use super::loss::LinearLoss;
use super::model::{HashedLinear, log_sum};
use crate::GuardSpec;
use crate::guard::{Guard, Verdict};
use crate::model::Learned;
use crate::sample::Scale;
use tidemill_engine::metrics::{Figures, Task};
use tidemill_engine::nn::Link;
use tidemill_engine::prequential::{Prequential, PrequentialSpec, Truth};

/// A hashed linear model that learns event by event. Each labelled event is scored with the weights
/// from before it was learned from; an update that the guard refuses changes nothing.
///
/// Nothing is ever rolled back: no single event can move a margin past its label, so that there is
/// no ruined state to come back from.
#[derive(Clone, Debug)]
pub struct LinearLearner {
    model: HashedLinear,
    task: Task,
    prequential: Prequential,
    guard: Guard,
    /// What came of the last event.
    last: Learned,
    /// Whether the event was scored before, by a prediction of its arrival.
    scored: bool,
    /// Whether events are scored only.
    frozen: bool,
    /// The margins of the event in hand, and what is predicted by them: probabilities, or the value.
    margins: Vec<f32>,
    outputs: Vec<f32>,
    /// What was predicted for the last event, where that is wanted.
    pub(super) predicted: Option<Vec<f32>>,
}

impl LinearLearner {
    /// A learner that knows nothing.
    ///
    /// # Panics
    /// If `spec.bits` is outside of [`LinearSpec::BITS`].
    pub fn new(
        spec: &LinearSpec,
        loss: LinearLoss,
        metrics: PrequentialSpec,
        guard: GuardSpec,
    ) -> LinearLearner {
        let task = match loss {
            LinearLoss::Logistic | LinearLoss::Hinge => Task::Binary,
            LinearLoss::Squared => Task::Values,
            LinearLoss::Softmax => Task::Classes,
        };
        let model = HashedLinear::new(spec, loss);
        let outputs = vec![0.0; model.classes];
        LinearLearner {
            task,
            prequential: Prequential::new(task, model.classes, metrics),
            guard: Guard::new(guard, task, model.classes),
            margins: outputs.clone(),
            outputs,
            model,
            last: Learned { verdict: Verdict::Apply, rolled_back: false },
            scored: false,
            frozen: false,
            predicted: None,
        }
    }

    /// The probability of yes (a sigmoid of the margin, which for the hinge loss is a score and no
    /// probability), that of each class, or the value, of an event, without learning.
    pub fn predict(&mut self, features: &[Feature]) -> &[f32] {
        self.model.margins(features, &mut self.margins);
        outputs(self.task, &self.margins, &mut self.outputs);
        &self.outputs
    }

    /// Values of a prediction.
    pub fn num_outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Scores an event and learns from it. A value of `truth` that was scaled comes with `scale`, and
    /// is measured in its own units. An event of weight 0 counts for nothing.
    pub fn learn(
        &mut self,
        features: &[Feature],
        truth: Truth<'_>,
        weight: f32,
        scale: Option<Scale>,
    ) -> Learned {
        self.last = Learned { verdict: Verdict::Apply, rolled_back: false };
        if weight == 0.0 {
            return self.last;
        }
        if let (Task::Classes, Truth::Class(class)) = (self.task, truth) {
            return self.learn_class(features, class, weight);
        }
        let y = self.signed(truth);
        let scored = self.model.score(features, y);
        if !self.scored {
            self.note(&[scored.logit], truth, scored.loss, weight, scale);
        }
        if self.frozen {
            return self.last;
        }
        self.last.verdict = self.guard.judge(scored.loss, scored.is_finite());
        if self.last.verdict == Verdict::Apply {
            self.model.update(features, y, weight, scored);
        }
        self.last
    }

    /// The same of an event of one of several classes.
    fn learn_class(&mut self, features: &[Feature], class: usize, weight: f32) -> Learned {
        let mut margins = std::mem::take(&mut self.margins);
        self.model.margins(features, &mut margins);
        let loss = class_loss(&margins, class);
        if !self.scored {
            self.note(&margins, Truth::Class(class), loss, weight, None);
        }
        if !self.frozen {
            self.last.verdict = self.guard.judge(loss, margins.iter().all(|m| m.is_finite()));
            if self.last.verdict == Verdict::Apply {
                self.model.update_classes(features, class, weight, &margins);
            }
        }
        self.margins = margins;
        self.last
    }

    /// Scores an event by the margins that were predicted when it came.
    pub(super) fn score_margins(
        &mut self,
        margins: &[f32],
        truth: Truth<'_>,
        weight: f32,
        scale: Option<Scale>,
    ) {
        let loss = match (self.task, truth) {
            (Task::Classes, Truth::Class(class)) => class_loss(margins, class),
            _ => self.model.loss().at(margins[0], self.signed(truth)).loss,
        };
        self.note(margins, truth, loss, weight, scale);
    }

    /// The event that comes next was scored before: it is only learned from.
    pub(super) fn set_scored(&mut self) {
        self.scored = true;
    }

    /// The truth as the model has it: -1 and 1 for two classes.
    fn signed(&self, truth: Truth<'_>) -> f32 {
        match (truth, self.task) {
            (Truth::Class(0), Task::Binary) => -1.0,
            (Truth::Class(_), Task::Binary) => 1.0,
            (Truth::Class(class), _) => class as f32,
            (Truth::Values(values), task) => match (values.first().copied(), task) {
                (Some(v), Task::Binary) if v <= 0.5 => -1.0,
                (Some(_), Task::Binary) => 1.0,
                (v, _) => v.unwrap_or(f32::NAN),
            },
            (Truth::Unknown | Truth::Classes(_), _) => f32::NAN,
        }
    }

    fn note(
        &mut self,
        margins: &[f32],
        truth: Truth<'_>,
        loss: f32,
        weight: f32,
        scale: Option<Scale>,
    ) {
        outputs(self.task, margins, &mut self.outputs);
        match scale {
            Some(scale) => {
                let value = scale.value(self.outputs[0]).map(|value| [value]);
                let value = value.as_ref().map(<[f64; 1]>::as_slice);
                self.prequential.add_values(value, &[scale.target], loss, weight);
            }
            None => self.prequential.add(&self.outputs, truth, loss, weight),
        }
    }

    /// From here on events are scored, and nothing is learned from them.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Begins another event, from which nothing is learned unless [`LinearLearner::learn`] is called.
    pub fn start(&mut self) {
        self.scored = false;
        self.last = Learned { verdict: Verdict::Apply, rolled_back: false };
    }

    /// What came of the last event.
    pub fn last(&self) -> Learned {
        self.last
    }

    /// What was measured so far; see [`Prequential::figures`].
    pub fn figures(&self) -> Figures {
        self.prequential.figures()
    }

    /// The prequential figures.
    pub fn prequential(&self) -> &Prequential {
        &self.prequential
    }

    /// The guard.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The model.
    pub fn model(&self) -> &HashedLinear {
        &self.model
    }

    /// The model.
    pub fn model_mut(&mut self) -> &mut HashedLinear {
        &mut self.model
    }

    /// Takes over what a checkpoint holds beside the model.
    pub fn restore(&mut self, prequential: Prequential, guard: Guard) {
        (self.prequential, self.guard) = (prequential, guard);
    }
}

fn outputs(task: Task, margins: &[f32], outputs: &mut [f32]) {
    let link = match task {
        Task::Binary => Link::Sigmoid,
        Task::Classes => Link::Softmax,
        _ => Link::Identity,
    };
    link.probabilities(margins, outputs);
}

/// The softmax cross-entropy of a class.
fn class_loss(margins: &[f32], class: usize) -> f32 {
    let own = margins.get(class).copied().unwrap_or(f32::NAN);
    let loss = log_sum(margins, None) - own;
    // Rounding may leave a little less than nothing.
    if loss < 0.0 { 0.0 } else { loss }
}
