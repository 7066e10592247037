//! What a file held as far as it was read, to distinguish it from another file.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::position::{Mark, Position};
use crate::records::{Record, Records};
use crate::source::{Poll, Source};

/// Bytes of the beginning that are kept in mind: going on reads them again.
const MOST: u64 = 64 << 20;
/// Characters of the first record, for messages.
const SHOWN: usize = 60;

/// A fingerprint of the records of a file from its first one on, up to 64 MiB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The part of the stream: which of several files.
    pub part: String,
    /// Records in it.
    pub records: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// CRC-32 of those.
    pub crc: u32,
    /// The beginning of the first record.
    pub first: String,
}

/// How a file compares with the one that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// It begins with the same records.
    Same,
    /// It does not; this is in what it differs.
    Different(String),
}

impl Content {
    /// Takes the next record.
    #[inline]
    pub fn take(&mut self, record: &Record<'_>) {
        if record.begins && self.part != record.part {
            *self = Content { part: record.part.to_owned(), ..Content::default() };
        }
        if self.bytes >= MOST {
            return;
        }
        if self.records == 0 {
            let text = String::from_utf8_lossy(&record.bytes[..record.bytes.len().min(4 * SHOWN)]);
            self.first = text.chars().take(SHOWN).collect();
        }
        let mut hasher = crc32fast::Hasher::new_with_initial_len(self.crc, self.bytes);
        hasher.update(record.bytes);
        hasher.update(b"\n");
        self.crc = hasher.finalize();
        self.bytes += record.bytes.len() as u64 + 1;
        self.records += 1;
    }

    /// Reads the same part of `source` from its start and compares.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn compare(&self, source: &mut dyn Source) -> Result<Compared> {
        let mut position = Position::default();
        position.advance(&self.part, Mark::default());
        source.seek(&position)?;
        let (mut found, mut records) = (Content::default(), Records::default());
        found.part.clone_from(&self.part);
        while found.records < self.records {
            records.clear();
            if source.poll(&mut records, 1 << 20, Duration::ZERO)? != Poll::Some {
                break;
            }
            for record in records.iter().take((self.records - found.records) as usize) {
                found.take(&record);
            }
        }
        Ok(if found == *self {
            Compared::Same
        } else {
            Compared::Different(self.difference(&found))
        })
    }

    fn difference(&self, found: &Content) -> String {
        if self.first != found.first {
            return format!("its first line was `{}` and is `{}`", self.first, found.first);
        }
        if found.records < self.records {
            return format!("{} lines were read, and it has {}", self.records, found.records);
        }
        format!(
            "its first {} lines ({} bytes) hold other text than when they were read",
            self.records, self.bytes
        )
    }
}
