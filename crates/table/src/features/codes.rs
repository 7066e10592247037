//! Rows of a table in memory, small: each category is one number instead of an input for each text.

use super::encoder::Encoder;
use super::hats::Hats;
use crate::events::Event;
use crate::formats::BadEvent;

/// Encoded rows, made by [`Encoder::code`]; [`Codes::fill`] gives the same inputs as
/// [`Encoder::transform`].
#[derive(Clone, Debug, Default)]
pub struct Codes {
    pub(super) parts: Vec<Part>,
    hats: Option<Hats>,
    width: usize,
    /// Numbers of a row in `fixed`.
    stride: usize,
    /// `[len, stride]`: what all rows have as much of. Floats by their bits.
    pub(super) fixed: Vec<u32>,
    /// Rows of embeddings of words, as many as each row has.
    pub(super) words: Vec<u32>,
    /// Where the words of each row end, if there are columns of words.
    ends: Vec<usize>,
}

/// Some neighbouring inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// So many inputs as they are: one code each.
    Plain(usize),
    /// So many inputs, 1 where a number is missing: a bit each.
    Bits(usize),
    /// So many inputs, one of them 1: a code for all, 0 where none is.
    OneHot(usize),
    /// Hats of so many columns, so many of each: the place of each column's number, NaN where it has none.
    Hats(usize, usize),
    /// The row of an embedding table: one code.
    Row,
    /// Rows of words: their number is one code, the rest stands in [`Codes::words`].
    Words(usize),
}

impl Part {
    fn inputs(self) -> usize {
        match self {
            Part::Plain(n) | Part::Bits(n) | Part::OneHot(n) | Part::Words(n) => n,
            Part::Hats(n, each) => each * n,
            Part::Row => 1,
        }
    }

    fn codes(self) -> usize {
        match self {
            Part::Plain(n) | Part::Hats(n, _) => n,
            Part::Bits(n) => n.div_ceil(32),
            Part::OneHot(_) | Part::Row | Part::Words(_) => 1,
        }
    }
}

impl Codes {
    /// No rows; memory for `rows` of them.
    pub(super) fn new(parts: Vec<Part>, hats: Option<Hats>, rows: usize) -> Codes {
        let stride = parts.iter().map(|p| p.codes()).sum::<usize>();
        let width = parts.iter().map(|p| p.inputs()).sum();
        let fixed = Vec::with_capacity(rows.saturating_mul(stride));
        Codes { parts, hats, width, stride, fixed, words: Vec::new(), ends: Vec::new() }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.fixed.len().checked_div(self.stride).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fixed.is_empty()
    }

    /// Inputs of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        4 * (self.fixed.len() + self.words.len()) + size_of_val(&*self.ends)
    }

    /// Gives back memory that is not used.
    pub fn shrink_to_fit(&mut self) {
        self.fixed.shrink_to_fit();
        self.words.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Asks for the memory of row `index`, which is filled soon.
    pub fn touch(&self, index: usize) {
        if let Some(first) = self.fixed.get(index * self.stride) {
            std::hint::black_box(first);
        }
    }

    /// A row was appended.
    pub(super) fn finish(&mut self) {
        if self.parts.iter().any(|p| matches!(p, Part::Words(_))) {
            self.ends.push(self.words.len());
        }
    }

    /// A row that was begun is given up.
    pub(super) fn abandon(&mut self) {
        self.fixed.truncate(self.fixed.len() / self.stride.max(1) * self.stride);
        self.words.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// Writes the inputs of row `index` into `x`.
    ///
    /// # Panics
    /// If there is no such row, or `x` is not as long as a row is wide.
    pub fn fill(&self, index: usize, x: &mut [f32]) {
        assert_eq!(x.len(), self.width, "inputs");
        let row = &self.fixed[index * self.stride..(index + 1) * self.stride];
        let mut codes = row;
        let first = index.checked_sub(1).and_then(|i| self.ends.get(i)).copied().unwrap_or(0);
        let mut words = &self.words[first..];
        let mut rest = x;
        for part in &self.parts {
            let (x, others) = std::mem::take(&mut rest).split_at_mut(part.inputs());
            let (own, after) = codes.split_at(part.codes());
            (rest, codes) = (others, after);
            match part {
                Part::Plain(_) => {
                    for (x, code) in x.iter_mut().zip(own) {
                        *x = f32::from_bits(*code);
                    }
                }
                Part::Bits(_) => {
                    for (i, x) in x.iter_mut().enumerate() {
                        *x = (own[i / 32] >> (i % 32) & 1) as f32;
                    }
                }
                Part::OneHot(_) => {
                    x.fill(0.0);
                    if let Some(place) = own[0].checked_sub(1) {
                        x[place as usize] = 1.0;
                    }
                }
                Part::Hats(_, each) => {
                    x.fill(0.0);
                    let columns = own.iter().zip(x.chunks_exact_mut(*each)).enumerate();
                    for (j, (code, x)) in columns {
                        let place = f32::from_bits(*code);
                        if let Some(hats) = self.hats.as_ref().filter(|_| !place.is_nan()) {
                            hats.write_one(j, place, x);
                        }
                    }
                }
                Part::Row => x[0] = own[0] as f32,
                Part::Words(_) => {
                    let (found, left) = words.split_at(own[0] as usize);
                    words = left;
                    x.fill(0.0);
                    for (x, row) in x.iter_mut().zip(found) {
                        *x = *row as f32;
                    }
                }
            }
        }
    }
}

impl Encoder {
    /// No rows yet of this encoder's inputs; memory for `rows` of them.
    pub fn codes(&self, rows: usize) -> Codes {
        Codes::new(self.parts(), self.hats.clone(), rows)
    }

    /// Appends an event as [`Encoder::transform`] sees it: nothing is learned.
    ///
    /// # Errors
    /// As [`Encoder::encode`]; then nothing is appended.
    pub fn code(&self, event: Event<'_>, codes: &mut Codes) -> Result<(), BadEvent> {
        debug_assert_eq!(codes.width, self.width());
        let coded = self.append(event, codes);
        match coded {
            Ok(()) => codes.finish(),
            Err(_) => codes.abandon(),
        }
        coded
    }
}
