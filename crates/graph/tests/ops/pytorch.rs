//! Every op's output and gradients against PyTorch's; see `fixtures/README.md`.

use crate::common::fixtures::{Stored, difference, json, tensors};
use crate::{BUILDERS, FIXTURES};
use serde_json::Value;
use std::collections::HashMap;
use tidemill_graph::reference::{Real, Values, evaluate};
use tidemill_graph::{Binary, DType, Graph, Op, Reduce, Reduction, TensorId, gradients};

/// Builds the case's op, if it is one of the family's.
pub type Build = fn(&mut Case<'_>, &str) -> Option<TensorId>;

/// Composed of ops that have cases of their own; the layer crate tests them.
const COMPOSED: [&str; 2] = ["sparse_categorical_focal_crossentropy", "categorical_hinge"];

/// A fixture's case being built.
pub struct Case<'a> {
    pub graph: Graph,
    pub attributes: &'a Value,
    /// The inputs.
    pub x: Vec<TensorId>,
    /// Values of the fixture's `extra_outputs`, where the op has them.
    pub extras: Vec<(&'static str, TensorId)>,
    /// The weights of a loss's mean.
    pub weights: Option<TensorId>,
}

impl Case<'_> {
    pub fn apply(&mut self, op: impl Into<Op>, inputs: &[TensorId]) -> TensorId {
        self.graph.apply(op, inputs).unwrap()
    }

    pub fn number(&self, key: &str) -> f32 {
        self.attributes[key].as_f64().unwrap_or_else(|| panic!("no {key}")) as f32
    }

    pub fn flag(&self, key: &str) -> bool {
        self.attributes[key].as_bool().unwrap()
    }

    pub fn list(&self, key: &str) -> Vec<usize> {
        let values = self.attributes[key].as_array().unwrap();
        values.iter().map(|v| v.as_u64().unwrap() as usize).collect()
    }

    pub fn pair(&self, key: &str) -> [usize; 2] {
        self.list(key).try_into().unwrap()
    }

    pub fn padding(
        &self,
        size: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
    ) -> [usize; 4] {
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

    pub fn bias(&mut self, y: TensorId, bias: Option<TensorId>) -> TensorId {
        match bias {
            Some(bias) => self.apply(Binary::Add, &[y, bias]),
            None => y,
        }
    }

    pub fn reduce(&mut self, x: TensorId, reduction: Reduction, axes: Vec<usize>) -> TensorId {
        self.apply(Reduce::Axes { reduction, axes, keep_dims: false }, &[x])
    }

    pub fn axis(&self, x: TensorId) -> usize {
        let axis = self.attributes["axis"].as_i64().unwrap();
        axis.rem_euclid(self.graph.shape(x).len() as i64) as usize
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

fn compare_all<T: Real>(limit: f64) {
    let compared: usize = FIXTURES.iter().map(|file| compare::<T>(file, limit)).sum();
    assert!(compared > 500, "only {compared} tensors");
}

/// Compares a file's cases; gives the number of tensors.
fn compare<T: Real>(file: &str, limit: f64) -> usize {
    let list = json(&format!("{file}.json"));
    let stored = tensors(&format!("{file}.safetensors"));
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
        let y = BUILDERS.iter().find_map(|build| build(&mut built, op));
        let y = y.unwrap_or_else(|| panic!("no graph for {op}"));
        if let Some(id) = built.weights {
            feeds.set(id, cast(&weights(case, &case["attributes"], &stored)));
        }

        // The gradient for an upstream gradient is that of sum(y dy).
        let upstream = &stored[case["grad_output"].as_str().unwrap()];
        let shape = built.graph.shape(y).to_vec();
        let dy = built.graph.input("dy", &shape, DType::F32);
        feeds.set(dy, cast(&upstream.floats));
        let product = built.apply(Binary::Mul, &[y, dy]);
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
    compared
}

#[test]
fn ops_in_f64() {
    compare_all::<f64>(2e-7);
}

#[test]
fn ops_in_f32() {
    compare_all::<f32>(1e-5);
}
