//! Fused chains of elementwise ops, with the reductions at their end.
//!
//! A program runs over a matrix of `rows x cols` (all leading dims collapsed, channels last). It
//! covers activations, bias, residuals, batch norm and its gradient, dropout, elementwise losses,
//! bias gradients: whatever reads and writes memory once per element.

use tidemill_graph::{Binary, PairLoss, Unary};

/// How an input spreads over the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spread {
    /// One value an element: `[rows, cols]`.
    Full,
    /// One value a column, the same for all rows: `[cols]`.
    Row,
    /// One value a row, the same for all columns: `[rows]`.
    Column,
    /// One value.
    Scalar,
}

/// One instruction; its value has the step's index. Operands are indices of earlier steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Program input `n`.
    Input(usize),
    /// A constant.
    Constant(f32),
    /// `f(a)`
    Unary(Unary, usize),
    /// Gradient of a unary op: `(saved, dy)`.
    UnaryGrad(Unary, usize, usize),
    /// `f(a, b)`
    Binary(Binary, usize, usize),
    /// Gradient of an elementwise loss: `(x, t, dy)`.
    PairLossGrad(PairLoss, usize, usize, usize),
    /// `a * b + c`
    MulAdd(usize, usize, usize),
    /// Dropout of `a`; the element's index is `row * cols + col`, the key is argument `key` of the
    /// kernel (4 i32).
    Dropout {
        /// The value to drop from.
        a: usize,
        /// Probability of a zero.
        rate: f32,
        /// The random stream.
        stream: u32,
    },
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sink {
    /// Stored: `[rows, cols]`. May be the same buffer as a `Full` input (in place).
    Full,
    /// Summed over rows: `[cols]`.
    ColumnSums,
    /// Summed over columns: `[rows]`.
    RowSums,
    /// Summed over all: `[1]`.
    Total,
}

/// A fused chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Rows of the matrix.
    pub rows: usize,
    /// Columns of the matrix.
    pub cols: usize,
    /// The inputs.
    pub inputs: Vec<Spread>,
    /// The instructions, in order.
    pub steps: Vec<Step>,
    /// What is kept: (index of a step, where it goes, factor it is scaled by).
    pub outputs: Vec<(usize, Sink, f32)>,
}
