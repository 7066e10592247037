//! Hold-out by group: what belongs together is on one side.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write;

use common::*;

/// Rows whose class depends on the patient alone, which `x` names: easy to know by heart, not to foresee.
fn table(folder: &std::path::Path) -> std::path::PathBuf {
    let mut text = "patient,x,class\n".to_owned();
    for i in 0..240 {
        let patient = i * 7 % 24;
        writeln!(text, "p{patient},{},{}", patient * patient % 31, patient * 5 % 13 % 2).unwrap();
    }
    let path = folder.join("t.csv");
    std::fs::write(&path, text).unwrap();
    let data = |side: &str| {
        format!(
            "{{ csv = {{ path = \"t.csv\", label = \"class\", group = \"patient\", validation_split = 0.25, \
             subset = \"{side}\" }} }}"
        )
    };
    let recipe = folder.join("t.toml");
    let text = format!(
        "[model]\ninput = {{ features = 1 }}\nlayers = [{{ dense = {{ units = 2 }} }}]\n\
         [training]\nloss = \"sparse_categorical_crossentropy\"\noptimizer = \"adam\"\n\
         [batch]\ndata = {}\nvalidation = {}\nbatch_size = 16\nepochs = 1\n",
        data("training"),
        data("validation")
    );
    std::fs::write(&recipe, text).unwrap();
    recipe
}

#[test]
fn tables_by_a_column_and_folds_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = table(folder.path());
    let run = folder.path().join("run");
    succeed(&["train", text(&recipe), "--out", text(&run)]);
    assert_eq!(summary(&run).samples, 180);
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("t.csv: 60 samples"), "{page}");
    // The column is no input, and need not be there later.
    let rows = folder.path().join("rows.csv");
    std::fs::write(&rows, "x,class\n3,0\n4,1\n").unwrap();
    succeed(&["eval", text(&run), "--data", text(&rows)]);
    succeed(&["predict", text(&run), "--data", text(&rows)]);
    let more = folder.path().join("more");
    succeed(&[
        "learn",
        text(&run),
        "--from",
        text(&folder.path().join("t.csv")),
        "--out",
        text(&more),
    ]);

    let folds = folder.path().join("folds");
    let printed = succeed(&["train", text(&recipe), "--out", text(&folds), "--folds", "4"]);
    assert!(printed.contains("on average over 4 folds"), "{printed}");
    for number in 1..=4 {
        assert_eq!(summary(&folds.join(format!("fold-{number}"))).samples, 180);
    }
    let few = tidemill(&["train", text(&recipe), "--out", text(&run), "--force", "--fold", "1/30"]);
    let error = stderr(&few);
    assert!(error.contains("finds 24 groups, too few for 30 folds"), "{error}");
    let none = "batch.data={ csv = { path = \"t.csv\", group = \"patient\" } }";
    let output = tidemill(&["train", text(&recipe), "--out", text(&run), "--force", "--set", none]);
    let error = stderr(&output);
    assert!(error.contains("t.csv: group needs validation_split"), "{error}");
}

#[test]
fn images_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    for class in 0..10 {
        let class = class.to_string();
        std::fs::create_dir_all(images.join(&class)).unwrap();
        let from = digits().join("digits/test").join(&class);
        let mut files: Vec<_> = from.read_dir().unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        for (i, file) in files.iter().enumerate() {
            let name = format!("writer{}_{i}.png", i % 5);
            std::fs::copy(file, images.join(&class).join(name)).unwrap();
        }
    }
    let data = |side: &str, group: &str| {
        format!(
            "{{ image_directory = {{ path = \"{}\", validation_split = 0.4, subset = \"{side}\", group = \
             \"{group}\", color_mode = \"grayscale\" }} }}",
            images.display()
        )
    };
    let recipe = recipe(folder.path(), MLP, "");
    let run = folder.path().join("run");
    let train = |pattern: &str, more: &[&str]| {
        let set = [
            format!("batch.data={}", data("training", pattern)),
            format!("batch.validation={}", data("validation", pattern)),
        ];
        let arguments =
            ["train", text(&recipe), "--out", text(&run), "--set", &set[0], "--set", &set[1]];
        tidemill(&[&arguments[..], &["--set", "batch.epochs=1"], more].concat())
    };
    let trained = train("{group}_{}", &[]);
    assert!(trained.status.success(), "{}", stderr(&trained));
    let line = succeed(&["predict", text(&run), "--data", text(&images), "--json"]);
    let writers: BTreeSet<&str> =
        line.lines().filter_map(|l| l.split("writer").nth(1)?.split('_').next()).collect();
    assert_eq!(writers.len(), 5, "{line}");
    let (all, trained) = (line.lines().count() as u64, summary(&run).samples);
    assert_eq!(trained, all * 3 / 5, "two of five writers are held out");
    let wrong = train("{group}-{}", &["--force"]);
    assert!(stderr(&wrong).contains("does not fit the name"), "{}", stderr(&wrong));
    let wrong = train("writer_{}", &["--force"]);
    assert!(stderr(&wrong).contains("lacks {group}"), "{}", stderr(&wrong));
}
