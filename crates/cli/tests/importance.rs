//! What a run shows of its validation data: the diagrams of its page, and the importance of columns.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use common::*;

/// 400 rows in which `y` follows from `a`, a little from `kind`, and not from `noise`; `class` is whether it is above 0.
fn table(folder: &Path) -> PathBuf {
    let mut random = random();
    let mut text = "a,noise,kind,y,class\n".to_owned();
    for _ in 0..400 {
        let mut number = || random(2001) as f64 / 1000.0 - 1.0;
        let (a, noise) = (number(), number());
        let kind = if number() > 0.0 { "x" } else { "z" };
        let y = 100.0 * (a + if kind == "x" { 0.2 } else { -0.2 }) + 500.0;
        let class = if y > 500.0 { "yes" } else { "no" };
        writeln!(text, "{a},{noise},{kind},{y},{class}").unwrap();
    }
    let path = folder.join("t.csv");
    std::fs::write(&path, text).unwrap();
    path
}

fn run(folder: &Path, label: &str, exclude: &str, loss: &str) -> PathBuf {
    let data = |side: &str| {
        format!(
            "{{ csv = {{ path = \"t.csv\", label = \"{label}\", exclude = [\"{exclude}\"], scale_targets = {}, \
             validation_split = 0.25, subset = \"{side}\" }} }}",
            loss == "huber"
        )
    };
    let recipe = format!(
        "[model]\ninput = {{ features = 4 }}\nlayers = [{{ dense = {{ units = 1 }} }}]\n\
         [training]\nloss = \"{loss}\"\noptimizer = {{ adam = {{ learning_rate = 0.05 }} }}\nseed = 2\n\
         [batch]\ndata = {}\nvalidation = {}\nbatch_size = 16\nepochs = 12\n\
         [online.features]\ntext = {{ dictionary = {{ capacity = 1 }} }}\n",
        data("training"),
        data("validation")
    );
    let path = folder.join(format!("{label}.toml"));
    std::fs::write(&path, recipe).unwrap();
    let run = folder.join(format!("run <{label}>"));
    succeed(&["train", text(&path), "--out", text(&run)]);
    run
}

fn report(run: &Path) -> String {
    std::fs::read_to_string(run.join("report.html")).unwrap()
}

#[test]
fn columns_that_say_nothing_matter_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = table(folder.path());
    let run = run(folder.path(), "y", "class", "huber");
    let json = |more: &[&str]| -> serde_json::Value {
        let printed = succeed(&[&["importance", text(&run), "--json"][..], more].concat());
        serde_json::from_str(&printed).unwrap()
    };
    let found = json(&["--repeats", "7"]);
    assert_eq!((&found["metric"], &found["samples"]), (&"mae".into(), &100.into()));
    assert_eq!(found["value"].as_f64().unwrap(), summary(&run).validation["mae"]);
    let columns = found["columns"].as_array().unwrap();
    let names: Vec<&str> = columns.iter().map(|c| c["column"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "kind", "noise"]);
    let mean = |i: usize| columns[i]["mean"].as_f64().unwrap();
    // |a - b| of two numbers from -1 to 1 is 2/3 on average, and half of the kinds are the others.
    assert!((mean(0) - 66.7).abs() < 8.0, "{found}");
    assert!((mean(1) - 20.0).abs() < 4.0 && mean(2).abs() < 1.0, "{found}");
    let each: Vec<f64> =
        columns[0]["each"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!(each.len(), 7);
    assert!((each.iter().sum::<f64>() / 7.0 - mean(0)).abs() < 1e-9);
    let deviation = (each.iter().map(|v| (v - mean(0)).powi(2)).sum::<f64>() / 7.0).sqrt();
    assert!((deviation - columns[0]["standard_deviation"].as_f64().unwrap()).abs() < 1e-9);
    assert!(deviation > 0.0);

    // The seed decides, not the threads; another seed is another draw.
    assert_eq!(found, json(&["--repeats", "7", "--threads", "1"]));
    assert_ne!(found["columns"], json(&["--repeats", "7", "--seed", "1"])["columns"]);
    // What is less when it is worse is still a positive importance.
    let r2 = json(&["--metric", "r2", "--data", text(&data)]);
    assert_eq!(
        (&r2["samples"], r2["columns"][0]["mean"].as_f64().unwrap() > 1.0),
        (&400.into(), true)
    );

    let picture = folder.path().join("columns.svg");
    let printed = succeed(&["importance", text(&run), "--out", text(&picture)]);
    assert!(
        printed.contains("mae of 100 samples") && printed.contains("column        mean"),
        "{printed}"
    );
    assert!(std::fs::read_to_string(picture).unwrap().contains(">noise</text>"));
}

#[test]
fn what_cannot_be_shuffled_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    table(folder.path());
    let run = run(folder.path(), "class", "y", "binary_crossentropy");
    let error = |arguments: &[&str]| {
        let output = tidemill(&[&["importance"][..], arguments].concat());
        (output.status.code(), stderr(&output))
    };
    let (code, wrong) = error(&[text(&run), "--metric", "mae"]);
    assert!(code == Some(2) && wrong.contains("--metric mae: is not defined"), "{wrong}");
    let (code, wrong) = error(&[text(&run), "--metric", "acuracy"]);
    assert!(code == Some(2) && wrong.contains("must be one of accuracy"), "{wrong}");
    let (code, wrong) = error(&[text(&run), "--out", "a.png"]);
    assert!(code == Some(2) && wrong.contains("the picture is an SVG file"), "{wrong}");
    let images = recipe(folder.path(), MLP, "");
    let images_run = folder.path().join("images");
    succeed(&["train", text(&images), "--out", text(&images_run), "--set", "batch.epochs=1"]);
    let (code, wrong) = error(&[text(&images_run)]);
    assert!(
        code == Some(2) && wrong.contains("importance shuffles the columns of a table"),
        "{wrong}"
    );
}

#[test]
fn the_page_draws_what_validation_showed() {
    let folder = tempfile::tempdir().unwrap();
    table(folder.path());
    let classes = run(folder.path(), "class", "y", "binary_crossentropy");
    let page = report(&classes);
    for wanted in [
        "<title>class in ",
        "run &lt;class&gt;",
        "<b>Calibration</b>",
        "expected calibration error",
        "ROC, with the area under the curve",
        "probability of the predicted class</text>",
        "t.csv: 300 samples",
        "t.csv: 100 samples",
        "<dt>command</dt>",
        " UTC</dd>",
        "train ",
        ">epoch</text>",
    ] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
    assert!(!page.contains("<b>Errors</b>") && !page.contains("NaN"));

    let values = report(&run(folder.path(), "y", "class", "huber"));
    assert!(values.contains("<b>Errors</b>") && values.contains("Predicted by true value"));
    assert!(values.contains("predicted less true value</text>") && !values.contains("Calibration"));
    // In the units of the labels, which are around 500.
    assert!(values.contains(">400</text>") && values.contains(">600</text>"), "{values}");

    // A stop that nobody could foresee: what is drawn is measured when the run is over.
    let recipe = folder.path().join("class.toml");
    let stopped = folder.path().join("stopped");
    let patience = "stop.patience={ epochs = 1, metric = \"train.loss\", min_delta = 100.0 }";
    succeed(&["train", text(&recipe), "--out", text(&stopped), "--set", patience]);
    assert_eq!(summary(&stopped).stopped_by, "patience");
    assert!(report(&stopped).contains("<b>Calibration</b>"));
    let plain = folder.path().join("plain");
    let set = ["--set", "report.html=false", "--set", "batch.epochs=1"];
    succeed(&[&["train", text(&recipe), "--out", text(&plain)][..], &set].concat());
    assert!(!plain.join("report.html").exists());
}
