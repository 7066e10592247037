//! `manifest.sha256`: the last file of a checkpoint, with the SHA-256 of the bytes of each other one.
//!
//! It is as `sha256sum` writes it, so that `sha256sum --check manifest.sha256` in a checkpoint's folder
//! checks it without Tidemill. A checkpoint is good only if the manifest is, byte for byte, what its
//! files give: then a changed bit in any of them, or in the manifest itself, cannot go unnoticed.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::tensors::hex;
use super::{META_FILE, STATE_FILE, files};
use crate::error::{Error, Result};

/// Its name.
pub(super) const FILE: &str = "manifest.sha256";
/// Bytes of a file that are read at once.
const PART: usize = 1 << 20;

/// Writes the manifest of the files in `folder`, all of which are there and synced.
pub(super) fn write(folder: &Path) -> Result<()> {
    let sum = |name: &str| -> Result<String> {
        let path = folder.join(name);
        Ok(line(name, &sha256_of(&path).map_err(|e| Error::read(&path, e))?))
    };
    let text = sum(META_FILE)? + &sum(STATE_FILE)?;
    files::write_synced(&folder.join(FILE), text.as_bytes())
}

/// What is wrong with files of these SHA-256, if they are not those of the manifest.
pub(super) fn difference(manifest: &[u8], meta: &str, state: &str) -> Option<String> {
    let lines = [(META_FILE, meta), (STATE_FILE, state)].map(|(name, sum)| (name, line(name, sum)));
    if manifest == lines.each_ref().map(|(_, line)| line.as_str()).concat().as_bytes() {
        return None;
    }
    let has = |line: &str| manifest.split_inclusive(|&b| b == b'\n').any(|l| l == line.as_bytes());
    let other: Vec<&str> =
        lines.iter().filter(|(_, line)| !has(line)).map(|(name, _)| *name).collect();
    Some(match &other[..] {
        [name] => format!("{name} does not match its SHA-256 in {FILE}"),
        _ => format!("{FILE} is damaged, or all files that it names are"),
    })
}

fn line(name: &str, sum: &str) -> String {
    format!("{sum}  {name}\n")
}

/// Of a file that may be larger than what should be in memory.
pub(super) fn sha256_of(path: &Path) -> io::Result<String> {
    let (mut file, mut hash, mut part) = (File::open(path)?, Sha256::new(), vec![0; PART]);
    loop {
        match file.read(&mut part) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(n) => hash.update(&part[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
