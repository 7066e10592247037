//! A memory of events, some of which are learned from again in each step.

use std::sync::Arc;

use tidemill_engine::fields::{Batch, DType, Signature, Truth, Values};

use super::random::{Purpose, below};
use super::saved::{CONTINUAL, fill, find, tensor};
use super::{ReplayPolicy, ReplaySpec};
use tidemill_engine::engine::{EngineError, StateTensor, StateValues};

/// The memory. Rows are as the model takes them, so after encoding and scaling.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    spec: ReplaySpec,
    seed: u64,
    /// The rows with their truths and weights.
    rows: Batch,
    /// The class of each row, where there are classes.
    classes: Vec<usize>,
    /// Events that could have been stored.
    seen: u64,
    /// Of each class: those, the rows stored, and whether it has ever been the largest.
    seen_of: Vec<u64>,
    stored_of: Vec<usize>,
    full: Vec<bool>,
    /// Rows of this step, to be drawn without drawing one twice.
    drawn: Vec<usize>,
}

impl Replay {
    /// An empty memory for a model of `num_outputs` outputs.
    pub(super) fn new(
        spec: ReplaySpec,
        seed: u64,
        signature: &Arc<Signature>,
        num_outputs: usize,
    ) -> Replay {
        let classes = num_outputs.max(2);
        Replay {
            drawn: Vec::with_capacity(spec.per_step),
            spec,
            seed,
            rows: Batch::new(signature.clone()),
            classes: Vec::new(),
            seen: 0,
            seen_of: vec![0; classes],
            stored_of: vec![0; classes],
            full: vec![false; classes],
        }
    }

    /// Rows stored.
    pub(super) fn len(&self) -> usize {
        self.rows.len
    }

    /// Forgets the events of an id whose row of a table was freed: value `value` at `place` of the numbers.
    pub(super) fn forget(&mut self, place: usize, value: f32) {
        let Some(width) = numbers(&self.rows).map(|(_, width)| width) else { return };
        let Some((column, _)) = numbers(&self.rows) else { return };
        let Values::F32(values) = &self.rows.columns[column].values else { return };
        let is_of = |row: &[f32]| row.get(place) == Some(&value);
        let gone: Vec<bool> = values.chunks_exact(width).take(self.len()).map(is_of).collect();
        if !gone.contains(&true) {
            return;
        }
        let empty = Batch::new(self.rows.signature().clone());
        let old = std::mem::replace(&mut self.rows, empty);
        let classes = std::mem::take(&mut self.classes);
        for (row, class) in classes.into_iter().enumerate() {
            if gone[row] {
                self.stored_of[class] -= 1;
            } else {
                self.rows.push_row(&old, row);
                self.classes.push(class);
            }
        }
    }

    /// The same in what was saved under marked names: there such events weigh nothing from here on.
    pub(super) fn forget_in(&self, tensors: &mut [StateTensor], place: usize, value: f32) {
        let Some((column, width)) = numbers(&self.rows) else { return };
        let name = format!("{CONTINUAL}replay.{}", self.rows.signature().fields()[column].name);
        let found = tensors.iter().find(|t| t.name.ends_with(&name));
        let Some(values) = found.and_then(|t| t.elements::<f32>().ok()) else { return };
        let is_of = |row: &[f32]| row.get(place) == Some(&value);
        let gone: Vec<bool> = values.chunks_exact(width).map(is_of).collect();
        let name = format!("{CONTINUAL}replay.weights");
        let weights = tensors.iter_mut().find(|t| t.name.ends_with(&name));
        if let Some(StateValues::F32(weights)) = weights.map(|t| &mut t.values) {
            let rows = weights.iter_mut().zip(gone).filter(|(_, gone)| *gone);
            rows.for_each(|(weight, _)| *weight = 0.0);
        }
    }

    /// Adds `per_step` rows to a batch: different ones, or all over again where there are fewer.
    /// The batch has the same size at each step, so an empty memory gives rows that weigh nothing.
    pub(super) fn extend(&mut self, batch: &mut Batch, step: u64) {
        let (len, count) = (self.len(), self.spec.per_step);
        self.drawn.clear();
        if len > count {
            // Floyd's algorithm: each set of rows with the same probability.
            for (i, most) in (len - count..len).enumerate() {
                let row =
                    below(self.seed, Purpose::Sample, step, i as u32, most as u64 + 1) as usize;
                let row = if self.drawn.contains(&row) { most } else { row };
                self.drawn.push(row);
            }
        } else {
            self.drawn.extend((0..count).map(|i| i % len.max(1)));
        }
        for &row in &self.drawn {
            match len {
                // It weighs nothing.
                0 => batch.resize(batch.len + 1),
                _ => batch.push_row(&self.rows, row),
            }
        }
    }

    /// Takes the rows of the memory off a batch again.
    pub(super) fn take_off(&self, batch: &mut Batch, events: usize) {
        batch.truncate(events);
    }

    /// Sees the events of a step that was learned from.
    pub(super) fn store(&mut self, batch: &Batch) {
        for event in 0..batch.len {
            if batch.weights[event] != 0.0 {
                self.see(batch, event);
            }
        }
    }

    fn see(&mut self, batch: &Batch, event: usize) {
        let class = self.class_of(batch, event);
        self.seen += 1;
        self.seen_of[class] += 1;
        let place = match (self.len() < self.spec.capacity, self.spec.policy) {
            (true, _) => Some(self.len()),
            (false, ReplayPolicy::Reservoir) => {
                let place = self.below(0, self.seen);
                (place < self.len() as u64).then_some(place as usize)
            }
            (false, ReplayPolicy::ClassBalanced) => self.balanced_place(class),
        };
        if let Some(place) = place {
            self.put(place, batch, event, class);
        }
    }

    /// A class that has never been the largest takes a row from the largest; one that has keeps
    /// its number of rows, and is a reservoir of its own events.
    fn balanced_place(&mut self, class: usize) -> Option<usize> {
        let most = self.stored_of.iter().copied().max().unwrap_or(0);
        for (full, &stored) in self.full.iter_mut().zip(&self.stored_of) {
            *full |= stored == most;
        }
        if !self.full[class] {
            let largest = self.stored_of.iter().position(|&stored| stored == most)?;
            let pick = self.below(0, most as u64);
            return self.row_of(largest, pick as usize);
        }
        let stored = self.stored_of[class] as u64;
        let pick = self.below(0, self.seen_of[class]);
        (pick < stored).then(|| self.row_of(class, pick as usize)).flatten()
    }

    /// Row number `pick` of a class.
    fn row_of(&self, class: usize, pick: usize) -> Option<usize> {
        let rows = self.classes.iter().enumerate().filter(|&(_, &c)| c == class);
        rows.map(|(row, _)| row).nth(pick)
    }

    fn below(&self, index: u32, n: u64) -> u64 {
        below(self.seed, Purpose::Store, self.seen, index, n)
    }

    fn put(&mut self, place: usize, batch: &Batch, event: usize, class: usize) {
        if place == self.len() {
            self.rows.push_row(batch, event);
            self.classes.push(class);
        } else {
            self.stored_of[self.classes[place]] -= 1;
            self.rows.copy_row(place, batch, event);
        }
        self.classes[place] = class;
        self.stored_of[class] += 1;
    }

    /// The class of an event; 0 where targets are no classes, which is of no account then.
    fn class_of(&self, batch: &Batch, event: usize) -> usize {
        class_of(batch.truth(event), self.seen_of.len())
    }

    pub(super) fn tensors(&self) -> Vec<StateTensor> {
        let len = self.len();
        let mut counts = vec![self.seen];
        counts.extend(&self.seen_of);
        counts.extend(self.full.iter().map(|&full| u64::from(full)));
        let mut tensors = Vec::new();
        for (field, column) in self.rows.signature().fields().iter().zip(&self.rows.columns) {
            let mut shape = vec![len];
            shape.extend(field.shape(column.time));
            let name = format!("replay.{}", field.name);
            tensors.push(match &column.values {
                Values::F32(v) => tensor(&name, &shape, v.clone()),
                Values::I32(v) => tensor(&name, &shape, v.clone()),
            });
            if column.has_time() {
                tensors.push(tensor(&format!("{name}.lengths"), &[len], column.lengths.clone()));
            }
        }
        tensors.push(tensor("replay.weights", &[len], self.rows.weights.clone()));
        tensors.push(tensor("replay.counts", &[counts.len()], counts));
        tensors
    }

    /// Takes over what was saved, as far as there is room; says whether there was anything.
    ///
    /// # Errors
    /// If a tensor holds values of another type.
    pub(super) fn restore(&mut self, tensors: &[StateTensor]) -> Result<bool, EngineError> {
        let classes = self.seen_of.len();
        let (Some(weights), Some(counts)) = (
            find(tensors, "replay.weights", None)?,
            find(tensors, "replay.counts", Some(1 + 2 * classes))?,
        ) else {
            return Ok(false);
        };
        let saved = weights.len();
        let len = saved.min(self.spec.capacity);
        let mut rows = Batch::new(self.rows.signature().clone());
        rows.resize(saved);
        for (field, column) in rows.signature().clone().fields().iter().zip(&mut rows.columns) {
            let name = format!("replay.{}", field.name);
            let mut found = match &mut column.values {
                Values::F32(v) => fill(v, tensors, &name)?,
                Values::I32(v) => fill(v, tensors, &name)?,
            };
            if column.has_time() {
                found &= fill(&mut column.lengths, tensors, &format!("{name}.lengths"))?;
            }
            if !found {
                return Ok(false);
            }
        }
        rows.weights.copy_from_slice(weights);
        rows.truncate(len);
        self.rows = rows;
        self.seen = counts[0];
        self.seen_of = counts[1..=classes].to_vec();
        self.full = counts[1 + classes..].iter().map(|&full| full != 0).collect();
        let class = |row| class_of(self.rows.truth(row), classes);
        self.classes = (0..len).map(class).collect();
        self.stored_of = vec![0; classes];
        self.classes.iter().for_each(|&class| self.stored_of[class] += 1);
        Ok(true)
    }
}

/// Which column of rows has the numbers, of which the last are rows of tables, and how wide it is.
pub(crate) fn numbers(rows: &Batch) -> Option<(usize, usize)> {
    let inputs = rows.signature().inputs();
    let column = inputs.iter().position(|field| field.dtype == DType::F32)?;
    Some((column, inputs[column].inner().max(1)))
}

/// A class number, the largest of several targets, or whether the only one is 1.
fn class_of(truth: Truth<'_>, classes: usize) -> usize {
    let class = match truth {
        Truth::Class(class) => class,
        Truth::Values([one]) => usize::from(*one > 0.5),
        Truth::Values(row) => {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter().position(|&v| v == most).unwrap_or(0)
        }
        Truth::Unknown | Truth::Classes(_) => 0,
    };
    class.min(classes - 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tidemill_engine::fields::{Dim, Field};

    fn memory(policy: ReplayPolicy, capacity: usize, seed: u64) -> Replay {
        Replay::new(
            ReplaySpec { capacity, policy, per_step: 3 },
            seed,
            sample(0.0, 0).signature(),
            3,
        )
    }

    fn sample(x: f32, label: i32) -> Batch {
        Batch::of_x(vec![x], &[1]).with_classes(vec![label])
    }

    fn see(memory: &mut Replay, x: f32, label: i32) {
        memory.store(&sample(x, label));
    }

    #[test]
    fn a_reservoir_holds_each_event_with_the_same_probability() {
        let mut kept = [0_u32; 100];
        for seed in 0..2000 {
            let mut memory = memory(ReplayPolicy::Reservoir, 10, seed);
            (0..100).for_each(|i| see(&mut memory, i as f32, 0));
            memory.rows.x().iter().for_each(|&x| kept[x as usize] += 1);
        }
        // 200 each, with a deviation of 13.4.
        assert!(kept.iter().all(|&n| (140..260).contains(&n)), "{kept:?}");
    }

    #[test]
    fn rare_classes_are_kept_whole() {
        let mut memory = memory(ReplayPolicy::ClassBalanced, 30, 1);
        for i in 0..3000 {
            see(&mut memory, i as f32, if i % 500 == 7 { 2 } else { i32::from(i >= 1500) });
        }
        assert_eq!(memory.stored_of, [12, 12, 6]);
        // Of a common class all of its time is there.
        let of = |class: usize| -> Vec<f32> {
            let rows = memory.classes.iter().zip(memory.rows.x());
            rows.filter(|&(&c, _)| c == class).map(|(_, &x)| x).collect()
        };
        assert!(of(0).iter().any(|&x| x < 500.0) && of(0).iter().any(|&x| x > 1000.0));
        assert!(of(2).iter().all(|&x| x as u32 % 500 == 7));
    }

    #[test]
    fn a_step_gets_different_rows_and_always_as_many() {
        let mut memory = memory(ReplayPolicy::Reservoir, 10, 1);
        let mut batch = sample(-1.0, 1);
        memory.extend(&mut batch, 0);
        assert_eq!((batch.len, batch.weights.clone()), (4, vec![1.0, 0.0, 0.0, 0.0]));
        memory.take_off(&mut batch, 1);
        assert_eq!((batch.x(), batch.labels()), (&[-1.0][..], &[1][..]));
        (0..10).for_each(|i| see(&mut memory, i as f32, 2));
        let mut drawn = [0; 10];
        for step in 0..1000 {
            memory.extend(&mut batch, step);
            let x: Vec<usize> = batch.x()[1..].iter().map(|&x| x as usize).collect();
            assert!(x.len() == 3 && x[0] != x[1] && x[1] != x[2] && x[0] != x[2]);
            x.iter().for_each(|&x| drawn[x] += 1);
            memory.take_off(&mut batch, 1);
        }
        assert!(drawn.iter().all(|n| (240..360).contains(n)), "{drawn:?}");
    }

    #[test]
    fn events_of_a_row_that_was_freed_are_forgotten() {
        let mut memory = memory(ReplayPolicy::ClassBalanced, 10, 1);
        (0..10).for_each(|i| see(&mut memory, (i % 5) as f32, i % 3));
        let mut saved = memory.tensors();
        memory.forget_in(&mut saved, 0, 3.0);
        memory.forget(0, 3.0);
        assert_eq!(memory.rows.x(), [0.0, 1.0, 2.0, 4.0, 0.0, 1.0, 2.0, 4.0]);
        assert_eq!((memory.classes.len(), memory.stored_of.iter().sum::<usize>()), (8, 8));
        let mut restored = Replay::new(memory.spec.clone(), 1, memory.rows.signature(), 3);
        assert!(restored.restore(&saved).unwrap());
        let weights = |x: f32| if x == 3.0 { 0.0 } else { 1.0 };
        let rows = restored.rows.x().iter().zip(&restored.rows.weights);
        assert!(restored.len() == 10 && rows.clone().all(|(x, w)| *w == weights(*x)), "{rows:?}");
    }

    #[test]
    fn what_was_saved_goes_on_in_the_same_way() {
        for policy in [ReplayPolicy::Reservoir, ReplayPolicy::ClassBalanced] {
            let mut whole = memory(policy, 10, 1);
            let empty = whole.tensors();
            (0..40).for_each(|i| see(&mut whole, i as f32, i % 3));
            let mut resumed = memory(policy, 10, 1);
            assert!(resumed.restore(&whole.tensors()).unwrap());
            for i in 40..80 {
                see(&mut whole, i as f32, i % 3);
                see(&mut resumed, i as f32, i % 3);
            }
            assert_eq!(whole.tensors(), resumed.tensors());
            // A rollback to before the first event.
            assert!(resumed.restore(&empty).unwrap() && resumed.len() == 0);
        }
    }

    #[test]
    fn labels_and_lengths_are_kept_whole() {
        let words = Field { name: "words".into(), dtype: DType::I32, dims: vec![Dim::Time(4)] };
        let signature = Arc::new(Signature::new(vec![words], Some(Field::class("labels"))));
        let spec = ReplaySpec { capacity: 4, policy: ReplayPolicy::Reservoir, per_step: 1 };
        let mut memory = Replay::new(spec.clone(), 1, &signature, 3);
        let labels = [(1 << 24) + 1, i32::MAX, i32::MIN, 0];
        let mut batch = Batch::new(signature.clone());
        batch.resize(4);
        batch.weights.fill(1.0);
        batch.columns[0].values = Values::I32((0..16).map(|i| (1 << 24) + i).collect());
        batch.columns[0].lengths = vec![4, 3, 0, 1];
        batch.columns[1].values = Values::I32(labels.to_vec());
        memory.store(&batch);
        let mut resumed = Replay::new(spec, 1, &signature, 3);
        assert!(resumed.restore(&memory.tensors()).unwrap());
        assert_eq!(resumed.rows.columns, memory.rows.columns);
        assert_eq!(resumed.rows.labels(), labels);
    }

    #[test]
    fn what_an_earlier_version_saved_is_an_error() {
        let mut memory = memory(ReplayPolicy::Reservoir, 10, 1);
        see(&mut memory, 1.0, 2);
        for name in ["replay.counts", "replay.labels"] {
            let mut tensors = memory.tensors();
            let name = format!("{CONTINUAL}{name}");
            let tensor = tensors.iter_mut().find(|t| t.name == name).unwrap();
            tensor.values = vec![0.0_f32; 21].into();
            let error = memory.clone().restore(&tensors).unwrap_err().to_string();
            assert!(error.contains(&format!("{name} is F32")), "{error}");
            assert!(error.contains("written by an earlier version"), "{error}");
        }
    }
}
