//! FLAC, Ogg Vorbis and MP3; `fixtures/compressed.py` wrote the files.
#![cfg(feature = "compressed")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use tidemill_audio::{ReadOptions, Reader, Report, read_file};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn read(name: &str, options: &ReadOptions) -> (Vec<f32>, Report) {
    read_file(&fixture(name), options).unwrap()
}

fn tone(rate: f64) -> Vec<f32> {
    let angle = |i: usize| 2.0 * std::f64::consts::PI * 440.0 * i as f64 / rate;
    (0..(rate / 4.0) as usize).map(|i| angle(i).sin() as f32 / 2.0).collect()
}

/// The root of the mean square of differences, and how many samples late the first is that fits best.
fn distance(found: &[f32], want: &[f32]) -> (f32, usize) {
    let of = |late: usize| {
        let pairs = found[late..].iter().zip(want).skip(400).take(2800);
        (pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / 2800.0).sqrt()
    };
    let late = (0..=found.len() - want.len()).min_by(|a, b| of(*a).total_cmp(&of(*b))).unwrap();
    (of(late), late)
}

#[test]
fn flac_is_exact() {
    let left = ReadOptions { channel: Some(0), ..ReadOptions::default() };
    let (samples, report) = read("tone.flac", &left);
    let want: Vec<f32> = tone(16_000.0).iter().map(|v| (v * 32_768.0).round() / 32_768.0).collect();
    assert_eq!(samples, want);
    assert_eq!((report.channels, report.source_rate, report.source_samples), (2, 16_000, 4000));
    let reader = Reader::open(&fixture("tone.flac"), &left).unwrap();
    assert_eq!(reader.num_samples(), Some(4000));
    let mixed = read("tone.flac", &ReadOptions::default()).0;
    assert!(mixed.iter().zip(&want).all(|(a, b)| *a == b / 2.0));
}

#[test]
fn a_part_of_a_file_is_that_part() {
    let whole = read("tone.flac", &ReadOptions::default()).0;
    let options = ReadOptions { start: Some(0.1), end: Some(0.2), ..ReadOptions::default() };
    assert_eq!(read("tone.flac", &options).0, whole[1600..3200]);
}

/// Encoders may put silence around it.
#[test]
fn vorbis_and_mp3_are_near() {
    for name in ["tone.ogg", "tone.mp3"] {
        let (samples, report) = read(name, &ReadOptions::default());
        let (difference, late) = distance(&samples, &tone(16_000.0));
        assert!(difference < 0.02, "{name}: {difference}, {late} late");
        assert_eq!(report.warnings(), Vec::<String>::new(), "{name}");
        assert!(samples.len() < 4000 + 3000, "{name}: {}", samples.len());
    }
    let options = ReadOptions { sample_rate: Some(8000), ..ReadOptions::default() };
    let (samples, _) = read("tone.ogg", &options);
    assert!(distance(&samples, &tone(8000.0)[..1900]).0 < 0.02);
}

#[test]
fn damaged_files_are_errors_or_counted_and_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    for name in ["tone.flac", "tone.ogg", "tone.mp3"] {
        let good = fs::read(fixture(name)).unwrap();
        for cut in [4, 5, 40, good.len() / 2, good.len() - 1] {
            fs::write(&path, &good[..cut]).unwrap();
            check(&path);
        }
        for at in (4..good.len()).step_by(97) {
            let mut bad = good.clone();
            bad[at] ^= 0x5a;
            fs::write(&path, bad).unwrap();
            check(&path);
        }
    }
    // Names that lie do no harm; what is no audio is said to be none.
    fs::write(&path, b"\xff\xfb nothing of the kind, but long enough to be looked at for a while")
        .unwrap();
    let error = read_file(&path, &ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("FLAC, Ogg Vorbis or MP3"), "{error}");
}

fn check(path: &Path) {
    match read_file(path, &ReadOptions::default()) {
        Ok((samples, _)) => {
            assert!(samples.len() < 20_000 && samples.iter().all(|v| v.is_finite()))
        }
        Err(error) => {
            assert!(error.to_string().starts_with(&path.display().to_string()), "{error}")
        }
    }
}
