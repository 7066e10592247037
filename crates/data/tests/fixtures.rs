//! Decoding and resizing against what Pillow makes of the same files (see `fixtures/make.py`).
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use tidemill_data::images::{ColorMode, Fit, ImageDirectorySpec, Interpolation, decode};
use tidemill_data::{InputSpec, RawImage};

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

struct Expected {
    name: String,
    color: ColorMode,
    height: usize,
    width: usize,
    how: String,
    /// (row, column, values)
    cells: Vec<(usize, usize, Vec<u8>)>,
}

fn expected() -> Vec<Expected> {
    let text = std::fs::read_to_string(dir().join("expected.txt")).unwrap();
    let lines = text.lines().filter(|l| !l.starts_with("split "));
    let parse = |line: &str| {
        let (head, cells) = line.split_once(": ").unwrap();
        let head: Vec<&str> = head.split(' ').collect();
        let cell = |cell: &str| {
            let (place, values) = cell.split_once('=').unwrap();
            let (y, x) = place.split_once(',').unwrap();
            let values = values.split('/').map(|v| v.parse().unwrap()).collect();
            (y.parse().unwrap(), x.parse().unwrap(), values)
        };
        Expected {
            name: head[0].into(),
            color: match head[1] {
                "grayscale" => ColorMode::Grayscale,
                "rgb" => ColorMode::Rgb,
                _ => ColorMode::Rgba,
            },
            height: head[2].parse().unwrap(),
            width: head[3].parse().unwrap(),
            how: head[4].into(),
            cells: cells.split(' ').map(cell).collect(),
        }
    };
    lines.map(parse).collect()
}

/// The largest difference of `image` from what is expected.
fn difference(image: &RawImage, want: &Expected) -> i32 {
    assert_eq!((image.height, image.width), (want.height, want.width), "{}", want.name);
    let c = image.channels;
    let mut worst = 0;
    for (y, x, values) in &want.cells {
        let at = (y * image.width + x) * c;
        for (found, want) in image.pixels[at..at + c].iter().zip(values) {
            worst = worst.max((i32::from(*found) - i32::from(*want)).abs());
        }
    }
    worst
}

fn read(want: &Expected) -> RawImage {
    decode(&std::fs::read(dir().join(&want.name)).unwrap(), want.color, &want.name).unwrap()
}

#[test]
fn every_format_decodes_as_pillow_does() {
    let mut formats = 0;
    for want in expected().iter().filter(|e| e.how == "none") {
        let allowed = match want.name.rsplit('.').next().unwrap() {
            // JPEG leaves rounding (and, subsampled, the filter) to the decoder.
            "jpg" if want.name.starts_with("sub") => 12,
            "jpg" => 4,
            "webp" if want.name.starts_with("lossy") => 6,
            _ => 0,
        };
        let found = difference(&read(want), want);
        assert!(found <= allowed, "{} {:?}: differs by {found}", want.name, want.color);
        formats += 1;
    }
    assert!(formats > 40);
}

#[test]
fn all_eight_orientations_come_upright() {
    for orientation in 1..=8 {
        let name = format!("turned{orientation}.jpg");
        let turned = expected().into_iter().find(|e| e.name == name).unwrap();
        let image = read(&turned);
        assert!(difference(&image, &turned) <= 4, "{name}");
        assert_eq!(image.height > image.width, orientation > 4, "{name}");
    }
}

#[test]
fn resizing_agrees_with_pillow_and_keras() {
    let mut count = 0;
    for want in expected().iter().filter(|e| e.how != "none") {
        let mut spec = ImageDirectorySpec::new("x");
        spec.image_size = Some([want.height, want.width]);
        spec.color_mode = Some(want.color);
        (spec.interpolation, spec.antialias) = match want.how.as_str() {
            "nearest" => (Interpolation::Nearest, true),
            "area" => (Interpolation::Area, true),
            "bilinear" => (Interpolation::Bilinear, true),
            "bicubic" => (Interpolation::Bicubic, true),
            "lanczos3" => (Interpolation::Lanczos3, true),
            _ => (Interpolation::Bilinear, false),
        };
        let fit = Fit::new(&spec, InputSpec::Any).unwrap();
        let pixels = fit.apply(read(want), "").unwrap();
        let (height, width, channels) = (want.height, want.width, want.color.channels());
        let image = RawImage { height, width, channels, pixels };
        let found = difference(&image, want);
        // Pillow's Catmull-Rom has a = -0.5 as here; rounding differs by one.
        assert!(found <= 1, "{} {height}x{width} {:?}: differs by {found}", want.how, want.color);
        count += 1;
    }
    assert_eq!(count, 26);
}
