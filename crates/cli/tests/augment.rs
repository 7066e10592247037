//! Augmentation of images: the same bits for any threads and after a stop within an epoch, mixed labels, the sheet, wrong options.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::*;

const ALL: &str = r#"
[batch.augment]
random_crop   = { padding = 2, padding_mode = "edge" }
horizontal_flip = 0.5
affine        = { rotate = 15, scale = [0.9, 1.1], shear = [5, 0] }
rand_augment  = { magnitude = 5 }
color_jitter  = { brightness = 0.3, contrast = 0.3 }
blur          = { size = 3 }
erase         = {}
mixup         = { alpha = 0.4 }
cutmix        = {}
"#;

#[test]
fn training_has_the_same_bits_for_any_threads_and_after_a_stop_within_an_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), CNN, ALL);
    let run = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        succeed(&[&["train", text(&recipe), "--out", text(&out)], more].concat());
        summary(&out)
    };
    let usual = run("usual", &[]);
    assert_eq!((usual.epochs, usual.samples), (4, 480));
    assert!(usual.validation["accuracy"] >= 0.0);
    for (threads, data_threads) in [("1", "1"), ("2", "3"), ("3", "0")] {
        let set = format!("batch.data_threads={data_threads}");
        let other = run(&format!("t{threads}"), &["--threads", threads, "--set", &set]);
        assert_eq!(other.state_sha256, usual.state_sha256, "{threads} {data_threads}");
    }
    let first = run("parts", &["--set", "stop.steps=20"]);
    assert_eq!((first.steps, first.stopped_by.as_str()), (20, "steps"));
    let rest = run("parts", &["--resume"]);
    assert_eq!(rest.state_sha256, usual.state_sha256);
    // Nothing of it is done to what is measured, and the run's model is as any other.
    let said = succeed(&["eval", text(&folder.path().join("usual")), "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let accuracy = said["figures"]["accuracy"].as_f64().unwrap();
    assert!((accuracy - usual.validation["accuracy"]).abs() < 1e-9, "{said}");
}

#[test]
fn workers_mix_the_pieces_of_batches_alike() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, ALL);
    let run = |workers: &str| {
        let out = folder.path().join(workers);
        let more = ["--set", "training.shards=3", "--set", "batch.epochs=1", "--workers", workers];
        succeed(&[&["train", text(&recipe), "--out", text(&out)], &more[..]].concat());
        summary(&out).state_sha256
    };
    assert_eq!(run("1"), run("2"));
}

#[test]
fn windows_of_images_are_drawn_by_epoch_and_sample() {
    let folder = tempfile::tempdir().unwrap();
    let more = "augment = { random_resized_crop = { scale = [0.3, 1] }, horizontal_flip = 0.5 }";
    let recipe = recipe(folder.path(), MLP, more);
    let run = |name: &str, threads: &str| {
        let out = folder.path().join(name);
        let set = format!("batch.data_threads={threads}");
        succeed(&["train", text(&recipe), "--out", text(&out), "--set", &set]);
        summary(&out).state_sha256
    };
    assert_eq!(run("one", "1"), run("two", "2"));
}

#[test]
fn the_sheet_shows_each_sample_and_its_variants() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, ALL);
    let sheet = folder.path().join("sheet.png");
    let (recipe, out) = (text(&recipe), text(&sheet));
    let said =
        succeed(&["data", "preview", recipe, "--out", out, "--samples", "3", "--variants", "4"]);
    assert!(said.contains("3 samples as they are, and 4 variants of each"), "{said}");
    let png = std::fs::read(&sheet).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    // Images of 16 pixels are shown six times as large, with 4 pixels between them.
    assert_eq!((side(16), side(20)), (5 * 100 + 4 + 16, 3 * 100 + 4));
    let again = folder.path().join("again.png");
    succeed(&[
        "data",
        "preview",
        recipe,
        "--out",
        text(&again),
        "--samples",
        "3",
        "--variants",
        "4",
    ]);
    assert_eq!(std::fs::read(again).unwrap(), png);
}

#[test]
fn wrong_options_are_errors_with_their_key() {
    let folder = tempfile::tempdir().unwrap();
    let plain = recipe(folder.path(), MLP, "");
    for (set, says) in [
        (
            "batch.augment.horizontal_flip=2",
            "batch.augment.horizontal_flip must be from 0 to 1, found 2",
        ),
        ("batch.augment.flip=0.5", "flip"),
        (
            "batch.augment.blur={size=4}",
            "batch.augment.blur.size must be an odd number up to 201, found 4",
        ),
        (
            "batch.augment.rand_augment={magnitude=31}",
            "batch.augment.rand_augment.magnitude must be from 0 to 30",
        ),
        (
            "batch.augment={rand_augment={},trivial_augment={}}",
            "has no meaning beside rand_augment",
        ),
        (
            "batch.augment.random_resized_crop={scale=[0.9,0.1]}",
            "the smaller first; found [0.9, 0.1]",
        ),
    ] {
        let output = tidemill(&["explain", text(&plain), "--set", set]);
        let said = stderr(&output);
        assert!(!output.status.success() && said.contains(says), "{set}: {said}");
    }
    let cached = recipe(folder.path(), MLP, "augment = { random_resized_crop = {} }");
    let set = "batch.data.image_directory.cache=true";
    let output = tidemill(&["train", text(&cached), "--set", set]);
    assert!(stderr(&output).contains("leave cache out"), "{}", stderr(&output));
    let mixed = recipe(folder.path(), MLP, "augment = { mixup = {} }");
    let output = tidemill(&["explain", text(&mixed), "--set", "training.loss=mean_squared_error"]);
    assert!(stderr(&output).contains("does not take"), "{}", stderr(&output));
}
