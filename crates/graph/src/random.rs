//! Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as
//! easy as 1, 2, 3"). A value is a function of (key, counter) alone, so any thread may make any of
//! them, and a resumed run makes the same ones.

/// Four random words for a counter, ten rounds.
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let even = 0xD251_1F53_u64 * u64::from(c0);
        let odd = 0xCD9E_8D57_u64 * u64::from(c2);
        (c0, c1, c2, c3) =
            ((odd >> 32) as u32 ^ c1 ^ k0, odd as u32, (even >> 32) as u32 ^ c3 ^ k1, even as u32);
        // Weyl sequences: the golden ratio and sqrt(3) - 1.
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [c0, c1, c2, c3]
}

/// Which elements a dropout keeps, and by what they are multiplied.
#[derive(Clone, Copy, Debug)]
pub struct DropoutMask {
    /// Elements whose word is below this are dropped; up to 2^32.
    threshold: u64,
    /// `1 / (1 - rate)`
    scale: f32,
    stream: u32,
    step: u32,
    key: [u32; 2],
}

impl DropoutMask {
    /// The mask of dropout `stream` for the key `[seed low, seed high, step, 0]`.
    pub fn new(rate: f32, stream: u32, key: [i32; 4]) -> DropoutMask {
        DropoutMask {
            threshold: (f64::from(rate) * 4_294_967_296.0).round() as u64,
            scale: 1.0 / (1.0 - rate),
            stream,
            step: key[2] as u32,
            key: [key[0] as u32, key[1] as u32],
        }
    }

    /// Factor of element `index`: 0 or `1 / (1 - rate)`. Element i uses word `i % 4` of the counter
    /// `[i / 4 low, i / 4 high, stream, step]`.
    pub fn factor(&self, index: u64) -> f32 {
        let block = index / 4;
        let counter = [block as u32, (block >> 32) as u32, self.stream, self.step];
        let word = philox4x32(counter, self.key)[(index % 4) as usize];
        if u64::from(word) >= self.threshold { self.scale } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors for philox4x32-10 that the authors publish with Random123 (`kat_vectors`).
    #[test]
    fn known_answers() {
        assert_eq!(
            philox4x32([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn the_share_that_is_kept_is_right() {
        for rate in [0.0_f32, 0.1, 0.5, 0.9] {
            let mask = DropoutMask::new(rate, 3, [1, 2, 7, 0]);
            let kept = (0..40_000).filter(|&i| mask.factor(i) != 0.0).count() as f32 / 40_000.0;
            assert!((kept - (1.0 - rate)).abs() < 0.01, "{rate}: {kept}");
        }
        let first = DropoutMask::new(0.5, 0, [1, 2, 7, 0]);
        let other = DropoutMask::new(0.5, 1, [1, 2, 7, 0]);
        assert!((0..64).any(|i| first.factor(i) != other.factor(i)), "streams differ");
    }
}
