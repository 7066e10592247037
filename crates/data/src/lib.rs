//! Datasets, image decoding, deterministic sample order, prefetch.
//!
//! # Layout
//!
//! In the order in which data flows:
//!
//! - [`spec`]: what a recipe says about data ([`DataSpec`]), and opening it
//! - [`dataset`]: the [`Dataset`] trait that all sources implement
//! - [`memory`]: arrays in memory ([`MemoryDataset`]); [`idx`] and [`numpy`] fill one from
//!   files
//! - [`table`]: tables of numbers and texts in memory ([`TableDataset`])
//! - [`images`]: folders and archives of images, decoded as they are needed ([`ImageFolder`])
//! - [`fields`]: samples of several fields in memory ([`FieldsDataset`]); [`text`] fills one from
//!   texts
//! - [`audio`]: sounds, from files to frames of features ([`AudioDataset`])
//! - [`augment`]: training images varied, by (seed, epoch, sample)
//! - [`order`]: which sample comes at which position ([`Order`]); [`buckets`]: batches of samples of like length
//! - [`loader`]: filled batches in that order, made ahead by threads ([`Loader`])
//! - [`digits`] and [`numerals`]: images of digits, and numbers in words of two languages, so that a first run needs no download
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use tidemill_data::{Loader, LoaderOptions, MemoryDataset, Order};
//!
//! # fn main() -> tidemill_data::Result<()> {
//! let data = MemoryDataset::classes(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &[2], vec![0, 1, 0])?;
//! let options = LoaderOptions { epochs: Some(1), ..LoaderOptions::new(2, Order::Shuffled { seed: 1 }) };
//! let mut loader = Loader::new(Arc::new(data), options)?;
//! let mut samples = 0;
//! while let Some(batch) = loader.next_batch()? {
//!     samples += batch.len;
//! }
//! assert_eq!(samples, 3);
//! # Ok(())
//! # }
//! ```
//!
//! Values are `f32`, samples are laid out height, width, channels (NHWC without the N).
#![forbid(unsafe_code)]

pub mod audio;
pub mod augment;
mod balanced;
pub mod buckets;
pub mod bytes;
pub mod dataset;
pub mod digits;
pub mod error;
pub mod fields;
mod fingerprint;
mod groups;
pub mod idx;
pub mod images;
pub mod loader;
pub mod memory;
mod names;
pub mod normalize;
pub mod numerals;
pub mod numpy;
pub mod order;
pub mod random;
mod source;
pub mod spec;
pub mod table;
pub mod text;
mod tree;
mod view;

pub use audio::{AudioContext, AudioDataset, AudioSpec};
pub use augment::{Augment, ImageAugmentSpec};
pub use balanced::Balanced;
pub use buckets::Buckets;
pub use bytes::Bytes;
pub use dataset::{Dataset, FillCost, Info, LabelKind, RawImage, RawSound};
pub use error::{Error, Result};
pub use fields::{FieldValues, FieldsDataset};
pub use fingerprint::digest;
pub use idx::IdxSpec;
pub use images::{ImageDirectorySpec, ImageFolder, ImageShape};
pub use loader::{Ahead, Loader, LoaderOptions, MAX_THREADS, Shards};
pub use memory::MemoryDataset;
pub use normalize::Normalize;
pub use numpy::{NumpyLabels, NumpySpec};
pub use order::Order;
pub use spec::{DataSpec, InputSpec, Like};
pub use table::{TableDataset, TableInput, TableInputs, TableSpec};
pub use text::{
    Document, DocumentsSpec, ParallelSpec, TaggedSpec, TextContext, TextDirectorySpec, TextFileSpec,
};
pub use tidemill_audio as sound;
pub use tidemill_fields::{Batch, Row, Truth};
pub use tidemill_table::{Encoder, Known, Understood};
pub use tidemill_text as tokens;
