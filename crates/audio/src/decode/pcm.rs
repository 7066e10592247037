//! Samples as bytes.

/// How a sample is stored; more than one byte is little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SampleFormat {
    /// 8 bits, 128 is 0.
    U8,
    /// 16 bits.
    S16,
    /// 24 bits in three bytes.
    S24,
    /// 32 bits.
    S32,
    /// A float, usually in -1 to 1.
    F32,
    /// The same in 64 bits.
    F64,
    /// G.711, European.
    ALaw,
    /// G.711, American.
    MuLaw,
}

impl SampleFormat {
    /// Bytes of a sample.
    pub fn bytes(self) -> usize {
        match self {
            SampleFormat::U8 | SampleFormat::ALaw | SampleFormat::MuLaw => 1,
            SampleFormat::S16 => 2,
            SampleFormat::S24 => 3,
            SampleFormat::S32 | SampleFormat::F32 => 4,
            SampleFormat::F64 => 8,
        }
    }

    /// The least magnitude of a sample that is at the end of its range.
    pub(crate) fn full_scale(self) -> f32 {
        match self {
            SampleFormat::U8 => 127.0 / 128.0,
            SampleFormat::S16 => 32_767.0 / 32_768.0,
            SampleFormat::ALaw => 32_256.0 / 32_768.0,
            SampleFormat::MuLaw => 32_124.0 / 32_768.0,
            _ => 1.0 - f32::EPSILON,
        }
    }

    /// Appends whole samples as floats, of which integers are in -1 to 1.
    pub(crate) fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        fn all<const N: usize>(bytes: &[u8], out: &mut Vec<f32>, value: impl Fn([u8; N]) -> f32) {
            out.extend(bytes.as_chunks::<N>().0.iter().map(|b| value(*b)));
        }
        match self {
            SampleFormat::U8 => all(bytes, out, |[b]| (f32::from(b) - 128.0) / 128.0),
            SampleFormat::S16 => all(bytes, out, |b| f32::from(i16::from_le_bytes(b)) / 32_768.0),
            SampleFormat::S24 => all(bytes, out, |[a, b, c]| {
                (i32::from_le_bytes([0, a, b, c]) >> 8) as f32 / 8_388_608.0
            }),
            SampleFormat::S32 => {
                all(bytes, out, |b| i32::from_le_bytes(b) as f32 / 2_147_483_648.0);
            }
            SampleFormat::F32 => all(bytes, out, f32::from_le_bytes),
            SampleFormat::F64 => all(bytes, out, |b| f64::from_le_bytes(b) as f32),
            SampleFormat::ALaw => all(bytes, out, |[b]| f32::from(a_law(b)) / 32_768.0),
            SampleFormat::MuLaw => all(bytes, out, |[b]| f32::from(mu_law(b)) / 32_768.0),
        }
    }
}

/// ITU-T G.711, to 16 bits.
fn a_law(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let (exponent, mantissa) = ((byte >> 4) & 7, i16::from(byte & 15));
    let value = match exponent {
        0 => (mantissa << 4) + 8,
        _ => ((mantissa << 4) + 0x108) << (exponent - 1),
    };
    if byte & 0x80 == 0 { -value } else { value }
}

fn mu_law(byte: u8) -> i16 {
    let byte = !byte;
    let (exponent, mantissa) = ((byte >> 4) & 7, i16::from(byte & 15));
    let value = (((mantissa << 3) + 0x84) << exponent) - 0x84;
    if byte & 0x80 == 0 { value } else { -value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(format: SampleFormat, bytes: &[u8]) -> Vec<f32> {
        let mut out = Vec::new();
        format.decode(bytes, &mut out);
        out
    }

    #[test]
    fn each_format_reaches_from_minus_one_to_one() {
        assert_eq!(decoded(SampleFormat::U8, &[0, 128, 192]), [-1.0, 0.0, 0.5]);
        assert_eq!(decoded(SampleFormat::S16, &[0, 0x80, 0, 0x40, 0xff]), [-1.0, 0.5]);
        assert_eq!(decoded(SampleFormat::S24, &[0, 0, 0x80, 0, 0, 0x40]), [-1.0, 0.5]);
        assert_eq!(decoded(SampleFormat::S32, &[0, 0, 0, 0x80]), [-1.0]);
        assert_eq!(decoded(SampleFormat::F32, &0.25_f32.to_le_bytes()), [0.25]);
        assert_eq!(decoded(SampleFormat::F64, &0.25_f64.to_le_bytes()), [0.25]);
        // What sox and ffmpeg make of these bytes.
        let laws = |format| decoded(format, &[0x00, 0x2a, 0x55, 0xaa, 0xd5, 0xff]).map_i16();
        assert_eq!(laws(SampleFormat::ALaw), [-5504, -32_256, -8, 32_256, 8, 848]);
        assert_eq!(laws(SampleFormat::MuLaw), [-32_124, -5372, -716, 5372, 716, 0]);
    }

    trait MapI16 {
        fn map_i16(self) -> Vec<i16>;
    }

    impl MapI16 for Vec<f32> {
        fn map_i16(self) -> Vec<i16> {
            self.iter().map(|v| (v * 32_768.0) as i16).collect()
        }
    }
}
