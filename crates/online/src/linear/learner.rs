//! Events scored, judged, and learned from by a hashed linear model.

use tidemill_recipe::stream::Feature;

use super::LinearSpec;
use super::loss::LinearLoss;
use super::model::HashedLinear;
use crate::GuardSpec;
use crate::guard::{Guard, Verdict};
use crate::model::Learned;
use crate::sample::Scale;
use tidemill_engine::metrics::{Figures, Task};
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
    /// What was predicted for the last event, where that is wanted.
    pub(super) predicted: Option<[f32; 1]>,
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
        };
        LinearLearner {
            model: HashedLinear::new(spec, loss),
            task,
            prequential: Prequential::new(task, 1, metrics),
            guard: Guard::new(guard, task, 1),
            last: Learned { verdict: Verdict::Apply, rolled_back: false },
            scored: false,
            frozen: false,
            predicted: None,
        }
    }

    /// The probability of yes (a sigmoid of the margin, which for the hinge loss is a score and no
    /// probability), or the value, of an event, without learning.
    pub fn predict(&self, features: &[Feature]) -> f32 {
        output(self.task, self.model.predict(features))
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
        let y = self.signed(truth);
        let scored = self.model.score(features, y);
        if !self.scored {
            self.note(scored.logit, truth, scored.loss, weight, scale);
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

    /// Scores an event by the margin that was predicted when it came.
    pub(super) fn score_margin(
        &mut self,
        margin: f32,
        truth: Truth<'_>,
        weight: f32,
        scale: Option<Scale>,
    ) {
        let loss = self.model.loss().at(margin, self.signed(truth)).loss;
        self.note(margin, truth, loss, weight, scale);
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
        margin: f32,
        truth: Truth<'_>,
        loss: f32,
        weight: f32,
        scale: Option<Scale>,
    ) {
        let output = output(self.task, margin);
        match scale {
            Some(scale) => {
                let value = scale.value(output).map(|value| [value]);
                let value = value.as_ref().map(<[f64; 1]>::as_slice);
                self.prequential.add_values(value, &[scale.target], loss, weight);
            }
            None => self.prequential.add(&[output], truth, loss, weight),
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

fn output(task: Task, margin: f32) -> f32 {
    match task {
        Task::Values => margin,
        _ => 1.0 / (1.0 + (-margin).exp()),
    }
}
