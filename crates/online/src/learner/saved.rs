//! The state to roll back to.

use std::sync::Arc;

use tidemill_engine::engine::State;
use tidemill_engine::error::Result;
use tidemill_engine::fields::Values;
use tidemill_recipe::stream::features::FreedRow;

use super::Learner;
use crate::continual::{numbers, place_of};
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

    /// These rows of tables belong to other ids from here on: nothing that is kept anywhere may bring back what was
    /// learned of the old ones, or teach the new ones with their events.
    pub(super) fn reset_rows(&mut self, freed: &[FreedRow]) {
        for &FreedRow { embedding, row } in freed {
            self.engine.reset_row(embedding, row);
            self.continual.reset_row(&self.engine, embedding, row);
            if let Some(drift) = &mut self.drift {
                drift.reset_row(embedding, row);
            }
        }
        let Some(good) = self.good.as_mut().filter(|_| !freed.is_empty()) else { return };
        // A copy where a checkpoint that is being written has it, too.
        let good = Arc::make_mut(good).tensors_mut();
        for &FreedRow { embedding, row } in freed {
            self.engine.reset_row_in(good, embedding, row);
            self.continual.reset_row_in(&self.engine, good, embedding, row);
        }
    }

    /// A row was freed by event `i` of the step: earlier ones of the step that had it have none.
    pub(super) fn leave_row(&mut self, i: usize, freed: &FreedRow) {
        let Some(place) = place_of(&self.engine, freed.embedding) else { return };
        let Some((column, width)) = numbers(&self.batch) else { return };
        let Values::F32(values) = &mut self.batch.columns[column].values else { return };
        for row in values.chunks_exact_mut(width).take(i) {
            if row.get(place) == Some(&(freed.row as f32)) {
                row[place] = 0.0;
            }
        }
    }

    /// Whether, after many refusals, it is the model that is wrong, so that the last good state would do better on the
    /// step's events.
    pub(super) fn is_wrong(&mut self) -> Result<bool> {
        let Some(good) = &self.good else { return Ok(false) };
        let now = self.engine.state().into_tensors();
        if !now.iter().all(|tensor| tensor.values.is_finite().unwrap_or(false)) {
            return Ok(true);
        }
        let guard = &self.scorer.guard;
        if guard.refuses_all() || guard.losses_rose() {
            return Ok(true);
        }
        if !guard.refuses_most() {
            return Ok(false);
        }
        let good = split(unmark_good(good).into_tensors());
        let loss = self.loss()?;
        self.engine.set_state(&good.own)?;
        let better = self.loss();
        self.engine.set_state(&now)?;
        let better = better?;
        Ok(better.is_finite() && (better < loss || !loss.is_finite()))
    }

    /// The mean loss of the step's events, without learning.
    fn loss(&mut self) -> Result<f32> {
        let outputs = self.engine.evaluate(&self.batch)?;
        let (mut sum, mut weights) = (0.0, 0.0);
        let rows = outputs.losses.iter().zip(&self.batch.weights);
        for (loss, weight) in rows.filter(|(_, weight)| **weight > 0.0) {
            sum += loss * weight;
            weights += weight;
        }
        Ok(sum / weights)
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
