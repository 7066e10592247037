//! All ways to make segments of tokens: how often each token is expected, the most probable ways, and what to do
//! without a token.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bits of an edge that are its length in characters; the others are its piece.
pub(crate) const LENGTH_BITS: u32 = 5;

/// Parts that segments are computed in: a constant, so that sums do not depend on the number of threads.
const PARTS: usize = 8;

/// A candidate for a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Piece {
    /// A place where it occurs.
    pub(crate) place: u32,
    /// Its length in characters.
    pub(crate) length: u8,
}

/// Segments, and the occurrences of pieces in them as edges from place to place.
#[derive(Debug, PartialEq)]
pub(crate) struct Lattice {
    /// Where each segment begins, and at last where the last one ends.
    pub(crate) starts: Vec<u32>,
    /// How often each segment occurs.
    pub(crate) counts: Vec<u64>,
    /// Of each place, the first of the edges whose last character it is; at last the number of edges.
    pub(crate) offsets: Vec<u32>,
    /// Pieces with their lengths.
    pub(crate) edges: Vec<u32>,
    /// The pieces: first the characters, by their numbers.
    pub(crate) pieces: Vec<Piece>,
    /// The number of characters.
    pub(crate) letters: usize,
}

/// What is expected of all segments.
pub(crate) struct Expected {
    /// How often each piece occurs.
    pub(crate) pieces: Vec<f64>,
    /// The logarithm of the probability of all segments.
    pub(crate) log_likelihood: f64,
}

/// The best way to a place: its score and the edge that it ends with.
#[derive(Clone, Copy)]
struct Best {
    score: f64,
    edge: u32,
}

fn split(edge: u32) -> (usize, usize) {
    ((edge >> LENGTH_BITS) as usize, (edge & ((1 << LENGTH_BITS) - 1)) as usize)
}

impl Lattice {
    fn edges_to(&self, place: usize) -> &[u32] {
        &self.edges[self.offsets[place] as usize..self.offsets[place + 1] as usize]
    }

    /// The segments in parts with about as many edges each.
    fn parts(&self) -> Vec<Range<usize>> {
        let edges = |segment: usize| self.offsets[self.starts[segment] as usize] as usize;
        let segments: Vec<usize> = (0..self.counts.len()).collect();
        let cut = |part: usize| {
            let least = self.edges.len() * part / PARTS;
            segments.partition_point(|&segment| edges(segment) < least)
        };
        (0..PARTS)
            .map(|part| cut(part)..if part + 1 < PARTS { cut(part + 1) } else { self.counts.len() })
            .collect()
    }

    /// How often each piece is expected, where `scores` are the logarithms of the probabilities of pieces (the E
    /// step).
    pub(crate) fn expect(&self, scores: &[f64], threads: usize) -> Expected {
        let parts = self.parts();
        let sums = parallel(threads, parts.len(), |part| self.expect_of(&parts[part], scores));
        let mut all = Expected { pieces: vec![0.0; self.pieces.len()], log_likelihood: 0.0 };
        for sum in sums {
            all.log_likelihood += sum.log_likelihood;
            all.pieces.iter_mut().zip(sum.pieces).for_each(|(all, n)| *all += n);
        }
        all
    }

    fn expect_of(&self, segments: &Range<usize>, scores: &[f64]) -> Expected {
        let mut sum = Expected { pieces: vec![0.0; self.pieces.len()], log_likelihood: 0.0 };
        // The logarithm of the probability of what is before a place, and the share of the ways through it.
        let (mut before, mut through) = (Vec::new(), Vec::new());
        // The share of each edge in the ways to its end.
        let mut shares: Vec<f64> = Vec::new();
        for segment in segments.clone() {
            let count = self.counts[segment] as f64;
            let start = self.starts[segment] as usize;
            let end = self.starts[segment + 1] as usize;
            before.clear();
            before.push(0.0);
            shares.clear();
            for place in start..end {
                let first = shares.len();
                let mut most = f64::NEG_INFINITY;
                for &edge in self.edges_to(place) {
                    let (piece, length) = split(edge);
                    let score = before[place + 1 - length - start] + scores[piece];
                    most = most.max(score);
                    shares.push(score);
                }
                let mut all = 0.0;
                for share in &mut shares[first..] {
                    *share = (*share - most).exp();
                    all += *share;
                }
                shares[first..].iter_mut().for_each(|share| *share /= all);
                before.push(most + all.ln());
            }
            sum.log_likelihood += count * before[end - start];
            through.clear();
            through.resize(end - start, 0.0);
            through.push(count);
            for place in (start..end).rev() {
                let here = through[place + 1 - start];
                let edges = self.edges_to(place);
                let first = shares.len() - edges.len();
                for (&edge, share) in edges.iter().zip(&shares[first..]) {
                    let (piece, length) = split(edge);
                    let expected = here * share;
                    sum.pieces[piece] += expected;
                    through[place + 1 - length - start] += expected;
                }
                shares.truncate(first);
            }
        }
        sum
    }

    /// How often each piece occurs in the most probable ways.
    pub(crate) fn best(&self, scores: &[f64], threads: usize) -> Vec<u64> {
        let parts = self.parts();
        let sums = parallel(threads, parts.len(), |part| {
            let mut counts = vec![0; self.pieces.len()];
            let mut best = Vec::new();
            for segment in parts[part].clone() {
                let (start, end) = (self.starts[segment], self.starts[segment + 1]);
                self.way(start as usize..end as usize, None, scores, &mut best, |piece| {
                    counts[piece] += self.counts[segment];
                });
            }
            counts
        });
        let mut all = vec![0u64; self.pieces.len()];
        for sum in sums {
            all.iter_mut().zip(sum).for_each(|(all, n)| *all += n);
        }
        all
    }

    /// The pieces that make a piece in the most probable way without it, and the score of that; nothing of a
    /// character.
    pub(crate) fn alternatives(
        &self,
        scores: &[f64],
        threads: usize,
    ) -> Vec<Option<(f64, Vec<u32>)>> {
        let parts = parallel(threads, PARTS, |part| {
            let cut = |part: usize| self.pieces.len() * part / PARTS;
            let mut best = Vec::new();
            let alternative = |piece: usize| {
                let Piece { place, length } = self.pieces[piece];
                if piece < self.letters {
                    return None;
                }
                let places = place as usize..place as usize + length as usize;
                let mut parts = Vec::new();
                let score = self
                    .way(places, Some(piece), scores, &mut best, |piece| parts.push(piece as u32));
                Some((score, parts))
            };
            (cut(part)..cut(part + 1)).map(alternative).collect::<Vec<_>>()
        });
        parts.into_iter().flatten().collect()
    }

    /// The most probable way through places, without the piece `not`: its score; its pieces from the last one on.
    fn way(
        &self,
        places: Range<usize>,
        not: Option<usize>,
        scores: &[f64],
        best: &mut Vec<Best>,
        mut each: impl FnMut(usize),
    ) -> f64 {
        let start = places.start;
        best.clear();
        best.push(Best { score: 0.0, edge: 0 });
        for place in places.clone() {
            let mut most = Best { score: f64::NEG_INFINITY, edge: 1 };
            for &edge in self.edges_to(place) {
                let (piece, length) = split(edge);
                let Some(from) = (place + 1 - start).checked_sub(length) else { continue };
                let score = best[from].score + scores[piece];
                if score > most.score && Some(piece) != not {
                    most = Best { score, edge };
                }
            }
            best.push(most);
        }
        let mut at = places.len();
        while at > 0 {
            let (piece, length) = split(best[at].edge);
            each(piece);
            at -= length;
        }
        best[places.len()].score
    }

    /// Keeps these pieces, by their places, in the given order.
    pub(crate) fn retain(&mut self, kept: &[u32]) {
        const GONE: u32 = u32::MAX;
        let mut new = vec![GONE; self.pieces.len()];
        for (at, &piece) in kept.iter().enumerate() {
            new[piece as usize] = at as u32;
        }
        let mut write = 0;
        for place in 0..self.offsets.len() - 1 {
            let edges = self.offsets[place] as usize..self.offsets[place + 1] as usize;
            self.offsets[place] = write as u32;
            for read in edges {
                let (piece, length) = split(self.edges[read]);
                if new[piece] != GONE {
                    self.edges[write] = new[piece] << LENGTH_BITS | length as u32;
                    write += 1;
                }
            }
        }
        if let Some(last) = self.offsets.last_mut() {
            *last = write as u32;
        }
        self.edges.truncate(write);
        self.pieces = kept.iter().map(|&piece| self.pieces[piece as usize]).collect();
    }
}

/// Computes parts by several threads; the results are in the order of the parts.
fn parallel<T: Send>(threads: usize, parts: usize, of: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let work = || {
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                break;
            }
            let result = of(part);
            found.lock().unwrap_or_else(PoisonError::into_inner).push((part, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(parts) {
            scope.spawn(work);
        }
        work();
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(part, _)| *part);
    found.into_iter().map(|(_, result)| result).collect()
}
