//! JSON lines: one object per line, nested keys by a dotted path, an array of numbers as a vector.

use std::collections::HashMap;

use super::reader::Reader;
use super::row::{self, Role};
use super::spec::LABELS;
use super::{BadEvent, Decoded, Decoder, FormatSpec};
use crate::events::{Draft, Events, Schema, Value};

type Result<T> = std::result::Result<T, BadEvent>;

pub(super) struct Json {
    spec: FormatSpec,
    schema: Option<Schema>,
    keys: Keys,
    path: String,
    scratch: String,
}

impl Json {
    pub fn new(spec: &FormatSpec, schema: Option<Schema>) -> Json {
        let mut spec = spec.clone();
        if let Some(image) = &spec.image {
            spec.columns = Some(vec![image.clone()]);
            spec.text.push(image.clone());
        }
        let keys = schema.as_ref().map_or_else(Keys::default, |s| Keys::new(&spec, s));
        let (path, scratch) = (String::new(), String::new());
        Json { spec, schema, keys, path, scratch }
    }

    /// Makes the schema of the first event.
    fn first_event(&mut self, bytes: &[u8]) -> Result<()> {
        let mut leaves = Vec::new();
        let mut reader = Reader::new(bytes);
        leaves_of(&mut reader, &mut String::new(), &mut leaves, 0)?;
        reader.end()?;
        let schema = schema(&self.spec, &leaves)?;
        self.keys = Keys::new(&self.spec, &schema);
        self.schema = Some(schema);
        Ok(())
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
        let mut reader = Reader::new(bytes);
        if reader.peek() == 0 && reader.end().is_ok() {
            return Ok(Decoded::Nothing);
        }
        if self.schema.is_none() {
            self.first_event(bytes)?;
        }
        let schema = self.schema.as_ref().expect("made above");
        self.path.clear();
        let mut walk = Walk {
            reader,
            spec: &self.spec,
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
        }
        walk.draft.finish();
        Ok(Decoded::Event)
    }

    fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
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
            (name.clone(), Use::Value { role, text: spec.text.contains(name) || role == Role::Id })
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
            return Ok(self.keys.find(key, self.last));
        }
        self.path.truncate(outer);
        self.path.push_str(key);
        Ok(self.keys.find(self.path, self.last))
    }

    #[cold]
    fn at_key(&self, at: usize, mut bad: BadEvent) -> BadEvent {
        bad.reason = format!("key `{}`: {}", self.keys.list[at].name, bad.reason);
        bad
    }

    fn value(&mut self, role: Role, text: bool) -> Result<()> {
        let value = match self.reader.peek() {
            b'"' => match self.reader.string(self.scratch)? {
                value if self.spec.missing.iter().any(|m| m == value) => Value::Missing,
                value => Value::Text(value),
            },
            b'-' | b'0'..=b'9' if text => Value::Text(self.reader.number_text()?),
            b'-' | b'0'..=b'9' => Value::Number(self.reader.number()?),
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

/// What an event holds under a path.
enum Leaf {
    Value,
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
            _ => {
                reader.skip(&mut scratch, depth + 1)?;
                leaves.push((path.clone(), Leaf::Value));
            }
        }
    }
    path.truncate(outer);
    Ok(())
}

fn schema(spec: &FormatSpec, leaves: &[(String, Leaf)]) -> Result<Schema> {
    let is_value = |name: &str| leaves.iter().any(|(n, l)| n == name && matches!(l, Leaf::Value));
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
            .filter(|(name, leaf)| matches!(leaf, Leaf::Value) && !special(name))
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
