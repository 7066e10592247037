//! How long events had been acknowledged when they were learned from.

use std::time::{SystemTime, UNIX_EPOCH};

/// Steps of the histogram to a doubling: a figure is at most 1/16 too high.
const STEPS: u32 = 16;
const BITS: u32 = STEPS.ilog2();
/// Doublings of a microsecond: up to nine hours.
const DOUBLINGS: u32 = 32;
/// Events that share a look at the clock, which costs more than all the rest. The time of the last
/// of them counts for all, so that none seems faster than it was.
const SHARED: usize = 16;

/// A histogram of the time from acknowledged to learned, on a logarithmic scale, in 4 KiB.
#[derive(Clone, Debug)]
pub struct Lags {
    counts: Vec<u64>,
    total: u64,
    longest: u64,
    last: Option<u64>,
    /// When the events were acknowledged that were taken and not counted yet.
    taken: Vec<u64>,
}

/// Figures of a [`Lags`], in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LagFigures {
    /// Half of the events were faster.
    pub p50: f64,
    /// All but one of a hundred were faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

impl Default for Lags {
    fn default() -> Self {
        let counts = vec![0; (STEPS * DOUBLINGS) as usize];
        Lags { counts, total: 0, longest: 0, last: None, taken: Vec::with_capacity(SHARED) }
    }
}

impl Lags {
    /// An event of the step that begins was acknowledged then, in microseconds of the Unix epoch;
    /// 0 where its source knows no such moment.
    pub fn take(&mut self, acknowledged: u64) {
        if acknowledged > 0 {
            self.taken.push(acknowledged);
        }
    }

    /// The step is done, and so many events wait.
    pub fn learned(&mut self, waiting: usize) {
        if self.taken.len() >= SHARED || (waiting == 0 && !self.taken.is_empty()) {
            self.count();
        }
    }

    /// Counts what was taken as learned now.
    pub fn count(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = now.as_micros() as u64;
        for &then in &self.taken {
            // Clocks of other machines may be ahead.
            let lag = now.saturating_sub(then);
            self.counts[bucket(lag)] += 1;
            self.longest = self.longest.max(lag);
            self.last = Some(lag);
        }
        self.total += self.taken.len() as u64;
        self.taken.clear();
    }

    /// The lag of the last event, in milliseconds.
    pub fn last(&self) -> Option<f64> {
        self.last.map(|us| us as f64 / 1e3)
    }

    /// The figures; none before the first event.
    pub fn figures(&self) -> Option<LagFigures> {
        let at = |share: f64| {
            let rank = (share * self.total as f64).ceil() as u64;
            let mut below = 0;
            let found = self.counts.iter().position(|&n| {
                below += n;
                below >= rank
            });
            let end = found.map_or(self.longest, |i| end(i).min(self.longest));
            end as f64 / 1e3
        };
        let max = self.longest as f64 / 1e3;
        (self.total > 0).then(|| LagFigures { p50: at(0.5), p99: at(0.99), max })
    }
}

/// The place of a time: exact below [`STEPS`], then the leading bits.
fn bucket(us: u64) -> usize {
    let shift = (u64::BITS - us.leading_zeros()).saturating_sub(BITS + 1);
    let place = u64::from(shift * STEPS) + (us >> shift);
    place.min(u64::from(STEPS * DOUBLINGS - 1)) as usize
}

/// The longest time of a place.
fn end(bucket: usize) -> u64 {
    let shift = (bucket as u32 / STEPS).saturating_sub(1);
    ((bucket as u64 - u64::from(shift * STEPS) + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_its_place() {
        for us in (0..5000).chain((5..40).flat_map(|b| [(1 << b) - 1, 1 << b, (1 << b) + 1])) {
            let place = bucket(us);
            if place + 1 < (STEPS * DOUBLINGS) as usize {
                let end = end(place);
                assert!(end >= us && end - us <= us / u64::from(STEPS), "{us} in {place} to {end}");
                assert_eq!(bucket(end + 1), place + 1);
            }
        }
    }

    #[test]
    fn figures_are_those_of_the_events() {
        let mut lags = Lags::default();
        assert_eq!(lags.figures(), None);
        lags.take(0);
        lags.learned(0);
        assert_eq!(lags.figures(), None);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        for i in 0..1000 {
            lags.take(now as u64 - 1_000_000 - 1000 * (i / 980) * 1000);
            lags.learned(1);
        }
        lags.count();
        let LagFigures { p50, p99, max } =
            lags.figures().unwrap_or(LagFigures { p50: 0.0, p99: 0.0, max: 0.0 });
        assert!((1000.0..1200.0).contains(&p50), "{p50}");
        assert!((2000.0..2300.0).contains(&p99) && max >= p99, "{p99} {max}");
        assert!(lags.last() > Some(1999.0));
    }
}
