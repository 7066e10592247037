//! Damaged files are errors or odd pixels, never a panic, and never endless memory.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use tidemill_data::images::{ColorMode, decode};
use tidemill_data::{IdxSpec, TableSpec, idx};

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
