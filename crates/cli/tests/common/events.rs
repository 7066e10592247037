//! Events for the tests of streams, learners that are killed, and what must not depend on that.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use super::{command, dice, stderr, text};

/// Kills of each kind of stream: `TIDEMILL_KILLS`, or a number that leaves the gate quick. With
/// 40 the five kinds together are killed 200 times.
pub fn kills(usual: usize) -> usize {
    let given = std::env::var("TIDEMILL_KILLS").ok();
    given.map_or(usual, |n| n.parse().expect("TIDEMILL_KILLS is not a number"))
}

/// A recipe for events of two numbers and a category; `more` goes to the end of `[online]`.
pub fn stream_recipe(folder: &Path, more: &str) -> PathBuf {
    let path = folder.join("recipe.toml");
    let recipe = format!(
        r#"[model]
input  = {{ features = 6 }}
layers = [{{ dense = {{ units = 16, activation = "relu" }} }}, {{ dense = {{ units = 3 }} }}]
[training]
loss      = "sparse_categorical_crossentropy"
optimizer = {{ adam = {{ learning_rate = 0.01 }} }}
[online]
checkpoint_events = 700
features.categorical = {{ kind = {{ dictionary = {{ capacity = 3 }} }} }}
guard = {{ keep_every = 1000 }}
{more}
"#
    );
    std::fs::write(&path, recipe).unwrap();
    path
}

/// Numbers and a category of which the class is a function that moves.
pub struct Row {
    pub a: f64,
    pub b: f64,
    pub kind: &'static str,
    pub class: &'static str,
}

/// The same rows each time.
pub fn rows() -> impl Iterator<Item = Row> {
    let mut state = 7u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    (0..).map(move |i| {
        let (a, b) = (10.0 * random() - 5.0, 100.0 * random());
        let kind = ["x", "y", "z"][(3.0 * random()) as usize];
        let turn = (f64::from(i) / 3000.0).sin();
        let score = a / 5.0 * turn + (b / 50.0 - 1.0) * (1.0 - turn) + f64::from(kind == "x");
        let class =
            ["low", "middle", "high"][if score < 0.0 { 0 } else { 1 + (score > 0.8) as usize }];
        Row { a, b, kind, class }
    })
}

/// Rows as JSON, some of them broken or of no known class, some with values that are not finite, far out or
/// missing.
pub fn lines() -> impl Iterator<Item = String> {
    rows().enumerate().map(|(i, Row { a, b, kind, class })| match i % 97 {
        11 => format!(r#"{{"a":{a},"b":NaN,"kind":"{kind}","class":"{class}"}}"#),
        23 => format!(r#"{{"a":{a},"b":{b}"#),
        37 => format!(r#"{{"a":{a},"b":{b},"kind":"{kind}","class":"unheard"}}"#),
        53 => format!(r#"{{"a":1e30,"b":{b},"kind":"{kind}","class":"{class}"}}"#),
        71 => format!(r#"{{"a":{a},"b":null,"kind":"{kind}","class":"{class}"}}"#),
        89 => format!(r#"{{"a":{a},"b":{b},"kind":"{kind}"}}"#),
        _ => format!(r#"{{"a":{a},"b":{b},"kind":"{kind}","class":"{class}"}}"#),
    })
}

/// What must not depend on kills: the summary's figures, and all bad events.
pub fn outcome(run: &Path) -> (serde_json::Value, String) {
    let text = std::fs::read_to_string(run.join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    let keys = [
        "state_sha256",
        "steps",
        "events",
        "unlabelled",
        "bad_events",
        "refused",
        "rollbacks",
        "position",
        "labels",
        "prequential",
    ];
    let kept: serde_json::Map<_, _> =
        keys.iter().map(|&k| (k.to_string(), summary[k].clone())).collect();
    let dead = std::fs::read_to_string(run.join("dead-letter.jsonl")).unwrap();
    (kept.into(), dead)
}

/// Learns into `run` and kills that within `longest` seconds, again and again, until it ends by
/// itself or was killed `most` times; then it is left alone. Gives the number of kills.
pub fn kill_until_done(arguments: &[&str], run: &Path, most: usize, longest: f64) -> usize {
    let arguments = [arguments, &["--out", text(run), "--resume"]].concat();
    let mut random = dice();
    let mut killed = 0;
    loop {
        let mut learner = command(&arguments);
        let learner = learner.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = learner.spawn().unwrap();
        if killed < most {
            sleep(Duration::from_secs_f64(longest * random()));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                killed += 1;
                child.wait().unwrap();
                continue;
            }
        }
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "after {killed} kills: {}", stderr(&output));
        return killed;
    }
}
