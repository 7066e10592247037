//! Distances in ranges, of which each has a bias in attention.

/// Ranges of distances between a query and a key, as in T5 (Raffel et al. 2020): half of the ranges are single distances,
/// the others grow by a factor up to `distance`, from where on all are in the last one. Where later keys are
/// read, they have one half of the ranges and earlier keys the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relative {
    /// Number of ranges: rows of the table of biases.
    pub buckets: usize,
    /// The distance from which on all are alike.
    pub distance: usize,
}

impl Relative {
    /// Ranges of one direction, and how many of them are a single distance.
    fn parts(&self, causal: bool) -> [usize; 2] {
        let own = if causal { self.buckets } else { self.buckets / 2 };
        [own, own / 2]
    }

    /// What is wrong with its numbers: `buckets` or `distance`, and what that must be.
    pub fn fault(&self, causal: bool) -> Option<(&'static str, String)> {
        let [own, single] = self.parts(causal);
        if single == 0 || !causal && !self.buckets.is_multiple_of(2) {
            let what = if causal { "at least 2" } else { "an even number, at least 4" };
            return Some(("buckets", what.to_owned()));
        }
        let what = format!("above {single}, as {single} of {own} buckets are single distances");
        (self.distance <= single).then_some(("distance", what))
    }

    /// The range of the distance from a query to a key, by their positions.
    pub fn bucket(&self, query: usize, key: usize, causal: bool) -> usize {
        let [own, single] = self.parts(causal);
        let (first, distance) = match (causal, key > query) {
            (false, true) => (own, key - query),
            (true, true) => (0, 0),
            (_, false) => (0, query - key),
        };
        if distance < single {
            return first + distance;
        }
        let log = |distance: usize| (distance as f64 / single as f64).ln();
        // Where a range begins is exact, also where the quotient is rounded down.
        let further = log(distance) / log(self.distance) * (own - single) as f64 + 1e-6;
        first + (single + further as usize).min(own - 1)
    }
}
