//! A backend that computes nothing: it checks what it is given as any other does, counts the calls, and
//! gives zeros. Shows that drivers know no machine, and measures what they cost themselves.

use crate::backend::{
    Backend, Beside, Input, InputError, PlanId, check_inputs, check_length, find_state,
};
use crate::kernel::KernelSpec;
use crate::plan::{Method, Options, Plan, Slot, Target, state_slots};
use tidemill_graph::Graph;

/// A machine whose kernels take no workspace.
pub struct NullTarget;

impl Target for NullTarget {
    fn method(&mut self, _spec: &KernelSpec) -> Method {
        Method::default()
    }

    fn restart(&mut self) {}
}

/// The backend without a machine.
pub struct Null {
    slots: Vec<Slot>,
    state: Vec<Vec<f32>>,
    plans: Vec<Plan>,
    calls: u64,
}

impl Null {
    /// A backend whose state has the tensors of `graph`, all zero.
    pub fn new(graph: &Graph) -> Null {
        let slots = state_slots(graph);
        let state = slots.iter().map(|slot| vec![0.0; slot.len()]).collect();
        Null { slots, state, plans: Vec::new(), calls: 0 }
    }

    /// Kernel calls of all runs so far.
    pub fn calls(&self) -> u64 {
        self.calls
    }
}

impl Backend for Null {
    fn add(&mut self, graph: &Graph, options: Options) -> Result<PlanId, InputError> {
        let plan = Plan::new(graph, &mut NullTarget, options);
        for slot in &plan.state {
            find_state(&self.slots, slot)?;
        }
        self.plans.push(plan);
        Ok(PlanId(self.plans.len() - 1))
    }

    fn plan(&self, id: PlanId) -> &Plan {
        &self.plans[id.0]
    }

    fn run(
        &mut self,
        id: PlanId,
        inputs: &[Input<'_>],
        beside: Beside<'_>,
    ) -> Result<(), InputError> {
        check_inputs(&self.plans[id.0].inputs, inputs)?;
        self.calls += self.plans[id.0].calls.len() as u64;
        while beside() {}
        Ok(())
    }

    fn run_gated(
        &mut self,
        id: PlanId,
        inputs: &[Input<'_>],
        gate: &mut dyn FnMut(&dyn Backend) -> bool,
    ) -> Result<bool, InputError> {
        let plan = &self.plans[id.0];
        check_inputs(&plan.inputs, inputs)?;
        let all = plan.calls.len();
        let before = plan.gate.unwrap_or(all);
        self.calls += before as u64;
        if before < all && !gate(self) {
            return Ok(false);
        }
        self.calls += (all - before) as u64;
        Ok(true)
    }

    fn output(&self, id: PlanId, index: usize, into: &mut [f32]) -> Result<(), InputError> {
        let plan = &self.plans[id.0];
        let (name, buffer) = &plan.outputs[index];
        check_length("output", name, plan.buffers[*buffer].len, into.len())?;
        into.fill(0.0);
        Ok(())
    }

    fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn upload(&mut self, slot: usize, values: &[f32]) -> Result<(), InputError> {
        let own = &mut self.state[slot];
        check_length("state", &self.slots[slot].name, own.len(), values.len())?;
        own.copy_from_slice(values);
        Ok(())
    }

    fn download(&self, slot: usize, into: &mut [f32]) -> Result<(), InputError> {
        check_length("state", &self.slots[slot].name, self.state[slot].len(), into.len())?;
        into.copy_from_slice(&self.state[slot]);
        Ok(())
    }
}
