//! Which images a folder holds, and of which class each one is.

use std::path::{Path, PathBuf};

use super::{ImageDirectorySpec, LabelSource};
use crate::tree::{Found, Others, Tree, entries, number_classes};
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

    /// Makes room for so many, of so many bytes together.
    pub(super) fn reserve(&mut self, names: usize, bytes: usize) {
        self.ends.reserve_exact(names);
        self.text.reserve_exact(bytes);
    }

    /// The bytes of all.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
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
    /// Images that are in no folder of a class.
    pub(super) loose: usize,
    /// Links to folders that were not followed.
    pub(super) links: usize,
    /// Files in folders of classes that are no images.
    pub(super) others: Others,
}

/// Whether a file name ends like an image's.
pub(super) fn is_image(name: &str) -> bool {
    let Some((stem, ext)) = name.rsplit_once('.') else { return false };
    !stem.is_empty()
        && !name.starts_with('.')
        && ["jpg", "jpeg", "png", "bmp", "gif", "webp"].iter().any(|e| ext.eq_ignore_ascii_case(e))
}

/// Lists the images of the folder `root`.
pub(super) fn list(root: &Path, spec: &ImageDirectorySpec, like: &[String]) -> Result<Listing> {
    let mut listing = Listing::default();
    let tree = Tree { follow_links: spec.follow_links, wanted: &is_image };
    if spec.labels == LabelSource::None {
        listing.add(&tree, root, "", 0)?;
        return nonempty(listing, root, "");
    }
    let mut found = Vec::new();
    for (name, is_dir) in entries(root)? {
        match is_dir {
            true => found.push(name),
            false => listing.loose += usize::from(is_image(&name)),
        }
    }
    if found.is_empty() && listing.loose > 0 {
        let loose = listing.loose;
        return Err(Error::format(
            root,
            format!(
                "has {loose} images but no sub-folders; put each class into a folder of its own, \
                 or say labels = \"none\""
            ),
        ));
    }
    listing.class_names = number_classes(&spec.path, spec.class_names.as_deref(), &found, like)?;
    for class in 0..listing.class_names.len() {
        let name = listing.class_names[class].clone();
        if found.contains(&name) {
            listing.add(&tree, &root.join(&name), &format!("{name}/"), class as u32)?;
        }
    }
    nonempty(listing, root, " in its sub-folders")
}

impl Listing {
    /// Adds the images below `dir` as those of one class.
    fn add(&mut self, tree: &Tree<'_>, dir: &Path, prefix: &str, class: u32) -> Result<()> {
        let mut found = Found::default();
        tree.list(dir, prefix, &mut found)?;
        found.files.iter().for_each(|name| self.names.push(name));
        self.classes.resize(self.names.len(), class);
        self.links += found.links;
        if self.others.count == 0 {
            self.others.first = found.others.first;
        }
        self.others.count += found.others.count;
        Ok(())
    }
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

/// The images of a folder and of those below it, in the order of [`super::ImageFolder::open`]. Hidden
/// files and folders are left out.
///
/// # Errors
/// If a folder cannot be read.
pub fn images_below(dir: &Path, follow_links: bool) -> Result<Vec<PathBuf>> {
    let mut found = Found::default();
    Tree { follow_links, wanted: &is_image }.list(dir, "", &mut found)?;
    Ok(found.files.iter().map(|name| dir.join(name)).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

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

    #[test]
    fn files_that_are_no_images_are_counted() {
        let dir = tree(&["a/1.png", "a/t.tiff", "a/Thumbs.db", "a/.hidden", "readme.txt"]);
        let listing = list(dir.path(), &ImageDirectorySpec::new("d"), &[]).unwrap();
        assert_eq!((listing.names.len(), listing.others.count), (1, 2));
        assert_eq!(listing.others.first, "a/Thumbs.db");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_on_demand() {
        let dir = tree(&["a/1.jpg"]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        let mut spec = ImageDirectorySpec::new("d");
        assert_eq!(list(dir.path(), &spec, &[]).unwrap().names.len(), 1);
        spec.follow_links = true;
        let text = list(dir.path(), &spec, &[]).unwrap_err().to_string();
        assert!(text.contains("is a link to a folder that it is in"), "{text}");
    }
}
