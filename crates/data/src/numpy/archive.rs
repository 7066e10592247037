//! `.npz` archives: a ZIP file with an array in each member, stored or deflated.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use rawzip::{
    CompressionMethod, FileReader, RECOMMENDED_BUFFER_SIZE, ZipArchive, ZipArchiveEntryWayfinder,
    ZipVerification,
};

use crate::source::open_file;
use crate::{Error, Result};

/// An archive and where its arrays are.
pub(super) struct Archive {
    path: PathBuf,
    zip: ZipArchive<FileReader>,
    /// Their names without `.npy`, in the order of the alphabet.
    members: Vec<(String, Member)>,
}

#[derive(Clone, Copy)]
struct Member {
    place: ZipArchiveEntryWayfinder,
    method: CompressionMethod,
    encrypted: bool,
}

impl Archive {
    /// Reads the directory of an archive.
    pub(super) fn open(path: &Path) -> Result<Archive> {
        let damaged = |e| Error::format(path, format!("is no .npz archive, or a part of one: {e}"));
        let file = open_file(path)?;
        let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
        let zip = ZipArchive::from_file(file, &mut buffer).map_err(damaged)?;
        let mut members = Vec::new();
        let mut entries = zip.entries(&mut buffer);
        while let Some(entry) = entries.next_entry().map_err(damaged)? {
            let name = std::str::from_utf8(entry.file_path().as_bytes()).ok();
            if let Some(name) = name.and_then(|name| name.strip_suffix(".npy")) {
                let member = Member {
                    place: entry.wayfinder(),
                    method: entry.compression_method(),
                    encrypted: entry.flags().is_encrypted(),
                };
                members.push((name.to_owned(), member));
            }
        }
        // Of members with the same name, the last one counts.
        members.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Archive { path: path.to_owned(), zip, members })
    }

    /// The names of the arrays.
    pub(super) fn names(&self) -> Vec<String> {
        self.members.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Calls `read` with the bytes of one array's file.
    pub(super) fn read<T>(&self, name: &str, read: impl FnOnce(&mut dyn Read) -> T) -> Result<T> {
        let Some((_, member)) = self.members.iter().rfind(|(known, _)| known == name) else {
            let arrays = self.names().join(", ");
            return Err(Error::format(&self.path, format!("has no array {name}; it has {arrays}")));
        };
        let wrong = |what: String| {
            Error::format(&self.path, format!("array {name} cannot be read: {what}"))
        };
        if member.encrypted {
            return Err(wrong("it is encrypted".into()));
        }
        let entry = self.zip.get_entry(member.place).map_err(|e| wrong(e.to_string()))?;
        let bytes = entry.reader();
        let claim = bytes.claim_verifier();
        let bytes = BufReader::with_capacity(RECOMMENDED_BUFFER_SIZE, bytes);
        match member.method {
            CompressionMethod::STORE => Ok(read(&mut Checked::new(bytes, claim))),
            CompressionMethod::DEFLATE => {
                Ok(read(&mut Checked::new(DeflateDecoder::new(bytes), claim)))
            }
            other => Err(wrong(format!("it is packed by {other:?}; NumPy stores or deflates"))),
        }
    }
}

/// A member's bytes, whose checksum is compared at the end. The library's own is a third as fast.
struct Checked<R> {
    reader: R,
    claim: ZipVerification,
    crc: Crc,
    size: u64,
}

impl<R> Checked<R> {
    fn new(reader: R, claim: ZipVerification) -> Checked<R> {
        Checked { reader, claim, crc: Crc::new(), size: 0 }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.crc.update(&buffer[..count]);
        self.size += count as u64;
        let ended = count == 0 && !buffer.is_empty();
        if ended || self.size >= self.claim.uncompressed_size {
            let found = ZipVerification { crc: self.crc.sum(), uncompressed_size: self.size };
            self.claim.valid(found).map_err(io::Error::other)?;
        }
        Ok(count)
    }
}
