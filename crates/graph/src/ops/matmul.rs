//! Matrix products.

use super::Family;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::graph::TensorId;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape, count};

/// `(a[..., m, k], b[..., k, n]) -> [..., m, n]`; flags swap the last two dims of an operand.
/// Either operand may have rank 2 and is then shared by all batches.
///
/// With `ragged` there is one more input, `lengths` i32 `[samples]`, and `b` has rank 2. The rows of `a` as it is stored, all
/// but its last dim in a line, are the positions of that many samples, and those beyond a sample's length count as
/// zeros, whatever they hold: no time is spent on padding. With `transpose_a` the sums are over these rows, and `a` has
/// rank 2.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MatMul {
    /// `a` is `[..., k, m]`.
    pub transpose_a: bool,
    /// `b` is `[..., n, k]`.
    pub transpose_b: bool,
    /// Rows of `a` are positions of samples that have lengths.
    pub ragged: bool,
}

/// Shapes of a product: `c[batch, m, n] = a x b`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// How many products.
    pub batch: usize,
    /// `a` is stored `[k, m]`.
    pub transpose_a: bool,
    /// `b` is stored `[n, k]`.
    pub transpose_b: bool,
    /// All batches share `a`.
    pub shared_a: bool,
    /// All batches share `b`.
    pub shared_b: bool,
    /// Positions of a sample, of which the stored rows of `a` beyond its length count as zeros; 0: there are no lengths.
    pub time: usize,
}

impl Product {
    /// The product of operands of these dims, which fit. Batches against one `b` are one tall matrix,
    /// which is better than many small ones. `samples`: of a ragged product.
    pub fn new(op: MatMul, a: &[usize], b: &[usize], samples: usize) -> Product {
        let MatMul { transpose_a, transpose_b, ragged } = op;
        let [a_rows, a_columns] = matrix(a);
        let [b_rows, b_columns] = matrix(b);
        let (mut m, k) = if transpose_a { (a_columns, a_rows) } else { (a_rows, a_columns) };
        let n = if transpose_b { b_rows } else { b_columns };
        let lead = |dims: &[usize]| dims[..dims.len() - 2].iter().product::<usize>();
        let (mut batch, shared_b) = (lead(a).max(lead(b)), b.len() == 2);
        if shared_b && !transpose_a {
            m *= batch;
            batch = 1;
        }
        Product {
            m,
            n,
            k,
            batch,
            transpose_a,
            transpose_b,
            shared_a: a.len() == 2 && batch > 1,
            shared_b: shared_b && batch > 1,
            time: if ragged { rows_of(a) / samples.max(1) } else { 0 },
        }
    }
}

impl Family for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn inputs(&self) -> Inputs {
        const INPUTS: &[Input] = &[Input::FLOAT, Input::FLOAT, Input::integer("lengths")];
        Inputs::Each(if self.ragged { INPUTS } else { &INPUTS[..2] })
    }

    /// `[..., m, k] x [..., k, n] -> [..., m, n]`; an operand of rank 2 serves all batches.
    fn shape(&self, dims: &Dims<'_>) -> Shape {
        let (a, b) = (dims.of(0), dims.of(1));
        let (Some(a_dims), Some(b_dims)) = (split(a, self.transpose_a), split(b, self.transpose_b))
        else {
            let short = if a.len() < 2 { a } else { b };
            return Err(dims
                .error(format!("expected matrices, found shape {a:?} x {b:?}"))
                .help(format!("reshape {short:?} so that it has two dims or more")));
        };
        if self.ragged {
            self.check_lengths(dims)?;
        }
        let (a_batch, m, a_k) = a_dims;
        let (b_batch, b_k, n) = b_dims;
        if a_k != b_k {
            return Err(self.wrong_features(dims, a_k, b_k));
        }
        let batch = match (a_batch, b_batch) {
            (x, []) => x,
            ([], y) => y,
            (x, y) if x == y => x,
            (x, y) => {
                return Err(dims
                    .error(format!("batch dims {x:?} and {y:?} differ in shape {a:?} x {b:?}"))
                    .help("make them equal (broadcast_to), or give one operand two dims"));
            }
        };
        Ok([batch, &[m, n]].concat())
    }

    /// C = A B: dA = dC B^T, dB = A^T dC. Saves A and B. Transposes are flags, never copies; where
    /// an operand is used transposed, the product's factors swap: for C = A B^T, dB = dC^T A.
    /// An operand of rank 2 that served all batches gets the sum over them.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        let MatMul { transpose_a, transpose_b, ragged } = *self;
        if ragged && transpose_a {
            return back.no_second_derivative(node);
        }
        let (a, b, dc) = (node.x[0], node.x[1], node.dy);
        let lengths = node.x[2..].to_vec();
        let product = |transpose_a, transpose_b| MatMul { transpose_a, transpose_b, ragged };
        let with = |a, b| [&[a, b], lengths.as_slice()].concat();
        if back.needs(node, 0) {
            let da = if transpose_a {
                back.apply(product(transpose_b, true), &[b, dc])?
            } else {
                back.apply(product(false, !transpose_b), &with(dc, b))?
            };
            back.give(node, 0, da)?;
        }
        if back.needs(node, 1) {
            let (mut a, mut dc) = (a, dc);
            let shared = back.graph.shape(b).len() == 2 && back.graph.shape(a).len() > 2;
            if shared && !transpose_a {
                // One long product instead of one a batch and a sum: rows of all batches in a line.
                a = rows(back, a)?;
                dc = rows(back, dc)?;
            }
            let db = if transpose_b {
                back.apply(product(true, transpose_a), &with(dc, a))?
            } else {
                back.apply(product(!transpose_a, false), &with(a, dc))?
            };
            back.give(node, 1, db)?;
        }
        Ok(())
    }

    /// `c[.., i, j] = sum over p of a[.., i, p] b[.., p, j]`
    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let (a, b) = (args.floats(0), args.floats(1));
        let [a_rows, a_columns] = matrix(args.dims(0));
        let [b_rows, b_columns] = matrix(args.dims(1));
        let [m, n] = matrix(&args.y.shape);
        let k = if self.transpose_a { a_rows } else { a_columns };
        let real = |row: usize| {
            if !self.ragged {
                return true;
            }
            let (lengths, rows) = (args.ints(2), rows_of(args.dims(0)));
            let time = rows / lengths.len();
            ((row % time) as i64) < i64::from(lengths[row / time])
        };
        let mut c = args.zeros();
        for batch in 0..c.len() / (m * n) {
            // An operand of rank 2 is the same for all batches.
            let a_start = if args.dims(0).len() == 2 { 0 } else { batch * a_rows * a_columns };
            let b_start = if args.dims(1).len() == 2 { 0 } else { batch * b_rows * b_columns };
            for i in 0..m {
                for j in 0..n {
                    let mut sum = T::ZERO;
                    for p in 0..k {
                        let (a_row, a_column) = if self.transpose_a { (p, i) } else { (i, p) };
                        if !real(a_start / a_columns + a_row) {
                            continue;
                        }
                        let (b_row, b_column) = if self.transpose_b { (j, p) } else { (p, j) };
                        sum += a[a_start + a_row * a_columns + a_column]
                            * b[b_start + b_row * b_columns + b_column];
                    }
                    c[batch * m * n + i * n + j] = sum;
                }
            }
        }
        Ok(c.into())
    }
}

impl MatMul {
    /// Lengths of samples that share the rows of `a`, and one `b`.
    fn check_lengths(&self, dims: &Dims<'_>) -> Result<(), GraphError> {
        let (a, b) = (dims.of(0), dims.of(1));
        let [samples] = dims.rank(2, "lengths", "samples")?;
        dims.check(samples > 0 && rows_of(a).is_multiple_of(samples), || {
            format!("{} rows of {a:?} are not the positions of {samples} samples", rows_of(a))
        })?;
        dims.check(b.len() == 2 && (a.len() == 2 || !self.transpose_a), || {
            format!("a ragged product shares one matrix, found shape {a:?} x {b:?}")
        })
    }

    /// The most frequent mistake: an image or a sequence given to a dense layer without flattening.
    fn wrong_features(&self, dims: &Dims<'_>, found: usize, want: usize) -> GraphError {
        let (a, b) = (dims.of(0), dims.of(1));
        let error = dims.error(format!("expected {want} features, found shape {a:?} x {b:?}"));
        if !self.transpose_a {
            // Dims from some axis on whose product is what the weight expects.
            for first in 1..a.len() - 1 {
                if count(&a[first..]) == Some(want) {
                    let dims: Vec<_> = a[first..].iter().map(usize::to_string).collect();
                    return error.help(format!("flatten {} gives {want}", dims.join("x")));
                }
            }
        }
        error.help(format!("the last dim has {found} features; the weight is for {want}"))
    }
}

/// Batch dims, rows and columns of a matrix as it is used.
fn split(dims: &[usize], transposed: bool) -> Option<(&[usize], usize, usize)> {
    let (batch, matrix) = dims.split_at(dims.len().checked_sub(2)?);
    let (rows, columns) = (matrix[0], matrix[1]);
    Some(if transposed { (batch, columns, rows) } else { (batch, rows, columns) })
}

/// `[..., m, k] -> [rows, k]`
fn rows(back: &mut Backward<'_>, x: TensorId) -> Result<TensorId, GraphError> {
    let shape = back.shape(x);
    let (columns, leading) = shape.split_last().map_or((1, &[][..]), |(&c, rest)| (c, rest));
    back.reshaped(x, &[leading.iter().product(), columns])
}

/// All dims but the last.
fn rows_of(dims: &[usize]) -> usize {
    dims[..dims.len() - 1].iter().product()
}

fn matrix(dims: &[usize]) -> [usize; 2] {
    [dims[dims.len() - 2], dims[dims.len() - 1]]
}
