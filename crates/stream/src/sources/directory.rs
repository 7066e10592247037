//! A folder into which files are put.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file::FileSource;
use crate::error::{Error, Result};
use crate::position::Position;
use crate::records::Records;
use crate::source::{Counters, Poll, Source};

/// Between looks into the folder.
const STEP: Duration = Duration::from_millis(50);

/// The lines of all files of a folder, file by file in the order of their names, plain or gzipped,
/// and of those that are put there later.
///
/// - A file is read once one with a later name is there, or once it has not been changed for
///   `settle` (by its time stamp: one from the future waits for a later name). What is written to it after that is not read: write elsewhere and rename.
/// - A new file whose name comes before one that was read is not read: names must ascend, as dates
///   and counters do.
/// - Links, pipes, folders, hidden files (`.x`) and those named `*.tmp`, `*.part` or `*~` are passed over.
/// - A position names the last file; it must be there to go on, those before it may go.
#[derive(Debug)]
pub struct DirectorySource {
    folder: PathBuf,
    settle: Duration,
    max_record: usize,
    json: bool,
    /// Names to be read, as of the last look.
    names: VecDeque<String>,
    current: Option<FileSource>,
    /// Name of the current file, or of the last one read.
    part: Arc<str>,
    /// Of the files that were read.
    counters: Counters,
}

impl DirectorySource {
    /// Reads the files of `folder`; two seconds are a good `settle`. Of longer lines than `max_record`
    /// bytes only the beginning is given. `json` says that the files are JSON.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn open(
        folder: impl AsRef<Path>,
        settle: Duration,
        max_record: usize,
        json: bool,
    ) -> Result<DirectorySource> {
        let folder = folder.as_ref().to_path_buf();
        let (names, current, part) = (VecDeque::new(), None, "".into());
        let counters = Counters::default();
        let mut source =
            DirectorySource { folder, settle, max_record, json, names, current, part, counters };
        source.look()?;
        Ok(source)
    }

    /// Finds the files after the current one.
    fn look(&mut self) -> Result<()> {
        let fail = |e: std::io::Error| Error::io(self.folder.display(), e);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let passed = name.starts_with('.')
                || [".tmp", ".part", "~"].iter().any(|end| name.ends_with(end));
            // A link may lead to a file that is not to be read, or to a device without an end.
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if !passed && *name > *self.part && is_file {
                names.push(name);
            }
        }
        names.sort_unstable();
        self.names = names.into();
        Ok(())
    }

    /// Opens the next file that is complete.
    fn next_file(&mut self) -> Result<bool> {
        if self.names.len() < 2 {
            self.look()?;
        }
        let Some(name) = self.names.front() else { return Ok(false) };
        let path = self.folder.join(name);
        if self.names.len() == 1 {
            let changed = std::fs::metadata(&path).and_then(|meta| meta.modified());
            let age = changed.map_err(|e| Error::io(path.display(), e))?.elapsed();
            if age.map_or(true, |age| age < self.settle) {
                return Ok(false);
            }
        }
        self.current = Some(FileSource::with_max_record(&path, self.max_record, self.json)?);
        if let Some(name) = self.names.pop_front() {
            self.part = name.into();
        }
        self.counters.reopened += 1;
        Ok(true)
    }
}

impl Source for DirectorySource {
    fn name(&self) -> String {
        format!("dir:{}", self.folder.display())
    }

    fn not_seekable(&self) -> Option<&'static str> {
        None
    }

    fn seek(&mut self, position: &Position) -> Result<()> {
        let Some((name, &mark)) = position.parts.first_key_value() else { return Ok(()) };
        let path = self.folder.join(name);
        let meta = std::fs::symlink_metadata(&path);
        if !meta.is_ok_and(|meta| meta.is_file()) {
            let what = "that file is no longer there; put it back, or start anew";
            return Err(Error::gone(self.folder.display(), position, what));
        }
        let mut file = FileSource::with_max_record(&path, self.max_record, self.json)?;
        file.seek_mark(mark)?;
        self.current = Some(file);
        self.part = name.as_str().into();
        self.look()
    }

    fn poll(&mut self, records: &mut Records, bytes: usize, wait: Duration) -> Result<Poll> {
        let start = Instant::now();
        loop {
            if let Some(file) = &mut self.current {
                records.follow_part(&self.part);
                if file.poll(records, bytes, wait)? == Poll::Some {
                    return Ok(Poll::Some);
                }
                add(&mut self.counters, &file.counters());
                self.current = None;
            } else if !self.next_file()? {
                let left = wait.saturating_sub(start.elapsed());
                if left.is_zero() {
                    return Ok(Poll::Idle);
                }
                std::thread::sleep(STEP.min(left));
            }
        }
    }

    fn commit(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }

    fn counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        if let Some(file) = &self.current {
            add(&mut counters, &file.counters());
        }
        counters
    }
}

fn add(counters: &mut Counters, file: &Counters) {
    counters.records += file.records;
    counters.bytes += file.bytes;
    counters.too_long += file.too_long;
}
