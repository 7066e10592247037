//! JSON lines that belong to the state of a run: `dead-letter.jsonl`, `audit.jsonl`.
//!
//! The length of the file is in each checkpoint, and a resumed run cuts the file there: the events
//! after it come again, and each line is written once. The file is on disk before the checkpoint is. Where
//! it is shorter all the same, the run continues without the lines that are missing, and says so.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use tidemill_engine::checkpoint::Needed;
use tidemill_engine::error::{Error, Result};

/// Lines of one file.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Made when the first line comes. A checkpoint that is being written shares it.
    file: Option<Arc<File>>,
    /// Whether lines came after the last checkpoint.
    is_new: bool,
    /// What a user should know of the file that was found.
    note: Option<String>,
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
    ///
    /// # Errors
    /// If the file is there and cannot be opened or cut.
    pub fn open(path: &Path, mark: JournalMark, limit: u64) -> Result<Journal> {
        let mut journal = Journal {
            path: path.to_owned(),
            file: None,
            is_new: false,
            note: None,
            bytes: mark.bytes,
            lines: mark.lines,
            limit,
            text: Vec::new(),
        };
        if mark.bytes == 0 {
            tidemill_engine::checkpoint::files::remove(path)?;
            return Ok(journal);
        }
        let fail = |e| Error::write(path, e);
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                journal.bytes = 0;
                journal.note = Some(format!(
                    "{}: is not there, and the checkpoint says that it has {} bytes: the run continues \
                     without them",
                    path.display(),
                    mark.bytes
                ));
                return Ok(journal);
            }
            Err(e) => return Err(fail(e)),
        };
        let len = file.metadata().map_err(fail)?.len();
        if len < mark.bytes {
            let (bytes, lines) = whole_lines(&mut file).map_err(|e| Error::read(path, e))?;
            journal.bytes = bytes;
            journal.note = Some(format!(
                "{}: has {lines} lines of {bytes} bytes, and the checkpoint says {} bytes, as after a power \
                 cut or a change outside Tidemill: the run continues without the lines that are missing",
                path.display(),
                mark.bytes
            ));
        }
        file.set_len(journal.bytes).map_err(fail)?;
        file.seek(SeekFrom::End(0)).map_err(fail)?;
        journal.file = Some(Arc::new(file));
        Ok(journal)
    }

    /// What a user should know of the file that was found; once.
    pub fn take_note(&mut self) -> Option<String> {
        self.note.take()
    }

    /// For a checkpoint that has [`Journal::mark`]: the file to be synced before, if lines came since the
    /// last one.
    pub fn needed(&mut self) -> Option<Needed> {
        let file = self.file.as_ref().filter(|_| std::mem::take(&mut self.is_new))?;
        Some(Needed { path: self.path.clone(), file: file.clone() })
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
            None => self.file.insert(Arc::new(File::create(&self.path).map_err(fail)?)),
        };
        (&**file).write_all(&self.text).map_err(fail)?;
        self.is_new = true;
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

/// Bytes and number of the whole lines of a file.
fn whole_lines(file: &mut File) -> std::io::Result<(u64, u64)> {
    let (mut part, mut at, mut bytes, mut lines) = (vec![0; 1 << 16], 0, 0, 0);
    loop {
        let n = match file.read(&mut part) {
            Ok(0) => return Ok((bytes, lines)),
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        for (end, _) in part[..n].iter().enumerate().filter(|(_, b)| **b == b'\n') {
            (bytes, lines) = (at + end as u64 + 1, lines + 1);
        }
        at += n as u64;
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
    }

    /// As a power cut may leave it: the run continues, and says what is missing.
    #[test]
    fn a_journal_that_is_too_short_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut journal = Journal::open(&path, JournalMark::default(), 1000).unwrap();
        (10..20).for_each(|i| journal.write(&i).unwrap());
        let mark = journal.mark();
        assert_eq!(journal.needed().unwrap().path, path);
        assert!(journal.needed().is_none() && journal.take_note().is_none());
        for (left, whole) in [(10, 9), (9, 9), (2, 0), (0, 0)] {
            std::fs::write(&path, &"10\n11\n12\n1"[..left]).unwrap();
            let mut journal = Journal::open(&path, mark, 1000).unwrap();
            let note = journal.take_note().unwrap();
            assert!(note.contains(&format!("{} lines of {whole} bytes", whole / 3)), "{note}");
            journal.write(&20).unwrap();
            assert_eq!(journal.mark(), JournalMark { bytes: whole + 3, lines: 11 });
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.len() as u64 == whole + 3 && text.ends_with("20\n"), "{text}");
        }
        std::fs::remove_file(&path).unwrap();
        let mut journal = Journal::open(&path, mark, 1000).unwrap();
        assert!(journal.take_note().unwrap().contains("is not there"));
        journal.write(&20).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "20\n");
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
