//! What each request is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use tidemill_table::Format;

use super::body::{self, Refused};
use super::budget::{Budget, Held};
use super::connections::{Phase, Ticket};
use super::guard::Guard;
use super::receive::{Allowed, receive, too_many};
use crate::answers::Answers;
use crate::error::Error;
use crate::health::Health;
use crate::log::{Log, Sequences};
use crate::rows::Rows;

/// The answer to a connection that is not taken.
pub(super) const TOO_MANY: &str = "HTTP/1.1 503 Service Unavailable\r\n\
     Content-Type: application/json\r\nContent-Length: 41\r\nRetry-After: 1\r\n\
     Connection: close\r\n\r\n{\"error\":\"too many connections at once\"}\n";

/// What answers requests.
pub(super) struct Service {
    pub(super) log: Log,
    pub(super) format: Option<Format>,
    pub(super) guard: Guard,
    pub(super) allowed: Allowed,
    pub(super) budget: Arc<Budget>,
    pub(super) answers: Option<Arc<Answers>>,
    pub(super) health: Arc<Health>,
    pub(super) rows: Arc<Rows>,
    /// Requests whose bodies are there and that are not in the log yet.
    pub(super) busy: Arc<AtomicUsize>,
}

/// Bodies up to this length may be taken to the log by the thread that reads requests.
const SHORT: usize = 4 << 10;

/// A status with its JSON.
type Answer = (u16, String);

impl Service {
    /// Answers a request.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        ticket: &Ticket,
    ) -> Response<Full<Bytes>> {
        ticket.enter(Phase::Body);
        let answer = self.respond(request, ticket).await;
        let (status, text) = answer.unwrap_or_else(|(status, what)| (status, error(&what)));
        ticket.enter(Phase::Idle);
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match status {
            401 => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            503 => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // The rest of the body is not read.
            408 | 413 => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        ticket: &Ticket,
    ) -> Result<Answer, Refused> {
        self.guard.check_site(request.headers())?;
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/events") => {}
            (&Method::GET, "/health") => return Ok(self.health(request.headers())),
            (_, "/events" | "/health") => return Err((405, "POST /events, or GET /health".into())),
            _ => return Err((404, "there is POST /events, and GET /health".into())),
        }
        self.guard.check_token(request.headers())?;
        let head = Head::of(request.headers())?;
        let mut held = self.budget.hold();
        let body = receive(request.into_body(), self.allowed, &mut held).await?;
        ticket.enter(Phase::Busy);
        let waits = head.waits;
        // Before the learner can see the events.
        let awaited = self.answers.as_ref().map(|answers| answers.awaited(waits));
        let taken = self.append(body, head, held).await?;
        let (first, last, others) = (taken.got.first, taken.got.last, taken.others);
        let accepted = last + 1 - first - others.len() as u64;
        let mut text = format!("{{\"accepted\":{accepted},\"sequence\":{last}");
        match &awaited {
            Some(awaited) => {
                if let Some(mut answers) = awaited.wait(first, last).await {
                    others.iter().rev().for_each(|i| drop(answers.remove(*i)));
                    text += &format!(",\"answers\":[{}]", answers.join(","));
                }
            }
            None if waits.is_some_and(|waits| !waits.is_zero()) => text += NO_ANSWERS,
            None => {}
        }
        Ok((200, text + "}\n"))
    }

    /// Takes a body to the log: at once if it is short and no other request waits, since that takes less time than to hand it
    /// to another thread and back; else on a thread that may wait for the disk, so that several share a flush.
    async fn append(&self, body: Vec<u8>, head: Head, mut held: Held) -> Result<Taken, Refused> {
        let busy = Busy::new(&self.busy);
        let (log, rows) = (self.log.clone(), self.rows.clone());
        let take = Take { log, rows, format: self.format, most: self.allowed.bytes };
        if body.len() <= SHORT && head.content_encoding.is_empty() {
            // Requests that are there already are counted meanwhile.
            tokio::task::yield_now().await;
            if busy.is_alone() {
                return take.append(body, &head, &mut held);
            }
        }
        let taken = tokio::task::spawn_blocking(move || take.append(body, &head, &mut held)).await;
        drop(busy);
        match taken {
            Ok(taken) => taken,
            Err(_) => Err((500, "the request could not be taken; this is a bug".into())),
        }
    }

    /// Whether events are taken. Those without a token, where one is needed, get to know no more than that.
    fn health(&self, headers: &HeaderMap) -> Answer {
        let told = self.guard.is_open() || self.guard.check_token(headers).is_ok();
        let sequence =
            if told { format!(",\"sequence\":{}", self.log.last()) } else { String::new() };
        match self.log.failure() {
            None => {
                let (status, bad) = match self.health.bad().filter(|_| told) {
                    None => ("ok", String::new()),
                    Some(what) => ("bad records", format!(",\"bad\":\"{}\"", quoted(&what))),
                };
                (200, format!("{{\"status\":\"{status}\"{sequence}{bad}}}\n"))
            }
            Some(cause) => {
                let cause =
                    if told { format!(",\"error\":\"{}\"", quoted(&cause)) } else { String::new() };
                (503, format!("{{\"status\":\"failed\"{cause}{sequence}}}\n"))
            }
        }
    }
}

/// What of a head matters for the events.
struct Head {
    content_type: String,
    content_encoding: String,
    /// What a sender that may repeat the request calls it.
    idempotency_key: Option<Vec<u8>>,
    /// Whether it prefers to wait for what becomes of the events, or not to (RFC 7240), and for how long at most.
    waits: Option<Duration>,
}

impl Head {
    fn of(headers: &HeaderMap) -> Result<Head, Refused> {
        let lower = |value: &HeaderValue| {
            String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase()
        };
        let text = |name| headers.get(name).map(lower).unwrap_or_default();
        let mut keys = headers.get_all("idempotency-key").iter();
        let key = keys.next().map(|key| key.as_bytes().trim_ascii().to_vec());
        if keys.next().is_some() {
            return Err((400, "there are two headers Idempotency-Key".into()));
        }
        if key.as_ref().is_some_and(Vec::is_empty) {
            return Err((400, "the Idempotency-Key is empty".into()));
        }
        Ok(Head {
            content_type: text(CONTENT_TYPE).split(';').next().unwrap_or_default().trim().into(),
            content_encoding: text(CONTENT_ENCODING),
            idempotency_key: key,
            waits: headers
                .get_all("prefer")
                .iter()
                .filter_map(|value| waits(&lower(value)))
                .next_back(),
        })
    }
}

/// How long a request prefers to wait: `wait=10`, `wait` for as long as there is, `respond-async`. Nothing where it says neither.
fn waits(prefer: &str) -> Option<Duration> {
    prefer.split([',', ';']).find_map(|part| match part.trim().split_once('=') {
        Some(("wait", seconds)) => seconds.trim().parse().ok().map(Duration::from_secs),
        None if part.trim() == "respond-async" => Some(Duration::ZERO),
        None if part.trim() == "wait" => Some(Duration::MAX),
        _ => None,
    })
}

/// Said to those who ask for answers that nobody gives.
const NO_ANSWERS: &str = ",\"note\":\"Prefer: wait has no effect: events are answered where the recipe has \
                          online.labels, and texts by models that make texts\"";

/// A request among those that are taken to the log.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn new(all: &'a AtomicUsize) -> Busy<'a> {
        all.fetch_add(1, Relaxed);
        Busy(all)
    }

    fn is_alone(&self) -> bool {
        self.0.load(Relaxed) == 1
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// What became of a body.
struct Taken {
    got: Sequences,
    /// Numbers of the records in it that are no events.
    others: Vec<usize>,
}

/// What takes a body to the log.
struct Take {
    log: Log,
    rows: Arc<Rows>,
    format: Option<Format>,
    most: usize,
}

impl Take {
    /// Whether the events of a body say what those after them consist of, and the numbers of its records that are no events.
    fn check(&self, body: &[u8], one: bool) -> Result<(bool, Vec<usize>), Refused> {
        let known = self.rows.check(body::events(body, one), self.log.last() == 0);
        // What is of another kind is said to be that, whatever rows it lacks.
        let is_known = matches!(known, Ok(Some(_)));
        let others = body::check(body::events(body, one), self.format, is_known)?;
        match known {
            Ok(Some(known)) => Ok((known.says, known.others)),
            Ok(None) => Ok((false, others)),
            Err((i, bad)) => Err(body::refused(400, i, &bad.to_string())),
        }
    }

    fn append(&self, body: Vec<u8>, head: &Head, held: &mut Held) -> Result<Taken, Refused> {
        let Take { log, rows, format, most } = self;
        let body = body::decoded(body, &head.content_encoding, *most, held)?;
        // JSON is laid out again.
        if format.is_some() && body::is_json(&head.content_type) && !held.grow(body.len()) {
            return Err(too_many());
        }
        let body = body::laid_out(body, &head.content_type, *format)?;
        let one = format.is_none() && head.content_type == "application/json";
        let (says, others) = match self.check(&body, one) {
            Ok(checked) => checked,
            // It was taken when it came first, and what is known of the stream has changed since.
            Err(_) if head.idempotency_key.as_ref().is_some_and(|key| log.has_key(key)) => {
                Default::default()
            }
            Err(refused) => return Err(refused),
        };
        let events = body::events(&body, one);
        let appended = match &head.idempotency_key {
            Some(key) => log.append_once(key, events),
            None => log.append(events),
        };
        match appended {
            Ok(got) if got.last < got.first => Err((400, "the body holds no event".into())),
            Ok(got) => {
                if says {
                    rows.said(got.last);
                }
                Ok(Taken { got, others })
            }
            Err(Error::Full { .. }) => {
                Err((503, "the log is full until the learner has caught up".into()))
            }
            Err(Error::Usage(what)) if head.idempotency_key.is_some() => Err((422, what)),
            Err(Error::Unknown { what, .. }) => {
                Err((500, format!("{what}: whether the events were kept is not known")))
            }
            Err(e) => match log.failure() {
                Some(cause) => Err((503, format!("the log takes nothing more: {cause}"))),
                None => Err((500, format!("{e}; nothing of this request was taken"))),
            },
        }
    }
}

/// An answer of JSON that says what was wrong.
fn error(text: &str) -> String {
    format!("{{\"error\":\"{}\"}}\n", quoted(text))
}

/// A text within a string of JSON.
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
