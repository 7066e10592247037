//! Whole runs through the binary.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::process::{Command, Stdio};

use common::*;

#[test]
fn a_run_leaves_what_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, run) = (recipe(folder.path(), MLP, ""), folder.path().join("run"));
    let printed = succeed(&["train", text(&recipe), "--out", text(&run), "--json"]);
    let last: serde_json::Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    let keys: Vec<&String> = last.as_object().unwrap().keys().collect();
    let mut wanted = [
        "steps",
        "samples",
        "epochs",
        "wall_seconds",
        "samples_per_second",
        "peak_rss_bytes",
        "arena_bytes",
        "train",
        "validation",
        "stopped_by",
        "state_sha256",
    ];
    assert_eq!(keys, wanted);
    wanted.sort_unstable();
    // 120 samples in batches of 9: 13 full ones and one of 3.
    assert_eq!((last["steps"].as_u64(), last["samples"].as_u64()), (Some(56), Some(480)));
    assert_eq!(last["stopped_by"], "epochs");
    assert!(last["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(last["validation"]["accuracy"].as_f64().unwrap() > 0.2, "{last}");
    for name in
        ["recipe.toml", "metrics.jsonl", "summary.json", "report.html", "checkpoints/latest"]
    {
        assert!(run.join(name).is_file(), "{name}");
    }
    assert_eq!(std::fs::read_to_string(run.join("checkpoints/latest")).unwrap(), "56");
    assert_eq!(metrics(&run).len(), 4);
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("<svg") && !page.contains("<script"));

    // Measured again from the weights on disk, on the same data.
    let again = succeed(&["eval", text(&run), "--json"]);
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["figures"], last["validation"]);
    let test = digits().join("digits/test");
    let named = succeed(&["eval", text(&run), "--json", "--data", text(&test)]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&named).unwrap(), again);

    // A second run would overwrite it.
    let refused = tidemill(&["train", text(&recipe), "--out", text(&run)]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("holds a run already"), "{}", stderr(&refused));
    succeed(&["train", text(&recipe), "--out", text(&run), "--force", "--set", "batch.epochs=1"]);
    assert_eq!(summary(&run).epochs, 1);
}

#[test]
fn a_run_goes_on_as_if_never_stopped() {
    for layers in [MLP, CNN] {
        let folder = tempfile::tempdir().unwrap();
        let recipe = recipe(folder.path(), layers, "");
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        succeed(&["train", text(&recipe), "--out", text(&whole)]);
        // In the middle of the second epoch, then at its end, then to the end.
        for steps in ["stop.steps=20", "stop.steps=28", "stop.steps=56"] {
            succeed(&["train", text(&recipe), "--out", text(&parts), "--resume", "--set", steps]);
        }
        assert_eq!(summary(&parts).state_sha256, summary(&whole).state_sha256);
        assert_eq!(metrics(&parts), metrics(&whole));
        // Nothing is left to do, and nothing changes.
        let done = tidemill(&["train", text(&whole), "--resume"]);
        let note =
            "note: nothing is left to do after step 56 (epoch 4): set batch.epochs to more than 4";
        assert!(stderr(&done).starts_with(note), "{}", stderr(&done));
        assert_eq!(metrics(&whole).len(), 4);
        assert_eq!(summary(&parts).state_sha256, summary(&whole).state_sha256);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for layers in [MLP, CNN] {
        let folder = tempfile::tempdir().unwrap();
        let recipe = recipe(folder.path(), layers, "");
        let hash = |threads: &str| {
            let run = folder.path().join(threads);
            succeed(&["train", text(&recipe), "--out", text(&run), "--threads", threads]);
            (summary(&run).state_sha256, metrics(&run))
        };
        let one = hash("1");
        assert_eq!(one, hash("2"));
        assert_eq!(one, hash("3"));
    }
}

#[test]
fn stops_and_steps_per_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let stopped = |name: &str, set: &[&str]| {
        let run = folder.path().join(name);
        let mut arguments = vec!["train", text(&recipe), "--out", text(&run)];
        set.iter().for_each(|s| arguments.extend(["--set", s]));
        succeed(&arguments);
        let s = summary(&run);
        (s.steps, s.epochs, s.stopped_by)
    };
    assert_eq!(stopped("steps", &["stop.steps=17"]), (17, 1, "steps".into()));
    // The data starts over as often as needed.
    let long = ["batch.steps_per_epoch=20", "batch.epochs=3"];
    assert_eq!(stopped("long", &long), (60, 3, "epochs".into()));
    let epochs = metrics(&folder.path().join("long"));
    let ends: Vec<u64> = epochs.iter().map(|epoch| epoch["step"].as_u64().unwrap()).collect();
    assert_eq!(ends, [20, 40, 60]);
    let short = ["batch.steps_per_epoch=5", "batch.epochs=4"];
    assert_eq!(stopped("short", &short), (20, 4, "epochs".into()));
    let epochs = metrics(&folder.path().join("short"));
    // The data's own end, after 14 steps, is none of an epoch.
    let samples: Vec<u64> = epochs.iter().map(|epoch| epoch["samples"].as_u64().unwrap()).collect();
    assert_eq!(samples.len(), 4);
    assert!(epochs.iter().all(|epoch| epoch["train"]["loss"].as_f64().unwrap() > 0.0));
    let target = ["stop.target={ metric = \"train.accuracy\", value = 0.01 }"];
    assert_eq!(stopped("target", &target), (14, 1, "target".into()));
    let patience = [
        "stop.patience={ metric = \"train.loss\", epochs = 1, min_delta = 100.0, restore_best = true }",
    ];
    assert_eq!(stopped("patience", &patience), (28, 2, "patience".into()));
    let wall = ["stop.wall_seconds=0.05", "batch.epochs=1000000"];
    assert_eq!(stopped("wall", &wall).2, "wall_seconds");
    let drop = ["batch.drop_remainder=true", "batch.epochs=1"];
    assert_eq!(stopped("drop", &drop), (13, 1, "epochs".into()));
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "[checkpoint]\nevery_steps = 1\nkeep = 3");
    let run = folder.path().join("run");
    let set = "training.optimizer={ sgd = { learning_rate = 1e30 } }";
    let output = tidemill(&["train", text(&recipe), "--out", text(&run), "--set", set]);
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(
        error.contains("step ") && error.contains("not finite") || error.contains("the loss is"),
        "{error}"
    );
    assert!(!run.join("summary.json").exists());
}

/// `tidemill train ... 2>&1 | head` must not end the run.
#[test]
fn a_run_goes_on_when_nobody_reads() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, run) = (recipe(folder.path(), MLP, ""), folder.path().join("run"));
    let mut child = command(&["train", text(&recipe), "--out", text(&run)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(summary(&run).epochs, 4);
}

#[test]
fn broken_files_are_told_or_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let images = folder.path().join("images");
    for digit in ["0", "1"] {
        std::fs::create_dir_all(images.join(digit)).unwrap();
        for entry in std::fs::read_dir(digits().join("digits/train").join(digit)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), images.join(digit).join(entry.file_name())).unwrap();
        }
    }
    let broken = images.join("1/broken.jpg");
    std::fs::write(&broken, b"\xff\xd8\xff\xe0rubbish").unwrap();
    let train = |name: &str, more: &str| {
        let data = format!("{{ image_directory = {{ path = {images:?}{more} }} }}");
        let set = ["data", "validation"].map(|key| format!("batch.{key}={data}"));
        let units = "layers[3].dense.units=2";
        let out = folder.path().join(name);
        let arguments = ["train", text(&recipe), "--out", text(&out), "--set", units, "--set"];
        tidemill(&[&arguments[..], &[&set[0], "--set", &set[1]]].concat())
    };
    let fatal = train("fatal", "");
    let error = stderr(&fatal);
    assert_eq!(fatal.status.code(), Some(1), "{error}");
    let line = error.lines().find(|l| l.starts_with("error: ")).unwrap();
    assert!(
        line.contains(text(&broken)) && line.ends_with("set broken_files = \"skip\""),
        "{line}"
    );
    assert!(!error.contains("\n\n"), "{error:?}");

    let skipped = train("skipped", ", broken_files = \"skip\"");
    let notes = stderr(&skipped);
    assert!(skipped.status.success(), "{notes}");
    for key in ["batch.data", "batch.validation"] {
        assert!(notes.contains(&format!("note: {key}: 1 broken sample was left out")), "{notes}");
    }
    // A prediction is not made up for it either.
    let run = folder.path().join("skipped");
    let predicted = tidemill(&["predict", text(&run), "--data", text(&images)]);
    let printed = String::from_utf8(predicted.stdout.clone()).unwrap();
    assert_eq!(printed.lines().count(), 1 + 24, "{printed}");
    assert!(!printed.contains("broken.jpg") && stderr(&predicted).contains("broken.jpg"));
}

#[test]
fn predictions_as_csv_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, run) = (recipe(folder.path(), MLP, ""), folder.path().join("run"));
    succeed(&["train", text(&recipe), "--out", text(&run)]);
    let three = digits().join("digits/test/3");
    let csv = succeed(&["predict", text(&run), "--data", text(&three)]);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "file,class,probability");
    assert_eq!(lines.len(), 6);
    let json = succeed(&["predict", text(&run), "--json", "--all", "--data", text(&three)]);
    for (line, csv) in json.lines().zip(&lines[1..]) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let outputs = line["outputs"].as_object().unwrap();
        let sum: f64 = outputs.values().map(|v| v.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5);
        assert!(outputs[line["class"].as_str().unwrap()] == line["probability"]);
        assert!(csv.starts_with(line["file"].as_str().unwrap()));
    }
}

#[test]
fn weights_are_read_by_python() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, run) = (recipe(folder.path(), CNN, ""), folder.path().join("run"));
    succeed(&["train", text(&recipe), "--out", text(&run), "--set", "batch.epochs=1"]);
    let script = "import sys\n\
        try:\n    from safetensors.numpy import load_file\n\
        except ImportError:\n    sys.exit(77)\n\
        state = load_file(sys.argv[1])\n\
        print(sum(v.size for v in state.values()), sorted(state)[0])\n";
    let state = run.join("checkpoints/14/state.safetensors");
    let python = std::env::var_os("TIDEMILL_PYTHON").unwrap_or_else(|| "python3".into());
    let output = Command::new(python).args(["-c", script, text(&state)]).output();
    match output {
        Ok(output) if output.status.success() => {
            let printed = String::from_utf8(output.stdout).unwrap();
            assert!(printed.contains("layers."), "{printed}");
        }
        Ok(output) if output.status.code() == Some(77) => {
            eprintln!("SKIPPED: Python has no safetensors");
        }
        Ok(output) => panic!("{}", stderr(&output)),
        Err(e) => eprintln!("SKIPPED: Python cannot be run: {e}"),
    }
}

#[test]
fn a_checkpoint_of_another_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, run) = (recipe(folder.path(), MLP, ""), folder.path().join("run"));
    succeed(&["train", text(&recipe), "--out", text(&run), "--set", "batch.epochs=1"]);
    let other = "layers[1].dense.units=25";
    let output =
        tidemill(&["train", text(&recipe), "--out", text(&run), "--resume", "--set", other]);
    assert_eq!(output.status.code(), Some(2));
    let error = stderr(&output);
    let changed = "has changed since the run's checkpoint was written";
    assert!(error.contains("model.layers") && error.contains(changed), "{error}");
    // The run is as it was.
    succeed(&["eval", text(&run)]);
    succeed(&["train", text(&run), "--resume"]);
}

#[test]
fn memory_that_does_not_suffice_is_told_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, run) = (recipe(folder.path(), MLP, ""), folder.path().join("run"));
    let output = tidemill(&["train", text(&recipe), "--out", text(&run), "--memory", "1MB"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("error: --memory 1.0 MB: the run needs "));
    assert!(!run.exists());
    succeed(&["train", text(&recipe), "--out", text(&run), "--memory", "1GB"]);
}

/// The number before ` MB` that comes first after a text.
#[cfg(target_os = "linux")]
fn megabytes_after(message: &str, before: &str) -> f64 {
    let (_, rest) = message.split_once(before).unwrap();
    rest.trim_start_matches("at least ").split(' ').next().unwrap().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn the_least_memory_that_a_refusal_names_suffices_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let recipe = recipe(folder.path(), MLP, "[checkpoint]\nevery_steps = 2");
    let average = "training.average={ epochs = 2 }";
    let train = |memory: &str| {
        let out = ["train", text(&recipe), "--out", text(&run), "--force", "--memory", memory];
        tidemill(&[&out[..], &["--set", average, "--set", "batch.epochs=2"]].concat())
    };
    let refused = stderr(&train("8MB"));
    // Two processes differ by some hundred kilobytes, and the number is rounded.
    let least = megabytes_after(&refused, "the run needs ") * 1.05 + 0.5;
    let output = train(&format!("{}B", (least * 1e6) as u64));
    assert!(output.status.success(), "{refused}\n{}", stderr(&output));
    let json = std::fs::read_to_string(run.join("summary.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let peak = json["peak_rss_bytes"].as_f64().unwrap();
    assert!(peak <= least * 1e6, "{peak} of {least} MB");
}

#[test]
fn explain_says_what_memory_is_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let printed = succeed(&["explain", text(&recipe), "--memory", "1GB"]);
    for part in ["of 1.00 GB", "weights and slots", "arena", "predicted step"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert!(!printed.contains("recomputed"), "{printed}");
    let refused = tidemill(&["explain", text(&recipe), "--memory", "1MB"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("the run needs "), "{}", stderr(&refused));
}

#[test]
fn bench_and_explain_need_no_data() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let gone = "batch.data={ image_directory = { path = \"nowhere\" } }";
    let text_out = succeed(&["explain", text(&recipe), "--set", gone]);
    assert!(text_out.contains("dense"), "{text_out}");
    let bench = tidemill(&["bench", text(&recipe), "--set", gone, "--batch-size", "1,4", "--json"]);
    assert!(bench.status.success(), "{}", stderr(&bench));
    // The numbers are not those of the data, and that is said.
    let notes = stderr(&bench);
    assert_eq!(notes.lines().count(), 1, "{notes}");
    for word in ["random values", "nowhere", "was not found", "set TIDEMILL_DATA"] {
        assert!(notes.contains(word), "{word}: {notes}");
    }
    let lines = String::from_utf8(bench.stdout).unwrap();
    assert_eq!(lines.lines().count(), 2);
    for (line, size) in lines.lines().zip([1, 4]) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "recipe",
                "batch_size",
                "threads",
                "microseconds_per_step",
                "samples_per_second",
                "floor_microseconds"
            ]
        );
        assert_eq!(line["batch_size"], size);
        assert!(line["microseconds_per_step"].as_f64().unwrap() > 0.0);
    }
    let found = tidemill(&["bench", text(&recipe), "--batch-size", "2"]);
    assert_eq!(stderr(&found), "");
}

#[test]
fn metrics_are_those_that_the_recipe_names_whoever_computes_the_shards() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let names = [
        "auc",
        "average_precision",
        "balanced_accuracy",
        "brier_score",
        "cohen_kappa",
        "ece",
        "f1_weighted",
        "fbeta_2",
        "log_loss",
        "mcc",
        "precision_micro",
        "top_3",
    ];
    let set = format!("training.metrics={names:?}");
    let run = |name: &str, more: &[&str]| {
        let run = folder.path().join(name);
        let train = [
            "train",
            text(&recipe),
            "--out",
            text(&run),
            "--set",
            &set,
            "--set",
            "training.shards=3",
        ];
        succeed(&[&train[..], more].concat());
        (summary(&run), metrics(&run))
    };
    let (one, lines) = run("one", &[]);
    let found: Vec<&str> =
        one.validation.keys().map(String::as_str).filter(|k| *k != "loss").collect();
    assert_eq!(found, names);
    // The loss of this recipe is the log loss, and the micro average of precision is the accuracy.
    let close = |a: &str, b: &str| (one.validation[a] - one.validation[b]).abs() < 1e-5;
    assert!(close("loss", "log_loss"), "{:?}", one.validation);
    let (three, others) = run("three", &["--workers", "3"]);
    assert_eq!((one.state_sha256, one.validation), (three.state_sha256, three.validation));
    assert_eq!(lines, others);
    let wrong = tidemill(&["train", text(&recipe), "--set", "training.metrics=[\"rmse\"]"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("rmse"), "{}", stderr(&wrong));
    let wrong = tidemill(&["train", text(&recipe), "--set", "training.metrics=[\"fbeta_0\"]"]);
    assert!(stderr(&wrong).contains("must be one of"), "{}", stderr(&wrong));
}
