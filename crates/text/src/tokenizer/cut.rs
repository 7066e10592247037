//! Cutting a text at matches of a pattern.

use serde::{Deserialize, Serialize};

/// What becomes of a match; `a-b--c` cut at `-` is an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Behavior {
    /// `a b c`
    Removed,
    /// `a - b - - c`
    Isolated,
    /// `a- b- - c`
    MergedWithPrevious,
    /// `a -b - -c`
    MergedWithNext,
    /// `a - b -- c`
    Contiguous,
}

/// Takes the parts of a text in their order, matches and what is between, and emits pieces.
pub(crate) struct Cutter<'a, 'e> {
    text: &'a str,
    behavior: Behavior,
    emit: &'e mut dyn FnMut(&str, bool),
    first: bool,
    /// Whether matches are what is between.
    pub(crate) invert: bool,
    /// Where the part that waits for the next one begins and whether the last part was a match.
    start: usize,
    end: usize,
    was_match: bool,
}

impl<'a, 'e> Cutter<'a, 'e> {
    /// `emit` is called with each piece, and with whether the text began with it and was `first`.
    pub(crate) fn new(
        text: &'a str,
        first: bool,
        behavior: Behavior,
        emit: &'e mut dyn FnMut(&str, bool),
    ) -> Cutter<'a, 'e> {
        Cutter { text, behavior, emit, first, invert: false, start: 0, end: 0, was_match: false }
    }

    /// Takes the match `start..end`.
    pub(crate) fn found(&mut self, start: usize, end: usize) {
        self.part(start, false);
        self.part(end, true);
    }

    /// Takes the rest of the text.
    pub(crate) fn finish(mut self) {
        self.part(self.text.len(), false);
        self.flush();
    }

    /// Takes the part up to `end`.
    fn part(&mut self, end: usize, is_match: bool) {
        if end < self.end || (end == self.end && !is_match) {
            return;
        }
        let is_match = is_match != self.invert;
        let joins = match self.behavior {
            Behavior::Removed | Behavior::Isolated => false,
            Behavior::Contiguous => is_match == self.was_match,
            Behavior::MergedWithPrevious => is_match && !self.was_match,
            Behavior::MergedWithNext => !is_match && self.was_match,
        };
        if !joins {
            self.flush();
        }
        self.end = end;
        self.was_match = is_match;
    }

    fn flush(&mut self) {
        let removed = self.behavior == Behavior::Removed && self.was_match;
        if self.start < self.end && !removed {
            (self.emit)(&self.text[self.start..self.end], self.first && self.start == 0);
        }
        self.start = self.end;
    }
}
