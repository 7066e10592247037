//! KSWIN: the newest values come from another distribution than those before them.

use crate::ks_test::{critical_distance, distance};
use crate::spec::KswinSpec;
use crate::twister::Twister;
use crate::{Signal, bits};
use serde::{Deserialize, Serialize};

/// Raab, Heusinger and Schleif 2020, "Reactive soft prototype computing for concept drift streams".
///
/// Of a window of `window_size` values, the newest `stat_size` are compared with as many drawn from
/// the others, by the test of Kolmogorov and Smirnov. Sees changes of shape that leave the mean.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kswin {
    pub spec: KswinSpec,
    /// A ring once it is full; `oldest` is where it begins.
    #[serde(with = "bits")]
    window: Vec<f64>,
    oldest: usize,
    random: Twister,
    #[serde(skip)]
    scratch: Scratch,
}

/// Room that is reused, not state.
#[derive(Clone, Debug, Default)]
struct Scratch {
    drawn: Vec<f64>,
    recent: Vec<f64>,
    places: Vec<u32>,
    /// The smallest distance, times `stat_size`, that is a drift; 0 before it is computed.
    critical: usize,
}

impl PartialEq for Kswin {
    fn eq(&self, other: &Kswin) -> bool {
        (&self.spec, &self.window, self.oldest, &self.random)
            == (&other.spec, &other.window, other.oldest, &other.random)
    }
}

impl Kswin {
    pub fn new(spec: KswinSpec) -> Kswin {
        let random = Twister::new(spec.seed);
        let window = Vec::with_capacity(spec.window_size);
        Kswin { spec, window, oldest: 0, random, scratch: Scratch::default() }
    }

    /// Whether a state that was read can be one.
    pub fn is_sound(&self) -> bool {
        let full = self.window.len() == self.spec.window_size;
        let ring = if full { self.oldest < self.window.len() } else { self.oldest == 0 };
        self.window.len() <= self.spec.window_size
            && ring
            && self.window.iter().all(|x| x.is_finite())
            && self.random.is_sound()
    }

    pub fn update(&mut self, x: f64) -> Signal {
        let size = self.spec.window_size;
        if self.window.len() < size {
            self.window.push(x);
            if self.window.len() < size {
                return Signal::None;
            }
        } else {
            self.window[self.oldest] = x;
            self.oldest = (self.oldest + 1) % size;
        }
        if self.test() { Signal::Drift } else { Signal::None }
    }

    fn test(&mut self) -> bool {
        let KswinSpec { alpha, window_size: size, stat_size: n, .. } = self.spec;
        let Scratch { drawn, recent, places, critical } = &mut self.scratch;
        if *critical == 0 {
            // Distances up to 0.1 never count, however large the samples; a rule of River.
            let tenth = (0..=n).filter(|&h| h as f64 / n as f64 <= 0.1).count();
            *critical = critical_distance(n, alpha).max(tenth);
        }
        let (later, earlier) = self.window.split_at(self.oldest);
        let at = |i: usize| earlier.get(i).copied().unwrap_or_else(|| later[i - earlier.len()]);
        drawn.clear();
        self.random.sample((size - n) as u32, n as u32, places, |i| drawn.push(at(i as usize)));
        recent.clear();
        recent.extend((size - n..size).map(at));
        drawn.sort_unstable_by(f64::total_cmp);
        recent.sort_unstable_by(f64::total_cmp);
        distance(drawn, recent) >= *critical
    }

    pub fn reset(&mut self) {
        // The generator starts again too, as in River.
        self.window.clear();
        self.oldest = 0;
        self.random.seed(self.spec.seed);
    }
}
