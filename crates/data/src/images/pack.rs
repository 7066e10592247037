//! Images made smaller once and put into shards: what is decoded at each epoch is then small, and read in few large files.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::thread;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::resize::Fit;
use super::{ImageDirectorySpec, ImageFolder};
use crate::order::Order;
use crate::{Dataset, Error, InputSpec, Result};

/// How images are packed.
#[derive(Clone, Debug)]
pub struct Pack {
    /// Pixels of the shorter side; smaller images stay as they are.
    pub size: usize,
    /// Quality of the JPEG files that are made, from 1 to 100.
    pub quality: u8,
    /// Images of a shard, but for the last one.
    pub per_shard: usize,
    /// Whether images that cannot be decoded are left out; an error otherwise.
    pub skip_broken: bool,
    /// Of the order, which mixes the classes.
    pub seed: u64,
}

/// What was packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// The shards.
    pub shards: Vec<PathBuf>,
    /// Images in them.
    pub images: usize,
    /// Those of them that were made smaller.
    pub resized: usize,
    /// Why images were left out.
    pub left_out: Vec<String>,
    /// Bytes of the shards.
    pub bytes: u64,
    /// The names of the classes where the shards have their numbers: names that are numbers would be taken for those.
    pub numbered: Vec<String>,
}

/// Images that are worked on at the same time, which bounds the memory.
const AT_ONCE: usize = 128;

/// A file of a shard.
struct Member {
    bytes: Vec<u8>,
    ending: String,
    class: u32,
    resized: bool,
}

impl Pack {
    /// Writes the images of a folder or archive, with the classes of its folders, as `<prefix>-000000.tar` and so on: `KEY.jpg`, `KEY.cls`
    /// with the name of the class. An image whose shorter side is longer than [`Pack::size`] is resized and becomes a JPEG file; others are copied. The
    /// same images and options give the same bytes.
    ///
    /// # Errors
    /// If an image cannot be read, or a shard cannot be written or is there already.
    pub fn write(&self, path: &Path, prefix: &Path) -> Result<Packed> {
        let spec = ImageDirectorySpec::new(path.display().to_string());
        let want = InputSpec::Image { height: 1, width: 1, channels: 3 };
        let images = ImageFolder::open(&spec, &|name| name.into(), want, &[])?;
        let order = Order::Shuffled { seed: self.seed }.epoch(0, images.len());
        let indices: Vec<usize> = (0..images.len()).map(|at| order.index(at)).collect();
        let names = images.class_names();
        let parts = ["train", "training", "validation", "valid", "val", "dev", "test", "testing"];
        if names.iter().all(|name| parts.contains(&name.to_lowercase().as_str())) {
            let (path, parts) = (path.display(), names.join(" and "));
            let what = format!(
                "{path}: its folders are parts of the data and no classes ({parts}); pack each of them"
            );
            return Err(Error::option(what));
        }
        let is_number =
            |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        let in_order = names.iter().enumerate().all(|(i, name)| *name == i.to_string());
        let mut packed = Packed::default();
        if names.iter().any(is_number) && !in_order {
            packed.numbered = names.to_vec();
        }
        for (number, of_shard) in indices.chunks(self.per_shard.max(1)).enumerate() {
            let name = format!("{}-{number:06}.tar", prefix.display());
            self.shard(&images, of_shard, PathBuf::from(name), &mut packed)?;
        }
        Ok(packed)
    }

    fn shard(
        &self,
        images: &ImageFolder,
        indices: &[usize],
        path: PathBuf,
        packed: &mut Packed,
    ) -> Result<()> {
        // A shard that is there is whole: it has its name only then.
        let part = path.with_extension("tar.part");
        if path.exists() {
            let what =
                "exists already; remove it and those beside it, or give the shards another name";
            return Err(Error::option(format!("{}: {what}", path.display())));
        }
        let done = self.write_part(images, indices, &part, packed);
        if done.is_err() {
            // What is there is of no use; that it cannot be removed is no further error.
            let _ = std::fs::remove_file(&part);
        }
        done?;
        std::fs::rename(&part, &path).map_err(|e| Error::write(&path, e))?;
        packed.shards.push(path);
        Ok(())
    }

    fn write_part(
        &self,
        images: &ImageFolder,
        indices: &[usize],
        part: &Path,
        packed: &mut Packed,
    ) -> Result<()> {
        let write = |e: std::io::Error| Error::write(part, e);
        let mut tar = tar::Builder::new(BufWriter::new(File::create(part).map_err(write)?));
        for some in indices.chunks(AT_ONCE) {
            for member in self.members(images, some) {
                let member = match member {
                    Ok(member) => member,
                    Err(e) if self.skip_broken => {
                        packed.left_out.push(e.to_string());
                        continue;
                    }
                    Err(e) => return Err(e),
                };
                let key = format!("{:09}", packed.images);
                let class = match packed.numbered.is_empty() {
                    true => images.class_names()[member.class as usize].clone(),
                    false => member.class.to_string(),
                };
                append(&mut tar, &format!("{key}.{}", member.ending), &member.bytes)
                    .and_then(|()| append(&mut tar, &format!("{key}.cls"), class.as_bytes()))
                    .map_err(write)?;
                packed.images += 1;
                packed.resized += usize::from(member.resized);
            }
        }
        let file = tar.into_inner().and_then(|buffer| Ok(buffer.into_inner()?)).map_err(write)?;
        packed.bytes += file.metadata().map_err(write)?.len();
        file.sync_all().map_err(write)
    }

    /// The files of some images, by as many threads as there are cores.
    fn members(&self, images: &ImageFolder, indices: &[usize]) -> Vec<Result<Member>> {
        let threads = thread::available_parallelism().map_or(1, |n| n.get());
        let share = indices.len().div_ceil(threads).max(1);
        let work = |some: &[usize]| -> Vec<Result<Member>> {
            some.iter().map(|&i| self.member(images, i)).collect()
        };
        let work = &work;
        thread::scope(|scope| {
            let running: Vec<_> =
                indices.chunks(share).map(|some| scope.spawn(move || work(some))).collect();
            let ended =
                |_| vec![Err(Error::option("a thread that packs has ended; please report it"))];
            running.into_iter().flat_map(|thread| thread.join().unwrap_or_else(ended)).collect()
        })
    }

    fn member(&self, images: &ImageFolder, index: usize) -> Result<Member> {
        let place = images.describe(index);
        let image = images.original(index)?;
        let (height, width) = (image.height, image.width);
        let shorter = height.min(width);
        if shorter <= self.size {
            let ending = Path::new(images.name(index)).extension().unwrap_or_default();
            let ending = ending.to_string_lossy().to_ascii_lowercase();
            let bytes = images.file(index)?;
            return Ok(Member { bytes, ending, class: images.class(index), resized: false });
        }
        let scaled = |side: usize| (side * self.size + shorter / 2) / shorter;
        let (height, width) = (scaled(height), scaled(width));
        let want = InputSpec::Image { height, width, channels: 3 };
        let pixels = Fit::new(&ImageDirectorySpec::new(""), want)?.apply(image, &place)?;
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, self.quality)
            .write_image(&pixels, width as u32, height as u32, ExtendedColorType::Rgb8)
            .map_err(|e| Error::option(format!("{place}: cannot be written as JPEG: {e}")))?;
        Ok(Member { bytes, ending: "jpg".into(), class: images.class(index), resized: true })
    }
}

/// Adds a file whose head has no time, so that the same images are the same bytes.
fn append(
    tar: &mut tar::Builder<impl std::io::Write>,
    name: &str,
    bytes: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    tar.append_data(&mut header, name, bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::RawImage;
    use crate::images::write_png;

    #[test]
    fn large_images_become_smaller_and_others_stay_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (class, count) in [("cat", 3), ("dog", 4)] {
            std::fs::create_dir_all(path("data").join(class)).unwrap();
            for i in 0..count {
                let (height, width) = if i == 0 { (40, 60) } else { (16, 20) };
                let pixels = (0..height * width * 3).map(|v| (v * (i + 2) % 251) as u8).collect();
                let image = RawImage { height, width, channels: 3, pixels };
                let file = path("data").join(class).join(format!("{i}.png"));
                write_png(&image, File::create(file).unwrap()).unwrap();
            }
        }
        let pack = Pack { size: 24, quality: 95, per_shard: 3, skip_broken: false, seed: 1 };
        let packed = pack.write(&path("data"), &path("a")).unwrap();
        assert_eq!((packed.images, packed.resized, packed.shards.len()), (7, 2, 3));
        let spec =
            ImageDirectorySpec::new(format!("{}-{{000000..000002}}.tar", path("a").display()));
        let want = InputSpec::Image { height: 8, width: 8, channels: 3 };
        let read = ImageFolder::open(&spec, &|name| name.into(), want, &[]).unwrap();
        assert_eq!(read.class_names(), ["cat", "dog"]);
        let classes: Vec<u32> = (0..7).map(|i| read.class(i)).collect();
        assert_eq!(classes.iter().filter(|&&class| class == 1).count(), 4);
        let mut sizes: Vec<(usize, usize)> =
            (0..7).map(|i| read.original(i).unwrap()).map(|i| (i.height, i.width)).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [vec![(16, 20); 5], vec![(24, 36); 2]].concat());
        // The same bytes again; nothing is replaced.
        pack.write(&path("data"), &path("b")).unwrap();
        for number in 0..3 {
            let bytes =
                |prefix: &str| std::fs::read(path(&format!("{prefix}-00000{number}.tar"))).unwrap();
            assert_eq!(bytes("a"), bytes("b"));
        }
        assert!(pack.write(&path("data"), &path("a")).is_err());
        // Folders that are called as numbers keep their classes.
        for (class, old) in [("7", "cat"), ("12", "dog")] {
            std::fs::rename(path("data").join(old), path("data").join(class)).unwrap();
        }
        let packed = pack.write(&path("data"), &path("n")).unwrap();
        assert_eq!(packed.numbered, ["12", "7"]);
        let spec =
            ImageDirectorySpec::new(format!("{}-{{000000..000002}}.tar", path("n").display()));
        let read = ImageFolder::open(&spec, &|name| name.into(), want, &[]).unwrap();
        assert_eq!(read.class_names(), ["0", "1"]);
        assert_eq!((0..7).filter(|&i| read.class(i) == 0).count(), 4);
        for (class, old) in [("7", "cat"), ("12", "dog")] {
            std::fs::rename(path("data").join(class), path("data").join(old)).unwrap();
        }
        // A broken image is an error, or left out and named.
        std::fs::write(path("data/cat/9.png"), "no image").unwrap();
        assert!(pack.write(&path("data"), &path("c")).unwrap_err().to_string().contains("9.png"));
        let skipping = Pack { skip_broken: true, ..pack };
        let packed = skipping.write(&path("data"), &path("d")).unwrap();
        assert_eq!((packed.images, packed.left_out.len()), (7, 1));
        assert!(!path("c-000000.tar.part").exists());
        // Parts are no classes.
        for (part, old) in [("train", "cat"), ("test", "dog")] {
            std::fs::rename(path("data").join(old), path("data").join(part)).unwrap();
        }
        let error = skipping.write(&path("data"), &path("e")).unwrap_err().to_string();
        assert!(error.contains("parts of the data"), "{error}");
    }
}
