//! The batch driver: recipes, steps, metrics, checkpoints, reports.
//!
//! # Layout
//!
//! In the order in which a run uses them:
//!
//! - [`recipe`]: the TOML file that says everything, checked and told by line
//! - [`data`]: what it names, opened and shaped for the loss
//! - [`doctor`]: what is likely wrong before the first step
//! - [`engine`]: the model compiled into a training step
//! - [`run`]: from the recipe to the summary; [`folder`] is where it goes
//! - [`batch`]: the loop over the steps; [`online`]: the loop over the events of a stream
//! - [`metrics`]: what is measured, from the logits of the steps
//! - [`prequential`]: what is measured on a stream, each event before learning from it
//! - [`mod@evaluate`]: a pass over data without learning
//! - [`trained`]: a run's model, measured on other data or asked about files; [`mod@bench`]: its
//!   step, timed
//! - [`checkpoint`]: the state of a run on disk, whole or not at all
//! - [`watch`]: what a run concludes from its epochs
//! - [`compare`]: batch and online learning side by side on the same events; [`advise`]: which of
//!   them to take
//! - [`summary`], [`report`]: what it came to, for programs and for people
#![forbid(unsafe_code)]

pub mod advise;
pub mod batch;
pub mod bench;
pub mod checkpoint;
pub mod compare;
pub mod data;
pub mod doctor;
pub mod engine;
pub mod error;
pub mod evaluate;
pub mod folder;
pub mod metrics;
pub mod online;
pub mod prequential;
pub mod recipe;
pub mod report;
pub mod run;
pub mod summary;
pub mod trained;
pub mod watch;

pub use batch::{Event, Progress, StoppedBy};
pub use error::{Error, Result};
pub use folder::{Existing, RunFolder};
pub use recipe::RecipeFile;
pub use run::{Outcome, RunOptions, train};
pub use summary::Summary;
pub use trained::{Prediction, Trained, Weights};
