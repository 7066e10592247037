//! A translator that learns from what people correct its texts to.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;
use std::sync::OnceLock;

use common::corrections::{Live, Place, result};
use common::events::{kill_until_done, kills};
use common::senders::Http;
use common::{command, random, stderr};
use serde_json::{Value, json};

const RECIPE: &str = r#"
[model]
encoder_decoder = { units = 32, heads = 2, encoder = 1, decoder = 1, length = 24, dropout = 0.1 }

[text]
tokenizer = { words = {} }

[training]
loss      = { token_crossentropy = { label_smoothing = 0.05 } }
optimizer = { adamw = { learning_rate = 5e-3 } }
average   = { ema = 0.9 }
seed      = 2

[batch]
data         = { parallel = { source = "train.en", target = "train.de" } }
batch_tokens = 200
epochs       = 12
"#;

/// Every sentence of the training data has words that the customer calls otherwise, so that few of them are learned again.
const LEARN: [&str; 4] =
    ["--set", "online.learning_rate=2e-3", "--set", "online.corrections.stored=2"];

const WORDS: [(&str, &str); 9] = [
    ("one", "eins"),
    ("two", "zwei"),
    ("three", "drei"),
    ("dog", "Hund"),
    ("cat", "Katze"),
    ("and", "und"),
    ("runs", "rennt"),
    ("sees", "sieht"),
    ("old", "Kater"),
];

/// Sentences with their translations, word by word.
fn sentences(seed: usize, count: usize) -> Vec<(String, String)> {
    let mut next = random();
    for _ in 0..seed {
        next(2);
    }
    let sentence = |_| {
        let words: Vec<_> = (0..2 + next(7)).map(|_| WORDS[next(WORDS.len())]).collect();
        let (source, target): (Vec<&str>, Vec<&str>) = words.into_iter().unzip();
        (source.join(" "), target.join(" "))
    };
    (0..count).map(sentence).collect()
}

/// A folder with the run `base`, trained once.
fn base() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let pairs = sentences(0, 600);
        let side = |of: fn(&(String, String)) -> &String| -> String {
            pairs.iter().map(|pair| of(pair).clone() + "\n").collect()
        };
        std::fs::write(folder.path().join("train.en"), side(|pair| &pair.0)).unwrap();
        std::fs::write(folder.path().join("train.de"), side(|pair| &pair.1)).unwrap();
        std::fs::write(folder.path().join("recipe.toml"), RECIPE).unwrap();
        let trained = command(&["train", "recipe.toml", "--out", "base"]);
        let output = { trained }.current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        folder
    });
    folder.path()
}

/// Corrections by a customer who calls a cat `Kater`: a text, and its correction some records later.
fn stream(count: usize) -> Vec<Value> {
    let mut records = Vec::new();
    let pairs = sentences(9, count);
    let correction = |i: usize| {
        let text = pairs[i].1.replace("Katze", "Kater");
        json!({ "id": i, "correction": text })
    };
    for (i, (source, _)) in pairs.iter().enumerate() {
        records.push(json!({ "id": i, "source": source }));
        if i >= 3 {
            records.push(correction(i - 3));
        }
    }
    records.extend((count.saturating_sub(3)..count).map(correction));
    records
}

fn place() -> Place {
    Place::new(base().join("base"), &LEARN)
}

#[test]
fn a_customers_word_is_learned_to_the_same_bits() {
    let place = place();
    let from = place.write("c.jsonl", &stream(300));
    let (frozen, _) = place.learn(&from, "frozen", &["--frozen"]);
    let (whole, _) = place.learn(&from, "a", &["--threads", "1"]);
    let bleu = |summary: &Value, name: &str| summary["prequential"][name].as_f64().unwrap();
    assert!(bleu(&whole, "sliding.bleu") > bleu(&frozen, "sliding.bleu") + 5.0, "{whole} {frozen}");
    assert_eq!((&whole["labels"]["joined"], &whole["labels"]["pending"]), (&300.into(), &0.into()));
    assert_eq!(place.lines("a/corrections.jsonl").len(), 300);
    // Threads, a cut at a number of texts, and kills change nothing.
    let (threads, _) = place.learn(&from, "b", &["--threads", "3", "--until-events", "77"]);
    assert_eq!(threads["events"], 77);
    let (threads, notes) = place.learn(&from, "b", &["--threads", "2", "--resume"]);
    assert!(notes.contains("continuing after 77 texts"), "{notes}");
    assert_eq!(result(&threads), result(&whole));
    let run = base().join("base");
    let all = ["learn", common::text(&run), "--from", &from];
    let more = ["--set", "online.checkpoint_events=20", "--json"];
    let killed = place.path("k");
    kill_until_done(&[&all[..], &LEARN, &more].concat(), &killed, kills(6), 1.5);
    let summary = place.summary("k");
    assert_eq!(result(&summary), result(&whole));
    assert_eq!(place.lines("k/corrections.jsonl"), place.lines("a/corrections.jsonl"));
    // The run says what it has learned.
    let live = place.path("a");
    let asked = ["predict", common::text(&live), "--text", "one cat sees two", "--beam", "1"];
    let output = command(&asked).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "eins Kater sieht zwei");
    let page = std::fs::read_to_string(place.path("a/report.html")).unwrap();
    assert!(page.contains("BLEU of the last 200") && page.contains("eins"), "the page");
}

#[test]
fn garbage_waits_until_it_is_released() {
    let place = place();
    let mut records = stream(60);
    let bad = [
        json!({"id": "x", "source": "one dog runs", "correction": "aaaaaaaa"}),
        json!({"id": "y", "source": "one dog and one cat", "correction": "one dog and one cat"}),
        json!({"id": "z", "source": "two dog", "correction": "Das sind fremde Wörter ohne Sinn"}),
    ];
    records.extend(bad);
    records.push(json!({"release": 2}));
    records.push(json!({"release": 2}));
    records.push(json!({"release": 9}));
    records.push(json!({"id": "w", "source": "one dog"}));
    let from = place.write("c.jsonl", &records);
    let (summary, notes) = place.learn(&from, "a", &[]);
    let kept = place.lines("a/quarantine.jsonl");
    let reasons: Vec<&str> = kept.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(
        reasons[0].contains("repetition") && reasons[1].contains("word for word"),
        "{reasons:?}"
    );
    assert_eq!((&summary["quarantined"], &summary["bad_events"]), (&2.into(), &2.into()));
    let learned = place.lines("a/corrections.jsonl");
    assert_eq!((learned.len(), &learned[60]["id"]), (61, &"y".into()));
    assert!(notes.contains("a record was set aside"), "{notes}");
    let dead = place.lines("a/dead-letter.jsonl");
    assert!(dead[0]["reason"].as_str().unwrap().contains("was released before"), "{dead:?}");
    assert!(dead[1]["reason"].as_str().unwrap().contains("has 3 lines"), "{dead:?}");
    // Another file of corrections releases what the run still holds.
    let more = place.write("more.jsonl", &[json!({"release": 3})]);
    let (summary, _) = place.learn(&more, "a", &["--resume"]);
    assert_eq!(summary["quarantined"], 1);
    // One that was corrected better since is no longer wanted.
    let better = [json!({"id": "x", "correction": "eins Hund rennt"}), json!({"release": 1})];
    let better = place.write("better.jsonl", &better);
    let (summary, _) = place.learn(&better, "a", &["--resume"]);
    let dead = place.lines("a/dead-letter.jsonl");
    let last = dead.last().unwrap()["reason"].as_str().unwrap();
    let what =
        "release 1: another correction of its text was learned from, and counts: eins Hund rennt";
    assert_eq!(last, what, "{summary}");
    assert_eq!(summary["quarantined"], 1);
    assert_eq!(place.lines("a/corrections.jsonl").last().unwrap()["correction"], "eins Hund rennt");
}

#[test]
fn mistakes_are_set_aside_and_said() {
    let place = place();
    let records = [
        json!({"id": 1, "source": "one dog"}),
        json!({"id": 1, "source": "another text"}),
        json!({"id": 1, "correction": "eins Hund"}),
        json!({"id": 1, "correction": "eins Hund"}),
        json!({"id": 1, "correction": "zwei Hund"}),
        json!({"correction": "eins"}),
        json!({"id": 2, "source": "two dog", "user": "someone"}),
        json!({"id": 3}),
        json!([1]),
        json!({"id": 4, "correction": "drei Hund"}),
        json!({"id": 4, "source": "three dog"}),
        json!({"source": "old cat"}),
        json!({"id": 5, "text": "old dog", "summary": "Kater Hund"}),
    ];
    let from = place.write("c.jsonl", &records);
    let (summary, notes) = place.learn(&from, "a", &[]);
    let labels = &summary["labels"];
    let counts = ["joined", "early", "duplicate", "contradictory", "repeated", "pending"];
    let counts: Vec<u64> = counts.iter().map(|&name| labels[name].as_u64().unwrap()).collect();
    assert_eq!(counts, [3, 1, 1, 1, 1, 1], "{summary}");
    assert_eq!((&summary["events"], &summary["bad_events"]), (&5.into(), &5.into()));
    assert_eq!(place.lines("a/corrections.jsonl").len(), 3);
    assert!(notes.contains("not used of the records: user"), "{notes}");
    let reasons: Vec<String> =
        place.lines("a/dead-letter.jsonl").iter().map(|l| l["reason"].to_string()).collect();
    for (reason, part) in reasons.iter().zip([
        "came before",
        "another correction",
        "needs the id",
        "neither a text",
        "no JSON object",
    ]) {
        assert!(reason.contains(part), "{reasons:?}");
    }
    // What has no effect, and what is missing.
    let refused = |more: &[&str]| {
        let run = base().join("base");
        let all = ["learn", common::text(&run), "--from", &from, "--out", "never"];
        let output =
            command(&[&all[..], more].concat()).current_dir(place.folder.path()).output().unwrap();
        assert!(!output.status.success(), "{more:?}");
        assert!(!place.path("never").exists(), "{more:?} left a run behind");
        stderr(&output)
    };
    assert!(
        refused(&["--set", "online.normalized_rate=true"]).contains("has no effect on corrections")
    );
    assert!(refused(&["--set", "online.corrections.beam=0"]).contains("from 1 to 100"));
    assert!(
        refused(&["--set", "batch.data.parallel.source=gone.en"]).contains("corrections.stored=0")
    );
    let all = ["learn", "recipe.toml", "--from", &from, "--out", "never"];
    let output = command(&all).current_dir(base()).output().unwrap();
    assert!(stderr(&output).contains("name the folder of its run"), "{}", stderr(&output));
}

#[test]
fn only_some_weights_learn_where_the_recipe_says_so() {
    let place = place();
    let from = place.write("c.jsonl", &stream(12));
    for scope in ["head", "biases"] {
        let scope_of = format!("online.corrections.scope={scope}");
        place.learn(&from, scope, &["--set", &scope_of]);
        // It can be resumed, and with all weights again.
        let more = place.write("more.jsonl", &stream(14));
        place.learn(&more, scope, &["--resume", "--set", "online.corrections.scope=all"]);
    }
}

#[test]
fn texts_are_answered_by_http_and_corrections_learned_once() {
    let place = place();
    let mut live = Live::new(&place);
    let learner = live.start("1000");
    let answer = live.ask(&json!({"id": "a", "source": "one dog sees three"}));
    assert_eq!((&answer["id"], &answer["text"]), (&"a".into(), &"eins Hund sieht drei".into()));
    // Asked again, it says the same.
    assert_eq!(
        live.ask(&json!({"id": "a", "source": "one dog sees three"}))["text"],
        answer["text"]
    );
    let learned = live.ask(&json!({"id": "a", "correction": "eins Hund sieht drei"}));
    assert_eq!(learned["learned"], true);
    assert_eq!(
        live.ask(&json!({"id": "a", "correction": "eins Hund sieht drei"}))["duplicate"],
        true
    );
    let garbage = live.ask(&json!({"source": "one dog", "correction": "aaaaaaa"}));
    assert_eq!(garbage["quarantined"], 1);
    drop(learner);
    // After a kill, what was acknowledged is there and is not learned again.
    let mut learner = live.start("4");
    assert_eq!(
        live.ask(&json!({"id": "a", "correction": "eins Hund sieht drei"}))["duplicate"],
        true
    );
    live.ask(&json!({"id": "b", "source": "two cat"}));
    // The learner may end before this request is answered.
    let _ = Http::new(live.port).post(&[json!({"id": "c", "source": "three cat"}).to_string()]);
    assert!(learner.0.wait().unwrap().success());
    let summary = place.summary("live");
    assert_eq!((&summary["events"], &summary["labels"]["joined"]), (&4.into(), &1.into()));
    assert_eq!(place.lines("live/corrections.jsonl").len(), 1);
}

/// What comes by several streams is learned once, and finds its counterpart.
#[test]
fn streams_are_left_and_continued() {
    let place = place();
    let monday = place.write(
        "monday.jsonl",
        &[
            json!({"id": "a", "source": "one dog"}),
            json!({"id": "b", "correction": "zwei Hund"}),
            json!({"id": "c", "source": "three dog", "correction": "aaaaaaaaa"}),
        ],
    );
    let tuesday = place.write(
        "tuesday.jsonl",
        &[
            json!({"id": "a", "correction": "eins Hund"}),
            json!({"id": "b", "source": "two dog"}),
            json!({"id": "c", "correction": "drei Hund"}),
        ],
    );
    let (first, _) = place.learn(&monday, "a", &[]);
    let labels = |summary: &Value, name: &str| summary["labels"][name].as_u64().unwrap();
    assert_eq!((labels(&first, "pending"), labels(&first, "waiting")), (2, 1), "{first}");
    let (second, notes) = place.learn(&tuesday, "a", &["--resume"]);
    assert!(notes.contains("counts and figures go on"), "{notes}");
    assert_eq!((labels(&second, "joined"), labels(&second, "pending")), (3, 0), "{second}");
    // Nothing of either is learned again.
    let (third, _) = place.learn(&monday, "a", &["--resume"]);
    assert_eq!(result(&third), result(&second));
    assert_eq!(place.lines("a/corrections.jsonl").len(), 3);
    // Unless it is wanted.
    let (again, _) = place.learn(&monday, "a", &["--resume", "--from-start"]);
    assert_eq!(labels(&again, "repeated"), 1, "{again}");
    // A start that fails leaves the run that it would have replaced.
    let before = (place.lines("a/corrections.jsonl"), place.lines("a/quarantine.jsonl"));
    std::fs::write(place.path("bad.csv"), "eins,zwei\n1,2\n").unwrap();
    let (run, out, bad) = (base().join("base"), place.path("a"), place.path("bad.csv"));
    let all = ["learn", common::text(&run), "--from", common::text(&bad), "--force"];
    let output = command(&[&all[..], &["--out", common::text(&out)]].concat()).output().unwrap();
    assert!(stderr(&output).contains("must name the columns"), "{}", stderr(&output));
    assert_eq!((place.lines("a/corrections.jsonl"), place.lines("a/quarantine.jsonl")), before);
    assert!(place.path("a/checkpoints/latest").is_file() && place.path("a/report.html").is_file());
    // A stream that is garbage has failed.
    let bad = place.write("bad.jsonl", &[json!({"source": "one", "correction": "bbbbbbb"})]);
    let (run, out) = (base().join("base"), place.path("b"));
    let all = ["learn", common::text(&run), "--from", &bad, "--out", common::text(&out)];
    let output = command(&all).output().unwrap();
    assert!(!output.status.success() && stderr(&output).contains("wait in quarantine"));
}
