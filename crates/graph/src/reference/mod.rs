//! The reference interpreter: every op in plain loops, in f32 or f64, slow and obviously right.
//!
//! It is what the fast kernels and the passes are compared with, so nothing here is clever: no
//! blocking, no fusion, no in-place work.
//!
//! ```
//! use tidemill_graph::reference::{Values, evaluate};
//! use tidemill_graph::{Binary, DType, Graph, Op};
//!
//! let mut graph = Graph::new();
//! let a = graph.input("a", &[2], DType::F32);
//! let b = graph.input("b", &[2], DType::F32);
//! let sum = graph.apply(Op::Binary(Binary::Add), &[a, b])?;
//! let feeds = Values::new(&graph).with(a, vec![1.0, 2.0]).with(b, vec![10.0, 20.0]);
//! let values = evaluate::<f64>(&graph, feeds)?;
//! assert_eq!(values.get(sum), Some(&[11.0, 22.0][..]));
//! # Ok::<(), tidemill_graph::GraphError>(())
//! ```

mod conv;
mod eltwise;
mod indices;
mod layout;
mod loss;
mod matmul;
mod norm;
mod optimizer;
mod real;

#[cfg(test)]
mod tests;

pub use eltwise::{binary, pair_loss, pair_loss_slope, unary, unary_slope};
pub use optimizer::{apply_updates, clip_scale, update_element};
pub use real::Real;

use crate::error::GraphError;
use crate::graph::{DType, Graph, Tensor, TensorId};
use crate::op::{Op, Reduction};

/// Elements of a tensor.
#[derive(Clone, Debug, PartialEq)]
enum Value<T> {
    Float(Vec<T>),
    Int(Vec<i32>),
}

/// Values of a graph's tensors: first those that are given, after [`evaluate`] all.
#[derive(Clone, Debug, PartialEq)]
pub struct Values<T> {
    by_tensor: Vec<Option<Value<T>>>,
}

impl<T: Real> Values<T> {
    /// No values yet.
    pub fn new(graph: &Graph) -> Values<T> {
        Values { by_tensor: vec![None; graph.tensors.len()] }
    }

    /// Gives the elements of an f32 tensor.
    pub fn set(&mut self, id: TensorId, elements: Vec<T>) {
        self.put(id, Value::Float(elements));
    }

    /// Gives the elements of an i32 tensor.
    pub fn set_ints(&mut self, id: TensorId, elements: Vec<i32>) {
        self.put(id, Value::Int(elements));
    }

    /// [`Values::set`] in a chain.
    pub fn with(mut self, id: TensorId, elements: Vec<T>) -> Values<T> {
        self.set(id, elements);
        self
    }

    /// [`Values::set_ints`] in a chain.
    pub fn with_ints(mut self, id: TensorId, elements: Vec<i32>) -> Values<T> {
        self.set_ints(id, elements);
        self
    }

    /// Elements of an f32 tensor, if it has a value.
    pub fn get(&self, id: TensorId) -> Option<&[T]> {
        match self.by_tensor.get(id.index()) {
            Some(Some(Value::Float(elements))) => Some(elements),
            _ => None,
        }
    }

    /// Elements of an i32 tensor, if it has a value.
    pub fn ints(&self, id: TensorId) -> Option<&[i32]> {
        match self.by_tensor.get(id.index()) {
            Some(Some(Value::Int(elements))) => Some(elements),
            _ => None,
        }
    }

    fn put(&mut self, id: TensorId, value: Value<T>) {
        if self.by_tensor.len() <= id.index() {
            self.by_tensor.resize(id.index() + 1, None);
        }
        self.by_tensor[id.index()] = Some(value);
    }

    /// Elements of an f32 tensor, checked against its description.
    fn expect(&self, graph: &Graph, id: TensorId) -> Result<&[T], GraphError> {
        let tensor = graph.tensor(id);
        let found = self.get(id).ok_or_else(|| missing(tensor))?;
        check_length(tensor, found.len())?;
        Ok(found)
    }
}

fn missing(tensor: &Tensor) -> GraphError {
    let message = format!("{} of shape {:?} has no value", tensor.name, tensor.shape);
    GraphError::new(message).help(match tensor.dtype {
        DType::F32 => "give it with set",
        DType::I32 => "give it with set_ints",
    })
}

fn check_length(tensor: &Tensor, found: usize) -> Result<(), GraphError> {
    if found == tensor.len() {
        return Ok(());
    }
    let message = format!(
        "{} of shape {:?} has {} elements, found {found}",
        tensor.name,
        tensor.shape,
        tensor.len()
    );
    Err(GraphError::new(message))
}

/// Computes every tensor from the given values of inputs, parameters and state. Values of computed
/// tensors from an earlier step are replaced.
pub fn evaluate<T: Real>(graph: &Graph, feeds: Values<T>) -> Result<Values<T>, GraphError> {
    let mut values = feeds;
    values.by_tensor.resize(graph.tensors.len(), None);
    for (index, tensor) in graph.tensors.iter().enumerate() {
        if tensor.op == Op::Source {
            continue;
        }
        let call = Call::new(graph, &values, tensor)?;
        let value = call.run().map_err(|error| error.at(&tensor.name))?;
        values.by_tensor[index] = Some(value);
    }
    Ok(values)
}

/// One op on its inputs' values.
struct Call<'a, T> {
    /// The output's description.
    y: &'a Tensor,
    x: Vec<Input<'a, T>>,
}

/// An input's description and elements; the kind that it is not is empty.
struct Input<'a, T> {
    tensor: &'a Tensor,
    floats: &'a [T],
    ints: &'a [i32],
}

impl<'a, T: Real> Call<'a, T> {
    fn new(
        graph: &'a Graph,
        values: &'a Values<T>,
        y: &'a Tensor,
    ) -> Result<Call<'a, T>, GraphError> {
        let input = |&id: &TensorId| {
            let tensor = graph.tensor(id);
            let (floats, ints): (&[T], &[i32]) = match tensor.dtype {
                DType::F32 => (values.get(id).ok_or_else(|| missing(tensor))?, &[]),
                DType::I32 => (&[], values.ints(id).ok_or_else(|| missing(tensor))?),
            };
            check_length(tensor, floats.len().max(ints.len()))?;
            Ok(Input { tensor, floats, ints })
        };
        Ok(Call { y, x: y.inputs.iter().map(input).collect::<Result<_, GraphError>>()? })
    }

    /// Elements of float input `index`.
    fn floats(&self, index: usize) -> &'a [T] {
        self.x[index].floats
    }

    /// Elements of integer input `index`.
    fn ints(&self, index: usize) -> &'a [i32] {
        self.x[index].ints
    }

    /// Dims of input `index`.
    fn dims(&self, index: usize) -> &'a [usize] {
        &self.x[index].tensor.shape
    }

    /// An output of zeros.
    fn zeros(&self) -> Vec<T> {
        vec![T::ZERO; self.y.len()]
    }

    fn run(&self) -> Result<Value<T>, GraphError> {
        use Op::*;
        let floats = match &self.y.op {
            Reshape(_) | StopGradient => return Ok(self.moved(|index| Some((0, index)), T::ZERO)),
            BroadcastTo(_) | Transpose(_) | Concat { .. } | Slice { .. } | Pad { .. } => {
                return Ok(self.movement());
            }

            Source => return Err(missing(self.y)),
            Constant(value) => vec![T::of(*value)],
            MatMul { transpose_a, transpose_b } => self.matmul(*transpose_a, *transpose_b),
            Conv2d(conv) => self.conv(conv),
            Conv2dGradInput(conv, _) => self.conv_grad_input(conv),
            Conv2dGradWeight(conv, _) => self.conv_grad_weight(conv),
            MaxPool2d(pool) => self.max_pool(pool),
            MaxPool2dGrad(pool) => self.max_pool_grad(pool),
            AvgPool2d(pool) => self.avg_pool(pool),
            AvgPool2dGrad(pool, _) => self.avg_pool_grad(pool),

            ChannelMoments => self.channel_moments(),
            BatchNormTrain { epsilon } | BatchNormEval { epsilon } => self.batch_norm(*epsilon),
            BatchNormTrainGradInput { epsilon } => self.batch_norm_grad_input(*epsilon),
            BatchNormGradGamma { epsilon } => self.batch_norm_grad_gamma(*epsilon),
            UpdateMoments { momentum, count } => self.update_moments(*momentum, *count),
            LayerNorm { epsilon } => self.layer_norm(*epsilon),
            LayerNormGradInput { epsilon } => self.layer_norm_grad_input(*epsilon),
            LayerNormGradGamma { epsilon } => self.layer_norm_grad_gamma(*epsilon),
            RmsNorm { epsilon } => self.rms_norm(*epsilon),
            RmsNormGradInput { epsilon } => self.rms_norm_grad_input(*epsilon),
            RmsNormGradGamma { epsilon } => self.rms_norm_grad_gamma(*epsilon),

            Dropout { rate, stream } => self.dropout(*rate, *stream),
            Embedding => self.embedding()?,
            EmbeddingGrad { rows } => self.embedding_grad(*rows)?,
            EmbeddingBag => self.embedding_bag()?,
            EmbeddingBagGrad { rows } => self.embedding_bag_grad(*rows)?,

            Unary(op) => self.floats(0).iter().map(|&x| unary(*op, x)).collect(),
            UnaryGrad(op) => self.zipped(|saved, dy| dy * unary_slope(*op, saved)),
            Binary(op) => self.broadcast(|[a, b]| binary(*op, a, b)),
            PairLossGrad(loss) => self.broadcast(|[x, t, dy]| dy * pair_loss_slope(*loss, x, t)),

            Softmax => self.softmax(),
            SoftmaxGrad => self.softmax_grad(),
            LogSoftmax => self.log_softmax(),
            LogSoftmaxGrad => self.log_softmax_grad(),
            SparseCrossEntropy { label_smoothing } => {
                self.cross_entropy(&self.sparse_targets(*label_smoothing)?)
            }
            DenseCrossEntropy { label_smoothing } => {
                self.cross_entropy(&self.dense_targets(*label_smoothing))
            }
            SparseCrossEntropyGrad { label_smoothing } => {
                self.cross_entropy_grad(&self.sparse_targets(*label_smoothing)?)
            }
            DenseCrossEntropyGrad { label_smoothing } => {
                self.cross_entropy_grad(&self.dense_targets(*label_smoothing))
            }
            WeightedMean => self.weighted_mean(),
            WeightedMeanGrad => self.weighted_mean_grad(),

            Reduce { reduction: Reduction::Sum, axes, .. } => self.reduce_sum(axes, T::ONE),
            Reduce { reduction: Reduction::Mean, axes, .. } => self.reduce_mean(axes),
            Reduce { reduction: Reduction::Max, axes, .. } => self.reduce_max(axes),
            ReduceMaxGrad(axes) => self.reduce_max_grad(axes),
        };
        Ok(Value::Float(floats))
    }

    /// Two inputs of one shape, element by element.
    fn zipped(&self, f: impl Fn(T, T) -> T) -> Vec<T> {
        self.floats(0).iter().zip(self.floats(1)).map(|(&a, &b)| f(a, b)).collect()
    }
}
