//! The schedule's own form between graph and plan: values and the nodes that make them.

use crate::kernel::KernelSpec;
use tidemill_graph::{Binary, DType, Dropout, PairLoss, Unary};

/// Index of a value.
pub type ValueId = usize;
/// Index of a node.
pub type NodeId = usize;

/// Where a value lives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Origin {
    /// Made by a node; lives in the arena.
    Computed,
    /// Given at each step: number of the plan's input.
    Input(usize),
    /// Part of the state: number of the plan's state tensor.
    State(usize),
    /// A scalar known when the plan is made.
    Constant(f32),
}

/// A buffer to be.
#[derive(Clone, Debug)]
pub struct Value {
    /// Name of the tensor it comes from.
    pub name: String,
    /// Elements of 4 bytes.
    pub len: usize,
    /// Element type.
    pub dtype: DType,
    /// Where it lives.
    pub origin: Origin,
}

/// An elementwise op; operands are the node's inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element {
    /// `f(a)`
    Unary(Unary),
    /// `(saved, dy)`
    UnaryGrad(Unary),
    /// `(a, b, c, dy)`: the gradient of a unary op of `a * b + c`, which is computed again and not read.
    UnaryGradOfMulAdd(Unary),
    /// `f(a, b)`
    Binary(Binary),
    /// `(x, t, dy)`
    PairLossGrad(PairLoss),
    /// `a * b + c`
    MulAdd,
    /// `(a, key)`
    Dropout(Dropout),
    /// Sum over the rows of the matrix with so many columns.
    SumRows {
        /// Columns of the matrix, the sum's length.
        cols: usize,
        /// What the sum is multiplied by.
        factor: f32,
    },
    /// Sum over the columns of the matrix with so many columns.
    SumColumns {
        /// Columns of the matrix.
        cols: usize,
        /// What the sum is multiplied by.
        factor: f32,
    },
    /// Sum of all; times the factor.
    SumAll(f32),
}

impl Element {
    /// Whether it reduces: its value can leave a fused chain but not be read within it.
    pub fn is_sum(self) -> bool {
        matches!(self, Element::SumRows { .. } | Element::SumColumns { .. } | Element::SumAll(_))
    }
}

/// What a node does.
#[derive(Clone, Debug)]
pub enum Work {
    /// Elementwise over `shape`; operand shapes are `operands`.
    Element {
        /// The op.
        op: Element,
        /// Dims of the full matrix (the input's, for sums).
        shape: Vec<usize>,
        /// Dims of each operand.
        operands: Vec<Vec<usize>>,
    },
    /// One kernel call.
    Kernel(KernelSpec),
}

/// A node of the schedule.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub work: Work,
    /// Values it reads, in the kernel's order.
    pub inputs: Vec<ValueId>,
    /// Values it makes.
    pub outputs: Vec<ValueId>,
    /// State values that it reads and writes in place.
    pub state: Vec<ValueId>,
    /// Path of the layer or tensor.
    pub label: String,
    /// What was fused into it and why something was not.
    pub notes: Vec<String>,
    /// Whether it was merged into another node.
    pub dead: bool,
}

/// Values and nodes; nodes are in a topological order until fusion, which leaves dead ones behind.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    /// The values.
    pub values: Vec<Value>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Values that must outlive the step: the graph's outputs, by name.
    pub outputs: Vec<(String, ValueId)>,
    /// Those of them that decide whether a gated step goes on.
    pub gate: Vec<ValueId>,
}

impl Schedule {
    /// The node that makes each value.
    pub fn producers(&self) -> Vec<Option<NodeId>> {
        let mut producers = vec![None; self.values.len()];
        for (id, node) in self.live() {
            for &v in &node.outputs {
                producers[v] = Some(id);
            }
        }
        producers
    }

    /// The nodes that read each value (each node once).
    pub fn readers(&self) -> Vec<Vec<NodeId>> {
        let mut readers: Vec<Vec<NodeId>> = vec![Vec::new(); self.values.len()];
        for (id, node) in self.live() {
            for &v in node.inputs.iter().chain(&node.state) {
                if readers[v].last() != Some(&id) {
                    readers[v].push(id);
                }
            }
        }
        readers
    }

    /// The nodes that still stand.
    pub fn live(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().filter(|(_, n)| !n.dead)
    }

    /// Whether a value must be readable after the step.
    pub fn is_output(&self, value: ValueId) -> bool {
        self.outputs.iter().any(|&(_, v)| v == value)
    }
}
