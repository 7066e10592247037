//! How what is kept beside the weights is stored in a checkpoint: as tensors under marked names.

use tidemill_engine::engine::{Element, EngineError, StateTensor, StateValues};

/// What marks them.
pub(crate) const CONTINUAL: &str = "continual/";

/// A marked tensor.
pub(super) fn tensor(name: &str, shape: &[usize], values: impl Into<StateValues>) -> StateTensor {
    let (name, shape) = (format!("{CONTINUAL}{name}"), shape.to_vec());
    StateTensor { name, shape, parameter: false, values: values.into() }
}

/// The values of a marked tensor, if it is there and has so many.
///
/// # Errors
/// If they are of another type.
pub(super) fn find<'a, T: Element>(
    tensors: &'a [StateTensor],
    name: &str,
    len: Option<usize>,
) -> Result<Option<&'a [T]>, EngineError> {
    let marked = |t: &&StateTensor| t.name.strip_prefix(CONTINUAL) == Some(name);
    let Some(tensor) = tensors.iter().find(marked) else { return Ok(None) };
    let values = tensor.elements()?;
    Ok(len.is_none_or(|len| values.len() == len).then_some(values))
}

/// Copies the values of a marked tensor over others, if it is there and has as many; says whether.
///
/// # Errors
/// If they are of another type.
pub(super) fn fill<T: Element>(
    to: &mut [T],
    tensors: &[StateTensor],
    name: &str,
) -> Result<bool, EngineError> {
    let values = find(tensors, name, Some(to.len()))?;
    if let Some(values) = values {
        to.copy_from_slice(values);
    }
    Ok(values.is_some())
}
