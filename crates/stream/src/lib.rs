//! Live data: sources with positions, the formats of events, an embedded log.
//!
//! # Layout
//!
//! In the order in which data flows:
//!
//! - [`source`]: the [`Source`] trait; [`records`] is what a source gives, [`position`] is where
//!   it stands
//! - [`events`]: records decoded into columns ([`Events`])
#![forbid(unsafe_code)]

pub mod error;
pub mod events;
pub mod position;
pub mod records;
pub mod source;

pub use error::{Error, Result};
pub use events::{Event, Events, Feature, Schema, Value};
pub use position::{Mark, Position};
pub use records::{Record, Records};
pub use source::{Counters, Poll, Source};
