//! JSON lines that belong to the state of a run: `dead-letter.jsonl`, `audit.jsonl`.
//!
//! The length of the file is in each checkpoint, and a resumed run cuts the file there: the events
//! after it come again, and each line is written once.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use tidemill_engine::error::{Error, Result};

/// Lines of one file.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Made when the first line comes.
    file: Option<File>,
    bytes: u64,
    lines: u64,
    /// Bytes from which on lines are counted but not written.
    limit: u64,
    text: Vec<u8>,
}

/// Where a journal stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct JournalMark {
    /// Bytes of the file.
    pub bytes: u64,
    /// Lines so far, also those that were not written for want of room.
    pub lines: u64,
}

impl Journal {
    /// Goes on at `mark`, and drops what the file has after it. At most `limit` bytes are written.
    pub fn open(path: &Path, mark: JournalMark, limit: u64) -> Result<Journal> {
        let mut journal = Journal {
            path: path.to_owned(),
            file: None,
            bytes: mark.bytes,
            lines: mark.lines,
            limit,
            text: Vec::new(),
        };
        if mark.bytes == 0 {
            tidemill_engine::checkpoint::files::remove(path)?;
        } else {
            let fail = |e| Error::write(path, e);
            let mut file = OpenOptions::new().write(true).open(path).map_err(fail)?;
            let len = file.metadata().map_err(fail)?.len();
            if len < mark.bytes {
                return Err(Error::Run(format!(
                    "{}: has {len} bytes, and the checkpoint says {}; it was modified outside Tidemill",
                    path.display(),
                    mark.bytes
                )));
            }
            file.set_len(mark.bytes).map_err(fail)?;
            file.seek(SeekFrom::End(0)).map_err(fail)?;
            journal.file = Some(file);
        }
        Ok(journal)
    }

    /// Appends a line, in one write.
    pub fn write(&mut self, line: &impl Serialize) -> Result<()> {
        self.text.clear();
        serde_json::to_writer(&mut self.text, line)
            .map_err(|e| Error::Run(format!("{}: {e}", self.path.display())))?;
        self.append()
    }

    /// Appends a line of text, in one write.
    pub fn write_text(&mut self, line: &str) -> Result<()> {
        self.text.clear();
        self.text.extend_from_slice(line.as_bytes());
        self.append()
    }

    fn append(&mut self) -> Result<()> {
        self.lines += 1;
        self.text.push(b'\n');
        if self.bytes + self.text.len() as u64 > self.limit {
            return Ok(());
        }
        let fail = |e| Error::write(&self.path, e);
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(File::create(&self.path).map_err(fail)?),
        };
        file.write_all(&self.text).map_err(fail)?;
        self.bytes += self.text.len() as u64;
        Ok(())
    }

    /// Where it stands.
    pub fn mark(&self) -> JournalMark {
        JournalMark { bytes: self.bytes, lines: self.lines }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_after_the_checkpoint_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut journal = Journal::open(&path, JournalMark::default(), 1000).unwrap();
        assert!(!path.exists());
        journal.write(&1).unwrap();
        let mark = journal.mark();
        journal.write(&2).unwrap();
        let mut journal = Journal::open(&path, mark, 1000).unwrap();
        journal.write(&3).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n3\n");
        assert_eq!(journal.mark(), JournalMark { bytes: 4, lines: 2 });
        Journal::open(&path, JournalMark::default(), 1000).unwrap();
        assert!(!path.exists());
        assert!(Journal::open(&path, mark, 1000).is_err());
    }

    #[test]
    fn a_full_journal_counts_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut journal = Journal::open(&path, JournalMark::default(), 4).unwrap();
        (0..5).for_each(|i| journal.write(&i).unwrap());
        assert_eq!(journal.mark(), JournalMark { bytes: 4, lines: 5 });
    }
}
