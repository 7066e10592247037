//! A folder with a recipe, from which `learn` is run.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::Value;

use super::{command, stderr};

/// A folder with `recipe.toml`; the run goes to `run` in it.
pub struct Place(pub tempfile::TempDir);

impl Place {
    pub fn new(recipe: &str) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        place.write("recipe.toml", recipe);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// `tidemill learn recipe.toml --from FROM --out run`, in the folder.
    pub fn learn(&self, from: &str, more: &[&str]) -> Output {
        let all = [&["learn", "recipe.toml", "--from", from, "--out", "run"][..], more].concat();
        command(&all).current_dir(self.0.path()).output().unwrap()
    }

    pub fn learned(&self, from: &str, more: &[&str]) -> Value {
        let output = self.learn(from, more);
        assert!(output.status.success(), "{from} {more:?}: {}", stderr(&output));
        self.summary()
    }

    pub fn refused(&self, from: &str, more: &[&str], status: i32) -> String {
        let output = self.learn(from, more);
        assert_eq!(output.status.code(), Some(status), "{from} {more:?}: {}", stderr(&output));
        stderr(&output)
    }

    /// The same with lines on standard input.
    pub fn piped(&self, lines: &str, more: &[&str]) -> Output {
        let all = [&["learn", "recipe.toml", "--from", "-", "--out", "run"][..], more].concat();
        let mut learner = command(&all);
        learner.current_dir(self.0.path()).stdin(Stdio::piped());
        let mut child = learner.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // One that has stopped reads no more.
        let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
        child.wait_with_output().unwrap()
    }

    pub fn summary(&self) -> Value {
        let text = std::fs::read_to_string(self.path("run/summary.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

pub const CLASSES: &str = r#"[model]
input  = { features = 2 }
layers = [{ dense = { units = 16, activation = "relu" } }, { dense = { units = 2 } }]
[training]
loss = "sparse_categorical_crossentropy"
"#;

pub const VALUES: &str = r#"[model]
input  = { features = 2 }
layers = [
  { dense = { units = 16, activation = { leaky_relu = { slope = 0.1 } } } },
  { dense = { units = 1 } },
]
[training]
loss = "huber"
"#;

pub const LINEAR: &str =
    "[online]\nlinear = { bits = 12 }\n[training]\nloss = \"binary_crossentropy\"\n";

/// Rows of two numbers and a class or value of them, after `offset`.
pub fn rows(len: usize, value: impl Fn(f64, f64) -> String) -> String {
    let mut state = 9u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 24) as f64 * 4.0 - 2.0
    };
    let row = |_| {
        let (a, b) = (random(), random());
        format!("{a:.3},{b:.3},{}\n", value(a, b))
    };
    "a,b,y\n".to_owned() + &(0..len).map(row).collect::<String>()
}

pub fn classes(len: usize) -> String {
    rows(len, |a, b| u8::from(a + b > 0.0).to_string())
}

pub fn number(summary: &Value, name: &str) -> f64 {
    summary["prequential"][name].as_f64().unwrap_or_else(|| panic!("{name}: {summary}"))
}
