//! Which nodes run twice, so that the arena fits.
//!
//! A choice is a node and one of the readers of its values: that reader and all later ones read a copy
//! instead. What the copy reads must be alive where it runs: it is kept if there is room, else it is
//! copied too.

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
    /// Profiles that a search may make.
    allowed: usize,
    /// Those that may still be made.
    profiles: usize,
    /// Placements that may still be tried.
    placements: usize,
}

/// A node whose values can be made a second time for the reader at a position and those after it.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    node: usize,
    position: usize,
    /// Bytes above the limit that it may save, summed over nodes, for each microsecond.
    worth: f64,
}

/// Task that is repeated and node for which it is.
type Key = (usize, usize);

/// Values that are so much smaller than what their copy saves are kept rather than copied.
const SMALL: usize = 8;

/// Rounds in which the limit for bytes alive is lowered since the placement is above that for the arena.
const ROUNDS: usize = 8;

/// Limits that are tried for the smallest arena.
const HALVINGS: usize = 6;

/// Costly copies that are tried to be replaced by others.
const SWAPS: usize = 12;

impl<'a> Search<'a> {
    pub fn new(base: &'a Base, in_place: bool) -> Search<'a> {
        let nodes = base.tasks.len().max(1);
        let (allowed, placements) = (1_500_000 / nodes, 30_000_000 / (nodes * nodes));
        let placements = placements.clamp(8, 64);
        Search { base, in_place, allowed, profiles: allowed, placements }
    }

    /// The nodes without copies.
    pub fn start(&mut self) -> Option<Tried> {
        self.tried(self.base.sketch())
    }

    fn tried(&mut self, sketch: Sketch) -> Option<Tried> {
        self.profiles = self.profiles.saturating_sub(1);
        let profile = Profile::new(self.base, &sketch, self.in_place)?;
        let cost = sketch.cost(self.base);
        Some(Tried { sketch, profile, cost })
    }

    fn spent(&self) -> bool {
        self.profiles == 0
    }

    /// Bytes of the arena.
    pub fn arena(&self, tried: &Tried) -> usize {
        place_quickly(&tried.profile.intervals(self.base, &tried.sketch))
    }

    /// Copies until the arena fits, if that can be found; then as few as can be found.
    pub fn fit(&mut self, start: Tried, limit: usize) -> (Tried, bool) {
        let (mut tried, mut target) = (start, limit);
        for _ in 0..ROUNDS {
            tried = self.reach(tried, target, &mut Vec::new());
            if tried.profile.peak() > target {
                return (tried, false);
            }
            let bytes = self.arena(&tried);
            if bytes <= limit {
                tried = self.lighten(tried, limit);
                return (self.swap(tried, limit), true);
            }
            target = target.saturating_sub((bytes - limit).max(limit / 256));
        }
        (tried, false)
    }

    /// The smallest arena above `limit`, which none was found for.
    pub fn smallest(&mut self, start: &Tried, found: Tried, limit: usize) -> Tried {
        let (mut low, mut high) = (limit, self.arena(start));
        let mut best = if self.arena(&found) < high { found } else { start.clone() };
        high = high.min(self.arena(&best));
        for _ in 0..HALVINGS {
            let middle = low + (high - low) / 2;
            self.profiles = self.allowed;
            let tried = self.reach(start.clone(), middle, &mut Vec::new());
            let bytes = self.arena(&tried);
            if bytes < high {
                (best, high) = (tried, bytes);
            }
            if bytes > middle {
                low = middle;
            }
            if high <= low {
                break;
            }
        }
        best
    }

    /// Adds copies until no more than `target` bytes are alive anywhere, or none helps. Those of `banned` are not
    /// tried.
    fn reach(&mut self, mut tried: Tried, target: usize, banned: &mut Vec<Key>) -> Tried {
        let together = (6000 / self.base.tasks.len().max(1)).clamp(3, 12);
        let always = banned.len();
        let mut accepted = false;
        while tried.profile.peak() > target && !self.spent() {
            let before = tried.profile.excess(target);
            let mut candidates = self.candidates(&tried, target, banned);
            candidates.truncate(together);
            if candidates.is_empty() {
                // What did not help then may help now.
                if !std::mem::take(&mut accepted) {
                    break;
                }
                banned.truncate(always);
                continue;
            }
            let mut best: Option<(f64, Tried)> = None;
            for candidate in candidates {
                let key = self.key(&tried, candidate);
                let added = self.with(&tried, candidate, target).and_then(|s| self.tried(s));
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
                    _ => banned.push(key),
                }
            }
            if let Some((_, added)) = best {
                tried = added;
                accepted = true;
            }
        }
        tried
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
    fn candidates(&self, tried: &Tried, target: usize, banned: &[Key]) -> Vec<Candidate> {
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
            for &v in sketch.inputs(node) {
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
                    let worth = gain as f64 / task.cost;
                    candidates.push(Candidate { node, position, worth });
                }
            }
        }
        candidates.retain(|&candidate| !banned.contains(&self.key(tried, candidate)));
        candidates.sort_by(|a, b| b.worth.total_cmp(&a.worth));
        candidates
    }

    /// The nodes with one more copy and those that it needs.
    fn with(&self, tried: &Tried, candidate: Candidate, target: usize) -> Option<Sketch> {
        let base = self.base;
        let mut sketch = tried.sketch.clone();
        let task = match candidate.node.checked_sub(base.tasks.len()) {
            Some(copy) => sketch.copies[copy].of,
            None => candidate.node,
        };
        let outputs = &base.tasks[task].outputs;
        let saved = outputs.iter().map(|&v| base.values[v].bytes).sum();
        let mut making = Making {
            base,
            tried,
            sketch: &mut sketch,
            position: candidate.position,
            target,
            saved,
            made: Vec::new(),
        };
        let copy = making.copy(task, 0)?;
        for i in 0..outputs.len() {
            let (old, new) = (sketch.output(base, candidate.node, i), sketch.output(base, copy, i));
            for &node in &tried.profile.order[candidate.position..] {
                sketch.inputs_mut(node).iter_mut().filter(|v| **v == old).for_each(|v| *v = new);
            }
        }
        sketch.prune(base);
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
                if !sketch.inputs(node).contains(&old) {
                    continue;
                }
                let earlier = versions.iter().copied().filter(|&v| life[v].0 < position);
                let version = earlier.max_by_key(|&v| life[v].1)?;
                sketch
                    .inputs_mut(node)
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

/// A copy on its way.
struct Making<'a> {
    base: &'a Base,
    tried: &'a Tried,
    sketch: &'a mut Sketch,
    /// Where it runs.
    position: usize,
    target: usize,
    /// Bytes that it saves at most.
    saved: usize,
    /// Values copied so far: of the base, and their copies.
    made: Vec<(usize, usize)>,
}

impl Making<'_> {
    fn copy(&mut self, task: usize, depth: usize) -> Option<usize> {
        let base = self.base;
        if !base.tasks[task].repeatable() || depth > 256 {
            return None;
        }
        let mut inputs = Vec::with_capacity(base.tasks[task].inputs.len());
        for &v in &base.tasks[task].inputs {
            inputs.push(self.version(v, depth));
        }
        let node = self.sketch.repeat(base, task, inputs);
        for (i, &v) in base.tasks[task].outputs.iter().enumerate() {
            self.made.push((v, self.sketch.output(base, node, i)));
        }
        Some(node)
    }

    /// What to read in place of a value of the base.
    fn version(&mut self, v: usize, depth: usize) -> usize {
        let bytes = self.base.values[v].bytes;
        if bytes == 0 {
            return v;
        }
        if let Some(&(_, copy)) = self.made.iter().find(|made| made.0 == v) {
            return copy;
        }
        let profile = &self.tried.profile;
        // those that end last come last
        let mut versions: Vec<usize> = vec![v];
        let repeats = self.tried.sketch.repeats.iter().enumerate();
        versions.extend(repeats.filter(|r| *r.1 == v).map(|(i, _)| self.base.values.len() + i));
        versions.retain(|&v| profile.life[v].0 < self.position);
        versions.sort_by_key(|&v| profile.life[v].1);
        let Some(&version) = versions.last() else { return v };
        let last = profile.life[version].1;
        if last >= self.position {
            return version;
        }
        let replaced = (0..profile.root.len()).any(|other| {
            profile.root[other] == profile.root[version]
                && profile.life[other].0 >= last
                && other != version
        });
        let room = || {
            let most = profile.alive[last + 1..=self.position].iter().max();
            most.is_none_or(|most| most + bytes <= self.target)
        };
        if bytes * SMALL <= self.saved || (!replaced && room()) {
            return version;
        }
        let producer = self.base.producer[v].filter(|&p| self.base.tasks[p].repeatable());
        let Some(producer) = producer else { return version };
        match self.copy(producer, depth + 1) {
            Some(_) => self.made.iter().find(|made| made.0 == v).map_or(version, |made| made.1),
            None => version,
        }
    }
}
