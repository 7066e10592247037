//! `latest` and `best`: which checkpoint is meant, and `pointers.sha256` with the SHA-256 of each pointer, so that a changed
//! bit in one does not name another checkpoint.
//!
//! The sums are written first. So where a pointer and its sum differ, be it after a kill or by damage, the sum is what was
//! meant, if there is a checkpoint whose step has it.

use std::io::ErrorKind;
use std::path::Path;

use super::{files, sha256};
use crate::error::{Error, Result};

const SUMS: &str = "pointers.sha256";

/// A line as `sha256sum` writes it.
fn line(pointer: &str, step: u64) -> String {
    format!("{}  {pointer}\n", sha256(step.to_string().as_bytes()))
}

/// Points each of `pointers` to `step`. On disk once the folder is.
pub(super) fn point(folder: &Path, pointers: &[&str], step: u64) -> Result<()> {
    let path = folder.join(SUMS);
    // What is damaged is written again.
    let before = read(&path)?.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let is_other = |l: &&str| !pointers.iter().any(|p| l.trim_end().ends_with(&format!("  {p}")));
    let mut sums: String = before.split_inclusive('\n').filter(is_other).collect();
    pointers.iter().for_each(|pointer| sums += &line(pointer, step));
    files::stage(&path, sums.as_bytes())?.rename()?;
    pointers.iter().try_for_each(|pointer| {
        files::stage(&folder.join(pointer), step.to_string().as_bytes())?.rename()
    })
}

/// The one of `steps` that a pointer means; none where it is not there, or its checkpoint is not: a pointer may be on disk
/// before that is.
pub(super) fn pointed(folder: &Path, pointer: &str, steps: &[u64]) -> Result<Option<u64>> {
    let Some(name) = read(&folder.join(pointer))? else { return Ok(None) };
    let sums = read(&folder.join(SUMS))?.unwrap_or_default();
    let is_meant = |step: &u64| {
        let line = line(pointer, *step);
        sums.split_inclusive(|&b| b == b'\n').any(|l| l == line.as_bytes())
    };
    // Earlier versions wrote no sums.
    let named = str::from_utf8(&name).ok().and_then(|name| name.trim().parse().ok());
    let meant = steps.iter().copied().find(is_meant);
    Ok(meant.or(named.filter(|step| steps.contains(step))))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::read(path, e)),
    }
}
