//! Scaling an image to another size.

use std::cell::RefCell;

use fast_image_resize::images::TypedImage;
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use super::{ColorMode, Fit, Interpolation};
use crate::{Error, RawImage, Result};

thread_local! {
    /// Its buffers are worth keeping from image to image.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

/// The pixels of `image` in another size.
pub(super) fn scale(
    fit: &Fit,
    mut image: RawImage,
    height: usize,
    width: usize,
    place: &str,
) -> Result<Vec<u8>> {
    match fit.shape.color {
        ColorMode::Grayscale => scale_as::<U8>(fit, &mut image, height, width),
        ColorMode::Rgb => scale_as::<U8x3>(fit, &mut image, height, width),
        ColorMode::Rgba => scale_planes(fit, &image, height, width),
    }
    .map_err(|what| Error::Image { place: place.to_owned(), what })
}

/// [`scale`] for one kind of pixel, from the type of image that the library uses between its two passes:
/// its kernels are compiled for each pair of both, a minute of the build for all of its pixels.
fn scale_as<P: PixelTrait>(
    fit: &Fit,
    image: &mut RawImage,
    height: usize,
    width: usize,
) -> std::result::Result<Vec<u8>, String> {
    let (rows, columns) = (image.height as u32, image.width as u32);
    let source = TypedImage::<P>::from_buffer(columns, rows, &mut image.pixels)
        .map_err(|e| e.to_string())?;
    let mut out = vec![0; height * width * P::size()];
    let mut target = TypedImage::<P>::from_buffer(width as u32, height as u32, &mut out)
        .map_err(|e| e.to_string())?;
    let options = ResizeOptions::new().resize_alg(algorithm(fit)).use_alpha(false);
    RESIZER
        .with_borrow_mut(|resizer| resizer.resize_typed(&source, &mut target, &options))
        .map_err(|e| e.to_string())?;
    Ok(out)
}

/// The same for images of several channels, each by itself: kernels for a kind of pixel that is rare would be a tenth of this
/// crate's build.
fn scale_planes(
    fit: &Fit,
    image: &RawImage,
    height: usize,
    width: usize,
) -> std::result::Result<Vec<u8>, String> {
    let channels = image.channels;
    let mut out = vec![0; height * width * channels];
    for channel in 0..channels {
        let pixels = image.pixels.iter().skip(channel).step_by(channels).copied().collect();
        let mut plane = RawImage { pixels, channels: 1, ..*image };
        let scaled = scale_as::<U8>(fit, &mut plane, height, width)?;
        out.iter_mut()
            .skip(channel)
            .step_by(channels)
            .zip(scaled)
            .for_each(|(to, from)| *to = from);
    }
    Ok(out)
}

fn algorithm(fit: &Fit) -> ResizeAlg {
    let filter = match fit.interpolation {
        Interpolation::Nearest => return ResizeAlg::Nearest,
        Interpolation::Area => return ResizeAlg::Convolution(FilterType::Box),
        Interpolation::Bilinear => FilterType::Bilinear,
        Interpolation::Bicubic => FilterType::CatmullRom,
        Interpolation::Lanczos3 => FilterType::Lanczos3,
        Interpolation::Gaussian => FilterType::Gaussian,
        Interpolation::Mitchellcubic => FilterType::Mitchell,
    };
    match fit.antialias {
        true => ResizeAlg::Convolution(filter),
        false => ResizeAlg::Interpolation(filter),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fast_image_resize::pixels::U8x4;

    use super::super::ImageShape;
    use super::*;

    #[test]
    fn channels_by_themselves_are_scaled_as_whole_pixels_are() {
        let (height, width) = (31, 45);
        let pixel = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7) as u8;
        let pixels: Vec<u8> = (0..height * width * 4).map(pixel).collect();
        let mut image = RawImage { height, width, channels: 4, pixels };
        for interpolation in [
            Interpolation::Nearest,
            Interpolation::Area,
            Interpolation::Bilinear,
            Interpolation::Bicubic,
            Interpolation::Lanczos3,
        ] {
            for (height, width, antialias) in [(16, 16, true), (64, 50, true), (31, 17, false)] {
                let shape = ImageShape { height, width, color: ColorMode::Rgba };
                let fit = Fit { shape, interpolation, antialias, crop: false, pad: false };
                let whole = scale_as::<U8x4>(&fit, &mut image, height, width).unwrap();
                assert_eq!(scale_planes(&fit, &image, height, width).unwrap(), whole, "{fit:?}");
            }
        }
    }
}
