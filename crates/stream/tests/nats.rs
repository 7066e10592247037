//! NATS JetStream, against the real server where it is installed.
#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used)]

mod common;

use common::server::{Server, skipped};
use common::{WAIT, take, texts};
use tidemill_stream::{Error, OpenOptions, Poll, QueueOptions, Reader, Records, Source, open};

use async_nats::jetstream::{self, Context, stream};
use tokio::runtime::Runtime;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn context(server: &Server) -> Context {
    let client = async_nats::connect(format!("nats://127.0.0.1:{}", server.port)).await.unwrap();
    jetstream::new(client)
}

async fn make(context: &Context, max_messages: i64) {
    let subjects = vec!["events.>".to_owned()];
    let config = stream::Config {
        name: "EVENTS".into(),
        subjects,
        max_messages,
        ..stream::Config::default()
    };
    context.create_stream(config).await.unwrap();
}

async fn publish(context: &Context, subject: &'static str, numbers: std::ops::Range<u64>) {
    let mut sent = Vec::new();
    for i in numbers {
        sent.push(context.publish(subject, i.to_string().into()).await.unwrap());
    }
    for ack in sent {
        ack.await.unwrap();
    }
}

fn source(server: &Server, name: &str) -> Box<dyn Source> {
    let uri = format!("nats://127.0.0.1:{}/{name}", server.port);
    open(&uri, &OpenOptions::default()).unwrap()
}

/// A server with a stream of so many events; none where there is no such server.
fn started(events: u64) -> Option<(Server, Runtime, Context)> {
    if skipped("nats-server") {
        return None;
    }
    let mut server = Server::new();
    server.start_nats();
    let runtime = runtime();
    let context = runtime.block_on(async {
        let context = context(&server).await;
        make(&context, -1).await;
        publish(&context, "events.a", 0..events).await;
        context
    });
    Some((server, runtime, context))
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|i| i.to_string()).collect()
}

#[test]
fn a_stream_goes_on_from_a_sequence_and_after_the_server_was_killed() {
    let Some((mut server, runtime, context)) = started(3000) else { return };
    let mut first = source(&server, "EVENTS");
    let read = take(first.as_mut(), 3000);
    assert!(read.iter().map(|(text, _)| text.clone()).eq(numbers(0..3000)));
    assert_eq!(read[41].1.parts.values().next().unwrap().major, 42);

    let mut second = source(&server, "EVENTS");
    second.seek(&read[1999].1).unwrap();
    assert_eq!(texts(second.as_mut(), 1000), numbers(2000..3000));

    // SIGKILL: what the server acknowledged is there again, and both go on by themselves.
    drop(context);
    server.kill();
    let mut records = Records::default();
    let wait = std::time::Duration::from_millis(300);
    assert_eq!(second.poll(&mut records, 1000, wait).unwrap(), Poll::Idle);
    server.start_nats();
    runtime.block_on(async {
        let context = self::context(&server).await;
        publish(&context, "events.b", 3000..3100).await;
    });
    assert_eq!(texts(first.as_mut(), 100), numbers(3000..3100));
    assert_eq!(texts(second.as_mut(), 100), numbers(3000..3100));
    assert!(second.counters().reopened >= 2);

    let mut filtered = source(&server, "EVENTS/events.b");
    assert_eq!(texts(filtered.as_mut(), 100), numbers(3000..3100));

    let mut last = source(&server, "EVENTS");
    last.seek(&read[2999].1).unwrap();
    records.clear();
    assert_eq!(last.poll(&mut records, 1000, WAIT).unwrap(), Poll::Some);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
    let acknowledged = records.get(0).acknowledged;
    assert!(acknowledged <= now && acknowledged > now - 60_000_000, "{acknowledged} at {now}");
}

#[test]
fn what_is_gone_is_told() {
    if skipped("nats-server") {
        return;
    }
    let mut server = Server::new();
    server.start_nats();
    let error = |name: &str| {
        let uri = format!("nats://127.0.0.1:{}/{name}", server.port);
        open(&uri, &OpenOptions::default()).err().unwrap().to_string()
    };
    assert!(error("EVENTS").contains("no stream EVENTS"), "{}", error("EVENTS"));
    assert!(error("").contains("give nats://HOST:PORT/STREAM"));
    let runtime = runtime();
    let context = runtime.block_on(async {
        let context = context(&server).await;
        make(&context, 10).await;
        publish(&context, "events.a", 0..10).await;
        context
    });
    let read = take(source(&server, "EVENTS").as_mut(), 10);
    runtime.block_on(publish(&context, "events.a", 10..15));
    source(&server, "EVENTS").seek(&read[4].1).unwrap();
    let error = source(&server, "EVENTS").seek(&read[3].1).unwrap_err();
    assert!(matches!(error, Error::Gone { .. }), "{error}");
    runtime.block_on(async {
        context.delete_stream("EVENTS").await.unwrap();
        make(&context, 10).await;
    });
    let error = source(&server, "EVENTS").seek(&read[3].1).unwrap_err();
    assert!(error.to_string().contains("made again"), "{error}");
}

/// A reader that is under way when its stream is deleted and made again: it would wait for ever.
#[test]
fn a_stream_that_is_made_again_under_a_reader_is_told() {
    let Some((server, runtime, context)) = started(20) else { return };
    let mut reader = source(&server, "EVENTS");
    take(reader.as_mut(), 20);
    runtime.block_on(async {
        context.delete_stream("EVENTS").await.unwrap();
        make(&context, -1).await;
        publish(&context, "events.a", 0..5).await;
    });
    let start = std::time::Instant::now();
    let error = loop {
        match reader.poll(&mut Records::default(), 1000, std::time::Duration::from_millis(100)) {
            Err(error) => break error,
            Ok(_) => assert!(start.elapsed().as_secs() < 60, "nothing was told"),
        }
    };
    assert!(matches!(error, Error::Gone { .. }), "{error}");
    assert!(error.to_string().contains("made again"), "{error}");
}

/// `cargo test --release -p tidemill-stream --features nats --test nats -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn latency_of_ten_thousand_events_a_second() {
    let mut server = Server::new();
    server.start_nats();
    let (runtime, n) = (runtime(), 100_000u64);
    let context = runtime.block_on(async {
        let context = context(&server).await;
        make(&context, -1).await;
        context
    });
    let reader = Reader::spawn(source(&server, "EVENTS"), QueueOptions::default()).unwrap();
    let begin = std::time::Instant::now();
    let publisher = std::thread::spawn(move || {
        runtime.block_on(async {
            let mut sent = std::collections::VecDeque::new();
            for i in 0..n {
                let due = std::time::Duration::from_micros(i * 100);
                if let Some(early) = due.checked_sub(begin.elapsed()) {
                    tokio::time::sleep(early).await;
                }
                sent.push_back(context.publish("events.a", i.to_string().into()).await.unwrap());
                if sent.len() > 2000 {
                    sent.pop_front().unwrap().await.unwrap();
                }
            }
            for ack in sent {
                ack.await.unwrap();
            }
        });
        begin.elapsed()
    });
    let mut times = common::latencies(&reader, n as usize);
    let rate = n as f64 / publisher.join().unwrap().as_secs_f64();
    println!("nats: {rate:.0} events/s");
    common::show("stored to given", &mut times);
}
