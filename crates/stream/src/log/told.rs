//! `acknowledged`: up to which record senders were told that theirs are kept.
//!
//! Written after each flush and never flushed itself, so that it costs a few bytes to the page cache. A killed process leaves
//! it right; after a power cut it may be behind. So what it says was acknowledged, but not that nothing after it was.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const NAME: &str = "acknowledged";

/// The file, for writing.
#[derive(Debug)]
pub(super) struct Told(File);

impl Told {
    pub(super) fn open(folder: &Path) -> io::Result<Told> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(NAME))
            .map(Told)
    }

    /// Senders are told now that records up to `last` are kept.
    pub(super) fn write(&self, last: u64) {
        // Without it a damaged end is taken for a torn one: no reason to stop.
        let _ = self.0.write_all_at(&bytes(last), 0);
    }
}

fn bytes(last: u64) -> [u8; 12] {
    let (mut bytes, last) = ([0; 12], last.to_le_bytes());
    bytes[..8].copy_from_slice(&last);
    bytes[8..].copy_from_slice(&crc32fast::hash(&last).to_le_bytes());
    bytes
}

/// The last record that was acknowledged for certain; 0 where that is not known.
pub(super) fn read(folder: &Path) -> u64 {
    let Ok(found) = std::fs::read(folder.join(NAME)) else { return 0 };
    let last = found.first_chunk().map_or(0, |last| u64::from_le_bytes(*last));
    if found == bytes(last) { last } else { 0 }
}
