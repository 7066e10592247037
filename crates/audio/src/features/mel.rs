//! Triangular filters over the bins of a spectrum.

use super::lanes::{LANES, dot};

/// A bank of filters, each the weights of a few neighbouring bins.
#[derive(Clone, Debug)]
pub(super) struct Bank {
    /// First bin of each filter, and where its weights end. They are padded to whole lanes by zeros.
    filters: Vec<(usize, usize)>,
    weights: Vec<f32>,
    /// Bins of the spectrum, with those that only meet padding.
    padded_bins: usize,
}

impl Bank {
    /// Kaldi's: equally wide in mel, `1127 ln(1 + f / 700)`, the highest 1. The bin of half the sample rate is not
    /// in any filter.
    pub(super) fn kaldi(bins: usize, sample_rate: u32, fft: usize, low: f64, high: f64) -> Bank {
        let mel = |hz: f64| 1127.0 * (1.0 + hz / 700.0).ln();
        let width = f64::from(sample_rate) / fft as f64;
        let (low, high) = (mel(low), mel(high));
        let delta = (high - low) / (bins + 1) as f64;
        let filters = (0..bins).map(|bin| {
            let left = low + bin as f64 * delta;
            let (center, right) = (left + delta, left + 2.0 * delta);
            let weight = move |at: usize| {
                let m = mel(width * at as f64);
                ((m - left) / (center - left)).min((right - m) / (right - center))
            };
            (0..fft / 2).map(weight).collect::<Vec<f64>>()
        });
        Bank::new(filters, fft / 2 + 1)
    }

    /// Those of librosa by default, which Whisper uses: equally wide in Slaney's mel, which is linear below 1 kHz, and
    /// of equal area.
    pub(super) fn slaney(bins: usize, sample_rate: u32, fft: usize) -> Bank {
        let (linear, log_hz, log_mel) = (200.0 / 3.0, 1000.0, 15.0);
        let step = 6.4_f64.ln() / 27.0;
        let high: f64 = f64::from(sample_rate) / 2.0;
        let most =
            if high < log_hz { high / linear } else { log_mel + (high / log_hz).ln() / step };
        let hz = |i: usize| {
            let mel = most * i as f64 / (bins + 1) as f64;
            if mel < log_mel { mel * linear } else { log_hz * ((mel - log_mel) * step).exp() }
        };
        let width = f64::from(sample_rate) / fft as f64;
        let filters = (0..bins).map(|bin| {
            let (left, center, right) = (hz(bin), hz(bin + 1), hz(bin + 2));
            let weight = move |at: usize| {
                let f = width * at as f64;
                let height = ((f - left) / (center - left)).min((right - f) / (right - center));
                height * 2.0 / (right - left)
            };
            (0..=fft / 2).map(weight).collect::<Vec<f64>>()
        });
        Bank::new(filters, fft / 2 + 1)
    }

    /// Of the weights of all bins, of which those above 0 are adjacent.
    fn new(all: impl Iterator<Item = Vec<f64>>, bins: usize) -> Bank {
        let mut bank = Bank { filters: vec![], weights: vec![], padded_bins: bins };
        for weights in all {
            let first = weights.iter().position(|w| *w > 0.0).unwrap_or(0);
            let values = weights[first..].iter().take_while(|w| **w > 0.0);
            bank.weights.extend(values.map(|w| *w as f32));
            bank.weights.resize(bank.weights.len().next_multiple_of(LANES), 0.0);
            let start = bank.filters.last().map_or(0, |f| f.1);
            bank.padded_bins = bank.padded_bins.max(first + bank.weights.len() - start);
            bank.filters.push((first, bank.weights.len()));
        }
        bank
    }

    /// How long the spectrum must be that filters are applied to; bins beyond its own are 0.
    pub(super) fn padded_bins(&self) -> usize {
        self.padded_bins
    }

    /// What passes each filter.
    #[inline(always)]
    pub(super) fn apply(&self, spectrum: &[f32], out: &mut [f32]) {
        let mut start = 0;
        for (&(first, end), out) in self.filters.iter().zip(out) {
            let weights = &self.weights[start..end];
            *out = dot(weights, &spectrum[first..first + weights.len()]);
            start = end;
        }
    }
}
