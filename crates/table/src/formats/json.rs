//! JSON lines: one object per line, nested keys by a dotted path, an array of numbers as a vector.

use std::collections::HashMap;

use super::missing::Missing;
use super::number;
use super::reader::Reader;
use super::row::{self, Role};
use super::spec::{Encoding, LABELS};
use super::text;
use super::{BadEvent, Decoded, Decoder, FormatSpec, Note, short_list};
use crate::events::{Draft, Events, Schema, Value};

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
}

/// Keys that are no inputs, and how often they came.
#[derive(Default)]
struct Others {
    counts: HashMap<String, u64>,
    /// Whether they are counted at all.
    counted: bool,
}

/// So many of them are named.
const MOST_OTHERS: usize = 16;

impl Others {
    fn add(&mut self, path: &str, spec: &FormatSpec) {
        if let Some(count) = self.counts.get_mut(path) {
            *count += 1;
        } else if self.counts.len() < MOST_OTHERS && !spec.ignore.iter().any(|i| i == path) {
            self.counts.insert(path.to_owned(), 1);
        }
    }
}

impl Json {
    pub fn new(spec: &FormatSpec, schema: Option<Schema>) -> Json {
        let mut spec = spec.clone();
        if let Some(image) = &spec.image {
            spec.columns = Some(vec![image.clone()]);
            spec.text.push(image.clone());
        }
        let keys = schema.as_ref().map_or_else(Keys::default, |s| Keys::new(&spec, s));
        let counted = spec.columns.is_none();
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
            others: Others { counted, ..Others::default() },
        }
    }

    /// Makes the schema of the first event.
    fn first_event(&mut self, bytes: &[u8]) -> Result<()> {
        let mut leaves = Vec::new();
        let mut reader = Reader::new(bytes);
        leaves_of(&mut reader, &mut String::new(), &mut leaves, 0)?;
        reader.end()?;
        let mut schema = schema(&self.spec, &leaves)?;
        schema.texts =
            schema.columns.iter().filter(|c| self.spec.text.contains(c)).cloned().collect();
        if let Some(wants) = self.spec.wants
            && self.spec.columns.is_none()
            && schema.columns.len() + schema.vector < wants
            && leaves.iter().all(|(_, leaf)| !matches!(leaf, Leaf::Value { text: true }))
        {
            return Err(BadEvent::new(format!(
                "the event has {} inputs ({}) and the model {wants}: keys are missing, or the model's \
                 input is wrong",
                schema.columns.len() + schema.vector,
                short_list(&schema.columns.join(", "))
            )));
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
        for (name, text) in schema.columns.iter().zip(texts) {
            if text && !schema.texts.contains(name) {
                schema.texts.push(name.clone());
            }
        }
        self.keys = Keys::new(&self.spec, schema);
    }
}

/// Keys of the first events: how many events have each, in the order in which they came.
pub(super) struct Found {
    pub events: usize,
    pub values: Vec<(String, usize)>,
    /// The first array of numbers that is an input.
    pub vector: Option<String>,
}

/// The keys of lines that are objects; none if no line is.
pub(super) fn keys(lines: &[&[u8]], spec: &FormatSpec) -> Option<Found> {
    let mut found = Found { events: 0, values: Vec::new(), vector: None };
    let mut places: HashMap<String, usize> = HashMap::new();
    for line in lines {
        let mut leaves = Vec::new();
        let mut reader = Reader::new(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line));
        let read = leaves_of(&mut reader, &mut String::new(), &mut leaves, 0);
        if read.and_then(|()| reader.end()).is_err() || leaves.is_empty() {
            continue;
        }
        // A record with nothing but an id and a label says nothing of inputs.
        let bare = |name: &String| {
            let special = [&spec.label, &spec.id, &spec.time, &spec.weight];
            special.into_iter().any(|s| s.as_ref() == Some(name)) || LABELS.contains(&name.as_str())
        };
        if leaves.iter().all(|(name, _)| bare(name)) {
            leaves.iter().for_each(|(name, _)| {
                places.entry(name.clone()).or_insert_with(|| {
                    found.values.push((name.clone(), 0));
                    found.values.len() - 1
                });
            });
            continue;
        }
        found.events += 1;
        for (name, leaf) in leaves {
            match leaf {
                Leaf::Numbers(_) if !spec.ignore.contains(&name) => {
                    found.vector.get_or_insert(name);
                }
                Leaf::Numbers(_) => {}
                Leaf::Value { .. } => {
                    let at = *places.entry(name.clone()).or_insert_with(|| {
                        found.values.push((name, 0));
                        found.values.len() - 1
                    });
                    found.values[at].1 += 1;
                }
            }
        }
    }
    (found.events > 0).then_some(found)
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
        let mut notes: Vec<Note> = others.into_iter().map(note).collect();
        notes.extend(text::note(self.odd));
        notes
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
        let mut walk = Walk {
            reader,
            spec: &self.spec,
            missing: &self.missing,
            others: &mut self.others,
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
            walk.draft.finish();
            return Ok(Decoded::Event);
        }
        let texts = 0..schema.columns.len();
        let texts = texts.map(|i| matches!(walk.draft.get(i), Value::Text(_))).collect();
        walk.draft.finish();
        self.show(texts);
        Ok(Decoded::Event)
    }
}

/// What is done with the value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Value {
        role: Role,
        text: bool,
    },
    Vector,
    /// Nothing by itself, but keys within it are used.
    Outer,
}

/// The keys that are used, by their paths.
#[derive(Default)]
struct Keys {
    list: Vec<Key>,
    index: HashMap<String, usize>,
    /// The key that an event began with last time.
    first: usize,
}

struct Key {
    name: String,
    /// The name as it stands in JSON if nothing in it is escaped.
    quoted: Vec<u8>,
    what: Use,
    /// The key that followed it last time: a guess that saves the hashing, as the events of a
    /// stream mostly have their keys in one order.
    next: usize,
}

impl Keys {
    fn new(spec: &FormatSpec, schema: &Schema) -> Keys {
        let mut keys = Keys::default();
        let value = |name: &String, role| {
            let text = spec.text.contains(name) || schema.texts.contains(name) || role == Role::Id;
            (name.clone(), Use::Value { role, text })
        };
        // The first that names a key has it.
        let labels: Vec<String> = match &schema.label {
            Some(label) => vec![label.clone()],
            None => LABELS.map(String::from).to_vec(),
        };
        let all = spec
            .id
            .iter()
            .map(|n| value(n, Role::Id))
            .chain(spec.time.iter().map(|n| value(n, Role::Time)))
            .chain(spec.weight.iter().map(|n| value(n, Role::Weight)))
            .chain(labels.iter().map(|n| value(n, Role::Label)))
            .chain(schema.vector_key.iter().map(|n| (n.clone(), Use::Vector)))
            .chain(schema.columns.iter().enumerate().map(|(i, n)| value(n, Role::Input(i))));
        for (name, what) in all {
            keys.insert(name, what);
        }
        for i in 0..keys.list.len() {
            let name = keys.list[i].name.clone();
            for (dot, _) in name.match_indices('.') {
                keys.insert(name[..dot].to_owned(), Use::Outer);
            }
        }
        keys
    }

    fn insert(&mut self, name: String, what: Use) {
        if !self.index.contains_key(&name) {
            let at = self.list.len();
            self.index.insert(name.clone(), at);
            // A quote or backslash in it would be escaped: then this never matches.
            let quoted = format!("\"{name}\"").into_bytes();
            self.list.push(Key { name, quoted, what, next: at + 1 });
        }
    }

    /// The key that is likely to come after `last`.
    #[inline]
    fn guess(&self, last: Option<usize>) -> Option<&Key> {
        self.list.get(last.map_or(self.first, |last| self.list[last].next))
    }

    /// The key `name`, which came after `last`.
    fn find(&mut self, name: &str, last: Option<usize>) -> Option<usize> {
        let at = *self.index.get(name)?;
        match last {
            Some(last) => self.list[last].next = at,
            None => self.first = at,
        }
        Some(at)
    }
}

/// An event being read.
struct Walk<'a, 'b> {
    reader: Reader<'a>,
    spec: &'b FormatSpec,
    missing: &'b Missing,
    others: &'b mut Others,
    /// Whether a key that is an input came.
    has_input: bool,
    keys: &'b mut Keys,
    width: usize,
    has_vector: bool,
    draft: Draft<'b>,
    /// The last key that was known.
    last: Option<usize>,
    /// Of the object being read, with a dot behind it.
    path: &'b mut String,
    scratch: &'b mut String,
}

impl Walk<'_, '_> {
    fn object(&mut self, depth: usize) -> Result<()> {
        self.reader.check_depth(depth)?;
        self.reader.take(b'{', "an object: `{`")?;
        let outer = self.path.len();
        let mut first = true;
        while self.reader.more(b'}', first)? {
            first = false;
            let Some(at) = self.key(outer)? else {
                if self.others.counted {
                    self.other(outer);
                }
                self.reader.skip(self.scratch, depth + 1)?;
                continue;
            };
            self.last = Some(at);
            match self.keys.list[at].what {
                Use::Outer => {
                    if self.reader.peek() == b'{' {
                        self.path.clear();
                        self.path.push_str(&self.keys.list[at].name);
                        self.path.push('.');
                        self.object(depth + 1)?;
                    } else {
                        self.reader.skip(self.scratch, depth + 1)?;
                    }
                }
                Use::Vector => self.vector(at)?,
                Use::Value { role, text } => {
                    self.value(role, text).map_err(|bad| self.at_key(at, bad))?;
                }
            }
            self.path.truncate(outer);
        }
        Ok(())
    }

    /// Reads a key and finds it; the path of its object is the first `outer` bytes of `path`.
    #[inline]
    fn key(&mut self, outer: usize) -> Result<Option<usize>> {
        if outer == 0
            && let Some(guess) = self.keys.guess(self.last)
            && self.reader.take_key(&guess.quoted)?
        {
            return Ok(Some(self.last.map_or(self.keys.first, |last| self.keys.list[last].next)));
        }
        let key = self.reader.key(self.scratch)?;
        if outer == 0 {
            let found = self.keys.find(key, self.last);
            if found.is_none() && self.others.counted {
                self.path.clear();
                self.path.push_str(key);
            }
            return Ok(found);
        }
        self.path.truncate(outer);
        self.path.push_str(key);
        Ok(self.keys.find(self.path, self.last))
    }

    /// Counts the key just read, whose whole path is in `path`: it is none that is used. Its object's
    /// is the first `outer` bytes.
    fn other(&mut self, outer: usize) {
        self.others.add(self.path, self.spec);
        self.path.truncate(outer);
    }

    #[cold]
    fn at_key(&self, at: usize, mut bad: BadEvent) -> BadEvent {
        bad.reason = format!("key `{}`: {}", self.keys.list[at].name, bad.reason);
        bad
    }

    fn value(&mut self, role: Role, text: bool) -> Result<()> {
        self.has_input |= matches!(role, Role::Input(_));
        let value = match self.reader.peek() {
            b'"' => {
                let value = self.reader.string(self.scratch)?;
                // Numbers in quotes, as of Redis and of JavaScript's big numbers.
                match number::plain(value.as_bytes()) {
                    _ if self.missing.has(value.as_bytes()) => Value::Missing,
                    Some(n) if !text && self.missing.has_number(n) => Value::Missing,
                    Some(n) if !text && (role != Role::Label || n.abs() < EXACT) => {
                        Value::Number(n)
                    }
                    _ => Value::Text(value),
                }
            }
            b'-' if self.reader.take_word(b"-Infinity") => Value::Text("-Infinity"),
            b'-' | b'0'..=b'9' if text => {
                let value = self.reader.number_text()?;
                let is_missing = self.missing.has(value.as_bytes());
                if is_missing { Value::Missing } else { Value::Text(value) }
            }
            b'-' | b'0'..=b'9' if role == Role::Label => {
                let value = self.reader.number_text()?;
                match number::whole(value.as_bytes()) {
                    Some(n) if self.missing.has_number(n) => Value::Missing,
                    // A class of 64 bits is told apart by its digits.
                    Some(n)
                        if n.abs() < EXACT
                            || !value.bytes().all(|b| b.is_ascii_digit() || b == b'-') =>
                    {
                        Value::Number(n)
                    }
                    _ => Value::Text(value),
                }
            }
            b'-' | b'0'..=b'9' => {
                let number = self.reader.number()?;
                if self.missing.has_number(number) { Value::Missing } else { Value::Number(number) }
            }
            // As Python writes what JSON has no word for.
            b'N' if self.reader.take_word(b"NaN") => Value::Missing,
            b'I' if self.reader.take_word(b"Infinity") => Value::Text("Infinity"),
            open @ (b'{' | b'[') => {
                let what = if open == b'{' { "an object" } else { "an array" };
                return Err(BadEvent::new(format!("is {what}, expected a number or text")));
            }
            _ => match self.reader.word()? {
                Some(yes) if text => Value::Text(if yes { "true" } else { "false" }),
                Some(yes) => Value::Number(f64::from(u8::from(yes))),
                None => Value::Missing,
            },
        };
        row::put(&mut self.draft, role, value)
    }

    fn vector(&mut self, at: usize) -> Result<()> {
        let count = self.reader.numbers(self.draft.vector()).map_err(|bad| self.at_key(at, bad))?;
        if count != self.width {
            return Err(BadEvent::new(format!(
                "key `{}` has {count} numbers, expected {}; if it is no input, name it in \
                 {}.ignore",
                self.keys.list[at].name, self.width, self.spec.section
            )));
        }
        self.has_vector = true;
        Ok(())
    }
}

/// Whole numbers of this size and more are not told apart as `f64`.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What an event holds under a path.
enum Leaf {
    Value {
        /// Whether it is text that is no number.
        text: bool,
    },
    Numbers(usize),
}

fn leaves_of(
    reader: &mut Reader<'_>,
    path: &mut String,
    leaves: &mut Vec<(String, Leaf)>,
    depth: usize,
) -> Result<()> {
    let (mut scratch, mut first) = (String::new(), true);
    reader.check_depth(depth)?;
    reader.take(b'{', "an object: `{`")?;
    let outer = path.len();
    while reader.more(b'}', first)? {
        first = false;
        path.truncate(outer);
        path.push_str(reader.key(&mut scratch)?);
        match reader.peek() {
            b'{' => {
                path.push('.');
                leaves_of(reader, path, leaves, depth + 1)?;
            }
            b'[' => {
                let mut ahead = reader.clone();
                reader.skip(&mut scratch, depth + 1)?;
                if let Ok(count @ 1..) = ahead.numbers(&mut []) {
                    leaves.push((path.clone(), Leaf::Numbers(count)));
                }
            }
            b'"' => {
                let text = number::plain(reader.string(&mut scratch)?.as_bytes()).is_none();
                leaves.push((path.clone(), Leaf::Value { text }));
            }
            _ => {
                if !["NaN", "Infinity", "-Infinity"].iter().any(|w| reader.take_word(w.as_bytes()))
                {
                    reader.skip(&mut scratch, depth + 1)?;
                }
                leaves.push((path.clone(), Leaf::Value { text: false }));
            }
        }
    }
    path.truncate(outer);
    Ok(())
}

fn schema(spec: &FormatSpec, leaves: &[(String, Leaf)]) -> Result<Schema> {
    let is_value =
        |name: &str| leaves.iter().any(|(n, l)| n == name && matches!(l, Leaf::Value { .. }));
    let label = spec
        .label
        .clone()
        .or_else(|| LABELS.iter().find(|name| is_value(name)).map(|name| name.to_string()));
    let is_vector = |name: &String| match &spec.vector {
        Some(vector) => vector == name,
        None => spec.columns.is_none() && spec.inputs.is_none() && !spec.ignore.contains(name),
    };
    let vector = leaves.iter().find_map(|(name, leaf)| match leaf {
        Leaf::Numbers(count) if is_vector(name) => Some((name.clone(), *count)),
        _ => None,
    });
    if let (Some(key), None) = (&spec.vector, &vector) {
        return Err(BadEvent::new(format!(
            "key `{key}` ({}.vector) is no array of numbers in the first event",
            spec.section
        )));
    }
    let special = |name: &String| {
        [&label, &spec.id, &spec.time, &spec.weight]
            .into_iter()
            .any(|other| other.as_ref() == Some(name))
            || (label.is_none() && LABELS.contains(&name.as_str()))
            || spec.ignore.contains(name)
    };
    let mut columns: Vec<String> = match spec.columns.as_ref().or(spec.inputs.as_ref()) {
        Some(columns) => columns.clone(),
        None => leaves
            .iter()
            .filter(|(name, leaf)| matches!(leaf, Leaf::Value { .. }) && !special(name))
            .map(|(name, _)| name.clone())
            .collect(),
    };
    // JSON allows a key twice; the later value counts.
    let mut seen = std::collections::HashSet::new();
    columns.retain(|name| seen.insert(name.clone()));
    if columns.is_empty() && vector.is_none() {
        let text = "the first event has no number or text that could be an input";
        return Err(BadEvent::new(text));
    }
    let (vector_key, vector) = vector.unzip();
    Ok(Schema { columns, label, vector: vector.unwrap_or(0), vector_key, ..Schema::default() })
}
