//! What a model reads and its correction as values of a step, and rows of a batch of them.

use tidemill_engine::data::audio::Standard;
use tidemill_engine::data::tokens::Tokenizer;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::fields::{Batch, Column, DType, FieldError};
use tidemill_engine::graph::Ctc;
use tidemill_engine::translate::Texts;

use super::source::Source;

/// What a model reads, without what ends a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Read {
    Tokens(Vec<i32>),
    /// Frames of so many values.
    Frames {
        values: Vec<f32>,
        width: usize,
    },
}

/// What a model reads and its correction as tokens, without those that begin and end a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pair {
    pub source: Read,
    pub target: Vec<i32>,
}

impl Pair {
    /// Positions of both, with the tokens that end or begin a text.
    pub fn lengths(&self) -> [usize; 2] {
        match &self.source {
            Read::Tokens(ids) => [ids.len() + 1, self.target.len() + 1],
            Read::Frames { values, width } => [values.len() / width, self.target.len()],
        }
    }
}

/// A pair, with what could not be taken over into it.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub pair: Pair,
    /// Whether an end was left out.
    pub is_cut: bool,
    /// Whether a token of the correction stands for what the vocabulary lacks, or a character has none.
    pub is_unknown: bool,
    /// Positions that a sound must have at least, so that the correction can be written.
    pub needs: usize,
}

/// How pairs become rows.
#[derive(Debug)]
pub(super) enum Shape {
    Texts(Texts),
    /// Of sounds, with the most positions that the model learns from.
    Sounds {
        standard: Box<Standard>,
        positions: usize,
        /// Whether the same label twice in a row needs a position between both.
        parts_equal: bool,
    },
}

impl Shape {
    /// Features of sounds.
    pub fn standard(&self) -> Option<&Standard> {
        match self {
            Shape::Sounds { standard, .. } => Some(standard),
            Shape::Texts(_) => None,
        }
    }

    /// Values of a frame, where the model reads some.
    pub fn width(&self) -> Option<usize> {
        self.standard().map(Standard::width)
    }

    /// A source and its correction. What is too long of a text is cut off, as in training.
    pub fn pair(&mut self, tokenizer: &Tokenizer, source: &Source, correction: &str) -> Made {
        let mut target = Vec::new();
        let left_out = tokenizer.encode(correction, &mut target);
        let unknown = tokenizer.special().unknown;
        let is_unknown = left_out > 0 || unknown.is_some_and(|id| target.contains(&id));
        match self {
            Shape::Texts(texts) => {
                let mut source_ids = Vec::new();
                tokenizer.encode(source.name(), &mut source_ids);
                let is_cut = source_ids.len() >= texts.source || target.len() >= texts.target;
                source_ids.truncate(texts.source - 1);
                target.truncate(texts.target - 1);
                let pair = Pair { source: Read::Tokens(source_ids), target };
                Made { pair, is_cut, is_unknown, needs: 0 }
            }
            Shape::Sounds { parts_equal, .. } => {
                let needs = if *parts_equal { Ctc::positions(&target) } else { target.len() };
                let pair = Pair { source: self.frames(source), target };
                Made { pair, is_cut: false, is_unknown, needs }
            }
        }
    }

    /// What the model reads of a sound.
    pub fn frames(&mut self, source: &Source) -> Read {
        let (Shape::Sounds { standard, positions, .. }, Source::Sound(sound)) = (self, source)
        else {
            return Read::Frames { values: Vec::new(), width: 1 };
        };
        let width = standard.width();
        let frames = standard.frames(&sound.floats());
        let most = frames.len().min(*positions * width);
        Read::Frames { values: frames[..most].to_vec(), width }
    }

    /// Makes a pair row `i` of a batch.
    pub fn fill(&self, batch: &mut Batch, i: usize, pair: &Pair, weight: f32) -> Result<()> {
        let wrong = |e: FieldError| Error::Run(format!("a correction does not fit the model: {e}"));
        let mut row = batch.row_mut(i);
        match (self, &pair.source) {
            (Shape::Texts(texts), Read::Tokens(ids)) => {
                let source = [&ids[..], &[texts.end]].concat();
                row.set_ids(0, &source).map_err(wrong)?;
                let mut target = [&[texts.begin], &pair.target[..]].concat();
                row.set_ids(1, &target).map_err(wrong)?;
                target.push(texts.end);
                row.set_classes(&target[1..]).map_err(wrong)?;
            }
            (_, Read::Frames { values, width }) => {
                let x = row.f32(0).map_err(wrong)?;
                let len = values.len().min(x.len());
                x[..len].copy_from_slice(&values[..len]);
                x[len..].fill(0.0);
                row.set_length(0, len / width);
                // Label 0 is the blank.
                let labels: Vec<i32> = pair.target.iter().map(|id| id + 1).collect();
                row.set_classes(&labels).map_err(wrong)?;
            }
            (Shape::Sounds { .. }, Read::Tokens(_)) => {
                return Err(Error::Run("a text is no sound, which the model reads".into()));
            }
        }
        row.set_weight(weight);
        Ok(())
    }
}

/// Sequences of tokens, and of frames, get room in steps of these, so that a model needs few plans; powers of two would compute up
/// to twice as much.
const STEPS: [usize; 2] = [4, 32];
/// Room that every step has, so that pairs of many lengths fit beside a correction of one word.
const LEAST: [usize; 2] = [12, 64];

/// Pads a batch to its longest sequences.
pub(super) fn pad(batch: &mut Batch) {
    let longest = |lengths: &[i32]| lengths.iter().copied().max().unwrap_or(1).max(1) as usize;
    let room = |column: &Column| {
        let step = STEPS[usize::from(column.values.dtype() == DType::F32)];
        longest(&column.lengths).next_multiple_of(step)
    };
    let rooms: Vec<usize> = batch.columns.iter().map(room).collect();
    batch.pad_to(&rooms);
}

/// The longest source and target that a step has room for: its time grows with its longest pair, so that a correction
/// is learned beside pairs that are no longer than it, as batches of training have samples of like length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room([usize; 2]);

impl Room {
    /// Of a step on this correction.
    pub fn of(pair: &Pair) -> Room {
        let is_sound = usize::from(matches!(pair.source, Read::Frames { .. }));
        let [source, target] = pair.lengths();
        let room =
            |length: usize, kind: usize| length.next_multiple_of(STEPS[kind]).max(LEAST[kind]);
        Room([room(source, is_sound), room(target, 0)])
    }

    /// Whether a pair of so many positions fits.
    pub fn fits(self, [source, target]: [usize; 2]) -> bool {
        source <= self.0[0] && target <= self.0[1]
    }
}
