//! Runs plans: one state, one arena, any number of plans over them.

use crate::buffer::AlignedBuffer;
use crate::compile::{CpuTarget, compile};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::threads::{Beside, NOTHING, Pool, Tasks};
use std::ops::Range;
use tidemill_graph::{DType, Graph};
use tidemill_plan::{Options, Place, Plan, Slot, state_slots};

/// Work below this is done by the calling thread alone: waking others costs more.
const SERIAL_FLOPS: u64 = 400_000;

/// An input of a plan.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Floats.
    F32(&'a [f32]),
    /// Labels, ids, keys.
    I32(&'a [i32]),
}

/// The inputs given do not fit the plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("input {name}: expected {expected}, found {found}")]
pub struct InputError {
    name: String,
    expected: String,
    found: String,
}

/// Names a plan of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanId(usize);

/// One kernel with its place in the argument table.
struct Instr {
    kernel: Box<dyn Kernel>,
    args: Range<usize>,
    chunks: usize,
}

/// A plan made executable.
struct Step {
    plan: Plan,
    instrs: Vec<Instr>,
    /// Runs of instructions that are scheduled together: one with many chunks, or several with one
    /// chunk each, which then need no barrier between them.
    tasks: Vec<(Range<usize>, usize)>,
    /// Pointers of all instructions.
    args: Vec<*mut f32>,
    /// Entries of `args` that are inputs: (entry, input).
    patches: Vec<(usize, usize)>,
    /// Type and number of values of each input.
    inputs: Vec<(DType, usize)>,
    constants: AlignedBuffer,
    parallel: bool,
    /// Tasks before the plan's gate; all of them where it has none.
    before_gate: usize,
}

// SAFETY: the pointers lead into the runtime's own buffers or into inputs borrowed for a run.
unsafe impl Send for Step {}
// SAFETY: running needs `&mut Runtime`; within a run chunks are disjoint by the kernels' contract.
unsafe impl Sync for Step {}

/// Plans over one state and one arena, and the threads that run them.
pub struct Runtime {
    isa: Isa,
    pool: Pool,
    slots: Vec<Slot>,
    offsets: Vec<usize>,
    state: AlignedBuffer,
    arena: AlignedBuffer,
    steps: Vec<Step>,
    scratch: Vec<AlignedBuffer>,
}

impl Runtime {
    /// A runtime whose state has the tensors of `graph`, all zero.
    pub fn new(isa: Isa, threads: usize, graph: &Graph) -> Runtime {
        let slots = state_slots(graph);
        let mut offsets = Vec::new();
        let mut end = 0;
        for slot in &slots {
            offsets.push(end);
            end += slot.len().next_multiple_of(16);
        }
        Runtime {
            isa,
            pool: Pool::new(threads),
            slots,
            offsets,
            state: AlignedBuffer::new(end),
            arena: AlignedBuffer::new(0),
            steps: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Compiles a graph whose state tensors are among the runtime's, by name.
    pub fn add(&mut self, graph: &Graph, options: Options) -> Result<PlanId, InputError> {
        let plan = Plan::new(graph, &CpuTarget { isa: self.isa }, options);
        let step = self.compile(plan)?;
        self.steps.push(step);
        self.rebind();
        Ok(PlanId(self.steps.len() - 1))
    }

    fn compile(&mut self, plan: Plan) -> Result<Step, InputError> {
        for slot in &plan.state {
            self.state_index(slot)?;
        }
        let constants = plan.buffers.iter().map(|b| match b.place {
            Place::Constant(c) => c,
            _ => 0.0,
        });
        let constants: Vec<f32> = constants.collect();
        let mut constant_buffer = AlignedBuffer::new(constants.len());
        constant_buffer.as_mut_slice().copy_from_slice(&constants);
        let mut step = Step {
            instrs: Vec::new(),
            tasks: Vec::new(),
            args: Vec::new(),
            patches: Vec::new(),
            inputs: plan.inputs.iter().map(|slot| (slot.dtype, slot.len())).collect(),
            constants: constant_buffer,
            parallel: false,
            before_gate: usize::MAX,
            plan,
        };
        let mut scratch_bytes = 0;
        let mut gate = None;
        for (position, call) in step.plan.calls.iter().enumerate() {
            if step.plan.gate == Some(position) {
                gate = Some(step.instrs.len());
            }
            for phase in compile(self.isa, &call.spec).phases {
                let start = step.args.len();
                for position in phase.positions {
                    if let Some(p) = position
                        && let Place::Input(i) = step.plan.buffers[call.args[p.argument]].place
                    {
                        step.patches.push((step.args.len(), i));
                    }
                    step.args.push(std::ptr::null_mut());
                }
                scratch_bytes = scratch_bytes.max(phase.kernel.scratch_bytes());
                let chunks = phase.kernel.chunks();
                let kernel = phase.kernel;
                step.instrs.push(Instr { kernel, args: start..step.args.len(), chunks });
            }
        }
        for (i, instr) in step.instrs.iter().enumerate() {
            if gate == Some(i) {
                step.before_gate = step.tasks.len();
            }
            match step.tasks.last_mut() {
                Some((run, 1)) if instr.chunks == 1 && gate != Some(i) => run.end = i + 1,
                _ => step.tasks.push((i..i + 1, instr.chunks)),
            }
        }
        let flops: u64 = step.plan.calls.iter().map(|c| c.spec.flops()).sum();
        step.parallel = flops > SERIAL_FLOPS && step.tasks.iter().any(|t| t.1 > 1);
        self.pool.reserve(step.tasks.len());
        let scratch_len = scratch_bytes.div_ceil(4);
        if self.scratch.first().is_none_or(|s| s.len() < scratch_len) {
            let threads = self.pool.threads();
            self.scratch = (0..threads).map(|_| AlignedBuffer::new(scratch_len)).collect();
        }
        let arena_len = step.plan.arena_bytes.div_ceil(4);
        if self.arena.len() < arena_len {
            self.arena = AlignedBuffer::new(arena_len);
        }
        Ok(step)
    }

    fn state_index(&self, slot: &Slot) -> Result<usize, InputError> {
        let found = self.slots.iter().position(|s| s.name == slot.name && s.shape == slot.shape);
        found.ok_or_else(|| InputError {
            name: slot.name.clone(),
            expected: "a tensor of the runtime's state".into(),
            found: format!("an unknown one of shape {:?}", slot.shape),
        })
    }

    /// Fills in the argument tables; needed whenever the arena has moved.
    fn rebind(&mut self) {
        for s in 0..self.steps.len() {
            let mut resolved = Vec::with_capacity(self.steps[s].args.len());
            let step = &self.steps[s];
            for call in &step.plan.calls {
                for phase in compile(self.isa, &call.spec).phases {
                    for position in phase.positions {
                        resolved.push(match position {
                            // a part of an input is never asked for; `wrapping` keeps null legal
                            Some(p) => {
                                self.pointer(step, call.args[p.argument]).wrapping_add(p.offset)
                            }
                            None => std::ptr::null_mut(),
                        });
                    }
                }
            }
            self.steps[s].args = resolved;
        }
    }

    fn pointer(&self, step: &Step, buffer: usize) -> *mut f32 {
        match step.plan.buffers[buffer].place {
            // SAFETY: the arena is as large as the largest plan, whose offsets these are.
            Place::Arena(offset) => unsafe { self.arena.as_mut_ptr().add(offset / 4) },
            Place::State(i) => {
                let at = self.state_index(&step.plan.state[i]).expect("checked when compiled");
                // SAFETY: offsets and the state's size come from the same table.
                unsafe { self.state.as_mut_ptr().add(self.offsets[at]) }
            }
            // SAFETY: one constant a buffer.
            Place::Constant(_) => unsafe { step.constants.as_mut_ptr().add(buffer) },
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
        let step = &self.steps[id.0];
        let run = Run { step, scratch: &self.scratch, tasks: 0..step.tasks.len() };
        self.pool.run(&run, step.parallel, beside);
        Ok(())
    }

    /// Runs a plan up to its gate, where `logits` and `losses` are known and nothing of the state
    /// has changed, and on from there only if `gate` says so. Says whether it did. A plan without a
    /// gate runs as a whole, and `gate` is not asked.
    pub fn run_gated(
        &mut self,
        id: PlanId,
        inputs: &[Input<'_>],
        gate: &mut dyn FnMut(&Runtime) -> bool,
    ) -> Result<bool, InputError> {
        let all = self.steps[id.0].tasks.len();
        let before = self.steps[id.0].before_gate.min(all);
        self.bind(id, inputs)?;
        let step = &self.steps[id.0];
        let run = Run { step, scratch: &self.scratch, tasks: 0..before };
        self.pool.run(&run, step.parallel, NOTHING);
        if before == all {
            return Ok(true);
        }
        if !gate(self) {
            return Ok(false);
        }
        let step = &self.steps[id.0];
        let run = Run { step, scratch: &self.scratch, tasks: before..all };
        self.pool.run(&run, step.parallel, NOTHING);
        Ok(true)
    }

    /// Whether a plan has a place at which it can be refused.
    pub fn has_gate(&self, id: PlanId) -> bool {
        self.steps[id.0].before_gate < self.steps[id.0].tasks.len()
    }

    fn bind(&mut self, id: PlanId, inputs: &[Input<'_>]) -> Result<(), InputError> {
        let step = &mut self.steps[id.0];
        let fits = |(&(dtype, len), input): (&(DType, usize), &Input<'_>)| match input {
            Input::F32(x) => dtype == DType::F32 && x.len() >= len,
            Input::I32(x) => dtype == DType::I32 && x.len() >= len,
        };
        if step.inputs.len() != inputs.len() || !step.inputs.iter().zip(inputs).all(fits) {
            check_inputs(&step.plan.inputs, inputs)?;
        }
        for &(entry, input) in &step.patches {
            step.args[entry] = match inputs[input] {
                Input::F32(x) => x.as_ptr().cast_mut(),
                Input::I32(x) => x.as_ptr().cast_mut().cast(),
            };
        }
        Ok(())
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
        let pointer = self.pointer(step, buffer);
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

    /// Values of a state tensor, by its place in [`Runtime::slots`].
    pub fn state(&self, index: usize) -> &[f32] {
        let (start, len) = (self.offsets[index], self.slots[index].len());
        &self.state.as_slice()[start..start + len]
    }

    /// Values of a state tensor, by its place in [`Runtime::slots`].
    pub fn state_mut(&mut self, index: usize) -> &mut [f32] {
        let (start, len) = (self.offsets[index], self.slots[index].len());
        &mut self.state.as_mut_slice()[start..start + len]
    }

    /// Bytes of the arena, of the state, and of all threads' scratch.
    pub fn bytes(&self) -> (usize, usize, usize) {
        let scratch: usize = self.scratch.iter().map(|s| s.len() * 4).sum();
        (self.arena.len() * 4, self.state.len() * 4, scratch)
    }

    /// Threads that a step may use.
    pub fn threads(&self) -> usize {
        self.pool.threads()
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
        let run = Run { step, scratch: &self.scratch, tasks: 0..step.tasks.len() };
        let phases = |call: &tidemill_plan::Call| compile(self.isa, &call.spec).phases.len();
        let phases: Vec<usize> = step.plan.calls.iter().map(phases).collect();
        let mut totals = vec![0.0; phases.len()];
        for _ in 0..rounds {
            let mut first = 0;
            for (count, total) in phases.iter().zip(&mut totals) {
                let start = std::time::Instant::now();
                for instr in first..first + count {
                    for chunk in 0..step.instrs[instr].chunks {
                        // SAFETY: in order, each chunk once, on thread 0.
                        unsafe { run.instr(instr, chunk, 0) };
                    }
                }
                first += count;
                *total += start.elapsed().as_secs_f64() * 1e6 / rounds as f64;
            }
        }
        Ok(totals)
    }
}

fn check_inputs(slots: &[Slot], inputs: &[Input<'_>]) -> Result<(), InputError> {
    let error = |name: &str, expected: String, found: String| {
        Err(InputError { name: name.to_owned(), expected, found })
    };
    if slots.len() != inputs.len() {
        return error("list", format!("{} inputs", slots.len()), inputs.len().to_string());
    }
    for (slot, input) in slots.iter().zip(inputs) {
        let (dtype, len) = match input {
            Input::F32(x) => (DType::F32, x.len()),
            Input::I32(x) => (DType::I32, x.len()),
        };
        if dtype != slot.dtype || len < slot.len() {
            let expected = format!("{:?} {:?}", slot.dtype, slot.shape);
            return error(&slot.name, expected, format!("{len} values of {dtype:?}"));
        }
    }
    Ok(())
}

struct Run<'a> {
    step: &'a Step,
    scratch: &'a [AlignedBuffer],
    tasks: Range<usize>,
}

impl Run<'_> {
    unsafe fn instr(&self, index: usize, chunk: usize, thread: usize) {
        let instr = &self.step.instrs[index];
        let args = &self.step.args[instr.args.clone()];
        // SAFETY: the arguments were laid out as the kernel documents when the plan was compiled;
        // the caller says that this chunk is its own; scratch is the largest that any kernel asks.
        unsafe { instr.kernel.run(args, chunk, self.scratch[thread].as_mut_ptr()) };
    }
}

impl Tasks for Run<'_> {
    fn len(&self) -> usize {
        self.tasks.len()
    }
    fn chunks(&self, task: usize) -> usize {
        self.step.tasks[self.tasks.start + task].1
    }
    unsafe fn run(&self, task: usize, chunk: usize, thread: usize) {
        for index in self.step.tasks[self.tasks.start + task].0.clone() {
            // SAFETY: as the caller's; a run of several instructions has one chunk each.
            unsafe { self.instr(index, chunk, thread) };
        }
    }
}
