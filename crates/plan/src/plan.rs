//! The plan: a flat list of kernel calls with every buffer placed.

use crate::eltwise::{Sink, Spread};
use crate::fuse::fuse;
use crate::ir::{Origin, Schedule, ValueId, Work};
use crate::kernel::KernelSpec;
use crate::lower::lower;
use crate::memory::{ALIGNMENT, Interval, Placement, place};
use crate::order::order;
use tidemill_graph::{DType, Graph, Role};

/// Where a buffer lives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// Byte offset in the arena.
    Arena(usize),
    /// Number of the plan's input, a pointer given at each run.
    Input(usize),
    /// Number of the plan's state tensor.
    State(usize),
    /// A scalar that never changes.
    Constant(f32),
}

/// A buffer of 4-byte elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Name of the tensor it holds.
    pub name: String,
    /// Elements.
    pub len: usize,
    /// Where it lives.
    pub place: Place,
    /// First and last kernel that touch it, for buffers of the arena.
    pub life: (usize, usize),
}

/// One kernel call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What it computes.
    pub spec: KernelSpec,
    /// Its buffers: inputs, outputs, state, then the workspace if it has one.
    pub args: Vec<usize>,
    /// How many of them are inputs.
    pub num_inputs: usize,
    /// The layer or parameter it works for.
    pub label: String,
    /// Floating-point operations as the machine does them.
    pub flops: u64,
    /// What was fused and what was not, with reasons.
    pub notes: Vec<String>,
}

/// A tensor that the caller provides: name, dims, element type, whether it is a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// The tensor's name.
    pub name: String,
    /// Its dims.
    pub shape: Vec<usize>,
    /// Its element type.
    pub dtype: DType,
    /// Whether it is learned.
    pub parameter: bool,
}

impl Slot {
    /// Elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The executable form of a graph.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All buffers.
    pub buffers: Vec<Buffer>,
    /// The calls, in order.
    pub calls: Vec<Call>,
    /// Tensors given at each run, in the order of the graph.
    pub inputs: Vec<Slot>,
    /// Tensors of the state, in the order of the graph.
    pub state: Vec<Slot>,
    /// Readable after the run: (name, buffer).
    pub outputs: Vec<(String, usize)>,
    /// For gated plans: how many calls give the outputs of the graph's gate, all before the first that
    /// changes the state; none if there is no such place, since batch norm keeps its statistics on
    /// the way forward, or if the graph names no gate.
    pub gate: Option<usize>,
    /// Bytes of the arena.
    pub arena_bytes: usize,
    /// Most bytes alive at one call: no arena can be smaller.
    pub arena_bound: usize,
}

/// What a plan must know of the machine that runs it.
pub trait Target {
    /// How the machine's kernel for `spec` goes about it. The planner asks once for each call, in the
    /// plan's order.
    fn method(&mut self, spec: &KernelSpec) -> Method;
}

/// How a kernel goes about its work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Method {
    /// f32 elements of workspace, shared by the kernel's chunks.
    pub workspace_len: usize,
    /// Floating-point operations, where they are not those of the definition.
    pub flops: Option<u64>,
    /// What is unusual about it, for people.
    pub note: Option<&'static str>,
}

/// Choices of the planner.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Fuse; off only to show or test the difference.
    pub fuse: bool,
    /// Let elementwise programs and rotations write over inputs that nothing reads later.
    pub in_place: bool,
    /// Keep a place between the losses and the updates at which a run can end ([`Plan::gate`]).
    pub gated: bool,
    /// Whether the bits of a row of a product must not depend on how many rows it is computed with, so that what is
    /// said of a sample is the same in any batch. Costs speed where rows are few.
    pub by_row: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { fuse: true, in_place: true, gated: false, by_row: false }
    }
}

impl Plan {
    /// Plans a graph.
    pub fn new(graph: &Graph, target: &mut dyn Target, options: Options) -> Plan {
        let mut schedule = lower(graph);
        fuse(&mut schedule, options.fuse);
        let order = order(&schedule);
        let mut buffers: Vec<Buffer> = Vec::new();
        let mut buffer_of: Vec<Option<usize>> = vec![None; schedule.values.len()];
        let mut calls = Vec::new();
        for (position, &id) in order.iter().enumerate() {
            let node = &schedule.nodes[id];
            let Work::Kernel(spec) = &node.work else { unreachable!("fusion leaves only kernels") };
            let mut args = Vec::new();
            for &v in node.inputs.iter().chain(&node.outputs).chain(&node.state) {
                let b = *buffer_of[v].get_or_insert_with(|| {
                    buffers.push(buffer(&schedule, v, position));
                    buffers.len() - 1
                });
                buffers[b].life.1 = position;
                args.push(b);
            }
            let method = target.method(spec);
            let workspace = method.workspace_len;
            if workspace > 0 {
                buffers.push(Buffer {
                    name: format!("{} workspace", node.label),
                    len: workspace,
                    place: Place::Arena(0),
                    life: (position, position),
                });
                args.push(buffers.len() - 1);
            }
            calls.push(Call {
                spec: spec.clone(),
                args,
                num_inputs: node.inputs.len(),
                label: node.label.clone(),
                flops: method.flops.unwrap_or_else(|| spec.flops()),
                notes: node.notes.iter().cloned().chain(method.note.map(String::from)).collect(),
            });
        }
        let mut outputs = Vec::new();
        for (name, v) in &schedule.outputs {
            // an output may be an input or a parameter itself, which no kernel touches
            let b = *buffer_of[*v].get_or_insert_with(|| {
                buffers.push(buffer(&schedule, *v, 0));
                buffers.len() - 1
            });
            buffers[b].life.1 = calls.len().saturating_sub(1);
            outputs.push((name.clone(), b));
        }
        let decisive: Vec<Option<usize>> = schedule.gate.iter().map(|&v| buffer_of[v]).collect();
        let gate = options.gated.then(|| gate(&buffers, &calls, &decisive)).flatten();
        let placement = assign(&mut buffers, &calls, options.in_place);
        Plan {
            buffers,
            calls,
            inputs: slots(graph, &[Role::Input]),
            state: state_slots(graph),
            outputs,
            gate,
            arena_bytes: placement.bytes,
            arena_bound: placement.lower_bound,
        }
    }

    /// Number of the input of this name.
    pub fn input(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|s| s.name == name)
    }

    /// Buffer of the output of this name.
    pub fn output(&self, name: &str) -> Option<&Buffer> {
        self.outputs.iter().find(|o| o.0 == name).map(|o| &self.buffers[o.1])
    }
}

/// See [`Plan::gate`]; `decisive` are the buffers of the graph's gate.
fn gate(buffers: &[Buffer], calls: &[Call], decisive: &[Option<usize>]) -> Option<usize> {
    let judged = |b: &usize| decisive.contains(&Some(*b));
    let writes =
        |call: &Call, what: &dyn Fn(&usize) -> bool| call.args[call.num_inputs..].iter().any(what);
    let is_state = |b: &usize| matches!(buffers[*b].place, Place::State(_));
    let after = calls.iter().rposition(|call| writes(call, &judged))? + 1;
    (!calls[..after].iter().any(|call| writes(call, &is_state))).then_some(after)
}

fn buffer(schedule: &Schedule, value: ValueId, position: usize) -> Buffer {
    let v = &schedule.values[value];
    let place = match v.origin {
        Origin::Computed => Place::Arena(0),
        Origin::Input(i) => Place::Input(i),
        Origin::State(i) => Place::State(i),
        Origin::Constant(c) => Place::Constant(c),
    };
    Buffer { name: v.name.clone(), len: v.len, place, life: (position, position) }
}

/// The inputs of a call that may be written over, and the outputs that may be written there.
fn replaceable(spec: &KernelSpec) -> (Vec<usize>, Vec<usize>) {
    match spec {
        KernelSpec::Eltwise(program) => {
            let full = |i: &usize| program.inputs[*i] == Spread::Full;
            let stored = |o: &usize| program.outputs[*o].1 == Sink::Full;
            let (inputs, outputs) = (program.inputs.len(), program.outputs.len());
            ((0..inputs).filter(full).collect(), (0..outputs).filter(stored).collect())
        }
        KernelSpec::Rotate { .. } => (vec![0], vec![0]),
        _ => (vec![], vec![]),
    }
}

/// Gives every arena buffer its offset; in-place pairs share one range.
fn assign(buffers: &mut [Buffer], calls: &[Call], in_place: bool) -> Placement {
    // alias[b]: the buffer whose memory b continues
    let mut root: Vec<usize> = (0..buffers.len()).collect();
    if in_place {
        for (position, call) in calls.iter().enumerate() {
            let (inputs, outputs) = replaceable(&call.spec);
            let mut taken: Vec<usize> = Vec::new();
            for o in outputs {
                let out = call.args[call.num_inputs + o];
                let dying = inputs.iter().map(|&i| call.args[i]).find(|&b| {
                    let once = call.args.iter().filter(|&&a| a == b).count() == 1;
                    matches!(buffers[b].place, Place::Arena(_))
                        && buffers[b].life.1 == position
                        && buffers[b].len == buffers[out].len
                        && once
                        && !taken.contains(&b)
                });
                if let Some(b) = dying {
                    taken.push(b);
                    root[out] = root[b];
                }
            }
        }
    }
    let mut intervals: Vec<Interval> = Vec::new();
    let mut interval_of = vec![usize::MAX; buffers.len()];
    for b in 0..buffers.len() {
        if !matches!(buffers[b].place, Place::Arena(_)) {
            continue;
        }
        let (first, last) = buffers[b].life;
        let bytes = (buffers[b].len * 4).next_multiple_of(ALIGNMENT);
        if root[b] == b {
            interval_of[b] = intervals.len();
            intervals.push(Interval { first, last, bytes });
        } else {
            // roots come first, since outputs are made after the inputs they replace
            interval_of[b] = interval_of[root[b]];
            intervals[interval_of[b]].last = intervals[interval_of[b]].last.max(last);
        }
    }
    let placement = place(&intervals);
    for (b, buffer) in buffers.iter_mut().enumerate() {
        if let Place::Arena(offset) = &mut buffer.place {
            *offset = placement.offsets[interval_of[b]];
        }
    }
    placement
}

/// The tensors of a graph's state, in the order of [`Plan::state`].
pub fn state_slots(graph: &Graph) -> Vec<Slot> {
    slots(graph, &[Role::Parameter, Role::State])
}

fn slots(graph: &Graph, roles: &[Role]) -> Vec<Slot> {
    let of_role = graph.tensors.iter().filter(|t| roles.contains(&t.role));
    let slot = of_role.map(|t| Slot {
        name: t.name.clone(),
        shape: t.shape.clone(),
        dtype: t.dtype,
        parameter: t.role == Role::Parameter,
    });
    slot.collect()
}
