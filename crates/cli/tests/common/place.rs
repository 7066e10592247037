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
