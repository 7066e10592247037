//! Matrix products.

use super::{Call, Real};

impl<T: Real> Call<'_, T> {
    /// `c[.., i, j] = sum over p of a[.., i, p] b[.., p, j]`
    pub(super) fn matmul(&self, transpose_a: bool, transpose_b: bool) -> Vec<T> {
        let (a, b) = (self.floats(0), self.floats(1));
        let [a_rows, a_columns] = matrix(self.dims(0));
        let [b_rows, b_columns] = matrix(self.dims(1));
        let [m, n] = matrix(&self.y.shape);
        let k = if transpose_a { a_rows } else { a_columns };
        let mut c = self.zeros();
        for batch in 0..c.len() / (m * n) {
            // An operand of rank 2 is the same for all batches.
            let a_start = if self.dims(0).len() == 2 { 0 } else { batch * a_rows * a_columns };
            let b_start = if self.dims(1).len() == 2 { 0 } else { batch * b_rows * b_columns };
            for i in 0..m {
                for j in 0..n {
                    let mut sum = T::ZERO;
                    for p in 0..k {
                        let (a_row, a_column) = if transpose_a { (p, i) } else { (i, p) };
                        let (b_row, b_column) = if transpose_b { (j, p) } else { (p, j) };
                        sum += a[a_start + a_row * a_columns + a_column]
                            * b[b_start + b_row * b_columns + b_column];
                    }
                    c[batch * m * n + i * n + j] = sum;
                }
            }
        }
        c
    }
}

fn matrix(dims: &[usize]) -> [usize; 2] {
    [dims[dims.len() - 2], dims[dims.len() - 1]]
}
