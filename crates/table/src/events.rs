//! Decoded events, held by columns in memory that is used again.

use serde::{Deserialize, Serialize};

use crate::formats::number;

/// What the events of a stream consist of; known once the header or the first event is, and saved
/// in checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Names of the input columns, in the order of [`Event::value`].
    pub columns: Vec<String>,
    /// Numbers in the input vector of each event ([`Event::vector`]); 0 where there is none.
    pub vector: usize,
    /// The JSON key of that vector.
    pub vector_key: Option<String>,
    /// Whether events hold features by hash ([`Event::sparse`]), as VW text and libsvm do.
    pub sparse: bool,
    /// The column or key of the label.
    pub label: Option<String>,
    /// For rows without names in them (CSV, ARFF): what each position of a row is. Of the file
    /// being read: a later file may have the same columns in another order.
    pub row: Vec<Field>,
    /// Columns that are text even where a value looks like a number: of the recipe, and those that
    /// were seen to be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
    /// Whether an event, or a look at a whole file, has shown which columns are text.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shown: bool,
    /// What is between the fields of a row, where the recipe does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// What is before the decimals of numbers and between their groups of digits, where the file showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimal: Option<char>,
    /// See `decimal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thousands: Option<char>,
    /// What stands beside numbers and is no part of them, where the file showed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<String>,
}

/// One position of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its column.
    pub name: String,
    /// Whether it is text even where it looks like a number.
    pub text: bool,
    /// What it is in a sparse ARFF row that leaves it out; 0 if not given.
    pub zero: Option<String>,
    /// Whether the first event had a number there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub number: bool,
}

impl Schema {
    /// Takes over what the events before have shown of the columns that are the same.
    pub fn remember(&mut self, before: &Schema) {
        if self.columns != before.columns {
            return;
        }
        self.shown |= before.shown;
        for name in &before.texts {
            if !self.texts.contains(name) {
                self.texts.push(name.clone());
            }
        }
        for field in &mut self.row {
            if let Some(known) = before.row.iter().find(|known| known.name == field.name) {
                field.number |= known.number;
                field.text |= known.text;
            }
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Field {
    /// A column of which nothing but the name is known.
    pub fn named(name: String) -> Field {
        Field { name, ..Field::default() }
    }
}

/// One value as it came.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Value<'a> {
    /// Empty, `null`, `NA`, `?`.
    #[default]
    Missing,
    /// A number, not necessarily finite.
    Number(f64),
    /// Anything else.
    Text(&'a str),
}

impl Value<'_> {
    /// Whether the value shows that its column is texts. `inf`, `NaN` and `1e400` do not: among numbers
    /// they are missing, and among texts they are texts.
    pub fn is_text(&self) -> bool {
        matches!(self, Value::Text(text) if !number::not_finite(text.as_bytes()))
    }
}

/// A feature of a sparse event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feature {
    /// Hash of the namespace and name, all 32 bits.
    pub hash: u32,
    /// Its value; 1 where none is given.
    pub value: f32,
}

/// One event of a block.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The block and the place in it.
    events: &'a Events,
    index: usize,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    Missing,
    Number(f64),
    Text { start: u32, len: u32 },
}

/// A block of events with one schema.
#[derive(Clone, Debug, Default)]
pub struct Events {
    columns: usize,
    width: usize,
    values: Vec<Slot>,
    vectors: Vec<f32>,
    sparse: Vec<Feature>,
    heads: Vec<Head>,
    text: String,
    /// Of the events that are made from here on.
    place: Place,
}

/// Where an event came from, for notes about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// It is not known.
    #[default]
    Unknown,
    /// A line of a file.
    Line(u64),
    /// A record of a stream, by its number.
    Record(u64),
}

impl std::fmt::Display for Place {
    /// ` in line 3`, or nothing.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Unknown => Ok(()),
            Place::Line(line) => write!(f, " in line {line}"),
            Place::Record(number) => write!(f, " in record {number}"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Head {
    sparse_end: usize,
    text_end: usize,
    label: Slot,
    id: Slot,
    time: Slot,
    weight: f32,
    /// Whether the input vector was there.
    vector: bool,
    place: Place,
}

impl Events {
    /// Number of whole events.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Columns and length of the input vector of the events; zeros before the first one.
    pub fn width(&self) -> (usize, usize) {
        (self.columns, self.width)
    }

    /// Memory that the events take: what bounds blocks, since a short record may stand for many values.
    pub fn footprint(&self) -> usize {
        size_of_val(&*self.values)
            + size_of_val(&*self.vectors)
            + size_of_val(&*self.sparse)
            + size_of_val(&*self.heads)
            + self.text.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Makes room for other events; keeps the memory.
    pub fn clear(&mut self) {
        self.values.clear();
        self.vectors.clear();
        self.sparse.clear();
        self.heads.clear();
        self.text.clear();
    }

    /// The events that are made from here on come from this place.
    #[inline]
    pub fn set_place(&mut self, place: Place) {
        self.place = place;
    }

    /// Drops all events but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.heads.truncate(len);
        self.abandon();
    }

    /// Starts an event: all its values are missing until set.
    ///
    /// # Panics
    /// If the block holds events of another schema.
    #[inline]
    pub fn start(&mut self, schema: &Schema) -> Draft<'_> {
        self.abandon();
        if (self.columns, self.width) != (schema.columns.len(), schema.vector) {
            assert!(self.is_empty(), "a block of events has one schema");
            (self.columns, self.width) = (schema.columns.len(), schema.vector);
            self.abandon();
        }
        let (values, vectors) = (self.values.len(), self.vectors.len());
        self.values.resize(values + self.columns, Slot::Missing);
        self.vectors.resize(vectors + self.width, 0.0);
        let none = Slot::Missing;
        let (label, id, time) = (none, none, none);
        let (weight, vector, place) = (1.0, true, self.place);
        let head = Head { sparse_end: 0, text_end: 0, label, id, time, weight, vector, place };
        Draft { events: self, head, members: Vec::new() }
    }

    /// Drops what belongs to no finished event.
    #[inline]
    fn abandon(&mut self) {
        let (sparse, text) = self.heads.last().map_or((0, 0), |h| (h.sparse_end, h.text_end));
        self.text.truncate(text);
        self.values.truncate(self.heads.len() * self.columns);
        self.vectors.truncate(self.heads.len() * self.width);
        self.sparse.truncate(sparse);
    }

    /// The event `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Event<'_> {
        assert!(index < self.len(), "event {index} of {}", self.len());
        Event { events: self, index }
    }

    #[inline]
    fn value(&self, slot: Slot) -> Value<'_> {
        match slot {
            Slot::Missing => Value::Missing,
            Slot::Number(n) => Value::Number(n),
            Slot::Text { start, len } => {
                Value::Text(&self.text[start as usize..(start + len) as usize])
            }
        }
    }
}

/// An event being made; dropped without [`Draft::finish`] it leaves no trace.
pub struct Draft<'a> {
    events: &'a mut Events,
    head: Head,
    /// Of classes that have a column each, whether they are true; none where that is missing.
    members: Vec<Option<bool>>,
}

impl Draft<'_> {
    #[inline]
    fn slot(&mut self, value: Value<'_>) -> Slot {
        match value {
            Value::Missing => Slot::Missing,
            Value::Number(n) => Slot::Number(n),
            Value::Text(text) => {
                let start = self.events.text.len();
                self.events.text.push_str(text);
                // Blocks are a few megabytes: sources bound them in bytes.
                assert!(self.events.text.len() <= u32::MAX as usize, "a block of 4 GiB of text");
                Slot::Text { start: start as u32, len: text.len() as u32 }
            }
        }
    }

    /// Sets the value of a column.
    #[inline]
    pub fn set(&mut self, column: usize, value: Value<'_>) {
        let at = self.events.heads.len() * self.events.columns + column;
        self.events.values[at] = self.slot(value);
    }

    /// The input vector, to be filled.
    #[inline]
    pub fn vector(&mut self) -> &mut [f32] {
        let start = self.events.heads.len() * self.events.width;
        &mut self.events.vectors[start..]
    }

    /// Sparse features so far.
    pub(crate) fn num_features(&self) -> usize {
        let before = self.events.heads.last().map_or(0, |head| head.sparse_end);
        self.events.sparse.len() - before
    }

    /// Appends a sparse feature.
    #[inline]
    pub fn push(&mut self, feature: Feature) {
        self.events.sparse.push(feature);
    }

    /// Sets the label.
    #[inline]
    pub fn label(&mut self, value: Value<'_>) {
        self.head.label = self.slot(value);
    }

    /// Sets whether class `i` of a set is true.
    pub fn member(&mut self, i: usize, is_true: Option<bool>) {
        self.members.resize(self.members.len().max(i + 1), None);
        self.members[i] = is_true;
    }

    /// Sets the label to the set of those of `names` that are true, with `separator` after each; it stays missing where one of them is.
    pub fn label_of(&mut self, names: &[String], separator: char) {
        let members = std::mem::take(&mut self.members);
        if members.len() < names.len() || members.contains(&None) {
            return;
        }
        let mut set = String::new();
        for name in names.iter().zip(members).filter(|(_, is)| *is == Some(true)).map(|(n, _)| n) {
            set.push_str(name);
            set.push(separator);
        }
        self.label(Value::Text(&set));
    }

    /// Sets the id.
    pub fn id(&mut self, value: Value<'_>) {
        self.head.id = self.slot(value);
    }

    /// Sets the time.
    pub fn time(&mut self, value: Value<'_>) {
        self.head.time = self.slot(value);
    }

    /// The value of a column so far.
    pub fn get(&self, column: usize) -> Value<'_> {
        let at = self.events.heads.len() * self.events.columns + column;
        self.events.value(self.events.values[at])
    }

    /// Whether the event has no value of any column so far.
    pub fn is_bare(&self) -> bool {
        let start = self.events.heads.len() * self.events.columns;
        self.events.values[start..].iter().all(|v| matches!(v, Slot::Missing))
    }

    /// Where the event comes from.
    pub(crate) fn place(&self) -> Place {
        self.head.place
    }

    /// The event has no input vector, though the schema does.
    pub fn no_vector(&mut self) {
        self.head.vector = false;
    }

    /// Sets the weight.
    pub fn weight(&mut self, weight: f32) {
        self.head.weight = weight;
    }

    /// The event is whole.
    #[inline]
    pub fn finish(mut self) {
        self.head.sparse_end = self.events.sparse.len();
        self.head.text_end = self.events.text.len();
        self.events.heads.push(self.head);
    }
}

impl<'a> Event<'a> {
    /// The value of a column.
    #[inline]
    pub fn value(&self, column: usize) -> Value<'a> {
        let events = self.events;
        events.value(events.values[self.index * events.columns + column])
    }

    /// Number of columns.
    #[inline]
    pub fn columns(&self) -> usize {
        self.events.columns
    }

    /// The input vector; empty where the schema has none.
    #[inline]
    pub fn vector(&self) -> &'a [f32] {
        let width = self.events.width;
        &self.events.vectors[self.index * width..(self.index + 1) * width]
    }

    /// Features by hash; empty where the schema is not sparse.
    #[inline]
    pub fn sparse(&self) -> &'a [Feature] {
        let heads = &self.events.heads;
        let start = if self.index == 0 { 0 } else { heads[self.index - 1].sparse_end };
        &self.events.sparse[start..heads[self.index].sparse_end]
    }

    /// The label; missing where there is none yet.
    #[inline]
    pub fn label(&self) -> Value<'a> {
        self.events.value(self.events.heads[self.index].label)
    }

    /// The id that a later label refers to.
    pub fn id(&self) -> Value<'a> {
        self.events.value(self.events.heads[self.index].id)
    }

    /// Where it came from.
    pub fn place(&self) -> Place {
        self.events.heads[self.index].place
    }

    /// When it happened; missing where the recipe names no time.
    pub fn time(&self) -> Value<'a> {
        self.events.value(self.events.heads[self.index].time)
    }

    /// Whether it has no inputs at all, as a label that comes by itself.
    pub fn is_bare(&self) -> bool {
        let Events { columns, width, values, .. } = self.events;
        let values = &values[self.index * columns..(self.index + 1) * columns];
        let vector = *width > 0 && self.events.heads[self.index].vector;
        !vector && self.sparse().is_empty() && values.iter().all(|v| matches!(v, Slot::Missing))
    }

    /// How much the event counts; 1 where nothing is said.
    #[inline]
    pub fn weight(&self) -> f32 {
        self.events.heads[self.index].weight
    }
}
