//! A file that grows, through rotations and truncations.

use std::fs::{self, File, Metadata};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::lines::Lines;
use crate::packed::{MAGIC, is_gzip, is_parquet};
use crate::position::{Mark, Position};
use crate::records::Records;
use crate::source::{Counters, Poll, Source};

/// Endings of compressed files.
const COMPRESSED: [&str; 4] = ["gz", "xz", "zst", "bz2"];

/// Longest wait between looks at the file.
const STEP: Duration = Duration::from_millis(20);

/// The lines of a file from its start, as they are written. A line counts once its end is there.
///
/// - Rotation: when the file is renamed and another has its name, the old one is read to its end
///   and then the new one. After a stop, rotated files are found by their inode among those that
///   have its name and a number or date after it (`events.1`, `events-20261123`, `events.old`), and
///   read in the order of their last change; compressed ones are not, which is an error.
/// - Truncation: a file that is shorter than what was read is read from its start. One that has
///   grown longer again between two looks cannot be told from one that was appended to.
///
/// A position names the inode and the bytes read of it.
#[derive(Debug)]
pub struct TailSource {
    path: PathBuf,
    open: Option<Open>,
    lines: Lines,
    counters: Counters,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: u64,
    part: Arc<str>,
    /// Another file has the name: this one is at its end when nothing more can be read.
    rotated: bool,
    /// Whether its beginning was seen, and is text.
    checked: bool,
}

impl Open {
    /// Refuses what is packed: lines are followed as they are written, which a compressed file has
    /// none of.
    fn check(&mut self, path: &Path) -> Result<()> {
        if self.checked {
            return Ok(());
        }
        let mut head = [0; MAGIC];
        let read = self.file.read_at(&mut head, 0).map_err(|e| Error::io(path.display(), e))?;
        if is_parquet(&head[..read]) {
            return Err(Error::Usage(format!(
                "{}: is a Parquet file, which is read from its end and cannot be followed: leave out tail:",
                path.display()
            )));
        }
        if is_gzip(path.display(), &head[..read])? {
            let what =
                "is gzipped, and only plain text can be followed; give its path without `tail:`";
            return Err(Error::Usage(format!("{}: {what}", path.display())));
        }
        self.checked = read == MAGIC;
        Ok(())
    }
}

impl TailSource {
    /// Follows `path`, which need not exist yet. Of longer lines than `max_record` bytes only the
    /// beginning is given.
    ///
    /// # Errors
    /// If it exists and cannot be read, or is no plain text.
    pub fn open(path: impl AsRef<Path>, max_record: usize) -> Result<TailSource> {
        let path = path.as_ref().to_path_buf();
        let (lines, counters) = (Lines::new(max_record), Counters::default());
        let mut source = TailSource { path, open: None, lines, counters };
        let path = source.path.clone();
        source.start(&path)?;
        if let Some(open) = &mut source.open {
            open.check(&path)?;
        }
        Ok(source)
    }

    fn fail(&self, e: std::io::Error) -> Error {
        Error::io(self.path.display(), e)
    }

    /// Starts to read `path` from its start, if it is there.
    fn start(&mut self, path: &Path) -> Result<()> {
        // Before it is opened, which waits where it is a pipe.
        if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
            let what = "only a file can be followed; a pipe is read without `tail:`";
            return Err(Error::Usage(format!("{}: {what}", path.display())));
        }
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(self.fail(e)),
        };
        let meta = file.metadata().map_err(|e| self.fail(e))?;
        let inode = meta.ino();
        let part = format!("inode {inode}").into();
        self.open = Some(Open { file, inode, part, rotated: false, checked: false });
        self.lines.restart(Mark::default());
        Ok(())
    }

    /// The files that rotation may have made, and the file itself, by their last change.
    fn family(&self) -> Result<Vec<(PathBuf, Metadata)>> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(|e| self.fail(e))?.flatten() {
            // What is removed meanwhile is no candidate.
            let (path, Ok(meta)) = (entry.path(), fs::metadata(entry.path())) else { continue };
            let other = entry.file_name().to_string_lossy().into_owned();
            if meta.is_file() && other.strip_prefix(&name).is_some_and(is_rotated) {
                found.push((path, meta));
            }
        }
        found.sort_by_cached_key(|(path, meta)| {
            let current = path.file_name() == self.path.file_name();
            (current, meta.mtime(), meta.mtime_nsec(), std::cmp::Reverse(path.clone()))
        });
        Ok(found)
    }

    /// Looks for what has become of the file after all of it has been read. True if there may be
    /// more to read now.
    fn look(&mut self, records: &mut Records) -> Result<bool> {
        let Some(open) = &mut self.open else {
            let path = self.path.clone();
            self.start(&path)?;
            return Ok(self.open.is_some());
        };
        let read = self.lines.mark().major + self.lines.pending() as u64;
        if open.file.metadata().map_err(|e| Error::io(self.path.display(), e))?.len() < read {
            open.file.seek(SeekFrom::Start(0)).map_err(|e| Error::io(self.path.display(), e))?;
            self.lines.restart(Mark::default());
            self.counters.reopened += 1;
            return Ok(true);
        }
        let inode = open.inode;
        if !open.rotated {
            // A writer writes nothing to the old file once the new one is there, so that one more
            // read to the end gets all.
            open.rotated = fs::metadata(&self.path).is_ok_and(|meta| meta.ino() != inode);
            return Ok(open.rotated);
        }
        let family = self.family()?;
        let this = family.iter().position(|(_, meta)| meta.ino() == inode);
        let mut after = family.iter().skip(this.map_or(family.len().saturating_sub(1), |i| i + 1));
        let Some((next, _)) = after.next() else { return Ok(false) };
        if next.extension().is_some_and(|e| COMPRESSED.iter().any(|z| e == *z)) {
            let what = "it was compressed before it was read; unpack it beside the others";
            return Err(Error::io(next.display(), what));
        }
        self.lines.finish(records);
        self.counters.reopened += 1;
        let next = next.clone();
        self.open = None;
        self.start(&next)?;
        Ok(true)
    }
}

/// Whether rotation puts this after a file's name: `.1`, `-20261123`, `.2026-11-23T10:00`, `.old`.
/// Other files whose names start alike hold something else.
fn is_rotated(end: &str) -> bool {
    let end = match end.rsplit_once('.') {
        Some((end, zip)) if COMPRESSED.contains(&zip) => end,
        _ => end,
    };
    let is_date = |c: char| c.is_ascii_digit() || ".-_:+TZ".contains(c);
    end.is_empty()
        || [".old", ".bak"].contains(&end)
        || (end.starts_with(['.', '-', '_']) && end.chars().all(is_date))
}

impl Source for TailSource {
    fn name(&self) -> String {
        format!("tail:{}", self.path.display())
    }

    fn not_seekable(&self) -> Option<&'static str> {
        None
    }

    fn seek(&mut self, position: &Position) -> Result<()> {
        let Some((part, &mark)) = position.parts.first_key_value() else { return Ok(()) };
        let place = self.name();
        let gone = |what: &str| {
            let what = format!("{what}; start anew, or put back the file that was read");
            Err(Error::gone(&place, position, what))
        };
        let inode = part.strip_prefix("inode ").and_then(|n| n.parse::<u64>().ok());
        let family = self.family()?;
        let Some((path, meta)) = family.iter().find(|(_, meta)| Some(meta.ino()) == inode) else {
            return gone("the file with that inode is no longer there");
        };
        if meta.len() < mark.major {
            return gone("the file is shorter than what was read of it");
        }
        self.start(path)?;
        let Some(open) = &mut self.open else {
            return gone("the file with that inode is no longer there");
        };
        let mut last = [b'\n'];
        let before = mark.major.checked_sub(1);
        let read = before.map_or(Ok(()), |at| open.file.read_exact_at(&mut last, at));
        let read = read.and_then(|()| open.file.seek(SeekFrom::Start(mark.major)));
        read.map_err(|e| Error::io(self.path.display(), e))?;
        if last[0] != b'\n' && meta.len() > mark.major {
            return gone("no line ends there: the file was written anew");
        }
        self.lines.restart(mark);
        Ok(())
    }

    fn poll(&mut self, records: &mut Records, bytes: usize, wait: Duration) -> Result<Poll> {
        let (len, num_bytes) = (records.len(), records.num_bytes());
        let limit = records.footprint() + bytes.max(1);
        let (start, mut step) = (Instant::now(), Duration::from_millis(1));
        while records.footprint() < limit {
            let mut more = false;
            if let Some(open) = &mut self.open {
                open.check(&self.path)?;
                records.follow_part(&open.part);
                self.lines.take(records, limit - records.footprint());
                if records.footprint() >= limit {
                    break;
                }
                let n = self.lines.fill(&mut open.file);
                more = n.map_err(|e| Error::io(self.path.display(), e))? > 0;
            }
            if more || self.look(records)? {
                continue;
            }
            let left = wait.saturating_sub(start.elapsed());
            if records.len() > len || left.is_zero() {
                break;
            }
            std::thread::sleep(step.min(left));
            step = (step * 2).min(STEP);
        }
        self.counters.records += (records.len() - len) as u64;
        self.counters.bytes += (records.num_bytes() - num_bytes) as u64;
        Ok(if records.len() > len { Poll::Some } else { Poll::Idle })
    }

    fn commit(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }

    fn counters(&self) -> Counters {
        Counters { too_long: self.lines.too_long(), ..self.counters.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::is_rotated;

    #[test]
    fn names_of_rotated_files() {
        let rotated = ["", ".1", "-20261123", ".2026-11-23T10:00", ".old", ".3.gz", ".10"];
        assert!(rotated.into_iter().all(is_rotated));
        let others = [".idx", "2", ".lock", "-errors", ".1.idx", "s.log"];
        assert!(!others.into_iter().any(is_rotated));
    }
}
