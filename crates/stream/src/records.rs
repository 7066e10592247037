//! Undecoded records as a source gives them, many in one block of memory that is used again.

use std::sync::Arc;

use crate::position::Mark;

/// A block of records, in the order of the stream.
#[derive(Clone, Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    heads: Vec<Head>,
    parts: Vec<(usize, Arc<str>)>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    end: usize,
    mark: Mark,
    acknowledged: u64,
    first: bool,
}

/// One record of a block.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Without the line end.
    pub bytes: &'a [u8],
    /// The part of the stream that it is from; empty where there is only one.
    pub part: &'a str,
    /// Where reading goes on after it.
    pub mark: Mark,
    /// When the sender was told that it is taken, in microseconds since 1970; 0 where there is no
    /// such moment (files).
    pub acknowledged: u64,
    /// Whether it is the first of a file, and so may be a header.
    pub first: bool,
}

impl Records {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Bytes of all records.
    pub fn num_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Makes room for other records; keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.heads.clear();
        self.parts.clear();
    }

    /// Records pushed from now on are from this part.
    pub fn set_part(&mut self, part: &Arc<str>) {
        if self.parts.last().is_none_or(|(_, last)| last != part) {
            self.parts.push((self.heads.len(), part.clone()));
        }
    }

    /// Appends a record.
    pub fn push(&mut self, bytes: &[u8], mark: Mark, acknowledged: u64, first: bool) {
        self.bytes.extend_from_slice(bytes);
        self.heads.push(Head { end: self.bytes.len(), mark, acknowledged, first });
    }

    /// The record `i`.
    pub fn get(&self, i: usize) -> Record<'_> {
        let head = self.heads[i];
        let start = if i == 0 { 0 } else { self.heads[i - 1].end };
        let after = self.parts.partition_point(|(first, _)| *first <= i);
        let part = after.checked_sub(1).map_or("", |p| &*self.parts[p].1);
        Record {
            bytes: &self.bytes[start..head.end],
            part,
            mark: head.mark,
            acknowledged: head.acknowledged,
            first: head.first,
        }
    }

    /// All records in their order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        (0..self.len()).map(|i| self.get(i))
    }
}
