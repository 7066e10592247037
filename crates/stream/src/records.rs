//! Undecoded records as a source gives them, many in one block of memory that is used again.

use std::sync::Arc;

use crate::position::Mark;

/// Bytes that are kept of a record that is too long.
pub(crate) const BEGINNING: usize = 4096;

/// What held one very long record and more memory than this does not keep it.
pub(crate) const MOST_KEPT: usize = 1 << 20;

/// A block of records, in the order of the stream.
#[derive(Clone, Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    heads: Vec<Head>,
    parts: Vec<Part>,
}

/// Records from `start` on are from the part `name`.
#[derive(Clone, Debug)]
struct Part {
    start: usize,
    name: Arc<str>,
    alone: bool,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    end: usize,
    mark: Mark,
    acknowledged: u64,
    first: bool,
    too_long: bool,
}

/// One record of a block.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Without the line end.
    pub bytes: &'a [u8],
    /// The part of the stream that it is from; empty where there is only one.
    pub part: &'a str,
    /// Whether a position after it names this part only: files that are read one after another
    /// leave nothing to go back to in those before.
    pub alone: bool,
    /// Where reading goes on after it.
    pub mark: Mark,
    /// When the sender was told that it is taken, in microseconds since 1970; 0 where there is no
    /// such moment (files).
    pub acknowledged: u64,
    /// Whether it is the first of a file, and so may be a header.
    pub first: bool,
    /// Whether it is only the beginning of a record that is longer than the source allows.
    pub too_long: bool,
    /// Whether it is the first of its block or of its part there; all others are of the same part
    /// as the record before.
    pub begins: bool,
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

    /// Memory that the records take, with what is kept about each: what queues count, since many
    /// short records take more than their bytes.
    pub fn footprint(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.heads) + size_of_val(&*self.parts)
    }

    /// No records, and memory for as many short ones as have this footprint, touched.
    pub fn with_footprint(bytes: usize) -> Records {
        let mark = Mark::default();
        let none = Head { end: 0, mark, acknowledged: 0, first: false, too_long: false };
        let heads = vec![none; bytes / 2 / size_of::<Head>()];
        let mut records = Records { bytes: vec![1; bytes], heads, parts: Vec::new() };
        records.clear();
        records
    }

    /// Whether it has no memory yet.
    pub(crate) fn is_new(&self) -> bool {
        self.bytes.capacity() == 0
    }

    /// As [`Records::clear`], but for the memory of very long records.
    pub fn clear_long(&mut self) {
        self.clear_above(MOST_KEPT);
    }

    /// As [`Records::clear`], but keeps no more than so many bytes.
    pub(crate) fn clear_above(&mut self, most: usize) {
        match self.capacity() > most {
            true => *self = Records::default(),
            false => self.clear(),
        }
    }

    /// Makes room for other records; keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.heads.clear();
        self.parts.clear();
    }

    /// Records pushed from now on are from this part, one of several that are read side by side.
    pub fn set_part(&mut self, part: &Arc<str>) {
        self.begin(part, false);
    }

    /// Records pushed from now on are from this part, and those before it are at their end.
    pub fn follow_part(&mut self, part: &Arc<str>) {
        self.begin(part, true);
    }

    fn begin(&mut self, name: &Arc<str>, alone: bool) {
        if self.parts.last().is_none_or(|last| last.name != *name) {
            self.parts.push(Part { start: self.heads.len(), name: name.clone(), alone });
        }
    }

    /// Appends a record.
    pub fn push(&mut self, bytes: &[u8], mark: Mark, acknowledged: u64, first: bool) {
        self.bytes.extend_from_slice(bytes);
        let end = self.bytes.len();
        self.heads.push(Head { end, mark, acknowledged, first, too_long: false });
    }

    /// Appends the beginning of a record that is too long, so that it is counted in its place.
    pub fn push_too_long(&mut self, bytes: &[u8], mark: Mark, acknowledged: u64) {
        self.push(&bytes[..bytes.len().min(BEGINNING)], mark, acknowledged, false);
        if let Some(head) = self.heads.last_mut() {
            head.too_long = true;
        }
    }

    /// Appends all records of `other`.
    pub fn append(&mut self, other: &Records) {
        let (bytes, len) = (self.bytes.len(), self.heads.len());
        if !self.parts.is_empty() && other.parts.first().is_none_or(|p| p.start > 0) {
            self.begin(&Arc::from(""), false);
        }
        self.bytes.extend_from_slice(&other.bytes);
        self.heads.extend(other.heads.iter().map(|h| Head { end: h.end + bytes, ..*h }));
        self.parts.extend(other.parts.iter().map(|p| Part { start: p.start + len, ..p.clone() }));
    }

    /// Takes the place of what is there: the records of `range` of `other`.
    pub fn copy(&mut self, other: &Records, range: std::ops::Range<usize>) {
        self.clear();
        for i in range {
            let part = other.parts.partition_point(|part| part.start <= i).checked_sub(1);
            if let Some(part) = part.map(|part| &other.parts[part]) {
                self.begin(&part.name, part.alone);
            }
            self.bytes.extend_from_slice(other.get(i).bytes);
            self.heads.push(Head { end: self.bytes.len(), ..other.heads[i] });
        }
    }

    /// Memory that is held for records, in use or not.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.heads.capacity() * size_of::<Head>()
    }

    /// Numbers the records from `first` on, in place of what their marks were.
    pub(crate) fn number(&mut self, first: u64) {
        for (head, major) in self.heads.iter_mut().zip(first..) {
            head.mark = Mark { major, minor: 0 };
        }
    }

    /// Keeps only the records for which `keep` of their index says so.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let (mut kept, mut start, mut end, mut part) = (0, 0, 0, 0);
        for i in 0..self.heads.len() {
            while part < self.parts.len() && self.parts[part].start <= i {
                self.parts[part].start = kept;
                part += 1;
            }
            let head = self.heads[i];
            if keep(i) {
                self.bytes.copy_within(start..head.end, end);
                end += head.end - start;
                self.heads[kept] = Head { end, ..head };
                kept += 1;
            }
            start = head.end;
        }
        self.bytes.truncate(end);
        self.heads.truncate(kept);
    }

    /// The record `i`.
    pub fn get(&self, i: usize) -> Record<'_> {
        let head = self.heads[i];
        let start = if i == 0 { 0 } else { self.heads[i - 1].end };
        let after = self.parts.partition_point(|part| part.start <= i);
        let part = after.checked_sub(1).map(|p| &self.parts[p]);
        Record {
            bytes: &self.bytes[start..head.end],
            part: part.map_or("", |p| &p.name),
            alone: part.is_some_and(|p| p.alone),
            mark: head.mark,
            acknowledged: head.acknowledged,
            first: head.first,
            too_long: head.too_long,
            begins: i == 0 || part.is_some_and(|p| p.start == i),
        }
    }

    /// All records in their order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        (0..self.len()).map(|i| self.get(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(major: u64) -> Mark {
        Mark { major, minor: 0 }
    }

    fn texts(records: &Records) -> Vec<(String, String, u64)> {
        let text = |r: Record<'_>| String::from_utf8_lossy(r.bytes).into_owned();
        records.iter().map(|r| (r.part.to_owned(), text(r), r.mark.major)).collect()
    }

    #[test]
    fn appending_keeps_parts_and_retaining_keeps_their_records() {
        let mut a = Records::default();
        a.set_part(&"p".into());
        a.push(b"one", mark(1), 0, true);
        let mut b = Records::default();
        b.push(b"two", mark(2), 0, false);
        b.set_part(&"q".into());
        b.push(b"three", mark(3), 0, false);
        b.push(b"four", mark(4), 0, false);
        a.append(&b);
        let expect = [("p", "one", 1), ("", "two", 2), ("q", "three", 3), ("q", "four", 4)];
        let own = |e: &[(&str, &str, u64)]| -> Vec<_> {
            e.iter().map(|(p, t, m)| ((*p).to_owned(), (*t).to_owned(), *m)).collect()
        };
        assert_eq!(texts(&a), own(&expect));
        a.retain(|i| i == 1 || i == 3);
        assert_eq!(texts(&a), own(&[expect[1], expect[3]]));
        let mut copied = Records::default();
        copied.push(b"old", mark(9), 0, false);
        copied.copy(&b, 1..3);
        assert_eq!(texts(&copied), own(&expect[2..]));
        copied.copy(&b, 0..2);
        assert_eq!(texts(&copied), own(&expect[1..3]));
        a.push(b"five", mark(5), 0, false);
        assert_eq!(a.get(2).part, "q");
    }
}
