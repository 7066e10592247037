//! Predicting by several threads at once, from a shared reference.
//!
//! All share the weights and the compiled plans. Each call that runs at the same time as others has
//! memory of its own for what lies between the layers; it is kept for the calls to come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_cpu::runtime::{ReadPlan, Workspace};
use tidemill_fields::Batch;
use tidemill_graph::hyper;
use tidemill_nn::Extent;

use super::{Engine, EngineError, Purpose, error};
use crate::bind::{Binding, Converted, Given, Source};

/// What predicts from a shared reference.
#[derive(Default)]
pub(super) struct Readers {
    plans: Mutex<Vec<(Extent, Arc<Plan>)>>,
    /// The memory of calls that are over.
    idle: Mutex<Vec<Memory>>,
}

impl Clone for Readers {
    /// Plans are compiled for the clone when it first needs them.
    fn clone(&self) -> Readers {
        Readers::default()
    }
}

struct Plan {
    plan: ReadPlan,
    sources: Vec<Source>,
    output: usize,
}

/// What one call writes to.
#[derive(Default)]
struct Memory {
    binding: Option<Binding>,
    converted: Converted,
    workspace: Workspace,
}

impl Engine {
    /// As [`Engine::predict`], by any number of threads at once: adds the probabilities (or values) of
    /// each sample to `to`. The first call for a batch size compiles a plan for it. The engine's threads
    /// help one call at a time; the others run on their caller's thread alone. Results are the same.
    ///
    /// # Errors
    /// For a batch that does not fit the model.
    pub fn predict_shared(&self, batch: &Batch, to: &mut Vec<f32>) -> Result<(), EngineError> {
        let mut memory = lock(&self.readers.idle).pop().unwrap_or_default();
        let done = self.predict_in(&mut memory, batch, to);
        lock(&self.readers.idle).push(memory);
        done
    }

    fn predict_in(
        &self,
        memory: &mut Memory,
        batch: &Batch,
        to: &mut Vec<f32>,
    ) -> Result<(), EngineError> {
        let Memory { binding, converted, workspace } = memory;
        let binding = Binding::keep(binding, &self.reads, batch);
        let plan = self.shared_plan(binding.extent(&self.reads, batch))?;
        let Plan { plan, sources, output } = &*plan;
        for source in sources {
            converted.prepare(*source, &self.reads, binding, batch)?;
        }
        let (key, hyper) = (&[0; 4], &[0.0; hyper::LEN]);
        let given = Given { reads: &self.reads, binding, batch, key, hyper };
        let inputs = converted.inputs(sources, &given);
        to.extend_from_slice(self.runtime.read(plan, *output, &inputs, workspace).map_err(error)?);
        Ok(())
    }

    fn shared_plan(&self, extent: Extent) -> Result<Arc<Plan>, EngineError> {
        // Held while a plan is compiled: others wait rather than compile the same.
        let mut plans = lock(&self.readers.plans);
        if let Some((_, found)) = plans.iter().find(|(own, _)| *own == extent) {
            return Ok(found.clone());
        }
        let graph = self.spec.graph(Purpose::Predict, &extent, self.shift)?;
        let plan = self.runtime.read_plan(&graph).map_err(error)?;
        let sources = self.reads.sources(plan.inputs())?;
        let Some(output) = plan.find_output("probabilities") else {
            return Err(EngineError("a plan has no probabilities; please report it".into()));
        };
        let new = Arc::new(Plan { plan, sources, output });
        plans.push((extent, new.clone()));
        Ok(new)
    }
}

/// What the mutexes hold is whole at any time, so that a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
