//! Sounds: learned from a manifest and from names, transcribed whole and while they come, whatever they are like.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use common::{command, stderr};
use tidemill_engine::data::sound::tones::{SAMPLE_RATE, keys, write_keys};
use tidemill_engine::data::sound::{wav_bytes, write_wav};

const RECIPE: &str = r#"
[model]
ctc_encoder = { units = 64, layers = 3, kernel = 5, dropout = 0.0 }

[audio]
features = { fbank = { bins = 40, sample_rate = 8000 } }
stack    = 2
seconds  = 6.0
augment  = { speed = [0.97, 1.0, 1.03] }
endpoint = { silence = 0.6 }

[text]
tokenizer = { words = {} }

[training]
loss      = "ctc"
optimizer = { adamw = { learning_rate = { cosine = { start = 4e-3, warmup_steps = 20 } } } }

[batch]
data       = { audio = { path = "train.csv" } }
validation = { audio = { path = "test.csv" } }
batch_size = 8
epochs     = 10
"#;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let output = command(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    output
}

fn json_lines(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn summary(folder: &Path, arguments: &[&str]) -> serde_json::Value {
    json_lines(&run(folder, &[arguments, &["--json"]].concat())).pop().unwrap()
}

/// What is written down of bytes on standard input, which come `piece` bytes at a time.
fn listen(folder: &Path, arguments: &[&str], bytes: &[u8], piece: usize) -> Output {
    let arguments = [&["predict", "run", "--from", "-"], arguments].concat();
    let mut child = command(&arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for part in bytes.chunks(piece) {
        input.write_all(part).unwrap();
        input.flush().unwrap();
    }
    drop(input);
    child.wait_with_output().unwrap()
}

/// A transducer: the same of all that depends on how labels are found.
#[test]
fn a_transducer_writes_keys_down_while_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    write_keys(folder, 1, 480, 60).unwrap();
    let encoder = "{ units = 64, layers = 3, kernel = 5, dropout = 0.0 }";
    let model = format!("transducer = {{ encoder = {encoder} }}");
    let recipe = RECIPE
        .replace(&format!("ctc_encoder = {encoder}"), &model)
        .replace("start = 4e-3, warmup_steps = 20 } }", "start = 2e-3 } }, clip_norm = 1.0")
        .replace("stack    = 2", "stack    = 4")
        .replace("epochs     = 10", "epochs     = 20")
        .replace("\"ctc\"", "\"transducer\"");
    std::fs::write(folder.join("keys.toml"), recipe).unwrap();
    let trained = summary(folder, &["train", "keys.toml", "--out", "run", "--threads", "2"]);
    let wrong = trained["validation"]["label_error_rate"].as_f64().unwrap();
    assert!(wrong < 0.05, "{trained}");

    // The same bits for another number of threads, and after a stop in the middle of an epoch.
    let first = ["train", "keys.toml", "--out", "other", "--set", "stop.steps=61"];
    summary(folder, &[&first[..], &["--threads", "1"]].concat());
    let other = summary(folder, &["train", "keys.toml", "--out", "other", "--resume"]);
    assert_eq!(trained["state_sha256"], other["state_sha256"]);

    let measured = summary(folder, &["eval", "run"]);
    let found = measured["figures"]["label_error_rate"].as_f64().unwrap();
    assert!((found - wrong).abs() < 1e-9, "{measured}");
    let asked = json_lines(&run(folder, &["predict", "run", "--data", "test", "--json"]));
    let right = asked.iter().zip(0..).filter(|(line, i)| line["text"] == keys(1, 1, *i).0).count();
    assert!(right > 20, "{right} of 60");

    // The same sound in pieces of any length gives the same lines.
    let mut long = keys(1, 1, 7).1;
    long.resize(long.len() + SAMPLE_RATE as usize, 0.0);
    long.extend_from_slice(&keys(1, 1, 8).1);
    let wav = wav_bytes(&long, SAMPLE_RATE).unwrap();
    std::fs::write(folder.join("long.wav"), &wav).unwrap();
    let whole = run(folder, &["predict", "run", "--from", "long.wav", "--stream", "--json"]);
    for piece in [1001, 1 << 20] {
        let heard = listen(folder, &["--stream", "--json"], &wav, piece);
        assert_eq!(heard.stdout, whole.stdout, "{piece}");
    }
    let lines = json_lines(&whole);
    assert!(lines.iter().filter(|line| line["final"].is_string()).count() >= 2, "{lines:?}");
    // What is written does not change.
    assert!(
        lines.iter().all(|line| line["partial"] == line["stable"] || line["final"].is_string())
    );

    // Corrections are learned, to the same bits for another number of threads.
    let learn = |out: &str, threads: &str| {
        summary(folder, &["learn", "run", "--from", "test.csv", "--out", out, "--threads", threads])
    };
    let learned = learn("learned", "1");
    assert_eq!(learned["events"], 60, "{learned}");
    assert!(learned["prequential"]["wer"].as_f64().unwrap() < 0.05, "{learned}");
    assert_eq!(learned["state_sha256"], learn("twice", "2")["state_sha256"]);
    assert_ne!(learned["state_sha256"], trained["state_sha256"]);
}

/// One run for all that is asked of it: training takes seconds.
#[test]
fn keys_are_learned_and_written_down_while_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    write_keys(folder, 1, 480, 60).unwrap();
    std::fs::write(folder.join("keys.toml"), RECIPE).unwrap();
    let trained = summary(folder, &["train", "keys.toml", "--out", "run", "--threads", "2"]);
    let wrong = trained["validation"]["label_error_rate"].as_f64().unwrap();
    assert!(wrong < 0.03, "{trained}");

    // The same bits for another number of threads.
    let other = summary(folder, &["train", "keys.toml", "--out", "other", "--threads", "1"]);
    assert_eq!(trained["state_sha256"], other["state_sha256"]);
    // And after a stop in the middle of an epoch.
    let first = ["train", "keys.toml", "--out", "third", "--set", "stop.steps=61"];
    summary(folder, &first);
    let third = summary(folder, &["train", "keys.toml", "--out", "third", "--resume"]);
    assert_eq!(trained["state_sha256"], third["state_sha256"]);

    let measured = summary(folder, &["eval", "run"]);
    let found = measured["figures"]["label_error_rate"].as_f64().unwrap();
    assert!((found - wrong).abs() < 1e-9, "{measured}");

    // A folder of sounds, whole.
    let asked = json_lines(&run(folder, &["predict", "run", "--data", "test", "--json"]));
    assert_eq!(asked.len(), 60);
    let text = |i: u64| keys(1, 1, i).0;
    let right = asked.iter().zip(0..).filter(|(line, i)| line["text"] == text(*i)).count();
    assert!(right > 50, "{right} of 60");

    // The worst sounds, to be seen and heard; what texts and names hold is escaped.
    std::fs::create_dir(folder.join("<b>")).unwrap();
    write_wav(&folder.join("<b>/x.wav"), &keys(1, 1, 0).1, SAMPLE_RATE).unwrap();
    std::fs::write(folder.join("odd.csv"), "path,text\n<b>/x.wav,<script>alert(1)</script> one\n")
        .unwrap();
    summary(folder, &["eval", "run", "--data", "odd.csv", "--page", "page.html"]);
    let page = std::fs::read_to_string(folder.join("page.html")).unwrap();
    for part in
        ["data:audio/wav;base64,", "data:image/png;base64,", "&lt;script&gt;", "&lt;b&gt;/x"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("<script") && !page.contains("<b>/"), "not escaped");

    // The same sound in pieces of any length gives the same lines.
    let (_, samples) = keys(1, 1, 7);
    let mut long = samples.clone();
    long.resize(long.len() + SAMPLE_RATE as usize, 0.0);
    long.extend_from_slice(&keys(1, 1, 8).1);
    let wav = wav_bytes(&long, SAMPLE_RATE).unwrap();
    std::fs::write(folder.join("long.wav"), &wav).unwrap();
    let whole = run(folder, &["predict", "run", "--from", "long.wav", "--stream", "--json"]);
    for piece in [1001, 4096, 1 << 20] {
        let heard = listen(folder, &["--stream", "--json"], &wav, piece);
        assert!(heard.status.success(), "{}", stderr(&heard));
        assert_eq!(heard.stdout, whole.stdout, "{piece}");
    }
    let lines = json_lines(&whole);
    let finals: Vec<&str> = lines.iter().filter_map(|line| line["final"].as_str()).collect();
    assert!(finals.len() >= 2, "{lines:?}");
    for line in &lines {
        let (partial, stable) = (line["partial"].as_str(), line["stable"].as_str());
        assert!(partial.is_none_or(|text| text.starts_with(stable.unwrap())), "{line}");
    }
    // Samples without a header, in 16 bits; the text of utterances alone.
    let raw = listen(folder, &["--format", "s16le:8000"], &wav[44..], 333);
    assert_eq!(String::from_utf8(raw.stdout).unwrap().lines().collect::<Vec<_>>(), finals);

    faults(folder);
}

/// What people have for sounds.
fn faults(folder: &Path) {
    let empty = listen(folder, &[], b"", 1);
    assert!(stderr(&empty).contains("standard input"), "{}", stderr(&empty));
    assert_eq!(empty.status.code(), Some(1));
    let text = listen(folder, &[], b"this is no sound at all, but text", 7);
    assert!(stderr(&text).contains("RIFF"), "{}", stderr(&text));
    // Silence and a sample have no text.
    for samples in [vec![0.0; 16_000], vec![0.1]] {
        let heard = listen(folder, &["--json"], &wav_bytes(&samples, SAMPLE_RATE).unwrap(), 999);
        assert!(heard.status.success() && heard.stdout.is_empty(), "{}", stderr(&heard));
    }
    // Half of a file: what is there is written down, and the rest is missed.
    let (_, samples) = keys(1, 1, 9);
    let wav = wav_bytes(&samples, SAMPLE_RATE).unwrap();
    let half = listen(folder, &["--json"], &wav[..wav.len() / 2], 999);
    assert!(half.status.success(), "{}", stderr(&half));
    // What is longer than the samples of training is heard piece by piece, in the order of the files.
    let mut long = Vec::new();
    for i in 0..6 {
        long.extend_from_slice(&keys(1, 1, i).1);
        long.resize(long.len() + SAMPLE_RATE as usize, 0.0);
    }
    std::fs::create_dir(folder.join("lengths")).unwrap();
    write_wav(&folder.join("lengths/a.wav"), &long, SAMPLE_RATE).unwrap();
    write_wav(&folder.join("lengths/b.wav"), &samples, SAMPLE_RATE).unwrap();
    std::fs::write(folder.join("lengths/c.wav"), "no sound").unwrap();
    let asked = run(folder, &["predict", "run", "--data", "lengths", "--json"]);
    let lines = json_lines(&asked);
    let heard = run(folder, &["predict", "run", "--from", "lengths/a.wav"]);
    let heard = String::from_utf8(heard.stdout).unwrap().trim().replace('\n', " ");
    assert_eq!((lines.len(), &lines[0]["text"]), (2, &heard.as_str().into()), "{lines:?}");
    assert!(heard.split(' ').count() > 6, "{heard}");
    assert!(stderr(&asked).contains("c.wav"), "{}", stderr(&asked));
    // Another rate is resampled, and a folder may hold what is no sound.
    let mixed = folder.join("mixed");
    std::fs::create_dir(&mixed).unwrap();
    write_wav(&mixed.join("a.wav"), &samples, SAMPLE_RATE).unwrap();
    std::fs::write(mixed.join("b.wav"), "no sound").unwrap();
    std::fs::write(mixed.join("c.txt"), "no sound either").unwrap();
    let asked = run(folder, &["predict", "run", "--data", "mixed", "--json"]);
    assert_eq!(json_lines(&asked).len(), 1);
    assert!(stderr(&asked).contains("1 sounds cannot be read"), "{}", stderr(&asked));

    // An empty text is learned from as any other, and said.
    let table = std::fs::read_to_string(folder.join("train.csv")).unwrap();
    let first = table.lines().nth(1).unwrap().split(',').next().unwrap();
    std::fs::write(folder.join("gap.csv"), format!("{table}{first},\n")).unwrap();
    std::fs::write(folder.join("gap.toml"), RECIPE.replace("train.csv", "gap.csv")).unwrap();
    let said = String::from_utf8(run(folder, &["doctor", "gap.toml"]).stdout).unwrap();
    let note = said.lines().find(|line| line.contains("1 sounds have an empty text")).unwrap();
    assert!(note.ends_with(first), "{note}");

    let wrong = |recipe: &str, what: &str| {
        std::fs::write(folder.join("wrong.toml"), recipe).unwrap();
        let output = command(&["train", "wrong.toml", "--out", "wrong"])
            .current_dir(folder)
            .output()
            .unwrap();
        let said = stderr(&output);
        assert!(!output.status.success() && said.contains(what), "{what}: {said}");
    };
    wrong(&RECIPE.replace("seconds  = 6.0", "seconds  = 0.05"), "longer than audio.seconds");
    wrong(&RECIPE.replace("train.csv", "nothing.csv"), "nothing.csv");
    wrong(
        &RECIPE.replace("stack    = 2", "stack    = 0"),
        "audio.stack must be a positive integer",
    );
    wrong(
        &RECIPE.replace("path = \"train.csv\"", "path = \"train.csv\", names = \"{label}\""),
        "names has no effect",
    );
    wrong(&RECIPE.replace("tokenizer = { words = {} }", ""), "text.tokenizer");
}

const CLASSES: &str = r#"
[model]
layers = [
    { conv1d = { filters = 16, kernel = 5, activation = "relu" } },
    { global_max_pool = {} },
    { dense = { units = 2 } },
]

[audio]
features = { fbank = { bins = 20, sample_rate = 8000 } }
stack    = 1
seconds  = 6.0

[training]
loss      = "sparse_categorical_crossentropy"
optimizer = { adam = { learning_rate = 1e-2 } }

[batch]
data       = { audio = { path = "sounds", names = "{label}-{speaker}-{index}", except_speakers = ["eve"] } }
validation = { audio = { path = "sounds", names = "{label}-{speaker}-{index}", speakers = ["eve"] } }
batch_size = 8
epochs     = 8
"#;

/// High and low tones by names, of a speaker that was not heard.
#[test]
fn classes_come_from_names() {
    let dir = tempfile::tempdir().unwrap();
    let sounds = dir.path().join("sounds");
    std::fs::create_dir(&sounds).unwrap();
    for (s, speaker) in ["ann", "bob", "eve"].into_iter().enumerate() {
        for i in 0..12_usize {
            let label = ["low", "high"][i % 2];
            let hz = [300.0, 1500.0][i % 2] + 20.0 * (i + 5 * s) as f32;
            let turn = |n: usize| (std::f32::consts::TAU * hz * n as f32 / 8000.0).sin();
            let samples: Vec<f32> = (0..2000 + 100 * i).map(|n| 0.3 * turn(n)).collect();
            write_wav(&sounds.join(format!("{label}-{speaker}-{i}.wav")), &samples, 8000).unwrap();
        }
    }
    std::fs::write(dir.path().join("tones.toml"), CLASSES).unwrap();
    let trained = summary(dir.path(), &["train", "tones.toml", "--out", "run"]);
    assert_eq!(trained["validation"]["accuracy"], 1.0, "{trained}");
    let asked = run(dir.path(), &["predict", "run", "--data", "sounds/high-bob-1.wav", "--json"]);
    assert_eq!(json_lines(&asked)[0]["class"], "high");
    // What is for texts is no key of classes.
    for key in ["endpoint = { silence = 0.5 }", "augment = { concatenate = {} }"] {
        let recipe = CLASSES.replace("stack    = 1", &format!("stack    = 1\n{key}"));
        std::fs::write(dir.path().join("wrong.toml"), recipe).unwrap();
        let output = command(&["train", "wrong.toml", "--out", "wrong"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(stderr(&output).contains("has no effect"), "{key}: {}", stderr(&output));
    }
    // Nothing is written down by a model of classes.
    let output = command(&["predict", "run", "--from", "sounds/high-bob-1.wav"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(stderr(&output).contains("does not write what sounds say"), "{}", stderr(&output));
}
