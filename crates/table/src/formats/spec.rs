//! What a recipe says about the format of a stream.

use serde::{Deserialize, Serialize};

use super::number::Style;
use super::row::Role;
use crate::error::{Error, Result};

/// The format of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Comma-separated values as in RFC 4180, one event per line.
    Csv,
    /// The same, separated by tabs.
    Tsv,
    /// One JSON object per line.
    #[serde(alias = "ndjson", alias = "jsonl", alias = "json")]
    JsonLines,
    /// Vowpal Wabbit's text format: `label |namespace feature:value ...`.
    Vw,
    /// The libsvm format: `label index:value ...`.
    Libsvm,
    /// Weka's ARFF: a header of attributes, then rows, dense or sparse.
    Arff,
    /// Arrow IPC, stream or file. Needs a build with the feature `arrow`.
    Arrow,
}

impl Format {
    /// By the name of a file or address; what compresses it (`.gz`) is no matter.
    pub fn by_name(name: &str) -> Option<Format> {
        let name = name.split(['?', '#']).next().unwrap_or(name).to_ascii_lowercase();
        let name =
            [".gz", ".zst", ".bz2"].iter().find_map(|e| name.strip_suffix(e)).unwrap_or(&name);
        let (_, ending) = name.rsplit_once('.')?;
        Some(match ending {
            // Those of Parquet are read as rows of CSV.
            "csv" | "data" | "parquet" | "pq" => Format::Csv,
            "tsv" => Format::Tsv,
            "json" | "jsonl" | "ndjson" => Format::JsonLines,
            "vw" => Format::Vw,
            "libsvm" | "svm" | "svmlight" => Format::Libsvm,
            "arff" => Format::Arff,
            "arrow" | "arrows" | "feather" | "ipc" => Format::Arrow,
            _ => return None,
        })
    }
}

/// The keys of `[stream]` that say how events are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FormatSpec {
    /// The format. By default it follows from the name of the file.
    pub format: Option<Format>,
    /// The character between the fields of a row, one ASCII character. By default `,`, and a tab
    /// for `tsv`.
    pub delimiter: Option<char>,
    /// Whether the first row of a file names the columns. By default it does if none of its fields
    /// is a number or missing; if the names are known already (from `columns` or a resumed run), if
    /// it contains one of them.
    pub header: Option<bool>,
    /// CSV: names of the columns of a file without a header, by default `c1`, `c2` and so on. JSON:
    /// the keys that are inputs, nested ones as a dotted path; by default those of the first event.
    pub columns: Option<Vec<String>>,
    /// Column or key of the label. By default `class`, `target`, `label` or `y`, whichever is
    /// there; if none is, the last column.
    pub label: Option<String>,
    /// Where any number of classes is true of an event: the character between their names in the label, such as `;`. In JSON the
    /// label may be an array of names as well. The loss is then `binary_crossentropy`, with an output for each class. None by
    /// default: a label is one class.
    pub label_separator: Option<char>,
    /// The same where each class has a column or key of its own, in place of `label`: their names, which are those of the classes.
    /// Their values are 1 or 0 (or -1), `true` or `false`; an event without one of them has no label. `label_separator`
    /// beside it is what is between the classes in predictions (`;` by default). None by default.
    pub labels: Vec<String>,
    /// Column or key of the id by which a later label refers to its event. None by default.
    pub id: Option<String>,
    /// Column or key of the time of an event, which is no input; `online.labels.time` of a recipe.
    #[serde(skip)]
    pub time: Option<String>,
    /// Whether a record may have a label and no inputs, for an event that came without its label.
    #[serde(skip)]
    pub label_records: bool,
    /// Column or key of the weight of an event. By default all weights are 1.
    pub weight: Option<String>,
    /// JSON: key of an array of numbers, whose length is that of the first event. By default the
    /// first key that holds an array, if `columns` is not given.
    pub vector: Option<String>,
    /// JSON: key of an image, which is then the only input: the path of an image file, or the
    /// file's content in base64. None by default.
    pub image: Option<String>,
    /// The most pixels that an image of an event may have; more are refused by the head of the file. By default 64 times
    /// those of the model's input, at least a million and at most four, and fewer in very small files.
    pub image_pixels: Option<u64>,
    /// Folder that the paths of images are relative to; by default the folder of the recipe.
    pub image_folder: Option<String>,
    /// Columns or keys that are not inputs.
    pub ignore: Vec<String>,
    /// Columns or keys that are text even if they look like numbers, such as ids and postal codes.
    pub text: Vec<String>,
    /// Texts and numbers that stand for a missing value, such as `"-999"`. By default those of pandas
    /// (an empty field, `NA`, `N/A`, `#N/A`, `NaN`, `null`, `None` and their like), `?`, `\N` (PostgreSQL), and the errors of
    /// Excel (`#DIV/0!`, `#VALUE!` and their like).
    pub missing: Vec<String>,
    /// How texts are written. By default UTF-8, UTF-16 where a file begins with its byte order mark,
    /// and Windows-1252 for single values that are not UTF-8, which are counted.
    pub encoding: Option<Encoding>,
    /// The character before the decimals, `.` or `,`. By default `.`, and `,` as well where it is not
    /// the delimiter; `,` alone where `thousands` is `.`, and `.` alone where it is `,`.
    pub decimal: Option<char>,
    /// The character between groups of three digits, such as `,`, `.` or a space. By default `,` within
    /// quotes where it is the delimiter too, `.` or `,` in a number that has both, and what the values at
    /// the start of a file show.
    pub thousands: Option<char>,
    /// Signs of currencies, of per cent and of units that stand before or behind numbers and are no part of them, such as
    /// `["$", "%", "kg"]`. By default a sign like `$` or `%` that all values of a column have at the start of a file.
    pub units: Vec<String>,
    /// Rows at the start of a file that are not part of the table, such as a title. By default those
    /// before the first row that has as many fields as the rows after it, and a title that is padded with
    /// delimiters, before a row of names.
    pub skip_rows: Option<usize>,
    /// The character around fields that hold delimiters or line ends; `""` for none. By default `"`.
    pub quote: Option<String>,
    /// The columns or keys that are inputs, in this order. Default: all that are nothing else.
    #[serde(skip)]
    pub inputs: Option<Vec<String>>,
    /// Whether no label is needed, as for predictions: what labels and weights hold is not read, and rows of a file without a
    /// header may be without the label, one field shorter.
    #[serde(skip)]
    pub unlabelled: bool,
    /// Whether `text` has all columns of texts that are known, since someone looked at the file first:
    /// then the first event does not decide it.
    #[serde(skip)]
    pub looked: bool,
    /// Whether rows may end before their last columns, which are missing then: so it is in a file of
    /// which many rows do, and between tabs.
    #[serde(skip)]
    pub short_rows: bool,
    /// Whether rows begin with a name of their own, which the header has no field for, as R writes them.
    #[serde(skip)]
    pub row_names: bool,
    /// Whether `label` and `inputs` were given by place, so that a name that is there twice is meant.
    #[serde(skip)]
    pub by_place: bool,
    /// Inputs that a model has; an event of numbers alone that makes fewer of them does not decide what
    /// the columns of a live stream are.
    #[serde(skip)]
    pub wants: Option<usize>,
    /// Whether records come from whoever sends some: then a header that lacks columns is set aside, and the one before
    /// it still counts.
    #[serde(skip)]
    pub live: bool,
    /// What groups digits in the file that the columns were learned from.
    #[serde(skip)]
    pub likely_thousands: Option<char>,
    /// The section of the recipe that has these keys, for messages.
    #[serde(skip)]
    pub section: &'static str,
}

/// How texts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// UTF-8 and nothing else.
    #[serde(rename = "utf-8", alias = "utf8")]
    Utf8,
    /// Windows-1252, of which Latin-1 is a part.
    #[serde(rename = "latin1", alias = "latin-1", alias = "windows-1252", alias = "iso-8859-1")]
    Latin1,
}

/// What stands for a missing value where nothing is said: the list of pandas, `?`, PostgreSQL's `\N`, and the errors of Excel.
pub const MISSING: [&str; 27] = [
    "", "?", "\\N", "#N/A", "#N/A N/A", "#NA", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!",
    "#VALUE!", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
];

impl Default for FormatSpec {
    fn default() -> FormatSpec {
        FormatSpec {
            format: None,
            delimiter: None,
            header: None,
            columns: None,
            label: None,
            label_separator: None,
            labels: Vec::new(),
            id: None,
            time: None,
            label_records: false,
            weight: None,
            vector: None,
            image: None,
            image_pixels: None,
            image_folder: None,
            ignore: Vec::new(),
            text: Vec::new(),
            missing: MISSING.map(String::from).to_vec(),
            encoding: None,
            decimal: None,
            thousands: None,
            units: Vec::new(),
            skip_rows: None,
            quote: None,
            inputs: None,
            unlabelled: false,
            looked: false,
            short_rows: false,
            row_names: false,
            by_place: false,
            wants: None,
            live: false,
            likely_thousands: None,
            section: "stream",
        }
    }
}

/// Names that mean the label where the recipe names none, the first of them first.
pub const LABELS: [&str; 4] = ["class", "target", "label", "y"];

impl FormatSpec {
    /// The format of the stream called `name`.
    ///
    /// # Errors
    /// If neither the recipe nor the name tells.
    pub fn format_of(&self, name: &str) -> Result<Format> {
        self.format.or_else(|| Format::by_name(name)).ok_or_else(|| {
            Error::Usage(format!(
                "{}.format: {name} does not tell its format; say \"csv\", \"tsv\", \
                 \"json_lines\", \"vw\", \"libsvm\", \"arff\" or \
                 \"arrow\"",
                self.section
            ))
        })
    }

    /// The same with what a look at a file has found of how it is written.
    pub fn written_as(self, found: &FormatSpec) -> FormatSpec {
        let FormatSpec { delimiter, header, skip_rows, short_rows, decimal, thousands, .. } =
            *found;
        let (row_names, units) = (found.row_names, found.units.clone());
        let own = FormatSpec { delimiter, header, skip_rows, decimal, thousands, ..self };
        FormatSpec { short_rows, row_names, units, ..own }
    }

    /// Whether what has this role is not needed, whatever it holds.
    pub(super) fn skips(&self, role: Role) -> bool {
        self.unlabelled && matches!(role, Role::Label | Role::Member(_) | Role::Weight)
    }

    /// What is between the classes of a label that has any number of them; none where a label is one class or value.
    pub fn set_separator(&self) -> Option<char> {
        self.label_separator.or((!self.labels.is_empty()).then_some(';'))
    }

    /// Without the keys that say how a format of another kind is written.
    pub fn for_format(mut self, format: Format) -> FormatSpec {
        let rows = |format| matches!(format, Format::Csv | Format::Tsv);
        if self.format.is_some_and(|own| rows(own) != rows(format)) {
            (self.delimiter, self.header, self.columns) = (None, None, None);
            (self.vector, self.image) = (None, None);
            (self.decimal, self.thousands, self.units) = (None, None, Vec::new());
            (self.skip_rows, self.quote) = (None, None);
        }
        self
    }

    /// Refuses keys that do not go together.
    pub fn check(&self, format: Format) -> Result<()> {
        let usage = |text: String| Err(Error::Usage(format!("{}.{text}", self.section)));
        let row = matches!(format, Format::Csv | Format::Tsv);
        let json = matches!(format, Format::JsonLines | Format::Arrow);
        if let Some(c) = self.delimiter {
            if !row {
                return usage(format!("delimiter: {format:?} has no delimiter; leave it out"));
            }
            if !c.is_ascii()
                || matches!(c, '"' | '\n' | '\r' | '.' | '-')
                || c.is_ascii_alphanumeric()
            {
                return usage(format!(
                    "delimiter must be one ASCII character that is in no number or name, \
                     found {c:?}"
                ));
            }
        }
        if row && self.header == Some(true) && self.columns.is_some() {
            return usage(
                "columns names the fields of rows without a header; leave it out, or set \
                 header = false; what is no input goes to ignore"
                    .into(),
            );
        }
        if self.vector.is_some() && !json {
            return usage(format!("vector: {format:?} has no arrays; leave it out"));
        }
        if self.image.is_some() && (!json || self.columns.is_some() || self.vector.is_some()) {
            return usage(format!(
                "image is for JSON and Arrow, and the only input ({format:?}); leave it out, \
                 or columns and vector"
            ));
        }
        if matches!(format, Format::Vw | Format::Libsvm) {
            let keys = [("label", &self.label), ("id", &self.id), ("weight", &self.weight)];
            if let Some((key, _)) = keys.iter().find(|(_, name)| name.is_some()) {
                return usage(format!("{key}: {format:?} has its own place for it; leave it out"));
            }
        }
        if !self.labels.is_empty() {
            if let Some(label) = &self.label {
                return usage(format!(
                    "labels: the columns that it names take the place of the label `{label}`; leave one out"
                ));
            }
            let mut names = self.labels.clone();
            names.sort();
            if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
                return usage(format!("labels: `{}` is there twice", pair[0]));
            }
            let by = self.set_separator().unwrap_or(';');
            if let Some(name) = self.labels.iter().find(|name| name.contains(by)) {
                return usage(format!(
                    "labels: {by:?} is between the names of classes in predictions, and `{name}` has it; set \
                     label_separator to another character"
                ));
            }
        }
        if let Some(c) = self.label_separator {
            if matches!(format, Format::Vw | Format::Libsvm) {
                return usage(format!(
                    "label_separator: {format:?} has numbers as labels; leave it out"
                ));
            }
            if c.is_alphanumeric() || c.is_control() || matches!(c, '"' | '-' | '_') {
                return usage(format!(
                    "label_separator must be one character that is in no name of a class, found {c:?}"
                ));
            }
        }
        if self.columns.is_some() && !row && !json {
            return usage(format!("columns: {format:?} has no columns to name; leave it out"));
        }
        self.check_numbers(format)?;
        let special =
            [&self.label, &self.id, &self.time, &self.weight, &self.vector].into_iter().flatten();
        if let Some(name) = special.chain(&self.ignore).find(|name| {
            json && self.columns.as_ref().is_some_and(|columns| columns.contains(name))
        }) {
            return usage(format!(
                "columns: `{name}` is an input there and something else elsewhere; leave it \
                 out of one"
            ));
        }
        let mut names = self.columns.clone().unwrap_or_default();
        names.sort();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return usage(format!("columns: `{}` is there twice", pair[0]));
        }
        Ok(())
    }

    /// Refuses ways to write numbers and rows that do not go together.
    fn check_numbers(&self, format: Format) -> Result<()> {
        let usage = |text: String| Err(Error::Usage(format!("{}.{text}", self.section)));
        let row = matches!(format, Format::Csv | Format::Tsv);
        let given = [
            ("decimal", self.decimal.is_some()),
            ("thousands", self.thousands.is_some()),
            ("units", !self.units.is_empty()),
            ("skip_rows", self.skip_rows.is_some()),
            ("quote", self.quote.is_some()),
        ];
        if let Some((key, _)) = given.iter().find(|(_, given)| *given && !row) {
            return usage(format!("{key}: {format:?} has none; leave it out"));
        }
        if let Some(c) = self.decimal.filter(|c| !matches!(c, '.' | ',')) {
            return usage(format!("decimal must be \".\" or \",\", found {c:?}"));
        }
        let is_unit = |unit: &String| {
            !unit.is_empty()
                && unit.len() <= 16
                && !unit.contains(|c: char| c.is_ascii_digit() || "+-.,\"".contains(c))
        };
        if let Some(unit) = self.units.iter().find(|unit| !is_unit(unit)) {
            return usage(format!(
                "units: {unit:?} is none; name what stands before or behind numbers, such as \"$\" or \"kg\", without digits, points and signs"
            ));
        }
        if let Some(c) = self.thousands {
            if self.delimiter == Some(c) && c != ',' {
                return usage(format!(
                    "thousands and delimiter are both {c:?}, and one character cannot be between fields and between digits; leave \
                     one out"
                ));
            }
            if !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '-' | '+') {
                return usage(format!(
                    "thousands must be one ASCII character that is no letter, digit or sign, found {c:?}"
                ));
            }
            if self.decimal == Some(c) {
                return usage(format!("thousands and decimal are both {c:?}; leave one out"));
            }
        }
        if self
            .quote
            .as_ref()
            .is_some_and(|q| q.len() > 1 || q.bytes().any(|b| b.is_ascii_alphanumeric()))
        {
            return usage("quote must be one ASCII character, or \"\" for none".into());
        }
        Ok(())
    }

    /// What the recipe itself says is missing: for a format that has a sign of its own.
    pub(crate) fn missing_given(&self) -> Vec<String> {
        let default = self.missing == FormatSpec::default().missing;
        if default { Vec::new() } else { self.missing.clone() }
    }

    /// What is around fields, if anything.
    pub fn quote_byte(&self) -> Option<u8> {
        match &self.quote {
            None => Some(b'"'),
            Some(quote) => quote.bytes().next(),
        }
    }

    /// How numbers are written, between delimiters of this kind.
    pub(crate) fn style(&self, delimiter: u8) -> Style {
        Style {
            decimal: self.decimal.map(|c| c as u8),
            thousands: self.thousands.map(|c| c as u8),
            commas_group: delimiter == b',',
        }
    }
}
