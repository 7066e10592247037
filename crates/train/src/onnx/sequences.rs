//! Ops on sequences: attention, positions, recurrent layers, windows, means.

use tidemill_engine::graph::{
    Attention, Binary, Cell, Copying, GraphError, Heads, MatMul, Op, Recurrent, Relative, Rotary,
    Sequence, TensorId, Windows,
};

use super::wire::{Attribute, Type};
use super::writer::{Writer, Written};

const FLOAT: Attribute = Attribute::Int("to", Type::Float as i64);

/// Below any score, and finite, so that a softmax of nothing else is no NaN.
const BELOW_ALL: f32 = -1e30;

fn of_training() -> Written<String> {
    Err(GraphError::new("is part of a training step, and has no ONNX form here"))
}

fn without_form(what: &str) -> Written<String> {
    Err(GraphError::new(format!("{what}, which has no ONNX form here")))
}

fn perm(axes: &[i64]) -> [Attribute; 1] {
    [Attribute::Ints("perm", axes.to_vec())]
}

/// What a product reads, its kernel and the bias that is added, where there is one.
type Factors<'a> = (TensorId, &'a [f32], Option<&'a [f32]>);

impl<'a> Writer<'a> {
    pub(super) fn sequence(&mut self, op: Sequence, x: &[TensorId]) -> Written<String> {
        let Sequence::WeightedMean = op else { return of_training() };
        let [values, weights] = [self.get(x[0])?, self.get(x[1])?];
        let rank = self.shape(x[0]).len() as i64;
        let axes = self.ints(&(2..rank).collect::<Vec<i64>>());
        let by_value = self.node("Unsqueeze", &[&weights, &axes], &[]);
        let products = self.node("Mul", &[values, by_value], &[]);
        let time = self.ints(&[1]);
        let flat = [Attribute::Int("keepdims", 0)];
        let sum = self.node("ReduceSum", &[&products, &time], &flat);
        let total = self.node("ReduceSum", &[weights, time], &flat);
        let [zero, one] = [self.scalar(0.0), self.scalar(1.0)];
        let empty = self.node("Equal", &[&total, &zero], &[]);
        let total = self.node("Where", &[empty, one, total], &[]);
        let axes = self.ints(&(1..rank - 1).collect::<Vec<i64>>());
        let total = self.node("Unsqueeze", &[total, axes], &[]);
        Ok(self.node("Div", &[sum, total], &[]))
    }

    pub(super) fn windows(&mut self, op: Windows, x: &[TensorId]) -> Written<String> {
        let Windows::Gather(window) = op else { return of_training() };
        let input = self.get(x[0])?;
        let [before, after] = window.padding.map(|n| n as i64);
        let pads = self.ints(&[0, before, 0, 0, after, 0]);
        let zero = self.scalar(0.0);
        let padded = self.node("Pad", &[input, pads, zero], &[Attribute::Text("mode", "constant")]);
        let reach = window.dilation * (window.size - 1);
        let mut parts = Vec::new();
        for j in 0..window.size {
            let from = j * window.dilation;
            // Counted from the end, so that any length fits.
            let end = if from == reach { i64::MAX } else { from as i64 - reach as i64 };
            let [start, end, axis] = [from as i64, end, 1].map(|n| self.ints(&[n]));
            parts.push(self.node("Slice", &[&padded, &start, &end, &axis], &[]));
        }
        Ok(self.node("Concat", &parts, &[Attribute::Int("axis", 2)]))
    }

    pub(super) fn attention(
        &mut self,
        id: TensorId,
        op: &Attention,
        x: &[TensorId],
    ) -> Written<String> {
        let (heads, across) = match op {
            Attention::Within(heads) => (heads, false),
            Attention::Across(heads) => (heads, true),
            Attention::Cached(_) => return without_form("reads what earlier steps have kept"),
            _ => return of_training(),
        };
        if heads.dropout > 0.0 {
            return of_training();
        }
        let dim = self.shape(id)[2] / heads.queries;
        let first = self.get(x[0])?;
        let sizes = [heads.queries, heads.keys, heads.keys].map(|n| (n * dim) as i64);
        let last = [Attribute::Int("axis", 2)];
        let (q, k, v, keys_of, lengths) = match across {
            false => {
                let split = self.ints(&sizes);
                let parts = self.node_of("Split", &[first, split], 3, &last);
                let [q, k, v] = [0, 1, 2].map(|i| parts[i].clone());
                (q, k, v, x[0], x[1])
            }
            true => {
                let other = self.get(x[1])?;
                let split = self.ints(&sizes[1..]);
                let parts = self.node_of("Split", &[other, split], 2, &last);
                (first, parts[0].clone(), parts[1].clone(), x[1], x[3])
            }
        };
        // [b, heads of keys, queries of each, t, d] and [b, heads of keys, 1, d, s] or [b, heads of keys, 1, s, d]
        let shared = heads.queries / heads.keys;
        let q = self.heads(&q, [heads.keys, shared, dim], &[0, 2, 3, 1, 4]);
        let k = self.heads(&k, [heads.keys, 1, dim], &[0, 2, 3, 4, 1]);
        let v = self.heads(&v, [heads.keys, 1, dim], &[0, 2, 3, 1, 4]);
        let scale = self.scalar(1.0 / (dim as f32).sqrt());
        let q = self.node("Mul", &[q, scale], &[]);
        let mut scores = self.node("MatMul", &[q, k], &[]);
        if let Some(relative) = heads.relative {
            let bias = self.distances(heads, relative, x[0], x[2])?;
            scores = self.node("Add", &[scores, bias], &[]);
        }
        let seen = self.visible(heads, across, [x[0], keys_of], lengths)?;
        let below = self.scalar(BELOW_ALL);
        let scores = self.node("Where", &[&seen, &scores, &below], &[]);
        let mut shares = self.node("Softmax", &[scores], &[Attribute::Int("axis", -1)]);
        if across {
            // Of an empty sequence nothing is read.
            let seen = self.node("Cast", &[seen], &[FLOAT]);
            shares = self.node("Mul", &[shares, seen], &[]);
        }
        let y = self.node("MatMul", &[shares, v], &[]);
        let y = self.node("Transpose", &[y], &perm(&[0, 3, 1, 2, 4]));
        let flat = self.ints(&[0, 0, (heads.queries * dim) as i64]);
        Ok(self.node("Reshape", &[y, flat], &[]))
    }

    /// Rows `[b, t, width]` as `[b, t, a, b, c]`, then in another order.
    fn heads(&mut self, x: &str, [a, b, c]: [usize; 3], order: &[i64]) -> String {
        let dims = self.ints(&[0, 0, a as i64, b as i64, c as i64]);
        let x = self.node("Reshape", &[x, &dims], &[]);
        self.node("Transpose", &[x], &perm(order))
    }

    /// Which keys a query reads: `[b, 1, 1, t or 1, s]`.
    fn visible(
        &mut self,
        heads: &Heads,
        across: bool,
        [queries, keys]: [TensorId; 2],
        lengths: TensorId,
    ) -> Written<String> {
        if heads.causal && across {
            return without_form("is causal and reads another sequence");
        }
        let ends = self.get(lengths)?;
        let positions = self.positions(keys, 1)?;
        let axes = self.ints(&[1, 2, 3, 4]);
        let ends = self.node("Unsqueeze", &[ends, axes], &[]);
        let inside = self.node("Less", &[&positions, &ends], &[]);
        if !heads.causal {
            return Ok(inside);
        }
        let own = self.positions(queries, 1)?;
        let column = self.ints(&[-1, 1]);
        let own = self.node("Reshape", &[own, column], &[]);
        let earlier = self.node("LessOrEqual", &[positions, own], &[]);
        Ok(self.node("And", &[inside, earlier], &[]))
    }

    /// The bias of each distance: `[1, heads of keys, queries of each, t, t]`.
    fn distances(
        &mut self,
        heads: &Heads,
        relative: Relative,
        x: TensorId,
        bias: TensorId,
    ) -> Written<String> {
        let longest = self.shape(x)[1];
        // The bucket of `key - query + longest - 1`.
        let bucket = |i: usize| match i.checked_sub(longest - 1) {
            Some(later) => relative.bucket(0, later, heads.causal),
            None => relative.bucket(longest - 1 - i, 0, heads.causal),
        };
        let buckets: Vec<i64> = (0..2 * longest - 1).map(|i| bucket(i) as i64).collect();
        let buckets = self.ints(&buckets);
        let keys = self.positions(x, 1)?;
        let column = self.ints(&[-1, 1]);
        let queries = self.node("Reshape", &[&keys, &column], &[]);
        let distance = self.node("Sub", &[keys, queries], &[]);
        let shift = self.ints(&[longest as i64 - 1]);
        let distance = self.node("Add", &[distance, shift], &[]);
        let rows = [Attribute::Int("axis", 0)];
        let buckets = self.node("Gather", &[buckets, distance], &rows);
        let table = self.get(bias)?;
        let bias = self.node("Gather", &[table, buckets], &rows);
        let bias = self.node("Transpose", &[bias], &perm(&[2, 0, 1]));
        let axes = self.ints(&[0]);
        let bias = self.node("Unsqueeze", &[bias, axes], &[]);
        if heads.keys == heads.queries {
            let axes = self.ints(&[2]);
            return Ok(self.node("Unsqueeze", &[bias, axes], &[]));
        }
        let time = self.sizes.dim(x, 1)?;
        let time = self.size(&time)?;
        let lead = [1, heads.keys, heads.queries / heads.keys].map(|n| n as i64);
        let lead = self.ints(&lead);
        let dims = self.node("Concat", &[&lead, &time, &time], &[Attribute::Int("axis", 0)]);
        Ok(self.node("Reshape", &[bias, dims], &[]))
    }

    pub(super) fn rotary(&mut self, op: &Rotary, x: &[TensorId]) -> Written<String> {
        if op.room.is_some() {
            return without_form("turns rows at given positions");
        }
        let Rotary { heads, dim, inverse, .. } = *op;
        let [longest, width] = [self.shape(x[0])[1], self.shape(x[0])[2]];
        let half = dim / 2;
        let angles = |f: fn(f64) -> f64| -> Vec<f32> {
            let at = |i: usize| f(op.angle(i / half, i % half)) as f32;
            (0..longest * half).map(at).collect()
        };
        let time = self.sizes.dim(x[0], 1)?;
        let time = self.size(&time)?;
        let table = |w: &mut Self, name: &str, values: Vec<f32>| {
            let base = op.base;
            w.once(&format!("{name}/{longest}/{dim}/{base}/{inverse}"), |w| {
                let name = format!("rotary_{name}_{}", w.next_constant());
                let all = w.floats(&name, &[longest, 1, 1, half], &values);
                let [start, axis] = [w.ints(&[0]), w.ints(&[0])];
                Ok(w.node("Slice", &[all, start, time.clone(), axis], &[]))
            })
        };
        let sign = if inverse { -1.0 } else { 1.0 };
        let sines = angles(f64::sin).into_iter().map(|sine| sign * sine).collect();
        let cos = table(self, "cos", angles(f64::cos))?;
        let sin = table(self, "sin", sines)?;
        let turned = heads * dim;
        let mut parts = vec![self.get(x[0])?];
        if turned < width {
            let split = self.ints(&[turned as i64, (width - turned) as i64]);
            parts = self.node_of("Split", &[&parts[0], &split], 2, &[Attribute::Int("axis", 2)]);
        }
        let dims = self.ints(&[0, 0, heads as i64, 2, half as i64]);
        let pairs = self.node("Reshape", &[&parts[0], &dims], &[]);
        let split = self.ints(&[1, 1]);
        let pairs = self.node_of("Split", &[pairs, split], 2, &[Attribute::Int("axis", 3)]);
        let mut product = |a: &str, b: &str| self.node("Mul", &[a, b], &[]);
        let [a, b] = [&pairs[0], &pairs[1]];
        let (a_cos, b_sin) = (product(a, &cos), product(b, &sin));
        let (b_cos, a_sin) = (product(b, &cos), product(a, &sin));
        let a = self.node("Sub", &[a_cos, b_sin], &[]);
        let b = self.node("Add", &[b_cos, a_sin], &[]);
        let y = self.node("Concat", &[a, b], &[Attribute::Int("axis", 3)]);
        let dims = self.ints(&[0, 0, turned as i64]);
        parts[0] = self.node("Reshape", &[y, dims], &[]);
        Ok(match parts.as_slice() {
            [one] => one.clone(),
            parts => self.node("Concat", parts, &[Attribute::Int("axis", 2)]),
        })
    }

    /// A recurrent layer. Here its inputs are already products, with a bias of their own; in ONNX the layer makes them.
    pub(super) fn recurrent(&mut self, op: Recurrent, x: &[TensorId]) -> Written<String> {
        let Recurrent::States(scan) = op else { return of_training() };
        let units = self.shape(x[1])[0];
        // The gates in ONNX's order, by their places here.
        let (kind, order): (&str, &[usize]) = match scan.cell {
            Cell::Gru { .. } => ("GRU", &[1, 0, 2]),
            Cell::Lstm => ("LSTM", &[0, 3, 1, 2]),
        };
        let width = order.len() * units;
        let recurrent_bias = x.get(3).map(|&id| self.weights(id));
        let (Some(recurrent), false) = (self.weights(x[1]), recurrent_bias == Some(None)) else {
            return without_form("has a recurrent kernel or bias that is computed");
        };
        let rows = order.iter().flat_map(|gate| gate * units..(gate + 1) * units);
        let rows: Vec<usize> = rows.collect();
        let identity: Vec<f32>;
        let (read, kernel, bias) = match self.product_of(x[0]) {
            Some(found) => found,
            None => {
                identity =
                    (0..width * width).map(|i| f32::from(u8::from(i % (width + 1) == 0))).collect();
                (x[0], &identity[..], None)
            }
        };
        // [in, gates] to [gates, in]
        let turned = |kernel: &[f32]| -> Vec<f32> {
            let inputs = kernel.len() / width;
            rows.iter()
                .flat_map(|&row| (0..inputs).map(move |i| (i, row)))
                .map(|(i, row)| kernel[i * width + row])
                .collect()
        };
        let of_gates = |bias: Option<&[f32]>| -> Vec<f32> {
            rows.iter().map(|&row| bias.map_or(0.0, |bias| bias[row])).collect()
        };
        let biases = [of_gates(bias), of_gates(recurrent_bias.flatten())].concat();
        let inputs = kernel.len() / width;
        let name = self.sizes.graph.tensor(x[1]).name.clone();
        let gates = self.floats(&format!("{name}.inputs"), &[1, width, inputs], &turned(kernel));
        let dims = [1, width, units];
        let kernel = self.floats(&format!("{name}.turned"), &dims, &turned(recurrent));
        let biases = self.floats(&format!("{name}.biases"), &[1, 2 * width], &biases);
        let [sequence, lengths] = [self.get(read)?, self.get(x[2])?];
        let by_time = self.node("Transpose", &[sequence], &perm(&[1, 0, 2]));
        let ends = self.node("Cast", &[lengths], &[Attribute::Int("to", Type::Int32 as i64)]);
        let direction = if scan.reverse { "reverse" } else { "forward" };
        let mut how = vec![
            Attribute::Int("hidden_size", units as i64),
            Attribute::Text("direction", direction),
        ];
        if kind == "GRU" {
            how.push(Attribute::Int("linear_before_reset", 1));
        }
        let states = self.node(kind, &[by_time, gates, kernel, biases, ends], &how);
        let axis = self.ints(&[1]);
        let states = self.node("Squeeze", &[states, axis], &[]);
        Ok(self.node("Transpose", &[states], &perm(&[1, 0, 2])))
    }

    /// What a value is the product of, with the kernel and the bias, where those are weights.
    fn product_of(&self, id: TensorId) -> Option<Factors<'a>> {
        let graph = &self.sizes.graph;
        let (product, bias) = match &graph.tensor(id).op {
            Op::Binary(Binary::Add) => {
                let inputs = &graph.tensor(id).inputs;
                (inputs[0], Some(self.weights(inputs[1])?))
            }
            _ => (id, None),
        };
        let tensor = graph.tensor(product);
        match &tensor.op {
            Op::MatMul(MatMul { transpose_a: false, transpose_b: false, .. }) => {
                Some((tensor.inputs[0], self.weights(tensor.inputs[1])?, bias))
            }
            _ => None,
        }
    }

    pub(super) fn copying(&mut self, op: Copying, x: &[TensorId]) -> Written<String> {
        let Copying::Mix = op else { return of_training() };
        let dim = self.shape(x[2])[2];
        let [logits, query, keys, tokens, lengths] = [0, 1, 2, 3, 4].map(|i| self.get(x[i]));
        let [logits, query, keys, tokens, lengths] = [logits?, query?, keys?, tokens?, lengths?];
        let softmax = [Attribute::Int("axis", -1)];
        let written = self.node("Softmax", &[&logits], &softmax);
        let split = self.ints(&[dim as i64, 1]);
        let parts = self.node_of("Split", &[query, split], 2, &[Attribute::Int("axis", 2)]);
        let scale = self.scalar(1.0 / (dim as f32).sqrt());
        let q = self.node("Mul", &[&parts[0], &scale], &[]);
        let keys = self.node("Transpose", &[keys], &perm(&[0, 2, 1]));
        let scores = self.node("MatMul", &[q, keys], &[]);
        let positions = self.positions(x[2], 1)?;
        let axes = self.ints(&[1, 2]);
        let ends = self.node("Unsqueeze", &[lengths, axes], &[]);
        let inside = self.node("Less", &[&positions, &ends], &[]);
        let below = self.scalar(BELOW_ALL);
        let masked = self.node("Where", &[&inside, &scores, &below], &[]);
        let attention = self.node("Softmax", &[masked], &softmax);
        let inside = self.node("Cast", &[inside], &[FLOAT]);
        let attention = self.node("Mul", &[attention, inside], &[]);
        let zero = self.scalar(0.0);
        let nothing = self.node("Mul", &[&logits, &zero], &[]);
        let axes = self.ints(&[1]);
        let tokens = self.node("Unsqueeze", &[tokens, axes], &[]);
        let dims = self.node("Shape", &[&attention], &[]);
        let places = self.node("Expand", &[tokens, dims], &[]);
        let how = [Attribute::Int("axis", 2), Attribute::Text("reduction", "add")];
        let copied = self.node("ScatterElements", &[nothing, places, attention], &how);
        let share = self.node("Sigmoid", &[&parts[1]], &[]);
        // Where a source is empty, nothing is copied.
        let [none, one] = [self.whole(&[], &[0]), self.scalar(1.0)];
        let empty = self.node("Equal", &[ends, none], &[]);
        let share = self.node("Where", &[&empty, &one, &share], &[]);
        let rest = self.node("Sub", &[&one, &share], &[]);
        let own = self.node("Mul", &[share, written], &[]);
        let others = self.node("Mul", &[rest, copied], &[]);
        let mixed = self.node("Add", &[own, others], &[]);
        Ok(self.node("Log", &[mixed], &[]))
    }
}
