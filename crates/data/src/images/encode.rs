//! Writing PNG files: digits, and thumbnails in reports.

use std::io::{self, Write};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, ImageError};

use crate::RawImage;

/// Writes `image` (1, 3 or 4 channels) as PNG.
pub fn write_png(image: &RawImage, to: impl Write) -> io::Result<()> {
    let color = match image.channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        4 => ExtendedColorType::Rgba8,
        n => return Err(io::Error::other(format!("an image has 1, 3 or 4 channels, not {n}"))),
    };
    if image.pixels.len() != image.height * image.width * image.channels {
        return Err(io::Error::other("an image's pixels must be as many as its shape says"));
    }
    let encoder = PngEncoder::new_with_quality(to, CompressionType::Fast, FilterType::NoFilter);
    let (width, height) = (image.width as u32, image.height as u32);
    encoder.write_image(&image.pixels, width, height, color).map_err(|e| match e {
        ImageError::IoError(e) => e,
        other => io::Error::other(other),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::images::{ColorMode, decode};

    #[test]
    fn what_is_written_is_read_again() {
        for (channels, color) in
            [(1, ColorMode::Grayscale), (3, ColorMode::Rgb), (4, ColorMode::Rgba)]
        {
            let pixels = (0..5 * 7 * channels).map(|i| i as u8).collect();
            let image = RawImage { height: 5, width: 7, channels, pixels };
            let mut bytes = Vec::new();
            write_png(&image, &mut bytes).unwrap();
            assert_eq!(decode(&bytes, color, "").unwrap(), image);
        }
        let wrong = RawImage { height: 2, width: 2, channels: 2, pixels: vec![0; 8] };
        assert!(write_png(&wrong, Vec::new()).is_err());
    }
}
