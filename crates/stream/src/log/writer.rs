//! Appending: group commit, new segments, retention, repair.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use super::keys::{self, Keys, Seen};
use super::scan::{cut, scan};
use super::segment::{self, Format, HEADER, Segment};
use super::told::{self, Told};
use super::{Fsync, Inner, LogCounters, LogOptions, Sequences};
use crate::error::{Error, Result};
use crate::sync::{lock, now_us, wait};

/// Flushes that are remembered; a reader that is further behind gives the time of appending.
const FLUSHES: usize = 256;

/// What is written at once: records of many requests' worth would take as much memory again.
const PIECE: usize = 256 << 10;

/// Lengths have 32 bits; far below that, something is wrong.
const MAX_RECORD: usize = 1 << 30;

#[derive(Debug)]
pub(crate) struct State {
    /// In order; records are appended to the last.
    pub(crate) segments: VecDeque<Segment>,
    file: Arc<File>,
    /// Of the last segment.
    salt: u32,
    /// The keys that requests came with; opened when the first one comes.
    pub(super) keys: Option<Keys>,
    /// Where it is noted what senders were told, if that is only what is on disk.
    told: Option<Told>,
    /// The sequence number of the next record.
    pub(crate) next: u64,
    /// All records up to this are on disk.
    durable: u64,
    /// The latest flushes: first and last record, and when it was done. That is when their senders
    /// are told, which the time in a record cannot say.
    pub(crate) flushes: VecDeque<(u64, u64, u64)>,
    /// A thread is forcing records to the disk.
    flushing: bool,
    /// Why the log takes nothing more.
    pub(crate) failed: Option<String>,
    /// What a user should know of what was found when it was opened.
    pub(crate) notes: Vec<String>,
    committed: u64,
    pub(crate) closed: bool,
    pub(crate) counters: LogCounters,
    buffer: Vec<u8>,
}

impl State {
    /// Finds the segments of `folder` and cuts off what a crash tore.
    pub(crate) fn open(folder: &Path, options: &LogOptions) -> Result<State> {
        let fail = |e: std::io::Error| Error::io(folder.display(), e);
        let flush = options.fsync != Fsync::Never;
        let found = segment::list(folder).map_err(fail)?;
        let (mut segments, mut counters) = (VecDeque::new(), LogCounters::default());
        let (slots, lost_keys) = keys::read(folder).map_err(fail)?;
        let mut notes = Vec::new();
        if lost_keys > 0 {
            notes.push(format!(
                "{}: {lost_keys} keys of requests are damaged: what came with them is taken again if it is sent \
                 again",
                folder.join("keys").display()
            ));
        }
        for &first in &found[..found.len().saturating_sub(1)] {
            let meta = std::fs::metadata(segment::path(folder, first)).map_err(fail)?;
            let written = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
            let last_us = written.map_or(0, |t| t.as_micros() as u64);
            segments.push_back(Segment { first, bytes: meta.len(), last_us });
        }
        let (mut last, mut next) = (None, 1);
        if let Some(&first) = found.last() {
            let mut end = scan(folder, first, u64::MAX, told::read(folder))?;
            // A request with a key is taken as a whole or not at all.
            let torn = slots.iter().map(|slot| slot.seen.got);
            let torn = torn.filter(|got| got.first < end.next && got.last >= end.next);
            if let Some(torn) = torn.map(|got| got.first).min() {
                end = scan(folder, first, torn, 0)?;
                end.is_closed = false;
            }
            next = end.next;
            if end.format.is_some() && next > first {
                let open = OpenOptions::new().append(true).open(segment::path(folder, first));
                let file = open.map_err(fail)?;
                if end.is_closed {
                    file.set_len(end.segment.bytes).map_err(fail)?;
                } else {
                    counters.torn_bytes = cut(folder, first, &file, end.segment.bytes)?;
                }
                if flush {
                    file.sync_all().map_err(fail)?;
                }
                segments.push_back(end.segment);
                last = match end.format {
                    Some(Format::New { salt }) => Some((file, salt)),
                    // What earlier versions wrote is only read.
                    _ => None,
                };
            } else if end.format.is_some() && !end.is_closed {
                // It is made again below.
                let open = OpenOptions::new().append(true).open(segment::path(folder, first));
                counters.torn_bytes = cut(folder, first, &open.map_err(fail)?, end.segment.bytes)?;
            }
        }
        if counters.torn_bytes > 0 {
            let first = found.last().copied().unwrap_or(next);
            notes.push(format!(
                "{}: {} bytes from record {next} on are not whole, as when a process is killed while it \
                 writes: they were cut off and are kept in {}",
                segment::path(folder, first).display(),
                counters.torn_bytes,
                segment::torn_path(folder, first).display()
            ));
        }
        let (file, salt) = match last {
            Some(last) => last,
            None => {
                segments.push_back(Segment { first: next, bytes: HEADER, last_us: now_us() });
                segment::create(folder, next, flush).map_err(fail)?
            }
        };
        let keys = (!slots.is_empty()).then(|| Keys::open(folder, slots, next));
        let keys = keys.transpose().map_err(fail)?;
        let told = (options.fsync == Fsync::Always).then(|| Told::open(folder)).transpose();
        Ok(State {
            segments,
            file: Arc::new(file),
            salt,
            keys,
            told: told.map_err(fail)?,
            next,
            durable: next - 1,
            flushes: VecDeque::with_capacity(FLUSHES),
            flushing: false,
            failed: None,
            notes,
            committed: 0,
            closed: false,
            counters,
            buffer: Vec::new(),
        })
    }

    /// The last record that may be read. With [`Fsync::Always`] a learner is never ahead of what a
    /// power loss keeps.
    pub(crate) fn visible(&self, options: &LogOptions) -> u64 {
        if options.fsync == Fsync::Always { self.durable } else { self.next - 1 }
    }

    pub(crate) fn first(&self) -> u64 {
        self.segments.front().map_or(self.next, |s| s.first)
    }

    pub(crate) fn num_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    /// Records up to `last` are on disk.
    fn flushed(&mut self, last: u64) {
        if last > self.durable {
            self.flushes.truncate(FLUSHES - 1);
            self.flushes.push_front((self.durable + 1, last, now_us()));
            self.durable = last;
            if let Some(told) = &self.told {
                told.write(last);
            }
        }
    }

    /// The keys of the log in `folder`.
    fn keys(&mut self, folder: &Path) -> Result<&mut Keys> {
        let keys = match self.keys.take() {
            Some(keys) => keys,
            None => Keys::open(folder, Vec::new(), self.next)
                .map_err(|e| Error::io(folder.join("keys").display(), e))?,
        };
        Ok(self.keys.insert(keys))
    }

    /// Starts the next segment; all records before it are on disk then, if they ever are to be.
    fn roll(&mut self, folder: &Path, options: &LogOptions) -> Result<()> {
        let fail = |e| Error::io(folder.display(), e);
        let flush = options.fsync != Fsync::Never;
        if flush && let Err(e) = self.file.sync_data() {
            self.failed = Some(format!("flushing to disk failed: {e}"));
            return Err(fail(e));
        }
        self.flushed(self.next - 1);
        let made = segment::create(folder, self.next, flush);
        if made.is_err() && segment::path(folder, self.next).exists() {
            // Records that now went into this segment would be hidden by that one.
            self.failed = Some("a half made segment could not be removed".to_owned());
        }
        let (file, salt) = made.map_err(fail)?;
        (self.file, self.salt) = (Arc::new(file), salt);
        self.segments.push_back(Segment { first: self.next, bytes: HEADER, last_us: now_us() });
        Ok(())
    }

    /// Removes old segments until there is room for `more` bytes.
    fn retain(&mut self, folder: &Path, options: &LogOptions, more: u64) -> Result<()> {
        let now = now_us();
        let old = options.max_age.map_or(0, |age| now.saturating_sub(age.as_micros() as u64));
        loop {
            let (Some(oldest), len) = (self.segments.front().cloned(), self.segments.len()) else {
                return Ok(());
            };
            let full = self.num_bytes() + more > options.max_bytes;
            let empty = len == 1 && self.next == oldest.first;
            if empty || !(full || oldest.last_us < old) {
                return Ok(());
            }
            let last = self.segments.get(1).map_or(self.next, |s| s.first) - 1;
            if last > self.committed && !options.drop_unread {
                let what = format!(
                    "{} of {} bytes are taken by records that no checkpoint covers yet; they go \
                     as the learner goes on, or give the log more room",
                    self.num_bytes(),
                    options.max_bytes
                );
                let place = folder.display().to_string();
                return if full { Err(Error::Full { place, what }) } else { Ok(()) };
            }
            if len == 1 {
                self.roll(folder, options)?;
            }
            let path = segment::path(folder, oldest.first);
            std::fs::remove_file(&path).map_err(|e| Error::io(path.display(), e))?;
            // What opening it cut off goes with it.
            let _ = std::fs::remove_file(segment::torn_path(folder, oldest.first));
            self.segments.pop_front();
            let read = self.committed.max(oldest.first - 1);
            self.counters.dropped_unread += last.saturating_sub(read);
        }
    }

    /// The place of the next record in the last segment, and how many before it are not acknowledged yet.
    fn place(&self, options: &LogOptions) -> (u32, u32) {
        let first = self.segments.back().map_or(self.next, |s| s.first);
        let waiting = self.next - 1 - self.visible(options);
        ((self.next - first) as u32, waiting.try_into().unwrap_or(u32::MAX))
    }

    /// Marks the end of a log that is closed, so that nothing before it can be taken for torn.
    fn mark_end(&mut self, options: &LogOptions) {
        let Some(last) = self.segments.back().filter(|_| self.failed.is_none()) else { return };
        let bytes = last.bytes;
        let (index, waiting) = self.place(options);
        self.buffer.clear();
        segment::encode_end(&mut self.buffer, self.salt, index, waiting, now_us());
        if (&*self.file).write_all(&self.buffer).is_err() {
            // Without a mark the log is one of a process that was killed.
            let _ = self.file.set_len(bytes);
        }
    }

    /// Writes records to the end of the last segment.
    fn write<'a>(
        &mut self,
        folder: &Path,
        records: impl Iterator<Item = &'a [u8]>,
        options: &LogOptions,
        time: u64,
    ) -> Result<()> {
        let Some(before) = self.segments.back().map(|last| last.bytes) else { return Ok(()) };
        let (count, bytes) = self.write_frames(records, options, time).map_err(|e| {
            // Nothing of it was acknowledged; without it the segment is whole again.
            if let Err(e) = self.file.set_len(before) {
                self.failed = Some(format!("a half written record could not be cut off: {e}"));
            }
            Error::io(folder.display(), e)
        })?;
        if let Some(last) = self.segments.back_mut() {
            (last.bytes, last.last_us) = (before + bytes, time);
        }
        self.next += count;
        self.counters.appended += count;
        Ok(())
    }

    /// Appends the frames of records to the file, in pieces; gives how many records and bytes that were.
    fn write_frames<'a>(
        &mut self,
        records: impl Iterator<Item = &'a [u8]>,
        options: &LogOptions,
        time: u64,
    ) -> io::Result<(u64, u64)> {
        let (mut index, mut waiting) = self.place(options);
        let (mut file, mut count, mut bytes) = (&*self.file, 0, 0);
        self.buffer.clear();
        for record in records {
            let place = [index, waiting];
            // A long record is not copied first.
            let long = record.len() > PIECE;
            segment::encode(&mut self.buffer, self.salt, place, time, record, !long);
            (index, waiting) = (index + 1, waiting.saturating_add(1));
            count += 1;
            if long || self.buffer.len() >= PIECE {
                file.write_all(&self.buffer)?;
                bytes += self.buffer.len() as u64;
                self.buffer.clear();
            }
            if long {
                file.write_all(record)?;
                bytes += record.len() as u64;
            }
        }
        file.write_all(&self.buffer)?;
        Ok((count, bytes + self.buffer.len() as u64))
    }
}

impl Inner {
    /// Appends records, unless they came before with the same key (its hash) and check.
    pub(crate) fn append<'a>(
        &self,
        key: Option<([u8; 16], u32)>,
        records: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<Sequences> {
        let appended = self.try_append(key, records);
        if appended.is_err() {
            // Readers end where it has failed for good.
            self.changed.notify_all();
        }
        appended
    }

    fn try_append<'a>(
        &self,
        key: Option<([u8; 16], u32)>,
        records: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<Sequences> {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        self.usable(state)?;
        if let Some((hash, crc)) = key
            && let Some(seen) = state.keys(&self.folder)?.get(&hash)
        {
            if seen.crc != crc {
                let what =
                    "the key came with other events before; give each request a key of its own";
                return Err(Error::Usage(what.into()));
            }
            if self.options.fsync == Fsync::Always {
                self.flush(guard, seen.got.last)?;
            }
            return Ok(seen.got);
        }
        let (first, time) = (state.next, now_us());
        let (mut next, mut more) = (first, 0);
        for record in records.clone() {
            if record.len() > MAX_RECORD {
                let what = format!("a record of {} bytes is too long for a log", record.len());
                return Err(Error::Usage(what));
            }
            (next, more) = (next + 1, more + segment::bytes_of(record));
        }
        if next == first {
            return Ok(Sequences { first, last: first - 1 });
        }
        self.make_room(state, next - first, more)?;
        let got = Sequences { first, last: next - 1 };
        if let Some((hash, crc)) = key {
            let put = state.keys(&self.folder)?.put(hash, Seen { got, crc });
            put.map_err(|e| Error::io(self.folder.display(), e))?;
        }
        if let Err(e) = state.write(&self.folder, records, &self.options, time) {
            if key.is_some()
                && let Err(e) = state.keys(&self.folder)?.take_back()
            {
                state.failed = Some(format!("the key of a request could not be taken back: {e}"));
            }
            return Err(e);
        }
        let last = next - 1;
        if self.options.fsync == Fsync::Always {
            if key.is_some()
                && let Some(Err(e)) = state.keys.as_ref().map(Keys::sync)
            {
                state.failed = Some(format!("flushing to disk failed: {e}"));
            }
            self.flush(guard, last)?;
        } else {
            self.changed.notify_all();
        }
        Ok(got)
    }

    /// Removes old segments and starts a new one where that is needed for so many more records and bytes.
    fn make_room(&self, state: &mut State, records: u64, more: u64) -> Result<()> {
        state.retain(&self.folder, &self.options, more)?;
        let bound = self.options.segment_bytes.min(self.options.max_bytes / 4);
        let next = state.next;
        let is_full = |s: &Segment| {
            s.bytes > HEADER
                && (s.bytes + more > bound || next + records - s.first > u64::from(u32::MAX))
        };
        match state.segments.back().is_some_and(is_full) {
            true => state.roll(&self.folder, &self.options),
            false => Ok(()),
        }
    }

    fn usable(&self, state: &State) -> Result<()> {
        let what = match &state.failed {
            Some(what) => what.as_str(),
            None if state.closed => "the log is closed",
            None => return Ok(()),
        };
        Err(Error::io(self.folder.display(), what))
    }

    /// Waits until records up to `last` are on disk. One of the waiting threads flushes for all
    /// whose records are written by then; those that come meanwhile share the next flush.
    fn flush<'a>(&'a self, mut state: MutexGuard<'a, State>, last: u64) -> Result<()> {
        while state.durable < last {
            if let Some(what) = &state.failed {
                let place = self.folder.display().to_string();
                return Err(Error::Unknown { place, what: what.clone() });
            }
            if state.flushing {
                state = wait(&self.changed, state);
                continue;
            }
            state.flushing = true;
            let (written, file) = (state.next - 1, state.file.clone());
            drop(state);
            let flushed = file.sync_data().and_then(|()| is_there(&file));
            state = lock(&self.state);
            state.flushing = false;
            state.counters.flushes += 1;
            match flushed {
                Ok(()) => state.flushed(written),
                Err(e) => state.failed = Some(format!("flushing to disk failed: {e}")),
            }
            self.changed.notify_all();
        }
        Ok(())
    }

    pub(crate) fn commit(&self, sequence: u64) -> Result<()> {
        let mut state = lock(&self.state);
        state.committed = state.committed.max(sequence.min(state.next - 1));
        match state.retain(&self.folder, &self.options, 0) {
            Err(Error::Full { .. }) => Ok(()), // That is for the next append to tell.
            done => done,
        }
    }
}

/// Whether a file has a name: what is written to one that was removed is gone when the process is.
fn is_there(file: &File) -> io::Result<()> {
    match std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) {
        0 => Err(io::Error::other("the file was removed")),
        _ => Ok(()),
    }
}

/// Forces records to the disk every `interval` until the log is dropped.
pub(crate) fn flush_every(inner: &Arc<Inner>, interval: Duration) -> Result<()> {
    let (weak, place) = (Arc::downgrade(inner), inner.folder.clone());
    let body = move || {
        loop {
            std::thread::sleep(interval);
            let Some(inner) = weak.upgrade() else { return };
            let state = lock(&inner.state);
            let last = state.next - 1;
            if inner.flush(state, last).is_err() {
                return; // The next append tells.
            }
        }
    };
    let started = std::thread::Builder::new().name("flush log".to_owned()).spawn(body);
    started.map(drop).map_err(|e| Error::io(place.display(), e))
}

impl Drop for Inner {
    fn drop(&mut self) {
        lock(&self.state).mark_end(&self.options);
        if let Fsync::Interval(_) = self.options.fsync {
            // Best effort: what it should have kept was promised for the next interval only.
            let _ = lock(&self.state).file.sync_data();
        }
    }
}
