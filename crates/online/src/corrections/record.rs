//! What a record says: a text, a correction, both, or which correction to release from quarantine.

use tidemill_recipe::online::CorrectionsSpec;
use tidemill_recipe::stream::{BadEvent, Format, FormatSpec, Value as Cell, formats};

use crate::join::time;

/// Names of what the model reads, where the recipe gives none.
const SOURCES: [&str; 2] = ["source", "text"];
/// Names of what it should have written.
const CORRECTIONS: [&str; 4] = ["correction", "summary", "translation", "target"];
/// The same where it reads sounds: those of manifests here, of NeMo's, and of events.
const SOUNDS: [&str; 3] = ["audio", "path", "audio_filepath"];
const SAID: [&str; 3] = ["correction", "text", "transcript"];
/// Which part of a file a sound is, in seconds: those of manifests here, then those of NeMo's.
const PARTS: [&str; 4] = ["start", "end", "offset", "duration"];
/// Samples a second of samples without a header.
const SAMPLE_RATE: &str = "sample_rate";
const SPEAKER: &str = "speaker";
/// Samples a second that a sound may have, as in files.
const RATES: std::ops::RangeInclusive<f64> = 1_000.0..=384_000.0;
/// The name of the number of a correction to be released.
const RELEASE: &str = "release";

/// Bytes of a row over several lines.
const MOST_OPEN: usize = 1 << 20;

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
    /// What else is said of a sound.
    pub sound: OfSound,
}

/// What a record says of a sound beside the sound itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OfSound {
    /// Who speaks.
    pub speaker: Option<String>,
    /// `start`, `end`, `offset`, `duration`, in seconds.
    pub parts: [Option<f64>; 4],
    /// Samples a second of samples without a header.
    pub sample_rate: Option<f64>,
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
    /// Whether the model reads sounds.
    is_sound: bool,
    /// Whether the recipe names the key of ids.
    pub is_id_given: bool,
    /// The names of the columns of a table, once its first row has come.
    pub header: Option<Vec<String>>,
    /// The beginning of a row of which a quoted field continues in the next line.
    pub open: String,
    /// Names that mean nothing here.
    pub unused: Vec<String>,
    /// The last source or correction that was an empty text.
    empty: Option<String>,
}

impl Reading {
    pub fn new(
        spec: &CorrectionsSpec,
        id: &str,
        time: Option<&str>,
        format: Format,
        stream: &FormatSpec,
        is_sound: bool,
    ) -> Reading {
        let (sources, corrections) =
            if is_sound { (&SOUNDS[..], &SAID[..]) } else { (&SOURCES[..], &CORRECTIONS[..]) };
        let names = |given: &Option<String>, known: &[&str]| match given {
            Some(name) => vec![name.clone()],
            None => known.iter().map(|&name| name.to_owned()).collect(),
        };
        Reading {
            format,
            spec: stream.clone(),
            id: id.to_owned(),
            time: time.map(str::to_owned),
            source: names(&spec.source, sources),
            correction: names(&spec.correction, corrections),
            is_sound,
            is_id_given: false,
            header: None,
            open: String::new(),
            unused: Vec::new(),
            empty: None,
        }
    }

    /// What a record says; nothing for the row of names of a table. `first` is the first record of a file.
    ///
    /// # Errors
    /// If it is no such record.
    pub fn read(&mut self, bytes: &[u8], first: bool) -> Result<Option<Record>, BadEvent> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if bytes.trim_ascii().is_empty() && self.open.is_empty() {
            return Ok(None);
        }
        let mut record = Record::default();
        self.empty = None;
        match self.format {
            Format::JsonLines => {
                let read =
                    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes);
                let read = read.map_err(|e| BadEvent::new(format!("is no JSON object: {e}")))?;
                for (name, value) in &read {
                    let mut text = Text::of(name, value)?;
                    if name.eq_ignore_ascii_case(&self.id) && value.is_f64() {
                        text.0 = text.0.map(|id| whole(&id)).transpose()?;
                    }
                    self.take(&mut record, name, text)?;
                }
            }
            _ => {
                let Some(row) = self.row(bytes)? else { return Ok(None) };
                if first {
                    self.find_delimiter(&row);
                }
                let fields = formats::fields(&self.spec, self.format, row.as_bytes())?;
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
                "has neither a {} ({}) nor a correction ({})",
                self.what(),
                self.source.join(", "),
                self.correction.join(", ")
            );
            return Err(BadEvent::new(match self.empty.take() {
                Some(name) => format!("its `{name}` is empty"),
                None => what,
            }));
        }
        Ok(Some(record))
    }

    /// A whole row: quoted fields may continue in the next lines. Nothing while it is not whole.
    fn row(&mut self, bytes: &[u8]) -> Result<Option<String>, BadEvent> {
        let line = std::str::from_utf8(bytes.strip_suffix(b"\r").unwrap_or(bytes));
        let Ok(line) = line else {
            self.open.clear();
            return Err(BadEvent::new("is not valid UTF-8"));
        };
        let mut row = std::mem::take(&mut self.open);
        if !row.is_empty() {
            row.push('\n');
        }
        row.push_str(line);
        let quotes =
            self.spec.quote_byte().map_or(0, |quote| row.bytes().filter(|&b| b == quote).count());
        let is_open = self.format == Format::Csv && quotes % 2 == 1;
        match is_open {
            true if row.len() > MOST_OPEN => Err(BadEvent::new(
                "a quoted field that begins in it or before has no closing quote",
            )),
            true => {
                self.open = row;
                Ok(None)
            }
            false => Ok(Some(row)),
        }
    }

    /// What is between the fields of a table whose recipe does not say it: what divides the names of its first row.
    fn find_delimiter(&mut self, row: &str) {
        if self.format != Format::Csv || self.spec.delimiter.is_some() {
            return;
        }
        let known = |delimiter: &char| {
            row.split(*delimiter).any(|name| {
                let name = name.trim().trim_matches('"');
                self.is_known(name)
            }) && row.contains(*delimiter)
        };
        self.spec.delimiter = [',', ';', '\t', '|'].into_iter().find(known);
    }

    /// What the model reads.
    pub fn what(&self) -> &'static str {
        if self.is_sound { "sound" } else { "text" }
    }

    fn is_known(&self, name: &str) -> bool {
        is_in(&self.source, name) || is_in(&self.correction, name) || name == RELEASE
    }

    /// A table of which no column is read fits nothing.
    fn check_header(&self, names: &[String]) -> Result<(), BadEvent> {
        if self.is_id_given && !is_in(names, &self.id) {
            let what = format!("its first row has no column {}: {}", self.id, names.join(", "));
            return Err(BadEvent::fatal(format!("{what}; see online.labels.id")));
        }
        if names.iter().any(|name| self.is_known(name)) {
            return Ok(());
        }
        Err(BadEvent::fatal(format!(
            "its first row must name the columns, and none of {} is a {} ({}) or a correction ({}); other names go to \
             online.corrections.source and correction, another divider than a comma to stream.delimiter",
            names.join(", "),
            self.what(),
            self.source.join(", "),
            self.correction.join(", ")
        )))
    }

    fn take(&mut self, record: &mut Record, name: &str, text: Text) -> Result<(), BadEvent> {
        if text.1 && (is_in(&self.source, name) || is_in(&self.correction, name)) {
            self.empty = Some(name.to_owned());
        }
        let twice = |what: &str| BadEvent::new(format!("has more than one {what}: `{name}` too"));
        if name.eq_ignore_ascii_case(&self.id) {
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
        } else if is_in(&self.source, name) {
            if record.source.is_some() && text.0.is_some() {
                return Err(twice(self.what()));
            }
            record.source = text.0.or(record.source.take());
        } else if is_in(&self.correction, name) {
            if record.correction.is_some() && text.0.is_some() {
                return Err(twice("correction"));
            }
            record.correction = text.0.or(record.correction.take());
        } else if self.is_sound && take_of_sound(&mut record.sound, name, &text)? {
        } else if !self.unused.iter().any(|other| other == name) && self.unused.len() < 20 {
            self.unused.push(name.to_owned());
        }
        Ok(())
    }
}

/// Takes what a record says of its sound; says whether `name` is that of such a value.
fn take_of_sound(sound: &mut OfSound, name: &str, text: &Text) -> Result<bool, BadEvent> {
    let seconds = || match text.0.as_deref().map(|text| (text, text.parse::<f64>())) {
        None => Ok(None),
        Some((_, Ok(number))) if (0.0..1e9).contains(&number) => Ok(Some(number)),
        Some((text, _)) => {
            Err(BadEvent::new(format!("its {name} is `{text}`, which is no number from 0 on")))
        }
    };
    if name == SPEAKER {
        sound.speaker.clone_from(&text.0);
    } else if name == SAMPLE_RATE {
        let rate = text.0.as_deref().map(|text| (text, text.parse::<f64>()));
        sound.sample_rate = match rate {
            None => None,
            Some((_, Ok(rate))) if RATES.contains(&rate) && rate.fract() == 0.0 => Some(rate),
            Some((text, _)) => {
                let (least, most) = (RATES.start(), RATES.end());
                return Err(BadEvent::new(format!(
                    "its {name} is `{text}`, which is no whole number from {least} to {most} (samples a second)"
                )));
            }
        };
    } else if let Some(i) = PARTS.iter().position(|&part| part == name) {
        sound.parts[i] = seconds()?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// Whether a name is one of those, in whatever case.
fn is_in(names: &[String], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// A number with a fraction or an exponent as an id: `7.0`, as tables of floats have it, is 7.
fn whole(id: &str) -> Result<String, BadEvent> {
    match id.parse::<f64>() {
        Ok(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Ok((number as i64).to_string())
        }
        _ => Err(BadEvent::new(format!(
            "its id {id} is no whole number, or has more digits than a number keeps; put it in quotes"
        ))),
    }
}

/// A value as text; none where it is missing, and whether it is there and empty.
struct Text(Option<String>, bool);

impl Text {
    fn of(name: &str, value: &serde_json::Value) -> Result<Text, BadEvent> {
        match value {
            serde_json::Value::Null => Ok(Text(None, false)),
            serde_json::Value::String(text) => Ok(Text::of_cell(text.clone())),
            serde_json::Value::Number(number) => Ok(Text(Some(number.to_string()), false)),
            _ => Err(BadEvent::new(format!("`{name}` is no text"))),
        }
    }

    fn of_cell(text: String) -> Text {
        let text = text.trim();
        Text(Some(text.to_owned()).filter(|text| !text.is_empty()), text.is_empty())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn reading(format: Format) -> Reading {
        Reading::new(
            &CorrectionsSpec::default(),
            "id",
            Some("at"),
            format,
            &FormatSpec::default(),
            false,
        )
    }

    #[test]
    fn sounds_have_names_of_their_own() {
        let spec = CorrectionsSpec::default();
        let mut json =
            Reading::new(&spec, "id", None, Format::JsonLines, &FormatSpec::default(), true);
        let nemo =
            r#"{"audio_filepath": "a.wav", "duration": 1.5, "offset": 2, "text": "one two"}"#;
        let one = json.read(nemo.as_bytes(), false).unwrap().unwrap();
        assert_eq!(
            (one.source.as_deref(), one.correction.as_deref()),
            (Some("a.wav"), Some("one two"))
        );
        assert_eq!(one.sound.parts, [None, None, Some(2.0), Some(1.5)]);
        let sent = r#"{"id": 1, "audio": "UklGRg", "speaker": "anna", "sample_rate": 8000}"#;
        let one = json.read(sent.as_bytes(), false).unwrap().unwrap();
        assert_eq!(
            (one.source.as_deref(), one.sound.speaker.as_deref()),
            (Some("UklGRg"), Some("anna"))
        );
        assert_eq!(one.sound.sample_rate, Some(8000.0));
        let mut bad = |text: &str| json.read(text.as_bytes(), false).unwrap_err().reason;
        assert!(bad(r#"{"path": "a.wav", "start": -1}"#).contains("its start is `-1`"));
        assert!(bad(r#"{"id": 1}"#).contains("neither a sound (audio, path, audio_filepath)"));
        // As this program writes manifests; empty times are those of the whole file.
        let mut table = Reading::new(&spec, "id", None, Format::Csv, &FormatSpec::default(), true);
        assert_eq!(table.read(b"path,text,speaker,start,end,times", true).unwrap(), None);
        let one = table.read(b"a.wav,one,theo,,,", false).unwrap().unwrap();
        assert_eq!((one.sound.speaker.as_deref(), one.sound.parts), (Some("theo"), [None; 4]));
        assert_eq!(table.unused, ["times"]);
        for wrong in ["0", "1e12", "8000.5", "-1"] {
            let sent = format!(r#"{{"id": 1, "audio": "UklGRg", "sample_rate": {wrong}}}"#);
            let says = json.read(sent.as_bytes(), false).unwrap_err().reason;
            assert!(
                says.contains("its sample_rate is") && says.contains("1000 to 384000"),
                "{says}"
            );
        }
        let empty = json.read(br#"{"id": 1, "text": " "}"#, false).unwrap_err().reason;
        assert_eq!(empty, "its `text` is empty");
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
        let id = |read: Result<Option<Record>, BadEvent>| read.unwrap().unwrap().id.unwrap();
        assert_eq!(id(read(r#"{"id": 7.0, "source": "a"}"#)), "7");
        assert_eq!(id(read(r#"{"id": "1e3x", "source": "a"}"#)), "1e3x");
        assert!(
            error(read(r#"{"id": 18446744073709551617, "source": "a"}"#)).contains("in quotes")
        );
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
        // As Excel writes them.
        let mut table = reading(Format::Csv);
        assert_eq!(table.read(b"\xef\xbb\xbfID;Source;Correction\r", true).unwrap(), None);
        assert_eq!(table.read(b"7;\"two\r", false).unwrap(), None);
        let one = table.read(b"lines; here\";zwei\r", false).unwrap().unwrap();
        assert_eq!(
            (one.id.as_deref(), one.source.as_deref()),
            (Some("7"), Some("two\nlines; here"))
        );
        assert_eq!(one.correction.as_deref(), Some("zwei"));
        // Where the recipe says that nothing is quoted, a quote is a character.
        let spec = FormatSpec { quote: Some(String::new()), ..FormatSpec::default() };
        let mut plain =
            Reading::new(&CorrectionsSpec::default(), "id", None, Format::Csv, &spec, false);
        assert_eq!(plain.read(b"text,summary", true).unwrap(), None);
        let one = plain.read(b"5\" disks,disks", false).unwrap().unwrap();
        assert_eq!(one.source.as_deref(), Some("5\" disks"));
    }
}
