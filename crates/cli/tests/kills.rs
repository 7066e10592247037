//! Runs that are killed or interrupted, and go on.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::*;

const KILLS: usize = 12;

/// Numbers that differ from run to run: each run of the tests kills at other places.
fn dice() -> impl FnMut() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut state = now.as_nanos() as u64 | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Kills a run of `layers` at random moments until it has been killed often enough and ended.
fn killed_often(layers: &str, kills: usize) {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), layers, "[checkpoint]\nevery_steps = 5");
    let whole = folder.path().join("whole");
    let epochs = ["--set", "batch.epochs=12"];
    let start = Instant::now();
    succeed(&[&["train", text(&recipe), "--out", text(&whole)], &epochs[..]].concat());
    let usual = start.elapsed().as_secs_f64();
    let (want, lines) = (summary(&whole).state_sha256, metrics(&whole));
    assert_eq!(lines.len(), 12);

    let (mut killed, mut round, mut random) = (0, 0, dice());
    while killed < kills {
        let run = folder.path().join(format!("run-{round}"));
        round += 1;
        loop {
            let arguments =
                [&["train", text(&recipe), "--out", text(&run), "--resume"], &epochs[..]].concat();
            let mut child =
                command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            sleep(Duration::from_secs_f64(usual * random()));
            if child.try_wait().unwrap().is_some() {
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
            if killed >= kills {
                succeed(&arguments);
                break;
            }
        }
        check(&run, &want, &lines);
    }
}

fn check(run: &Path, want: &str, lines: &[serde_json::Value]) {
    assert_eq!(summary(run).state_sha256, want, "other weights than without kills");
    assert_eq!(metrics(run), lines, "other metrics than without kills");
}

#[test]
fn a_killed_dense_model_ends_with_the_same_bits() {
    killed_often(MLP, KILLS);
}

#[test]
fn a_killed_convolution_ends_with_the_same_bits() {
    killed_often(CNN, KILLS);
}

#[test]
fn control_c_leaves_a_checkpoint_and_130() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let run = folder.path().join("run");
    let arguments =
        ["train", text(&recipe), "--out", text(&run), "--set", "batch.epochs=1000000", "--json"];
    let child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    while !run.join("metrics.jsonl").exists() || metrics(&run).is_empty() {
        sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let summary = summary(&run);
    assert_eq!(summary.stopped_by, "interrupt");
    assert!(run.join(format!("checkpoints/{}/state.safetensors", summary.steps)).exists());
    // And it goes on from there.
    let more = format!("stop.steps={}", summary.steps + 3);
    let epochs = ["--set", "batch.epochs=1000000"];
    let resume = ["train", text(&recipe), "--out", text(&run), "--resume", "--set", &more];
    succeed(&[&resume[..], &epochs].concat());
    assert!(common::summary(&run).steps == summary.steps + 3);
}
