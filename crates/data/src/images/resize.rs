//! From an image's own size to the model's.

use super::{ColorMode, ImageDirectorySpec, Interpolation, keras, scale};
use crate::{Error, InputSpec, RawImage, Result};

/// The shape of an image sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Colours.
    pub color: ColorMode,
}

impl ImageShape {
    /// The number of values.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.height * self.width * self.color.channels()
    }
}

/// How any image becomes a sample of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The sample's shape.
    pub shape: ImageShape,
    /// The filter.
    pub interpolation: Interpolation,
    /// Whether the filter widens when an image is made smaller.
    pub antialias: bool,
    /// Cut to the aspect ratio.
    pub crop: bool,
    /// Pad to the aspect ratio.
    pub pad: bool,
}

impl Fit {
    /// What the options and the model's input say together.
    pub fn new(spec: &ImageDirectorySpec, want: InputSpec) -> Result<Self> {
        if spec.crop_to_aspect_ratio && spec.pad_to_aspect_ratio {
            return Err(Error::option(
                "crop_to_aspect_ratio and pad_to_aspect_ratio exclude each other; choose one",
            ));
        }
        let model = match want {
            InputSpec::Image { height, width, channels } => {
                let color = match channels {
                    1 => ColorMode::Grayscale,
                    3 => ColorMode::Rgb,
                    4 => ColorMode::Rgba,
                    n => {
                        return Err(Error::option(format!(
                            "{}: images have 1, 3 or 4 channels, the model's input has {n}",
                            spec.path
                        )));
                    }
                };
                Some((height, width, color))
            }
            _ => None,
        };
        let (height, width) = match (spec.image_size, model) {
            (Some([h, w]), _) | (None, Some((h, w, _))) => (h, w),
            (None, None) => {
                return Err(Error::option(format!(
                    "{}: the model's input is no image; say image_size = [height, width]",
                    spec.path
                )));
            }
        };
        if height == 0 || width == 0 || height.saturating_mul(width) > 1 << 28 {
            return Err(Error::option(format!("image_size must not be [{height}, {width}]")));
        }
        let color = spec.color_mode.or(model.map(|m| m.2)).unwrap_or(ColorMode::Rgb);
        Ok(Self {
            shape: ImageShape { height, width, color },
            interpolation: spec.interpolation,
            antialias: spec.antialias,
            crop: spec.crop_to_aspect_ratio,
            pad: spec.pad_to_aspect_ratio,
        })
    }

    /// The sample of `image`, whose colours are the shape's already. `place` names it in errors.
    pub fn apply(&self, image: RawImage, place: &str) -> Result<Vec<u8>> {
        let ImageShape { height, width, .. } = self.shape;
        if (image.height, image.width) == (height, width) {
            return Ok(image.pixels);
        }
        if self.pad {
            let (inner, channels) = (Inner::of(&image, height, width), image.channels);
            let pixels = self.resized(image, inner.height, inner.width, place)?;
            return Ok(inner.padded(&pixels, channels, height, width));
        }
        if self.crop {
            // Cut before it is resized: a filter takes no pixel from outside of the window.
            return self.resized(window(&image, height, width), height, width, place);
        }
        self.resized(image, height, width, place)
    }

    /// `image` in another size.
    fn resized(
        &self,
        image: RawImage,
        height: usize,
        width: usize,
        place: &str,
    ) -> Result<Vec<u8>> {
        if (image.height, image.width) == (height, width) {
            return Ok(image.pixels);
        }
        match self.interpolation {
            Interpolation::Area if !self.antialias => {
                return Ok(keras::area(&image, height, width));
            }
            Interpolation::Nearest if !self.antialias => {
                return Ok(keras::nearest(&image, height, width));
            }
            _ => {}
        }
        scale(self, image, height, width, place)
    }
}

/// Where an image of another aspect ratio comes to be in a padded sample.
struct Inner {
    height: usize,
    width: usize,
    top: usize,
    left: usize,
}

impl Inner {
    /// As `tf.image.resize_with_pad` has it, in 32-bit floats too, since they decide where a size is
    /// rounded down.
    fn of(image: &RawImage, height: usize, width: usize) -> Inner {
        let (h, w) = (image.height as f32, image.width as f32);
        let ratio = f32::max(w / width as f32, h / height as f32);
        let (inner_h, inner_w) = (h / ratio, w / ratio);
        let border = |outer: usize, inner: f32| ((outer as f32 - inner) / 2.0).max(0.0) as usize;
        let (top, left) = (border(height, inner_h), border(width, inner_w));
        let size = |inner: f32, most: usize| (inner as usize).clamp(1, most);
        Inner { height: size(inner_h, height - top), width: size(inner_w, width - left), top, left }
    }

    /// `pixels` of that size within black borders.
    fn padded(&self, pixels: &[u8], channels: usize, height: usize, width: usize) -> Vec<u8> {
        let mut out = vec![0; height * width * channels];
        let len = self.width * channels;
        for (y, row) in pixels.chunks_exact(len).enumerate() {
            let start = ((self.top + y) * width + self.left) * channels;
            out[start..start + len].copy_from_slice(row);
        }
        out
    }
}

/// The largest window of the wanted aspect ratio in the middle of an image.
fn window(image: &RawImage, height: usize, width: usize) -> RawImage {
    let h = (image.width * height / width).clamp(1, image.height);
    let w = (image.height * width / height).clamp(1, image.width);
    let (left, top) = ((image.width - w) / 2, (image.height - h) / 2);
    let c = image.channels;
    let rows = image.pixels.chunks_exact(image.width * c).skip(top).take(h);
    let pixels = rows.flat_map(|row| &row[left * c..(left + w) * c]).copied().collect();
    RawImage { height: h, width: w, channels: c, pixels }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn image(height: usize, width: usize, value: impl Fn(usize, usize) -> u8) -> RawImage {
        let pixels = (0..height * width).map(|i| value(i / width, i % width)).collect();
        RawImage { height, width, channels: 1, pixels }
    }

    fn fit(height: usize, width: usize) -> Fit {
        let mut spec = ImageDirectorySpec::new("x");
        spec.image_size = Some([height, width]);
        spec.color_mode = Some(ColorMode::Grayscale);
        Fit::new(&spec, InputSpec::Any).unwrap()
    }

    #[test]
    fn same_size_is_untouched() {
        let source = image(3, 4, |y, x| (10 * y + x) as u8);
        assert_eq!(fit(3, 4).apply(source.clone(), "").unwrap(), source.pixels);
    }

    #[test]
    fn crop_takes_the_middle() {
        let source = image(2, 6, |_, x| if (2..4).contains(&x) { 200 } else { 0 });
        let crop = Fit { crop: true, ..fit(2, 2) };
        assert_eq!(crop.apply(source, "").unwrap(), [200; 4]);
    }

    #[test]
    fn pad_adds_black_borders() {
        let source = image(2, 6, |_, _| 200);
        let pad = Fit { pad: true, ..fit(6, 6) };
        let out = pad.apply(source, "").unwrap();
        assert!(out[..12].iter().all(|&v| v == 0) && out[24..].iter().all(|&v| v == 0));
        assert!(out[12..24].iter().all(|&v| v == 200));
    }

    #[test]
    fn antialias_averages_what_interpolation_skips() {
        // Every fourth column is white: the mean is 64, but two samples hit black ones only.
        let source = image(8, 8, |_, x| if x % 4 == 0 { 255 } else { 0 });
        let smooth = Fit { interpolation: Interpolation::Area, ..fit(2, 2) };
        assert_eq!(smooth.apply(source.clone(), "").unwrap(), [64; 4]);
        let sharp = Fit { antialias: false, ..fit(2, 2) };
        assert_eq!(sharp.apply(source, "").unwrap(), [0; 4]);
    }

    #[test]
    fn model_and_options_agree_or_tell() {
        let want = InputSpec::Image { height: 5, width: 6, channels: 3 };
        let mut spec = ImageDirectorySpec::new("x");
        let shape = Fit::new(&spec, want).unwrap().shape;
        assert_eq!(shape, ImageShape { height: 5, width: 6, color: ColorMode::Rgb });
        assert!(Fit::new(&spec, InputSpec::Any).unwrap_err().to_string().contains("image_size"));
        let two = InputSpec::Image { height: 5, width: 6, channels: 2 };
        assert!(Fit::new(&spec, two).is_err());
        spec.image_size = Some([0, 3]);
        assert!(Fit::new(&spec, want).is_err());
    }
}
