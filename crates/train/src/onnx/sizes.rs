//! Which dims of a graph differ from call to call.
//!
//! A graph has one size of batch and one length of each sequence. What is written must serve any, so the graph is built
//! several times: once, and once more for each size that may differ, with that one changed. A dim that changes with
//! it is a multiple of it.

use tidemill_engine::graph::{Graph, GraphError, Layout, Op, TensorId};
use tidemill_engine::nn::{Extent, LossSpec, ModelSpec, inference_graph};

/// Samples of the graphs: any two numbers.
const BATCH: [usize; 2] = [2, 3];

/// A size that differs from call to call.
pub(super) struct Symbol {
    /// What it is called.
    pub(super) name: String,
    /// The input and the dim of it that says it.
    pub(super) from: (String, usize),
    /// What it is in the first graph, and in its own one.
    values: [usize; 2],
    graph: Graph,
}

/// A graph for any size.
pub(super) struct Sizes {
    pub(super) graph: Graph,
    pub(super) symbols: Vec<Symbol>,
}

/// A dim: a number times symbols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Multiple {
    pub(super) factor: usize,
    pub(super) of: Vec<usize>,
}

impl Sizes {
    /// The inference graph of a model for any batch, and any length of sequences up to the longest.
    pub(super) fn new(model: &ModelSpec, loss: &LossSpec) -> Result<Sizes, GraphError> {
        let signature = model.signature();
        let fields = signature.inputs();
        let times: Vec<usize> = fields.iter().map(|f| f.time().unwrap_or(0)).collect();
        let first = Extent { batch: BATCH[0], times: times.clone() };
        let graph = inference_graph(model, loss, first.clone())?;
        let mut symbols = vec![Symbol {
            name: "batch".into(),
            from: (fields[0].name.clone(), 0),
            values: BATCH,
            graph: inference_graph(model, loss, Extent { batch: BATCH[1], ..first })?,
        }];
        let sequences = times.iter().filter(|&&time| time > 0).count();
        for (i, field) in fields.iter().enumerate().filter(|(i, _)| times[*i] > 1) {
            let mut shorter = times.clone();
            shorter[i] -= 1;
            let values = [times[i], shorter[i]];
            let extent = Extent { batch: BATCH[0], times: shorter };
            let name = match sequences {
                1 => "time".to_owned(),
                _ => format!("{}.time", field.name),
            };
            let from = (field.name.clone(), 1);
            let graph = inference_graph(model, loss, extent)?;
            symbols.push(Symbol { name, from, values, graph });
        }
        let sizes = Sizes { graph, symbols };
        sizes.check()?;
        Ok(sizes)
    }

    /// That the graphs differ in sizes alone.
    fn check(&self) -> Result<(), GraphError> {
        for symbol in &self.symbols {
            let alike = symbol.graph.tensors.len() == self.graph.tensors.len()
                && symbol
                    .graph
                    .tensors
                    .iter()
                    .zip(&self.graph.tensors)
                    .all(|(a, b)| a.inputs == b.inputs && sizeless(&a.op) == sizeless(&b.op));
            if !alike {
                let what = format!("the model computes other things for another {}", symbol.name);
                return Err(GraphError::new(what).help("such a model has no ONNX form"));
            }
        }
        Ok(())
    }

    /// A dim of a tensor.
    pub(super) fn dim(&self, id: TensorId, axis: usize) -> Result<Multiple, GraphError> {
        let size = self.graph.shape(id)[axis];
        let (mut factor, mut of) = (size, Vec::new());
        for (i, symbol) in self.symbols.iter().enumerate() {
            let other = symbol.graph.shape(id)[axis];
            let [value, changed] = symbol.values;
            if other == size {
                continue;
            }
            if other * value != size * changed || !factor.is_multiple_of(value) {
                let (name, shape) = (&symbol.name, self.graph.shape(id));
                return Err(GraphError::new(format!(
                    "dim {axis} of {shape:?} is no multiple of {name}, and has no ONNX form here"
                ))
                .at(&self.graph.tensor(id).name));
            }
            factor /= value;
            of.push(i);
        }
        Ok(Multiple { factor, of })
    }

    /// All dims of a tensor.
    pub(super) fn dims(&self, id: TensorId) -> Result<Vec<Multiple>, GraphError> {
        (0..self.graph.shape(id).len()).map(|axis| self.dim(id, axis)).collect()
    }

    /// A dim for people: `batch`, `3`, `2*time`.
    pub(super) fn in_words(&self, dim: &Multiple) -> String {
        let mut words: Vec<String> = dim.of.iter().map(|&i| self.symbols[i].name.clone()).collect();
        if dim.factor != 1 || words.is_empty() {
            words.insert(0, dim.factor.to_string());
        }
        words.join("*")
    }
}

/// An op without the sizes that its output's shape has as well.
fn sizeless(op: &Op) -> Op {
    match op {
        Op::Layout(Layout::Reshape(_)) => Layout::Reshape(vec![]).into(),
        Op::Layout(Layout::BroadcastTo(_)) => Layout::BroadcastTo(vec![]).into(),
        Op::Layout(Layout::Slice { start, .. }) => {
            Layout::Slice { start: start.clone(), size: vec![] }.into()
        }
        other => other.clone(),
    }
}
