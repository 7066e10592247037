//! Live data: sources with positions, the formats of events, an embedded log.
//!
//! # Layout
//!
//! In the order in which data flows:
//!
//! - [`source`]: the [`Source`] trait; [`records`] is what a source gives, [`position`] is where
//!   it stands
//! - [`formats`]: records decoded, each format by its [`Decoder`], into [`events`]: columns of
//!   values ([`Events`])
//! - [`features`]: values made into the inputs of a model, learned online ([`Encoder`], [`Labels`])
#![forbid(unsafe_code)]

pub mod error;
pub mod events;
pub mod features;
pub mod formats;
pub mod position;
pub mod records;
pub mod source;

pub use error::{Error, Result};
pub use events::{Event, Events, Feature, Field, Schema, Value};
pub use features::{Categorical, Encoder, FeaturesSpec, FreedRow, Label, Labels, Standardize};
pub use formats::{BadEvent, Decoded, Decoder, Format, FormatSpec, arrow_lines, decoder};
pub use position::{Mark, Position};
pub use records::{Record, Records};
pub use source::{Counters, Poll, Source};
