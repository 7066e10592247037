//! How what is kept beside the weights is stored in a checkpoint: as tensors under marked names.

use tidemill_engine::engine::StateTensor;

/// What marks them.
pub(crate) const CONTINUAL: &str = "continual/";

/// A marked tensor.
pub(super) fn tensor(name: &str, shape: &[usize], values: &[f32]) -> StateTensor {
    let (name, shape) = (format!("{CONTINUAL}{name}"), shape.to_vec());
    StateTensor { name, shape, parameter: false, values: values.to_vec() }
}

/// The values of a marked tensor, if it is there and has so many.
pub(super) fn find<'a>(
    tensors: &'a [StateTensor],
    name: &str,
    len: Option<usize>,
) -> Option<&'a [f32]> {
    let marked = |t: &&StateTensor| t.name.strip_prefix(CONTINUAL) == Some(name);
    let values = &tensors.iter().find(marked)?.values;
    len.is_none_or(|len| values.len() == len).then_some(values)
}

/// Counts as floats that hold them exactly: three of 24 bits each.
pub(super) fn from_counts(counts: &[u64]) -> Vec<f32> {
    let pieces = |&n: &u64| [n & 0xff_ffff, (n >> 24) & 0xff_ffff, n >> 48].map(|p| p as f32);
    counts.iter().flat_map(pieces).collect()
}

/// The counts again.
pub(super) fn to_counts(values: &[f32]) -> Vec<u64> {
    let whole = |p: &[f32]| p[0] as u64 | ((p[1] as u64) << 24) | ((p[2] as u64) << 48);
    values.chunks_exact(3).map(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_back() {
        let counts = [0, 1, 0xff_ffff, 0x100_0001, u64::MAX, 1 << 63];
        assert_eq!(to_counts(&from_counts(&counts)), counts);
    }
}
