//! The rules of late labels, resumes, and what delay costs on real data.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidemill_recipe::stream::{Events, HashedColumns, OpenOptions, Poll, Records, Value, open};

use super::JoinCounts;
use crate::driver::Until;
use crate::model::build;
use crate::sample::Inputs;
use crate::state::StreamState;
use crate::{LearnOptions, LearnOutcome, learn};
use tidemill_engine::checkpoint::state_sha256;
use tidemill_engine::folder::Existing;
use tidemill_recipe::RecipeFile;

/// Two inputs, one output; `labels` is the rest of `[online.labels]`.
fn recipe(model: &str, online: &str, labels: &str) -> String {
    format!(
        "{model}[training]\nloss = \"binary_crossentropy\"\noptimizer = {{ sgd = {{ learning_rate = \
         0.1 }} }}\nseed = 7\n[stream]\nlabel = \"y\"\n[online]\ncheckpoint_seconds = 0\n{online}\n\
         [online.labels]\nid = \"id\"\n{labels}\n"
    )
}

const NETWORK: &str = "[model]\ninput = { features = 2 }\nlayers = [{ dense = { units = 4, activation = \"tanh\" } }, \
     { dense = { units = 1 } }]\n";

fn options(from: &Path, out: &Path, events: Option<u64>) -> LearnOptions {
    LearnOptions {
        from: from.display().to_string(),
        out: out.to_owned(),
        existing: Existing::Resume,
        model: None,
        checkpoint: None,
        frozen: false,
        beside: None,
        from_start: false,
        threads: Some(1),
        memory: None,
        until: Until { events, seconds: None },
        rate: None,
        predictions: None,
        access: Default::default(),
        skip: Vec::new(),
        interrupt: Default::default(),
    }
}

fn run(recipe: &str, from: &Path, out: &Path, events: Option<u64>) -> LearnOutcome {
    let file = RecipeFile::parse(recipe, Path::new("recipe.toml"), &[]).unwrap();
    learn(file, &options(from, out, events), &mut |_| {}).unwrap()
}

/// Learns from `lines`; gives what became of labels, and the dead letters.
fn learned(recipe: &str, lines: &[String]) -> (LearnOutcome, JoinCounts, String) {
    learned_in(tempfile::tempdir().unwrap().path(), recipe, lines)
}

fn learned_in(folder: &Path, recipe: &str, lines: &[String]) -> (LearnOutcome, JoinCounts, String) {
    let from = written(folder, lines);
    let out = folder.join("run");
    let outcome = run(recipe, &from, &out, None);
    let counts = outcome.summary.labels.unwrap();
    let dead = std::fs::read_to_string(out.join("dead-letter.jsonl")).unwrap_or_default();
    (outcome, counts, dead)
}

fn written(folder: &Path, lines: &[String]) -> PathBuf {
    let path = folder.join("events.jsonl");
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    path
}

/// Numbers that are the same each time.
fn random() -> impl FnMut() -> f64 {
    let mut state = 11_u64;
    move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1_u64 << 24) as f64
    }
}

fn event(id: &str, t: f64) -> String {
    format!(r#"{{"id":"{id}","t":{t},"a":{t},"b":1}}"#)
}

fn label(id: &str, t: f64, y: u8) -> String {
    format!(r#"{{"id":"{id}","t":{t},"y":{y}}}"#)
}

/// One line for each rule.
#[test]
fn labels_come_in_any_way() {
    let lines = [
        event("a", 0.0),
        label("a", 1.0, 1),                                   // joined
        label("a", 2.0, 1),                                   // duplicate
        label("a", 3.0, 0),                                   // contradictory
        label("b", 4.0, 1),                                   // early ...
        label("b", 4.0, 0),                                   // ... and contradicted
        event("b", 5.0),                                      // joined
        event("c", 6.0),                                      // missing
        event("d", 10.0),                                     // joined at the last moment
        event("d", 10.5),                                     // refused
        r#"{"id":"e","t":12,"a":1,"b":1,"y":0}"#.to_string(), // learned at once
        label("e", 12.0, 0),                                  // duplicate
        label("f", 13.0, 1),                                  // no event ever
        r#"{"id":"x","t":14}"#.to_string(),                   // neither
        r#"{"t":14,"y":1}"#.to_string(),                      // no id
        r#"{"id":"g","a":1,"b":2}"#.to_string(),              // no time
        r#"{"id":"g","t":"soon","a":1,"b":2}"#.to_string(),   // no time either
        label("d", 20.0, 0),                                  // joined: 10 + 10
        label("c", 20.0, 1),                                  // late: 6 + 10
        event("h", 40.0),                                     // waits at the end
        r#"{"a":1,"b":2,"t":40,"y":1}"#.to_string(),          // no id, learned at once
        r#"{"a":1,"b":2,"t":40}"#.to_string(),                // can never get a label
    ];
    for online in ["", "linear = { bits = 8 }"] {
        let model = if online.is_empty() { NETWORK } else { "" };
        let text = recipe(model, online, "time = \"t\"\nwindow = 10");
        let text = match online {
            "" => text,
            _ => text.replace("optimizer = { sgd = { learning_rate = 0.1 } }\n", ""),
        };
        let (outcome, counts, dead) = learned(&text, &lines);
        let want = JoinCounts {
            joined: 3,
            late: 1,
            duplicate: 2,
            contradictory: 2,
            missing: 1,
            early: 1,
            unmatched: 1,
            repeated: 1,
            pending: 1,
            ..JoinCounts::default()
        };
        assert_eq!(counts, want, "{dead}");
        let stream = outcome.summary;
        assert_eq!((stream.events, stream.run.samples), (8, 5));
        assert_eq!((stream.prequential["events"], stream.bad_events), (5.0, 8));
        for reason in [
            "contradictory label 0: 1 came before it",
            "late label",
            "an event with this id came before",
            "neither inputs nor a label",
            "no inputs and no id",
            "an event needs a time, and `t` is missing",
            "time `soon` is neither",
        ] {
            assert!(dead.contains(reason), "{reason}\n{dead}");
        }
    }
}

#[test]
fn missing_labels_may_be_negatives() {
    let lines: Vec<String> = (0..100).map(|i| event(&i.to_string(), f64::from(i))).collect();
    let rows = "time = \"t\"\nwindow = 10\nmissing = \"negative\"";
    let (outcome, counts, _) = learned(&recipe(NETWORK, "", rows), &lines);
    assert_eq!((counts.missing, counts.pending, outcome.summary.run.samples), (89, 11, 89));
}

/// Events in batches of labels that come `delay` records later; some never, twice, or too early.
fn mixed(n: usize) -> Vec<String> {
    let mut random = random();
    let mut at: Vec<(usize, String)> = Vec::new();
    for i in 0..n {
        let (a, b) = (random() * 2.0 - 1.0, random() * 2.0 - 1.0);
        let y = u8::from(a + 0.5 * b > 0.2);
        at.push((4 * i, format!(r#"{{"id":{i},"a":{a},"b":{b}}}"#)));
        let delay = (random() * 400.0) as usize;
        let label = format!(r#"{{"id":{i},"y":{y}}}"#);
        match i % 10 {
            3 => {}
            5 => at.extend([(4 * i + delay, label.clone()), (4 * i + delay + 9, label)]),
            7 => at.push(((4 * i).saturating_sub(delay), label)),
            _ => at.push((4 * i + delay, label)),
        }
    }
    at.sort_by_key(|(at, _)| *at);
    // What events consist of is known from the first.
    let first = at.iter().position(|(_, line)| line.contains("\"a\"")).unwrap();
    let first = at.remove(first);
    at.insert(0, first);
    at.into_iter().map(|(_, line)| line).collect()
}

/// Everything that a checkpoint has, but for the numbers of segments.
fn bits(outcome: &LearnOutcome) -> (String, String, Vec<Vec<u8>>) {
    let newest = outcome.folder.checkpoints(1).latest().unwrap().unwrap();
    let tensors = newest.tensors.iter().filter(|t| t.name != super::TENSOR);
    let tensors = tensors.map(|t| t.values.bytes().unwrap().to_vec()).collect();
    let mut summary = outcome.summary.clone();
    (summary.events_per_second, summary.checkpoint_stall_ms) = (0.0, 0.0);
    let run = &mut summary.run;
    (run.wall_seconds, run.samples_per_second, run.peak_rss_bytes) = (0.0, 0.0, 0);
    let guard = StreamState::of(&newest.meta).unwrap().unwrap();
    (format!("{summary:?}"), format!("{:?} {:?}", guard.guard, guard.counts), tensors)
}

#[test]
fn a_run_that_stops_goes_on_with_the_same_bits() {
    let small = "window = 150\nmemory_bytes = 24000";
    let cases = [
        ("", small.to_string()),
        ("", "window = 150\nmissing = \"negative\"\nnegative_sampling = 0.5".to_string()),
        ("batch_size = 4", format!("{small}\nmissing = \"negative\"\nnegative_sampling = 0.3")),
        ("linear = { bits = 8 }", format!("{small}\nmissing = \"negative\"")),
    ];
    let lines = mixed(3000);
    for (online, labels) in cases {
        let folder = tempfile::tempdir().unwrap();
        let from = written(folder.path(), &lines);
        let is_linear = online.starts_with("linear");
        let mut text = recipe(if is_linear { "" } else { NETWORK }, online, &labels);
        if is_linear {
            text = text.replace("optimizer = { sgd = { learning_rate = 0.1 } }\n", "");
        }
        let whole = run(&text, &from, &folder.path().join("whole"), None);
        let want = bits(&whole);
        let counts = whole.summary.labels.unwrap();
        println!("{online} {labels:?}: {counts:?}");
        assert!(counts.joined > 1000 && counts.missing > 100 && counts.early > 20, "{counts:?}");
        assert_eq!(counts.spilled > 50, labels.contains("24000"), "{counts:?}");
        let out = folder.path().join("stopped");
        for stop in [1, 17, 400, 401, 1500, 2222, 2999] {
            run(&text, &from, &out, Some(stop));
        }
        let stopped = run(&text, &from, &out, None);
        let got = bits(&stopped);
        assert!(got == want, "{online} {labels}\n{}\n{}", got.0, want.0);
    }
}

#[test]
fn mistakes_are_told() {
    let told = |online: &str, labels: &str| {
        let text = recipe(NETWORK, online, labels);
        let file = match RecipeFile::parse(&text, Path::new("recipe.toml"), &[]) {
            Ok(file) => file,
            Err(e) => return e.to_string(),
        };
        let folder = tempfile::tempdir().unwrap();
        let from = written(folder.path(), &[event("a", 0.0)]);
        learn(file, &options(&from, &folder.path().join("run"), None), &mut |_| {})
            .unwrap_err()
            .to_string()
    };
    let long = "window = 10\nnegative_sampling = 0.1";
    for (online, labels, want) in [
        ("", "", "online.labels.window is missing"),
        ("", "window = -1", "online.labels.window must be above 0"),
        ("", "window = 0.5", "online.labels.window must be a whole number of records"),
        ("", "window = 1\nmemory_bytes = 1", "online.labels.memory_bytes must be 4096 or more"),
        (
            "",
            "window = 1\nnegative_sampling = 2.0",
            "online.labels.negative_sampling must be above",
        ),
        ("max_batch = 8", "window = 1", "online.max_batch has no place beside online.labels"),
        ("", "window = 10\ntime = \"when\"", "an event needs a time"),
    ] {
        let got = match labels.contains("when") {
            // Not a mistake of the recipe as far as anyone can tell: the events are set aside.
            true => {
                let text = recipe(NETWORK, online, labels);
                learned(&text, &[event("a", 0.0).replace("\"t\":0,", "")]).2
            }
            false => told(online, labels),
        };
        assert!(got.contains(want), "{got}\n{want}");
    }
    let text = recipe(NETWORK, "", long).replace("binary_crossentropy", "mean_squared_error");
    for (labels, want) in [
        (long, "online.labels.negative_sampling is for \"binary_crossentropy\""),
        (
            "window = 10\nmissing = \"negative\"",
            "online.labels.missing = \"negative\" needs classes",
        ),
    ] {
        let text = text.replace(long, labels);
        let file = RecipeFile::parse(&text, Path::new("recipe.toml"), &[]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let from = written(folder.path(), &[event("a", 0.0)]);
        let run = folder.path().join("run");
        let got = learn(file, &options(&from, &run, None), &mut |_| {}).unwrap_err().to_string();
        assert!(got.starts_with("recipe.toml:") && got.contains(want), "{got}\n{want}");
    }
}

/// With no room at all the oldest go, and memory stays bounded whatever comes.
#[test]
fn what_there_is_no_room_for_goes() {
    let lines: Vec<String> = (0..2000).map(|i| event(&i.to_string(), f64::from(i))).collect();
    let text =
        recipe(NETWORK, "", "time = \"t\"\nwindow = 10000\nmemory_bytes = 4096\nspill_bytes = 0");
    let (_, counts, _) = learned(&text, &lines);
    assert!(counts.pending > 5 && counts.pending < 40, "{counts:?}");
    assert_eq!(counts.evicted + counts.pending, 2000);
    // Labels without events take room, too.
    let mut lines = vec![event("first", 0.0)];
    lines.extend((0..2000).map(|i| label(&i.to_string(), 0.0, 1)));
    let (_, counts, _) = learned(&text, &lines);
    assert!(counts.evicted > 1900, "{counts:?}");
}

/// One click in twenty: with a tenth of the negatives, predictions are still one in twenty.
#[test]
fn sampled_negatives_leave_predictions_calibrated() {
    let mut draw = random();
    let n = 40_000;
    let mut clicks = 0.0;
    let lines: Vec<String> = (0..n)
        .flat_map(|i| {
            let (a, b) = (draw(), draw());
            let mut lines = vec![format!(r#"{{"id":{i},"a":{a},"b":{b}}}"#)];
            // The rate depends on `a`: 2 % to 8 %.
            if draw() < 0.02 + 0.06 * a {
                clicks += 1.0;
                lines.push(format!(r#"{{"id":{i},"y":1}}"#));
            }
            lines
        })
        .collect();
    let base = clicks / f64::from(n);
    for (online, rate) in [("", 0.1), ("", 1.0), ("linear = { bits = 8 }", 0.1)] {
        let labels = format!("window = 50\nmissing = \"negative\"\nnegative_sampling = {rate}");
        let mut text = recipe(if online.is_empty() { NETWORK } else { "" }, online, &labels);
        text = match online {
            "" => text.replace("learning_rate = 0.1", "learning_rate = 0.02"),
            _ => text.replace("optimizer = { sgd = { learning_rate = 0.1 } }\n", ""),
        };
        let folder = tempfile::tempdir().unwrap();
        let (outcome, counts, _) = learned_in(folder.path(), &text, &lines);
        let mean = mean_prediction(&text, &outcome);
        println!(
            "{online} rate {rate}: base {base:.4}, mean prediction {mean:.4}, learned from {} of {n}",
            outcome.summary.run.samples
        );
        assert!((mean / base - 1.0).abs() < 0.2, "{mean} {base}");
        assert_eq!(counts.left_out > 0, rate < 1.0);
        let share = counts.left_out as f64 / (counts.missing as f64);
        assert!((share - (1.0 - rate)).abs() < 0.02, "{share}");
        // All of it is scored, learned from or not.
        let events = outcome.summary.prequential["events"];
        assert_eq!(events as u64, counts.joined + counts.missing);
    }
}

/// The mean prediction of the model that came out of it, over all inputs.
fn mean_prediction(recipe: &str, outcome: &LearnOutcome) -> f64 {
    let file = RecipeFile::parse(recipe, Path::new("recipe.toml"), &[]).unwrap();
    let mut model = build(&file, Some(1), None).unwrap();
    let newest = outcome.folder.checkpoints(1).latest().unwrap().unwrap();
    model.load(&newest).unwrap();
    let known = &newest.meta.known;
    let schema = known.schema.clone().unwrap();
    let mut events = Events::default();
    for i in 0..400 {
        let mut draft = events.start(&schema);
        draft.set(0, Value::Number((f64::from(i % 20) + 0.5) / 20.0));
        draft.set(1, Value::Number((f64::from(i / 20) + 0.5) / 20.0));
        draft.finish();
    }
    let mut hashed = HashedColumns::new(&schema, &[]).unwrap();
    let predict = |i| {
        let (mut row, mut logits) = ([0.0; 2], Vec::new());
        let inputs = match &known.encoder {
            Some(encoder) => {
                encoder.transform(events.get(i), &mut row).unwrap();
                Inputs::Row(&row)
            }
            None => Inputs::Features(hashed.features(events.get(i)).unwrap()),
        };
        model.predict_logits(inputs, &mut logits).unwrap();
        1.0 / (1.0 + f64::from(-logits[0]).exp())
    };
    (0..events.len()).map(predict).sum::<f64>() / events.len() as f64
}

fn elec2() -> Option<Vec<Vec<String>>> {
    let root = std::env::var_os("TIDEMILL_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = root.join("electricity/elec2_8.csv.gz");
    if !path.exists() {
        eprintln!("SKIPPED: {} is absent; set TIDEMILL_DATA", path.display());
        return None;
    }
    let mut source = open(&path.display().to_string(), &OpenOptions::default()).unwrap();
    let mut rows = Vec::new();
    let mut records = Records::default();
    while source.poll(&mut records, 1 << 20, Duration::from_secs(1)).unwrap() != Poll::End {
        for record in records.iter() {
            let line = String::from_utf8_lossy(record.bytes);
            rows.push(line.trim().split(',').map(String::from).collect());
        }
        records.clear();
    }
    Some(rows)
}

#[test]
fn what_an_earlier_version_kept_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let text = recipe(NETWORK, "", "time = \"t\"\nwindow = 10");
    let from = written(folder.path(), &[event("a", 0.0), event("b", 1.0), label("a", 2.0, 1)]);
    let out = folder.path().join("run");
    let checkpoints = run(&text, &from, &out, Some(1)).folder.checkpoints(1);
    let mut newest = checkpoints.latest().unwrap().unwrap();
    let waiting = newest.tensors.iter_mut().find(|t| t.name == super::TENSOR).unwrap();
    waiting.values =
        waiting.values.bytes().unwrap().iter().map(|&b| f32::from(b)).collect::<Vec<_>>().into();
    newest.meta.state_sha256 = state_sha256(&newest.tensors).unwrap();
    checkpoints.write(&newest.meta, &newest.tensors).unwrap();
    let file = RecipeFile::parse(&text, Path::new("recipe.toml"), &[]).unwrap();
    let error = learn(file, &options(&from, &out, None), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("the tensor labels/waiting is F32, and U8 is expected"), "{error}");
    assert!(error.contains("the run was written by an earlier version; help:"), "{error}");
}

/// Half hours whose prices are known `delay` half hours later.
#[test]
fn delay_costs_accuracy_on_elec2() {
    let Some(rows) = elec2() else { return };
    let (names, rows) = rows.split_first().unwrap();
    let text = |labels: &str| {
        format!(
            "[model]\ninput = {{ features = 8 }}\nlayers = [{{ dense = {{ units = 32, activation = \
             \"tanh\" }} }}, {{ dense = {{ units = 1 }} }}]\n[training]\nloss = \
             \"binary_crossentropy\"\noptimizer = {{ sgd = {{ learning_rate = 0.1 }} }}\nseed = \
             1\n[stream]\nlabel = \"class\"\n{labels}"
        )
    };
    let inputs = |row: &[String]| -> String {
        let cells = names.iter().zip(row).take(8);
        cells.map(|(name, cell)| format!("\"{name}\":{cell}")).collect::<Vec<_>>().join(",")
    };
    let folder = tempfile::tempdir().unwrap();
    let at_once: Vec<String> =
        rows.iter().map(|r| format!("{{{},\"class\":{}}}", inputs(r), r[8])).collect();
    let from = written(folder.path(), &at_once);
    let undelayed = run(&text(""), &from, &folder.path().join("undelayed"), None);
    let figures = undelayed.summary.prequential.clone();
    println!("labels with their events: accuracy {:.4}", figures["accuracy"]);
    let mut last = f64::INFINITY;
    for delay in [0, 1, 48, 336] {
        let mut lines = Vec::new();
        for i in 0..rows.len() + delay {
            if let Some(row) = rows.get(i) {
                lines.push(format!("{{\"id\":{i},{}}}", inputs(row)));
            }
            if let Some(i) = i.checked_sub(delay) {
                lines.push(format!("{{\"id\":{i},\"class\":{}}}", rows[i][8]));
            }
        }
        let from = written(folder.path(), &lines);
        let out = folder.path().join(format!("delay-{delay}"));
        let labels = "[online.labels]\nid = \"id\"\nwindow = 2000\n";
        let outcome = run(&text(labels), &from, &out, None);
        let stream = &outcome.summary;
        let counts = stream.labels.unwrap();
        let accuracy = stream.prequential["accuracy"];
        println!(
            "delayed by {delay} half hours: accuracy {accuracy:.4}, no change {:.4}, {} joined",
            stream.prequential["no_change.accuracy"], counts.joined
        );
        assert_eq!((counts.joined, counts.pending), (rows.len() as u64, 0));
        if delay == 0 {
            assert_eq!(stream.prequential, figures);
            assert_eq!(stream.run.state_sha256, undelayed.summary.run.state_sha256);
        }
        assert!(accuracy < last);
        last = accuracy;
    }
}
