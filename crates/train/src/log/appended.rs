//! A file that grows, and continues at the length that a checkpoint knows.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tidemill_engine::checkpoint::{LogState, files};
use tidemill_engine::error::{Error, Result};

/// The file, with the bytes that are not written yet.
pub(super) struct Appended {
    name: String,
    path: PathBuf,
    file: BufWriter<File>,
    len: u64,
}

impl Appended {
    /// The file of this name in a run's folder, cut to the length that the checkpoint knows; empty where it knows none.
    pub(super) fn open(run: &Path, name: &str, state: &LogState) -> Result<Appended> {
        let path = run.join(name);
        path.parent().map_or(Ok(()), files::make_folder)?;
        let open = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(|e| Error::write(&path, e))?;
        let cut = |file: &mut File| {
            // Someone may have removed it, or it is that of a copied run.
            let len = state.lengths.get(name).copied().unwrap_or(0).min(file.metadata()?.len());
            file.set_len(len)?;
            file.seek(SeekFrom::End(0))
        };
        let len = cut(&mut file).map_err(|e| Error::write(&path, e))?;
        Ok(Appended { name: name.to_owned(), path, file: BufWriter::new(file), len })
    }

    /// Relative to the run's folder.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Bytes, those included that are not written yet.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|e| Error::write(&self.path, e))
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|e| Error::write(&self.path, e))
    }
}
