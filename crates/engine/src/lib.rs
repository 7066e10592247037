//! A compiled model with its state, measured and saved: what a driver needs, whatever it drives.
//!
//! # Layout
//!
//! - [`engine`]: the model compiled into a training step; `bind` brings batches into its form
//! - [`beam`]: sequences that a model makes of others, searched for; [`translate`]: as texts
//! - [`transcript`]: labels of sequences without their places, found and searched for
//! - [`training`]: the loop over the steps of batch training, with its callbacks
//! - [`parallel`]: workers that compute the shards of a batch together; [`group`]: what connects them;
//!   `tree`: the sum of the shards of a batch
//! - [`metrics`]: what is measured, from the logits of the steps
//! - [`prequential`]: what is measured on a stream, each event before learning from it
//! - [`mod@evaluate`]: a pass over data without learning
//! - [`checkpoint`]: the state of a run on disk, whole or not at all
//! - [`folder`]: where a run goes; [`summary`], [`report`]: its result, for programs and for people;
//!   [`session`]: from the one to the other
//! - [`memory`]: what this process holds, and whether a run fits
//! - [`error`]: what can go wrong
//!
//! Those who use it find the crates below by its name: [`nn`] builds models, [`data`] gives batches, whose
//! vocabulary is in [`fields`],
//! [`page`] writes pages.
#![forbid(unsafe_code)]

mod aside;
mod average;
pub mod beam;
mod bind;
pub mod checkpoint;
pub mod engine;
pub mod error;
pub mod evaluate;
pub mod folder;
pub mod group;
pub mod memory;
pub mod metrics;
pub mod parallel;
pub mod prequential;
pub mod report;
pub mod session;
pub mod summary;
pub mod training;
pub mod transcript;
pub mod translate;
mod tree;

pub use tidemill_data as data;
pub use tidemill_fields as fields;
pub use tidemill_graph as graph;
pub use tidemill_nn as nn;
pub use tidemill_page as page;
pub use tidemill_plan as plan;

pub use average::{Average, Averaging};
pub use engine::{
    Chunks, Continued, Decoding, Engine, EngineError, EngineSpec, Next, State, StateTensor,
    StateValues, Totals,
};
pub use error::{Error, Result};
pub use folder::{Existing, RunFolder};
pub use session::Session;
pub use summary::Summary;
pub use training::{Callback, Flow, Step, Training};
pub use tree::{Node, Tree};
