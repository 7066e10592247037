//! Graph to schedule: drops what nothing needs, turns each op into elementwise nodes or a kernel.
//!
//! `ops` lowers one op; `batch_norm`, `losses` and `transducer` those that share work with others; `updates` the
//! end of a step.

mod batch_norm;
mod losses;
mod ops;
mod transducer;
mod updates;

use crate::ir::{Element, Node, Origin, Schedule, Value, ValueId, Work};
use crate::kernel::KernelSpec;
use tidemill_graph::{BatchNorm, DType, Graph, Op, Ring, Role, TensorId};

/// Lowers a graph.
pub fn lower(graph: &Graph) -> Schedule {
    let mut lowering = Lowering {
        graph,
        values: vec![None; graph.tensors.len()],
        schedule: Schedule::default(),
        sums: Vec::new(),
        norm_grads: Vec::new(),
        attention_grads: Vec::new(),
        copying_grads: Vec::new(),
        joint_grads: Vec::new(),
        kept: Vec::new(),
        recurrent_grads: Vec::new(),
    };
    let needed = needed(graph);
    let fused_losses = losses::find_fused(graph, &needed);
    lowering.sources();
    for (index, tensor) in graph.tensors.iter().enumerate() {
        let id = TensorId(index as u32);
        if tensor.role == Role::Computed && needed[index] && lowering.values[index].is_none() {
            match fused_losses.iter().find(|f| f.covers(id)) {
                Some(fused) => lowering.fused_loss(fused),
                None => lowering.op(id),
            }
        }
    }
    lowering.finish()
}

/// Which tensors something depends on.
fn needed(graph: &Graph) -> Vec<bool> {
    let mut needed = vec![false; graph.tensors.len()];
    let mut stack: Vec<TensorId> = graph.outputs.iter().map(|o| o.1).collect();
    stack.extend(graph.assignments.iter().map(|a| a.1));
    stack.extend(graph.updates.iter().map(|u| u.gradient));
    while let Some(id) = stack.pop() {
        if !needed[id.index()] {
            needed[id.index()] = true;
            stack.extend(&graph.tensor(id).inputs);
        }
    }
    needed
}

struct Lowering<'g> {
    graph: &'g Graph,
    values: Vec<Option<ValueId>>,
    schedule: Schedule,
    /// Row sums already made: (operand, value), so that batch norm and its bias share one.
    sums: Vec<(ValueId, ValueId)>,
    /// Batch norm gradients already made: ((moments, dy), [dgamma, p, q, r]).
    norm_grads: Vec<((ValueId, ValueId), Vec<ValueId>)>,
    /// For the inputs of a gradient of attention to another sequence: those of queries and of keys.
    attention_grads: Vec<(Vec<ValueId>, [ValueId; 2])>,
    /// The same of mixtures with a source's tokens.
    copying_grads: Vec<(Vec<ValueId>, [ValueId; 3])>,
    /// The same of the joint network of a transducer.
    joint_grads: Vec<(Vec<ValueId>, [ValueId; 4])>,
    /// For the states of a recurrent layer: what was kept of each position.
    kept: Vec<(ValueId, ValueId)>,
    /// For the inputs of a recurrent layer's gradients: those of its inputs and of its products.
    recurrent_grads: Vec<(Vec<ValueId>, [ValueId; 2])>,
}

impl Lowering<'_> {
    /// Every input and state tensor gets its number, used or not: the caller counts on it.
    fn sources(&mut self) {
        let (mut inputs, mut states) = (0, 0);
        for (index, tensor) in self.graph.tensors.iter().enumerate() {
            let (counter, origin): (&mut usize, fn(usize) -> Origin) = match tensor.role {
                Role::Input => (&mut inputs, Origin::Input),
                Role::Parameter | Role::State => (&mut states, Origin::State),
                Role::Computed => continue,
            };
            let origin = origin(*counter);
            *counter += 1;
            let value = self.value(&tensor.name, tensor.len(), tensor.dtype, origin);
            self.values[index] = Some(value);
        }
    }

    fn value(&mut self, name: &str, len: usize, dtype: DType, origin: Origin) -> ValueId {
        self.schedule.values.push(Value { name: name.to_owned(), len, dtype, origin });
        self.schedule.values.len() - 1
    }

    fn computed(&mut self, name: &str, len: usize) -> ValueId {
        self.value(name, len, DType::F32, Origin::Computed)
    }

    fn get(&self, id: TensorId) -> ValueId {
        self.values[id.index()].expect("inputs come before the ops that read them")
    }

    fn node(&mut self, label: &str, work: Work, inputs: Vec<ValueId>, outputs: Vec<ValueId>) {
        self.schedule.nodes.push(Node {
            work,
            inputs,
            outputs,
            state: vec![],
            label: label.to_owned(),
            notes: vec![],
            dead: false,
        });
    }

    /// A node of one kernel with one output; returns its value.
    fn kernel(
        &mut self,
        label: &str,
        spec: KernelSpec,
        inputs: Vec<ValueId>,
        len: usize,
    ) -> ValueId {
        let value = self.computed(label, len);
        self.node(label, Work::Kernel(spec), inputs, vec![value]);
        value
    }

    /// An elementwise node over `shape`; returns its value.
    fn element(
        &mut self,
        label: &str,
        op: Element,
        shape: &[usize],
        operands: &[(ValueId, Vec<usize>)],
        len: usize,
    ) -> ValueId {
        let out = self.computed(label, len);
        let inputs = operands.iter().map(|o| o.0).collect();
        let operands = operands.iter().map(|o| o.1.clone()).collect();
        self.node(label, Work::Element { op, shape: shape.to_vec(), operands }, inputs, vec![out]);
        out
    }

    /// Outputs, the gate, assignments and updates.
    fn finish(mut self) -> Schedule {
        let graph = self.graph;
        for (name, id) in &graph.outputs {
            let value = self.get(*id);
            self.schedule.outputs.push((name.clone(), value));
        }
        self.schedule.gate = graph.gate.iter().map(|&id| self.get(id)).collect();
        for &(state, value) in &graph.assignments {
            let tensor = graph.tensor(value);
            let (spec, inputs) = match tensor.op {
                Op::BatchNorm(BatchNorm::UpdateMoments { momentum, count })
                    if tensor.inputs[0] == state =>
                {
                    let cols = tensor.shape[1];
                    let spec = KernelSpec::UpdateMoments { cols, momentum, count };
                    (spec, vec![self.get(tensor.inputs[1])])
                }
                Op::Ring(Ring::Push) if tensor.inputs[0] == state => {
                    let (rows, len) = (tensor.shape[0], tensor.shape[1]);
                    let batch = graph.shape(tensor.inputs[1])[0];
                    let inputs = tensor.inputs[1..].iter().map(|&id| self.get(id)).collect();
                    (KernelSpec::RingPush([batch, rows, len]), inputs)
                }
                _ => (KernelSpec::Copy { len: tensor.len() }, vec![self.get(value)]),
            };
            self.node(&tensor.name, Work::Kernel(spec), inputs, vec![]);
            self.set_state(vec![state]);
        }
        self.updates();
        self.schedule
    }

    fn set_state(&mut self, state: Vec<TensorId>) {
        let state = state.into_iter().map(|t| self.get(t)).collect();
        self.schedule.nodes.last_mut().expect("a node was just made").state = state;
    }
}
