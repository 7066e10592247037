//! Batches of samples of like length, so that little of a batch is padding.
//!
//! Samples go into at most [`MOST_BUCKETS`] buckets by the length of their longest sequence. Where the borders lie
//! is chosen so that the padding over all samples is least, by dynamic programming over the lengths. A batch has samples of
//! one bucket, as many as fill a number of tokens. Which batch comes at which place of an epoch, and which samples
//! are in it, is a function of (seed, epoch, lengths) alone.

use crate::{Dataset, Order, Result};

/// More buckets need more plans, and save little.
pub const MOST_BUCKETS: usize = 6;

/// Rooms are multiples of this: kernels take as many values at once.
const STEP: usize = 4;

/// The buckets of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    each: Vec<Bucket>,
    /// Tokens of all samples, of their longest sequence, without padding.
    tokens: u64,
}

/// Samples of like length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Room for positions in each field; 0 in those without.
    pub rooms: Vec<usize>,
    /// Room in the longest.
    pub room: usize,
    /// Samples of a full batch.
    pub rows: usize,
    /// The samples, by index.
    pub members: Vec<u32>,
}

impl Bucket {
    fn batches(&self) -> usize {
        self.members.len().div_ceil(self.rows)
    }
}

impl Buckets {
    /// Sorts the samples of `data` for batches of about `batch_tokens` tokens.
    ///
    /// # Errors
    /// If a sample cannot be read.
    pub fn new(data: &dyn Dataset, batch_tokens: usize) -> Result<Buckets> {
        let mut lengths = Vec::with_capacity(data.len());
        for index in 0..data.len() {
            lengths.push(data.lengths(index)?);
        }
        Ok(Buckets::of(&lengths, batch_tokens))
    }

    /// The same, from the length of each field of each sample.
    fn of(lengths: &[Vec<usize>], batch_tokens: usize) -> Buckets {
        let most = |lengths: &Vec<usize>| lengths.iter().copied().max().unwrap_or(0).max(1);
        let longest = lengths.iter().map(most).max().unwrap_or(1).div_ceil(STEP);
        let mut counts = vec![0; longest + 1];
        lengths.iter().for_each(|l| counts[most(l).div_ceil(STEP)] += 1);
        let borders = borders(&counts, MOST_BUCKETS);
        let mut each: Vec<Bucket> = borders
            .iter()
            .map(|&border| Bucket {
                rooms: vec![0; lengths.first().map_or(0, Vec::len)],
                room: border * STEP,
                rows: (batch_tokens / (border * STEP)).max(1),
                members: Vec::new(),
            })
            .collect();
        for (index, lengths) in lengths.iter().enumerate() {
            let length = most(lengths).div_ceil(STEP);
            let bucket = &mut each[borders.partition_point(|&border| border < length)];
            bucket.members.push(index as u32);
            for (room, &length) in bucket.rooms.iter_mut().zip(lengths) {
                *room = (*room).max(length.next_multiple_of(STEP));
            }
        }
        each.retain(|bucket| !bucket.members.is_empty());
        Buckets { each, tokens: lengths.iter().map(|l| most(l) as u64).sum() }
    }

    /// The batches of an epoch.
    pub fn batches(&self) -> usize {
        self.each.iter().map(Bucket::batches).sum()
    }

    /// The samples of the largest batch.
    pub fn most_rows(&self) -> usize {
        self.each.iter().map(|bucket| bucket.rows.min(bucket.members.len())).max().unwrap_or(1)
    }

    /// The buckets and the share of padding, in a sentence.
    pub fn in_words(&self) -> String {
        let bucket = |b: &Bucket| format!("{} ({} a batch)", b.room, b.rows);
        let rooms: Vec<String> = self.each.iter().map(bucket).collect();
        let room: u64 = self.each.iter().map(|b| (b.room * b.members.len()) as u64).sum();
        let padding = 100.0 * (1.0 - self.tokens as f64 / room.max(1) as f64);
        let batches = self.batches();
        format!(
            "{batches} batches an epoch, of samples of up to {} tokens; {padding:.1} % is padding",
            rooms.join(", ")
        )
    }

    /// The batches of an epoch, in their order: where each starts, in samples, and what it is of.
    pub fn epoch(&self, order: Order, epoch: u64) -> EpochBatches {
        let total = self.batches();
        let batches = order.epoch(epoch, total);
        let mut firsts = Vec::with_capacity(self.each.len());
        let mut sum = 0;
        for bucket in &self.each {
            firsts.push(sum);
            sum += bucket.batches();
        }
        let mut starts = Vec::with_capacity(total + 1);
        let mut parts = Vec::with_capacity(total);
        let mut start = 0;
        for place in 0..total {
            let batch = batches.index(place);
            let bucket = firsts.partition_point(|&first| first <= batch) - 1;
            let part = batch - firsts[bucket];
            let Bucket { rows, members, .. } = &self.each[bucket];
            starts.push(start);
            parts.push((bucket as u32, part as u32));
            start += (*rows).min(members.len() - part * rows) as u64;
        }
        starts.push(start);
        EpochBatches { epoch, starts, parts }
    }

    /// The rooms of the batch at that place.
    pub(crate) fn rooms(&self, batches: &EpochBatches, place: usize) -> &[usize] {
        &self.each[batches.parts[place].0 as usize].rooms
    }

    /// Adds the samples of the batch at that place.
    pub(crate) fn batch(
        &self,
        order: Order,
        batches: &EpochBatches,
        place: usize,
        indices: &mut Vec<u32>,
    ) {
        let (bucket, part) = batches.parts[place];
        let Bucket { rows, members, .. } = &self.each[bucket as usize];
        let order = match order {
            Order::Sequential => order,
            // Another permutation than that of the batches.
            Order::Shuffled { seed } => Order::Shuffled {
                seed: crate::random::key(seed, &[0x6275_636b, u64::from(bucket)]),
            },
        };
        let order = order.epoch(batches.epoch, members.len());
        let first = part as usize * rows;
        let range = first..(first + rows).min(members.len());
        indices.extend(range.map(|position| members[order.index(position)]));
    }
}

/// The batches of one epoch.
#[derive(Clone, Debug)]
pub struct EpochBatches {
    /// Which epoch.
    pub epoch: u64,
    /// Where each batch starts, in samples of the epoch, and where the last one ends.
    starts: Vec<u64>,
    /// Each batch's bucket, and which part of it.
    parts: Vec<(u32, u32)>,
}

impl EpochBatches {
    /// The place of the batch that holds sample `offset` of the epoch, and that batch's samples.
    pub fn place(&self, offset: u64) -> (usize, std::ops::Range<u64>) {
        let place =
            self.starts.partition_point(|&start| start <= offset).clamp(1, self.parts.len());
        (place - 1, self.starts[place - 1]..self.starts[place])
    }
}

/// The lengths at which at most `most` buckets end, such that the room of all samples is least: `counts[l]` samples
/// have the length `l`. The last border is the greatest length.
fn borders(counts: &[usize], most: usize) -> Vec<usize> {
    let n = counts.len();
    let mut below = vec![0u64; n + 1];
    for (l, &count) in counts.iter().enumerate() {
        below[l + 1] = below[l] + count as u64;
    }
    // cost[k][l]: of lengths up to l in k + 1 buckets; from[k][l]: where the bucket before the last ends.
    let mut cost = vec![vec![u64::MAX; n]; most];
    let mut from = vec![vec![0; n]; most];
    for l in 1..n {
        cost[0][l] = below[l + 1] * l as u64;
    }
    for k in 1..most {
        for l in 1..n {
            for before in 1..l {
                let rest = (below[l + 1] - below[before + 1]) * l as u64;
                let total = cost[k - 1][before].saturating_add(rest);
                if total < cost[k][l] {
                    (cost[k][l], from[k][l]) = (total, before);
                }
            }
        }
    }
    let last = n - 1;
    let best = (0..most).min_by_key(|&k| cost[k][last]).unwrap_or(0);
    let mut borders = vec![last];
    for k in (1..=best).rev() {
        borders.push(from[k][borders[borders.len() - 1]]);
    }
    borders.reverse();
    borders
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn borders_lie_where_padding_is_least() {
        assert_eq!(borders(&[0, 5, 0, 0, 5], 1), [4]);
        assert_eq!(borders(&[0, 5, 0, 0, 5], 2), [1, 4]);
        assert_eq!(borders(&[0, 5, 0, 0, 5], 6), [1, 4]);
        assert_eq!(borders(&[0, 1, 1, 1, 100, 1], 2), [4, 5]);
    }

    proptest! {
        /// Each sample once an epoch, in batches that fit; the same again, and another order later.
        #[test]
        fn an_epoch_has_each_sample_once(lengths in prop::collection::vec(1..60usize, 1..200), seed: u64) {
            let pairs: Vec<Vec<usize>> = lengths.iter().map(|&l| vec![l, 0, l / 2]).collect();
            let buckets = Buckets::of(&pairs, 64);
            for order in [Order::Sequential, Order::Shuffled { seed }] {
                let epoch = buckets.epoch(order, 3);
                let mut seen = vec![0; lengths.len()];
                let mut offset = 0;
                for place in 0..buckets.batches() {
                    let (found, samples) = epoch.place(offset);
                    prop_assert_eq!((found, samples.start), (place, offset));
                    let mut indices = Vec::new();
                    buckets.batch(order, &epoch, place, &mut indices);
                    let rooms = buckets.rooms(&epoch, place);
                    prop_assert_eq!(indices.len() as u64, samples.end - samples.start);
                    for &i in &indices {
                        let own = &pairs[i as usize];
                        prop_assert!(own.iter().zip(rooms).all(|(l, room)| l <= room));
                        seen[i as usize] += 1;
                    }
                    prop_assert!(indices.len() == 1 || indices.len() * rooms[0] <= 64);
                    offset = samples.end;
                }
                prop_assert!(seen.iter().all(|&n| n == 1));
            }
        }
    }
}
