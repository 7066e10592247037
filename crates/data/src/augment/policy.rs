//! RandAugment and TrivialAugment: operations of a list, by chance.

use super::warp::{Affine, Beyond, affine, rotate};
use super::{RandAugmentSpec, Sampling, TrivialAugmentSpec, color, filter};
use crate::RawImage;
use crate::random::Stream;

/// An operation of the list, in torchvision's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Nothing.
    Identity,
    /// Shear along the rows.
    ShearX,
    /// Shear along the columns.
    ShearY,
    /// Shift along the rows.
    TranslateX,
    /// Shift along the columns.
    TranslateY,
    /// Rotation.
    Rotate,
    /// Brightness.
    Brightness,
    /// Saturation.
    Color,
    /// Contrast.
    Contrast,
    /// Sharpness.
    Sharpness,
    /// Fewer bits.
    Posterize,
    /// The complement of high values.
    Solarize,
    /// From the least and the greatest value to 0 and 255.
    AutoContrast,
    /// All values equally often.
    Equalize,
}

/// All operations.
const ALL: [Operation; 14] = [
    Operation::Identity,
    Operation::ShearX,
    Operation::ShearY,
    Operation::TranslateX,
    Operation::TranslateY,
    Operation::Rotate,
    Operation::Brightness,
    Operation::Color,
    Operation::Contrast,
    Operation::Sharpness,
    Operation::Posterize,
    Operation::Solarize,
    Operation::AutoContrast,
    Operation::Equalize,
];

/// The strongest of each operation: those of RandAugment, and of the wide TrivialAugment.
#[derive(Clone, Copy)]
struct Space {
    shear: f64,
    /// As a share of the side; none is 32 pixels.
    translate: Option<f64>,
    rotate: f64,
    factor: f64,
    bits: f64,
}

const RAND: Space =
    Space { shear: 0.3, translate: Some(150.0 / 331.0), rotate: 30.0, factor: 0.9, bits: 4.0 };
const WIDE: Space = Space { shear: 0.99, translate: None, rotate: 135.0, factor: 0.99, bits: 6.0 };

impl Space {
    /// How strong strength `bin` of `bins` is, and whether it may be of either sign.
    fn magnitude(
        &self,
        operation: Operation,
        bin: usize,
        bins: usize,
        size: [usize; 2],
    ) -> (f64, bool) {
        use Operation::*;
        // torch.linspace in f32: from either end, whichever is nearer.
        let step = |end: f64| end as f32 / (bins - 1) as f32;
        let up_to = |end: f64| match bin < bins / 2 {
            true => f64::from(step(end) * bin as f32),
            false => f64::from(end as f32 - step(end) * (bins - 1 - bin) as f32),
        };
        let shift = |side: usize| self.translate.map_or(32.0, |share| share * side as f64);
        match operation {
            Identity | AutoContrast | Equalize => (0.0, false),
            ShearX | ShearY => (up_to(self.shear), true),
            TranslateX => (up_to(shift(size[1])), true),
            TranslateY => (up_to(shift(size[0])), true),
            Rotate => (up_to(self.rotate), true),
            Brightness | Color | Contrast | Sharpness => (up_to(self.factor), true),
            Posterize => {
                ((8.0 - bin as f64 / ((bins - 1) as f64 / self.bits)).round_ties_even(), false)
            }
            Solarize => (1.0 - up_to(1.0), false),
        }
    }
}

/// One operation, as torchvision applies it.
pub fn apply(image: &mut RawImage, operation: Operation, magnitude: f64) {
    use Operation::*;
    let (w, h) = (image.width as f64, image.height as f64);
    let moved = |image: &RawImage, by: Affine| affine(image, &by, Sampling::Nearest, Beyond::BLACK);
    // Around the corner, as AutoAugment has it.
    let center = [-0.5 * w, -0.5 * h];
    let degrees = magnitude.atan().to_degrees();
    let factor = 1.0 + magnitude;
    match operation {
        Identity => {}
        ShearX => {
            *image = moved(image, Affine { shear: [degrees, 0.0], center, ..Affine::IDENTITY })
        }
        ShearY => {
            *image = moved(image, Affine { shear: [0.0, degrees], center, ..Affine::IDENTITY })
        }
        TranslateX => {
            *image =
                moved(image, Affine { translate: [magnitude.trunc(), 0.0], ..Affine::IDENTITY });
        }
        TranslateY => {
            *image =
                moved(image, Affine { translate: [0.0, magnitude.trunc()], ..Affine::IDENTITY });
        }
        Rotate => *image = rotate(image, magnitude, Sampling::Nearest, Beyond::BLACK),
        Brightness => color::brightness(image, factor),
        Color => color::saturation(image, factor),
        Contrast => color::contrast(image, factor),
        Sharpness => filter::sharpness(image, factor),
        Posterize => color::posterize(image, magnitude as u32),
        Solarize => color::solarize(image, (255.0 * magnitude) as f32),
        AutoContrast => color::autocontrast(image),
        Equalize => color::equalize(image),
    }
}

fn one(image: &mut RawImage, space: &Space, bins: usize, bin: Option<usize>, draws: &mut Stream) {
    let operation = ALL[draws.below(ALL.len() as u64) as usize];
    let bin = bin.unwrap_or_else(|| draws.below(bins as u64) as usize);
    let size = [image.height, image.width];
    let (magnitude, signed) = space.magnitude(operation, bin, bins, size);
    let negative = draws.unit() < 0.5;
    apply(image, operation, if signed && negative { -magnitude } else { magnitude });
}

impl RandAugmentSpec {
    pub(super) fn apply(&self, image: &mut RawImage, draws: &mut Stream) {
        for _ in 0..self.operations {
            one(image, &RAND, self.bins, Some(self.magnitude), draws);
        }
    }
}

impl TrivialAugmentSpec {
    pub(super) fn apply(&self, image: &mut RawImage, draws: &mut Stream) {
        one(image, &WIDE, self.bins, None, draws);
    }
}

/// The strength of an operation of RandAugment (`wide` is false) or TrivialAugment.
pub fn magnitude(
    wide: bool,
    operation: Operation,
    bin: usize,
    bins: usize,
    size: [usize; 2],
) -> f64 {
    let space = if wide { WIDE } else { RAND };
    space.magnitude(operation, bin, bins, size).0
}
