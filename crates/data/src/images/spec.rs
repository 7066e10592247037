//! The options of an image folder.

use serde::{Deserialize, Serialize};

use super::Share;
use crate::{Augment, Normalize};

/// `data = { image_directory = { path = "digits/train" } }`.
///
/// Size and colour are the model's input unless they are given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageDirectorySpec {
    /// A folder with one sub-folder per class, or a `.tar` or `.tar.gz` archive of one; or plain tar files in the layout of WebDataset
    /// (`KEY.jpg`, and `KEY.cls` with the number or name of its class), one or many: `shards/train-{000000..000146}.tar`.
    pub path: String,
    /// The folder inside an archive; its top level when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Where labels come from.
    #[serde(default)]
    pub labels: LabelSource,
    /// The type of the labels.
    #[serde(default)]
    pub label_mode: LabelMode,
    /// Names of the sub-folders in the order of their class numbers; sorted by name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_names: Option<Vec<String>>,
    /// The colour channels of a sample; those of the model's input by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color_mode: Option<ColorMode>,
    /// Height and width of a sample; those of the model's input by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<[usize; 2]>,
    /// How images of another size are resized.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// Averages over all covered pixels when an image is made smaller, as Pillow does. With `false`
    /// the result is that of Keras.
    #[serde(default = "yes")]
    pub antialias: bool,
    /// Crops the image to the largest centred window with the aspect ratio of the model's input,
    /// instead of distorting it.
    #[serde(default)]
    pub crop_to_aspect_ratio: bool,
    /// Resizes the image to fit into the model's input and adds black borders, instead of distorting it.
    #[serde(default)]
    pub pad_to_aspect_ratio: bool,
    /// Share of the samples kept for validation, or a fold of them such as `"2/5"` (the second of five); needs `subset`. Not split by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<Share>,
    /// The side of the split that this data is. Required with `validation_split`, left out
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// Random seed of the shuffle before the split. The same files and seed give the split of
    /// Keras.
    #[serde(default)]
    pub seed: u32,
    /// What in a file's name says which images belong together and stay on one side of the split, such as `"{group}_{}"` for
    /// `patient7_12.png`; with a `/`, also the folder. None by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether links to folders are followed.
    #[serde(default)]
    pub follow_links: bool,
    /// Decodes JPEG files that are at least twice as high and wide as a sample at 1/2, 1/4 or 1/8 of their size, and resizes that: several
    /// times as fast for photos. Values differ by a few steps of 255 from those of the usual decoder.
    #[serde(default)]
    pub reduced_decoding: bool,
    /// Whether decoded samples are kept in memory: `"auto"` keeps them if they take 16 MiB or less.
    #[serde(default)]
    pub cache: Cache,
    /// What is done with a file that cannot be read or decoded.
    #[serde(default)]
    pub broken_files: BrokenFiles,
    /// How pixels are scaled; multiplied by 1/255 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// How training samples are varied, from `batch.augment`.
    #[serde(skip)]
    pub augment: Option<Augment>,
}

fn yes() -> bool {
    true
}

impl ImageDirectorySpec {
    /// The options for `path` when nothing else is said.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            root: None,
            labels: LabelSource::default(),
            label_mode: LabelMode::default(),
            class_names: None,
            color_mode: None,
            image_size: None,
            interpolation: Interpolation::default(),
            antialias: true,
            crop_to_aspect_ratio: false,
            pad_to_aspect_ratio: false,
            validation_split: None,
            subset: None,
            seed: 0,
            group: None,
            follow_links: false,
            reduced_decoding: false,
            cache: Cache::default(),
            broken_files: BrokenFiles::default(),
            normalize: None,
            augment: None,
        }
    }
}

/// Where labels come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelSource {
    /// From the names of the sub-folders.
    #[default]
    Inferred,
    /// No labels; images may be anywhere below the path.
    None,
}

/// The type of the labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelMode {
    /// Class numbers, for sparse losses.
    #[default]
    Int,
    /// One-hot rows, for dense losses.
    Categorical,
    /// A single 0 or 1, for two classes.
    Binary,
    /// No labels, although there are classes.
    None,
}

/// The colour channels of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColorMode {
    /// One channel.
    Grayscale,
    /// Three channels.
    Rgb,
    /// Three channels and an alpha channel.
    Rgba,
}

impl ColorMode {
    /// The number of channels.
    pub fn channels(self) -> usize {
        match self {
            Self::Grayscale => 1,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
}

/// How an image is resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Nearest pixel.
    Nearest,
    /// Bilinear: a triangle filter over 2 pixels.
    #[default]
    Bilinear,
    /// Bicubic: the Catmull-Rom filter over 4 pixels.
    Bicubic,
    /// Lanczos filter over 6 pixels.
    Lanczos3,
    /// The mean of the covered pixels.
    Area,
    /// Gaussian filter over 6 pixels.
    Gaussian,
    /// The cubic filter of Mitchell and Netravali over 4 pixels.
    Mitchellcubic,
}

/// A side of the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subset {
    /// The training side.
    Training,
    /// The validation side.
    Validation,
}

/// Whether decoded samples stay in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// If all of them take no more than [`Cache::AUTO_BYTES`].
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never: files are decoded anew in each epoch.
    Never,
    /// If all of them take no more than so many bytes.
    Bytes(u64),
}

impl Cache {
    /// Small enough that batch-1 training from a folder stays below 40 MB in all.
    pub const AUTO_BYTES: u64 = 16 << 20;
}

/// What is done with a file that cannot be read or decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokenFiles {
    /// The run fails with an error that names the file.
    #[default]
    Fail,
    /// The sample is left out and counted.
    Skip,
}

impl Serialize for Cache {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Auto => s.serialize_str("auto"),
            Self::Always => s.serialize_bool(true),
            Self::Never => s.serialize_bool(false),
            Self::Bytes(n) => s.serialize_u64(n),
        }
    }
}

impl<'de> Deserialize<'de> for Cache {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Cache;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, false, \"auto\" or a number of bytes")
            }
            fn visit_bool<E>(self, v: bool) -> Result<Cache, E> {
                Ok(if v { Cache::Always } else { Cache::Never })
            }
            fn visit_u64<E>(self, v: u64) -> Result<Cache, E> {
                Ok(Cache::Bytes(v))
            }
            fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<Cache, E> {
                u64::try_from(v)
                    .map(Cache::Bytes)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(v), &self))
            }
            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Cache, E> {
                match v {
                    "auto" => Ok(Cache::Auto),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(v), &self)),
                }
            }
        }
        d.deserialize_any(Visitor)
    }
}
