//! Decoding and resizing against what Pillow makes of the same files (see `fixtures/make.py`).
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use tidemill_data::images::{ColorMode, Fit, ImageDirectorySpec, Interpolation, Subset, decode};
use tidemill_data::{Dataset, ImageFolder, InputSpec, RawImage};

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

/// A line of keras.txt after `start`.
fn keras(start: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(dir().join("keras.txt")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(start)?.split_once(": "));
    lines.map(|(head, rest)| (head.trim().to_owned(), rest.to_owned())).collect()
}

#[test]
fn padding_cropping_and_area_are_those_of_keras() {
    let source = std::fs::read(dir().join("rgb.png")).unwrap();
    let lines = keras("resize");
    assert_eq!(lines.len(), 54);
    for (head, cells) in lines {
        let head: Vec<&str> = head.split(' ').collect();
        let [how, interpolation, height, width] = head[..] else { panic!("{head:?}") };
        let mut spec = ImageDirectorySpec::new("x");
        spec.image_size = Some([height.parse().unwrap(), width.parse().unwrap()]);
        spec.antialias = false;
        spec.interpolation = match interpolation {
            "nearest" => Interpolation::Nearest,
            "bicubic" => Interpolation::Bicubic,
            "area" => Interpolation::Area,
            _ => Interpolation::Bilinear,
        };
        (spec.pad_to_aspect_ratio, spec.crop_to_aspect_ratio) = (how == "pad", how == "crop");
        let fit = Fit::new(&spec, InputSpec::Any).unwrap();
        let image = decode(&source, ColorMode::Rgb, "rgb.png").unwrap();
        let pixels = fit.apply(image, "").unwrap();
        for cell in cells.split(' ') {
            let (place, values) = cell.split_once('=').unwrap();
            let (y, x) = place.split_once(',').unwrap();
            let (y, x): (usize, usize) = (y.parse().unwrap(), x.parse().unwrap());
            let found = &pixels[(y * fit.shape.width + x) * 3..][..3];
            for (found, want) in found.iter().zip(values.split('/')) {
                let want: i32 = want.parse().unwrap();
                let off = (i32::from(*found) - want).abs();
                assert!(off <= 1, "{head:?} {cell}: found {found}");
            }
        }
    }
}

/// Whether a folder and an archive of it have the sides of the split that Keras has.
#[test]
fn the_split_of_deep_folders_is_that_of_keras() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("d");
    let mut sides = Vec::new();
    for side in ["validation", "training"] {
        let (_, files) = keras(side).remove(0);
        let mut files: Vec<String> = files.split(' ').map(str::to_owned).collect();
        for file in &files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::copy(dir().join("grey.png"), path).unwrap();
        }
        files.sort();
        sides.push((side, files));
    }
    // Members in an order of the archive's own.
    let archive = folder.path().join("d.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&archive).unwrap());
    let all = sides.iter().flat_map(|(_, files)| files.iter().rev());
    for file in all {
        tar.append_path_with_name(root.join(file), format!("d/{file}")).unwrap();
    }
    tar.finish().unwrap();
    for (side, want) in sides {
        let mut spec = ImageDirectorySpec::new("d");
        spec.image_size = Some([2, 2]);
        (spec.validation_split, spec.seed) = (Some(tidemill_data::images::Share::Fraction(0.3)), 5);
        spec.subset = Some(if side == "training" { Subset::Training } else { Subset::Validation });
        let open = |spec: &ImageDirectorySpec, path: &Path| {
            let data = ImageFolder::open(spec, &|_| path.to_owned(), InputSpec::Any, &[]).unwrap();
            (0..data.len()).map(|i| data.name(i).to_owned()).collect::<Vec<_>>()
        };
        let of_folder = open(&spec, &root);
        let mut sorted = of_folder.clone();
        sorted.sort();
        assert_eq!(sorted, want, "{side}");
        spec.root = Some("d".into());
        assert_eq!(open(&spec, &archive), of_folder, "{side}");
    }
}

/// Pillow refuses what lacks pixels, and takes PNG and GIF files that end after the (first frame's)
/// pixels. Here the last bytes of those are wanted too, or not, but pixels are never made up.
#[test]
fn truncated_files_are_refused() {
    // With the length from which Pillow 12.3 decodes.
    let files = [
        ("baseline.jpg", 804),
        ("progressive.jpg", 679),
        ("grey.jpg", 403),
        ("rgb.png", 295),
        ("palette.png", 305),
        ("frames.gif", 348),
        ("lossless.webp", 220),
        ("lossy.webp", 168),
        ("plain.bmp", 1206),
    ];
    for (name, pillow) in files {
        let bytes = std::fs::read(dir().join(name)).unwrap();
        let whole = decode(&bytes, ColorMode::Rgb, name).unwrap();
        for len in 0..bytes.len() {
            match decode(&bytes[..len], ColorMode::Rgb, name) {
                Ok(image) => assert!(image == whole && len + 4 > pillow, "{name}: {len}"),
                Err(e) => assert!(e.to_string().starts_with(name), "{e}"),
            }
        }
        // Bytes after the end are no harm.
        let longer = [&bytes[..], b"more"].concat();
        assert_eq!(decode(&longer, ColorMode::Rgb, name).unwrap(), whole, "{name}");
    }
}
