//! A folder in which a trained run learns from corrections, of files or by HTTP.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::senders::Http;
use super::{command, stderr, text};

/// A folder, the run that learns, and arguments that all its learners have.
pub struct Place {
    pub folder: tempfile::TempDir,
    run: PathBuf,
    learn: &'static [&'static str],
}

impl Place {
    pub fn new(run: PathBuf, learn: &'static [&'static str]) -> Place {
        Place { folder: tempfile::tempdir().unwrap(), run, learn }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, records: &[Value]) -> String {
        let lines: String = records.iter().map(|record| record.to_string() + "\n").collect();
        std::fs::write(self.path(name), lines).unwrap();
        self.path(name).display().to_string()
    }

    /// Learns from a file with more arguments; gives the summary and what was noted.
    pub fn learn(&self, from: &str, out: &str, more: &[&str]) -> (Value, String) {
        let out = self.path(out);
        let all = ["learn", text(&self.run), "--from", from, "--out", text(&out), "--json"];
        let output = command(&[&all[..], self.learn, more].concat()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        (serde_json::from_slice(&output.stdout).unwrap(), stderr(&output))
    }

    pub fn lines(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn summary(&self, out: &str) -> Value {
        let bytes = std::fs::read(self.path(out).join("summary.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

/// What has to be equal, however a stream was learned from.
pub fn result(summary: &Value) -> Value {
    let keys =
        ["state_sha256", "events", "steps", "labels", "prequential", "quarantined", "bad_events"];
    let values = keys.iter().map(|&key| (key.to_owned(), summary[key].clone()));
    values.collect::<serde_json::Map<_, _>>().into()
}

/// Ends a learner that did not end by itself.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Learners that listen at one port, one after the other, and a client of theirs.
pub struct Live {
    pub port: u16,
    run: PathBuf,
    out: PathBuf,
    http: Http,
}

impl Live {
    /// Of the run of `place`, learning into `live` in it.
    pub fn new(place: &Place) -> Live {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Live { port, run: place.run.clone(), out: place.path("live"), http: Http::new(port) }
    }

    /// A learner that ends after so many events.
    pub fn start(&self, until: &str) -> Running {
        let (from, out): (String, &Path) = (format!("http://127.0.0.1:{}", self.port), &self.out);
        let all = ["learn", text(&self.run), "--from", &from, "--out", text(out)];
        let mut learner = command(&[&all[..], &["--resume", "--until-events", until]].concat());
        Running(learner.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// What is answered to a record, once the learner listens.
    pub fn ask(&mut self, record: &Value) -> Value {
        let begin = Instant::now();
        loop {
            match self.http.post(&[record.to_string()]) {
                // Before the model is ready records are taken, and not answered.
                Ok(answer) if answer.get("answers").is_some() => {
                    return answer["answers"][0].clone();
                }
                other => {
                    assert!(begin.elapsed() < Duration::from_secs(120), "{other:?}");
                    self.http = Http::new(self.port);
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}
