//! Which negatives are learned from.

use tidemill_engine::data::random::{GOLDEN, mix};

/// FNV-1a, 64 bits: small, and the same everywhere.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Whether the event is in the share: a function of its id and the seed alone, so that neither the
/// order of events nor a kill changes it.
pub(super) fn is_kept(id: &str, seed: u64, share: f64) -> bool {
    // Mixed, since FNV alone leaves patterns of its input in the high bits.
    let hash = mix(fnv(id.as_bytes()) ^ seed.wrapping_mul(GOLDEN));
    ((hash >> 11) as f64) < share * (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_kept() {
        for share in [0.01, 0.1, 0.5, 1.0] {
            for seed in 0..3 {
                let n = 100_000;
                let kept = (0..n).filter(|i| is_kept(&i.to_string(), seed, share)).count() as f64;
                let deviation = (f64::from(n) * share * (1.0 - share)).sqrt();
                let expected = share * f64::from(n);
                assert!((kept - expected).abs() <= 4.0 * deviation, "{share} {seed}: {kept}");
            }
        }
        let one: Vec<bool> = (0..64).map(|i| is_kept(&i.to_string(), 1, 0.5)).collect();
        let other: Vec<bool> = (0..64).map(|i| is_kept(&i.to_string(), 2, 0.5)).collect();
        assert_ne!(one, other);
    }
}
