//! A table learned in batches, then as a stream, then in batches again: one encoder, one history.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};

use common::events::{kill_until_done, kills};
use common::*;

/// Pseudo-random numbers from 0 to 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f64 / (1u64 << 24) as f64
    }
}

/// A row by its columns: numbers of different size, a time, a category, an id of 64 bits, some missing.
fn row(i: usize, random: &mut Random) -> BTreeMap<&'static str, String> {
    let (a, b) = (random.next() * 2e-3, random.next() * 1e4 - 5e3);
    let kind = ["round", "square", "long"][(random.next() * 3.0) as usize];
    let user = (random.next() * 20.0) as u64;
    let score = (a * 1e3 - 1.0) + b / 5e3 + if kind == "round" { 0.8 } else { -0.4 };
    let bonus = if user.is_multiple_of(3) { 0.7 } else { -0.3 };
    let class = if score + bonus > 0.0 { "yes" } else { "no" };
    let mut row = BTreeMap::from([
        ("a", format!("{a:e}")),
        ("b", b.to_string()),
        ("when", (1_700_000_000 + 60 * i).to_string()),
        ("kind", kind.to_owned()),
        ("user", (9_007_199_254_740_993 + user).to_string()),
        ("class", class.to_owned()),
    ]);
    if i % 23 == 7 {
        row.insert(["a", "kind", "user"][i % 3], ["", "NA", "NaN"][i % 3].to_owned());
    }
    row
}

/// Writes `rows` of a table, its columns in this order.
fn table(path: &Path, columns: &[&str], rows: std::ops::Range<usize>) {
    let mut text = columns.join(",") + "\n";
    let mut random = Random(rows.start as u64);
    for i in rows {
        let row = row(i, &mut random);
        let fields: Vec<&str> = columns.iter().map(|c| row[c].as_str()).collect();
        writeln!(text, "{}", fields.join(",")).unwrap();
    }
    std::fs::write(path, text).unwrap();
}

const COLUMNS: [&str; 6] = ["a", "b", "when", "kind", "user", "class"];
const OTHER_ORDER: [&str; 6] = ["user", "class", "kind", "when", "b", "a"];

/// Tables and a recipe that names them in `folder`.
fn setup(folder: &Path) -> PathBuf {
    table(&folder.join("train.csv"), &COLUMNS, 0..3000);
    table(&folder.join("test.csv"), &OTHER_ORDER, 10_000..11_000);
    table(&folder.join("rest.csv"), &OTHER_ORDER, 3000..9000);
    let recipe = r#"[model]
input  = { features = 9 }
layers = [
  { entity_embedding = { vocabulary = [41], units = 4 } },
  { dense = { units = 16, activation = "relu" } },
  { dense = { units = 1 } },
]
[training]
loss      = "binary_crossentropy"
optimizer = { adam = { learning_rate = 1e-2 } }
metrics   = ["accuracy", "auc"]
seed      = 2
[batch]
data       = { csv = { path = "train.csv" } }
validation = { csv = { path = "test.csv" } }
batch_size = 32
epochs     = 4
[checkpoint]
every_steps = 50
[online]
checkpoint_events = 300
features.text = { dictionary = { capacity = 4 } }
features.categorical = { user = { embedding = { capacity = 40 } } }
"#;
    let path = folder.join("recipe.toml");
    std::fs::write(&path, recipe).unwrap();
    path
}

fn stream_figures(run: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(run.join("summary.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_table_goes_to_a_stream_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = setup(folder.path());
    let (run, test) = (folder.path().join("run"), folder.path().join("test.csv"));
    let trained = tidemill(&["train", text(&recipe), "--out", text(&run)]);
    assert!(trained.status.success(), "{}", stderr(&trained));
    assert!(stderr(&trained).contains("rows lack values (a: "), "{}", stderr(&trained));
    let batch = summary(&run).validation["accuracy"];
    assert!(batch > 0.94, "{batch}");
    // The stream is predicted as well as the test set from its first event on.
    let rest = folder.path().join("rest.csv");
    succeed(&["learn", text(&run), "--from", text(&rest), "--out", text(&run), "--resume"]);
    let stream = stream_figures(&run);
    assert_eq!((&stream["events"], &stream["bad_events"]), (&6000.into(), &0.into()));
    let accuracy = stream["prequential"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > batch - 0.02, "{accuracy} {batch}");
    let after = succeed(&["eval", text(&run), "--data", text(&test), "--json"]);
    let after: serde_json::Value = serde_json::from_str(&after).unwrap();
    assert!(after["figures"]["accuracy"].as_f64().unwrap() > batch - 0.02, "{after} {batch}");
    // And back: the epochs go on, the new ones on the same columns.
    succeed(&["train", text(&run), "--set", "batch.epochs=6"]);
    let epochs: Vec<_> = metrics(&run).iter().map(|line| line["epoch"].clone()).collect();
    assert_eq!(epochs, [1, 2, 3, 4, 5, 6]);
    let end = summary(&run);
    assert_eq!((end.epochs, end.samples), (6, 6 * 3000 + 6000));
    assert!(end.validation["accuracy"] > batch - 0.01, "{:?} {batch}", end.validation);
    // The run knows its columns and classes: today's files have no say.
    std::fs::write(folder.path().join("train.csv"), "x,class\n1,maybe\n").unwrap();
    let one = folder.path().join("one.csv");
    std::fs::write(&one, "kind,user,when,a,b,extra\nsquare,1,5,,7,q\nnew,,NA,0,0,r\n").unwrap();
    let printed = succeed(&["predict", text(&run), "--data", text(&one)]);
    assert_eq!(printed.lines().count(), 3, "{printed}");
    assert!(
        printed.lines().skip(1).all(|l| l.contains(",yes,") || l.contains(",no,")),
        "{printed}"
    );
    let eval = succeed(&["eval", text(&run), "--json"]);
    assert!(eval.contains(&format!("{}", end.validation["auc"])), "{eval} {:?}", end.validation);
}

#[test]
fn a_stream_goes_to_batches() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = setup(folder.path());
    let (run, rest) = (folder.path().join("run"), folder.path().join("rest.csv"));
    succeed(&["learn", text(&recipe), "--from", text(&rest), "--out", text(&run)]);
    let eval = |figure: &str| {
        let test = folder.path().join("test.csv");
        let printed = succeed(&["eval", text(&run), "--data", text(&test), "--json"]);
        serde_json::from_str::<serde_json::Value>(&printed).unwrap()["figures"][figure]
            .as_f64()
            .unwrap()
    };
    let streamed = eval("accuracy");
    assert!(streamed > 0.9, "{streamed}");
    succeed(&["train", text(&run)]);
    let trained = eval("accuracy");
    assert!(trained > streamed - 0.01 && trained > 0.94, "{trained} {streamed}");
}

/// A stream in which all labels are the other way round undoes what was learned: epochs after it are not measured by those
/// before it, whose weights are not what the run ends with.
#[test]
fn a_stream_begins_a_new_search_for_the_best_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, classes) in [("points.csv", ["in", "out"]), ("other.csv", ["out", "in"])] {
        let mut random = Random(7);
        let rows = (0..800).map(|_| {
            let (x, y) = (random.next(), random.next());
            format!("{x},{y},{}\n", classes[usize::from(x + y > 1.0)])
        });
        std::fs::write(path(name), format!("x,y,class\n{}", rows.collect::<String>())).unwrap();
    }
    let recipe = path("points.toml");
    succeed(&["init", text(&path("points.csv")), "--out", text(&recipe)]);
    let train = |from: &Path, out: &str, epochs: &str| {
        let (out, epochs) = (path(out), format!("batch.epochs={epochs}"));
        let more = ["--set", &epochs, "--set", "stop.patience.epochs=3"];
        let all = ["train", text(from), "--out", text(&out)];
        let output = tidemill(&[&all[..], &more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        (stderr(&output), metrics(&out), summary(&out).validation)
    };
    let (said, ..) = train(&recipe, "first", "6");
    assert!(said.contains("restore_best: the run ends with the weights of epoch "), "{said}");
    let streamed = path("streamed");
    let other = path("other.csv");
    succeed(&["learn", text(&path("first")), "--from", text(&other), "--out", text(&streamed)]);
    // Nothing is left to do, so that no epoch is the best one.
    let (said, ..) = train(&streamed, "none", "6");
    assert!(!said.contains("restore_best"), "{said}");
    let (said, epochs, end) = train(&streamed, "second", "16");
    let after: Vec<f64> =
        epochs[6..].iter().map(|e| e["validation"]["loss"].as_f64().unwrap()).collect();
    assert!(after.len() > 4, "patience counts from the stream on: {after:?}");
    let best = after.iter().copied().fold(f64::MAX, f64::min);
    assert!(
        (end["loss"] - best).abs() < 1e-6 && said.contains("restore_best"),
        "{end:?} {after:?}"
    );
}

/// Values that a stream has scaled are learned from and told in their own units in batches, too.
#[test]
fn scaled_targets_keep_their_units() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(9);
    let mut text_of = |rows: usize| {
        let mut table = "x,y\n".to_string();
        for _ in 0..rows {
            let x = random.next();
            let noise = 100.0 * (random.next() - 0.5);
            writeln!(table, "{x},{}", 5e6 + 3e3 * x + noise).unwrap();
        }
        table
    };
    for (name, rows) in [("stream.csv", 3000), ("train.csv", 600), ("test.csv", 200)] {
        std::fs::write(folder.path().join(name), text_of(rows)).unwrap();
    }
    let recipe = folder.path().join("recipe.toml");
    let lines = r#"model = { input = { features = 1 }, layers = [{ dense = { units = 1 } }] }
[training]
loss      = "mse"
optimizer = { adam = { learning_rate = 1e-2 } }
metrics   = ["mae", "mse", "r2"]
[batch]
data       = { csv = { path = "train.csv" } }
validation = { csv = { path = "test.csv" } }
"#;
    std::fs::write(&recipe, lines).unwrap();
    let (run, test) = (folder.path().join("run"), folder.path().join("test.csv"));
    let from = folder.path().join("stream.csv");
    succeed(&["learn", text(&recipe), "--from", text(&from), "--out", text(&run)]);
    succeed(&["train", text(&run), "--set", "batch.epochs=3"]);
    let figures = summary(&run).validation;
    // Of a deviation of 866, by a model that has seen its like.
    assert!(figures["mae"] > 1.0 && figures["mae"] < 200.0, "{figures:?}");
    let unit = (figures["mse"] / figures["loss"]).sqrt();
    assert!((800.0..930.0).contains(&unit) && figures["r2"] > 0.9, "{figures:?}");
    let printed = succeed(&["predict", text(&run), "--data", text(&test)]);
    let value: f64 = printed.lines().nth(1).unwrap().rsplit(',').next().unwrap().parse().unwrap();
    assert!((5e6..5.004e6).contains(&value), "{printed}");
}

#[test]
fn kills_on_the_way_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = setup(folder.path());
    let rest = folder.path().join("rest.csv");
    let steps = [
        vec!["train", text(&recipe)],
        vec!["learn", text(&recipe), "--from", text(&rest)],
        vec!["train", text(&recipe), "--set", "batch.epochs=6"],
    ];
    let whole = folder.path().join("whole");
    let mut times = Vec::new();
    for step in &steps {
        let start = std::time::Instant::now();
        succeed(&[&step[..], &["--out", text(&whole), "--resume"]].concat());
        times.push(start.elapsed().as_secs_f64());
    }
    let want = summary(&whole).state_sha256;
    let (mut killed, mut round) = (0, 0);
    while killed < kills(9) {
        let run = folder.path().join(format!("run-{round}"));
        for (step, time) in steps.iter().zip(&times) {
            killed += kill_until_done(step, &run, 3, *time);
        }
        assert_eq!(summary(&run).state_sha256, want, "round {round}");
        round += 1;
    }
    println!("{killed} kills over {round} runs");
}

/// The census of `recipes/adult.toml`: its first 30,000 rows in batches, the others as a stream, then
/// batches again.
#[test]
fn the_census_both_ways() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let data = std::env::var_os("TIDEMILL_DATA")
        .map_or_else(|| root.join("../shared/data"), PathBuf::from);
    let Ok(file) = std::fs::File::open(data.join("adult_census/adult.data.gz")) else {
        eprintln!("SKIPPED: {} has no adult_census; set TIDEMILL_DATA", data.display());
        return;
    };
    let mut all = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut all).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let rest = folder.path().join("rest.data");
    let lines: Vec<&str> = all.lines().filter(|l| !l.is_empty()).collect();
    std::fs::write(&rest, lines[30_000..].join("\n") + "\n").unwrap();
    let (recipe, run) = (root.join("recipes/adult.toml"), folder.path().join("run"));
    let go = |arguments: &[&str]| {
        let mut command = command(&[arguments, &["--out", text(&run), "--resume"]].concat());
        let output = command.env("TIDEMILL_DATA", &data).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    };
    go(&["train", text(&recipe), "--set", "batch.data.csv.limit=30000"]);
    let batch = summary(&run).validation;
    go(&["learn", text(&recipe), "--from", text(&rest)]);
    let stream = stream_figures(&run);
    assert_eq!((&stream["events"], &stream["bad_events"]), (&2561.into(), &0.into()));
    assert!(stream["prequential"]["accuracy"].as_f64().unwrap() > 0.85, "{stream}");
    go(&["train", text(&recipe), "--set", "batch.data.csv.limit=30000", "--set", "batch.epochs=6"]);
    let end = summary(&run);
    assert_eq!(metrics(&run).len(), 6);
    assert_eq!(end.samples, 6 * 30_000 + 2561);
    println!("{batch:?}\n{}\n{:?}", stream["prequential"], end.validation);
    for figures in [batch, end.validation] {
        assert!(figures["accuracy"] >= 0.85 && figures["auc"] >= 0.905, "{figures:?}");
    }
}
