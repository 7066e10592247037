//! Where sounds are: files below a folder, members of an archive, which are kept in memory as they are, or what a manifest names.

use std::io::Read;
use std::path::{Path, PathBuf};

use tidemill_audio::manifest::read_manifest;
use tidemill_audio::{AudioError, ReadOptions, Reader, Utterance};

use crate::source::{open, read_error};
use crate::tree::{Found, Tree};
use crate::{Error, Result};

/// Endings of sounds.
pub const ENDINGS: [&str; 7] = ["wav", "wave", "flac", "ogg", "oga", "mp3", "mp2"];

/// What the members of an archive may take in memory.
const MOST_BYTES: usize = 2 << 30;

/// The sounds in a folder and in those below it, sorted by folder and name. Hidden files and folders are left out.
///
/// # Errors
/// If a folder cannot be read, or there are none.
pub fn sounds_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let store = Store::open(folder)?;
    Ok(store.names.iter().map(|name| folder.join(name)).collect())
}

/// A folder or an archive of sounds.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    names: Vec<String>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Files,
    /// The bytes of each member of an archive.
    Members(Vec<Vec<u8>>),
    /// What a manifest says of each sound.
    Manifest(Vec<Utterance>),
}

/// Endings of manifests.
const MANIFESTS: [&str; 4] = ["csv", "tsv", "jsonl", "ndjson"];

fn is_sound(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

impl Store {
    /// Lists what is there, sorted by folder and name.
    pub fn open(path: &Path) -> Result<Store> {
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        let is_manifest = ending.is_some_and(|ending| MANIFESTS.contains(&ending.as_str()));
        let store = match path.is_dir() {
            false if is_manifest => Store::manifest(path)?,
            true => {
                let mut found = Found::default();
                Tree { follow_links: false, wanted: &is_sound }.list(path, "", &mut found)?;
                Store { path: path.to_owned(), names: found.files, kind: Kind::Files }
            }
            false => Store::archive(path)?,
        };
        if store.names.is_empty() {
            let endings = ENDINGS.map(|ending| format!(".{ending}")).join(", ");
            return Err(Error::format(path, format!("has no sounds ({endings})")));
        }
        Ok(store)
    }

    /// These files.
    pub fn of_files(files: &[PathBuf]) -> Store {
        let names = files.iter().map(|file| file.display().to_string()).collect();
        Store { path: PathBuf::new(), names, kind: Kind::Files }
    }

    /// Sounds are in the folder of the manifest and below it.
    fn manifest(path: &Path) -> Result<Store> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let rows = read_manifest(path, folder).map_err(sound)?;
        let names = rows.iter().map(|row| row.name.clone()).collect();
        Ok(Store { path: folder.to_owned(), names, kind: Kind::Manifest(rows) })
    }

    fn archive(path: &Path) -> Result<Store> {
        let mut archive = tar::Archive::new(open(path)?);
        let broken = |e| match read_error(path, e) {
            Error::Format { .. } => Error::format(
                path,
                "is neither a folder of sounds nor a sound tar file of one, plain or gzipped",
            ),
            other => other,
        };
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        let mut total = 0;
        for entry in archive.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let name = entry.path().map_err(broken)?.to_string_lossy().into_owned();
            let hidden = name.split('/').any(|part| part.starts_with('.') && part.len() > 1);
            if !entry.header().entry_type().is_file() || !is_sound(&name) || hidden {
                continue;
            }
            let mut bytes = Vec::new();
            let room = (MOST_BYTES - total) as u64;
            entry
                .by_ref()
                .take(room + 1)
                .read_to_end(&mut bytes)
                .map_err(|e| read_error(path, e))?;
            total += bytes.len();
            if total > MOST_BYTES {
                let what =
                    "unpacks to more than 2 GiB of sounds; unpack it into a folder, and name that";
                return Err(Error::format(path, what));
            }
            found.push((name, bytes));
        }
        // The order inside an archive is an accident; a later member replaces an earlier one.
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found.reverse();
        found.dedup_by(|a, b| a.0 == b.0);
        found.reverse();
        let (names, members) = found.into_iter().unzip();
        Ok(Store { path: path.to_owned(), names, kind: Kind::Members(members) })
    }

    /// The names of the sounds, with `/`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Where a sound is, for people.
    pub fn describe(&self, place: usize) -> String {
        self.path.join(&self.names[place]).display().to_string()
    }

    /// What a manifest says of each sound; None where there is none.
    pub fn utterances(&self) -> Option<&[Utterance]> {
        match &self.kind {
            Kind::Manifest(rows) => Some(rows),
            _ => None,
        }
    }

    /// The samples of a sound at a rate, no more of it than `most` and a piece, and what people should know of it.
    pub fn decode(
        &self,
        place: usize,
        sample_rate: u32,
        most: usize,
    ) -> Result<(Vec<f32>, Option<String>)> {
        let options = ReadOptions { sample_rate: Some(sample_rate), ..ReadOptions::default() };
        let name = self.describe(place);
        let reader = match &self.kind {
            Kind::Files => Reader::open(name.as_ref(), &options),
            Kind::Members(members) => Reader::of_bytes(members[place].clone(), &name, &options),
            Kind::Manifest(rows) => rows[place].open(sample_rate),
        };
        let mut samples = Vec::new();
        let read = reader.and_then(|mut reader| {
            while reader.read(&mut samples)? > 0 && samples.len() <= most {}
            Ok(reader.report().warnings().into_iter().next())
        });
        let warning = read.map_err(sound)?;
        Ok((samples, warning.map(|warning| format!("{name} {warning}"))))
    }
}

fn sound(error: AudioError) -> Error {
    Error::Sound { what: error.to_string() }
}
