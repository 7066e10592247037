//! The power spectrum of real samples.

use std::f64::consts::PI;
use std::sync::Arc;

use pulp::{Arch, Simd, WithSimd};
use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftPlanner};

/// Squares of the magnitudes of a real transform, by a complex one of half its length: even samples are its real
/// parts, odd ones its imaginary parts. (`realfft` does the same, but gives complex values, and took as long for the
/// second step as the transform itself.)
#[derive(Clone)]
pub(super) struct Power {
    fft: Arc<dyn Fft<f32>>,
    scratch: Vec<Complex32>,
    /// cos and sin of `2 pi k / len` for `k` from 1 below a quarter of the length.
    cos: Vec<f32>,
    sin: Vec<f32>,
    halves: Halves,
}

impl Power {
    /// Of so many samples, an even number.
    pub(super) fn new(len: usize) -> Power {
        debug_assert!(len.is_multiple_of(2), "{len} samples");
        let fft = FftPlanner::new().plan_fft_forward(len / 2);
        let angles = (1..(len / 2).div_ceil(2)).map(|k| 2.0 * PI * k as f64 / len as f64);
        Power {
            scratch: vec![Complex32::default(); fft.get_inplace_scratch_len()],
            fft,
            halves: Halves::new(angles.len()),
            cos: angles.clone().map(|a| a.cos() as f32).collect(),
            sin: angles.map(|a| a.sin() as f32).collect(),
        }
    }

    /// From `[len]` samples, which are overwritten, to `[len / 2 + 1]` squares of magnitudes.
    pub(super) fn of(&mut self, samples: &mut [f32], arch: Arch, power: &mut [f32]) {
        let values: &mut [Complex32] = bytemuck::cast_slice_mut(samples);
        self.fft.process_with_scratch(values, &mut self.scratch);
        let Power { cos, sin, halves, .. } = self;
        arch.dispatch(Join { values, power, cos, sin, halves });
    }
}

/// Parts of the first half of the complex transform, and of the second one from its end: loops over single arrays
/// in one direction become vectors.
#[derive(Clone)]
struct Halves {
    re: Vec<f32>,
    im: Vec<f32>,
    back_re: Vec<f32>,
    back_im: Vec<f32>,
}

impl Halves {
    fn new(len: usize) -> Halves {
        let zeros = || vec![0.0; len];
        Halves { re: zeros(), im: zeros(), back_re: zeros(), back_im: zeros() }
    }

    #[inline(always)]
    fn fill(&mut self, front: &[Complex32], back: &[Complex32]) {
        let n = self.re.len();
        let (re, im) = (&mut self.re[..n], &mut self.im[..n]);
        for ((re, im), z) in re.iter_mut().zip(im).zip(&front[..n]) {
            (*re, *im) = (z.re, z.im);
        }
        let (re, im) = (&mut self.back_re[..n], &mut self.back_im[..n]);
        for ((re, im), z) in re.iter_mut().zip(im).zip(back[..n].iter().rev()) {
            (*re, *im) = (z.re, z.im);
        }
    }
}

/// From the complex transform Z of M values to the real one, X. With `e` and `o` the halves of the sum and the
/// difference of `Z[k]` and `conj Z[M - k]`, and `t = -i o exp(-2 pi i k / 2M)`, `X[k]` is `e + t`, and `X[M - k]`
/// is the conjugate of `e - t`.
struct Join<'a> {
    values: &'a [Complex32],
    power: &'a mut [f32],
    cos: &'a [f32],
    sin: &'a [f32],
    halves: &'a mut Halves,
}

impl WithSimd for Join<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Join { values, power, cos, sin, halves } = self;
        let (m, n) = (values.len(), cos.len());
        let ends = [values[0].re + values[0].im, values[0].re - values[0].im];
        (power[0], power[m]) = (ends[0] * ends[0], ends[1] * ends[1]);
        if m.is_multiple_of(2) {
            let z = values[m / 2];
            power[m / 2] = z.re * z.re + z.im * z.im;
        }
        halves.fill(&values[1..=n], &values[m - n..]);
        let (low, high) = power.split_at_mut(m / 2 + 1);
        let (low, high) = (&mut low[1..=n], &mut high[(m - 1) / 2 - n..(m - 1) / 2]);
        let Halves { re, im, back_re, back_im } = halves;
        let (re, im, cos, sin) = (&re[..n], &im[..n], &cos[..n], &sin[..n]);
        let (back_re, back_im) = (&mut back_re[..n], &back_im[..n]);
        for k in 0..n {
            let (er, ei) = (re[k] + back_re[k], im[k] - back_im[k]);
            let (or, oi) = (re[k] - back_re[k], im[k] + back_im[k]);
            let tr = oi * cos[k] - or * sin[k];
            let ti = -(or * cos[k]) - oi * sin[k];
            let (sr, si) = (er + tr, ei + ti);
            let (dr, di) = (er - tr, ei - ti);
            low[k] = 0.25 * (sr * sr + si * si);
            back_re[k] = 0.25 * (dr * dr + di * di);
        }
        for (high, value) in high.iter_mut().rev().zip(back_re.iter()) {
            *high = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_is_that_of_the_definition() {
        for len in [2, 4, 6, 8, 10, 18, 20, 64, 200, 256, 400, 512] {
            let samples: Vec<f32> =
                (0..len).map(|i| ((i * i * 7 + i) % 31) as f32 - 15.0).collect();
            let mut power = vec![0.0; len / 2 + 1];
            Power::new(len).of(&mut samples.clone(), Arch::new(), &mut power);
            for (k, power) in power.iter().enumerate() {
                let (mut re, mut im) = (0.0, 0.0);
                for (i, x) in samples.iter().enumerate() {
                    let angle = 2.0 * PI * (i * k % len) as f64 / len as f64;
                    re += f64::from(*x) * angle.cos();
                    im -= f64::from(*x) * angle.sin();
                }
                let want = re * re + im * im;
                assert!(
                    (f64::from(*power) - want).abs() < 2e-3 * len as f64,
                    "{len} {k}: {power} {want}"
                );
            }
        }
    }
}
