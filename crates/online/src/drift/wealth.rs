//! When one model is better than another, by a test that may be looked at after every event.
//!
//! A bettor starts with 1 and bets on the challenger: before event `t` it stakes a share
//! `lambda_t` in [0, 1/2] of what it has, and holds
//!
//! ```text
//! K_t = K_(t-1) (1 + lambda_t x_t)      x_t = clip(champion's loss - challenger's loss, -c, c) / c
//! ```
//!
//! after it. `lambda_t` depends on earlier events only. While the challenger is not better,
//! `E[x_t | past] <= 0`, K is a supermartingale that is never below 0, and by Ville's inequality it
//! ever reaches `1/a` with a chance of at most `a`, however often one looks. This is the one-sided
//! betting confidence sequence of Waudby-Smith and Ramdas (*Estimating means of bounded random
//! variables by betting*, JRSS B 2024): its lower bound for the mean is above 0 from the moment that
//! `K` reaches `1/a`.
//!
//! The stake is theirs too (aGRAPA): `lambda_t = mean(x) / mean(x^2)`, cut to [0, 1/2]. Here both
//! means fade over [`MEMORY`] events, since a challenger learns: what it was at first says little of
//! what it is, and while it is worse nothing is staked. So it must not make up for its youth.
//!
//! The k-th challenger of a stream must reach `k (k + 1) / alpha`. These chances add up to `alpha`,
//! so that it holds for all challengers of a stream together.

use serde::{Deserialize, Serialize};

/// Events over which the stake's means fade.
pub const MEMORY: f64 = 200.0;
/// The largest share that is staked: half of it is left after the worst event.
const MOST: f64 = 0.5;

/// The bettor's state; part of the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wealth {
    /// `ln K`.
    log: f64,
    /// Events.
    events: u64,
    mean: f64,
    square: f64,
    /// Mean over all events, for the log.
    advantage: f64,
}

impl Default for Wealth {
    fn default() -> Self {
        // As if one event of the greatest spread had been seen: stakes are small at first.
        Wealth { log: 0.0, events: 0, mean: 0.0, square: 1.0, advantage: 0.0 }
    }
}

impl Wealth {
    /// One more event: by how much the challenger's loss was lower, in [-1, 1].
    pub fn add(&mut self, x: f64) {
        let x = x.clamp(-1.0, 1.0);
        let stake = if self.square > 0.0 { self.mean / self.square } else { 0.0 };
        self.log += (stake.clamp(0.0, MOST) * x).ln_1p();
        self.events += 1;
        let rate = 1.0 / ((self.events + 1) as f64).min(MEMORY);
        self.mean += rate * (x - self.mean);
        self.square += rate * (x * x - self.square);
        self.advantage += (x - self.advantage) / self.events as f64;
    }

    /// Whether the `k`-th challenger of a stream, from 1, is better, at chance `alpha`.
    pub fn is_better(&self, alpha: f64, k: u64) -> bool {
        let k = k.max(1) as f64;
        self.log >= (k * (k + 1.0) / alpha).ln()
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The mean difference so far, in shares of the largest.
    pub fn advantage(&self) -> f64 {
        self.advantage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knuth's MMIX generator.
    struct Random(u64);

    impl Random {
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
            self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    /// The share of streams on which a first challenger takes over within `events`.
    fn takeovers(streams: u64, events: u64, draw: impl Fn(&mut Random) -> f64) -> f64 {
        let takes = |stream: &u64| {
            let mut random = Random(stream * 7919 + 1);
            let mut wealth = Wealth::default();
            (0..events).any(|_| {
                wealth.add(draw(&mut random));
                wealth.is_better(0.1, 1)
            })
        };
        (0..streams).filter(takes).count() as f64 / streams as f64
    }

    #[test]
    fn equals_seldom_take_over_however_long_one_looks() {
        // The first challenger has half of alpha = 0.1; two standard errors of 500 streams are 0.02.
        for share in [
            takeovers(500, 20_000, |r| 2.0 * r.uniform() - 1.0),
            takeovers(500, 20_000, |r| f64::from(u8::from(r.uniform() < 0.5)) * 2.0 - 1.0),
            // Rare and large gains, frequent and small losses.
            takeovers(500, 20_000, |r| if r.uniform() < 0.1 { 0.9 } else { -0.1 }),
        ] {
            assert!(share <= 0.05 + 0.02, "{share}");
        }
    }

    #[test]
    fn the_better_one_takes_over_soon_and_the_worse_one_never() {
        let better = |r: &mut Random| 0.2 + 0.8 * (2.0 * r.uniform() - 1.0);
        assert!(takeovers(200, 500, better) > 0.95);
        let worse = |r: &mut Random| -0.1 + 0.8 * (2.0 * r.uniform() - 1.0);
        assert!(takeovers(200, 20_000, worse) < 0.01);
    }

    #[test]
    fn a_slow_start_is_forgiven() {
        let mut wealth = Wealth::default();
        (0..1000).for_each(|_| wealth.add(-0.5));
        let taken = (0..2000).position(|i| {
            wealth.add(if i % 2 == 0 { 0.5 } else { -0.2 });
            wealth.is_better(0.05, 1)
        });
        assert!(taken.is_some_and(|n| n < 600), "{taken:?}");
    }
}
