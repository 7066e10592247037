//! From stored values to what the model sees: `(value * scale - mean) / std`, by channel.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How stored values become the model's input: `(value * scale - mean) / std`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// Factor applied to every value first. When left out, 1/255 for 8-bit images and 1 for tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
    /// Subtracted next: one value, or one for each channel (for tables: each feature).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f32>,
    /// Divided by last: one value, or one for each channel (for tables: each feature).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub std: Vec<f32>,
}

impl Normalize {
    /// Checks the options against the number of channels and prepares them for use.
    pub fn compile(&self, channels: usize, default_scale: f32) -> Result<Affine> {
        let scale = self.scale.unwrap_or(default_scale);
        if !scale.is_finite() || scale == 0.0 {
            return Err(Error::option(format!("normalize.scale must not be {scale}")));
        }
        let per_channel = |name: &str, values: &[f32], default: f32| match values.len() {
            0 => Ok(vec![default; channels]),
            1 => Ok(vec![values[0]; channels]),
            n if n == channels => Ok(values.to_vec()),
            n => Err(Error::option(format!(
                "normalize.{name} has {n} values, the data has {channels} channels; give 1 or {channels}"
            ))),
        };
        let mean = per_channel("mean", &self.mean, 0.0)?;
        let std = per_channel("std", &self.std, 1.0)?;
        if let Some(bad) = std.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return Err(Error::option(format!("normalize.std must be positive, found {bad}")));
        }
        if let Some(bad) = mean.iter().find(|m| !m.is_finite()) {
            return Err(Error::option(format!("normalize.mean must be finite, found {bad}")));
        }
        let mul: Vec<f32> = std.iter().map(|s| scale / s).collect();
        let add: Vec<f32> = mean.iter().zip(&std).map(|(m, s)| -m / s).collect();
        let uniform = mul.iter().all(|&m| m == mul[0]) && add.iter().all(|&a| a == add[0]);
        Ok(Affine { mul, add, uniform })
    }
}

/// A compiled [`Normalize`]: `value * mul[channel] + add[channel]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    mul: Vec<f32>,
    add: Vec<f32>,
    uniform: bool,
}

impl Affine {
    /// By what values are multiplied, for each channel.
    pub fn factors(&self) -> &[f32] {
        &self.mul
    }

    /// What is added then, for each channel.
    pub fn summands(&self) -> &[f32] {
        &self.add
    }

    /// Converts 8-bit values; `values` and `x` are equally long, channels innermost.
    pub fn fill_u8(&self, values: &[u8], x: &mut [f32]) {
        if self.uniform {
            let (mul, add) = (self.mul[0], self.add[0]);
            // The same bits for any instruction set: a product and a sum, each rounded.
            pulp::Arch::new().dispatch(Uniform { values, x, mul, add });
            return;
        }
        let c = self.mul.len();
        if let ([m0, m1, m2], [a0, a1, a2]) = (&self.mul[..], &self.add[..]) {
            let (mul, add) = ([*m0, *m1, *m2], [*a0, *a1, *a2]);
            pulp::Arch::new().dispatch(Three { values, x, mul, add });
            return;
        }
        for (x, values) in x.chunks_exact_mut(c).zip(values.chunks_exact(c)) {
            for (i, (x, &v)) in x.iter_mut().zip(values).enumerate() {
                *x = f32::from(v) * self.mul[i] + self.add[i];
            }
        }
    }

    /// The 8-bit values that these were, rounded; what is beyond is cut off.
    pub fn undo_u8(&self, values: &[f32]) -> Vec<u8> {
        let c = self.mul.len();
        let undo = |(i, v): (usize, &f32)| ((v - self.add[i % c]) / self.mul[i % c]).round();
        values.iter().enumerate().map(undo).map(|v| v.clamp(0.0, 255.0) as u8).collect()
    }

    /// Converts floats; `values` and `x` are equally long, channels innermost.
    pub fn fill_f32(&self, values: &[f32], x: &mut [f32]) {
        if self.uniform && self.mul[0] == 1.0 && self.add[0] == 0.0 {
            x.copy_from_slice(values);
            return;
        }
        let c = self.mul.len();
        for (x, values) in x.chunks_exact_mut(c).zip(values.chunks_exact(c)) {
            for (i, (x, &v)) in x.iter_mut().zip(values).enumerate() {
                *x = v * self.mul[i] + self.add[i];
            }
        }
    }
}

/// [`Affine::fill_u8`] where all channels are alike.
struct Uniform<'a> {
    values: &'a [u8],
    x: &'a mut [f32],
    mul: f32,
    add: f32,
}

impl pulp::WithSimd for Uniform<'_> {
    type Output = ();

    // Inlined into a function that is compiled for the instruction set at hand.
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let Uniform { values, x, mul, add } = self;
        if add == 0.0 {
            for (x, &v) in x.iter_mut().zip(values) {
                *x = f32::from(v) * mul;
            }
        } else {
            for (x, &v) in x.iter_mut().zip(values) {
                *x = f32::from(v) * mul + add;
            }
        }
    }
}

/// [`Affine::fill_u8`] of three channels, 32 pixels at a time: a loop that is long enough to become one of wide registers.
struct Three<'a> {
    values: &'a [u8],
    x: &'a mut [f32],
    mul: [f32; 3],
    add: [f32; 3],
}

impl pulp::WithSimd for Three<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let Three { values, x, mul, add } = self;
        let (mut muls, mut adds) = ([0.0; 96], [0.0; 96]);
        for i in 0..96 {
            (muls[i], adds[i]) = (mul[i % 3], add[i % 3]);
        }
        let (pixels, rest) = values.as_chunks::<96>();
        let (out, out_rest) = x.as_chunks_mut::<96>();
        for (out, pixels) in out.iter_mut().zip(pixels) {
            for i in 0..96 {
                out[i] = f32::from(pixels[i]) * muls[i] + adds[i];
            }
        }
        for (i, (x, &v)) in out_rest.iter_mut().zip(rest).enumerate() {
            *x = f32::from(v) * mul[i % 3] + add[i % 3];
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn default_is_one_over_255() {
        let affine = Normalize::default().compile(1, 1.0 / 255.0).unwrap();
        let mut x = [9.0; 3];
        affine.fill_u8(&[0, 51, 255], &mut x);
        assert_eq!(x, [0.0, 51.0 * (1.0 / 255.0), 1.0]);
    }

    #[test]
    fn mean_and_std_by_channel() {
        let n = Normalize { scale: None, mean: vec![0.5, 0.0, 1.0], std: vec![0.5, 1.0, 2.0] };
        let affine = n.compile(3, 1.0 / 255.0).unwrap();
        let mut x = [0.0; 6];
        affine.fill_u8(&[255, 255, 255, 0, 0, 0], &mut x);
        let want = [1.0, 1.0, 0.0, -1.0, 0.0, -0.5];
        for (x, w) in x.iter().zip(want) {
            assert!((x - w).abs() < 1e-6, "{x} {w}");
        }
        let mut y = [0.0; 6];
        affine.fill_f32(&[255.0, 255.0, 255.0, 0.0, 0.0, 0.0], &mut y);
        assert_eq!(x, y);
    }

    #[test]
    fn many_pixels_at_a_time_have_the_same_bits() {
        let n = Normalize {
            scale: None,
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
        };
        let affine = n.compile(3, 1.0 / 255.0).unwrap();
        let values: Vec<u8> = (0..3 * 35).map(|i| (i * 37 % 256) as u8).collect();
        let mut x = vec![0.0; values.len()];
        affine.fill_u8(&values, &mut x);
        for (i, (x, v)) in x.iter().zip(&values).enumerate() {
            assert_eq!(*x, f32::from(*v) * affine.mul[i % 3] + affine.add[i % 3]);
        }
        assert_eq!(affine.undo_u8(&x), values);
    }

    #[test]
    fn wrong_counts_and_values_are_told() {
        let n = Normalize { mean: vec![0.0; 2], ..Normalize::default() };
        let text = n.compile(3, 1.0).unwrap_err().to_string();
        assert!(text.contains("2 values") && text.contains("3 channels"), "{text}");
        let n = Normalize { std: vec![0.0], ..Normalize::default() };
        assert!(n.compile(3, 1.0).is_err());
        let n = Normalize { scale: Some(f32::NAN), ..Normalize::default() };
        assert!(n.compile(3, 1.0).is_err());
    }
}
