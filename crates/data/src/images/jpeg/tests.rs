//! Against what the library makes of whole images.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;
use crate::images::{ColorMode, decode};

fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn whole([height, width]: [usize; 2]) -> Window {
    Window { top: 0, left: 0, height, width }
}

/// What is decoded of a window at full scale.
fn part(bytes: &[u8], of: impl Fn([usize; 2]) -> Window) -> RawImage {
    super::window(bytes, [1 << 20; 2], &|size| Some(of(size)), u64::MAX).unwrap().image
}

#[test]
fn whole_images_are_those_of_the_library() {
    for (name, color, allowed) in [
        ("baseline.jpg", ColorMode::Rgb, 4),
        ("subsampled.jpg", ColorMode::Rgb, 4),
        ("grey.jpg", ColorMode::Grayscale, 2),
    ] {
        let bytes = file(name);
        let want = decode(&bytes, color, name).unwrap();
        let found = part(&bytes, whole);
        assert_eq!(
            (found.height, found.width, found.channels),
            (want.height, want.width, want.channels)
        );
        let far = |(a, b): (&u8, &u8)| (i32::from(*a) - i32::from(*b)).abs();
        let worst = found.pixels.iter().zip(&want.pixels).map(far).max().unwrap();
        assert!(worst <= allowed, "{name}: {worst}");
    }
}

#[test]
fn a_window_has_the_pixels_of_the_whole() {
    for name in ["baseline.jpg", "subsampled.jpg", "grey.jpg"] {
        let bytes = file(name);
        let all = part(&bytes, whole);
        for top in (0..all.height).step_by(5) {
            for left in (0..all.width).step_by(7) {
                for (h, w) in [(1, 1), (3, 8), (17, 11), (all.height, all.width)] {
                    let height = h.min(all.height - top);
                    let width = w.min(all.width - left);
                    let window = Window { top, left, height, width };
                    assert_eq!(part(&bytes, |_| window), window.cut(&all), "{name} {window:?}");
                }
            }
        }
    }
}

#[test]
fn smaller_scales_are_means_of_the_full_one() {
    for name in ["baseline.jpg", "subsampled.jpg", "grey.jpg"] {
        let bytes = file(name);
        let all = part(&bytes, whole);
        for side in [1, 2, 4] {
            let n = 8 / side;
            let size = [all.height * side / 8, all.width * side / 8];
            let found =
                super::window(&bytes, size, &|size| Some(whole(size)), u64::MAX).unwrap().image;
            assert_eq!(found.height, all.height.div_ceil(n), "{name} {side}");
            let (mut sum, mut count) = (0.0, 0.0);
            for y in 0..all.height / n {
                for x in 0..all.width / n {
                    for c in 0..all.channels {
                        let value = |y: usize, x: usize| {
                            f64::from(all.pixels[(y * all.width + x) * all.channels + c])
                        };
                        let pixels = (0..n * n).map(|i| value(y * n + i / n, x * n + i % n));
                        let mean = pixels.sum::<f64>() / (n * n) as f64;
                        let own = f64::from(found.pixels[(y * found.width + x) * all.channels + c]);
                        (sum, count) = (sum + (own - mean).abs(), count + 1.0);
                    }
                }
            }
            assert!(sum / count < 6.0, "{name} {side}: {}", sum / count);
        }
    }
}

#[test]
fn samples_of_reduced_images_are_near_those_of_whole_ones() {
    use crate::images::{ImageDirectorySpec, ImageFolder};
    use crate::{Dataset, InputSpec};
    let names = ["baseline.jpg", "subsampled.jpg", "turned6.jpg", "progressive.jpg", "rgb.png"];
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let files: Vec<_> = names.iter().map(|name| dir.join(name)).collect();
    let want = InputSpec::Image { height: 5, width: 6, channels: 3 };
    let samples = |reduced_decoding: bool| -> Vec<Vec<u8>> {
        let spec = ImageDirectorySpec { reduced_decoding, ..ImageDirectorySpec::new("x") };
        let folder = ImageFolder::from_files(&files, &spec, want).unwrap();
        (0..names.len()).map(|i| folder.raw_image(i).unwrap().unwrap().pixels).collect()
    };
    for ((whole, reduced), name) in samples(false).iter().zip(samples(true)).zip(names) {
        let far = |(a, b): (&u8, &u8)| f64::from((i32::from(*a) - i32::from(*b)).abs());
        let mean = whole.iter().zip(&reduced).map(far).sum::<f64>() / whole.len() as f64;
        assert!(mean < 8.0, "{name}: {mean}");
        assert_eq!(mean == 0.0, ["progressive.jpg", "rgb.png"].contains(&name), "{name}: {mean}");
    }
}

#[test]
fn images_that_are_stored_lying_are_turned() {
    for number in 1..=8 {
        let name = format!("turned{number}.jpg");
        let bytes = file(&name);
        let want = decode(&bytes, ColorMode::Rgb, &name).unwrap();
        let found = |window: Window| {
            let part = super::window(&bytes, [1 << 20; 2], &|_| Some(window), u64::MAX).unwrap();
            part.turn.upright(part.image)
        };
        let (h, w) = (want.height, want.width);
        for window in [whole([h, w]), Window { top: 1, left: 3, height: h / 2, width: w / 3 }] {
            let (found, want) = (found(window), window.cut(&want));
            assert_eq!((found.height, found.width), (want.height, want.width), "{name}");
            let far = |(a, b): (&u8, &u8)| (i32::from(*a) - i32::from(*b)).abs();
            let worst = found.pixels.iter().zip(&want.pixels).map(far).max().unwrap();
            assert!(worst <= 6, "{name}: {worst}");
        }
    }
}

#[test]
fn other_kinds_and_broken_files_give_none_and_no_panic() {
    for name in ["progressive.jpg", "cmyk.jpg", "rgb.png"] {
        let draw = |size| Some(whole(size));
        assert!(super::window(&file(name), [8, 8], &draw, u64::MAX).is_none(), "{name}");
    }
    let mut state = 1u64;
    let mut random = move |n: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for name in ["baseline.jpg", "subsampled.jpg", "grey.jpg"] {
        let good = file(name);
        for i in 0..3000 {
            let mut bytes = good.clone();
            for _ in 0..1 + i % 4 {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            }
            if i % 5 == 0 {
                bytes.truncate(random(bytes.len()));
            }
            let size = [[1 << 20; 2], [4, 4], [9, 13]][i % 3];
            let draw = |[h, w]: [usize; 2]| {
                Some(Window {
                    top: h / 3,
                    left: w / 4,
                    height: h.div_ceil(2),
                    width: w.div_ceil(2),
                })
            };
            super::window(&bytes, size, &draw, 1 << 20);
        }
    }
}
