//! Streams of images, as the paths of files and as base64.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fmt::Write;
use std::path::Path;

use common::*;

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(*three.get(i).unwrap_or(&0)));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= three.len() { digit as char } else { '=' });
        }
    }
    out
}

fn learn(folder: &Path, name: &str, lines: &str) -> serde_json::Value {
    let train = digits().join("digits/train");
    let more = format!("[stream]\nimage = \"image\"\nimage_folder = {train:?}");
    let recipe = recipe(folder, MLP, &more);
    let (events, run) = (folder.join(format!("{name}.jsonl")), folder.join(name));
    std::fs::write(&events, lines).unwrap();
    succeed(&["learn", text(&recipe), "--from", text(&events), "--out", text(&run)]);
    // The run's own recipe finds the images from there too.
    let again = folder.join(format!("{name}-again"));
    succeed(&["learn", text(&run), "--from", text(&events), "--out", text(&again)]);
    let read = std::fs::read_to_string(run.join("summary.json")).unwrap();
    serde_json::from_str(&read).unwrap()
}

#[test]
fn paths_and_base64_are_the_same_images_and_bad_ones_are_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let train = digits().join("digits/train");
    let (mut paths, mut encoded, mut images) = (String::new(), String::new(), 0);
    for i in 0..6 {
        for class in 0..10 {
            let names = std::fs::read_dir(train.join(class.to_string())).unwrap();
            let mut names: Vec<_> = names.map(|e| e.unwrap().file_name()).collect();
            names.sort();
            let name = format!("{class}/{}", names[i].to_str().unwrap());
            let bytes = std::fs::read(train.join(&name)).unwrap();
            let data = ["", "data:image/png;base64,"][i % 2];
            writeln!(paths, r#"{{"image":"{name}","label":{class}}}"#).unwrap();
            writeln!(encoded, r#"{{"image":"{data}{}","label":{class}}}"#, base64(&bytes)).unwrap();
            images += 1;
        }
    }
    for bad in ["9/none.png", "../digits/train/0", "/etc/hostname", "iVBORw0KGgo===x", "0"] {
        writeln!(paths, r#"{{"image":"{bad}","label":1}}"#).unwrap();
        writeln!(encoded, r#"{{"image":"{bad}","label":1}}"#).unwrap();
    }
    let (by_path, by_text) =
        (learn(folder.path(), "paths", &paths), learn(folder.path(), "encoded", &encoded));
    assert_eq!(by_path["events"], images);
    assert_eq!(by_path["bad_events"], 5);
    assert_eq!(by_path["state_sha256"], by_text["state_sha256"]);
    assert_eq!(by_path["prequential"], by_text["prequential"]);
    let dead = std::fs::read_to_string(folder.path().join("paths/dead-letter.jsonl")).unwrap();
    assert!(dead.contains("must be relative") && dead.contains("none.png"), "{dead}");
}

#[test]
fn copies_of_images_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let digits = digits().join("digits");
    for side in ["train", "test"] {
        for class in ["3", "7"] {
            let (from, to) = (digits.join(side).join(class), folder.path().join(side).join(class));
            std::fs::create_dir_all(&to).unwrap();
            for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
    let recipe = folder.path().join("recipe.toml");
    succeed(&["init", text(folder.path()), "--out", text(&recipe)]);
    let said = || succeed(&["doctor", text(&recipe)]);
    assert!(!said().contains("nearly the same"), "{}", said());
    let seven = folder.path().join("train/7");
    let mut files: Vec<_> = std::fs::read_dir(&seven).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    std::fs::copy(&files[0], seven.join("copy.png")).unwrap();
    assert!(said().contains("1 image is nearly the same as others there, such as"), "{}", said());
    assert!(said().contains("copy.png and"), "{}", said());
}
