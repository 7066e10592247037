//! Fields of protocol buffers, read and written.

use crate::TextError;

/// The value of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Float(f32),
}

/// The error of a file that is not what it should be.
pub(super) fn damaged(what: &str) -> TextError {
    TextError::new(format!("not a model of SentencePiece: {what}"))
}

/// Calls `take` with the number and the value of each field of a message.
pub(super) fn each<'a>(
    mut bytes: &'a [u8],
    mut take: impl FnMut(u64, Field<'a>) -> Result<(), TextError>,
) -> Result<(), TextError> {
    let cut = || damaged("it ends within a field");
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)?),
            kind @ (1 | 5) => {
                let (value, rest) =
                    bytes.split_at_checked(if kind == 1 { 8 } else { 4 }).ok_or_else(cut)?;
                bytes = rest;
                match value.try_into() {
                    Ok(value) => Field::Float(f32::from_le_bytes(value)),
                    Err(_) => continue,
                }
            }
            2 => {
                let size = varint(&mut bytes)?.try_into().unwrap_or(usize::MAX);
                let (value, rest) = bytes.split_at_checked(size).ok_or_else(cut)?;
                bytes = rest;
                Field::Bytes(value)
            }
            _ => return Err(damaged("a field of no known type")),
        };
        take(tag >> 3, field)?;
    }
    Ok(())
}

/// Takes a number of up to ten bytes with seven bits each, the lowest first.
fn varint(bytes: &mut &[u8]) -> Result<u64, TextError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) =
            bytes.split_first().ok_or_else(|| damaged("it ends within a number"))?;
        *bytes = rest;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Ok(value);
        }
    }
    Err(damaged("a number of more than ten bytes"))
}

/// Appends a field to a message.
pub(super) fn put(message: &mut Vec<u8>, number: u64, field: Field) {
    let kind = match field {
        Field::Number(_) => 0,
        Field::Bytes(_) => 2,
        Field::Float(_) => 5,
    };
    put_varint(message, number << 3 | kind);
    match field {
        Field::Number(value) => put_varint(message, value),
        Field::Bytes(bytes) => {
            put_varint(message, bytes.len() as u64);
            message.extend_from_slice(bytes);
        }
        Field::Float(value) => message.extend_from_slice(&value.to_le_bytes()),
    }
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        message.push(value as u8 | 128);
        value >>= 7;
    }
    message.push(value as u8);
}
