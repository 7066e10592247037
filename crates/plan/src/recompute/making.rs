//! Copies, and what is copied or kept for them.

use super::profile::Room;
use super::search::{Candidate, Tried};
use super::sketch::{Base, Sketch};

/// Copies on their way.
pub(super) struct Making<'a> {
    base: &'a Base,
    tried: &'a Tried,
    pub sketch: Sketch,
    room: Room,
    patience: f64,
    /// Where the present one runs.
    position: usize,
    /// Bytes above the target, summed over nodes, that are worth a microsecond.
    price: f64,
    /// What was made so far.
    made: Vec<Made>,
    /// Copies so far, with where they run.
    placed: Vec<(usize, usize)>,
    /// Values that from a position on are read as others.
    moved: Vec<(usize, usize, usize)>,
}

/// A value that was copied.
#[derive(Clone, Copy)]
struct Made {
    original: usize,
    copy: usize,
    /// Where it is made and where it is read last so far.
    life: (usize, usize),
}

impl<'a> Making<'a> {
    pub fn new(base: &'a Base, tried: &'a Tried, (target, patience): (usize, f64)) -> Making<'a> {
        let (made, placed, moved) = (Vec::new(), Vec::new(), Vec::new());
        let sketch = tried.sketch.clone();
        let (position, price) = (0, 0.0);
        let room = Room::new(&tried.profile, target);
        Making { base, tried, sketch, room, patience, position, price, made, placed, moved }
    }

    fn at(&mut self, task: usize, candidate: Candidate) {
        self.position = candidate.position;
        self.price = self.patience * candidate.gain / self.base.tasks[task].cost;
    }

    /// A copy of the task for a candidate, and of what it needs.
    pub fn add(&mut self, task: usize, candidate: Candidate) -> Option<()> {
        self.at(task, candidate);
        let copy = self.copy(task, 0)?;
        for i in 0..self.base.tasks[task].outputs.len() {
            let old = self.sketch.output(self.base, candidate.node, i);
            self.redirect(old, self.sketch.output(self.base, copy, i));
        }
        Some(())
    }

    /// Microseconds of a candidate's copy and of those that it needs, and how many; none is made.
    pub fn cost_of(&mut self, task: usize, candidate: Candidate) -> (f64, usize) {
        self.at(task, candidate);
        let (copies, repeats) = (self.sketch.copies.len(), self.sketch.repeats.len());
        let made = self.copy(task, 0);
        let cost: f64 =
            self.sketch.copies[copies..].iter().map(|copy| self.base.tasks[copy.of].cost).sum();
        self.sketch.copies.truncate(copies);
        self.sketch.repeats.truncate(repeats);
        let count = self.placed.len();
        self.made.clear();
        self.placed.clear();
        (made.map_or(f64::INFINITY, |_| cost), count)
    }

    /// What reads `old` from the position on reads `new` instead.
    fn redirect(&mut self, old: usize, new: usize) {
        let (base, position) = (self.base, self.position);
        let later = self.placed.iter().filter(|placed| placed.1 >= position).map(|placed| placed.0);
        for node in self.tried.profile.order[position..].iter().copied().chain(later) {
            let inputs = self.sketch.inputs_mut(base, node);
            inputs.iter_mut().filter(|v| **v == old).for_each(|v| *v = new);
        }
        self.moved.push((old, position, new));
    }

    fn copy(&mut self, task: usize, depth: usize) -> Option<usize> {
        let base = self.base;
        if !base.tasks[task].repeatable() || depth > 256 {
            return None;
        }
        let mut inputs = Vec::with_capacity(base.tasks[task].inputs.len());
        for &v in &base.tasks[task].inputs {
            let version = self.version(v, depth);
            let moved = self.moved.iter().find(|m| m.0 == version && m.1 <= self.position);
            inputs.push(moved.map_or(version, |m| m.2));
        }
        let node = self.sketch.repeat(base, task, inputs);
        self.placed.push((node, self.position));
        let life = (self.position, self.position);
        for (i, &original) in base.tasks[task].outputs.iter().enumerate() {
            let copy = self.sketch.output(base, node, i);
            self.made.push(Made { original, copy, life });
        }
        Some(node)
    }

    /// What to read in place of a value of the base.
    fn version(&mut self, v: usize, depth: usize) -> usize {
        let (base, position) = (self.base, self.position);
        if base.values[v].bytes == 0 {
            return v;
        }
        let profile = &self.tried.profile;
        let there = std::iter::once(v).chain(profile.versions_of(v));
        let there = there.filter(|&v| profile.life[v].0 < position);
        let there = there.map(|v| (profile.life[v].1, v));
        let made = self.made.iter().filter(|made| made.original == v);
        let latest = there.chain(made.map(|made| (made.life.1, made.copy))).max();
        let Some((last, version)) = latest else { return v };
        let producer = base.producer[v].filter(|&p| base.tasks[p].repeatable());
        if last < position
            && let Some(producer) = producer
            && self.keeping(version, v, last) > self.price * base.tasks[producer].cost
            && self.copy(producer, depth + 1).is_some()
            && let Some(made) = self.made.iter().rev().find(|made| made.original == v)
        {
            return made.copy;
        }
        if let Some(made) = self.made.iter_mut().find(|made| made.copy == version) {
            made.life.1 = made.life.1.max(position);
        }
        version
    }

    /// Bytes above the target, summed over nodes, if a version of a value is kept after its last reader.
    fn keeping(&self, version: usize, v: usize, last: usize) -> f64 {
        let own = self.room.over(self.base.values[v].bytes, last + 1, self.position + 1);
        // Where another value is written over it, that needs memory of its own.
        let replaced = self.tried.profile.replaced.get(version).copied().unwrap_or(false);
        if replaced { 2.0 * own } else { own }
    }
}
