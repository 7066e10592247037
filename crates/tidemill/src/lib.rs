//! Train neural networks from stored data with one compiled step.
//!
//! A [`Model`] is described layer by layer, compiled with a loss and an optimizer into a
//! [`Network`], and fitted to a [`Dataset`]. Compiling decides everything: shapes, fusions, where
//! each buffer lies. Steps allocate nothing, and the same seed gives the same bits for any number
//! of threads.
//!
//! ```
//! use tidemill::{Activation, Fit, MemoryDataset, Model, LossSpec, OptimizerSpec};
//! use std::sync::Arc;
//!
//! let x = vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
//! let data = Arc::new(MemoryDataset::classes(x, &[2], vec![0, 1, 1, 0])?);
//! let model = Model::features(2).dense(16, Activation::Tanh).dense(2, Activation::Linear);
//! let mut network = tidemill::compile(
//!     model,
//!     LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 },
//!     OptimizerSpec::adam(0.05),
//! )?;
//! network.fit(data.clone(), Fit { epochs: 200, batch_size: 4, ..Fit::default() })?;
//! assert_eq!(network.evaluate(data)?["accuracy"], 1.0);
//! # Ok::<(), tidemill::Error>(())
//! ```
//!
//! # Layout
//! - [`network`]: compile, fit, evaluate, predict, save and load.
//! - the rest is re-exported from the crates below: [`nn`] builds models, [`data`] reads datasets
//!   whose samples are rows of [`fields`], [`train`] runs recipes.
#![forbid(unsafe_code)]

mod fit;
mod network;
mod weights;

pub use tidemill_engine::{data, fields, nn};

pub use fit::{Epoch, Fit, Flow, OnEpoch};
pub use network::{Network, compile};
pub use tidemill_engine::data::{Dataset, FieldValues, FieldsDataset, Info, MemoryDataset};
pub use tidemill_engine::fields::{Batch, Field, Row};
pub use tidemill_engine::nn::{
    Activation, LayerSpec, LossSpec, Model, OptimizerSpec, ScheduleSpec,
};
pub use tidemill_engine::prequential::Truth;
pub use tidemill_engine::{Engine, EngineSpec, Error, Result};
pub use tidemill_online::Learner;
pub use tidemill_online::publish::{Follower, Publisher};

/// Recipes, run: in batches, on a stream, and compared.
pub mod train {
    pub use tidemill_advise as advise;
    pub use tidemill_advise::compare;
    pub use tidemill_engine::{
        Existing, RunFolder, Summary, checkpoint, engine, error, evaluate, folder, metrics,
        prequential, summary,
    };
    pub use tidemill_online as online;
    pub use tidemill_recipe as recipe;
    pub use tidemill_recipe::RecipeFile;
    pub use tidemill_train::*;
}

/// The Rust code of the pages, compiled and run by `cargo test --doc`.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/library.md")]
    struct Library;
}
