//! A linear model over hashed features, which touches only the features that an event has.
//!
//! A feature's row is found by the low bits of its hash (Weinberger et al., *Feature hashing for
//! large scale multitask learning*, 2009), so that the model has the same size whatever comes, and
//! predicting needs no dictionary. Two features that share a row cannot be distinguished; `bits`
//! says how rare that is.
//!
//! # Layout
//!
//! - [`loss`]: logistic, squared and hinge loss, and how far one event may move its margin
//! - [`model`]: the table and its update rules ([`HashedLinear`])
//! - [`state`]: the table as tensors, and back
//! - [`learner`]: events scored, judged, learned from ([`LinearLearner`]); `stream`: that as the
//!   model of a stream

pub mod learner;
pub mod loss;
pub mod model;
pub mod state;
mod stream;
#[cfg(test)]
mod tests;

pub use learner::LinearLearner;
pub use loss::LinearLoss;
pub use model::{HashedLinear, Scored};
pub use state::LinearSums;
pub use tidemill_recipe::online::linear::{LinearSpec, UpdateRule};
