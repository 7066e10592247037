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
#[cfg(feature = "images")]
mod jpeg;
mod keras;
mod listing;
pub mod near;
#[cfg(feature = "images")]
mod pack;
mod resize;
#[cfg(feature = "images")]
mod scale;
mod shards;
mod spec;
pub(crate) mod split;
mod window;
#[cfg(not(feature = "images"))]
mod without;

#[cfg(feature = "images")]
pub use decode::{decode, decode_within};
#[cfg(feature = "images")]
use decode::{decode_reduced, decode_window, pixels_of};
#[cfg(feature = "images")]
pub use encode::write_png;
#[cfg(feature = "images")]
pub use pack::{Pack, Packed};
#[cfg(feature = "images")]
use scale::scale;
#[cfg(not(feature = "images"))]
pub use without::{decode, decode_within, write_png};
#[cfg(not(feature = "images"))]
use without::{decode_reduced, decode_window, pixels_of, scale};

/// How many pixels an image may have, by the bytes of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MostPixels {
    pixels: u64,
    /// Those that any file may have, and more for each of its bytes.
    by_size: Option<(u64, u64)>,
}

impl MostPixels {
    /// Of images that someone has stored: as many as Pillow takes without a warning.
    pub const STORED: MostPixels = MostPixels { pixels: 89_478_485, by_size: None };

    /// Of images that anyone may send to a model whose input has so many pixels: 64 times those, at least a million and at
    /// most four; and no more than small files of anything but one colour have.
    pub fn of_event(input: usize) -> MostPixels {
        let pixels = (64 * input as u64).clamp(1 << 20, 4 << 20);
        MostPixels { pixels, by_size: Some((1 << 16, 1 << 10)) }
    }

    /// Exactly these, whatever the file.
    pub fn exactly(pixels: u64) -> MostPixels {
        MostPixels { pixels, by_size: None }
    }

    /// Of a file of so many bytes.
    pub fn of(self, bytes: usize) -> u64 {
        let by_size = self.by_size.map(|(least, each)| least + each * bytes as u64);
        by_size.map_or(self.pixels, |most| most.min(self.pixels))
    }
}

pub use folder::{ImageFolder, load};
pub use listing::images_below;
pub use resize::{Fit, ImageShape};
pub use shards::{is_shards, shards};
pub use spec::{
    BrokenFiles, Cache, ColorMode, ImageDirectorySpec, Interpolation, LabelMode, LabelSource,
    Subset,
};
pub use split::{Fold, Share};
pub(crate) use window::resized;
