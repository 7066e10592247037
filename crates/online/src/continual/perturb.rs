//! Shrink and perturb (Ash and Adams 2020): now and then all weights become a little smaller and
//! move a little towards fresh ones, so that units that no longer learn come back to life. Frozen layers
//! stay as they are.

use super::ShrinkAndPerturbSpec;
use tidemill_engine::engine::{Engine, EngineError};

/// After a step that is due. The noise is what the initializers draw under a seed of its own, a
/// function of the model's seed and the step: so of each parameter's own scale.
pub(super) fn perturb(spec: &ShrinkAndPerturbSpec, engine: &mut Engine) -> Result<(), EngineError> {
    if !engine.step().is_multiple_of(spec.every) {
        return Ok(());
    }
    // The golden ratio keeps the seeds of different steps apart.
    let seed = engine.spec().seed ^ engine.step().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let fresh = engine.spec().model.initial_values(seed).map_err(|e| EngineError(e.to_string()))?;
    let (shrink, share) = (spec.shrink as f32, spec.perturb as f32);
    for value in fresh {
        if engine.spec().model.is_frozen(&value.name) {
            continue;
        }
        let parameter = engine.parameters().find(|(_, name)| *name == value.name);
        let Some(index) = parameter.map(|(index, _)| index) else { continue };
        for (weight, fresh) in engine.tensor_mut(index).iter_mut().zip(value.values) {
            *weight = shrink * *weight + share * fresh;
        }
    }
    Ok(())
}
