//! Sources from the addresses that users give.

use std::fs::File;
use std::io::{self, Read};
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidemill_table::formats::look::HEAD_BYTES;
use tidemill_table::{Format, FormatSpec};

use crate::access::Access;
use crate::answers::Awaited;
use crate::error::{Error, Result};
use crate::lines::MAX_RECORD;
use crate::log::{Log, LogOptions};
use crate::records::Records;
use crate::source::{Poll, Source};
use crate::sources::{
    ArrowPipe, ArrowSource, DirectorySource, FileSource, HttpOptions, HttpSource, ReadSource,
    TailSource, TcpOptions, TcpSource,
};

/// What holds for all kinds of addresses, and what only some need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Of longer records only the beginning is given, marked as too long; by HTTP, larger bodies are refused. 16 MiB;
    /// by TCP never more than 1 MiB.
    pub max_record: usize,
    /// Who may send to a source that listens.
    pub access: Access,
    /// Connections at once that a listening source takes. 256.
    pub max_connections: usize,
    /// How long a file of a folder must be unchanged to be complete. Two seconds.
    pub settle: Duration,
    /// Folder of the log behind HTTP push.
    pub log_folder: Option<PathBuf>,
    /// How logs are kept.
    pub log: LogOptions,
    /// The format of the records: only files and standard input can hold Arrow IPC, and JSON may be
    /// laid out as an array or over several lines there. None.
    pub format: Option<Format>,
    /// Whether entries of a Redis stream that a checkpoint covers are removed. False.
    pub trim: bool,
    /// Who waits for what a learner answers to records. Nobody.
    pub answers: Awaited,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            max_record: MAX_RECORD,
            access: Access::default(),
            max_connections: 256,
            settle: Duration::from_secs(2),
            log_folder: None,
            log: LogOptions::default(),
            format: None,
            trim: false,
            answers: Awaited::Never,
        }
    }
}

impl OpenOptions {
    fn is(&self, format: Format) -> bool {
        self.format == Some(format)
    }
}

/// What can be given to [`open`], for help texts.
pub const ADDRESSES: &str = "-, a path, file:PATH, tail:PATH, dir:PATH, tcp://ADDRESS, \
     http://ADDRESS, log:FOLDER, nats://HOST:PORT/STREAM, redis://HOST:PORT/KEY or \
     kafka://BROKERS/TOPIC";

/// Opens the source at `uri`:
///
/// | address | what |
/// | --- | --- |
/// | `-`, `stdin:` | standard input |
/// | a path, `file:PATH`, `file://PATH` | a file, plain or gzipped; a pipe is read once |
/// | `tail:PATH` | a file that grows ([`TailSource`]) |
/// | `dir:PATH` | files as they are put into a folder ([`DirectorySource`]) |
/// | `tcp://127.0.0.1:7000` | lines from clients ([`TcpSource`]) |
/// | `http://127.0.0.1:8080` | events pushed by HTTP ([`HttpSource`]), kept in `log_folder` |
/// | `log:FOLDER` | what such a log holds, to its end |
/// | `nats://HOST:PORT/STREAM[/SUBJECT]` | a JetStream stream (feature `nats`) |
/// | `redis://HOST:PORT/KEY` | a Redis stream (feature `redis`) |
/// | `kafka://HOST:PORT[,HOST:PORT]/TOPIC` | a Kafka topic (feature `kafka`) |
///
/// # Errors
/// If there is no such kind of source, or it cannot be opened.
pub fn open(uri: &str, options: &OpenOptions) -> Result<Box<dyn Source>> {
    let (max, arrow) = (options.max_record, options.is(Format::Arrow));
    let (scheme, rest) = split(uri);
    Ok(match scheme {
        "" if uri != "-" => file(uri, options)?,
        "" | "stdin" => read_once("standard input", std::io::stdin(), options)?,
        "file" => file(rest, options)?,
        _ if arrow => {
            let what = format!("{uri}: Arrow IPC is read from a file or from standard input");
            return Err(Error::Usage(what));
        }
        "tail" => Box::new(TailSource::open(rest, max)?),
        "dir" => {
            let json = options.is(Format::JsonLines);
            Box::new(DirectorySource::open(rest, options.settle, max, json)?)
        }
        "log" => {
            if !Path::new(rest).is_dir() {
                return Err(Error::io(uri, "there is no such folder"));
            }
            // No other process can append to it while it is open here.
            let log = Log::open(rest, options.log.clone())?;
            log.close();
            Box::new(log.source())
        }
        "tcp" => {
            let (max_connections, access) = (options.max_connections, options.access.clone());
            let max_record = max.min(TcpOptions::default().max_record);
            let tcp = TcpOptions { max_record, max_connections, access };
            Box::new(TcpSource::bind(rest.trim_end_matches('/'), &tcp)?)
        }
        "http" => http(uri, rest, options)?,
        "nats" => nats(uri, rest, options)?,
        "redis" => redis(uri, rest, options)?,
        "kafka" => kafka(uri, rest, options)?,
        _ => {
            let what = format!("{uri}: no source has the scheme {scheme}:; give {ADDRESSES}");
            return Err(Error::Usage(what));
        }
    })
}

/// The name by which a stream is known, however its address is written: files by their full path
/// without links, HTTP by the log that it fills (`log_folder`), servers by their resolved address.
pub fn identity(uri: &str, log_folder: Option<&Path>) -> String {
    let (scheme, rest) = split(uri);
    match scheme {
        "" if uri != "-" => full(uri),
        "" | "stdin" => "-".into(),
        "file" => full(rest),
        "tail" | "dir" | "log" => format!("{scheme}:{}", full(rest)),
        "http" => match log_folder {
            Some(folder) => format!("log:{}", full(&folder.to_string_lossy())),
            None => uri.into(),
        },
        "tcp" => "tcp:".into(),
        _ => match rest.split_once('/') {
            Some((server, name)) => format!("{scheme}://{}/{name}", resolved(server)),
            None => uri.into(),
        },
    }
}

/// Whether the stream is read from files, of which [`crate::Content`] shows whether they are the same.
pub fn is_files(uri: &str) -> bool {
    file_of(uri).is_some() || matches!(split(uri).0, "tail" | "dir")
}

/// Whether records come from whoever sends some, as opposed to files that someone has put there.
pub fn is_live(uri: &str) -> bool {
    file_of(uri).is_none() && split(uri).0 != "dir"
}

/// The file that an address names; none if it names something else, or there is no such file.
pub fn file_of(uri: &str) -> Option<&Path> {
    let path = match split(uri) {
        ("", _) => uri,
        ("file", path) => path,
        _ => return None,
    };
    Some(Path::new(path)).filter(|path| path.is_file())
}

/// The first bytes of what `uri` names, as many as a look needs: unpacked, as UTF-8, and JSON of any layout as
/// one value a line.
///
/// # Errors
/// If it cannot be read.
pub fn head_of(uri: &str, format: Format) -> Result<Vec<u8>> {
    let mut source = open(uri, &OpenOptions { format: Some(format), ..OpenOptions::default() })?;
    let (mut head, mut records) = (Vec::new(), Records::default());
    while head.len() < HEAD_BYTES {
        records.clear();
        let poll = source.poll(&mut records, 256 << 10, Duration::ZERO)?;
        for record in records.iter() {
            head.extend_from_slice(record.bytes);
            head.push(b'\n');
        }
        if poll == Poll::End {
            break;
        }
    }
    head.truncate(HEAD_BYTES);
    Ok(head)
}

/// The format of the records at `uri`: as `spec` says, or else as the name does. A file of JSON, by its name
/// and its first character, is not read as rows, nor one of rows as JSON: then there is also a note.
///
/// # Errors
/// If neither tells, or a file cannot be read.
pub fn format_of(spec: &FormatSpec, uri: &str) -> Result<(Format, Option<String>)> {
    let said = spec.format_of(uri)?;
    let is_json = |format| match format {
        Format::JsonLines => Some(true),
        Format::Csv | Format::Tsv => Some(false),
        _ => None,
    };
    let named = Format::by_name(uri).filter(|_| file_of(uri).is_some());
    let (Some(named), Some(_)) = (named.filter(|f| is_json(*f) != is_json(said)), is_json(said))
    else {
        return Ok((said, None));
    };
    let mut source = open(uri, &OpenOptions::default())?;
    let mut records = Records::default();
    source.poll(&mut records, 1 << 16, Duration::from_secs(1))?;
    let first = records.iter().flat_map(|record| record.bytes).find(|b| !b.is_ascii_whitespace());
    let looks_json = first.is_some_and(|b| matches!(b, b'{' | b'['));
    if is_json(named) != Some(looks_json) {
        return Ok((said, None));
    }
    let name = |format| match format {
        Format::JsonLines => "JSON",
        Format::Tsv => "TSV",
        _ => "CSV",
    };
    let (named_name, said) = (name(named), name(said));
    let note =
        format!("{uri} is read as {named_name}, which it is, though the recipe's format is {said}");
    Ok((named, Some(note)))
}

/// Scheme and rest; no scheme for a path.
fn split(uri: &str) -> (&str, &str) {
    let (scheme, rest) = match uri.split_once(':') {
        // One letter before a colon, or a slash before it, is a path.
        Some((s, rest)) if s.len() > 1 && s.bytes().all(|b| b.is_ascii_alphanumeric()) => (s, rest),
        _ => ("", uri),
    };
    // Paths may follow two slashes; addresses must.
    (scheme, rest.strip_prefix("//").unwrap_or(rest))
}

/// The full path without links; of what is not there yet, with those of its folder resolved.
fn full(path: &str) -> String {
    let path = Path::new(path);
    let found = path.canonicalize().or_else(|_| {
        let absolute = std::path::absolute(path)?;
        match (absolute.parent(), absolute.file_name()) {
            (Some(folder), Some(name)) => folder.canonicalize().map(|folder| folder.join(name)),
            _ => Ok(absolute),
        }
    });
    let found = found.or_else(|_| std::path::absolute(path));
    found.unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// A server without its user, by its first address.
fn resolved(server: &str) -> String {
    let hosts = server.rsplit('@').next().unwrap_or(server).split(',');
    let address = |host: &str| {
        let mut found: Vec<_> = host.to_socket_addrs().map(Iterator::collect).unwrap_or_default();
        found.sort_unstable();
        found.first().map_or_else(|| host.to_owned(), |address| address.to_string())
    };
    hosts.map(address).collect::<Vec<_>>().join(",")
}

fn read_once(
    name: &str,
    input: impl std::io::Read + Send + 'static,
    options: &OpenOptions,
) -> Result<Box<dyn Source>> {
    let max = options.max_record;
    let json = options.is(Format::JsonLines);
    Ok(match options.is(Format::Arrow) {
        true => Box::new(ReadSource::new(name, ArrowPipe::new(name, input), max, false)?),
        false => Box::new(ReadSource::new(name, input, max, json)?),
    })
}

fn file(path: &str, options: &OpenOptions) -> Result<Box<dyn Source>> {
    let fail = |e| Error::io(path, e);
    let meta = std::fs::metadata(path).map_err(fail)?;
    if meta.is_dir() {
        let what = format!("{path} is a folder; give dir:{path} to read its files as they come");
        return Err(Error::Usage(what));
    }
    let (max, json) = (options.max_record, options.is(Format::JsonLines));
    Ok(match (meta.is_file(), options.is(Format::Arrow)) {
        (true, true) => Box::new(ArrowSource::open(path, max)?),
        (true, false) => Box::new(FileSource::with_max_record(path, max, json)?),
        (false, _) => read_once(path, Pipe { path: path.into(), file: None }, options)?,
    })
}

/// A pipe, opened by the thread that reads it: opening one waits for a writer.
struct Pipe {
    path: PathBuf,
    file: Option<File>,
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(&self.path)?),
        };
        file.read(out)
    }
}

fn http(uri: &str, rest: &str, options: &OpenOptions) -> Result<Box<dyn Source>> {
    let Some(folder) = &options.log_folder else {
        let what = format!("{uri}: events are kept in a log; give a folder for it");
        return Err(Error::Usage(what));
    };
    let address = rest.trim_end_matches('/');
    if address.contains('/') {
        let what = format!("{uri}: give an address to listen on, such as http://127.0.0.1:8080");
        return Err(Error::Usage(what));
    }
    let http = HttpOptions {
        max_body: options.max_record,
        max_connections: options.max_connections,
        access: options.access.clone(),
        format: options.format,
        answers: options.answers,
        ..HttpOptions::default()
    };
    let log = Log::open(folder, options.log.clone())?;
    Ok(Box::new(HttpSource::bind(address, log, &http)?))
}

/// Splits `HOST:PORT/NAME`.
#[cfg(any(feature = "nats", feature = "redis", feature = "kafka"))]
fn server<'a>(uri: &str, rest: &'a str, form: &str) -> Result<(&'a str, &'a str)> {
    let split =
        rest.split_once('/').filter(|(server, name)| !server.is_empty() && !name.is_empty());
    split.ok_or_else(|| Error::Usage(format!("{uri}: give {form}")))
}

#[cfg(feature = "nats")]
fn nats(uri: &str, rest: &str, options: &OpenOptions) -> Result<Box<dyn Source>> {
    let (server, name) = server(uri, rest, "nats://HOST:PORT/STREAM or with /SUBJECT after it")?;
    let (stream, subject) = name.split_once('/').unwrap_or((name, ""));
    let max = options.max_record;
    Ok(Box::new(crate::sources::NatsSource::connect(server, stream, subject, max)?))
}

#[cfg(not(feature = "nats"))]
fn nats(uri: &str, _rest: &str, _options: &OpenOptions) -> Result<Box<dyn Source>> {
    missing(uri, "nats")
}

#[cfg(feature = "redis")]
fn redis(uri: &str, rest: &str, options: &OpenOptions) -> Result<Box<dyn Source>> {
    let (server, key) = server(uri, rest, "redis://HOST:PORT/KEY")?;
    let (trim, max) = (options.trim, options.max_record);
    Ok(Box::new(crate::sources::RedisSource::connect(server, key, trim, max)?))
}

#[cfg(not(feature = "redis"))]
fn redis(uri: &str, _rest: &str, _options: &OpenOptions) -> Result<Box<dyn Source>> {
    missing(uri, "redis")
}

#[cfg(feature = "kafka")]
fn kafka(uri: &str, rest: &str, options: &OpenOptions) -> Result<Box<dyn Source>> {
    let (brokers, topic) = server(uri, rest, "kafka://HOST:PORT,HOST:PORT/TOPIC")?;
    Ok(Box::new(crate::sources::KafkaSource::connect(brokers, topic, options.max_record)?))
}

#[cfg(not(feature = "kafka"))]
fn kafka(uri: &str, _rest: &str, _options: &OpenOptions) -> Result<Box<dyn Source>> {
    missing(uri, "kafka")
}

#[cfg(not(all(feature = "nats", feature = "redis", feature = "kafka")))]
fn missing(uri: &str, feature: &str) -> Result<Box<dyn Source>> {
    let what = format!(
        "{uri}: this build has no {feature}; build it with `cargo install --path crates/cli \
         --features {feature}`"
    );
    Err(Error::Usage(what))
}
