//! The keys by which senders say that a request is one that they have sent before.
//!
//! A file beside the segments has a slot for each of the last [`KEYS`]; the next key overwrites the
//! oldest. A slot is written before its records are, and is void where the log does not reach their end:
//! a process that ended in between has taken nothing. Opening the log cuts off what it had written.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Sequences;

/// Keys that are remembered.
pub const KEYS: usize = 1 << 16;

/// A slot: the key's hash (16), the first and the last sequence number (8 each), a check of the records
/// (4) and one of the slot (4).
const SLOT: usize = 40;

const NAME: &str = "keys";

type Hash = [u8; 16];

/// What came with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) got: Sequences,
    /// CRC-32 of the records.
    pub(crate) crc: u32,
}

/// The keys of a log.
#[derive(Debug)]
pub(crate) struct Keys {
    file: File,
    seen: HashMap<Hash, Seen>,
    /// From the oldest on.
    order: VecDeque<Hash>,
    /// The slot of the next one.
    place: u64,
}

pub(crate) fn hash(key: &[u8]) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(&Sha256::digest(key)[..16]);
    hash
}

/// A slot in use.
pub(crate) struct Slot {
    hash: Hash,
    pub(crate) seen: Seen,
    place: u64,
}

/// The slots in use of the log in `folder`, and how many are damaged; none where no key came.
pub(crate) fn read(folder: &Path) -> io::Result<(Vec<Slot>, usize)> {
    let mut bytes = Vec::new();
    match File::open(folder.join(NAME)) {
        Ok(file) => file.take((KEYS * SLOT) as u64).read_to_end(&mut bytes)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(e) => return Err(e),
    };
    let (mut slots, mut damaged) = (Vec::new(), 0);
    for (place, bytes) in (0..).zip(bytes.chunks_exact(SLOT)) {
        match parse(bytes, place) {
            Some(slot) => slots.push(slot),
            None => damaged += usize::from(bytes.iter().any(|&b| b != 0)),
        }
    }
    Ok((slots, damaged))
}

impl Keys {
    /// Those in `slots`, of the log in `folder` whose next record is `next`.
    pub(crate) fn open(folder: &Path, mut slots: Vec<Slot>, next: u64) -> io::Result<Keys> {
        let options = OpenOptions::new().write(true).create(true).truncate(false).clone();
        let mut file = options.open(folder.join(NAME))?;
        for slot in slots.extract_if(.., |slot| slot.seen.got.last >= next) {
            write(&mut file, slot.place, &[0; SLOT])?;
        }
        slots.sort_by_key(|slot| slot.seen.got.first);
        let place = slots.last().map_or(0, |slot| (slot.place + 1) % KEYS as u64);
        let order = slots.iter().map(|slot| slot.hash).collect();
        let seen = slots.into_iter().map(|slot| (slot.hash, slot.seen)).collect();
        Ok(Keys { file, seen, order, place })
    }

    pub(crate) fn get(&self, hash: &Hash) -> Option<Seen> {
        self.seen.get(hash).copied()
    }

    /// Remembers a key that is new, in place of the oldest where there are too many.
    pub(crate) fn put(&mut self, hash: Hash, seen: Seen) -> io::Result<()> {
        let Sequences { first, last } = seen.got;
        let mut bytes = [&hash[..], &first.to_le_bytes(), &last.to_le_bytes()].concat();
        bytes.extend_from_slice(&seen.crc.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        write(&mut self.file, self.place, &bytes)?;
        self.place = (self.place + 1) % KEYS as u64;
        if self.order.len() >= KEYS
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        self.seen.insert(hash, seen);
        self.order.push_back(hash);
        Ok(())
    }

    /// The records of the key that was put last were not taken.
    pub(crate) fn take_back(&mut self) -> io::Result<()> {
        if let Some(hash) = self.order.pop_back() {
            self.seen.remove(&hash);
            self.place = (self.place + KEYS as u64 - 1) % KEYS as u64;
            write(&mut self.file, self.place, &[0; SLOT])?;
        }
        Ok(())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn write(file: &mut File, slot: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(slot * SLOT as u64))?;
    file.write_all(bytes)
}

/// A slot that is whole and in use.
fn parse(bytes: &[u8], place: u64) -> Option<Slot> {
    let (rest, check) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(rest) != u32::from_le_bytes(*check) {
        return None;
    }
    let (hash, rest) = rest.split_first_chunk::<16>()?;
    let (first, rest) = rest.split_first_chunk::<8>()?;
    let (last, crc) = rest.split_first_chunk::<8>()?;
    let got = Sequences { first: u64::from_le_bytes(*first), last: u64::from_le_bytes(*last) };
    let crc = u32::from_le_bytes(*crc.first_chunk()?);
    (got.last > 0).then_some(Slot { hash: *hash, seen: Seen { got, crc }, place })
}
