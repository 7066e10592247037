//! Records decoded into events: CSV, JSON lines, VW text, libsvm, ARFF, Arrow IPC, Parquet.
//!
//! # Layout
//!
//! - [`spec`]: what a recipe says about a stream's format ([`FormatSpec`])
//! - `csv`, `json`, `vw`, `libsvm`, `arff`: one decoder each (`csv` and `json` list their parts);
//!   `arrow`: Arrow IPC as JSON lines; [`parquet`]: Parquet files as CSV
//! - [`mod@look`]: what the start of a file says of how it is written; `delimiter`: between fields; `groups`: of thousands;
//!   `doubts`: columns of text that may be numbers; `units`: signs beside numbers; `titles`: what stands
//!   around rows
//! - `bounds`: how much a record may name; `row`: what CSV and ARFF rows share; `missing`: what stands for no value; [`text`]: encodings;
//!   `number`, `reader` (JSON), `words`, `hash` (VW): the inner loops; `values`: JSON of other layouts
//!   as JSON lines

mod arff;
mod arrow;
mod bounds;
mod csv;
mod delimiter;
mod doubts;
mod groups;
pub(crate) mod hash;
mod json;
mod libsvm;
pub mod look;
mod missing;
pub mod number;
pub mod parquet;
mod reader;
pub(crate) mod row;
pub mod spec;
pub mod text;
mod titles;
mod units;
mod values;
mod vw;
mod words;

pub use arrow::arrow_lines;
pub use csv::{fields, is_blank, names};
pub use json::check_json;
pub use look::{Look, look};
pub use spec::{Encoding, Format, FormatSpec, LABELS, MISSING};
pub use values::{JSON_LOOK, is_spread, json_lines};

use crate::error::Result;
use crate::events::{Events, Schema};

/// Makes events of records.
pub trait Decoder: Send {
    /// Decodes one record, `bytes` without the line end, and appends its event, if it is one. The
    /// `first` record of a file may be a header. What a bad event leaves behind in `events` is
    /// dropped when the next one starts.
    ///
    /// # Errors
    /// [`BadEvent`] if the record makes no sense; the stream goes on.
    fn decode(
        &mut self,
        bytes: &[u8],
        first: bool,
        events: &mut Events,
    ) -> std::result::Result<Decoded, BadEvent>;

    /// What events consist of, once the header or the first event is known. Saved in checkpoints
    /// and given back to [`decoder`] on resume.
    fn schema(&self) -> Option<&Schema>;

    /// Whether the record decoded last begins one of several lines, of which more are to come.
    fn is_open(&self) -> bool {
        false
    }

    /// Records before the one decoded last that turned out to be no events only now: lines that a
    /// quoted field was taken to continue in.
    fn take_lost(&mut self) -> Vec<BadEvent> {
        Vec::new()
    }

    /// The stream has ended: what is left of it and is no event.
    fn finish(&mut self) -> Vec<BadEvent> {
        Vec::new()
    }

    /// What a user should know of the records so far.
    fn notes(&self) -> Vec<Note> {
        Vec::new()
    }

    /// What a user should know of columns that only some records have.
    fn gaps(&self) -> Vec<Note> {
        Vec::new()
    }

    /// Says which column none of the events so far had, where records name their values: its name was
    /// changed rather than that its value is missing in all of them.
    fn lost_column(&self) -> Option<String> {
        None
    }
}

/// Something that a user should know of a table or stream, and how often it was so.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Note {
    /// The note, without the count: the same however often.
    pub text: String,
    /// How often; 1 for what is so once and for all.
    pub count: u64,
}

impl Note {
    /// Something that is so, however many records there are.
    pub fn once(text: impl Into<String>) -> Note {
        Note { text: text.into(), count: 1 }
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.count {
            0 | 1 => write!(f, "{}", self.text),
            n => write!(f, "{} ({n} times)", self.text),
        }
    }
}

/// What a record was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// An event, which was appended.
    Event,
    /// A header: what records consist of is another thing from here on.
    Header,
    /// A comment, an empty line, or the beginning of a record of several lines.
    Nothing,
}

/// Why a record is no event, or an event not one that can be learned from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BadEvent {
    /// What was wrong, with the column or key and the value, shortened.
    pub reason: String,
    /// Whether no later event can be good either, since the recipe does not fit the stream: it
    /// should be stopped instead of setting all of it aside.
    pub fatal: bool,
    /// Whether nothing is wrong with the record itself: a label that came late, say.
    pub expected: bool,
    /// Whether it ends within quotes, so that it may continue in the next line.
    pub(crate) unclosed: bool,
}

impl BadEvent {
    /// One event is bad.
    pub fn new(reason: impl Into<String>) -> BadEvent {
        BadEvent { reason: reason.into(), fatal: false, expected: false, unclosed: false }
    }

    /// The record is as it should be, and is not used all the same.
    pub fn expected(reason: impl Into<String>) -> BadEvent {
        BadEvent { expected: true, ..BadEvent::new(reason) }
    }

    /// The recipe does not fit the stream.
    pub fn fatal(reason: impl Into<String>) -> BadEvent {
        BadEvent { fatal: true, ..BadEvent::new(reason) }
    }

    /// A quoted field continues at the end of the line.
    pub(crate) fn unclosed() -> BadEvent {
        BadEvent { unclosed: true, ..BadEvent::new("a quoted field has no closing quote") }
    }
}

/// The decoder of `format`. After a resume `schema` is what [`Decoder::schema`] was.
///
/// # Errors
/// If the keys of `spec` do not go together.
pub fn decoder(
    spec: &FormatSpec,
    format: Format,
    schema: Option<Schema>,
) -> Result<Box<dyn Decoder>> {
    spec.check(format)?;
    Ok(match format {
        Format::Csv | Format::Tsv => Box::new(csv::Csv::new(spec, format, schema)),
        Format::Arff => Box::new(arff::Arff::new(spec, schema)),
        Format::Vw => Box::new(vw::Vw::new()),
        Format::Libsvm => Box::new(libsvm::Libsvm::new()),
        Format::JsonLines | Format::Arrow => Box::new(json::Json::new(spec, schema)),
    })
}

/// A value for a message: at most 40 characters, without control characters.
pub(crate) fn short(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(&value[..value.len().min(200)]);
    let mut out: String = text.chars().take(40).flat_map(|c| c.escape_debug()).collect();
    if text.chars().nth(40).is_some() {
        out.push_str("...");
    }
    out
}

/// A list of names for a message.
pub(crate) fn short_list(names: &str) -> String {
    match names.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", &names[..end]),
        None => names.to_owned(),
    }
}
