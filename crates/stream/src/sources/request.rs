//! HTTP/1.1 requests and answers over a socket: heads, bodies, chunks; nothing else.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A head is at most this long.
const MAX_HEAD: usize = 16 << 10;

/// Memory that the bodies of all connections share.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Budget {
        Budget { left: AtomicUsize::new(bytes) }
    }

    /// Memory for what a body becomes, if there is that much.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Held<'_>> {
        self.take(bytes).then_some(Held(self, bytes))
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// Memory that is given back when this is dropped.
pub(crate) struct Held<'a>(&'a Budget, usize);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.left.fetch_add(self.1, Ordering::Relaxed);
    }
}

/// A connection with what has been read ahead.
pub(crate) struct Connection<'a> {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    max_body: usize,
    budget: &'a Budget,
    /// What the body of this request has of it.
    taken: usize,
}

/// What of a head matters here.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) content_type: String,
    pub(crate) content_encoding: String,
    pub(crate) origin: Option<String>,
    /// What a sender that may repeat the request calls it.
    pub(crate) idempotency_key: Option<Vec<u8>>,
    /// Whether it prefers to wait for what becomes of the events, or not to (RFC 7240), and for how long at most.
    pub(crate) waits: Option<Duration>,
    pub(crate) close: bool,
    length: Option<usize>,
    chunked: bool,
    expects: bool,
}

/// Why there is no request.
pub(crate) enum Failure {
    /// The client is gone, or was silent for too long.
    Gone,
    /// It is told this status and text, and the connection ends.
    Refuse(u16, &'static str),
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Failure {
        Failure::Gone
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<'a> Connection<'a> {
    pub(crate) fn new(stream: TcpStream, max_body: usize, budget: &'a Budget) -> Connection<'a> {
        Connection { stream, buffer: Vec::new(), start: 0, max_body, budget, taken: 0 }
    }

    /// The body is no longer needed.
    fn give_back(&mut self) {
        self.budget.left.fetch_add(std::mem::take(&mut self.taken), Ordering::Relaxed);
    }

    /// Makes sure that there is memory for `len` bytes of the body.
    fn afford(&mut self, len: usize) -> Result<(), Failure> {
        if !self.budget.take(len) {
            return Err(Failure::Refuse(503, "too many large bodies at once"));
        }
        self.taken += len;
        Ok(())
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads more, at least a byte.
    fn more(&mut self) -> Result<(), Failure> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let len = self.buffer.len();
        self.buffer.resize(len + (16 << 10), 0);
        let n = self.stream.read(&mut self.buffer[len..]);
        self.buffer.truncate(len + n.as_ref().copied().unwrap_or(0));
        if n? == 0 { Err(Failure::Gone) } else { Ok(()) }
    }

    /// The next request's head.
    pub(crate) fn head(&mut self) -> Result<Head, Failure> {
        loop {
            if let Some((head, len)) = parse(self.unread())? {
                self.start += len;
                return Ok(head);
            }
            if self.unread().len() > MAX_HEAD {
                return Err(Failure::Refuse(431, "the head of the request is too long"));
            }
            self.more()?;
        }
    }

    /// Reads the body that follows `head`.
    pub(crate) fn body(&mut self, head: &Head, body: &mut Vec<u8>) -> Result<(), Failure> {
        body.clear();
        if head.length.is_some_and(|n| n > self.max_body) {
            return Err(self.too_large());
        }
        // Before the client is told to go on: what is refused need not be sent.
        self.afford(head.length.unwrap_or(0))?;
        if head.expects {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if !head.chunked {
            return self.exactly(head.length.unwrap_or(0), body);
        }
        loop {
            let size = loop {
                match httparse::parse_chunk_size(self.unread()) {
                    Ok(httparse::Status::Complete((at, size))) => {
                        self.start += at;
                        break size;
                    }
                    Ok(httparse::Status::Partial) if self.unread().len() < 256 => self.more()?,
                    _ => return Err(Failure::Refuse(400, "a chunk has no valid size")),
                }
            };
            if size > (self.max_body - body.len()) as u64 {
                return Err(self.too_large());
            }
            if size == 0 {
                return self.trailer();
            }
            self.afford(size as usize)?;
            self.exactly(size as usize, body)?;
            let mut end = Vec::new();
            self.exactly(2, &mut end)?;
            if end != b"\r\n" {
                return Err(Failure::Refuse(400, "a chunk is longer than its size"));
            }
        }
    }

    fn too_large(&self) -> Failure {
        Failure::Refuse(413, "the body is too large; send fewer events at once")
    }

    fn exactly(&mut self, len: usize, out: &mut Vec<u8>) -> Result<(), Failure> {
        let have = self.unread().len().min(len);
        out.extend_from_slice(&self.buffer[self.start..self.start + have]);
        self.start += have;
        let missing = (len - have) as u64;
        if missing > 0
            && Read::by_ref(&mut self.stream).take(missing).read_to_end(out)? < len - have
        {
            return Err(Failure::Gone);
        }
        Ok(())
    }

    /// Passes over what may follow the last chunk, up to the empty line.
    fn trailer(&mut self) -> Result<(), Failure> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', self.unread()) {
                let empty = matches!(&self.unread()[..at], b"" | b"\r");
                self.start += at + 1;
                if empty {
                    return Ok(());
                }
            } else if self.unread().len() > MAX_HEAD {
                return Err(Failure::Refuse(431, "the trailer of the request is too long"));
            } else {
                self.more()?;
            }
        }
    }

    /// Answers with JSON; the body of the request is no longer needed then.
    pub(crate) fn answer(&mut self, status: u16, close: bool, body: &str) -> io::Result<()> {
        self.give_back();
        self.stream.write_all(answer(status, close, body).as_bytes())
    }

    /// Reads on for a moment before the connection ends, so that the client, which may be sending
    /// still, gets to read the answer.
    pub(crate) fn linger(mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        let _ = self.stream.set_read_timeout(Some(std::time::Duration::from_millis(500)));
        let bound = self.max_body as u64;
        let _ = io::copy(&mut Read::by_ref(&mut self.stream).take(bound), &mut io::sink());
    }
}

/// The whole answer, so that it goes out in one packet.
pub(crate) fn answer(status: u16, close: bool, body: &str) -> String {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    };
    let retry = if status == 503 { "Retry-After: 1\r\n" } else { "" };
    let connection = if close { "Connection: close\r\n" } else { "" };
    let len = body.len();
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n\
         {retry}{connection}\r\n{body}"
    )
}

/// The head at the start of `bytes` and its length, once all of it is there.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Failure> {
    const BAD: Failure = Failure::Refuse(400, "this is no valid HTTP/1.1 request");
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(BAD),
    };
    let mut head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        path: request.path.unwrap_or_default().to_owned(),
        close: request.version == Some(0),
        ..Head::default()
    };
    for header in request.headers.iter() {
        let value = String::from_utf8_lossy(header.value).trim().to_ascii_lowercase();
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let length = value.parse().map_err(|_| BAD)?;
                if head.length.replace(length).is_some_and(|other| other != length) {
                    return Err(BAD);
                }
            }
            "transfer-encoding" if value == "chunked" => head.chunked = true,
            "transfer-encoding" => return Err(BAD),
            "content-type" => head.content_type = value,
            "content-encoding" => head.content_encoding = value,
            "expect" => head.expects = value == "100-continue",
            "connection" => head.close = value == "close" || (head.close && value != "keep-alive"),
            "idempotency-key" => {
                let key = header.value.trim_ascii();
                if key.is_empty() {
                    return Err(Failure::Refuse(400, "the Idempotency-Key is empty"));
                }
                head.idempotency_key = Some(key.to_vec());
            }
            "origin" => head.origin = Some(value),
            "prefer" => head.waits = waits(&value).or(head.waits),
            _ => {}
        }
    }
    if head.chunked && head.length.is_some() {
        return Err(BAD); // Two ends of one body: whoever sends that means no good.
    }
    Ok(Some((head, len)))
}

/// How long a request prefers to wait: `wait=10`, `respond-async`. Nothing where it says neither.
fn waits(prefer: &str) -> Option<Duration> {
    prefer.split([',', ';']).find_map(|part| match part.trim().split_once('=') {
        Some(("wait", seconds)) => seconds.trim().parse().ok().map(Duration::from_secs),
        None if part.trim() == "respond-async" => Some(Duration::ZERO),
        _ => None,
    })
}
