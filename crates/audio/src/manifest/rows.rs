//! CSV, TSV and JSON lines.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::{Utterance, within};
use crate::{AudioError, Result};

/// A row as it is written.
#[derive(Default, Deserialize)]
struct Row {
    path: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    speaker: Option<String>,
    #[serde(default)]
    start: Option<f64>,
    #[serde(default)]
    end: Option<f64>,
}

/// Reads a manifest, a file named `.csv`, `.tsv`, or `.jsonl` for JSON lines. Its paths are below `folder`.
///
/// # Errors
/// If the manifest cannot be read, a row is wrong, or a file of it is not there.
pub fn read_manifest(path: &Path, folder: &Path) -> Result<Vec<Utterance>> {
    let place = path.display().to_string();
    let file = File::open(path).map_err(|error| AudioError::read(&place, error))?;
    let mut out = Vec::new();
    let mut add = |line: u64, row: Result<Row, String>| {
        let place = || format!("{place}:{line}");
        let row = row.map_err(|what| AudioError::format(place(), what))?;
        out.push(
            utterance(row, folder, line).map_err(|e| AudioError::format(place(), e.to_string()))?,
        );
        Ok(())
    };
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "csv" => read_table(file, b',', &place, &mut add)?,
        "tsv" => read_table(file, b'\t', &place, &mut add)?,
        "jsonl" | "ndjson" => read_json(file, &place, &mut add)?,
        _ => {
            let what = "must be named .csv, .tsv or .jsonl, so that its format is known";
            return Err(AudioError::format(place, what));
        }
    }
    Ok(out)
}

fn utterance(row: Row, folder: &Path, line: u64) -> Result<Utterance> {
    let Row { path: name, text, speaker, start, end } = row;
    for (column, value) in [("start", start), ("end", end)] {
        if let Some(v) = value.filter(|v| !(0.0..1e9).contains(v)) {
            return Err(AudioError::option(format!("{column} = {v} must be seconds from 0")));
        }
    }
    if let (Some(start), Some(end)) = (start, end)
        && end <= start
    {
        let what = format!("the part ends at {end} s, but must end after it starts at {start} s");
        return Err(AudioError::option(what));
    }
    let path = within(folder, &name)?;
    let speaker = speaker.filter(|s| !s.is_empty());
    Ok(Utterance { path, name, text, speaker, start, end, line })
}

fn read_table(
    file: File,
    delimiter: u8,
    place: &str,
    add: &mut impl FnMut(u64, Result<Row, String>) -> Result<()>,
) -> Result<()> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(delimiter == b',')
        // Of CR and LF the crate would end a line at the first, and count it at the second.
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(BufReader::new(file));
    let wrong = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        AudioError::format(format!("{place}:{line}"), csv_message(&error))
    };
    let header = reader.headers().map_err(wrong)?.clone();
    // Spreadsheets put a mark of byte order before the first name.
    let column = |name| header.iter().position(|h| h.trim_start_matches('\u{feff}').trim() == name);
    let Some(path) = column("path") else {
        let found = header.iter().map(|h| format!("{h:?}")).collect::<Vec<_>>().join(", ");
        return Err(AudioError::format(
            format!("{place}:1"),
            format!("the first line must name the columns, with one named path; found {found}"),
        ));
    };
    let [text, speaker, start, end] = ["text", "speaker", "start", "end"].map(column);
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(wrong)? {
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |column: Option<usize>| {
            column.and_then(|c| record.get(c)).unwrap_or_default().trim_end_matches('\r')
        };
        let seconds = |name, column| match cell(column).trim() {
            "" => Ok(None),
            value => value
                .parse()
                .map(Some)
                .map_err(|_| format!("{name} = {value:?} must be seconds, or empty")),
        };
        let row = || {
            Ok(Row {
                path: cell(Some(path)).to_owned(),
                text: cell(text).to_owned(),
                speaker: Some(cell(speaker).to_owned()),
                start: seconds("start", start)?,
                end: seconds("end", end)?,
            })
        };
        add(line, row())?;
    }
    Ok(())
}

fn csv_message(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!(
                "this line has {len} columns, but the first one has {expected_len}: quote cells that have the delimiter in them"
            )
        }
        csv::ErrorKind::Utf8 { .. } => "this line is not UTF-8: convert the file with iconv".into(),
        _ => error.to_string(),
    }
}

fn read_json(
    file: File,
    place: &str,
    add: &mut impl FnMut(u64, Result<Row, String>) -> Result<()>,
) -> Result<()> {
    for (line, text) in (1..).zip(BufReader::new(file).lines()) {
        let text = text.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => {
                let what = "this line is not UTF-8: convert the file with iconv";
                AudioError::format(format!("{place}:{line}"), what)
            }
            _ => AudioError::read(place, error),
        })?;
        if text.trim().is_empty() {
            continue;
        }
        let row = serde_json::from_str(&text);
        add(line, row.map_err(|error| format!("is not a JSON object of a recording: {error}")))?;
    }
    Ok(())
}
