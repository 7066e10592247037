//! Orthogonal start values.

use crate::random::Stream;

/// A matrix `[rows, columns]` (all dims but the last, by the last) with orthonormal columns, or
/// rows where there are fewer of them, times `gain`.
///
/// The factor Q of a random normal matrix, with the signs that make R's diagonal positive, is
/// uniform over the orthogonal matrices (Mezzadri 2007). Gram-Schmidt run twice keeps it orthogonal
/// to rounding.
pub(crate) fn orthogonal(stream: &Stream, shape: &[usize], gain: f64) -> Vec<f32> {
    let columns = shape.last().copied().unwrap_or(1);
    let rows = shape.iter().product::<usize>() / columns.max(1);
    let (long, short) = (rows.max(columns), rows.min(columns));
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(short);
    let per_vector = long.div_ceil(4) as u32;
    for index in 0..short as u32 {
        let mut vector: Vec<f64> =
            (0..per_vector).flat_map(|block| stream.normals(block, index)).take(long).collect();
        for _ in 0..2 {
            for earlier in &vectors {
                let along = dot(&vector, earlier);
                vector.iter_mut().zip(earlier).for_each(|(v, e)| *v -= along * e);
            }
        }
        let norm = dot(&vector, &vector).sqrt();
        vector.iter_mut().for_each(|v| *v /= norm);
        vectors.push(vector);
    }
    (0..rows * columns)
        .map(|i| {
            let (row, column) = (i / columns, i % columns);
            let value = if rows >= columns { vectors[column][row] } else { vectors[row][column] };
            (gain * value) as f32
        })
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
