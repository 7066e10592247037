//! Every op's output and gradients against PyTorch's; see `fixtures/README.md`.
#![allow(clippy::unwrap_used)]

mod common;

use common::fixtures::{Stored, difference, json, tensors};
use serde_json::Value;
use std::collections::HashMap;
use tidemill_graph::reference::{Real, Values, evaluate};
use tidemill_graph::{
    Binary, Conv2d, DType, Graph, Op, PairLoss, Pool2d, Reduction, TensorId, Unary, gradients,
};

/// Composed of ops that have cases of their own; the layer crate tests them.
const COMPOSED: [&str; 2] = ["sparse_categorical_focal_crossentropy", "categorical_hinge"];

struct Case<'a> {
    graph: Graph,
    attributes: &'a Value,
    x: Vec<TensorId>,
    /// Values of the fixture's `extra_outputs`, where the op has them.
    extras: Vec<(&'static str, TensorId)>,
    /// The weights of a loss's mean.
    weights: Option<TensorId>,
}

impl Case<'_> {
    fn apply(&mut self, op: Op, inputs: &[TensorId]) -> TensorId {
        self.graph.apply(op, inputs).unwrap()
    }

    fn number(&self, key: &str) -> f32 {
        self.attributes[key].as_f64().unwrap_or_else(|| panic!("no {key}")) as f32
    }

    fn flag(&self, key: &str) -> bool {
        self.attributes[key].as_bool().unwrap()
    }

    fn list(&self, key: &str) -> Vec<usize> {
        let values = self.attributes[key].as_array().unwrap();
        values.iter().map(|v| v.as_u64().unwrap() as usize).collect()
    }

    fn pair(&self, key: &str) -> [usize; 2] {
        self.list(key).try_into().unwrap()
    }

    fn padding(&self, size: [usize; 2], stride: [usize; 2], dilation: [usize; 2]) -> [usize; 4] {
        if self.attributes["padding"] == "valid" {
            return [0; 4];
        }
        let image = self.graph.shape(self.x[0]);
        let sides = |axis: usize| {
            let length = image[axis + 1];
            let output = length.div_ceil(stride[axis]);
            let covered = (output - 1) * stride[axis] + (size[axis] - 1) * dilation[axis] + 1;
            let total = covered.saturating_sub(length);
            [total / 2, total - total / 2]
        };
        [sides(0), sides(1)].concat().try_into().unwrap()
    }

    fn bias(&mut self, y: TensorId, bias: Option<TensorId>) -> TensorId {
        match bias {
            Some(bias) => self.apply(Op::Binary(Binary::Add), &[y, bias]),
            None => y,
        }
    }

    fn reduce(&mut self, x: TensorId, reduction: Reduction, axes: Vec<usize>) -> TensorId {
        self.apply(Op::Reduce { reduction, axes, keep_dims: false }, &[x])
    }

    fn build(&mut self, op: &str) -> TensorId {
        let x = self.x.clone();
        if let Some(unary) = self.unary(op) {
            return self.apply(Op::Unary(unary), &x);
        }
        let binary = match op {
            "add" => Some(Binary::Add),
            "sub" => Some(Binary::Sub),
            "mul" => Some(Binary::Mul),
            "div" => Some(Binary::Div),
            "maximum" => Some(Binary::Max),
            "minimum" => Some(Binary::Min),
            _ => None,
        };
        if let Some(binary) = binary {
            return self.apply(Op::Binary(binary), &x);
        }
        match op {
            "dense" => {
                let product = Op::MatMul { transpose_a: false, transpose_b: false };
                let y = self.apply(product, &x[..2]);
                self.bias(y, x.get(2).copied())
            }
            "matmul" => self.matmul(),
            "conv2d" => {
                let (stride, dilation) = (self.pair("strides"), self.pair("dilation"));
                let weight = self.graph.shape(x[1]);
                let padding = self.padding([weight[0], weight[1]], stride, dilation);
                let groups = self.attributes["groups"].as_u64().unwrap() as usize;
                let conv = Conv2d { stride, dilation, padding, groups };
                let y = self.apply(Op::Conv2d(conv), &x[..2]);
                self.bias(y, x.get(2).copied())
            }
            "max_pool2d" | "avg_pool2d" => {
                let (size, stride) = (self.pair("pool_size"), self.pair("strides"));
                let padding = self.padding(size, stride, [1, 1]);
                let pool = Pool2d { size, stride, padding, count_padding: false };
                let maximum = op == "max_pool2d";
                self.apply(if maximum { Op::MaxPool2d(pool) } else { Op::AvgPool2d(pool) }, &x)
            }
            "global_avg_pool2d" => self.reduce(x[0], Reduction::Mean, vec![1, 2]),
            "global_max_pool2d" => self.reduce(x[0], Reduction::Max, vec![1, 2]),
            "batch_norm" => self.batch_norm(),
            "layer_norm" => self.apply(Op::LayerNorm { epsilon: self.number("epsilon") }, &x),
            "rms_norm" => self.apply(Op::RmsNorm { epsilon: self.number("epsilon") }, &x),
            "embedding" => self.apply(Op::Embedding, &x),
            "softmax" | "log_softmax" => self.softmax(op),
            "reduce_sum" | "reduce_mean" | "reduce_max" => {
                let reduction = match op {
                    "reduce_sum" => Reduction::Sum,
                    "reduce_mean" => Reduction::Mean,
                    _ => Reduction::Max,
                };
                let (axes, keep_dims) = (self.list("axes"), self.flag("keep_dims"));
                self.apply(Op::Reduce { reduction, axes, keep_dims }, &x)
            }
            "reshape" => self.apply(Op::Reshape(self.list("shape")), &x),
            "transpose" => self.apply(Op::Transpose(self.list("permutation")), &x),
            "concat" => {
                let axis = self.axis(x[0]);
                self.apply(Op::Concat { axis }, &x)
            }
            "slice" => {
                let (start, end) = (self.list("begin"), self.list("end"));
                let size = start.iter().zip(&end).map(|(start, end)| end - start).collect();
                self.apply(Op::Slice { start, size }, &x)
            }
            "pad" => {
                let pairs = self.attributes["padding"].as_array().unwrap();
                let side = |side: usize| {
                    pairs.iter().map(|pair| pair[side].as_u64().unwrap() as usize).collect()
                };
                let (before, after) = (side(0), side(1));
                self.apply(Op::Pad { before, after, value: self.number("value") }, &x)
            }
            _ => self.loss(op),
        }
    }

    fn unary(&self, op: &str) -> Option<Unary> {
        Some(match op {
            "relu" => Unary::Relu,
            "silu" => Unary::Silu,
            "sigmoid" => Unary::Sigmoid,
            "tanh" => Unary::Tanh,
            "softplus" => Unary::Softplus,
            "exp" => Unary::Exp,
            "log" => Unary::Log,
            "sqrt" => Unary::Sqrt,
            "rsqrt" => Unary::Pow { exponent: -0.5 },
            "abs" => Unary::Abs,
            "square" => Unary::Square,
            "negate" => Unary::Neg,
            "leaky_relu" => Unary::LeakyRelu { slope: self.number("negative_slope") },
            "elu" => Unary::Elu { alpha: self.number("alpha") },
            "gelu" if self.flag("approximate") => Unary::GeluTanh,
            "gelu" => Unary::GeluErf,
            "clip" => Unary::Clip { low: self.number("min"), high: self.number("max") },
            "pow" => Unary::Pow { exponent: self.number("exponent") },
            _ => return None,
        })
    }

    /// Batch dims that differ are broadcast by an op of their own.
    fn matmul(&mut self) -> TensorId {
        let (mut a, mut b) = (self.x[0], self.x[1]);
        let dims = |id: TensorId, graph: &Graph| graph.shape(id).to_vec();
        let (a_dims, b_dims) = (dims(a, &self.graph), dims(b, &self.graph));
        if a_dims.len() == b_dims.len() {
            let leading = a_dims.len() - 2;
            let batch: Vec<_> = (0..leading).map(|i| a_dims[i].max(b_dims[i])).collect();
            let whole = |matrix: &[usize]| [&batch, &matrix[leading..]].concat();
            if a_dims != whole(&a_dims) || b_dims != whole(&b_dims) {
                a = self.apply(Op::BroadcastTo(whole(&a_dims)), &[a]);
                b = self.apply(Op::BroadcastTo(whole(&b_dims)), &[b]);
            }
        }
        let (transpose_a, transpose_b) = (self.flag("transpose_a"), self.flag("transpose_b"));
        self.apply(Op::MatMul { transpose_a, transpose_b }, &[a, b])
    }

    fn batch_norm(&mut self) -> TensorId {
        let epsilon = self.number("epsilon");
        let [x, gamma, beta, mean, variance] = self.x.clone().try_into().unwrap();
        let row = vec![1, self.graph.shape(mean)[0]];
        let mean = self.apply(Op::Reshape(row.clone()), &[mean]);
        let variance = self.apply(Op::Reshape(row.clone()), &[variance]);
        let running = self.apply(Op::Concat { axis: 0 }, &[mean, variance]);
        if !self.flag("training") {
            return self.apply(Op::BatchNormEval { epsilon }, &[x, running, gamma, beta]);
        }
        let moments = self.apply(Op::ChannelMoments, &[x]);
        let count = self.graph.tensor(x).len() / row[1];
        let momentum = (1.0 - self.attributes["momentum"].as_f64().unwrap()) as f32;
        for (count, names) in [
            (0, ["new_running_mean", "new_running_variance"]),
            (count, ["new_running_mean", "new_running_variance_unbiased"]),
        ] {
            let new = self.apply(Op::UpdateMoments { momentum, count }, &[running, moments]);
            self.halves(new, names);
        }
        self.halves(moments, ["batch_mean", "batch_variance"]);
        self.apply(Op::BatchNormTrain { epsilon }, &[x, moments, gamma, beta])
    }

    fn halves(&mut self, moments: TensorId, names: [&'static str; 2]) {
        let channels = self.graph.shape(moments)[1];
        for (row, name) in names.into_iter().enumerate() {
            let op = Op::Slice { start: vec![row, 0], size: vec![1, channels] };
            let half = self.apply(op, &[moments]);
            self.extras.push((name, half));
        }
    }

    fn axis(&self, x: TensorId) -> usize {
        let axis = self.attributes["axis"].as_i64().unwrap();
        axis.rem_euclid(self.graph.shape(x).len() as i64) as usize
    }

    /// Another axis than the last is moved there and back.
    fn softmax(&mut self, name: &str) -> TensorId {
        let x = self.x[0];
        let op = if name == "softmax" { Op::Softmax } else { Op::LogSoftmax };
        let (axis, rank) = (self.axis(x), self.graph.shape(x).len());
        if axis == rank - 1 {
            return self.apply(op, &[x]);
        }
        let mut swap: Vec<_> = (0..rank).collect();
        swap.swap(axis, rank - 1);
        let moved = self.apply(Op::Transpose(swap.clone()), &[x]);
        let y = self.apply(op, &[moved]);
        self.apply(Op::Transpose(swap), &[y])
    }

    /// One value a sample, then the mean with sample and class weights.
    fn loss(&mut self, op: &str) -> TensorId {
        let (x, t) = (self.x[0], self.x[1]);
        let pair = match op {
            "sparse_categorical_crossentropy" | "categorical_crossentropy" => {
                let label_smoothing = self.number("label_smoothing");
                let op = if op.starts_with("sparse") {
                    Op::SparseCrossEntropy { label_smoothing }
                } else {
                    Op::DenseCrossEntropy { label_smoothing }
                };
                let losses = self.apply(op, &[x, t]);
                return self.mean(losses);
            }
            "binary_crossentropy" => {
                PairLoss::BinaryCrossEntropy { label_smoothing: self.number("label_smoothing") }
            }
            "binary_focal_crossentropy" => PairLoss::Focal {
                gamma: self.number("gamma"),
                alpha: self.attributes["alpha"].as_f64().map_or(-1.0, |alpha| alpha as f32),
            },
            "hinge" | "squared_hinge" => PairLoss::Hinge,
            "mean_squared_error" => PairLoss::SquaredError,
            "mean_absolute_error" => PairLoss::AbsoluteError,
            "huber" => PairLoss::Huber { delta: self.number("delta") },
            other => panic!("no graph for {other}"),
        };
        let mut losses = self.apply(Op::Binary(Binary::Loss(pair)), &[x, t]);
        if op == "squared_hinge" {
            losses = self.apply(Op::Unary(Unary::Square), &[losses]);
        }
        let axes: Vec<_> = (1..self.graph.shape(losses).len()).collect();
        let losses = self.reduce(losses, Reduction::Mean, axes);
        self.mean(losses)
    }

    fn mean(&mut self, losses: TensorId) -> TensorId {
        let shape = self.graph.shape(losses).to_vec();
        let weights = self.graph.input("weights", &shape, DType::F32);
        self.weights = Some(weights);
        self.apply(Op::WeightedMean, &[losses, weights])
    }
}

/// Sample weight times class weight.
fn weights(case: &Value, attributes: &Value, stored: &HashMap<String, Stored>) -> Vec<f64> {
    let input = |index: usize| case["inputs"][index].as_str().map(|name| &stored[name]);
    let (target, given) = (input(1).unwrap(), input(2));
    let n = input(0).unwrap().shape[0];
    let mut weights = given.map_or(vec![1.0; n], |given| given.floats.clone());
    if let Some(per_class) = attributes["class_weights"].as_array() {
        for (row, weight) in weights.iter_mut().enumerate() {
            let class = if target.is_int {
                target.ints[row] as usize
            } else if target.shape[1] == 1 {
                target.floats[row] as usize
            } else {
                let c = target.shape[1];
                let hot = &target.floats[row * c..(row + 1) * c];
                (0..c).max_by(|&a, &b| hot[a].total_cmp(&hot[b])).unwrap()
            };
            *weight *= per_class[class].as_f64().unwrap();
        }
    }
    weights
}

fn cast<T: Real>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&value| T::from_f64(value)).collect()
}

fn compare<T: Real>(limit: f64) {
    let list = json("ops.json");
    let stored = tensors("ops.safetensors");
    let mut compared = 0;
    for case in list["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let op = case["op"].as_str().unwrap();
        if COMPOSED.contains(&op) {
            continue;
        }
        let mut built = Case {
            graph: Graph::new(),
            attributes: &case["attributes"],
            x: vec![],
            extras: vec![],
            weights: None,
        };
        let mut feeds = Values::<T>::new(&built.graph);
        for input in case["inputs"].as_array().unwrap() {
            let input = input.as_str().unwrap();
            let tensor = &stored[input];
            let dtype = if tensor.is_int { DType::I32 } else { DType::F32 };
            let id = built.graph.input(input, &tensor.shape, dtype);
            if tensor.is_int {
                feeds.set_ints(id, tensor.ints.clone());
            } else {
                feeds.set(id, cast(&tensor.floats));
            }
            built.x.push(id);
        }
        let y = built.build(op);
        if let Some(id) = built.weights {
            feeds.set(id, cast(&weights(case, &case["attributes"], &stored)));
        }

        // The gradient for an upstream gradient is that of sum(y dy).
        let upstream = &stored[case["grad_output"].as_str().unwrap()];
        let shape = built.graph.shape(y).to_vec();
        let dy = built.graph.input("dy", &shape, DType::F32);
        feeds.set(dy, cast(&upstream.floats));
        let product = built.apply(Op::Binary(Binary::Mul), &[y, dy]);
        let axes = (0..shape.len()).collect();
        let loss = built.reduce(product, Reduction::Sum, axes);
        let wanted: Vec<(TensorId, &str)> = built
            .x
            .iter()
            .zip(case["grad_inputs"].as_array().unwrap())
            .filter_map(|(&x, gradient)| Some((x, gradient.as_str()?)))
            .collect();
        let wrt: Vec<_> = wanted.iter().map(|w| w.0).collect();
        let found = gradients(&mut built.graph, loss, &wrt).unwrap();

        let values = evaluate(&built.graph, feeds).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut expected = vec![(y, case["output"].as_str().unwrap())];
        for (gradient, (_, name)) in found.iter().zip(&wanted) {
            expected.push((gradient.unwrap(), name));
        }
        for (extra, id) in &built.extras {
            expected.push((*id, case["extra_outputs"][extra].as_str().unwrap()));
        }
        for (id, tensor) in expected {
            let want = &stored[tensor];
            let found: Vec<f64> = values.get(id).unwrap().iter().map(|v| v.to_f64()).collect();
            // Scalars are stored with one dim.
            let is_vector = want.shape.len() < 2;
            if !is_vector {
                assert_eq!(built.graph.shape(id), want.shape, "{tensor}");
            }
            let difference = difference(&found, &want.floats);
            assert!(difference <= limit, "{tensor}: {difference:e}");
            compared += 1;
        }
    }
    assert!(compared > 500, "only {compared} tensors");
}

#[test]
fn ops_in_f64() {
    compare::<f64>(2e-7);
}

#[test]
fn ops_in_f32() {
    compare::<f32>(1e-5);
}
