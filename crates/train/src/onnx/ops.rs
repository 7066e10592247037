//! How each op is written: an exhaustive match, so that a new op says here what it becomes, or that it has no ONNX form.

use tidemill_engine::graph::{
    BatchNorm, Binary, Embedding, Given, GraphError, Layout, MatMul, Normalization, Op, Reduce,
    Reduction, RowNorm, Softmax, TensorId, Unary,
};

use super::wire::{Attribute, Type};
use super::writer::{Writer, Written};

const FLOAT: Attribute = Attribute::Int("to", Type::Float as i64);

/// An op that only a training step has.
fn of_training() -> Written<String> {
    Err(GraphError::new("is part of a training step, and has no ONNX form here"))
}

impl Writer<'_> {
    /// Writes the op of a tensor.
    pub(super) fn op(&mut self, id: TensorId) -> Written {
        self.enter(id);
        let sizes = self.sizes;
        let tensor = sizes.graph.tensor(id);
        let x = &tensor.inputs;
        let written = match &tensor.op {
            Op::Given(Given::Source) => return Ok(()),
            Op::Given(Given::Constant(value)) => Ok(self.scalar(*value)),
            Op::Given(Given::Integer(value)) => Ok(self.ints(&[i64::from(*value)])),
            Op::MatMul(op) => self.matmul(*op, x),
            Op::Conv(op) => {
                return self.conv(id, op, x).map_err(|e| at(e, &tensor.name, &tensor.op));
            }
            Op::Pool(op) => {
                return self.pool(id, op, x).map_err(|e| at(e, &tensor.name, &tensor.op));
            }
            Op::BatchNorm(op) => {
                return self.batch_norm(id, op, x).map_err(|e| at(e, &tensor.name, &tensor.op));
            }
            Op::RowNorm(op) => self.row_norm(op, x),
            Op::Dropout(_) => of_training(),
            Op::Embedding(op) => self.embedding(*op, x),
            Op::Unary(op) => {
                return self.unary(id, *op, x[0]).map_err(|e| at(e, &tensor.name, &tensor.op));
            }
            Op::UnaryGrad(_) | Op::PairLossGrad(_) | Op::Loss(_) | Op::Ctc(_) | Op::Ring(_) => {
                of_training()
            }
            // A loop over positions, each of which depends on what was written before.
            Op::Transducer(_) => Err(GraphError::new("has no ONNX form here")),
            Op::Binary(op) => {
                return self.binary(id, *op, x).map_err(|e| at(e, &tensor.name, &tensor.op));
            }
            Op::Softmax(op) => self.softmax(*op, x),
            Op::Reduce(op) => {
                return self.reduce(id, op, x).map_err(|e| at(e, &tensor.name, &tensor.op));
            }
            Op::Sequence(op) => self.sequence(*op, x),
            Op::Attention(op) => self.attention(id, op, x),
            Op::Rotary(op) => self.rotary(op, x),
            Op::Copying(op) => self.copying(*op, x),
            Op::Recurrent(op) => self.recurrent(*op, x),
            Op::Windows(op) => self.windows(*op, x),
            Op::Layout(op) => self.layout(id, op, x),
        };
        let name = written.map_err(|e| at(e, &tensor.name, &tensor.op))?;
        self.set(id, name);
        Ok(())
    }

    fn matmul(&mut self, op: MatMul, x: &[TensorId]) -> Written<String> {
        // What the rows beyond a sample's end hold reaches no other row, so that they need not be zeros.
        if op.ragged && op.transpose_a {
            return of_training();
        }
        let [mut a, mut b] = [self.get(x[0])?, self.get(x[1])?];
        if self.shape(x[0]).len() == 2 && self.shape(x[1]).len() == 2 {
            let flags = [("transA", op.transpose_a), ("transB", op.transpose_b)];
            let flags = flags.map(|(name, flag)| Attribute::Int(name, flag.into()));
            return Ok(self.node("Gemm", &[a, b], &flags));
        }
        for (name, id, flag) in [(&mut a, x[0], op.transpose_a), (&mut b, x[1], op.transpose_b)] {
            if flag {
                let rank = self.shape(id).len() as i64;
                let mut perm: Vec<i64> = (0..rank).collect();
                perm.swap(rank as usize - 1, rank as usize - 2);
                *name = self.node("Transpose", &[&*name], &[Attribute::Ints("perm", perm)]);
            }
        }
        Ok(self.node("MatMul", &[a, b], &[]))
    }

    fn row_norm(&mut self, op: &RowNorm, x: &[TensorId]) -> Written<String> {
        let RowNorm::Forward { kind, epsilon } = *op else { return of_training() };
        let inputs = x.iter().map(|&id| self.get(id)).collect::<Written<Vec<String>>>()?;
        Ok(match kind {
            Normalization::Layer => {
                let how = [Attribute::Int("axis", -1), Attribute::Float("epsilon", epsilon)];
                self.node("LayerNormalization", &inputs, &how)
            }
            Normalization::Rms => {
                let [x, gamma] = [&inputs[0], &inputs[1]];
                let squares = self.node("Mul", &[x, x], &[]);
                let last = self.ints(&[-1]);
                let mean = self.node("ReduceMean", &[squares, last], &[]);
                let epsilon = self.scalar(epsilon);
                let sum = self.node("Add", &[mean, epsilon], &[]);
                let root = self.node("Sqrt", &[sum], &[]);
                let h = self.node("Div", &[x, &root], &[]);
                self.node("Mul", &[&h, gamma], &[])
            }
        })
    }

    fn embedding(&mut self, op: Embedding, x: &[TensorId]) -> Written<String> {
        let [table, mut ids] = [self.get(x[0])?, self.get(x[1])?];
        ids = self.node("Cast", &[ids], &[Attribute::Int("to", Type::Int64 as i64)]);
        match op {
            Embedding::Rows => Ok(self.node("Gather", &[table, ids], &[Attribute::Int("axis", 0)])),
            Embedding::Bag => {
                let rows = self.node("Gather", &[&table, &ids], &[Attribute::Int("axis", 0)]);
                // An id of 0 is no token.
                let zero = self.whole(&[], &[0]);
                let empty = self.node("Equal", &[ids, zero], &[]);
                let tokens = self.node("Not", &[empty], &[]);
                let tokens = self.node("Cast", &[tokens], &[FLOAT]);
                let axis = self.ints(&[2]);
                let tokens = self.node("Unsqueeze", &[tokens, axis], &[]);
                let rows = self.node("Mul", &[rows, tokens], &[]);
                let axis = self.ints(&[1]);
                Ok(self.node("ReduceSum", &[rows, axis], &[Attribute::Int("keepdims", 0)]))
            }
            Embedding::RowsGrad { .. } | Embedding::BagGrad { .. } => of_training(),
        }
    }

    fn unary(&mut self, id: TensorId, op: Unary, x: TensorId) -> Written {
        let (inputs, first) = self.aligned(id, &[x])?;
        let y = self.unary_of(op, &inputs[0]);
        match first {
            true => self.set_first(id, y),
            false => self.set(id, y),
        }
        Ok(())
    }

    fn unary_of(&mut self, op: Unary, x: &str) -> String {
        let plain = |w: &mut Self, kind: &str| w.node(kind, &[x], &[]);
        match op {
            Unary::Neg => plain(self, "Neg"),
            Unary::Abs => plain(self, "Abs"),
            Unary::Sign => plain(self, "Sign"),
            Unary::Square => self.node("Mul", &[x, x], &[]),
            Unary::Reciprocal => plain(self, "Reciprocal"),
            Unary::Affine { scale, shift } => {
                let scaled = self.by(x, "Mul", scale, 1.0);
                self.by(&scaled, "Add", shift, 0.0)
            }
            Unary::Relu => plain(self, "Relu"),
            Unary::LeakyRelu { slope } => {
                self.node("LeakyRelu", &[x], &[Attribute::Float("alpha", slope)])
            }
            Unary::Elu { alpha } => self.node("Elu", &[x], &[Attribute::Float("alpha", alpha)]),
            Unary::GeluErf => {
                let inner = self.by(x, "Mul", std::f32::consts::FRAC_1_SQRT_2, 1.0);
                let erf = self.node("Erf", &[inner], &[]);
                self.half_of(x, &erf)
            }
            Unary::GeluTanh => {
                let square = self.node("Mul", &[x, x], &[]);
                let cubic = self.by(&square, "Mul", 0.044715, 1.0);
                let factor = self.by(&cubic, "Add", 1.0, 0.0);
                let inner = self.node("Mul", &[x, &factor], &[]);
                // sqrt(2 / pi)
                let inner = self.by(&inner, "Mul", 0.797_884_6, 1.0);
                let tanh = self.node("Tanh", &[inner], &[]);
                self.half_of(x, &tanh)
            }
            Unary::Silu => {
                let sigmoid = plain(self, "Sigmoid");
                self.node("Mul", &[x, &sigmoid], &[])
            }
            Unary::HardSwish => plain(self, "HardSwish"),
            Unary::Sigmoid => plain(self, "Sigmoid"),
            Unary::Tanh => plain(self, "Tanh"),
            Unary::Softplus => plain(self, "Softplus"),
            Unary::Exp => plain(self, "Exp"),
            Unary::Log => plain(self, "Log"),
            Unary::Sqrt => plain(self, "Sqrt"),
            Unary::Pow { exponent } => {
                let exponent = self.scalar(exponent);
                self.node("Pow", &[x, &exponent], &[])
            }
            Unary::Clip { low, high } => {
                let [low, high] = [self.scalar(low), self.scalar(high)];
                self.node("Clip", &[x, &low, &high], &[])
            }
        }
    }

    /// `x` and a number, unless that changes nothing.
    fn by(&mut self, x: &str, kind: &str, value: f32, nothing: f32) -> String {
        if value == nothing {
            return x.to_owned();
        }
        let value = self.scalar(value);
        self.node(kind, &[x, &value], &[])
    }

    /// `x / 2 (1 + y)`
    fn half_of(&mut self, x: &str, y: &str) -> String {
        let factor = self.by(y, "Add", 1.0, 0.0);
        let half = self.by(x, "Mul", 0.5, 1.0);
        self.node("Mul", &[half, factor], &[])
    }

    fn binary(&mut self, id: TensorId, op: Binary, x: &[TensorId]) -> Written {
        let kind = match op {
            Binary::Add => "Add",
            Binary::Sub => "Sub",
            Binary::Mul => "Mul",
            Binary::Div => "Div",
            Binary::Max => "Max",
            Binary::Min => "Min",
            Binary::GreaterEqual => "GreaterOrEqual",
            Binary::Loss(_) => return of_training().map(|_| ()),
        };
        let (inputs, first) = self.aligned(id, x)?;
        let mut y = self.node(kind, &inputs, &[]);
        if op == Binary::GreaterEqual {
            y = self.node("Cast", &[y], &[FLOAT]);
        }
        match first {
            true => self.set_first(id, y),
            false => self.set(id, y),
        }
        Ok(())
    }

    fn softmax(&mut self, op: Softmax, x: &[TensorId]) -> Written<String> {
        let kind = match op {
            Softmax::Plain => "Softmax",
            Softmax::Log => "LogSoftmax",
            Softmax::PlainGrad | Softmax::LogGrad => return of_training(),
        };
        let x = self.get(x[0])?;
        Ok(self.node(kind, &[x], &[Attribute::Int("axis", -1)]))
    }

    fn reduce(&mut self, id: TensorId, op: &Reduce, x: &[TensorId]) -> Written {
        let Reduce::Axes { reduction, axes, keep_dims } = op else {
            return of_training().map(|_| ());
        };
        let kind = match reduction {
            Reduction::Sum => "ReduceSum",
            Reduction::Mean => "ReduceMean",
            Reduction::Max => "ReduceMax",
        };
        // Of all pixels: the channels are what stays in either order.
        let first = axes == &[1, 2] && self.is_first(x[0]);
        let axes: Vec<i64> = match first {
            true => vec![2, 3],
            false => axes.iter().map(|&axis| axis as i64).collect(),
        };
        let x = if first { self.first(x[0])? } else { self.get(x[0])? };
        let axes = self.ints(&axes);
        let y = self.node(kind, &[x, axes], &[Attribute::Int("keepdims", (*keep_dims).into())]);
        match first && *keep_dims {
            true => self.set_first(id, y),
            false => self.set(id, y),
        }
        Ok(())
    }

    /// Batch norm with the running statistics.
    fn batch_norm(&mut self, id: TensorId, op: &BatchNorm, x: &[TensorId]) -> Written {
        let BatchNorm::Eval { epsilon } = *op else { return of_training().map(|_| ()) };
        let Some(moments) = self.weights(x[1]) else {
            return Err(GraphError::new(
                "has statistics that are computed, which has no ONNX form",
            ));
        };
        let name = &self.sizes.graph.tensor(x[1]).name;
        let channels = moments.len() / 2;
        let mean = self.floats(&format!("{name}.mean"), &[channels], &moments[..channels]);
        let variance = self.floats(&format!("{name}.variance"), &[channels], &moments[channels..]);
        let [gamma, beta] = [self.get(x[2])?, self.get(x[3])?];
        let rank = self.shape(x[0]).len();
        let input = if rank == 4 { self.first(x[0])? } else { self.get(x[0])? };
        if rank == 4 || rank == 2 {
            let inputs = [input, gamma, beta, mean, variance];
            let how = [Attribute::Float("epsilon", epsilon)];
            let y = self.node("BatchNormalization", &inputs, &how);
            match rank {
                4 => self.set_first(id, y),
                _ => self.set(id, y),
            }
            return Ok(());
        }
        let centred = self.node("Sub", &[input, mean], &[]);
        let variance = self.by(&variance, "Add", epsilon, 0.0);
        let root = self.node("Sqrt", &[variance], &[]);
        let h = self.node("Div", &[centred, root], &[]);
        let scaled = self.node("Mul", &[h, gamma], &[]);
        let y = self.node("Add", &[scaled, beta], &[]);
        self.set(id, y);
        Ok(())
    }

    fn layout(&mut self, id: TensorId, op: &Layout, x: &[TensorId]) -> Written<String> {
        let input = self.get(x[0])?;
        let signed = |values: &[usize]| values.iter().map(|&v| v as i64).collect::<Vec<i64>>();
        match op {
            Layout::BroadcastTo(_) => {
                let dims = self.dims(id, false)?;
                Ok(self.node("Expand", &[input, dims], &[]))
            }
            Layout::Reshape(_) => {
                let dims = self.dims(id, true)?;
                Ok(self.node("Reshape", &[input, dims], &[]))
            }
            Layout::Transpose(axes) => {
                Ok(self.node("Transpose", &[input], &[Attribute::Ints("perm", signed(axes))]))
            }
            Layout::Concat { axis } => {
                let inputs = x.iter().map(|&id| self.get(id)).collect::<Written<Vec<String>>>()?;
                Ok(self.node("Concat", &inputs, &[Attribute::Int("axis", *axis as i64)]))
            }
            Layout::Slice { start, .. } => self.slice(id, x[0], input, start),
            Layout::Pad { before, after, value } => {
                let pads = self.ints(&[signed(before), signed(after)].concat());
                let value = self.scalar(*value);
                Ok(self.node("Pad", &[input, pads, value], &[Attribute::Text("mode", "constant")]))
            }
            Layout::StopGradient => Ok(input),
        }
    }

    /// The part of `x` that starts there and has the dims of `id`.
    fn slice(
        &mut self,
        id: TensorId,
        x: TensorId,
        input: String,
        start: &[usize],
    ) -> Written<String> {
        let (mut axes, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for (axis, &start) in start.iter().enumerate() {
            let [size, of] = [self.sizes.dim(id, axis)?, self.sizes.dim(x, axis)?];
            if start == 0 && size == of {
                continue;
            }
            axes.push(axis as i64);
            starts.push(start as i64);
            ends.push(match size.of.is_empty() {
                true => self.ints(&[(start + size.factor) as i64]),
                false => {
                    let size = self.size(&size)?;
                    let start = self.ints(&[start as i64]);
                    self.node("Add", &[size, start], &[])
                }
            });
        }
        if axes.is_empty() {
            return Ok(input);
        }
        let end = match ends.as_slice() {
            [one] => one.clone(),
            ends => self.node("Concat", ends, &[Attribute::Int("axis", 0)]),
        };
        let [starts, axes] = [self.ints(&starts), self.ints(&axes)];
        Ok(self.node("Slice", &[input, starts, end, axes], &[]))
    }
}

/// The error with the layer and the op.
fn at(mut error: GraphError, tensor: &str, op: &Op) -> GraphError {
    let path = tensor.rsplit_once('.').map_or("", |(path, _)| path);
    if error.path.is_empty() {
        error.message = format!("{} {}", op.name(), error.message);
    }
    error.at(path)
}
