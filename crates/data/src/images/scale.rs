//! Scaling an image to another size.

use std::cell::RefCell;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::{ColorMode, Fit, Interpolation};
use crate::{Error, RawImage, Result};

thread_local! {
    /// Its buffers are worth keeping from image to image.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

/// The pixels of `image` in another size.
pub(super) fn scale(
    fit: &Fit,
    image: &RawImage,
    height: usize,
    width: usize,
    place: &str,
) -> Result<Vec<u8>> {
    let pixel_type = match fit.shape.color {
        ColorMode::Grayscale => PixelType::U8,
        ColorMode::Rgb => PixelType::U8x3,
        ColorMode::Rgba => PixelType::U8x4,
    };
    let fail = |what: String| Error::Image { place: place.to_owned(), what };
    let source = ImageRef::new(image.width as u32, image.height as u32, &image.pixels, pixel_type)
        .map_err(|e| fail(e.to_string()))?;
    let mut out = Image::new(width as u32, height as u32, pixel_type);
    let options = ResizeOptions::new().resize_alg(algorithm(fit)).use_alpha(false);
    RESIZER
        .with_borrow_mut(|resizer| resizer.resize(&source, &mut out, &options))
        .map_err(|e| fail(e.to_string()))?;
    Ok(out.into_vec())
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
