//! Learners of live streams, killed while events come, over HTTP with the embedded log, NATS and
//! Redis: all that was acknowledged is learned once, in order, to the same bits.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs, dead_code)]

mod common;
#[path = "../../stream/tests/common/server.rs"]
mod server;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use common::events::{kill_until_done, kills, lines, outcome, stream_recipe};
use common::senders::{Acknowledged, Http, Sender};
use common::*;
use server::Server;

/// Kills of each kind in the gate.
const KILLS: usize = 8;
/// A learner is killed within so many seconds after its start.
const LONGEST: f64 = 0.25;
/// Events of a run.
const EVENTS: u64 = 30_000;

/// Sends events in batches of changing sizes until it is told to stop or has sent `most`. What was
/// not acknowledged is sent again, as a client of an at-least-once service does.
struct Pusher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Acknowledged>>,
}

impl Pusher {
    fn start(mut sender: impl Sender + 'static, most: usize, pause: Duration) -> Pusher {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = spawn(move || {
            let (mut all, mut acknowledged) = (lines().take(most), Vec::new());
            for len in (1..40).cycle() {
                let batch: Vec<String> = all.by_ref().take(len).collect();
                if batch.is_empty() {
                    break;
                }
                loop {
                    if stopped.load(SeqCst) {
                        return acknowledged;
                    }
                    match sender.send(&batch) {
                        Ok(answer) => break acknowledged.push(answer),
                        Err(_) => sleep(Duration::from_millis(1)),
                    }
                }
                sleep(pause);
            }
            acknowledged
        });
        Pusher { stop, thread }
    }

    fn stop(self) -> Vec<Acknowledged> {
        self.stop.store(true, SeqCst);
        self.thread.join().unwrap()
    }

    fn wait(self) {
        self.thread.join().unwrap();
    }
}

fn same(killed: &Path, whole: &Path) {
    let (killed, whole) = (outcome(killed), outcome(whole));
    assert!(killed == whole, "killed: {}\nleft alone: {}", killed.0, whole.0);
    assert!(whole.0["events"] == EVENTS && whole.0["bad_events"].as_u64() > Some(EVENTS / 120));
}

/// The learner itself is the server here: it dies with what it was just writing to its log.
fn killed_behind_http(online: &str) {
    let folder = tempfile::tempdir().unwrap();
    let recipe = stream_recipe(folder.path(), &format!("{online}\n[stream]\nformat = \"json\""));
    let until = EVENTS.to_string();
    let learn = |from: &str| {
        ["learn", text(&recipe), "--from", from, "--until-events", &until].map(str::to_owned)
    };
    let (mut killed, mut round) = (0, 0);
    while killed < kills(KILLS) {
        let port = Server::new().port;
        let run = folder.path().join(format!("run-{round}"));
        let pusher = Pusher::start(Http::new(port), usize::MAX, Duration::ZERO);
        let arguments = learn(&format!("http://127.0.0.1:{port}"));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        killed += kill_until_done(&arguments, &run, kills(KILLS) - killed, LONGEST);
        let acknowledged = pusher.stop();
        // The log has each acknowledged event in its own place, and before those that came later.
        let mut before = 0;
        for (first, last) in acknowledged.into_iter().flatten() {
            assert!(first > before, "record {first} was acknowledged after {before}");
            before = last;
        }
        let whole = folder.path().join(format!("whole-{round}"));
        let arguments = learn(&format!("log:{}", run.join("log").display()));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        succeed(&[&arguments[..], &["--out", text(&whole)]].concat());
        same(&run, &whole);
        round += 1;
    }
    println!("{killed} kills over {round} runs behind http");
}

#[test]
fn killed_behind_http_push_all_that_was_acknowledged_is_learned_once() {
    killed_behind_http("");
}

/// Records that are no events of two numbers, an id and a label, or that would cost far more than their bytes.
#[cfg(any(feature = "nats", feature = "redis"))]
fn poison() -> Vec<String> {
    let event = |key: &str, value: &str| format!("{{\"a\":1,\"b\":2,\"y\":1,\"{key}\":{value}}}");
    let keys: Vec<String> = (0..100_000).map(|i| format!("\"k{i}\":1")).collect();
    let long = format!("\"{}\"", "x".repeat(16_000_000));
    vec![
        "{\"hello\":1}".into(),
        "{\"x\":[1,2,3],\"y\":1}".into(),
        "{\"a\":1,\"b\":oops}".into(),
        "{\"a\":1,".into(),
        "no event".into(),
        "\u{0}".into(),
        "[".repeat(1_000_000),
        "{\"a\":".repeat(1_000_000),
        format!("{{\"{}\":1,\"y\":1}}", ".".repeat(100_000)),
        format!("{{{},\"y\":1}}", keys.join(",")),
        event("id", &long),
        format!("{{\"a\":{long},\"y\":[1]}}"),
        // Longer than a record may be.
        event("note", &format!("\"{}\"", "x".repeat(17 << 20))),
    ]
}

/// Nothing that a sender writes to a broker ends its learner, at first, later, or after a kill; nor does it take much memory.
#[cfg(any(feature = "nats", feature = "redis"))]
fn attacked(from: &str, mut sender: impl Sender) {
    const GOOD: usize = 200;
    let recipe = "[model]\ninput = { features = 2 }\nlayers = [{ dense = { units = 2 } }]\n\
         [training]\nloss = \"sparse_categorical_crossentropy\"\n[report]\nhtml = false\n\
         [stream]\nformat = \"json_lines\"\nlabel = \"y\"\nid = \"id\"\n[online]\nlabels = { window = 100 }\n";
    let folder = tempfile::tempdir().unwrap();
    let (file, run) = (folder.path().join("recipe.toml"), folder.path().join("run"));
    std::fs::write(&file, recipe).unwrap();
    let good =
        |i: usize| format!("{{\"a\":{},\"b\":{},\"id\":\"e{i}\",\"y\":{}}}", i % 7, i % 5, i % 2);
    let poison = poison();
    let (mut bad, mut sent) = (0, 0);
    for _ in 0..2 {
        // One by one: a large one is not what delays the others' acknowledgement.
        for line in &poison {
            sender.send(std::slice::from_ref(line)).unwrap();
            sender.send(&[good(sent)]).unwrap();
            (bad, sent) = (bad + 1, sent + 1);
        }
    }
    let rest: Vec<String> = (sent..GOOD).map(good).collect();
    sender.send(&rest).unwrap();
    let learn = ["learn", text(&file), "--from", from, "--out", text(&run), "--resume"];
    for until in [GOOD / 8, GOOD] {
        succeed(&[&learn[..], &["--until-events", &until.to_string()]].concat());
    }
    let summary = std::fs::read(run.join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
    let found = (&summary["events"], &summary["bad_events"]);
    assert_eq!(found, (&GOOD.into(), &bad.into()), "{summary}");
    let peak = summary["peak_rss_bytes"].as_u64().unwrap() >> 20;
    println!("{bad} bad records of {from}: peak {peak} MiB");
    assert!(peak < 20 + 17 + 64, "{peak} MiB");
}

#[cfg(feature = "nats")]
#[test]
fn nothing_in_nats_ends_a_learner() {
    if server::skipped("nats-server") {
        return;
    }
    let mut server = Server::new();
    server.start_nats();
    let sender = common::senders::Nats::new(server.port);
    attacked(&format!("nats://127.0.0.1:{}/EVENTS", server.port), sender);
}

#[cfg(feature = "redis")]
#[test]
fn nothing_in_redis_ends_a_learner() {
    if server::skipped("redis-server") {
        return;
    }
    let mut server = Server::new();
    let (port, folder) = (server.port.to_string(), server.folder.path().display().to_string());
    let arguments = ["--bind", "127.0.0.1", "--port", &port, "--dir", &folder, "--save", ""];
    server.start("redis-server", &arguments);
    let sender = common::senders::Redis::new(server.port);
    attacked(&format!("redis://127.0.0.1:{}/events", server.port), sender);
}

/// Kills learners of `from`, the first of them while events come.
#[cfg(any(feature = "nats", feature = "redis"))]
fn killed_over(from: &str, sender: impl Sender + 'static) {
    let folder = tempfile::tempdir().unwrap();
    let recipe = stream_recipe(folder.path(), "[stream]\nformat = \"json\"");
    let until = EVENTS.to_string();
    let learn = ["learn", text(&recipe), "--from", from, "--until-events", &until];
    // About one of 20 records is bad.
    let most = EVENTS as usize * 11 / 10;
    let pusher = Pusher::start(sender, most, Duration::from_millis(2));
    let (mut killed, mut runs) = (0, Vec::new());
    while killed < kills(KILLS) {
        let run = folder.path().join(format!("run-{}", runs.len()));
        killed += kill_until_done(&learn, &run, kills(KILLS) - killed, LONGEST);
        runs.push(run);
    }
    pusher.wait();
    let whole = folder.path().join("whole");
    succeed(&[&learn[..], &["--out", text(&whole)]].concat());
    runs.iter().for_each(|run| same(run, &whole));
    println!("{killed} kills over {} runs of {from}", runs.len());
}

#[cfg(feature = "nats")]
#[test]
fn killed_over_nats_all_is_learned_once() {
    if server::skipped("nats-server") {
        return;
    }
    let mut server = Server::new();
    server.start_nats();
    let sender = common::senders::Nats::new(server.port);
    killed_over(&format!("nats://127.0.0.1:{}/EVENTS", server.port), sender);
}

#[cfg(feature = "redis")]
#[test]
fn killed_over_redis_all_is_learned_once() {
    if server::skipped("redis-server") {
        return;
    }
    let mut server = Server::new();
    let (port, folder) = (server.port.to_string(), server.folder.path().display().to_string());
    let arguments =
        ["--bind", "127.0.0.1", "--port", &port, "--dir", &folder, "--appendonly", "yes"];
    server.start("redis-server", &arguments);
    let sender = common::senders::Redis::new(server.port);
    killed_over(&format!("redis://127.0.0.1:{}/events", server.port), sender);
}
