//! The end of a step: clipping and the optimizer's updates.

use super::Lowering;
use crate::ir::{ValueId, Work};
use crate::kernel::{FusedUpdate, KernelSpec, NORM_CHUNK};
use tidemill_graph::{Clip, SlotType, hyper};

impl Lowering<'_> {
    pub(super) fn updates(&mut self) {
        let graph = self.graph;
        let Some(hyper_id) = graph.hyper else { return };
        let hyper_value = self.get(hyper_id);
        let norms: Vec<Option<ValueId>> = graph
            .updates
            .iter()
            .map(|u| match graph.clip {
                Some(Clip::Norm(_)) if u.elsewhere => None,
                Some(Clip::Norm(_) | Clip::GlobalNorm(_)) => {
                    let gradient = self.get(u.gradient);
                    let len = graph.tensor(u.gradient).len();
                    let norm = self.computed("norm", len.div_ceil(NORM_CHUNK).max(1));
                    let spec = KernelSpec::SquaredNorm { len };
                    let name = graph.tensor(u.parameter).name.clone();
                    self.node(&name, Work::Kernel(spec), vec![gradient], vec![norm]);
                    Some(norm)
                }
                _ => None,
            })
            .collect();
        let clipped = |this: &mut Self, norms: &[Option<ValueId>], limit: f32| {
            let value = this.computed("hyper", hyper::LEN);
            let mut inputs = vec![hyper_value];
            let norms: Vec<ValueId> = norms.iter().flatten().copied().collect();
            inputs.extend(&norms);
            let counts = norms.iter().map(|&n| this.schedule.values[n].len).collect();
            let spec = KernelSpec::ClipScale { counts, limit };
            this.node("clip", Work::Kernel(spec), inputs, vec![value]);
            value
        };
        let global = match graph.clip {
            Some(Clip::GlobalNorm(limit)) => Some(clipped(self, &norms, limit)),
            _ => None,
        };
        for (index, update) in graph.updates.iter().enumerate().filter(|(_, u)| !u.elsewhere) {
            let hyper_value = match graph.clip {
                Some(Clip::Norm(limit)) => clipped(self, &norms[index..=index], limit),
                _ => global.unwrap_or(hyper_value),
            };
            let clip_value = match graph.clip {
                Some(Clip::Value(v)) => Some(v),
                _ => None,
            };
            let rule = FusedUpdate {
                rule: update.rule,
                decay: update.decay,
                clip_value,
                rate: update.rate,
            };
            let parameter = graph.tensor(update.parameter);
            let (len, stream) = (parameter.len(), index as u32);
            let spec = match update.slot_type {
                SlotType::F32 => KernelSpec::Optimize { len, update: rule },
                slots => KernelSpec::OptimizePacked { len, update: rule, slots, stream },
            };
            let inputs = vec![self.get(update.gradient), hyper_value];
            self.node(&parameter.name, Work::Kernel(spec), inputs, vec![]);
            let mut state = vec![update.parameter];
            state.extend(&update.slots);
            self.set_state(state);
        }
    }
}
