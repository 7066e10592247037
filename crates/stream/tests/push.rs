//! Events that clients send by HTTP and TCP.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::client::Client;
use common::{WAIT, idle, take, texts};
use tidemill_stream::sources::{HttpOptions, HttpSource, TcpOptions, TcpSource};
use tidemill_stream::{
    Access, Format, Fsync, Log, LogOptions, OpenOptions, Poll, QueueOptions, Reader, Records,
    Source, open,
};

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
    let chunk = format!("fff\r\n{}\r\n", "x".repeat(0xfff));
    let chunked = "POST /events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(long.send(&format!("{chunked}{chunk}")).0, 413);
    assert_eq!(Client::new(source.address()).send("nonsense\r\n\r\n").0, 400);

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

/// What cannot be an event is refused, and nothing of its request is taken.
#[test]
fn what_is_acknowledged_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        HttpOptions { format: Some(Format::JsonLines), max_body: 10_000, ..HttpOptions::default() };
    let mut source = http(folder.path(), LogOptions::default(), &options);
    let mut client = Client::new(source.address());
    let json = "Content-Type: application/json\r\n";
    for (headers, body, status, says) in [
        (json, "{\"a\":1,", 400, "event 1"),
        (json, "[{\"a\":1},", 400, "cut off"),
        (json, "3", 400, "an object"),
        ("", "{\"a\":1}\n{\"a\":oops}", 400, "event 2"),
        ("", "{\"a\":\"\u{7}\"}", 400, "event 1"),
        ("Content-Type: text/csv\r\n", "a,b\n1,2", 415, "takes JSON"),
        ("Content-Encoding: br\r\n", "{\"a\":1}", 415, "br is not read"),
        ("Content-Encoding: gzip\r\n", "{\"a\":1}", 400, "gzip"),
        ("", "[]", 400, "an object"),
        (json, "[]", 400, "no event"),
    ] {
        let (code, answer) = client.post(headers, body);
        assert!(code == status && answer.contains(says), "{body}: {answer}");
    }
    let array = "[{\"a\":1}, {\"a\":\n2}]";
    assert!(client.post(json, array).1.contains("\"accepted\":2,\"sequence\":2"));
    let lines = "{\"a\":3}\n{\"a\":4}";
    assert!(client.post(json, lines).1.contains("\"accepted\":2,\"sequence\":4"));
    let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zip.write_all(b"{\"a\":5}\n{\"a\":6}\n").unwrap();
    let zip = zip.finish().unwrap();
    let head = format!(
        "POST /events HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        zip.len()
    );
    client.0.write_all(&[head.as_bytes(), &zip].concat()).unwrap();
    assert!(client.send("").1.contains("\"accepted\":2,\"sequence\":6"));
    // A small body that is large unpacked.
    let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    zip.write_all(&[b' '; 1 << 20]).unwrap();
    let zip = zip.finish().unwrap();
    let head = head.replace(
        &format!("Length: {}", head.split("Length: ").nth(1).unwrap().trim()),
        &format!("Length: {}", zip.len()),
    );
    client.0.write_all(&[head.as_bytes(), &zip].concat()).unwrap();
    assert!(client.send("").1.contains("413"));
    let got = texts(&mut source, 6).concat().replace(' ', "");
    assert_eq!(got, "{\"a\":1}{\"a\":2}{\"a\":3}{\"a\":4}{\"a\":5}{\"a\":6}");

    let folder = tempfile::tempdir().unwrap();
    let options = HttpOptions { format: Some(Format::Vw), ..HttpOptions::default() };
    let source = http(folder.path(), LogOptions::default(), &options);
    let mut client = Client::new(source.address());
    assert_eq!(client.post("", "1 |a b:2").0, 200);
    assert_eq!(client.post("", "x |a b:1").0, 400);
    assert_eq!(client.post(json, "{\"a\":1}").0, 415);

    let folder = tempfile::tempdir().unwrap();
    let options = HttpOptions { format: Some(Format::Csv), ..HttpOptions::default() };
    let source = http(folder.path(), LogOptions::default(), &options);
    let mut client = Client::new(source.address());
    assert_eq!(client.post("", "a,b\n1,{x}").0, 200);
    let (status, answer) = client.post("", "1,2\n{\"a\":1}");
    assert!(status == 415 && answer.contains("event 2: it is JSON"), "{answer}");
    assert_eq!(client.post("", "1,\0").0, 400);
    assert_eq!(source.log().last(), 2);
}

/// A request that comes again with its key is answered as before and taken once, also after a kill.
#[test]
fn a_key_is_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let (key, other) = ("Idempotency-Key: \"A1\"\r\n", "Idempotency-Key: \"a1\"\r\n");
    let open = || http(folder.path(), LogOptions::default(), &HttpOptions::default());
    let first = {
        let source = open();
        let mut client = Client::new(source.address());
        let first = client.post(key, "one\ntwo");
        assert!(first.1.ends_with("{\"accepted\":2,\"sequence\":2}\n"), "{first:?}");
        assert_eq!(client.post(key, "one\ntwo"), first);
        assert!(client.post("", "three").1.contains("\"sequence\":3"));
        assert_eq!(client.post(key, "one\ntwo"), first);
        // Another key, and other events.
        assert!(client.post(other, "one\ntwo").1.contains("\"sequence\":5"));
        let (status, answer) = client.post(key, "one\n2");
        assert!(status == 422 && answer.contains("other events"), "{answer}");
        assert_eq!(client.post("Idempotency-Key: \r\n", "one").0, 400);
        first
    };
    let segment = folder.path().join(format!("{:020}.log", 1));
    let len = || std::fs::metadata(&segment).unwrap().len();
    let mut source = open();
    let whole = len();
    assert_eq!(Client::new(source.address()).post(key, "one\ntwo"), first);
    assert_eq!(texts(&mut source, 5), ["one", "two", "three", "one", "two"]);
    idle(&mut source);
    drop(source);
    // Closing it is marked at its end, which a kill does not.
    let start = std::time::Instant::now();
    while len() == whole && start.elapsed() < WAIT {
        std::thread::sleep(Duration::from_millis(1));
    }
    // A kill amid the writing of a request, before it was answered: nothing of it was taken.
    std::fs::remove_file(folder.path().join("acknowledged")).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.set_len(whole - 1).unwrap();
    let source = open();
    assert_eq!(source.log().last(), 3);
    let mut client = Client::new(source.address());
    assert!(client.post("", "four").1.contains("\"sequence\":4"));
    assert!(client.post(other, "one\ntwo").1.contains("\"sequence\":6"));
    assert!(client.post(other, "one\ntwo").1.contains("\"sequence\":6"));
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
    let error_with =
        |uri: &str, options: &OpenOptions| open(uri, options).err().unwrap().to_string();
    let error = |uri: &str| error_with(uri, &OpenOptions::default());
    assert!(error("tcp://0.0.0.0:0").contains("listen on 127.0.0.1"));
    assert!(error("http://127.0.0.1:0").contains("give a folder"));
    let access = Access { allow_remote: true, ..Access::default() };
    let allowed = OpenOptions { access, ..OpenOptions::default() };
    assert!(error_with("tcp://0.0.0.0:0", &allowed).contains("--insecure"));
    let access = Access { insecure: true, ..allowed.access.clone() };
    assert!(open("tcp://0.0.0.0:0", &OpenOptions { access, ..allowed }).is_ok());
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

/// Not a test of its own: the process that the next test kills.
#[test]
#[ignore = "run by killed_servers_lose_nothing"]
fn server_child() {
    let Ok(folder) = std::env::var("TIDEMILL_TEST_LOG") else { return };
    let log = LogOptions { segment_bytes: 20_000, ..LogOptions::default() };
    let source = http(Path::new(&folder), log, &HttpOptions::default());
    println!("\nPORT {}", source.address().port());
    std::thread::sleep(WAIT);
}

#[test]
fn killed_servers_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = std::collections::BTreeMap::new();
    for round in 0..6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server_child", "--ignored", "--nocapture"])
            .env("TIDEMILL_TEST_LOG", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let port = lines.into_iter().find_map(|l| l.strip_prefix("PORT ").map(str::to_owned));
        let address = format!("127.0.0.1:{}", port.unwrap()).parse().unwrap();
        let clients: Vec<_> = (0..3)
            .map(|c| {
                // Before the kill, however long the thread takes to start.
                let mut client = Client::new(address);
                std::thread::spawn(move || {
                    let mut acks = Vec::new();
                    for i in 0.. {
                        let text = format!("{round} {c} {i}");
                        let Some((200, answer)) = client.try_post("", &text) else { break };
                        let sequence = answer.split("\"sequence\":").nth(1).unwrap();
                        let sequence = sequence.trim_end_matches(['}', '\n']);
                        acks.push((sequence.parse::<u64>().unwrap(), text));
                    }
                    acks
                })
            })
            .collect();
        std::thread::sleep(Duration::from_micros(30_000 + round * 7919 % 40_000));
        child.kill().unwrap();
        child.wait().unwrap();
        for (sequence, text) in clients.into_iter().flat_map(|c| c.join().unwrap()) {
            assert!(acknowledged.insert(sequence, text).is_none(), "{sequence} twice");
        }
        let log = Log::open(folder.path(), LogOptions::default()).unwrap();
        let there = take(&mut log.source(), log.last() as usize);
        for (sequence, text) in &acknowledged {
            assert_eq!(&there[*sequence as usize - 1].0, text);
        }
        // At most what was on its way to each client is there beyond that.
        let sent = 3 * (round as usize + 1);
        assert!(
            there.len() <= acknowledged.len() + sent,
            "{} of {}",
            acknowledged.len(),
            there.len()
        );
        let mut once: Vec<_> = there.into_iter().map(|(text, _)| text).collect();
        let len = once.len();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), len, "twice");
    }
    assert!(acknowledged.len() > 50, "{} acknowledged", acknowledged.len());
}

/// `cargo test --release -p tidemill-stream --test push -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn latency_of_ten_thousand_events_a_second() {
    for fsync in [Fsync::Always, Fsync::Interval(Duration::from_millis(100))] {
        let folder = tempfile::tempdir_in(".").unwrap();
        let log = LogOptions { fsync, ..LogOptions::default() };
        let source = http(folder.path(), log, &HttpOptions::default());
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
        let log = source.log();
        let reader = Reader::spawn(Box::new(source), QueueOptions::default()).unwrap();
        let mut given = common::latencies(&reader, (clients * each) as usize);
        let mut round = Vec::new();
        let mut seconds: f64 = 0.0;
        for thread in threads {
            let (times, took) = thread.join().unwrap();
            round.extend(times);
            seconds = seconds.max(took);
        }
        let rate = given.len() as f64 / seconds;
        println!("{fsync:?}: {rate:.0} events/s, {:?}", log.counters());
        common::show("request", &mut round);
        common::show("acknowledged to given", &mut given);
    }
}
