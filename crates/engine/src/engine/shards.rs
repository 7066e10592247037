//! A training step whose batch is cut into shards (`EngineSpec::shards`).
//!
//! Each shard's gradients, times the number of losses in the shard's mean, are added to sums in the
//! state; the sums go up a tree ([`Tree`]), and the update is made from the whole sum divided by the number of all
//! losses. So a step is the same whoever computes which shards, in whatever order of time. Sums are no
//! part of the state that is copied out, checkpointed or hashed.

use tidemill_cpu::runtime::PlanId;
use tidemill_cpu::threads::{Beside, NOTHING};
use tidemill_fields::{Batch, Truth};
use tidemill_graph::hyper;
use tidemill_nn::{NUM_TOTALS, SUM, TOTALS, Task};
use tidemill_plan::Slot;
use tidemill_plan::windows::Filed;

use super::{Engine, EngineError, Purpose, error};
use crate::tree::{Tree, both};

/// What a sharded step needs beside the plans of shards.
#[derive(Clone)]
pub(super) struct Sharded {
    /// The update from the sums.
    pub(super) update: PlanId,
    statistics: Vec<Statistic>,
    /// The shards' sums, as far as they are added.
    tree: Tree,
    /// The first shard that is in the sums of the state and not in the tree.
    pending: Option<usize>,
}

/// A running statistic.
#[derive(Clone)]
struct Statistic {
    /// The slot of its sum.
    sum: usize,
    /// Its own.
    slot: usize,
    /// Its values before the step.
    before: Vec<f32>,
}

/// What a step with shards learned from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Totals {
    /// The mean loss of the whole batch before the update.
    pub loss: f32,
    /// The samples that were not skipped.
    pub samples: u64,
}

impl Sharded {
    /// Of a runtime whose first `kept` slots are the model's state.
    pub(super) fn new(slots: &[Slot], kept: usize, update: PlanId) -> Sharded {
        let of = |name: &str| slots[..kept].iter().position(|slot| slot.name == name);
        let statistics = slots.iter().enumerate().skip(kept).filter_map(|(sum, slot)| {
            let own = of(slot.name.strip_prefix(SUM)?)?;
            let statistic = Statistic { sum, slot: own, before: Vec::new() };
            (!slots[own].parameter).then_some(statistic)
        });
        let statistics = statistics.collect();
        Sharded { update, statistics, tree: Tree::default(), pending: None }
    }
}

impl Engine {
    /// The pieces that each batch is cut into, with a plan for training on one; 1 where a batch is
    /// trained on as a whole.
    pub fn shards(&self) -> usize {
        self.spec.shards
    }

    /// Computes a shard's gradients and keeps them for [`Engine::update`]. Shards come in their order, those
    /// of other workers left out; `last` says that this is the last one that is computed here. Gives the
    /// shard's mean loss; its outputs are [`Engine::outputs`].
    ///
    /// # Errors
    /// For a batch that does not fit, and where the engine was compiled for whole batches.
    pub fn train_shard(
        &mut self,
        shard: usize,
        last: bool,
        batch: &Batch,
        beside: Beside<'_>,
    ) -> Result<f32, EngineError> {
        let mut loss = 0.0;
        if self.sharded()?.pending.is_none() {
            self.runtime.state_from_mut(self.kept).fill(0.0);
        }
        if batch.len > 0 {
            let counted = self.losses_in(batch);
            let mut hyper = [0.0; hyper::LEN];
            hyper[hyper::LEARNING_RATE] = -1.0;
            hyper[hyper::GRADIENT_SCALE] = counted as f32;
            hyper[hyper::STEP] = 1.0;
            self.keep_statistics()?;
            self.shard = shard as u32;
            let index = self.run(Purpose::Shard, batch, hyper, beside);
            self.shard = 0;
            let plan = self.compiled[index?].plan;
            loss = self
                .runtime
                .output(plan, "loss")
                .and_then(|l| l.first())
                .copied()
                .unwrap_or(f32::NAN);
            self.add_statistics(counted as f32)?;
            let totals = self.runtime.slots().len() - 1;
            let totals = self.runtime.state_mut(totals);
            totals[0] += counted as f32 * loss;
            totals[1] += counted as f32;
            totals[2] += (batch.len - batch.num_skipped) as f32;
        } else {
            while beside() {}
        }
        let threads = self.threads();
        let sharded = self.sharded.as_mut().ok_or_else(whole)?;
        let (from, even) = (sharded.pending.unwrap_or(shard), shard.is_multiple_of(2));
        // A left half waits for its right one, which is added where it is computed.
        if even && !last {
            sharded.pending = Some(shard);
            return Ok(loss);
        }
        sharded.pending = None;
        let (level, index) = if from < shard { (1, shard / 2) } else { (0, shard) };
        sharded.tree.push(level, index, self.runtime.state_from(self.kept), threads);
        Ok(loss)
    }

    /// The sums of this worker's shards, for others, and those of others for this one.
    pub fn sums(&mut self) -> Result<&mut Tree, EngineError> {
        Ok(&mut self.sharded.as_mut().ok_or_else(whole)?.tree)
    }

    /// Values of each node of [`Engine::sums`].
    pub fn num_sums(&self) -> usize {
        self.runtime.state_from(self.kept).len()
    }

    /// Updates the parameters once the sums of all shards are there, and forgets the sums.
    ///
    /// # Errors
    /// Where the engine was compiled for whole batches.
    pub fn update(&mut self, learning_rate: f32) -> Result<Totals, EngineError> {
        self.drop_slots();
        let threads = self.threads();
        let hyper = self.hyper(learning_rate);
        let (kept, slots) = (self.kept, self.runtime.slots().len());
        let sharded = self.sharded.as_mut().ok_or_else(whole)?;
        let sums = sharded.tree.finish(threads);
        if sums.is_empty() {
            return Err(EngineError("no shard of this step was computed".into()));
        }
        let at = sums.len() - self.runtime.padded(slots - 1);
        let totals: [f32; NUM_TOTALS] = [sums[at], sums[at + 1], sums[at + 2]];
        let [loss, counted, samples] = totals;
        // Without any loss the gradients are 0, as in a step on a whole batch of such samples.
        let factor = if counted > 0.0 { 1.0 / counted } else { 0.0 };
        both(self.runtime.state_from_mut(kept), sums, threads, |to, from| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from * factor);
        });
        sharded.tree.clear();
        if counted > 0.0 {
            for &Statistic { sum, slot, .. } in &sharded.statistics {
                self.runtime.copy_state(sum, slot);
            }
        }
        let update = sharded.update;
        let inputs = [tidemill_plan::Input::F32(&hyper)];
        self.runtime.run_beside(update, &inputs, NOTHING).map_err(error)?;
        self.step += 1;
        Ok(Totals { loss: loss * factor, samples: samples as u64 })
    }

    /// Keeps the running statistics as they were before the step.
    fn keep_statistics(&mut self) -> Result<(), EngineError> {
        let sharded = self.sharded.as_mut().ok_or_else(whole)?;
        for Statistic { slot, before, .. } in &mut sharded.statistics {
            before.clear();
            before.extend_from_slice(self.runtime.state(*slot));
        }
        Ok(())
    }

    /// Adds the statistics after a shard to their sums, and takes back those from before it, from which each
    /// shard starts.
    fn add_statistics(&mut self, factor: f32) -> Result<(), EngineError> {
        let sharded = self.sharded.as_mut().ok_or_else(whole)?;
        for Statistic { sum, slot, before } in &mut sharded.statistics {
            for (i, before) in before.iter().enumerate() {
                let after = std::mem::replace(&mut self.runtime.state_mut(*slot)[i], *before);
                self.runtime.state_mut(*sum)[i] += factor * after;
            }
        }
        Ok(())
    }

    /// Forgets the shards of a step that is not finished.
    pub fn forget_shards(&mut self) {
        if let Some(sharded) = &mut self.sharded {
            sharded.tree.clear();
            sharded.pending = None;
        }
    }

    /// How many losses a batch's mean loss is the mean of.
    fn losses_in(&self, batch: &Batch) -> u64 {
        let counts = |i: &usize| batch.weights.get(*i).is_none_or(|w| *w != 0.0);
        let samples = (0..batch.len).filter(counts);
        if Task::of(&self.spec.loss) != Task::Tokens {
            return samples.count() as u64;
        }
        let tokens = |i: usize| match (batch.position_weights(i), batch.truth(i)) {
            (Some(weights), Truth::Classes(tokens)) => {
                weights[..tokens.len()].iter().filter(|w| **w != 0.0).count() as u64
            }
            (None, Truth::Classes(tokens)) => tokens.len() as u64,
            _ => 0,
        };
        samples.map(tokens).sum()
    }

    fn sharded(&self) -> Result<&Sharded, EngineError> {
        self.sharded.as_ref().ok_or_else(whole)
    }
}

/// Bytes of the sums that wait for others, of a state with these tensors.
pub(super) fn sums_bytes(slots: &[Slot], shards: usize) -> u64 {
    let values: usize = slots[first_sum(slots)..].iter().map(Slot::len).sum();
    (values * 4 * (shards.max(1).ilog2() as usize + 1)) as u64
}

/// Bytes of a copy of a state with these tensors, some of which are in a file: without sums, and what is in memory alone.
pub(super) fn copied_bytes(slots: &[Slot], filed: Filed<'_>) -> u64 {
    let copied = slots[..first_sum(slots)].iter().filter(|slot| !filed.has(slot));
    copied.map(|slot| slot.len() as u64 * 4).sum()
}

/// Bytes of the weights among the tensors of a state.
pub(super) fn weight_bytes(slots: &[Slot]) -> u64 {
    slots.iter().filter(|slot| slot.parameter).map(|slot| slot.len() as u64 * 4).sum()
}

fn whole() -> EngineError {
    EngineError("the engine was compiled for whole batches, not for shards of them".into())
}

/// Where the sums begin among the tensors of a state, and whether there are any.
pub(super) fn first_sum(slots: &[Slot]) -> usize {
    match slots.last() {
        Some(last) if last.name == TOTALS => {
            slots.iter().position(|slot| slot.name.starts_with(SUM)).unwrap_or(slots.len())
        }
        _ => slots.len(),
    }
}
