//! The batch driver: recipes, steps, metrics, checkpoints, reports.
//!
//! # Layout
//!
//! In the order in which a run uses them:
//!
//! - [`recipe`]: the TOML file that says everything, checked and told by line
//! - [`engine`]: the model compiled into a training step
//! - [`metrics`]: what is measured, from the logits of the steps
//! - [`checkpoint`]: the state of a run on disk, whole or not at all
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod engine;
pub mod error;
pub mod metrics;
pub mod recipe;

pub use error::{Error, Result};
