//! Folders and archives of images, with the meaning of Keras's `image_dataset_from_directory`.

mod archive;
mod cache;
mod complete;
mod decode;
mod encode;
mod folder;
mod keras;
mod listing;
mod resize;
mod spec;
pub(crate) mod split;

pub use decode::decode;
use decode::pixels_of;
pub use encode::write_png;
pub use folder::{ImageFolder, load};
pub use listing::images_below;
pub use resize::{Fit, ImageShape};
pub use spec::{
    BrokenFiles, Cache, ColorMode, ImageDirectorySpec, Interpolation, LabelMode, LabelSource,
    Subset,
};
