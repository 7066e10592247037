//! Texts: a folder of them, a text column beside numbers, in batches and on a stream; words with a
//! class each.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;

use common::{command, random, stderr};

const PLAIN: [&str; 8] = ["the", "boat", "waits", "at", "noon", "grey", "water", "again"];

/// A message that is spam where one of its words says so.
fn message(next: &mut impl FnMut(usize) -> usize, spam: bool) -> String {
    let mut words: Vec<&str> = (0..2 + next(9)).map(|_| PLAIN[next(PLAIN.len())]).collect();
    if spam {
        let at = next(words.len());
        words[at] = ["WINNER", "prize!"][next(2)];
    }
    words.join(" ")
}

fn run(folder: &Path, arguments: &[&str]) -> serde_json::Value {
    let output = command(arguments).current_dir(folder).arg("--json").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    let shown = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(shown.lines().last().unwrap()).unwrap()
}

const FOLDER: &str = r#"
[model]
input  = { tokens = { length = 16, vocabulary = 500 } }
layers = [
    { embedding = { vocabulary = 500, units = 8 } },
    { conv1d = { filters = 8, kernel = 3, activation = "relu" } },
    { global_max_pool = {} },
    { dense = { units = 2 } },
]

[training]
loss      = "sparse_categorical_crossentropy"
optimizer = { adam = { learning_rate = 1e-2 } }

[batch]
data       = { text_directory = { path = "texts/train" } }
validation = { text_directory = { path = "texts/test" } }
batch_size = 16
epochs     = 10
"#;

#[test]
fn a_folder_of_texts_is_learned_and_asked_about() {
    let dir = tempfile::tempdir().unwrap();
    let mut next = random();
    for (part, count) in [("train", 200), ("test", 60)] {
        for i in 0..count {
            let class = ["ham", "spam"][i % 2];
            let folder = dir.path().join("texts").join(part).join(class);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("{i}.txt")), message(&mut next, i % 2 == 1))
                .unwrap();
        }
    }
    std::fs::write(dir.path().join("texts.toml"), FOLDER).unwrap();
    let summary = run(dir.path(), &["train", "texts.toml", "--out", "run"]);
    assert!(summary["validation"]["accuracy"].as_f64().unwrap() > 0.95, "{summary}");
    std::fs::write(dir.path().join("new.txt"), "you are the winner of the day").unwrap();
    let asked = run(dir.path(), &["predict", "run", "--data", "new.txt"]);
    assert_eq!(asked["class"], "spam", "{asked}");
}

const BOTH: &str = r#"
[model]
inputs = { numbers = { features = 2 }, message = { tokens = { length = 16, vocabulary = 500 } } }
layers = [
    { concat = { branches = [
        { input = "numbers" },
        { input = "message", layers = [
            { embedding = { vocabulary = 500, units = 8 } },
            { global_max_pool = {} },
        ] },
    ] } },
    { dense = { units = 16, activation = "relu" } },
    { dense = { units = 2 } },
]

[training]
loss      = "sparse_categorical_crossentropy"
optimizer = { adam = { learning_rate = 1e-2 } }

[stream]
label = "class"

[batch]
data       = { csv = { path = "mail.csv", label = "class" } }
batch_size = 16
epochs     = 15
"#;

/// The class is 1 where exactly one of the word and the first number says so.
fn mail(path: &Path, rows: usize) {
    let mut next = random();
    let mut csv = "age,message,size,class\n".to_owned();
    for _ in 0..rows {
        let (spam, large) = (next(2) == 1, next(2) == 1);
        let age = if large { 60 + next(20) } else { 20 + next(20) };
        let words = message(&mut next, spam);
        let class = if spam ^ large { "yes" } else { "no" };
        csv += &format!("{age},\"{words}\",{},{class}\n", next(100));
    }
    std::fs::write(path, csv).unwrap();
}

#[test]
fn labels_of_texts_and_numbers_come_later() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = BOTH.replace("[batch]", "[online.labels]\nid = \"id\"\nwindow = 100\n[batch]");
    std::fs::write(dir.path().join("late.toml"), recipe).unwrap();
    // The label of each event comes ten events later.
    mail(&dir.path().join("mail.csv"), 2000);
    let csv = std::fs::read_to_string(dir.path().join("mail.csv")).unwrap();
    let (mut lines, mut labels) = (String::new(), Vec::new());
    for (id, row) in csv.lines().skip(1).enumerate() {
        let (age, rest) = row.split_once(",\"").unwrap();
        let (words, rest) = rest.split_once("\",").unwrap();
        let (size, class) = rest.split_once(',').unwrap();
        lines +=
            &format!("{{\"id\":{id},\"age\":{age},\"message\":\"{words}\",\"size\":{size}}}\n");
        labels.push(format!("{{\"id\":{id},\"class\":\"{class}\"}}\n"));
        lines += id.checked_sub(10).map_or("", |then| &labels[then]);
    }
    std::fs::write(dir.path().join("late.jsonl"), lines).unwrap();
    let learn = ["learn", "late.toml", "--from", "late.jsonl", "--out"];
    let whole = run(dir.path(), &[&learn[..], &["whole"]].concat());
    assert_eq!(whole["labels"]["joined"], 1990, "{whole}");
    let figures = &whole["prequential"];
    assert!(figures["sliding.accuracy"].as_f64().unwrap() > 0.95, "{figures}");
    // What waits is in the checkpoint.
    run(dir.path(), &[&learn[..], &["cut", "--until-events", "703"]].concat());
    let cut = run(dir.path(), &[&learn[..], &["cut", "--resume"]].concat());
    assert_eq!(cut["state_sha256"], whole["state_sha256"]);
    assert_eq!(cut["prequential"], whole["prequential"]);
}

#[test]
fn a_text_column_beside_numbers_in_batches_and_on_a_stream() {
    let dir = tempfile::tempdir().unwrap();
    mail(&dir.path().join("mail.csv"), 800);
    std::fs::write(dir.path().join("both.toml"), BOTH).unwrap();
    let trained = run(dir.path(), &["train", "both.toml", "--out", "run"]);
    assert!(trained["train"]["accuracy"].as_f64().unwrap() > 0.95, "{trained}");

    // The run goes on with a stream of the same columns.
    let learned = run(dir.path(), &["learn", "run", "--from", "mail.csv"]);
    let figures = &learned["prequential"];
    assert!(figures["accuracy"].as_f64().unwrap() > 0.95, "{figures}");

    // A stream alone, from nothing.
    let stream = run(dir.path(), &["learn", "both.toml", "--from", "mail.csv", "--out", "stream"]);
    let figures = &stream["prequential"];
    assert!(figures["sliding.accuracy"].as_f64().unwrap() > 0.75, "{figures}");
    assert_eq!(stream["events"], 800);
}

#[test]
fn a_text_input_without_a_column_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    mail(&dir.path().join("mail.csv"), 20);
    let fail = |recipe: &str, arguments: &[&str]| {
        std::fs::write(dir.path().join("r.toml"), recipe).unwrap();
        let output = command(arguments).current_dir(dir.path()).output().unwrap();
        assert!(!output.status.success());
        stderr(&output).to_string()
    };
    let renamed = BOTH.replace("message", "note");
    let error = fail(&renamed, &["learn", "r.toml", "--from", "mail.csv", "--out", "a"]);
    assert!(error.contains("no column `note`"), "{error}");
    let error = fail(FOLDER, &["learn", "r.toml", "--from", "mail.csv", "--out", "b"]);
    assert!(error.contains("an input of tokens reads the column of its name"), "{error}");
}

const TAGGED: &str = r#"
[model]
input  = { tokens = { length = 12, vocabulary = 500 } }
layers = [
    { embedding = { vocabulary = 500, units = 8 } },
    { conv1d = { filters = 16, kernel = 3, activation = "relu" } },
    { dense = { units = 2 } },
]

[training]
loss      = "sparse_categorical_crossentropy"
optimizer = { adam = { learning_rate = 1e-2 } }

[batch]
data       = { tagged = { path = "train.conll" } }
validation = { tagged = { path = "train.conll" } }
batch_size = 16
epochs     = 15
"#;

#[test]
fn each_word_has_a_class_that_depends_on_the_word_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut next = random();
    let mut file = String::new();
    for _ in 0..200 {
        let mut before = "";
        for _ in 0..1 + next(10) {
            let word = PLAIN[next(PLAIN.len())];
            let tag = if before == "the" { "NEXT" } else { "O" };
            file += &format!("{word}\t{tag}\n");
            before = word;
        }
        file += "\n";
    }
    std::fs::write(dir.path().join("train.conll"), file).unwrap();
    std::fs::write(dir.path().join("tags.toml"), TAGGED).unwrap();
    let summary = run(dir.path(), &["train", "tags.toml", "--out", "run"]);
    assert!(summary["validation"]["accuracy"].as_f64().unwrap() > 0.99, "{summary}");
    let measured = run(dir.path(), &["eval", "run"]);
    assert!(measured["figures"]["accuracy"].as_f64().unwrap() > 0.99, "{measured}");
}

const BAG: &str = r#"
[model]
bag = { column = "note", units = 8, classes = 2, length = 256, vocabulary = 5000, ngrams = 2, minn = 3, maxn = 4 }

[training]
loss      = "sparse_categorical_crossentropy"
optimizer = { rmsprop = { learning_rate = { cosine = { start = 3e-2 } }, rho = 0.999, bias_correction = true, lazy = true } }
seed      = 1

[stream]
label = "class"

[batch]
data       = { csv = { path = "notes.csv", label = "class" } }
batch_size = 16
epochs     = 8

[checkpoint]
every_epochs = 1
"#;

/// Two words in a row whose order says the class, among others.
fn notes(path: &Path, rows: usize) {
    let mut next = random();
    let mut csv = "note,class\n".to_owned();
    for _ in 0..rows {
        let mut words: Vec<&str> = (0..2 + next(6)).map(|_| PLAIN[next(3)]).collect();
        let (pair, class) = [(["grey", "water"], "a"), (["water", "grey"], "b")][next(2)];
        let at = next(words.len() + 1);
        words.splice(at..at, pair);
        csv += &format!("{},{class}\n", words.join(" "));
    }
    std::fs::write(path, csv).unwrap();
}

#[test]
fn a_bag_of_words_learns_their_order_from_words_in_a_row() {
    let dir = tempfile::tempdir().unwrap();
    notes(&dir.path().join("notes.csv"), 600);
    std::fs::write(dir.path().join("bag.toml"), BAG).unwrap();
    let whole = run(dir.path(), &["train", "bag.toml", "--out", "whole"]);
    assert!(whole["train"]["accuracy"].as_f64().unwrap() > 0.98, "{whole}");
    // Words alone do not say it.
    let words = BAG.replace("ngrams = 2, minn = 3, maxn = 4", "ngrams = 1");
    std::fs::write(dir.path().join("words.toml"), words).unwrap();
    let alone = run(dir.path(), &["train", "words.toml", "--out", "words"]);
    assert!(alone["train"]["accuracy"].as_f64().unwrap() < 0.75, "{alone}");

    // Interrupted and resumed, by another number of threads: the same bits.
    let stop = ["--set", "stop.steps=100"];
    run(dir.path(), &[&["train", "bag.toml", "--out", "cut"], &stop[..]].concat());
    let resume = ["train", "bag.toml", "--out", "cut", "--resume", "--threads", "1"];
    assert_eq!(run(dir.path(), &resume)["state_sha256"], whole["state_sha256"]);

    // The same ids in predictions, and on a stream that continues the run.
    std::fs::write(dir.path().join("new.csv"), "note\nthe WATER. grey boat\nboat grey water\n")
        .unwrap();
    let predict = ["predict", "whole", "--data", "new.csv", "--json"];
    let output = command(&predict).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    let class = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["class"].clone();
    assert_eq!(lines.lines().map(class).collect::<Vec<_>>(), ["b", "a"], "{lines}");
    let learned = run(dir.path(), &["learn", "whole", "--from", "notes.csv"]);
    assert!(learned["prequential"]["accuracy"].as_f64().unwrap() > 0.95, "{learned}");
}

#[test]
fn a_bag_of_words_learns_from_a_stream_and_resumes() {
    let dir = tempfile::tempdir().unwrap();
    notes(&dir.path().join("notes.csv"), 1500);
    std::fs::write(dir.path().join("bag.toml"), BAG).unwrap();
    let learn = ["learn", "bag.toml", "--from", "notes.csv", "--out"];
    let whole = run(dir.path(), &[&learn[..], &["whole"]].concat());
    let figures = &whole["prequential"];
    assert!(figures["sliding.accuracy"].as_f64().unwrap() > 0.9, "{figures}");
    run(dir.path(), &[&learn[..], &["cut", "--until-events", "701"]].concat());
    let cut = run(dir.path(), &[&learn[..], &["cut", "--resume"]].concat());
    assert_eq!(cut["state_sha256"], whole["state_sha256"]);
    assert_eq!(cut["prequential"], whole["prequential"]);
}

#[test]
fn mistakes_about_a_bag_are_named() {
    let dir = tempfile::tempdir().unwrap();
    notes(&dir.path().join("notes.csv"), 20);
    let fail = |from: &str, to: &str| {
        let recipe = BAG.replace(from, to);
        assert_ne!(recipe, BAG);
        std::fs::write(dir.path().join("r.toml"), recipe).unwrap();
        let output =
            command(&["train", "r.toml", "--out", "a"]).current_dir(dir.path()).output().unwrap();
        assert!(!output.status.success());
        stderr(&output).to_string()
    };
    for (from, to, says) in [
        ("ngrams = 2", "ngrams = 11", "bag.ngrams must be from 1 to 10"),
        ("minn = 3", "minn = 5", "bag.minn must be from 1 to maxn"),
        ("maxn = 4", "maxn = 40", "bag.maxn must be from 0 to 32"),
        ("column = \"note\", ", "", "lacks column"),
        ("\"note\"", "\"text\"", "no column `text`"),
        ("[model]", "[model]\ninput = { features = 2 }", "has no place beside bag"),
        (
            "csv = { path = \"notes.csv\", label = \"class\" }",
            "tagged = { path = \"n\" }",
            "cannot be tagged",
        ),
    ] {
        let error = fail(from, to);
        assert!(error.contains(says), "{to}: {error}");
    }
}
