//! The worst mistakes, as thumbnails.

use std::fmt::Write;

use tidemill_engine::data::{Dataset, RawImage};

use tidemill_engine::evaluate::Mistake;
use tidemill_engine::page::html::{base64, escape};

/// Larger images are shrunk to this: the page stays small.
const LONGEST_SIDE: usize = 96;

pub(super) fn write(page: &mut String, mistakes: &[Mistake], data: &dyn Dataset, names: &[String]) {
    if mistakes.is_empty() {
        return;
    }
    let name = |i: usize| names.get(i).map_or_else(|| i.to_string(), |s| escape(s));
    page.push_str("<section><h2>Worst mistakes</h2><div class=\"mistakes\">");
    for mistake in mistakes {
        let place = data.describe(mistake.index as usize);
        page.push_str("<figure>");
        // Of a row of a table, or of an image that cannot be read any more, its place says which it is.
        if let Some(png) =
            data.raw_image(mistake.index as usize).ok().flatten().and_then(|i| png(&i))
        {
            let _ = write!(
                page,
                "<img alt=\"{} taken for {}\" src=\"data:image/png;base64,{}\">",
                name(mistake.truth),
                name(mistake.predicted),
                base64(&png)
            );
        }
        let _ = write!(
            page,
            "<figcaption><span><b class=\"wrong\">{}</b> {:.0}&nbsp;%</span><span>is <b>{}</b></span>\
             <span class=\"path\" title=\"{}\">{}</span></figcaption></figure>",
            name(mistake.predicted),
            100.0 * mistake.probability,
            name(mistake.truth),
            escape(&place),
            escape(&short(&place))
        );
    }
    page.push_str("</div></section>");
}

/// The last two parts of a path, or the number of a sample in a file of many: what distinguishes one mistake
/// from the next in a narrow space.
fn short(place: &str) -> String {
    if let Some((_, number)) = place.rsplit_once(", sample ") {
        return format!("sample {number}");
    }
    let parts: Vec<&str> = place.rsplitn(3, '/').take(2).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// A thumbnail as PNG.
pub(crate) fn png(image: &RawImage) -> Option<Vec<u8>> {
    encode(&shrink(image))
}

/// An image as PNG, as large as it is.
pub(super) fn encode(small: &RawImage) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder =
        png::Encoder::new(&mut bytes, u32::try_from(small.width).ok()?, small.height as u32);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    encoder.set_color(match small.channels {
        1 => png::ColorType::Grayscale,
        2 => png::ColorType::GrayscaleAlpha,
        3 => png::ColorType::Rgb,
        4 => png::ColorType::Rgba,
        _ => return None,
    });
    encoder.write_header().ok()?.write_image_data(&small.pixels).ok()?;
    Some(bytes)
}

/// Means over blocks of pixels, until the image is small enough.
fn shrink(image: &RawImage) -> RawImage {
    let (h, w, c) = (image.height, image.width, image.channels);
    let factor = h.max(w).div_ceil(LONGEST_SIDE).max(1);
    if factor == 1 {
        return image.clone();
    }
    let (height, width) = (h.div_ceil(factor), w.div_ceil(factor));
    let mut pixels = Vec::with_capacity(height * width * c);
    for y in 0..height {
        for x in 0..width {
            for channel in 0..c {
                let rows = y * factor..((y + 1) * factor).min(h);
                let columns = x * factor..((x + 1) * factor).min(w);
                let size = rows.len() * columns.len();
                let sum: usize = rows
                    .flat_map(|r| columns.clone().map(move |col| (r, col)))
                    .map(|(r, col)| usize::from(image.pixels[(r * w + col) * c + channel]))
                    .sum();
                pixels.push((sum / size.max(1)) as u8);
            }
        }
    }
    RawImage { height, width, channels: c, pixels }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_images_shrink() {
        let image = RawImage { height: 200, width: 100, channels: 3, pixels: vec![7; 60_000] };
        let small = shrink(&image);
        assert_eq!((small.height, small.width), (67, 34));
        assert!(small.pixels.iter().all(|&p| p == 7));
        assert_eq!(small.pixels.len(), 67 * 34 * 3);
    }

    #[test]
    fn places_are_shortened() {
        assert_eq!(short("/a/b/c/7/x.png"), "7/x.png");
        assert_eq!(short("row 5"), "row 5");
    }
}
