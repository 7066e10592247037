//! Which nodes run twice, so that the arena fits.
//!
//! A choice is a node and one of the readers of its values: that reader and all later ones read a copy
//! instead. What the copy reads must be alive where it runs: it is kept if there is room, else it is
//! copied too.

use super::making::Making;
use super::profile::Profile;
use super::sketch::{Base, Sketch};
use crate::memory::place_quickly;

/// Nodes with copies, and what became of them.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    pub sketch: Sketch,
    pub profile: Profile,
    pub cost: f64,
}

/// A search, bounded by counts: the same graph and limit give the same plan on any machine.
pub(super) struct Search<'a> {
    base: &'a Base,
    in_place: bool,
    /// Nodes and copies that may be looked at for one limit.
    most: usize,
    /// Those that may still be.
    work: usize,
    /// Placements that may still be tried.
    placements: usize,
    /// Part of the usual price that a copy's time has when something else could be kept for it.
    patience: f64,
    /// How often fewer candidates than usual were tried at once at the last time.
    fewer: u32,
}

/// A node whose values can be made a second time for the reader at a position and those after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub node: usize,
    pub position: usize,
    /// Bytes above the limit that it may save, summed over nodes.
    pub gain: f64,
    /// The same for each microsecond.
    worth: f64,
}

/// Task that is repeated and node for which it is.
type Key = (usize, usize);

/// Candidates that are known to be the best, and those whose time is looked at with that of what they need.
const RATED: (usize, usize) = (48, 400);

/// Rounds in which the limit for bytes alive is lowered since the placement is above that for the arena.
const ROUNDS: usize = 8;

/// Nodes and copies that are looked at for one limit: at most, and for each pair of nodes.
const WORK: (usize, usize) = (1_500_000, 150);

/// Whether what copies read is kept where that costs less than copying it, as things are, or only where there is room:
/// in a small arena the one leaves no way on.
const PATIENCE: [f64; 2] = [1.0, 0.0];

/// How often fewer candidates are tried at once, when more do not help.
const PARTS: u32 = 4;

/// Placements that a search may try at least and at most.
const PLACEMENTS: (usize, usize) = (8, 64);

/// Limits that are tried for the smallest arena.
const HALVINGS: usize = 7;

/// Costly copies that are tried to be replaced by others.
const SWAPS: usize = 12;

impl<'a> Search<'a> {
    pub fn new(base: &'a Base, in_place: bool) -> Search<'a> {
        let nodes = base.tasks.len().max(1);
        let placements = 30_000_000 / (nodes * nodes);
        let placements = placements.clamp(PLACEMENTS.0, PLACEMENTS.1);
        let most = WORK.0.min(WORK.1 * nodes * nodes);
        Search { base, in_place, most, work: most, placements, patience: 1.0, fewer: 0 }
    }

    /// What it is over.
    pub fn base(&self) -> &'a Base {
        self.base
    }

    /// The nodes without copies.
    pub fn start(&mut self) -> Option<Tried> {
        self.tried(self.base.sketch())
    }

    fn tried(&mut self, sketch: Sketch) -> Option<Tried> {
        let profile = Profile::new(self.base, &sketch, self.in_place)?;
        self.work = self.work.saturating_sub(profile.order.len() + sketch.copies.len());
        let cost = sketch.cost(self.base);
        Some(Tried { sketch, profile, cost })
    }

    fn spent(&self) -> bool {
        self.work == 0
    }

    /// Bytes of the arena.
    pub fn arena(&self, tried: &Tried) -> usize {
        place_quickly(&tried.profile.intervals(self.base, &tried.sketch))
    }

    /// Copies until the arena fits, if that can be found; then as few as can be found.
    pub fn fit(&mut self, start: &Tried, limit: usize) -> Option<Tried> {
        if limit < self.base.least() {
            return None;
        }
        PATIENCE.into_iter().find_map(|patience| {
            (self.patience, self.work) = (patience, self.most);
            self.fit_so(start.clone(), limit)
        })
    }

    fn fit_so(&mut self, start: Tried, limit: usize) -> Option<Tried> {
        let (mut tried, mut target) = (start, limit);
        for _ in 0..ROUNDS {
            tried = self.reach(tried, target, &mut Vec::new());
            if tried.profile.peak() > target {
                return None;
            }
            let bytes = self.arena(&tried);
            if bytes <= limit {
                tried = self.lighten(tried, limit);
                return Some(self.swap(tried, limit));
            }
            target = target.saturating_sub((bytes - limit).max(limit / 256));
        }
        None
    }

    /// The smallest arena that is found. It does not depend on what was asked for: a limit of that size can be met.
    pub fn smallest(&mut self, start: &Tried) -> Tried {
        let (mut low, mut best) = (self.base.least(), start.clone());
        let mut high = self.arena(start);
        for _ in 0..HALVINGS {
            if high <= low {
                break;
            }
            let middle = low + (high - low) / 2;
            for patience in PATIENCE {
                (self.patience, self.work) = (patience, self.most / 2);
                let tried = self.reach(start.clone(), middle, &mut Vec::new());
                let bytes = self.arena(&tried);
                if bytes < high {
                    (best, high) = (tried, bytes);
                }
                if bytes <= middle {
                    break;
                }
            }
            if high > middle {
                low = middle;
            }
        }
        (self.work, self.placements) = (self.most, PLACEMENTS.1);
        self.lighten(best, high)
    }

    /// Adds copies until no more than `target` bytes are alive anywhere, or none helps. Those of `banned` are not
    /// tried.
    fn reach(&mut self, mut tried: Tried, target: usize, banned: &mut Vec<Key>) -> Tried {
        let always = banned.len();
        let mut accepted = false;
        while tried.profile.peak() > target && !self.spent() {
            let candidates = self.candidates(&tried, target, banned);
            if candidates.is_empty() {
                // What did not help then may help now.
                if !std::mem::take(&mut accepted) {
                    break;
                }
                banned.truncate(always);
                continue;
            }
            let added = self.several(&tried, &candidates, target);
            if let Some(added) = added.or_else(|| self.one(&tried, &candidates, target, banned)) {
                tried = added;
                accepted = true;
            }
        }
        tried
    }

    /// Adds the best candidates at once, as many as save a part of what is above the target; none if that is one, or
    /// they save much less together than each by itself.
    fn several(&mut self, tried: &Tried, candidates: &[Candidate], target: usize) -> Option<Tried> {
        let (nodes, before) = (self.base.tasks.len(), tried.profile.excess(target));
        let whole = before * nodes as f64 / (2 * nodes + 4000) as f64;
        // What did not help with many candidates at the last time is not tried with as many now.
        self.fewer = self.fewer.saturating_sub(1);
        for fewer in self.fewer..PARTS {
            let part = whole / f64::from(1 << (2 * fewer));
            let (mut wanted, mut count) = (0.0, 0);
            while count < candidates.len() && wanted + candidates[count].gain <= part {
                wanted += candidates[count].gain;
                count += 1;
            }
            if count < 2 {
                return None;
            }
            let added = self.with(tried, &candidates[..count], target)?;
            let added = self.tried(added)?;
            if before - added.profile.excess(target) > wanted / 2.0 {
                self.fewer = fewer;
                return Some(added);
            }
        }
        self.fewer = PARTS;
        None
    }

    /// Adds the one of the best candidates that saves most for its time; those that save nothing are banned.
    fn one(
        &mut self,
        tried: &Tried,
        candidates: &[Candidate],
        target: usize,
        banned: &mut Vec<Key>,
    ) -> Option<Tried> {
        let together = (6000 / self.base.tasks.len().max(1)).clamp(3, 12);
        let before = tried.profile.excess(target);
        let mut best: Option<(f64, Tried)> = None;
        for &candidate in candidates.iter().take(together) {
            let added = self.with(tried, &[candidate], target).and_then(|s| self.tried(s));
            let worth = added.as_ref().map_or(0.0, |added| {
                let saved = before - added.profile.excess(target);
                saved / (added.cost - tried.cost).max(1e-3)
            });
            match added {
                Some(added) if worth > 0.0 => {
                    if best.as_ref().is_none_or(|best| worth > best.0) {
                        best = Some((worth, added));
                    }
                }
                _ => banned.push(self.key(tried, candidate)),
            }
        }
        best.map(|(_, added)| added)
    }

    fn key(&self, tried: &Tried, candidate: Candidate) -> Key {
        let tasks = self.base.tasks.len();
        let repeated = match candidate.node.checked_sub(tasks) {
            Some(copy) => tried.sketch.copies[copy].of,
            None => candidate.node,
        };
        (repeated, tried.profile.order[candidate.position])
    }

    /// What can be copied to save bytes where more than `target` are alive, the best first.
    fn candidates(&mut self, tried: &Tried, target: usize, banned: &[Key]) -> Vec<Candidate> {
        let (base, sketch, profile) = (self.base, &tried.sketch, &tried.profile);
        // sums over the nodes before each: of those with too many bytes, and of the bytes
        let mut sums = vec![(0usize, 0usize)];
        for &bytes in &profile.alive {
            let (count, area) = sums[sums.len() - 1];
            let above = bytes.saturating_sub(target);
            sums.push((count + usize::from(above > 0), area + above));
        }
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); profile.life.len()];
        for (position, &node) in profile.order.iter().enumerate() {
            for &v in sketch.inputs(base, node) {
                if readers[v].last() != Some(&position) {
                    readers[v].push(position);
                }
            }
        }
        let saved = |v: usize, made: usize, position: usize| {
            let value = &base.values[sketch.original(base, v)];
            let next = readers[v].partition_point(|&p| p < position);
            let Some(&until) = readers[v].get(next) else { return 0 };
            let from = next.checked_sub(1).map_or(made, |last| readers[v][last]) + 1;
            if value.output || from >= until {
                return 0;
            }
            let (count, area) = (sums[until].0 - sums[from].0, sums[until].1 - sums[from].1);
            (value.bytes * count).min(area)
        };
        let mut candidates = Vec::new();
        for (made, &node) in profile.order.iter().enumerate() {
            let task = sketch.task(base, node);
            if !task.repeatable() {
                continue;
            }
            let outputs = (0..task.outputs.len()).map(|i| sketch.output(base, node, i));
            let outputs: Vec<usize> = outputs.collect();
            let mut positions: Vec<usize> =
                outputs.iter().flat_map(|&v| readers[v].iter().copied()).collect();
            positions.sort_unstable();
            positions.dedup();
            for position in positions {
                let gain: usize = outputs.iter().map(|&v| saved(v, made, position)).sum();
                if gain > 0 {
                    let gain = gain as f64;
                    candidates.push(Candidate { node, position, gain, worth: gain / task.cost });
                }
            }
        }
        candidates.retain(|&candidate| !banned.contains(&self.key(tried, candidate)));
        candidates.sort_by(|a, b| b.worth.total_cmp(&a.worth));
        self.rate(tried, candidates, target)
    }

    /// Candidates, which are ordered by what their own copy takes, with what must be copied for them too, as far as
    /// it decides which are the best.
    fn rate(
        &mut self,
        tried: &Tried,
        mut candidates: Vec<Candidate>,
        target: usize,
    ) -> Vec<Candidate> {
        let mut making = Making::new(self.base, tried, (target, self.patience));
        let mut rated: Vec<Candidate> = Vec::new();
        for &candidate in candidates.iter().take(RATED.1) {
            // No other is better than its own copy alone.
            let sure = rated.iter().filter(|r| r.worth >= candidate.worth).count();
            if sure >= RATED.0 {
                break;
            }
            let (cost, copies) = making.cost_of(self.key(tried, candidate).0, candidate);
            self.work = self.work.saturating_sub(copies);
            rated.push(Candidate { worth: candidate.gain / cost, ..candidate });
        }
        candidates.drain(..rated.len());
        rated.sort_by(|a, b| b.worth.total_cmp(&a.worth));
        rated.extend(candidates);
        rated
    }

    /// The nodes with copies of these candidates and of what they need.
    fn with(&self, tried: &Tried, candidates: &[Candidate], target: usize) -> Option<Sketch> {
        let mut candidates = candidates.to_vec();
        candidates.sort_by_key(|candidate| candidate.position);
        let mut making = Making::new(self.base, tried, (target, self.patience));
        for candidate in candidates {
            making.add(self.key(tried, candidate).0, candidate)?;
        }
        let mut sketch = making.sketch;
        sketch.prune(self.base);
        Some(sketch)
    }

    /// The nodes without one of their copies: what read it reads an earlier value instead.
    fn without(&mut self, tried: &Tried, copy: usize) -> Option<Tried> {
        let (base, life) = (self.base, &tried.profile.life);
        let mut sketch = tried.sketch.clone();
        let removed = sketch.copies[copy].clone();
        for (i, &original) in base.tasks[removed.of].outputs.iter().enumerate() {
            let old = removed.first + i;
            let copies = sketch
                .copies
                .iter()
                .enumerate()
                .filter(|(c, other)| *c != copy && !other.dead && other.of == removed.of);
            let versions: Vec<usize> =
                std::iter::once(original).chain(copies.map(|(_, other)| other.first + i)).collect();
            for (position, &node) in tried.profile.order.iter().enumerate() {
                if !sketch.inputs(base, node).contains(&old) {
                    continue;
                }
                let earlier = versions.iter().copied().filter(|&v| life[v].0 < position);
                let version = earlier.max_by_key(|&v| life[v].1)?;
                sketch
                    .inputs_mut(base, node)
                    .iter_mut()
                    .filter(|v| **v == old)
                    .for_each(|v| *v = version);
            }
        }
        sketch.prune(base);
        self.tried(sketch)
    }

    fn fits(&mut self, tried: &Tried, limit: usize) -> bool {
        if tried.profile.peak() > limit || self.placements == 0 {
            return false;
        }
        self.placements -= 1;
        self.arena(tried) <= limit
    }

    /// The copies that run, the most costly first.
    fn costly(&self, tried: &Tried) -> Vec<usize> {
        let copies = tried.sketch.copies.iter().enumerate().filter(|(_, copy)| !copy.dead);
        let mut copies: Vec<usize> = copies.map(|(i, _)| i).collect();
        let cost = |i: &usize| self.base.tasks[tried.sketch.copies[*i].of].cost;
        copies.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
        copies
    }

    /// Leaves out the copies that the arena fits without.
    fn lighten(&mut self, mut tried: Tried, limit: usize) -> Tried {
        for copy in self.costly(&tried) {
            if self.spent() {
                break;
            }
            if tried.sketch.copies[copy].dead {
                continue;
            }
            if let Some(less) = self.without(&tried, copy)
                && less.cost < tried.cost
                && self.fits(&less, limit)
            {
                tried = less;
            }
        }
        tried
    }

    /// Replaces costly copies by others that cost less in all.
    fn swap(&mut self, mut tried: Tried, limit: usize) -> Tried {
        for copy in self.costly(&tried).into_iter().take(SWAPS) {
            if self.spent() || tried.sketch.copies[copy].dead {
                continue;
            }
            let of = tried.sketch.copies[copy].of;
            let Some(less) = self.without(&tried, copy) else { continue };
            let mut banned: Vec<Key> = tried.profile.order.iter().map(|&node| (of, node)).collect();
            let other = self.reach(less, limit, &mut banned);
            if other.cost < tried.cost && self.fits(&other, limit) {
                tried = self.lighten(other, limit);
            }
        }
        tried
    }
}
