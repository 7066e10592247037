//! Streams that are not as they should be: nothing is dropped, doubled or mislearned in silence.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "../../stream/tests/common/server.rs"]
mod server;

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::place::*;
use common::senders::{Http, Sender};
use common::*;
use serde_json::Value;
use server::Server;

#[test]
fn figures_do_not_depend_on_where_targets_lie() {
    let place = Place::new(VALUES);
    let figures = |offset: f64, scale: f64| {
        let target = |a: f64, b: f64| format!("{:?}", offset + scale * (5.0 * a - 3.0 * b));
        place.write("data.csv", &rows(200, target));
        let summary = place.learned("data.csv", &["--force"]);
        ["mae", "no_change.mae", "mean.mae", "rmse"].map(|name| number(&summary, name) / scale)
    };
    let near = figures(0.0, 1.0);
    assert!(near[0] < near[1] && near[0] < near[2], "{near:?}");
    for (offset, scale) in [(1.7e9, 1.0), (-1e5, 1.0), (0.0, 1e-9), (0.0, 1e6)] {
        let there = figures(offset, scale);
        for (a, b) in near.iter().zip(&there) {
            assert!((a - b).abs() < 0.05 * a, "{offset} {scale}: {there:?}, near zero {near:?}");
        }
    }
    // And nothing is shown as 0 that is not.
    let says = place.learn("data.csv", &["--force"]);
    assert!(!String::from_utf8_lossy(&says.stdout).contains("0.0000\n"), "{says:?}");
}

#[test]
fn compare_does_not_depend_on_where_targets_lie() {
    let place = Place::new(VALUES);
    let qualities = |offset: f64| {
        let target = |a: f64, b: f64| format!("{:?}", offset + 5.0 * a - 3.0 * b);
        place.write("data.csv", &rows(240, target));
        let output = command(&["compare", "recipe.toml", "--from", "data.csv", "--json"])
            .current_dir(place.0.path())
            .output()
            .unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let quality = |row: &Value, order: &str| row[order]["quality"].as_f64().unwrap();
        let rows = found["rows"].as_array().unwrap().iter();
        rows.flat_map(|r| [quality(r, "ordered"), quality(r, "shuffled")]).collect::<Vec<_>>()
    };
    let near = qualities(0.0);
    for offset in [1e4, 1e8] {
        let there = qualities(offset);
        for (a, b) in near.iter().zip(&there) {
            assert!((a - b).abs() < 0.02 * a, "{offset}: {there:?}, near zero {near:?}");
        }
    }
}

/// Waits for a child for a while.
fn wait(child: &mut std::process::Child) -> Option<i32> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

#[test]
fn a_pipe_without_a_writer_can_be_interrupted() {
    let place = Place::new(&format!("{CLASSES}[stream]\nformat = \"csv\"\n"));
    let pipe = place.path("pipe");
    if !Command::new("mkfifo").arg(&pipe).status().is_ok_and(|s| s.success()) {
        eprintln!("SKIPPED: no mkfifo");
        return;
    }
    let (recipe, run) = (place.path("recipe.toml"), place.path("run"));
    let mut learner =
        command(&["learn", text(&recipe), "--from", text(&pipe), "--out", text(&run)]);
    let mut child = learner.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The recipe is written when the stream is open, and Ctrl-C is caught before.
    while !run.join("recipe.toml").exists() {
        assert!(child.try_wait().unwrap().is_none());
        sleep(Duration::from_millis(5));
    }
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
    assert_eq!(wait(&mut child), Some(130));
    place.refused(&format!("tail:{}", pipe.display()), &["--force"], 2);
}

#[test]
fn bad_records_are_told_counted_and_limited() {
    let place = Place::new(&format!("{CLASSES}[stream]\nformat = \"json\"\n"));
    let good = "{\"a\":1,\"b\":2,\"label\":1}\n";
    let bad = "{\"a\":1,\"b\":oops}\n";
    let many = good.to_owned() + &bad.repeat(20_000);
    let output = place.piped(&many, &[]);
    let says = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{says}");
    assert!(says.contains("of the last 1000 records were set aside"), "{says}");
    assert!(says.contains("key `b`") && says.contains("online.on_bad"), "{says}");
    assert!(place.path("run/dead-letter.jsonl").exists());

    let more = ["--force", "--set", "online.on_bad=continue"];
    let output = place.piped(&many, &more);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("a record was set aside"), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("20,000"));
    let summary = place.summary();
    assert_eq!(
        (summary["events"].as_u64(), summary["bad_events"].as_u64()),
        (Some(1), Some(20_000))
    );
    assert!(summary["peak_rss_bytes"].as_u64() < Some(60_000_000), "{summary}");

    // A tenth of the records is no reason to stop.
    let tenth = (0..3000).map(|i| if i % 10 == 3 { bad } else { good }).collect::<String>();
    assert!(place.piped(&tenth, &["--force"]).status.success());
    assert_eq!(place.summary()["bad_events"], 300);
}

#[test]
fn a_start_that_fails_leaves_a_folder_that_starts() {
    let place = Place::new(&format!("{CLASSES}[online]\non_bad = \"continue\"\n"));
    let good = "a,b,label\n1,2,0\n3,x y,z,1\n".to_owned() + &"1,2,1\n".repeat(40);
    place.write("data.csv", &good);
    assert_eq!(place.learned("data.csv", &[])["bad_events"], 1);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = format!("http://{}", port.local_addr().unwrap());
    let json = ["--force", "--set", "stream.format=json_lines"];
    for (from, more) in [("none.csv", &["--force"][..]), (&busy, &json)] {
        place.refused(from, more, 1);
        // The run that was to give way is still whole.
        assert!(place.path("run/dead-letter.jsonl").exists(), "{from}");
        assert_eq!(place.learned("data.csv", &["--resume"])["events"], 41, "{from}");
    }
    let says = place.refused("http://127.0.0.1", &json, 2);
    assert!(says.contains("127.0.0.1: has no port; give an address"), "{says}");
    // So it is without a run, and with what an earlier version left of one.
    for left in ["recipe.toml", "checkpoints", "metrics.jsonl"] {
        let _ = std::fs::remove_file(place.path("run").join(left));
        let _ = std::fs::remove_dir_all(place.path("run").join(left));
    }
    place.refused(&busy, &json[1..], 1);
    assert_eq!(place.learned("data.csv", &[])["events"], 41);
}

#[test]
fn a_run_that_learned_nothing_has_failed() {
    let place = Place::new(&format!("{CLASSES}[stream]\nformat = \"json\"\n"));
    let output = place.piped(&"{\"a\":1,\"b\":oops}\n".repeat(50), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("all 50 records were set aside"), "{}", stderr(&output));
    assert_eq!(place.summary()["bad_events"], 50);
    let output = place.piped("", &["--force"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no event came"), "{}", stderr(&output));
    // It is in nobody's way.
    let good = "{\"a\":1,\"b\":2,\"label\":1}\n".repeat(20);
    assert!(place.piped(&good, &[]).status.success());
    // One that has learned is.
    assert_eq!(place.piped(&good, &[]).status.code(), Some(2));
}

#[test]
fn a_line_that_is_too_long_is_counted() {
    let place = Place::new(CLASSES);
    let long = "x".repeat(17 << 20);
    place.write("data.csv", &format!("{}{long}\n1,2,1\n", classes(20)));
    let summary = place.learned("data.csv", &[]);
    assert_eq!((summary["events"].as_u64(), summary["bad_events"].as_u64()), (Some(21), Some(1)));
    let dead = std::fs::read_to_string(place.path("run/dead-letter.jsonl")).unwrap();
    assert!(dead.contains("longer than its source allows") && dead.len() < 10_000, "{dead}");
}

/// An array in one line longer than any record may be, and as `jq` and `json.dump` write it.
#[test]
fn an_array_of_json_is_read_item_by_item() {
    let place = Place::new(CLASSES);
    let item = |i: usize| format!("{{\"a\":{},\"b\":{},\"label\":{}}}", i % 7, i % 5, i % 2);
    let items: Vec<String> = (0..750_000).map(item).collect();
    place.write("big.json", &format!("[{}]", items.join(",")));
    let summary = place.learned("big.json", &["--until-events", "500000"]);
    assert_eq!(
        (summary["events"].as_u64(), summary["bad_events"].as_u64()),
        (Some(500_000), Some(0))
    );
    // A position within it can be gone on from.
    assert_eq!(place.learned("big.json", &["--resume"])["events"], 750_000);
    let some = items[..200].join(" ,\n  ").replace(',', " ,\n   ");
    place.write("lines.json", &format!("[\n  {some}\n]\n"));
    let spread = place.learned("lines.json", &["--force"]);
    place.write("lines.json", &(items[..200].join("\n") + "\n"));
    let lines = place.learned("lines.json", &["--force"]);
    assert_eq!(spread["state_sha256"], lines["state_sha256"]);
}

#[test]
fn a_compressed_file_that_is_followed_is_refused() {
    let place = Place::new(&format!("{CLASSES}[stream]\nformat = \"csv\"\n"));
    let zip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 75, 212, 73, 2, 0];
    std::fs::write(place.path("data.csv.gz"), zip).unwrap();
    let says = place.refused("tail:data.csv.gz", &[], 2);
    assert!(says.contains("gzipped") && says.contains("without `tail:`"), "{says}");
    std::fs::write(place.path("data.csv.zst"), [0x28, 0xb5, 0x2f, 0xfd, 4, 0, 0, 0, 0]).unwrap();
    let says = place.refused("data.csv.zst", &[], 2);
    assert!(says.contains("zstd -dc"), "{says}");
}

/// A class has its name as soon as a label has it, on live streams too, and a resumed run writes the same.
#[test]
fn a_resumed_run_refuses_keys_that_mean_other_columns() {
    let place = Place::new(CLASSES);
    place.write("data.csv", &classes(200));
    place.learned("data.csv", &["--until-events", "100"]);
    let recipe = std::fs::read_to_string(place.path("run/recipe.toml")).unwrap();
    for (key, value) in [
        ("stream.label", "a"),
        ("stream.missing", "[\"-\"]"),
        ("stream.ignore", "[\"a\"]"),
        ("stream.text", "[\"a\"]"),
        ("stream.header", "false"),
        ("online.classes", "[\"1\", \"0\"]"),
        ("online.features.clip", "2.5"),
    ] {
        let set = format!("{key}={value}");
        let says = place.refused("data.csv", &["--resume", "--set", &set], 2);
        let section = if key.starts_with("online.features") { "online.features" } else { key };
        assert!(says.contains(section) && says.contains("the run has learned with"), "{says}");
        assert_eq!(std::fs::read_to_string(place.path("run/recipe.toml")).unwrap(), recipe);
    }
    // What was found without the key may be named, and other keys may change.
    let more = ["--resume", "--set", "stream.label=y", "--set", "online.learning_rate=0.1"];
    assert_eq!(place.learned("data.csv", &more)["events"], 200);
}

#[test]
fn a_stream_is_known_by_what_it_is() {
    let place = Place::new(CLASSES);
    let data = place.write("data.csv", &classes(200));
    let start = || drop(place.learned("data.csv", &["--force", "--until-events", "100"]));
    let counts = |s: &Value| (s["steps"].as_u64().unwrap(), s["events"].as_u64().unwrap());
    std::os::unix::fs::symlink(&data, place.path("link.csv")).unwrap();
    std::fs::copy(&data, place.path("moved.csv")).unwrap();
    for other in ["file:data.csv", "./data.csv", text(&data), "link.csv", "moved.csv"] {
        start();
        assert_eq!(counts(&place.learned(other, &["--resume"])), (200, 200), "{other}");
    }
    // Other content under the same name is refused, with what differs.
    start();
    let changed = classes(200).replacen("a,b,y\n", "a,c,y\n", 1);
    std::fs::write(&data, changed).unwrap();
    let says = place.refused("data.csv", &["--resume"], 2);
    assert!(says.contains("its first line was `a,b,y` and is `a,c,y`"), "{says}");
    let text = classes(200);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.swap(3, 4);
    std::fs::write(&data, lines.join("\n")).unwrap();
    let says = place.refused("data.csv", &["--resume"], 2);
    assert!(says.contains("hold other text"), "{says}");
    // Another stream under another name is learned from, and that is said.
    place.write("more.csv", &rows(50, |a, b| u8::from(a > b).to_string()));
    let output = place.learn("more.csv", &["--resume"]);
    assert!(stderr(&output).contains("another stream than"), "{}", stderr(&output));
    assert_eq!(counts(&place.summary()), (150, 50));
}

#[test]
fn a_file_whose_last_line_had_no_end_goes_on() {
    let place = Place::new(CLASSES);
    let whole = classes(200);
    let at = whole.match_indices('\n').nth(100).unwrap().0;
    place.write("data.csv", &whole[..at]);
    assert_eq!(place.learned("data.csv", &[])["events"], 100);
    place.write("data.csv", &whole);
    assert_eq!(place.learned("data.csv", &["--resume"])["events"], 200);
    // One whose last line was not whole is reported.
    place.write("data.csv", &whole[..at - 1]);
    place.learned("data.csv", &["--force", "--set", "online.on_bad=continue"]);
    place.write("data.csv", &whole);
    let says = place.refused("data.csv", &["--resume", "--set", "online.on_bad=continue"], 2);
    assert!(says.contains("hold other text"), "{says}");
}

/// An address that other machines reach needs a token, which is no secret if it is short.
#[test]
fn other_machines_send_with_a_token_only() {
    let place = Place::new(&format!("{CLASSES}[stream]\nformat = \"json\"\n"));
    let remote = "http://0.0.0.0:0";
    let refused = |from: &str, more: &[&str]| place.refused(from, more, 2);
    assert!(refused(remote, &[]).contains("--allow-remote"));
    let says = refused(remote, &["--allow-remote"]);
    assert!(says.contains("--token-file") && says.contains("TIDEMILL_TOKEN"), "{says}");
    assert!(
        refused("tcp://0.0.0.0:0", &["--allow-remote"]).contains("nothing protects lines over TCP")
    );
    place.write("tokens", "too-short\n");
    let tokens = place.path("tokens");
    let says = refused(remote, &["--allow-remote", "--token-file", text(&tokens)]);
    assert!(says.contains("line 1: a token has 16 characters or more"), "{says}");
    assert!(!says.contains("too-short"), "{says}");
    // Without the feature it is named. The program may have been built with it by another command than this test: then there
    // is no certificate in that file.
    let files = ["--tls-cert", text(&tokens), "--tls-key", text(&tokens)];
    let output = place.learn("http://127.0.0.1:0", &files);
    let (status, says) = (output.status.code(), stderr(&output));
    let names = |what: &str| says.contains(what) && says.contains("tokens");
    match names("--features tls") {
        true => assert_eq!(status, Some(2), "{says}"),
        false => assert!(status == Some(1) && names("there is no certificate in PEM"), "{says}"),
    }
}

/// Events by HTTP are known by the log that they are kept in.
#[test]
fn another_port_is_the_same_stream() {
    let place = Place::new(&format!("{CLASSES}[stream]\nformat = \"json\"\n"));
    let event = |j: usize| format!("{{\"a\":{},\"b\":{},\"label\":{}}}", j % 7, j % 3, j % 2);
    let events: Vec<String> = (0..100).map(event).collect();
    for until in ["100", "200"] {
        let port = Server::new().port;
        let from = format!("http://127.0.0.1:{port}");
        let (recipe, run) = (place.path("recipe.toml"), place.path("run"));
        let all = ["learn", text(&recipe), "--from", &from, "--out", text(&run), "--resume"];
        let mut learner = command(&[&all[..], &["--until-events", until]].concat());
        let mut child = learner.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut sender, start) = (Http::new(port), Instant::now());
        // One that has enough may end before it has answered, so that more is sent than is needed.
        while child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(60) {
            let _ = sender.send(&events);
            sleep(Duration::from_millis(20));
        }
        assert_eq!(wait(&mut child), Some(0));
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains(&format!("note: listens at {from}\n")), "{said}");
    }
    let summary = place.summary();
    assert_eq!((summary["steps"].as_u64(), summary["events"].as_u64()), (Some(200), Some(200)));
}

/// A sender that waits gets the prediction of each event, and the status of each label that comes later.
#[test]
fn events_are_answered_where_labels_come_later() {
    let labels = "[online.labels]\nid = \"id\"\nwindow = 1000\n";
    let place = Place::new(&format!("{CLASSES}[stream]\nformat = \"json\"\n{labels}"));
    let port = Server::new().port;
    let from = format!("http://127.0.0.1:{port}");
    let (recipe, run) = (place.path("recipe.toml"), place.path("run"));
    let all =
        ["learn", text(&recipe), "--from", &from, "--out", text(&run), "--until-events", "46"];
    let mut child = command(&all).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut sender = Http::new(port);
    sender.waits = true;
    let event = |j: usize| format!("{{\"id\":{j},\"a\":{},\"b\":{}}}", j % 7, j % 3);
    let label = |j: usize| format!("{{\"id\":{j},\"label\":{}}}", j % 2);
    let start = Instant::now();
    let mut post = |lines: &[String]| loop {
        match sender.post(lines) {
            Ok(answer) => return answer,
            Err(e) => assert!(start.elapsed() < Duration::from_secs(60), "{e}"),
        }
        sleep(Duration::from_millis(20));
    };
    // Also the first one, who comes before the learner is there; no output has a class then.
    let answer = post(&[event(0)]);
    assert_eq!(answer["answers"], serde_json::json!([{"id": "0", "prediction": null}]));
    post(&[label(0), event(5), label(5)]);
    // What nobody can use is answered at once, by itself and after others.
    let asked = Instant::now();
    for lines in [&[event(5)][..], &[event(6), event(6)]] {
        let answer = post(lines);
        let last = answer["answers"].as_array().unwrap().last().unwrap();
        assert!(last["set_aside"].as_str().unwrap().contains("came before"), "{answer}");
    }
    // Who brings the label, or no id, gets the prediction as well.
    let own = "{\"id\":8,\"a\":1,\"b\":2,\"label\":1}".to_owned();
    let answer = post(&[own, "{\"a\":1,\"b\":2,\"label\":0}".into(), "{\"a\":1,\"b\":2}".into()]);
    let answers = answer["answers"].as_array().unwrap();
    assert!(answers.iter().all(|a| a["probability"].is_number()), "{answer}");
    assert_eq!((&answers[0]["id"], answers[1].get("id")), (&"8".into(), None));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let answer = post(&[event(1), label(1), label(1), "{\"id\":2}".into(), label(3)]);
    let answers = answer["answers"].as_array().unwrap();
    assert_eq!(answers[0]["id"], "1");
    let probability = answers[0]["probability"].as_f64().unwrap();
    assert!((0.5..=1.0).contains(&probability), "{answer}");
    let labels: Vec<&Value> = answers.iter().map(|answer| &answer["label"]).collect();
    assert_eq!(
        (labels[1], labels[2], labels[4]),
        (&"joined".into(), &"duplicate".into(), &"early".into())
    );
    assert!(answers[3]["set_aside"].is_string(), "{answer}");
    let rest: Vec<String> = (10..60).map(event).collect();
    sender.waits = false;
    let _ = sender.post(&rest);
    assert_eq!(wait(&mut child), Some(0));
}

#[test]
fn blank_rows_before_the_header_are_passed_over() {
    let rows: String = (0..40).map(|i| format!("{i},{},{}\n", i % 7, ["x", "y"][i % 2])).collect();
    let table = format!(",,\n\n,,\na,b,class\n{rows}");
    let place = Place::new(CLASSES);
    let file = place.write("t.csv", &table);
    let learned = place.learn("t.csv", &["--force"]);
    assert!(learned.status.success(), "{}", stderr(&learned));
    let arguments = ["learn", "recipe.toml", "--from", "-", "--out", "live"];
    let mut live = command(&[&arguments[..], &["--set", "stream.format=csv"]].concat());
    let piped = live.current_dir(place.0.path()).stdin(std::fs::File::open(file).unwrap());
    let piped = piped.output().unwrap();
    assert!(piped.status.success(), "{}", stderr(&piped));
    for (output, run) in [(learned, "run"), (piped, "live")] {
        let notes = stderr(&output);
        assert!(notes.contains("lines before the table were passed over"), "{notes}");
        let summary = std::fs::read(place.path(run).join("summary.json")).unwrap();
        let summary: Value = serde_json::from_slice(&summary).unwrap();
        assert_eq!((&summary["events"], &summary["bad_events"]), (&40.into(), &0.into()));
    }
}
