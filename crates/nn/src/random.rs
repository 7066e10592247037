//! Random numbers of named tensors, by counter.

use tidemill_graph::random::philox4x32;

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
