//! Cuts bytes into lines: the records of files, standard input and TCP.

use std::io::{self, Read};

use memchr::memchr;

use crate::position::Mark;
use crate::records::{BEGINNING, Records};

/// The longest record where nothing else is said.
pub(crate) const MAX_RECORD: usize = 16 << 20;

/// Read at once; larger reads are not faster (they leave the cache).
const CHUNK: usize = 256 << 10;

/// A buffer that grew to more than so many times its size does not stay so.
const KEPT: usize = 16;

/// Lines end with LF or CRLF. Empty lines are no records. Of a line longer than `max` only the
/// beginning is a record, marked as too long. One buffer, which only grows for lines longer than it.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// What it has at first.
    chunk: usize,
    /// Of the line that is next; bytes from here to `scanned` hold no line end.
    start: usize,
    scanned: usize,
    end: usize,
    max: usize,
    /// Inside a line that is too long and has been dropped so far, but for its beginning.
    skipping: bool,
    beginning: Vec<u8>,
    first: bool,
    mark: Mark,
    too_long: u64,
}

impl Lines {
    pub(crate) fn new(max: usize) -> Lines {
        Lines::with_chunk(max, CHUNK)
    }

    /// Starts with a buffer of `chunk` bytes.
    pub(crate) fn with_chunk(max: usize, chunk: usize) -> Lines {
        let mark = Mark::default();
        let buffer = vec![0; chunk];
        let (start, scanned, end, too_long) = (0, 0, 0, 0);
        let (skipping, beginning, first) = (false, Vec::new(), true);
        Lines {
            buffer,
            chunk,
            start,
            scanned,
            end,
            max,
            skipping,
            beginning,
            first,
            mark,
            too_long,
        }
    }

    /// Forgets what is buffered; the next byte is that after `mark`.
    pub(crate) fn restart(&mut self, mark: Mark) {
        (self.start, self.scanned, self.end, self.skipping) = (0, 0, 0, false);
        (self.mark, self.first) = (mark, mark.major == 0);
    }

    /// Where the last line taken ends.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// Lines that were too long.
    pub(crate) fn too_long(&self) -> u64 {
        self.too_long
    }

    /// Bytes read so far that belong to no whole line yet.
    pub(crate) fn pending(&self) -> usize {
        self.end - self.start
    }

    /// Begins at the start of the buffer again if nothing is left in it, and gives back what long lines took.
    fn release(&mut self) {
        if self.start == self.end {
            (self.start, self.scanned, self.end) = (0, 0, 0);
            if self.buffer.len() > KEPT * self.chunk {
                self.buffer = vec![0; self.chunk];
            }
        }
    }

    /// Reads once; 0 at the end of the input.
    pub(crate) fn fill(&mut self, input: &mut impl Read) -> io::Result<usize> {
        self.release();
        if self.end == self.buffer.len() {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.scanned -= self.start;
                self.end -= self.start;
                self.start = 0;
            }
            if self.end > self.buffer.len() / 2 {
                // By less than as much again: several long lines at once are not to take twice their size.
                let more = (self.buffer.len() / 4).max(self.chunk);
                self.buffer.resize(self.buffer.len() + more, 0);
            }
        }
        loop {
            match input.read(&mut self.buffer[self.end..]) {
                Ok(n) => {
                    self.end += n;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// After a restart behind a line without a line end: passes that line end, if it has come. False
    /// if something else has.
    pub(crate) fn pass_line_end(&mut self) -> bool {
        let end = match &self.buffer[self.start..self.end] {
            [] => 0,
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => return false,
        };
        self.mark.major += end as u64;
        (self.start, self.scanned) = (self.start + end, self.scanned + end);
        true
    }

    /// Appends the whole lines that have been read, up to about `bytes` bytes of records.
    pub(crate) fn take(&mut self, records: &mut Records, bytes: usize) {
        let limit = records.footprint() + bytes.max(1);
        while records.footprint() < limit {
            let Some(found) = memchr(b'\n', &self.buffer[self.scanned..self.end]) else {
                self.scanned = self.end;
                // Two more: the line end of a line of just the allowed length.
                if self.pending() > self.max.saturating_add(2) {
                    self.mark.major += self.pending() as u64;
                    if !self.skipping {
                        let line = &self.buffer[self.start..self.end];
                        self.beginning.clear();
                        self.beginning.extend_from_slice(&line[..line.len().min(BEGINNING)]);
                    }
                    self.start = self.end;
                    self.skipping = true;
                }
                break;
            };
            self.line(records, self.scanned + found, 1);
        }
        // Before its reader waits for room for the records.
        self.release();
    }

    /// Appends the last line, which has no line end.
    pub(crate) fn finish(&mut self, records: &mut Records) {
        if self.pending() > 0 || self.skipping {
            self.line(records, self.end, 0);
        }
    }

    fn line(&mut self, records: &mut Records, end: usize, line_end: usize) {
        let mut line = &self.buffer[self.start..end];
        self.mark.major += (line.len() + line_end) as u64;
        self.mark.minor += 1;
        if let [head @ .., b'\r'] = line {
            line = head;
        }
        if self.skipping || line.len() > self.max {
            let beginning = if self.skipping { &self.beginning[..] } else { line };
            records.push_too_long(beginning, self.mark, 0);
            self.too_long += 1;
            self.skipping = false;
        } else if !line.is_empty() {
            records.push(line, self.mark, 0, self.first);
            self.first = false;
        }
        (self.start, self.scanned) = (end + line_end, end + line_end);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Gives the bytes in pieces of `step`.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(out.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn cut(text: &[u8], step: usize, max: usize) -> (Vec<(String, u64, u64, bool)>, u64) {
        let (mut lines, mut records) = (Lines::new(max), Records::default());
        let mut input = Pieces(text, step);
        while lines.fill(&mut input).unwrap() > 0 {
            lines.take(&mut records, usize::MAX / 2);
        }
        lines.finish(&mut records);
        assert_eq!(records.iter().filter(|r| r.too_long).count() as u64, lines.too_long());
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let all = records.iter().filter(|r| !r.too_long);
        let all = all.map(|r| (text(r.bytes), r.mark.major, r.mark.minor, r.first));
        (all.collect(), lines.too_long())
    }

    #[test]
    fn lines_of_all_kinds_in_pieces_of_all_sizes() {
        let text = b"one\r\n\ntwo\n\r\nthree four five\nlast";
        for step in 1..=text.len() {
            let (lines, too_long) = cut(text, step, 8);
            let expect = [("one", 5, 1, true), ("two", 10, 3, false), ("last", 32, 6, false)];
            assert_eq!(lines, expect.map(|(t, a, b, f)| (t.to_owned(), a, b, f)), "step {step}");
            assert_eq!(too_long, 1);
        }
    }

    #[test]
    fn a_line_longer_than_the_buffer() {
        let mut text = vec![b'x'; 3 * CHUNK];
        text.extend_from_slice(b"\nend\n");
        let (lines, too_long) = cut(&text, 70_000, MAX_RECORD);
        assert_eq!((lines.len(), lines[0].0.len(), too_long), (2, 3 * CHUNK, 0));
        let (lines, too_long) = cut(&text, 70_000, 100);
        assert_eq!((lines.len(), lines[0].1, too_long), (1, text.len() as u64, 1));
    }
}
