//! What columns and labels mean, in tables and on streams as people have them: nothing is lost in
//! silence, and what was understood is said.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use common::{command, stderr, succeed, text, tidemill};

/// Learns in a few events.
const QUICK: &str = "optimizer = { sgd = { learning_rate = 0.5 } }";

/// A recipe of a network of so many inputs and outputs, with more sections behind it.
fn recipe(folder: &Path, inputs: usize, outputs: usize, more: &str) -> std::path::PathBuf {
    let loss = if outputs == 1 { "binary_crossentropy" } else { "sparse_categorical_crossentropy" };
    let path = folder.join("recipe.toml");
    let toml = format!(
        "[model]\ninput = {{ features = {inputs} }}\nlayers = [{{ dense = {{ units = {outputs} }} }}]\n\
         [training]\nloss = \"{loss}\"\nseed = 1\n{more}\n"
    );
    std::fs::write(&path, toml).unwrap();
    path
}

/// Learns from a file, or from the same bytes at standard input; gives the summary and what was printed.
fn learned(
    (inputs, outputs, more): (usize, usize, &str),
    name: &str,
    bytes: &[u8],
    live: bool,
) -> (serde_json::Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let (file, run) = (folder.path().join(name), folder.path().join("run"));
    std::fs::write(&file, bytes).unwrap();
    let format = match name.rsplit('.').next() {
        Some("jsonl") => "json_lines",
        Some("arff") => "arff",
        Some("tsv") => "tsv",
        _ => "csv",
    };
    let recipe = recipe(folder.path(), inputs, outputs, more);
    let set = format!("stream.format={format}");
    let from = if live { "-" } else { text(&file) };
    let arguments = ["learn", text(&recipe), "--from", from, "--out", text(&run), "--set", &set];
    let mut child = command(&arguments);
    child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    if live {
        input.write_all(bytes).unwrap();
    }
    drop(input);
    let output: Output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let notes = stderr(&output);
    let summary = std::fs::read(run.join("summary.json")).unwrap();
    (serde_json::from_slice(&summary).unwrap(), notes)
}

/// Events and bad events.
fn counts(summary: &serde_json::Value) -> (u64, u64) {
    (summary["events"].as_u64().unwrap(), summary["bad_events"].as_u64().unwrap())
}

/// Points with a class by their first number, as `a,b` and the class from 0.
fn points(n: usize, classes: usize) -> Vec<(f64, f64, usize)> {
    let one = |i: usize| {
        let class = (i * 7 + i / 3) % classes;
        (class as f64 * 2.0 + (i % 10) as f64 * 0.05, ((i * 13) % 17) as f64, class)
    };
    (0..n).map(one).collect()
}

fn csv(
    header: &str,
    n: usize,
    classes: usize,
    row: impl Fn(usize, f64, f64, usize) -> String,
) -> Vec<u8> {
    let rows = points(n, classes).into_iter().enumerate();
    let rows: String = rows.map(|(i, (a, b, c))| row(i, a, b, c) + "\n").collect();
    format!("{header}{rows}").into_bytes()
}

#[test]
fn labels_take_outputs_as_they_come() {
    // 1 and 2; 1 to 3 of which 3 is late; -1 and 1; texts after many rows without a label.
    for live in [false, true] {
        let two = csv("a,b,class\n", 200, 2, |_, a, b, c| format!("{a},{b},{}", c + 1));
        let (summary, _) = learned((2, 1, ""), "data.csv", &two, live);
        assert_eq!(counts(&summary), (200, 0));
        let three = csv("a,b,class\n", 300, 3, |i, a, b, c| {
            format!("{a},{b},{}", if i < 150 { 1 + c % 2 } else { c + 1 })
        });
        let (summary, _) = learned((2, 3, ""), "data.csv", &three, live);
        assert_eq!(counts(&summary), (300, 0));
        let mut classes: Vec<&str> =
            summary["classes"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
        classes.sort_unstable();
        assert_eq!(classes, ["1", "2", "3"]);
        let signs =
            csv("a,b,class\n", 200, 2, |_, a, b, c| format!("{a},{b},{}", 2 * c as i32 - 1));
        assert_eq!(counts(&learned((2, 1, ""), "data.csv", &signs, live).0), (200, 0));
        let late = csv("a,b,class\n", 200, 2, |i, a, b, c| {
            format!("{a},{b},{}", if i < 110 { "" } else { ["x", "y"][c] })
        });
        let (summary, _) = learned((2, 2, ""), "data.csv", &late, live);
        assert_eq!(counts(&summary), (200, 0));
        assert_eq!(summary["unlabelled"], 110);
        assert_eq!(summary["classes"], serde_json::json!(["x", "y"]));
    }
}

#[test]
fn the_positive_class_is_stated_whichever_comes_first() {
    let data = |first: usize| {
        csv("a,b,class\n", 200, 2, |i, a, b, c| {
            let c = if i == 0 { first } else { c };
            format!("{a},{b},{}", ["no", "yes"][c])
        })
    };
    for first in [0, 1] {
        let (summary, _) = learned((2, 1, QUICK), "data.csv", &data(first), true);
        assert_eq!(summary["positive_class"], "yes");
        assert!(summary["prequential"]["f1"].as_f64().unwrap() > 0.5);
    }
}

#[test]
fn what_was_understood_is_said_once() {
    let data = csv(",a,b,city,class\n", 60, 2, |i, a, b, c| {
        format!("{i},{a},{b},{},{c}", ["u", "v"][i % 2])
    });
    let (summary, notes) = learned((67, 1, ""), "data.csv", &data, false);
    assert_eq!(counts(&summary), (60, 0));
    let lines = [
        "columns  a     number  0",
        "         city  text    u  (65 inputs)",
        "label    class  classes 0, 1",
    ];
    for line in lines {
        assert!(notes.contains(line), "{notes}");
    }
    assert!(notes.contains("the first column has no name and is no input"), "{notes}");
    let kinds = &summary["understood"]["columns"];
    assert_eq!((&kinds[2]["name"], &kinds[2]["kind"]), (&"city".into(), &"text".into()));
}

#[test]
fn tables_of_other_programs_are_read() {
    let rows = |sep: &str, comma: bool| {
        csv("", 60, 2, |_, a, b, c| {
            let number = |n: f64| {
                let text = format!("{n:.2}");
                if comma { text.replace('.', ",") } else { text }
            };
            [number(a), number(b), c.to_string()].join(sep)
        })
    };
    let with = |head: &str, rows: Vec<u8>| [head.as_bytes(), &rows[..]].concat();
    for live in [false, true] {
        // Excel in Europe, pandas with its index, a title, tabs.
        let excel = with("a;b;class\n", rows(";", true));
        assert_eq!(counts(&learned((2, 1, ""), "data.csv", &excel, live).0), (60, 0));
        let tabs = with("a\tb\tclass\n", rows("\t", false));
        assert_eq!(counts(&learned((2, 1, ""), "data.csv", &tabs, live).0), (60, 0));
        let pandas = csv(",a,b,class\n", 60, 2, |i, a, b, c| format!("{i},{a},{b},{c}"));
        let (summary, notes) =
            learned((2, 1, "[stream]\nlabel = \"class\""), "data.csv", &pandas, live);
        assert_eq!(counts(&summary), (60, 0), "{notes}");
        let title = with("Report of May\na,b,class\n", rows(",", false));
        let (summary, notes) = learned((2, 1, ""), "data.csv", &title, live);
        assert_eq!(counts(&summary), (60, u64::from(live)), "{notes}");
        assert!(notes.contains("lines before the table were passed over"), "{notes}");
        // A quoted line end, MOA's comma after the last value.
        let quoted =
            csv("a,b,note,class\n", 60, 2, |i, a, b, c| format!("{a},{b},\"n{i}\nx\",{c}"));
        let ignore = "[stream]\nignore = [\"note\"]";
        assert_eq!(counts(&learned((2, 1, ignore), "data.csv", &quoted, live).0), (60, 0));
        let head = "@relation r\n@attribute a numeric\n@attribute b numeric\n@attribute class {0,1}\n@data\n";
        let moa = csv(head, 60, 2, |_, a, b, c| format!("{a},{b},{c},"));
        assert_eq!(counts(&learned((2, 1, ""), "data.arff", &moa, live).0), (60, 0));
        // UTF-16 with its mark, as Windows writes it.
        let utf16: Vec<u8> = [0xff, 0xfe]
            .into_iter()
            .chain(
                String::from_utf8(title.clone()).unwrap().encode_utf16().flat_map(u16::to_le_bytes),
            )
            .collect();
        assert_eq!(counts(&learned((2, 1, ""), "data.csv", &utf16, live).0).0, 60);
    }
}

#[test]
fn columns_that_are_no_numbers_lose_no_event() {
    // Ids that read as numbers beyond f64, and a text column that begins with null.
    let ids = csv("id,a,class\n", 60, 2, |i, a, _, c| {
        format!("{},{a},{c}", ["58e67456", "Nan", "Infinity", "1e3", "1000", "ab12"][i % 6])
    });
    for live in [false, true] {
        let (summary, notes) = learned((66, 1, ""), "data.csv", &ids, live);
        assert_eq!(counts(&summary), (60, 0), "{notes}");
    }
    let null: String = (0..60)
        .map(|i| {
            let city = if i == 0 { "null" } else { ["\"x\"", "\"y\""][i % 2] };
            format!("{{\"a\": {i}, \"city\": {city}, \"label\": {}}}\n", i % 2)
        })
        .collect();
    let (summary, notes) = learned((2, 1, ""), "data.jsonl", null.as_bytes(), true);
    assert_eq!(counts(&summary), (60, 0), "{notes}");
    assert!(notes.contains("column `city` was taken for numbers and holds texts"), "{notes}");
    // Where the model has the inputs for it, it is text from the start.
    let (summary, _) = learned((66, 1, ""), "data.jsonl", null.as_bytes(), true);
    assert_eq!(summary["understood"]["columns"][1]["kind"], "text");
    // Numbers in quotes, as Redis and others write them.
    let quoted: String = points(60, 2)
        .iter()
        .map(|(a, b, c)| format!("{{\"a\": \"{a}\", \"b\": \"{b}\", \"label\": \"{c}\"}}\n"))
        .collect();
    let (summary, _) = learned((2, 1, ""), "data.jsonl", quoted.as_bytes(), true);
    assert_eq!(counts(&summary), (60, 0));
    assert_eq!(summary["understood"]["columns"][0]["kind"], "number");
}

#[test]
fn infinite_values_leave_a_column_of_numbers() {
    const INFINITE: [&str; 5] = ["inf", "-Inf", "Infinity", "1e400", "-1e999"];
    let table = csv("a,b,class\n", 60, 2, |i, a, b, c| match i % 3 {
        0 => format!("{},{b},{c}", INFINITE[i / 3 % 5]),
        _ => format!("{a},{b},{c}"),
    });
    let of_json = |i: usize| if i.is_multiple_of(2) { "Infinity" } else { "\"-inf\"" };
    let json: String = points(60, 2)
        .iter()
        .enumerate()
        .map(|(i, (a, b, c))| {
            let a = if i % 3 == 0 { of_json(i).to_owned() } else { a.to_string() };
            format!("{{\"a\": {a}, \"b\": {b}, \"label\": {c}}}\n")
        })
        .collect();
    for (name, bytes) in [("data.csv", &table[..]), ("data.jsonl", json.as_bytes())] {
        for live in [false, true] {
            let (summary, notes) = learned((2, 1, ""), name, bytes, live);
            assert_eq!(counts(&summary), (60, 0), "{notes}");
            assert_eq!(summary["understood"]["columns"][0]["kind"], "number", "{name} {notes}");
            assert!(notes.contains("and the like are no numbers and are missing"), "{notes}");
        }
    }
    // The same in batches, and in the recipe of init.
    let folder = tempfile::tempdir().unwrap();
    let (file, made) = (folder.path().join("data.csv"), folder.path().join("made.toml"));
    std::fs::write(&file, &table).unwrap();
    let said = succeed(&["init", text(&file), "--out", text(&made)]);
    assert!(said.contains("2 columns of numbers"), "{said}");
    let run = folder.path().join("run");
    let trained = tidemill(&["train", text(&made), "--out", text(&run), "--set", "stop.steps=2"]);
    let notes = stderr(&trained);
    assert!(trained.status.success() && notes.contains("no number and missing"), "{notes}");
}

#[test]
fn missing_holds_for_numbers() {
    let sentinel = csv("a,b,class\n", 60, 2, |i, a, b, c| match i % 5 {
        0 => format!("-999,{b},{c}"),
        _ => format!("{a},{b},{c}"),
    });
    let empty = String::from_utf8(sentinel.clone()).unwrap().replace("-999", "").into_bytes();
    let sha = |bytes: &[u8]| {
        let more = "[stream]\nmissing = [\"\", \"-999\"]";
        learned((2, 1, more), "data.csv", bytes, false).0["state_sha256"].clone()
    };
    assert_eq!(sha(&sentinel), sha(&empty));
}

#[test]
fn events_without_inputs_are_bad_and_other_keys_are_noted() {
    let one = |i: usize, a: &str, b: &str| {
        format!("{{\"{a}\": {i}, \"{b}\": 1, \"label\": {}}}\n", i % 2)
    };
    let text: String = (0..60)
        .map(|i| match i % 6 {
            4 => one(i, "A", "B"),
            5 => format!("{{\"label\": {}}}\n", i % 2),
            _ => one(i, "a", "b"),
        })
        .collect();
    for (live, more) in [
        (true, ""),
        (true, "[stream]\ncolumns = [\"a\", \"b\"]"),
        (false, "[stream]\ncolumns = [\"a\", \"b\"]"),
    ] {
        let (summary, notes) = learned((2, 1, more), "data.jsonl", text.as_bytes(), live);
        assert_eq!(counts(&summary), (40, 20), "{notes}");
    }
    let (_, notes) = learned((2, 1, ""), "data.jsonl", text.as_bytes(), true);
    assert!(notes.contains("key `A` is no input and is ignored"), "{notes}");
}

#[test]
fn a_vector_is_learned_from_as_its_columns_are() {
    let text = |vector: bool| -> String {
        points(120, 2)
            .iter()
            .map(|(a, b, c)| match vector {
                true => format!("{{\"x\": [{}, {}], \"label\": {c}}}\n", 1000.0 * a, 1e4 + b),
                false => format!("{{\"a\": {}, \"b\": {}, \"label\": {c}}}\n", 1000.0 * a, 1e4 + b),
            })
            .collect()
    };
    let sha = |vector| {
        learned((2, 1, QUICK), "data.jsonl", text(vector).as_bytes(), false).0["prequential"]["accuracy"]
            .clone()
    };
    let (vector, columns) = (sha(true), sha(false));
    assert_eq!(vector, columns);
    assert!(vector.as_f64().unwrap() > 0.8, "{vector}");
}

#[test]
fn labels_that_repeat_their_inputs_and_stray_times() {
    let joined = "[stream]\ncolumns = [\"a\", \"b\"]\n[online.labels]\nid = \"id\"\ntime = \"t\"\nwindow = 100\n";
    let events = |inputs: bool, stray: Option<usize>| -> String {
        points(60, 2)
            .iter()
            .enumerate()
            .map(|(i, (a, b, c))| {
                let t = if stray == Some(i) { 4e9 } else { i as f64 };
                let repeat =
                    if inputs { format!("\"a\": {a}, \"b\": {b}, ") } else { String::new() };
                format!(
                    "{{\"id\": \"e{i}\", \"t\": {t}, \"a\": {a}, \"b\": {b}}}\n\
                     {{\"id\": \"e{i}\", \"t\": {}, {repeat}\"label\": {c}}}\n",
                    i as f64 + 0.5
                )
            })
            .collect()
    };
    for stray in [None, Some(0), Some(20)] {
        for inputs in [false, true] {
            let data = events(inputs, stray);
            let (summary, notes) = learned((2, 1, joined), "data.jsonl", data.as_bytes(), false);
            // An event far ahead of the others is set aside, and a label that repeats its inputs is the event then. The
            // first one is ahead of nothing.
            let bad = u64::from(stray == Some(20));
            let events = if inputs { 60 } else { 60 - bad };
            assert_eq!(counts(&summary), (events, bad), "{notes}");
            let labels = &summary["labels"];
            assert_eq!(labels["joined"], 60 - bad, "{stray:?} {inputs} {labels}");
            assert_eq!(summary["labels"]["missing"], 0);
        }
    }
}

/// Trains on a table; gives what was printed and the inputs' means and classes of the checkpoint.
fn trained(inputs: usize, source: &str, file: (&str, &[u8])) -> (String, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    let (name, bytes) = file;
    std::fs::write(folder.path().join(name), bytes).unwrap();
    let path = folder.path().join("p.toml");
    let toml = format!(
        "[model]\ninput = {{ features = {inputs} }}\nlayers = [{{ dense = {{ units = 1 }} }}]\n\
         [training]\nloss = \"mse\"\noptimizer = {{ sgd = {{ learning_rate = 0.0 }} }}\n\
         [batch]\nepochs = 1\ndata = {{ csv = {{ path = \"{name}\", label_type = \"value\", {source} }} }}\n"
    );
    std::fs::write(&path, toml).unwrap();
    let run = folder.path().join("run");
    let output = tidemill(&["train", text(&path), "--out", text(&run)]);
    if !output.status.success() {
        return (stderr(&output), serde_json::Value::Null);
    }
    let latest = std::fs::read_dir(run.join("checkpoints")).unwrap();
    let meta = latest.filter_map(|e| Some(e.ok()?.path().join("meta.json"))).find(|p| p.is_file());
    let meta = std::fs::read(meta.unwrap()).unwrap();
    let meta: serde_json::Value = serde_json::from_slice(&meta).unwrap();
    (stderr(&output), meta)
}

#[test]
fn batch_columns_are_what_they_are() {
    // `#N/A` of Excel, semicolons with decimal commas, thousands.
    let na: String = (0..50)
        .map(|i| if i % 5 == 4 { format!("{i},#N/A\n") } else { format!("{i},{}\n", 10 * i) })
        .collect();
    let (notes, _) = trained(1, "label = \"y\"", ("na.csv", format!("y,a\n{na}").as_bytes()));
    assert!(notes.contains("columns  a  number  0"), "{notes}");
    assert!(notes.contains("10 of 50 rows lack values (a: 10)"), "{notes}");
    let (notes, _) = trained(1, "label = \"y\"", ("s.csv", b"y;a\n1;2,5\n2;10,25\n3;9,75\n"));
    assert!(
        notes.contains("columns  a  number  2.5") && notes.contains("separated by ';'"),
        "{notes}"
    );
    let (notes, _) =
        trained(1, "label = \"y\"", ("t.csv", b"y,a\n1,\"1,234\"\n2,\"10,000\"\n3,\"2,500\"\n"));
    assert!(notes.contains("columns  a  number  1234"), "{notes}");
}

#[test]
fn batch_columns_of_one_name_are_told_apart() {
    let (notes, meta) = trained(2, "label = -1", ("t.csv", b"y,a,y\n1,2,3\n4,5,6\n7,8,9\n"));
    assert!(
        notes.contains("two columns are called `y`; the one in place 3 is `y.1` here"),
        "{notes}"
    );
    assert!(
        notes.contains("label    y.1  numbers") && notes.contains("columns  y  number  1"),
        "{notes}"
    );
    assert!(!meta.is_null(), "{notes}");
    let (notes, _) = trained(2, "label = \"y\"", ("t.csv", b"y,a,y\n1,2,3\n4,5,6\n7,8,9\n"));
    assert!(notes.contains("two columns are called \"y\"; give the place"), "{notes}");
    let (notes, meta) =
        trained(3, "label = \"y\"", ("e.csv", b",,x,y\n1,2,3,10\n4,5,6,20\n7,8,9,30\n"));
    assert!(notes.contains("c1  number  1") && notes.contains("c2  number  2"), "{notes}");
    assert!(!meta.is_null(), "{notes}");
}

#[test]
fn a_stray_quote_is_one_bad_row() {
    let rows = "3,4\n".repeat(2000);
    let table = format!("a,y\n1,\"2\n{rows}");
    let (notes, meta) = trained(1, "label = \"y\"", ("t.csv", table.as_bytes()));
    assert!(meta.is_null() && notes.len() < 400, "{notes}");
    assert!(notes.contains("t.csv:2: a quoted field has no closing quote: `1,\\\"2`"), "{notes}");
    let (notes, meta) =
        trained(1, "label = \"y\", bad_rows = \"skip\"", ("t.csv", table.as_bytes()));
    assert!(!meta.is_null(), "{notes}");
    assert_eq!(meta["samples"], 2000, "{notes}");
}

#[test]
fn init_train_and_learn_of_a_european_table() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("homes.csv");
    let rows = csv("", 120, 2, |i, a, b, c| {
        let comma = |n: f64| format!("{n:.2}").replace('.', ",");
        format!("{};{};{};{}", comma(a), comma(b), ["Ulm", "Graz"][i % 2], ["no", "yes"][c])
    });
    std::fs::write(&file, [b"a;b;city;class\n", &rows[..]].concat()).unwrap();
    let recipe = folder.path().join("homes.toml");
    succeed(&["init", text(&file), "--out", text(&recipe)]);
    let (batch, stream) = (folder.path().join("batch"), folder.path().join("stream"));
    succeed(&["train", text(&recipe), "--out", text(&batch), "--set", "batch.epochs=1"]);
    succeed(&["learn", text(&recipe), "--from", text(&file), "--out", text(&stream)]);
    let summary = std::fs::read(stream.join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!(counts(&summary), (120, 0));
}

#[test]
fn keys_without_effect_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.csv");
    std::fs::write(&data, csv("alpha,b,class\n", 60, 2, |_, a, b, c| format!("{a},{b},{c}")))
        .unwrap();
    let json = folder.path().join("data.jsonl");
    let line = "{\"alpha\": 1.5, \"b\": 2, \"tags\": [\"x\"], \"label\": 1}\n";
    std::fs::write(&json, line.repeat(30)).unwrap();
    let recipe = recipe(folder.path(), 2, 1, "metrics = [\"accuracy\", \"precision\"]");
    let run = folder.path().join("run");
    let learn = |data: &Path, set: &str| {
        let (data, out) = (text(data), text(&run));
        let arguments = ["learn", text(&recipe), "--from", data, "--out", out, "--force"];
        tidemill(&[&arguments[..], &["--set", set]].concat())
    };
    for key in ["ignore", "text"] {
        let output = learn(&data, &format!("stream.{key}=[\"alhpa\"]"));
        let (says, want) =
            (stderr(&output), format!("stream.{key} names `alhpa` (the nearest name is `alpha`)"));
        assert!(output.status.code() == Some(2) && says.contains(&want), "{says}");
        let output = learn(&json, &format!("stream.{key}=[\"alhpa\"]"));
        assert!(output.status.success() && stderr(&output).contains(&want), "{output:?}");
    }
    // An array is no input, and may be named.
    let notes = stderr(&learn(&json, "stream.ignore=[\"tags\"]"));
    assert!(!notes.contains("no such column"), "{notes}");
    assert!(
        notes.contains("training.metrics names precision, which a stream does not report"),
        "{notes}"
    );
}
