//! Data that every command takes for the same: names that are not there, ways to write numbers, bad cells.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::senders::{Http, Sender};
use common::{command, stderr, succeed, text, tidemill};

/// Rows of two numbers and a class from 0 that follows from the first, below a header.
fn csv(header: &str, n: usize, row: impl Fn(usize, f64, f64, usize) -> String) -> Vec<u8> {
    let one = |i: usize| {
        let class = (i * 7 + i / 3) % 2;
        row(i, class as f64 * 2.0 + (i % 10) as f64 * 0.05, ((i * 13) % 17) as f64, class) + "\n"
    };
    format!("{header}{}", (0..n).map(one).collect::<String>()).into_bytes()
}

/// What a command says on either stream, whatever comes of it.
fn said(arguments: &[&str]) -> String {
    let output = tidemill(arguments);
    String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output)
}

#[test]
fn a_renamed_column_is_an_error_with_its_name_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let write = |name: &str, bytes: &[u8]| std::fs::write(path(name), bytes).unwrap();
    let json = |key: &str| {
        csv("", 60, |_, a, b, c| format!("{{\"size\": {a}, \"{key}\": {b}, \"class\": {c}}}"))
    };
    let table = |names: &str| csv(names, 60, |_, a, b, c| format!("{a},{b},{c}"));
    write("good.csv", &table("size,price,class\n"));
    write("other.csv", &table("size,Prices,class\n"));
    write("unlabelled.csv", &table("size,price,kind\n"));
    write("good.jsonl", &json("price"));
    write("other.jsonl", &json("Price"));
    let mut gaps = json("price");
    gaps.extend(b"{\"size\": 1, \"class\": 0}\n");
    write("gaps.jsonl", &gaps);
    for good in ["good.csv", "good.jsonl"] {
        let (recipe, batch, stream) = (path("r.toml"), path("batch"), path("stream"));
        succeed(&["init", &path(good), "--out", &recipe, "--force"]);
        let few = ["--set", "batch.epochs=1", "--force"];
        succeed(&[&["train", &recipe, "--out", &batch], &few[..]].concat());
        succeed(&["learn", &recipe, "--from", &path(good), "--out", &stream, "--force"]);
        for run in [&batch, &stream] {
            for (file, near) in [("other.csv", "Prices"), ("other.jsonl", "Price")] {
                let (file, out) = (path(file), path("out"));
                let _ = std::fs::remove_dir_all(&out);
                for uses in [
                    &["eval", run, "--data", &file][..],
                    &["predict", run, "--data", &file],
                    &["learn", run, "--from", &file, "--out", &out],
                ] {
                    let output = tidemill(uses);
                    let error = stderr(&output);
                    assert!(!output.status.success(), "{uses:?}");
                    assert!(error.contains("`price`, which the model was made with"), "{error}");
                    assert!(error.contains(&format!("the nearest name is `{near}`")), "{error}");
                }
            }
            let gaps = path("gaps.jsonl");
            for uses in ["eval", "predict"] {
                let noted = said(&[uses, run, "--data", &gaps]);
                assert!(noted.contains("1 of 61 rows lack values (price: 1)"), "{noted}");
            }
            let error = said(&["eval", run, "--data", &path("unlabelled.csv")]);
            assert!(error.contains("has no column `class`, the label to compare with"), "{error}");
            assert!(error.contains("does not use: kind"), "{error}");
        }
    }
}

#[test]
fn thousands_are_told_from_fractions() {
    let folder = tempfile::tempdir().unwrap();
    let values = ["3.335", "876", "1.234.567", "12", "45.100"];
    let whole: String =
        (0..50).map(|i| format!("{},{}\n", values[i % 5], ["a", "b"][i % 2])).collect();
    let unclear = whole.replace("1.234.567", "234.567");
    for (name, rows, number, note) in [
        ("whole.csv", &whole, "3335", "`.` groups thousands in numbers, as in `1.234.567`"),
        ("unclear.csv", &unclear, "3.335", "`.` is taken to be before decimals, as in `3.335`"),
    ] {
        let (file, recipe) = (folder.path().join(name), folder.path().join("r.toml"));
        std::fs::write(&file, format!("people,class\n{rows}")).unwrap();
        let (file, recipe) = (text(&file), text(&recipe));
        let noted = said(&["init", file, "--out", recipe, "--force"]);
        assert!(noted.contains(note), "{noted}");
        // The recipe says it then; here it is to be found again.
        let bare = std::fs::read_to_string(recipe).unwrap();
        let bare: Vec<&str> = bare
            .lines()
            .filter(|l| !l.starts_with("thousands") && !l.starts_with("decimal"))
            .collect();
        std::fs::write(recipe, bare.join("\n")).unwrap();
        let (batch, stream) = (folder.path().join("batch"), folder.path().join("stream"));
        for uses in [
            ["train", recipe, "--out", text(&batch), "--force"].to_vec(),
            ["learn", recipe, "--from", file, "--out", text(&stream), "--force"].to_vec(),
        ] {
            let noted = said(&uses);
            assert!(noted.contains(note), "{noted}");
            // The number itself, and what its hats are.
            assert!(noted.contains(&format!("people  number  {number}  (10 inputs)\n")), "{noted}");
        }
        // A single row says nothing by itself: it is read as the run's data was.
        let one = folder.path().join("one.csv");
        std::fs::write(&one, "people,class\n3.335,a\n").unwrap();
        for run in [&batch, &stream] {
            let first = |file| {
                let printed = succeed(&["predict", text(run), "--data", file]);
                let line = printed.lines().nth(1).unwrap().to_owned();
                line.split_once(',').unwrap().1.to_owned()
            };
            assert_eq!(first(text(&one)), first(file), "{name}");
        }
    }
}

#[test]
fn a_bad_cell_is_missing_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let rows = csv("a,b,class\n", 400, |i, a, b, c| match i {
        0 | 200 => format!("unknown,{b},{c}"),
        _ => format!("{a},{b},{c}"),
    });
    let (file, recipe) = (path("t.csv"), path("r.toml"));
    std::fs::write(&file, rows).unwrap();
    let noted = succeed(&["init", &file, "--out", &recipe]);
    assert!(noted.contains("2 columns of numbers"), "{noted}");
    assert!(noted.contains("2 values (`unknown` in line 2, the first) are no number"), "{noted}");
    let (batch, stream) = (path("batch"), path("stream"));
    let noted = said(&["train", &recipe, "--out", &batch]);
    let note = "column `a`: 2 values are no number and missing, the first `unknown` in line 2";
    assert!(noted.contains("columns  a  number") && noted.contains(note), "{noted}");
    let noted = said(&["learn", &recipe, "--from", &file, "--out", &stream]);
    assert!(noted.contains("columns  a  number"), "{noted}");
    assert!(
        noted.contains("column `a`: `unknown` in line 2 and the like are no numbers"),
        "{noted}"
    );
    for (run, uses) in [(&batch, "eval"), (&batch, "predict"), (&stream, "eval")] {
        let noted = said(&[uses, run, "--data", &file]);
        assert!(noted.contains(note), "{noted}");
        assert!(!noted.contains("left out"), "{noted}");
    }
}

/// A note about values names the first one and where it was, also on a live stream.
#[test]
fn notes_say_where_the_first_one_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let recipe = "[model]\ninput = { features = 2 }\nlayers = [{ dense = { units = 2 } }]\n[training]\n\
                  loss = \"sparse_categorical_crossentropy\"\n[stream]\nformat = \"json\"\n";
    std::fs::write(path("recipe.toml"), recipe).unwrap();
    let line = |i: usize| match i {
        30 => "{\"a\":5,\"label\":1}\n".to_owned(),
        40 => "{\"a\":\"oops\",\"b\":1,\"label\":1}\n".to_owned(),
        _ => format!("{{\"a\":{i},\"b\":1,\"label\":{}}}\n", i % 2),
    };
    let lines: String = (1..=60).map(line).collect();
    let notes = |said: &str, place: &str| {
        let lacks = format!("key `b` is not there and counts as missing, first in {place} 30: ");
        assert!(said.contains(&(lacks + "`{\"a\":5,\"label\":1}`")), "{said}");
        let odd = format!("column `a`: `oops` in {place} 40 and the like are no numbers");
        assert!(said.contains(&odd), "{said}");
    };
    std::fs::write(path("data.json"), &lines).unwrap();
    let learn = |from: &str, out: &str| {
        let until = ["--until-events", "60"];
        let all = ["learn", &path("recipe.toml"), "--from", from, "--out", &path(out)];
        let mut learner = command(&[&all[..], &until].concat());
        learner.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    notes(&stderr(&learn(&path("data.json"), "file").wait_with_output().unwrap()), "line");

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut child = learn(&format!("http://127.0.0.1:{port}"), "live");
    let mut sender = Http::new(port);
    let (start, all) = (Instant::now(), lines.lines().map(String::from).collect::<Vec<_>>());
    while child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(20) {
        let _ = sender.send(&all);
        sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    notes(&stderr(&output), "record");
}
