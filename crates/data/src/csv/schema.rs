//! What the columns of a table mean, as found in the training set.

use serde::{Deserialize, Serialize};

/// The meaning of a table's columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CsvSchema {
    /// The number of fields of a row.
    pub num_fields: usize,
    /// The feature columns, in the order of the features.
    pub columns: Vec<Column>,
    /// The label column.
    pub label: Option<LabelColumn>,
}

/// A feature column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name; the place as text where the table has no header.
    pub name: String,
    /// Its place in the row, from 0.
    pub index: usize,
    /// What its values are.
    pub kind: ColumnKind,
}

/// What the values of a column are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ColumnKind {
    /// Numbers; `(value - mean) / std` is the feature.
    Number {
        /// Subtracted; 0 unless standardized.
        mean: f32,
        /// Divides; 1 unless standardized.
        std: f32,
    },
    /// Sorted names; the feature is the number of the name, or one feature for each name.
    Category {
        /// The names.
        names: Vec<String>,
        /// Whether each name has a feature of its own.
        one_hot: bool,
    },
}

impl Column {
    /// The number of features that the column becomes.
    pub fn width(&self) -> usize {
        match &self.kind {
            ColumnKind::Number { .. } => 1,
            ColumnKind::Category { names, one_hot: true } => names.len(),
            ColumnKind::Category { one_hot: false, .. } => 1,
        }
    }
}

/// The label column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelColumn {
    /// Its name; the place as text where the table has no header.
    pub name: String,
    /// Its place in the row, from 0.
    pub index: usize,
    /// Names of the classes; none for values.
    pub classes: Option<Vec<String>>,
}

impl CsvSchema {
    /// The number of features of a row.
    pub fn num_features(&self) -> usize {
        self.columns.iter().map(Column::width).sum()
    }
}
