//! The options of an image folder.

use serde::{Deserialize, Serialize};

use crate::Normalize;

/// `data = { image_directory = { path = "digits/train" } }`.
///
/// Size and colour are the model's input unless they are given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageDirectorySpec {
    /// A folder with one sub-folder for each class, or a `.tar` or `.tar.gz` of one.
    pub path: String,
    /// The folder inside an archive; its top when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Where labels come from.
    #[serde(default)]
    pub labels: LabelSource,
    /// What labels are.
    #[serde(default)]
    pub label_mode: LabelMode,
    /// The sub-folders in the order of their class numbers; sorted names when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_names: Option<Vec<String>>,
    /// The colours of a sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color_mode: Option<ColorMode>,
    /// Height and width of a sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<[usize; 2]>,
    /// How an image of another size is resized.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// Averages over all covered pixels when an image is made smaller, as Pillow does. Keras does
    /// not; `false` gives its pixels.
    #[serde(default = "yes")]
    pub antialias: bool,
    /// Cuts the largest centred window of the wanted aspect ratio instead of distorting.
    #[serde(default)]
    pub crop_to_aspect_ratio: bool,
    /// Adds black borders to the wanted aspect ratio instead of distorting.
    #[serde(default)]
    pub pad_to_aspect_ratio: bool,
    /// The fraction kept for validation; needs `subset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<f64>,
    /// Which side of the split this dataset is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// Shuffles before the split (the split is Keras's for the same files and seed).
    #[serde(default)]
    pub seed: u32,
    /// Follows links to folders.
    #[serde(default)]
    pub follow_links: bool,
    /// Whether decoded samples stay in memory.
    #[serde(default)]
    pub cache: Cache,
    /// What happens to a file that cannot be read or decoded.
    #[serde(default)]
    pub broken_files: BrokenFiles,
    /// From pixels to what the model sees; a scale of 1/255 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
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
            follow_links: false,
            cache: Cache::default(),
            broken_files: BrokenFiles::default(),
            normalize: None,
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
    /// No labels; images lie anywhere below the path.
    None,
}

/// What labels are.
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

/// The colours of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColorMode {
    /// One channel.
    Grayscale,
    /// Three channels.
    Rgb,
    /// Three channels and opacity.
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
    /// The nearest pixel.
    Nearest,
    /// A triangle over 2 pixels.
    #[default]
    Bilinear,
    /// Catmull-Rom over 4 pixels.
    Bicubic,
    /// Lanczos over 6 pixels.
    Lanczos3,
    /// The mean of the covered pixels.
    Area,
    /// A Gaussian over 6 pixels.
    Gaussian,
    /// Mitchell and Netravali's cubic over 4 pixels.
    Mitchellcubic,
}

/// A side of the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subset {
    /// The larger side.
    Training,
    /// The side of `validation_split`.
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

/// What happens to a file that cannot be read or decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokenFiles {
    /// The run fails, with the path.
    #[default]
    Fail,
    /// The sample weighs nothing and is counted.
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
