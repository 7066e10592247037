//! Image trees inside tar files, and reading single images wherever they lie.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::listing::{Listing, is_image};
use super::{ImageDirectorySpec, LabelSource};
use crate::source::{open, open_file, read_error, read_within};
use crate::tree::{Others, in_order, number_classes};
use crate::{Error, Result};

/// A larger file is no image.
pub(super) const MOST_FILE_BYTES: u64 = 256 << 20;

/// What the images of a gzipped archive of so many bytes may take in memory. They are compressed already, so that gzip makes
/// little of them; a small archive that unpacks to much holds none.
fn most_unpacked(packed: u64) -> u64 {
    const FREE: u64 = 48 << 20;
    const SMALL: u64 = 16 << 20;
    FREE + packed + 20 * packed.saturating_sub(SMALL)
}

/// Where a member of one of several files is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Where it begins.
    pub(super) start: u64,
    /// Its bytes.
    pub(super) len: u32,
    /// The number of the file.
    pub(super) file: u32,
}

/// Where the bytes of images are.
#[derive(Debug)]
pub(super) enum Store {
    /// Files below a folder.
    Folder(PathBuf),
    /// Members of plain tar files, read in place.
    Tar { paths: Vec<PathBuf>, spans: Vec<Span> },
    /// Members of a gzipped tar file, kept in memory as they are (images are compressed already).
    Memory { path: PathBuf, bytes: Vec<u8>, spans: Vec<(u64, u32)> },
}

impl Store {
    /// Puts the bytes of image `index`, called `name`, into `buffer`.
    pub(super) fn read(&self, index: usize, name: &str, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.clear();
        match self {
            Self::Folder(root) => {
                let path = root.join(name);
                read_within(&path, MOST_FILE_BYTES, buffer)?;
            }
            // A handle of its own for each read lets threads read at once without a lock.
            Self::Tar { paths, spans } => {
                let Span { start, len, file } = spans[index];
                let path = &paths[file as usize];
                let mut file = File::open(path).map_err(|e| Error::read(path, e))?;
                file.seek(SeekFrom::Start(start)).map_err(|e| Error::read(path, e))?;
                file.take(u64::from(len)).read_to_end(buffer).map_err(|e| Error::read(path, e))?;
            }
            Self::Memory { bytes, spans, .. } => {
                let (start, len) = spans[index];
                buffer.extend_from_slice(&bytes[start as usize..][..len as usize]);
            }
        }
        Ok(())
    }

    /// What people call image `index`, called `name`.
    pub(super) fn describe(&self, index: usize, name: &str) -> String {
        match self {
            Self::Folder(root) => root.join(name).display().to_string(),
            Self::Tar { paths, spans } => {
                format!("{}:{name}", paths[spans[index].file as usize].display())
            }
            Self::Memory { path, .. } => format!("{}:{name}", path.display()),
        }
    }

    /// Keeps only the chosen images.
    pub(super) fn keep(&mut self, indices: &[u32]) {
        match self {
            Self::Folder(_) => {}
            Self::Tar { spans, .. } => {
                *spans = indices.iter().map(|&i| spans[i as usize]).collect();
            }
            Self::Memory { spans, .. } => {
                *spans = indices.iter().map(|&i| spans[i as usize]).collect();
            }
        }
    }
}

/// An error of reading a tar file.
fn broken(path: &Path, e: std::io::Error) -> Error {
    match e.kind() {
        std::io::ErrorKind::Other => Error::format(
            path,
            "is neither a folder of images nor a sound tar file of one, plain or gzipped",
        ),
        _ => read_error(path, e),
    }
}

/// What a tar file has below a root.
#[derive(Default)]
struct Members {
    /// The bytes of the file.
    packed: u64,
    gzipped: bool,
    /// The contents of images, of a gzipped file.
    bytes: Vec<u8>,
    /// The order inside the archive is an accident, and a later member replaces an earlier one.
    members: BTreeMap<String, (u64, u32)>,
    links: Vec<(String, String)>,
    classes: BTreeSet<String>,
    others: Others,
}

impl Members {
    fn gather<R: Read>(
        &mut self,
        path: &Path,
        root: &str,
        entries: tar::Entries<'_, R>,
    ) -> Result<()> {
        let broken = |e| broken(path, e);
        let most = most_unpacked(self.packed);
        for entry in entries {
            let mut entry = entry.map_err(broken)?;
            let kind = entry.header().entry_type();
            let name = entry.path().map_err(broken)?.to_string_lossy().into_owned();
            let Some(name) = below(root, &name) else { continue };
            // As in a folder, one without images is a class too.
            match name.split_once('/') {
                Some((class, _)) => self.classes.insert(class.to_owned()),
                None => kind.is_dir() && self.classes.insert(name.to_owned()),
            };
            let file = name.rsplit('/').next().unwrap_or(name);
            if kind.is_dir() || !is_image(file) {
                if kind.is_file() && name.contains('/') && !file.starts_with('.') {
                    self.others.add(|| name.to_owned());
                }
                continue;
            }
            let name = name.to_owned();
            if let (true, Some(target)) = (kind.is_hard_link(), entry.link_name().map_err(broken)?)
            {
                self.links.push((name, target.to_string_lossy().into_owned()));
                continue;
            }
            if !kind.is_file() {
                return Err(Error::format(
                    path,
                    format!(
                        "{name} is no plain file; pack the files themselves (tar --dereference)"
                    ),
                ));
            }
            let len = u32::try_from(entry.size()).ok();
            let Some(len) = len.filter(|len| u64::from(*len) <= MOST_FILE_BYTES) else {
                let what =
                    format!("{name} is larger than {} MiB; no image is", MOST_FILE_BYTES >> 20);
                return Err(Error::format(path, what));
            };
            let start = match self.gzipped {
                true => self.unpack(path, &name, (most, len), &mut entry)?,
                false => entry.raw_file_position(),
            };
            if !self.gzipped && start + u64::from(len) > self.packed {
                return Err(read_error(path, std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.members.insert(name, (start, len));
        }
        Ok(())
    }

    /// Keeps the content of an image of a gzipped file.
    fn unpack(
        &mut self,
        path: &Path,
        name: &str,
        (most, len): (u64, u32),
        entry: &mut impl Read,
    ) -> Result<u64> {
        let (start, packed) = (self.bytes.len() as u64, self.packed);
        if start + u64::from(len) > most {
            return Err(Error::format(
                path,
                format!(
                    "has {packed} bytes and unpacks to more than {most} at {name}, which would all be in memory; pack \
                     it as a plain tar file, or unpack it into a folder"
                ),
            ));
        }
        entry.read_to_end(&mut self.bytes).map_err(|e| broken(path, e))?;
        if self.bytes.len() as u64 != start + u64::from(len) {
            return Err(Error::format(path, format!("is truncated inside {name}")));
        }
        Ok(start)
    }
}

/// Lists the images of a tar file by class and name, as if it were unpacked.
pub(super) fn list(
    path: &Path,
    spec: &ImageDirectorySpec,
    like: &[String],
) -> Result<(Listing, Store)> {
    let mut file = open_file(path)?;
    let packed = file.metadata().map_err(|e| Error::read(path, e))?.len();
    let mut magic = [0; 2];
    let gzipped = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    let root = spec.root.as_deref().unwrap_or("").trim_matches('/');
    let mut found = Members { packed, gzipped, ..Members::default() };
    let broken = |e| broken(path, e);
    if gzipped {
        let mut archive = tar::Archive::new(open(path)?);
        found.gather(path, root, archive.entries().map_err(broken)?)?;
    } else {
        // The contents are passed over.
        let mut archive = tar::Archive::new(open_file(path)?);
        found.gather(path, root, archive.entries_with_seek().map_err(broken)?)?;
    }
    let Members { mut bytes, mut members, links, classes, others, .. } = found;
    bytes.shrink_to_fit();
    for (name, target) in links {
        let Some(&span) = below(root, &target).and_then(|target| members.get(target)) else {
            return Err(Error::format(
                path,
                format!("{name} is a link to {target}, which is not among the images"),
            ));
        };
        members.insert(name, span);
    }
    let classes: Vec<String> = classes.into_iter().filter(|class| !class.is_empty()).collect();
    let (mut listing, spans) = classify(members, classes, path, root, spec, like)?;
    listing.others = others;
    let path = path.to_owned();
    let store = match gzipped {
        true => Store::Memory { path, bytes, spans },
        false => {
            let span = |(start, len)| Span { start, len, file: 0 };
            Store::Tar { paths: vec![path], spans: spans.into_iter().map(span).collect() }
        }
    };
    Ok((listing, store))
}

/// `name` relative to `root`, if it is below it; hidden files and folders are left out.
fn below<'a>(root: &str, name: &'a str) -> Option<&'a str> {
    let name = name.trim_start_matches("./").trim_end_matches('/');
    let rest = match root {
        "" => name,
        root => name.strip_prefix(root)?.strip_prefix('/')?,
    };
    (!rest.split('/').any(|part| part.starts_with('.'))).then_some(rest)
}

type Spans = Vec<(u64, u32)>;

fn classify(
    members: BTreeMap<String, (u64, u32)>,
    found: Vec<String>,
    path: &Path,
    root: &str,
    spec: &ImageDirectorySpec,
    like: &[String],
) -> Result<(Listing, Spans)> {
    let mut listing = Listing::default();
    let mut spans = Vec::new();
    let mut members: Vec<(&String, &(u64, u32))> = members.iter().collect();
    members.sort_unstable_by_key(|(name, _)| in_order(name));
    if spec.labels == LabelSource::None {
        for (name, span) in members {
            listing.names.push(name);
            listing.classes.push(0);
            spans.push(*span);
        }
    } else {
        // Archives mostly hold the folder itself; a class with deeper folders only is that one.
        let class = |name: &str| name.split_once('/').map(|(class, _)| class.to_owned());
        let only = members.first().and_then(|(name, _)| class(name));
        if let Some(only) = only
            && like.is_empty()
            && spec.class_names.is_none()
            && members.iter().all(|(name, _)| {
                name.matches('/').count() > 1 && class(name).as_ref() == Some(&only)
            })
        {
            let inner = format!("{root}/{only}");
            return Err(Error::format(
                path,
                format!(
                    "has one folder \"{only}\" where its classes should be; say root = \"{}\", or \
                     the folder in it that holds the classes",
                    inner.trim_start_matches('/')
                ),
            ));
        }
        listing.class_names =
            number_classes(&spec.path, spec.class_names.as_deref(), &found, like)?;
        let mut of_class: BTreeMap<&str, Spans> = BTreeMap::new();
        let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, span) in members {
            match name.split_once('/') {
                Some((class, _)) => {
                    names.entry(class).or_default().push(name);
                    of_class.entry(class).or_default().push(*span);
                }
                None => listing.loose += 1,
            }
        }
        for (class, class_name) in listing.class_names.iter().enumerate() {
            for name in names.get(class_name.as_str()).into_iter().flatten() {
                listing.names.push(name);
                listing.classes.push(class as u32);
            }
            spans.extend(of_class.get(class_name.as_str()).into_iter().flatten());
        }
    }
    if spans.is_empty() {
        let place = if root.is_empty() { "at its top".into() } else { format!("in {root}") };
        return Err(Error::format(
            path,
            format!(
                "has no images {place} in folders of classes; root = \"...\" names the folder of classes"
            ),
        ));
    }
    Ok((listing, spans))
}
