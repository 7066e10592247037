//! What stands for reading and writing images in a build without the feature `images`.

use std::io::{self, Write};

use super::{ColorMode, Fit, MostPixels};
use crate::augment::Window;
use crate::{Error, RawImage, Result};

const WHAT: &str = "this build reads and writes no images; enable the feature `images`";

/// An error that says what is left out.
///
/// # Errors
/// Always.
pub fn decode(_: &[u8], _: ColorMode, place: &str) -> Result<RawImage> {
    Err(left_out(place))
}

/// An error that says what is left out.
///
/// # Errors
/// Always.
pub fn decode_within(_: &[u8], _: ColorMode, _: MostPixels, place: &str) -> Result<RawImage> {
    Err(left_out(place))
}

/// An error that says what is left out.
///
/// # Errors
/// Always.
pub fn write_png(_: &RawImage, _: impl Write) -> io::Result<()> {
    Err(io::Error::other(WHAT))
}

pub(super) fn scale(_: &Fit, _: RawImage, _: usize, _: usize, place: &str) -> Result<Vec<u8>> {
    Err(left_out(place))
}

pub(super) fn decode_reduced(
    _: &[u8],
    _: ColorMode,
    _: [usize; 2],
    place: &str,
) -> Result<RawImage> {
    Err(left_out(place))
}

pub(super) fn decode_window(
    _: &[u8],
    _: ColorMode,
    _: [usize; 2],
    _: &dyn Fn([usize; 2]) -> Option<Window>,
    place: &str,
) -> Result<Vec<u8>> {
    Err(left_out(place))
}

/// No image has pixels here.
pub(super) fn pixels_of(_: &[u8]) -> Option<u64> {
    None
}

fn left_out(place: &str) -> Error {
    Error::Image { place: place.to_owned(), what: WHAT.to_owned() }
}
