//! A message as bytes: a head of 48 bytes, then the values, then the text. Numbers are little-endian.
//!
//! | bytes | |
//! | --- | --- |
//! | 4 | `TMW1` |
//! | 1 + 3 | the kind, 0 for a sign of life; zeros |
//! | 8 | the run, a number that worker 0 draws |
//! | 8 | the step |
//! | 8 | the number |
//! | 8 | how many values, f32 |
//! | 4 | how many bytes of text, UTF-8 |
//! | 4 | CRC-32 of the 44 bytes before |

use std::io::{Error, ErrorKind, Read, Result, Write};

use tidemill_engine::group::{Kind, Message};

const MAGIC: &[u8; 4] = b"TMW1";
const HEAD: usize = 48;

/// More than that is a mistake: 64 GiB of values.
const MOST_VALUES: u64 = 1 << 34;
const MOST_TEXT: u32 = 1 << 30;

/// Below so many bytes head and rest are written at once.
const SMALL: usize = 1 << 16;

/// What comes over a connection.
#[derive(Debug, PartialEq)]
pub enum Frame {
    /// Nothing but that the other side lives.
    Alive,
    /// A message.
    Message(Message),
}

/// Writes a message, or with none a sign of life.
///
/// # Errors
/// Those of the connection.
pub fn write(to: &mut impl Write, run: u64, message: Option<&Message>) -> Result<()> {
    let alive = Message::new(Kind::End, 0);
    let m = message.unwrap_or(&alive);
    let mut bytes = Vec::with_capacity(HEAD);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[message.map_or(0, |m| m.kind as u8), 0, 0, 0]);
    for word in [run, m.step, m.number, m.values.len() as u64] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(&(m.text.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let swapped: Vec<u32>;
    let values: &[u8] = match cfg!(target_endian = "little") {
        true => bytemuck::cast_slice(&m.values),
        false => {
            swapped = m.values.iter().map(|v| v.to_bits().to_le()).collect();
            bytemuck::cast_slice(&swapped)
        }
    };
    if values.len() + m.text.len() <= SMALL {
        bytes.extend_from_slice(values);
        bytes.extend_from_slice(m.text.as_bytes());
        return to.write_all(&bytes);
    }
    to.write_all(&bytes)?;
    to.write_all(values)?;
    to.write_all(m.text.as_bytes())
}

/// Reads what comes next. `run` is the run that it has to be of, if that is known already.
///
/// # Errors
/// Those of the connection, and for bytes that are no message of this run.
pub fn read(from: &mut impl Read, run: Option<u64>) -> Result<Frame> {
    let mut head = [0u8; HEAD];
    from.read_exact(&mut head)?;
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&head[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let half = |at: usize| (word(at) & u64::from(u32::MAX)) as u32;
    if &head[..4] != MAGIC {
        return Err(bad("this is no worker of a run"));
    }
    let check = (word(HEAD - 8) >> 32) as u32;
    if crc32fast::hash(&head[..HEAD - 4]) != check {
        return Err(bad("a message is damaged"));
    }
    if run.is_some_and(|run| run != word(8)) {
        return Err(bad("this is a worker of another run"));
    }
    let (values, text) = (word(32), half(40));
    if head[4] == 0 {
        return Ok(Frame::Alive);
    }
    let Some(kind) = Kind::of(head[4]) else {
        return Err(bad("a message of another version: do all workers run the same one?"));
    };
    if values > MOST_VALUES || text > MOST_TEXT {
        return Err(bad("a message is too long"));
    }
    let mut message = Message::new(kind, word(16)).number(word(24));
    message.values = vec![0.0; values as usize];
    from.read_exact(bytemuck::cast_slice_mut(&mut message.values))?;
    if cfg!(target_endian = "big") {
        for value in &mut message.values {
            *value = f32::from_bits(u32::from_le(value.to_bits()));
        }
    }
    let mut bytes = vec![0; text as usize];
    from.read_exact(&mut bytes)?;
    message.text = String::from_utf8(bytes).map_err(|_| bad("a message's text is not UTF-8"))?;
    Ok(Frame::Message(message))
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let message = Message::new(Kind::Sums, 7).number(u64::MAX).text("é");
        for values in [vec![], vec![1.5, f32::NAN, -0.0], vec![0.25; 50_000]] {
            let message = message.clone().values(values);
            let mut bytes = Vec::new();
            write(&mut bytes, 5, Some(&message)).unwrap();
            write(&mut bytes, 5, None).unwrap();
            let mut rest = bytes.as_slice();
            let Frame::Message(found) = read(&mut rest, Some(5)).unwrap() else { panic!() };
            let bits = |m: &Message| m.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!((found.kind, found.step, found.number), (Kind::Sums, 7, u64::MAX));
            assert_eq!((bits(&found), found.text.as_str()), (bits(&message), "é"));
            assert_eq!(read(&mut rest, None).unwrap(), Frame::Alive);
            assert!(rest.is_empty());
            assert!(
                read(&mut bytes.as_slice(), Some(6))
                    .unwrap_err()
                    .to_string()
                    .contains("another run")
            );
        }
    }

    #[test]
    fn other_bytes_are_an_error_and_take_no_memory() {
        let mut bytes = Vec::new();
        write(&mut bytes, 1, Some(&Message::new(Kind::Step, 1).values(vec![1.0]))).unwrap();
        for at in 0..HEAD {
            let mut other = bytes.clone();
            other[at] ^= 0x40;
            assert!(read(&mut other.as_slice(), Some(1)).is_err(), "byte {at}");
        }
        assert!(read(&mut &bytes[..bytes.len() - 1], Some(1)).is_err());
        let web = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n";
        assert!(read(&mut &web[..], None).unwrap_err().to_string().contains("no worker"));
    }
}
