//! What learns from a stream: a compiled network, or a hashed linear model.

use std::sync::Arc;

use super::OnlineSpec;
use super::drift::{DriftCounts, DriftNote, DriftState};
use super::guard::Guard;
use super::learner::{Learned, Learner};
use super::linear::{LinearLearner, LinearLoss, LinearSpec, LinearSums};
use super::state::{StreamState, split};
use super::tuning::InputLength;
use tidemill_engine::checkpoint::Checkpoint;
use tidemill_engine::engine::{Engine, State, StateTensor};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::memory::{check_memory, rss_bytes};
use tidemill_engine::metrics::Figures;
use tidemill_engine::page::number::bytes;
use tidemill_engine::prequential::Prequential;
use tidemill_recipe::online::PlasticitySpec;
use tidemill_recipe::{RecipeFile, engine_spec};

/// The model of a stream's driver.
#[allow(clippy::large_enum_variant)] // There is one of it.
pub enum Model {
    /// Layers, compiled.
    Network(Learner),
    /// A hashed linear model.
    Linear(LinearLearner),
}

impl Model {
    /// The model of a recipe, which knows nothing yet.
    ///
    /// # Errors
    /// If a network cannot be compiled, a linear model cannot have the recipe's loss, or either does
    /// not fit into `memory` bytes.
    pub fn build(file: &RecipeFile, threads: Option<usize>, memory: Option<u64>) -> Result<Model> {
        match &file.recipe.online.linear {
            Some(linear) => build_linear(file, linear, memory),
            None => build_network(file, threads, memory),
        }
    }

    /// Takes over the weights of a checkpoint.
    ///
    /// # Errors
    /// If it is one of another model.
    pub fn load(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        match self {
            Model::Network(learner) => {
                checkpoint.load_into(learner.engine_mut())?;
                // The memory of one stream is of use on the next; an anchor stays where it was.
                let continual = split(checkpoint.tensors.clone()).continual;
                match continual.is_empty() {
                    true => learner.anchor_here(),
                    false => learner.restore_continual(&continual),
                }
                learner.keep_as_good();
                Ok(())
            }
            Model::Linear(learner) => {
                let sums = StreamState::of(&checkpoint.meta)?.and_then(|s| s.linear);
                let restored = match sums {
                    Some(sums) => learner.model_mut().restore(&checkpoint.tensors, sums),
                    None => Err("it is no hashed linear model".into()),
                };
                restored.map_err(|what| checkpoint.misfit(&what))
            }
        }
    }

    /// Takes over what a checkpoint holds beside the weights; `good` is the state to roll back to.
    pub fn restore(&mut self, prequential: Prequential, guard: Guard, good: Option<State>) {
        match self {
            Model::Network(learner) => learner.restore(prequential, guard, good),
            Model::Linear(learner) => learner.restore(prequential, guard),
        }
    }

    /// What the learning rate is set by, if it is.
    pub(crate) fn input_length(&self) -> Option<InputLength> {
        match self {
            Model::Network(learner) => learner.input_length(),
            Model::Linear(_) => None,
        }
    }

    /// Takes that over.
    pub(crate) fn restore_input_length(&mut self, seen: Option<InputLength>) {
        if let Model::Network(learner) = self {
            learner.restore_input_length(seen);
        }
    }

    /// The watch for drift, for a checkpoint.
    pub(crate) fn drift_state(&self) -> Option<DriftState> {
        match self {
            Model::Network(learner) => learner.drift_state(),
            Model::Linear(_) => None,
        }
    }

    /// Takes that over, with the tensors of a challenger.
    pub(crate) fn restore_drift(
        &mut self,
        saved: Option<DriftState>,
        challenger: &[StateTensor],
    ) -> Result<()> {
        match self {
            Model::Network(learner) => learner.restore_drift(saved, challenger),
            Model::Linear(_) => Ok(()),
        }
    }

    /// What was counted of drifts, where they are watched for.
    pub fn drift_counts(&self) -> Option<DriftCounts> {
        match self {
            Model::Network(learner) => learner.drift().map(|drift| *drift.counts()),
            Model::Linear(_) => None,
        }
    }

    /// What the watch for drift has noted since the last call.
    pub(crate) fn take_drift_notes(&mut self) -> Vec<DriftNote> {
        match self {
            Model::Network(l) => l.drift_mut().map_or_else(Vec::new, |drift| drift.take_notes()),
            Model::Linear(_) => Vec::new(),
        }
    }

    /// From here on events are scored, and nothing is learned from them.
    pub fn freeze(&mut self) {
        match self {
            Model::Network(learner) => learner.freeze(),
            Model::Linear(learner) => learner.freeze(),
        }
    }

    /// Begins a step of `len` events; a linear model takes steps of one.
    pub fn start(&mut self, len: usize) {
        match self {
            Model::Network(learner) => learner.start(len),
            Model::Linear(learner) => learner.start(),
        }
    }

    /// Learns from the events of the step; a linear model has done so when it was given the event.
    ///
    /// # Errors
    /// If the step cannot be compiled.
    pub fn step(&mut self) -> Result<Learned> {
        match self {
            Model::Network(learner) => learner.step(),
            Model::Linear(learner) => Ok(learner.last()),
        }
    }

    /// Steps learned, over all streams and batches.
    pub fn steps(&self) -> u64 {
        match self {
            Model::Network(learner) => learner.engine().step(),
            Model::Linear(learner) => learner.model().events(),
        }
    }

    /// Values of a prediction.
    pub fn num_outputs(&self) -> usize {
        match self {
            Model::Network(learner) => learner.engine().num_outputs(),
            Model::Linear(_) => 1,
        }
    }

    /// Copies the state over another one, into its memory where that fits.
    pub fn copy_state(&self, to: &mut State) {
        match self {
            Model::Network(learner) => learner.copy_state(to),
            Model::Linear(learner) => *to = State::from_tensors(learner.model().tensors()),
        }
    }

    /// The state to roll back to, for a checkpoint.
    pub(crate) fn good(&self) -> Option<Arc<State>> {
        match self {
            Model::Network(learner) => learner.good(),
            Model::Linear(_) => None,
        }
    }

    /// What a network has beside its weights against forgetting, for a checkpoint.
    pub(crate) fn continual(&self) -> Option<Arc<State>> {
        match self {
            Model::Network(learner) => learner.continual(),
            Model::Linear(_) => None,
        }
    }

    /// The tensors that make the fingerprint of the weights.
    pub fn own_tensors(&self) -> Vec<StateTensor> {
        match self {
            Model::Network(learner) => learner.engine().state().into_tensors(),
            Model::Linear(learner) => learner.model().tensors(),
        }
    }

    /// What a linear model has beside its tensors.
    pub fn sums(&self) -> Option<LinearSums> {
        match self {
            Model::Network(_) => None,
            Model::Linear(learner) => Some(learner.model().sums()),
        }
    }

    /// The prequential figures.
    pub fn prequential(&self) -> &Prequential {
        match self {
            Model::Network(learner) => learner.prequential(),
            Model::Linear(learner) => learner.prequential(),
        }
    }

    /// What was measured so far.
    pub fn figures(&self) -> Figures {
        self.prequential().figures()
    }

    /// The guard.
    pub fn guard(&self) -> &Guard {
        match self {
            Model::Network(learner) => learner.guard(),
            Model::Linear(learner) => learner.guard(),
        }
    }

    /// Bytes of what a step works on.
    pub fn arena_bytes(&self) -> u64 {
        match self {
            Model::Network(learner) => learner.engine().arena_bytes() as u64,
            Model::Linear(learner) => learner.model().bytes() as u64,
        }
    }

    /// Threads of a step.
    pub fn threads(&self) -> usize {
        match self {
            Model::Network(learner) => learner.engine().threads(),
            Model::Linear(_) => 1,
        }
    }

    /// Numbers that are learned.
    pub fn num_parameters(&self) -> usize {
        match self {
            Model::Network(learner) => learner.engine().num_parameters(),
            Model::Linear(learner) => 1 << learner.model().spec().bits,
        }
    }

    /// How a step is taken, for the report.
    pub fn in_short(&self) -> String {
        match self {
            Model::Network(learner) => learner.engine().plan_in_short(),
            Model::Linear(learner) => {
                let (spec, size) = (learner.model().spec(), learner.model().bytes());
                format!(
                    "hashed linear model: 2^{} rows of 16 bytes ({})\nrule {:?}, learning rate {}",
                    spec.bits,
                    bytes(size as u64),
                    spec.rule,
                    spec.learning_rate
                )
            }
        }
    }
}

fn build_network(file: &RecipeFile, threads: Option<usize>, memory: Option<u64>) -> Result<Model> {
    let spec = &file.recipe.online;
    let mut compiled = engine_spec(file, threads);
    let continual = spec.continual();
    continual
        .check_model(&compiled)
        .map_err(|(key, what)| file.error_at(&format!("online.{key}"), &what))?;
    let replayed = continual.replay.as_ref().map_or(0, |replay| replay.per_step);
    compiled.batch_size = spec.most() + replayed;
    let shift = spec.labels.as_ref().map_or(0.0, |l| l.shift());
    let mut engine = Engine::compile_shifted(compiled, shift)?;
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
    Ok(Model::Network(learner))
}

fn build_linear(file: &RecipeFile, linear: &LinearSpec, memory: Option<u64>) -> Result<Model> {
    let spec = &file.recipe.online;
    let loss = &file.recipe.training.loss;
    let Some(known) = LinearLoss::of(loss) else {
        let what = format!(
            "= \"{}\" is none that online.linear can learn: it has \"binary_crossentropy\" (without \
             label smoothing), \"mean_squared_error\" and \"hinge\"",
            loss.name()
        );
        return Err(file.error_at("training.loss", &what));
    };
    // The table, its copy while a checkpoint is written, and what waits.
    let table = 16_u64 << linear.bits;
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
    let mut learner = LinearLearner::new(linear, known, metrics, guard);
    learner.model_mut().set_shift(spec.labels.as_ref().map_or(0.0, |l| l.shift()));
    Ok(Model::Linear(learner))
}

/// Bytes of events that wait to be learned from; those that wait for labels are copied into
/// checkpoints as tensors, in four bytes for three.
fn waiting_bytes(spec: &OnlineSpec) -> u64 {
    let labels = spec.labels.as_ref().map_or(0, |l| 3 * l.memory_bytes as u64);
    2 * spec.queue_bytes as u64 + labels
}
