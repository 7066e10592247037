//! Folders whose files' names say what is in them.

use std::fs;
use std::path::Path;

use super::{Utterance, within};
use crate::{AudioError, Result};

/// The recordings of a folder whose names have parts with `_` between them, such as `{text}_{speaker}_{index}` for
/// `7_jackson_32.wav`; sorted by name. A part may have any name; `{text}` and `{speaker}` are kept.
///
/// # Errors
/// If the folder cannot be read, has no recording, or one has another number of parts.
pub fn from_names(folder: &Path, pattern: &str) -> Result<Vec<Utterance>> {
    let parts: Vec<&str> = pattern.split('_').collect();
    let is_part = |p: &&str| p.len() > 2 && p.starts_with('{') && p.ends_with('}');
    if !parts.iter().all(is_part) {
        return Err(AudioError::option(format!(
            "the names of recordings are {pattern:?}, which must be parts in braces with _ between them, such as {{text}}_{{speaker}}_{{index}}"
        )));
    }
    let place = folder.display().to_string();
    let read = |error| AudioError::read(&place, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        let Some(name) = name.to_str() else { continue };
        let extension = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or_default();
        let known = ["wav", "flac", "ogg", "mp3"];
        if known.iter().any(|k| extension.eq_ignore_ascii_case(k)) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    if names.is_empty() {
        return Err(AudioError::format(place, "has no recordings (.wav, .flac, .ogg, .mp3)"));
    }
    let mut out = Vec::with_capacity(names.len());
    for name in names {
        let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
        let found: Vec<&str> = stem.split('_').collect();
        if found.len() != parts.len() {
            let what = format!(
                "its name has {} parts with _ between them, but {pattern} has {}",
                found.len(),
                parts.len()
            );
            return Err(AudioError::format(format!("{place}/{name}"), what));
        }
        let part = |key: &str| {
            let at = parts.iter().position(|p| *p == key)?;
            Some(found[at].to_owned())
        };
        out.push(Utterance {
            path: within(folder, &name)?,
            text: part("{text}").unwrap_or_default(),
            speaker: part("{speaker}"),
            name,
            start: None,
            end: None,
            line: 0,
        });
    }
    Ok(out)
}
