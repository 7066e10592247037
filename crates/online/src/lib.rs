//! Online training: each event of a stream is predicted, scored, then learned from.
//!
//! # Layout
//!
//! In the order in which an event passes:
//!
//! - [`intake`]: records read, decoded and kept in order until they are learned from
//! - [`feed`]: the events of a stream in order: records, or a dataset that is replayed
//! - `fitting`: what columns and labels of first events are, and whether they fit the model
//! - [`encoding`]: an event becomes a [`Sample`]; [`images`]: where its input is an image
//! - [`input`]: a feed with its encoding; [`open`](mod@open): that of an address
//! - `ahead`: events that are encoded some before they are learned from
//! - [`join`]: labels that come later than their events; `answering`: what is said to the senders of those
//! - `corrections`: a model that makes texts of texts learns from what people correct them to; a loop of its own, since
//!   its records are texts
//! - [`model`]: what learns ([`StreamModel`]): [`learner`] is a compiled network ([`Learner`]),
//!   [`linear`] a linear model over hashed features
//! - [`guard`]: which updates are refused, and when an older state is restored
//! - [`continual`]: against forgetting and the loss of plasticity
//! - [`drift`]: whether the stream has changed, and what is done if so
//! - [`tuning`]: the learning rate that needs no tuning
//! - [`driver`]: the loop; [`run`](mod@run): from the recipe to the summary; `start`: what a run starts
//!   from; `meaning`: whether the recipe still means what was learned
//! - `predictions`: what was predicted for each event, as a file
//! - [`lag`]: how long events had been acknowledged when they were learned from
//! - [`journal`]: lines about events that were set aside, and about what the guard did
//! - [`state`]: all of that in a checkpoint; [`summary`], [`report`]: the result, for programs and for
//!   people
//! - [`asked`]: a linear model used afterwards, asked about files
//! - [`publish`]: the weights for readers, whole at any time
//!
//! What a recipe says about it is [`OnlineSpec`].
#![forbid(unsafe_code)]

mod ahead;
mod answering;
pub mod asked;
mod base64;
pub mod continual;
mod corrections;
pub mod drift;
pub mod driver;
pub mod encoding;
pub mod error;
pub mod feed;
mod fitting;
pub mod guard;
pub mod images;
pub mod input;
pub mod intake;
pub mod join;
pub mod journal;
pub mod lag;
pub mod learner;
pub mod linear;
mod meaning;
pub mod model;
pub mod open;
mod predictions;
pub mod publish;
pub mod report;
pub mod run;
pub mod sample;
mod start;
pub mod state;
pub mod summary;
pub mod tuning;
mod weights;

pub use guard::{Guard, Verdict};
pub use learner::{Learner, Scored};
pub use model::{Learned, StreamModel};
pub use run::{LearnEvent, LearnOptions, LearnOutcome, learn};
pub use sample::{Inputs, Sample, Scale};
pub use start::learned_from_stream;
pub use summary::StreamSummary;
pub use tidemill_recipe::online::{ContinualSpec, DriftSpec, GuardSpec, OnlineSpec};
