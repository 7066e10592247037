//! Where a stream has been read to.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::records::Record;

/// Where reading goes on after a record, in its part of the stream.
///
/// | source | `major` | `minor` |
/// | --- | --- | --- |
/// | files, standard input | bytes (decompressed) up to the end of the record | lines up to it |
/// | TCP | records so far | 0 |
/// | embedded log, NATS (its part is named by when the stream was made) | sequence number of the record | 0 |
/// | Redis | milliseconds of the entry's id | its sequence number |
/// | Kafka | offset of the record | 0 |
/// | replayed dataset | samples so far | 0 |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// See the table above.
    pub major: u64,
    /// See the table above.
    pub minor: u64,
}

/// The last record read of each part of a stream: a file, a partition. Sources of one part use the
/// empty name; of files read one after another only the last is kept. Saved with the weights in each checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// By name of the part.
    pub parts: BTreeMap<String, Mark>,
}

impl Position {
    /// Takes `record` as read, and with it those before it in its block: they are taken in order,
    /// each of them.
    #[inline]
    pub fn take(&mut self, record: &Record<'_>) {
        // One part, the same as before, is what nearly always comes; comparing names for each record
        // took a tenth of the time of a small model.
        if self.parts.len() == 1
            && let Some((part, mark)) = self.parts.iter_mut().next()
            && (!record.begins || part == record.part)
        {
            *mark = record.mark;
            return;
        }
        if record.alone && !(self.parts.len() == 1 && self.parts.contains_key(record.part)) {
            self.parts.clear();
        }
        self.advance(record.part, record.mark);
    }

    /// The mark of `part`, if any of its records have been read.
    pub fn mark(&self, part: &str) -> Option<Mark> {
        self.parts.get(part).copied()
    }

    /// Takes the record at `mark` of `part` as read.
    pub fn advance(&mut self, part: &str, mark: Mark) {
        match self.parts.get_mut(part) {
            Some(old) => *old = mark,
            None => {
                self.parts.insert(part.to_owned(), mark);
            }
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parts.is_empty() {
            return f.write_str("the start");
        }
        for (i, (part, mark)) in self.parts.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let space = if part.is_empty() { "" } else { " " };
            write!(f, "{comma}{part}{space}{}", mark.major)?;
            if mark.minor != 0 {
                write!(f, "-{}", mark.minor)?;
            }
        }
        Ok(())
    }
}
