//! Spoken digits that are computed: a voice of pulses and noise through three resonances, the formants of the vowels
//! of English (Peterson and Barney 1952). Enough for a first run without a download; recognizing them says nothing
//! of recognizing people.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use super::ConnectedDigitsSpec;
use super::clips::{Clips, Speaker};
use crate::Resampler;
use crate::Result;
use crate::random::{Draws, Purpose};

/// Samples a second that are computed.
const RATE: f64 = 8000.0;
const VOICES: u64 = 10;
/// Of each digit by each voice; the first are for the test, as in the dataset of recordings.
const RECORDINGS: u64 = 20;
const TEST_RECORDINGS: u64 = 5;

/// A part of a word: from one set of formants to another.
struct Phone {
    ms: f64,
    from: [f64; 3],
    to: [f64; 3],
    /// How loud pulses and noise are.
    voice: f64,
    noise: f64,
}

const fn glide(ms: f64, from: [f64; 3], to: [f64; 3]) -> Phone {
    Phone { ms, from, to, voice: 1.0, noise: 0.01 }
}

const fn vowel(ms: f64, formants: [f64; 3]) -> Phone {
    glide(ms, formants, formants)
}

const fn nasal(ms: f64) -> Phone {
    Phone { voice: 0.4, ..vowel(ms, [250.0, 1300.0, 2400.0]) }
}

/// Noise about a frequency.
const fn hiss(ms: f64, hz: f64, noise: f64, voice: f64) -> Phone {
    Phone { ms, from: [hz, hz, 3000.0], to: [hz, hz, 3000.0], voice, noise }
}

const fn silence(ms: f64) -> Phone {
    hiss(ms, 2000.0, 0.0, 0.0)
}

const EE: [f64; 3] = [270.0, 2290.0, 3010.0];
const IH: [f64; 3] = [390.0, 1990.0, 2550.0];
const EH: [f64; 3] = [530.0, 1840.0, 2480.0];
const UH: [f64; 3] = [640.0, 1190.0, 2390.0];
const AW: [f64; 3] = [570.0, 840.0, 2410.0];
const OO: [f64; 3] = [300.0, 870.0, 2240.0];
const AH: [f64; 3] = [730.0, 1090.0, 2440.0];
const ER: [f64; 3] = [490.0, 1350.0, 1690.0];

const DIGITS: [&[Phone]; 10] = [
    &[hiss(80.0, 3300.0, 0.3, 0.3), vowel(90.0, IH), glide(90.0, ER, AW), glide(130.0, AW, OO)],
    &[glide(100.0, OO, UH), vowel(120.0, UH), nasal(100.0)],
    &[silence(20.0), hiss(40.0, 3000.0, 0.6, 0.0), glide(80.0, IH, OO), vowel(150.0, OO)],
    &[hiss(90.0, 1800.0, 0.1, 0.0), glide(70.0, ER, IH), vowel(190.0, EE)],
    &[hiss(90.0, 1400.0, 0.12, 0.0), vowel(150.0, AW), glide(110.0, AW, ER)],
    &[hiss(90.0, 1400.0, 0.12, 0.0), glide(220.0, AH, EE), hiss(80.0, 1300.0, 0.08, 0.25)],
    &[
        hiss(120.0, 3500.0, 0.6, 0.0),
        vowel(100.0, IH),
        silence(60.0),
        hiss(25.0, 1900.0, 0.5, 0.0),
        hiss(130.0, 3500.0, 0.5, 0.0),
    ],
    &[
        hiss(110.0, 3500.0, 0.6, 0.0),
        vowel(90.0, EH),
        hiss(50.0, 1300.0, 0.06, 0.3),
        vowel(70.0, UH),
        nasal(100.0),
    ],
    &[glide(190.0, EH, EE), silence(60.0), hiss(40.0, 3000.0, 0.5, 0.0)],
    &[nasal(80.0), glide(210.0, AH, EE), nasal(100.0)],
];

/// A speaker: what all recordings have in common.
struct Voice {
    pitch: f64,
    /// Of formants: the length of the mouth.
    size: f64,
    pace: f64,
    breath: f64,
}

impl Clips {
    /// Digits of ten voices, s0 to s9; a function of the seed.
    pub(super) fn synthesize(spec: &ConnectedDigitsSpec) -> Result<Clips> {
        let mut clips = Clips { train: BTreeMap::new(), test: BTreeMap::new() };
        let mut resampler = Resampler::new(RATE as u32, spec.sample_rate)?;
        for number in 0..VOICES {
            let name = format!("s{number}");
            let mut draws = Draws::new(spec.seed, 0, number, Purpose::Voice);
            let voice = Voice {
                pitch: draws.between([90.0, 230.0]),
                size: draws.between([0.88, 1.15]),
                pace: draws.between([0.85, 1.2]),
                breath: draws.between([0.0, 0.04]),
            };
            for digit in 0..10 {
                for i in 0..RECORDINGS {
                    let is_test = if spec.test_speakers.is_empty() {
                        i < TEST_RECORDINGS
                    } else {
                        spec.test_speakers.contains(&name)
                    };
                    let set = if is_test { &mut clips.test } else { &mut clips.train };
                    let speaker: &mut Speaker = set.entry(name.clone()).or_default();
                    let sample = (number * 10 + digit as u64) * RECORDINGS + i;
                    let mut draws = Draws::new(spec.seed, 1, sample, Purpose::Voice);
                    let samples = speak(DIGITS[digit], &voice, &mut draws);
                    speaker[digit].push(resampler.of(&samples));
                }
            }
        }
        clips.check("synthesized speech", spec)?;
        Ok(clips)
    }
}

/// Two poles: a resonance at a frequency, 1 at 0 Hz.
#[derive(Default)]
struct Resonance {
    feedback: [f64; 2],
    last: [f64; 2],
}

impl Resonance {
    fn tune(&mut self, hz: f64, width: f64) {
        let r = (-PI * width / RATE).exp();
        self.feedback = [2.0 * r * (2.0 * PI * hz / RATE).cos(), -r * r];
    }

    fn pass(&mut self, x: f64) -> f64 {
        let ([b, c], [last, before]) = (self.feedback, self.last);
        let y = (1.0 - b - c) * x + b * last + c * before;
        self.last = [y, last];
        y
    }
}

/// A word, about 0.3 at its loudest.
fn speak(phones: &[Phone], voice: &Voice, draws: &mut Draws) -> Vec<f32> {
    let pace = voice.pace * draws.between([0.9, 1.1]);
    let (pitch, fall) = (voice.pitch * draws.between([0.92, 1.08]), draws.between([0.75, 1.0]));
    let total: f64 = phones.iter().map(|p| p.ms).sum();
    let mut resonances = [Resonance::default(), Resonance::default(), Resonance::default()];
    let (mut out, mut phase, mut spoken) = (Vec::new(), 0.0, 0.0);
    let (mut loud, mut rough) = (0.0, 0.0);
    for phone in phones {
        let ms = phone.ms * pace * draws.between([0.85, 1.15]);
        let shift: [f64; 3] = std::array::from_fn(|_| voice.size * draws.between([0.96, 1.04]));
        let len = (ms * RATE / 1000.0) as usize;
        for i in 0..len {
            let part = i as f64 / len as f64;
            // 8 ms from one loudness to the next.
            loud += (phone.voice - loud) / 64.0;
            rough += (phone.noise + voice.breath * phone.voice - rough) / 64.0;
            let done = (spoken + part * phone.ms) / total;
            phase += pitch * (1.0 + (fall - 1.0) * done) / RATE;
            // A saw tooth has the spectrum of a glottis, more or less.
            phase -= f64::from(phase >= 1.0);
            let mut x = loud * (0.5 - phase) + rough * f64::from(draws.normal());
            for (k, resonance) in resonances.iter_mut().enumerate() {
                // Each 2 ms: what is between two would not be heard.
                if i % 16 == 0 {
                    let hz = (phone.from[k] + (phone.to[k] - phone.from[k]) * part) * shift[k];
                    resonance.tune(hz.min(0.47 * RATE), 90.0 + 40.0 * k as f64);
                }
                x = resonance.pass(x);
            }
            out.push(x as f32);
        }
        spoken += phone.ms;
    }
    let peak = out.iter().fold(1e-9_f32, |peak, x| peak.max(x.abs()));
    let level = draws.between([0.2, 0.4]) as f32 / peak;
    out.iter_mut().for_each(|x| *x *= level);
    out
}
