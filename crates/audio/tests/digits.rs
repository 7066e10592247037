//! Strings of digits, made of recordings that this test makes.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tidemill_audio::digits::{ConnectedDigitsSpec, write_connected_digits};
use tidemill_audio::manifest::read_manifest;
use tidemill_audio::{Utterance, read_file, wav_bytes};

const WORDS: [&str; 10] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// Digit d of a speaker is a tone of its own; those of the test (0 to 4) last longer than the others.
fn recordings(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (s, speaker) in ["ann", "bob", "cid"].iter().enumerate() {
        for digit in 0..10 {
            for index in [0, 4, 5, 49] {
                let len = if index < 5 { 900 } else { 800 };
                let hz = 200.0 + 100.0 * digit as f32 + 30.0 * s as f32;
                let step = hz * std::f32::consts::TAU / 8000.0;
                let tone: Vec<f32> = (0..len).map(|i| 0.3 * (i as f32 * step).sin()).collect();
                let name = format!("{digit}_{speaker}_{index}.wav");
                fs::write(folder.join(name), wav_bytes(&tone, 8000).unwrap()).unwrap();
            }
        }
    }
}

fn small() -> ConnectedDigitsSpec {
    ConnectedDigitsSpec { train: 30, test: 20, seed: 3, ..ConnectedDigitsSpec::default() }
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    for name in ["train.csv", "test.csv"] {
        out.push((name.to_owned(), fs::read(folder.join(name)).unwrap()));
    }
    for set in ["train", "test"] {
        for entry in fs::read_dir(folder.join(set)).unwrap() {
            let path = entry.unwrap().path();
            out.push((
                path.strip_prefix(folder).unwrap().display().to_string(),
                fs::read(&path).unwrap(),
            ));
        }
    }
    out.sort();
    out
}

fn speakers(set: &[Utterance]) -> BTreeSet<&str> {
    set.iter().map(|u| u.speaker.as_deref().unwrap()).collect()
}

#[test]
fn strings_are_a_function_of_the_seed() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("recordings");
    recordings(&from);
    let out = |name: &str| folder.path().join(name);
    // The folder itself, and the one that holds it.
    let a = write_connected_digits(Some(&from), &out("a"), &small()).unwrap();
    let b = write_connected_digits(Some(folder.path()), &out("b"), &small()).unwrap();
    assert_eq!((a.strings, a.reused, b.reused, a.seconds), (50, false, false, b.seconds));
    assert_eq!(files(&out("a")), files(&out("b")));
    let again = write_connected_digits(Some(&from), &out("a"), &small()).unwrap();
    assert_eq!((again.reused, again.seconds), (true, a.seconds));

    let other = ConnectedDigitsSpec { seed: 4, ..small() };
    let error = write_connected_digits(Some(&from), &out("a"), &other).unwrap_err().to_string();
    assert!(error.contains("other options"), "{error}");
    write_connected_digits(Some(&from), &out("c"), &other).unwrap();
    assert_ne!(files(&out("a")), files(&out("c")));
    // More strings do not change those before.
    let more = ConnectedDigitsSpec { train: 31, ..small() };
    write_connected_digits(Some(&from), &out("d"), &more).unwrap();
    let found = |name: &str| fs::read(out(name).join("train/00029.wav")).unwrap();
    assert_eq!(found("a"), found("d"));

    // What was broken off is made again.
    let marker = out("a").join("connected-digits.txt");
    let text = fs::read_to_string(&marker).unwrap();
    fs::write(&marker, text[..text.find("complete").unwrap()].to_owned() + "begun\n").unwrap();
    fs::remove_file(out("a").join("test/00003.wav")).unwrap();
    write_connected_digits(Some(&from), &out("a"), &small()).unwrap();
    assert_eq!(files(&out("a")), files(&out("b")));
    fs::write(folder.path().join("thesis.tex"), "x").unwrap();
    let error =
        write_connected_digits(Some(&from), folder.path(), &small()).unwrap_err().to_string();
    assert!(error.contains("is not empty"), "{error}");
}

#[test]
fn manifest_and_sound_agree() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("recordings");
    recordings(&from);
    let out = folder.path().join("out");
    let quiet = ConnectedDigitsSpec {
        snr_db: [60.0, 60.0],
        gain_db: [0.0, 0.0],
        speed: [1.0, 1.0],
        ..small()
    };
    let written = write_connected_digits(Some(&from), &out, &quiet).unwrap();
    let mut counts = BTreeSet::new();
    let mut seconds = 0.0;
    for (path, clip) in [(&written.train, 800), (&written.test, 900)] {
        let set = read_manifest(path, &out).unwrap();
        let table = fs::read_to_string(path).unwrap();
        assert_eq!(speakers(&set), BTreeSet::from(["ann", "bob", "cid"]));
        for (row, line) in set.iter().zip(table.lines().skip(1)) {
            let (samples, report) = read_file(&row.path, &Default::default()).unwrap();
            assert_eq!(report.warnings(), Vec::<String>::new(), "{}", row.name);
            seconds += samples.len() as f64 / 8000.0;
            let times = line.rsplit(',').next().unwrap();
            let digits: Vec<&str> = row.text.split(' ').collect();
            counts.insert(digits.len());
            let mut end = 0;
            for (word, time) in digits.iter().zip(times.split(' ')) {
                let digit = WORDS.iter().position(|w| w == word).unwrap();
                let at = |t: &str| (t.parse::<f64>().unwrap() * 8000.0).round() as usize;
                let (start, stop) = time.split_once('-').map(|(a, b)| (at(a), at(b))).unwrap();
                let gap = start - end;
                assert!((392..=3208).contains(&gap), "a pause of {gap} samples");
                assert!((stop - start).abs_diff(clip) <= 8, "{start} to {stop}");
                // The tone crosses zero twice in a period.
                let part = &samples[start + 20..stop - 20];
                let crossings = part.windows(2).filter(|w| (w[0] < 0.0) != (w[1] < 0.0)).count();
                let hz = crossings as f32 * 8000.0 / 2.0 / part.len() as f32;
                let speaker =
                    ["ann", "bob", "cid"].iter().position(|s| Some(*s) == row.speaker.as_deref());
                let want = 200.0 + 100.0 * digit as f32 + 30.0 * speaker.unwrap() as f32;
                assert!((hz - want).abs() < 12.0, "{word}: {hz} Hz, not {want}");
                end = stop;
            }
            assert_eq!(digits.len(), times.split(' ').count());
        }
    }
    assert_eq!(counts, BTreeSet::from_iter(1..=7));
    assert!((seconds - written.seconds).abs() < 1e-6);
}

#[test]
fn speakers_are_held_out() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("recordings");
    recordings(&from);
    let held = ConnectedDigitsSpec { test_speakers: vec!["bob".into()], ..small() };
    let out = folder.path().join("out");
    let written = write_connected_digits(Some(&from), &out, &held).unwrap();
    assert_eq!(
        (written.train_speakers.len(), &written.test_speakers[..]),
        (2, &["bob".to_owned()][..])
    );
    let read = |path| read_manifest(path, &out).unwrap();
    assert_eq!(speakers(&read(&written.train)), BTreeSet::from(["ann", "cid"]));
    assert_eq!(speakers(&read(&written.test)), BTreeSet::from(["bob"]));

    let error = |from: &Path, spec: &ConnectedDigitsSpec| {
        write_connected_digits(Some(from), &folder.path().join("none"), spec)
            .unwrap_err()
            .to_string()
    };
    let of = |names: &[&str]| ConnectedDigitsSpec {
        test_speakers: names.iter().map(|n| n.to_string()).collect(),
        ..small()
    };
    assert!(error(&from, &of(&["dan"])).contains("no speaker \"dan\", only ann, bob, cid"));
    assert!(error(&from, &of(&["ann", "bob", "cid"])).contains("no recordings to train with"));
    assert!(error(&out, &small()).contains("no recordings named {digit}_{speaker}_{index}.wav"));
    assert!(error(&written.train, &small()).contains("must be a folder of recordings"));
    let wrong = ConnectedDigitsSpec { pause: [0.5, 0.1], ..small() };
    assert!(error(&from, &wrong).contains("the seconds of pauses = [0.5, 0.1]"));
    assert!(error(&from, &ConnectedDigitsSpec { max_digits: 0, ..small() }).contains("0 digits"));
    assert!(
        error(&from, &ConnectedDigitsSpec { train: 0, test: 0, ..small() }).contains("0 and 0")
    );
    for index in [0, 4, 5, 49] {
        fs::remove_file(from.join(format!("3_cid_{index}.wav"))).unwrap();
    }
    assert!(error(&from, &small()).contains("no recording of the digit 3 by cid"));
    fs::write(from.join("3_cid_0.wav"), "no wav").unwrap();
    assert!(error(&from, &small()).contains("3_cid_0.wav: must begin with the header of a WAV"));
    assert!(!folder.path().join("none").exists());
}

/// Without recordings: ten voices, each digit of its own sound.
#[test]
fn digits_are_computed() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let written = write_connected_digits(None, &out("a"), &small()).unwrap();
    write_connected_digits(None, &out("b"), &small()).unwrap();
    assert_eq!(files(&out("a")), files(&out("b")));
    assert_eq!((written.train_speakers.len(), written.test_speakers.len()), (10, 10));
    let mut lengths = 0;
    for row in read_manifest(&written.train, &out("a")).unwrap() {
        let (samples, report) = read_file(&row.path, &Default::default()).unwrap();
        assert_eq!(report.warnings(), Vec::<String>::new(), "{}", row.name);
        assert!(report.peak > 0.05, "{}: {}", row.name, report.peak);
        lengths += samples.len();
    }
    assert!((30 * 4000..30 * 40_000).contains(&lengths), "{lengths}");
    let held = ConnectedDigitsSpec { test_speakers: vec!["s3".into()], ..small() };
    let written = write_connected_digits(None, &out("c"), &held).unwrap();
    assert_eq!(
        (written.train_speakers.len(), &written.test_speakers[..]),
        (9, &["s3".to_owned()][..])
    );
    let held = ConnectedDigitsSpec { test_speakers: vec!["bob".into()], ..small() };
    let error = write_connected_digits(None, &out("d"), &held).unwrap_err().to_string();
    assert!(error.contains("synthesized speech: has no speaker \"bob\""), "{error}");
    // Computed digits do not go into a folder of recorded ones.
    recordings(&out("recordings"));
    let error = write_connected_digits(Some(&out("recordings")), &out("a"), &small()).unwrap_err();
    assert!(error.to_string().contains("other options"), "{error}");
}
