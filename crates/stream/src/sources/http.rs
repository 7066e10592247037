//! Events that are pushed by HTTP, kept in the embedded log before they are acknowledged.
//!
//! One thread reads the requests of all connections ([`hyper`] on one thread of tokio); a few others write to the log.

mod body;
mod budget;
mod connections;
mod guard;
mod receive;
mod server;
mod service;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidemill_table::Format;

use crate::access::{self, Access};
use crate::answers::{Answers, Awaited};
use crate::error::Result;
use crate::health::Health;
use crate::lines::MAX_RECORD;
use crate::log::{Log, LogSource};
use crate::position::Position;
use crate::records::Records;
use crate::rows::Rows;
use crate::source::{Counters, Poll, Source};
use budget::Budget;
use connections::{Bounds, Connections};
use guard::Guard;
use receive::Allowed;
use server::Server;
use service::Service;
use tls::Tls;

/// How requests are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// Larger bodies are refused with 413. 16 MiB.
    pub max_body: usize,
    /// Bodies of all requests together, as far as they have come; what does not fit is refused with 503. 64 MiB.
    pub all_bodies: usize,
    /// So much of each body does not count for that, so that large bodies do not keep small ones out. 64 KiB.
    pub free_body: usize,
    /// Connections at once, if the process may have more than twice as many file descriptors. With one more, the idlest is
    /// closed; 503 if all are being answered. One other machine has at most a quarter of them. 256.
    pub max_connections: usize,
    /// A connection without a request is closed after this time. A minute.
    pub idle: Duration,
    /// A connection is closed if the head of its request is not complete after this time. Ten seconds.
    pub head: Duration,
    /// A body of which fewer than `least_bytes` come within this time is refused with 408. Ten seconds.
    pub body: Duration,
    /// See `body`. 10,000.
    pub least_bytes: usize,
    /// Who may send.
    pub access: Access,
    /// What events are checked for before they are acknowledged; nothing where it is not known.
    pub format: Option<Format>,
    /// Who waits for what a learner answers. Nobody.
    pub answers: Awaited,
}

impl Default for HttpOptions {
    fn default() -> Self {
        let ten = Duration::from_secs(10);
        HttpOptions {
            max_body: MAX_RECORD,
            all_bodies: 4 * MAX_RECORD,
            free_body: 64 << 10,
            max_connections: 256,
            idle: 6 * ten,
            head: ten,
            body: ten,
            least_bytes: 10_000,
            access: Access::default(),
            format: None,
            answers: Awaited::Never,
        }
    }
}

/// The events of a log that grows by requests:
///
/// - `POST /events`: with the content type `application/json` the body is one event, several, or an
///   array of them; with any other each line is one. It may be gzipped. Answers
///   `{"accepted":n,"sequence":last}` once the log has them: so many events, headers and comments not counted. A body with
///   an event that cannot be read, or that does not fit what the learner has understood of the stream ([`Rows`]), is
///   refused as a whole: 400 says which, 415 that it is of another kind. 413 is for too large a body, 408 for one that comes too slowly, 503 with `Retry-After` for a full log, or one
///   whose disk has failed. A request with an
///   `Idempotency-Key` that came before is answered as it was then, and its events are not taken
///   again; 422 where they are other events. Where a learner answers records ([`Awaited`]), the response waits for
///   that where the request prefers it (`Prefer: wait=10`, RFC 7240), or the learner does and the request does not say
///   `Prefer: respond-async`; it has `"answers":[...]`, one for each event, `null` for one that took longer.
/// - `GET /health`: `{"status":"ok","sequence":last}`; 503 and `{"status":"failed","error":cause,...}` once the log takes nothing
///   more; where nearly all records are bad, the status is `"bad records"` and `"bad"` says what the learner says of them.
///
/// With tokens ([`Access`]) a request without one is refused (401); `/health` says no more than the status to it. Web pages of other
/// sites are refused (403), though a browser would send what they post: they have another `Origin`, or another `Host`.
#[derive(Debug)]
pub struct HttpSource {
    // Before the log: no request comes after this is dropped.
    server: Server,
    source: LogSource,
    answers: Option<Arc<Answers>>,
    health: Arc<Health>,
    rows: Arc<Rows>,
}

impl HttpSource {
    /// Listens on `address` and keeps events in `log`.
    ///
    /// # Errors
    /// If that fails, or other machines could connect that may not, or the files of a certificate are invalid.
    pub fn bind(address: &str, log: Log, options: &HttpOptions) -> Result<HttpSource> {
        let access = &options.access;
        let addresses = access.addresses(address, true)?;
        let is_local = addresses.iter().all(|a| a.ip().is_loopback());
        let tls = access.tls.as_ref().map(Tls::open).transpose()?;
        let most = access::connections(options.max_connections);
        let bounds = Bounds { most, head: options.head, idle: options.idle };
        let (bytes, least, time) = (options.max_body, options.least_bytes, options.body);
        let (source, answers) = (log.source(), Answers::new(options.answers));
        let health = Arc::new(Health::default());
        let rows = Arc::new(Rows::new(log.last()));
        let service = Service {
            log,
            format: options.format,
            guard: Guard::new(access.tokens.clone(), is_local, address),
            allowed: Allowed { bytes, least, time },
            budget: Budget::new(options.all_bodies, options.free_body),
            answers: answers.clone(),
            health: health.clone(),
            rows: rows.clone(),
            busy: Arc::default(),
        };
        let server = Server::start(address, &addresses, Connections::new(bounds), service, tls)?;
        Ok(HttpSource { server, source, answers, health, rows })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where the events are kept.
    pub fn log(&self) -> Log {
        self.source.log()
    }
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
        Counters { reopened: self.server.accepted(), ..self.source.counters() }
    }

    fn notes(&self) -> Vec<String> {
        let listens = format!("listens at {}", self.name());
        std::iter::once(listens).chain(self.source.notes()).collect()
    }

    fn health(&self) -> Option<Arc<Health>> {
        Some(self.health.clone())
    }

    fn rows(&self) -> Option<Arc<Rows>> {
        Some(self.rows.clone())
    }

    fn answers(&self) -> Option<Arc<Answers>> {
        self.answers.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::access::Tokens;
    use crate::log::LogOptions;

    fn asked(source: &HttpSource, request: &str) -> String {
        let mut stream = TcpStream::connect(source.address()).unwrap();
        let (method, body) = request.split_once(' ').unwrap();
        let len = if method == "POST" { 3 } else { 0 };
        let head = "Host: localhost\r\nConnection: close";
        write!(stream, "{method} {body} HTTP/1.1\r\n{head}\r\nContent-Length: {len}\r\n\r\n")
            .unwrap();
        stream.write_all(&b"one"[..len]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_failed_log_is_in_its_health() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path(), LogOptions::default()).unwrap();
        let source = HttpSource::bind("127.0.0.1:0", log, &HttpOptions::default()).unwrap();
        assert!(asked(&source, "POST /events").starts_with("HTTP/1.1 200 "));
        assert!(asked(&source, "GET /health").ends_with("{\"status\":\"ok\",\"sequence\":1}\n"));
        source.log().fail("flushing to disk failed: \"EIO\"");
        let answer = asked(&source, "GET /health");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        let body = "{\"status\":\"failed\",\"error\":\"flushing to disk failed: \\\"EIO\\\"\",\"sequence\":1}\n";
        assert!(answer.ends_with(body), "{answer}");
        let answer = asked(&source, "POST /events");
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("takes nothing"),
            "{answer}"
        );
    }

    #[test]
    fn a_failure_is_no_news_for_strangers() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path(), LogOptions::default()).unwrap();
        let access =
            Access { tokens: Tokens::parse("0123456789abcdef").unwrap(), ..Access::default() };
        let options = HttpOptions { access, ..HttpOptions::default() };
        let source = HttpSource::bind("127.0.0.1:0", log, &options).unwrap();
        source.log().fail("flushing to disk failed");
        let answer = asked(&source, "GET /health");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("{\"status\":\"failed\"}\n"), "{answer}");
    }
}
