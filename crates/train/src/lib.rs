//! The batch driver, and what is done with a run's model afterwards.
//!
//! # Layout
//!
//! In the order in which a run uses them:
//!
//! - [`run`]: from the recipe to the summary; `open`: data and model before the first step; [`report`]: the page
//! - [`doctor`]: what is likely wrong before the first step; `targets`: whether the loss takes the targets; [`estimate`]: what the run will take
//! - [`preview`]: what augmentation makes of training images
//! - [`batch`]: the loop over the steps; `place`: where it is; `log`: what it writes for other programs;
//!   `spikes`: losses that rise all at once
//! - `reading`: how it reads its batches; `workers`: who computes the shards of its batches
//! - `resume`: what has changed since a checkpoint; `transfer`: initial weights from elsewhere; `names`: as PyTorch calls them
//! - [`watch`]: what a run concludes from its epochs
//! - [`trained`]: a run's model, measured on other data or asked about files; [`generate`]: asked to continue a
//!   text; [`translate`]: asked for translations; [`transcribe`]: asked what sounds say; [`extract`]: asked for
//!   summaries of sentences; [`mod@bench`]: its step, timed; [`fn@prove`]: computed in different ways; [`rates`]: tried with many learning rates; [`export`]: what of it is written for other programs;
//!   [`importance`]: how much it owes to each column of a table; `onnx`: its graph in ONNX's format; `protobuf`: how such messages are written
//! - [`runs`]: several runs side by side; `search`: runs with different values of keys
#![forbid(unsafe_code)]

pub mod batch;
pub mod bench;
pub mod doctor;
pub mod estimate;
pub mod export;
pub mod extract;
mod files;
pub mod generate;
pub mod importance;
mod log;
pub mod memory;
mod names;
mod onnx;
mod open;
mod place;
pub mod preview;
mod protobuf;
mod prove;
pub mod rates;
mod reading;
pub mod report;
mod resume;
pub mod run;
pub mod runs;
pub mod search;
mod spikes;
mod targets;
pub mod trained;
pub mod transcribe;
mod transfer;
pub mod translate;
mod unfreeze;
pub mod watch;
mod workers;

pub use batch::{Event, Progress, StoppedBy};
pub use extract::{Extract, ExtractFigures, Extracted};
pub use generate::Sampling;
pub use importance::{Importance, ImportanceOptions};
pub use prove::{Proved, prove};
pub use run::{Outcome, RunOptions, train};
pub use tidemill_dist::{Launched, Mpi, launched};
pub use trained::{Prediction, Trained, Weights};
pub use transcribe::{Heard, TranscriptFigures, Transcription, WrittenWrong};
pub use translate::{Beam, Hypothesis, LengthPenalty, Translation};
pub use workers::{Given, Joined, WorkOptions, WorkerGroup, take_part, work};
