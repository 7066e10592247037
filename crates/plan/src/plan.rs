//! The plan: a flat list of kernel calls with every buffer placed.

use crate::eltwise::{Sink, Spread};
use crate::fuse::fuse;
use crate::ir::{NodeId, Origin, Schedule, ValueId, Work};
use crate::kernel::KernelSpec;
use crate::lower::lower;
use crate::memory::{ALIGNMENT, Interval, Placement, Touch, place, roots};
use crate::order::order;
use crate::recompute::{Repeated, recompute};
use crate::windows::{BLOCK, Filed, Window, Windows};
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
    /// The call that makes the same values first, if they are made a second time to save memory.
    pub repeats: Option<usize>,
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
    /// changes the state; none with batch norm, which computes otherwise in a training step, if the graph names no gate, or
    /// if some of the state is in a file.
    pub gate: Option<usize>,
    /// Bytes of the arena, without the gaps.
    pub arena_bytes: usize,
    /// Bytes that the buffers' places reach to: those of the arena, and of the gaps.
    pub arena_reach: usize,
    /// Bytes that are nobody's before the first buffer of the arena and behind each ([`Options::gap`]).
    pub gap: usize,
    /// Most bytes alive at one call: no arena can be smaller.
    pub arena_bound: usize,
    /// Buffers of the arena that hold tensors of the state which are in a file ([`Plan::filed`]).
    pub windows: Vec<Window>,
}

/// What a plan must know of the machine that runs it.
pub trait Target {
    /// How the machine's kernel for `spec` goes about it. The planner asks once for each call, in the
    /// plan's order.
    fn method(&mut self, spec: &KernelSpec) -> Method;

    /// The planner makes another plan, and asks about all of its calls: what was asked before is not part of it.
    fn restart(&mut self);
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
    /// Bytes that the arena should fit into. Where it usually does not, the plan runs kernels in another order, and
    /// runs some of them twice, so that their values need not be kept. A plan that is still above the limit is
    /// the smallest that was found.
    pub arena_limit: Option<usize>,
    /// Give up where no plan is found that keeps to the limit: the plan is then the usual one. The smallest takes several
    /// times as long to find.
    pub give_up: bool,
    /// Bytes to leave free between the buffers of the arena, and at its ends, so that a kernel which reads or writes beyond a
    /// buffer is found out. They count neither towards the limit nor as bytes of the arena. For tests.
    pub gap: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            fuse: true,
            in_place: true,
            gated: false,
            by_row: false,
            arena_limit: None,
            give_up: false,
            gap: 0,
        }
    }
}

impl Plan {
    /// Plans a graph.
    pub fn new(graph: &Graph, target: &mut dyn Target, options: Options) -> Plan {
        Plan::filed(graph, target, options, Filed::default())
    }

    /// Plans a graph some of whose state is in a file.
    pub fn filed(
        graph: &Graph,
        target: &mut dyn Target,
        options: Options,
        filed: Filed<'_>,
    ) -> Plan {
        let mut schedule = lower(graph);
        fuse(&mut schedule, options.fuse);
        let order = order(&schedule, options.gated);
        let (mut plan, methods) = Plan::of(graph, &schedule, &order, target, options, filed);
        let Some(limit) = options.arena_limit.filter(|&limit| plan.arena_bytes > limit) else {
            return plan;
        };
        // The search sees no windows: what they take on top is found by planning.
        let (mut room, turns) = (limit, if filed.names.is_empty() { 1 } else { 3 });
        for _ in 0..turns {
            let Some(fitted) = recompute(&schedule, &order, &methods, room, options) else {
                break;
            };
            target.restart();
            let Repeated { schedule, order, repeats } = fitted;
            (plan, _) = Plan::of(graph, &schedule, &order, target, options, filed);
            plan.mark(&order, &repeats);
            if plan.arena_bytes <= limit || room == 0 {
                break;
            }
            room = room.saturating_sub(plan.arena_bytes - limit);
        }
        plan
    }

    /// The plan of a schedule in this order, and how its calls go about their work.
    fn of(
        graph: &Graph,
        schedule: &Schedule,
        order: &[NodeId],
        target: &mut dyn Target,
        options: Options,
        filed: Filed<'_>,
    ) -> (Plan, Vec<Method>) {
        let state = state_slots(graph);
        let mut windows = Windows::new(schedule, order, &state, filed);
        let mut methods = Vec::with_capacity(order.len());
        let mut buffers: Vec<Buffer> = Vec::new();
        let mut buffer_of: Vec<Option<usize>> = vec![None; schedule.values.len()];
        let mut calls = Vec::new();
        for (position, &id) in order.iter().enumerate() {
            let node = &schedule.nodes[id];
            let Work::Kernel(spec) = &node.work else { unreachable!("fusion leaves only kernels") };
            let mut args = Vec::new();
            for &v in node.inputs.iter().chain(&node.outputs).chain(&node.state) {
                let window = windows.buffer_at(v, position);
                let is_window = window.is_some();
                let b = *window.unwrap_or(&mut buffer_of[v]).get_or_insert_with(|| {
                    let mut buffer = buffer(schedule, v, position);
                    if is_window {
                        buffer.place = Place::Arena(0);
                    }
                    buffers.push(buffer);
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
                repeats: None,
            });
            methods.push(method);
        }
        let mut outputs = Vec::new();
        for (name, v) in &schedule.outputs {
            // an output may be an input or a parameter itself, which no kernel touches
            let b = *buffer_of[*v].get_or_insert_with(|| {
                buffers.push(buffer(schedule, *v, 0));
                buffers.len() - 1
            });
            buffers[b].life.1 = calls.len().saturating_sub(1);
            outputs.push((name.clone(), b));
        }
        let windows = windows.finish(filed.ahead, calls.len());
        for window in &windows {
            buffers[window.buffer].life = (window.read, window.written.unwrap_or(window.last));
        }
        let decisive: Vec<Option<usize>> = schedule.gate.iter().map(|&v| buffer_of[v]).collect();
        let gate = (options.gated && windows.is_empty())
            .then(|| gate(&buffers, &calls, &decisive))
            .flatten();
        let align = if windows.is_empty() { ALIGNMENT } else { BLOCK };
        let placement = assign(&mut buffers, &calls, options.in_place, 0, align);
        let arena_reach = match options.gap {
            0 => placement.bytes,
            gap => gap + assign(&mut buffers, &calls, options.in_place, gap, align).bytes,
        };
        let plan = Plan {
            buffers,
            calls,
            inputs: slots(graph, &[Role::Input]),
            state,
            outputs,
            gate,
            arena_bytes: placement.bytes,
            arena_reach,
            gap: options.gap,
            arena_bound: placement.lower_bound,
            windows,
        };
        (plan, methods)
    }

    /// Marks the calls that repeat others; `repeats` has their nodes and those that they repeat.
    fn mark(&mut self, order: &[NodeId], repeats: &[(NodeId, NodeId)]) {
        let call_of = |node: NodeId| order.iter().position(|&id| id == node);
        for &(node, first) in repeats {
            if let Some(call) = call_of(node) {
                self.calls[call].repeats = call_of(first);
                self.calls[call].notes.push("made again: kept before, it would take memory".into());
            }
        }
    }

    /// Number of the input of this name.
    pub fn input(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|s| s.name == name)
    }

    /// The buffers of the arena whose memory holds nothing that is read after a call: those which it is the last to touch,
    /// but for outputs of the plan and for those whose memory continues as another buffer's.
    pub fn dying(&self, call: usize) -> impl Iterator<Item = usize> {
        let args = &self.calls[call].args;
        let lives = move |b: usize| {
            self.buffers[b].life.1 > call || self.outputs.iter().any(|&(_, output)| output == b)
        };
        let continues = move |b: usize| {
            let place = self.buffers[b].place;
            args.iter().any(|&other| lives(other) && self.buffers[other].place == place)
        };
        let stored = |b: &usize| matches!(self.buffers[*b].place, Place::Arena(_));
        args.iter().copied().filter(stored).filter(move |&b| !lives(b) && !continues(b))
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
    // A step that keeps statistics of its batch computes with them too, and not with those of an evaluation.
    if calls.iter().any(|call| matches!(call.spec, KernelSpec::UpdateMoments { .. })) {
        return None;
    }
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
pub(crate) fn replaceable(spec: &KernelSpec) -> (Vec<usize>, Vec<usize>) {
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

/// Gives every arena buffer its offset, with `gap` bytes that are nobody's before the first and behind each; in-place pairs
/// share one range. All begin at multiples of `align`, after the gap.
fn assign(
    buffers: &mut [Buffer],
    calls: &[Call],
    in_place: bool,
    gap: usize,
    align: usize,
) -> Placement {
    let replaceable: Vec<_> = calls.iter().map(|call| replaceable(&call.spec)).collect();
    let mut root: Vec<usize> = (0..buffers.len()).collect();
    if in_place {
        let touches = calls.iter().zip(&replaceable).map(|(call, replaceable)| Touch {
            args: &call.args,
            num_inputs: call.num_inputs,
            replaceable,
        });
        root = roots(buffers.len(), touches, |b| {
            let stored = matches!(buffers[b].place, Place::Arena(_));
            stored.then_some((buffers[b].len, buffers[b].life.1))
        });
    }
    let mut intervals: Vec<Interval> = Vec::new();
    let mut interval_of = vec![usize::MAX; buffers.len()];
    for b in 0..buffers.len() {
        if !matches!(buffers[b].place, Place::Arena(_)) {
            continue;
        }
        let (first, last) = buffers[b].life;
        let bytes = (buffers[b].len * 4 + gap).next_multiple_of(align);
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
            *offset = gap + placement.offsets[interval_of[b]];
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
