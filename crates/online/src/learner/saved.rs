//! The state to roll back to.

use std::sync::Arc;

use tidemill_engine::engine::State;
use tidemill_engine::error::Result;

use super::Learner;
use crate::state::{mark_good, split, unmark_good};

impl Learner {
    /// All of the state now, under marked names.
    fn marked_state(&self) -> State {
        let mut tensors = self.engine.state().into_tensors();
        tensors.extend(self.continual.tensors());
        mark_good(State::from_tensors(tensors))
    }

    /// The state now is what a rollback restores.
    pub(super) fn keep_as_good(&mut self) {
        // Where no checkpoint that is being written shares the last one, its memory is used again.
        let last = self.good.as_mut().and_then(Arc::get_mut);
        let last = last.filter(|_| self.continual.is_empty());
        if !last.is_some_and(|last| self.engine.copy_values(last)) {
            self.good = Some(Arc::new(self.marked_state()));
        }
        if let Some(drift) = &mut self.drift {
            drift.kept_good(&self.engine);
        }
    }

    /// Goes back to the last state that was good.
    pub(super) fn roll_back(&mut self) -> Result<()> {
        let Some(good) = &self.good else { return Ok(()) };
        let good = split(unmark_good(good).into_tensors());
        self.engine.set_state(&good.own)?;
        self.continual.restore(&good.continual)?;
        if let Some(drift) = &self.drift {
            drift.rolled_back(&mut self.engine);
        }
        Ok(())
    }
}
