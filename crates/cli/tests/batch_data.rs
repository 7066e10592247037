//! Batch data as people have them: broken, hidden and linked files, labels that do not fit, classes
//! that do not occur, batches and threads beyond all bounds.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::{Path, PathBuf};

use common::*;

/// A folder of digits with the given classes and images of each; gives it.
fn images(folder: &Path, name: &str, classes: &[&str], each: usize) -> PathBuf {
    let root = folder.join(name);
    for (i, class) in classes.iter().enumerate() {
        std::fs::create_dir_all(root.join(class)).unwrap();
        let from = digits().join("digits/train").join(i.to_string());
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(from).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        for (n, file) in files.iter().take(each).enumerate() {
            std::fs::copy(file, root.join(class).join(format!("{n}.png"))).unwrap();
        }
    }
    root
}

/// A recipe of a linear model over image folders.
fn image_recipe(folder: &Path, units: usize, batch: &str) -> PathBuf {
    let path = folder.join("p.toml");
    let text = format!(
        r#"[model]
input = {{ image = {{ height = 8, width = 8, channels = 1 }} }}
layers = [{{ flatten = {{}} }}, {{ dense = {{ units = {units} }} }}]
[training]
loss = "sparse_categorical_crossentropy"
optimizer = {{ sgd = {{ learning_rate = 0.01 }} }}
[batch]
batch_size = 4
{batch}
"#
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// A recipe over a table of two numbers and a class of two.
fn table_recipe(folder: &Path, rows: usize, layers: &str, batch: &str) -> PathBuf {
    let mut table = "a,b,y\n".to_owned();
    for i in 0..rows {
        table += &format!("{},{},{}\n", (i * 7 % 5) as f64 / 5.0, (i * 3 % 7) as f64 / 7.0, i % 2);
    }
    std::fs::write(folder.join("t.csv"), table).unwrap();
    let path = folder.join("p.toml");
    let text = format!(
        r#"[model]
input = {{ features = 2 }}
layers = [{layers}]
[training]
loss = "sparse_categorical_crossentropy"
optimizer = {{ sgd = {{ learning_rate = 0.1 }} }}
[batch]
data = {{ csv = {{ path = "t.csv", label = "y" }} }}
{batch}
"#
    );
    std::fs::write(&path, text).unwrap();
    path
}

const NORM: &str = "{ dense = { units = 4 } }, { batch_norm = {} }, { dense = { units = 2 } }";

/// Runs, and gives status and error.
fn status_of(arguments: &[&str]) -> (i32, String) {
    let output = tidemill(arguments);
    (output.status.code().unwrap_or(-1), stderr(&output))
}

#[test]
fn a_last_batch_that_cannot_be_trained_is_known_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = table_recipe(folder.path(), 9, NORM, "batch_size = 8");
    let run = folder.path().join("run");
    for command in [&["doctor", text(&recipe)][..], &["train", text(&recipe), "--out", text(&run)]]
    {
        let output = tidemill(command);
        let printed = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(2), "{printed}");
        let want =
            "batch.batch_size: the last batch of the 9 samples has 1, and layers.1.batch_norm: ";
        assert!(printed.contains(want) && printed.contains("drop_remainder"), "{printed}");
    }
    assert!(!run.exists());
    let drop = "batch.drop_remainder=true";
    succeed(&["train", text(&recipe), "--out", text(&run), "--set", drop]);
}

#[test]
fn validation_that_cannot_be_measured_is_known_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let data = images(folder.path(), "d", &["a", "b"], 5);
    let validation = images(folder.path(), "v", &["a", "b"], 2);
    let both = format!(
        "data = {{ image_directory = {{ path = {data:?} }} }}\n\
         validation = {{ image_directory = {{ path = {validation:?} }} }}"
    );
    let recipe = image_recipe(folder.path(), 2, &both);
    std::fs::write(validation.join("b/1.png"), b"no image").unwrap();
    let run = folder.path().join("run");
    let (status, error) = status_of(&["train", text(&recipe), "--out", text(&run)]);
    assert!(status == 1 && error.contains("v/b/1.png: cannot be decoded"), "{error}");
    assert!(!run.exists());

    // A label beyond the model's outputs, in IDX files of 2 x 1 pixels.
    let idx = |name: &str, labels: &[u8]| {
        let n = labels.len() as u8;
        let mut x = vec![0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 2, 0, 0, 0, 1];
        x.extend((0..2 * n).map(|i| i * 20));
        let mut y = vec![0, 0, 8, 1, 0, 0, 0, n];
        y.extend(labels);
        std::fs::write(folder.path().join(format!("{name}.x")), x).unwrap();
        std::fs::write(folder.path().join(format!("{name}.y")), y).unwrap();
        format!("{{ idx = {{ images = \"{name}.x\", labels = \"{name}.y\" }} }}")
    };
    let (train, test) = (idx("train", &[0, 1, 0, 1]), idx("test", &[0, 1, 2]));
    let recipe = image_recipe(folder.path(), 2, &format!("data = {train}\nvalidation = {test}"));
    let size = ["--set", "model.input={ image = { height = 2, width = 1, channels = 1 } }"];
    let arguments = ["train", text(&recipe), "--out", text(&run)];
    let (status, error) = status_of(&[&arguments[..], &size].concat());
    let want = "batch.validation: test.x:2 has the label 2, and the model's outputs are for the classes 0 to 1";
    assert!(status == 2 && error.contains("the label 2, and the model's"), "{want}: {error}");
    assert!(!run.exists());
}

#[test]
fn eval_takes_data_that_lacks_a_class() {
    let folder = tempfile::tempdir().unwrap();
    let data = images(folder.path(), "d", &["a", "b", "c"], 4);
    let validation = images(folder.path(), "v", &["a", "b", "c"], 2);
    std::fs::remove_dir_all(validation.join("b")).unwrap();
    let both = format!(
        "data = {{ image_directory = {{ path = {data:?} }} }}\n\
         validation = {{ image_directory = {{ path = {validation:?} }} }}"
    );
    let recipe = image_recipe(folder.path(), 3, &both);
    let run = folder.path().join("run");
    let trained = tidemill(&["train", text(&recipe), "--out", text(&run), "--json"]);
    assert!(stderr(&trained).contains("batch.validation: no sample of b"), "{trained:?}");
    let accuracy = summary(&run).validation["accuracy"];
    for more in [&[][..], &["--data", text(&validation)]] {
        let found = succeed(&[&["eval", text(&run), "--json"][..], more].concat());
        let found: serde_json::Value = serde_json::from_str(&found).unwrap();
        assert_eq!(found["figures"]["accuracy"], accuracy);
        // The matrix has all classes: rows of true ones, columns of predicted ones.
        assert_eq!(found["classes"].as_array().unwrap().len(), 3);
        assert_eq!(found["classes"][1]["class"], "b");
        assert_eq!(found["classes"][1]["samples"], 0);
        let total: u64 = (0..9).map(|i| found["confusion"][i / 3][i % 3].as_u64().unwrap()).sum();
        assert_eq!(total, 4);
    }
    let printed = succeed(&["eval", text(&run)]);
    for part in ["precision", "recall", "F1", "mean", "is \\ predicted"] {
        assert!(printed.contains(part), "{printed}");
    }
    // One that the model does not know is an error as before.
    std::fs::create_dir(validation.join("x")).unwrap();
    let (status, error) = status_of(&["eval", text(&run)]);
    assert!(status == 2 && error.contains("does not have the sub-folder \"x\""), "{error}");
}

#[test]
fn predict_takes_the_files_that_training_takes() {
    let folder = tempfile::tempdir().unwrap();
    let data = images(folder.path(), "d", &["a", "b"], 3);
    let recipe = image_recipe(
        folder.path(),
        2,
        &format!("data = {{ image_directory = {{ path = {data:?} }} }}"),
    );
    let run = folder.path().join("run");
    std::fs::write(data.join("a/._0.png"), b"what a Mac leaves on other disks").unwrap();
    std::fs::create_dir(data.join(".thumbnails")).unwrap();
    std::fs::copy(data.join("a/0.png"), data.join(".thumbnails/0.png")).unwrap();
    #[cfg(unix)]
    for name in ["up", "up2"] {
        std::os::unix::fs::symlink("..", data.join("a").join(name)).unwrap();
    }
    succeed(&["train", text(&recipe), "--out", text(&run)]);
    let predicted = succeed(&["predict", text(&run), "--data", text(&data)]);
    assert_eq!(predicted.lines().count(), 1 + 6, "{predicted}");
    // One broken file among others is left out with a count, and the others are predicted.
    let broken = data.join("a/1.png");
    std::fs::write(&broken, b"broken").unwrap();
    let output = tidemill(&["predict", text(&run), "--data", text(&data)]);
    let notes = stderr(&output);
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1 + 5);
    assert!(output.status.success() && notes.contains("1 broken sample was left out"), "{notes}");
    assert!(notes.contains("the weights are those of step 2 ("), "{notes}");
    // Nothing but what is broken, or what is not there, is a failure.
    let (status, error) = status_of(&["predict", text(&run), "--data", text(&broken)]);
    assert!(status == 1 && error.contains("nothing could be predicted"), "{error}");
    let skip = "batch.data.image_directory.broken_files=skip";
    succeed(&["train", text(&recipe), "--out", text(&run), "--force", "--set", skip]);
    let missing = folder.path().join("no.png");
    for command in ["predict", "eval"] {
        let (status, error) = status_of(&[command, text(&run), "--data", text(&missing)]);
        assert!(status == 2 && error.contains("no.png: there is no such file"), "{error}");
    }
}

#[test]
fn truncated_images_are_broken_files() {
    let folder = tempfile::tempdir().unwrap();
    let data = images(folder.path(), "d", &["a", "b"], 3);
    let recipe = image_recipe(
        folder.path(),
        2,
        &format!("data = {{ image_directory = {{ path = {data:?} }} }}"),
    );
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/fixtures/baseline.jpg");
    let whole = std::fs::read(whole).unwrap();
    std::fs::write(data.join("a/cut.jpg"), &whole[..whole.len() * 9 / 10]).unwrap();
    let run = folder.path().join("run");
    let train = ["train", text(&recipe), "--out", text(&run)];
    let (status, error) = status_of(&train);
    let what = "cut.jpg: cannot be decoded as an image: the file is truncated";
    assert!(status == 1 && error.contains(what), "{error}");
    let doctor = tidemill(&["doctor", text(&recipe)]);
    let printed = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.status.code() == Some(2) && printed.contains(what), "{printed}");
    // What was learned before the file came is kept, and the run continues once it is repaired.
    let ordered = ["--set", "batch.shuffle=false", "--set", "batch.batch_size=1"];
    std::fs::rename(data.join("a/cut.jpg"), data.join("b/cut.jpg")).unwrap();
    let (status, error) = status_of(&[&train[..], &ordered, &["--force"]].concat());
    assert!(status == 1 && error.contains("kept in the checkpoint of step 6; --resume"), "{error}");
    std::fs::write(data.join("b/cut.jpg"), &whole).unwrap();
    succeed(&[&train[..], &ordered, &["--resume"]].concat());
    let resumed = summary(&run);
    succeed(&[&train[..], &ordered, &["--force"]].concat());
    assert_eq!((resumed.steps, resumed.state_sha256), (7, summary(&run).state_sha256));
}

#[test]
fn sizes_beyond_all_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = table_recipe(folder.path(), 40, "{ dense = { units = 2 } }", "epochs = 2");
    let run = |name: &str| folder.path().join(name);
    let train = |name: &str, more: &[&str]| {
        let out = run(name);
        let output = tidemill(&[&["train", text(&recipe), "--out", text(&out)][..], more].concat());
        (output.status.code(), stderr(&output))
    };
    // A batch of all samples is one, however large the number.
    for (name, size) in [("all", "40"), ("more", "99999999")] {
        let (status, error) = train(name, &["--set", &format!("batch.batch_size={size}")]);
        assert_eq!(status, Some(0), "{error}");
    }
    assert_eq!(summary(&run("all")).state_sha256, summary(&run("more")).state_sha256);
    let explain = tidemill(&["explain", text(&recipe), "--set", "batch.batch_size=99999999999"]);
    let error = stderr(&explain);
    assert!(explain.status.code() != Some(134) && !error.contains("panicked"), "{error}");
    assert!(explain.status.success() || error.contains("the run needs"), "{error}");

    let (status, error) = train("threads", &["--threads", "20000"]);
    assert!(status == Some(2) && error.contains("20000 is not in 1..=1024"), "{error}");
    let (status, error) = train("data", &["--set", "batch.data_threads=20000"]);
    assert!(status == Some(2), "{error}");
    assert!(error.contains("batch.data_threads must be 0 to 1024, found 20000"), "{error}");
}

#[test]
fn memory_is_refused_before_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let wide = "{ dense = { units = 20000000, activation = \"relu\" } }, { dense = { units = 2 } }";
    let recipe = table_recipe(folder.path(), 20, wide, "");
    let run = folder.path().join("run");
    let train = ["train", text(&recipe), "--out", text(&run), "--memory", "100MB"];
    // The process may not even have the memory that the model would take.
    let script = r#"ulimit -v 4000000 2>/dev/null; exec "$0" "$@""#;
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_tidemill")]).args(train);
    let output = command.output().unwrap();
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("error: --memory 100.0 MB: the run needs "), "{error}");
    assert!(!run.exists());

    // What images take once they are decoded is part of it.
    let data = images(folder.path(), "d", &["a", "b"], 6);
    let set = format!("{{ image_directory = {{ path = {data:?} }} }}");
    let recipe = image_recipe(folder.path(), 2, &format!("data = {set}\nvalidation = {set}"));
    let large = ["--set", "model.input={ image = { height = 1000, width = 1000, channels = 1 } }"];
    let train = ["train", text(&recipe), "--out", text(&run), "--memory"];
    let (status, error) = status_of(&[&train[..], &["30MB"], &large].concat());
    assert!(status == 2 && error.contains("data that is cached or read ahead"), "{error}");
    let json = ["--json"];
    let printed = succeed(&[&train[..], &["300MB"], &large, &json].concat());
    let summary: serde_json::Value = serde_json::from_str(printed.trim()).unwrap();
    assert!(summary["peak_rss_bytes"].as_u64().unwrap() < 300_000_000, "{printed}");
}

#[test]
fn tables_and_idx_files_are_split() {
    let folder = tempfile::tempdir().unwrap();
    let batch = "epochs = 2";
    let recipe = table_recipe(folder.path(), 40, "{ dense = { units = 2 } }", batch);
    let side = |subset: &str| {
        format!(
            "{{ csv = {{ path = \"t.csv\", label = \"y\", validation_split = 0.25, seed = 3, subset = \
             \"{subset}\" }} }}"
        )
    };
    let (train, test) = (side("training"), side("validation"));
    let set = [format!("batch.data={train}"), format!("batch.validation={test}")];
    let run = folder.path().join("run");
    let arguments = ["train", text(&recipe), "--out", text(&run)];
    succeed(&[&arguments[..], &["--set", &set[0], "--set", &set[1]]].concat());
    let found = summary(&run);
    assert_eq!(found.samples, 2 * 30);
    // All of it again, and one side.
    let of = |arguments: &[&str]| {
        let printed = succeed(&[&["eval", text(&run), "--json"][..], arguments].concat());
        let line: serde_json::Value = serde_json::from_str(&printed).unwrap();
        let classes = line["classes"].as_array().unwrap().iter();
        classes.map(|class| class["samples"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(of(&[]), 10);
    assert_eq!(of(&["--data", text(&folder.path().join("t.csv"))]), 40);
    let bad = "batch.data.csv.validation_split=1.5";
    let half = "batch.data.csv.subset=training";
    let (status, error) =
        status_of(&[&arguments[..], &["--force", "--set", bad, "--set", half]].concat());
    assert!(status == 2 && error.contains("validation_split must be between 0 and 1"), "{error}");
}

#[test]
fn columns_are_passed_on_beside_predictions_and_bad_rows_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = table_recipe(folder.path(), 20, "{ dense = { units = 2 } }", "");
    let run = folder.path().join("run");
    succeed(&["train", text(&recipe), "--out", text(&run)]);
    let rows = folder.path().join("rows.csv");
    std::fs::write(
        &rows,
        "id,b,a,name\n7,0.1,0.2,\"Doe, J.\"\n8,,0.2,Roe\n9,many,0.3,Poe\n10,0.4,0.5,Moe\n11,0.4\n",
    )
    .unwrap();
    let predict = ["predict", text(&run), "--data", text(&rows), "--keep", "id,name"];
    let output = tidemill(&predict);
    let (printed, notes) = (String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output));
    assert!(output.status.success(), "{notes}");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "file,id,name,class,probability");
    // An empty number is a missing one, and so is a word in a column of numbers; a short row is bad.
    assert_eq!(lines.len(), 1 + 4, "{printed}");
    assert!(lines[1].contains(":2,7,\"Doe, J.\",") && lines[4].contains(":5,10,Moe,"), "{printed}");
    assert!(notes.contains("column `b`: 1 value is no number and missing"), "{notes}");
    assert!(notes.contains("1 broken sample was left out"), "{notes}");
    let json = succeed(&[&predict[..], &["--json"]].concat());
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["kept"], serde_json::json!({ "id": "7", "name": "Doe, J." }));
    let (status, error) =
        status_of(&["predict", text(&run), "--data", text(&rows), "--keep", "idd"]);
    assert!(status != 0 && error.contains("there is no column \"idd\""), "{error}");
}
