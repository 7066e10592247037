//! The options of a table.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidemill_table::{FeaturesSpec, Format, FormatSpec, Known};

use super::{TableDataset, TableInputs, read};
use crate::{Normalize, Result};

/// `data = { csv = { path = "...", label = "class" } }`.
///
/// What a recipe says in `[stream]` about how rows are written, and in `[online.features]` about how
/// columns become inputs, holds for tables as well; these keys come first where both say something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// The file, plain or gzipped.
    pub path: String,
    /// How rows are written. Default: by the name of the file, else CSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Whether the first line names the columns. Default: if none of its fields is a number or missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// The character between fields. Default: a comma, or a tab for TSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// The column of labels. Default: `class`, `target`, `label` or `y`, whichever there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<ColumnName>,
    /// Whether labels are classes or values. Default: what the loss compares with, else classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_type: Option<LabelType>,
    /// Names of the classes in the order of their numbers; sorted as found when left out. In
    /// validation data: what the classes are called in that file, in the order of the training data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// The columns that are features; all but the label when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<ColumnName>>,
    /// Columns left out of the features.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<ColumnName>,
    /// Columns that are categories although they look like numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categorical: Vec<ColumnName>,
    /// Whether each category has an input of its own; yes by default, see
    /// `[online.features] text` for other ways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_hot: Option<bool>,
    /// What stands for a missing value. Default: an empty field, `?`, `NA`, `N/A`, `NaN`, `nan` and
    /// `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_values: Option<Vec<String>>,
    /// What happens to a row with a missing value.
    #[serde(default)]
    pub missing: Missing,
    /// What happens to a row that cannot be understood.
    #[serde(default)]
    pub bad_rows: BadRows,
    /// Whether the mean of each column of numbers is subtracted and its deviation divides; both are
    /// taken from the training table. Yes by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standardize: Option<bool>,
    /// Use only the first so many rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Instead of `standardize`: `(number * scale - mean) / std`, the same for all columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// What else the recipe says about the table.
    #[serde(skip)]
    pub context: Box<Context>,
}

/// What a recipe says about a table elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// `[stream]`
    pub stream: FormatSpec,
    /// `[online.features]`
    pub features: FeaturesSpec,
    /// Whether the loss compares with values instead of classes.
    pub values: bool,
    /// Whether labels are not wanted, and need not be there.
    pub unlabelled: bool,
    /// What a model with named inputs reads of a row.
    pub inputs: TableInputs,
}

impl TableSpec {
    /// The options for `path` when nothing else is said.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            format: None,
            header: None,
            delimiter: None,
            label: None,
            label_type: None,
            class_names: Vec::new(),
            features: None,
            exclude: Vec::new(),
            categorical: Vec::new(),
            one_hot: None,
            missing_values: None,
            missing: Missing::default(),
            bad_rows: BadRows::default(),
            standardize: None,
            limit: None,
            normalize: None,
            context: Box::default(),
        }
    }

    /// Reads the table; `resolve` finds a named path. `known` is what was learned of the training
    /// table; without it this is the training table.
    ///
    /// # Errors
    /// If the file cannot be read, an option does not fit it, or a row is bad and not to be left out.
    pub fn open(
        &self,
        resolve: &dyn Fn(&str) -> PathBuf,
        known: Option<&Known>,
    ) -> Result<TableDataset> {
        read::open(self, &resolve(&self.path), known)
    }
}

/// A column by its name or its place: 0 is the first, -1 the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ColumnName {
    /// By place, in CSV.
    Index(i64),
    /// By name; columns without a header are `c1`, `c2`, ...
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

/// What labels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelType {
    /// Classes, numbered by their sorted names (numbers sort as numbers).
    Class,
    /// A value to be predicted (regression).
    Value,
}

/// What happens to a row with a missing value. A missing label is never made up: its row is left out
/// and counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// A missing number is the mean of its column (0 where numbers are not standardized), a missing
    /// category none of the categories. The rows are counted.
    #[default]
    Mean,
    /// The data is refused, with the line.
    Fail,
    /// The row is left out and counted.
    Skip,
    /// A number is put in its place; a missing category is none of the categories.
    Fill(f64),
}

/// What happens to a row that cannot be understood: too few or too many fields, text in a column
/// of numbers, a class that the training set does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadRows {
    /// The data is refused, with the line.
    #[default]
    Fail,
    /// The row is left out and counted.
    Skip,
}
