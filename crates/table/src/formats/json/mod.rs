//! JSON lines: one object per line, nested keys by a dotted path, an array of numbers as a vector.
//!
//! # Layout
//!
//! - `leaves`: the keys of the first events, and the schema that they make
//! - `index`: the keys that are used, by their paths
//! - `walk`: one event, read key by key

mod index;
mod leaves;
mod walk;

pub(super) use leaves::keys;

use std::collections::HashSet;

use self::index::Keys;
use self::leaves::{Leaf, PANDAS, is_pandas, leaves_of, schema};
use self::walk::{Others, Walk};
use super::bounds::Names;
use super::missing::Missing;
use super::reader::Reader;
use super::row;
use super::spec::Encoding;
use super::{BadEvent, Decoded, Decoder, FormatSpec, Note, short, short_list, text};
use crate::events::{Events, Place, Schema};

type Result<T> = std::result::Result<T, BadEvent>;

pub(super) struct Json {
    spec: FormatSpec,
    schema: Option<Schema>,
    keys: Keys,
    missing: Missing,
    /// Whether an event has shown what columns are.
    shown: bool,
    path: String,
    scratch: String,
    converted: String,
    /// Events that were not UTF-8.
    odd: u64,
    others: Others,
    came: Came,
}

/// How often the keys that are inputs came.
#[derive(Default)]
struct Came {
    /// Events that had any of them.
    events: u64,
    columns: Vec<u64>,
    /// Of each: the first event without it, and where that is.
    lacks: Vec<Option<(String, Place)>>,
}

/// So many keys that only some events have are named.
const MOST_GAPS: usize = 16;

impl Json {
    pub fn new(spec: &FormatSpec, schema: Option<Schema>) -> Json {
        let mut spec = spec.clone();
        if let Some(image) = &spec.image {
            spec.columns = Some(vec![image.clone()]);
            spec.text.push(image.clone());
        }
        let keys = schema.as_ref().map_or_else(Keys::default, |s| Keys::new(&spec, s));
        let noted = spec.columns.is_none();
        Json {
            missing: Missing::new(&spec.missing),
            shown: schema.as_ref().is_some_and(|s| s.shown),
            spec,
            schema,
            keys,
            path: String::new(),
            scratch: String::new(),
            converted: String::new(),
            odd: 0,
            others: Others { noted, ..Others::default() },
            came: Came::default(),
        }
    }

    /// Makes the schema of the first event.
    fn first_event(&mut self, bytes: &[u8]) -> Result<()> {
        if is_pandas(bytes) {
            return Err(BadEvent::fatal(PANDAS));
        }
        let mut leaves = Vec::new();
        let mut reader = Reader::new(bytes);
        leaves_of(&mut reader, &mut String::new(), &mut leaves, &mut Names::default(), 0)?;
        reader.end()?;
        let mut schema = schema(&self.spec, &leaves)?;
        schema.texts =
            schema.columns.iter().filter(|c| self.spec.text.contains(c)).cloned().collect();
        if let Some(wants) = self.spec.wants {
            let has = schema.columns.len() + schema.vector;
            let numbers =
                leaves.iter().all(|(_, leaf)| !matches!(leaf, Leaf::Value { text: true }));
            let lacks = has < wants && self.spec.columns.is_none() && numbers;
            // Of a file, more inputs are an error with what to do about them.
            if lacks || (has > wants && self.spec.live && numbers) {
                let what = if lacks { "keys are missing" } else { "keys are too many" };
                return Err(BadEvent::new(format!(
                    "the event has {has} inputs ({}) and the model {wants}: {what}, or the model's \
                     input is wrong",
                    short_list(&schema.columns.join(", "))
                )));
            }
        }
        self.keys = Keys::new(&self.spec, &schema);
        self.schema = Some(schema);
        Ok(())
    }

    /// The first event shows which columns are text.
    fn show(&mut self, texts: Vec<bool>) {
        self.shown = true;
        let Some(schema) = self.schema.as_mut() else { return };
        schema.shown = true;
        if self.spec.looked {
            return;
        }
        let known: HashSet<String> = schema.texts.iter().cloned().collect();
        let texts =
            schema.columns.iter().zip(texts).filter(|(name, text)| *text && !known.contains(*name));
        schema.texts.extend(texts.map(|(name, _)| name.clone()));
        self.keys = Keys::new(&self.spec, schema);
    }
}

/// Whether a record is one JSON object, whatever its keys.
///
/// # Errors
/// If it is not, with the byte and what was expected there.
pub fn check_json(bytes: &[u8]) -> Result<()> {
    let mut reader = Reader::new(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    if reader.peek() != b'{' {
        return reader.take(b'{', "an object: `{`");
    }
    reader.skip(&mut String::new(), 0)?;
    reader.end()
}

impl Decoder for Json {
    fn decode(&mut self, bytes: &[u8], _first: bool, events: &mut Events) -> Result<Decoded> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if self.spec.encoding == Some(Encoding::Latin1) {
            return self.decode_converted(bytes, events);
        }
        let decoded = self.event(bytes, events);
        if decoded.as_ref().is_err_and(|bad| !bad.fatal) && is_pandas(bytes) {
            return Err(BadEvent::new(PANDAS));
        }
        let utf8_only = self.spec.encoding == Some(Encoding::Utf8);
        if decoded.is_err() && !utf8_only && std::str::from_utf8(bytes).is_err() {
            self.odd += 1;
            return self.decode_converted(bytes, events);
        }
        decoded
    }

    fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }

    fn notes(&self) -> Vec<Note> {
        let mut others: Vec<_> = self.others.counts.iter().collect();
        others.sort_unstable();
        let note = |(key, count): (&String, &u64)| Note {
            text: format!("key `{key}` is no input and is ignored"),
            count: *count,
        };
        let noted = others.into_iter().filter(|_| self.others.noted);
        let mut notes: Vec<Note> = noted.map(note).collect();
        notes.extend(text::note(self.odd));
        notes
    }

    fn gaps(&self) -> Vec<Note> {
        let Some(schema) = &self.schema else { return Vec::new() };
        let came = schema.columns.iter().zip(&self.came.columns).zip(&self.came.lacks);
        let gap = |((name, came), lacks): ((&String, &u64), &Option<(String, Place)>)| {
            let (event, place) = lacks.as_ref()?;
            let count = self.came.events.saturating_sub(*came);
            let text =
                format!("key `{name}` is not there and counts as missing, first{place}: `{event}`");
            Some(Note { text, count })
        };
        came.filter_map(gap).take(MOST_GAPS).collect()
    }

    fn lost_column(&self) -> Option<String> {
        let schema = self.schema.as_ref().filter(|_| self.came.events > 0)?;
        let came = schema.columns.iter().zip(&self.came.columns);
        let (lost, _) = came.into_iter().find(|(_, came)| **came == 0)?;
        let mut others: Vec<&String> = self.others.counts.keys().collect();
        others.sort_unstable();
        let lost = row::lost_name("key", lost, schema, others.into_iter());
        Some(format!("the events have {lost}; where the value is missing, write the key with null"))
    }
}

impl Json {
    fn decode_converted(&mut self, bytes: &[u8], events: &mut Events) -> Result<Decoded> {
        let mut text = std::mem::take(&mut self.converted);
        text::windows(bytes, &mut text);
        let decoded = self.event(text.as_bytes(), events);
        self.converted = text;
        decoded
    }

    fn event(&mut self, bytes: &[u8], events: &mut Events) -> Result<Decoded> {
        let mut reader = Reader::new(bytes);
        if reader.peek() == 0 && reader.end().is_ok() {
            return Ok(Decoded::Nothing);
        }
        if self.schema.is_none() {
            self.first_event(bytes)?;
        }
        let Some(schema) = self.schema.as_ref() else { return Ok(Decoded::Nothing) };
        self.path.clear();
        self.came.columns.resize(schema.columns.len(), 0);
        self.came.lacks.resize(schema.columns.len(), None);
        let mut walk = Walk {
            reader,
            spec: &self.spec,
            missing: &self.missing,
            others: &mut self.others,
            came: &mut self.came.columns,
            has_input: false,
            keys: &mut self.keys,
            width: schema.vector,
            has_vector: schema.vector == 0,
            draft: events.start(schema),
            last: None,
            path: &mut self.path,
            scratch: &mut self.scratch,
        };
        walk.object(0)?;
        walk.reader.end()?;
        if walk.has_input {
            self.came.events += 1;
            for (came, lacks) in walk.came.iter().zip(&mut self.came.lacks) {
                if *came < self.came.events && lacks.is_none() {
                    *lacks = Some((short(bytes).replace("\\\"", "\""), walk.draft.place()));
                }
            }
        }
        if !walk.has_vector && self.spec.label_records && walk.draft.is_bare() {
            walk.draft.no_vector();
        } else if !walk.has_vector {
            let key = schema.vector_key.as_deref().unwrap_or_default();
            return Err(BadEvent::new(format!("key `{key}`, the array of inputs, is not there")));
        } else if !walk.has_input && schema.vector == 0 && !self.spec.label_records {
            let columns = short_list(&schema.columns.join(", "));
            return Err(BadEvent::new(format!(
                "none of the keys that are inputs is there ({columns})"
            )));
        }
        if self.shown {
            row::finish(&self.spec, walk.draft);
            return Ok(Decoded::Event);
        }
        let texts = 0..schema.columns.len();
        let texts = texts.map(|i| walk.draft.get(i).is_text()).collect();
        row::finish(&self.spec, walk.draft);
        self.show(texts);
        Ok(Decoded::Event)
    }
}
