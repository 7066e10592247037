//! Runs that are killed or interrupted, and go on.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::place::Place;
use common::*;

/// Kills of each kind of model: 30 over the five of them. `TIDEMILL_KILLS` asks for more.
fn kills() -> usize {
    std::env::var("TIDEMILL_KILLS").map_or(6, |n| n.parse().unwrap())
}

/// A small residual network with batch normalization: running statistics are state too.
const RESNET: &str = r#"{ conv2d = { filters = 4, kernel = 3, padding = "same", bias = false } },
    { batch_norm = {} },
    { activation = "relu" },
    { residual = { activation = "relu", layers = [
        { conv2d = { filters = 4, kernel = 3, padding = "same", bias = false } },
        { batch_norm = {} },
    ] } },
    { residual = { activation = "relu", layers = [
        { conv2d = { filters = 8, kernel = 3, stride = 2, padding = "same", bias = false } },
        { batch_norm = {} },
    ], shortcut = [
        { conv2d = { filters = 8, kernel = 1, stride = 2, padding = "same", bias = false } },
        { batch_norm = {} },
    ] } },
    { global_avg_pool = {} },
    { dense = { units = 10 } }"#;

/// Kills runs of a recipe at random moments until they have been killed often enough; each must end
/// as the run that was left alone.
fn killed_often(folder: &Path, recipe: &Path) {
    let whole = folder.join("whole");
    let epochs = ["--set", "batch.epochs=12"];
    let start = Instant::now();
    succeed(&[&["train", text(recipe), "--out", text(&whole)], &epochs[..]].concat());
    let usual = start.elapsed().as_secs_f64();
    let (want, lines) = (summary(&whole).state_sha256, metrics(&whole));
    assert_eq!(lines.len(), 12);

    let (mut killed, mut round, mut random) = (0, 0, dice());
    while killed < kills() {
        let run = folder.join(format!("run-{round}"));
        round += 1;
        loop {
            let arguments =
                [&["train", text(recipe), "--out", text(&run), "--resume"], &epochs[..]].concat();
            let mut child =
                command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            sleep(Duration::from_secs_f64(usual * random()));
            if child.try_wait().unwrap().is_some() {
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
            if killed >= kills() {
                succeed(&arguments);
                break;
            }
        }
        check(&run, &want, &lines);
        assert_eq!(steps(&run), steps(&whole), "another log than without kills");
    }
}

/// The lines of `steps.jsonl` without the time, if there are some.
fn steps(run: &Path) -> Vec<serde_json::Value> {
    let lines = std::fs::read_to_string(run.join("steps.jsonl")).unwrap_or_default();
    let line = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("wall_seconds").unwrap();
        value
    };
    lines.lines().map(line).collect()
}

fn check(run: &Path, want: &str, lines: &[serde_json::Value]) {
    assert_eq!(summary(run).state_sha256, want, "other weights than without kills");
    assert_eq!(metrics(run), lines, "other metrics than without kills");
}

/// The same for `layers` on the digits.
fn killed_on_digits(layers: &str) {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), layers, "[checkpoint]\nevery_steps = 5");
    killed_often(folder.path(), &recipe);
}

#[test]
fn a_killed_dense_model_ends_with_the_same_bits() {
    killed_on_digits(MLP);
}

#[test]
fn a_killed_convolution_ends_with_the_same_bits() {
    killed_on_digits(CNN);
}

#[test]
fn a_killed_residual_network_ends_with_the_same_bits() {
    killed_on_digits(RESNET);
}

/// What a run has around its steps, all of it.
const AROUND: &str = r#"balanced = true
augment  = { random_crop = { padding = 2 }, horizontal_flip = 0.5, affine = { rotate = 10, scale = [0.9, 1.1] }, rand_augment = {},
             color_jitter = { brightness = 0.2 }, erase = {}, elastic = {}, mixup = {}, cutmix = {} }
[training.plateau]
metric = "validation.loss"
epochs = 1
factor = 0.7
[training.average]
ema = 0.95
[training.spikes]
window = 10
every  = 7
deviations = 2.5
most   = 1000
[stop.patience]
epochs = 1000
restore_best = true
[checkpoint]
every_steps = 5
keep_best   = 2
[log]
every_steps = 3
csv         = true
tensorboard = true
histograms  = 1
images      = 2
"#;

#[test]
fn a_killed_run_with_all_around_its_steps_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), CNN, AROUND);
    killed_often(folder.path(), &recipe);
    // The spikes are real, and their rollbacks are among what has to be the same.
    let whole = std::fs::read_to_string(folder.path().join("whole/summary.json")).unwrap();
    let found: serde_json::Value = serde_json::from_str(&whole).unwrap();
    assert!(found["rollbacks"].as_u64().is_some_and(|n| n > 0), "{found}");
}

#[test]
fn a_killed_embedding_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = words_recipe(folder.path());
    killed_often(folder.path(), &recipe);
}

/// A recipe over a table of ids, whose class is the parity of their sum; the optimizer has no state
/// that the digits' Adam has.
fn words_recipe(folder: &Path) -> PathBuf {
    let mut table = "a,b,c,d,class\n".to_string();
    for i in 0..120u32 {
        let ids = [i % 7, i * 5 % 11, i * 3 % 20, i * 13 % 17];
        table += &ids.map(|id| format!("{id},")).concat();
        table += if ids.iter().sum::<u32>() % 2 == 0 { "even\n" } else { "odd\n" };
    }
    std::fs::write(folder.join("words.csv"), table).unwrap();
    let path = folder.join("recipe.toml");
    let recipe = r#"[model]
input  = { ids = { length = 4, vocabulary = 20 } }
layers = [
    { embedding = { vocabulary = 20, units = 8 } },
    { layer_norm = {} },
    { flatten = {} },
    { dropout = { rate = 0.1 } },
    { dense = { units = 2 } },
]
[training]
loss      = "sparse_categorical_crossentropy"
optimizer = { sgd = { learning_rate = 0.05, momentum = 0.9, nesterov = true, global_clip_norm = 1.0 } }
[batch]
data       = { csv = { path = "words.csv", label = "class" } }
validation = { csv = { path = "words.csv", label = "class" } }
batch_size = 9
[checkpoint]
every_steps = 5
"#;
    std::fs::write(&path, recipe).unwrap();
    path
}

#[test]
fn control_c_leaves_a_checkpoint_and_130() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), MLP, "");
    let run = folder.path().join("run");
    let arguments =
        ["train", text(&recipe), "--out", text(&run), "--set", "batch.epochs=1000000", "--json"];
    let child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    while !run.join("metrics.jsonl").exists() || metrics(&run).is_empty() {
        sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let summary = summary(&run);
    assert_eq!(summary.stopped_by, "interrupt");
    assert!(run.join(format!("checkpoints/{}/state.safetensors", summary.steps)).exists());
    // And it goes on from there.
    let more = format!("stop.steps={}", summary.steps + 3);
    let epochs = ["--set", "batch.epochs=1000000"];
    let resume = ["train", text(&recipe), "--out", text(&run), "--resume", "--set", &more];
    succeed(&[&resume[..], &epochs].concat());
    assert!(common::summary(&run).steps == summary.steps + 3);
}

const CLASSES: &str = r#"[model]
input  = { features = 2 }
layers = [{ dense = { units = 16, activation = "relu" } }, { dense = { units = 2 } }]
[training]
loss = "sparse_categorical_crossentropy"
"#;

/// 200 rows of two numbers and a class.
fn stored() -> String {
    let row = |i: usize| format!("{},{},{}\n", i % 7, i % 5, usize::from(i % 7 > i % 5));
    "a,b,y\n".to_owned() + &(0..200).map(row).collect::<String>()
}

/// A run that replaces another takes nothing over from it, and nothing that is left of one blocks a start.
#[test]
fn a_run_that_is_replaced_leaves_nothing_behind() {
    let place = Place::new(CLASSES);
    place.write("data.csv", &stored());
    let batches = || std::fs::read_to_string(place.path("run/batches.jsonl")).unwrap();
    place.learned("data.csv", &["--set", "online.max_batch=32", "--set", "online.max_delay_ms=50"]);
    assert!(batches().lines().any(|len| len == "32"), "{}", batches());
    let small = ["--set", "online.max_batch=4"];
    for again in ["--force", "--from-start"] {
        let resume = if again == "--force" { &[][..] } else { &["--resume"] };
        place.learned("data.csv", &[&[again], resume, &small].concat());
        assert!(
            batches().lines().all(|len| len.len() == 1 && len <= "4"),
            "{again}: {}",
            batches()
        );
    }
    place.learned("data.csv", &["--force"]);
    assert!(!place.path("run/batches.jsonl").exists());
    std::fs::remove_dir_all(place.path("run")).unwrap();
    std::fs::create_dir_all(place.path("run/labels")).unwrap();
    place.write("run/.lock", "");
    place.write("run/batches.jsonl", "32\n");
    assert_eq!(place.learned("data.csv", &[])["events"], 200);
    assert!(!place.path("run/batches.jsonl").exists());
}

/// Whatever ends a replacement before it has learned: the old run and its predictions are as they were.
#[test]
fn a_replacement_that_learns_nothing_costs_nobody_a_run() {
    let place = Place::new(CLASSES);
    place.write("data.csv", &stored());
    place.write("other.csv", "q,r,s,t,y\n1,2,3,4,1\n");
    place.write("keys.json", "{\"q\":1,\"r\":2,\"s\":3}\n");
    place.write("bad.json", "{\"a\":1,\"b\":oops}\n");
    place.learned("data.csv", &["--predictions", "p.csv", "--set", "online.max_batch=8"]);
    let names = ["run/summary.json", "run/recipe.toml", "run/batches.jsonl", "p.csv"];
    let files = || names.map(|name| std::fs::read_to_string(place.path(name)).unwrap());
    let old = files();
    let label = ["--set", "stream.label=z"];
    for (from, more) in [
        ("data.csv", &["--predictions", "none/p.csv"][..]),
        ("data.csv", &[&label[..], &["--predictions", "p.csv"]].concat()),
        ("other.csv", &["--predictions", "p.csv"]),
        ("keys.json", &[]),
        ("bad.json", &[]),
    ] {
        let output = place.learn(from, &[&["--force"], more].concat());
        assert!(!output.status.success(), "{from}");
        assert!(files() == old, "{from} {more:?}: {}", stderr(&output));
        assert!(!place.path("run/.replaced").exists(), "{from} {more:?}");
    }
    // Killed while it waits for its first event as well.
    let all = ["learn", "recipe.toml", "--from", "-", "--out", "run", "--force"];
    let mut learner = command(&all);
    learner.current_dir(place.0.path()).stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = learner.args(["--set", "stream.format=csv"]).spawn().unwrap();
    while !(place.path("run/.replaced").exists() && place.path("run/recipe.toml").exists()) {
        assert!(child.try_wait().unwrap().is_none());
        sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let output = place.learn("data.csv", &["--resume"]);
    assert!(stderr(&output).contains("--force was to replace"), "{}", stderr(&output));
    assert_eq!(place.summary()["events"], 200);
    place.learned("data.csv", &["--force"]);
    assert!(!place.path("run/.replaced").exists() && !place.path("run/.removed").exists());
}
