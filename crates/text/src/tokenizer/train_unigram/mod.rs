//! Training a unigram model: the tokens that make the texts most probable (Kudo 2018), as in the trainer of
//! SentencePiece.
//!
//! It begins with the substrings that occur most (`seeds`). Probabilities are fitted to the texts by expectation
//! maximization (`lattice`), and the tokens without which the texts lose the least probability are left out, a
//! quarter each time, until the vocabulary has its size.

mod lattice;
mod seeds;
mod segments;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use lattice::Lattice;
use segments::Segments;

use super::json::Parts;
use super::sentencepiece::{Kind, Model, Piece, byte_name};
use super::spec::UnigramSpec;
use super::train::SPECIAL;
use crate::TextError;

/// Rounds of expectation maximization before tokens are left out.
const ROUNDS: usize = 2;
/// The share of tokens that is kept each time.
const KEPT: f64 = 0.75;
/// The number of tokens, as a multiple of the wanted one, from which on the least probable ones are left out at once.
const ENOUGH: f64 = 1.1;
/// A token that is expected less often is not one; a character stays, as if it were expected so often.
const LEAST: f64 = 0.5;
/// Scores are multiples of 1 / 256. Sums of them are exact even in `f32`, up to 65,536, so that the ids of a text
/// are the same whether a program adds up words or whole texts, in `f32` or in `f64`.
const GRID: f64 = 256.0;

/// Trains with as many threads as there are cores; the result does not depend on them.
pub(crate) fn unigram(
    spec: &UnigramSpec,
    texts: &mut dyn Iterator<Item = &str>,
) -> Result<Parts, TextError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    unigram_by(spec, texts, threads)
}

/// The same with this number of threads.
fn unigram_by(
    spec: &UnigramSpec,
    texts: &mut dyn Iterator<Item = &str>,
    threads: usize,
) -> Result<Parts, TextError> {
    let mut pieces: Vec<Piece> = SPECIAL
        .iter()
        .enumerate()
        .map(|(id, &text)| Piece {
            text: text.into(),
            score: 0.0,
            kind: if id == 1 { Kind::Unknown } else { Kind::Control },
        })
        .collect();
    pieces.extend((0..=255).map(|byte| Piece {
        text: byte_name(byte),
        score: 0.0,
        kind: Kind::Byte,
    }));
    let room = spec.vocabulary.saturating_sub(pieces.len());
    let segments = Segments::new(texts, spec.character_coverage, room)?;
    if segments.alphabet.is_empty() {
        return Err(TextError::new("the training texts are empty: check the files of texts"));
    }
    let mut found = fit(&segments, room, threads);
    found.sort_by(|(a, n), (b, m)| m.total_cmp(n).then_with(|| a.cmp(b)));
    pieces.extend(found.into_iter().map(|(text, score)| Piece { text, score, kind: Kind::Normal }));
    let model = Model { pieces, byte_fallback: true, keeps_spaces: true, ..Model::default() };
    Parts::read(&model.to_json()?)
}

/// Up to `size` tokens with the logarithms of their probabilities.
fn fit(segments: &Segments, size: usize, threads: usize) -> Vec<(String, f32)> {
    let (mut lattice, mut scores) = seeds::seed(segments);
    let enough = (size as f64 * ENOUGH) as usize;
    loop {
        for _ in 0..ROUNDS {
            scores = maximize(&mut lattice, &scores, size, threads);
        }
        if lattice.pieces.len() <= enough {
            break;
        }
        prune(&mut lattice, &mut scores, enough, threads);
    }
    // Characters stay, and of the others the most probable ones.
    let order = by_score(&scores, lattice.letters);
    let kept: Vec<u32> = (0..lattice.letters as u32).chain(order).take(size).collect();
    keep(&mut lattice, &mut scores, &kept);
    for _ in 0..ROUNDS {
        scores = maximize(&mut lattice, &scores, usize::MAX, threads);
    }
    let text = |piece: &lattice::Piece| {
        let places = piece.place as usize..piece.place as usize + piece.length as usize;
        segments.characters[places].iter().map(|&c| segments.alphabet[c as usize]).collect()
    };
    let scores = scores.iter().map(|score| ((score * GRID).round() / GRID) as f32);
    lattice.pieces.iter().map(text).zip(scores).collect()
}

/// The pieces that are no characters, the most probable one first.
fn by_score(scores: &[f64], letters: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (letters as u32..scores.len() as u32).collect();
    order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
    order
}

fn keep(lattice: &mut Lattice, scores: &mut Vec<f64>, kept: &[u32]) {
    lattice.retain(kept);
    *scores = kept.iter().map(|&piece| scores[piece as usize]).collect();
}

/// A round of expectation maximization, with the prior that fewer tokens are better (the digamma function instead of
/// the logarithm): the new scores. Pieces that are hardly expected are left out while there are more than `size`.
fn maximize(lattice: &mut Lattice, scores: &[f64], size: usize, threads: usize) -> Vec<f64> {
    let mut expected = lattice.expect(scores, threads).pieces;
    let letters = lattice.letters;
    let mut order = by_score(&expected, letters);
    let rare = order.partition_point(|&piece| expected[piece as usize] >= LEAST);
    let wanted = rare.max(size.saturating_sub(letters)).min(order.len());
    if wanted < order.len() {
        order.truncate(wanted);
        order.sort_unstable();
        let kept: Vec<u32> = (0..letters as u32).chain(order).collect();
        keep(lattice, &mut expected, &kept);
    }
    expected.iter_mut().for_each(|n| *n = n.max(LEAST));
    let all = digamma(expected.iter().sum());
    expected.into_iter().map(|n| digamma(n) - all).collect()
}

/// Leaves out the pieces without which the texts lose the least probability: a quarter, down to `enough`.
fn prune(lattice: &mut Lattice, scores: &mut Vec<f64>, enough: usize, threads: usize) {
    let counts = lattice.best(scores, threads);
    let all: f64 = counts.iter().map(|&n| n as f64).sum();
    let alternatives = lattice.alternatives(scores, threads);
    // Whether a piece is in any best way, and what is lost without it.
    let loss = |piece: u32| -> (bool, f64) {
        let piece = piece as usize;
        let n = counts[piece] as f64;
        let Some((score, parts)) = &alternatives[piece] else { return (true, f64::INFINITY) };
        if n == 0.0 || *score > scores[piece] {
            return (false, scores[piece]);
        }
        // Its occurrences become occurrences of its parts.
        let with = (n / all).ln();
        let all = all + n * (parts.len() - 1) as f64;
        let without = parts.iter().map(|&part| ((counts[part as usize] as f64 + n) / all).ln());
        (true, n * (with - without.sum::<f64>()))
    };
    let letters = lattice.letters;
    let pieces = letters as u32..lattice.pieces.len() as u32;
    let mut losses: Vec<_> = pieces.map(|piece| (loss(piece), piece)).collect();
    losses.sort_by(|((a_used, a), a_piece), ((b_used, b), b_piece)| {
        b_used.cmp(a_used).then(b.total_cmp(a)).then(a_piece.cmp(b_piece))
    });
    let used = letters + losses.partition_point(|((used, _), _)| *used);
    let most = (lattice.pieces.len() as f64 * KEPT) as usize;
    let size = enough.max(most.min(used)).saturating_sub(letters);
    let mut kept: Vec<u32> = losses.into_iter().take(size).map(|(_, piece)| piece).collect();
    kept.sort_unstable();
    let kept: Vec<u32> = (0..letters as u32).chain(kept).collect();
    keep(lattice, scores, &kept);
}

/// The derivative of the logarithm of the gamma function, for positive numbers: its recurrence, then its
/// asymptotic series (Abramowitz and Stegun 6.3.5, 6.3.18).
fn digamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 8.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    let series = y * (1.0 / 12.0 - y * (1.0 / 120.0 - y * (1.0 / 252.0 - y / 240.0)));
    sum + x.ln() - 0.5 / x - series
}
