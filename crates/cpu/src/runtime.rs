//! Runs plans: one state, one arena, any number of plans over them.
//!
//! `shared` runs plans that only read the state, by several threads at once; `checked` runs plans with a look at what each
//! kernel touched; `filed` reads and writes what of the state is in a file.

mod checked;
mod filed;
mod shared;

use crate::buffer::{self, AlignedBuffer, LARGE};
use crate::compile::CpuTarget;
use crate::isa::Isa;
use crate::step::{Program, Run, Step};
use crate::threads::{Beside, NOTHING, Pool};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use tidemill_graph::{DType, Graph};
use tidemill_plan::backend::{check_inputs, find_state};
use tidemill_plan::windows::Filed;
use tidemill_plan::{Options, Place, Plan, Slot, state_slots};

use filed::Storage;
pub use filed::{StateFile, can_file};
pub use shared::{ReadPlan, Workspace};
pub use tidemill_plan::{Input, InputError, PlanId};

/// Plans over one state and one arena, and the threads that run them.
pub struct Runtime {
    isa: Isa,
    /// Locked by those who share the runtime; whoever has it alone needs no lock.
    pool: Mutex<Pool>,
    slots: Vec<Slot>,
    offsets: Vec<usize>,
    state: AlignedBuffer,
    arena: AlignedBuffer,
    steps: Vec<Step>,
    /// For each step, the runtime's slot of each tensor of its plan's state.
    states: Vec<Vec<usize>>,
    scratch: Vec<AlignedBuffer>,
    /// What of the state is in a file.
    storage: Option<Storage>,
}

/// A graph compiled for a runtime that has no room for it yet.
pub struct Prepared {
    program: Program,
}

impl Prepared {
    /// Compiles a graph for the machine's instructions.
    pub fn new(isa: Isa, graph: &Graph, options: Options) -> Prepared {
        Prepared::filed(isa, graph, options, Filed::default())
    }

    /// The same where some of the state is in a file.
    pub fn filed(isa: Isa, graph: &Graph, options: Options, filed: Filed<'_>) -> Prepared {
        let mut target = CpuTarget::new(isa).by_row(options.by_row);
        let options =
            if checked::asked() { Options { gap: checked::GAP, ..options } } else { options };
        let plan = Plan::filed(graph, &mut target, options, filed);
        Prepared { program: Program::new(plan, target.compiled()) }
    }

    /// Bytes that it takes: of the arena, and of each thread's scratch.
    pub fn bytes(&self) -> (usize, usize) {
        (
            buffer::bytes_of(arena_len(&self.program.plan)),
            buffer::bytes_of(self.program.scratch_len),
        )
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.program.plan
    }
}

/// Each state tensor begins at a multiple of so many values, a cache line.
const PADDING: usize = 16;

/// Bytes that the state of a graph takes in memory.
pub fn state_bytes(graph: &Graph, filed: Filed<'_>) -> usize {
    let slots = state_slots(graph);
    let held = slots.iter().filter(|slot| !filed.has(slot));
    buffer::bytes_of(held.map(|slot| slot.len().next_multiple_of(PADDING)).sum())
}

/// Elements of the arena that a plan needs.
fn arena_len(plan: &Plan) -> usize {
    let len = plan.arena_reach.div_ceil(4);
    match plan.windows.is_empty() {
        true => len,
        // Large enough to begin at a page, as what is read into it without a copy must.
        false => len.max(LARGE / 4),
    }
}

impl Runtime {
    /// A runtime whose state has the tensors of `graph`, all zero.
    pub fn new(isa: Isa, threads: usize, graph: &Graph) -> Runtime {
        Runtime::of(isa, threads, state_slots(graph), Filed::default())
    }

    fn of(isa: Isa, threads: usize, slots: Vec<Slot>, filed: Filed<'_>) -> Runtime {
        let mut offsets = Vec::new();
        let mut end = 0;
        for slot in &slots {
            offsets.push(end);
            if !filed.has(slot) {
                end += slot.len().next_multiple_of(PADDING);
            }
        }
        Runtime {
            isa,
            pool: Mutex::new(Pool::new(threads)),
            slots,
            offsets,
            state: AlignedBuffer::new(end),
            arena: AlignedBuffer::new(0),
            steps: Vec::new(),
            states: Vec::new(),
            scratch: Vec::new(),
            storage: None,
        }
    }

    /// Compiles a graph whose state tensors are among the runtime's, by name.
    pub fn add(&mut self, graph: &Graph, options: Options) -> Result<PlanId, InputError> {
        self.add_prepared(Prepared::filed(self.isa, graph, options, self.in_file()))
    }

    /// Makes room for a compiled graph, whose state tensors are among the runtime's, by name.
    pub fn add_prepared(&mut self, prepared: Prepared) -> Result<PlanId, InputError> {
        let program = prepared.program;
        let states = self.states_of(&program.plan)?;
        self.check_windows(&program.plan, &states);
        let step = Step::new(Arc::new(program));
        let pool = alone(&mut self.pool);
        pool.reserve(step.tasks());
        if self.scratch.first().is_none_or(|s| s.len() < step.scratch_len) {
            let threads = pool.threads();
            self.scratch = (0..threads).map(|_| AlignedBuffer::new(step.scratch_len)).collect();
        }
        let arena_len = arena_len(&step.plan);
        self.steps.push(step);
        self.states.push(states);
        let new = self.steps.len() - 1;
        // Only a larger arena moves what the other plans point to.
        if self.arena.len() < arena_len {
            // Never both at once: nothing in an arena outlives a run.
            self.arena = AlignedBuffer::new(0);
            self.arena = AlignedBuffer::new(arena_len);
            (0..new).for_each(|step| self.rebind(step));
        }
        self.rebind(new);
        Ok(PlanId(new))
    }

    /// The program of a graph, and the runtime's slot of each tensor of its state.
    fn compile(
        &self,
        graph: &Graph,
        options: Options,
    ) -> Result<(Program, Vec<usize>), InputError> {
        let Prepared { program } = Prepared::new(self.isa, graph, options);
        let states = self.states_of(&program.plan)?;
        Ok((program, states))
    }

    /// The runtime's slot of each tensor of a plan's state.
    fn states_of(&self, plan: &Plan) -> Result<Vec<usize>, InputError> {
        plan.state.iter().map(|slot| find_state(&self.slots, slot)).collect()
    }

    /// Fills in a step's argument table.
    fn rebind(&mut self, index: usize) {
        let program = self.steps[index].program.clone();
        let pointers: Vec<*mut f32> =
            (0..program.plan.buffers.len()).map(|b| self.pointer(index, b)).collect();
        self.steps[index].bind(|buffer| pointers[buffer]);
    }

    /// Start of a step's buffer; null for inputs.
    fn pointer(&self, index: usize, buffer: usize) -> *mut f32 {
        self.place(&self.steps[index].program, &self.states[index], &self.arena, buffer)
    }

    /// Start of a program's buffer in an arena that is large enough for it; null for inputs.
    fn place(
        &self,
        program: &Program,
        states: &[usize],
        arena: &AlignedBuffer,
        buffer: usize,
    ) -> *mut f32 {
        match program.plan.buffers[buffer].place {
            // SAFETY: the caller's arena is as large as the plan's, whose offsets these are.
            Place::Arena(offset) => unsafe { arena.as_mut_ptr().add(offset / 4) },
            Place::State(i) => {
                let slot = states[i];
                if self.place_in_file(slot).is_some() {
                    return std::ptr::null_mut(); // only outputs that are parameters: they have no values here
                }
                // SAFETY: offsets and the state's size come from the same table.
                unsafe { self.state.as_mut_ptr().add(self.offsets[slot]) }
            }
            Place::Constant(_) => program.constant(buffer),
            Place::Input(_) => std::ptr::null_mut(),
        }
    }

    /// Runs a plan on inputs given in the order of [`Plan::inputs`]. Allocates nothing.
    pub fn run(&mut self, id: PlanId, inputs: &[Input<'_>]) -> Result<(), InputError> {
        self.run_beside(id, inputs, NOTHING)
    }

    /// Like [`Runtime::run`], and lets threads that wait for others do the work of `beside`, all of
    /// which is done in the end.
    pub fn run_beside(
        &mut self,
        id: PlanId,
        inputs: &[Input<'_>],
        beside: Beside<'_>,
    ) -> Result<(), InputError> {
        self.bind(id, inputs)?;
        self.run_tasks(id, inputs, 0..self.steps[id.0].tasks(), beside)
    }

    /// Runs some tasks of a plan that is bound to its inputs.
    fn run_tasks(
        &mut self,
        id: PlanId,
        inputs: &[Input<'_>],
        tasks: Range<usize>,
        beside: Beside<'_>,
    ) -> Result<(), InputError> {
        if self.steps[id.0].plan.gap > 0 {
            self.run_checked(id, inputs, tasks);
            while beside() {}
            return Ok(());
        }
        let (step, scratch) = (&self.steps[id.0], &self.scratch);
        let pool = alone(&mut self.pool);
        match &self.storage {
            Some(storage) if !step.plan.windows.is_empty() => {
                let memory = (&self.arena, &self.states[id.0][..]);
                storage.run(step, memory, tasks, beside, |tasks| {
                    pool.run(&Run::new(step, scratch, tasks), step.parallel, NOTHING);
                })
            }
            _ => {
                pool.run(&Run::new(step, scratch, tasks), step.parallel, beside);
                Ok(())
            }
        }
    }

    /// Runs a plan up to its gate, where the outputs of the graph's gate are known and nothing of the
    /// state has changed, and continues from there only if `gate` says so. Says whether it did. A plan without a
    /// gate runs as a whole, and `gate` is not asked.
    pub fn run_gated(
        &mut self,
        id: PlanId,
        inputs: &[Input<'_>],
        gate: &mut dyn FnMut(&Runtime) -> bool,
    ) -> Result<bool, InputError> {
        let (all, before) = (self.steps[id.0].tasks(), self.steps[id.0].tasks_before_gate());
        self.bind(id, inputs)?;
        self.run_tasks(id, inputs, 0..before, NOTHING)?;
        if before == all {
            return Ok(true);
        }
        if !gate(self) {
            return Ok(false);
        }
        self.run_tasks(id, inputs, before..all, NOTHING)?;
        Ok(true)
    }

    /// Whether a plan has a place at which it can be refused.
    pub fn has_gate(&self, id: PlanId) -> bool {
        self.steps[id.0].tasks_before_gate() < self.steps[id.0].tasks()
    }

    /// Runs some tasks with a look at what each kernel touched; see [`checked`].
    fn run_checked(&mut self, id: PlanId, inputs: &[Input<'_>], tasks: Range<usize>) {
        let slots = self.states[id.0].clone();
        let state = slots.iter().map(|&slot| self.state(slot).to_vec()).collect();
        let changed = checked::run(&mut self.steps[id.0], &self.arena, state, inputs, tasks);
        for (slot, values) in slots.into_iter().zip(changed) {
            self.state_mut(slot).copy_from_slice(&values);
        }
        self.rebind(id.0);
    }

    fn bind(&mut self, id: PlanId, inputs: &[Input<'_>]) -> Result<(), InputError> {
        bind_inputs(&mut self.steps[id.0], inputs)
    }

    /// The plan behind an id.
    pub fn plan(&self, id: PlanId) -> &Plan {
        &self.steps[id.0].plan
    }

    /// An output of the plan that ran last; valid until the next run of any plan.
    pub fn output(&self, id: PlanId, name: &str) -> Option<&[f32]> {
        self.output_at(id, self.find_output(id, name)?)
    }

    /// Where a plan's output of this name is, for [`Runtime::output_at`].
    pub fn find_output(&self, id: PlanId, name: &str) -> Option<usize> {
        self.steps[id.0].plan.outputs.iter().position(|o| o.0 == name)
    }

    /// The same as [`Runtime::output`], by its place.
    pub fn output_at(&self, id: PlanId, index: usize) -> Option<&[f32]> {
        let step = &self.steps[id.0];
        let buffer = step.plan.outputs.get(index)?.1;
        let pointer = self.pointer(id.0, buffer);
        if pointer.is_null() {
            return None;
        }
        // SAFETY: the buffer has `len` values inside the arena, the state or the constants, which
        // live as long as self and are not written while self is borrowed.
        Some(unsafe { std::slice::from_raw_parts(pointer, step.plan.buffers[buffer].len) })
    }

    /// Descriptions of the state's tensors.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Values of a state tensor, by its place in [`Runtime::slots`]; none of one that is in the file.
    pub fn state(&self, index: usize) -> &[f32] {
        let (start, len) = self.range(index);
        &self.state.as_slice()[start..start + len]
    }

    /// Values of a state tensor, by its place in [`Runtime::slots`]; none of one that is in the file.
    pub fn state_mut(&mut self, index: usize) -> &mut [f32] {
        let (start, len) = self.range(index);
        &mut self.state.as_mut_slice()[start..start + len]
    }

    /// The first value of a state tensor, and how many are in memory.
    fn range(&self, index: usize) -> (usize, usize) {
        let len = if self.place_in_file(index).is_some() { 0 } else { self.slots[index].len() };
        (self.offsets[index], len)
    }

    /// Values of the state tensors from that one on, each padded with zeros to [`Runtime::padded`].
    pub fn state_from(&self, index: usize) -> &[f32] {
        &self.state.as_slice()[self.offset(index)..]
    }

    /// Values of the state tensors from that one on, as [`Runtime::state_from`]; the padding stays 0.
    pub fn state_from_mut(&mut self, index: usize) -> &mut [f32] {
        let start = self.offset(index);
        &mut self.state.as_mut_slice()[start..]
    }

    /// Values that a state tensor takes among all.
    pub fn padded(&self, index: usize) -> usize {
        self.slots[index].len().next_multiple_of(PADDING)
    }

    /// Copies a state tensor over another one of the same length.
    pub fn copy_state(&mut self, from: usize, to: usize) {
        let (start, len) = (self.offsets[from], self.slots[from].len().min(self.slots[to].len()));
        let to = self.offsets[to];
        self.state.as_mut_slice().copy_within(start..start + len, to);
    }

    fn offset(&self, index: usize) -> usize {
        self.offsets.get(index).copied().unwrap_or(self.state.len())
    }

    /// Bytes of the arena, of the state, and of all threads' scratch.
    pub fn bytes(&self) -> (usize, usize, usize) {
        let scratch: usize = self.scratch.iter().map(|s| s.len() * 4).sum();
        (self.arena.len() * 4, self.state.len() * 4, scratch)
    }

    /// The same as what they take of the system's memory.
    pub fn taken(&self) -> (usize, usize, usize) {
        let scratch = self.scratch.iter().map(AlignedBuffer::bytes).sum();
        (self.arena.bytes(), self.state.bytes(), scratch)
    }

    /// Threads that a step may use.
    pub fn threads(&self) -> usize {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).threads()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Mean microseconds of each call of a plan over `rounds` runs on one thread; state changes as
    /// in any run. For profiles.
    pub fn profile(
        &mut self,
        id: PlanId,
        inputs: &[Input<'_>],
        rounds: usize,
    ) -> Result<Vec<f64>, InputError> {
        self.run(id, inputs)?;
        let step = &self.steps[id.0];
        let mut totals = vec![0.0; step.plan.calls.len()];
        for _ in 0..rounds {
            step.time(&self.scratch, &mut totals);
        }
        totals.iter_mut().for_each(|total| *total /= rounds as f64);
        Ok(totals)
    }
}

impl Clone for Runtime {
    /// The same plans over a copy of the state, with an arena and threads of its own. Kernels are shared.
    ///
    /// # Panics
    /// If some of the state is in a file, which has one runtime.
    fn clone(&self) -> Runtime {
        assert!(self.storage.is_none(), "a runtime whose state is in a file is not copied");
        let arena = AlignedBuffer::new(self.arena.len());
        let mut state = AlignedBuffer::new(self.state.len());
        state.as_mut_slice().copy_from_slice(self.state.as_slice());
        let mut pool = Pool::new(self.threads());
        pool.reserve(self.steps.iter().map(|step| step.tasks()).max().unwrap_or(0));
        let scratch_len = self.scratch.first().map_or(0, AlignedBuffer::len);
        let mut copy = Runtime {
            isa: self.isa,
            scratch: (0..pool.threads()).map(|_| AlignedBuffer::new(scratch_len)).collect(),
            pool: Mutex::new(pool),
            slots: self.slots.clone(),
            offsets: self.offsets.clone(),
            state,
            arena,
            steps: self.steps.iter().map(|step| Step::new(step.program.clone())).collect(),
            states: self.states.clone(),
            storage: None,
        };
        (0..copy.steps.len()).for_each(|step| copy.rebind(step));
        copy
    }
}

/// The pool of a runtime that nobody else uses. A panic in a step leaves it as good as new.
fn alone(pool: &mut Mutex<Pool>) -> &mut Pool {
    pool.get_mut().unwrap_or_else(PoisonError::into_inner)
}

/// Points a step to its inputs, if they are of its types and long enough.
fn bind_inputs(step: &mut Step, inputs: &[Input<'_>]) -> Result<(), InputError> {
    let fits = |(&(dtype, len), input): (&(DType, usize), &Input<'_>)| match input {
        Input::F32(x) => dtype == DType::F32 && x.len() >= len,
        Input::I32(x) => dtype == DType::I32 && x.len() >= len,
    };
    if step.inputs.len() != inputs.len() || !step.inputs.iter().zip(inputs).all(fits) {
        check_inputs(&step.plan.inputs, inputs)?;
    }
    step.bind_inputs(|input| match inputs[input] {
        Input::F32(x) => x.as_ptr().cast_mut(),
        Input::I32(x) => x.as_ptr().cast_mut().cast(),
    });
    Ok(())
}
