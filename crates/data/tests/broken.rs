//! Damaged files are errors or odd pixels, never a panic, and never endless memory.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use tidemill_data::images::{ColorMode, ImageDirectorySpec, ImageFolder, decode};
use tidemill_data::{IdxSpec, InputSpec, TableSpec, idx};

/// A small generator of positions and bits to damage (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x >> 20) as usize % n
    }
}

/// Calls `read` with `bytes` cut short and with bits flipped.
fn damage(bytes: &[u8], flips: usize, mut read: impl FnMut(&[u8])) {
    for cut in 0..bytes.len().min(400) {
        read(&bytes[..cut]);
    }
    let mut random = Random(bytes.len() as u64);
    for _ in 0..flips {
        let mut copy = bytes.to_vec();
        for _ in 0..1 + random.below(4) {
            let at = random.below(copy.len());
            copy[at] ^= 1 << random.below(8);
        }
        read(&copy);
    }
}

#[test]
fn damaged_images_never_panic() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let flips = if cfg!(debug_assertions) { 60 } else { 1500 };
    let mut files = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".py") || name.ends_with(".txt") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        damage(&bytes, flips, |bytes| {
            for color in [ColorMode::Grayscale, ColorMode::Rgb] {
                if let Ok(image) = decode(bytes, color, &name) {
                    let len = image.height * image.width * image.channels;
                    assert_eq!(image.pixels.len(), len, "{name}");
                }
            }
        });
        files += 1;
    }
    assert!(files > 15);
}

#[test]
fn damaged_idx_files_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 2];
    bytes.extend(0..20);
    damage(&bytes, 500, |bytes| {
        std::fs::write(&path, bytes).unwrap();
        let _ = idx::read(&path, None);
        let spec = IdxSpec { images: "x".into(), labels: Some("x".into()), ..IdxSpec::default() };
        let _ = spec.open(&|_| path.clone());
    });
}

#[test]
fn damaged_tables_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let text = "a,b,\"c,d\",y\n1,u,2,p\n3,\"v\"\"w\",4,q\n,u,NA,p\n5,u,6,q\n";
    damage(text.as_bytes(), 500, |bytes| {
        std::fs::write(&path, bytes).unwrap();
        for label in [Some("y".into()), Some((-1).into()), None] {
            let mut spec = TableSpec::new("x");
            spec.label = label;
            let _ = spec.open(&|_| path.clone(), None);
        }
    });
}

/// A gzipped archive of zeros that are called images, and files that have no end.
#[test]
fn archives_and_folders_without_end_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bomb.tar.gz");
    let gzip = flate2::write::GzEncoder::new(
        std::fs::File::create(&path).unwrap(),
        flate2::Compression::fast(),
    );
    let mut tar = tar::Builder::new(gzip);
    for class in ["a", "b", "c"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(30 << 20);
        header.set_mode(0o644);
        let zeros = std::io::Read::take(std::io::repeat(0), 30 << 20);
        tar.append_data(&mut header, format!("{class}/1.png"), zeros).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
    let want = InputSpec::Image { height: 4, width: 4, channels: 3 };
    let open = |name: &str| {
        let spec = ImageDirectorySpec::new(name);
        ImageFolder::open(&spec, &|name| dir.path().join(name), want, &[])
    };
    let told = open("bomb.tar.gz").err().unwrap().to_string();
    assert!(told.contains("and unpacks to more than"), "{told}");
    #[cfg(unix)]
    {
        let class = dir.path().join("folder/a");
        std::fs::create_dir_all(&class).unwrap();
        std::os::unix::fs::symlink("/dev/zero", class.join("1.png")).unwrap();
        let told = open("folder").unwrap().original(0).unwrap_err().to_string();
        assert!(told.contains("is a pipe, a socket or a device"), "{told}");
    }
}
