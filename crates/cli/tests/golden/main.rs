//! Golden bits: what training and learning leave in the state, bit for bit.
//!
//! Each job trains or learns for a few steps with one kind of model and data, under each instruction
//! set of this machine, with 1 and with 3 threads. The hash of the state must be the same for both,
//! and the one that `hashes.json` has. A change that moves bits on purpose writes that file again, and
//! its commit says why:
//!
//! ```text
//! TIDEMILL_WRITE_GOLDEN=1 cargo test --release -p tidemill-cli --test golden
//! ```
//!
//! That replaces the entries of the instruction sets that this machine has and keeps the others. An
//! instruction set that is not here, or that the file has no entry for, is reported as skipped.
//!
//! The hash covers names and values of parameters, optimizer slots and running statistics, also of
//! challengers, anchors and the state to roll back to. It leaves out what a checkpoint holds beside
//! them (rows of events, counts, text), so that the layout of files may change.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod data;
mod hats;
mod jobs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};

use common::{command, stderr, text};
use jobs::Job;

/// Set to rewrite the stored hashes.
const WRITE: &str = "TIDEMILL_WRITE_GOLDEN";
const THREADS: [&str; 2] = ["1", "3"];

fn writes() -> bool {
    std::env::var_os(WRITE).is_some()
}

/// Hashes by job and instruction set.
type Hashes = BTreeMap<String, BTreeMap<String, String>>;

fn stored_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hashes.json")
}

fn stored() -> Hashes {
    std::fs::read(stored_path())
        .map_or_else(|_| Hashes::new(), |b| serde_json::from_slice(&b).unwrap())
}

/// The instruction sets by their names in `TIDEMILL_ISA`, each with whether this machine has it.
fn instruction_sets() -> [(&'static str, bool); 3] {
    #[cfg(target_arch = "x86_64")]
    let (avx2, avx512) = (
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq"),
    );
    #[cfg(not(target_arch = "x86_64"))]
    let (avx2, avx512) = (false, false);
    [("portable", true), ("avx2", avx2), ("avx512", avx2 && avx512)]
}

/// Whether the hash leaves a tensor out: rows of events that are kept to be learned from again or
/// until their labels come, and counts, whose form in a file is not part of what was learned.
fn is_left_out(name: &str) -> bool {
    let name = name.trim_start_matches("good/").trim_start_matches("challenger/");
    name.starts_with("labels/")
        || name
            .strip_prefix("continual/")
            .is_some_and(|n| n.starts_with("replay.") || n.ends_with(".age"))
}

/// The hash of the state in the newest checkpoint of a run, and the number of tensors in it.
fn state_hash(run: &Path) -> (String, usize) {
    let checkpoints = run.join("checkpoints");
    let latest = std::fs::read_to_string(checkpoints.join("latest")).unwrap();
    let file = std::fs::read(checkpoints.join(latest.trim()).join("state.safetensors")).unwrap();
    let (len, rest) = file.split_at(8);
    let (header, values) = rest.split_at(u64::from_le_bytes(len.try_into().unwrap()) as usize);
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).unwrap();
    let (mut hash, mut len) = (Sha256::new(), 0);
    for (name, tensor) in &header {
        if tensor["dtype"] != "F32" || is_left_out(name) {
            continue;
        }
        let at = |i: usize| tensor["data_offsets"][i].as_u64().unwrap() as usize;
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(&values[at(0)..at(1)]);
        len += 1;
    }
    (hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect(), len)
}

/// Runs a job's commands one after the other in one run folder; gives the hash of its state.
fn run_job(job: &Job, data: &Path, isa: &str, threads: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, run) = (folder.path().join("recipe.toml"), folder.path().join("run"));
    std::fs::write(&recipe, &job.recipe).unwrap();
    for (i, words) in job.commands.iter().enumerate() {
        let mut words = words.split(' ');
        let name = words.next().unwrap();
        let from = if i == 0 { &recipe } else { &run };
        let all = [name, text(from), "--out", text(&run), "--threads", threads].into_iter();
        let arguments: Vec<&str> = all.chain(words).collect();
        let mut command = command(&arguments);
        command.env("TIDEMILL_ISA", isa).env("TIDEMILL_DATA", data);
        let output = command.output().unwrap();
        if !output.status.success() {
            return Err(format!("{arguments:?} failed: {}", stderr(&output)));
        }
        if writes() {
            let summary = std::fs::read_to_string(run.join("summary.json")).unwrap();
            let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
            for key in job.counts {
                if summary.pointer(key).and_then(serde_json::Value::as_u64).unwrap_or(0) == 0 {
                    return Err(format!("{key} is 0: the job does not do what it is there for"));
                }
            }
        }
    }
    match state_hash(&run) {
        (_, 0) => Err("the state has no tensors".into()),
        (hash, _) => Ok(hash),
    }
}

/// Runs all jobs under one instruction set, on all cores; gives hashes and what went wrong.
fn run_all(jobs: &[Job], data: &Path, isa: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let next = AtomicUsize::new(0);
    let found = Mutex::new((BTreeMap::new(), Vec::new()));
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let results = THREADS.map(|threads| run_job(job, data, isa, threads));
            let (hashes, wrong) = &mut *found.lock().unwrap();
            let name = &job.name;
            match &results {
                [Ok(one), Ok(three)] if one != three => wrong.push(format!(
                    "{name}, {isa}: {one} with 1 thread, {three} with 3; they must be equal"
                )),
                [Ok(one), Ok(_)] => {
                    hashes.insert(name.clone(), one.clone());
                }
                _ => {}
            }
            for (result, threads) in results.iter().zip(THREADS) {
                if let Err(e) = result {
                    wrong.push(format!("{name}, {isa}, {threads} thread(s): {e}"));
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    found.into_inner().unwrap()
}

#[test]
fn states_have_the_bits_that_they_had() {
    let folder = tempfile::tempdir().unwrap();
    data::write(folder.path());
    let (mut jobs, skipped) = jobs::all();
    skipped.iter().for_each(|line| println!("skipped: {line}"));
    let mut stored = stored();
    let (write, mut wrong) = (writes(), Vec::new());
    for job in &mut jobs {
        job.recipe += "[report]\nhtml = false\n";
    }
    let names: BTreeSet<&str> = jobs.iter().map(|j| j.name.as_str()).collect();
    assert_eq!(names.len(), jobs.len(), "two jobs have the same name");
    for (isa, here) in instruction_sets() {
        if !here {
            println!("skipped: {isa}: this machine does not have it");
            continue;
        }
        let (hashes, failed) = run_all(&jobs, folder.path(), isa);
        wrong.extend(failed);
        if write {
            for (job, found) in hashes {
                stored.entry(job).or_default().insert(isa.into(), found);
            }
            continue;
        }
        let expected = |job: &str| stored.get(job).and_then(|j| j.get(isa));
        if names.iter().all(|name| expected(name).is_none()) {
            println!("skipped: {isa}: hashes.json has no entry; set {WRITE}=1 to write one");
            continue;
        }
        for (job, found) in hashes {
            if expected(&job) != Some(&found) {
                wrong.push(format!(
                    "{job}, {isa}, 1 and 3 threads: expected {}, found {found}",
                    expected(&job).map_or("an entry in hashes.json", String::as_str)
                ));
            }
        }
    }
    if write {
        // Jobs that are gone leave; those that need data which is not here stay.
        stored.retain(|job, _| names.contains(job.as_str()) || !skipped.is_empty());
        let mut json = serde_json::to_string_pretty(&stored).unwrap();
        json.push('\n');
        std::fs::write(stored_path(), json).unwrap();
    }
    assert!(wrong.is_empty(), "the state has other bits:\n  {}", wrong.join("\n  "));
}
