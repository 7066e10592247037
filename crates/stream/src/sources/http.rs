//! Events that are pushed by HTTP, kept in the embedded log before they are acknowledged.

mod body;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tidemill_table::Format;

use super::listener::{Listener, Serve};
use super::request::{Budget, Connection, Failure, Head, answer};
use crate::answers::Answers;
use crate::error::{Error, Result};
use crate::health::Health;
use crate::lines::MAX_RECORD;
use crate::log::{Log, LogSource};
use crate::position::Position;
use crate::records::Records;
use crate::source::{Counters, Poll, Source};

/// How requests are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// Larger bodies are refused with 413. 16 MiB.
    pub max_body: usize,
    /// Bodies of all connections together; what does not fit is refused with 503. 64 MiB.
    pub all_bodies: usize,
    /// More connections at once are refused with 503. 256.
    pub max_connections: usize,
    /// A connection that sends nothing for so long is closed. A minute.
    pub idle: Duration,
    /// Whether addresses that other machines reach may be listened on.
    pub allow_remote: bool,
    /// What events are checked for before they are acknowledged; nothing where it is not known.
    pub format: Option<Format>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        let idle = Duration::from_secs(60);
        let (max_body, all_bodies, max_connections) = (MAX_RECORD, 4 * MAX_RECORD, 256);
        let (allow_remote, format) = (false, None);
        HttpOptions { max_body, all_bodies, max_connections, idle, allow_remote, format }
    }
}

/// The events of a log that grows by requests:
///
/// - `POST /events`: with the content type `application/json` the body is one event, several, or an
///   array of them; with any other each line is one. It may be gzipped. Answers
///   `{"accepted":n,"sequence":last}` once the log has them. Where the format is known, a body with
///   an event that cannot be read is refused as a whole: 400 says which, 415 that it is of another
///   kind. 413 is for too large a body, 503 with `Retry-After` for a full log. A request with an
///   `Idempotency-Key` that came before is answered as it was then, and its events are not taken
///   again; 422 where they are other events. Where a learner answers records ([`Answers`]), the response waits for
///   that where the request prefers it (`Prefer: wait=10`, RFC 7240), or the learner does and the request does not say
///   `Prefer: respond-async`; it has `"answers":[...]`, one for each event, `null` for one that took longer.
/// - `GET /health`: `{"status":"ok","sequence":last}`; where nearly all records are bad, the status is `"bad records"` and
///   `"bad"` says what the learner says of them.
///
/// Web pages of other sites are refused (403), though a browser would send what they post.
#[derive(Debug)]
pub struct HttpSource {
    // Before the log: no request comes after this is dropped.
    listener: Listener,
    source: LogSource,
    answers: Arc<Answers>,
    health: Arc<Health>,
}

impl HttpSource {
    /// Listens on `address` and keeps events in `log`.
    ///
    /// # Errors
    /// If that fails, or other machines could connect.
    pub fn bind(address: &str, log: Log, options: &HttpOptions) -> Result<HttpSource> {
        let source = log.source();
        let (remote, bound) = (options.allow_remote, options.max_connections);
        let budget = Budget::new(options.all_bodies);
        let answers = Arc::new(Answers::default());
        let health = Arc::new(Health::default());
        let (answered, asked) = (answers.clone(), health.clone());
        let take = Take { log, options: options.clone(), budget, answers: answered, health: asked };
        let listener = Listener::start(address, remote, bound, take)?;
        Ok(HttpSource { listener, source, answers, health })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Where the events are kept.
    pub fn log(&self) -> Log {
        self.source.log()
    }
}

struct Take {
    log: Log,
    options: HttpOptions,
    budget: Budget,
    answers: Arc<Answers>,
    health: Arc<Health>,
}

impl Serve for Take {
    fn serve(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(self.options.idle));
        let _ = stream.set_write_timeout(Some(self.options.idle));
        let mut connection = Connection::new(stream, self.options.max_body, &self.budget);
        loop {
            let mut body = Vec::new();
            let read = connection.head();
            let read = read.and_then(|head| connection.body(&head, &mut body).map(|()| head));
            match read {
                Ok(head) => {
                    let (status, text) = self.respond(&head, std::mem::take(&mut body));
                    if connection.answer(status, head.close, &text).is_err() || head.close {
                        return;
                    }
                }
                Err(Failure::Gone) => return,
                Err(Failure::Refuse(status, text)) => {
                    if connection.answer(status, true, &error(text)).is_ok() {
                        connection.linger();
                    }
                    return;
                }
            }
        }
    }

    fn refuse(&self, mut stream: TcpStream) {
        let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
        let text = error("too many connections at once");
        let _ = stream.write_all(answer(503, true, &text).as_bytes());
    }
}

impl Take {
    fn respond(&self, head: &Head, body: Vec<u8>) -> (u16, String) {
        if head.origin.as_deref().is_some_and(is_foreign) {
            return (403, error("web pages of other sites may not send events"));
        }
        match (head.method.as_str(), head.path.as_str()) {
            ("POST", "/events") => match self.append(body, head) {
                Ok(taken) => taken,
                Err((status, text)) => (status, error(&text)),
            },
            ("GET", "/health") => {
                let (status, bad) = match self.health.bad() {
                    None => ("ok", String::new()),
                    Some(what) => ("bad records", format!(",\"bad\":\"{}\"", quoted(&what))),
                };
                let last = self.log.last();
                (200, format!("{{\"status\":\"{status}\",\"sequence\":{last}{bad}}}\n"))
            }
            (_, "/events" | "/health") => (405, error("POST /events, or GET /health")),
            _ => (404, error("there is POST /events, and GET /health")),
        }
    }

    fn append(
        &self,
        body: Vec<u8>,
        head: &Head,
    ) -> std::result::Result<(u16, String), body::Refused> {
        let HttpOptions { max_body, format, .. } = self.options;
        let content_type = head.content_type.split(';').next().unwrap_or_default().trim();
        // What is unpacked or laid out again takes memory of its own.
        let copied = if head.content_encoding.is_empty() { body.len() } else { max_body };
        let Some(_held) = self.budget.hold(if format.is_some() { copied } else { 0 }) else {
            return Err((503, "too many large bodies at once".into()));
        };
        let body = body::decoded(body, &head.content_encoding, max_body)?;
        let body = body::laid_out(body, content_type, format)?;
        let one = format.is_none() && content_type == "application/json";
        body::check(body::events(&body, one), format)?;
        let events = body::events(&body, one);
        let appended = match &head.idempotency_key {
            Some(key) => self.log.append_once(key, events),
            None => self.log.append(events),
        };
        match appended {
            Ok(got) if got.last < got.first => Err((400, "the body holds no event".into())),
            Ok(got) => {
                let accepted = got.last + 1 - got.first;
                let mut text = format!("{{\"accepted\":{accepted},\"sequence\":{}", got.last);
                if let Some(answers) = self.answers.wait(got.first, got.last, head.waits) {
                    text += &format!(",\"answers\":[{}]", answers.join(","));
                }
                Ok((200, text + "}\n"))
            }
            Err(Error::Full { .. }) => {
                Err((503, "the log is full until the learner has caught up".into()))
            }
            Err(Error::Usage(what)) if head.idempotency_key.is_some() => Err((422, what)),
            Err(_) => Err((500, "the log cannot be written".into())),
        }
    }
}

/// An answer of JSON that says what was wrong.
fn error(text: &str) -> String {
    format!("{{\"error\":\"{}\"}}\n", quoted(text))
}

/// A text within quotes of JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted
}

/// Whether `origin` is not of this machine.
fn is_foreign(origin: &str) -> bool {
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    let host = if host.starts_with('[') { host } else { host.split(':').next().unwrap_or(host) };
    !(host == "localhost" || host == "127.0.0.1" || host.starts_with("[::1]"))
}

impl Source for HttpSource {
    fn name(&self) -> String {
        format!("http://{}", self.address())
    }

    fn not_seekable(&self) -> Option<&'static str> {
        None
    }

    fn seek(&mut self, position: &Position) -> Result<()> {
        self.source.seek(position)
    }

    fn poll(&mut self, records: &mut Records, bytes: usize, wait: Duration) -> Result<Poll> {
        self.source.poll(records, bytes, wait)
    }

    fn commit(&mut self, position: &Position) -> Result<()> {
        self.source.commit(position)
    }

    fn counters(&self) -> Counters {
        Counters { reopened: self.listener.accepted(), ..self.source.counters() }
    }

    fn health(&self) -> Option<Arc<Health>> {
        Some(self.health.clone())
    }

    fn answers(&self) -> Option<Arc<Answers>> {
        Some(self.answers.clone())
    }
}
