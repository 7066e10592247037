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

/// Offsets and the size of the arena that they need, and the order in which they were filled in.
type Filled = ((Vec<usize>, usize), Vec<usize>);

/// The four heuristics, the best first.
fn heuristics(intervals: &[Interval], peak: usize) -> [Filled; 4] {
    let by = |key: &dyn Fn(&Interval) -> (usize, usize)| {
        let mut order: Vec<usize> = (0..intervals.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(key(&intervals[i])));
        order
    };
    let mut orders = [
        by(&|i| (i.bytes, i.last - i.first)),
        by(&|i| (i.last - i.first, i.bytes)),
        by(&|i| (usize::MAX - i.first, i.bytes)),
        // those that are alive when most is fill the bound exactly; the others go between them
        by(&|i| (usize::from(i.first <= peak && peak <= i.last), i.bytes)),
    ]
    .map(|order| (fill(intervals, &order), order));
    orders.sort_by_key(|(placed, _)| placed.1);
    orders
}

/// The size of an arena for the intervals without a search; [`place`] needs no more.
pub(crate) fn place_quickly(intervals: &[Interval]) -> usize {
    let (_, peak) = lower_bound(intervals);
    heuristics(intervals, peak)[0].0.1
}

/// Places the intervals so that no two that are alive together overlap.
pub fn place(intervals: &[Interval]) -> Placement {
    let (lower_bound, peak) = lower_bound(intervals);
    let [((mut offsets, mut bytes), mut order), ..] = heuristics(intervals, peak);
    // Moving intervals forward in the order, that which sticks out most often, usually closes a gap.
    let tries = if intervals.len() < 4000 { 200_000 / intervals.len().max(1) } else { 0 };
    let mut random = 1u64;
    let mut below = move |n: usize| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % n
    };
    for turn in 0..tries {
        if bytes * 100 <= lower_bound * 102 {
            break;
        }
        let end = |i: &usize| offsets[*i] + intervals[*i].bytes;
        let highest = (0..intervals.len()).max_by_key(end).expect("a gap needs intervals");
        let moved = if turn % 3 == 0 { highest } else { below(intervals.len()) };
        let at = order.iter().position(|&i| i == moved).expect("the order holds every interval");
        let mut changed = order.clone();
        changed.remove(at);
        changed.insert(below(at + 1), moved);
        let tried = fill(intervals, &changed);
        if tried.1 <= bytes {
            (offsets, bytes) = tried;
            order = changed;
        }
    }
    Placement { offsets, bytes, lower_bound }
}

/// The most bytes that are alive at once, and when.
fn lower_bound(intervals: &[Interval]) -> (usize, usize) {
    let end = intervals.iter().map(|i| i.last + 1).max().unwrap_or(0);
    let mut change = vec![0isize; end + 1];
    for i in intervals {
        change[i.first] += i.bytes as isize;
        change[i.last + 1] -= i.bytes as isize;
    }
    let mut alive = 0;
    let alive = change.iter().enumerate().map(|(at, c)| {
        alive += c;
        (alive as usize, at)
    });
    alive.max().unwrap_or((0, 0))
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

/// What a call touches: inputs, then what it writes, and which of the one may be written over by the other.
pub(crate) struct Touch<'a> {
    pub args: &'a [usize],
    pub num_inputs: usize,
    pub replaceable: &'a (Vec<usize>, Vec<usize>),
}

/// For each of `count` values, the one whose memory it continues: an input of the same length that dies at the
/// call. `stored` gives length and last call of values in the arena.
pub(crate) fn roots<'a>(
    count: usize,
    calls: impl Iterator<Item = Touch<'a>>,
    stored: impl Fn(usize) -> Option<(usize, usize)>,
) -> Vec<usize> {
    let mut root: Vec<usize> = (0..count).collect();
    for (position, call) in calls.enumerate() {
        let (inputs, outputs) = call.replaceable;
        let mut taken: Vec<usize> = Vec::new();
        for o in outputs {
            let out = call.args[call.num_inputs + o];
            let Some((len, _)) = stored(out) else { continue };
            let dying = inputs.iter().map(|&i| call.args[i]).find(|&v| {
                let once = call.args.iter().filter(|&&a| a == v).count() == 1;
                stored(v) == Some((len, position)) && once && !taken.contains(&v)
            });
            if let Some(v) = dying {
                taken.push(v);
                root[out] = root[v];
            }
        }
    }
    root
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
