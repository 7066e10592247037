//! What the end of a log is when it is opened: whole, torn, or damaged.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::segment::{self, Format, Segment};
use crate::error::{Error, Result};

/// The last segment as it was found.
pub(crate) struct Found {
    /// Its whole records.
    pub(crate) segment: Segment,
    /// The sequence number that follows them.
    pub(crate) next: u64,
    /// `None` where the file has no whole header yet, and so no record.
    pub(crate) format: Option<Format>,
    /// Whether what follows the whole records is no more than the mark of a log that was closed.
    pub(crate) is_closed: bool,
}

/// Finds the end of the whole records of the last segment before the record `until`.
///
/// `told` is a record up to which all were acknowledged for certain.
///
/// # Errors
/// If the header is damaged, or a record that had been acknowledged: no crash does that, and cutting it off
/// would lose it.
pub(crate) fn scan(folder: &Path, first: u64, until: u64, told: u64) -> Result<Found> {
    let path = segment::path(folder, first);
    let fail = |e: io::Error| Error::io(path.display(), e);
    let file = File::open(&path).map_err(fail)?;
    let len = file.metadata().map_err(fail)?.len();
    let mut file = BufReader::with_capacity(256 << 10, file);
    let segment = Segment { first, bytes: 0, last_us: 0 };
    let mut found = Found { segment, next: first, format: None, is_closed: false };
    let Some(format) = Format::read(&mut file, first).map_err(fail)? else {
        if len >= segment::HEADER {
            let what =
                "this is no segment of a log: its header is damaged; restore it, or move it away";
            return Err(Error::io(path.display(), what));
        }
        return Ok(found);
    };
    found.format = Some(format);
    found.segment.bytes = format.header();
    let (mut head, mut record) = (vec![0; format.frame()], Vec::new());
    for sequence in first..until {
        let left = len - found.segment.bytes;
        if left < head.len() as u64 {
            break;
        }
        file.read_exact(&mut head).map_err(fail)?;
        let Some(frame) = format.parse(sequence - first, &head) else { break };
        let Some(size) = frame.len() else {
            found.is_closed = format != Format::Old && left == head.len() as u64;
            return Ok(found);
        };
        if left - (head.len() as u64) < size as u64 {
            break;
        }
        record.resize(size, 0);
        file.read_exact(&mut record).map_err(fail)?;
        if !format.fits(&frame, &head, sequence, &record) {
            break;
        }
        found.segment.bytes += (head.len() + size) as u64;
        (found.segment.last_us, found.next) = (frame.time, sequence + 1);
    }
    // A log that ends before a record has lost it, or it was cut off by hand.
    let is_told = found.next <= told && found.segment.bytes < len;
    if found.next < until && (is_told || is_damaged(&mut file, &found, format).map_err(fail)?) {
        let what = format!(
            "record {} (byte {}) is damaged, and it had been acknowledged; restore the file, or cut \
             it off at that byte to go on without those records",
            found.next, found.segment.bytes
        );
        return Err(Error::io(path.display(), what));
    }
    Ok(found)
}

/// Whether the record after the whole ones was whole once.
fn is_damaged(file: &mut BufReader<File>, found: &Found, format: Format) -> io::Result<bool> {
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(found.segment.bytes))?;
    file.read_to_end(&mut rest)?;
    let index = found.next - found.segment.first;
    if format != Format::Old {
        return Ok(format.was_acknowledged(index, &rest));
    }
    // Frames of earlier versions say nothing of those before them; one of the next records that is whole does.
    Ok((1..rest.len()).any(|at| {
        let Some(head) = rest.get(at..at + format.frame()) else { return false };
        let frame = format.parse(0, head).and_then(|f| Some((f, f.len()?)));
        let record = |len| rest.get(at + head.len()..at + head.len() + len);
        let Some((frame, record)) = frame.and_then(|(f, len)| Some((f, record(len)?))) else {
            return false;
        };
        (1..=2).any(|i| format.fits(&frame, head, found.next + i, record))
    }))
}

/// Cuts a segment off after `bytes`; what is cut off goes to the end of a file beside it. Gives how many
/// bytes that are.
///
/// # Errors
/// If what is cut off cannot be kept; then nothing is cut off.
pub(crate) fn cut(folder: &Path, first: u64, file: &File, bytes: u64) -> Result<u64> {
    let path = segment::path(folder, first);
    let torn = segment::torn_path(folder, first);
    let len = file.metadata().map_err(|e| Error::io(path.display(), e))?.len();
    if len <= bytes {
        return Ok(0);
    }
    let keep = || {
        let mut from = File::open(&path)?;
        from.seek(SeekFrom::Start(bytes))?;
        let mut to = OpenOptions::new().create(true).append(true).open(&torn)?;
        io::copy(&mut from, &mut to)?;
        to.sync_all()
    };
    keep().map_err(|e: io::Error| Error::io(torn.display(), e))?;
    file.set_len(bytes).map_err(|e| Error::io(path.display(), e))?;
    Ok(len - bytes)
}
