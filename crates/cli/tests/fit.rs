//! What people expect of training on stored data beside the training itself: logs for other programs, spikes of the loss rolled back,
//! the best checkpoints kept, rare classes.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;

/// The lines of `steps.jsonl` without the time.
fn steps(run: &Path) -> Vec<serde_json::Value> {
    let lines = std::fs::read_to_string(run.join("steps.jsonl")).unwrap();
    let line = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("wall_seconds").unwrap();
        value
    };
    lines.lines().map(line).collect()
}

/// `metrics.csv` without its column of the time.
fn table(run: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(run.join("metrics.csv")).unwrap();
    let row = |line: &str| {
        let fields = line.split(',').enumerate().filter(|(i, _)| *i != 4);
        fields.map(|(_, field)| field.to_owned()).collect()
    };
    text.lines().map(row).collect()
}

/// A record of TensorBoard's file without its time (the first field, a double) and sums: what must be equal.
fn records(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let (mut at, mut found) = (0, Vec::new());
    while at < bytes.len() {
        let len = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        found.push(bytes[at + 12 + 9..at + 12 + len].to_vec());
        at += len + 16;
    }
    found
}

const LOG: &str =
    "[log]\nevery_steps = 4\ncsv = true\ntensorboard = true\nhistograms = 2\nimages = 2\n";

fn events(run: &Path, side: &str) -> PathBuf {
    run.join("tensorboard").join(side).join("events.out.tfevents.0000000000.tidemill")
}

#[test]
fn logs_continue_where_the_checkpoint_was() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, LOG);
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    train(&recipe, &whole, &[]);
    // Ends within an epoch and within four steps; lines after the checkpoint are those of a killed run.
    train(&recipe, &cut, &["--set", "stop.steps=21"]);
    for file in ["steps.jsonl", "metrics.csv"]
        .map(|name| cut.join(name))
        .into_iter()
        .chain([events(&cut, "train")])
    {
        let mut bytes = std::fs::read(&file).unwrap();
        bytes.extend(b"what was written after the checkpoint");
        std::fs::write(&file, bytes).unwrap();
    }
    train(&recipe, &cut, &["--resume"]);
    assert_eq!(summary(&cut).state_sha256, summary(&whole).state_sha256);
    assert_eq!(steps(&cut), steps(&whole));
    assert_eq!(steps(&whole).len() as u64, summary(&whole).steps / 4);
    assert_eq!(table(&cut), table(&whole));
    assert_eq!(
        table(&whole)[0][4..],
        ["train.accuracy", "train.loss", "validation.accuracy", "validation.loss"]
    );
    assert_eq!(table(&whole).len(), 5);
    for side in ["train", "validation"] {
        // The recipe, which is written at the start, has other values of `stop`.
        let equal = |run: &Path| records(&events(run, side)).split_off(2);
        assert_eq!(equal(&cut), equal(&whole));
    }
    // Events that are wanted later have the epochs before, and a log that is gone is begun again.
    std::fs::remove_dir_all(cut.join("tensorboard")).unwrap();
    train(&recipe, &cut, &["--resume", "--set", "batch.epochs=5"]);
    assert_eq!(records(&events(&cut, "validation")).len(), 1 + 2 * 5);
}

/// Reads a run's events with TensorBoard's own reader.
const READER: &str = r#"
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
for side in ("train", "validation"):
    a = EventAccumulator(f"{sys.argv[1]}/tensorboard/{side}", size_guidance={"scalars": 0, "histograms": 0, "images": 0, "tensors": 0})
    a.Reload()
    for tag in sorted(a.Tags()["scalars"]):
        print(side, tag, *(f"{e.step}:{e.value:.6g}" for e in a.Scalars(tag)))
    for tag in sorted(a.Tags()["histograms"]):
        h = a.Histograms(tag)
        print(side, tag, *(f"{e.step}:{e.histogram_value.num:g}" for e in h))
    for tag in sorted(a.Tags()["images"]):
        i = a.Images(tag)[0]
        print(side, tag, f"{i.width}x{i.height}")
    for tag in a.Tags()["tensors"]:
        print(side, tag, "[model]" in a.Tensors(tag)[0].tensor_proto.string_val[0].decode())
"#;

#[test]
fn tensorboard_reads_the_events() {
    let python = std::env::var("TIDEMILL_PYTHON").unwrap_or_else(|_| "python3".into());
    let there = Command::new(&python).args(["-c", "import tensorboard"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {python} has no module tensorboard");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(&recipe(folder.path(), MLP, LOG), &run, &[]);
    let read = Command::new(&python).args(["-c", READER, text(&run)]).output().unwrap();
    let said = String::from_utf8(read.stdout).unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let line = |start: &str| {
        said.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{start}: {said}"))
    };
    let (last, lines) = (metrics(&run).pop().unwrap(), steps(&run));
    let loss = last["validation"]["loss"].as_f64().unwrap() as f32;
    let value: f32 = line("validation epoch_loss ").rsplit_once("4:").unwrap().1.parse().unwrap();
    assert!((value - loss).abs() < 1e-4 * loss, "{value} {loss}");
    assert_eq!(line("train batch_loss ").split(' ').count(), 2 + lines.len());
    assert_eq!(
        line("train epoch_learning_rate "),
        "train epoch_learning_rate 1:0.002 2:0.002 3:0.002 4:0.002"
    );
    assert_eq!(
        line("train layers.1.dense.kernel/histogram"),
        "train layers.1.dense.kernel/histogram 2:6144 4:6144"
    );
    assert_eq!(line("train data/1"), "train data/1 16x16");
    assert_eq!(line("train recipe"), "train recipe True");
}

/// Two columns and a value; row 300 has a target or an input that no step recovers from.
fn outlier(folder: &Path, input: &str, target: &str) -> PathBuf {
    let mut text = "a,b,y\n".to_owned();
    let mut next = random();
    for i in 0..400 {
        let (a, b) = (next(1000) as f64 / 500.0 - 1.0, next(1000) as f64 / 500.0 - 1.0);
        let y = if i == 300 {
            target.to_owned()
        } else {
            format!("{:.4}", a - 0.5 * b + 0.05 * next(10) as f64)
        };
        let a = if i == 300 { input.to_owned() } else { a.to_string() };
        text += &format!("{a},{b},{y}\n");
    }
    std::fs::write(folder.join("t.csv"), text).unwrap();
    let path = folder.join("spike.toml");
    let recipe = r#"[model]
input = { features = 2 }
layers = [{ dense = { units = 16, activation = "relu" } }, { dense = { units = 1 } }]
[training]
loss = "mse"
optimizer = { sgd = { learning_rate = 0.05, momentum = 0.9 } }
spikes = { window = 20, every = 10 }
[batch]
data = { csv = { path = "t.csv", label = "y", standardize = false } }
batch_size = 8
epochs = 3
shuffle = false
"#;
    std::fs::write(&path, recipe).unwrap();
    path
}

#[test]
fn a_spike_is_rolled_back_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    for (name, input, target) in [("finite", "0.5", "1e6"), ("infinite", "1e19", "-1e19")] {
        let recipe = outlier(folder.path(), input, target);
        let run = folder.path().join(name);
        let said = train(&recipe, &run, &[]);
        // Row 300 is in step 38 of each epoch of 50; the state of step 30 of that epoch comes back.
        for (step, back) in [(38, 30), (88, 80), (138, 130)] {
            assert!(said.contains(&format!("at step {step}")), "{said}");
            assert!(said.contains(&format!("the weights of step {back} are back")), "{said}");
        }
        let found: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(run.join("summary.json")).unwrap())
                .unwrap();
        assert_eq!((&found["rollbacks"], &found["steps_lost"]), (&3.into(), &24.into()));
        // The same after a resume between the state that is kept and the spike.
        let cut = folder.path().join(format!("{name}-cut"));
        for stop in ["35", "84", "1000"] {
            train(&recipe, &cut, &["--resume", "--set", &format!("stop.steps={stop}")]);
        }
        assert_eq!(summary(&cut).state_sha256, summary(&run).state_sha256);
    }
    // A model that cannot be saved ends, with the reason.
    let recipe = outlier(folder.path(), "1", "1");
    let output = tidemill(&[
        "train",
        text(&recipe),
        "--out",
        text(&folder.path().join("hopeless")),
        "--set",
        "training.optimizer.sgd.learning_rate=1e30",
    ]);
    assert!(
        stderr(&output).contains("rolled back to step 0 3 times (training.spikes.most)"),
        "{output:?}"
    );
    let wrong = tidemill(&["train", text(&recipe), "--set", "training.spikes.every=0"]);
    assert!(stderr(&wrong).contains("must be a positive integer"), "{wrong:?}");
}

#[test]
fn workers_take_part_in_a_rollback() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = outlier(folder.path(), "1", "1e6");
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let shards = ["--set", "training.shards=4"];
    train(&recipe, &one, &shards);
    let output = tidemill(
        &[
            &["train", text(&recipe), "--out", text(&two), "--workers", "2", "--threads", "1"][..],
            &shards,
        ]
        .concat(),
    );
    assert!(stderr(&output).contains("the weights of step 30 are back"), "{output:?}");
    assert_eq!(summary(&two).state_sha256, summary(&one).state_sha256);
}

#[test]
fn rare_classes_come_as_often_as_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut next = random();
    let mut text = "a,b,y\n".to_owned();
    for i in 0..300 {
        let rare = i % 30 == 0;
        let a = next(1000) as f64 / 1000.0 + if rare { 0.3 } else { 0.0 };
        text += &format!("{a},{},{}\n", next(100), if rare { "rare" } else { "usual" });
    }
    std::fs::write(folder.path().join("t.csv"), text).unwrap();
    let path = folder.path().join("rare.toml");
    let recipe = r#"[model]
input = { features = 2 }
layers = [{ dense = { units = 16, activation = "relu" } }, { dense = { units = 2 } }]
[training]
loss = "sparse_categorical_crossentropy"
optimizer = { adam = { learning_rate = 0.01 } }
metrics = ["accuracy", "recall"]
[batch]
data = { csv = { path = "t.csv", label = "y" } }
batch_size = 10
epochs = 10
balanced = true
"#;
    std::fs::write(&path, recipe).unwrap();
    let (run, cut) = (folder.path().join("run"), folder.path().join("cut"));
    let said = train(&path, &run, &[]);
    assert!(
        said.contains("about 150 samples of each of 2 classes, which have 10 to 290"),
        "{said}"
    );
    for more in [&["--set", "stop.steps=77"][..], &["--resume"]] {
        train(&path, &cut, more);
    }
    assert_eq!(summary(&cut).state_sha256, summary(&run).state_sha256);
    assert_eq!((summary(&run).steps, summary(&run).samples), (300, 3000));
    // Without it, a model that says "usual" of all is right in 29 of 30.
    let recall = |run: &Path| metrics(run).pop().unwrap()["train"]["recall"].as_f64().unwrap();
    let plain = folder.path().join("plain");
    train(&path, &plain, &["--set", "batch.balanced=false"]);
    assert!(recall(&run) > recall(&plain) + 0.05, "{} {}", recall(&run), recall(&plain));
    let wrong = tidemill(&["train", common::text(&path), "--set", "batch.shuffle=false"]);
    assert!(stderr(&wrong).contains("batch.balanced has no meaning with"), "{wrong:?}");
}

#[test]
fn the_best_checkpoints_stay() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(
        folder.path(),
        MLP,
        "[checkpoint]\nkeep = 1\nkeep_best = 3\nbest = \"validation.loss\"\n",
    );
    let run = folder.path().join("run");
    train(&recipe, &run, &["--set", "batch.epochs=6"]);
    let mut epochs: Vec<(f64, String)> = metrics(&run)
        .iter()
        .map(|m| (m["validation"]["loss"].as_f64().unwrap(), m["step"].to_string()))
        .collect();
    let last = epochs.last().unwrap().1.clone();
    epochs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut wanted: Vec<String> = epochs.into_iter().take(3).map(|(_, step)| step).collect();
    if !wanted.contains(&last) {
        wanted.push(last);
    }
    let entries = std::fs::read_dir(run.join("checkpoints")).unwrap();
    let mut found: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.parse::<u64>().is_ok())
        .collect();
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
}

#[test]
fn a_checkpoint_is_written_by_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "[checkpoint]\nevery_minutes = 1e-9\nkeep = 1000\n");
    let run = folder.path().join("run");
    train(&recipe, &run, &["--set", "batch.epochs=1", "--set", "stop.steps=5"]);
    for step in 1..=5 {
        assert!(run.join("checkpoints").join(step.to_string()).is_dir(), "{step}");
    }
}

#[test]
fn keys_of_the_log_without_effect_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    for (set, what) in [
        ("log.images=3", "without log.tensorboard"),
        ("log.every_steps=0", "must be a positive integer"),
        ("checkpoint.every_minutes=-1", "must be above 0"),
    ] {
        let output = tidemill(&[
            "train",
            text(&recipe),
            "--out",
            text(&folder.path().join("x")),
            "--set",
            set,
        ]);
        assert!(stderr(&output).contains(what), "{output:?}");
    }
}
