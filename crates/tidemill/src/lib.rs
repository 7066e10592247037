//! Train neural networks from stored data and from live streams with one compiled step.
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
//! # Where to find what
//!
//! Each row has an example in `crates/tidemill/examples`, run by
//! `cargo run --release -p tidemill --example NAME`.
//!
//! | you want | use | example |
//! | --- | --- | --- |
//! | train, measure and save a model | [`compile()`], [`Network::fit`], [`Network::evaluate`], [`Network::save`] | `mnist` |
//! | a layer of your own | [`CustomLayer`], [`Builder`] | `custom_layer` |
//! | a loss and a metric of your own | [`CustomLoss`], [`CustomMetric`], [`EngineSpec::metrics`] | `custom_loss` |
//! | a model with several inputs | [`Model::inputs`], [`ConcatSpec::read`], [`FieldsDataset`] | `several_inputs` |
//! | callbacks: early stopping, history, the best weights | [`Fit::on_epoch`], [`Fit::learning_rate`]; around each step [`Callback`] | `callbacks` |
//! | a training loop and a schedule of your own | [`Loader`], [`Network::train_on_batch_at`] | `own_loop` |
//! | a dataset of your own | [`Dataset`]: two methods | `own_dataset` |
//! | layers that do not learn; weights of another model | [`Model::freeze`], [`Network::load_weights`] | `frozen` |
//! | weights by name | [`Network::weight`], [`Network::set_weight`] | `frozen` |
//! | predictions by several threads | [`Network::predict`], [`Clone`] | `threads` |
//! | learning event by event, with readers | `Learner`, `Publisher`, `Follower` (feature `online`) | `stream` |
//! | the compiled step itself | [`Engine`] | |
//! | runs that recipes describe | `train` (feature `recipes`) | |
//!
//! # Errors
//!
//! All functions give [`Error`], which says where, what and what to do. Its `Debug` form is that message, so
//! that `fn main() -> tidemill::Result<()>` prints it. Ids beyond a vocabulary, and losses and predictions
//! that are not finite, are errors.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `images` | yes | folders of JPEG, PNG, BMP, GIF and WebP files |
//! | `online` | yes | `Learner`, `Publisher`: learning event by event |
//! | `recipes` | yes | `train`: runs that TOML files describe; includes `online` and `images` |
//! | `nats`, `redis`, `kafka`, `arrow` | no | further sources and formats of streams, for recipes |
#![forbid(unsafe_code)]

mod fit;
mod network;
mod weights;

pub use tidemill_engine::{data, fields, graph, nn};

pub use fit::{Epoch, Fit, OnEpoch};
pub use network::{Network, compile};
pub use tidemill_engine::data::{
    Dataset, FieldValues, FieldsDataset, Info, LabelKind, Loader, LoaderOptions, MemoryDataset,
    Order,
};
pub use tidemill_engine::fields::{Batch, Column, Field, Row, Signature};
pub use tidemill_engine::graph::{GraphError, TensorId};
pub use tidemill_engine::metrics::{Figures, Metric};
pub use tidemill_engine::nn::{
    Activation, BranchSpec, Builder, ConcatSpec, CustomLayer, CustomLoss, CustomMetric,
    Initializer, InputSpec, LayerSpec, Link, LossSpec, Model, OptimizerSpec, ScheduleSpec, Targets,
    TokensSpec,
};
pub use tidemill_engine::prequential::Truth;
pub use tidemill_engine::{Callback, Engine, EngineSpec, Error, Flow, Result, Step, Training};
#[cfg(feature = "online")]
pub use tidemill_online::Learner;
#[cfg(feature = "online")]
pub use tidemill_online::publish::{Follower, Publisher};

/// Recipes, run: in batches, on a stream, and compared.
#[cfg(feature = "recipes")]
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
#[cfg(all(doctest, feature = "recipes"))]
mod pages {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/library.md")]
    struct Library;
}
