//! Features equal those of Kaldi (kaldi-native-fbank), torchaudio and Whisper; `fixtures/features.py` wrote them.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeMap;

use common::base64;
use serde::Deserialize;
use tidemill_audio::features::whisper_scale;
use tidemill_audio::{FbankSpec, Features, FrontEndSpec, LogMelSpec, MfccSpec};

#[derive(Deserialize)]
struct Fixtures {
    sounds: BTreeMap<u32, String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    by: String,
    spec: FrontEndSpec,
    frames: usize,
    features: String,
}

fn fixtures() -> (BTreeMap<u32, Vec<f32>>, Vec<Case>) {
    let text = include_str!("fixtures/features.json");
    let Fixtures { sounds, cases } = serde_json::from_str(text).unwrap();
    let samples = |text: &String| {
        let bytes = base64(text);
        let values = bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]]));
        values.map(|v| f32::from(v) / 32768.0).collect()
    };
    (sounds.iter().map(|(rate, text)| (*rate, samples(text))).collect(), cases)
}

#[test]
fn features_equal_those_of_other_programs() {
    let (sounds, cases) = fixtures();
    for case in cases {
        let Case { by, spec, frames, features } = case;
        let mut ours = Features::new(&spec).unwrap();
        let mut found = ours.of(&sounds[&spec.sample_rate()]);
        if matches!(spec, FrontEndSpec::LogMel(_)) {
            whisper_scale(&mut found);
        }
        let bytes = base64(&features);
        let want: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        assert_eq!(want.len(), frames * spec.bins(), "{by} {spec:?}");
        assert_eq!(found.len(), want.len(), "{by} {spec:?}");
        let mut differences: Vec<f32> =
            found.iter().zip(&want).map(|(a, b)| (a - b).abs()).collect();
        differences.sort_unstable_by(f32::total_cmp);
        let (median, most) =
            (differences[differences.len() / 2], differences[differences.len() - 1]);
        assert!(median < 1e-4 && most < 1e-3, "{by} {spec:?}: median {median}, most {most}");
    }
}

#[test]
fn the_same_bits_however_samples_are_cut() {
    let (sounds, cases) = fixtures();
    for case in cases {
        let samples = &sounds[&case.spec.sample_rate()];
        let mut features = Features::new(&case.spec).unwrap();
        let want = features.of(samples);
        for cut in [1, 7, 160, 1000] {
            let mut found = Vec::new();
            let mut frames = 0;
            for piece in samples.chunks(cut) {
                frames += features.push(piece, &mut found);
            }
            frames += features.finish(&mut found);
            assert_eq!(frames as u64, features.num_frames(samples.len() as u64));
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&found), bits(&want), "{:?}, cut by {cut}", case.spec);
        }
    }
}

/// A frame comes as soon as its last sample is there.
#[test]
fn frames_come_at_once() {
    let mut features = Features::new(&FrontEndSpec::default()).unwrap();
    let mut out = Vec::new();
    assert_eq!(features.push(&[0.1; 399], &mut out), 0);
    assert_eq!(features.push(&[0.1; 1], &mut out), 1);
    assert_eq!(features.push(&[0.1; 159], &mut out), 0);
    assert_eq!(features.push(&[0.1; 1], &mut out), 1);
    assert_eq!(out.len(), 2 * features.bins());
    assert_eq!(features.finish(&mut out), 0);
}

#[test]
fn short_audio_silence_and_one_sample_are_no_trouble() {
    let specs = [
        FrontEndSpec::default(),
        FrontEndSpec::Fbank(FbankSpec { snip_edges: false, ..FbankSpec::default() }),
        FrontEndSpec::Mfcc(MfccSpec { energy: true, ..MfccSpec::default() }),
        FrontEndSpec::LogMel(LogMelSpec::default()),
    ];
    for spec in specs {
        let mut features = Features::new(&spec).unwrap();
        for n in [0, 1, 2, 79, 80, 160, 161, 399, 400, 401, 1000] {
            for value in [0.0, 1.0, -1.0] {
                let found = features.of(&vec![value; n]);
                assert_eq!(found.len() as u64, features.num_frames(n as u64) * spec.bins() as u64);
                assert!(found.iter().all(|v| v.is_finite()), "{spec:?}, {n} samples");
            }
        }
    }
    // Kaldi's silence: the logarithm of a float's epsilon.
    let silence = Features::new(&FrontEndSpec::default()).unwrap().of(&[0.0; 400]);
    assert!(silence.iter().all(|v| (v - f32::EPSILON.ln()).abs() < 1e-5));
}

#[test]
fn wrong_options_are_refused_with_their_names() {
    let refused = |text: &str| {
        let spec: FrontEndSpec = serde_json::from_str(text).unwrap();
        Features::new(&spec).unwrap_err().to_string()
    };
    for (text, wanted) in [
        (r#"{"fbank": {"bins": 0}}"#, "fbank.bins = 0 must be from 1 to 1024"),
        (r#"{"fbank": {"sample_rate": 12}}"#, "fbank.sample_rate = 12"),
        (r#"{"fbank": {"shift_ms": 0.01}}"#, "fbank.shift_ms = 0.01"),
        (r#"{"fbank": {"shift_ms": 30.0}}"#, "at most frame_ms"),
        (r#"{"fbank": {"frame_ms": 1e300}}"#, "fbank.frame_ms"),
        (r#"{"fbank": {"high_hz": 9000.0}}"#, "8000, half the sample rate"),
        (r#"{"fbank": {"low_hz": 8000.0}}"#, "low_hz = 8000"),
        (r#"{"fbank": {"preemphasis": 1.5}}"#, "preemphasis = 1.5"),
        (r#"{"fbank": {"scale": 0.0}}"#, "scale = 0"),
        (r#"{"mfcc": {"cepstra": 24}}"#, "mfcc.cepstra = 24 must be from 1 to 23"),
        (r#"{"mfcc": {"lifter": -1.0}}"#, "mfcc.lifter"),
        (r#"{"mfcc": {"fbank": {"bins": 4000}}}"#, "mfcc.fbank.bins = 4000"),
        (r#"{"log_mel": {"shift_ms": 20.0}}"#, "log_mel"),
    ] {
        let found = refused(text);
        assert!(found.contains(wanted), "{text}: {found}");
    }
    assert!(serde_json::from_str::<FrontEndSpec>(r#"{"fbank": {"bin": 4}}"#).is_err());
}
