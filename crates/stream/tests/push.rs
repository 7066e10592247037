//! Events that clients send by HTTP and TCP.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use common::{WAIT, idle, take, texts};
use tidemill_stream::sources::{HttpOptions, HttpSource, TcpOptions, TcpSource};
use tidemill_stream::{Fsync, Log, LogOptions, OpenOptions, Poll, Records, Source, open};

/// A client that keeps its connection.
struct Client(TcpStream);

impl Client {
    fn new(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        Client(stream)
    }

    /// Sends a raw request; gives the status and the whole answer.
    fn send(&mut self, request: &str) -> (u16, String) {
        self.0.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let len = head.split("Content-Length: ").nth(1).unwrap();
                let len: usize = len.split("\r\n").next().unwrap().parse().unwrap();
                if body.len() == len {
                    return (head.split(' ').nth(1).unwrap().parse().unwrap(), text);
                }
            }
            let mut part = [0; 4096];
            let n = self.0.read(&mut part).unwrap();
            assert!(n > 0, "closed after {text:?}");
            answer.extend_from_slice(&part[..n]);
        }
    }

    fn post(&mut self, headers: &str, body: &str) -> (u16, String) {
        let len = body.len();
        self.send(&format!(
            "POST /events HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len}\r\n\r\n{body}"
        ))
    }
}

fn http(folder: &Path, log: LogOptions, options: &HttpOptions) -> HttpSource {
    HttpSource::bind("127.0.0.1:0", Log::open(folder, log).unwrap(), options).unwrap()
}

#[test]
fn events_are_pushed_by_http_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let options = HttpOptions { max_body: 1000, ..HttpOptions::default() };
    let mut source = http(folder.path(), LogOptions::default(), &options);
    let mut client = Client::new(source.address());
    let (status, answer) = client.post("", "{\"a\":1}\r\n\n{\"a\":2}");
    assert_eq!(status, 200);
    assert!(answer.ends_with("{\"accepted\":2,\"sequence\":2}\n"), "{answer}");
    let json = "Content-Type: application/json; charset=utf-8\r\n";
    assert!(client.post(json, "{\n\"a\":3}").1.contains("\"sequence\":3"));
    let chunks = "POST /events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                  5;x=y\r\n{\"a\":\r\n2\r\n4}\r\n0\r\nTrailer: x\r\n\r\n";
    assert!(client.send(chunks).1.contains("\"accepted\":1,\"sequence\":4"));
    assert_eq!(client.send("GET /health HTTP/1.1\r\n\r\n").0, 200);
    assert_eq!(client.post("", " \n\n").0, 400);
    assert_eq!(client.post("Origin: https://example.com\r\n", "x").0, 403);
    assert_eq!(client.post("Origin: http://localhost:3000\r\n", "{\"a\":5}").0, 200);
    assert_eq!(client.send("GET /events HTTP/1.1\r\n\r\n").0, 405);
    assert_eq!(client.send("GET / HTTP/1.1\r\n\r\n").0, 404);
    let (status, answer) = client.post("", &"x".repeat(1001));
    assert!(status == 413 && answer.contains("Connection: close"), "{answer}");
    let mut long = Client::new(source.address());
    assert_eq!(
        long.send("POST /events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n").0,
        413
    );
    assert_eq!(Client::new(source.address()).send("nonsense\r\n\r\n").0, 400);
    let both = "POST /events HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(Client::new(source.address()).send(both).0, 400);

    let before = now_us();
    let read = take(&mut source, 5);
    let expect = ["{\"a\":1}", "{\"a\":2}", "{\n\"a\":3}", "{\"a\":4}", "{\"a\":5}"];
    assert!(read.iter().map(|(text, _)| text).eq(expect), "{read:?}");
    let (address, log) = (source.address(), source.log());
    drop(source);
    assert!(TcpStream::connect(address).is_err(), "the port is free again");
    drop(log);

    let mut source = http(folder.path(), LogOptions::default(), &options);
    source.seek(&read[3].1).unwrap();
    let mut records = Records::default();
    assert_eq!(source.poll(&mut records, 1000, WAIT).unwrap(), Poll::Some);
    let at = records.get(0).acknowledged;
    assert!(at > before - 60_000_000 && at <= before, "{at}");
}

fn now_us() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64
}

#[test]
fn a_full_log_is_told_until_the_learner_has_caught_up() {
    let folder = tempfile::tempdir().unwrap();
    let log = LogOptions { max_bytes: 10_000, fsync: Fsync::Never, ..LogOptions::default() };
    let mut source = http(folder.path(), log, &HttpOptions::default());
    let mut client = Client::new(source.address());
    let event = "x".repeat(500);
    let mut taken = 0;
    while client.post("", &event).0 == 200 {
        taken += 1;
    }
    let (status, answer) = client.post("", &event);
    assert!(status == 503 && answer.contains("Retry-After: 1"), "{answer}");
    let read = take(&mut source, taken);
    source.commit(&read.last().unwrap().1).unwrap();
    assert_eq!(client.post("", &event).0, 200);
    assert_eq!(texts(&mut source, 1), [event]);
}

#[test]
fn too_many_connections_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = HttpOptions { max_connections: 2, ..HttpOptions::default() };
    let source = http(folder.path(), LogOptions::default(), &options);
    let mut clients = [Client::new(source.address()), Client::new(source.address())];
    for client in &mut clients {
        assert_eq!(client.send("GET /health HTTP/1.1\r\n\r\n").0, 200);
    }
    assert_eq!(Client::new(source.address()).send("").0, 503);
}

#[test]
fn tcp_lines_of_several_clients() {
    let mut source = TcpSource::bind("127.0.0.1:0", &TcpOptions::default()).unwrap();
    let address = source.address();
    idle(&mut source);
    let clients: Vec<_> = (0..4)
        .map(|c| {
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                for i in 0..5000 {
                    stream.write_all(format!("{c} {i}\n").as_bytes()).unwrap();
                }
                stream.write_all(b"no end").unwrap();
            })
        })
        .collect();
    let lines = take(&mut source, 4 * 5001);
    for client in clients {
        client.join().unwrap();
    }
    for c in 0..4 {
        let own = lines.iter().filter_map(|(text, _)| text.strip_prefix(&format!("{c} ")));
        assert!(own.eq((0..5000).map(|i| i.to_string()).collect::<Vec<_>>()));
    }
    assert_eq!(lines.iter().filter(|(text, _)| text == "no end").count(), 4);
    assert!(lines.iter().zip(1..).all(|((_, p), i)| p.mark("").unwrap().major == i));
    assert_eq!(source.counters().reopened, 4);
    drop(source);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn only_this_machine_may_send() {
    let error = |uri: &str| open(uri, &OpenOptions::default()).err().unwrap().to_string();
    assert!(error("tcp://0.0.0.0:0").contains("listen on 127.0.0.1"));
    assert!(error("http://127.0.0.1:0").contains("give a folder"));
    let allowed = OpenOptions { allow_remote: true, ..OpenOptions::default() };
    assert!(open("tcp://0.0.0.0:0", &allowed).is_ok());
    let folder = tempfile::tempdir().unwrap();
    let log_folder = Some(folder.path().to_path_buf());
    let options = OpenOptions { log_folder, ..OpenOptions::default() };
    let source = open("http://localhost:0", &options).unwrap();
    let busy = error(&format!("log:{}", folder.path().display()));
    assert!(busy.contains("another process"), "{busy}");
    drop(source);
    let mut log = open(&format!("log:{}", folder.path().display()), &options).unwrap();
    assert_eq!(log.poll(&mut Records::default(), 1, WAIT).unwrap(), Poll::End);
    for scheme in ["nats", "redis", "kafka"] {
        if cfg!(feature = "nats") && scheme == "nats"
            || cfg!(feature = "redis") && scheme == "redis"
            || cfg!(feature = "kafka") && scheme == "kafka"
        {
            continue;
        }
        let error = error(&format!("{scheme}://127.0.0.1:1/x"));
        assert!(error.contains(&format!("--features {scheme}")), "{error}");
    }
}

/// `cargo test --release -p tidemill-stream --test push -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn latency_of_ten_thousand_events_a_second() {
    for fsync in [Fsync::Always, Fsync::Interval(Duration::from_millis(100))] {
        let folder = tempfile::tempdir_in(".").unwrap();
        let log = LogOptions { fsync, ..LogOptions::default() };
        let mut source = http(folder.path(), log, &HttpOptions::default());
        let (address, clients, each, rate) = (source.address(), 8u32, 12_500u32, 10_000.0);
        let threads: Vec<_> = (0..clients)
            .map(|c| {
                std::thread::spawn(move || {
                    let (mut client, mut times) = (Client::new(address), Vec::new());
                    let start = Instant::now();
                    for i in 0..each {
                        // Each client in turn, at a fixed pace of all together.
                        let due = Duration::from_secs_f64(f64::from(i * clients + c) / rate);
                        std::thread::sleep(due.saturating_sub(start.elapsed()));
                        let sent = Instant::now();
                        assert_eq!(client.post("", "{\"x\":[0.1,0.2,0.3,0.4],\"y\":1}").0, 200);
                        times.push(sent.elapsed().as_micros() as u64);
                    }
                    (times, start.elapsed().as_secs_f64())
                })
            })
            .collect();
        let (mut records, mut given, mut next) = (Records::default(), Vec::new(), 1);
        while given.len() < (clients * each) as usize {
            assert_eq!(source.poll(&mut records, 1 << 20, WAIT).unwrap(), Poll::Some);
            let now = now_us();
            for record in records.iter() {
                assert_eq!(record.mark.major, next);
                next += 1;
                given.push(now - record.acknowledged);
            }
            records.clear();
        }
        let mut round = Vec::new();
        let mut seconds: f64 = 0.0;
        for thread in threads {
            let (times, took) = thread.join().unwrap();
            round.extend(times);
            seconds = seconds.max(took);
        }
        let show = |name: &str, times: &mut Vec<u64>| {
            times.sort_unstable();
            let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
            println!("  {name}: p50 {} us, p99 {} us, max {} us", at(0.5), at(0.99), at(1.0));
        };
        println!(
            "{fsync:?}: {:.0} events/s, {:?}",
            given.len() as f64 / seconds,
            source.log().counters()
        );
        show("request", &mut round);
        show("appended to given", &mut given);
    }
}
