//! Plans that only read the state, run by several threads at once.
//!
//! The state and the kernels are shared; what a run writes is in a [`Workspace`] of its own. Nobody
//! changes the state meanwhile, since that needs the runtime alone.

use super::{Input, InputError, Runtime, bind_inputs, checked};
use crate::buffer::AlignedBuffer;
use crate::step::{Program, Run, Step};
use crate::threads::{NOTHING, run_alone};
use std::sync::{Arc, PoisonError, TryLockError};
use tidemill_graph::Graph;
use tidemill_plan::backend::check_length;
use tidemill_plan::{Options, Place};

/// A compiled plan that only reads the state.
#[derive(Clone)]
pub struct ReadPlan {
    program: Arc<Program>,
    /// The runtime's slot of each tensor of the plan's state.
    states: Vec<usize>,
}

/// The memory that one run of a [`ReadPlan`] at a time writes to.
#[derive(Default)]
pub struct Workspace {
    step: Option<Step>,
    arena: Option<AlignedBuffer>,
    scratch: Vec<AlignedBuffer>,
}

impl ReadPlan {
    /// Where the plan's output of this name is, for [`Runtime::read`].
    pub fn find_output(&self, name: &str) -> Option<usize> {
        self.program.plan.outputs.iter().position(|o| o.0 == name)
    }

    /// The inputs that [`Runtime::read`] takes.
    pub fn inputs(&self) -> &[tidemill_plan::Slot] {
        &self.program.plan.inputs
    }
}

impl Runtime {
    /// Compiles a graph that changes nothing of the state, whose tensors are among the runtime's.
    ///
    /// # Errors
    /// If a tensor of its state is not the runtime's, or the graph changes some.
    pub fn read_plan(&self, graph: &Graph) -> Result<ReadPlan, InputError> {
        let changes = graph.updates.len() + graph.assignments.len();
        check_length("changes of the state by", "a plan that only reads it", 0, changes)?;
        let (program, states) = self.compile(graph, Options::default())?;
        let filed = states.iter().filter(|&&slot| self.place_in_file(slot).is_some()).count();
        check_length("tensors that are in a file of", "a state that several read", 0, filed)?;
        Ok(ReadPlan { program: Arc::new(program), states })
    }

    /// Runs a plan on inputs in its order and gives one of its outputs. The runtime's threads help
    /// unless another run has them: then the caller does all by itself. The values are the same.
    ///
    /// # Errors
    /// If the inputs are not of the plan's types or too short, or the plan is of a runtime with another
    /// state.
    pub fn read<'w>(
        &self,
        plan: &ReadPlan,
        output: usize,
        inputs: &[Input<'_>],
        workspace: &'w mut Workspace,
    ) -> Result<&'w [f32], InputError> {
        let ReadPlan { program, states } = plan;
        for (&slot, tensor) in states.iter().zip(&program.plan.state) {
            let len = self.slots.get(slot).map_or(0, |s| s.len());
            check_length("state", &tensor.name, tensor.len(), len)?;
        }
        let Workspace { step, arena, scratch } = workspace;
        let arena_len = program.plan.arena_reach.div_ceil(4);
        if arena.as_ref().is_none_or(|a| a.len() < arena_len) {
            *arena = None; // before the larger one
        }
        let arena = arena.get_or_insert_with(|| AlignedBuffer::new(arena_len));
        if step.as_ref().is_none_or(|s| !Arc::ptr_eq(&s.program, program)) {
            *step = None;
        }
        let step = step.get_or_insert_with(|| Step::new(program.clone()));
        step.bind(|buffer| self.place(program, states, arena, buffer));
        bind_inputs(step, inputs)?;
        if program.plan.gap > 0 {
            let state = states.iter().map(|&slot| self.state(slot).to_vec()).collect();
            checked::run(step, arena, state, inputs, 0..program.tasks());
            step.bind(|buffer| self.place(program, states, arena, buffer));
            return Ok(self.result(plan, output, workspace));
        }
        let pool = match self.pool.try_lock() {
            _ if !step.parallel => None,
            Ok(pool) => Some(pool),
            Err(TryLockError::Poisoned(poison)) => Some(PoisonError::into_inner(poison)),
            Err(TryLockError::WouldBlock) => None,
        };
        let threads = pool.as_ref().map_or(1, |pool| pool.threads());
        if scratch.first().is_some_and(|s| s.len() < program.scratch_len) {
            scratch.clear();
        }
        while scratch.len() < threads {
            scratch.push(AlignedBuffer::new(program.scratch_len));
        }
        let run = Run::new(step, scratch, 0..step.tasks());
        match pool {
            Some(mut pool) => pool.run(&run, true, NOTHING),
            None => run_alone(&run),
        }
        Ok(self.result(plan, output, workspace))
    }

    /// An output of the plan that a workspace has just run.
    fn result<'w>(
        &self,
        plan: &ReadPlan,
        output: usize,
        workspace: &'w mut Workspace,
    ) -> &'w [f32] {
        let (plan, ReadPlan { program, states }) = (&plan.program.plan, plan);
        let Some(&(_, buffer)) = plan.outputs.get(output) else { return &[] };
        let (place, len) = (plan.buffers[buffer].place, plan.buffers[buffer].len);
        let Some(arena) = &workspace.arena else { return &[] };
        if matches!(place, Place::Input(_)) {
            return &[];
        }
        let start = self.place(program, states, arena, buffer);
        let values: *const [f32] = std::ptr::slice_from_raw_parts(start, len);
        match place {
            // SAFETY: the values are in the workspace's arena, borrowed as long as the result.
            Place::Arena(_) => unsafe { &*values },
            // Values of the state or of constants outlive no borrow of the workspace: they are copied.
            _ => {
                let mut copy = AlignedBuffer::new(len);
                // SAFETY: `len` values inside the state or the program's constants, which both live
                // through this function.
                copy.as_mut_slice().copy_from_slice(unsafe { &*values });
                workspace.arena.insert(copy).as_slice()
            }
        }
    }
}
