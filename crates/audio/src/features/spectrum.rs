//! From the samples of a frame to its features.

use std::f64::consts::PI;
use std::fmt;

use pulp::{Arch, Simd, WithSimd};

use super::mel::Bank;
use super::power::Power;
use super::spec::{FbankSpec, LogMelSpec, MfccSpec, Window};
use crate::lanes::{LANES, dot, ln, sum};

/// Kaldi's least energy, the epsilon of a float.
const KALDI_FLOOR: f32 = f32::EPSILON;
/// Whisper's.
const WHISPER_FLOOR: f32 = 1e-10;

/// What becomes of a frame, step by step.
#[derive(Clone)]
pub(super) struct Spectrum {
    arch: Arch,
    remove_dc: bool,
    preemphasis: f32,
    /// The window times the scale of samples.
    window: Vec<f32>,
    transform: Power,
    /// Samples, with zeros to the length of the transform.
    input: Vec<f32>,
    /// Squares of magnitudes, and a zero.
    power: Vec<f32>,
    magnitudes: bool,
    bank: Bank,
    /// Logarithms of filters, with more to whole lanes.
    logs: Vec<f32>,
    floor: f32,
    /// What natural logarithms are multiplied by.
    log_scale: f32,
    cepstra: Option<Cepstra>,
}

/// From logarithms of filters to coefficients.
#[derive(Clone, Debug)]
struct Cepstra {
    /// `[coefficients, filters]`, rows with zeros to whole lanes.
    matrix: Vec<f32>,
    /// Of samples, squared, if the frame's energy is wanted.
    energy_scale: Option<f32>,
}

impl fmt::Debug for Spectrum {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Spectrum").field("transform", &self.input.len()).finish_non_exhaustive()
    }
}

impl Spectrum {
    pub(super) fn fbank(spec: &FbankSpec, len: usize) -> Spectrum {
        let fft = len.next_power_of_two();
        let bank = Bank::kaldi(spec.bins, spec.sample_rate, fft, spec.low_hz, spec.high());
        let scale = f64::from(spec.scale);
        let window = (0..len).map(|i| (window(spec.window, i, len) * scale) as f32).collect();
        let mut spectrum = Spectrum::new(window, fft, bank, spec.bins, KALDI_FLOOR);
        spectrum.remove_dc = spec.remove_dc;
        spectrum.preemphasis = spec.preemphasis as f32;
        spectrum.magnitudes = !spec.power;
        spectrum
    }

    pub(super) fn mfcc(spec: &MfccSpec, len: usize) -> Spectrum {
        let filters = spec.fbank.bins;
        let padded = filters.next_multiple_of(LANES);
        let mut matrix = vec![0.0; spec.cepstra * padded];
        for (k, row) in matrix.chunks_exact_mut(padded).enumerate() {
            let norm = (if k == 0 { 1.0 } else { 2.0_f64 } / filters as f64).sqrt();
            let lifter = match spec.lifter {
                0.0 => 1.0,
                lifter => 1.0 + 0.5 * lifter * (PI * k as f64 / lifter).sin(),
            };
            for (n, value) in row[..filters].iter_mut().enumerate() {
                let angle = PI / filters as f64 * (n as f64 + 0.5) * k as f64;
                *value = (norm * lifter * angle.cos()) as f32;
            }
        }
        let energy_scale = spec.energy.then_some(spec.fbank.scale * spec.fbank.scale);
        let cepstra = Some(Cepstra { matrix, energy_scale });
        Spectrum { cepstra, ..Spectrum::fbank(&spec.fbank, len) }
    }

    pub(super) fn log_mel(spec: &LogMelSpec, len: usize) -> Spectrum {
        // The window of `torch.hann_window`, which starts again with the sample after the frame.
        let window = (0..len).map(|i| self::window(Window::Hann, i, len + 1) as f32).collect();
        let bank = Bank::slaney(spec.bins, spec.sample_rate, len);
        let mut spectrum = Spectrum::new(window, len, bank, spec.bins, WHISPER_FLOOR);
        spectrum.log_scale = std::f32::consts::LOG10_E;
        spectrum
    }

    fn new(window: Vec<f32>, fft: usize, bank: Bank, bins: usize, floor: f32) -> Spectrum {
        Spectrum {
            arch: Arch::new(),
            remove_dc: false,
            preemphasis: 0.0,
            window,
            transform: Power::new(fft),
            input: vec![0.0; fft],
            power: vec![0.0; fft / 2 + 2],
            magnitudes: false,
            bank,
            logs: vec![0.0; bins.next_multiple_of(LANES)],
            floor,
            log_scale: 1.0,
            cepstra: None,
        }
    }

    /// The features of a frame.
    pub(super) fn features(&mut self, frame: &[f32], out: &mut [f32]) {
        let mean = self.arch.dispatch(Windowed { spectrum: self, frame });
        let bins = self.power.len() - 1;
        self.transform.of(&mut self.input, self.arch, &mut self.power[..bins]);
        self.arch.dispatch(Filtered { spectrum: self });
        let Some(cepstra) = &self.cepstra else {
            return out.copy_from_slice(&self.logs[..out.len()]);
        };
        for (row, out) in cepstra.matrix.chunks_exact(self.logs.len()).zip(out.iter_mut()) {
            *out = dot(row, &self.logs);
        }
        if let Some(scale) = cepstra.energy_scale {
            let energy: f32 = frame.iter().map(|x| (x - mean) * (x - mean)).sum();
            out[0] = (energy * scale).max(f32::EPSILON).ln();
        }
    }
}

/// Value `i` of a window of `len` values.
fn window(window: Window, i: usize, len: usize) -> f64 {
    let cos = (2.0 * PI * i as f64 / (len - 1) as f64).cos();
    match window {
        Window::Povey => (0.5 - 0.5 * cos).powf(0.85),
        Window::Hamming => 0.54 - 0.46 * cos,
        Window::Hann => 0.5 - 0.5 * cos,
        Window::Rectangular => 1.0,
    }
}

/// Fills the input of the transform; gives the mean that was subtracted.
struct Windowed<'a> {
    spectrum: &'a mut Spectrum,
    frame: &'a [f32],
}

impl WithSimd for Windowed<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let Windowed { spectrum, frame } = self;
        let len = frame.len();
        let mean = if spectrum.remove_dc { sum(frame) / len as f32 } else { 0.0 };
        let (values, padding) = spectrum.input.split_at_mut(len);
        let (window, c) = (&spectrum.window[..len], spectrum.preemphasis);
        values[0] = ((frame[0] - mean) - c * (frame[0] - mean)) * window[0];
        let before = &frame[..len - 1];
        for (((value, x), before), w) in
            values[1..].iter_mut().zip(&frame[1..]).zip(before).zip(&window[1..])
        {
            *value = ((x - mean) - c * (before - mean)) * w;
        }
        // The transform uses its input as scratch.
        padding.fill(0.0);
        mean
    }
}

/// From the transform to logarithms of filters.
struct Filtered<'a> {
    spectrum: &'a mut Spectrum,
}

impl WithSimd for Filtered<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Spectrum { power, logs, bank, magnitudes, floor, log_scale, .. } = self.spectrum;
        if *magnitudes {
            for power in power.iter_mut() {
                *power = power.sqrt();
            }
        }
        bank.apply(power, logs);
        for value in logs {
            *value = ln(value.max(*floor)) * *log_scale;
        }
    }
}
