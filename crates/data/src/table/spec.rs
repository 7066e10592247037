//! The options of a table.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidemill_table::{FeaturesSpec, Format, FormatSpec, Known};

use super::{TableDataset, read};
use crate::{Normalize, Result};

/// A table, such as `data = { csv = { path = "...", label = "class" } }`.
///
/// `[stream]` and `[online.features]` hold for tables too: how rows are written and how columns become
/// inputs. The keys here take precedence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// The file, plain or gzipped.
    pub path: String,
    /// The format. By default it follows from the name of the file, and is CSV for other names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Whether the first line names the columns. By default it does if none of its fields is a number
    /// or missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// The character between fields. By default `,`, and a tab for `tsv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// The column of the labels. By default `class`, `target`, `label` or `y`, whichever is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<ColumnName>,
    /// Whether labels are classes or values. By default what the loss compares with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_type: Option<LabelType>,
    /// Names of the classes in the order of their numbers; when left out, those found in the file,
    /// sorted. In validation data: what that file calls the classes of the training data, in their
    /// order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// The columns that are features; all but the label by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<ColumnName>>,
    /// Columns that are not features.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<ColumnName>,
    /// Columns that are categories even though their values are numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categorical: Vec<ColumnName>,
    /// Whether each category gets an input of its own. It does by default, see
    /// `online.features.text` for other encodings; `false` is not possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_hot: Option<bool>,
    /// Texts that stand for a missing value. By default those of `stream.missing` where that is given,
    /// else an empty field, `?`, `NA`, `N/A`, `NaN`, `nan` and `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_values: Option<Vec<String>>,
    /// What is done with a row that has a missing value.
    #[serde(default)]
    pub missing: Missing,
    /// What is done with a row that cannot be read.
    #[serde(default)]
    pub bad_rows: BadRows,
    /// Whether numbers are standardized: minus the mean, divided by the standard deviation of their
    /// column in the training data. By default as `online.features.standardize` says: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standardize: Option<bool>,
    /// Use only this many rows from the start; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How numbers are scaled instead of `standardize`, the same for all columns; not at all by
    /// default.
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

/// A column, by its name or its position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ColumnName {
    /// By position in a CSV file: 0 is the first column, -1 the last.
    Index(i64),
    /// By name; the columns of a file without a header are called `c1`, `c2` and so on.
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

/// The kind of the labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelType {
    /// Classes, numbered in the order of their sorted names; numbers sort as numbers.
    Class,
    /// A value to predict (regression).
    Value,
}

/// What is done with a row that has a missing value. A row without its label is always left out and
/// counted, or refused with `fail`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// A missing number is the mean of its column (0 where numbers are not standardized), a missing
    /// category is none of the categories; such rows are counted.
    #[default]
    Mean,
    /// The data is refused with an error that names the line.
    Fail,
    /// The row is left out and counted.
    Skip,
    /// A missing number becomes this number; a missing category is none of the categories.
    Fill(f64),
}

/// What is done with a row that cannot be read: one with too few or too many fields, with text in a
/// column of numbers, or of a class that the training data does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadRows {
    /// The data is refused with an error that names the line.
    #[default]
    Fail,
    /// The row is left out and counted.
    Skip,
}
