//! A recognizer that learns from what people correct its texts to: sounds of files and sent by HTTP, of a voice that it has not heard.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::corrections::{Live, Place, result};
use common::events::{kill_until_done, kills};
use common::senders::Http;
use common::{command, stderr, text};
use serde_json::{Value, json};
use tidemill_engine::data::sound::tones::{SAMPLE_RATE, keys, write_keys};
use tidemill_engine::data::sound::{wav_bytes, write_wav};

const RECIPE: &str = r#"
[model]
ctc_encoder = { units = 64, layers = 3, kernel = 5, dropout = 0.0 }

[audio]
features = { fbank = { bins = 40, sample_rate = 8000 } }
stack    = 2
seconds  = 6.0

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

const LEARN: [&str; 2] = ["--set", "online.corrections.serve=better"];

/// Samples a second as the customer's recorder states them: its tones are 7 % lower than they should be.
const OFF: u32 = 7440;

/// A folder with the run `base`, trained once, and `customer` with recordings of the customer.
fn base() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        write_keys(folder.path(), 1, 480, 60).unwrap();
        std::fs::write(folder.path().join("keys.toml"), RECIPE).unwrap();
        let trained = command(&["train", "keys.toml", "--out", "base"]);
        let output = { trained }.current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        folder
    });
    folder.path()
}

/// The text of recording `i` of the customer, and the recording.
fn customer(i: u64) -> (String, Vec<u8>) {
    let (text, samples) = keys(7, 3, i);
    (text, wav_bytes(&samples, OFF).unwrap())
}

fn place() -> Place {
    Place::new(base().join("base"), &LEARN)
}

/// A manifest of recordings of the customer, beside them.
fn manifest(place: &Place, count: u64) -> String {
    let mut table = String::from("path,text,speaker\n");
    for i in 0..count {
        let (said, wav) = customer(i);
        std::fs::write(place.path(&format!("{i}.wav")), wav).unwrap();
        table += &format!("{i}.wav,{said},anna\n");
    }
    std::fs::write(place.path("customer.csv"), table).unwrap();
    place.path("customer.csv").display().to_string()
}

#[test]
fn a_voice_is_learned_to_the_same_bits() {
    let place = place();
    let from = manifest(&place, 120);
    let wer = |summary: &Value, name: &str| summary["prequential"][name].as_f64().unwrap();
    let (frozen, _) = place.learn(&from, "frozen", &["--frozen"]);
    let (whole, notes) = place.learn(&from, "a", &["--threads", "1"]);
    assert!(wer(&frozen, "wer") > 0.2, "{frozen} {notes}");
    assert!(wer(&whole, "sliding.wer") < 0.6 * wer(&frozen, "wer"), "{whole} {frozen}");
    assert_eq!(whole["prequential"]["speaker.anna.wer"], whole["prequential"]["wer"]);
    let learned = place.lines("a/corrections.jsonl");
    assert_eq!((learned.len(), &learned[5]["source"]), (120, &"5.wav".into()));
    // Threads, a cut at a number of sounds, and kills change nothing.
    place.learn(&from, "b", &["--threads", "3", "--until-events", "47"]);
    let (threads, notes) = place.learn(&from, "b", &["--threads", "2", "--resume"]);
    assert!(notes.contains("continuing after 47 sounds"), "{notes}");
    assert_eq!(result(&threads), result(&whole));
    let run = base().join("base");
    let all = ["learn", text(&run), "--from", &from];
    let more = ["--set", "online.checkpoint_events=10", "--json"];
    let killed = place.path("k");
    kill_until_done(&[&all[..], &LEARN, &more].concat(), &killed, kills(6), 1.5);
    let summary = place.summary("k");
    assert_eq!(result(&summary), result(&whole));
    assert_eq!(place.lines("k/corrections.jsonl"), learned);
    // The run writes down what it has learned, whole and while it comes.
    let live = place.path("a");
    let right = |folder: &Path| {
        let asked = ["predict", text(folder), "--data", text(place.folder.path()), "--json"];
        let output = command(&asked).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let texts = (0..120).map(|i| customer(i).0).collect::<Vec<_>>();
        let is_right = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            let name = Path::new(line["file"].as_str().unwrap_or_default()).file_stem().unwrap();
            line["text"] == texts[name.to_str().unwrap().parse::<usize>().unwrap()]
        };
        lines.lines().filter(|line| is_right(line)).count()
    };
    let (before, after) = (right(&run), right(&live));
    assert!(after > before + 30, "{before} {after}");
    let page = std::fs::read_to_string(place.path("a/report.html")).unwrap();
    assert!(page.contains("Word error rate") && page.contains("By speaker"), "the page");
}

#[test]
fn sounds_are_answered_by_http_and_corrections_learned_once() {
    let place = place();
    let mut live = Live::new(&place);
    let learner = live.start("1000");
    let (said, samples) = keys(1, 1, 3);
    let wav = wav_bytes(&samples, SAMPLE_RATE).unwrap();
    let sound = STANDARD.encode(&wav);
    let answer = live.ask(&json!({"id": "a", "audio": sound, "speaker": "anna"}));
    assert_eq!((&answer["id"], &answer["text"]), (&"a".into(), &said.as_str().into()));
    // Asked again, it says the same.
    assert_eq!(
        live.ask(&json!({"id": "a", "audio": sound, "speaker": "anna"}))["text"],
        answer["text"]
    );
    // The same as samples without a header, and as a data URL.
    let raw = json!({"audio": STANDARD.encode(&wav[44..]), "sample_rate": SAMPLE_RATE});
    assert_eq!(live.ask(&raw)["text"], answer["text"]);
    let url = json!({"audio": format!("data:audio/wav;base64,{sound}")});
    assert_eq!(live.ask(&url)["text"], answer["text"]);
    assert_eq!(live.ask(&json!({"id": "a", "correction": said}))["learned"], true);
    assert_eq!(live.ask(&json!({"id": "a", "correction": said}))["duplicate"], true);
    // No file can be named, and garbage waits.
    let outside = live.ask(&json!({"id": "b", "path": "/etc/passwd"}));
    assert!(outside["set_aside"].as_str().unwrap().contains("sound_folder"), "{outside}");
    let garbage = live.ask(&json!({"id": "g", "audio": sound, "correction": "one two hello"}));
    assert!(garbage["reason"].as_str().unwrap().contains("vocabulary"), "{garbage}");
    let long = "one ".repeat(60);
    let garbage = live.ask(&json!({"audio": sound, "correction": long.trim()}));
    assert_eq!(garbage["quarantined"], 2, "{garbage}");
    let silent = STANDARD.encode(wav_bytes(&[0.0; 8000], SAMPLE_RATE).unwrap());
    let silent = live.ask(&json!({"audio": silent, "correction": "one"}));
    assert!(silent["reason"].as_str().unwrap().contains("silent"), "{silent}");
    assert!(silent["note"].as_str().unwrap().contains("silent"), "{silent}");
    drop(learner);
    // After a kill, what was acknowledged is there and is not learned again; what was set aside can be released, though its
    // sound is in no file.
    let mut learner = live.start("8");
    assert_eq!(live.ask(&json!({"id": "a", "correction": said}))["duplicate"], true);
    assert_eq!(live.ask(&json!({"release": 2}))["learned"], true);
    live.ask(&json!({"id": "c", "audio": sound}));
    // The learner may end before this request is answered.
    let _ = Http::new(live.port).post(&[json!({"id": "d", "audio": sound}).to_string()]);
    assert!(learner.0.wait().unwrap().success());
    let summary = place.summary("live");
    assert_eq!((&summary["quarantined"], &summary["released"]), (&2.into(), &1.into()));
    assert_eq!(place.lines("live/corrections.jsonl").len(), 2, "{summary}");
}

/// Whatever sounds are like, each is learned from, or set aside with its reason; nothing is lost.
#[test]
fn odd_sounds_are_said_and_bad_ones_set_aside() {
    let place = place();
    let (said, samples) = keys(7, 3, 1);
    let write = |name: &str, samples: &[f32], rate| {
        write_wav(&place.path(name), samples, rate).unwrap();
    };
    std::fs::create_dir(place.path("in")).unwrap();
    write("in/good.wav", &samples, SAMPLE_RATE);
    write("outside.wav", &samples, SAMPLE_RATE);
    #[cfg(unix)]
    std::os::unix::fs::symlink(place.path("outside.wav"), place.path("in/link.wav")).unwrap();
    let loud: Vec<f32> = samples.iter().map(|s| 40.0 * s).collect();
    write("in/clipped.wav", &loud, SAMPLE_RATE);
    let twice: Vec<f32> = samples.iter().flat_map(|s| [*s; 2]).collect();
    write("in/sixteen.wav", &twice, 2 * SAMPLE_RATE);
    write("in/silent.wav", &[0.0; 8000], SAMPLE_RATE);
    write("in/one.wav", &[0.5], SAMPLE_RATE);
    write("in/long.wav", &vec![0.1; 60 * SAMPLE_RATE as usize], SAMPLE_RATE);
    let whole = wav_bytes(&samples, SAMPLE_RATE).unwrap();
    std::fs::write(place.path("in/cut.wav"), &whole[..whole.len() - 1001]).unwrap();
    std::fs::write(place.path("in/header.wav"), &whole[..30]).unwrap();
    std::fs::write(place.path("in/text.wav"), "no sound").unwrap();
    // Floats: some NaN, and samples of 16 bits that were never divided.
    let floats = |samples: &[f32]| {
        let mut wav = whole[..44].to_vec();
        wav[20..22].copy_from_slice(&3_u16.to_le_bytes());
        wav[28..32].copy_from_slice(&(4 * SAMPLE_RATE).to_le_bytes());
        wav[32..36].copy_from_slice(&[4, 0, 32, 0]);
        wav[40..44].copy_from_slice(&(4 * samples.len() as u32).to_le_bytes());
        wav.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
        wav
    };
    let mut some = samples.clone();
    some[100..110].fill(f32::NAN);
    std::fs::write(place.path("in/nan.wav"), floats(&some)).unwrap();
    let undivided: Vec<f32> = samples.iter().map(|s| 32_768.0 * s).collect();
    std::fs::write(place.path("in/undivided.wav"), floats(&undivided)).unwrap();

    let record = |path: &str| json!({"audio_filepath": path, "text": said, "duration": 1.0});
    let good = ["good", "clipped", "sixteen", "cut", "nan"];
    let mut records: Vec<Value> = good.map(|name| record(&format!("{name}.wav"))).into();
    records
        .push(json!({"audio_filepath": "good.wav", "offset": 0.1, "duration": 0.5, "text": said}));
    records.push(record("silent.wav"));
    let bad = [
        ("one.wav", "has 1 samples"),
        ("long.wav", "longer than audio.seconds"),
        ("header.wav", "header.wav"),
        ("text.wav", "text.wav"),
        ("undivided.wav", "divide them"),
        ("gone.wav", "gone.wav"),
        ("../outside.wav", "must be a path below"),
        ("/etc/passwd", "must be a path below"),
        ("link.wav", "leads out"),
        (".", "not a file"),
    ];
    records.extend(bad.iter().map(|(path, _)| record(path)));
    records.push(json!({"audio": "data:audio/wav;base64,@@", "text": said}));
    records.push(json!({"path": "good.wav", "start": 2, "end": 1, "text": said}));
    let from = place.write("in/records.jsonl", &records);
    let (summary, notes) = place.learn(&from, "a", &["--set", "online.on_bad=continue"]);
    let dead = place.lines("a/dead-letter.jsonl");
    let reasons: Vec<&str> = dead.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    for (reason, (path, part)) in reasons.iter().zip(bad) {
        assert!(reason.contains(part), "{path}: {reason}");
    }
    assert!(reasons[10].contains("base64") && reasons[11].contains("ends at 1 s"), "{reasons:?}");
    assert_eq!((&summary["bad_events"], &summary["quarantined"]), (&12.into(), &1.into()));
    let learned = place.lines("a/corrections.jsonl");
    let names: Vec<&str> = learned.iter().map(|line| line["source"].as_str().unwrap()).collect();
    assert_eq!(names[..5], ["good.wav", "clipped.wav", "sixteen.wav", "cut.wav", "nan.wav"]);
    assert_eq!(names[5..], ["good.wav from 0.1 s to 0.6 s"], "{summary}");
    assert!(
        notes.contains("a sound is clipped") && notes.contains("4 sounds are not quite"),
        "{notes}"
    );
    // Another folder than that of the records, and one that is not there.
    let elsewhere = place.write("elsewhere.jsonl", &[record("good.wav")]);
    let folder = format!("online.corrections.sound_folder={}", place.path("in").display());
    let (summary, _) = place.learn(&elsewhere, "b", &["--set", &folder]);
    assert_eq!(summary["prequential"]["wer"].as_f64().map(f64::is_finite), Some(true));
    let run = base().join("base");
    let gone = ["--set", "online.corrections.sound_folder=/nowhere/at/all", "--out", "never"];
    let all = ["learn", text(&run), "--from", &elsewhere];
    let output =
        command(&[&all[..], &gone].concat()).current_dir(place.folder.path()).output().unwrap();
    assert!(stderr(&output).contains("/nowhere/at/all"), "{}", stderr(&output));
    assert!(!place.path("never").exists());
}
