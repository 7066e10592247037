//! Counter-based randomness: a value is a pure function of a seed and a few counters.

pub use tidemill_table::mix::{GOLDEN, mix};

/// A key from a seed and counters; each counter is mixed in by its place.
pub(crate) fn key(seed: u64, counters: &[u64]) -> u64 {
    counters.iter().fold(mix(seed.wrapping_add(GOLDEN)), |k, &c| {
        mix(k ^ mix(c.wrapping_add(GOLDEN))).wrapping_add(GOLDEN)
    })
}

/// Number `place` of the stream of `seed`, uniform in `[0, 1)`.
pub fn unit_at(seed: u64, place: u64) -> f64 {
    let bits = mix(seed.wrapping_add((place + 1).wrapping_mul(GOLDEN)));
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// A small stream of values from one key (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Stream(u64);

impl Stream {
    /// The stream of `key`.
    pub(crate) fn new(key: u64) -> Self {
        Self(key)
    }

    /// 64 fresh bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in `[low, high)`.
    pub(crate) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `[0, 1)`, in 53 bits.
    pub(crate) fn double(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform from the first to the second.
    pub(crate) fn between(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.double()
    }

    /// One of `0..n`, all as likely but for 1 in 2^64 / n.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// From Beta(alpha, alpha), by two Gamma variates (Marsaglia and Tsang 2000).
    pub(crate) fn beta(&mut self, alpha: f64) -> f64 {
        let (a, b) = (self.ln_gamma_variate(alpha), self.ln_gamma_variate(alpha));
        // In logarithms: for a small alpha both are often too small for a float.
        1.0 / (1.0 + (b - a).exp())
    }

    /// The logarithm of a variate of Gamma(alpha, 1).
    fn ln_gamma_variate(&mut self, alpha: f64) -> f64 {
        // Below 1: a variate of alpha + 1 times a power of a uniform one.
        let (shape, boost) = match alpha < 1.0 {
            true => (alpha + 1.0, (1.0 - self.double()).ln() / alpha),
            false => (alpha, 0.0),
        };
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let radius = (-2.0 * (1.0 - self.double()).ln()).sqrt();
            let x = radius * (std::f64::consts::TAU * self.double()).cos();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.double()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return (d * v).ln() + boost;
            }
        }
    }

    /// About normal, mean 0 and deviation 1, by the sum of 4 uniform 16-bit values: no
    /// transcendental functions, so the same bits on every machine.
    pub(crate) fn normal(&mut self) -> f32 {
        let b = self.bits();
        let sum = (b & 0xffff) + (b >> 16 & 0xffff) + (b >> 32 & 0xffff) + (b >> 48);
        // A uniform 16-bit value has the deviation 65536 / sqrt(12); four of them twice that.
        (sum as f32 - 131_070.0) * (1.0 / 37_837.23)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_has_mean_0_and_deviation_1() {
        let mut stream = Stream::new(key(7, &[1, 2]));
        let n = 100_000;
        let (mut sum, mut square) = (0.0, 0.0);
        for _ in 0..n {
            let v = f64::from(stream.normal());
            sum += v;
            square += v * v;
        }
        assert!((sum / f64::from(n)).abs() < 0.02);
        assert!((square / f64::from(n) - 1.0).abs() < 0.02);
    }

    #[test]
    fn beta_has_its_mean_and_variance() {
        for alpha in [0.2, 1.0, 4.0] {
            let mut stream = Stream::new(key(3, &[5]));
            let n = 50_000;
            let all: Vec<f64> = (0..n).map(|_| stream.beta(alpha)).collect();
            let mean = all.iter().sum::<f64>() / f64::from(n);
            let variance = all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n);
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: {mean}");
            assert!((variance - 0.25 / (2.0 * alpha + 1.0)).abs() < 0.004, "{alpha}: {variance}");
            assert!(all.iter().all(|v| (0.0..=1.0).contains(v)));
        }
    }

    #[test]
    fn keys_depend_on_order_and_count() {
        let keys = [key(1, &[]), key(1, &[0]), key(1, &[0, 0]), key(1, &[0, 1]), key(1, &[1, 0])];
        for i in 0..keys.len() {
            for j in 0..i {
                assert_ne!(keys[i], keys[j]);
            }
        }
    }
}
