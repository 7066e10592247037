//! Continuing runs: what differs is said before anything is done, one process writes a run at a time,
//! and the weights used are those that were asked for.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::*;

/// A table of six numbers and a class that the first of them says; `seed` makes others.
fn table(path: &Path, rows: u64, seed: u64) {
    let mut text = "a,b,c,d,e,f,y\n".to_owned();
    for i in 0..rows {
        let value = |k: u64| ((i + 1) * (k * 37 + 11 + seed) * 7919 % 1009) as f64 / 504.5 - 1.0;
        let values: Vec<String> = (0..6).map(|k| format!("{:.3}", value(k))).collect();
        // Some labels are wrong, so that there is something to learn by heart.
        let class = (value(0) + value(1) > 0.0) != (i % 5 == 3);
        text += &format!("{},{}\n", values.join(","), u8::from(class));
    }
    std::fs::write(path, text).unwrap();
}

/// A folder with a recipe over two tables.
struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new(optimizer: &str, batch: &str) -> Case {
        let folder = tempfile::tempdir().unwrap();
        table(&folder.path().join("t.csv"), 40, 0);
        table(&folder.path().join("v.csv"), 30, 5);
        let text = format!(
            r#"[model]
input = {{ features = 6 }}
layers = [{{ dense = {{ units = 32, activation = "relu" }} }}, {{ dense = {{ units = 2 }} }}]
[training]
loss = "sparse_categorical_crossentropy"
optimizer = {optimizer}
[batch]
batch_size = 8
data = {{ csv = {{ path = "t.csv", label = "y" }} }}
validation = {{ csv = {{ path = "v.csv", label = "y" }} }}
{batch}
"#
        );
        std::fs::write(folder.path().join("p.toml"), text).unwrap();
        Case { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Trains into a folder; gives status and what was said.
    fn train(&self, run: &str, more: &[&str]) -> (Option<i32>, String) {
        let (recipe, run) = (self.path("p.toml"), self.path(run));
        let arguments = ["train", text(&recipe), "--out", text(&run)];
        let output = tidemill(&[&arguments[..], more].concat());
        (output.status.code(), stderr(&output))
    }

    fn figures(&self, run: &str, more: &[&str]) -> serde_json::Value {
        let run = self.path(run);
        let printed = succeed(&[&["eval", text(&run), "--json"][..], more].concat());
        serde_json::from_str(&printed).unwrap()
    }

    /// Changes a byte of the checkpoint that a pointer names.
    fn damage(&self, run: &str, pointer: &str) {
        let name = std::fs::read_to_string(self.path(run).join("checkpoints").join(pointer));
        self.damage_step(run, &name.unwrap());
    }

    fn damage_step(&self, run: &str, name: &str) {
        let state = self.path(run).join("checkpoints").join(name).join("state.safetensors");
        let mut bytes = std::fs::read(&state).unwrap();
        let last = bytes.len() - 100;
        bytes[last] ^= 1;
        std::fs::write(state, bytes).unwrap();
    }
}

const SGD: &str = "{ sgd = { learning_rate = 0.5 } }";

#[test]
fn the_best_weights_are_restored_also_where_the_epochs_ran_out() {
    let case =
        Case::new(SGD, "epochs = 30\n[stop]\npatience = { epochs = 100, restore_best = true }");
    let (status, notes) = case.train("run", &[]);
    assert!(status == Some(0) && notes.contains("restore_best: the run ends with"), "{notes}");
    let (last, best) = (case.figures("run", &[]), case.figures("run", &["--best"]));
    assert_eq!(last, best);
    let run = case.path("run");
    let best_of_all =
        metrics(&run).iter().map(|e| e["validation"]["loss"].as_f64().unwrap()).fold(9.0, f64::min);
    let found = last["figures"]["loss"].as_f64().unwrap();
    assert!((found - best_of_all).abs() < 1e-12, "{found} {best_of_all}");
    assert!((summary(&run).validation["loss"] - best_of_all).abs() < 1e-12);
    assert!(last["step"].as_u64().unwrap() < 150, "{last}");
    // The run continues from its last step all the same.
    let (_, notes) = case.train("run", &["--resume", "--set", "batch.epochs=31"]);
    assert!(notes.contains("continuing from step 150 (epoch 31)"), "{notes}");
}

#[test]
fn a_run_that_patience_ended_says_so_when_it_is_resumed() {
    let case =
        Case::new(SGD, "epochs = 60\nvalidation_every = 4\n[stop]\npatience = { epochs = 4 }");
    case.train("run", &[]);
    let found = summary(&case.path("run"));
    assert_eq!(found.stopped_by, "patience");
    let measured: Vec<(u64, f64)> = metrics(&case.path("run"))
        .iter()
        .filter_map(|e| Some((e["epoch"].as_u64()?, e["validation"]["loss"].as_f64()?)))
        .collect();
    // Four epochs after the best one, and not four measurements.
    let best = measured.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
    assert_eq!(found.epochs, best + 4, "{measured:?}");
    let (status, notes) = case.train("run", &["--resume"]);
    let want = format!(
        "nothing is left to do after step {} (epoch {}): patience has run out: set stop.patience.epochs",
        found.steps, found.epochs
    );
    assert!(status == Some(0) && notes.contains(&want), "{notes}");
    let (_, notes) = case.train("run", &["--resume", "--set", "stop.patience.epochs=8"]);
    assert!(notes.contains("continuing from step"), "{notes}");
}

#[test]
fn a_damaged_checkpoint_that_is_asked_for_is_an_error() {
    let case = Case::new(SGD, "epochs = 30");
    case.train("run", &[]);
    case.damage("run", "best");
    let run = case.path("run");
    let (rows, stream) = (case.path("v.csv"), case.path("other"));
    let uses = [
        vec!["eval", text(&run), "--best"],
        vec!["predict", text(&run), "--best", "--data", text(&rows)],
    ];
    for arguments in uses {
        let output = tidemill(&arguments);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("does not match its SHA-256"), "{error}");
        assert!(error.contains("It is the run's best one; good are 145, 150: choose"), "{error}");
    }
    assert_eq!(case.figures("run", &[])["step"], 150);
    case.damage("run", "latest");
    case.damage_step("run", "145");
    let learn = ["learn", text(&run), "--from", text(&rows), "--out", text(&stream)];
    for arguments in [&["eval", text(&run)][..], &learn] {
        let output = tidemill(arguments);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("latest one; no other one is good"), "{error}");
    }
    // Nor does training begin again over it, here or in another folder.
    let (other, kept) = (case.path("more"), run.join("metrics.jsonl"));
    let before = std::fs::read(&kept).unwrap();
    for more in [&["--resume"][..], &[]] {
        let (status, error) = match more {
            [] => {
                let output = tidemill(&["train", text(&run), "--out", text(&other)]);
                (output.status.code(), stderr(&output))
            }
            more => case.train("run", more),
        };
        assert_eq!(status, Some(2), "{error}");
        assert!(error.contains("no checkpoint is good") && error.contains("--force"), "{error}");
        assert!(error.contains("checkpoints/150: state.safetensors does not match"), "{error}");
    }
    assert_eq!(std::fs::read(&kept).unwrap(), before);
}

/// A resume says what it continues from instead; whoever uses the weights has to choose.
#[test]
fn the_one_before_a_damaged_checkpoint_is_used_when_that_is_said() {
    let case = Case::new(SGD, "epochs = 6");
    case.train("run", &[]);
    let want = (summary(&case.path("run")).state_sha256, metrics(&case.path("run")));
    case.damage("run", "latest");
    let run = case.path("run");
    let rows = case.path("v.csv");
    let to = case.path("stream");
    let learn = ["learn", text(&run), "--from", text(&rows), "--out", text(&to)];
    let predict = ["predict", text(&run), "--data", text(&rows)];
    for arguments in [&["eval", text(&run)][..], &predict, &learn] {
        let error = stderr(&tidemill(arguments));
        assert!(error.contains("good are 20, 25: choose one with --checkpoint"), "{error}");
        let output = tidemill(&[arguments, &["--checkpoint", "25"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stderr(&output).contains("checkpoints/25"), "{}", stderr(&output));
        let _ = std::fs::remove_dir_all(&to);
        let output = tidemill(&[arguments, &["--checkpoint", "26"]].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("step 26; there are 20, 25, 30"), "{}", stderr(&output));
    }
    let (status, notes) = case.train("run", &["--resume"]);
    assert_eq!(status, Some(0), "{notes}");
    for part in
        ["a damaged checkpoint: ", "kept as ", ".damaged-30; the run continues from the one before"]
    {
        assert!(notes.contains(part), "{notes}");
    }
    assert_eq!((summary(&run).state_sha256, metrics(&run)), want);
    assert!(run.join("checkpoints/.damaged-30").is_dir());
}

#[test]
fn a_longer_run_says_what_it_does_to_the_schedule() {
    let case =
        Case::new("{ sgd = { learning_rate = { one_cycle = { max = 0.5 } } } }", "epochs = 4");
    case.train("run", &[]);
    let (status, notes) = case.train("run", &["--resume", "--set", "batch.epochs=8"]);
    let want =
        "schedule spans the whole run, which has 40 steps now and had 20: the rate of step 21 is ";
    assert!(status == Some(0) && notes.contains(want) && notes.contains("total_steps"), "{notes}");
    // A schedule of a fixed length, or a rate that is one number, is no matter.
    let case = Case::new(SGD, "epochs = 4");
    case.train("run", &[]);
    let (_, notes) = case.train("run", &["--resume", "--set", "batch.epochs=8"]);
    assert!(!notes.contains("schedule"), "{notes}");
}

#[test]
fn tables_that_changed_keep_their_meaning_and_are_told() {
    let case = Case::new(SGD, "epochs = 2");
    case.train("run", &[]);
    let known = |run: &str| {
        let newest = std::fs::read_to_string(case.path(run).join("checkpoints/latest")).unwrap();
        let meta = case.path(run).join("checkpoints").join(newest).join("meta.json");
        let meta: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(meta).unwrap()).unwrap();
        meta["known"].clone()
    };
    let before = known("run");
    table(&case.path("t.csv"), 40, 9);
    let (status, notes) = case.train("run", &["--resume", "--set", "batch.epochs=3"]);
    assert_eq!(status, Some(0), "{notes}");
    assert!(
        notes.contains("batch.data has changed since this checkpoint (as many samples"),
        "{notes}"
    );
    assert_eq!(known("run"), before);
    // More rows: epochs are longer from here on, and numbered on.
    table(&case.path("t.csv"), 60, 9);
    let (status, notes) = case.train("run", &["--resume", "--set", "batch.epochs=5"]);
    assert_eq!(status, Some(0), "{notes}");
    assert!(notes.contains("batch.data has 60 samples and had 40"), "{notes}");
    let found = summary(&case.path("run"));
    assert_eq!((found.epochs, found.steps), (5, 3 * 5 + 2 * 8));
    let scale = "batch.data.csv.standardize=false";
    let (_, notes) = case.train("run", &["--resume", "--set", "batch.epochs=6", "--set", scale]);
    assert!(notes.contains("the options of batch.data have changed"), "{notes}");
    let (_, notes) = case.train("run", &["--resume", "--set", "training.seed=7", "--set", scale]);
    assert!(
        notes.contains("the recipe has changed since this checkpoint in training.seed"),
        "{notes}"
    );
}

fn images(folder: &Path, classes: &[&str], each: usize) {
    for (i, class) in classes.iter().enumerate() {
        std::fs::create_dir_all(folder.join(class)).unwrap();
        let from = digits().join("digits/train").join(i.to_string());
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(from).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        for (n, file) in files.iter().take(each).enumerate() {
            std::fs::copy(file, folder.join(class).join(format!("{n}.png"))).unwrap();
        }
    }
}

fn image_case() -> Case {
    let case = Case::new(SGD, "");
    let data = case.path("d");
    images(&data, &["cat", "dog"], 8);
    let text = format!(
        r#"[model]
input = {{ image = {{ height = 8, width = 8, channels = 1 }} }}
layers = [{{ flatten = {{}} }}, {{ dense = {{ units = 2 }} }}]
[training]
loss = "sparse_categorical_crossentropy"
optimizer = {{ sgd = {{ learning_rate = 0.01 }} }}
[batch]
batch_size = 4
epochs = 3
data = {{ image_directory = {{ path = {data:?} }} }}
"#
    );
    std::fs::write(case.path("p.toml"), text).unwrap();
    case
}

#[test]
fn classes_that_changed_places_are_an_error() {
    let case = image_case();
    case.train("run", &[]);
    std::fs::rename(case.path("d/cat"), case.path("d/zcat")).unwrap();
    let more = ["--resume", "--set", "batch.epochs=4"];
    let (status, error) = case.train("run", &more);
    assert_eq!(status, Some(2), "{error}");
    for part in [
        "class 0 was \"cat\" and is \"dog\", class 1 was \"dog\" and is \"zcat\"",
        "class_names",
        "--force",
    ] {
        assert!(error.contains(part), "{error}");
    }
    // The run is as it was, and continues where the order is said.
    assert_eq!(summary(&case.path("run")).epochs, 3);
    let names = "batch.data.image_directory.class_names=[\"zcat\", \"dog\"]";
    let (status, notes) = case.train("run", &[&more[..], &["--set", names]].concat());
    assert!(status == Some(0) && notes.contains("as class_names says"), "{notes}");
}

#[test]
fn folders_that_grew_and_shrank_are_told() {
    let case = image_case();
    case.train("run", &[]);
    let data = case.path("d");
    for n in 0..9 {
        std::fs::copy(data.join("cat/0.png"), data.join(format!("cat/more{n}.png"))).unwrap();
    }
    let (status, notes) = case.train("run", &["--resume", "--set", "batch.epochs=6"]);
    assert!(status == Some(0) && notes.contains("batch.data has 25 samples and had 16"), "{notes}");
    let epochs = |case: &Case| -> Vec<u64> {
        metrics(&case.path("run")).iter().map(|e| e["epoch"].as_u64().unwrap()).collect()
    };
    assert_eq!(epochs(&case), [1, 2, 3, 4, 5, 6]);
    assert_eq!(summary(&case.path("run")).samples, 3 * 16 + 3 * 25);
    for n in 0..9 {
        std::fs::remove_file(data.join(format!("cat/more{n}.png"))).unwrap();
    }
    let (_, notes) = case.train("run", &["--resume", "--set", "batch.epochs=7"]);
    assert!(notes.contains("batch.data has 16 samples and had 25"), "{notes}");
    assert_eq!(epochs(&case), [1, 2, 3, 4, 5, 6, 7]);
    // In the middle of an epoch: it begins again.
    let (_, notes) =
        case.train("run", &["--resume", "--set", "batch.epochs=9", "--set", "stop.steps=39"]);
    assert!(!notes.contains("begins again"), "{notes}");
    std::fs::remove_file(data.join("dog/7.png")).unwrap();
    let (status, notes) =
        case.train("run", &["--resume", "--set", "batch.epochs=9", "--set", "batch.batch_size=3"]);
    assert!(status == Some(0) && notes.contains("begins again"), "{notes}");
    assert_eq!(epochs(&case), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn one_process_writes_a_run() {
    let case = Case::new(SGD, "epochs = 1000000");
    let (recipe, run) = (case.path("p.toml"), case.path("run"));
    let mut first = command(&["train", text(&recipe), "--out", text(&run)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !run.join("checkpoints/latest").exists() {
        assert!(first.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let rows = case.path("v.csv");
    let want = format!("process {} is writing this run", first.id());
    let second = [
        vec!["train", text(&recipe), "--out", text(&run), "--resume"],
        vec!["train", text(&recipe), "--out", text(&run), "--force"],
        vec!["learn", text(&recipe), "--out", text(&run), "--resume", "--from", text(&rows)],
    ];
    for arguments in second {
        let output = tidemill(&arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).contains(&want), "{}", stderr(&output));
    }
    // It may be read all the same.
    succeed(&["eval", text(&run)]);
    first.kill().unwrap();
    first.wait().unwrap();
    // What a dead process held is free.
    let (status, notes) = case.train("run", &["--resume", "--set", "batch.epochs=1"]);
    assert!(status == Some(0) && notes.contains("nothing is left to do"), "{notes}");
}

#[test]
fn folders_that_are_no_runs_and_starts_that_failed() {
    let case = Case::new(SGD, "epochs = 2");
    std::fs::create_dir(case.path("thesis")).unwrap();
    std::fs::write(case.path("thesis/chapter.tex"), "x").unwrap();
    for more in [&[][..], &["--resume"], &["--force"]] {
        let (status, error) = case.train("thesis", more);
        assert!(status == Some(2) && error.contains("is not empty and holds no run"), "{error}");
    }
    assert_eq!(std::fs::read_dir(case.path("thesis")).unwrap().count(), 1);
    // A start whose first step fails, since the rate makes the loss infinite.
    let (status, error) =
        case.train("run", &["--set", "training.optimizer.sgd.learning_rate=1e38"]);
    assert_eq!(status, Some(1), "{error}");
    let (status, error) = case.train("run", &[]);
    assert_eq!(status, Some(0), "{error}");
    // Now it holds something.
    let (status, error) = case.train("run", &[]);
    assert!(status == Some(2) && error.contains("holds a run already"), "{error}");
}

#[test]
fn a_run_is_continued_in_another_folder() {
    let case = Case::new(SGD, "epochs = 3");
    case.train("run", &[]);
    let (run, new) = (case.path("run"), case.path("new"));
    let before = summary(&run);
    let more = ["--set", "batch.epochs=6"];
    let output = tidemill(&[&["train", text(&run), "--out", text(&new)][..], &more].concat());
    assert!(stderr(&output).contains("continuing from step 15 (epoch 4)"), "{}", stderr(&output));
    let (there, here) = (summary(&new), summary(&run));
    assert_eq!((there.epochs, there.steps), (6, 30));
    assert_eq!(here.state_sha256, before.state_sha256);
    case.train("whole", &more);
    assert_eq!(there.state_sha256, summary(&case.path("whole")).state_sha256);
    assert_eq!(metrics(&new).len(), 6);
    case.figures("new", &["--best"]);
}

#[test]
fn a_table_that_a_stream_was_learned_after_has_not_changed() {
    let case = Case::new(SGD, "epochs = 2");
    case.train("run", &[]);
    let (run, rows, stream) = (case.path("run"), case.path("v.csv"), case.path("run-stream"));
    succeed(&["learn", text(&run), "--from", text(&rows)]);
    let train = |epochs: &str| {
        let output =
            tidemill(&["train", text(&stream), "--set", &format!("batch.epochs={epochs}")]);
        assert!(output.status.success(), "{output:?}");
        stderr(&output)
    };
    let notes = train("3");
    assert!(!notes.contains("has changed"), "{notes}");
    table(&case.path("t.csv"), 40, 9);
    let notes = train("4");
    assert!(notes.contains("batch.data has changed since this checkpoint"), "{notes}");
}
