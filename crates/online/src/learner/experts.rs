//! The parts of a model that is a mixture: what each predicted, and its share.

use tidemill_engine::engine::{Engine, OutputPlace};
use tidemill_engine::fields::Batch;
use tidemill_engine::nn::{EXPERT_WEIGHTS, Link, ModelSpec, expert};

use super::scorer::Scorer;

/// The parts of a mixture.
#[derive(Clone, Debug, Default)]
pub(super) struct Experts {
    /// Name, and the output of the step that has its logits.
    parts: Vec<(&'static str, Output)>,
    /// Their shares after the step.
    weights: Output,
    /// Outputs of one part for one event.
    outputs: Vec<f32>,
}

/// An output of the step, found once.
#[derive(Clone, Debug, Default)]
struct Output {
    name: String,
    place: Option<OutputPlace>,
}

impl Output {
    fn named(name: impl Into<String>) -> Output {
        Output { name: name.into(), place: None }
    }

    fn of<'a>(&mut self, engine: &'a Engine) -> Option<&'a [f32]> {
        if let Some(found) = self.place.and_then(|place| engine.output_at(place)) {
            return Some(found);
        }
        self.place = engine.find_output(&self.name);
        engine.output_at(self.place?)
    }
}

impl Experts {
    /// Those of a model; none unless it is a mixture.
    pub(super) fn of(model: &ModelSpec) -> Experts {
        let names = model.expert_names().into_iter();
        let parts = names.map(|name| (name, Output::named(expert(name)))).collect();
        Experts { parts, weights: Output::named(EXPERT_WEIGHTS), outputs: Vec::new() }
    }
}

impl Scorer {
    /// Scores what each part predicted for the events of the step that `engine` has just run; their shares have
    /// changed if it was `taken`. An event that was scored when it came, before its label, counts for the mixture alone.
    pub(super) fn see_experts(&mut self, engine: &Engine, batch: &Batch, taken: bool) {
        let Scorer { experts, prequential, scored, scales, num_outputs, link, .. } = self;
        let Experts { parts, weights, outputs } = experts;
        if parts.is_empty() {
            return;
        }
        outputs.resize(*num_outputs, 0.0);
        for (k, (name, output)) in parts.iter_mut().enumerate() {
            let Some(logits) = output.of(engine) else { return };
            for (i, logits) in logits.chunks_exact(*num_outputs).enumerate().take(scored.len()) {
                if batch.weights[i] == 0.0 || scored[i] {
                    continue;
                }
                match link {
                    // Of classes the greatest counts, which is the same.
                    Link::Softmax => outputs.copy_from_slice(logits),
                    _ => link.probabilities(logits, outputs),
                }
                let value = match (scales[i], &**outputs) {
                    (Some(scale), [output]) => match scale.value(*output) {
                        Some(value) => Some((value, scale.target)),
                        None => continue,
                    },
                    _ => None,
                };
                prequential.add_expert((k, name), outputs, batch.truth(i), value);
            }
        }
        if taken && let Some(weights) = weights.of(engine) {
            prequential.weigh_experts(weights);
        }
    }
}
