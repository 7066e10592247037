//! The graph: tensors in the order they were made, each the output of one op.

use crate::error::GraphError;
use crate::ops::{Given, Op};
use crate::packed::SlotType;
use crate::shape;
use crate::update::{Clip, Rule, WeightDecay};

/// Names a tensor of one graph; also its position in [`Graph::tensors`], which is a topological order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub u32);

impl TensorId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

pub use tidemill_fields::DType;

/// Where a tensor's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Given anew at each step.
    Input,
    /// Learned; lives in the state.
    Parameter,
    /// Not learned but kept from step to step (running statistics, optimizer slots).
    State,
    /// Computed.
    Computed,
}

/// A tensor and the op that makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Unique path, such as `layers.1.dense.kernel`.
    pub name: String,
    /// Dims; empty for a scalar.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
    /// Where the value comes from.
    pub role: Role,
    /// What makes it; [`Given::Source`] for values from outside.
    pub op: Op,
    /// The op's inputs, all earlier in the graph.
    pub inputs: Vec<TensorId>,
}

impl Tensor {
    /// Number of elements; stops at the largest number instead of overflowing.
    pub fn len(&self) -> usize {
        self.shape.iter().fold(1, |total, &dim| total.saturating_mul(dim))
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One parameter's update at the end of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The parameter.
    pub parameter: TensorId,
    /// Its gradient, of the same shape.
    pub gradient: TensorId,
    /// Optimizer slots, as many as the rule wants, of the parameter's shape; packed ones are I32 words.
    pub slots: Vec<TensorId>,
    /// How they are kept.
    pub slot_type: SlotType,
    /// The optimizer's rule.
    pub rule: Rule,
    /// Its weight decay.
    pub decay: WeightDecay,
    /// Factor of the step's learning rate, for this parameter alone.
    pub rate: f32,
    /// Whether another worker makes it. The gradient counts towards a norm of all of them here too; nothing else is done, and
    /// there are no slots.
    pub elsewhere: bool,
}

/// What is computed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// All tensors, each after its inputs.
    pub tensors: Vec<Tensor>,
    /// Values that must be readable after the step, by the caller's name for them.
    pub outputs: Vec<(String, TensorId)>,
    /// The outputs that the caller looks at to decide whether a step may go on to its updates. A gated
    /// plan computes them before it changes anything of the state.
    pub gate: Vec<TensorId>,
    /// State tensors that take a computed value at the end of the step: (state, value).
    pub assignments: Vec<(TensorId, TensorId)>,
    /// Parameter updates at the end of the step.
    pub updates: Vec<Update>,
    /// The hyper-parameter vector's tensor (f32, [`crate::hyper::LEN`]), where there are updates.
    pub hyper: Option<TensorId>,
    /// How gradients are clipped before the updates.
    pub clip: Option<Clip>,
    scope: Vec<String>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// The tensor's description.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.index()]
    }

    /// The tensor's dims.
    pub fn shape(&self, id: TensorId) -> &[usize] {
        &self.tensor(id).shape
    }

    /// Enters a layer: names of tensors made until the matching `leave` start with `name.`.
    pub fn enter(&mut self, name: impl Into<String>) {
        self.scope.push(name.into());
    }

    /// Leaves the layer entered last.
    pub fn leave(&mut self) {
        self.scope.pop();
    }

    /// The path of the layer being built, such as `layers.2`.
    pub fn path(&self) -> String {
        self.scope.join(".")
    }

    /// A value that is given at each step.
    pub fn input(&mut self, name: &str, shape: &[usize], dtype: DType) -> TensorId {
        self.push(name, shape.to_vec(), dtype, Role::Input, Given::Source.into(), vec![])
    }

    /// A learned f32 tensor.
    pub fn parameter(&mut self, name: &str, shape: &[usize]) -> TensorId {
        self.push(name, shape.to_vec(), DType::F32, Role::Parameter, Given::Source.into(), vec![])
    }

    /// An f32 tensor that is kept from step to step but not learned by gradient.
    pub fn state(&mut self, name: &str, shape: &[usize]) -> TensorId {
        self.push(name, shape.to_vec(), DType::F32, Role::State, Given::Source.into(), vec![])
    }

    /// An optimizer's slot of a parameter: of its shape, or packed.
    pub fn slot(&mut self, name: &str, shape: &[usize], slots: SlotType) -> TensorId {
        let (shape, dtype) = match slots {
            SlotType::F32 => (shape.to_vec(), DType::F32),
            packed => (vec![packed.words(shape.iter().product())], DType::I32),
        };
        self.push(name, shape, dtype, Role::State, Given::Source.into(), vec![])
    }

    /// A scalar constant.
    pub fn constant(&mut self, value: f32) -> TensorId {
        let op = Given::Constant(value).into();
        self.push("constant", vec![], DType::F32, Role::Computed, op, vec![])
    }

    /// A scalar i32 constant.
    pub fn integer(&mut self, value: i32) -> TensorId {
        let op = Given::Integer(value).into();
        self.push("integer", vec![], DType::I32, Role::Computed, op, vec![])
    }

    /// Applies an op; the shape is inferred and checked.
    pub fn apply(
        &mut self,
        op: impl Into<Op>,
        inputs: &[TensorId],
    ) -> Result<TensorId, GraphError> {
        let op = op.into();
        let (shape, dtype) = {
            let operands: Vec<&Tensor> = inputs.iter().map(|&i| self.tensor(i)).collect();
            shape::infer(&op, &operands).map_err(|error| error.at(&self.path()))?
        };
        let name = op.name();
        Ok(self.push(name, shape, dtype, Role::Computed, op, inputs.to_vec()))
    }

    /// Marks a value as an output under a name.
    pub fn output(&mut self, name: &str, id: TensorId) {
        self.outputs.push((name.to_owned(), id));
    }

    /// All tensors of a role.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = TensorId> + '_ {
        (0..self.tensors.len() as u32).map(TensorId).filter(move |&id| self.tensor(id).role == role)
    }

    /// The tensor of this full name.
    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.tensors.iter().position(|t| t.name == name).map(|i| TensorId(i as u32))
    }

    fn push(
        &mut self,
        name: &str,
        shape: Vec<usize>,
        dtype: DType,
        role: Role,
        op: Op,
        inputs: Vec<TensorId>,
    ) -> TensorId {
        let id = TensorId(self.tensors.len() as u32);
        let mut full = self.path();
        if !full.is_empty() {
            full.push('.');
        }
        full.push_str(name);
        if role == Role::Computed {
            full = format!("{full}#{}", id.0);
        }
        self.tensors.push(Tensor { name: full, shape, dtype, role, op, inputs });
        id
    }
}
