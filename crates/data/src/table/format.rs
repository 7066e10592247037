//! A table's options as those of `tidemill-table`: the same for the table and for a stream of its rows.

use std::path::Path;

use tidemill_table::formats::{is_blank, names};
use tidemill_table::{Categorical, FeaturesSpec, Format, FormatSpec, Standardize};

use super::records::Records;
use super::{ColumnName, LabelType, Missing, TableSpec};
use crate::{Error, Normalize, Result};

/// Names of columns, for options that give places.
#[derive(Debug)]
pub(super) struct Names {
    /// Of the file's columns in their order; empty for formats without rows.
    columns: Vec<String>,
    /// Those that are there more than once.
    doubled: Vec<String>,
    path: String,
}

impl TableSpec {
    /// How the rows of `path` are written.
    pub(super) fn format(&self, path: &Path) -> Format {
        let by_name = || Format::by_name(&path.display().to_string());
        self.format.or_else(by_name).or(self.context.stream.format).unwrap_or(Format::Csv)
    }

    /// How fields are written, without what depends on the columns' names.
    pub(super) fn plain(&self, format: Format) -> FormatSpec {
        let stream = self.context.stream.clone().for_format(format);
        let row = matches!(format, Format::Csv | Format::Tsv);
        FormatSpec {
            format: Some(format),
            delimiter: self.delimiter.or(stream.delimiter),
            header: self.header.or(stream.header),
            columns: if self.header == Some(true) && row { None } else { stream.columns.clone() },
            missing: self.missing_values.clone().unwrap_or_else(|| stream.missing.clone()),
            label_separator: self.label_separator.or(stream.label_separator),
            encoding: self.encoding.or(stream.encoding),
            decimal: self.decimal.or(stream.decimal),
            thousands: self.thousands.or(stream.thousands),
            skip_rows: self.skip_rows.or(stream.skip_rows),
            quote: self.quote.clone().or(stream.quote.clone()),
            unlabelled: self.context.unlabelled,
            section: "csv",
            ..stream
        }
    }

    /// How rows are written, where it is known what their columns are.
    pub(super) fn known_format(&self, path: &Path) -> FormatSpec {
        let mut spec = self.plain(self.format(path));
        let named = self.categorical.iter().filter_map(|column| match column {
            ColumnName::Name(name) => Some(name.clone()),
            ColumnName::Index(_) => None,
        });
        spec.text.extend(named);
        spec.text.extend(self.context.features.categorical.keys().cloned());
        spec
    }

    /// What labels are.
    pub(super) fn label_type(&self) -> LabelType {
        let default = if self.context.values { LabelType::Value } else { LabelType::Class };
        self.label_type.unwrap_or(default)
    }

    /// How rows are written, and what their columns are.
    pub(super) fn format_spec(&self, format: Format, names: &Names) -> Result<FormatSpec> {
        let mut spec = FormatSpec { by_place: true, ..self.plain(format) };
        if let Some(label) = &self.label {
            spec.label = Some(names.find("label", label)?);
        }
        if !self.labels.is_empty() {
            spec.labels = names.find_all("labels", &self.labels)?;
        }
        spec.check(format).map_err(|e| Error::option(format!("{}: {e}", self.path)))?;
        if let Some(features) = &self.features {
            let inputs = names.find_all("features", features)?;
            if let Some(label) = spec.label.iter().chain(&spec.labels).find(|l| inputs.contains(l))
            {
                return Err(Error::option(format!(
                    "{}: features has the label's column \"{label}\"; take it out",
                    self.path
                )));
            }
            spec.inputs = Some(inputs);
        }
        let excluded = names.find_all("exclude", &self.exclude)?;
        if let Some(inputs) = &mut spec.inputs {
            inputs.retain(|name| !excluded.contains(name));
        }
        spec.ignore.extend(excluded);
        self.set_group(&mut spec, names)?;
        // A category is its text, also where that looks like a number.
        spec.text.extend(names.find_all("categorical", &self.categorical)?);
        spec.text.extend(self.context.features.categorical.keys().cloned());
        Ok(spec)
    }

    /// Reads the column that names groups as the id of a row, which is a text and no input.
    pub(super) fn set_group(&self, spec: &mut FormatSpec, names: &Names) -> Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        let option = |what: &str| Err(Error::option(format!("{}: group {what}", self.path)));
        if self.validation_split.is_none() {
            return option("needs validation_split, whose sides it keeps groups on");
        }
        let name = names.find("group", group)?;
        if spec.label.as_ref() == Some(&name) {
            return option("is the label's column; name another one");
        }
        if spec.inputs.as_ref().is_some_and(|inputs| inputs.contains(&name)) {
            return option(&format!(
                "is the column \"{name}\", which features has too; take it out there"
            ));
        }
        spec.id = Some(name);
        Ok(())
    }

    /// How columns become inputs.
    pub(super) fn features_spec(&self, names: &Names) -> Result<FeaturesSpec> {
        let mut features = self.context.features.clone();
        match self.one_hot {
            Some(true) if !matches!(features.text, Categorical::Dictionary { .. }) => {
                features.text = FeaturesSpec::default().text;
            }
            Some(false) => {
                return Err(Error::option(format!(
                    "{}: one_hot = false: the number of a category is no input any more; leave it \
                     out, or give columns rows of embeddings in [online.features] categorical",
                    self.path
                )));
            }
            _ => {}
        }
        for name in names.find_all("categorical", &self.categorical)? {
            features.categorical.entry(name).or_insert(features.text);
        }
        match (self.standardize, &self.normalize) {
            (Some(true), Some(_)) => {
                return Err(Error::option(format!(
                    "{}: standardize and normalize exclude each other; leave one out",
                    self.path
                )));
            }
            (_, Some(normalize)) => features.standardize = self.scale(normalize)?,
            (Some(true), None) => features.standardize = Standardize::Running,
            (Some(false), None) => features.standardize = Standardize::None,
            (None, None) => {}
        }
        if let Missing::Fill(value) = self.missing {
            features.fill = Some(value);
        }
        Ok(features)
    }

    fn scale(&self, normalize: &Normalize) -> Result<Standardize> {
        let one = |key: &str, values: &[f32], default: f32| match *values {
            [] => Ok(f64::from(default)),
            [value] => Ok(f64::from(value)),
            _ => Err(Error::option(format!(
                "{}: normalize.{key} has {} values; a table takes one for all columns: standardize \
                 gives each its own",
                self.path,
                values.len()
            ))),
        };
        let (mean, std) = (one("mean", &normalize.mean, 0.0)?, one("std", &normalize.std, 1.0)?);
        // For its checks of the values.
        normalize.compile(1, 1.0)?;
        let scale = f64::from(normalize.scale.unwrap_or(1.0));
        Ok(Standardize::Scale { multiply: scale / std, add: -mean / std })
    }

    /// What a stream of such rows in `format` is like, where `[stream]` does not say it.
    ///
    /// # Errors
    /// If a column is given by its place, which a stream does not know: a sentence that goes on from
    /// `batch.data.csv`.
    pub fn for_stream(&self, stream: &FormatSpec, format: Format) -> Result<FormatSpec, String> {
        let named = |key: &str, column: &ColumnName| match column {
            ColumnName::Name(name) => Ok(name.clone()),
            ColumnName::Index(i) => Err(format!(
                ".{key} = {i} is a place, and a stream needs names; set {} in [stream]",
                if key == "label" { "label" } else { "ignore and text" }
            )),
        };
        let all = |key: &str, columns: &[ColumnName]| -> Result<Vec<String>, String> {
            columns.iter().map(|c| named(key, c)).collect()
        };
        let default = FormatSpec::default();
        let mut spec = stream.clone().for_format(format);
        if matches!(format, Format::Csv | Format::Tsv) {
            spec.delimiter = spec.delimiter.or(self.delimiter);
            spec.header = spec.header.or(self.header.filter(|_| spec.columns.is_none()));
            spec.decimal = spec.decimal.or(self.decimal);
            spec.thousands = spec.thousands.or(self.thousands);
            spec.skip_rows = spec.skip_rows.or(self.skip_rows);
            spec.quote = spec.quote.or_else(|| self.quote.clone());
        }
        spec.encoding = spec.encoding.or(self.encoding);
        spec.label_separator = spec.label_separator.or(self.label_separator);
        if spec.labels.is_empty() {
            spec.labels = all("labels", &self.labels)?;
        }
        if spec.missing == default.missing {
            spec.missing = self.plain(format).missing;
        }
        let sparse = matches!(format, Format::Vw | Format::Libsvm);
        if spec.label.is_none() && !sparse {
            spec.label = match &self.label {
                // The last column is what a stream takes by itself.
                Some(ColumnName::Index(-1)) | None => None,
                Some(label) => Some(named("label", label)?),
            };
        }
        if spec.ignore.is_empty() {
            spec.ignore = all("exclude", &self.exclude)?;
            spec.ignore.extend(self.group.as_ref().map(|g| named("group", g)).transpose()?);
        }
        if spec.columns.is_none() {
            spec.inputs = self.features.as_deref().map(|f| all("features", f)).transpose()?;
        }
        spec.text.extend(all("categorical", &self.categorical)?);
        Ok(spec)
    }

    /// How the columns of a stream of such rows become inputs.
    ///
    /// # Errors
    /// If the options exclude each other or a column is given by its place.
    pub fn for_stream_features(&self) -> Result<FeaturesSpec> {
        self.features_spec(&Names {
            columns: Vec::new(),
            doubled: Vec::new(),
            path: self.path.clone(),
        })
    }
}

impl Names {
    /// The names of the columns of a file of rows, by its first record after `plain.skip_rows`.
    pub(super) fn read(plain: &FormatSpec, format: Format, path: &Path) -> Result<Names> {
        let path_text = path.display().to_string();
        let mut own = Names { columns: Vec::new(), doubled: Vec::new(), path: path_text };
        if !matches!(format, Format::Csv | Format::Tsv) {
            return Ok(own);
        }
        let plain =
            FormatSpec { label: None, labels: Vec::new(), id: None, weight: None, ..plain.clone() };
        let mut records = Records::open(path, format, quotes(&plain, format))?;
        let mut skip = plain.skip_rows.unwrap_or(0);
        let first = loop {
            match records.next()? {
                None => return Err(Error::format(path, "is empty")),
                Some(_) if skip > 0 => skip -= 1,
                Some(first) if is_blank(first.bytes) => {}
                Some(first) => break (first.bytes.to_vec(), first.line),
            }
        };
        let found = names(&plain, format, &first.0);
        (own.columns, own.doubled) = found.map_err(|bad| Error::Row {
            path: path.to_owned(),
            line: first.1,
            what: bad.reason,
        })?;
        Ok(own)
    }

    /// The name of the column that an option names.
    fn find(&self, option: &str, name: &ColumnName) -> Result<String> {
        let (n, path) = (self.columns.len(), &self.path);
        match name {
            ColumnName::Name(name) if self.doubled.contains(name) => Err(Error::option(format!(
                "{path}: {option}: two columns are called \"{name}\"; give the place of the one that \
                 is meant (0 is the first, -1 the last)"
            ))),
            ColumnName::Name(name) if n == 0 || self.columns.contains(name) => Ok(name.clone()),
            ColumnName::Name(name) => {
                let mut list = self.columns.iter().take(12).cloned().collect::<Vec<_>>().join(", ");
                if n > 12 {
                    list.push_str(", ...");
                }
                Err(Error::option(format!(
                    "{path}: {option}: there is no column \"{name}\"; the columns are {list}"
                )))
            }
            &ColumnName::Index(i) if n == 0 => Err(Error::option(format!(
                "{path}: {option}: {i} is a place, which only CSV has; give the column's name"
            ))),
            &ColumnName::Index(i) => {
                let place = if i < 0 { i + n as i64 } else { i };
                usize::try_from(place)
                    .ok()
                    .and_then(|place| self.columns.get(place).cloned())
                    .ok_or_else(|| {
                        Error::option(format!(
                            "{path}: {option}: there is no column {i}; the table has {n}"
                        ))
                    })
            }
        }
    }

    /// The place of a column that is passed on.
    pub(super) fn place(&self, name: &str) -> Result<usize> {
        self.find("--keep", &ColumnName::from(name))?;
        Ok(self.columns.iter().position(|column| column == name).unwrap_or(0))
    }

    fn find_all(&self, option: &str, names: &[ColumnName]) -> Result<Vec<String>> {
        names.iter().map(|name| self.find(option, name)).collect()
    }
}

/// What is between the fields of a row and around them, where fields may be quoted.
pub(super) fn quotes(spec: &FormatSpec, format: Format) -> Option<(u8, u8)> {
    let default = match format {
        Format::Csv => ',',
        // Between tabs a quote is mostly a character, and no field continues in the next line.
        _ => return None,
    };
    let delimiter = spec.delimiter.unwrap_or(default);
    if delimiter == '\t' {
        return None;
    }
    u8::try_from(delimiter).ok().zip(spec.quote_byte())
}
