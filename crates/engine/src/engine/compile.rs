//! Compiling: the first plan, and those for further purposes and sizes of batches.

use tidemill_cpu::buffer::spare_memory;
use tidemill_cpu::isa::Isa;
use tidemill_cpu::runtime::{Prepared, Runtime, StateFile, can_file, state_bytes};
use tidemill_data::{MAX_THREADS, Shards};
use tidemill_fields::{DType, Field};
use tidemill_graph::{Graph, GraphError, Rule};
use tidemill_nn::{
    Extent, TrainingOptions, chunk_graph, each_initial, evaluation_graph_with, inference_graph,
    next_graph, shard_graph, start_graph, step_graph, training_graph_with, update_graph,
};
use tidemill_page::number::bytes;
use tidemill_plan::windows::Filed;
use tidemill_plan::{Options, state_slots};

use super::part::{self, Parted};
use super::shards::{Sharded, copied_bytes, first_sum, sums_bytes, weight_bytes};
use super::{Compiled, Engine, EngineError, EngineSpec, Places, Purpose, Readers, error, filed};
use crate::bind::{Converted, Reads, classes};
use crate::error::Error;
use crate::memory::{Budget, FILE, Needs, Short, return_pieces};

impl Engine {
    /// The same within a budget of memory, which is checked before memory is taken: now, and for each
    /// further plan.
    ///
    /// # Errors
    /// If the model cannot be compiled, or does not fit.
    pub fn compile_within(spec: EngineSpec, shift: f32, budget: Budget) -> Result<Engine, Error> {
        let start = std::time::Instant::now();
        if budget.limit.is_some() {
            return_pieces();
        }
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let threads = spec.threads.unwrap_or(cores).max(1);
        if threads > MAX_THREADS {
            let what = format!("threads must be 1 to {MAX_THREADS}, found {threads}");
            return Err(EngineError(what).into());
        }
        let shards = Shards::all(spec.shards.max(1));
        let extent = Extent::from(shards.most_rows(spec.batch_size));
        let purpose = if shards.count > 1 { Purpose::Shard } else { Purpose::Train };
        let graph = spec.graph(purpose, &extent, shift);
        let graph = match purpose {
            Purpose::Shard => graph.map_err(|e| spec.in_shard(extent.batch, e))?,
            _ => graph?,
        };
        let isa = Isa::detect();
        let rule = spec.optimizer.rule();
        // A shard's graph updates nothing, so that it does not know what slots start as.
        let whole = match purpose {
            Purpose::Shard => Some(spec.graph(Purpose::Train, &extent, shift)?),
            _ => None,
        };
        let elsewhere = whole
            .as_ref()
            .map_or(0, |whole| part::elsewhere_bytes(&state_slots(whole), &state_slots(&graph)));
        let first = First { graph: &graph, purpose, shards: shards.count, threads, isa, elsewhere };
        let (prepared, names, ahead) = first.plan(&budget, &rule)?;
        let (mut runtime, filed) = match (&budget.folder, names.is_empty()) {
            (Some(folder), false) => {
                let (file, plain) = filed::create(folder, &state_slots(&graph), names, ahead)?;
                (Runtime::filed(isa, threads, &graph, file).map_err(error)?, Some(plain))
            }
            _ => (Runtime::new(isa, threads, &graph), None),
        };
        begin_state(&mut runtime, whole.as_ref().unwrap_or(&graph), &spec)?;
        let parted = whole.zip(spec.part).map(|(whole, part)| Parted::new(part, &whole, &runtime));
        let output = spec.model.output_shape().map_err(error)?;
        let longest = spec.model.longest_output().map_err(error)?;
        let inputs = spec.model.signature().inputs().to_vec();
        let sample_len = inputs.iter().map(Field::most).sum();
        let truth = spec.loss.truth(&output, longest);
        let num_outputs = match longest {
            Some(_) => output.last().copied().unwrap_or(1),
            None => output.iter().product(),
        };
        let mut engine = Engine {
            rule,
            reads: Reads::new(&spec.model, &spec.loss, inputs, truth, num_outputs),
            binding: None,
            converted: Converted::default(),
            sample_len,
            num_outputs,
            by_position: longest.is_some(),
            spec,
            kept: first_sum(runtime.slots()),
            sharded: None,
            parted,
            shard: 0,
            runtime,
            compiled: Vec::new(),
            last: None,
            step: 0,
            rates: Default::default(),
            slots_from: 0,
            shift,
            compile_seconds: 0.0,
            learn: Purpose::Learn,
            readers: Readers::default(),
            written: None,
            budget,
            filed,
        };
        engine.add_prepared(purpose, extent.clone(), prepared)?;
        engine.budget.begin(engine.needs())?;
        if purpose == Purpose::Shard {
            let update = engine.plan_for(Purpose::Update, &extent)?;
            let plan = engine.compiled[update].plan;
            engine.sharded = Some(Sharded::new(engine.runtime.slots(), engine.kept, plan));
        }
        engine.compile_seconds = start.elapsed().as_secs_f64();
        Ok(engine)
    }

    fn add(
        &mut self,
        purpose: Purpose,
        extent: Extent,
        graph: &Graph,
    ) -> Result<usize, EngineError> {
        let isa = self.runtime.isa();
        let filed = self.runtime.in_file();
        let prepare = |limit| Prepared::filed(isa, graph, options(purpose, limit), filed);
        let held = self.needs();
        let prepared = within(&self.budget, self.threads(), &|| held, held, prepare);
        self.add_prepared(purpose, extent, prepared.map_err(|short| error(short.why))?)
    }

    fn add_prepared(
        &mut self,
        purpose: Purpose,
        extent: Extent,
        prepared: Prepared,
    ) -> Result<usize, EngineError> {
        let plan = self.runtime.add_prepared(prepared).map_err(error)?;
        let sources = self.reads.sources(&self.runtime.plan(plan).inputs)?;
        let place = |name| self.runtime.find_output(plan, name);
        let outputs = Places { plan, losses: place("losses"), logits: place("logits") };
        self.compiled.push(Compiled { purpose, extent, plan, sources, outputs });
        Ok(self.compiled.len() - 1)
    }

    /// The plan for this purpose and size of batches, compiled when it first comes.
    pub(super) fn plan_for(
        &mut self,
        purpose: Purpose,
        extent: &Extent,
    ) -> Result<usize, EngineError> {
        let found = self.compiled.iter().position(|c| c.purpose == purpose && c.extent == *extent);
        match found {
            Some(index) => Ok(index),
            None => {
                let graph = self.spec.graph(purpose, extent, self.shift)?;
                self.add(purpose, extent.clone(), &graph)
            }
        }
    }

    /// Compiles what a run needs beside its step at the full batch size: the step for a smaller last
    /// batch of `last` samples, and evaluation on batches of `evaluated` samples. What is wrong with them
    /// is known then before the first step. Models of sequences compile these when they come; where memory has a limit, those for
    /// the longest come first, so that no other needs more.
    ///
    /// # Errors
    /// If one cannot be compiled or has no room.
    pub fn prepare(&mut self, last: Option<usize>, evaluated: &[usize]) -> Result<(), EngineError> {
        let sequences = self.reads.signature.inputs().iter().any(|f| f.time().is_some());
        if sequences && self.budget.limit.is_none() {
            return Ok(());
        }
        match (self.spec.shards, last) {
            (1, None) => {}
            (1, Some(batch)) => {
                self.plan_for(Purpose::Train, &Extent::from(batch))?;
            }
            (shards, last) => {
                for rows in shard_sizes(shards, last.into_iter().chain([self.spec.batch_size])) {
                    self.plan_for(Purpose::Shard, &Extent::from(rows))?;
                }
            }
        }
        for &batch in evaluated {
            self.plan_for(Purpose::Evaluate, &Extent::from(batch))?;
        }
        Ok(())
    }

    /// Compiles the step for [`Engine::train_if`] on batches of this size before the first comes.
    pub fn prepare_learning(&mut self, batch: usize) -> Result<(), EngineError> {
        self.plan_for(self.learn, &Extent::from(batch)).map(|_| ())
    }
}

impl EngineSpec {
    /// Whether a step on so many samples can be computed; models of sequences are not looked at.
    ///
    /// # Errors
    /// Says what cannot be, such as batch norm on one row.
    pub fn check_training(&self, batch: usize) -> Result<(), EngineError> {
        if self.model.signature().inputs().iter().any(|f| f.time().is_some()) {
            return Ok(());
        }
        if self.shards == 1 {
            return self.graph(Purpose::Train, &Extent::from(batch), 0.0).map(|_| ());
        }
        let mut sizes = shard_sizes(self.shards, [batch].into_iter());
        sizes.try_for_each(|rows| {
            let graph = self.graph(Purpose::Shard, &Extent::from(rows), 0.0);
            graph.map(drop).map_err(|e| self.in_shard(rows, e))
        })
    }

    /// An error about a shard of so many samples.
    fn in_shard(&self, rows: usize, error: EngineError) -> EngineError {
        let shards = self.shards;
        EngineError(format!("training.shards = {shards} cuts it into pieces of {rows}: {error}"))
    }

    /// The classes that the outputs are for; none where the loss compares with any value.
    pub fn classes(&self) -> Option<usize> {
        let output = self.model.output_shape().ok()?;
        let longest = self.model.longest_output().ok()?;
        let outputs = match longest {
            Some(_) => output.last().copied().unwrap_or(1),
            None => output.iter().product(),
        };
        let truth = self.loss.truth(&output, longest);
        let width = if truth.dtype == DType::F32 { truth.most() } else { outputs };
        Some(classes(&self.loss, width)).filter(|&classes| classes < usize::MAX)
    }

    pub(super) fn graph(
        &self,
        purpose: Purpose,
        batch: &Extent,
        shift: f32,
    ) -> Result<Graph, EngineError> {
        match purpose {
            Purpose::Train | Purpose::Learn | Purpose::Watch => {
                // A stream is measured event by event, by the driver.
                let metrics = if purpose == Purpose::Train { &self.metrics[..] } else { &[] };
                let watch = purpose == Purpose::Watch;
                let options = TrainingOptions { shift, watch, metrics, part: None };
                training_graph_with(
                    &self.model,
                    &self.loss,
                    &self.optimizer,
                    batch.clone(),
                    options,
                )
            }
            Purpose::Shard => {
                let (metrics, part) = (&self.metrics[..], self.part);
                let options = TrainingOptions { shift, watch: false, metrics, part };
                shard_graph(&self.model, &self.loss, &self.optimizer, batch.clone(), options)
            }
            Purpose::Update => {
                update_graph(&self.model, &self.loss, &self.optimizer, batch.clone(), self.part)
            }
            Purpose::Evaluate => {
                evaluation_graph_with(&self.model, &self.loss, batch.clone(), &self.metrics)
            }
            Purpose::Predict => inference_graph(&self.model, &self.loss, batch.clone()),
            Purpose::Next => next_graph(&self.model, batch.clone()),
            Purpose::Start => start_graph(&self.model, batch),
            Purpose::Step(capacity) => step_graph(&self.model, batch, capacity),
            Purpose::Chunk => chunk_graph(&self.model, batch),
        }
        .map_err(error)
    }
}

/// The first plan of an engine.
struct First<'a> {
    graph: &'a Graph,
    purpose: Purpose,
    shards: usize,
    threads: usize,
    isa: Isa,
    /// Bytes of slots that other workers keep.
    elsewhere: u64,
}

impl First<'_> {
    /// The plan within a budget, what of the state has to be in a file for it, and how far ahead that is read.
    fn plan(&self, budget: &Budget, rule: &Rule) -> Result<(Prepared, Vec<String>, usize), Error> {
        if let Some(prepared) = self.within(budget, Filed::default()) {
            return Ok((prepared, Vec::new(), 0));
        }
        let slots = state_slots(self.graph);
        let mut candidates = match budget.folder.is_some() && can_file() {
            true => filed::candidates(&slots, rule),
            false => Vec::new(),
        };
        let all = StateFile::layout(&slots, Filed { names: &candidates, ahead: 0 }).1;
        if all * (1 + budget.copies) <= FILE {
            candidates.clear();
        }
        if !candidates.is_empty()
            && let Some(found) = filed::fewest(&candidates, |filed| self.within(budget, filed))
        {
            return Ok(found);
        }
        let short = match self.smallest(budget, Filed::default()) {
            Ok(prepared) => return Ok((prepared, Vec::new(), 0)),
            Err(short) => short,
        };
        if candidates.is_empty() {
            return Err(short.why);
        }
        let filed = self.smallest(budget, Filed { names: &candidates, ahead: 0 });
        match filed {
            Ok(prepared) => Ok((prepared, candidates, 0)),
            Err(other) if other.need < short.need => Err(other.why),
            Err(_) => Err(short.why),
        }
    }

    /// What an engine takes without its plan.
    fn needs(&self, filed: Filed<'_>) -> Needs {
        let slots = state_slots(self.graph);
        Needs {
            state: state_bytes(self.graph, filed) as u64,
            copied: copied_bytes(&slots, filed),
            sums: sums_bytes(&slots, self.shards),
            weights: weight_bytes(&slots),
            moved: filed::moved(&slots, filed),
            elsewhere: self.elsewhere,
            ..Needs::default()
        }
    }

    fn prepare(&self, limit: Option<usize>, filed: Filed<'_>, give_up: bool) -> Prepared {
        let options = Options { give_up, ..options(self.purpose, limit) };
        Prepared::filed(self.isa, self.graph, options, filed)
    }

    /// The plan that fits with these tensors in a file, if there is one.
    fn within(&self, budget: &Budget, filed: Filed<'_>) -> Option<Prepared> {
        let (needs, held) = (|| self.needs(filed), Needs::default());
        let budget = &budget.with_file(filed);
        if budget.check(needs(), held, "").is_err() {
            spare_memory();
            budget.check(needs(), held, "").ok()?;
        }
        let prepare = |limit| self.prepare(limit, filed, true);
        let prepared = within(budget, self.threads, &needs, held, prepare).ok()?;
        keeps_to_arena(budget, &prepared, held).then_some(prepared)
    }

    /// The plan in the smallest arena.
    fn smallest(&self, budget: &Budget, filed: Filed<'_>) -> Result<Prepared, Short> {
        let prepared = self.prepare(Some(0), filed, false);
        let needed = with(self.needs(filed), &prepared, self.threads);
        let budget = budget.with_file(filed);
        budget.check(needed, Needs::default(), &largest(&prepared)).map(|()| prepared)
    }
}

/// Gives all tensors of a state the values that they start with; `graph` has all of the model's.
fn begin_state(runtime: &mut Runtime, graph: &Graph, spec: &EngineSpec) -> Result<(), EngineError> {
    let slots = runtime.slots().to_vec();
    let mut put = |id, values: Vec<f32>| {
        let name = &graph.tensor(id).name;
        let Some(index) = slots.iter().position(|slot| slot.name == *name) else { return Ok(()) };
        // A file has zeros already.
        if runtime.place_in_file(index).is_some() && values.iter().all(|v| v.to_bits() == 0) {
            return Ok(());
        }
        runtime.store(index, &values).map_err(|e| GraphError::new(format!("{name}: {e}")))
    };
    each_initial(graph, &spec.model, spec.seed, &mut put).map_err(error)
}

/// How many samples the shards of batches of these lengths have, but for those without any.
fn shard_sizes(shards: usize, batches: impl Iterator<Item = usize>) -> impl Iterator<Item = usize> {
    let sizes = batches.flat_map(move |len| [len / shards, len.div_ceil(shards)]);
    sizes.filter(|&rows| rows > 0)
}

/// How a graph is planned.
pub(super) fn options(purpose: Purpose, arena_limit: Option<usize>) -> Options {
    let gated = matches!(purpose, Purpose::Learn | Purpose::Watch);
    // A text is the same in whatever batch it is written.
    let by_row = matches!(purpose, Purpose::Next | Purpose::Start | Purpose::Step(_));
    Options { gated, by_row, arena_limit, ..Options::default() }
}

/// Whether a plan keeps to what the budget says of the arena alone.
fn keeps_to_arena(budget: &Budget, prepared: &Prepared, held: Needs) -> bool {
    let arena = prepared.plan().arena_bytes as u64;
    budget.arena.is_none_or(|most| arena <= most.max(held.arena))
}

/// What an engine takes with a plan that takes `needs` otherwise.
fn with(needs: Needs, prepared: &Prepared, threads: usize) -> Needs {
    let (arena, scratch) = prepared.bytes();
    let (arena, scratch) = (arena as u64, (threads * scratch) as u64);
    Needs { arena: needs.arena.max(arena), scratch: needs.scratch.max(scratch), ..needs }
}

/// The values of a step that take most where its plan takes most.
fn largest(prepared: &Prepared) -> String {
    let tensor = |(name, size): (&str, usize)| format!("{name} {}", bytes(size as u64));
    let largest: Vec<String> = prepared.plan().largest_at_peak(3).into_iter().map(tensor).collect();
    format!("; the largest values of a step are {}", largest.join(", "))
}

/// How often a plan is made for what memory is left then.
const PLANS: usize = 3;

/// What `prepare` gives without a limit for the arena if that fits beside what an engine takes (`needs`) and has taken
/// (`held`), else with what is left.
fn within(
    budget: &Budget,
    threads: usize,
    needs: &dyn Fn() -> Needs,
    held: Needs,
    prepare: impl Fn(Option<usize>) -> Prepared,
) -> Result<Prepared, Short> {
    let with = |prepared: &Prepared| with(needs(), prepared, threads);
    let taken = |needed: &Needs| needed.arena <= held.arena && needed.scratch <= held.scratch;
    let mut prepared = prepare(None);
    let mut needed = with(&prepared);
    if taken(&needed) {
        return Ok(prepared);
    }
    let keeps = keeps_to_arena(budget, &prepared, held);
    let fits = |needed| budget.check(needed, held, "").is_ok();
    if !fits(needed) {
        spare_memory();
        needed = with(&prepared);
    }
    if keeps && fits(needed) {
        return Ok(prepared);
    }
    // Planning takes memory too, which may not be given back: what is left may be less afterwards.
    for _ in 0..PLANS {
        let room = budget.room(needed, held);
        prepared = prepare(Some(usize::try_from(room).unwrap_or(usize::MAX)));
        needed = with(&prepared);
        if needed.arena > room || needed.arena <= budget.room(needed, held) {
            break;
        }
    }
    if !taken(&needed) {
        budget.check(needed, held, &largest(&prepared))?;
    }
    Ok(prepared)
}
