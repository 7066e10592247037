//! What senders cost and what they are told, in the real program: memory, descriptors, answers.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::command;
use common::place::*;
use flate2::{Compression, write::GzEncoder};

const LIMIT: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

/// A learner that listens.
struct Learner {
    place: Place,
    port: u16,
    child: Child,
}

impl Learner {
    fn start(recipe: &str, scheme: &str) -> Learner {
        let place = Place::new(recipe);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut learner = Learner { child: Learner::spawn(&place, scheme, port, &[]), place, port };
        learner.wait_until_it_listens();
        learner
    }

    fn spawn(place: &Place, scheme: &str, port: u16, more: &[&str]) -> Child {
        let from = format!("{scheme}://127.0.0.1:{port}");
        let learn = ["learn", "recipe.toml", "--from", &from, "--out", "run"];
        let mut learner = command(&[&learn[..], more].concat());
        learner.current_dir(place.0.path()).stdout(Stdio::null()).stderr(Stdio::null());
        learner.spawn().unwrap()
    }

    fn wait_until_it_listens(&mut self) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(self.child.try_wait().unwrap().is_none() && start.elapsed() < LIMIT);
            sleep(Duration::from_millis(10));
        }
    }

    /// Posts a body; gives the status and the answer.
    fn post(&self, headers: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let head = "POST /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        write!(stream, "{head}{headers}Content-Length: {}\r\n\r\n", body.len()).unwrap();
        // What is refused before its end is read may break off.
        let _ = stream.write_all(body);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        (answer.get(9..12).map_or(0, |status| status.parse().unwrap()), answer)
    }

    /// A line of `/proc/PID/status` in MiB.
    fn memory(&self, key: &str) -> usize {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse::<usize>().unwrap() >> 10
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Ends it as Ctrl-C does; gives the summary.
    fn end(mut self) -> serde_json::Value {
        let pid = self.child.id().to_string();
        std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < LIMIT, "it does not end");
            sleep(Duration::from_millis(10));
        }
        self.place.summary()
    }
}

impl Drop for Learner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stream(format: &str) -> String {
    format!("{CLASSES}[report]\nhtml = false\n[stream]\nformat = \"{format}\"\n")
}

fn labelled(format: &str) -> String {
    stream(format) + "label = \"y\"\n"
}

/// What is acknowledged can be read: rows that have other columns than those of the stream are refused, whoever sends them.
#[test]
fn rows_that_are_none_are_refused() {
    let mut learner = Learner::start(&labelled("csv"), "http");
    assert_eq!(learner.post("", b"a,b,y\n1,2\n").0, 400);
    let (status, answer) = learner.post("", b"a,b,y\n1,2,0\n");
    // A header is a record and no event.
    assert!(status == 200 && answer.ends_with("{\"accepted\":1,\"sequence\":2}\n"), "{answer}");
    let start = Instant::now();
    // From when the learner has read the header.
    while learner.post("", b"1\n").0 != 400 {
        assert!(start.elapsed() < LIMIT);
        sleep(Duration::from_millis(10));
    }
    let tries = |learner: &Learner| {
        for (body, status, says) in [
            ("2,1,1\n", 200, "accepted"),
            ("1,2,1\n1,2\n", 400, "event 2: the row has 2 fields, expected 3"),
            ("1,2,1,1\n", 400, "event 1: the row has 4 fields"),
            ("1,\"2,1\n", 400, "event 1: a quoted field has no closing quote"),
            ("{\"a\":1,\"b\":2,\"y\":1}\n", 415, "it is JSON"),
            ("1,\"2\",1\n", 200, "accepted"),
        ] {
            let (found, answer) = learner.post("", body.as_bytes());
            assert!(found == status && answer.contains(says), "{body}: {answer}");
        }
    };
    tries(&learner);
    // And after a kill, by those who never saw the header.
    learner.child.kill().unwrap();
    learner.child.wait().unwrap();
    learner.child = Learner::spawn(&learner.place, "http", learner.port, &["--resume"]);
    learner.wait_until_it_listens();
    while learner.post("", b"1\n").0 != 400 {
        assert!(start.elapsed() < LIMIT);
        sleep(Duration::from_millis(10));
    }
    tries(&learner);
    sleep(Duration::from_millis(200));
    let summary = learner.end();
    assert_eq!(summary["events"], 5, "{summary}");
}

/// So are events of JSON that do not fit what the model takes, from the first one on.
#[test]
fn events_that_do_not_fit_are_refused() {
    let mut learner = Learner::start(&labelled("json_lines"), "http");
    let start = Instant::now();
    let mut refused = |learner: &Learner, body: &str, says: &str| loop {
        let (status, answer) = learner.post("", body.as_bytes());
        if status == 400 {
            return assert!(answer.contains(says), "{body}: {answer}");
        }
        // Taken while the learner was busy with what said something: then it is a dead letter.
        assert!(status == 200 && start.elapsed() < LIMIT, "{body}: {answer}");
        sleep(Duration::from_millis(10));
    };
    // Once the learner is there, and not only the port.
    sleep(Duration::from_millis(300));
    refused(&learner, "{\"hello\":1}", "event 1: the event has 1 inputs (hello) and the model 2");
    refused(&learner, "{\"x\":[1,2,3],\"y\":1}", "event 1: ");
    refused(&learner, "{\"a\":1,\"b\":2,\"c\":3,\"y\":1}", "event 1: the event has 3 inputs");
    let good = "{\"a\":1,\"b\":2,\"y\":1}";
    assert_eq!(learner.post("Prefer: wait=5\r\n", good.as_bytes()).0, 200);
    let last = |learner: &Learner| {
        // What is taken by now is decoded.
        let (_, answer) = learner.post("Prefer: wait=5\r\n", good.as_bytes());
        assert!(answer.contains("Prefer: wait has no effect"), "{answer}");
        sleep(Duration::from_millis(200));
    };
    last(&learner);
    let all = |learner: &Learner, refused: &mut dyn FnMut(&Learner, &str, &str)| {
        for (event, says) in [
            ("{\"hello\":1}", "none of the keys that are inputs is there (a, b)"),
            ("{\"x\":[1,2,3],\"y\":1}", "none of the keys"),
            ("{\"a\":[1],\"b\":2,\"y\":1}", "key `a`: is an array"),
            ("{\"a\":1,\"b\":{\"c\":1},\"y\":1}", "key `b`: is an object"),
            ("{\"a\":1,\"b\":2,\"y\":[1]}", "key `y`: is an array"),
        ] {
            refused(learner, event, &format!("event 1: {says}"));
            refused(learner, &format!("{good}\n{event}"), "nothing of this request was taken");
        }
        // A number that is too large is missing, as in a table, and a key may be missing.
        for event in ["{\"a\":1e400,\"b\":1,\"y\":0}", "{\"a\":1,\"y\":0}"] {
            assert_eq!(learner.post("", event.as_bytes()).0, 200, "{event}");
        }
    };
    all(&learner, &mut refused);
    learner.child.kill().unwrap();
    learner.child.wait().unwrap();
    learner.child = Learner::spawn(&learner.place, "http", learner.port, &["--resume"]);
    learner.wait_until_it_listens();
    sleep(Duration::from_millis(300));
    all(&learner, &mut refused);
    sleep(Duration::from_millis(300));
    let summary = learner.end();
    assert_eq!((&summary["events"], &summary["bad_events"]), (&6.into(), &0.into()), "{summary}");
}

#[test]
fn a_sender_takes_one_descriptor() {
    for scheme in ["tcp", "http"] {
        let learner = Learner::start(&stream("json_lines"), scheme);
        sleep(Duration::from_millis(100));
        let before = learner.descriptors();
        let senders: Vec<TcpStream> =
            (0..20).map(|_| TcpStream::connect(("127.0.0.1", learner.port)).unwrap()).collect();
        let start = Instant::now();
        while learner.descriptors() < before + senders.len() {
            assert!(start.elapsed() < LIMIT);
            sleep(Duration::from_millis(10));
        }
        sleep(Duration::from_millis(100));
        assert!(learner.descriptors() <= before + senders.len(), "{scheme}");
    }
}

/// A text of 16 MiB.
fn long(start: &str, fill: &str, end: &str) -> Vec<u8> {
    let times = (16 * MIB - start.len() - end.len()) / fill.len();
    [start, &fill.repeat(times), end].concat().into_bytes()
}

/// Bodies of 16 MiB in a format, each with headers.
fn bodies(format: &str) -> Vec<(&'static str, Vec<u8>)> {
    let json = "Content-Type: application/json\r\n";
    let text = long("{\"a\":1,\"b\":2,\"y\":1,\"note\":\"", "x", "\"}");
    match format {
        "json_lines" => {
            let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
            zipped.write_all(&text).unwrap();
            let keys: String = (0..900_000).map(|i| format!("\"k{i}\":1,")).collect();
            vec![
                (json, text.clone()),
                ("", text),
                ("Content-Encoding: gzip\r\n", zipped.finish().unwrap()),
                ("", long("{\"a\":\"", "\\n", "\",\"b\":1,\"y\":1}")),
                ("", long("{\"a\":[", "1,", "1]}")),
                ("", long("{\"a\":1,\"b\":1,\"y\":\"", "x", "\"}")),
                ("", format!("{{{keys}\"y\":1}}").into_bytes()),
                (json, long("[{}", ",{}", "]")),
                ("", long("{}", "\n{}", "")),
            ]
        }
        "csv" => vec![
            ("", long("1,", "x", ",0")),
            ("", long("1,\"", "x\n", "\",0")),
            ("", long("1,2,0", ",", "")),
            ("", long("1,2,", "9", "")),
            ("", long("1,2,0", "\n1,2,0", "")),
        ],
        "arff" => vec![
            ("", long("1,", "x", ",0")),
            ("", long("@attribute z {a", ",a", "}")),
            ("", long("{0 1", ",0 1", "}")),
        ],
        _ => vec![("", long("1 |f ", "x", "")), ("", long("1 |f a", " a", ""))],
    }
}

/// A body of 16 MiB takes 64 MiB beyond its size at most, whatever is in it.
#[test]
fn long_inputs_take_no_more_memory_than_they_must() {
    let arff = "@relation r\n@attribute a numeric\n@attribute b numeric\n@attribute class {0,1}\n@data\n1,2,0";
    let linear = format!("{LINEAR}[stream]\nformat = \"vw\"\n[report]\nhtml = false\n");
    for (format, recipe, first) in [
        ("json_lines", labelled("json_lines"), "{\"a\":0.1,\"b\":0.2,\"y\":1}"),
        ("csv", labelled("csv"), "a,b,y\n1,2,0\n2,1,1"),
        ("arff", stream("arff"), arff),
        ("vw", linear, "1 |f a b"),
    ] {
        let learner = Learner::start(&recipe, "http");
        assert_eq!(learner.post("", first.as_bytes()).0, 200);
        sleep(Duration::from_millis(200));
        let base = learner.memory("VmRSS:");
        for (i, (headers, body)) in bodies(format).iter().enumerate() {
            let (status, answer) = learner.post(headers, body);
            assert!([200, 400].contains(&status), "{format} {i}: {answer}");
            // It is decoded meanwhile, or some of it is.
            sleep(Duration::from_millis(200));
            let peak = learner.memory("VmHWM:");
            // What a body is unpacked to counts as well.
            let most = base + 16 + 64;
            assert!(peak <= most, "{format} {i}: {peak} MiB, {base} without it");
        }
    }
}

/// Several at once share what bodies may take, and no more memory than that and 64 MiB is taken.
#[test]
fn long_inputs_at_once_take_bounded_memory() {
    let learner = Learner::start(&labelled("json_lines"), "http");
    assert_eq!(learner.post("", b"{\"a\":0.1,\"b\":0.2,\"y\":1}").0, 200);
    sleep(Duration::from_millis(200));
    let base = learner.memory("VmRSS:");
    let body = long("{\"a\":1,\"b\":2,\"y\":1,\"note\":\"", "x", "\"}");
    let taken = std::thread::scope(|scope| {
        let posts: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let start = Instant::now();
                    while learner.post("", &body).0 != 200 {
                        assert!(start.elapsed() < LIMIT);
                        sleep(Duration::from_millis(50));
                    }
                })
            })
            .collect();
        posts.into_iter().map(|post| post.join().unwrap()).count()
    });
    sleep(Duration::from_millis(500));
    let peak = learner.memory("VmHWM:");
    assert!(taken == 6 && peak <= base + 64 + 64, "{peak} MiB, {base} without them");
    // Once they are gone, so is their memory.
    let start = Instant::now();
    while learner.memory("VmRSS:") > base + 24 {
        assert!(start.elapsed() < LIMIT, "{} MiB are kept", learner.memory("VmRSS:"));
        sleep(Duration::from_millis(50));
    }
}

/// Nor is what many shorter ones took kept, by whichever threads it was held.
#[test]
fn memory_of_many_senders_goes_back() {
    let learner = Learner::start(&labelled("json_lines"), "http");
    assert_eq!(learner.post("", b"{\"a\":0.1,\"b\":0.2,\"y\":1}").0, 200);
    sleep(Duration::from_millis(200));
    let base = learner.memory("VmRSS:");
    let start = "{\"a\":1,\"b\":2,\"y\":1,\"note\":\"";
    let body = format!("{start}{}\"}}", "x".repeat(MIB));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                while learner.post("", body.as_bytes()).0 != 200 {
                    assert!(begin.elapsed() < LIMIT);
                    sleep(Duration::from_millis(50));
                }
            });
        }
    });
    while learner.memory("VmRSS:") > base + 24 {
        assert!(begin.elapsed() < LIMIT, "{} MiB are kept", learner.memory("VmRSS:") - base);
        sleep(Duration::from_millis(50));
    }
}

/// Lines of 1 MiB, the longest that TCP takes, of many senders at once.
#[test]
fn long_lines_of_many_senders_take_bounded_memory() {
    let learner = Learner::start(&labelled("json_lines"), "tcp");
    // The first says what events consist of.
    let mut first = TcpStream::connect(("127.0.0.1", learner.port)).unwrap();
    first.write_all(b"{\"a\":1,\"b\":2,\"y\":1}\n").unwrap();
    sleep(Duration::from_millis(300));
    let base = learner.memory("VmRSS:");
    let line = "{\"a\":1,\"b\":2,\"y\":1,\"note\":\"".to_owned() + &"x".repeat(MIB - 100);
    let mut senders: Vec<TcpStream> =
        (0..64).map(|_| TcpStream::connect(("127.0.0.1", learner.port)).unwrap()).collect();
    for end in [line.as_bytes(), b"\"}\n"] {
        senders.iter_mut().for_each(|sender| sender.write_all(end).unwrap());
        sleep(Duration::from_millis(500));
    }
    let peak = learner.memory("VmHWM:");
    assert!(peak <= base + 64 + 64, "{peak} MiB, {base} without them");
    drop(senders);
    sleep(Duration::from_millis(500));
    assert_eq!(learner.end()["events"], 65);
}
