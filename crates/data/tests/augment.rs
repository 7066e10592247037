//! The operations of augmentation against what torchvision makes of the same image (see `fixtures/augment.py`).
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use tidemill_data::RawImage;
use tidemill_data::augment::policy::{self, Operation};
use tidemill_data::augment::warp::{self, Affine, Beyond};
use tidemill_data::augment::{Border, Sampling, Window, color, crop, filter};

const EXPECTED: &str = include_str!("fixtures/augment.txt");

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

fn images() -> HashMap<&'static str, RawImage> {
    let mut images = HashMap::new();
    for line in EXPECTED.lines().filter_map(|line| line.strip_prefix("image ")) {
        let (head, hex) = line.split_once(": ").unwrap();
        let head: Vec<&str> = head.split(' ').collect();
        let [height, width, channels] = [1, 2, 3].map(|i| head[i].parse().unwrap());
        images.insert(head[0], RawImage { height, width, channels, pixels: bytes(hex) });
    }
    // Each pixel five wide and five high.
    let color: &RawImage = &images["color"];
    let (height, width) = (5 * color.height, 5 * color.width);
    let pixel = |y: usize, x: usize| &color.pixels[(y / 5 * color.width + x / 5) * 3..][..3];
    let pixels =
        (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(y, x))).copied().collect();
    let big = RawImage { height, width, channels: 3, pixels };
    images.insert("big", big);
    images
}

fn border(name: &str) -> Border {
    match name {
        "constant" => Border::Constant,
        "edge" => Border::Edge,
        "reflect" => Border::Reflect,
        _ => Border::Symmetric,
    }
}

fn sampling(name: &str) -> Sampling {
    if name == "nearest" { Sampling::Nearest } else { Sampling::Bilinear }
}

fn operation(name: &str) -> Operation {
    use Operation::*;
    let all = [
        Identity,
        ShearX,
        ShearY,
        TranslateX,
        TranslateY,
        Rotate,
        Brightness,
        Color,
        Contrast,
        Sharpness,
        Posterize,
        Solarize,
        AutoContrast,
        Equalize,
    ];
    all.into_iter().find(|op| format!("{op:?}") == name).unwrap()
}

/// What we make of an image by the operation of a line, and by how much a value may differ.
fn ours(name: &str, mut image: RawImage, a: &[&str]) -> (RawImage, i32) {
    let f = |i: usize| a[i].parse::<f64>().unwrap();
    let n = |i: usize| a[i].parse::<usize>().unwrap();
    let constant = |fill: usize| Beyond { border: Border::Constant, fill: fill as u8 };
    let mut allowed = 0;
    match name {
        "flip_columns" => crop::flip_columns(&mut image),
        "flip_rows" => crop::flip_rows(&mut image),
        "padded_crop" => {
            let beyond = Beyond { border: border(a[3]), fill: n(4) as u8 };
            image = crop::padded_crop(&image, n(0), n(1), n(2), beyond);
        }
        "affine" => {
            let by = Affine {
                angle: f(0),
                translate: [f(1), f(2)],
                scale: f(3),
                shear: [f(4), f(5)],
                center: [0.0; 2],
            };
            image = warp::affine(&image, &by, sampling(a[6]), constant(n(7)));
            allowed = 1;
        }
        "rotate" => {
            image = warp::rotate(&image, f(0), sampling(a[1]), constant(n(2)));
            allowed = 1;
        }
        "displaced" => {
            let shift: Vec<f32> =
                a[0].split(',').map(|v| v.parse::<f32>().unwrap() / 256.0).collect();
            image = warp::displaced(&image, &shift, Sampling::Bilinear, constant(n(1)));
            allowed = 1;
        }
        "brightness" => color::brightness(&mut image, f(0)),
        "contrast" => color::contrast(&mut image, f(0)),
        "saturation" => color::saturation(&mut image, f(0)),
        "sharpness" => filter::sharpness(&mut image, f(0)),
        "hue" => {
            color::hue(&mut image, f(0));
            allowed = 1;
        }
        "grayscale" => color::grayscale(&mut image),
        "posterize" => color::posterize(&mut image, n(0) as u32),
        "solarize" => color::solarize(&mut image, f(0) as f32),
        "invert" => color::invert(&mut image),
        "autocontrast" => color::autocontrast(&mut image),
        "equalize" => color::equalize(&mut image),
        "blur" => {
            filter::blur(&mut image, n(0), f(1));
            allowed = 1;
        }
        "resized_crop" => {
            let window = Window { top: n(0), left: n(1), height: n(2), width: n(3) };
            image = crop::resized_crop(&image, window, 13, 18);
            allowed = 1;
        }
        "policy" => {
            let size = [image.height, image.width];
            let magnitude = policy::magnitude(a[0] == "wide", operation(a[1]), n(2), 31, size);
            policy::apply(&mut image, operation(a[1]), magnitude * f(3));
        }
        other => panic!("{other}?"),
    }
    (image, allowed)
}

#[test]
fn operations_have_the_values_of_torchvision() {
    let images = images();
    let (mut cases, mut wrong) = (0, Vec::new());
    for line in EXPECTED.lines().filter(|line| !line.starts_with("image ")) {
        let (head, hex) = line.split_once(": ").unwrap();
        let head: Vec<&str> = head.split(' ').collect();
        let want = bytes(hex);
        let (found, allowed) = ours(head[0], images[head[1]].clone(), &head[2..]);
        assert_eq!(found.pixels.len(), want.len(), "{head:?}");
        let far = |(a, b): &(&u8, &u8)| (i32::from(**a) - i32::from(**b)).abs() > allowed;
        let far = found.pixels.iter().zip(&want).filter(far).count();
        if far > 0 {
            let what: Vec<String> = head.iter().map(|a| a.chars().take(20).collect()).collect();
            wrong.push(format!("{}: {far} of {} values", what.join(" "), want.len()));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases > 100, "{cases}");
}
