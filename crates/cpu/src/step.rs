//! A plan made executable: its kernels in order and the table of their arguments.

use crate::buffer::AlignedBuffer;
use crate::compile::Compiled;
use crate::kernel::Kernel;
use crate::threads::Tasks;
use std::ops::{Deref, Range};
use std::sync::Arc;
use tidemill_graph::DType;
use tidemill_plan::windows::{Transfer, transfers};
use tidemill_plan::{Place, Plan};

/// Work below this is done by the calling thread alone: waking others costs more.
const SERIAL_FLOPS: u64 = 400_000;

/// One kernel with its place in the argument table.
pub(crate) struct Instr {
    pub kernel: Box<dyn Kernel>,
    args: Range<usize>,
    pub chunks: usize,
}

/// A plan made executable, for any memory.
pub(crate) struct Program {
    pub plan: Plan,
    instrs: Vec<Instr>,
    /// Number of instructions of each call.
    phases: Vec<usize>,
    /// Runs of instructions that are scheduled together: one with many chunks, or several with one
    /// chunk each, which then need no barrier between them.
    tasks: Vec<(Range<usize>, usize)>,
    /// What each entry of a step's arguments points to: a buffer of the plan and the first element;
    /// nothing for arguments that a kernel does not use.
    places: Vec<Option<(usize, usize)>>,
    /// Entries of the arguments that are inputs: (entry, input).
    patches: Vec<(usize, usize)>,
    /// Type and number of values of each input.
    pub inputs: Vec<(DType, usize)>,
    constants: AlignedBuffer,
    /// Whether threads share the work.
    pub parallel: bool,
    /// Tasks before the plan's gate; all of them where it has none.
    before_gate: usize,
    /// What happens to the plan's windows, each with the task before which it does.
    pub transfers: Vec<(usize, Transfer)>,
    /// f32 of scratch that each thread must bring.
    pub scratch_len: usize,
}

/// A program with the memory that it works in.
pub(crate) struct Step {
    pub program: Arc<Program>,
    /// Pointers of all instructions.
    args: Vec<*mut f32>,
}

impl Deref for Step {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

// SAFETY: the pointers lead into the runtime's own buffers, into a workspace's or into inputs borrowed
// for a run.
unsafe impl Send for Step {}
// SAFETY: running needs `&mut Runtime`, or a workspace of its own for what is written and `&Runtime` for
// the state, which is then only read; within a run chunks are disjoint by the kernels' contract.
unsafe impl Sync for Step {}

impl Program {
    /// The program of a plan whose calls were compiled, in their order, to `compiled`.
    pub fn new(plan: Plan, compiled: Vec<Compiled>) -> Program {
        assert_eq!(plan.calls.len(), compiled.len(), "each call is compiled once");
        let constant = |place: &Place| if let Place::Constant(c) = place { *c } else { 0.0 };
        let constants: Vec<f32> = plan.buffers.iter().map(|b| constant(&b.place)).collect();
        let mut constant_buffer = AlignedBuffer::new(constants.len());
        constant_buffer.as_mut_slice().copy_from_slice(&constants);
        let mut program = Program {
            instrs: Vec::new(),
            phases: Vec::new(),
            tasks: Vec::new(),
            places: Vec::new(),
            patches: Vec::new(),
            inputs: plan.inputs.iter().map(|slot| (slot.dtype, slot.len())).collect(),
            constants: constant_buffer,
            parallel: false,
            before_gate: usize::MAX,
            transfers: Vec::new(),
            scratch_len: 0,
            plan,
        };
        let gate = program.add_instructions(compiled);
        program.add_tasks(gate);
        program.parallel =
            program.plan.flops() > SERIAL_FLOPS && program.tasks.iter().any(|t| t.1 > 1);
        program
    }

    /// Gives the first instruction behind the gate.
    fn add_instructions(&mut self, compiled: Vec<Compiled>) -> Option<usize> {
        let mut gate = None;
        for (number, (call, compiled)) in self.plan.calls.iter().zip(compiled).enumerate() {
            if self.plan.gate == Some(number) {
                gate = Some(self.instrs.len());
            }
            self.phases.push(compiled.phases.len());
            for phase in compiled.phases {
                let start = self.places.len();
                for position in phase.positions {
                    let place = position.map(|p| (call.args[p.argument], p.offset));
                    if let Some((buffer, _)) = place
                        && let Place::Input(input) = self.plan.buffers[buffer].place
                    {
                        self.patches.push((self.places.len(), input));
                    }
                    self.places.push(place);
                }
                let (kernel, args) = (phase.kernel, start..self.places.len());
                self.scratch_len = self.scratch_len.max(kernel.scratch_bytes().div_ceil(4));
                let chunks = kernel.chunks();
                self.instrs.push(Instr { kernel, args, chunks });
            }
        }
        gate
    }

    fn add_tasks(&mut self, gate: Option<usize>) {
        let mut first = 0;
        let starts = self.phases.iter().map(|&count| {
            first += count;
            first - count
        });
        let starts: Vec<usize> = starts.collect();
        let start = |call: usize| starts.get(call).copied().unwrap_or(self.instrs.len());
        let all: Vec<(usize, Transfer)> =
            transfers(&self.plan.windows).into_iter().map(|(call, t)| (start(call), t)).collect();
        let mut waiting = all.into_iter().peekable();
        for (i, instr) in self.instrs.iter().enumerate() {
            if gate == Some(i) {
                self.before_gate = self.tasks.len();
            }
            let moves = waiting.peek().is_some_and(|&(at, _)| at <= i);
            while let Some((_, transfer)) = waiting.next_if(|&(at, _)| at <= i) {
                self.transfers.push((self.tasks.len(), transfer));
            }
            match self.tasks.last_mut() {
                Some((run, 1)) if instr.chunks == 1 && gate != Some(i) && !moves => run.end = i + 1,
                _ => self.tasks.push((i..i + 1, instr.chunks)),
            }
        }
        self.transfers.extend(waiting.map(|(_, transfer)| (self.tasks.len(), transfer)));
    }

    /// The instructions of some tasks, in order: each with its number and that of its call.
    pub fn instructions(&self, tasks: Range<usize>) -> Vec<(usize, usize)> {
        let calls = self.phases.iter().enumerate();
        let call_of: Vec<usize> =
            calls.flat_map(|(call, &count)| std::iter::repeat_n(call, count)).collect();
        let range = |task: &(Range<usize>, usize)| task.0.clone();
        self.tasks[tasks].iter().flat_map(range).map(|i| (i, call_of[i])).collect()
    }

    /// An instruction.
    pub fn instr(&self, index: usize) -> &Instr {
        &self.instrs[index]
    }

    /// The constant of a buffer.
    pub fn constant(&self, buffer: usize) -> *mut f32 {
        // SAFETY: one constant a buffer.
        unsafe { self.constants.as_mut_ptr().add(buffer) }
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Number of tasks before the gate; all where there is none.
    pub fn tasks_before_gate(&self) -> usize {
        self.before_gate.min(self.tasks.len())
    }
}

impl Step {
    /// A step whose arguments point nowhere until [`Step::bind`].
    pub fn new(program: Arc<Program>) -> Step {
        let args = vec![std::ptr::null_mut(); program.places.len()];
        Step { program, args }
    }

    /// Fills in the argument table, given the start of each buffer.
    pub fn bind(&mut self, buffer: impl Fn(usize) -> *mut f32) {
        for (arg, place) in self.args.iter_mut().zip(&self.program.places) {
            *arg = match *place {
                // a part of an input is never asked for; `wrapping` keeps null legal
                Some((number, offset)) => buffer(number).wrapping_add(offset),
                None => std::ptr::null_mut(),
            };
        }
    }

    /// Points the arguments that are inputs to `pointers`.
    pub fn bind_inputs(&mut self, pointer: impl Fn(usize) -> *mut f32) {
        for &(entry, input) in &self.program.patches {
            self.args[entry] = pointer(input);
        }
    }

    /// The arguments of an instruction.
    pub fn args(&self, instr: usize) -> &[*mut f32] {
        &self.args[self.instrs[instr].args.clone()]
    }

    /// Runs every instruction on the calling thread and adds each call's microseconds to `totals`.
    pub fn time(&self, scratch: &[AlignedBuffer], totals: &mut [f64]) {
        let run = Run::new(self, scratch, 0..self.tasks.len());
        let mut first = 0;
        for (&count, total) in self.phases.iter().zip(totals) {
            let start = std::time::Instant::now();
            for instr in first..first + count {
                for chunk in 0..self.instrs[instr].chunks {
                    // SAFETY: in order, each chunk once, on thread 0.
                    unsafe { run.instr(instr, chunk, 0) };
                }
            }
            first += count;
            *total += start.elapsed().as_secs_f64() * 1e6;
        }
    }
}

/// Some tasks of a step, for the thread pool.
pub(crate) struct Run<'a> {
    step: &'a Step,
    /// The step's, at hand.
    program: &'a Program,
    scratch: &'a [AlignedBuffer],
    tasks: Range<usize>,
}

impl<'a> Run<'a> {
    pub fn new(step: &'a Step, scratch: &'a [AlignedBuffer], tasks: Range<usize>) -> Run<'a> {
        Run { step, program: &step.program, scratch, tasks }
    }
}

impl Run<'_> {
    unsafe fn instr(&self, index: usize, chunk: usize, thread: usize) {
        let instr = &self.program.instrs[index];
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
        self.program.tasks[self.tasks.start + task].1
    }
    unsafe fn run(&self, task: usize, chunk: usize, thread: usize) {
        for index in self.program.tasks[self.tasks.start + task].0.clone() {
            // SAFETY: as the caller's; a run of several instructions has one chunk each.
            unsafe { self.instr(index, chunk, thread) };
        }
    }
}
