//! Online training: each event of a stream is predicted, scored, then learned from.
//!
//! # Layout
//!
//! In the order in which an event passes:
//!
//! - [`intake`]: records read, decoded and kept in order until they are learned from
//! - [`feed`]: events put into the rows of a step
//! - [`images`]: events whose input is an image
//! - [`learner`]: the compiled step with its scores and its guard ([`Learner`])
//! - [`join`]: labels that come later than their events
//! - [`continual`]: against forgetting and the loss of plasticity
//! - [`linear`]: a linear model over hashed features
//! - [`model`]: one of the two
//! - [`guard`]: which updates are refused, and when an older state comes back
//! - [`drift`]: whether the stream is still the stream that it was, and what is done if not
//! - [`driver`]: the loop; [`run`](mod@run): from the recipe to the summary;
//!   `start`: what a run starts from; [`open`](mod@open): the stream opened
//! - [`lag`]: how long events had been acknowledged when they were learned from
//! - [`journal`]: events that were set aside, and what the guard did
//! - [`tuning`]: the learning rate that needs no tuning
//! - [`state`]: all of that in a checkpoint; [`summary`], [`report`]: what it came to, for programs and
//!   for people
//! - [`publish`]: the weights for readers, whole at any time
//!
//! What a recipe says about it is [`OnlineSpec`].
#![forbid(unsafe_code)]

pub mod continual;
pub mod drift;
pub mod driver;
pub mod error;
pub mod feed;
pub mod guard;
pub mod images;
pub mod intake;
pub mod join;
pub mod journal;
pub mod lag;
pub mod learner;
pub mod linear;
pub mod model;
pub mod open;
pub mod publish;
pub mod report;
pub mod run;
mod start;
pub mod state;
pub mod summary;
pub mod tuning;

pub use guard::{Guard, Verdict};
pub use learner::{Learned, Learner, Scored};
pub use run::{LearnEvent, LearnOptions, LearnOutcome, learn};
pub use summary::StreamSummary;
pub use tidemill_recipe::online::{ContinualSpec, DriftSpec, GuardSpec, OnlineSpec};
