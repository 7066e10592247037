//! Blocks of records that wait on disk, in an embedded log; each is one record of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::log::{Fsync, Log, LogOptions, LogSource};
use crate::position::{Mark, Position};
use crate::records::Records;
use crate::source::{Poll, Source};

const FIRST: u8 = 1;
const ALONE: u8 = 2;
/// The name of a part follows.
const PART: u8 = 4;
const TOO_LONG: u8 = 8;

#[derive(Debug)]
pub(super) struct Spill {
    log: Log,
    source: LogSource,
    /// Blocks that wait.
    blocks: u64,
    bytes: Vec<u8>,
    block: Records,
}

impl Spill {
    /// Starts anew in `folder`. Nothing is forced to the disk: a crash makes all of it useless.
    pub(super) fn open(folder: &Path, max_bytes: u64) -> Result<Spill> {
        let max_age = Some(Duration::from_secs(1));
        let log = LogOptions { fsync: Fsync::Never, max_bytes, max_age, ..LogOptions::default() };
        let log = Log::open_empty(folder, log)?;
        let (source, bytes, block) = (log.source(), Vec::new(), Records::default());
        Ok(Spill { log, source, blocks: 0, bytes, block })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks == 0
    }

    /// Takes all of `records`, or false when the disk's share is full.
    pub(super) fn push(&mut self, records: &mut Records) -> Result<bool> {
        self.bytes.clear();
        encode(records, &mut self.bytes);
        match self.log.append([&self.bytes[..]]) {
            Ok(_) => {
                self.blocks += 1;
                records.clear();
                Ok(true)
            }
            Err(Error::Full { .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Appends the oldest block to `records`.
    pub(super) fn pop(&mut self, records: &mut Records) -> Result<()> {
        self.block.clear();
        // One byte: one block.
        if self.source.poll(&mut self.block, 1, Duration::ZERO)? != Poll::Some {
            return Ok(());
        }
        let mut position = Position::default();
        for block in self.block.iter() {
            position.take(&block);
            self.blocks -= 1;
            if decode(block.bytes, records).is_none() {
                return Err(Error::io(self.source.name(), "a block that waited is not valid"));
            }
        }
        self.source.commit(&position)
    }
}

fn encode(records: &Records, out: &mut Vec<u8>) {
    let mut part = "";
    for record in records.iter() {
        let named = if record.part == part { 0 } else { PART };
        let first = if record.first { FIRST } else { 0 };
        let too_long = if record.too_long { TOO_LONG } else { 0 };
        out.push(named | first | too_long | if record.alone { ALONE } else { 0 });
        if named != 0 {
            part = record.part;
            out.extend_from_slice(&(part.len() as u64).to_le_bytes());
            out.extend_from_slice(part.as_bytes());
        }
        let len = record.bytes.len() as u64;
        for number in [record.mark.major, record.mark.minor, record.acknowledged, len] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(record.bytes);
    }
}

fn decode(mut bytes: &[u8], records: &mut Records) -> Option<()> {
    while let Some((&flags, rest)) = bytes.split_first() {
        bytes = rest;
        if flags & PART != 0 {
            let len = number(&mut bytes)? as usize;
            let (name, rest) = bytes.split_at_checked(len)?;
            let name: Arc<str> = std::str::from_utf8(name).ok()?.into();
            if flags & ALONE != 0 {
                records.follow_part(&name)
            } else {
                records.set_part(&name)
            }
            bytes = rest;
        }
        let mark = Mark { major: number(&mut bytes)?, minor: number(&mut bytes)? };
        let acknowledged = number(&mut bytes)?;
        let len = number(&mut bytes)? as usize;
        let (record, rest) = bytes.split_at_checked(len)?;
        match flags & TOO_LONG != 0 {
            true => records.push_too_long(record, mark, acknowledged),
            false => records.push(record, mark, acknowledged, flags & FIRST != 0),
        }
        bytes = rest;
    }
    Some(())
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn blocks_come_back_as_they_were() {
        let mut records = Records::default();
        let mark = Mark { major: 7, minor: 8 };
        records.push(b"no part", mark, 9, true);
        records.set_part(&"side".into());
        records.push(b"", Mark { major: u64::MAX, minor: 0 }, 0, false);
        records.follow_part(&"file".into());
        records.push(b"x", mark, 1, true);
        records.push(b"y", mark, 2, false);
        records.push_too_long(b"z", mark, 3);
        let (mut bytes, mut back) = (Vec::new(), Records::default());
        encode(&records, &mut bytes);
        decode(&bytes, &mut back).unwrap();
        let show = |r: &Records| format!("{:?}", r.iter().collect::<Vec<_>>());
        assert_eq!(show(&back), show(&records));
        for cut in 1..bytes.len() {
            let _ = decode(&bytes[..cut], &mut Records::default());
        }
    }
}
