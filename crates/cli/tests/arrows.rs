//! Dependencies between crates point one way, and `unsafe` stays where it belongs.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// Each crate with the crates of this workspace that it may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("graph", &[]),
    ("plan", &["graph"]),
    ("cpu", &["plan", "graph"]),
    ("nn", &["graph"]),
    ("data", &[]),
    ("stream", &[]),
    ("drift", &[]),
    ("page", &[]),
    ("engine", &["graph", "plan", "cpu", "nn", "data", "page"]),
    ("recipe", &["engine", "stream", "drift"]),
    ("train", &["engine", "recipe"]),
    ("online", &["engine", "recipe"]),
    ("advise", &["engine", "recipe", "online"]),
    ("tidemill", &["engine", "recipe", "train", "online", "advise"]),
    ("cli", &["engine", "recipe", "train", "online", "advise"]),
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn dependencies_point_down() {
    let mut found: Vec<String> = std::fs::read_dir(crates())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut known: Vec<&str> = ARROWS.iter().map(|a| a.0).collect();
    known.sort_unstable();
    assert_eq!(found, known, "a new crate needs its arrows here");
    for (name, allowed) in ARROWS {
        let text = std::fs::read_to_string(crates().join(name).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        for dependency in dependencies.keys() {
            let ours = match dependency.strip_prefix("tidemill") {
                Some("") => "tidemill",
                Some(rest) => rest.trim_start_matches('-'),
                None => continue,
            };
            assert!(allowed.contains(&ours), "{name} must not depend on {ours}");
        }
    }
}

#[test]
fn unsafe_code_lives_in_cpu_alone() {
    for (name, _) in ARROWS.iter().filter(|a| a.0 != "cpu") {
        let root = crates().join(name).join("src");
        let file = ["lib.rs", "main.rs"].map(|f| root.join(f));
        let file = file.iter().find(|f| f.exists()).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{name} must forbid unsafe code");
    }
}

#[test]
fn no_file_needs_a_map() {
    let mut stack = vec![crates()];
    while let Some(folder) = stack.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stack.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let lines = std::fs::read_to_string(&path).unwrap().lines().count();
                assert!(lines <= 800, "{} has {lines} lines", path.display());
            }
        }
    }
}
