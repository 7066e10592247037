//! Optimizer slots in fewer bits than 32: bfloat16, or 8 bits with a scale for each block.
//!
//! A packed slot of `n` elements is a state tensor of I32 words. `bf16`: two elements a word, the first in the lower half.
//! `8bit`: four elements a word, then an f32 for each block of [`BLOCK`] elements, a power of two above all of the
//! block's magnitudes. An element is a small floating-point number relative to it: for slots that may be negative a
//! sign, 4 bits of exponent and 3 of fraction, for others 5 bits of exponent and 3 of fraction, both with gradual
//! underflow. What blockwise quantization is good for: Dettmers et al. 2022, "8-bit Optimizers via Block-wise
//! Quantization"; the codes here are those of OCP's 8-bit floats without infinities, since they need no table.
//!
//! Values are rounded at random, up with the probability that makes the mean right: a moving average that changes by a
//! thousandth a step would never leave a number that is an eighth from its neighbours. The random numbers are Philox
//! words keyed by (tensor, step, element), so that the result is a function of the run alone.

/// How the slots of an optimizer are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SlotType {
    /// As f32: 4 bytes for each element.
    #[default]
    F32,
    /// As bfloat16: 2 bytes.
    Bf16,
    /// In 8 bits with a scale for each [`BLOCK`] elements: 1.016 bytes.
    Bits8,
}

/// Elements with one scale.
pub const BLOCK: usize = 256;

/// Parameters with fewer elements keep their slots in f32: there is nothing to save, and biases and gains are
/// sensitive.
pub const FEWEST: usize = 4096;

impl SlotType {
    /// I32 words of a slot of `len` elements.
    pub fn words(self, len: usize) -> usize {
        match self {
            SlotType::F32 => len,
            SlotType::Bf16 => len.div_ceil(2),
            SlotType::Bits8 => len.div_ceil(4) + len.div_ceil(BLOCK),
        }
    }

    /// The type for a parameter of `len` elements.
    pub fn of(self, len: usize) -> SlotType {
        match len {
            0..FEWEST => SlotType::F32,
            _ => self,
        }
    }
}

/// The layout of an 8-bit number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Bits of the exponent.
    exponent: u32,
    signed: bool,
}

/// A sign, 4 bits of exponent, 3 of fraction: from `2^-18` to `15/16` of the scale.
pub const SIGNED: Code = Code { exponent: 4, signed: true };
/// 5 bits of exponent, 3 of fraction: from `2^-34` to `15/16` of the scale.
pub const UNSIGNED: Code = Code { exponent: 5, signed: false };

/// Fraction bits of both layouts.
const FRACTION: u32 = 3;
/// Magnitudes below `2^-86` are zero: what is computed from them stays a normal number.
const SMALLEST: u32 = 127 - 86;
/// Magnitudes from `2^125` on become the largest code: twice as much has no inverse that is a normal number.
const LARGEST: u32 = 127 + 124;

/// The scale of a block whose largest magnitude has these bits: the power of two above it, 0 for a block of zeros, NaN
/// if a value is NaN.
#[inline(always)]
pub fn scale(largest: u32) -> f32 {
    let exponent = largest >> 23;
    if largest > 0x7f80_0000 {
        f32::NAN
    } else if exponent < SMALLEST {
        0.0
    } else {
        f32::from_bits((exponent.min(LARGEST) + 1) << 23)
    }
}

/// What a block's values are multiplied by before [`Code::encode`]: `1 / scale`, 0 for a scale of 0.
#[inline(always)]
pub fn inverse(scale: f32) -> f32 {
    // of a power of two, or NaN, which stays one in the scale whatever the codes are
    if scale > 0.0 { f32::from_bits((254u32 << 23).wrapping_sub(scale.to_bits())) } else { 0.0 }
}

impl Code {
    /// The code of `x`, a value times its block's [`inverse`], with 16 random bits.
    #[inline(always)]
    pub fn encode(self, x: f32, random: u32) -> u8 {
        let bits = x.to_bits() & 0x7fff_ffff;
        let y = f32::from_bits(bits);
        let binades = 1u32 << self.exponent;
        let dropped = 23 - FRACTION;
        // from the smallest normal number on: the upper bits of the f32, after a random carry
        let normal = (bits + (random << (dropped - 16)) + (1 << (dropped - 17))) >> dropped;
        let normal = normal.wrapping_sub((127 - binades) << FRACTION);
        // below it: equal steps, in units of 2^-16 of one; added to 2^23 they are the last bits of an f32
        let steps = f32::from_bits((127 + binades - 1 + FRACTION + 16) << 23);
        let least = f32::from_bits((127 + 1 - binades) << 23);
        let units = (y * steps + 8_388_608.0).to_bits() & 0x7f_ffff;
        let linear = (units + random) >> 16;
        let code = if y < least { linear } else { normal };
        let code = code.min((binades << FRACTION) - 1);
        if self.signed {
            (code | (x.to_bits() >> 31) << 7) as u8
        } else {
            // A mean square that is not zero stays so: the rule divides by its root.
            code.max(u32::from(y > 0.0)) as u8
        }
    }

    /// The number of a code, which times the block's scale is the value.
    #[inline(always)]
    pub fn decode(self, code: u8) -> f32 {
        let binades = 1u32 << self.exponent;
        let magnitude = u32::from(code) & ((binades << FRACTION) - 1);
        let step = f32::from_bits((127 + 1 - binades - FRACTION) << 23);
        let linear = magnitude as f32 * step;
        let normal = f32::from_bits((magnitude + ((127 - binades) << FRACTION)) << (23 - FRACTION));
        let y = if magnitude < 1 << FRACTION { linear } else { normal };
        let sign = if self.signed { (u32::from(code) >> 7) << 31 } else { 0 };
        f32::from_bits(y.to_bits() | sign)
    }
}

/// The upper half of an f32 after a random carry from the lower one, with 16 random bits; NaN stays NaN.
#[inline(always)]
pub fn to_bf16(x: f32, random: u32) -> u16 {
    let bits = x.to_bits();
    let nan = bits & 0x7fff_ffff > 0x7f80_0000;
    let rounded = bits.wrapping_add(if nan { 0 } else { random });
    ((rounded >> 16) | if nan { 0x40 } else { 0 }) as u16
}

/// The f32 of a bfloat16.
#[inline(always)]
pub fn from_bf16(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// The 16 random bits that slot `slot` of an element takes of the element's Philox word.
#[inline(always)]
pub fn random_bits(word: u32, slot: usize) -> u32 {
    match slot {
        0 => word & 0xffff,
        1 => word >> 16,
        _ => word >> 8 & 0xffff,
    }
}

/// The Philox counter's upper words and key of a tensor at a step: the words of element `i` are those of counter `i / 4`.
#[inline(always)]
pub fn stream(tensor: u32, step: u32) -> ([u32; 2], [u32; 2]) {
    ([tensor, step], [0x736c_6f74, 0x7061_636b])
}

/// A slot's elements, from its words.
pub fn unpack(slots: SlotType, code: Code, len: usize, words: &[i32]) -> Vec<f32> {
    match slots {
        SlotType::F32 => words.iter().map(|&w| f32::from_bits(w as u32)).collect(),
        SlotType::Bf16 => {
            (0..len).map(|i| from_bf16((words[i / 2] as u32 >> (16 * (i % 2))) as u16)).collect()
        }
        SlotType::Bits8 => (0..len)
            .map(|i| {
                let scale = f32::from_bits(words[len.div_ceil(4) + i / BLOCK] as u32);
                code.decode((words[i / 4] as u32 >> (8 * (i % 4))) as u8) * scale
            })
            .collect(),
    }
}

/// The words of a slot; `random` gives 16 random bits for each element.
pub fn pack(
    slots: SlotType,
    code: Code,
    values: &[f32],
    random: impl Fn(usize) -> u32,
) -> Vec<i32> {
    let len = values.len();
    let mut words = vec![0i32; slots.words(len)];
    match slots {
        SlotType::F32 => {
            for (word, value) in words.iter_mut().zip(values) {
                *word = value.to_bits() as i32;
            }
        }
        SlotType::Bf16 => {
            for (i, &value) in values.iter().enumerate() {
                words[i / 2] |= (u32::from(to_bf16(value, random(i))) << (16 * (i % 2))) as i32;
            }
        }
        SlotType::Bits8 => {
            for (block, values) in values.chunks(BLOCK).enumerate() {
                let largest = values.iter().map(|v| v.to_bits() & 0x7fff_ffff).max().unwrap_or(0);
                let scale = scale(largest);
                words[len.div_ceil(4) + block] = scale.to_bits() as i32;
                for (i, &value) in values.iter().enumerate().map(|(i, v)| (block * BLOCK + i, v)) {
                    let byte = code.encode(value * inverse(scale), random(i));
                    words[i / 4] |= (u32::from(byte) << (8 * (i % 4))) as i32;
                }
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_a_number_that_has_it() {
        for (code, number) in (0..=255u8).flat_map(|c| [(c, SIGNED), (c, UNSIGNED)]) {
            let value = number.decode(code);
            for random in [0, 1, 0x7fff, 0xffff] {
                let found = number.encode(value, random);
                assert_eq!(found, code, "{number:?} {code} is {value}, random {random}");
            }
        }
        assert_eq!((SIGNED.decode(127), SIGNED.decode(1)), (15.0 / 16.0, 2.0f32.powi(-18)));
        assert_eq!((UNSIGNED.decode(255), UNSIGNED.decode(1)), (15.0 / 16.0, 2.0f32.powi(-34)));
        for code in 1..127u8 {
            assert!(SIGNED.decode(code + 1) > SIGNED.decode(code), "{code}");
        }
    }

    /// The mean over all random numbers is the value itself, up to their 16 bits.
    #[test]
    fn rounding_has_the_right_mean() {
        for value in [0.9f32, 0.51, 0.3, 0.011, 7e-4, 3e-5, 1e-5, 2e-6] {
            for number in [SIGNED, UNSIGNED] {
                let sum: f64 =
                    (0..=0xffff).map(|r| f64::from(number.decode(number.encode(value, r)))).sum();
                let mean = sum / 65536.0;
                assert!((mean / f64::from(value) - 1.0).abs() < 1e-4, "{number:?} {value}: {mean}");
            }
            let sum: f64 = (0..=0xffff).map(|r| f64::from(from_bf16(to_bf16(value, r)))).sum();
            assert!((sum / 65536.0 / f64::from(value) - 1.0).abs() < 1e-5, "bf16 {value}");
        }
        assert_eq!(SIGNED.decode(SIGNED.encode(-0.3, 9)), -SIGNED.decode(SIGNED.encode(0.3, 9)));
        assert_eq!(UNSIGNED.encode(1e-30, 0), 1, "a mean square never becomes zero");
    }

    #[test]
    fn extremes_survive() {
        let of = |values: &[f32], slots| {
            unpack(slots, SIGNED, values.len(), &pack(slots, SIGNED, values, |_| 77))
        };
        for slots in [SlotType::Bf16, SlotType::Bits8] {
            assert_eq!(of(&[0.0; 300], slots), [0.0; 300]);
            assert!(of(&[1.0, f32::NAN], slots)[1].is_nan());
            assert!(of(&[1.0, f32::MAX, -1.0], slots)[1] > 3e37);
        }
        assert_eq!(of(&[1e-30, -1e-38], SlotType::Bits8), [0.0; 2]);
        assert!(of(&[f32::INFINITY, 1.0], SlotType::Bits8)[0] > 3e37);
        assert!(of(&[f32::INFINITY, 1.0], SlotType::Bf16)[0].is_infinite());
        assert_eq!((SlotType::Bits8.words(1000), SlotType::Bf16.words(7)), (254, 4));
    }
}
