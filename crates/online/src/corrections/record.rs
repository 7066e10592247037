//! What a record says: a text, a correction, both, or which correction to release from quarantine.

use tidemill_recipe::online::CorrectionsSpec;
use tidemill_recipe::stream::{BadEvent, Format, FormatSpec, Value as Cell, formats};

use crate::join::time;

/// Names of what the model reads, where the recipe gives none.
const SOURCES: [&str; 2] = ["source", "text"];
/// Names of what it should have written.
const CORRECTIONS: [&str; 4] = ["correction", "summary", "translation", "target"];
/// The name of the number of a correction to be released.
const RELEASE: &str = "release";

/// A record, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Record {
    pub id: Option<String>,
    /// Its time, in microseconds since 1970.
    pub at: Option<i64>,
    pub source: Option<String>,
    pub correction: Option<String>,
    /// The number of a correction that is released from quarantine.
    pub release: Option<u64>,
}

/// How records are read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    format: Format,
    spec: FormatSpec,
    id: String,
    time: Option<String>,
    source: Vec<String>,
    correction: Vec<String>,
    /// The names of the columns of a table, once its first row has come.
    pub header: Option<Vec<String>>,
    /// Names that mean nothing here.
    pub unused: Vec<String>,
}

impl Reading {
    pub fn new(
        spec: &CorrectionsSpec,
        id: &str,
        time: Option<&str>,
        format: Format,
        stream: &FormatSpec,
    ) -> Reading {
        let names = |given: &Option<String>, known: &[&str]| match given {
            Some(name) => vec![name.clone()],
            None => known.iter().map(|&name| name.to_owned()).collect(),
        };
        Reading {
            format,
            spec: stream.clone(),
            id: id.to_owned(),
            time: time.map(str::to_owned),
            source: names(&spec.source, &SOURCES),
            correction: names(&spec.correction, &CORRECTIONS),
            header: None,
            unused: Vec::new(),
        }
    }

    /// What a record says; nothing for the row of names of a table. `first` is the first record of a file.
    ///
    /// # Errors
    /// If it makes no sense.
    pub fn read(&mut self, bytes: &[u8], first: bool) -> Result<Option<Record>, BadEvent> {
        if bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        let mut record = Record::default();
        match self.format {
            Format::JsonLines => {
                let read =
                    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes);
                let read = read.map_err(|e| BadEvent::new(format!("is no JSON object: {e}")))?;
                for (name, value) in &read {
                    self.take(&mut record, name, Text::of(name, value)?)?;
                }
            }
            _ => {
                let fields = formats::fields(&self.spec, self.format, bytes)?;
                let Some(header) = self.header.clone().filter(|_| !first) else {
                    self.check_header(&fields)?;
                    self.header = Some(fields);
                    return Ok(None);
                };
                if fields.len() != header.len() {
                    let (found, wanted) = (fields.len(), header.len());
                    let what = format!("has {found} fields, and the first row has {wanted}");
                    return Err(BadEvent::new(what));
                }
                for (name, value) in header.iter().zip(fields) {
                    self.take(&mut record, name, Text::of_cell(value))?;
                }
            }
        }
        if record.source.is_none() && record.correction.is_none() && record.release.is_none() {
            let what = format!(
                "has neither a text ({}) nor a correction ({})",
                self.source.join(", "),
                self.correction.join(", ")
            );
            return Err(BadEvent::new(what));
        }
        Ok(Some(record))
    }

    /// A table of which no column is read fits nothing.
    fn check_header(&self, names: &[String]) -> Result<(), BadEvent> {
        let known = |name: &String| self.source.contains(name) || self.correction.contains(name);
        if names.iter().any(known) {
            return Ok(());
        }
        Err(BadEvent::fatal(format!(
            "its first row has the columns {}, of which none is a text ({}) or a correction ({}); name them in \
             online.corrections.source and correction",
            names.join(", "),
            self.source.join(", "),
            self.correction.join(", ")
        )))
    }

    fn take(&mut self, record: &mut Record, name: &str, text: Text) -> Result<(), BadEvent> {
        let is = |names: &[String]| names.iter().any(|known| known == name);
        let twice = |what: &str| BadEvent::new(format!("has more than one {what}: `{name}` too"));
        if name == self.id {
            record.id = text.0;
        } else if self.time.as_deref() == Some(name) {
            let cell = text.0.as_deref().map_or(Cell::Missing, |text| match text.parse() {
                Ok(number) => Cell::Number(number),
                Err(_) => Cell::Text(text),
            });
            record.at = time::units(cell)?;
        } else if name == RELEASE {
            let number = text.0.map(|text| text.parse().map_err(|_| text));
            record.release = number.transpose().map_err(|text| {
                BadEvent::new(format!(
                    "release: `{text}` is no number of a line of quarantine.jsonl"
                ))
            })?;
        } else if is(&self.source) {
            if record.source.is_some() && text.0.is_some() {
                return Err(twice("text"));
            }
            record.source = text.0.or(record.source.take());
        } else if is(&self.correction) {
            if record.correction.is_some() && text.0.is_some() {
                return Err(twice("correction"));
            }
            record.correction = text.0.or(record.correction.take());
        } else if !self.unused.iter().any(|other| other == name) && self.unused.len() < 20 {
            self.unused.push(name.to_owned());
        }
        Ok(())
    }
}

/// A value as text; none where it is missing.
struct Text(Option<String>);

impl Text {
    fn of(name: &str, value: &serde_json::Value) -> Result<Text, BadEvent> {
        match value {
            serde_json::Value::Null => Ok(Text(None)),
            serde_json::Value::String(text) => Ok(Text::of_cell(text.clone())),
            serde_json::Value::Number(number) => Ok(Text(Some(number.to_string()))),
            _ => Err(BadEvent::new(format!("`{name}` is no text"))),
        }
    }

    fn of_cell(text: String) -> Text {
        Text(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn reading(format: Format) -> Reading {
        Reading::new(&CorrectionsSpec::default(), "id", Some("at"), format, &FormatSpec::default())
    }

    #[test]
    fn records_are_read_by_their_names() {
        let mut json = reading(Format::JsonLines);
        let mut read = |text: &str| json.read(text.as_bytes(), false);
        let one =
            read(r#"{"id": 7, "source": " A dog. ", "at": 1.5, "user": "x"}"#).unwrap().unwrap();
        assert_eq!((one.id.as_deref(), one.source.as_deref()), (Some("7"), Some("A dog.")));
        assert_eq!((one.at, one.correction), (Some(1_500_000), None));
        let one =
            read(r#"{"id": "a", "correction": "Ein Hund.", "source": null}"#).unwrap().unwrap();
        assert_eq!((one.source, one.correction.as_deref()), (None, Some("Ein Hund.")));
        assert_eq!(read(r#"{"release": 3}"#).unwrap().unwrap().release, Some(3));
        assert_eq!(read("").unwrap(), None);
        let error = |read: Result<Option<Record>, BadEvent>| read.unwrap_err().reason;
        assert!(error(read("[1]")).contains("no JSON object"));
        assert!(error(read(r#"{"id": 1}"#)).contains("neither a text (source, text)"));
        assert!(error(read(r#"{"source": "a", "text": "b"}"#)).contains("more than one text"));
        assert!(error(read(r#"{"source": ["a"]}"#)).contains("`source` is no text"));
        assert!(error(read(r#"{"release": "x"}"#)).contains("no number"));
        assert_eq!(json.unused, ["user"]);
    }

    #[test]
    fn tables_have_a_row_of_names() {
        let mut table = reading(Format::Tsv);
        assert_eq!(table.read(b"text\tsummary", true).unwrap(), None);
        let one = table.read(b"long text\tshort", false).unwrap().unwrap();
        assert_eq!(
            (one.source.as_deref(), one.correction.as_deref()),
            (Some("long text"), Some("short"))
        );
        assert!(table.read(b"alone", false).unwrap_err().reason.contains("has 1 fields"));
        assert!(reading(Format::Csv).read(b"a,b", true).unwrap_err().fatal);
    }
}
