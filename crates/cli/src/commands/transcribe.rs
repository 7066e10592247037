//! `tidemill predict --from`: a sound is transcribed while it comes.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde_json::json;
use tidemill_engine::Error;
use tidemill_engine::data::sound::{ReadOptions, Reader, SampleFormat, StreamFormat};
use tidemill_train::{Heard, Trained};

use crate::failure::{Failure, Result};
use crate::print::tell;

/// What is asked of the sound.
pub(crate) struct Asked<'a> {
    /// `-` or a file.
    pub(crate) source: &'a str,
    /// How samples without a header are stored.
    pub(crate) format: Option<&'a str>,
    /// Whether what is said so far is printed too.
    pub(crate) stream: bool,
    /// JSON lines.
    pub(crate) json: bool,
}

/// Transcribes a sound, and prints what is said.
pub(crate) fn transcribe(model: &mut Trained, asked: &Asked<'_>) -> Result {
    let mut transcription = model.transcription()?;
    let format = asked.format.map(format).transpose()?;
    let options = ReadOptions { sample_rate: Some(model.sample_rate()), ..ReadOptions::default() };
    let unreadable = |e: tidemill_engine::data::sound::AudioError| Error::Run(e.to_string());
    let mut reader = match (asked.source, format) {
        ("-", format) => Reader::stream(Box::new(io::stdin()), "standard input", format, &options),
        (path, None) => Reader::open(path.as_ref(), &options),
        (path, Some(_)) => {
            let file = std::fs::File::open(path).map_err(|e| Error::read(path.as_ref(), e))?;
            Reader::stream(Box::new(file), path, format, &options)
        }
    }
    .map_err(unreadable)?;
    let is_terminal = io::stdout().is_terminal();
    let mut printer = Printer {
        stream: asked.stream,
        json: asked.json || (asked.stream && !is_terminal),
        closed: false,
    };
    let mut samples = Vec::new();
    let mut done = Ok(());
    while done.is_ok() {
        samples.clear();
        match reader.read(&mut samples) {
            Ok(0) => break,
            Ok(_) => done = model.hear(&mut transcription, &samples, &mut |h| printer.print(h)),
            // What was heard before stays good.
            Err(e) => {
                model.heard_all(&mut transcription, &mut |h| printer.print(h))?;
                return Err(Failure::from(unreadable(e)));
            }
        }
    }
    let done = done.and_then(|()| model.heard_all(&mut transcription, &mut |h| printer.print(h)));
    for warning in reader.report().warnings() {
        tell!(
            "note: {} {warning}",
            if asked.source == "-" { "standard input" } else { asked.source }
        );
    }
    match (done, printer.closed) {
        (Err(e), false) => Err(Failure::from(e)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// `s16le:16000`, or with the number of channels, `s16le:44100:2`.
fn format(text: &str) -> std::result::Result<StreamFormat, Failure> {
    let wrong = || {
        Failure::usage(format!(
            "--format {text}: give u8, s16le, s24le, s32le or f32le, the samples a second, and the channels where there are several: s16le:16000, s16le:44100:2"
        ))
    };
    let mut parts = text.split(':');
    let sample = match parts.next() {
        Some("u8") => SampleFormat::U8,
        Some("s16le") => SampleFormat::S16,
        Some("s24le") => SampleFormat::S24,
        Some("s32le") => SampleFormat::S32,
        Some("f32le") => SampleFormat::F32,
        _ => return Err(wrong()),
    };
    let sample_rate = parts.next().and_then(|rate| rate.parse().ok()).ok_or_else(wrong)?;
    let channels = parts.next().map_or(Ok(1), str::parse).map_err(|_| wrong())?;
    match parts.next() {
        None => Ok(StreamFormat { sample, sample_rate, channels }),
        Some(_) => Err(wrong()),
    }
}

/// Prints what is said as it comes.
struct Printer {
    stream: bool,
    json: bool,
    /// Whether nobody reads any more.
    closed: bool,
}

impl Printer {
    fn print(&mut self, heard: &Heard) -> std::result::Result<(), Error> {
        let mut out = io::stdout().lock();
        let [from, to] = heard.seconds.map(|s| (s * 1000.0).round() / 1000.0);
        let written = match (self.json, heard.is_final) {
            (true, true) => {
                writeln!(out, "{}", json!({ "final": heard.text, "from": from, "to": to }))
            }
            (true, false) if self.stream => {
                writeln!(
                    out,
                    "{}",
                    json!({ "partial": heard.text, "stable": heard.stable, "from": from, "to": to })
                )
            }
            // The line of what was said so far is written over.
            (false, true) if self.stream => writeln!(out, "\r\x1b[K{}", heard.text),
            (false, true) => writeln!(out, "{}", heard.text),
            (false, false) if self.stream => write!(out, "\r\x1b[K{}", last(&heard.text)),
            (_, false) => Ok(()),
        };
        written.and_then(|()| out.flush()).map_err(|e| {
            self.closed = e.kind() == io::ErrorKind::BrokenPipe;
            Error::Run(format!("cannot write the text: {e}"))
        })
    }
}

/// The end of a text, as much as a line of a terminal has room for.
fn last(text: &str) -> String {
    const WIDTH: usize = 78;
    let count = text.chars().count();
    text.chars().skip(count.saturating_sub(WIDTH)).collect()
}
