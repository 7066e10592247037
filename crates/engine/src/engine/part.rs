//! The optimizer's slots that are kept here, where each of several workers keeps those of some parameters.
//!
//! A worker sums the gradients of its parameters alone, updates these, and gets the new values of the others. What the whole
//! state is, and its order, stays that of one worker alone: so checkpoints and hashes are the same, and a run continues
//! with any number of workers.

use std::borrow::Cow;
use std::ops::Range;

use tidemill_cpu::runtime::Runtime;
use tidemill_graph::{Clip, Graph};
use tidemill_nn::{Part, SUM};
use tidemill_plan::{Slot, state_slots};

use super::shards::first_sum;
use super::{Engine, EngineError};

/// What a worker keeps, and what the others do.
#[derive(Clone)]
pub(super) struct Parted {
    part: Part,
    /// All tensors of the state.
    pub(super) whole: Vec<Slot>,
    /// Where each is in the runtime; slots of others are not there.
    pub(super) here: Vec<Option<usize>>,
    /// The worker that updates each parameter and keeps each slot.
    owners: Vec<Option<usize>>,
    /// Where among the sums ([`Engine::sums`]) those are that each worker needs: of the gradients that it updates with, of
    /// running statistics, and the totals.
    sums: Vec<Vec<Range<usize>>>,
    /// Slots of others that were read from a checkpoint or gathered; until the next update.
    pub(super) others: Vec<Option<Vec<f32>>>,
}

impl Parted {
    /// `graph` is the step of one worker alone; `runtime` has what of its state is here, and then the sums.
    pub(super) fn new(part: Part, graph: &Graph, runtime: &Runtime) -> Parted {
        let (whole, slots) = (state_slots(graph), runtime.slots());
        let find = |slots: &[Slot], name: &str| slots.iter().position(|slot| slot.name == name);
        let here = whole.iter().map(|slot| find(slots, &slot.name)).collect();
        let lens: Vec<usize> =
            graph.updates.iter().map(|u| graph.tensor(u.parameter).len()).collect();
        let mut owners = vec![None; whole.len()];
        for (update, owner) in graph.updates.iter().zip(Part::owners(part.of, &lens)) {
            for &id in update.slots.iter().chain([&update.parameter]) {
                if let Some(place) = find(&whole, &graph.tensor(id).name) {
                    owners[place] = Some(owner);
                }
            }
        }
        let updater = |sum: &Slot| {
            let place = find(&whole, sum.name.strip_prefix(SUM)?)?;
            owners[place]
        };
        let mut sums = vec![Vec::<Range<usize>>::new(); part.of];
        let mut at = 0;
        for (index, slot) in slots.iter().enumerate().skip(first_sum(slots)) {
            let end = at + runtime.padded(index);
            let updater = updater(slot);
            for (number, ranges) in sums.iter_mut().enumerate() {
                if updater.is_some_and(|updater| updater != number) {
                    continue;
                }
                match ranges.last_mut() {
                    Some(last) if last.end == at => last.end = end,
                    _ => ranges.push(at..end),
                }
            }
            at = end;
        }
        let others = vec![None; whole.len()];
        Parted { part, whole, here, owners, sums, others }
    }

    /// The slots that a worker keeps.
    fn slots_of(&self, number: usize) -> impl Iterator<Item = usize> {
        let is_kept = move |&i: &usize| !self.whole[i].parameter && self.owners[i] == Some(number);
        (0..self.whole.len()).filter(is_kept)
    }

    /// The places in the runtime of the parameters that a worker updates.
    fn parameters_of(&self, number: usize) -> Vec<usize> {
        let all = (0..self.whole.len()).filter(|&i| self.whole[i].parameter);
        all.filter(|&i| self.owners[i] == Some(number)).filter_map(|i| self.here[i]).collect()
    }
}

/// Bytes of the tensors of a state that `here` lacks.
pub(super) fn elsewhere_bytes(whole: &[Slot], here: &[Slot]) -> u64 {
    let lacks = |slot: &&Slot| here.iter().all(|other| other.name != slot.name);
    whole.iter().filter(lacks).map(|slot| slot.len() as u64 * 4).sum()
}

impl Engine {
    /// Of several workers that each keep a part of the optimizer's slots, the one that this is.
    pub fn part(&self) -> Option<Part> {
        self.parted.as_ref().map(|parted| parted.part)
    }

    /// A copy with the part of another worker.
    ///
    /// # Errors
    /// If it cannot be compiled, or does not fit into memory.
    pub fn with_part(&self, part: Part) -> crate::error::Result<Engine> {
        let spec = super::EngineSpec { part: Some(part), ..self.spec.clone() };
        let mut other = Engine::compile_within(spec, self.shift, self.budget.clone())?;
        other.set_flat_state(&self.flat_state_for(part.number)?)?;
        other.step = self.step;
        other.slots_from = self.slots_from;
        Ok(other)
    }

    /// All tensors of the model's state, also those that other workers keep.
    pub(super) fn whole(&self) -> &[Slot] {
        self.parted.as_ref().map_or(self.slots(), |parted| &parted.whole)
    }

    /// Where a tensor of [`Engine::whole`] is in the runtime; none of one that other workers keep.
    pub(super) fn place(&self, index: usize) -> Option<usize> {
        self.parted.as_ref().map_or(Some(index), |parted| parted.here[index])
    }

    /// The values of a tensor of [`Engine::whole`] that other workers keep; none of one that is here.
    pub(super) fn kept_elsewhere(&self, index: usize) -> Option<Cow<'_, [f32]>> {
        let parted = self.parted.as_ref()?;
        if parted.here[index].is_some() {
            return None;
        }
        let slot = &parted.whole[index];
        Some(match &parted.others[index] {
            Some(values) => values.into(),
            None => {
                let start =
                    self.rule_of_slot(&slot.name).map_or(0.0, |(rule, p)| rule.slot_start_of(p));
                vec![start; slot.len()].into()
            }
        })
    }

    /// Bytes of the slots that are kept here, and that other workers keep.
    pub fn slot_bytes(&self) -> [u64; 2] {
        let is_slot = |slot: &&Slot| self.rule_of_slot(&slot.name).is_some();
        let own = self.slots().iter().filter(is_slot).map(|slot| slot.len() as u64 * 4).sum();
        [own, self.elsewhere()]
    }

    /// Bytes of the slots that other workers keep.
    pub(super) fn elsewhere(&self) -> u64 {
        self.parted.as_ref().map_or(0, |parted| elsewhere_bytes(&parted.whole, self.slots()))
    }

    /// The most bytes of slots that one of so many workers would keep.
    pub fn slot_bytes_of(&self, workers: usize) -> u64 {
        let slots = |name: &str| {
            let places = self.slots_of(name).into_iter();
            places.map(|(place, _)| self.slots()[place].len() as u64 * 4).sum::<u64>()
        };
        let parameters = self.slots().iter().filter(|slot| slot.parameter);
        let updated = parameters.map(|slot| (slot.len(), slots(&slot.name)));
        let (lens, bytes): (Vec<usize>, Vec<u64>) = updated.filter(|&(_, bytes)| bytes > 0).unzip();
        let mut kept = vec![0; workers.max(1)];
        for (owner, bytes) in Part::owners(workers, &lens).into_iter().zip(bytes) {
            kept[owner] += bytes;
        }
        kept.into_iter().max().unwrap_or(0)
    }

    /// Bytes of the whole state, also of what other workers keep of it.
    pub fn state_bytes(&self) -> u64 {
        self.whole().iter().map(|slot| slot.len() as u64 * 4).sum()
    }

    /// Whether all slots are here: those of others as well, or no update was made yet, so that they are as they start.
    pub fn has_all_slots(&self) -> bool {
        let Some(parted) = &self.parted else { return true };
        let mut all = parted.here.iter().zip(&parted.others);
        self.step == 0 || all.all(|(here, other)| here.is_some() || other.is_some())
    }

    /// All values of the state as the worker of this number keeps them, tensor after tensor.
    ///
    /// # Errors
    /// If its slots are not here.
    pub fn flat_state_for(&self, number: usize) -> Result<Vec<f32>, EngineError> {
        let Some(parted) = &self.parted else { return Ok(self.flat_state()) };
        if !self.has_all_slots() {
            return Err(EngineError(format!("the slots of worker {number} are not here")));
        }
        let mut all = Vec::new();
        for (index, owner) in parted.owners.iter().enumerate() {
            let is_kept = parted.whole[index].parameter || owner.is_none_or(|o| o == number);
            match (is_kept, parted.here[index]) {
                (false, _) => {}
                (true, Some(here)) => all.extend_from_slice(self.runtime.state(here)),
                (true, None) => {
                    all.extend_from_slice(&self.kept_elsewhere(index).unwrap_or_default());
                }
            }
        }
        Ok(all)
    }

    /// The slots that this worker keeps, one after the other.
    pub fn own_slots(&self) -> Vec<f32> {
        let Some(parted) = &self.parted else { return Vec::new() };
        self.values_at(parted.slots_of(parted.part.number).filter_map(|i| parted.here[i]))
    }

    /// Takes what [`Engine::own_slots`] of another worker gave, for the whole state.
    ///
    /// # Errors
    /// If it has another number of values.
    pub fn take_slots(&mut self, number: usize, values: &[f32]) -> Result<(), EngineError> {
        let Some(parted) = &mut self.parted else { return Ok(()) };
        let places: Vec<usize> = parted.slots_of(number).collect();
        let wanted: usize = places.iter().map(|&i| parted.whole[i].len()).sum();
        if values.len() != wanted {
            let found = values.len();
            return Err(EngineError(format!(
                "worker {number} gave {found} values of slots, and it keeps {wanted}"
            )));
        }
        let mut rest = values;
        for i in places {
            let (first, others) = rest.split_at(parted.whole[i].len());
            parted.others[i] = Some(first.to_vec());
            rest = others;
        }
        Ok(())
    }

    /// Drops the slots of others, which are not those of the next step.
    pub(super) fn drop_slots(&mut self) {
        if let Some(parted) = &mut self.parted {
            parted.others.fill(None);
        }
    }

    /// Whether this worker needs the sums of all gradients for its own updates: for the norm of all of them.
    pub(crate) fn needs_all_sums(&self) -> bool {
        matches!(self.spec.optimizer.clip(), Clip::GlobalNorm(_))
    }

    /// Where among the sums those are that a worker needs; see [`Parted`].
    pub(crate) fn sums_for(&self, number: usize) -> &[Range<usize>] {
        self.parted.as_ref().and_then(|p| p.sums.get(number)).map_or(&[], Vec::as_slice)
    }

    /// The values of the parameters that a worker updates.
    pub(crate) fn updated_by(&self, number: usize) -> Vec<f32> {
        let places = self.parted.as_ref().map_or(Vec::new(), |p| p.parameters_of(number));
        self.values_at(places.into_iter())
    }

    /// Takes what [`Engine::updated_by`] of that worker gave.
    ///
    /// # Errors
    /// If it has another number of values.
    pub(crate) fn take_updated(
        &mut self,
        number: usize,
        values: &[f32],
    ) -> Result<(), EngineError> {
        let places = self.parted.as_ref().map_or(Vec::new(), |p| p.parameters_of(number));
        let found = values.len();
        self.set_values_at(&places, values).map_err(|wanted| {
            EngineError(format!(
                "worker {number} gave {found} new weights, and it updates {wanted}"
            ))
        })
    }
}
