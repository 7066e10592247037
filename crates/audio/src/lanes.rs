//! Loops over values, written so that the compiler makes vectors of them, and so that the bits do not depend on how
//! wide these are: sums go by lanes, and products are rounded before they are added.

/// Sums that go on side by side.
pub(crate) const LANES: usize = 8;

/// Sum of products; `a` is of whole lanes.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    total(sums)
}

/// Sum of values.
#[inline(always)]
pub(crate) fn sum(values: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += chunk[lane];
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += value;
    }
    total(sums)
}

/// In order: sums by halves would have the compiler make vectors of two lanes of all that comes before.
#[inline(always)]
fn total(sums: [f32; LANES]) -> f32 {
    sums[1..].iter().fold(sums[0], |total, sum| total + sum)
}

/// Natural logarithm of a positive, normal number to about one unit in the last place: the polynomial of Cephes's
/// `logf`. A call of the standard library's takes as long as eight of these.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    // The exponent for a mantissa between sqrt(1/2) and sqrt(2).
    let exponent = (x.to_bits().wrapping_sub(0x3f35_04f3) as i32) >> 23;
    let m = f32::from_bits(x.to_bits().wrapping_sub((exponent << 23) as u32)) - 1.0;
    let square = m * m;
    let mut p = 7.037_684e-2;
    for c in [
        -1.151_461e-1,
        1.167_699_84e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_7e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ] {
        p = p * m + c;
    }
    let e = exponent as f32;
    // ln 2 in two parts, of which the first times an exponent is exact.
    let low = p * m * square + e * -2.121_944_4e-4 - 0.5 * square;
    m + low + e * 0.693_359_4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_right_to_a_unit_in_the_last_place() {
        let mut worst = 0.0_f64;
        for i in 0..2_000_000_u32 {
            let x = f32::from_bits(0x0080_0000 + i * 1060);
            let want = f64::from(x).ln();
            let error = (f64::from(ln(x)) - want).abs() / want.abs().max(0.1);
            worst = worst.max(error);
        }
        assert!(worst < 1.5e-7, "{worst}");
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn sums_are_sums() {
        let values: Vec<f32> = (1..=19).map(|i| i as f32).collect();
        assert_eq!(sum(&values), 190.0);
        assert_eq!(
            dot(&values[..16], &values[3..]),
            (1..=16).map(|i| i * (i + 3)).sum::<i32>() as f32
        );
    }
}
