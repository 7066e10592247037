//! What CSV and ARFF rows share: which position of a row is what.

use std::collections::{HashMap, HashSet};

use super::bounds::MOST_NOTES;
use super::spec::LABELS;
use super::{BadEvent, FormatSpec, Note, number, short, short_list};
use crate::events::{Draft, Field, Schema, Value};

/// What a value is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Ignore,
    /// The input column.
    Input(usize),
    Label,
    /// The column of one class, by its place among them.
    Member(usize),
    Id,
    Time,
    Weight,
}

/// One position of a row, ready for the inner loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub role: Role,
    pub text: bool,
}

/// Names that are there once each: a second `y` is `y.1`, as in pandas, and one without a name is
/// called by its place, `c3`. Gives the names that were there more than once.
pub(super) fn unique(names: &mut [String], notes: &mut Vec<Note>) -> Vec<String> {
    let mut doubled = Vec::new();
    // Of each name, the number that its next double has at least.
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (i, name) in names.iter_mut().enumerate() {
        let unnamed = name.is_empty();
        let own = if unnamed { format!("c{}", i + 1) } else { name.clone() };
        *name = own.clone();
        let mut more = seen.get(&own).map_or(0, |next| *next);
        while seen.contains_key(name) {
            *name = format!("{own}.{}", more.max(1));
            more += 1;
        }
        if let Some(next) = seen.get_mut(&own) {
            *next = more;
            if !unnamed {
                if doubled.len() < MOST_NOTES {
                    notes.push(Note::once(format!(
                        "two columns are called `{own}`; the one in place {} is `{name}` here",
                        i + 1
                    )));
                }
                doubled.push(own);
            }
        }
        seen.insert(name.clone(), 1);
    }
    doubled
}

/// The first schema of a stream of rows. `index` has the places of columns that only count the rows.
pub(super) fn schema(
    spec: &FormatSpec,
    mut row: Vec<Field>,
    index: &[usize],
) -> Result<Schema, BadEvent> {
    let mut names = HashSet::new();
    if let Some(twice) = row.iter().find(|field| !names.insert(field.name.as_str())) {
        let name = &twice.name;
        return Err(BadEvent::fatal(format!("two columns are called `{name}`; rename one")));
    }
    let list = || row.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ");
    let has = |name: &str| row.iter().any(|field| field.name == name);
    for (key, name) in [("label", &spec.label), ("id", &spec.id), ("weight", &spec.weight)] {
        if let Some(name) = name.as_deref().filter(|name| !has(name)) {
            return Err(BadEvent::fatal(format!(
                "{}.{key}: no column `{name}`; the columns are {}",
                spec.section,
                short_list(&list())
            )));
        }
    }
    if let Some(name) = spec.labels.iter().find(|name| !has(name)) {
        return Err(BadEvent::fatal(format!(
            "{}.labels: no column `{name}`; the columns are {}",
            spec.section,
            short_list(&list())
        )));
    }
    if let Some(name) = spec.time.as_deref().filter(|name| !has(name)) {
        return Err(BadEvent::fatal(format!(
            "online.labels.time: no column `{name}`; the columns are {}",
            short_list(&list())
        )));
    }
    let label = spec
        .label
        .clone()
        // Stands for all of them: a file that lacks it has no labels.
        .or_else(|| spec.labels.first().cloned())
        .or_else(|| LABELS.iter().find(|name| has(name)).map(|name| name.to_string()))
        .or_else(|| row.last().map(|f| f.name.clone()));
    for field in &mut row {
        field.text |= spec.text.contains(&field.name) || spec.id.as_ref() == Some(&field.name);
    }
    let special = |name: &String| {
        [&label, &spec.id, &spec.time, &spec.weight]
            .into_iter()
            .any(|other| other.as_ref() == Some(name))
            || spec.labels.contains(name)
            || spec.ignore.contains(name)
    };
    let columns = match &spec.inputs {
        Some(inputs) => inputs.clone(),
        None => {
            let fields = row.iter().enumerate().filter(|(i, _)| !index.contains(i));
            fields.map(|(_, f)| f.name.clone()).filter(|name| !special(name)).collect()
        }
    };
    let texts = row.iter().filter(|f| f.text).map(|f| f.name.clone()).collect();
    Ok(Schema { columns, label, row, texts, ..Schema::default() })
}

/// What each position of `schema.row` is.
pub(super) fn cells(spec: &FormatSpec, schema: &Schema) -> Vec<Cell> {
    let inputs: HashMap<_, _> = schema.columns.iter().enumerate().map(|(i, n)| (n, i)).collect();
    let role = |name: &String| {
        if spec.id.as_ref() == Some(name) {
            Role::Id
        } else if spec.time.as_ref() == Some(name) {
            Role::Time
        } else if spec.weight.as_ref() == Some(name) {
            Role::Weight
        } else if let Some(i) = spec.labels.iter().position(|label| label == name) {
            Role::Member(i)
        } else if schema.label.as_ref() == Some(name) {
            Role::Label
        } else {
            inputs.get(name).map_or(Role::Ignore, |i| Role::Input(*i))
        }
    };
    let texts: HashSet<&String> = schema.texts.iter().collect();
    let cell = |field: &Field| match role(&field.name) {
        // Whether a label is a number is for the labels to say.
        Role::Label => {
            let text = spec.set_separator().is_some() || spec.text.contains(&field.name);
            Cell { role: Role::Label, text }
        }
        // One that is not needed cannot be bad. The place of the label is for rows that end early.
        role if spec.skips(role) => Cell { role: Role::Ignore, text: false },
        role => Cell { role, text: field.text || texts.contains(&field.name) },
    };
    schema.row.iter().map(cell).collect()
}

/// The row of a later file with the columns of `schema`, perhaps in another order.
pub(super) fn same_columns(schema: &Schema, names: Vec<String>) -> Result<Vec<Field>, BadEvent> {
    let given: HashSet<_> = names.iter().collect();
    if let Some(lost) = schema.columns.iter().find(|column| !given.contains(column)) {
        let lost = lost_name("column", lost, schema, names.iter());
        return Err(BadEvent::new(format!("the header has {lost}; none of its rows can be used")));
    }
    let known: HashMap<_, _> = schema.row.iter().map(|field| (&field.name, field)).collect();
    let field = |name: String| match known.get(&name) {
        Some(field) => (*field).clone(),
        None => Field::named(name),
    };
    Ok(names.into_iter().map(field).collect())
}

/// `no column "price", which the model was made with`, and the nearest of the `names` that are there
/// and that the model does not use.
pub(super) fn lost_name<'n>(
    what: &str,
    lost: &str,
    schema: &Schema,
    names: impl Iterator<Item = &'n String>,
) -> String {
    let used: HashSet<&String> = schema.columns.iter().chain(&schema.label).collect();
    let unused = names.filter(|n| !used.contains(n));
    let nearest = nearest_in_words(lost, unused);
    format!("no {what} `{lost}`, which the model was made with{nearest}")
}

/// Longer names are not looked at for one that is near, nor more of them.
const LONGEST_NEAR: usize = 64;
const MOST_NEAR: usize = 4096;

/// The name that is nearest to one that is not there, in any case of letters.
pub(crate) fn nearest<'n>(
    lost: &str,
    names: impl Iterator<Item = &'n String>,
) -> Option<&'n String> {
    // The distance takes time by the product of the lengths, and names may be of anyone's making.
    let lower = lost.to_lowercase();
    let names = names.filter(|name| name.len() <= LONGEST_NEAR && lower.len() <= LONGEST_NEAR);
    names
        .take(MOST_NEAR)
        .min_by_key(|name| strsim::damerau_levenshtein(&lower, &name.to_lowercase()))
}

/// `; the nearest name is "price"`, if there are names.
pub(crate) fn nearest_in_words<'n>(lost: &str, names: impl Iterator<Item = &'n String>) -> String {
    nearest(lost, names).map_or_else(String::new, |n| format!("; the nearest name is `{n}`"))
}

/// Gives an event a value.
#[inline]
pub(super) fn put(draft: &mut Draft<'_>, role: Role, value: Value<'_>) -> Result<(), BadEvent> {
    match role {
        Role::Ignore => {}
        Role::Input(column) => draft.set(column, value),
        Role::Label => draft.label(value),
        Role::Member(i) => draft.member(i, member(value)?),
        Role::Id => draft.id(value),
        Role::Time => draft.time(value),
        Role::Weight => draft.weight(weight(value)?),
    }
    Ok(())
}

/// Gives an event its label, where that is in several columns; all its values are read.
#[inline]
pub(super) fn finish(spec: &FormatSpec, mut draft: Draft<'_>) {
    if let (false, Some(separator)) = (spec.labels.is_empty(), spec.set_separator()) {
        draft.label_of(&spec.labels, separator);
    }
    draft.finish();
}

/// Whether a class is true.
fn member(value: Value<'_>) -> Result<Option<bool>, BadEvent> {
    let number = match value {
        Value::Missing => return Ok(None),
        Value::Number(n) => Some(n),
        Value::Text(text) => number::loose(text.as_bytes(), number::Style::default()),
    };
    match number {
        Some(1.0) => Ok(Some(true)),
        Some(0.0 | -1.0) => Ok(Some(false)),
        _ => {
            let found = match value {
                Value::Text(text) => format!("`{}`", short(text.as_bytes())),
                _ => number.unwrap_or(f64::NAN).to_string(),
            };
            Err(BadEvent::new(format!("{found} is neither 1 nor 0, and labels has its column")))
        }
    }
}

fn weight(value: Value<'_>) -> Result<f32, BadEvent> {
    match value {
        Value::Missing => Ok(1.0),
        Value::Number(n) if n >= 0.0 && n <= f64::from(f32::MAX) => Ok(n as f32),
        Value::Number(n) => Err(BadEvent::new(format!("weight {n} must be at least 0 and finite"))),
        Value::Text(text) => {
            Err(BadEvent::new(format!("weight `{}` is no number", short(text.as_bytes()))))
        }
    }
}
