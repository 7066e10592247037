//! The house rules that a compiler does not know: dependencies between crates point one way and are
//! each used, other dependencies have one version and a reason, `unsafe` stays where it belongs, and
//! neither a file nor a function needs a map, or it is listed here with the reason.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each crate, the crates of this workspace that it uses, and those that only its tests use. The
/// crates of a row come after those that it uses, so that there is no circle.
const ARROWS: &[(&str, &[&str], &[&str])] = &[
    ("fields", &[], &[]),
    ("table", &[], &[]),
    ("text", &[], &[]),
    ("audio", &[], &[]),
    ("stream", &["table"], &[]),
    ("drift", &[], &[]),
    ("page", &[], &[]),
    ("graph", &["fields"], &[]),
    ("data", &["fields", "table", "text", "audio"], &[]),
    ("plan", &["graph"], &[]),
    ("nn", &["fields", "graph"], &[]),
    ("cpu", &["plan", "graph"], &["nn"]),
    ("engine", &["fields", "graph", "plan", "cpu", "nn", "data", "page"], &[]),
    ("dist", &["engine"], &[]),
    ("recipe", &["engine", "stream", "drift"], &["cpu", "plan"]),
    ("train", &["engine", "recipe", "dist"], &[]),
    ("online", &["engine", "recipe"], &[]),
    ("advise", &["engine", "recipe", "online"], &[]),
    ("tidemill", &["engine", "recipe", "train", "online", "advise"], &[]),
    ("cli", &["engine", "recipe", "train", "online", "advise"], &[]),
];

/// Lines of a file from which on it needs a reason.
const LONG_FILE: usize = 500;

/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] =
    &[("cpu/src/eltwise/tests.rs", "one list of programs, each with what it must compute")];

/// Lines of a function from which on it needs a reason.
const LONG_FUNCTION: usize = 100;

/// Functions that may be longer, and why.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[
    ("cli/tests/golden/jobs.rs", "streams", "the list of jobs on streams"),
    ("cpu/src/compile.rs", "compile", "one arm for each kernel of a plan"),
    ("cpu/src/conv/engine.rs", "build", "one table of what a convolution is cut into"),
    ("nn/src/validate.rs", "one", "one arm for each layer"),
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn manifest(path: &Path) -> toml::Table {
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

/// Names and values of a manifest's dependencies of this kind, those of one platform too.
fn dependencies(manifest: &toml::Table, kind: &str) -> Vec<(String, toml::Value)> {
    let targets = manifest.get("target").and_then(|t| t.as_table()).into_iter().flatten();
    let tables = std::iter::once(manifest.get(kind)).chain(targets.map(|(_, t)| t.get(kind)));
    let all = tables.flatten().flat_map(|t| t.as_table().unwrap().clone());
    all.collect()
}

/// The name of one of our crates without its prefix.
fn ours(dependency: &str) -> Option<&str> {
    match dependency.strip_prefix("tidemill")? {
        "" => Some("tidemill"),
        rest => Some(rest.trim_start_matches('-')),
    }
}

/// All Rust files of a folder, with their texts.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut stack = vec![folder.to_owned()];
    while let Some(folder) = stack.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for path in entries.map(|e| e.unwrap().path()) {
            if path.is_dir() {
                stack.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
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
    for (i, (name, uses, tests)) in ARROWS.iter().enumerate() {
        let above = |c: &&str| ARROWS[..i].iter().all(|a| a.0 != *c);
        let circle: Vec<_> = uses.iter().chain(*tests).filter(|c| above(c)).collect();
        assert!(circle.is_empty(), "{name} uses {circle:?}, which must come before it");
        let manifest = manifest(&crates().join(name).join("Cargo.toml"));
        for (kind, wanted) in [("dependencies", uses), ("dev-dependencies", tests)] {
            let found = dependencies(&manifest, kind);
            let found: BTreeSet<&str> = found.iter().filter_map(|(n, _)| ours(n)).collect();
            let wanted: BTreeSet<&str> = wanted.iter().copied().collect();
            assert_eq!(found, wanted, "{name}: [{kind}] and the table differ");
        }
    }
}

/// The table of ARCHITECTURE.md is this one.
#[test]
fn the_page_about_the_architecture_has_the_same_table() {
    let page = crates().parent().unwrap().join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(page).unwrap();
    let names = |cell: &str| -> BTreeSet<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let table = text.split("## The crates").nth(1).unwrap();
    let rows: Vec<Vec<&str>> =
        table.lines().filter(|l| l.starts_with("| `")).map(|l| l.split('|').collect()).collect();
    assert_eq!(rows.len(), ARROWS.len());
    for row in rows {
        let name = names(row[1]).pop_first().unwrap();
        let (_, uses, _) = ARROWS.iter().find(|a| a.0 == name).unwrap();
        let uses: BTreeSet<String> = uses.iter().map(|u| u.to_string()).collect();
        assert_eq!(names(row[3]), uses, "{name}");
    }
}

/// How many crates are on the longest way down.
#[test]
fn the_house_has_nine_floors() {
    let mut floors: Vec<(&str, usize)> = Vec::new();
    for (name, uses, _) in ARROWS {
        let below = floors.iter().filter(|(n, _)| uses.contains(n)).map(|(_, floor)| *floor).max();
        floors.push((name, below.unwrap_or(0) + 1));
    }
    let arrows: usize = ARROWS.iter().map(|a| a.1.len()).sum();
    let highest = floors.iter().map(|f| f.1).max().unwrap();
    println!("{arrows} arrows, {highest} floors: {floors:?}");
    // Each crate has one arrow at least.
    assert!(arrows <= 40 && highest <= 9, "{arrows} arrows, {highest} floors");
}

#[test]
fn each_dependency_is_used() {
    for (name, ..) in ARROWS {
        let folder = crates().join(name);
        let manifest = manifest(&folder.join("Cargo.toml"));
        let uses = |files: &[(PathBuf, String)], dependency: &str| {
            let name = dependency.replace('-', "_");
            let named = ["::", " as ", ";"].map(|end| format!("{name}{end}"));
            files.iter().any(|(_, text)| named.iter().any(|n| text.contains(n)))
        };
        let (own, all) = (sources(&folder.join("src")), sources(&folder));
        for (kind, files) in [("dependencies", &own), ("dev-dependencies", &all)] {
            for (dependency, value) in dependencies(&manifest, kind) {
                // A dependency of tests cannot be optional, so one of a feature's tests is a plain one.
                let files = if value.get("optional").is_some() { &all } else { files };
                let found = uses(files, &dependency);
                assert!(found, "{name}: nothing uses {dependency} of [{kind}]; leave it out");
            }
        }
    }
}

#[test]
fn versions_and_reasons_are_in_one_place() {
    let text = std::fs::read_to_string(crates().parent().unwrap().join("Cargo.toml")).unwrap();
    let workspace: toml::Table = text.parse().unwrap();
    let known = workspace["workspace"]["dependencies"].as_table().unwrap();
    let mut used = BTreeSet::new();
    for (name, ..) in ARROWS {
        let manifest = manifest(&crates().join(name).join("Cargo.toml"));
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (dependency, value) in dependencies(&manifest, kind) {
                let inherited = value.get("workspace").and_then(toml::Value::as_bool);
                let what = "has its version in [workspace.dependencies]: write workspace = true";
                assert_eq!(inherited, Some(true), "{name}: {dependency} {what}");
                used.insert(dependency);
            }
        }
    }
    for dependency in known.keys() {
        let line = text.lines().find(|l| l.split_once(" = ").is_some_and(|(n, _)| n == dependency));
        let line = line.unwrap_or_default();
        if ours(dependency).is_none() {
            assert!(line.contains(" # "), "{dependency} needs a reason beside it: {line}");
        }
        let is_facade = dependency == "tidemill";
        assert!(is_facade || used.contains(dependency), "no crate uses {dependency}");
    }
}

#[test]
fn unsafe_code_lives_in_cpu_and_where_mpi_is_called() {
    let mpi = std::fs::read_to_string(crates().join("dist/src/lib.rs")).unwrap();
    assert!(mpi.contains("#![deny(unsafe_code)]"));
    assert_eq!(mpi.matches("#[allow(unsafe_code)]").count(), 1);
    for (name, ..) in ARROWS.iter().filter(|a| !["cpu", "dist"].contains(&a.0)) {
        let root = crates().join(name).join("src");
        let file = ["lib.rs", "main.rs"].map(|f| root.join(f));
        let file = file.iter().find(|f| f.exists()).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{name} must forbid unsafe code");
    }
}

#[test]
fn neither_a_file_nor_a_function_needs_a_map() {
    let (mut wrong, mut long_files, mut long_functions) = (Vec::new(), vec![], vec![]);
    for (path, text) in sources(&crates()) {
        let path = path.strip_prefix(crates()).unwrap().to_str().unwrap().to_owned();
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > LONG_FILE {
            if !LONG_FILES.iter().any(|(file, _)| *file == path) {
                wrong.push(format!("{path} has {} lines", lines.len()));
            }
            long_files.push(path.clone());
        }
        for (name, len) in functions(&lines).filter(|(_, len)| *len > LONG_FUNCTION) {
            if !LONG_FUNCTIONS.iter().any(|f| (f.0, f.1) == (path.as_str(), name)) {
                wrong.push(format!("{path}: {name} has {len} lines"));
            }
            long_functions.push((path.clone(), name.to_owned()));
        }
    }
    for (file, _) in LONG_FILES.iter().filter(|(file, _)| !long_files.iter().any(|f| f == file)) {
        wrong.push(format!("{file} is short; take it off the list"));
    }
    for (file, name, _) in LONG_FUNCTIONS {
        if !long_functions.contains(&(file.to_string(), name.to_string())) {
            wrong.push(format!("{file}: {name} is short; take it off the list"));
        }
    }
    assert!(wrong.is_empty(), "split these by their ideas:\n{}", wrong.join("\n"));
}

/// Names and lengths of the functions in a formatted file: each ends at the brace below its first
/// word.
fn functions<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = (&'a str, usize)> {
    lines.iter().enumerate().filter_map(|(start, line)| {
        let indent = line.len() - line.trim_start().len();
        let (before, after) = line.trim_start().split_once("fn ")?;
        let is_head =
            |word: &str| word.starts_with("pub") || ["const", "unsafe", "async"].contains(&word);
        if !before.split_whitespace().all(is_head) {
            return None;
        }
        let name = after.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
        let end = lines[start..].iter().position(|l| {
            l.trim_start() == "}" && l.len() - l.trim_start().len() == indent
                || (l.ends_with(';') && l.len() - l.trim_start().len() == indent)
        })?;
        Some((name, end + 1))
    })
}
