//! A folder of digit images: `OUT/{train,test}/<digit>/NNNNN.png`.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::render_digit;
use crate::images::write_png;
use crate::{Error, RawImage, Result};

/// Says what the folder holds and whether it is complete.
const MARKER: &str = "digits.json";
/// Test images are numbered from here, so that no one is also a training image.
const TEST_INDEX: u64 = 1 << 32;

/// What [`write_folder`] made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigitsWritten {
    /// The folder of training images.
    pub train: PathBuf,
    /// The folder of test images.
    pub test: PathBuf,
    /// The number of images.
    pub num_images: usize,
    /// Whether they were there already, from an earlier call with the same arguments.
    pub reused: bool,
}

/// Writes `train_per_class` training and `test_per_class` test images of each digit below `out`.
///
/// A complete folder of the same arguments is left alone, one that was broken off is completed,
/// and anything else in the way is an error: digits of two kinds in one folder help nobody.
pub fn write_folder(
    out: &Path,
    seed: u64,
    train_per_class: usize,
    test_per_class: usize,
    size: usize,
) -> Result<DigitsWritten> {
    if !(8..=1024).contains(&size) {
        return Err(Error::option(format!("the size of digits must be 8 to 1024, found {size}")));
    }
    if train_per_class.max(test_per_class) > 99_999 {
        return Err(Error::option("at most 99999 digits of each class can be written"));
    }
    let written = DigitsWritten {
        train: out.join("train"),
        test: out.join("test"),
        num_images: 10 * (train_per_class + test_per_class),
        reused: false,
    };
    let marker = |complete: bool| {
        format!(
            "{{\"seed\": {seed}, \"train_per_class\": {train_per_class}, \"test_per_class\": \
             {test_per_class}, \"size\": {size}, \"complete\": {complete}}}\n"
        )
    };
    let marker_path = out.join(MARKER);
    match fs::read_to_string(&marker_path) {
        Ok(text) if text == marker(true) => return Ok(DigitsWritten { reused: true, ..written }),
        Ok(text) if text == marker(false) => {}
        Ok(_) => {
            return Err(Error::option(format!(
                "{}: holds digits of another seed, number or size; remove it or choose another folder",
                out.display()
            )));
        }
        Err(_) if fs::read_dir(out).is_ok_and(|mut d| d.next().is_some()) => {
            return Err(Error::option(format!(
                "{}: is not empty; remove it or choose another folder",
                out.display()
            )));
        }
        Err(_) => {}
    }
    for digit in 0..10 {
        for (dir, count) in [(&written.train, train_per_class), (&written.test, test_per_class)] {
            let dir = dir.join(digit.to_string());
            if count > 0 {
                fs::create_dir_all(&dir).map_err(|e| Error::write(&dir, e))?;
            }
        }
    }
    fs::write(&marker_path, marker(false)).map_err(|e| Error::write(&marker_path, e))?;
    write_all(&written, seed, train_per_class, test_per_class, size)?;
    fs::write(&marker_path, marker(true)).map_err(|e| Error::write(&marker_path, e))?;
    Ok(written)
}

/// Renders and writes all images, with a thread for each core.
fn write_all(
    written: &DigitsWritten,
    seed: u64,
    train_per_class: usize,
    test_per_class: usize,
    size: usize,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let per_class = train_per_class + test_per_class;
    let work = || -> Result<()> {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= written.num_images {
                return Ok(());
            }
            let (class, i) = (job / per_class, job % per_class);
            let (dir, number, index) = match i.checked_sub(train_per_class) {
                None => (&written.train, i, i as u64),
                Some(i) => (&written.test, i, TEST_INDEX + i as u64),
            };
            let path = dir.join(class.to_string()).join(format!("{number:05}.png"));
            write_one(&path, render_digit(seed, index, class as u8, size), size)?;
        }
    };
    let num_threads = thread::available_parallelism().map_or(1, |n| n.get());
    thread::scope(|scope| {
        let threads: Vec<_> = (1..num_threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        // A panic in a thread is one of this function.
        threads.into_iter().fold(own, |result, thread| match thread.join() {
            Ok(other) => result.and(other),
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn write_one(path: &Path, pixels: Vec<u8>, size: usize) -> Result<()> {
    let image = RawImage { height: size, width: size, channels: 1, pixels };
    let file = File::create(path).map_err(|e| Error::write(path, e))?;
    let mut file = BufWriter::new(file);
    write_png(&image, &mut file).and_then(|()| file.flush()).map_err(|e| Error::write(path, e))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::images::{ColorMode, decode};

    #[test]
    fn writes_a_folder_once() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("digits");
        let written = write_folder(&out, 5, 3, 2, 16).unwrap();
        assert_eq!((written.num_images, written.reused), (50, false));
        assert!(write_folder(&out, 5, 3, 2, 16).unwrap().reused);
        let text = write_folder(&out, 6, 3, 2, 16).unwrap_err().to_string();
        assert!(text.contains("another seed"), "{text}");

        let image = |path: &str| {
            let bytes = fs::read(out.join(path)).unwrap();
            decode(&bytes, ColorMode::Grayscale, path).unwrap().pixels
        };
        assert_eq!(image("train/7/00002.png"), render_digit(5, 2, 7, 16));
        assert_eq!(image("test/7/00001.png"), render_digit(5, TEST_INDEX + 1, 7, 16));
        assert!(!out.join("train/7/00003.png").exists());
    }

    #[test]
    fn a_folder_broken_off_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        write_folder(dir.path(), 5, 1, 1, 8).unwrap();
        let marker = dir.path().join(MARKER);
        let text = fs::read_to_string(&marker).unwrap();
        fs::write(&marker, text.replace("true", "false")).unwrap();
        fs::remove_file(dir.path().join("test/4/00000.png")).unwrap();
        assert!(!write_folder(dir.path(), 5, 1, 1, 8).unwrap().reused);
        assert!(dir.path().join("test/4/00000.png").exists());
    }

    #[test]
    fn nothing_else_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        assert!(write_folder(dir.path(), 5, 1, 1, 8).unwrap_err().to_string().contains("empty"));
        assert!(write_folder(dir.path(), 5, 1, 1, 2).is_err());
    }
}
