//! Scaling an image to another size.

use std::cell::RefCell;

use fast_image_resize::images::TypedImage;
use fast_image_resize::pixels::{U8, U8x3, U8x4};
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
        ColorMode::Rgba => scale_as::<U8x4>(fit, &mut image, height, width),
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
