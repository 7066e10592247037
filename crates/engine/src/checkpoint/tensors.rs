//! Tensors as a safetensors file, and their fingerprint.

use std::borrow::{Borrow, Cow};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype, Metadata, SafeTensors, View};
use sha2::{Digest, Sha256};

use crate::engine::{StateTensor, StateValues, Stored};
use crate::error::{Error, Result};

struct Borrowed<'a> {
    tensor: &'a StateTensor,
    /// Why its values, or those of another one, could not be read.
    failed: &'a Cell<Option<io::Error>>,
}

impl View for Borrowed<'_> {
    fn dtype(&self) -> Dtype {
        self.tensor.dtype()
    }
    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        self.tensor.values.bytes().unwrap_or_else(|e| {
            self.failed.set(Some(e));
            vec![0; self.data_len()].into()
        })
    }
    fn data_len(&self) -> usize {
        self.tensor.values.len() * self.dtype().bitsize() / 8
    }
}

/// Key prefix of the marks that tell parameters from slots, so that a file explains itself.
const PARAMETER: &str = "parameter";
const STATE: &str = "state";

/// Writes tensors as a safetensors file that also holds the step.
pub fn write<T: Borrow<StateTensor>>(path: &Path, step: u64, tensors: &[T]) -> Result<()> {
    let tensors = || tensors.iter().map(Borrow::borrow);
    let mut about: HashMap<String, String> = tensors()
        .map(|t| (t.name.clone(), if t.parameter { PARAMETER } else { STATE }.to_string()))
        .collect();
    about.insert("tidemill.step".into(), step.to_string());
    // The file sorts its tensors by size class; this is their own order, which the fingerprint has.
    let order: Vec<&str> = tensors().map(|t| t.name.as_str()).collect();
    about.insert("tidemill.order".into(), order.join("\n"));
    // safetensors makes a file that its owner alone may read; weights are shared like other files.
    let plain = File::create(path).and_then(|f| f.metadata()).map_err(|e| Error::write(path, e))?;
    let failed = Cell::new(None);
    let views = tensors().map(|t| (t.name.as_str(), Borrowed { tensor: t, failed: &failed }));
    safetensors::serialize_to_file(views, Some(about), path).map_err(|e| match e {
        safetensors::SafeTensorError::IoError(e) => Error::write(path, e),
        e => Error::Run(format!("{}: cannot be written: {e}", path.display())),
    })?;
    failed.into_inner().map_or(Ok(()), |e| Err(unread(e)))?;
    std::fs::set_permissions(path, plain.permissions()).map_err(|e| Error::write(path, e))?;
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| Error::write(path, e))
}

/// Reads what [`write()`] wrote, in its order; the error says what is damaged.
pub fn read(path: &Path) -> std::result::Result<Vec<StateTensor>, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("the state cannot be read: {e}"))?;
    parse(&bytes)
}

/// The tensors of any safetensors file, by name. Floats of 16 bits become floats of 32.
///
/// # Errors
/// If it cannot be read or is damaged; what is wrong is said.
pub fn read_weights(path: &Path) -> Result<BTreeMap<String, StateTensor>> {
    let bytes = std::fs::read(path).map_err(|e| Error::read(path, e))?;
    let damaged = |e| Error::Usage(format!("{}: is no safetensors file: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let halves = || view.data().chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        let values = match view.dtype() {
            Dtype::BF16 => {
                let wide = halves().map(|half| f32::from_bits(u32::from(half) << 16));
                Some(wide.collect::<Vec<f32>>().into())
            }
            Dtype::F16 => Some(halves().map(half_to_float).collect::<Vec<f32>>().into()),
            dtype => StateValues::of_bytes(dtype, view.data()),
        };
        // What is of another type is no weight.
        let Some(values) = values else { continue };
        let (name, shape) = (name.to_owned(), view.shape().to_vec());
        tensors.insert(name.clone(), StateTensor { name, shape, parameter: true, values });
    }
    Ok(tensors)
}

/// An IEEE float of 16 bits.
fn half_to_float(half: u16) -> f32 {
    let sign = u32::from(half >> 15) << 31;
    let (exponent, fraction) = (u32::from(half >> 10 & 31), u32::from(half & 1023));
    let magnitude = match exponent {
        // Below 2^-14 the exponent stays.
        0 => fraction as f32 / 16_777_216.0,
        31 => f32::from_bits(0x7f80_0000 | fraction << 13),
        _ => f32::from_bits((exponent + 112) << 23 | fraction << 13),
    };
    f32::from_bits(magnitude.to_bits() | sign)
}

/// The tensors in the bytes of such a file.
pub(super) fn parse(bytes: &[u8]) -> std::result::Result<Vec<StateTensor>, String> {
    let damaged = |e: safetensors::SafeTensorError| format!("the state is damaged: {e}");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let about = header.metadata().clone().unwrap_or_default();
    let order = about.get("tidemill.order").ok_or("the state was not written by tidemill")?;
    let mut tensors = Vec::with_capacity(file.len());
    for name in order.split('\n').filter(|n| !n.is_empty()) {
        let view = file.tensor(name).map_err(damaged)?;
        let dtype = view.dtype();
        let values = StateValues::of_bytes(dtype, view.data());
        let values =
            values.ok_or_else(|| format!("{name} is {dtype}, which no tensor of a state is"))?;
        tensors.push(StateTensor {
            name: name.to_string(),
            shape: view.shape().to_vec(),
            parameter: about.get(name).is_some_and(|k| k == PARAMETER),
            values,
        });
    }
    Ok(tensors)
}

/// The tensors of such a file, whose values stay there.
pub(super) fn parse_stored(file: File) -> std::result::Result<Vec<StateTensor>, String> {
    let damaged = |e: io::Error| format!("the state is damaged: {e}");
    let read = || -> io::Result<(Metadata, u64)> {
        let mut size = [0; 8];
        (&file).read_exact(&mut size)?;
        let (size, most) = (u64::from_le_bytes(size), file.metadata()?.len());
        let mut header = Vec::new();
        (&file).take(size.min(most)).read_to_end(&mut header)?;
        let header: Metadata = serde_json::from_slice(&header)?;
        let end = header.tensors().values().map(|info| info.data_offsets.1).max().unwrap_or(0);
        match 8 + size + end as u64 == most {
            true => Ok((header, 8 + size)),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    let (header, start) = read().map_err(damaged)?;
    let file = Arc::new(file);
    let about = header.metadata().clone().unwrap_or_default();
    let order = about.get("tidemill.order").ok_or("the state was not written by tidemill")?;
    let names = order.split('\n').filter(|n| !n.is_empty());
    let tensor = |name: &str| {
        let info = header.info(name).ok_or(format!("the state is damaged: it lacks {name}"))?;
        let (at, len) = (start + info.data_offsets.0 as u64, info.shape.iter().product());
        let stored = Stored::new(file.clone(), at, len, info.dtype, None);
        Ok(StateTensor {
            name: name.to_owned(),
            shape: info.shape.clone(),
            parameter: about.get(name).is_some_and(|k| k == PARAMETER),
            values: StateValues::Stored(stored),
        })
    };
    names.map(tensor).collect()
}

/// The fingerprint of a state: SHA-256 over each tensor's name and little-endian bytes, in order.
///
/// # Errors
/// If some values are in a file that cannot be read.
pub fn state_sha256<T: Borrow<StateTensor>>(tensors: &[T]) -> Result<String> {
    let mut hash = Sha256::new();
    for tensor in tensors.iter().map(Borrow::borrow) {
        hash.update(tensor.name.as_bytes());
        tensor.values.each_part(&mut |part| hash.update(part)).map_err(unread)?;
    }
    Ok(hex(&hash.finalize()))
}

/// The error of values that are in a file.
pub(super) fn unread(e: io::Error) -> Error {
    Error::Run(format!("the state in a file cannot be read: {e}"))
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The first tensor in which a checkpoint's state cannot be that of a model, in words.
pub fn first_difference(model: &[StateTensor], saved: &[StateTensor]) -> Option<String> {
    for ours in model {
        match saved.iter().find(|t| t.name == ours.name) {
            None => return Some(format!("the model has {}, the checkpoint has not", ours.name)),
            Some(theirs) if theirs.shape != ours.shape => {
                return Some(format!(
                    "{} is {:?} in the model and {:?} in the checkpoint",
                    ours.name, ours.shape, theirs.shape
                ));
            }
            Some(theirs) if theirs.dtype() != ours.dtype() => {
                return Some(format!(
                    "{} is {} in the model and {} in the checkpoint",
                    ours.name,
                    ours.dtype(),
                    theirs.dtype()
                ));
            }
            Some(_) => {}
        }
    }
    let extra = saved.iter().find(|t| model.iter().all(|m| m.name != t.name))?;
    Some(format!("the checkpoint has {}, the model has not", extra.name))
}

#[cfg(test)]
mod tests {
    use super::half_to_float;

    #[test]
    fn halves_have_their_values() {
        let halves = [0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x8000, 0x7c00, 0x3555];
        let floats =
            [1.0, -2.0, 65504.0, 6.103_515_6e-5, 5.960_464_5e-8, -0.0, f32::INFINITY, 0.333_251_95];
        assert_eq!(halves.map(half_to_float), floats);
        assert!(half_to_float(0x7e00).is_nan());
    }
}
