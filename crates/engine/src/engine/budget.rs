//! What an engine takes of the memory that it was given.

use super::Engine;
use super::shards::{copied_bytes, sums_bytes, weight_bytes};
use crate::error::Error;
use crate::memory::{Budget, Needs, RESERVE, Shares};

impl Engine {
    /// What the memory of a run is made of.
    pub fn memory_shares(&self) -> Shares {
        let needs = self.needs();
        self.budget.shares(needs, needs)
    }

    /// The bytes that it has taken.
    pub(crate) fn needs(&self) -> Needs {
        let (arena, state, scratch) = self.runtime.taken();
        let slots = self.runtime.slots();
        let (sums, weights) = (sums_bytes(slots, self.shards()), weight_bytes(slots));
        let copied = copied_bytes(slots, self.runtime.in_file());
        let (arena, state, scratch) = (arena as u64, state as u64, scratch as u64);
        let (moved, elsewhere) = (self.moved(), self.elsewhere());
        Needs { arena, state, copied, scratch, sums, weights, moved, elsewhere }
    }

    /// A run begins: its budget counts so many bytes for what is beside the engine in place of what it had, if there is room
    /// for them. Gives whether there is.
    ///
    /// # Errors
    /// If its plans have left too much in memory.
    pub fn begin(&mut self, beside: u64) -> Result<bool, Error> {
        let needs = self.needs();
        let wanted = beside + RESERVE;
        let wanted = Budget { beside: wanted, program: None, ..self.budget.clone() };
        let fits = wanted.check(needs, needs, "").is_ok();
        if fits {
            self.budget.beside = beside;
        }
        self.budget.begin(needs)?;
        Ok(fits)
    }

    /// Bytes of the arena that all plans share.
    pub fn arena_bytes(&self) -> usize {
        self.runtime.bytes().0
    }

    /// Bytes of the state and of the threads' scratch memory.
    pub fn state_and_scratch_bytes(&self) -> usize {
        let (_, state, scratch) = self.runtime.bytes();
        state + scratch
    }
}
