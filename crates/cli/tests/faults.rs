//! What a disk, a kernel and kills do to a run: no checkpoint is taken for none, and nothing that was
//! acknowledged is lost or learned twice. System calls fail by Debian's `strace`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "../../stream/tests/common/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::place::*;
use common::senders::{Http, Sender};
use common::*;
use server::{Server, skipped};
use tidemill_recipe::stream::{Fsync, Log, LogOptions, Poll, Records, Source};

const LIMIT: Duration = Duration::from_secs(60);

/// The command, in which system calls fail as `inject` says where they concern `path`, if there is one.
fn strace(inject: &str, path: Option<&Path>, arguments: &[&str]) -> Command {
    let calls = inject.split(':').next().unwrap();
    let mut strace = Command::new("strace");
    // As a detached process beside the command, which so is the test's own child.
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={inject}")]);
    if let Some(path) = path {
        strace.args(["-P", text(path)]);
    }
    strace.arg(env!("CARGO_BIN_EXE_tidemill")).args(arguments);
    strace.env_remove("TIDEMILL_DATA").stdin(Stdio::null());
    strace
}

fn strace_works() -> bool {
    if skipped("strace") {
        return false;
    }
    let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    let works = tried.is_ok_and(|status| status.success());
    if !works {
        eprintln!("SKIPPED: strace may not trace here (in a container: --cap-add=SYS_PTRACE)");
    }
    works
}

/// All files below a folder with their bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(n, b)| (format!("{name}/{n}"), b)));
        } else if name != ".lock" {
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    found
}

/// What cannot be read just now is an error with its path; nothing is deleted, and nothing starts from the
/// beginning.
#[test]
fn a_checkpoint_that_cannot_be_read_now_is_an_error() {
    if !strace_works() {
        return;
    }
    let place = Place::new(CLASSES);
    place.write("data.csv", &classes(100));
    place.learned("data.csv", &["--until-events", "50"]);
    let run = place.path("run");
    let before = files(&run);
    let (recipe, data) = (place.path("recipe.toml"), place.path("data.csv"));
    let learn = ["learn", text(&recipe), "--from", text(&data), "--out", text(&run), "--resume"];
    let eval = ["eval", text(&run), "--data", text(&data)];
    let other = place.path("other");
    let start = ["learn", text(&run), "--from", text(&data), "--out", text(&other)];
    let newest = run.join("checkpoints/50");
    let paths = [
        newest.join("meta.json"),
        newest.join("state.safetensors"),
        newest.join("manifest.sha256"),
        run.join("checkpoints"),
    ];
    for (path, error) in paths.iter().zip(["EMFILE", "EIO", "EACCES", "ENOMEM"].into_iter().cycle())
    {
        for arguments in [&learn[..], &eval, &start] {
            let output = strace(&format!("openat:error={error}"), Some(path), arguments).output();
            let output = output.unwrap();
            let says = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{path:?} {error} {arguments:?}: {says}");
            assert!(says.contains(text(path)) && says.contains("cannot be"), "{error}: {says}");
            assert!(files(&run) == before, "{path:?} {error}");
            let _ = std::fs::remove_dir_all(&other);
        }
    }
    for error in ["EIO", "EMFILE", "ENOMEM"] {
        let output = strace(&format!("read:error={error}"), Some(&paths[1]), &learn).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}: {}", stderr(&output));
        assert!(files(&run) == before, "{error}");
    }
    assert_eq!(place.learned("data.csv", &["--resume"])["events"], 100);
}

/// A run of batches likewise.
#[test]
fn training_does_not_begin_again_over_what_cannot_be_read_now() {
    if !strace_works() {
        return;
    }
    let place = Place::new(&format!(
        "{CLASSES}[batch]\nbatch_size = 10\nepochs = 2\ndata = {{ csv = {{ path = \"data.csv\", label = \"y\" }} }}\n"
    ));
    place.write("data.csv", &classes(100));
    let (recipe, run) = (place.path("recipe.toml"), place.path("run"));
    let train = ["train", text(&recipe), "--out", text(&run)];
    succeed(&train);
    let before = files(&run);
    let more = [&train[..], &["--resume", "--set", "batch.epochs=3"]].concat();
    for file in ["meta.json", "state.safetensors", "manifest.sha256"] {
        let path = run.join("checkpoints/20").join(file);
        let output = strace("openat:error=EMFILE", Some(&path), &more).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(text(&path)), "{}", stderr(&output));
        assert!(files(&run) == before, "{file}");
    }
    succeed(&more);
    assert_eq!(summary(&run).steps, 30);
}

fn wait(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("it has not ended");
}

const JSON: &str =
    "[stream]\nformat = \"json\"\nignore = [\"i\"]\n[online]\ncheckpoint_events = 20\n";

fn event(i: usize) -> String {
    format!(
        "{{\"a\":{},\"b\":{},\"i\":{i},\"label\":{}}}",
        i % 7,
        i % 5,
        usize::from(i % 7 > i % 5)
    )
}

/// What `GET /health` is answered.
fn health(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// After a failed flush no answer says that events were kept; the one in doubt says that it is not known.
#[test]
fn a_log_that_cannot_be_flushed_ends_the_learner() {
    if !strace_works() {
        return;
    }
    let place = Place::new(&format!("{CLASSES}{JSON}"));
    let port = Server::new().port;
    let from = format!("http://127.0.0.1:{port}");
    let (recipe, run) = (place.path("recipe.toml"), place.path("run"));
    let learn = ["learn", text(&recipe), "--from", &from, "--out", text(&run), "--resume"];
    let mut learner = strace("fdatasync:error=EIO:when=3", None, &learn);
    let mut child = learner.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut sender, start, mut sent) = (Http::new(port), Instant::now(), 0);
    let answer = loop {
        assert!(start.elapsed() < LIMIT);
        match sender.send(&[event(sent)]) {
            Ok(_) => sent += 1,
            Err(e) if e.to_string().contains("refused") => sleep(Duration::from_millis(10)),
            Err(e) => break e.to_string(),
        }
    };
    assert!(answer.contains("whether the events were kept is not known"), "{answer}");
    // The learner ends a second later; until then whoever asks is told why.
    let health = health(port);
    assert!(
        health.starts_with("HTTP/1.1 503 ") && health.contains("flushing to disk failed"),
        "{health}"
    );
    assert_eq!(wait(&mut child), Some(1));
    let output: Output = child.wait_with_output().unwrap();
    assert!(stderr(&output).contains("flushing to disk failed"), "{}", stderr(&output));
    // What was acknowledged is there; the one in doubt may be.
    let until = ["--resume", "--until-events", &(sent + 1).to_string()].map(str::to_owned);
    let mut child = command(&[&learn[..], &[&until[1], &until[2]]].concat());
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() && start.elapsed() < LIMIT {
        let _ = sender.send(&[event(sent)]);
        sleep(Duration::from_millis(20));
    }
    assert_eq!(wait(&mut child), Some(0));
    assert_eq!(place.summary()["events"], sent as u64 + 1);
}

/// A file that reaches the limit of its size is a disk that is full, and no silent end.
#[test]
fn a_limit_of_file_sizes_is_said() {
    let place = Place::new(CLASSES);
    place.write("data.csv", &classes(20_000));
    let learn =
        "ulimit -f 64; exec \"$0\" learn recipe.toml --from data.csv --out run --predictions p.csv";
    let mut shell = Command::new("sh");
    shell.args(["-c", learn, env!("CARGO_BIN_EXE_tidemill")]).current_dir(place.0.path());
    let output = shell.output().unwrap();
    let says = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{says}");
    assert!(says.contains("cannot be written: File too large"), "{says}");
}

/// Lines of another stream stay where they are; a file that is shorter than its checkpoint says is no reason to
/// stop.
#[test]
fn journals_outlive_other_streams_and_power_cuts() {
    let place = Place::new(&format!("{CLASSES}[online]\non_bad = \"continue\"\n"));
    let table = |good: usize, bad: &str| classes(good) + &format!("1,2,{bad},7\n").repeat(3);
    place.write("data.csv", &table(40, "first"));
    place.write("more.csv", &table(60, "second"));
    place.learned("data.csv", &[]);
    let dead = || std::fs::read_to_string(place.path("run/dead-letter.jsonl")).unwrap();
    let first = dead();
    assert_eq!(first.lines().count(), 3);
    let summary = place.learned("more.csv", &["--resume"]);
    assert_eq!((&summary["events"], &summary["bad_events"]), (&60.into(), &3.into()));
    let both = dead();
    assert!(both.starts_with(&first) && both.lines().count() == 6, "{both}");
    assert!(both.contains("second"));
    // As after a power cut.
    let cut = first.len() + 10;
    std::fs::write(place.path("run/dead-letter.jsonl"), &both[..cut]).unwrap();
    place.write("more.csv", &(table(60, "second") + "1,2,third,7\n"));
    let output = place.learn("more.csv", &["--resume"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let note = format!(
        "has 3 lines of {} bytes, and the checkpoint says {} bytes",
        first.len(),
        both.len()
    );
    assert!(stderr(&output).contains(&note), "{}", stderr(&output));
    assert!(dead().starts_with(&first) && dead().lines().count() == 4, "{}", dead());
    assert_eq!(place.summary()["bad_events"], 4);
    std::fs::remove_file(place.path("run/dead-letter.jsonl")).unwrap();
    let output = place.learn("more.csv", &["--resume"]);
    assert!(output.status.success() && stderr(&output).contains("dead-letter.jsonl: is not there"));
}

/// What killed writers leave does not stay.
#[test]
fn leftovers_go_when_a_run_is_opened() {
    let place = Place::new(CLASSES);
    place.write("data.csv", &classes(100));
    place.learned("data.csv", &["--until-events", "50"]);
    let at = |name: &str| place.path("run/checkpoints").join(name);
    std::fs::create_dir(at(".writing-70")).unwrap();
    std::fs::write(at(".writing-70/state.safetensors"), "half").unwrap();
    // Killed while a checkpoint was being replaced where folders cannot be exchanged.
    std::fs::rename(at("50"), at(".replaced-50")).unwrap();
    assert!(
        succeed(&[
            "eval",
            text(&place.path("run")),
            "--data",
            text(&place.path("data.csv")),
            "--json"
        ])
        .contains("\"step\":50")
    );
    // It is no folder to start in, either.
    place.refused("data.csv", &[], 2);
    assert_eq!(place.learned("data.csv", &["--resume"])["events"], 100);
    assert!(files(&place.path("run/checkpoints")).keys().all(|name| !name.starts_with('.')));
}

/// What a log holds.
fn records(folder: &Path) -> BTreeMap<u64, String> {
    let log = Log::open(folder, LogOptions::default()).unwrap();
    let (mut source, mut records, mut all) = (log.source(), Records::default(), BTreeMap::new());
    while source.poll(&mut records, 1 << 16, Duration::ZERO).unwrap() == Poll::Some {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        all.extend(records.iter().map(|r| (r.mark.major, text(r.bytes))));
        records.clear();
    }
    all
}

/// Appends the first events to an empty log.
fn append(log: &Log, events: u64) {
    for i in 0..events {
        log.append([event(i as usize).as_bytes()]).unwrap();
    }
}

/// A log whose records up to `last` are gone, as a checkpoint covers them.
fn trimmed(folder: &Path, last: u64) {
    let _ = std::fs::remove_dir_all(folder);
    let age = Some(Duration::from_micros(1));
    let options = LogOptions { fsync: Fsync::Never, max_age: age, ..LogOptions::default() };
    let log = Log::open(folder, options).unwrap();
    append(&log, last);
    sleep(Duration::from_millis(2));
    log.commit(last).unwrap();
    assert_eq!(log.first(), last + 1);
}

/// System calls at which a learner is killed, and how often each is gone through.
const CALLS: [(&str, usize); 8] = [
    ("rename,renameat,renameat2", 6),
    ("fsync", 9),
    ("fdatasync", 6),
    ("write", 14),
    ("unlink,unlinkat,rmdir", 6),
    ("openat", 60),
    ("ftruncate", 3),
    ("mkdir", 3),
];

/// Learns by HTTP from a log whose beginning is gone, so that nothing can be read again from the start, and is
/// killed again and again: each record is learned from once, and those that were acknowledged are there.
fn killed_at(kills: usize) {
    const BEFORE: u64 = 100;
    let place = Place::new(&format!("{CLASSES}{JSON}"));
    let port = Server::new().port;
    let from = format!("http://127.0.0.1:{port}");
    let (recipe, run) = (place.path("recipe.toml"), place.path("run"));
    // The beginning, then gone from the log.
    let learn = ["learn", text(&recipe), "--from", &from, "--out", text(&run), "--resume"];
    std::fs::create_dir_all(&run).unwrap();
    place.write("run/.lock", "");
    let first = LogOptions { fsync: Fsync::Never, ..LogOptions::default() };
    let log = Log::open(run.join("log"), first).unwrap();
    append(&log, BEFORE);
    drop(log);
    succeed(&[&learn[..], &["--until-events", &BEFORE.to_string()]].concat());
    trimmed(&run.join("log"), BEFORE);
    let mut random = random();
    let (mut acknowledged, mut sent, mut hits) = (BTreeMap::new(), BEFORE as usize, 0);
    for kill in 0..=kills {
        let (calls, most) = CALLS[kill % CALLS.len()];
        let inject = format!("{calls}:signal=KILL:when={}", 1 + random(most));
        let mut learner = strace(&inject, None, &learn);
        if kill == kills {
            learner = command(&learn);
        }
        let mut child = learner.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut sender, start, mut answered) = (Http::new(port), Instant::now(), 0);
        // Long enough for some checkpoints.
        while answered < 70 && child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < LIMIT);
            let lines: Vec<String> = (sent..sent + 1 + random(5)).map(event).collect();
            let Ok(Some((from, _))) = sender.send(&lines) else {
                sleep(Duration::from_millis(3));
                continue;
            };
            (sent, answered) = (sent + lines.len(), answered + lines.len());
            acknowledged.extend((from..).zip(lines));
        }
        if kill == kills {
            let stop = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
            assert!(stop.unwrap().success());
            assert_eq!(wait(&mut child), Some(130));
            break;
        }
        // One that came through ends as others do, without a checkpoint of its end.
        hits += usize::from(child.try_wait().unwrap().is_some());
        let _ = child.kill();
        let says = stderr(&child.wait_with_output().unwrap());
        assert!(!says.contains("error:"), "{inject}: {says}");
    }
    let there = records(&run.join("log"));
    assert_eq!(there.keys().next(), Some(&(BEFORE + 1)));
    for (sequence, line) in &acknowledged {
        assert_eq!(there.get(sequence), Some(line), "record {sequence}");
    }
    let all: Vec<String> = (0..BEFORE as usize).map(event).chain(there.into_values()).collect();
    place.write("all.json", &(all.join("\n") + "\n"));
    let found = place.summary();
    let json = ["--set", "stream.format=json", "--out", "whole"];
    let whole = command(&[&["learn", "recipe.toml", "--from", "all.json"][..], &json].concat())
        .current_dir(place.0.path())
        .output()
        .unwrap();
    assert!(whole.status.success(), "{}", stderr(&whole));
    let whole = std::fs::read_to_string(place.path("whole/summary.json")).unwrap();
    let whole: serde_json::Value = serde_json::from_str(&whole).unwrap();
    for figure in ["events", "bad_events", "state_sha256", "prequential"] {
        assert_eq!(found[figure], whole[figure], "{figure}");
    }
    let names = files(&run.join("checkpoints"));
    assert!(names.keys().all(|name| !name.starts_with('.')), "{:?}", names.keys());
    eprintln!("{hits} of {kills} kills at a system call, {} acknowledged", acknowledged.len());
    assert!(hits > kills / 3, "{hits}");
}

#[test]
fn kills_at_system_calls_lose_and_double_nothing() {
    if strace_works() {
        killed_at(32);
    }
}

/// `cargo test --release -p tidemill-cli --test faults -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes"]
fn many_kills_at_system_calls_lose_and_double_nothing() {
    if strace_works() {
        killed_at(300);
    }
}
