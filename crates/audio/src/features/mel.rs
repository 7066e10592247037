//! Triangular filters over the bins of a spectrum.

use crate::lanes::LANES;

/// A bank of filters. Those that are neighbours overlap in few bins, so that eight of them together have weights for
/// little more bins than one after the other, and are computed by one vector.
#[derive(Clone, Debug)]
pub(super) struct Bank {
    /// Of each eight filters: the first bin, and how many.
    groups: Vec<(usize, usize)>,
    /// Of each bin of a group, the weights of its filters.
    weights: Vec<[f32; LANES]>,
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
            (0..fft / 2).map(weight).collect()
        });
        Bank::new(filters.collect())
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
            (0..=fft / 2).map(weight).collect()
        });
        Bank::new(filters.collect())
    }

    /// Of the weights of all bins; those below 0 are none.
    fn new(filters: Vec<Vec<f64>>) -> Bank {
        let mut bank = Bank { groups: vec![], weights: vec![] };
        for filters in filters.chunks(LANES) {
            let used = |bin: &usize| filters.iter().any(|f| f[*bin] > 0.0);
            let bins = 0..filters[0].len();
            let first = bins.clone().find(used).unwrap_or(0);
            let end = bins.rev().find(used).map_or(first, |last| last + 1);
            // Even: bins are summed in two sums.
            let (first, len) = match (end - first) % 2 {
                0 => (first, end - first),
                _ if first > 0 => (first - 1, end - first + 1),
                _ => (first, end - first + 1),
            };
            bank.groups.push((first, len));
            let weight = |bin: usize, lane: usize| {
                let weight = filters.get(lane).and_then(|f| f.get(bin));
                weight.map_or(0.0, |w| w.max(0.0) as f32)
            };
            let row = |bin| std::array::from_fn(|lane| weight(bin, lane));
            bank.weights.extend((first..first + len).map(row));
        }
        bank
    }

    /// What passes each filter; `out` is of whole lanes. After the spectrum's last bin there is a zero.
    #[inline(always)]
    pub(super) fn apply(&self, spectrum: &[f32], out: &mut [f32]) {
        let mut weights = &self.weights[..];
        for (&(first, len), out) in self.groups.iter().zip(out.as_chunks_mut::<LANES>().0) {
            let (mine, rest) = weights.split_at(len);
            let bins = spectrum[first..first + len].as_chunks::<2>().0;
            let (mut even, mut odd) = ([0.0; LANES], [0.0; LANES]);
            for (weights, bins) in mine.as_chunks::<2>().0.iter().zip(bins) {
                for lane in 0..LANES {
                    even[lane] += weights[0][lane] * bins[0];
                    odd[lane] += weights[1][lane] * bins[1];
                }
            }
            for lane in 0..LANES {
                out[lane] = even[lane] + odd[lane];
            }
            weights = rest;
        }
    }
}
