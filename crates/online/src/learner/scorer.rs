//! What sees the outputs of a step before the update: figures and the guard.

use tidemill_engine::fields::Batch;
use tidemill_engine::nn::Link;
use tidemill_engine::prequential::{Prequential, Truth};

use super::experts::Experts;
use crate::guard::{Guard, Verdict};
use crate::sample::Scale;

/// What sees the outputs of a step before the update.
pub(super) struct Scorer {
    pub(super) link: Link,
    pub(super) num_outputs: usize,
    /// Outputs of one event: several rows of them where the model has one for each position.
    pub(super) stride: usize,
    pub(super) prequential: Prequential,
    pub(super) guard: Guard,
    pub(super) probabilities: Vec<f32>,
    /// The same with values as they are scaled, where they are wanted.
    pub(super) raw: Option<Vec<f32>>,
    /// For each event of the step whose target was scaled: how to undo that.
    pub(super) scales: Vec<Option<Scale>>,
    /// Which events of the step were scored before, by a prediction of their arrival.
    pub(super) scored: Vec<bool>,
    /// The parts of a model that is a mixture.
    pub(super) experts: Experts,
}

/// What came of one event of a step.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// Probabilities of the classes, or values, from before the step.
    pub outputs: &'a [f32],
}

impl Scorer {
    /// Begins a step of `len` events.
    pub(super) fn start(&mut self, len: usize) {
        self.scales.clear();
        self.scales.resize(len, None);
        self.scored.clear();
        self.scored.resize(len, false);
    }

    /// Scores the first `events` rows; the others are old ones.
    pub(super) fn score(
        &mut self,
        batch: &Batch,
        events: usize,
        losses: &[f32],
        logits: &[f32],
    ) -> Verdict {
        // One row of outputs, or one for each position of a sequence.
        let n = (logits.len() / batch.len.max(1)).max(1);
        self.stride = n;
        if let Some(raw) = &mut self.raw {
            raw.clear();
        }
        self.probabilities.resize(events * n, 0.0);
        let (mut sum, mut weights) = (0.0, 0.0);
        // Inputs too: a bounded activation hides them from the loss, and not from the gradient.
        let mut finite = !batch.has_non_finite();
        let rows = logits.chunks_exact(n).zip(self.probabilities.chunks_exact_mut(n));
        for (i, ((logits, outputs), &loss)) in rows.zip(losses).enumerate().take(events) {
            let rows = logits.chunks_exact(self.num_outputs);
            for (logits, outputs) in rows.zip(outputs.chunks_exact_mut(self.num_outputs)) {
                self.link.probabilities(logits, outputs);
            }
            if let Some(raw) = &mut self.raw {
                raw.extend_from_slice(outputs);
            }
            let weight = batch.weights[i];
            if weight == 0.0 {
                continue;
            }
            finite &= logits.iter().all(|v| v.is_finite());
            sum += loss * weight;
            weights += weight;
            if self.scored[i] {
                continue;
            }
            let (truth, scale) = (batch.truth(i), self.scales[i]);
            add(&mut self.prequential, outputs, truth, loss, weight, scale);
        }
        self.guard.judge(sum / weights, finite)
    }

    /// Keeps what was predicted, without scoring it.
    pub(super) fn predict(&mut self, batch: &Batch, logits: &[f32]) {
        let Some(raw) = &mut self.raw else { return };
        let n = (logits.len() / batch.len.max(1)).max(1);
        self.stride = n;
        raw.clear();
        raw.resize(batch.len * n, 0.0);
        let rows = logits.chunks_exact(self.num_outputs);
        for (logits, outputs) in rows.zip(raw.chunks_exact_mut(self.num_outputs)) {
            self.link.probabilities(logits, outputs);
        }
    }

    /// Scores an event by the logits that were predicted when it came; its loss is known already.
    pub(super) fn score_earlier(
        &mut self,
        logits: &[f32],
        truth: Truth<'_>,
        loss: f32,
        weight: f32,
        scale: Option<Scale>,
    ) {
        let mut outputs = vec![0.0; logits.len()];
        self.link.probabilities(logits, &mut outputs);
        add(&mut self.prequential, &mut outputs, truth, loss, weight, scale);
    }
}

/// Adds an event to the figures, in the units that its target came in.
fn add(
    prequential: &mut Prequential,
    outputs: &mut [f32],
    truth: Truth<'_>,
    loss: f32,
    weight: f32,
    scale: Option<Scale>,
) {
    if let (Some(scale), [output]) = (scale, &mut *outputs) {
        let value = scale.value(*output).map(|value| [value]);
        prequential.add_values(
            value.as_ref().map(<[f64; 1]>::as_slice),
            &[scale.target],
            loss,
            weight,
        );
        // In those units for whoever looks at the event later.
        *output = value.map_or(f32::NAN, |[value]| value as f32);
        return;
    }
    prequential.add(outputs, truth, loss, weight);
}
