//! Redis streams, against the real server where it is installed.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::server::{Server, skipped};
use common::{WAIT, take, texts};
use redis::{Connection, cmd};
use tidemill_stream::{
    Error, OpenOptions, Poll, Position, QueueOptions, Reader, Records, Source, open,
};

fn start(server: &mut Server) {
    let (port, folder) = (server.port.to_string(), server.folder.path().display().to_string());
    let arguments = ["--bind", "127.0.0.1", "--port", &port, "--dir", &folder];
    let durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
    server.start("redis-server", &[&arguments[..], &durable[..]].concat());
}

fn connect(server: &Server) -> Connection {
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/", server.port)).unwrap();
    // It may still be loading.
    for _ in 0..500 {
        if let Ok(mut connection) = client.get_connection()
            && cmd("PING").query::<String>(&mut connection).is_ok()
        {
            return connection;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("redis-server does not answer");
}

fn add(connection: &mut Connection, numbers: std::ops::Range<u64>) {
    let mut pipe = redis::pipe();
    for i in numbers {
        pipe.cmd("XADD").arg("events").arg("*").arg("event").arg(i.to_string()).ignore();
    }
    pipe.query::<()>(connection).unwrap();
}

fn source(server: &Server, options: &OpenOptions) -> Box<dyn Source> {
    open(&format!("redis://127.0.0.1:{}/events", server.port), options).unwrap()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|i| i.to_string()).collect()
}

#[test]
fn a_stream_goes_on_from_an_id_and_after_the_server_was_killed() {
    if skipped("redis-server") {
        return;
    }
    let mut server = Server::new();
    start(&mut server);
    let options = OpenOptions::default();
    let mut first = source(&server, &options);
    let mut records = Records::default();
    let short = Duration::from_millis(30);
    assert_eq!(first.poll(&mut records, 1000, short).unwrap(), Poll::Idle);
    let mut connection = connect(&server);
    add(&mut connection, 0..3000);
    let read = take(first.as_mut(), 3000);
    assert!(read.iter().map(|(text, _)| text.clone()).eq(numbers(0..3000)));
    let mut second = source(&server, &options);
    second.seek(&read[1999].1).unwrap();
    assert_eq!(texts(second.as_mut(), 1000), numbers(2000..3000));

    drop(connection);
    server.kill();
    for _ in 0..3 {
        assert_eq!(second.poll(&mut records, 1000, short).unwrap(), Poll::Idle);
    }
    start(&mut server);
    let mut connection = connect(&server);
    add(&mut connection, 3000..3100);
    let fields = cmd("XADD").arg("events").arg("*").arg(&["x", "1\"\n", "y", "é"]).to_owned();
    fields.query::<String>(&mut connection).unwrap();
    let mut expect = numbers(3000..3100);
    expect.push("{\"x\":\"1\\\"\\u000a\",\"y\":\"é\"}".into());
    // The first may be idle until it has found the server again.
    for source in [&mut first, &mut second] {
        let mut got = Vec::new();
        let start = std::time::Instant::now();
        while got.len() < expect.len() && start.elapsed() < WAIT {
            records.clear();
            source.poll(&mut records, 1 << 20, Duration::from_millis(200)).unwrap();
            let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
            got.extend(records.iter().map(|r| text(r.bytes)));
        }
        assert_eq!(got, expect);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
        let acknowledged = records.get(records.len() - 1).acknowledged;
        assert!(acknowledged <= now && acknowledged > now - 60_000_000);
        assert_eq!(source.counters().reopened, 2);
    }
}

#[test]
fn trimming_keeps_what_is_needed_and_what_is_gone_is_told() {
    if skipped("redis-server") {
        return;
    }
    let mut server = Server::new();
    start(&mut server);
    let mut connection = connect(&server);
    add(&mut connection, 0..5000);
    let options = OpenOptions { trim: true, ..OpenOptions::default() };
    let mut trimming = source(&server, &options);
    let read = take(trimming.as_mut(), 5000);
    trimming.commit(&read[2999].1).unwrap();
    let len: u64 = cmd("XLEN").arg("events").query(&mut connection).unwrap();
    assert!((2001..5000).contains(&len), "{len}");
    let mut other = source(&server, &options);
    other.seek(&read[2999].1).unwrap();
    assert_eq!(texts(other.as_mut(), 2000), numbers(3000..5000));

    let gone = |position: &Position| {
        let error = source(&server, &options).seek(position).unwrap_err();
        assert!(matches!(error, Error::Gone { .. }), "{error}");
    };
    gone(&read[0].1);
    // Empty, but nothing after the last entry can be missing.
    cmd("XTRIM").arg("events").arg("MAXLEN").arg(0).query::<u64>(&mut connection).unwrap();
    source(&server, &options).seek(&read[4999].1).unwrap();
    gone(&read[4998].1);
    cmd("DEL").arg("events").query::<u64>(&mut connection).unwrap();
    gone(&read[4999].1);
}

/// Entries that are removed before a reader that is under way has read them.
#[test]
fn entries_trimmed_ahead_of_a_reader_are_told() {
    if skipped("redis-server") {
        return;
    }
    let mut server = Server::new();
    start(&mut server);
    let mut connection = connect(&server);
    let mut reader = source(&server, &OpenOptions::default());
    let trim = |connection: &mut Connection, len: u32| {
        cmd("XTRIM").arg("events").arg("MAXLEN").arg(len).query::<u64>(connection).unwrap();
    };
    add(&mut connection, 0..50);
    take(reader.as_mut(), 50);
    // All that was read may go.
    trim(&mut connection, 0);
    add(&mut connection, 50..60);
    assert_eq!(texts(reader.as_mut(), 10), numbers(50..60));
    add(&mut connection, 60..1060);
    trim(&mut connection, 100);
    let error = reader.poll(&mut Records::default(), 1 << 20, WAIT).unwrap_err();
    assert!(matches!(error, Error::Gone { .. }), "{error}");
    assert!(error.to_string().contains("removed before they were read"), "{error}");
}

#[test]
fn fields_that_are_numbers_are_numbers() {
    if skipped("redis-server") {
        return;
    }
    let mut server = Server::new();
    start(&mut server);
    let fields = ["a", "0.5", "b", "-3", "code", "007", "label", "x"];
    let add = cmd("XADD").arg("events").arg("*").arg(&fields).to_owned();
    add.query::<String>(&mut connect(&server)).unwrap();
    let mut reader = source(&server, &OpenOptions::default());
    let want = "{\"a\":0.5,\"b\":-3,\"code\":\"007\",\"label\":\"x\"}";
    assert_eq!(texts(reader.as_mut(), 1), [want]);
}

#[test]
fn what_is_no_stream_is_told() {
    if skipped("redis-server") {
        return;
    }
    let mut server = Server::new();
    start(&mut server);
    cmd("SET").arg("events").arg("x").query::<()>(&mut connect(&server)).unwrap();
    let mut wrong = source(&server, &OpenOptions::default());
    let error = wrong.poll(&mut Records::default(), 1000, WAIT).unwrap_err().to_string();
    assert!(error.contains("WRONGTYPE"), "{error}");
    let error = open("redis://127.0.0.1:1/x", &OpenOptions::default()).err().unwrap().to_string();
    assert!(error.contains("cannot connect"), "{error}");
}

/// `cargo test --release -p tidemill-stream --features redis --test redis -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn latency_of_ten_thousand_events_a_second() {
    let mut server = Server::new();
    start(&mut server);
    let n = 100_000;
    let source = source(&server, &OpenOptions::default());
    let reader = Reader::spawn(source, QueueOptions::default()).unwrap();
    let mut connection = connect(&server);
    let begin = std::time::Instant::now();
    let publisher = std::thread::spawn(move || {
        // Ten at once, since each is flushed to the disk before it is acknowledged.
        for i in (0..n).step_by(10) {
            let due = Duration::from_micros(i * 100);
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
            add(&mut connection, i..i + 10);
        }
        begin.elapsed()
    });
    let mut times = common::latencies(&reader, n as usize);
    let rate = n as f64 / publisher.join().unwrap().as_secs_f64();
    println!("redis: {rate:.0} events/s");
    common::show("id to given", &mut times);
}
