//! Single tensors of the state, and the optimizer's slots.

use super::{Engine, StateTensor, StateValues};
use tidemill_graph::Rule;

impl Engine {
    /// Where a tensor of the state is, by name, for [`Engine::tensor`].
    pub fn find_tensor(&self, name: &str) -> Option<usize> {
        self.slots().iter().position(|slot| slot.name == name)
    }

    /// Where the parameters are.
    pub fn parameters(&self) -> impl Iterator<Item = (usize, &str)> {
        let slots = self.slots().iter().enumerate();
        slots.filter(|(_, slot)| slot.parameter).map(|(i, slot)| (i, slot.name.as_str()))
    }

    /// Where the weights and what else the model itself keeps are, such as running statistics: all of the
    /// state but the optimizer's slots.
    pub fn weights(&self) -> impl Iterator<Item = (usize, &str)> {
        let slots = self.slots().iter().enumerate();
        slots
            .filter(|&(i, _)| self.optimizer_slot(i).is_none())
            .map(|(i, slot)| (i, slot.name.as_str()))
    }

    /// Which of its rule's slots a tensor of the state is, if it is one.
    fn optimizer_slot(&self, index: usize) -> Option<(Rule, usize)> {
        let slot = &self.slots()[index];
        self.rule_of_slot(&slot.name).filter(|_| !slot.parameter)
    }

    /// The rule of a parameter, and which of its slots a tensor of this name is, if it is one.
    pub(super) fn rule_of_slot(&self, name: &str) -> Option<(Rule, usize)> {
        let (of, slot) = name.rsplit_once('.')?;
        self.slots().iter().find(|other| other.parameter && other.name == of)?;
        let rule = self.rule_of(of);
        let place = rule.slot_names().iter().position(|known| *known == slot)?;
        Some((rule, place))
    }

    fn rule_of(&self, parameter: &str) -> Rule {
        self.spec.model.rule_of(&self.spec.optimizer, parameter)
    }

    /// What the optimizer's slots of a parameter are called.
    pub fn names_of_slots(&self, parameter: &str) -> Vec<String> {
        let names = self.rule_of(parameter).slot_names().into_iter();
        names.map(|slot| format!("{parameter}.{slot}")).collect()
    }

    /// Where the optimizer's slots of a parameter are, and what their elements start as.
    pub fn slots_of(&self, parameter: &str) -> Vec<(usize, f32)> {
        let rule = self.rule_of(parameter);
        let place =
            |(i, name): (usize, String)| Some((self.find_tensor(&name)?, rule.slot_start_of(i)));
        self.names_of_slots(parameter).into_iter().enumerate().filter_map(place).collect()
    }

    /// The dims of a tensor of the state.
    pub fn tensor_shape(&self, index: usize) -> &[usize] {
        &self.slots()[index].shape
    }

    /// A tensor of the state.
    pub fn tensor(&self, index: usize) -> &[f32] {
        self.runtime.state(index)
    }

    /// A tensor of the state, to be changed between steps.
    pub fn tensor_mut(&mut self, index: usize) -> &mut [f32] {
        self.runtime.state_mut(index)
    }

    /// Gives row `row` of table `table` of the model's entity embeddings to another id: it becomes
    /// what is known of ids without a row of their own, row 0, and its optimizer slots are reset.
    pub fn reset_row(&mut self, table: usize, row: usize) {
        for index in 0..self.kept {
            if let Some(reset) = self.row_reset(&self.slots()[index].name, table) {
                reset.apply(self.runtime.state_mut(index), row);
            }
        }
    }

    /// The same in tensors of a state that is kept elsewhere, under its names or marked ones.
    pub fn reset_row_in(&self, tensors: &mut [StateTensor], table: usize, row: usize) {
        for tensor in tensors {
            if let StateValues::F32(values) = &mut tensor.values
                && let Some(reset) = self.row_reset(&tensor.name, table)
            {
                reset.apply(values, row);
            }
        }
    }

    /// How a row of a tensor is reset, if that is of this table of the entity embeddings or one of its slots.
    fn row_reset(&self, name: &str, table: usize) -> Option<RowReset> {
        let part = format!(".entity_embedding.table{table}");
        let rest = name.find(&part).map(|at| &name[at + part.len()..])?;
        let start = match rest.strip_prefix('.') {
            None if rest.is_empty() => None,
            None => return None,
            Some(slot) => self.rule.slot_names().iter().position(|n| *n == slot),
        };
        let units = self.slots().iter().find(|slot| slot.name.ends_with(&part))?.shape.last();
        let units = units.copied().unwrap_or(1);
        Some(RowReset { units, start: start.map(|slot| self.rule.slot_start_of(slot)) })
    }

    /// Resets the optimizer's slots, with their bias corrections; parameters stay.
    pub fn reset_slots(&mut self) {
        for index in 0..self.kept {
            if let Some((rule, place)) = self.optimizer_slot(index) {
                self.runtime.state_mut(index).fill(rule.slot_start_of(place));
            }
        }
        self.slots_from = self.step;
    }

    /// Steps since the optimizer's slots began.
    pub fn slot_age(&self) -> u64 {
        self.step.saturating_sub(self.slots_from)
    }

    /// Sets the steps since the optimizer's slots began, after a state of that age was taken over.
    pub fn set_slot_age(&mut self, age: u64) {
        self.slots_from = self.step.saturating_sub(age);
    }
}

/// How a row of a table is reset: to what slots start as, or to row 0.
struct RowReset {
    units: usize,
    start: Option<f32>,
}

impl RowReset {
    fn apply(&self, values: &mut [f32], row: usize) {
        let units = self.units;
        if (row + 1) * units > values.len() {
            return;
        }
        match self.start {
            None => values.copy_within(..units, row * units),
            Some(start) => values[row * units..(row + 1) * units].fill(start),
        }
    }
}
