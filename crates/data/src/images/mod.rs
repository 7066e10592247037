//! Folders and archives of images, with the meaning of Keras's `image_dataset_from_directory`.

mod archive;
mod cache;
#[cfg(feature = "images")]
mod complete;
#[cfg(feature = "images")]
mod decode;
#[cfg(feature = "images")]
mod encode;
mod folder;
mod keras;
mod listing;
mod resize;
#[cfg(feature = "images")]
mod scale;
mod spec;
pub(crate) mod split;
#[cfg(not(feature = "images"))]
mod without;

#[cfg(feature = "images")]
pub use decode::decode;
#[cfg(feature = "images")]
use decode::pixels_of;
#[cfg(feature = "images")]
pub use encode::write_png;
#[cfg(feature = "images")]
use scale::scale;
#[cfg(not(feature = "images"))]
pub use without::{decode, write_png};
#[cfg(not(feature = "images"))]
use without::{pixels_of, scale};

pub use folder::{ImageFolder, load};
pub use listing::images_below;
pub use resize::{Fit, ImageShape};
pub use spec::{
    BrokenFiles, Cache, ColorMode, ImageDirectorySpec, Interpolation, LabelMode, LabelSource,
    Subset,
};
