//! What the first events hold: their keys, and the schema that they make.

use std::collections::HashMap;

use super::super::bounds::{Names, check_numbers};
use super::super::number;
use super::super::reader::Reader;
use super::super::spec::LABELS;
use super::Result;
use crate::events::Schema;
use crate::formats::{BadEvent, FormatSpec};

/// Keys of the first events: how many events have each, in the order in which they came.
pub(in crate::formats) struct Found {
    pub events: usize,
    pub values: Vec<(String, usize)>,
    /// The first array of numbers that is an input.
    pub vector: Option<String>,
}

/// The keys of lines that are objects; none if no line is.
pub(in crate::formats) fn keys(lines: &[&[u8]], spec: &FormatSpec) -> Option<Found> {
    let mut found = Found { events: 0, values: Vec::new(), vector: None };
    let mut places: HashMap<String, usize> = HashMap::new();
    for line in lines {
        let mut leaves = Vec::new();
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        if is_pandas(line) {
            continue;
        }
        let mut reader = Reader::new(line);
        let (mut path, mut names) = (String::new(), Names::default());
        let read = leaves_of(&mut reader, &mut path, &mut leaves, &mut names, 0);
        if read.and_then(|()| reader.end()).is_err() || leaves.is_empty() {
            continue;
        }
        // A record with nothing but an id and a label says nothing of inputs.
        let bare = |name: &String| {
            let special = [&spec.label, &spec.id, &spec.time, &spec.weight];
            special.into_iter().any(|s| s.as_ref() == Some(name))
                || spec.labels.contains(name)
                || LABELS.contains(&name.as_str())
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
                Leaf::Numbers(_)
                    if !spec.ignore.contains(&name) && spec.label.as_ref() != Some(&name) =>
                {
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

pub(super) const PANDAS: &str = "this is a whole table in one object, as pandas' to_json() writes it; write its rows, with \
     to_json(orient=\"records\") or to_json(orient=\"records\", lines=True)";

/// Whether an object is a table as pandas writes it where `orient` is not `records`: of columns, of rows by
/// their index, or split.
pub(super) fn is_pandas(bytes: &[u8]) -> bool {
    outer(bytes).is_ok_and(|(keys, inner)| {
        let has = |key: &str| keys.iter().any(|k| k == key);
        let counted = |keys: &[String]| keys.iter().all(|key| key == "0");
        let nested = !inner.is_empty() && inner.len() == keys.len();
        nested && (counted(&inner) || keys[0] == "0")
            || has("data") && (has("columns") && has("index") || has("schema") && keys.len() == 2)
    })
}

/// The keys of an object, and the first key of each value that is an object.
fn outer(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>)> {
    let (mut reader, mut scratch) = (Reader::new(bytes), String::new());
    let (mut keys, mut inner) = (Vec::new(), Vec::new());
    reader.take(b'{', "an object: `{`")?;
    let mut names = Names::default();
    while reader.more(b'}', keys.is_empty())? {
        let key = reader.key(&mut scratch)?;
        names.add("key", key, 0)?;
        keys.push(key.to_owned());
        let mut ahead = reader.clone();
        if ahead.peek() == b'{' && ahead.take(b'{', "").is_ok() && ahead.peek() == b'"' {
            let key = ahead.key(&mut scratch)?;
            names.add("key", key, 0)?;
            inner.push(key.to_owned());
        }
        reader.skip(&mut scratch, 1)?;
    }
    Ok((keys, inner))
}

/// What an event holds under a path.
pub(super) enum Leaf {
    Value {
        /// Whether it is text that is no number.
        text: bool,
    },
    Numbers(usize),
}

pub(super) fn leaves_of(
    reader: &mut Reader<'_>,
    path: &mut String,
    leaves: &mut Vec<(String, Leaf)>,
    names: &mut Names,
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
        names.add("key", path, 0)?;
        match reader.peek() {
            b'{' => {
                path.push('.');
                leaves_of(reader, path, leaves, names, depth + 1)?;
            }
            b'[' => {
                let mut ahead = reader.clone();
                reader.skip(&mut scratch, depth + 1)?;
                if let Ok(count @ 1..) = ahead.numbers(&mut []) {
                    check_numbers("numbers", count)?;
                    leaves.push((path.clone(), Leaf::Numbers(count)));
                }
            }
            b'"' => {
                let value = reader.string(&mut scratch)?.as_bytes();
                let text = number::plain(value).is_none() && !number::not_finite(value);
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

pub(super) fn schema(spec: &FormatSpec, leaves: &[(String, Leaf)]) -> Result<Schema> {
    let is_value =
        |name: &str| leaves.iter().any(|(n, l)| n == name && matches!(l, Leaf::Value { .. }));
    let label = spec
        .label
        .clone()
        .or_else(|| spec.labels.first().cloned())
        .or_else(|| LABELS.iter().find(|name| is_value(name)).map(|name| name.to_string()));
    let is_vector = |name: &String| match &spec.vector {
        Some(vector) => vector == name,
        None => {
            let free = !spec.ignore.contains(name) && spec.label.as_ref() != Some(name);
            spec.columns.is_none() && spec.inputs.is_none() && free
        }
    };
    if spec.label_separator.is_some() && label.is_none() {
        return Err(BadEvent::fatal(format!(
            "{}.label_separator is about the label: name its key in label",
            spec.section
        )));
    }
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
            || spec.labels.contains(name)
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
