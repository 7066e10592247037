//! Runs whose state is in a file since it does not fit into `--memory`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::*;

/// 38 MB of weights and slots.
const DEEP: &str = r#"{ flatten = {} },
    { repeat = { times = 12, layers = [{ dense = { units = 512, activation = "relu" } }] } },
    { dense = { units = 10 } }"#;

/// A run takes less than this only if most of them are in a file.
const MEMORY: &str = "40MB";
const BYTES: u64 = 40_000_000;

fn peak(run: &Path) -> u64 {
    let text = std::fs::read_to_string(run.join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    summary["peak_rss_bytes"].as_u64().unwrap()
}

/// What a folder has that a state's file might have left.
fn leftovers(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(".tidemill")).collect()
}

/// Where each kernel is looked after, all of the state is in memory.
fn is_checked() -> bool {
    std::env::var("TIDEMILL_ARENA").is_ok()
}

#[test]
fn a_run_with_state_in_a_file_keeps_to_its_memory_and_ends_with_the_same_bits() {
    if is_checked() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), DEEP, "[stop]\nsteps = 20\n[checkpoint]\nevery_steps = 5");
    let (usual, filed) = (folder.path().join("usual"), folder.path().join("filed"));
    let said = train(&recipe, &usual, &[]);
    assert!(!said.contains("in a file"), "{said}");
    let said = train(&recipe, &filed, &["--memory", MEMORY]);
    assert!(said.contains("of weights and slots are in a file, of which a step reads"), "{said}");
    assert_eq!(summary(&filed).state_sha256, summary(&usual).state_sha256);
    assert_eq!(metrics(&filed), metrics(&usual));
    assert!(peak(&filed) <= BYTES, "{} bytes", peak(&filed));
    // One continues the other.
    let want = summary(&usual).state_sha256;
    for (first, then) in [(&["--memory", MEMORY][..], &[][..]), (&[], &["--memory", MEMORY])] {
        let run = folder.path().join("both");
        train(&recipe, &run, &[first, &["--set", "stop.steps=9", "--force"]].concat());
        train(&recipe, &run, &[then, &["--resume"]].concat());
        assert_eq!(summary(&run).state_sha256, want);
    }
    assert!(peak(&folder.path().join("both")) <= BYTES, "a run that was continued");
}

#[test]
fn a_killed_run_with_state_in_a_file_leaves_nothing_and_ends_with_the_same_bits() {
    if is_checked() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), DEEP, "[stop]\nsteps = 12\n[checkpoint]\nevery_steps = 2");
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    let start = Instant::now();
    train(&recipe, &whole, &["--memory", MEMORY]);
    let (usual, mut random) = (start.elapsed().as_secs_f64(), dice());
    for _ in 0..3 {
        let arguments = ["train", text(&recipe), "--out", text(&run), "--threads", "1", "--resume"];
        let arguments = [&arguments[..], &["--memory", MEMORY]].concat();
        let mut child =
            command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_secs_f64(usual * random()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(leftovers(folder.path()), [""; 0]);
    }
    train(&recipe, &run, &["--memory", MEMORY, "--resume"]);
    assert_eq!(summary(&run).state_sha256, summary(&whole).state_sha256);
    assert_eq!([leftovers(folder.path()), leftovers(&run)], [vec![], Vec::<String>::new()]);
}

#[test]
fn a_recipe_that_keeps_copies_of_its_weights_has_them_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), DEEP, "");
    let run = folder.path().join("run");
    let average = ["--set", "training.average={ ema = 0.99 }", "--memory", MEMORY];
    let arguments = [&["train", text(&recipe), "--out", text(&run)], &average[..]].concat();
    let output = tidemill(&arguments);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("the run needs"), "{}", stderr(&output));
}
