//! One event of JSON, read key by key.

use std::collections::HashMap;

use super::super::missing::Missing;
use super::super::number::{self, EXACT};
use super::super::reader::Reader;
use super::super::row::{self, Role};
use super::Result;
use super::index::{Keys, Use};
use crate::events::{Draft, Value};
use crate::formats::{BadEvent, FormatSpec};

/// Keys that are no inputs, and how often they came.
#[derive(Default)]
pub(super) struct Others {
    pub(super) counts: HashMap<String, u64>,
    /// Whether a user should know of them all, as opposed to some for a message.
    pub(super) noted: bool,
}

/// So many of them are named.
const MOST_OTHERS: usize = 16;

impl Others {
    /// Whether one that comes is counted.
    fn counted(&self) -> bool {
        self.noted || self.counts.len() < MOST_OTHERS
    }

    fn add(&mut self, path: &str, spec: &FormatSpec) {
        if let Some(count) = self.counts.get_mut(path) {
            *count += 1;
        } else if self.counts.len() < MOST_OTHERS && !spec.ignore.iter().any(|i| i == path) {
            self.counts.insert(path.to_owned(), 1);
        }
    }
}

/// An event being read.
pub(super) struct Walk<'a, 'b> {
    pub(super) reader: Reader<'a>,
    pub(super) spec: &'b FormatSpec,
    pub(super) missing: &'b Missing,
    pub(super) others: &'b mut Others,
    /// How often each key that is an input came, and whether one came in this event.
    pub(super) came: &'b mut [u64],
    pub(super) has_input: bool,
    pub(super) keys: &'b mut Keys,
    pub(super) width: usize,
    pub(super) has_vector: bool,
    pub(super) draft: Draft<'b>,
    /// The last key that was known.
    pub(super) last: Option<usize>,
    /// Of the object being read, with a dot behind it.
    pub(super) path: &'b mut String,
    pub(super) scratch: &'b mut String,
}

impl Walk<'_, '_> {
    pub(super) fn object(&mut self, depth: usize) -> Result<()> {
        self.reader.check_depth(depth)?;
        self.reader.take(b'{', "an object: `{`")?;
        let outer = self.path.len();
        let mut first = true;
        while self.reader.more(b'}', first)? {
            first = false;
            let Some(at) = self.key(outer)? else {
                if self.others.counted() {
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
                Use::Skipped => self.reader.skip(self.scratch, depth + 1)?,
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
            if found.is_none() && self.others.counted() {
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
        if let Role::Input(column) = role {
            self.came[column] += 1;
            self.has_input = true;
        }
        let value = match self.reader.peek() {
            b'"' => {
                let value = self.reader.string(self.scratch)?;
                // Numbers in quotes, as of Redis and of JavaScript's big numbers. Of labels, ids and the
                // like, `true` is a name.
                let number = match role {
                    Role::Input(_) => number::quoted(value.as_bytes()),
                    _ => number::plain(value.as_bytes()),
                };
                match number {
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
                    // Too large for a number: an error has it as it is written.
                    Some(n) if !n.is_finite() => Value::Text(value),
                    // A class of 64 bits is distinguished by its digits.
                    Some(n)
                        if n.abs() < EXACT
                            || !value.bytes().all(|b| b.is_ascii_digit() || b == b'-') =>
                    {
                        Value::Number(n)
                    }
                    _ => Value::Text(value),
                }
            }
            b'-' | b'0'..=b'9' if matches!(role, Role::Input(_)) => {
                match self.reader.number_or_text()? {
                    Ok(number) if self.missing.has_number(number) => Value::Missing,
                    Ok(number) => Value::Number(number),
                    // As in a table: counted with how it is written, and missing.
                    Err(written) => Value::Text(written),
                }
            }
            b'-' | b'0'..=b'9' => {
                let number = self.reader.number()?;
                if self.missing.has_number(number) { Value::Missing } else { Value::Number(number) }
            }
            // As Python writes what JSON has no word for.
            b'N' if self.reader.take_word(b"NaN") => Value::Missing,
            b'I' if self.reader.take_word(b"Infinity") => Value::Text("Infinity"),
            b'[' if role == Role::Label && self.spec.label_separator.is_some() => {
                let set = self.set()?;
                self.draft.label(Value::Text(&set));
                return Ok(());
            }
            open @ (b'{' | b'[') => {
                let what = if open == b'{' { "an object" } else { "an array" };
                if open == b'[' && role == Role::Label {
                    return Err(BadEvent::new(format!(
                        "is an array, expected a number or text; where any number of classes is true of an event, set \
                         {}.label_separator = \";\" (of `tidemill init`, --label-separator \";\")",
                        self.spec.section
                    )));
                }
                return Err(BadEvent::new(format!("is {what}, expected a number or text")));
            }
            _ => match self.reader.word()? {
                // As in CSV, `true` and `false` are names of classes.
                Some(yes) if text || role == Role::Label => {
                    Value::Text(if yes { "true" } else { "false" })
                }
                Some(yes) => Value::Number(f64::from(u8::from(yes))),
                None => Value::Missing,
            },
        };
        row::put(&mut self.draft, role, value)
    }

    /// The names in an array, as a text with the separator between them.
    fn set(&mut self) -> Result<String> {
        let separator = self.spec.label_separator.unwrap_or(';');
        let (mut set, mut first) = (String::new(), true);
        self.reader.take(b'[', "an array: `[`")?;
        while self.reader.more(b']', first)? {
            first = false;
            let name = match self.reader.peek() {
                b'"' => self.reader.string(self.scratch)?,
                b'-' | b'0'..=b'9' => self.reader.number_text()?,
                _ => {
                    return Err(BadEvent::new("is an array of other things than names of classes"));
                }
            };
            if name.contains(separator) {
                return Err(BadEvent::new(format!(
                    "the name `{name}` has {separator:?} in it, which {}.label_separator says is between names; name another \
                     character there",
                    self.spec.section
                )));
            }
            set.push_str(name);
            set.push(separator);
        }
        Ok(set)
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
