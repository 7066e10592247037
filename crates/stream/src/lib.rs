//! Live data: sources with positions, an embedded log.
//!
//! # Layout
//!
//! In the order in which data flows:
//!
//! - [`source`]: the [`Source`] trait; [`records`] is what a source gives, [`position`] is where
//!   it stands
//! - [`content`]: whether a file is the one that was read
//! - [`access`]: who may send to a source that listens
//! - [`open()`]: a source from an address; [`sources`] are those for files and sockets
//! - [`log`]: events kept on disk from when their sender is told so until they are learned
//! - [`health`]: what a learner says of the records, for whoever asks the source
//! - [`rows`]: what a learner has understood of records, so that a source can refuse what does not fit
//! - [`queue`]: a thread that reads a source ahead of the learner, in bounded memory
//!
//! What records hold is for `tidemill-table` to say; its items are re-exported here.
#![forbid(unsafe_code)]

pub mod access;
pub mod answers;
pub mod content;
pub mod error;
pub mod health;
mod inlet;
mod lines;
pub mod log;
pub mod open;
mod packed;
pub mod position;
pub mod queue;
pub mod records;
pub mod rows;
pub mod source;
pub mod sources;
mod sync;

pub use access::{Access, TlsFiles, Tokens};
pub use answers::{Answerer, Answers, Awaited};
pub use content::{Compared, Content};
pub use error::{Error, Result};
pub use health::Health;
pub use log::{Fsync, KEYS, Log, LogOptions, LogSource};
pub use open::{OpenOptions, file_of, format_of, head_of, identity, is_files, is_live, open};
pub use position::{Mark, Position};
pub use queue::{Next, Policy, QueueOptions, Reader};
pub use records::{Record, Records};
pub use rows::{Fits, Rows};
pub use source::{Counters, Poll, Source};
pub use tidemill_table::{
    BadEvent, Categorical, Decoded, Decoder, Encoder, Encoding, Event, Events, Feature,
    FeaturesSpec, Field, Format, FormatSpec, FreedRow, HashedColumns, Label, Labels, Look, Note,
    Place, Schema, Standardize, Understood, Utf16Reader, Value, arrow_lines, decoder, events,
    features, formats, look,
};
