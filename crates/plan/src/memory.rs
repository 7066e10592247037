//! Offsets in the arena: each value a range of bytes for the kernels during which it lives.
//!
//! Offset assignment on training graphs is easy: greedy heuristics come within a few percent of the
//! bound. Three are run and the best is kept; only if it is more than 2 % above the bound is an
//! order improved by local search.

/// Every range starts at a multiple of this, a cache line.
pub const ALIGNMENT: usize = 64;

/// A value to place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// First kernel that touches it.
    pub first: usize,
    /// Last kernel that touches it.
    pub last: usize,
    /// Size, rounded up to [`ALIGNMENT`].
    pub bytes: usize,
}

impl Interval {
    fn overlaps(&self, other: &Interval) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Where everything went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Byte offset of each interval.
    pub offsets: Vec<usize>,
    /// Size of the arena.
    pub bytes: usize,
    /// Largest sum of the bytes alive at one kernel; no placement can be smaller.
    pub lower_bound: usize,
}

impl Placement {
    /// How far above the bound it is, as a fraction.
    pub fn gap(&self) -> f64 {
        match self.lower_bound {
            0 => 0.0,
            bound => self.bytes as f64 / bound as f64 - 1.0,
        }
    }
}

/// Places the intervals so that no two that are alive together overlap.
pub fn place(intervals: &[Interval]) -> Placement {
    let lower_bound = lower_bound(intervals);
    let by = |key: &dyn Fn(&Interval) -> (usize, usize)| {
        let mut order: Vec<usize> = (0..intervals.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(key(&intervals[i])));
        order
    };
    let mut orders = [
        by(&|i| (i.bytes, i.last - i.first)),
        by(&|i| (i.last - i.first, i.bytes)),
        by(&|i| (usize::MAX - i.first, i.bytes)),
    ]
    .map(|order| (fill(intervals, &order), order));
    orders.sort_by_key(|(placed, _)| placed.1);
    let ((mut offsets, mut bytes), mut order) = orders[0].clone();
    // Moving the interval that sticks out to the front of the order usually closes the gap.
    let mut tries = 0;
    while bytes * 100 > lower_bound * 102 && tries < 200 && intervals.len() < 4000 {
        let top = |o: &[usize]| {
            let end = |i: &usize| o[*i] + intervals[*i].bytes;
            (0..intervals.len()).max_by_key(end).expect("a gap needs intervals")
        };
        let culprit = top(&offsets);
        let at = order.iter().position(|&i| i == culprit).expect("the order holds every interval");
        let moved = order.remove(at);
        let to = if at == 0 { tries % intervals.len() } else { at * (tries % 7) / 8 };
        order.insert(to.min(order.len()), moved);
        let tried = fill(intervals, &order);
        if tried.1 < bytes {
            (offsets, bytes) = tried;
        }
        tries += 1;
    }
    Placement { offsets, bytes, lower_bound }
}

fn lower_bound(intervals: &[Interval]) -> usize {
    let end = intervals.iter().map(|i| i.last + 1).max().unwrap_or(0);
    let mut change = vec![0isize; end + 1];
    for i in intervals {
        change[i.first] += i.bytes as isize;
        change[i.last + 1] -= i.bytes as isize;
    }
    let mut alive = 0;
    let peak = change.iter().map(|c| {
        alive += c;
        alive
    });
    peak.max().unwrap_or(0) as usize
}

/// First fit with the tightest gap, in the given order.
fn fill(intervals: &[Interval], order: &[usize]) -> (Vec<usize>, usize) {
    let mut offsets = vec![0; intervals.len()];
    let mut placed: Vec<usize> = Vec::new(); // by offset
    let mut bytes = 0;
    for &i in order {
        let (mut best, mut best_gap) = (None, usize::MAX);
        let mut cursor = 0;
        for &p in placed.iter().filter(|&&p| intervals[p].overlaps(&intervals[i])) {
            if offsets[p] >= cursor + intervals[i].bytes && offsets[p] - cursor < best_gap {
                best_gap = offsets[p] - cursor;
                best = Some(cursor);
            }
            cursor = cursor.max(offsets[p] + intervals[p].bytes);
        }
        offsets[i] = best.unwrap_or(cursor);
        bytes = bytes.max(offsets[i] + intervals[i].bytes);
        let at = placed.partition_point(|&p| offsets[p] < offsets[i]);
        placed.insert(at, i);
    }
    (offsets, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(intervals: &[Interval]) -> Placement {
        let placed = place(intervals);
        for (i, a) in intervals.iter().enumerate() {
            assert!(placed.offsets[i] + a.bytes <= placed.bytes);
            for (j, b) in intervals.iter().enumerate().skip(i + 1) {
                let apart = placed.offsets[i] + a.bytes <= placed.offsets[j]
                    || placed.offsets[j] + b.bytes <= placed.offsets[i];
                assert!(apart || !a.overlaps(b), "{i} and {j} share memory");
            }
        }
        assert!(placed.bytes >= placed.lower_bound);
        placed
    }

    #[test]
    fn nothing_takes_nothing() {
        assert_eq!(place(&[]), Placement::default());
    }

    #[test]
    fn a_chain_needs_two_neighbours() {
        let chain: Vec<_> =
            (0..10).map(|i| Interval { first: i, last: i + 1, bytes: 64 }).collect();
        assert_eq!(check(&chain).bytes, 128);
    }

    #[test]
    fn random_intervals_never_share_and_come_close() {
        let mut seed = 1u64;
        let mut random = |n: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % n
        };
        for _ in 0..50 {
            let intervals: Vec<_> = (0..60)
                .map(|_| {
                    let first = random(100);
                    Interval { first, last: first + random(30), bytes: 64 * (1 + random(50)) }
                })
                .collect();
            assert!(check(&intervals).gap() < 0.25);
        }
    }
}
