//! Positions in tensors.

/// Calls `f` with (flat position, index of each dim) of every element, in row order.
pub(crate) fn each(shape: &[usize], mut f: impl FnMut(usize, &[usize])) {
    let mut index = vec![0; shape.len()];
    for flat in 0..shape.iter().product() {
        f(flat, &index);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// Flat position of an index.
pub(crate) fn position(shape: &[usize], index: &[usize]) -> usize {
    shape.iter().zip(index).fold(0, |flat, (&dim, &i)| flat * dim + i)
}

/// Flat position in a tensor of `shape` that is broadcast to where `index` points: aligned at the
/// last dim, dims of 1 repeat.
pub(crate) fn broadcast_position(shape: &[usize], index: &[usize]) -> usize {
    let aligned = &index[index.len() - shape.len()..];
    shape.iter().zip(aligned).fold(0, |flat, (&dim, &i)| flat * dim + if dim == 1 { 0 } else { i })
}

/// The index with 0 along each of `axes`: where a reduction that keeps its dims puts it.
pub(crate) fn reduced(index: &[usize], axes: &[usize]) -> Vec<usize> {
    let keep = |(axis, &i): (usize, &usize)| if axes.contains(&axis) { 0 } else { i };
    index.iter().enumerate().map(keep).collect()
}

/// The shape with 1 along each of `axes`.
pub(crate) fn reduced_shape(shape: &[usize], axes: &[usize]) -> Vec<usize> {
    let keep = |(axis, &dim): (usize, &usize)| if axes.contains(&axis) { 1 } else { dim };
    shape.iter().enumerate().map(keep).collect()
}
