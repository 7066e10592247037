//! Live data: sources with positions, the formats of events, an embedded log.
//!
//! # Layout
//!
//! In the order in which data flows:
//!
//! - [`source`]: the [`Source`] trait; [`records`] is what a source gives, [`position`] is where
//!   it stands
//! - [`open()`]: a source from an address; [`sources`] are those for files and sockets
//! - [`log`]: events kept on disk from when their sender is told so until they are learned
//! - [`queue`]: a thread that reads a source ahead of the learner, in bounded memory
//! - [`formats`]: records decoded, each format by its [`Decoder`], into [`events`]: columns of
//!   values ([`Events`])
//! - [`features`]: values made into the inputs of a model, learned online ([`Encoder`], [`Labels`])
#![forbid(unsafe_code)]

pub mod error;
pub mod events;
pub mod features;
pub mod formats;
mod inlet;
mod lines;
pub mod log;
pub mod open;
pub mod position;
pub mod queue;
pub mod records;
pub mod source;
pub mod sources;
mod sync;

pub use error::{Error, Result};
pub use events::{Event, Events, Feature, Field, Schema, Value};
pub use features::{
    Categorical, Encoder, FeaturesSpec, FreedRow, HashedColumns, Label, Labels, Standardize,
};
pub use formats::{BadEvent, Decoded, Decoder, Format, FormatSpec, arrow_lines, decoder};
pub use log::{Fsync, Log, LogOptions, LogSource};
pub use open::{OpenOptions, open};
pub use position::{Mark, Position};
pub use queue::{Next, Policy, QueueOptions, Reader};
pub use records::{Record, Records};
pub use source::{Counters, Poll, Source};
