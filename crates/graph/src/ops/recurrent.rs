//! Recurrent layers: a state that is carried from position to position of a sequence.

use super::Family;
use super::layout::Layout;
use super::matmul::MatMul;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::graph::TensorId;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// How a state follows from the one before and from the inputs `x` of a position. `p = h U + bias` is the recurrent
/// product, `s` the sigmoid; parts of `x`, `U` and `p` are named by their gate and stand in the order in which they are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// The gated recurrent unit (Cho et al. 2014) with the reset gate after the product, as PyTorch's and that of Keras with
    /// `reset_after`: gates reset, update and new, `r = s(x_r + p_r)`, `z = s(x_z + p_z)`, `n = tanh(x_n + r p_n)`,
    /// `h' = (1 - z) n + z h`.
    Gru {
        /// Whether the product has a bias, the last input of the op.
        bias: bool,
    },
    /// Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate (Gers et al. 2000), as PyTorch's and Keras's: gates
    /// input, forget, candidate and output, `i = s(x_i + p_i)`, `f = s(x_f + p_f)`, `g = tanh(x_g + p_g)`, `o = s(x_o + p_o)`, with the
    /// cell `c' = f c + i g` beside the state `h' = o tanh(c')`. Its bias is part of `x`.
    Lstm,
}

impl Cell {
    /// Gates: parts of a position's inputs and of the recurrent kernel's columns.
    pub fn gates(self) -> usize {
        match self {
            Cell::Gru { .. } => 3,
            Cell::Lstm => 4,
        }
    }

    /// Whether the recurrent product has a bias.
    pub fn has_bias(self) -> bool {
        match self {
            Cell::Gru { bias } => bias,
            Cell::Lstm => false,
        }
    }
}

/// How a layer goes through a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// What it computes at a position.
    pub cell: Cell,
    /// Whether it starts at the last position of each sample and ends at the first.
    pub reverse: bool,
}

/// A recurrent layer over sequences, and its gradients. The state is 0 before the first position; positions beyond a
/// sample's length do not change it, are not read, and what they give is 0.
///
/// All read `(x[b, t, gates u], U[u, gates u], lengths i32[b])`, the gradients then `y` and `dy`, and all last the bias
/// `[gates u]` where the cell has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recurrent {
    /// `-> y[b, t, u]`: the state after each position.
    States(Scan),
    /// `(..., y, dy) -> dx`
    GradInputs(Scan),
    /// `(..., y, dy) -> dp[b, t, gates u]`: the gradient of the recurrent product at each position.
    GradProducts(Scan),
}

/// The sizes of a recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanShape {
    /// What is computed.
    pub scan: Scan,
    /// Samples.
    pub batch: usize,
    /// Room for positions.
    pub time: usize,
    /// Values of a state.
    pub units: usize,
}

impl ScanShape {
    /// Values of a position's inputs.
    pub fn width(&self) -> usize {
        self.scan.cell.gates() * self.units
    }

    /// Floating-point operations of the recurrent products of all positions.
    pub fn products(&self) -> usize {
        2 * self.batch * self.time * self.units * self.width()
    }
}

impl Recurrent {
    /// How the op goes through a sequence.
    pub fn scan(self) -> Scan {
        let (Recurrent::States(scan) | Recurrent::GradInputs(scan) | Recurrent::GradProducts(scan)) =
            self;
        scan
    }

    /// The sizes, from the dims of the inputs `x` and `U`.
    pub fn sizes(self, x: &[usize], kernel: &[usize]) -> ScanShape {
        ScanShape { scan: self.scan(), batch: x[0], time: x[1], units: kernel[0] }
    }

    fn is_gradient(self) -> bool {
        !matches!(self, Recurrent::States(_))
    }
}

impl Family for Recurrent {
    fn name(&self) -> &'static str {
        match (self, self.scan().cell) {
            (Recurrent::States(_), Cell::Gru { .. }) => "gru",
            (Recurrent::GradInputs(_), Cell::Gru { .. }) => "gru_grad_inputs",
            (Recurrent::GradProducts(_), Cell::Gru { .. }) => "gru_grad_products",
            (Recurrent::States(_), Cell::Lstm) => "lstm",
            (Recurrent::GradInputs(_), Cell::Lstm) => "lstm_grad_inputs",
            (Recurrent::GradProducts(_), Cell::Lstm) => "lstm_grad_products",
        }
    }

    fn inputs(&self) -> Inputs {
        const F: Input = Input::FLOAT;
        const STATES: &[Input] = &[F, F, Input::integer("lengths"), F];
        const GRADIENT: &[Input] = &[F, F, Input::integer("lengths"), F, F, F];
        let all = if self.is_gradient() { GRADIENT } else { STATES };
        Inputs::Each(if self.scan().cell.has_bias() { all } else { &all[..all.len() - 1] })
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        let cell = self.scan().cell;
        let [batch, time, width] = dims.rank(0, "inputs", "batch, time, gates x units")?;
        let gates = cell.gates();
        dims.check(width > 0 && width.is_multiple_of(gates), || {
            format!("{width} values of a position are no whole number for each of {gates} gates")
        })?;
        let units = width / gates;
        dims.expect(1, "a recurrent kernel", &[units, width])?;
        dims.expect(2, "lengths", &[batch])?;
        let y = [batch, time, units];
        if self.is_gradient() {
            dims.expect(3, "y", &y)?;
            dims.expect(4, "dy", &y)?;
        }
        if cell.has_bias() {
            dims.expect(dims.len() - 1, "a bias", &[width])?;
        }
        Ok(if self.is_gradient() { dims.of(0).to_vec() } else { y.to_vec() })
    }

    /// Time reversed: the gradient of a state is `dy` and what comes from the state after it. Those of the products at all
    /// positions, `dp`, give the recurrent kernel's by one matrix product, `dU = h' dp`, and the bias's, their sum. Saves the
    /// inputs and y.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        let Recurrent::States(scan) = *self else { return back.no_second_derivative(node) };
        let (given, bias) = node.x.split_at(3);
        let inputs = [given, &[node.y, node.dy], bias].concat();
        if back.needs(node, 0) {
            let dx = back.apply(Recurrent::GradInputs(scan), &inputs)?;
            back.give(node, 0, dx)?;
        }
        let of_bias = !bias.is_empty() && back.needs(node, 3);
        if !back.needs(node, 1) && !of_bias {
            return Ok(());
        }
        let dp = back.apply(Recurrent::GradProducts(scan), &inputs)?;
        if back.needs(node, 1) {
            let before = states_before(back, node.y, scan.reverse)?;
            let shape = back.shape(dp);
            let rows = shape[0] * shape[1];
            let (width, units) = (shape[2], back.shape(before)[2]);
            let before = back.reshaped(before, &[rows, units])?;
            let dp = back.reshaped(dp, &[rows, width])?;
            let product = MatMul { transpose_a: true, transpose_b: false, ragged: true };
            let dkernel = back.apply(product, &[before, dp, node.x[2]])?;
            back.give(node, 1, dkernel)?;
        }
        if of_bias {
            let dbias = back.sum(dp, vec![0, 1])?;
            back.give(node, 3, dbias)?;
        }
        Ok(())
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let shape = self.sizes(args.dims(0), args.dims(1));
        let bias = if self.is_gradient() { 5 } else { 3 };
        let naive = Naive {
            shape,
            x: args.floats(0),
            kernel: args.floats(1),
            lengths: args.ints(2),
            bias: shape.scan.cell.has_bias().then(|| args.floats(bias)),
        };
        let mut out = args.zeros();
        for b in 0..shape.batch {
            let steps = naive.steps(b);
            match self {
                Recurrent::States(_) => {
                    for step in &steps {
                        out[step.row * shape.units..][..shape.units].copy_from_slice(&step.after.h);
                    }
                }
                _ => {
                    let of_products = matches!(self, Recurrent::GradProducts(_));
                    naive.backward(&steps, args.floats(4), of_products, &mut out);
                }
            }
        }
        Ok(out.into())
    }
}

/// The state before each position: that of its neighbour, 0 where a sample starts. Beyond a sample's end it is 0 too, or the last
/// state, but the gradient of a product there is 0.
fn states_before(
    back: &mut Backward<'_>,
    y: TensorId,
    reverse: bool,
) -> Result<TensorId, GraphError> {
    let [batch, time, units] = [0, 1, 2].map(|i| back.shape(y)[i]);
    if time == 1 {
        return back.affine(y, 0.0, 0.0);
    }
    let start = vec![0, usize::from(reverse), 0];
    let neighbours = Layout::Slice { start, size: vec![batch, time - 1, units] };
    let y = back.apply(neighbours, &[y])?;
    let (none, one) = (vec![0; 3], vec![0, 1, 0]);
    let (before, after) = if reverse { (none, one) } else { (one, none) };
    back.apply(Layout::Pad { before, after, value: 0.0 }, &[y])
}

/// The reference.
struct Naive<'a, T> {
    shape: ScanShape,
    x: &'a [T],
    kernel: &'a [T],
    lengths: &'a [i32],
    bias: Option<&'a [T]>,
}

/// What is carried from position to position.
#[derive(Clone)]
struct State<T> {
    h: Vec<T>,
    /// The cell of an LSTM.
    c: Vec<T>,
}

impl<T: Real> State<T> {
    fn zeros(units: usize) -> State<T> {
        State { h: vec![T::ZERO; units], c: vec![T::ZERO; units] }
    }
}

/// What happens at a position.
struct Step<T> {
    /// Which of all rows of `x` it is.
    row: usize,
    /// The recurrent product.
    product: Vec<T>,
    gates: Vec<T>,
    before: State<T>,
    after: State<T>,
}

impl<T: Real> Naive<'_, T> {
    /// The positions of a sample in the order in which they are met.
    fn steps(&self, b: usize) -> Vec<Step<T>> {
        let ScanShape { scan, time, units, .. } = self.shape;
        let length = (self.lengths[b].max(0) as usize).min(time);
        let mut state = State::zeros(units);
        let mut steps = Vec::new();
        for i in 0..length {
            let row = b * time + if scan.reverse { length - 1 - i } else { i };
            let step = self.step(row, state);
            state = step.after.clone();
            steps.push(step);
        }
        steps
    }

    fn step(&self, row: usize, before: State<T>) -> Step<T> {
        let (units, width) = (self.shape.units, self.shape.width());
        let x = &self.x[row * width..][..width];
        let p: Vec<T> = (0..width)
            .map(|k| {
                let bias = self.bias.map_or(T::ZERO, |bias| bias[k]);
                (0..units).map(|i| before.h[i] * self.kernel[i * width + k]).sum::<T>() + bias
            })
            .collect();
        let mut gates = vec![T::ZERO; width];
        let mut after = before.clone();
        for j in 0..units {
            let [a, b, c] = [0, 1, 2].map(|gate| gate * units + j);
            match self.shape.scan.cell {
                Cell::Gru { .. } => {
                    let (r, z) = ((x[a] + p[a]).sigmoid(), (x[b] + p[b]).sigmoid());
                    let n = (x[c] + r * p[c]).tanh();
                    (gates[a], gates[b], gates[c]) = (r, z, n);
                    after.h[j] = (T::ONE - z) * n + z * before.h[j];
                }
                Cell::Lstm => {
                    let d = 3 * units + j;
                    let [i, f, o] = [a, b, d].map(|k| (x[k] + p[k]).sigmoid());
                    let g = (x[c] + p[c]).tanh();
                    (gates[a], gates[b], gates[c], gates[d]) = (i, f, g, o);
                    after.c[j] = f * before.c[j] + i * g;
                    after.h[j] = o * after.c[j].tanh();
                }
            }
        }
        Step { row, product: p, gates, before, after }
    }

    fn backward(&self, steps: &[Step<T>], dy: &[T], of_products: bool, out: &mut [T]) {
        let (units, width) = (self.shape.units, self.shape.width());
        let mut later = State::zeros(units);
        for step in steps.iter().rev() {
            let g = &step.gates;
            let mut dx = vec![T::ZERO; width];
            let mut dp = vec![T::ZERO; width];
            let mut earlier = State::zeros(units);
            for j in 0..units {
                let [a, b, c] = [0, 1, 2].map(|gate| gate * units + j);
                let slope = |s: T| s * (T::ONE - s);
                let dh = dy[step.row * units + j] + later.h[j];
                match self.shape.scan.cell {
                    Cell::Gru { .. } => {
                        dx[c] = dh * (T::ONE - g[b]) * (T::ONE - g[c] * g[c]);
                        dx[b] = dh * (step.before.h[j] - g[c]) * slope(g[b]);
                        dx[a] = dx[c] * step.product[c] * slope(g[a]);
                        (dp[a], dp[b], dp[c]) = (dx[a], dx[b], dx[c] * g[a]);
                        earlier.h[j] = dh * g[b];
                    }
                    Cell::Lstm => {
                        let d = 3 * units + j;
                        let t = step.after.c[j].tanh();
                        let dc = later.c[j] + dh * g[d] * (T::ONE - t * t);
                        dx[a] = dc * g[c] * slope(g[a]);
                        dx[b] = dc * step.before.c[j] * slope(g[b]);
                        dx[c] = dc * g[a] * (T::ONE - g[c] * g[c]);
                        dx[d] = dh * t * slope(g[d]);
                        [a, b, c, d].into_iter().for_each(|k| dp[k] = dx[k]);
                        earlier.c[j] = dc * g[b];
                    }
                }
            }
            for (i, dh) in earlier.h.iter_mut().enumerate() {
                let row = &self.kernel[i * width..][..width];
                *dh += dp.iter().zip(row).map(|(&d, &u)| d * u).sum::<T>();
            }
            let from = if of_products { &dp } else { &dx };
            out[step.row * width..][..width].copy_from_slice(from);
            later = earlier;
        }
    }
}
