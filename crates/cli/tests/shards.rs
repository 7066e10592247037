//! Images in tar files in the layout of WebDataset: as they are, resumed within an epoch, with errors that say what is wrong.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;
use std::process::Command;

use common::*;

/// Writes the digits of a folder as `NAME-{000000..000002}.tar`; `class` is the text of a sample's label.
fn write(folder: &Path, part: &str, class: impl Fn(usize) -> String) {
    let staging = folder.join(part);
    std::fs::create_dir_all(&staging).unwrap();
    let mut keys: Vec<String> = Vec::new();
    for digit in 0..10 {
        let mut names: Vec<_> = std::fs::read_dir(digits().join(format!("digits/{part}/{digit}")))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        for (i, name) in names.iter().enumerate() {
            let key = format!("{i:03}{digit}");
            std::fs::copy(name, staging.join(format!("{key}.png"))).unwrap();
            std::fs::write(staging.join(format!("{key}.cls")), class(digit) + "\n").unwrap();
            keys.push(key);
        }
    }
    keys.sort();
    for (shard, keys) in keys.chunks(keys.len().div_ceil(3)).enumerate() {
        let members = keys.iter().flat_map(|key| [format!("{key}.png"), format!("{key}.cls")]);
        let made = Command::new("tar")
            .current_dir(&staging)
            .arg("-cf")
            .arg(folder.join(format!("{part}-{shard:06}.tar")))
            .args(members)
            .status();
        assert!(made.unwrap().success());
    }
}

/// A recipe that reads the shards of `folder`.
fn recipe_of_shards(folder: &Path) -> std::path::PathBuf {
    let path = recipe(folder, MLP, "");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines = Vec::new();
    for line in text.lines() {
        lines.push(match line.split_once(" = ").map(|(key, _)| key.trim()) {
            Some(key @ ("data" | "validation")) => {
                let part = if key == "data" { "train" } else { "test" };
                format!(
                    "{key} = {{ image_directory = {{ path = \"{part}-{{000000..000002}}.tar\" }} }}"
                )
            }
            _ => line.to_owned(),
        });
    }
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

#[test]
fn shards_are_read_as_they_are_and_resumed_within_an_epoch() {
    let folder = tempfile::tempdir().unwrap();
    for part in ["train", "test"] {
        write(folder.path(), part, |digit| digit.to_string());
    }
    let recipe = recipe_of_shards(folder.path());
    let run = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        succeed(&[&["train", text(&recipe), "--out", text(&out)], more].concat());
        summary(&out)
    };
    let usual = run("usual", &[]);
    assert_eq!((usual.samples, usual.epochs), (480, 4));
    run("parts", &["--set", "stop.steps=17"]);
    assert_eq!(run("parts", &["--resume"]).state_sha256, usual.state_sha256);
    // The run's own copy of the recipe finds the shards from anywhere.
    let figures = succeed(&["eval", text(&folder.path().join("usual"))]);
    assert!(figures.contains("accuracy"), "{figures}");
    // One shard without a pattern.
    let one = "batch.data.image_directory.path=train-000001.tar";
    let explained = run("one", &["--set", one, "--set", "batch.epochs=1"]);
    assert_eq!(explained.samples, 40);
}

#[test]
fn classes_may_be_names() {
    let folder = tempfile::tempdir().unwrap();
    for part in ["train", "test"] {
        write(folder.path(), part, |digit| format!("digit-{digit}"));
    }
    let recipe = recipe_of_shards(folder.path());
    let out = folder.path().join("run");
    succeed(&["train", text(&recipe), "--out", text(&out), "--set", "batch.epochs=1"]);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("digit-7"));
}

#[test]
fn broken_shards_are_errors_that_name_them() {
    let folder = tempfile::tempdir().unwrap();
    for part in ["train", "test"] {
        write(folder.path(), part, |digit| digit.to_string());
    }
    let recipe = recipe_of_shards(folder.path());
    let told = || {
        let out = folder.path().join("run");
        let output = tidemill(&["train", text(&recipe), "--out", text(&out), "--force"]);
        assert!(!output.status.success());
        stderr(&output)
    };
    let shard = folder.path().join("train-000001.tar");
    let good = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &good[..good.len() / 2 + 100]).unwrap();
    let error = told();
    assert!(error.contains("train-000001.tar") && error.contains("trunc"), "{error}");
    std::fs::remove_file(&shard).unwrap();
    let error = told();
    assert!(error.contains("train-000001.tar: cannot be read"), "{error}");
    let lone = Command::new("tar")
        .current_dir(folder.path().join("train"))
        .arg("-cf")
        .arg(&shard)
        .args(["0000.png", "0001.png", "0001.cls"])
        .status();
    assert!(lone.unwrap().success());
    let error = told();
    assert!(error.contains("0000.png has no 0000.cls beside it"), "{error}");
}

#[test]
fn a_recipe_is_written_for_shards_and_they_are_predicted_on() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "train", |digit| format!("digit-{digit}"));
    let shards = folder.path().join("train-{000000..000002}.tar");
    let (recipe, run) = (folder.path().join("r.toml"), folder.path().join("run"));
    let said = succeed(&["init", text(&shards), "--out", text(&recipe)]);
    assert!(said.contains("120 images of 10 classes (digit-0, digit-1,"), "{said}");
    let epochs = ["--set", "batch.epochs=1"];
    succeed(&[&["train", text(&recipe), "--out", text(&run)], &epochs[..]].concat());
    let predicted = |data: &Path| succeed(&["predict", text(&run), "--data", text(data)]);
    assert_eq!(predicted(&shards).lines().count(), 121);
    let one = predicted(&folder.path().join("train-000001.tar"));
    assert_eq!(one.lines().count(), 41);
    assert!(one.contains("digit-"), "{one}");
    // Gzipped, they are no shards that could be read in place.
    let gzipped = folder.path().join("train-000001.tar.gz");
    let pack = Command::new("gzip").arg("-c").arg(folder.path().join("train-000001.tar")).output();
    std::fs::write(&gzipped, pack.unwrap().stdout).unwrap();
    let refused = tidemill(&["init", text(&gzipped), "--out", text(&folder.path().join("g.toml"))]);
    assert!(stderr(&refused).contains("must be plain tar files"), "{}", stderr(&refused));
}
