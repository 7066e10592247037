//! The model of a recipe.

use tidemill_engine::engine::Engine;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::memory::{Budget, check_memory, rss_bytes};
use tidemill_engine::metrics::Task;
use tidemill_engine::page::number::bytes;
use tidemill_recipe::online::linear::LinearSpec;
use tidemill_recipe::online::{OnlineSpec, PlasticitySpec};
use tidemill_recipe::{RecipeFile, engine_spec};

use super::StreamModel;
use crate::learner::Learner;
use crate::linear::{LinearLearner, LinearLoss};

/// The model of a recipe, which knows nothing yet.
///
/// # Errors
/// If a network cannot be compiled, a linear model cannot have the recipe's loss, or either does
/// not fit into `memory` bytes.
pub fn build(
    file: &RecipeFile,
    threads: Option<usize>,
    memory: Option<u64>,
) -> Result<Box<dyn StreamModel>> {
    Ok(match &file.recipe.online.linear {
        Some(linear) => Box::new(build_linear(file, linear, memory)?),
        None => Box::new(build_network(file, threads, memory)?),
    })
}

/// A recipe's network, which knows nothing yet.
///
/// # Errors
/// If it cannot be compiled, or does not fit into `memory` bytes.
pub fn build_network(
    file: &RecipeFile,
    threads: Option<usize>,
    memory: Option<u64>,
) -> Result<Learner> {
    if file.recipe.task() == Task::Tokens {
        let what = "learns from stored data only; use tidemill train";
        return Err(file.error_at("training.loss", what));
    }
    let spec = &file.recipe.online;
    if spec.labels.is_some() && file.recipe.model.last_label {
        let what = "has no place beside online.labels: the last label is not there when labels come late; leave it out";
        return Err(file.error_at("model.last_label", what));
    }
    let mut compiled = engine_spec(file, threads);
    let continual = spec.continual();
    continual
        .check_model(&compiled)
        .map_err(|(key, what)| file.error_at(&format!("online.{key}"), &what))?;
    let replayed = continual.replay.as_ref().map_or(0, |replay| replay.per_step);
    compiled.batch_size = spec.most() + replayed;
    compiled.optimizer = compiled.optimizer.with_f32_slots();
    let shift = spec.labels.as_ref().map_or(0.0, |l| l.shift());
    // What it is checked for now is refused before it is taken; the rest is known further down.
    let budget = Budget { limit: memory, ..Budget::default() };
    let mut engine = Engine::compile_within(compiled, shift, budget)?;
    if let Some(PlasticitySpec::ContinualBackprop(_)) = &continual.plasticity {
        engine.watch_hidden();
    }
    let mut size = 1;
    while size < spec.most() {
        engine.prepare_learning(size + replayed)?;
        size *= 2;
    }
    engine.prepare_learning(spec.most() + replayed)?;
    // The state to roll back to, the one before that while a checkpoint holds it, and the copy that
    // is being written; and of the replayed events as many, beside those that are in use. A
    // challenger has a state and an arena of its own.
    let capacity = continual.replay.as_ref().map_or(0, |replay| replay.capacity);
    let row = engine.sample_len() + engine.num_outputs() + 1;
    let replay_bytes = 4 * (capacity as u64).saturating_mul(4 * row as u64);
    let (copies, arena) = match spec.drift.challenger() {
        Some(_) => (5, engine.arena_bytes() as u64),
        None => (3, 0),
    };
    let beside = replay_bytes.saturating_add(waiting_bytes(spec)).saturating_add(arena);
    check_memory(&engine, memory, copies, beside)?;
    let mut learner = Learner::with(engine, spec.metrics.clone(), spec.guard.clone())?;
    if let Some(what) = spec.drift.misfit(file.recipe.task()) {
        return Err(file.error_at("online.drift.detector", &what));
    }
    learner.watch_drift(spec.drift.clone())?;
    if let Some(rate) = spec.learning_rate {
        learner.set_learning_rate(rate);
    }
    if spec.normalized_rate.unwrap_or(!file.gives_optimizer()) {
        learner.normalize_rate();
    }
    if !continual.is_empty() {
        learner.set_continual(&continual)?;
    }
    Ok(learner)
}

pub(crate) fn build_linear(
    file: &RecipeFile,
    linear: &LinearSpec,
    memory: Option<u64>,
) -> Result<LinearLearner> {
    let spec = &file.recipe.online;
    let loss = &file.recipe.training.loss;
    let Some(known) = LinearLoss::of(loss) else {
        let what = format!(
            "= \"{}\" is none that online.linear can learn: it has \"binary_crossentropy\" (without \
             label smoothing), \"sparse_categorical_crossentropy\" (likewise), \"mean_squared_error\" and \
             \"hinge\"",
            loss.name()
        );
        return Err(file.error_at("training.loss", &what));
    };
    let mut linear = linear.clone();
    let named = spec.classes.as_ref().map(Vec::len);
    match (known == LinearLoss::Softmax, linear.classes, named) {
        (false, Some(_), _) => {
            let what = "goes with the loss \"sparse_categorical_crossentropy\"; leave it out, or take that loss";
            return Err(file.error_at("online.linear.classes", what));
        }
        (true, None, None) => {
            let what = "is missing: the number of classes, unless online.classes names them";
            return Err(file.error_at("online.linear.classes", what));
        }
        (true, Some(classes), Some(named)) if named > classes => {
            let what = format!("= {classes}, and online.classes names {named}; leave one out");
            return Err(file.error_at("online.linear.classes", &what));
        }
        (true, None, Some(named)) => linear.classes = Some(named.max(2)),
        _ => {}
    }
    // The table, its copy while a checkpoint is written, and what waits.
    let rows = linear.classes.unwrap_or(1).saturating_mul(1 << linear.bits);
    let most = 1 << LinearSpec::BITS.end();
    if rows > most {
        let what = format!(
            "= {}: with {} classes the table has {rows} rows, and {most} are the most; take fewer bits",
            linear.bits,
            linear.classes.unwrap_or(1)
        );
        return Err(file.error_at("online.linear.bits", &what));
    }
    let table = 16 * rows as u64;
    let need = rss_bytes() + 2 * table + waiting_bytes(spec);
    if let Some(limit) = memory.filter(|limit| need > *limit) {
        return Err(Error::Usage(format!(
            "--memory {}: the run needs {} (a table of {} and its checkpoint, {} for events that \
             wait); give it more, or lower online.linear.bits",
            bytes(limit),
            bytes(need),
            bytes(table),
            bytes(waiting_bytes(spec))
        )));
    }
    let (metrics, guard) = (spec.metrics.clone(), spec.guard.clone());
    let mut learner = LinearLearner::new(&linear, known, metrics, guard);
    learner.model_mut().set_shift(spec.labels.as_ref().map_or(0.0, |l| l.shift()));
    Ok(learner)
}

/// Bytes of events that wait to be learned from; those that wait for labels are copied into
/// checkpoints as tensors, in four bytes for three.
fn waiting_bytes(spec: &OnlineSpec) -> u64 {
    let labels = spec.labels.as_ref().map_or(0, |l| 3 * l.memory_bytes as u64);
    2 * spec.queue_bytes as u64 + labels
}
