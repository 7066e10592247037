//! The options of a table.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{CsvSchema, read};
use crate::{MemoryDataset, Normalize, Result};

/// `data = { csv = { path = "...", label = "class" } }`.
///
/// Columns whose values are numbers (but for at most one in ten) are numbers; others are
/// categories and become the number of their name among the sorted names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CsvSpec {
    /// The file, plain or gzipped.
    pub path: String,
    /// Whether the first line names the columns.
    #[serde(default = "yes")]
    pub header: bool,
    /// The character between fields.
    #[serde(default = "comma")]
    pub delimiter: char,
    /// The column of the labels. May be left out for data to predict on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<ColumnName>,
    /// Whether labels are classes or values. By default classes, even if they are numbers.
    #[serde(default)]
    pub label_type: LabelType,
    /// Names of the classes in the order of their numbers; when left out, those found in the file,
    /// sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// The columns that are features, in this order; all but the label by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<ColumnName>>,
    /// Columns that are not features.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<ColumnName>,
    /// Columns that are categories even though their values are numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categorical: Vec<ColumnName>,
    /// Whether each category gets a feature of its own, 1 or 0, instead of a number.
    #[serde(default)]
    pub one_hot: bool,
    /// Texts that stand for a missing value.
    #[serde(default = "missing_values")]
    pub missing_values: Vec<String>,
    /// What is done with a row that has a missing value.
    #[serde(default)]
    pub missing: Missing,
    /// What is done with a row that cannot be read.
    #[serde(default)]
    pub bad_rows: BadRows,
    /// Whether numbers are standardized: minus the mean, divided by the standard deviation of their
    /// column in the training data.
    #[serde(default)]
    pub standardize: bool,
    /// Use only this many rows from the start; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How features are scaled, after `standardize`; not at all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
}

fn yes() -> bool {
    true
}

fn comma() -> char {
    ','
}

fn missing_values() -> Vec<String> {
    ["", "?", "NA", "N/A", "NaN", "nan", "null"].map(String::from).to_vec()
}

impl CsvSpec {
    /// The options for `path` when nothing else is said.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            header: true,
            delimiter: ',',
            label: None,
            label_type: LabelType::default(),
            class_names: Vec::new(),
            features: None,
            exclude: Vec::new(),
            categorical: Vec::new(),
            one_hot: false,
            missing_values: missing_values(),
            missing: Missing::default(),
            bad_rows: BadRows::default(),
            standardize: false,
            limit: None,
            normalize: None,
        }
    }

    /// Reads the table; `resolve` finds a named path, `like` is the schema of the training set.
    pub fn open(
        &self,
        resolve: &dyn Fn(&str) -> PathBuf,
        like: Option<&CsvSchema>,
    ) -> Result<MemoryDataset> {
        read::open(self, &resolve(&self.path), like)
    }
}

/// A column by its name or its place: 0 is the first, -1 the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ColumnName {
    /// By place.
    Index(i64),
    /// By name, for tables with a header.
    Name(String),
}

impl From<&str> for ColumnName {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<i64> for ColumnName {
    fn from(index: i64) -> Self {
        Self::Index(index)
    }
}

/// The type of the labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelType {
    /// Classes, numbered by their sorted names (numbers sort as numbers).
    #[default]
    Class,
    /// A value to be predicted (regression).
    Value,
}

/// What is done with a row that has a missing value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The run fails with an error that names the line.
    #[default]
    Fail,
    /// The row is left out and counted.
    Skip,
    /// The number takes the place of a missing number; a missing category is a category of its own.
    /// A row with a missing label is left out and counted.
    Fill(f32),
}

/// What is done with a row that cannot be read: too few or too many fields, text in a column of
/// numbers, a category that the training data does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadRows {
    /// The run fails with an error that names the line.
    #[default]
    Fail,
    /// The row is left out and counted.
    Skip,
}
