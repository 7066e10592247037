//! Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011).

/// Four random words for a counter under a key.
pub(crate) fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    for _ in 0..10 {
        let a = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// The random stream of one named tensor under a seed. Any element can be asked for by itself.
pub(crate) struct Stream {
    key: [u32; 2],
    name: [u32; 2],
}

impl Stream {
    pub(crate) fn new(seed: u64, name: &str) -> Stream {
        // FNV-1a keeps the streams of different names apart.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let halves = |n: u64| [n as u32, (n >> 32) as u32];
        Stream { key: halves(seed), name: halves(hash) }
    }

    /// Four numbers in the open interval 0 to 1.
    pub(crate) fn uniforms(&self, block: u32, attempt: u32) -> [f64; 4] {
        let words = philox4x32([block, attempt, self.name[0], self.name[1]], self.key);
        words.map(|word| (f64::from(word) + 0.5) / 4_294_967_296.0)
    }

    /// Four numbers of the standard normal distribution, by Box and Muller's transform.
    pub(crate) fn normals(&self, block: u32, attempt: u32) -> [f64; 4] {
        let [a, b, c, d] = self.uniforms(block, attempt);
        let pair = |u: f64, v: f64| {
            let radius = (-2.0 * u.ln()).sqrt();
            let (sin, cos) = (std::f64::consts::TAU * v).sin_cos();
            [radius * cos, radius * sin]
        };
        let ([a, b], [c, d]) = (pair(a, b), pair(c, d));
        [a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_the_paper() {
        let cases = [
            ([0; 4], [0; 2], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
            ([!0; 4], [!0; 2], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
            (
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0],
                [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(philox4x32(counter, key), expected);
        }
    }
}
