//! Many runs of a recipe: cross-validation, search, the range of learning rates, runs compared.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::*;

#[test]
fn folds_cut_the_data_and_are_summed_up() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let run = folder.path().join("folds");
    let arguments =
        ["train", text(&recipe), "--out", text(&run), "--folds", "3", "--set", "batch.epochs=1"];
    let said = succeed(&arguments);
    assert!(said.contains("fold 3/3") && said.contains("on average over 3 folds"), "{said}");
    let written = std::fs::read_to_string(run.join("folds.json")).unwrap();
    let written: serde_json::Value = serde_json::from_str(&written).unwrap();
    let accuracies: Vec<f64> =
        (1..=3).map(|k| summary(&run.join(format!("fold-{k}"))).validation["accuracy"]).collect();
    let mean = accuracies.iter().sum::<f64>() / 3.0;
    assert!((written["accuracy"]["mean"].as_f64().unwrap() - mean).abs() < 1e-9);
    // 120 samples, 12 of each class: two thirds are trained on.
    assert_eq!(summary(&run.join("fold-2")).samples, 80);
    // Those that are done are not trained again, and a run of one fold is the same.
    assert!(succeed(&[&arguments[..], &["--resume"]].concat()).contains("on average over 3 folds"));
    // Others hold out other parts: they are no continuation.
    let four = tidemill(
        &[&["train", text(&recipe), "--out", text(&run), "--resume"][..], &["--folds", "4"]]
            .concat(),
    );
    assert!(stderr(&four).contains("holds 3 folds"), "{four:?}");
    let many = folder.path().join("many");
    let many = tidemill(&["train", text(&recipe), "--out", text(&many), "--folds", "121"]);
    assert!(stderr(&many).contains("leaves no samples of 120"), "{many:?}");
    let longer = [&arguments[..7], &["batch.epochs=2", "--resume"]].concat();
    succeed(&longer);
    assert_eq!(summary(&run.join("fold-3")).epochs, 2);
    train(&recipe, &run, &["--folds", "3", "--force", "--set", "batch.epochs=1"]);
    let one = folder.path().join("one");
    train(&recipe, &one, &["--fold", "2/3", "--set", "batch.epochs=1"]);
    assert_eq!(summary(&one).state_sha256, summary(&run.join("fold-2")).state_sha256);
    let other =
        tidemill(&["train", text(&recipe), "--out", text(&one), "--resume", "--fold", "1/3"]);
    assert!(stderr(&other).contains("holds out fold 2/3"), "{other:?}");
    let wrong = tidemill(&["train", text(&recipe), "--fold", "4/3"]);
    assert!(stderr(&wrong).contains("such as 2/5"), "{wrong:?}");
}

#[test]
fn a_search_finds_the_better_rate_and_continues() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let out = folder.path().join("search");
    let arguments = [
        "search",
        text(&recipe),
        "--out",
        text(&out),
        "--over",
        "training.optimizer.adam.learning_rate=1e-6,5e-3",
        "--over",
        "batch.batch_size=9,18",
        "--halving",
        "2",
        "--jobs",
        "2",
    ];
    let said = succeed(&arguments);
    let best = said.lines().find(|line| line.starts_with("best: ")).unwrap();
    assert!(best.contains("learning_rate=5e-3"), "{said}");
    assert!(said.lines().next().unwrap().starts_with("run "), "{said}");
    // The best of four has all epochs, the worst ones a quarter.
    let epochs: Vec<u64> = (1..=4).map(|k| summary(&out.join(format!("{k:03}"))).epochs).collect();
    let mut sorted = epochs.clone();
    sorted.sort();
    assert_eq!(sorted, [1, 1, 2, 4], "{said}");
    // A trial that was paused and resumed is the run of the recipe.
    let which = epochs.iter().position(|&n| n == 4).unwrap();
    let (rate, size) = [("1e-6", "9"), ("1e-6", "18"), ("5e-3", "9"), ("5e-3", "18")][which];
    let run = folder.path().join("run");
    let (rate, size) = (
        format!("training.optimizer.adam.learning_rate={rate}"),
        format!("batch.batch_size={size}"),
    );
    train(&recipe, &run, &["--set", &rate, "--set", &size]);
    assert_eq!(
        summary(&run).state_sha256,
        summary(&out.join(format!("{:03}", which + 1))).state_sha256
    );
    assert_eq!(succeed(&arguments), said);
    let page = std::fs::read_to_string(out.join("search.html")).unwrap();
    assert!(page.contains("<table ") && page.contains("002 "), "{page}");
    let other =
        tidemill(&["search", text(&recipe), "--out", text(&out), "--over", "batch.batch_size=3,9"]);
    assert!(stderr(&other).contains("holds a search over other values"), "{other:?}");
    let wrong = tidemill(&["search", text(&recipe), "--over", "batch.bach_size=3,9"]);
    assert!(stderr(&wrong).contains("batch_size"), "{wrong:?}");
    let wrong =
        tidemill(&["search", text(&recipe), "--over", "batch.batch_size=3,9", "--by", "nope"]);
    assert!(stderr(&wrong).contains("which has loss, accuracy"), "{wrong:?}");
    let twice = tidemill(&[
        "search",
        text(&recipe),
        "--over",
        "training.seed=1",
        "--over",
        "training.seed=2",
    ]);
    assert!(stderr(&twice).contains("is given twice"), "{twice:?}");
    // Equal values are one trial; one that fails keeps the others, and is in the status.
    let rates = "training.optimizer.adam.learning_rate=5e-3,0.005,1e39";
    let apart = tempfile::tempdir().unwrap();
    let other = apart.path().join("other");
    let failed = tidemill(&["search", text(&recipe), "--out", text(&other), "--over", rates]);
    let said = stderr(&failed);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains("note: 1 of 3 trials have the same values as others"), "{said}");
    assert!(
        said.ends_with(&format!(
            "error: 1 of 2 trials failed; see {}\n",
            other.join("002.log").display()
        )),
        "{said}"
    );
    assert!(String::from_utf8_lossy(&failed.stdout).contains("best: "), "{failed:?}");
    // A run that is damaged does not keep the others from being compared.
    let damaged = folder.path().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    std::fs::write(damaged.join("recipe.toml"), "").unwrap();
    std::fs::write(damaged.join("metrics.jsonl"), "nothing\n").unwrap();
    let listing = tidemill(&["runs", text(folder.path()), "--by", "validation.loss"]);
    assert!(listing.status.success() && stderr(&listing).contains("left out: "), "{listing:?}");
    // Runs below a folder are compared.
    let listed =
        succeed(&["runs", text(folder.path()), "--out", text(&folder.path().join("runs.html"))]);
    assert!(listed.contains("search/001") && listed.contains("run "), "{listed}");
    assert_eq!(listed.lines().count(), 1 + 5 + 1);
    let none = tempfile::tempdir().unwrap();
    assert!(stderr(&tidemill(&["runs", text(none.path())])).contains("no run is in it"));
}

#[test]
fn a_rate_is_suggested() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let picture = folder.path().join("rates.svg");
    let said = succeed(&[
        "find-rate",
        text(&recipe),
        "--steps",
        "100",
        "--out",
        text(&picture),
        "--threads",
        "1",
    ]);
    let rate: f64 = said
        .split("learning_rate = ")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1e-4..0.1).contains(&rate), "{said}");
    assert!(std::fs::read_to_string(picture).unwrap().starts_with("<svg"));
    let nothing =
        succeed(&["find-rate", text(&recipe), "--from", "1e-12", "--to", "1e-11", "--steps", "30"]);
    assert!(nothing.contains("no rate is suggested"), "{nothing}");
    let wrong = tidemill(&["find-rate", text(&recipe), "--out", "rates.png"]);
    assert!(stderr(&wrong).contains("FILE.svg"), "{wrong:?}");
    let output = tidemill(&["find-rate", text(&recipe), "--from", "1", "--to", "0.1"]);
    assert_eq!(output.status.code(), Some(2));
    // It leaves nothing behind.
    assert!(!folder.path().join("runs").exists());
}
