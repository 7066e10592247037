//! Events that wait on disk: appended to segments, read back by where they lie.
//!
//! A segment is never changed, since checkpoints refer to it: they hold the places, not the events.
//! It goes when nothing in it waits any more, in no checkpoint that is still kept. The embedded log
//! of `tidemill-stream` is read from front to back; labels come in any order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::sample::fnv;
use tidemill_engine::checkpoint::Needed;
use tidemill_engine::error::{Error, Result};

/// A segment is closed once it has this many bytes.
const SEGMENT: u64 = 8 << 20;

/// Where an event lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub segment: u64,
    pub offset: u64,
    pub len: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    bytes: u64,
    /// Bytes of events that wait.
    live: u64,
}

/// The segments of one run.
#[derive(Debug)]
pub(super) struct Spill {
    folder: PathBuf,
    segments: BTreeMap<u64, Segment>,
    /// The segment that is written to.
    active: Option<(u64, Arc<File>)>,
    /// The file read last.
    reading: Option<(u64, File)>,
    next: u64,
    /// Segments that nothing in the present state needs, and how many checkpoints there had been.
    retired: Vec<(u64, u64)>,
    checkpoints: u64,
    /// How many checkpoints are kept.
    keep: u64,
    /// Whether something was written since the last checkpoint.
    unsynced: Vec<Needed>,
}

impl Spill {
    /// Goes on in `folder` with the events at `live`. Other segments may be those of an older
    /// checkpoint: they go as soon as that does.
    pub fn open(folder: &Path, keep: u64, live: &[Spot]) -> Result<Spill> {
        let mut spill = Spill {
            folder: folder.to_owned(),
            segments: BTreeMap::new(),
            active: None,
            reading: None,
            next: 0,
            retired: Vec::new(),
            checkpoints: 0,
            keep,
            unsynced: Vec::new(),
        };
        for spot in live {
            spill.segments.entry(spot.segment).or_default().live += spot.len;
        }
        let mut found = BTreeMap::new();
        if let Ok(files) = std::fs::read_dir(folder) {
            for file in files.flatten() {
                let name = file.file_name();
                let number = name.to_str().and_then(|n| n.strip_suffix(".events")?.parse().ok());
                let Some(number) = number else { continue };
                found.insert(number, file.metadata().map_or(0, |m| m.len()));
                spill.next = spill.next.max(number + 1);
            }
        }
        for spot in live {
            let bytes = found.get(&spot.segment).copied().unwrap_or(0);
            if spot.offset.saturating_add(8).saturating_add(spot.len) > bytes {
                let path = spill.path(spot.segment);
                let what =
                    "lacks events that a checkpoint refers to; it was modified outside Tidemill";
                return Err(Error::Run(format!("{}: {what}", path.display())));
            }
        }
        for (number, bytes) in found {
            match spill.segments.get_mut(&number) {
                Some(segment) => segment.bytes = bytes,
                None => spill.retired.push((number, 0)),
            }
        }
        Ok(spill)
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.folder.join(format!("{segment}.events"))
    }

    /// Writes an event.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Spot> {
        if self.active.as_ref().is_some_and(|(n, _)| self.segments[n].bytes >= SEGMENT) {
            self.active = None;
        }
        let (segment, file) = match self.active.take() {
            Some(active) => active,
            None => self.start()?,
        };
        let (path, offset) = (self.path(segment), self.segments[&segment].bytes);
        // One write: a check of the bytes and the bytes.
        let mut record = fnv(bytes).to_le_bytes().to_vec();
        record.extend_from_slice(bytes);
        (&*file).write_all(&record).map_err(|e| Error::write(&path, e))?;
        self.active = Some((segment, file));
        let len = bytes.len() as u64;
        let about = self.segments.entry(segment).or_default();
        about.bytes += record.len() as u64;
        about.live += len;
        Ok(Spot { segment, offset, len })
    }

    fn start(&mut self) -> Result<(u64, Arc<File>)> {
        tidemill_engine::checkpoint::files::make_folder(&self.folder)?;
        let (segment, path) = (self.next, self.path(self.next));
        self.next += 1;
        let fail = |e| Error::write(&path, e);
        let file = Arc::new(File::create(&path).map_err(fail)?);
        self.unsynced.push(Needed { path: path.clone(), file: file.clone() });
        self.segments.insert(segment, Segment::default());
        Ok((segment, file))
    }

    /// Reads an event.
    pub fn read(&mut self, spot: Spot) -> Result<Vec<u8>> {
        let path = self.path(spot.segment);
        let fail = |e| Error::read(&path, e);
        let mut file = match self.reading.take() {
            Some((segment, file)) if segment == spot.segment => file,
            _ => File::open(&path).map_err(fail)?,
        };
        file.seek(SeekFrom::Start(spot.offset)).map_err(fail)?;
        let mut check = [0; 8];
        file.read_exact(&mut check).map_err(fail)?;
        let mut bytes = vec![0; spot.len as usize];
        file.read_exact(&mut bytes).map_err(fail)?;
        self.reading = Some((spot.segment, file));
        if fnv(&bytes).to_le_bytes() != check {
            let what = "an event that waits for its label is damaged";
            return Err(Error::Run(format!("{}: {what}", path.display())));
        }
        Ok(bytes)
    }

    /// The event waits no more.
    pub fn free(&mut self, spot: Spot) {
        let Some(segment) = self.segments.get_mut(&spot.segment) else { return };
        segment.live = segment.live.saturating_sub(spot.len);
        let active = self.active.as_ref().is_some_and(|(n, _)| *n == spot.segment);
        if segment.live == 0 && (!active || segment.bytes >= SEGMENT) {
            self.segments.remove(&spot.segment);
            self.retired.push((spot.segment, self.checkpoints));
            if active {
                self.active = None;
            }
        }
    }

    /// The oldest segment, if more than half of all that is on disk is of no use: what waits in it
    /// should be written again.
    pub fn sparse(&self) -> Option<u64> {
        let sum = |f: fn(&Segment) -> u64| self.segments.values().map(f).sum::<u64>();
        let sparse = sum(|s| s.bytes) > 2 * sum(|s| s.live) + 4 * SEGMENT;
        let oldest = self.segments.keys().next().copied()?;
        (sparse && self.active.as_ref().is_none_or(|(n, _)| *n != oldest)).then_some(oldest)
    }

    /// Before a checkpoint is written, when all before it are on disk: removes what none of the kept
    /// ones needs, and gives the files that must be on disk before the checkpoint is.
    pub fn checkpoint(&mut self, is_new: bool) -> Result<Vec<Needed>> {
        let (checkpoints, keep) = (self.checkpoints, self.keep);
        let (gone, rest) = std::mem::take(&mut self.retired)
            .into_iter()
            .partition(|(_, retired)| retired + keep <= checkpoints);
        self.retired = rest;
        let gone: Vec<(u64, u64)> = gone;
        for (segment, _) in gone {
            let path = self.path(segment);
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::write(&path, e));
                }
                _ => {}
            }
        }
        self.checkpoints += u64::from(is_new);
        let files = std::mem::take(&mut self.unsynced);
        // What comes next goes into the same file.
        if let Some((segment, file)) = &self.active {
            self.unsynced.push(Needed { path: self.path(*segment), file: file.clone() });
        }
        Ok(files)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_and_segments_go() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(folder.path(), 2, &[]).unwrap();
        let event = |i: u64| vec![i as u8; 100_000];
        let spots: Vec<Spot> = (0..300).map(|i| spill.push(&event(i)).unwrap()).collect();
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files(), 4);
        assert_eq!(spill.read(spots[123]).unwrap(), event(123));
        assert!(!spill.checkpoint(true).unwrap().is_empty());
        // Another process continues with the last two hundred.
        let mut spill = Spill::open(folder.path(), 2, &spots[100..]).unwrap();
        for (i, spot) in (100..).zip(&spots[100..]) {
            assert_eq!(spill.read(*spot).unwrap(), event(i));
            spill.free(*spot);
        }
        // The files go once the two checkpoints that are kept do not need them.
        for left in [4, 4, 0] {
            spill.checkpoint(true).unwrap();
            assert_eq!(files(), left);
        }
        assert!(Spill::open(folder.path(), 2, &spots[..1]).is_err());
    }

    #[test]
    fn a_damaged_event_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(folder.path(), 1, &[]).unwrap();
        let spot = spill.push(b"an event").unwrap();
        std::fs::write(folder.path().join("0.events"), b"123456789 n event").unwrap();
        assert!(spill.read(spot).unwrap_err().to_string().contains("is damaged"));
    }

    #[test]
    fn mostly_empty_segments_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(folder.path(), 1, &[]).unwrap();
        let spots: Vec<Spot> = (0..600).map(|_| spill.push(&[7; 100_000]).unwrap()).collect();
        assert_eq!(spill.sparse(), None);
        // One in ten stays.
        spots.iter().enumerate().filter(|(i, _)| i % 10 != 0).for_each(|(_, s)| spill.free(*s));
        assert_eq!(spill.sparse(), Some(0));
    }
}
