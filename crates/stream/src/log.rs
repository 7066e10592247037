//! An append-only log in a folder: what it acknowledged is there after SIGKILL, and with
//! [`Fsync::Always`] after power loss, exactly once and in order.
//!
//! The folder holds segments, each named by the sequence number of its first record. A segment is
//! a header and records, each framed with its length, checks (CRC-32), and the time. A crash can only tear
//! the end of the last segment; opening the log cuts that off, keeps it beside the segment
//! (`NAME.log.torn`), and says so ([`Log::notes`]). Where what follows, or the file `acknowledged`, shows that it had been acknowledged,
//! it is not cut off: it was damaged, and that is an error.
//! One process at a time has a log open. Sequence numbers start at 1 and have no gaps.

mod keys;
mod reader;
mod scan;
mod segment;
mod told;
mod writer;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::sync::lock;

pub use keys::KEYS;
pub use reader::LogSource;
use writer::State;

/// How long another process may keep the log from being opened.
const LOCK: Duration = Duration::from_millis(500);

/// When records are forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before they are acknowledged or read: nothing acknowledged is lost in a power loss. Senders
    /// that wait at the same time share one flush.
    Always,
    /// This often: a power loss may take what was acknowledged since; a SIGKILL takes nothing.
    Interval(Duration),
    /// When the operating system likes.
    Never,
}

/// How a log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// When records are forced to the disk.
    pub fsync: Fsync,
    /// A segment is this long; a quarter of `max_bytes` at most.
    pub segment_bytes: u64,
    /// Bound of all segments. Whole segments are removed, oldest first, once all their records are
    /// committed; if that is not enough, the log is full and takes nothing.
    pub max_bytes: u64,
    /// Segments older than this are removed, once all their records are committed.
    pub max_age: Option<Duration>,
    /// Removes segments at those bounds even when records in them were not committed, and counts
    /// those. Then not every record is learned.
    pub drop_unread: bool,
}

impl Default for LogOptions {
    /// Forced to the disk at once, 1 GiB in segments of 64 MiB, of any age, nothing unread dropped.
    fn default() -> Self {
        let (segment_bytes, max_bytes) = (64 << 20, 1 << 30);
        let fsync = Fsync::Always;
        LogOptions { fsync, segment_bytes, max_bytes, max_age: None, drop_unread: false }
    }
}

/// What a log has seen since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// Records appended.
    pub appended: u64,
    /// Records that were removed before they were committed.
    pub dropped_unread: u64,
    /// Bytes of a torn record that opening cut off.
    pub torn_bytes: u64,
    /// Times that records were forced to the disk.
    pub flushes: u64,
}

/// The sequence numbers that appended records got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequences {
    /// Of the first record.
    pub first: u64,
    /// Of the last.
    pub last: u64,
}

/// An open log; clones are the same log.
#[derive(Clone, Debug)]
pub struct Log {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    options: LogOptions,
    state: Mutex<State>,
    /// Tells of records that can be read, of flushes, and of the end.
    changed: Condvar,
    /// Keeps other processes out while it is open.
    _lock: File,
}

impl Log {
    /// Opens or makes the log in `folder`.
    ///
    /// # Errors
    /// If another process has it open, or a record is damaged that is not the torn end.
    pub fn open(folder: impl AsRef<Path>, options: LogOptions) -> Result<Log> {
        let folder = folder.as_ref().to_path_buf();
        let fail = |e| Error::io(folder.display(), e);
        std::fs::create_dir_all(&folder).map_err(fail)?;
        let held = File::create(folder.join("lock")).map_err(fail)?;
        let start = Instant::now();
        loop {
            match held.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(e)) => return Err(fail(e)),
                // A program that this process or a dying one is just starting has it for a moment.
                Err(TryLockError::WouldBlock) if start.elapsed() < LOCK => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => {
                    let what = "another process has this log open; stop it, or give another folder";
                    return Err(Error::io(folder.display(), what));
                }
            }
        }
        let state = Mutex::new(State::open(&folder, &options)?);
        let changed = Condvar::new();
        let fsync = options.fsync;
        let inner = Arc::new(Inner { folder, options, state, changed, _lock: held });
        if let Fsync::Interval(interval) = fsync {
            writer::flush_every(&inner, interval)?;
        }
        Ok(Log { inner })
    }

    /// Opens an empty log in `folder`, in place of the one there.
    pub(crate) fn open_empty(folder: &Path, options: LogOptions) -> Result<Log> {
        for first in segment::list(folder).unwrap_or_default() {
            let path = segment::path(folder, first);
            std::fs::remove_file(&path).map_err(|e| Error::io(path.display(), e))?;
            let _ = std::fs::remove_file(segment::torn_path(folder, first));
        }
        Log::open(folder, options)
    }

    /// Appends records and returns once they are acknowledged, as [`LogOptions::fsync`] says. All
    /// or none of them are taken, except that a crash may keep the first of them.
    ///
    /// # Errors
    /// [`Error::Full`] at the bound. [`Error::Unknown`] where flushing fails: whether the disk has the
    /// records is not known then. After that the log takes nothing more ([`Log::failure`]), and its
    /// sources end with that error.
    pub fn append<'a>(
        &self,
        records: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>,
    ) -> Result<Sequences> {
        self.inner.append(None, records.into_iter())
    }

    /// As [`Log::append`], once for each `key`: records that came with it before are not taken again, and
    /// have the sequence numbers that they got then, also when the log was opened again in between. The
    /// last [`KEYS`] keys are remembered.
    ///
    /// # Errors
    /// As [`Log::append`], and [`Error::Usage`] if the key came with other records before.
    pub fn append_once<'a>(
        &self,
        key: &[u8],
        records: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>,
    ) -> Result<Sequences> {
        let records = records.into_iter();
        let mut crc = crc32fast::Hasher::new();
        for record in records.clone() {
            crc.update(&(record.len() as u64).to_le_bytes());
            crc.update(record);
        }
        self.inner.append(Some((keys::hash(key), crc.finalize())), records)
    }

    /// Whether records came with this key before, see [`Log::append_once`].
    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        let state = lock(&self.inner.state);
        state.keys.as_ref().is_some_and(|keys| keys.get(&keys::hash(key)).is_some())
    }

    /// A source of the records from the first on; wakes up as records are acknowledged.
    pub fn source(&self) -> LogSource {
        LogSource::new(self.inner.clone())
    }

    /// Sequence number of the last record that can be read; 0 before the first.
    pub fn last(&self) -> u64 {
        lock(&self.inner.state).visible(&self.inner.options)
    }

    /// Sequence number of the oldest record that is still there, or of the next one to come.
    pub fn first(&self) -> u64 {
        lock(&self.inner.state).first()
    }

    /// Bytes on disk.
    pub fn num_bytes(&self) -> u64 {
        lock(&self.inner.state).num_bytes()
    }

    /// Nothing before and including `sequence` is needed any more.
    ///
    /// # Errors
    /// If an old segment cannot be removed.
    pub fn commit(&self, sequence: u64) -> Result<()> {
        self.inner.commit(sequence)
    }

    /// As after a failed write.
    #[cfg(test)]
    pub(crate) fn fail(&self, why: &str) {
        lock(&self.inner.state).failed = Some(why.to_owned());
    }

    /// Takes no more records; sources end after the last.
    pub fn close(&self) {
        lock(&self.inner.state).closed = true;
        self.inner.changed.notify_all();
    }

    /// Why it takes nothing more, after a failed flush or write.
    pub fn failure(&self) -> Option<String> {
        lock(&self.inner.state).failed.clone()
    }

    /// What a user should know of what was found when it was opened.
    pub fn notes(&self) -> Vec<String> {
        lock(&self.inner.state).notes.clone()
    }

    /// What it has seen.
    pub fn counters(&self) -> LogCounters {
        lock(&self.inner.state).counters
    }
}
