//! The options of a table.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidemill_table::{Encoding, FeaturesSpec, Format, FormatSpec, Known};

use super::{TableDataset, TableInputs, read};
use crate::images::{Share, Subset};
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
    /// The format of the rows. By default it follows from the name of the file, else CSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Whether the first line names the columns. By default the rows after it tell: a text above numbers
    /// is a name, one that comes again below is a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// The character between fields. By default a tab for TSV, else what cuts all rows alike: a comma,
    /// semicolon, tab or `|`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// How texts are written: `"utf-8"` or `"latin1"`. By default UTF-8, UTF-16 where the file begins
    /// with its byte order mark, and Windows-1252 for single values that are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// The character before the decimals of numbers; by default as `stream.decimal` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimal: Option<char>,
    /// The character between groups of three digits; by default as `stream.thousands` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thousands: Option<char>,
    /// Rows at the start that are not part of the table; by default as `stream.skip_rows` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_rows: Option<usize>,
    /// The character around fields; by default as `stream.quote` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// The column of the labels. By default `class`, `target`, `label` or `y`, whichever is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<ColumnName>,
    /// Where any number of classes is true of a row: the character between their names in the label, such as `;`. By default as
    /// `stream.label_separator` says, else a label is one class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_separator: Option<char>,
    /// The columns of the classes, where any number of them is true of a row and each has a column of 1 and 0; in place of `label`. By default
    /// as `stream.labels` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<ColumnName>,
    /// Whether labels are classes or values. By default what the loss compares with, else classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_type: Option<LabelType>,
    /// Names of the classes in the order of their numbers; when left out, those found in the file,
    /// sorted. In validation data: the names that the file uses, in the order of the training
    /// data's classes.
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
    /// Whether each category has an input of its own. Yes by default; `online.features.text` has
    /// other encodings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_hot: Option<bool>,
    /// Texts and numbers that stand for a missing value. By default those of `stream.missing`: an
    /// empty field, `?`, `NA`, `N/A`, `#N/A`, `NaN`, `null`, `None` and their like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_values: Option<Vec<String>>,
    /// What is done with a row that has a missing value.
    #[serde(default)]
    pub missing: Missing,
    /// What is done with a row that cannot be read.
    #[serde(default)]
    pub bad_rows: BadRows,
    /// Whether numbers are standardized: minus the mean, divided by the standard deviation of their
    /// column in the training table. Yes by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standardize: Option<bool>,
    /// Whether values to be predicted are standardized too. Errors are in the units of the labels all the
    /// same, and so are predictions; the loss is that of standardized values. Not by default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scale_targets: bool,
    /// Use only this many rows from the start; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Share of the rows kept for validation, or a fold of them such as `"2/5"` (the second of five); needs `subset`. Not split by default. Columns are
    /// learned from the training rows alone, classes from all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<Share>,
    /// The side of the split that this data is. Required with `validation_split`, left out
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// Random seed of the split; 0 by default.
    #[serde(default)]
    pub seed: u32,
    /// The column whose equal values stay on one side of the split, such as a patient or a shop; it is no feature. Which side
    /// a group is on follows from its value and the seed. None by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<ColumnName>,
    /// Instead of `standardize`: `(number * scale - mean) / std`, the same for all columns; off by
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
            encoding: None,
            decimal: None,
            thousands: None,
            skip_rows: None,
            quote: None,
            label: None,
            label_separator: None,
            labels: Vec::new(),
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
            scale_targets: false,
            limit: None,
            validation_split: None,
            subset: None,
            seed: 0,
            group: None,
            normalize: None,
            context: Box::default(),
        }
    }

    /// Takes all rows of the file, on neither side of a split.
    pub fn take_all(&mut self) {
        (self.limit, self.validation_split, self.subset) = (None, None, None);
        self.group = None;
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

/// The type of the labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelType {
    /// Classes, numbered by their sorted names (numbers sort as numbers).
    Class,
    /// A value to be predicted (regression).
    Value,
}

/// What is done with a row that has a missing value. A row with a missing label is left out and
/// counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// A missing number is the mean of its column (0 if numbers are not standardized), a missing
    /// category none of the categories. The rows are counted, and so are values of a column of numbers
    /// that are none, which are missing.
    #[default]
    Mean,
    /// The run fails with an error that names the line.
    Fail,
    /// The row is left out and counted.
    Skip,
    /// The number takes the place of a missing number; a missing category is none of the
    /// categories.
    Fill(f64),
}

/// What is done with a row that cannot be read: too few or too many fields, a class that the training
/// data does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadRows {
    /// The run fails with an error that names the line.
    #[default]
    Fail,
    /// The row is left out and counted.
    Skip,
}
