//! A text and its correction as tokens, and rows of a batch of them.

use tidemill_engine::data::tokens::Tokenizer;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::fields::{Batch, FieldError};
use tidemill_engine::translate::Texts;

/// A text and its correction as tokens, without those that begin and end a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pair {
    pub source: Vec<i32>,
    pub target: Vec<i32>,
}

/// How pairs become rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape(pub Texts);

impl Shape {
    /// A text and its correction; what is too long is cut off, as in training. Says whether something was.
    pub fn pair(&self, tokenizer: &Tokenizer, source: &str, correction: &str) -> (Pair, bool) {
        let mut pair = Pair::default();
        tokenizer.encode(source, &mut pair.source);
        tokenizer.encode(correction, &mut pair.target);
        let is_cut = pair.source.len() >= self.0.source || pair.target.len() >= self.0.target;
        pair.source.truncate(self.0.source - 1);
        pair.target.truncate(self.0.target - 1);
        (pair, is_cut)
    }

    /// Makes a pair row `i` of a batch.
    pub fn fill(&self, batch: &mut Batch, i: usize, pair: &Pair, weight: f32) -> Result<()> {
        let wrong = |e: FieldError| Error::Run(format!("a correction does not fit the model: {e}"));
        let mut row = batch.row_mut(i);
        let source = [&pair.source[..], &[self.0.end]].concat();
        row.set_ids(0, &source).map_err(wrong)?;
        let mut target = [&[self.0.begin], &pair.target[..]].concat();
        row.set_ids(1, &target).map_err(wrong)?;
        target.push(self.0.end);
        row.set_classes(&target[1..]).map_err(wrong)?;
        row.set_weight(weight);
        Ok(())
    }
}

/// Sequences get room in steps of this, so that a model needs few plans; powers of two would compute up to twice as much.
const STEP: usize = 4;
/// Room that every step has, so that pairs of many lengths fit beside a correction of one word.
const LEAST: usize = 12;

/// Pads a batch to its longest sequences.
pub(super) fn pad(batch: &mut Batch) {
    let longest = |lengths: &[i32]| lengths.iter().copied().max().unwrap_or(1).max(1) as usize;
    let room = |lengths: &[i32]| longest(lengths).next_multiple_of(STEP);
    let rooms: Vec<usize> = batch.columns.iter().map(|column| room(&column.lengths)).collect();
    batch.pad_to(&rooms);
}

/// The longest source and target that a step has room for: its time grows with its longest pair, so that a correction
/// is learned beside pairs that are no longer than it, as batches of training have samples of like length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room([usize; 2]);

impl Room {
    /// Of a step on this correction.
    pub fn of(pair: &Pair) -> Room {
        // With the token that ends the source, and the one that begins the target.
        let room = |ids: &[i32]| (ids.len() + 1).next_multiple_of(STEP).max(LEAST);
        Room([room(&pair.source), room(&pair.target)])
    }

    /// Whether a pair of so many tokens fits, with those that begin and end it.
    pub fn fits(self, source: usize, target: usize) -> bool {
        source <= self.0[0] && target <= self.0[1]
    }
}
