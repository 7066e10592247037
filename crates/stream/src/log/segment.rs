//! One file of the log: its name, its header, its frames.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Eight bytes that start each segment, then its first sequence number.
const MAGIC: &[u8; 8] = b"TMLOG\0\x01\n";
pub(crate) const HEADER: u64 = 16;

/// Before each record: length (4), check (4), time in microseconds since 1970 (8).
pub(crate) const FRAME: usize = 16;

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

/// Makes an empty segment, which a power loss keeps if `flush`. Leaves nothing behind where that
/// fails: the records it stands for may then go into the segment before it.
pub(crate) fn create(folder: &Path, first: u64, flush: bool) -> io::Result<File> {
    let path = path(folder, first);
    let make = || {
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.set_len(0)?;
        file.write_all(&[&MAGIC[..], &first.to_le_bytes()].concat())?;
        if flush {
            file.sync_all()?;
            File::open(folder)?.sync_all()?;
        }
        Ok(file)
    };
    let made = make();
    if made.is_err() && path.exists() {
        std::fs::remove_file(&path)?;
    }
    made
}

/// Covers the sequence number too, so that a record is valid at its own place only.
fn check(sequence: u64, time: u64, record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(&time.to_le_bytes());
    hasher.update(record);
    hasher.finalize()
}

/// Appends the frame and bytes of a record.
pub(crate) fn encode(out: &mut Vec<u8>, sequence: u64, time: u64, record: &[u8]) {
    out.extend_from_slice(&(record.len() as u32).to_le_bytes());
    out.extend_from_slice(&check(sequence, time, record).to_le_bytes());
    out.extend_from_slice(&time.to_le_bytes());
    out.extend_from_slice(record);
}

/// What a frame says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) len: usize,
    check: u32,
    pub(crate) time: u64,
}

impl Frame {
    /// `bytes` are [`FRAME`] bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Frame {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let time = u64::from(word(8)) | u64::from(word(12)) << 32;
        Frame { len: word(0) as usize, check: word(4), time }
    }

    pub(crate) fn fits(&self, sequence: u64, record: &[u8]) -> bool {
        check(sequence, self.time, record) == self.check
    }
}

/// Whether `file` starts with the header of the segment `first`.
pub(crate) fn has_header(file: &mut impl Read, first: u64) -> io::Result<bool> {
    let mut header = Vec::new();
    file.take(HEADER).read_to_end(&mut header)?;
    Ok(header == [&MAGIC[..], &first.to_le_bytes()].concat())
}

/// Finds the end of the whole records of the last segment before the record `until`, and the sequence
/// number that follows.
///
/// # Errors
/// If a record is damaged and the one after it is whole: no crash does that, and cutting it off
/// would lose what was acknowledged.
pub(crate) fn scan(folder: &Path, first: u64, until: u64) -> Result<(Segment, u64)> {
    let path = path(folder, first);
    let fail = |e: io::Error| Error::io(path.display(), e);
    let file = File::open(&path).map_err(fail)?;
    let len = file.metadata().map_err(fail)?.len();
    let mut file = BufReader::with_capacity(256 << 10, file);
    let mut segment = Segment { first, bytes: 0, last_us: 0 };
    if !has_header(&mut file, first).map_err(fail)? {
        if len > HEADER {
            let what = "this is no segment of a log: its header is damaged; move it away";
            return Err(Error::io(path.display(), what));
        }
        return Ok((segment, first));
    }
    segment.bytes = HEADER;
    let (mut next, mut at, mut torn) = (first, HEADER, false);
    let (mut head, mut record) = ([0; FRAME], Vec::new());
    for sequence in first..until {
        if len - at < FRAME as u64 {
            break;
        }
        file.read_exact(&mut head).map_err(fail)?;
        let frame = Frame::parse(&head);
        at += FRAME as u64;
        if len - at < frame.len as u64 {
            break;
        }
        record.resize(frame.len, 0);
        file.read_exact(&mut record).map_err(fail)?;
        at += frame.len as u64;
        match (frame.fits(sequence, &record), torn) {
            (true, false) => {
                (segment.bytes, segment.last_us, next) = (at, frame.time, sequence + 1);
            }
            (true, true) => {
                let what = format!(
                    "record {next} (byte {}) is damaged and the one after it is whole; restore \
                     the file, or cut it off at that byte to go on without those records",
                    segment.bytes
                );
                return Err(Error::io(path.display(), what));
            }
            (false, true) => break,
            (false, false) => torn = true,
        }
    }
    Ok((segment, next))
}
