//! Matrix products.

use super::{Call, Shape};
use crate::error::GraphError;

impl Call<'_> {
    /// `[..., m, k] x [..., k, n] -> [..., m, n]`; an operand of rank 2 serves all batches.
    pub(super) fn matmul(&self, transpose_a: bool, transpose_b: bool) -> Shape {
        let (a, b) = (self.dims(0), self.dims(1));
        let (Some(a_dims), Some(b_dims)) = (split(a, transpose_a), split(b, transpose_b)) else {
            let short = if a.len() < 2 { a } else { b };
            return Err(self
                .error(format!("expected matrices, found shape {a:?} x {b:?}"))
                .help(format!("reshape {short:?} so that it has two dims or more")));
        };
        let (a_batch, m, a_k) = a_dims;
        let (b_batch, b_k, n) = b_dims;
        if a_k != b_k {
            return Err(self.features(a_k, b_k, transpose_a));
        }
        let batch = match (a_batch, b_batch) {
            (x, []) => x,
            ([], y) => y,
            (x, y) if x == y => x,
            (x, y) => {
                return Err(self
                    .error(format!("batch dims {x:?} and {y:?} differ in shape {a:?} x {b:?}"))
                    .help("make them equal (broadcast_to), or give one operand two dims"));
            }
        };
        Ok([batch, &[m, n]].concat())
    }

    /// The most frequent mistake: an image or a sequence given to a dense layer without flattening.
    fn features(&self, found: usize, want: usize, transpose_a: bool) -> GraphError {
        let (a, b) = (self.dims(0), self.dims(1));
        let error = self.error(format!("expected {want} features, found shape {a:?} x {b:?}"));
        if !transpose_a {
            // Dims from some axis on whose product is what the weight expects.
            for first in 1..a.len() - 1 {
                if super::count(&a[first..]) == Some(want) {
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
