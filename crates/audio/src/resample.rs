//! Other sample rates, as the samples come.

use std::f64::consts::PI;

use pulp::{Arch, Simd, WithSimd};

use crate::Result;
use crate::features::spec::check_rate;
use crate::lanes::{LANES, dot};

/// Zero crossings of the sinc to each side: 2 ms at 8 kHz. torchaudio has 6, with which more is mirrored about half the
/// lower rate.
const ZEROS: usize = 16;
/// Where the filter's middle lies, as a share of half the lower rate.
const ROLLOFF: f64 = 0.95;
/// Samples that are taken in at a time.
const PIECE: usize = 4096;

/// Resamples by a windowed sinc, a filter for each of the places that an output can have between two inputs
/// (Smith, "Digital audio resampling"; what `torchaudio.functional.resample` computes). Each output is a function of
/// the inputs about it alone, so that the same bits come out however the samples are cut.
#[derive(Clone, Debug)]
pub struct Resampler {
    arch: Arch,
    /// Both rates without their common factor.
    from: u64,
    to: u64,
    /// Inputs after the one at or before an output that its filter has, and one less before.
    half: usize,
    /// Filters with zeros to whole lanes: `[to, taps]`.
    filters: Vec<f32>,
    taps: usize,
    /// Inputs from number `first` on, which is below 0 for the silence before the first.
    pending: Vec<f32>,
    first: i64,
    total: u64,
    /// Outputs so far.
    next: u64,
}

impl Resampler {
    /// From one number of samples a second to another.
    ///
    /// # Errors
    /// If a rate is not from 1,000 to 384,000.
    pub fn new(from: u32, to: u32) -> Result<Resampler> {
        check_rate("the sample rate to resample from", from)?;
        check_rate("the sample rate to resample to", to)?;
        Ok(Resampler::with(from.into(), to.into(), ZEROS, ROLLOFF))
    }

    /// Makes speech `factor` times as fast, with the pitch that comes of that, as `sox speed` does: 0.9 or 1.1, for
    /// example. The sample rate stays.
    ///
    /// # Errors
    /// If the factor, which is taken in thousandths, is not from 0.1 to 10.
    pub fn speed(factor: f64) -> Result<Resampler> {
        if !(0.1..=10.0).contains(&factor) {
            return Err(crate::AudioError::option(format!(
                "speed = {factor} must be from 0.1 to 10"
            )));
        }
        Ok(Resampler::with((factor * 1000.0).round() as u64, 1000, ZEROS, ROLLOFF))
    }

    pub(crate) fn with(from: u64, to: u64, zeros: usize, rolloff: f64) -> Resampler {
        let common = greatest_common_divisor(from, to);
        let (from, to) = (from / common, to / common);
        let cutoff = rolloff * from.min(to) as f64 / from as f64;
        // Inputs that a side of the filter reaches over.
        let reach = zeros as f64 / cutoff;
        let half = reach as usize + 1;
        let taps = (2 * half).next_multiple_of(LANES);
        let mut filters = vec![0.0; to as usize * taps];
        for (place, filter) in filters.chunks_exact_mut(taps).enumerate() {
            for (tap, value) in filter[..2 * half].iter_mut().enumerate() {
                let distance = (tap as f64 - (half - 1) as f64) - place as f64 / to as f64;
                *value = (cutoff * windowed_sinc(distance * cutoff, zeros as f64)) as f32;
            }
        }
        let (pending, first) = (vec![0.0; half - 1], 1 - half as i64);
        let arch = Arch::new();
        Resampler { arch, from, to, half, filters, taps, pending, first, total: 0, next: 0 }
    }

    /// How many samples come of so many, from the start to [`finish`](Self::finish).
    pub fn num_samples(&self, samples: u64) -> u64 {
        let exact = u128::from(samples) * u128::from(self.to);
        exact.div_ceil(u128::from(self.from)) as u64
    }

    /// Takes samples, and appends to `out` those that can be computed: all but some milliseconds.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        for piece in samples.chunks(PIECE) {
            self.pending.extend_from_slice(piece);
            self.total += piece.len() as u64;
            self.compute(self.total, u64::MAX, out);
        }
    }

    /// The audio is over: appends the rest to `out`. The next sample is the first one of another audio.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        self.pending.resize(self.pending.len() + self.half + self.taps, 0.0);
        let end = self.num_samples(self.total);
        self.compute(self.total + self.half as u64, end, out);
        self.pending.clear();
        self.pending.resize(self.half - 1, 0.0);
        (self.first, self.total, self.next) = (1 - self.half as i64, 0, 0);
    }

    /// All of an audio.
    pub fn of(&mut self, samples: &[f32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.num_samples(samples.len() as u64) as usize);
        self.push(samples, &mut out);
        self.finish(&mut out);
        out
    }

    /// Computes outputs below `end` whose filters end before input `inputs`.
    fn compute(&mut self, inputs: u64, end: u64, out: &mut Vec<f32>) {
        // Filters have zeros behind them, which must meet inputs too.
        let length = self.pending.len();
        self.pending.resize(length + self.taps, 0.0);
        self.arch.dispatch(Filters { inputs, end, out, length, resampler: self });
        self.pending.truncate(length);
        let at = (u128::from(self.next) * u128::from(self.from) / u128::from(self.to)) as i64;
        let keep = at - (self.half as i64 - 1);
        let drop = ((keep - self.first).max(0) as usize).min(length);
        self.pending.drain(..drop);
        self.first += drop as i64;
    }
}

struct Filters<'a> {
    resampler: &'a mut Resampler,
    inputs: u64,
    end: u64,
    length: usize,
    out: &'a mut Vec<f32>,
}

impl WithSimd for Filters<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Filters { resampler: r, inputs, end, length, out } = self;
        let exact = u128::from(r.next) * u128::from(r.from);
        let (mut at, mut place) =
            ((exact / u128::from(r.to)) as u64, (exact % u128::from(r.to)) as u64);
        let (whole, part) = (r.from / r.to, r.from % r.to);
        while r.next < end && at + (r.half as u64) < inputs {
            let begin = (at as i64 + 1 - r.half as i64 - r.first) as usize;
            debug_assert!(begin + 2 * r.half <= length, "{begin} of {length}");
            let filter = &r.filters[place as usize * r.taps..][..r.taps];
            out.push(dot(filter, &r.pending[begin..begin + r.taps]));
            (at, place) = (at + whole, place + part);
            if place >= r.to {
                (at, place) = (at + 1, place - r.to);
            }
            r.next += 1;
        }
    }
}

/// `sin(pi x) / (pi x)` under a window that is 0 from `zeros` on.
fn windowed_sinc(x: f64, zeros: f64) -> f64 {
    if x.abs() >= zeros {
        return 0.0;
    }
    let sinc = if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
    sinc * (PI * x / zeros / 2.0).cos().powi(2)
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn noise(n: usize) -> Vec<f32> {
        let mut x = 1_u32;
        let mut next = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn the_same_bits_however_samples_are_cut() {
        for (from, to) in
            [(8000, 16_000), (44_100, 16_000), (16_000, 44_100), (11_025, 8000), (9001, 1000)]
        {
            for n in [0, 1, 2, 50, 3000] {
                let samples = noise(n);
                let mut resampler = Resampler::new(from, to).unwrap();
                let want = resampler.of(&samples);
                assert_eq!(want.len() as u64, resampler.num_samples(n as u64), "{from} {to} {n}");
                for cut in [1, 3, 100, 1 << 20] {
                    let mut out = Vec::new();
                    for piece in samples.chunks(cut) {
                        resampler.push(piece, &mut out);
                    }
                    resampler.finish(&mut out);
                    assert_eq!(out, want, "{from} {to} {n} {cut}");
                }
            }
        }
    }

    /// The definition, in f64: `torchaudio.functional.resample` gives the same for its 6 zeros and 0.99.
    #[test]
    fn outputs_are_sums_over_all_inputs() {
        let samples = noise(300);
        for (from, to, zeros, rolloff) in [(3, 2, 6, 0.99), (1, 2, 16, 0.95), (441, 160, 16, 0.95)]
        {
            let out = Resampler::with(from, to, zeros, rolloff).of(&samples);
            let cutoff = rolloff * from.min(to) as f64 / from as f64;
            for (j, value) in out.iter().enumerate() {
                let at = j as f64 * from as f64 / to as f64;
                let tap = |i: usize| cutoff * windowed_sinc((i as f64 - at) * cutoff, zeros as f64);
                let terms = samples.iter().enumerate().map(|(i, x)| tap(i) * f64::from(*x));
                let want: f64 = terms.sum();
                assert!((f64::from(*value) - want).abs() < 1e-5, "{from} {to} {j}: {value} {want}");
            }
        }
    }

    /// Tones below half the lower rate stay, tones above vanish.
    #[test]
    fn tones_keep_their_height() {
        let tone = |hz: f64, rate: f64, n: usize| -> Vec<f32> {
            (0..n).map(|i| (2.0 * PI * hz * i as f64 / rate).sin() as f32).collect()
        };
        let mut down = Resampler::new(44_100, 16_000).unwrap();
        for hz in [100.0, 1000.0, 6500.0] {
            let found = down.of(&tone(hz, 44_100.0, 44_100));
            let want = tone(hz, 16_000.0, 16_000);
            for (found, want) in found[100..15_900].iter().zip(&want[100..15_900]) {
                assert!((found - want).abs() < 5e-3, "{hz}: {found} {want}");
            }
        }
        let found = down.of(&tone(9000.0, 44_100.0, 44_100));
        assert!(found[100..15_900].iter().all(|v| v.abs() < 1e-2));
    }

    #[test]
    fn speed_changes_the_length() {
        assert_eq!(Resampler::speed(1.1).unwrap().of(&noise(1100)).len(), 1000);
        assert_eq!(Resampler::speed(0.9).unwrap().of(&noise(900)).len(), 1000);
        assert_eq!(Resampler::speed(1.0).unwrap().of(&noise(900)).len(), 900);
        assert!(Resampler::speed(0.0).is_err() && Resampler::speed(f64::NAN).is_err());
        assert!(Resampler::new(8000, 0).is_err() && Resampler::new(1, 8000).is_err());
    }
}
