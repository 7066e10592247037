//! The options of augmentation.

use serde::{Deserialize, Serialize};

/// How training images are varied, differently in each epoch; nothing by default. What is given is done in the order of the keys
/// here. Names, meanings and defaults of options are those of torchvision where it has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageAugmentSpec {
    /// A window of random area and aspect ratio, resized to the sample. Of folders and archives it is cut out of the image as its
    /// file has it, and no more is decoded than it needs; such samples are not cached. Default: none.
    pub random_resized_crop: Option<ResizedCropSpec>,
    /// The sample with borders, and a window of its own size at a random place. Default: none.
    pub random_crop: Option<RandomCropSpec>,
    /// The share of samples that are mirrored, left to right. Default: 0.
    pub horizontal_flip: f64,
    /// The share of samples that are turned upside down. Default: 0.
    pub vertical_flip: f64,
    /// Rotation, shift, zoom and shear, all in one step. Default: none.
    pub affine: Option<AffineSpec>,
    /// Smooth random displacements. Default: none.
    pub elastic: Option<ElasticSpec>,
    /// RandAugment (Cubuk et al. 2020): some operations of a list, at one strength. Default: none.
    pub rand_augment: Option<RandAugmentSpec>,
    /// TrivialAugment, wide (Mueller and Hutter 2021): one operation of a list, at a random strength. Default: none.
    pub trivial_augment: Option<TrivialAugmentSpec>,
    /// Random changes of the colours, in random order. Default: none.
    pub color_jitter: Option<ColorJitterSpec>,
    /// The share of samples that become grey. Default: 0.
    pub grayscale: f64,
    /// Gaussian blur. Default: none.
    pub blur: Option<BlurSpec>,
    /// A rectangle that is erased, once the sample is normalized. Default: none.
    pub erase: Option<EraseSpec>,
    /// MixUp (Zhang et al. 2018): each sample of a batch is mixed with the one before it, and so are their labels. Needs a loss of
    /// classes: `sparse_categorical_crossentropy`, `categorical_crossentropy` or `binary_crossentropy`. Beside `cutmix`, chance
    /// decides for each batch which of both it is. Default: none.
    pub mixup: Option<MixSpec>,
    /// CutMix (Yun et al. 2019): a rectangle of each sample of a batch is replaced by that of the one before it, and labels are mixed
    /// by its share of the area. Default: none.
    pub cutmix: Option<MixSpec>,
}

/// Options of `random_resized_crop`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResizedCropSpec {
    /// The least and the greatest share of the image's area. Default: 0.08 and 1.
    pub scale: [f64; 2],
    /// The least and the greatest aspect ratio, width by height. Default: 0.75 and 1.3333333333333333.
    pub ratio: [f64; 2],
}

/// Options of `random_crop`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomCropSpec {
    /// The width of the borders on all sides, in pixels. Default: 4.
    pub padding: usize,
    /// What the borders are. Default: `constant`.
    pub padding_mode: Border,
    /// The value of constant borders, from 0 to 255. Default: 0.
    pub fill: u8,
}

/// What is beyond the edge of an image, shown for a row of pixels `abcd`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Border {
    /// One value: `kkkk|abcd|kkkk`.
    #[default]
    Constant,
    /// The pixel at the edge: `aaaa|abcd|dddd`.
    Edge,
    /// Mirrored at the pixel of the edge: `dcb|abcd|cba`.
    Reflect,
    /// Mirrored at the edge: `dcba|abcd|dcba`.
    Symmetric,
    /// Repeated: `abcd|abcd|abcd`.
    Wrap,
}

/// How pixels between pixels are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// The nearest pixel.
    Nearest,
    /// The four nearest, by their distance.
    #[default]
    Bilinear,
}

/// Options of `affine`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AffineSpec {
    /// The most degrees of a rotation, to either side. Default: 0.
    pub rotate: f64,
    /// The longest shift to either side, as a share of the width, and of the height. Default: 0 and 0.
    pub translate: [f64; 2],
    /// The least and the greatest zoom; above 1 an image becomes larger. Default: 1 and 1.
    pub scale: [f64; 2],
    /// The most degrees of a shear to either side, along the rows, and along the columns. Default: 0 and 0.
    pub shear: [f64; 2],
    /// How pixels between pixels are found. Default: `bilinear`.
    pub interpolation: Sampling,
    /// What is beyond the edges. Default: `constant`.
    pub padding_mode: Border,
    /// The value beyond constant edges, from 0 to 255. Default: 0.
    pub fill: u8,
    /// The share of samples that are changed. Default: 1.
    pub probability: f64,
}

/// Options of `elastic`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ElasticSpec {
    /// The strength, in half pixels before they are smoothed. Default: 50.
    pub alpha: f64,
    /// How smooth displacements are: the deviation of the Gaussian filter over them, in pixels. Default: 5.
    pub sigma: f64,
    /// What is beyond the edges. Default: `constant`.
    pub padding_mode: Border,
    /// The value beyond constant edges, from 0 to 255. Default: 0.
    pub fill: u8,
    /// The share of samples that are changed. Default: 1.
    pub probability: f64,
}

/// Options of `rand_augment`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandAugmentSpec {
    /// Operations for each sample, one after another. Default: 2.
    pub operations: usize,
    /// Their strength, from 0 to `bins` - 1. Default: 9.
    pub magnitude: usize,
    /// The number of strengths. Default: 31.
    pub bins: usize,
}

/// Options of `trivial_augment`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrivialAugmentSpec {
    /// The number of strengths. Default: 31.
    pub bins: usize,
}

/// Options of `color_jitter`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColorJitterSpec {
    /// The brightness is multiplied by 1 minus this to 1 plus this. Default: 0.
    pub brightness: f64,
    /// The same of the contrast. Default: 0.
    pub contrast: f64,
    /// The same of the saturation. Default: 0.
    pub saturation: f64,
    /// The most that the hue is turned to either side, of a whole turn; at most 0.5. Default: 0.
    pub hue: f64,
    /// The share of samples that are changed. Default: 1.
    pub probability: f64,
}

/// Options of `blur`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlurSpec {
    /// Width and height of the filter in pixels, odd. Default: 5.
    pub size: usize,
    /// The least and the greatest deviation of the Gaussian, in pixels. Default: 0.1 and 2.
    pub sigma: [f64; 2],
    /// The share of samples that are blurred. Default: 0.5.
    pub probability: f64,
}

/// Options of `erase` (Zhong et al. 2020).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EraseSpec {
    /// The share of samples that a rectangle is erased in. Default: 0.5.
    pub probability: f64,
    /// The least and the greatest share of the area. Default: 0.02 and 0.33.
    pub scale: [f64; 2],
    /// The least and the greatest aspect ratio, height by width. Default: 0.3 and 3.3.
    pub ratio: [f64; 2],
    /// What takes its place. Default: `zero`.
    pub value: Erased,
}

/// What takes the place of erased pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Erased {
    /// 0 after normalization: the mean, where samples are normalized by it.
    #[default]
    Zero,
    /// A normal random number for each value, after normalization.
    Noise,
}

/// Options of `mixup` and `cutmix`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixSpec {
    /// The share of a sample's own part is drawn from Beta(alpha, alpha): near 0 or 1 where alpha is small, evenly where it is 1.
    /// Default: 1.
    pub alpha: f64,
    /// The share of batches that are mixed. Default: 1.
    pub probability: f64,
}

impl Default for ResizedCropSpec {
    fn default() -> Self {
        Self { scale: [0.08, 1.0], ratio: [0.75, 1.3333333333333333] }
    }
}

impl Default for RandomCropSpec {
    fn default() -> Self {
        Self { padding: 4, padding_mode: Border::Constant, fill: 0 }
    }
}

impl Default for AffineSpec {
    fn default() -> Self {
        Self {
            rotate: 0.0,
            translate: [0.0, 0.0],
            scale: [1.0, 1.0],
            shear: [0.0, 0.0],
            interpolation: Sampling::Bilinear,
            padding_mode: Border::Constant,
            fill: 0,
            probability: 1.0,
        }
    }
}

impl Default for ElasticSpec {
    fn default() -> Self {
        Self { alpha: 50.0, sigma: 5.0, padding_mode: Border::Constant, fill: 0, probability: 1.0 }
    }
}

impl Default for RandAugmentSpec {
    fn default() -> Self {
        Self { operations: 2, magnitude: 9, bins: 31 }
    }
}

impl Default for TrivialAugmentSpec {
    fn default() -> Self {
        Self { bins: 31 }
    }
}

impl Default for ColorJitterSpec {
    fn default() -> Self {
        Self { brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0, probability: 1.0 }
    }
}

impl Default for BlurSpec {
    fn default() -> Self {
        Self { size: 5, sigma: [0.1, 2.0], probability: 0.5 }
    }
}

impl Default for EraseSpec {
    fn default() -> Self {
        Self { probability: 0.5, scale: [0.02, 0.33], ratio: [0.3, 3.3], value: Erased::Zero }
    }
}

impl Default for MixSpec {
    fn default() -> Self {
        Self { alpha: 1.0, probability: 1.0 }
    }
}
