//! Each example is short, is named on the front page and in the documentation, and runs.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn examples() -> Vec<(String, String)> {
    let files = std::fs::read_dir(here().join("examples")).unwrap().map(|e| e.unwrap().path());
    let mut all: Vec<_> = files
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    all.sort();
    assert!(all.len() > 9, "{}", all.len());
    all
}

#[test]
fn they_are_short_and_named() {
    let front = std::fs::read_to_string(here().join("src/lib.rs")).unwrap();
    let page = std::fs::read_to_string(here().join("../../docs/library.md")).unwrap();
    for (name, text) in examples() {
        assert!(text.lines().count() < 100, "{name} is too long");
        assert!(page.contains(&format!("| `{name}` |")), "docs/library.md lacks {name}");
        // It measures for the benchmarks.
        let named = front.contains(&format!("| `{name}` |")) || name == "online_step";
        assert!(named, "the front page lacks {name}");
    }
}

/// `cargo test -p tidemill` builds the examples beside the tests.
#[test]
fn they_run() {
    let beside = std::env::current_exe().unwrap();
    let folder = beside.parent().and_then(Path::parent).unwrap().join("examples");
    for (name, _) in examples().into_iter().filter(|(name, _)| name != "mnist") {
        let program = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        if !program.exists() {
            eprintln!("skipped: {} was not built; run cargo test -p tidemill", program.display());
            continue;
        }
        let mut command = Command::new(program);
        if name == "online_step" {
            command.args(["--seconds", "0.1"]);
        }
        let ran = command.output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success() && !ran.stdout.is_empty(), "{name}: {said}");
    }
}
