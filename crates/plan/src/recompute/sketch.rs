//! The schedule as the search sees it: numbers instead of names, and copies of nodes beside the
//! nodes themselves.
//!
//! A node's number is its place in the order without copies; copies are numbered after the nodes.
//! So are values: those of the schedule that nodes touch, then those that copies make.

use crate::cost;
use crate::ir::{NodeId, Origin, Schedule, ValueId, Work};
use crate::memory::ALIGNMENT;
use crate::plan::{Method, replaceable};

/// What the search asks of a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Elements.
    pub len: usize,
    /// Bytes in the arena; 0 for values that are not stored there.
    pub bytes: usize,
    /// Whether it must be readable after the step.
    pub output: bool,
}

/// A node that does not change during the search, but for the values that it reads.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// The node of the schedule.
    pub node: NodeId,
    /// Values that it reads if there are no copies.
    pub inputs: Vec<usize>,
    /// Values that it makes.
    pub outputs: Vec<usize>,
    /// State that it changes.
    pub state: Vec<usize>,
    /// Bytes of its workspace.
    pub workspace: usize,
    /// Estimated microseconds.
    pub cost: f64,
    /// Inputs that it may write over, and outputs that may be written there.
    pub replaceable: (Vec<usize>, Vec<usize>),
}

impl Task {
    /// Whether running it twice gives the same values and changes nothing else.
    pub fn repeatable(&self) -> bool {
        self.state.is_empty() && !self.outputs.is_empty()
    }
}

/// What stays the same during a search.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// The nodes, in the order without copies.
    pub tasks: Vec<Task>,
    /// The values that they touch.
    pub values: Vec<Size>,
    /// The schedule's value of each.
    pub ids: Vec<ValueId>,
    /// The task that makes each value.
    pub producer: Vec<Option<usize>>,
    /// Where the inputs of each task begin among those of all, then their number.
    pub starts: Vec<usize>,
    /// The tasks that change each value, which is state then.
    pub writers: Vec<Vec<usize>>,
    /// Reader and writer of the same state: the writer waits.
    pub waits: Vec<(usize, usize)>,
}

/// A node that runs a second time.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    /// The task that it repeats.
    pub of: usize,
    /// Values that it reads.
    pub inputs: Vec<usize>,
    /// Its first value; the others follow.
    pub first: usize,
    /// Whether nothing reads its values any more, so that it does not run.
    pub dead: bool,
}

/// The nodes with copies.
#[derive(Clone, Debug)]
pub(super) struct Sketch {
    /// Values that the tasks read, one task after the other.
    inputs: Vec<usize>,
    /// The copies, each after those made for it.
    pub copies: Vec<Copy>,
    /// For each value that copies make, the one of [`Base::values`] that it repeats.
    pub repeats: Vec<usize>,
}

impl Base {
    /// The schedule in this order; `methods` are those of its nodes, in the same order.
    pub fn new(schedule: &Schedule, order: &[NodeId], methods: &[Method]) -> Base {
        let mut number: Vec<Option<usize>> = vec![None; schedule.values.len()];
        let (mut values, mut ids) = (Vec::new(), Vec::new());
        let mut of = |v: ValueId| {
            *number[v].get_or_insert_with(|| {
                let value = &schedule.values[v];
                let stored = value.origin == Origin::Computed;
                let bytes = if stored { (value.len * 4).next_multiple_of(ALIGNMENT) } else { 0 };
                values.push(Size { len: value.len, bytes, output: schedule.is_output(v) });
                ids.push(v);
                values.len() - 1
            })
        };
        let task = |(&id, method): (&NodeId, &Method)| {
            let node = &schedule.nodes[id];
            let Work::Kernel(spec) = &node.work else { unreachable!("fusion leaves only kernels") };
            let mut all = |list: &[ValueId]| list.iter().map(|&v| of(v)).collect::<Vec<_>>();
            let (inputs, outputs) = (all(&node.inputs), all(&node.outputs));
            let state = all(&node.state);
            let touched = node.inputs.iter().chain(&node.outputs);
            let bytes: usize = touched.map(|&v| schedule.values[v].len * 4).sum();
            let flops = method.flops.unwrap_or_else(|| spec.flops());
            Task {
                node: id,
                inputs,
                outputs,
                state,
                workspace: (method.workspace_len * 4).next_multiple_of(ALIGNMENT),
                cost: cost::microseconds(spec, flops, bytes as u64),
                replaceable: replaceable(spec),
            }
        };
        let tasks: Vec<Task> = order.iter().zip(methods).map(task).collect();
        let mut producer = vec![None; values.len()];
        let mut writers: Vec<Vec<usize>> = vec![Vec::new(); values.len()];
        for (i, task) in tasks.iter().enumerate() {
            task.outputs.iter().for_each(|&v| producer[v] = Some(i));
            task.state.iter().for_each(|&v| writers[v].push(i));
        }
        let mut waits = Vec::new();
        for (i, task) in tasks.iter().enumerate() {
            for &v in task.inputs.iter().filter(|&v| !task.state.contains(v)) {
                waits.extend(writers[v].iter().filter(|&&w| w != i).map(|&w| (i, w)));
            }
        }
        let mut starts = vec![0];
        for task in &tasks {
            starts.push(starts[starts.len() - 1] + task.inputs.len());
        }
        Base { tasks, values, ids, producer, starts, writers, waits }
    }

    /// The nodes without copies.
    pub fn sketch(&self) -> Sketch {
        let inputs = self.tasks.iter().flat_map(|task| task.inputs.iter().copied()).collect();
        Sketch { inputs, copies: Vec::new(), repeats: Vec::new() }
    }

    /// Bytes that no arena can be below: those of the values of one node.
    pub fn least(&self) -> usize {
        let of = |task: &Task| {
            let over = |i: &usize| task.replaceable.1.contains(i);
            let outputs = (0..task.outputs.len()).filter(|i| !over(i)).map(|i| task.outputs[i]);
            let mut touched: Vec<usize> = task.inputs.iter().copied().chain(outputs).collect();
            touched.sort_unstable();
            touched.dedup();
            touched.iter().map(|&v| self.values[v].bytes).sum::<usize>() + task.workspace
        };
        self.tasks.iter().map(of).max().unwrap_or(0)
    }
}

impl Sketch {
    /// The value of the base that a value is or repeats.
    pub fn original(&self, base: &Base, value: usize) -> usize {
        let copied = value.checked_sub(base.values.len());
        copied.map_or(value, |copied| self.repeats[copied])
    }

    /// What makes a value: a task or, numbered after those, a copy.
    pub fn producer(&self, base: &Base, value: usize) -> Option<usize> {
        if value < base.values.len() {
            return base.producer[value];
        }
        let made = self.copies.partition_point(|copy| copy.first <= value) - 1;
        Some(base.tasks.len() + made)
    }

    /// The task that a node is or repeats.
    pub fn task<'a>(&self, base: &'a Base, node: usize) -> &'a Task {
        match node.checked_sub(base.tasks.len()) {
            Some(copy) => &base.tasks[self.copies[copy].of],
            None => &base.tasks[node],
        }
    }

    /// What a node reads.
    pub fn inputs(&self, base: &Base, node: usize) -> &[usize] {
        match node.checked_sub(base.tasks.len()) {
            Some(copy) => &self.copies[copy].inputs,
            None => &self.inputs[base.starts[node]..base.starts[node + 1]],
        }
    }

    /// The same, to change it.
    pub fn inputs_mut(&mut self, base: &Base, node: usize) -> &mut [usize] {
        match node.checked_sub(base.tasks.len()) {
            Some(copy) => &mut self.copies[copy].inputs,
            None => &mut self.inputs[base.starts[node]..base.starts[node + 1]],
        }
    }

    /// Output `index` of a node.
    pub fn output(&self, base: &Base, node: usize, index: usize) -> usize {
        match node.checked_sub(base.tasks.len()) {
            Some(copy) => self.copies[copy].first + index,
            None => base.tasks[node].outputs[index],
        }
    }

    /// A copy of a task that reads `inputs`; gives its node.
    pub fn repeat(&mut self, base: &Base, task: usize, inputs: Vec<usize>) -> usize {
        let first = base.values.len() + self.repeats.len();
        self.repeats.extend(&base.tasks[task].outputs);
        self.copies.push(Copy { of: task, inputs, first, dead: false });
        base.tasks.len() + self.copies.len() - 1
    }

    /// The nodes that run.
    pub fn nodes(&self, base: &Base) -> impl Iterator<Item = usize> {
        let (copies, tasks) = (self.copies.iter().enumerate(), base.tasks.len());
        (0..tasks).chain(copies.filter(|(_, copy)| !copy.dead).map(move |(i, _)| tasks + i))
    }

    /// Marks the copies whose values nothing reads.
    pub fn prune(&mut self, base: &Base) {
        loop {
            let mut read = vec![false; self.repeats.len()];
            for node in self.nodes(base) {
                for &v in self.inputs(base, node) {
                    if let Some(copied) = v.checked_sub(base.values.len()) {
                        read[copied] = true;
                    }
                }
            }
            let mut changed = false;
            for copy in self.copies.iter_mut().filter(|copy| !copy.dead) {
                let at = copy.first - base.values.len();
                let count = base.tasks[copy.of].outputs.len();
                copy.dead = !read[at..at + count].contains(&true);
                changed |= copy.dead;
            }
            if !changed {
                return;
            }
        }
    }

    /// Estimated microseconds that the copies take.
    pub fn cost(&self, base: &Base) -> f64 {
        let live = self.copies.iter().filter(|copy| !copy.dead);
        live.map(|copy| base.tasks[copy.of].cost).sum()
    }
}
