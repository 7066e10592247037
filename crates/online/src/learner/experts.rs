//! The parts of a model that is a mixture: what each predicted, and its share.

use tidemill_engine::engine::Engine;
use tidemill_engine::fields::Batch;
use tidemill_engine::nn::{EXPERT_WEIGHTS, ModelSpec, expert};

use super::scorer::Scorer;

/// The parts of a mixture.
#[derive(Clone, Debug, Default)]
pub(super) struct Experts {
    /// Name, and the output of the step that has its logits.
    names: Vec<(&'static str, String)>,
    /// Outputs of one part for one event.
    outputs: Vec<f32>,
}

impl Experts {
    /// Those of a model; none unless it is a mixture.
    pub(super) fn of(model: &ModelSpec) -> Experts {
        let names = model.expert_names().into_iter().map(|name| (name, expert(name)));
        Experts { names: names.collect(), outputs: Vec::new() }
    }
}

impl Scorer {
    /// Scores what each part predicted for the events of the step that `engine` has just run; their shares have
    /// changed if it was `taken`. An event that was scored when it came, before its label, counts for the mixture alone.
    pub(super) fn see_experts(&mut self, engine: &Engine, batch: &Batch, taken: bool) {
        let Scorer { experts, prequential, scored, scales, num_outputs, link, .. } = self;
        let Experts { names, outputs } = experts;
        if names.is_empty() {
            return;
        }
        outputs.resize(*num_outputs, 0.0);
        for (k, (name, output)) in names.iter().enumerate() {
            let Some(logits) = engine.output(output) else { return };
            for (i, logits) in logits.chunks_exact(*num_outputs).enumerate().take(scored.len()) {
                if batch.weights[i] == 0.0 || scored[i] {
                    continue;
                }
                link.probabilities(logits, outputs);
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
        if taken && let Some(weights) = engine.output(EXPERT_WEIGHTS) {
            prequential.weigh_experts(weights);
        }
    }
}
