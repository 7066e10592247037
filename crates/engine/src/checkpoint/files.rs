//! Files that are either there as a whole or not at all, also after a power cut.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Makes a folder and those that it is in; one that is there is fine.
pub fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Error::write(path, e))
}

/// Writes a file and waits until its bytes are on disk.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| Error::write(path, e))
}

/// The first `len` bytes of a file that is to be replaced; fewer of a shorter one. None where there is no file or nothing in it, and of
/// pipes and devices: reading one takes from it.
pub fn start_of(path: &Path, len: usize) -> Result<Option<Vec<u8>>> {
    if !path.is_file() {
        return Ok(None);
    }
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(len as u64).read_to_end(&mut start));
    read.map_err(|e| Error::read(path, e))?;
    Ok(Some(start).filter(|start| !start.is_empty()))
}

/// A file that is on disk under another name and waits to replace the one at its path; dropped, it is removed.
pub struct Staged {
    temporary: PathBuf,
    path: PathBuf,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It has another name once it has taken its place.
        let _ = remove(&self.temporary);
    }
}

/// Writes and syncs what is to replace `path`.
pub fn stage(path: &Path, bytes: &[u8]) -> Result<Staged> {
    stage_by(path, |temporary| write_synced(temporary, bytes))
}

/// Lets `write` write and sync a file that is to replace `path`; one that fails leaves nothing behind.
pub fn stage_by(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<Staged> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.writing"));
    let staged = Staged { temporary, path: path.to_owned() };
    write(&staged.temporary)?;
    Ok(staged)
}

impl Staged {
    /// Takes its place at once, but that is on disk only when [`sync_folder`] has been called.
    pub fn rename(self) -> Result<()> {
        fs::rename(&self.temporary, &self.path).map_err(|e| Error::write(&self.path, e))
    }
}

/// Replaces `path` by `bytes` in one go.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_by(path, |temporary| write_synced(temporary, bytes))
}

/// Replaces `path` in one go by what `write` writes and syncs.
pub fn replace_by(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    stage_by(path, write)?.rename()?;
    match path.parent() {
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// The bytes that may still be written to the disk of a folder, or of the one above it that is there; none where the system
/// does not say so.
pub fn available(folder: &Path) -> Option<u64> {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        let disk = rustix::fs::statvfs(existing(folder)).ok()?;
        disk.f_bavail.checked_mul(disk.f_frsize)
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    {
        let _ = folder;
        None
    }
}

/// Whether the files of a folder are in memory (tmpfs).
pub fn is_in_memory(folder: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        const TMPFS: u64 = 0x0102_1994;
        const RAMFS: u64 = 0x8584_58f6;
        rustix::fs::statfs(existing(folder))
            .is_ok_and(|disk| [TMPFS, RAMFS].contains(&(disk.f_type as u64)))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = folder;
        false
    }
}

/// The folder, or the one above it that is there: a run's folder is made once it is known that the run can start.
pub fn existing(folder: &Path) -> &Path {
    let mut above = folder.ancestors().filter(|path| !path.as_os_str().is_empty());
    above.find(|path| path.is_dir()).unwrap_or(Path::new("."))
}

/// A rename is on disk once its folder is.
pub fn sync_folder(path: &Path) -> Result<()> {
    // Folders cannot be opened for this on Windows, where renames are journalled anyway.
    if cfg!(unix) {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        File::open(path).and_then(|f| f.sync_all()).map_err(|e| Error::write(path, e))?;
    }
    Ok(())
}

/// Moves a finished folder to its name. One that is there from before is exchanged for it in one go; where
/// the file system cannot do that, it is at `old` for a moment.
pub fn replace_folder(from: &Path, to: &Path, old: &Path) -> Result<()> {
    let fail = |e| Error::write(to, e);
    if !to.try_exists().map_err(fail)? {
        return fs::rename(from, to).map_err(fail);
    }
    if exchange(from, to).map_err(fail)? {
        // What was there before goes only when the exchange is on disk.
        to.parent().map_or(Ok(()), sync_folder)?;
        return remove(from);
    }
    remove(old)?;
    fs::rename(to, old).map_err(fail)?;
    if let Err(e) = fs::rename(from, to) {
        // If this fails as well, the next one to open the run brings it back.
        let _ = fs::rename(old, to);
        return Err(fail(e));
    }
    to.parent().map_or(Ok(()), sync_folder)?;
    remove(old)
}

/// Exchanges two folders in one go; false where that cannot be.
fn exchange(a: &Path, b: &Path) -> std::io::Result<bool> {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
            Ok(()) => return Ok(true),
            // What kernels and file systems without it say.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e.into()),
        }
    }
    let _ = (a, b);
    Ok(false)
}

/// Removes a file or folder; that there is none is fine.
pub fn remove(path: &Path) -> Result<()> {
    let result = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match result {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::write(path, e)),
        _ => Ok(()),
    }
}
