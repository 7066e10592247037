//! Which images a folder holds, and of which class each one is.

use std::fs;
use std::path::Path;

use super::{ImageDirectorySpec, LabelSource};
use crate::{Error, Result};

/// Names of images, packed: 60,000 separate strings would take three times the memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    text: String,
    ends: Vec<u32>,
}

impl Names {
    pub(super) fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len() as u32);
    }

    pub(super) fn get(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.text[start..self.ends[index] as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

/// The images below a root, by class and name.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    /// Class names by number.
    pub(super) class_names: Vec<String>,
    /// Paths relative to the root, with `/`.
    pub(super) names: Names,
    /// The class of each image.
    pub(super) classes: Vec<u32>,
}

/// Whether a file name ends like an image's.
pub(super) fn is_image(name: &str) -> bool {
    let Some((stem, ext)) = name.rsplit_once('.') else { return false };
    !stem.is_empty()
        && !name.starts_with('.')
        && ["jpg", "jpeg", "png", "bmp", "gif", "webp"].iter().any(|e| ext.eq_ignore_ascii_case(e))
}

/// Numbers the `found` sub-folders (sorted). The options may fix the order; `like`, the classes of
/// the training set, may also have classes that do not occur here.
pub(super) fn number_classes(
    spec: &ImageDirectorySpec,
    found: &[String],
    like: &[String],
) -> Result<Vec<String>> {
    let quoted = |names: &[&String]| {
        let mut text: Vec<String> = names.iter().take(5).map(|n| format!("\"{n}\"")).collect();
        if names.len() > 5 {
            text.push(format!("and {} more", names.len() - 5));
        }
        text.join(", ")
    };
    let names = match &spec.class_names {
        Some(names) => {
            let missing: Vec<_> = names.iter().filter(|n| !found.contains(n)).collect();
            if !missing.is_empty() {
                return Err(Error::option(format!(
                    "{}: class_names has {}, but there is no such sub-folder",
                    spec.path,
                    quoted(&missing)
                )));
            }
            names
        }
        None if like.is_empty() => found,
        None => like,
    };
    let extra: Vec<_> = found.iter().filter(|n| !names.contains(n)).collect();
    if !extra.is_empty() {
        let of = if spec.class_names.is_some() { "class_names" } else { "the training set" };
        return Err(Error::option(format!(
            "{}: {of} does not have the sub-folder {}",
            spec.path,
            quoted(&extra)
        )));
    }
    if let Some(twice) = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)) {
        return Err(Error::option(format!("{}: class_names has \"{}\" twice", spec.path, twice.1)));
    }
    Ok(names.to_vec())
}

/// Lists the images of the folder `root`.
pub(super) fn list(root: &Path, spec: &ImageDirectorySpec, like: &[String]) -> Result<Listing> {
    let mut listing = Listing::default();
    if spec.labels == LabelSource::None {
        walk(root, "", spec.follow_links, &mut listing.names)?;
        listing.classes = vec![0; listing.names.len()];
        return nonempty(listing, root, "");
    }
    let mut found = Vec::new();
    let mut loose = 0;
    for (name, is_dir) in entries(root)? {
        match is_dir {
            true => found.push(name),
            false => loose += usize::from(is_image(&name)),
        }
    }
    if found.is_empty() && loose > 0 {
        return Err(Error::format(
            root,
            format!(
                "has {loose} images but no sub-folders; put each class into a folder of its own, \
                 or say labels = \"none\""
            ),
        ));
    }
    listing.class_names = number_classes(spec, &found, like)?;
    for (class, name) in listing.class_names.iter().enumerate() {
        if !found.contains(name) {
            continue;
        }
        walk(&root.join(name), &format!("{name}/"), spec.follow_links, &mut listing.names)?;
        listing.classes.resize(listing.names.len(), class as u32);
    }
    nonempty(listing, root, " in its sub-folders")
}

fn nonempty(listing: Listing, root: &Path, place: &str) -> Result<Listing> {
    if listing.names.len() == 0 {
        return Err(Error::format(
            root,
            format!("has no images{place} (.jpg, .jpeg, .png, .bmp, .gif, .webp)"),
        ));
    }
    Ok(listing)
}

/// The visible entries of a folder, sorted, and whether each is a folder (links are followed).
fn entries(dir: &Path) -> Result<Vec<(String, bool)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::read(dir, e))? {
        let entry = entry.map_err(|e| Error::read(dir, e))?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(Error::format(&entry.path(), "has a name that is not UTF-8; rename it"));
        };
        if name.starts_with('.') {
            continue;
        }
        let kind = entry.file_type().map_err(|e| Error::read(dir, e))?;
        // A dangling link is left to the decoder, which reports it by path.
        let is_dir = kind.is_dir() || (kind.is_symlink() && entry.path().is_dir());
        entries.push((name, is_dir));
    }
    entries.sort_unstable();
    Ok(entries)
}

/// Adds the images below `dir`: its own first, then those of its folders, as Keras orders them.
fn walk(dir: &Path, prefix: &str, follow_links: bool, names: &mut Names) -> Result<()> {
    // Linked folders may go round in a circle; no real tree is this deep.
    if prefix.matches('/').count() > 64 {
        return Err(Error::format(dir, "lies more than 64 folders deep; do links go in a circle?"));
    }
    let entries = entries(dir)?;
    for (name, is_dir) in &entries {
        if !is_dir && is_image(name) {
            names.push(&format!("{prefix}{name}"));
        }
    }
    for (name, is_dir) in &entries {
        if *is_dir && (follow_links || !dir.join(name).is_symlink()) {
            walk(&dir.join(name), &format!("{prefix}{name}/"), follow_links, names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        }
        dir
    }

    fn names(listing: &Listing) -> Vec<(u32, &str)> {
        (0..listing.names.len()).map(|i| (listing.classes[i], listing.names.get(i))).collect()
    }

    #[test]
    fn classes_and_files_are_sorted() {
        let dir = tree(&[
            "b/2.PNG",
            "b/1.jpg",
            "a/z/0.gif",
            "a/y.webp",
            "a/n.txt",
            ".h/x.png",
            "top.bmp",
        ]);
        let spec = ImageDirectorySpec::new("d");
        let listing = list(dir.path(), &spec, &[]).unwrap();
        assert_eq!(listing.class_names, ["a", "b"]);
        assert_eq!(
            names(&listing),
            [(0, "a/y.webp"), (0, "a/z/0.gif"), (1, "b/1.jpg"), (1, "b/2.PNG")]
        );
        let flat = ImageDirectorySpec { labels: LabelSource::None, ..spec };
        assert_eq!(list(dir.path(), &flat, &[]).unwrap().names.len(), 5);
    }

    #[test]
    fn class_names_fix_the_order_and_must_fit() {
        let dir = tree(&["b/1.jpg", "a/1.jpg"]);
        let mut spec = ImageDirectorySpec::new("d");
        spec.class_names = Some(vec!["b".into(), "a".into()]);
        assert_eq!(names(&list(dir.path(), &spec, &[]).unwrap()), [(0, "b/1.jpg"), (1, "a/1.jpg")]);
        spec.class_names = Some(vec!["b".into(), "c".into()]);
        let text = list(dir.path(), &spec, &[]).unwrap_err().to_string();
        assert_eq!(text, "d: class_names has \"c\", but there is no such sub-folder");
        spec.class_names = Some(vec!["b".into()]);
        let text = list(dir.path(), &spec, &[]).unwrap_err().to_string();
        assert_eq!(text, "d: class_names does not have the sub-folder \"a\"");
        spec.class_names = Some(vec!["b".into(), "a".into(), "a".into()]);
        assert!(list(dir.path(), &spec, &[]).is_err());
    }

    #[test]
    fn a_validation_set_is_numbered_like_its_training_set() {
        let dir = tree(&["b/1.jpg"]);
        let spec = ImageDirectorySpec::new("d");
        let like = ["a", "b", "c"].map(String::from);
        let listing = list(dir.path(), &spec, &like).unwrap();
        assert_eq!((names(&listing), listing.class_names.len()), (vec![(1, "b/1.jpg")], 3));
        assert!(list(dir.path(), &spec, &like[..1]).unwrap_err().to_string().contains("training"));
    }

    #[test]
    fn missing_folders_are_told() {
        let dir = tree(&["1.jpg", "2.jpg"]);
        let spec = ImageDirectorySpec::new("d");
        let text = list(dir.path(), &spec, &[]).unwrap_err().to_string();
        assert!(text.contains("2 images but no sub-folders"), "{text}");
        let text = list(&dir.path().join("no"), &spec, &[]).unwrap_err().to_string();
        assert!(text.contains("cannot be read"), "{text}");
        let text = list(tree(&["a/n.txt"]).path(), &spec, &[]).unwrap_err().to_string();
        assert!(text.contains("no images in its sub-folders"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_on_demand() {
        let dir = tree(&["a/1.jpg"]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        let mut spec = ImageDirectorySpec::new("d");
        assert_eq!(list(dir.path(), &spec, &[]).unwrap().names.len(), 1);
        spec.follow_links = true;
        assert!(list(dir.path(), &spec, &[]).unwrap_err().to_string().contains("circle"));
    }
}
