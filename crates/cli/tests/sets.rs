//! Labels of any number of classes: in one column, in a column for each class, in arrays of JSON; in batches and on a stream.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::place::*;
use common::*;
use serde_json::Value;

const MODEL: &str = r#"[model]
input  = { features = 2 }
layers = [{ dense = { units = 16, activation = "relu" } }, { dense = { units = 3 } }]
[training]
loss    = "binary_crossentropy"
metrics = ["accuracy", "subset_accuracy", "f1_micro", "f1_macro", "auc"]
"#;

/// What the classes `high`, `low` and `wide` are of two numbers.
fn sets(len: usize) -> Vec<([String; 2], Vec<&'static str>)> {
    let text = rows(len, |a, b| {
        let all = [("high", a > 0.0), ("low", b < -0.5), ("wide", a.abs() > 1.2)];
        let set: Vec<&str> = all.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        set.join(";")
    });
    let row = |line: &str| {
        let [a, b, set] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let names = ["high", "low", "wide"].into_iter().filter(|name| set.contains(name));
        ([a.to_owned(), b.to_owned()], names.collect())
    };
    text.lines().skip(1).map(row).collect()
}

/// The same rows with the set in one column, in a column for each class, and in an array.
fn written(len: usize) -> [String; 3] {
    let mut texts = ["a,b,tags\n".to_owned(), "a,b,high,low,wide\n".to_owned(), String::new()];
    for ([a, b], set) in sets(len) {
        let ends = if set.is_empty() { ";".to_owned() } else { set.join(" ; ") };
        texts[0] += &format!("{a},{b},{ends}\n");
        let is = |name| u8::from(set.contains(&name));
        texts[1] += &format!("{a},{b},{},{},{}\n", is("high"), is("low"), is("wide"));
        texts[2] += &format!("{{\"a\": {a}, \"b\": {b}, \"tags\": {}}}\n", serde_json::json!(set));
    }
    texts
}

const ONE: &str = "[stream]\nlabel = \"tags\"\nlabel_separator = \";\"\n";
const COLUMNS: &str = "[stream]\nlabels = [\"high\", \"low\", \"wide\"]\n";

fn place(stream: &str) -> Place {
    let place = Place::new(&format!("{MODEL}{stream}"));
    for (name, text) in ["one.csv", "columns.csv", "arrays.jsonl"].into_iter().zip(written(1500)) {
        place.write(name, &text);
    }
    place
}

fn run(place: &Place, arguments: &[&str]) -> String {
    let output = command(arguments).current_dir(place.0.path()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_stream_learns_the_same_of_all_three() {
    let named = format!("{ONE}[online]\nclasses = [\"high\", \"low\", \"wide\"]\n");
    let mut shas = Vec::new();
    for (stream, from) in
        [(&*named, "one.csv"), (&*named, "arrays.jsonl"), (COLUMNS, "columns.csv")]
    {
        let place = place(stream);
        let summary = place.learned(from, &["--predictions", "p.csv"]);
        assert!(number(&summary, "accuracy") > 0.8, "{summary}");
        let (subset, all) = (number(&summary, "subset_accuracy"), number(&summary, "accuracy"));
        assert!(subset < all && number(&summary, "micro_f1") > 0.7, "{summary}");
        assert!(number(&summary, "auc") > 0.85 && number(&summary, "macro_f1") > 0.6, "{summary}");
        assert_eq!(summary["understood"]["sets"], true);
        // What was predicted is what was scored.
        let predictions = std::fs::read_to_string(place.path("p.csv")).unwrap();
        let exact = predictions.lines().skip(1).zip(sets(1500)).filter(|(line, (_, set))| {
            // The empty set is not a missing label.
            let set = if set.is_empty() { ";".to_owned() } else { set.join(";") };
            assert_eq!(line.split(',').nth(2).unwrap(), set);
            line.split(',').nth(3).unwrap() == set
        });
        assert!((exact.count() as f64 / 1500.0 - subset).abs() < 1e-9);
        let figures = summary["prequential"].clone();
        shas.push((summary["state_sha256"].clone(), figures.clone()));
        // A run that stops and continues ends in the same bits.
        place.learned(from, &["--force", "--until-events", "700"]);
        let resumed = place.learned(from, &["--resume"]);
        assert_eq!((&resumed["state_sha256"], &resumed["prequential"]), (&shas[0].0, &figures));
    }
    assert!(shas.iter().all(|sha| *sha == shas[0]), "{shas:?}");
}

#[test]
fn batches_learn_the_same_of_both_tables() {
    let batch = |path: &str, label: &str| {
        let part = |subset: &str| {
            format!(
                "{{ csv = {{ path = \"{path}\", {label}, validation_split = 0.2, subset = \"{subset}\" }} }}"
            )
        };
        format!(
            "{MODEL}optimizer = {{ adam = {{}} }}\n[batch]\ndata = {}\nvalidation = {}\nepochs = 60\n",
            part("training"),
            part("validation")
        )
    };
    let one = place("");
    let mut answers = Vec::new();
    for (path, label) in [
        ("one.csv", "label = \"tags\", label_separator = \";\""),
        ("columns.csv", "labels = [\"high\", \"low\", \"wide\"]"),
        ("columns.csv", "labels = [2, 3, -1]"),
    ] {
        one.write("batch.toml", &batch(path, label));
        run(&one, &["train", "batch.toml", "--out", "batch", "--force"]);
        let found: Value = serde_json::from_str(&run(&one, &["eval", "batch", "--json"])).unwrap();
        let figure = |name: &str| found["figures"][name].as_f64().unwrap();
        assert!(figure("subset_accuracy") > 0.75 && figure("f1_macro") > 0.85, "{found}");
        assert!(figure("accuracy") > figure("subset_accuracy") && figure("auc") > 0.95, "{found}");
        let page = std::fs::read_to_string(one.path("batch/report.html")).unwrap();
        let row = page.split("<th>low</th>").nth(1).unwrap().split("</tr>").next().unwrap();
        assert!(page.contains("<th>average precision</th>") && row.matches("<td").count() == 5);
        let names = found["classes"].as_array().unwrap().iter().map(|c| c["class"].clone());
        assert_eq!(names.collect::<Vec<_>>(), ["high", "low", "wide"]);
        assert!(found["confusion"].is_null());
        // Rows without labels.
        one.write("rows.csv", "a,b\n1.9,-1.9\n-0.5,1.5\n");
        let csv = run(&one, &["predict", "batch", "--data", "rows.csv"]);
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[0], "file,class,probability,high,low,wide");
        assert!(lines[1].contains("rows.csv:2,high;low;wide,"), "{csv}");
        assert!(lines[2].contains("rows.csv:3,,"), "{csv}");
        let json = run(&one, &["predict", "batch", "--data", "rows.csv", "--json"]);
        let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(first["classes"], serde_json::json!(["high", "low", "wide"]));
        let outputs = first["outputs"].as_object().unwrap();
        let product: f64 = outputs.values().map(|p| p.as_f64().unwrap()).product();
        assert!((product - first["probability"].as_f64().unwrap()).abs() < 1e-4, "{first}");
        answers.push((csv, found["figures"].clone()));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // From batches to a stream, whose labels are arrays.
    one.write("recipe.toml", &batch("one.csv", "label = \"tags\", label_separator = \";\""));
    run(&one, &["train", "recipe.toml", "--out", "first"]);
    let more = ["learn", "first", "--from", "arrays.jsonl", "--out", "run", "--set"];
    run(&one, &[&more[..], &["stream.format=json_lines"]].concat());
    assert!(number(&one.summary(), "subset_accuracy") > 0.75);
}

#[test]
fn labels_of_sets_come_later_too() {
    let joined = format!("{ONE}[online.labels]\nid = \"id\"\nwindow = 100\n");
    let place = place(&joined);
    let mut lines = String::new();
    for (i, ([a, b], set)) in sets(600).into_iter().enumerate() {
        lines += &format!("{{\"id\": \"e{i}\", \"a\": {a}, \"b\": {b}}}\n");
        lines += &format!("{{\"id\": \"e{i}\", \"tags\": {}}}\n", serde_json::json!(set));
    }
    place.write("later.jsonl", &lines);
    // The same set once more, in another order, is the same label; another set is not.
    let mut set = sets(600)[599].1.clone();
    set.reverse();
    lines += &format!("{{\"id\": \"e599\", \"tags\": {}}}\n", serde_json::json!(set));
    lines += "{\"id\": \"e599\", \"tags\": [\"wide\", \"high\", \"low\", \"wide\"]}\n";
    lines += "{\"id\": \"e599\", \"tags\": \"low;wide; high\"}\n";
    lines += "{\"id\": \"e599\", \"tags\": []}\n";
    place.write("later.jsonl", &lines);
    let summary = place.learned("later.jsonl", &[]);
    assert_eq!(summary["labels"]["joined"], 600);
    let dead = std::fs::read_to_string(place.path("run/dead-letter.jsonl")).unwrap();
    assert!(dead.contains("contradictory label `high;low;wide`"), "{dead}");
    assert!(dead.contains("contradictory label no class: "), "{dead}");
    assert_eq!(summary["labels"]["duplicate"], 1, "{summary}");
    assert!(number(&summary, "accuracy") > 0.7, "{summary}");
    let whole = summary["state_sha256"].clone();
    place.learned("later.jsonl", &["--force", "--until-events", "333"]);
    assert_eq!(place.learned("later.jsonl", &["--resume"])["state_sha256"], whole);
}

#[test]
fn what_cannot_be_a_set_is_said() {
    let refused = |stream: &str, more: &[&str], what: &str| {
        let says = place(stream).refused("one.csv", more, 2);
        assert!(says.contains(what), "{what}: {says}");
    };
    refused(
        ONE,
        &["--set", "training.loss=sparse_categorical_crossentropy"],
        "must be binary_crossentropy",
    );
    refused(ONE, &["--set", "training.class_weight={high=2}"], "has no meaning where any number");
    refused(ONE, &["--set", "model.layers=[{dense={units=1}}]"], "has one output, for one class");
    refused(&format!("{ONE}labels = [\"a\"]\n"), &[], "take the place of the label `tags`");
    refused("[stream]\nlabels = [\"hi;gh\"]\n", &[], "set label_separator to another character");
    refused("[stream]\nlabels = [\"tall\"]\n", &[], "stream.labels: no column `tall`");
    let late = format!("{ONE}[online.labels]\nid = \"a\"\nwindow = 9\nmissing = \"negative\"\n");
    refused(&late, &[], "online.labels.missing");
    let compared = command(&["compare", "recipe.toml", "--from", "one.csv"]);
    let mut compared = compared;
    let compared = compared.current_dir(place(ONE).0.path()).output().unwrap();
    assert!(stderr(&compared).contains("are not compared"), "{}", stderr(&compared));
    let other = place(ONE);
    other.learned("one.csv", &["--until-events", "100"]);
    let says = other.refused("one.csv", &["--resume", "--set", "stream.label_separator='|'"], 2);
    assert!(says.contains("the run has learned with ';'"), "{says}");
    // Of a class that the model has no output for, a value that is neither, and a name with the separator in it.
    let odd = place(ONE);
    odd.write(
        "odd.jsonl",
        &(written(300)[2].clone()
            + "{\"a\":1,\"b\":1,\"tags\":[\"x\"]}\n{\"a\":1,\"b\":1,\"tags\":[\"hi;gh\"]}\n"),
    );
    assert_eq!(odd.learned("odd.jsonl", &[])["bad_events"], 2);
    let dead = std::fs::read_to_string(odd.path("run/dead-letter.jsonl")).unwrap();
    assert!(dead.contains("unknown class `x`: the model has 3 outputs"), "{dead}");
    assert!(dead.contains("which stream.label_separator says is between names"), "{dead}");
    let columns = place(COLUMNS);
    let text = written(300)[1].clone() + "1,1,2,0,0\n1,1,,0,0\n";
    columns.write("odd.csv", &text);
    let summary = columns.learned("odd.csv", &[]);
    assert_eq!((&summary["bad_events"], &summary["unlabelled"]), (&1.into(), &1.into()));
    // A model that has learned, and events without any label: nothing is learned.
    run(&columns, &["init", "columns.csv", "--label", "wide", "--out", "batch.toml"]);
    columns.write("bare.csv", "a,b\n1,1\n1,0.5\n");
    let more = ["learn", "run", "--from", "bare.csv", "--out", "more"];
    let output = command(&more).current_dir(columns.0.path()).output().unwrap();
    let says = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{says}");
    assert!(
        says.contains("no column `high`") && says.contains("none of the 2 events has a label"),
        "{says}"
    );
}

/// A live source of arrays, with the hats of `init`: no first event says what the columns are like a text would.
#[test]
fn a_live_stream_of_sets_is_learned_whole() {
    let place = place("");
    let init = ["init", "arrays.jsonl", "--label", "tags", "--label-separator", ";"];
    run(&place, &[&init[..], &["--out", "new.toml"]].concat());
    let piped = |out: &str, text: &str| {
        place.write("piped.jsonl", text);
        let output = command(&["learn", "new.toml", "--from", "-", "--out", out])
            .current_dir(place.0.path())
            .stdin(std::fs::File::open(place.path("piped.jsonl")).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let summary = std::fs::read(place.path(out).join("summary.json")).unwrap();
        serde_json::from_slice::<Value>(&summary).unwrap()
    };
    let text = &written(1500)[2];
    let summary = piped("arrays", text);
    assert_eq!((&summary["events"], &summary["bad_events"]), (&1500.into(), &0.into()));
    // The first one has no label.
    let summary = piped("late", &format!("{{\"a\": 1, \"b\": 2}}\n{text}"));
    assert_eq!((&summary["steps"], &summary["bad_events"]), (&1500.into(), &0.into()));
    // Of classes that a trained model does not have, all are named.
    let train = ["train", "new.toml", "--out", "batch", "--set", "batch.epochs=1"];
    run(&place, &train);
    place.write("odd.jsonl", &text.replace("\"low\"", "\"x\""));
    let eval = command(&["eval", "batch", "--data", "odd.jsonl"]);
    let mut eval = eval;
    let said = stderr(&eval.current_dir(place.0.path()).output().unwrap());
    assert!(
        said.contains("of 1500 rows have classes that the model does not have: `x` ("),
        "{said}"
    );
}

#[test]
fn init_is_told_what_is_between_names() {
    let place = place("");
    let found = run(
        &place,
        &["init", "one.csv", "--label", "tags", "--label-separator", ";", "--out", "new.toml"],
    );
    assert!(found.contains("any number of 3 classes: high, low, wide"), "{found}");
    assert!(found.contains("--out runs/batch\n"), "{found}");
    run(&place, &["train", "new.toml", "--out", "runs/batch", "--set", "batch.epochs=2"]);
    run(&place, &["learn", "new.toml", "--from", "one.csv", "--out", "run"]);
    assert!(number(&place.summary(), "accuracy") > 0.9, "{}", place.summary());
    // The next run is proposed where none is.
    let again = run(
        &place,
        &["init", "one.csv", "--label", "tags", "--label-separator", ";", "--out", "b.toml"],
    );
    assert!(again.contains("--out runs/batch-2\n"), "{again}");
}

fn printed(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The same where each class has a column.
#[test]
fn init_is_told_which_columns_are_classes() {
    let place = place("");
    let init = ["init", "columns.csv", "--labels", "high,low,wide", "--out", "new.toml"];
    let found = run(&place, &init);
    assert!(found.contains("any number of 3 classes: high, low, wide"), "{found}");
    assert!(found.contains("2 columns of numbers"), "{found}");
    run(&place, &["train", "new.toml", "--out", "runs/batch", "--set", "batch.epochs=2"]);
    run(&place, &["learn", "new.toml", "--from", "columns.csv", "--out", "run"]);
    assert!(number(&place.summary(), "accuracy") > 0.9, "{}", place.summary());
    let wrong = ["init", "columns.csv", "--labels", "high,lo", "--out", "w.toml"];
    let error = stderr(&command(&wrong).current_dir(place.0.path()).output().unwrap());
    assert!(error.contains("lo"), "{error}");
}

#[test]
fn init_says_what_is_wrong_with_a_separator() {
    let place = place(ONE);
    let init = |data: &str, separator: Option<&str>| {
        let by = separator.map(|by| ["--label-separator", by]);
        let more: Vec<&str> = by.iter().flatten().copied().collect();
        let arguments =
            [&["init", data, "--label", "tags", "--out", "new.toml", "--force"], &more[..]]
                .concat();
        command(&arguments).current_dir(place.0.path()).output().unwrap()
    };
    let says = |data: &str, separator| stderr(&init(data, separator));
    let error = says("arrays.jsonl", None);
    assert!(error.contains("--label-separator \";\""), "{error}");
    for wrong in [";;", ""] {
        let error = says("one.csv", Some(wrong));
        assert!(error.contains("must be one character"), "{error}");
    }
    let one: String = (0..40).map(|i| format!("{},{}\n", i * 7 % 5, ["", "art"][i % 2])).collect();
    place.write("single.csv", &format!("a,tags\n{one}"));
    let error = says("single.csv", Some(";"));
    assert!(
        error.contains("between ';' is `art`") && !error.contains("the same in all"),
        "{error}"
    );
    // Another character is between the names, and rows without one are missing.
    let tags = ["", "art|news", "news", "sport"];
    let rows: String = (0..80).map(|i| format!("{},{}\n", i * 7 % 5, tags[i % 4])).collect();
    place.write("bars.csv", &format!("a,tags\n{rows}"));
    let said = printed(&init("bars.csv", Some(";")));
    assert!(said.contains("no label has ';' in it"), "{said}");
    let said = printed(&init("bars.csv", Some("|")));
    assert!(!said.contains("no label has") && said.contains("20 rows without a label"), "{said}");
    // With the key that is named, they are rows without a class, in batches and on a stream.
    assert!(said.contains("missing = [\"NA\", \"?\"]"), "{said}");
    let recipe = std::fs::read_to_string(place.0.path().join("new.toml")).unwrap();
    let recipe = recipe.replace("[stream]\n", "[stream]\nmissing = [\"NA\", \"?\"]\n");
    place.write("new.toml", &recipe);
    let train = ["train", "new.toml", "--out", "new", "--set", "batch.epochs=1", "--force"];
    let notes = command(&train).current_dir(place.0.path()).output().unwrap();
    assert!(notes.status.success() && !stderr(&notes).contains("left out"), "{}", stderr(&notes));
    let learned = run(&place, &["learn", "new.toml", "--from", "bars.csv", "--out", "stream"]);
    assert!(!learned.contains("without a label"), "{learned}");
}

#[test]
fn a_class_has_one_column() {
    let place = place("[stream]\nlabels = [\"high\", \"high\"]\n");
    let learn = ["learn", "recipe.toml", "--from", "columns.csv", "--out", "out"];
    let output = command(&learn).current_dir(place.0.path()).output().unwrap();
    assert!(stderr(&output).contains("labels: `high` is there twice"), "{}", stderr(&output));
}
