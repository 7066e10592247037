//! A text and its correction as tokens, and rows of a batch of them.

use tidemill_engine::data::tokens::{Special, Tokenizer};
use tidemill_engine::engine::Engine;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::fields::{Batch, FieldError};

/// A text and its correction as tokens, without those that begin and end a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pair {
    pub source: Vec<i32>,
    pub target: Vec<i32>,
}

/// The tokens that begin and end a text, and the most that a model reads and writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    begin: i32,
    end: i32,
    most: [usize; 2],
}

impl Shape {
    /// Of a model that makes texts of texts; nothing of another.
    pub fn of(engine: &Engine, tokenizer: &Tokenizer) -> Option<Shape> {
        let inputs = engine.signature().inputs();
        let names: Vec<&str> = inputs.iter().map(|field| field.name.as_str()).collect();
        let most = |i: usize| inputs.get(i).and_then(|field| field.time()).unwrap_or(2);
        match tokenizer.special() {
            Special { begin: Some(begin), end: Some(end), .. } if names == ["source", "target"] => {
                Some(Shape { begin, end, most: [most(0), most(1)] })
            }
            _ => None,
        }
    }

    /// A text and its correction; what is too long is cut off, as in training. Says whether something was.
    pub fn pair(&self, tokenizer: &Tokenizer, source: &str, correction: &str) -> (Pair, bool) {
        let mut pair = Pair::default();
        tokenizer.encode(source, &mut pair.source);
        tokenizer.encode(correction, &mut pair.target);
        let is_cut = pair.source.len() >= self.most[0] || pair.target.len() >= self.most[1];
        pair.source.truncate(self.most[0] - 1);
        pair.target.truncate(self.most[1] - 1);
        (pair, is_cut)
    }

    /// Makes a pair row `i` of a batch.
    pub fn fill(&self, batch: &mut Batch, i: usize, pair: &Pair, weight: f32) -> Result<()> {
        let wrong = |e: FieldError| Error::Run(format!("a correction does not fit the model: {e}"));
        let mut row = batch.row_mut(i);
        let source = [&pair.source[..], &[self.end]].concat();
        row.set_ids(0, &source).map_err(wrong)?;
        let mut target = [&[self.begin], &pair.target[..]].concat();
        row.set_ids(1, &target).map_err(wrong)?;
        target.push(self.end);
        row.set_classes(&target[1..]).map_err(wrong)?;
        row.set_weight(weight);
        Ok(())
    }
}
