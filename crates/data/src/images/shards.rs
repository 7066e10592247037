//! Tar files in the layout of WebDataset: the members of a sample follow one another and have one key, such as `000123.jpg` and
//! `000123.cls`, whose text is the number or the name of the class. Their contents are not read to list them, but for the classes.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::archive::{MOST_FILE_BYTES, Span, Store};
use super::listing::{Listing, Names, is_image};
use super::{ImageDirectorySpec, LabelSource};
use crate::source::{open_file, read_error};
use crate::tree::number_classes;
use crate::{Error, Result};

/// More shards are a mistake.
const MOST_SHARDS: u64 = 1_000_000;

/// The text of a class is no longer.
const MOST_LABEL: u64 = 4096;

/// The files of a pattern such as `train-{000000..000146}.tar`; none where it is none. A number keeps its leading zeros.
pub fn shards(pattern: &str) -> Option<Vec<String>> {
    let (before, rest) = pattern.split_once('{')?;
    let (range, after) = rest.split_once('}')?;
    let (first, last) = range.split_once("..")?;
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?;
    let (from, to): (u64, u64) = (number(first)?, number(last)?);
    let width = if first.starts_with('0') { first.len() } else { 0 };
    let count = to.checked_sub(from)? + 1;
    (count <= MOST_SHARDS)
        .then(|| (from..=to).map(|i| format!("{before}{i:0width$}{after}")).collect())
}

/// The members of one shard.
#[derive(Default)]
struct Shard {
    names: Names,
    spans: Vec<(u64, u32)>,
    /// For each image, which of `texts` its class is.
    labels: Vec<u32>,
    texts: Vec<String>,
}

/// A member's key and its ending: the name is cut at the first dot after its folders. `tar cf shard.tar .` begins each name with `./`.
fn key(name: &str) -> Option<(&str, &str)> {
    let name = name.strip_prefix("./").unwrap_or(name);
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + name[base..].find('.')?;
    (dot > base).then(|| (&name[..dot], &name[dot + 1..]))
}

/// Whether a path is that of a shard, or a pattern of shards of which the first is there.
pub fn is_shards(path: &Path) -> bool {
    let several = path.to_str().and_then(shards).filter(|_| !path.exists());
    match several.as_deref() {
        Some([first, ..]) => Path::new(first).is_file(),
        _ => path.is_file() && is_one(path),
    }
}

/// Whether a plain tar file is in this layout, by its first members.
pub(super) fn is_one(path: &Path) -> bool {
    let Ok(file) = open_file(path) else { return false };
    let mut archive = tar::Archive::new(file);
    let Ok(entries) = archive.entries_with_seek() else { return false };
    let mut first =
        entries.take(16).filter_map(|entry| Some(entry.ok()?.path().ok()?.into_owned()));
    first.any(|path| path.to_str().and_then(key).is_some_and(|(_, ending)| ending == "cls"))
}

impl Shard {
    fn read(path: &Path, with_labels: bool) -> Result<Shard> {
        let file = open_file(path)?;
        let bytes = file.metadata().map_err(|e| Error::read(path, e))?.len();
        let mut archive = tar::Archive::new(file);
        let broken = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::Other => Error::format(
                path,
                "is no plain tar file; shards are read in place, so they must not be gzipped",
            ),
            _ => read_error(path, e),
        };
        let mut shard = Shard::default();
        let mut known: HashMap<String, u32> = HashMap::new();
        // The sample whose members are being read.
        let (mut current, mut image, mut label) = (String::new(), None, None);
        for entry in archive.entries_with_seek().map_err(broken)? {
            let mut entry = entry.map_err(|e| match current.is_empty() {
                true => broken(e),
                false => Error::format(path, format!("is truncated or damaged after {current}")),
            })?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = entry.path().map_err(broken)?.to_string_lossy().into_owned();
            let (start, len) = (entry.raw_file_position(), entry.size());
            if start + len > bytes {
                return Err(Error::format(path, format!("is truncated inside {name}")));
            }
            let Some((own, ending)) = key(&name) else { continue };
            if own != current {
                shard.end(path, &current, image.take(), label.take(), with_labels)?;
                own.clone_into(&mut current);
            }
            if is_image(&name) {
                let len = u32::try_from(len).ok().filter(|&len| u64::from(len) <= MOST_FILE_BYTES);
                let Some(len) = len else {
                    let most = MOST_FILE_BYTES >> 20;
                    return Err(Error::format(
                        path,
                        format!("{name} is larger than {most} MiB; no image is"),
                    ));
                };
                image = Some((name, (start, len)));
            } else if with_labels && ending == "cls" {
                let mut text = String::new();
                entry.by_ref().take(MOST_LABEL).read_to_string(&mut text).map_err(broken)?;
                let text = text.trim();
                if text.is_empty() {
                    return Err(Error::format(
                        path,
                        format!("{name} is empty; it should have the class of its sample"),
                    ));
                }
                label = Some(match known.get(text) {
                    Some(&label) => label,
                    None => {
                        let next = shard.texts.len() as u32;
                        known.insert(text.to_owned(), next);
                        shard.texts.push(text.to_owned());
                        next
                    }
                });
            }
        }
        shard.end(path, &current, image, label, with_labels)?;
        Ok(shard)
    }

    /// Ends a sample.
    fn end(
        &mut self,
        path: &Path,
        key: &str,
        image: Option<(String, (u64, u32))>,
        label: Option<u32>,
        with_labels: bool,
    ) -> Result<()> {
        let Some((name, span)) = image else { return Ok(()) };
        if with_labels && label.is_none() {
            return Err(Error::format(
                path,
                format!(
                    "{name} has no {key}.cls beside it, with its class; or say labels = \"none\""
                ),
            ));
        }
        self.names.push(&name);
        self.spans.push(span);
        self.labels.push(label.unwrap_or(0));
        Ok(())
    }
}

/// Lists the images of shards, in their order.
pub(super) fn list(
    paths: Vec<PathBuf>,
    spec: &ImageDirectorySpec,
    like: &[String],
) -> Result<(Listing, Store)> {
    if spec.root.is_some() {
        return Err(Error::option(format!(
            "{}: root has no meaning for shards of samples (KEY.jpg, KEY.cls); leave it out",
            spec.path
        )));
    }
    let shards = read_all(&paths, spec.labels == LabelSource::Inferred)?;
    let mut listing =
        Listing { class_names: class_names(&shards, spec, like)?, ..Listing::default() };
    let numbers: HashMap<&str, u32> =
        listing.class_names.iter().enumerate().map(|(i, name)| (name.as_str(), i as u32)).collect();
    let total = shards.iter().map(|shard| shard.spans.len()).sum();
    let mut spans = Vec::with_capacity(total);
    listing.classes.reserve_exact(total);
    let bytes = shards.iter().map(|shard| shard.names.bytes()).sum();
    listing.names.reserve(total, bytes);
    for (number, shard) in shards.into_iter().enumerate() {
        let own: Vec<u32> = shard.texts.iter().map(|text| class(text, &numbers)).collect();
        for (i, &(start, len)) in shard.spans.iter().enumerate() {
            listing.names.push(shard.names.get(i));
            listing.classes.push(own.get(shard.labels[i] as usize).copied().unwrap_or(0));
            spans.push(Span { start, len, file: number as u32 });
        }
    }
    if spans.is_empty() {
        return Err(Error::option(format!("{}: the shards have no images", spec.path)));
    }
    Ok((listing, Store::Tar { paths, spans }))
}

/// The number of the class of a text that is known: by its name, or the number that it is.
fn class(text: &str, numbers: &HashMap<&str, u32>) -> u32 {
    numbers.get(text).copied().or_else(|| text.parse().ok()).unwrap_or(0)
}

/// Reads the heads of all shards, by as many threads as there are cores.
fn read_all(paths: &[PathBuf], with_labels: bool) -> Result<Vec<Shard>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = paths.get(number) else { break };
            let shard = Shard::read(path, with_labels);
            if let Ok(mut done) = done.lock() {
                done.push((number, shard));
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, |n| n.get()).min(paths.len());
    thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(number, _)| *number);
    // The first error in the order of the shards.
    done.into_iter().map(|(_, shard)| shard).collect()
}

/// The names of the classes: as given, those of the training set, or else of the labels: in order where they are names, and all numbers up
/// to the greatest where they are numbers.
fn class_names(
    shards: &[Shard],
    spec: &ImageDirectorySpec,
    like: &[String],
) -> Result<Vec<String>> {
    if spec.labels == LabelSource::None {
        return Ok(Vec::new());
    }
    let mut texts: Vec<String> = shards.iter().flat_map(|shard| &shard.texts).cloned().collect();
    texts.sort_unstable();
    texts.dedup();
    let numbers: Option<Vec<usize>> = texts.iter().map(|text| text.parse().ok()).collect();
    let Some(numbers) = numbers else {
        return number_classes(&spec.path, spec.class_names.as_deref(), &texts, like);
    };
    let most = numbers.iter().max().map_or(0, |most| most + 1);
    let names: Vec<String> = match (&spec.class_names, like) {
        (Some(names), []) => names.clone(),
        (None, []) if most > 1 << 20 => {
            let what = format!(
                "{}: a class is number {}; that many classes are a mistake",
                spec.path,
                most - 1
            );
            return Err(Error::option(what));
        }
        (None, []) => (0..most).map(|i| i.to_string()).collect(),
        (_, like) => like.to_vec(),
    };
    if most > names.len() {
        return Err(Error::option(format!(
            "{}: a class is number {}, and there are {} classes",
            spec.path,
            most - 1,
            names.len()
        )));
    }
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_ranges_of_numbers() {
        let of = |pattern: &str| shards(pattern);
        assert_eq!(of("a-{008..010}.tar").unwrap(), ["a-008.tar", "a-009.tar", "a-010.tar"]);
        assert_eq!(of("{9..10}").unwrap(), ["9", "10"]);
        for none in ["a.tar", "a{1..}.tar", "{2..1}", "{a..b}", "{1,2}", "{0..9999999}"] {
            assert!(of(none).is_none(), "{none}");
        }
    }

    #[test]
    fn keys_end_at_the_first_dot_of_a_name() {
        assert_eq!(key("a.b/n01.x.jpg"), Some(("a.b/n01", "x.jpg")));
        assert_eq!(key("7.cls"), Some(("7", "cls")));
        assert_eq!((key("a/.cls"), key("none")), (None, None));
        assert_eq!(key("./b/0.png"), Some(("b/0", "png")));
    }
}
