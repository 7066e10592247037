//! Learning from streams, killed and resumed, and between batches.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::events::{Row, kill_until_done, kills, outcome, rows, stream_recipe};
use common::*;

/// Kills of each kind of stream in the gate.
const KILLS: usize = 25;

/// A file of rows, some of them broken, not finite, far out, or of no known class.
fn stream(folder: &Path, len: usize) -> PathBuf {
    let mut text = "a,b,kind,class\n".to_string();
    for (i, Row { a, b, kind, class }) in rows().enumerate().take(len) {
        text += &match i % 97 {
            11 => format!("{a},NaN,{kind},{class}\n"),
            23 => format!("{a},{b}\n"),
            37 => format!("{a},{b},{kind},unheard\n"),
            53 => format!("1e30,{b},{kind},{class}\n"),
            71 => format!("{a},,{kind},{class}\n"),
            89 => format!("{a},{b},{kind},\n"),
            _ => format!("{a},{b},{kind},{class}\n"),
        };
    }
    let path = folder.join("events.csv");
    std::fs::write(&path, text).unwrap();
    path
}

/// Kills learning at random moments; it must end as it does when left alone.
fn killed_often(online: &str, rows: usize) {
    let folder = tempfile::tempdir().unwrap();
    let recipe = stream_recipe(folder.path(), online);
    let events = stream(folder.path(), rows);
    killed(folder.path(), &recipe, &events, rows / 60);
}

/// The same for any recipe and events, of which more than `bad` are.
fn killed(folder: &Path, recipe: &Path, events: &Path, bad: usize) {
    let whole = folder.join("whole");
    let learn = ["learn", text(recipe), "--from", text(events)];
    let start = Instant::now();
    succeed(&[&learn[..], &["--out", text(&whole)]].concat());
    let usual = start.elapsed().as_secs_f64();
    let want = outcome(&whole);
    assert!(want.0["bad_events"].as_u64().unwrap() as usize > bad, "{}", want.0);
    let (mut killed, mut round) = (0, 0);
    while killed < kills(KILLS) {
        let run = folder.join(format!("run-{round}"));
        round += 1;
        killed += kill_until_done(&learn, &run, kills(KILLS) - killed, usual);
        assert!(outcome(&run) == want, "{}\n{}", outcome(&run).0, want.0);
    }
    println!("{killed} kills over {round} runs");
}

#[test]
fn a_killed_stream_ends_with_the_same_bits() {
    killed_often("", 60_000);
}

#[test]
fn a_killed_stream_of_batches_ends_with_the_same_bits() {
    killed_often("batch_size = 16", 60_000);
}

/// Users come, go and come back: their rows of an embedding table are admitted, given to others,
/// and learned one by one.
#[test]
fn a_killed_embedding_of_ids_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("recipe.toml");
    let lines = r#"[model]
input  = { features = 3 }
layers = [
  { entity_embedding = { vocabulary = [61], units = 4 } },
  { dense = { units = 16, activation = "relu" } },
  { dense = { units = 1 } },
]
[training]
loss      = "binary_crossentropy"
optimizer = { adagrad = { learning_rate = 0.1 } }
[online]
checkpoint_events = 700
features.numeric = ["a", "b"]
features.categorical = { user = { embedding = { capacity = 60, min_count = 2, expiry = 900 } } }
"#;
    std::fs::write(&recipe, lines).unwrap();
    let mut text = "user,a,b,class\n".to_string();
    for (i, Row { a, b, .. }) in rows().enumerate().take(60_000) {
        let user = i / 400 + (b as usize * 7 + i) % 40;
        let class = (a + (user % 5) as f64 * 2.0 > 4.0) as u8;
        text += &match i % 97 {
            11 => format!("u{user},{a},inf,{class}\n"),
            23 => format!("u{user},{a}\n"),
            37 => format!("u{user},{a},{b},7\n"),
            53 => format!(",{a},{b},{class}\n"),
            71 => format!("u{user},{a},what,{class}\n"),
            _ => format!("u{user},{a},{b},{class}\n"),
        };
    }
    let events = folder.path().join("events.csv");
    std::fs::write(&events, text).unwrap();
    killed(folder.path(), &recipe, &events, 60_000 / 60);
    let whole = outcome(&folder.path().join("whole")).0;
    let accuracy = whole["prequential"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.85, "{accuracy}");
}

/// What a stream has by default: the optimizer with its rate by the inputs' length, which here are
/// long, hats, and words of a text; and all that can be mixed with it.
#[test]
fn a_killed_default_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("recipe.toml");
    let lines = r#"[model]
input  = { features = 338 }
hats   = { columns = 33 }
memory = { events = 30 }
last_label = true
layers = [
  { entity_embedding = { vocabulary = [501], tokens = [8], units = 6 } },
  { dense = { units = 16, activation = "leaky_relu" } },
  { dense = { units = 2 } },
]
[training]
loss = "sparse_categorical_crossentropy"
[online]
checkpoint_events = 700
features.categorical = { said = { words = { buckets = 500, most = 8 } } }
"#;
    std::fs::write(&recipe, lines).unwrap();
    let columns: Vec<String> = (0..33).map(|i| format!("x{i}")).collect();
    let mut text = format!("said,{},class\n", columns.join(","));
    for (i, Row { a, b, .. }) in rows().enumerate().take(30_000) {
        let numbers: Vec<String> =
            (0..33).map(|j| format!("{:.2}", a * (j % 5) as f64 - b)).collect();
        let (numbers, word) = (numbers.join(","), (b as usize * 7 + i) % 40);
        let class = (a + (word % 5) as f64 * 2.0 > 4.0) as u8;
        text += &match i % 97 {
            11 => format!("w{word},inf,{numbers},{class}\n"),
            23 => format!("w{word}\n"),
            53 => format!(",{numbers},{class}\n"),
            _ => format!("the w{word} of {},{numbers},{class}\n", i % 300),
        };
    }
    let events = folder.path().join("events.csv");
    std::fs::write(&events, text).unwrap();
    killed(folder.path(), &recipe, &events, 30_000 / 60);
    let whole = outcome(&folder.path().join("whole")).0;
    let accuracy = whole["prequential"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.85, "{accuracy}");
}

/// Labels that come up to two hundred records later, twice, not at all, or too early; what waits has
/// little memory and lies on disk.
#[test]
fn a_killed_join_of_labels_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("recipe.toml");
    let lines = r#"[model]
input  = { features = 303 }
layers = [{ dense = { units = 4, activation = "relu" } }, { dense = { units = 1 } }]
[training]
loss      = "binary_crossentropy"
optimizer = { adam = { learning_rate = 0.01 } }
[online]
checkpoint_events = 700
features.categorical = { kind = { dictionary = { capacity = 300 } } }
labels = { id = "id", window = 300, memory_bytes = 70000, missing = "negative", negative_sampling = 0.5 }
"#;
    std::fs::write(&recipe, lines).unwrap();
    let mut at = Vec::new();
    for (i, Row { a, b, kind, class }) in rows().enumerate().take(30_000) {
        let label = format!("{{\"id\":{i},\"class\":{}}}\n", u8::from(class == "high"));
        at.push((2 * i, format!("{{\"id\":{i},\"a\":{a},\"b\":{b},\"kind\":\"{kind}\"}}\n")));
        let delay = i * 7919 % 200;
        match i % 31 {
            11 => {}
            13 => at.extend([(2 * i + delay, label.clone()), (2 * i + 250, label)]),
            17 if i > 500 => at.push((2 * i - delay, label)),
            23 => at.push((2 * i + 450, label)),
            29 if i > 500 => at.push((2 * i + delay, "{\"id\":1,\"class\":\"what\"}\n".into())),
            _ => at.push((2 * i + delay, label)),
        }
    }
    at.sort_by_key(|(at, _)| *at);
    let events = folder.path().join("events.jsonl");
    std::fs::write(&events, at.into_iter().map(|(_, line)| line).collect::<String>()).unwrap();
    killed(folder.path(), &recipe, &events, 30_000 / 31);
    let labels = outcome(&folder.path().join("whole")).0["labels"].clone();
    for what in ["joined", "early", "late", "duplicate", "missing", "spilled", "left_out"] {
        assert!(labels[what].as_u64().unwrap() > 500, "{what}: {labels}");
    }
}

/// Sparse events in VW text, of which some are broken, and a hashed linear model.
#[test]
fn a_killed_hashed_model_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("recipe.toml");
    let lines = "[training]\nloss = \"binary_crossentropy\"\n[online]\nlinear = { bits = 12 }\n\
                 checkpoint_events = 700\n";
    std::fs::write(&recipe, lines).unwrap();
    let mut text = String::new();
    let mut random = 7u32;
    for i in 0..60_000 {
        let features: Vec<u32> = (0..8)
            .map(|_| {
                random = random.wrapping_mul(1664525).wrapping_add(1013904223);
                random >> 20
            })
            .collect();
        let yes = features.iter().filter(|f| *f % 3 == i / 20_000).count() > 2;
        let label = if yes { "1" } else { "-1" };
        text += &match i % 97 {
            11 => "nothing to see\n".to_string(),
            23 => format!("{label} | a:nan b\n"),
            37 => "2 | of no class\n".to_string(),
            53 => format!("{label} | far:1e30\n"),
            71 => format!("| {}\n", features[0]),
            _ => {
                let words: Vec<String> =
                    features.iter().map(|f| format!("w{f}:{}", 1 + f % 3)).collect();
                format!("{label} {} | {}\n", 1 + i % 2, words.join(" "))
            }
        };
    }
    let events = folder.path().join("events.vw");
    std::fs::write(&events, text).unwrap();
    killed(folder.path(), &recipe, &events, 60_000 / 60);
}

/// Classes of which two columns decide together only: a linear model needs their interaction.
#[test]
fn a_linear_model_learns_classes_and_interactions() {
    let recipe = "[stream]\ntext = [\"user\", \"item\"]\n[training]\n\
                  loss = \"sparse_categorical_crossentropy\"\n[online]\nlinear = { bits = 12, \
                  classes = 3, interactions = [[\"user\", \"item\"]] }\n";
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, lines: &str| {
        std::fs::write(folder.path().join(name), lines).unwrap();
        folder.path().join(name)
    };
    let (recipe, run) = (write("recipe.toml", recipe), folder.path().join("run"));
    let learn = |from: &Path, more: &[&str]| {
        let all = ["learn", text(&recipe), "--from", text(from), "--out", text(&run)];
        tidemill(&[&all[..], more].concat())
    };
    let mut lines = "user,item,class\n".to_owned();
    for i in 0..3000 {
        let (user, item) = (i * 7919 % 10, i / 10 * 104_729 % 11);
        lines += &format!("{user},{item},{}\n", ["red", "green", "blue"][(user + item) % 3]);
    }
    let data = write("data.csv", &lines);
    let accuracy = |more: &[&str]| {
        let learned = learn(&data, more);
        assert!(learned.status.success(), "{}", stderr(&learned));
        let summary = std::fs::read_to_string(run.join("summary.json")).unwrap();
        let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
        summary["prequential"]["accuracy"].as_f64().unwrap()
    };
    let path = folder.path().join("p.csv");
    assert!(accuracy(&["--predictions", text(&path)]) > 0.9);
    let predictions = std::fs::read_to_string(path).unwrap();
    assert_eq!(predictions.lines().next(), Some("event,id,label,prediction,probability"));
    let evaluated = succeed(&["eval", text(&run), "--data", text(&data), "--json"]);
    let evaluated: serde_json::Value = serde_json::from_str(&evaluated).unwrap();
    assert!(evaluated["figures"]["accuracy"].as_f64() > Some(0.99), "{evaluated}");
    let bare = write("bare.csv", "item,user\n3,4\n");
    let predicted = succeed(&["predict", text(&run), "--data", text(&bare), "--all"]);
    let lines: Vec<&str> = predicted.lines().collect();
    assert_eq!(lines[0], "file,class,probability,blue,green,red");
    assert!(lines[1].contains("bare.csv:2,green,"), "{predicted}");

    let without = ["--force", "--set", "online.linear.interactions=[]"];
    assert!(accuracy(&without) < 0.5);
    for (set, says) in [
        ("online.linear.interactions=[[\"user\",\"itme\"]]", "the nearest name is `item`"),
        ("online.linear.interactions=[[\"user\"]]", "of two columns or more"),
        ("online.linear.classes=1", "online.linear.classes must be 2 or more"),
        ("online.linear.bits=30", "are the most; take fewer bits"),
        ("online.features.clip=3", "online.features.clip has no place beside online.linear"),
        ("online.features.fill=0", "online.features.fill has no place beside online.linear"),
        ("online.normalized_rate=true", "online.normalized_rate has no place beside"),
        ("online.drift.detector=adwin", "online.drift has no place beside online.linear"),
        ("online.linear.beta=2", "online.linear.beta is for online.linear.rule = \"ftrl\" only"),
        ("training.loss=hinge", "online.linear.classes goes with the loss"),
        ("online.classes=[\"a\",\"b\",\"c\",\"d\"]", "online.classes names 4"),
    ] {
        let output = learn(&data, &["--force", "--set", set]);
        assert!(stderr(&output).contains(says), "{set}: {}", stderr(&output));
        assert_eq!(output.status.code(), Some(2));
    }
    let vw = write("data.vw", "1 | a b\n");
    let error = stderr(&learn(&vw, &["--force"]));
    assert!(error.contains("online.linear.interactions names columns"), "{error}");
}

/// Columns that interact, and a weight vector for each class.
#[test]
fn a_killed_linear_model_of_classes_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("recipe.toml");
    let lines = "[training]\nloss = \"sparse_categorical_crossentropy\"\n[online]\nlinear = { bits = 12, \
                 classes = 3, interactions = [[\"a\", \"kind\"], [\"a\", \"b\", \"kind\"]] }\n\
                 checkpoint_events = 700\n";
    std::fs::write(&recipe, lines).unwrap();
    let events = stream(folder.path(), 30_000);
    killed(folder.path(), &recipe, &events, 30_000 / 60);
}

/// Steps of as many events as have come: the record of their sizes makes a replay exact.
#[test]
fn adaptive_steps_can_be_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = stream_recipe(folder.path(), "max_batch = 32\nmax_delay_ms = 0.1");
    let events = stream(folder.path(), 20_000);
    let run = folder.path().join("run");
    let arguments =
        ["learn", text(&recipe), "--from", text(&events), "--out", text(&run), "--resume"];
    let mut child =
        command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !run.join("checkpoints/latest").exists() {
        sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    succeed(&arguments);
    let again = folder.path().join("again");
    std::fs::create_dir(&again).unwrap();
    for file in ["batches.jsonl", "recipe.toml"] {
        std::fs::copy(run.join(file), again.join(file)).unwrap();
    }
    succeed(&["learn", text(&recipe), "--from", text(&events), "--out", text(&again), "--resume"]);
    assert_eq!(outcome(&again), outcome(&run));
}

/// Events that wait for a whole step while many bad records come between them: how many a step takes
/// depends on the records alone, and so do the bits.
#[test]
fn killed_between_bursts_of_bad_records_it_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let online = "batch_size = 8\nqueue_bytes = 1024\non_bad = \"continue\"";
    let recipe = stream_recipe(folder.path(), online);
    let mut text = "a,b,kind,class\n".to_string();
    for (i, Row { a, b, kind, class }) in rows().enumerate().take(6_000) {
        text += &format!("{a},{b},{kind},{class}\n");
        text += &"broken\n".repeat(if i % 13 == 5 { 40 } else { 0 });
    }
    let events = folder.path().join("events.csv");
    std::fs::write(&events, text).unwrap();
    killed(folder.path(), &recipe, &events, 15_000);
    // Whole steps would be 750.
    assert!(summary(&folder.path().join("whole")).steps > 850);
}

/// Batch, then a stream, then batch again: one history.
#[test]
fn a_run_goes_from_batch_to_stream_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let run = folder.path().join("run");
    succeed(&["train", text(&recipe), "--out", text(&run)]);
    let first = summary(&run);
    let digits = digits().join("digits/train");
    let measured = succeed(&["eval", text(&run)]);
    succeed(&["learn", text(&run), "--from", text(&digits)]);
    // The run of batches stays as it is, with figures of its own weights.
    assert_eq!(summary(&run).state_sha256, first.state_sha256);
    assert_eq!(succeed(&["eval", text(&run)]), measured);
    let run = folder.path().join("run-stream");
    assert!(summary(&run).validation.is_empty());
    let learned = summary(&run);
    assert!(learned.steps > first.steps && learned.state_sha256 != first.state_sha256);
    let stream: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(run.join("summary.json")).unwrap()).unwrap();
    assert!(stream["events"].as_u64().unwrap() > 0, "{stream}");
    assert!(stream["prequential"]["accuracy"].as_f64().unwrap() > 0.2, "{stream}");
    let epochs = first.epochs + 1;
    let more = format!("batch.epochs={epochs}");
    succeed(&["train", text(&run), "--set", &more]);
    let last = summary(&run);
    assert_eq!(last.epochs, epochs);
    assert!(last.steps > learned.steps);
    let lines = metrics(&run);
    assert_eq!(lines.len() as u64, epochs);
}

/// A dataset whose length is no multiple of the batch: the last step has fewer, and the stream ends,
/// at any rate.
#[test]
fn a_replayed_dataset_ends_with_a_smaller_step() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let from = digits().join("digits/train"); // 120 images
    let run = folder.path().join("run");
    for set in ["online.batch_size=50", "online.max_batch=50"] {
        for rate in [&[][..], &["--rate", "2000"]] {
            let learn = ["learn", text(&recipe), "--from", text(&from), "--out", text(&run)];
            succeed(&[&learn[..], &["--force", "--set", set], rate].concat());
            let learned = summary(&run);
            assert_eq!(learned.samples, 120);
            assert!(!set.contains("batch_size") || learned.steps == 3, "{}", learned.steps);
        }
    }
}

/// One event in a hundred is poisoned: not finite, far out, or of a random class. The stream ends
/// within a point of the clean one.
#[test]
fn poison_does_little_harm() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("recipe.toml");
    let text_of_recipe = r#"[model]
input  = { features = 2 }
layers = [{ dense = { units = 16, activation = "tanh" } }, { dense = { units = 2 } }]
[training]
loss      = "sparse_categorical_crossentropy"
optimizer = { sgd = { learning_rate = 0.1 } }
"#;
    std::fs::write(&recipe, text_of_recipe).unwrap();
    let mut state = 3u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    let (mut clean, mut poisoned) = ("a,b,class\n".to_string(), "a,b,class\n".to_string());
    for i in 0..30_000 {
        let (a, b) = (10.0 * random() - 5.0, random());
        let class = u8::from(a * a < 6.0 + 4.0 * b);
        let row = format!("{a},{b},{class}\n");
        poisoned += &match i % 300 {
            50 => format!("NaN,{b},{class}\n"),
            150 => format!("{a},1e30,{class}\n"),
            250 => format!("{a},{b},{}\n", u8::from(random() > 0.5)),
            _ => row.clone(),
        };
        clean += &row;
    }
    let accuracy = |name: &str, text_of_stream: &str| {
        let (events, run) = (folder.path().join(name), folder.path().join("run"));
        std::fs::write(&events, text_of_stream).unwrap();
        succeed(&["learn", text(&recipe), "--from", text(&events), "--out", text(&run), "--force"]);
        let summary = std::fs::read_to_string(run.join("summary.json")).unwrap();
        let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
        (summary["prequential"]["accuracy"].as_f64().unwrap(), summary["bad_events"].as_u64())
    };
    let (of_clean, none) = accuracy("clean.csv", &clean);
    let (of_poisoned, bad) = accuracy("poisoned.csv", &poisoned);
    // What is no number is missing, with a note.
    assert_eq!((none, bad), (Some(0), Some(0)));
    assert!(of_clean > 0.9 && of_poisoned > of_clean - 0.01, "{of_clean} {of_poisoned}");
}
