//! What a table or stream was understood to be, for people and programs.

use serde::{Deserialize, Serialize};

use crate::events::{Events, Schema, Value};
use crate::features::{Encoder, Labels};
use crate::formats::{FormatSpec, short};

/// Columns shown to people; a program gets all.
const FEW: usize = 24;

/// What columns and labels were taken for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Understood {
    /// The input columns.
    pub columns: Vec<Column>,
    /// Numbers of the input vector, 0 for none.
    #[serde(default)]
    pub vector: usize,
    /// The column or key of the label.
    pub label: Option<String>,
    /// The classes in the order of the outputs; empty for numbers, and while none is known.
    pub classes: Vec<String>,
    /// Whether labels are numbers to be predicted.
    #[serde(default)]
    pub values: bool,
    /// The class that binary figures are about.
    pub positive_class: Option<String>,
    /// Whether any number of the classes is true of a sample.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sets: bool,
    /// Texts that stand for a missing value, where the recipe says it.
    pub missing: Vec<String>,
    /// The columns of id, time and weight.
    pub id: Option<String>,
    /// See `id`.
    pub time: Option<String>,
    /// See `id`.
    pub weight: Option<String>,
    /// Columns of rows that are not used.
    pub ignored: Vec<String>,
    /// What is between fields, where rows have such.
    pub delimiter: Option<char>,
}

/// A column that is an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it is taken for: see [`crate::ColumnKind`]; `feature` of a hashed model.
    pub kind: String,
    /// Inputs that it makes.
    pub inputs: usize,
    /// The first value that is not missing.
    pub sample: String,
}

impl Understood {
    /// What `spec` and what was learned say; `first` has the first events, for samples.
    pub fn new(
        spec: &FormatSpec,
        schema: &Schema,
        encoder: Option<&Encoder>,
        labels: Option<&Labels>,
        first: Option<&Events>,
    ) -> Understood {
        let kinds = encoder.map(Encoder::kinds).unwrap_or_default();
        let sample = |index: usize| {
            let first = first?;
            (0..first.len()).find_map(|i| match first.get(i).value(index) {
                Value::Missing => None,
                Value::Number(n) => Some(number(n)),
                Value::Text(text) => Some(short(text.as_bytes())),
            })
        };
        let column = |(index, name): (usize, &String)| {
            let kind = kinds.iter().find(|kind| kind.name == *name);
            Column {
                name: name.clone(),
                kind: kind.map_or_else(|| "feature".to_owned(), |kind| kind.kind.clone()),
                inputs: kind.map_or(1, |kind| kind.inputs),
                sample: sample(index).unwrap_or_default(),
            }
        };
        let roles = [&schema.label, &spec.id, &spec.time, &spec.weight];
        let used = |name: &String| {
            schema.columns.contains(name)
                || spec.labels.contains(name)
                || roles.into_iter().any(|r| r.as_ref() == Some(name))
        };
        let default = spec.missing == FormatSpec::default().missing;
        let delimiter = schema.delimiter.or(spec.delimiter).filter(|_| !schema.row.is_empty());
        Understood {
            columns: schema.columns.iter().enumerate().map(column).collect(),
            vector: schema.vector,
            label: match spec.labels.is_empty() {
                true => schema.label.clone(),
                false => Some("in columns of their own".to_owned()),
            },
            sets: labels.is_some_and(|labels| labels.separator().is_some()),
            classes: labels.map(Labels::names).unwrap_or_default(),
            values: matches!(labels, Some(Labels::Values(_))),
            positive_class: labels.and_then(Labels::positive_name),
            missing: if default { Vec::new() } else { spec.missing.clone() },
            id: spec.id.clone(),
            time: spec.time.clone(),
            weight: spec.weight.clone(),
            ignored: schema.row.iter().map(|f| &f.name).filter(|n| !used(n)).cloned().collect(),
            delimiter,
        }
    }

    /// For people: short aligned lines.
    pub fn lines(&self) -> Vec<String> {
        let width = |f: &dyn Fn(&Column) -> usize| self.columns.iter().take(FEW).map(f).max();
        let names = width(&|c| c.name.chars().count()).unwrap_or(0).min(30);
        let kinds = width(&|c| c.kind.chars().count()).unwrap_or(0);
        let mut lines = Vec::new();
        for (i, column) in self.columns.iter().take(FEW).enumerate() {
            let head = if i == 0 { "columns" } else { "" };
            let inputs = match column.inputs {
                1 => String::new(),
                n => format!("  ({n} inputs)"),
            };
            let Column { name, kind, sample, .. } = column;
            let line = format!("{head:9}{name:names$}  {kind:kinds$}  {sample}{inputs}");
            lines.push(line.trim_end().to_owned());
        }
        if self.columns.len() > FEW {
            lines.push(format!("{:9}... and {} more", "", self.columns.len() - FEW));
        }
        if self.vector > 0 {
            lines.push(format!("vector   {} numbers", self.vector));
        }
        if let Some(label) = &self.label {
            let what = match (self.values, self.classes.is_empty()) {
                (true, _) => "numbers".to_owned(),
                (_, true) => "classes, none seen yet".to_owned(),
                _ if self.sets => format!("any number of the classes {}", list(&self.classes)),
                _ => format!("classes {}", list(&self.classes)),
            };
            lines.push(format!("label    {label}  {what}"));
        }
        for (head, name) in [("id", &self.id), ("time", &self.time), ("weight", &self.weight)] {
            lines.extend(name.iter().map(|name| format!("{head:9}{name}")));
        }
        for (head, names) in [("missing", &self.missing), ("ignored", &self.ignored)] {
            if !names.is_empty() {
                lines.push(format!("{head:9}{}", list(names)));
            }
        }
        lines
    }
}

/// A number in few characters.
fn number(n: f64) -> String {
    let plain = n.to_string();
    if plain.len() > 12 { format!("{n:.6e}") } else { plain }
}

fn list(names: &[String]) -> String {
    let shown = |name: &'static str, own: &String| {
        if own.is_empty() { name.to_owned() } else { short(own.as_bytes()) }
    };
    let few: Vec<String> = names.iter().take(12).map(|own| shown("(empty)", own)).collect();
    let more = if names.len() > few.len() { ", ..." } else { "" };
    format!("{}{more}", few.join(", "))
}
