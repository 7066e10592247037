//! What users are told about their mistakes, to the letter.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::*;

/// Trains a recipe with one change and gives status and error, the folder's name left out.
fn told(from: &str, to: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = recipe(folder.path(), MLP, "");
    let recipe = std::fs::read_to_string(&path).unwrap();
    let changed = recipe.replacen(from, to, 1);
    assert_ne!(changed, recipe, "{from}");
    std::fs::write(&path, changed).unwrap();
    let run = folder.path().join("run");
    let output = tidemill(&["train", text(&path), "--out", text(&run)]);
    let place = format!("{}/", folder.path().display());
    (output.status.code().unwrap(), stderr(&output).replace(&place, ""))
}

#[test]
fn wrong_recipes() {
    let cases = [
        (
            "units = 24",
            "units = -5",
            "recipe.toml:5: layers[1].dense.units must be a positive integer, found -5",
        ),
        (
            "units = 24",
            "unit = 24",
            "recipe.toml:5: layers[1].dense.unit is unknown; did you mean \"units\"?",
        ),
        (
            "batch_size = 9",
            "batch_size = 0",
            "recipe.toml:18: batch.batch_size must be a positive integer, found 0",
        ),
        (
            "epochs     = 4",
            "epoch = 4",
            "recipe.toml:19: batch.epoch is unknown; did you mean \"epochs\"?",
        ),
        (
            "seed      = 3",
            "seed = \"three\"",
            "recipe.toml:13: training.seed must be a whole number of 0 or more, found \"three\"",
        ),
        ("[training]", "[training", "recipe.toml:10: this is not TOML: "),
    ];
    for (from, to, want) in cases {
        let (status, error) = told(from, to);
        assert_eq!(status, 2, "{error}");
        let want = format!("error: {want}");
        assert!(error.starts_with(&want), "\n got: {error}\nwant: {want}");
        assert!(error.trim_end().lines().count() <= 2 && !error.contains("panicked"), "{error}");
    }
}

#[test]
fn the_articles_mistakes() {
    // A softmax before a loss on logits.
    let (status, error) =
        told("{ dense = { units = 10 } }", "{ dense = { units = 10, activation = \"softmax\" } }");
    assert_eq!(status, 2, "{error}");
    assert!(error.starts_with("error: recipe.toml:7: layers[3]"), "{error}");
    assert!(error.contains("softmax") && error.contains("help: "), "{error}");
    // No flatten between image and dense layers.
    let (status, error) = told("{ flatten = {} },\n", "");
    assert_eq!(status, 2, "{error}");
    assert!(error.starts_with("error: recipe.toml:"), "{error}");
    assert!(error.contains("flatten") && error.contains("help: "), "{error}");
}

#[test]
fn too_few_outputs() {
    let (status, error) = told("units = 10", "units = 7");
    assert_eq!(status, 2, "{error}");
    assert!(error.starts_with("error: recipe.toml:7: layers[3]"), "{error}");
    assert!(error.contains("7 outputs for 10 classes"), "{error}");
}

#[test]
fn missing_data_names_both_places() {
    let folder = tempfile::tempdir().unwrap();
    let path = recipe(folder.path(), MLP, "");
    let output = command(&["train", text(&path), "--out", text(&folder.path().join("run"))])
        .args(["--set", "batch.data={ image_directory = { path = \"cats/train\" } }"])
        .env("TIDEMILL_DATA", folder.path().join("pool"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = stderr(&output);
    for place in ["cats/train", "pool/cats/train"] {
        assert!(error.contains(text(&folder.path().join(place))), "{error}");
    }
    assert!(error.contains("--set batch.data"), "{error}");
}

#[test]
fn wrong_usage_is_status_2() {
    for arguments in [
        &["train"][..],
        &["train", "no-such-recipe.toml"],
        &["eval", "no-such-run"],
        &["predict", "no-such-run", "--data", "x.png"],
        &["train", "x.toml", "--memory", "lots"],
        &["bench", "x.toml", "--batch-size", "0"],
        &["dance"],
    ] {
        let output = tidemill(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).is_empty());
    }
}

#[test]
fn folders_in_the_wrong_place() {
    let folder = tempfile::tempdir().unwrap();
    let (path, run) = (recipe(folder.path(), MLP, ""), folder.path().join("run"));
    let error = stderr(&tidemill(&["train", text(folder.path())]));
    // This folder does hold a recipe.toml, as a run's does.
    assert!(error.contains("holds a run already"), "{error}");
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let told = tidemill(&["train", text(&empty)]);
    assert_eq!(told.status.code(), Some(2));
    assert!(stderr(&told).contains("is a folder, and has no recipe.toml"), "{}", stderr(&told));

    let epochs = ["--set", "batch.epochs=1"];
    succeed(&[&["train", text(&path), "--out", text(&run)], &epochs[..]].concat());
    let told = tidemill(&["predict", text(&run), "--data", text(&empty)]);
    assert_eq!(told.status.code(), Some(2));
    let want = format!("error: --data {}: has no images (.png, ", empty.display());
    assert!(stderr(&told).contains(&want), "{}", stderr(&told));

    let digits = digits().join("digits");
    let told = tidemill(&["data", "digits", "--out", text(&digits), "--train", "3"]);
    assert_eq!(told.status.code(), Some(2));
    assert!(stderr(&told).contains("holds digits of another seed"), "{}", stderr(&told));
}

#[test]
fn the_doctor_reads_samples() {
    let folder = tempfile::tempdir().unwrap();
    let path = recipe(folder.path(), MLP, "");
    let well = tidemill(&["doctor", text(&path)]);
    assert_eq!(well.status.code(), Some(0), "{well:?}");
    assert!(String::from_utf8_lossy(&well.stdout).contains("no problems found"), "{well:?}");

    let broken = folder.path().join("broken");
    for class in ["a", "b", "c"] {
        std::fs::create_dir_all(broken.join(class)).unwrap();
    }
    let image = digits().join("digits/test/0");
    let image = std::fs::read_dir(image).unwrap().next().unwrap().unwrap().path();
    std::fs::copy(&image, broken.join("a/1.png")).unwrap();
    std::fs::write(broken.join("b/2.png"), "this is no image").unwrap();
    let set = |key| format!("batch.{key}={{ image_directory = {{ path = {:?} }} }}", text(&broken));
    let (data, validation) = (set("data"), set("validation"));
    let ill = tidemill(&["doctor", text(&path), "--set", &data, "--set", &validation]);
    let printed = String::from_utf8_lossy(&ill.stdout).into_owned() + &stderr(&ill);
    assert_eq!(ill.status.code(), Some(2), "{printed}");
    assert!(printed.contains("2.png"), "{printed}");
    assert!(printed.contains("no sample of c"), "{printed}");

    // What is measured must be what is learned.
    let test = digits().join("digits/test");
    let other = format!(
        "batch.validation={{ image_directory = {{ path = {:?}, label_mode = \"categorical\" }} }}",
        text(&test)
    );
    let ill = tidemill(&["doctor", text(&path), "--set", &other]);
    let printed = String::from_utf8_lossy(&ill.stdout).into_owned();
    assert!(printed.contains("has labels of another kind than batch.data"), "{printed}");
    assert!(printed.ends_with("1 error, 0 warnings\n"), "{printed}");
}
