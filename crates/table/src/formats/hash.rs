//! The hashes of Vowpal Wabbit, so that features fall into the same places.

/// MurmurHash3, 32 bits (Austin Appleby, public domain).
#[inline]
pub(crate) fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    let mix = |k: u32| k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut h = seed;
    let mut blocks = bytes.chunks_exact(4);
    for block in &mut blocks {
        h ^= mix(u32::from_le_bytes([block[0], block[1], block[2], block[3]]));
        h = h.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let rest = blocks.remainder();
    if !rest.is_empty() {
        h ^= mix(rest.iter().rev().fold(0, |k, b| k << 8 | u32::from(*b)));
    }
    h ^= bytes.len() as u32;
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// The hash of a feature or namespace in VW's default mode, `--hash strings`: a name of digits only
/// is that number.
#[inline]
pub(crate) fn vw_hash(name: &[u8], seed: u32) -> u32 {
    let digits = name.iter().try_fold(0_u32, |n, b| {
        b.is_ascii_digit().then(|| n.wrapping_mul(10).wrapping_add(u32::from(b - b'0')))
    });
    digits.map_or_else(|| murmur3(name, seed), |n| n.wrapping_add(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_values() {
        for (text, seed, hash) in [
            ("", 0, 0),
            ("", 1, 0x514e_28b7),
            ("a", 0x9747_b28c, 0x7fa0_9ea6),
            ("aaaa", 0x9747_b28c, 0x5a97_808a),
            ("Hello, world!", 0x9747_b28c, 0x2488_4cba),
        ] {
            assert_eq!(murmur3(text.as_bytes(), seed), hash, "{text}");
        }
    }

    #[test]
    fn digits_are_a_number() {
        assert_eq!(vw_hash(b"123", 0), 123);
        assert_eq!(vw_hash(b"123", 7), 130);
        assert_eq!(vw_hash(b"4294967296", 0), 0);
        assert_eq!(vw_hash(b"12a", 7), murmur3(b"12a", 7));
    }
}
