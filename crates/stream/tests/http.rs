//! What a server of HTTP stands: slow and many senders, requests that are none, pages of other sites.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::client::Client;
use common::{WAIT, idle, texts};
use tidemill_stream::sources::{HttpOptions, HttpSource};
use tidemill_stream::{Access, Log, LogOptions, OpenOptions, Tokens, open};

const TOKEN: &str = "0123456789abcdef";

fn http(options: &HttpOptions) -> (HttpSource, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), LogOptions::default()).unwrap();
    (HttpSource::bind("127.0.0.1:0", log, options).unwrap(), folder)
}

/// What comes until the server closes.
fn rest(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let mut text = Vec::new();
    // A reset ends it as well.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn send(address: SocketAddr, request: &str) -> (u16, String) {
    Client::new(address).send(request)
}

/// The first bytes of a request, and one that never ends.
const HEAD: &[u8] = b"POST /events HTTP/1.1\r\nHost: localhost\r\n";
const BODY: &[u8] = b"POST /events HTTP/1.1\r\nContent-Length: 16777216\r\n\r\n{\"x\":";

/// Each connection that there may be is taken by a sender that does not get ahead; another one is answered at once.
#[test]
fn slow_senders_delay_nobody() {
    let (mut source, _folder) = http(&HttpOptions::default());
    let connect = |bytes| {
        let mut stream = TcpStream::connect(source.address()).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let mut slow: Vec<_> = (0..4).map(|_| connect(BODY)).collect();
    slow.extend((0..256).map(|_| connect(HEAD)));
    let start = Instant::now();
    let mut client = Client::new(source.address());
    for i in 0..50 {
        // A byte of each, as they would be sent over a long time.
        for stream in &mut slow {
            let _ = stream.write_all(b"x"); // Some are closed by now.
        }
        assert_eq!(client.post("", &format!("{{\"x\":{i}}}")).0, 200);
        let new = Client::new(source.address()).post("", &format!("{{\"y\":{i}}}"));
        assert_eq!(new.0, 200);
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?} for 100 requests");
    assert_eq!(texts(&mut source, 100).len(), 100);
}

#[test]
fn late_heads_and_slow_bodies_are_ended() {
    let short = Duration::from_millis(100);
    let options = HttpOptions { head: short, body: short, ..HttpOptions::default() };
    let (mut source, _folder) = http(&options);
    let start = Instant::now();
    let mut idle_one = TcpStream::connect(source.address()).unwrap();
    let mut head = TcpStream::connect(source.address()).unwrap();
    head.write_all(HEAD).unwrap();
    let mut body = TcpStream::connect(source.address()).unwrap();
    body.write_all(BODY).unwrap();
    assert_eq!(rest(&mut head), "");
    let answer = rest(&mut body);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("fewer than"), "{answer}");
    assert!(answer.contains("Connection: close"), "{answer}");
    assert!(start.elapsed() >= short, "both have their time");
    // A large body that comes steadily may take longer than that.
    let mut steady = Client::new(source.address());
    let piece = "x".repeat(20_000);
    write!(steady.0, "POST /events HTTP/1.1\r\nContent-Length: {}\r\n\r\n", 20 * piece.len())
        .unwrap();
    for _ in 0..20 {
        std::thread::sleep(short / 10);
        steady.0.write_all(piece.as_bytes()).unwrap();
    }
    assert_eq!(steady.send("").0, 200);
    // One that is idle may be so for longer.
    let health = b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n";
    idle_one.write_all(health).unwrap();
    assert!(rest(&mut idle_one).starts_with("HTTP/1.1 200 "));
    assert_eq!(texts(&mut source, 1)[0].len(), 400_000);

    let (source, _folder) = http(&HttpOptions { idle: short, ..HttpOptions::default() });
    let mut client = Client::new(source.address());
    assert_eq!(client.post("", "{}").0, 200);
    assert_eq!(rest(&mut client.0), "");
}

#[test]
fn the_idlest_connection_makes_room() {
    let (source, _folder) = http(&HttpOptions { max_connections: 2, ..HttpOptions::default() });
    let health = "GET /health HTTP/1.1\r\n\r\n";
    let mut clients = [Client::new(source.address()), Client::new(source.address())];
    for client in &mut clients {
        assert_eq!(client.send(health).0, 200);
    }
    assert_eq!(clients[0].send(health).0, 200);
    assert_eq!(send(source.address(), health).0, 200);
    assert_eq!(clients[0].send(health).0, 200);
    assert!(clients[1].try_send(health).is_none());
}

/// Memory is taken as bytes come, and small bodies always have some.
#[test]
fn bodies_share_a_bound() {
    let options = HttpOptions { all_bodies: 1000, free_body: 100, ..HttpOptions::default() };
    let (source, _folder) = http(&options);
    let mut slow = Client::new(source.address());
    let head = b"POST /events HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n";
    slow.0.write_all(head).unwrap();
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let mut told = vec![0; go_on.len()];
    slow.0.read_exact(&mut told).unwrap();
    assert_eq!(told, go_on.as_bytes());
    // What it only promises takes nothing from others.
    let event = "x".repeat(600);
    assert_eq!(Client::new(source.address()).post("", &event).0, 200);
    // What it has sent does.
    slow.0.write_all(&[b'x'; 900]).unwrap();
    let start = Instant::now();
    loop {
        let (status, answer) = Client::new(source.address()).post("", &event);
        if status == 503 {
            assert!(answer.contains("too many large bodies"), "{answer}");
            break;
        }
        assert!(start.elapsed() < WAIT, "{answer}");
    }
    assert_eq!(Client::new(source.address()).post("", "small").0, 200);
    assert_eq!(slow.send(&"x".repeat(100)).0, 200);
    for _ in 0..20 {
        assert_eq!(slow.post("", &event).0, 200);
    }
}

#[test]
fn heads_that_are_none() {
    let (mut source, _folder) = http(&HttpOptions::default());
    let address = source.address();
    let post = "POST /events HTTP/1.1\r\n";
    let many = "A: b\r\n".repeat(65);
    let long = "x".repeat(20 << 10);
    for (status, request) in [
        (400, format!("{post}Content-Length: +21\r\n\r\n")),
        (400, format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\n")),
        (400, format!("{post}Content-Length: 99999999999999999999\r\n\r\n")),
        (400, format!("{post}Transfer-Encoding: gzip\r\n\r\n")),
        (400, format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n")),
        (400, format!("{post}Transfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n")),
        (400, format!("{post}Host: localhost\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")),
        (
            400,
            format!("{post}Origin: http://localhost\r\nOrigin: null\r\nContent-Length: 0\r\n\r\n"),
        ),
        (403, format!("{post}Host: evil.example\r\nContent-Length: 0\r\n\r\n")),
        (403, format!("{post}Origin: null\r\nContent-Length: 0\r\n\r\n")),
        (431, format!("{post}{many}\r\n")),
        (431, format!("{post}A: {long}\r\n\r\n")),
        (400, "nonsense\r\n\r\n".into()),
        (400, "\u{16}\u{3}\u{1}\r\n\r\n".into()),
    ] {
        let (code, answer) = send(address, &request);
        assert_eq!(code, status, "{request:.60}: {answer}");
    }
    // Two ends of one body: the chunks count (RFC 9112, 6.3), and nothing after them is taken for a request.
    let both = format!(
        "{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
         {post}Content-Length: 4\r\n\r\nevil"
    );
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(both.as_bytes()).unwrap();
    let answer = rest(&mut client);
    assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("\"sequence\":2"), "{answer}");
    assert_eq!(texts(&mut source, 1), ["abc"]);
    idle(&mut source);
}

#[test]
fn many_requests_at_once_are_answered_in_order() {
    let (mut source, _folder) = http(&HttpOptions::default());
    let mut client = TcpStream::connect(source.address()).unwrap();
    let request = |i| {
        let close = if i == 299 { "Connection: close\r\n" } else { "" };
        format!("POST /events HTTP/1.1\r\n{close}Content-Length: 3\r\n\r\n{i:03}")
    };
    let all: String = (0..300).map(request).collect();
    client.write_all(all.as_bytes()).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let answers = rest(&mut client);
    let sequences = answers.match_indices("\"sequence\":");
    let found = sequences.map(|(at, name)| {
        let number = answers[at + name.len()..].split('}').next().unwrap();
        number.parse::<u32>().unwrap()
    });
    assert!(found.eq(1..=300), "{answers}");
    assert!(texts(&mut source, 300).into_iter().eq((0..300).map(|i| format!("{i:03}"))));
}

#[test]
fn a_refusal_is_read_while_the_body_is_sent() {
    let (source, _folder) = http(&HttpOptions { max_body: 1000, ..HttpOptions::default() });
    let mut client = TcpStream::connect(source.address()).unwrap();
    let body = "x".repeat(4 << 20);
    write!(client, "POST /events HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    let answer = rest(&mut client);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn senders_have_a_token() {
    let tokens = Tokens::parse(TOKEN).unwrap();
    let access = Access { tokens, ..Access::default() };
    let (mut source, _folder) = http(&HttpOptions { access, ..HttpOptions::default() });
    let mut client = Client::new(source.address());
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    let (status, answer) = client.post("", "one");
    assert!(status == 401 && answer.contains("Www-Authenticate: Bearer"), "{answer}");
    assert_eq!(client.post("Authorization: Bearer 0123456789abcdeF\r\n", "one").0, 401);
    assert!(client.post(&right, "one").1.contains("\"sequence\":1"));
    // Under any name, since a web page has no token.
    let named = format!("GET /health HTTP/1.1\r\nHost: learner.example\r\n{right}\r\n");
    assert!(client.send(&named).1.ends_with("{\"status\":\"ok\",\"sequence\":1}\n"));
    let (status, answer) = client.send("GET /health HTTP/1.1\r\n\r\n");
    assert!(status == 200 && answer.ends_with("{\"status\":\"ok\"}\n"), "{answer}");
    assert_eq!(texts(&mut source, 1), ["one"]);
}

#[test]
fn other_machines_need_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = OpenOptions {
        log_folder: Some(folder.path().into()),
        access: Access { allow_remote: true, ..Access::default() },
        ..OpenOptions::default()
    };
    let error = open("http://0.0.0.0:0", &options).err().unwrap().to_string();
    assert!(error.contains("TIDEMILL_TOKEN"), "{error}");
    options.access.tokens = Tokens::parse(TOKEN).unwrap();
    assert!(open("http://0.0.0.0:0", &options).is_ok());
    options.access = Access { allow_remote: true, insecure: true, ..Access::default() };
    assert!(open("http://0.0.0.0:0", &options).is_ok());
}
