//! From a file's bytes to pixels of the wanted colours, upright.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::window::{resized, resized_window};
use super::{ColorMode, MostPixels, complete, jpeg};
use crate::augment::Window;
use crate::{Error, RawImage, Result};

/// What a decoder may take for each pixel, and besides.
const BYTES_PER_PIXEL: u64 = 16;
const SLACK: u64 = 1 << 20;

/// Decodes JPEG, PNG, BMP, GIF (its first frame) or WebP, told by content; turns the image
/// upright as its EXIF data says; opacity is dropped unless `color` wants it. `place` names the
/// image in errors. It may have as many pixels as stored images may ([`MostPixels::STORED`]).
///
/// # Errors
/// If it cannot be decoded, or has too many pixels.
pub fn decode(bytes: &[u8], color: ColorMode, place: &str) -> Result<RawImage> {
    decode_within(bytes, color, MostPixels::STORED, place)
}

/// The same; what has more pixels than `most` allows is an error before any memory is taken for it.
///
/// # Errors
/// As [`decode`].
pub fn decode_within(
    bytes: &[u8],
    color: ColorMode,
    most: MostPixels,
    place: &str,
) -> Result<RawImage> {
    let fail = |what: String| {
        let what = what.trim_end().to_owned(); // some decoders end their messages with a line break
        Error::Image { place: place.to_owned(), what }
    };
    if bytes.is_empty() {
        return Err(fail("the file is empty".into()));
    }
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| fail(e.to_string()))?;
    if reader.format().is_none_or(|format| !format.reading_enabled()) {
        return Err(fail("it is none of JPEG, PNG, BMP, GIF and WebP".into()));
    }
    if reader.format() == Some(ImageFormat::Jpeg) && !complete::jpeg(bytes) {
        return Err(fail("the file is truncated: its end is missing".into()));
    }
    let mut limits = Limits::default();
    let most = most.of(bytes.len());
    limits.max_alloc = Some(most.saturating_mul(BYTES_PER_PIXEL) + SLACK);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| fail(e.to_string()))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(fail(format!("it has {width} x {height} pixels")));
    }
    if u64::from(width) * u64::from(height) > most {
        return Err(fail(format!(
            "{width} x {height} pixels in {} bytes are too many; {most} are the most here, so make it smaller",
            bytes.len()
        )));
    }
    // A broken orientation is no reason to lose the image.
    let orientation = decoder.orientation().ok();
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| fail(e.to_string()))?;
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    Ok(RawImage {
        height: image.height() as usize,
        width: image.width() as usize,
        channels: color.channels(),
        pixels: convert(image, color),
    })
}

/// A window of an image, `draw`n for its `[height, width]`, in the `size` and colours of a sample; all of it where none is drawn. Of
/// usual JPEG files no more is decoded than it takes.
pub(super) fn decode_window(
    bytes: &[u8],
    color: ColorMode,
    size: [usize; 2],
    draw: &dyn Fn([usize; 2]) -> Option<Window>,
    place: &str,
) -> Result<Vec<u8>> {
    let Some((image, window, turn)) = part(bytes, color, size, draw) else {
        let image = decode(bytes, color, place)?;
        let window = draw([image.height, image.width]);
        let image = if let Some(window) = window { window.cut(&image) } else { image };
        return Ok(resized(image, size[0], size[1]).pixels);
    };
    let [height, width] = turn.size(size);
    let pixels = if window == [0.0, 0.0, width as f64, height as f64]
        && (image.height, image.width) == (height, width)
    {
        image.pixels
    } else {
        resized_window(&image, window, height, width)
    };
    Ok(turn.upright(RawImage { height, width, channels: image.channels, pixels }).pixels)
}

/// An image that is at least as large as a sample of `size`, in a fraction of its own size where that suffices.
pub(super) fn decode_reduced(
    bytes: &[u8],
    color: ColorMode,
    size: [usize; 2],
    place: &str,
) -> Result<RawImage> {
    let whole = |[height, width]: [usize; 2]| Some(Window { top: 0, left: 0, height, width });
    match part(bytes, color, size, &whole) {
        Some((image, _, turn)) => Ok(turn.upright(image)),
        None => decode(bytes, color, place),
    }
}

/// The part of a usual JPEG file that has a window, where the window is in it, and how it is turned upright.
fn part(
    bytes: &[u8],
    color: ColorMode,
    size: [usize; 2],
    draw: &dyn Fn([usize; 2]) -> Option<Window>,
) -> Option<(RawImage, [f64; 4], jpeg::Turn)> {
    let most = MostPixels::STORED.of(bytes.len());
    let part = complete::jpeg(bytes).then(|| jpeg::window(bytes, size, draw, most)).flatten()?;
    let RawImage { height, width, channels, pixels } = part.image;
    let pixels = match channels {
        1 => recolor::<1>(pixels, color),
        _ => recolor::<3>(pixels, color),
    };
    let image = RawImage { height, width, channels: color.channels(), pixels };
    Some((image, part.place, part.turn))
}

/// The bytes that the pixels of an image file take in four channels, by its head alone.
pub(super) fn pixels_of(bytes: &[u8]) -> Option<u64> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    let (width, height) = reader.into_dimensions().ok()?;
    Some(u64::from(width) * u64::from(height) * 4)
}

/// The pixels of `image` in `color`.
fn convert(image: DynamicImage, color: ColorMode) -> Vec<u8> {
    match image {
        DynamicImage::ImageLuma8(i) => recolor::<1>(i.into_raw(), color),
        DynamicImage::ImageLumaA8(i) => recolor::<2>(i.into_raw(), color),
        DynamicImage::ImageRgb8(i) => recolor::<3>(i.into_raw(), color),
        DynamicImage::ImageRgba8(i) => recolor::<4>(i.into_raw(), color),
        DynamicImage::ImageLuma16(i) => recolor::<1>(high_bytes(i.into_raw()), color),
        DynamicImage::ImageLumaA16(i) => recolor::<2>(high_bytes(i.into_raw()), color),
        DynamicImage::ImageRgb16(i) => recolor::<3>(high_bytes(i.into_raw()), color),
        DynamicImage::ImageRgba16(i) => recolor::<4>(high_bytes(i.into_raw()), color),
        other => recolor::<4>(other.into_rgba8().into_raw(), color),
    }
}

fn high_bytes(values: Vec<u16>) -> Vec<u8> {
    values.into_iter().map(|v| (v >> 8) as u8).collect()
}

/// Grey by ITU-R 601, as JPEG's Y channel, Pillow and TensorFlow have it, in 16-bit fixed point.
fn grey(r: u8, g: u8, b: u8) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
}

/// From `C` stored channels (1 grey, 2 grey and opacity, 3 RGB, 4 RGBA) to the wanted ones.
fn recolor<const C: usize>(pixels: Vec<u8>, color: ColorMode) -> Vec<u8> {
    if C != 2 && C == color.channels() {
        return pixels;
    }
    let (pixels, _) = pixels.as_chunks::<C>();
    // Grey has its one value three times; no opacity means opaque.
    let rgb = |p: &[u8; C]| if C < 3 { [p[0]; 3] } else { [p[0], p[1], p[2]] };
    match color {
        ColorMode::Grayscale if C == 2 => pixels.iter().map(|p| p[0]).collect(),
        ColorMode::Grayscale => pixels
            .iter()
            .map(|p| {
                let [r, g, b] = rgb(p);
                grey(r, g, b)
            })
            .collect(),
        ColorMode::Rgb => pixels.iter().flat_map(rgb).collect(),
        ColorMode::Rgba => pixels
            .iter()
            .flat_map(|p| {
                let [r, g, b] = rgb(p);
                [r, g, b, if C.is_multiple_of(2) { p[C - 1] } else { 255 }]
            })
            .collect(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn colours_convert() {
        let rgba = vec![255, 0, 0, 9, 0, 0, 255, 8];
        assert_eq!(recolor::<4>(rgba.clone(), ColorMode::Grayscale), [76, 29]);
        assert_eq!(recolor::<4>(rgba.clone(), ColorMode::Rgb), [255, 0, 0, 0, 0, 255]);
        assert_eq!(recolor::<4>(rgba.clone(), ColorMode::Rgba), rgba);
        assert_eq!(recolor::<2>(vec![7, 3], ColorMode::Grayscale), [7]);
        assert_eq!(recolor::<2>(vec![7, 3], ColorMode::Rgba), [7, 7, 7, 3]);
        assert_eq!(recolor::<1>(vec![7], ColorMode::Rgb), [7, 7, 7]);
        assert_eq!(recolor::<3>(vec![1, 2, 3], ColorMode::Rgba), [1, 2, 3, 255]);
        assert_eq!(recolor::<1>(vec![0, 200], ColorMode::Grayscale), [0, 200]);
    }

    /// A lossless WebP of one colour and 16383 x 16383 pixels, in 38 bytes.
    const BOMB: &[u8] = b"RIFF\x1e\x00\x00\x00WEBPVP8L\x11\x00\x00\x00/\xfe\xbf\xff\x0f\x07\xd0\x83\x1e\xf4\xa0\xff\x81\x88\xe8\x7f\x00\x00";

    #[test]
    fn a_small_file_of_many_pixels_is_refused_by_its_header() {
        for most in [MostPixels::STORED, MostPixels::of_event(28 * 28)] {
            let text = decode_within(BOMB, ColorMode::Rgb, most, "b").unwrap_err().to_string();
            assert!(text.contains("16383 x 16383 pixels in 38 bytes are too many"), "{text}");
        }
        // An event may have a photo, and not a million pixels in a few bytes.
        let most = MostPixels::of_event(28 * 28);
        assert_eq!((most.of(38), most.of(1 << 20)), (65_536 + 38 * 1024, 1 << 20));
        assert_eq!(MostPixels::of_event(224 * 224).of(1 << 20), 64 * 224 * 224);
        assert_eq!(MostPixels::of_event(2000 * 2000).of(1 << 20), 4 << 20);
    }

    #[test]
    fn rubbish_is_an_error() {
        for bytes in [&b""[..], b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a"] {
            let text = decode(bytes, ColorMode::Rgb, "a/b.png").unwrap_err().to_string();
            assert!(text.starts_with("a/b.png: cannot be decoded"), "{text}");
            assert!(!text.contains('\n'), "{text:?}");
        }
        // A format that is known but not read.
        let tiff = decode(b"II*\0\x08\0\0\0", ColorMode::Rgb, "a.tif");
        let text = tiff.unwrap_err().to_string();
        assert!(text.ends_with("it is none of JPEG, PNG, BMP, GIF and WebP"), "{text}");
    }
}
