//! [`Runtime`] as drivers know it, without its memory.

use crate::runtime::Runtime;
use tidemill_graph::Graph;
use tidemill_plan::backend::check_length;
use tidemill_plan::{Backend, Beside, Input, InputError, Options, Plan, PlanId, Slot};

impl Backend for Runtime {
    fn add(&mut self, graph: &Graph, options: Options) -> Result<PlanId, InputError> {
        Runtime::add(self, graph, options)
    }

    fn plan(&self, id: PlanId) -> &Plan {
        Runtime::plan(self, id)
    }

    fn run(
        &mut self,
        id: PlanId,
        inputs: &[Input<'_>],
        beside: Beside<'_>,
    ) -> Result<(), InputError> {
        self.run_beside(id, inputs, beside)
    }

    fn run_gated(
        &mut self,
        id: PlanId,
        inputs: &[Input<'_>],
        gate: &mut dyn FnMut(&dyn Backend) -> bool,
    ) -> Result<bool, InputError> {
        Runtime::run_gated(self, id, inputs, &mut |runtime| gate(runtime))
    }

    fn output(&self, id: PlanId, index: usize, into: &mut [f32]) -> Result<(), InputError> {
        let name = &Runtime::plan(self, id).outputs[index].0;
        // an output that is an input has no memory here, and no values to copy
        let values = self.output_at(id, index).unwrap_or(&[]);
        check_length("output", name, values.len(), into.len())?;
        into.copy_from_slice(values);
        Ok(())
    }

    fn slots(&self) -> &[Slot] {
        Runtime::slots(self)
    }

    fn upload(&mut self, slot: usize, values: &[f32]) -> Result<(), InputError> {
        check_length(
            "state",
            &Runtime::slots(self)[slot].name,
            self.state(slot).len(),
            values.len(),
        )?;
        self.state_mut(slot).copy_from_slice(values);
        Ok(())
    }

    fn download(&self, slot: usize, into: &mut [f32]) -> Result<(), InputError> {
        let values = self.state(slot);
        check_length("state", &Runtime::slots(self)[slot].name, values.len(), into.len())?;
        into.copy_from_slice(values);
        Ok(())
    }
}
