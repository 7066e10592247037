//! Tables and events: how they are written, how they are kept, and how they become a model's inputs.
//!
//! A row of a table and an event of a stream are the same here. What reads files (`tidemill-data`) and
//! what reads live sources (`tidemill-stream`) both use this crate, so that a model can go from one
//! to the other.
//!
//! # Layout
//!
//! In the order in which data flows:
//!
//! - [`formats`]: records decoded, each format by its [`Decoder`], into
//! - [`events`]: columns of values in memory ([`Events`])
//! - [`features`]: values made into the inputs of a model, learned from a table or online
//!   ([`Encoder`], [`Labels`])
//! - [`known`]: all that was learned of a table or stream, for checkpoints ([`Known`])
//! - [`mix`](mod@mix): bits that depend on all bits of a number
//! - [`understood`]: what columns and labels were taken for, for people ([`Understood`])
#![forbid(unsafe_code)]

pub mod error;
pub mod events;
pub mod features;
pub mod formats;
pub mod known;
pub mod mix;
pub mod understood;

pub use error::{Error, Result};
pub use events::{Event, Events, Feature, Field, Place, Schema, Value};
pub use features::{
    Categorical, Codes, ColumnKind, Encoder, Evidence, FeaturesSpec, FreedRow, HATS, HashedColumns,
    Label, Labels, Sets, Standardize, no_number,
};
pub use formats::text::Utf16Reader;
pub use formats::{
    BadEvent, Decoded, Decoder, Encoding, Format, FormatSpec, Look, Note, arrow_lines, decoder,
    json_lines, look,
};
pub use known::{FrameMoments, Known};
pub use understood::Understood;
