//! One file of the log: its name, its header, its frames.
//!
//! ```text
//! header   magic (8)  first sequence number (8)  salt (4)  check of these (4)
//! frame    length (4)  place in the segment (4)  waiting (4)  time (8)  check of these (4)
//!          check of that check and the record (4), then the record
//! ```
//!
//! Everything is covered by a check, lengths too: they are believed only where theirs is right. `waiting`
//! is how many records before this one nobody had been told are kept when it was written. So a frame says
//! which of those before it had been acknowledged, and one of those that is not whole was damaged, not
//! torn. The salt keeps bytes within a record from passing for a frame.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"TMLOG\0\x02\n";
pub(crate) const HEADER: u64 = 24;
const FRAME: usize = 28;

/// What earlier versions wrote: a header of magic and first sequence number, and frames of length (4),
/// check of time and record (4), and time (8).
const OLD_MAGIC: &[u8; 8] = b"TMLOG\0\x01\n";
const OLD_HEADER: usize = 16;
const OLD_FRAME: usize = 16;

/// In place of a length: no record, but the end of a log that was closed.
const END: u32 = u32::MAX;

/// A segment of the log, as the writer knows it.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Sequence number of its first record.
    pub(crate) first: u64,
    /// Its length; whole records only.
    pub(crate) bytes: u64,
    /// Time of its last record, microseconds since 1970.
    pub(crate) last_us: u64,
}

pub(crate) fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.log"))
}

/// Where what was cut off the end of a segment is kept.
pub(crate) fn torn_path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.log.torn"))
}

/// First sequence numbers of the segments in `folder`, in order.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let first = name.to_str().and_then(|n| n.strip_suffix(".log"));
        found.extend(first.and_then(|n| n.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// How the frames of a segment are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// As earlier versions did; such a segment is read and never appended to.
    Old,
    /// With this salt.
    New { salt: u32 },
}

impl Format {
    /// Reads the header of the segment `first`; `None` where it is not one.
    pub(crate) fn read(file: &mut impl Read, first: u64) -> io::Result<Option<Format>> {
        let mut header = Vec::new();
        file.take(OLD_HEADER as u64).read_to_end(&mut header)?;
        if header == [&OLD_MAGIC[..], &first.to_le_bytes()].concat() {
            return Ok(Some(Format::Old));
        }
        file.take(HEADER - OLD_HEADER as u64).read_to_end(&mut header)?;
        let salt = header.get(16..20).map(|bytes| word(bytes, 0));
        Ok(salt.filter(|salt| header == header_of(first, *salt)).map(|salt| Format::New { salt }))
    }

    /// Bytes of a header.
    pub(crate) fn header(self) -> u64 {
        if self == Format::Old { OLD_HEADER as u64 } else { HEADER }
    }

    /// Bytes of a frame.
    pub(crate) fn frame(self) -> usize {
        if self == Format::Old { OLD_FRAME } else { FRAME }
    }

    /// What a frame says, which is the `index`th of its segment; `None` if it is damaged.
    pub(crate) fn parse(self, index: u64, bytes: &[u8]) -> Option<Frame> {
        let Format::New { salt } = self else {
            return Some(Frame {
                len: word(bytes, 0),
                time: long(bytes, 8),
                waiting: 0,
                check: word(bytes, 4),
            });
        };
        let frame = Frame {
            len: word(bytes, 0),
            time: long(bytes, 12),
            waiting: word(bytes, 8),
            check: word(bytes, 24),
        };
        let is_whole = u64::from(word(bytes, 4)) == index && word(bytes, 20) == head(salt, bytes);
        is_whole.then_some(frame)
    }

    /// Whether `record` is the one that a frame is for, which had these bytes.
    pub(crate) fn fits(self, frame: &Frame, bytes: &[u8], sequence: u64, record: &[u8]) -> bool {
        let check = match self {
            Format::Old => crc(&[&sequence.to_le_bytes(), &frame.time.to_le_bytes(), record]),
            Format::New { .. } => crc(&[&bytes[20..24], record]),
        };
        check == frame.check
    }

    /// Whether what follows the record at the start of `rest`, which is not whole, shows that it was
    /// acknowledged once. `index` is its place in the segment.
    pub(crate) fn was_acknowledged(self, index: u64, rest: &[u8]) -> bool {
        (1..rest.len().saturating_sub(FRAME - 1)).any(|at| {
            let later = &rest[at..at + FRAME];
            // Nearly all of the others end here.
            let place = u64::from(word(later, 4));
            place > index
                && place - index <= (rest.len() / FRAME) as u64
                && self
                    .parse(place, later)
                    .is_some_and(|f| place.saturating_sub(f.waiting.into()) > index)
        })
    }
}

/// What a frame says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    len: u32,
    pub(crate) time: u64,
    waiting: u32,
    check: u32,
}

impl Frame {
    /// Bytes of its record; `None` for the mark at the end of a log that was closed.
    pub(crate) fn len(&self) -> Option<usize> {
        (self.len != END).then_some(self.len as usize)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// The check of the first 20 bytes of a frame.
fn head(salt: u32, bytes: &[u8]) -> u32 {
    crc(&[&salt.to_le_bytes(), &bytes[..20]])
}

fn header_of(first: u64, salt: u32) -> Vec<u8> {
    let mut header = [&MAGIC[..], &first.to_le_bytes(), &salt.to_le_bytes()].concat();
    header.extend_from_slice(&crc(&[&header]).to_le_bytes());
    header
}

/// Makes an empty segment, which a power loss keeps if `flush`; gives its salt too. Leaves nothing behind
/// where that fails: the records it stands for may then go into the segment before it.
pub(crate) fn create(folder: &Path, first: u64, flush: bool) -> io::Result<(File, u32)> {
    let path = path(folder, first);
    let salt = RandomState::new().build_hasher().finish() as u32;
    let make = || {
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.set_len(0)?;
        file.write_all(&header_of(first, salt))?;
        if flush {
            file.sync_all()?;
            File::open(folder)?.sync_all()?;
        }
        Ok((file, salt))
    };
    let made = make();
    if made.is_err() && path.exists() {
        std::fs::remove_file(&path)?;
    }
    made
}

/// Bytes that a record takes.
pub(crate) fn bytes_of(record: &[u8]) -> u64 {
    (FRAME + record.len()) as u64
}

/// Appends the frame of the record that is the `index`th of its segment, and that `waiting` others wait before to be
/// acknowledged, and its bytes if `whole`.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    salt: u32,
    [index, waiting]: [u32; 2],
    time: u64,
    record: &[u8],
    whole: bool,
) {
    frame(out, salt, [record.len() as u32, index, waiting], time, record);
    if whole {
        out.extend_from_slice(record);
    }
}

/// Appends the mark at the end of a log that is closed, after `index` records.
pub(crate) fn encode_end(out: &mut Vec<u8>, salt: u32, index: u32, waiting: u32, time: u64) {
    frame(out, salt, [END, index, waiting], time, &[]);
}

fn frame(out: &mut Vec<u8>, salt: u32, words: [u32; 3], time: u64, record: &[u8]) {
    let start = out.len();
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    out.extend_from_slice(&time.to_le_bytes());
    let head = head(salt, &out[start..]).to_le_bytes();
    out.extend_from_slice(&head);
    out.extend_from_slice(&crc(&[&head, record]).to_le_bytes());
}
