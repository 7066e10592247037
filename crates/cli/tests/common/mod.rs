//! A small digit folder, recipes over it, and the binary.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

pub mod corrections;
pub mod events;
pub mod place;
pub mod senders;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// A folder with `digits/` in it, made once for all tests of a file.
pub fn digits() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("digits");
        let made =
            tidemill(&["data", "digits", "--out", text(&out), "--train", "12", "--test", "5"]);
        assert!(made.status.success(), "{made:?}");
        folder
    });
    folder.path()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The command, with no folder of data but the recipe's.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(arguments).env_remove("TIDEMILL_DATA").stdin(Stdio::null());
    command
}

pub fn tidemill(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs, and gives what was printed.
pub fn succeed(arguments: &[&str]) -> String {
    let output = tidemill(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Numbers that look random and are always the same.
pub fn random() -> impl FnMut(usize) -> usize {
    let mut state = 1u64;
    move |n| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub const MLP: &str = r#"{ flatten = {} },
    { dense = { units = 24, activation = "relu" } },
    { dropout = { rate = 0.2 } },
    { dense = { units = 10 } }"#;

pub const CNN: &str = r#"{ conv2d = { filters = 4, kernel = 3, padding = "same", bias = false } },
    { batch_norm = {} },
    { activation = "relu" },
    { max_pool2d = {} },
    { flatten = {} },
    { dense = { units = 10 } }"#;

/// Writes a recipe of `layers` on the digits into `folder`; `more` goes to its end.
pub fn recipe(folder: &Path, layers: &str, more: &str) -> PathBuf {
    let path = folder.join("recipe.toml");
    let digits = digits().join("digits");
    let (train, test) = (digits.join("train"), digits.join("test"));
    let recipe = format!(
        r#"[model]
input  = {{ image = {{ height = 16, width = 16, channels = 1 }} }}
layers = [
    {layers},
]

[training]
loss      = "sparse_categorical_crossentropy"
optimizer = {{ adam = {{ learning_rate = 2e-3 }} }}
seed      = 3

[batch]
data       = {{ image_directory = {{ path = {train:?} }} }}
validation = {{ image_directory = {{ path = {test:?} }} }}
batch_size = 9
epochs     = 4
{more}
"#
    );
    std::fs::write(&path, recipe).unwrap();
    path
}

/// The keys and values of `summary.json` that tests look at.
#[derive(serde::Deserialize)]
pub struct Summary {
    pub steps: u64,
    pub samples: u64,
    pub epochs: u64,
    pub stopped_by: String,
    pub state_sha256: String,
    pub validation: std::collections::BTreeMap<String, f64>,
}

pub fn summary(run: &Path) -> Summary {
    let text = std::fs::read_to_string(run.join("summary.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The lines of `metrics.jsonl` without the time, which no two runs share.
pub fn metrics(run: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("wall_seconds").unwrap();
        value
    };
    text.lines().map(line).collect()
}

/// Numbers that differ from run to run: each run of the tests kills at other places.
pub fn dice() -> impl FnMut() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut state = now.as_nanos() as u64 | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Trains a recipe into the folder `run`; gives what was said.
pub fn train(recipe: &Path, run: &Path, more: &[&str]) -> String {
    let arguments = ["train", text(recipe), "--out", text(run), "--threads", "1"];
    let output = tidemill(&[&arguments[..], more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    stderr(&output)
}
