//! Decimal numbers, exactly rounded.

/// The number at the start of `bytes` and its length; `None` if there is none.
///
/// What `f64::from_str` takes, `inf` and `nan` in any case included.
#[inline]
pub(super) fn prefix(bytes: &[u8]) -> Option<(f64, usize)> {
    fast_float2::parse_partial(bytes).ok()
}

/// The number that `bytes` is as a whole.
pub(super) fn whole(bytes: &[u8]) -> Option<f64> {
    prefix(bytes).filter(|(_, len)| *len == bytes.len()).map(|(number, _)| number)
}
