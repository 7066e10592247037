//! The order of nodes and copies, and the bytes that are alive at each.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::sketch::{Base, Sketch};
use crate::memory::{Interval, Touch, roots};

/// When everything runs and lives.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    /// Tasks and copies as they run.
    pub order: Vec<usize>,
    /// First and last node that touches each value.
    pub life: Vec<(usize, usize)>,
    /// The value whose memory each continues.
    pub root: Vec<usize>,
    /// Whether the memory of each is used by another value after it.
    pub replaced: Vec<bool>,
    /// The values that repeat one of the base, by that.
    pub versions: Vec<(usize, usize)>,
    /// Bytes of the arena that are in use at each node.
    pub alive: Vec<usize>,
}

impl Profile {
    /// None if the copies make a circle: one is read by what it needs.
    pub fn new(base: &Base, sketch: &Sketch, in_place: bool) -> Option<Profile> {
        let order = order(base, sketch)?;
        let values = base.values.len() + sketch.repeats.len();
        let end = order.len().saturating_sub(1);
        let mut life = vec![(usize::MAX, 0); values];
        let mut args: Vec<usize> = Vec::new();
        let mut starts = Vec::with_capacity(order.len());
        for (position, &node) in order.iter().enumerate() {
            let (task, inputs) = (sketch.task(base, node), sketch.inputs(base, node));
            starts.push((args.len(), inputs.len()));
            args.extend(inputs);
            args.extend((0..task.outputs.len()).map(|i| sketch.output(base, node, i)));
            args.extend(&task.state);
            for &v in &args[starts[position].0..] {
                life[v] = (life[v].0.min(position), position);
            }
        }
        let size = |v: usize| &base.values[sketch.original(base, v)];
        for (v, value) in base.values.iter().enumerate() {
            if value.output && life[v].0 != usize::MAX {
                life[v].1 = end;
            }
        }
        let mut root: Vec<usize> = (0..values).collect();
        if in_place {
            let touch = |position: usize| {
                let (start, num_inputs) = starts[position];
                let stop = starts.get(position + 1).map_or(args.len(), |next| next.0);
                let replaceable = &sketch.task(base, order[position]).replaceable;
                Touch { args: &args[start..stop], num_inputs, replaceable }
            };
            root = roots(values, (0..order.len()).map(touch), |v| {
                (size(v).bytes > 0).then(|| (size(v).len, life[v].1))
            });
        }
        let mut replaced = vec![false; values];
        let mut latest: Vec<usize> = (0..values).collect();
        for v in (0..values).filter(|&v| root[v] != v) {
            let other = latest[root[v]];
            let (earlier, later) = if life[v].0 < life[other].0 { (v, other) } else { (other, v) };
            replaced[earlier] = true;
            latest[root[v]] = later;
        }
        let copied = sketch.repeats.iter().enumerate();
        let mut versions: Vec<(usize, usize)> =
            copied.map(|(i, &original)| (original, base.values.len() + i)).collect();
        versions.sort_unstable();
        let mut profile = Profile { order, life, root, replaced, versions, alive: Vec::new() };
        profile.alive = alive(&profile.intervals(base, sketch), end + 1);
        Some(profile)
    }

    /// What is to be placed in the arena, in the order in which a plan has it.
    pub fn intervals(&self, base: &Base, sketch: &Sketch) -> Vec<Interval> {
        let mut of = vec![usize::MAX; self.life.len()];
        let mut intervals: Vec<Interval> = Vec::new();
        let mut add = |v: usize| {
            let bytes = base.values[sketch.original(base, v)].bytes;
            if bytes > 0 && of[v] == usize::MAX {
                let (first, last) = self.life[v];
                let root = self.root[v];
                if root == v {
                    intervals.push(Interval { first, last, bytes });
                    of[v] = intervals.len() - 1;
                } else {
                    of[v] = of[root];
                    intervals[of[v]].last = intervals[of[v]].last.max(last);
                }
            }
            intervals.len()
        };
        let mut workspaces = Vec::new();
        for (position, &node) in self.order.iter().enumerate() {
            let task = sketch.task(base, node);
            let mut count = 0;
            sketch.inputs(base, node).iter().for_each(|&v| count = add(v));
            (0..task.outputs.len()).for_each(|i| count = add(sketch.output(base, node, i)));
            if task.workspace > 0 {
                let (first, last, bytes) = (position, position, task.workspace);
                workspaces.push((count, Interval { first, last, bytes }));
            }
        }
        for (at, interval) in workspaces.into_iter().rev() {
            intervals.insert(at, interval);
        }
        intervals
    }

    /// The values that repeat one of the base.
    pub fn versions_of(&self, value: usize) -> impl Iterator<Item = usize> {
        let from = self.versions.partition_point(|v| v.0 < value);
        self.versions[from..].iter().take_while(move |v| v.0 == value).map(|v| v.1)
    }

    /// The most bytes alive at once.
    pub fn peak(&self) -> usize {
        self.alive.iter().copied().max().unwrap_or(0)
    }

    /// Bytes above a limit, summed over all nodes.
    pub fn excess(&self, limit: usize) -> f64 {
        self.alive.iter().map(|&bytes| bytes.saturating_sub(limit) as f64).sum()
    }
}

/// Answers about the bytes alive between two nodes.
pub(super) struct Room {
    target: usize,
    /// How many nodes before each have more than the target.
    above: Vec<usize>,
    /// The most bytes at 2^k nodes from each on.
    most: Vec<Vec<usize>>,
}

impl Room {
    pub fn new(profile: &Profile, target: usize) -> Room {
        let mut above = vec![0];
        for &bytes in &profile.alive {
            above.push(above[above.len() - 1] + usize::from(bytes > target));
        }
        let mut most = vec![profile.alive.clone()];
        let mut width = 1;
        while 2 * width <= profile.alive.len() {
            let last = &most[most.len() - 1];
            let pairs = last.iter().zip(&last[width..]);
            most.push(pairs.map(|(a, b)| *a.max(b)).collect());
            width *= 2;
        }
        Room { target, above, most }
    }

    /// Bytes above the target, summed over nodes, if `bytes` more are alive at the nodes `from..until`; where there are no more
    /// than the target without them, one node counts.
    pub fn over(&self, bytes: usize, from: usize, until: usize) -> f64 {
        if from >= until {
            return 0.0;
        }
        let level = (until - from).ilog2() as usize;
        let most = self.most[level][from].max(self.most[level][until - (1 << level)]);
        if most + bytes <= self.target {
            return 0.0;
        }
        (bytes * (self.above[until] - self.above[from]).max(1)) as f64
    }
}

fn alive(intervals: &[Interval], len: usize) -> Vec<usize> {
    let mut change = vec![0isize; len + 1];
    for i in intervals {
        change[i.first] += i.bytes as isize;
        change[i.last + 1] -= i.bytes as isize;
    }
    let mut bytes = 0isize;
    change[..len]
        .iter()
        .map(|c| {
            bytes += c;
            bytes as usize
        })
        .collect()
}

/// The order of the tasks is kept. A copy runs right before the first that reads it; a task that changes
/// state waits for the copies that read it.
fn order(base: &Base, sketch: &Sketch) -> Option<Vec<usize>> {
    let tasks = base.tasks.len();
    let count = tasks + sketch.copies.len();
    let made = |v: usize| v >= base.values.len();
    // the task for which each copy runs
    let mut serves = vec![usize::MAX; sketch.copies.len()];
    for task in 0..tasks {
        for &v in sketch.inputs(base, task).iter().filter(|&&v| made(v)) {
            let copy = sketch.producer(base, v)? - tasks;
            serves[copy] = serves[copy].min(task);
        }
    }
    loop {
        let mut changed = false;
        for i in (0..sketch.copies.len()).rev().filter(|&i| !sketch.copies[i].dead) {
            for &v in sketch.copies[i].inputs.iter().filter(|&&v| made(v)) {
                let copy = sketch.producer(base, v)? - tasks;
                if serves[i] < serves[copy] {
                    serves[copy] = serves[i];
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    let mut edges: Vec<(usize, usize)> = base.waits.clone();
    for node in sketch.nodes(base) {
        for &v in sketch.inputs(base, node) {
            edges.extend(sketch.producer(base, v).map(|producer| (producer, node)));
            if node >= tasks && !made(v) {
                edges.extend(base.writers[v].iter().map(|&writer| (node, writer)));
            }
        }
    }
    let mut waits = vec![0usize; count];
    let mut starts = vec![0usize; count + 1];
    for &(before, after) in &edges {
        starts[before + 1] += 1;
        waits[after] += 1;
    }
    (0..count).for_each(|i| starts[i + 1] += starts[i]);
    let mut next = vec![0usize; edges.len()];
    let mut filled = starts.clone();
    for (before, after) in edges {
        next[filled[before]] = after;
        filled[before] += 1;
    }
    let rank = |node: usize| match node.checked_sub(tasks) {
        Some(copy) => Reverse((serves[copy], 0, node)),
        None => Reverse((node, 1, node)),
    };
    let mut ready: BinaryHeap<_> =
        sketch.nodes(base).filter(|&n| waits[n] == 0).map(rank).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(Reverse((_, _, node))) = ready.pop() {
        order.push(node);
        for &after in &next[starts[node]..starts[node + 1]] {
            waits[after] -= 1;
            if waits[after] == 0 {
                ready.push(rank(after));
            }
        }
    }
    (order.len() == sketch.nodes(base).count()).then_some(order)
}
