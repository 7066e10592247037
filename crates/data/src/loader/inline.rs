//! Batches that the consumer fills itself: when it asks for one, or beside its work on the one
//! before.

use std::sync::{Arc, Mutex, MutexGuard};

use tidemill_fields::Batch;

use super::batch::{Filler, Rows};
use crate::Result;

/// The consumer's end.
pub(super) struct Inline {
    filler: Arc<Filler>,
    current: Batch,
    next: Batch,
    /// What came of filling `next` ahead.
    ahead: Outcome,
    position: u64,
    end: u64,
}

#[derive(Clone, Copy, Default)]
struct Outcome {
    complete: bool,
    failed: bool,
    skipped: usize,
}

impl Inline {
    pub(super) fn new(filler: Arc<Filler>, position: u64, end: u64) -> Inline {
        let (current, next) = (filler.empty_batch(), filler.empty_batch());
        Inline { filler, current, next, ahead: Outcome::default(), position, end }
    }

    /// Where the next piece is, and the end.
    pub(super) fn position(&self) -> (u64, u64) {
        (self.position, self.end)
    }

    pub(super) fn next_batch(&mut self) -> Result<Option<&Batch>> {
        Ok(self.advance()?.then_some(&self.current))
    }

    pub(super) fn next_and_ahead(&mut self) -> Result<Option<(&Batch, Ahead<'_>)>> {
        if !self.advance()? {
            return Ok(None);
        }
        // A sample that is decoded may take longer than a whole step.
        if self.position >= self.end || !self.filler.is_copy() {
            return Ok(Some((&self.current, Ahead(None))));
        }
        let rows = self.filler.start(self.position, &mut self.next);
        let rest = Mutex::new(Rest { rows, outcome: &mut self.ahead });
        Ok(Some((&self.current, Ahead(Some(Filling { filler: &self.filler, rest })))))
    }

    /// Makes the batch at `position` the current one, if there is one.
    fn advance(&mut self) -> Result<bool> {
        if self.position >= self.end {
            return Ok(false);
        }
        let ahead = std::mem::take(&mut self.ahead);
        if ahead.complete && !ahead.failed {
            std::mem::swap(&mut self.current, &mut self.next);
            self.current.num_skipped = ahead.skipped;
            self.filler.finish(self.position, &mut self.current);
        } else {
            // Also after a failure: once more in order, so that the first error is told.
            self.filler.fill(self.position, &mut self.current)?;
        }
        self.position = self.filler.next_position(self.position);
        Ok(true)
    }
}

/// The filling of the batch after the one just delivered, in small pieces that any thread may do
/// while that one is worked on. What is left of it when it is dropped is done then. If a piece panics
/// or the caller unwinds, the batch is filled again when it is asked for.
pub struct Ahead<'a>(Option<Filling<'a>>);

struct Filling<'a> {
    filler: &'a Filler,
    rest: Mutex<Rest<'a>>,
}

struct Rest<'a> {
    rows: Rows<'a>,
    outcome: &'a mut Outcome,
}

impl Ahead<'_> {
    /// For loaders that fill their batches in other ways.
    pub(super) fn nothing() -> Self {
        Ahead(None)
    }

    /// Does the next piece, of about a microsecond; false if there is none left.
    pub fn piece(&self) -> bool {
        let Some(filling) = &self.0 else { return false };
        let rows = filling.lock().rows.take(filling.filler.rows_of_a_piece());
        let Some(rows) = rows else { return false };
        let _unwinding = FailedIfUnwinding(filling);
        match filling.filler.fill_rows(rows) {
            Ok(0) => {}
            Ok(skipped) => filling.lock().outcome.skipped += skipped,
            Err(_) => filling.lock().outcome.failed = true,
        }
        true
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        // Another panic would end the process.
        if std::thread::panicking() {
            return;
        }
        while self.piece() {}
        if let Some(filling) = &self.0 {
            filling.lock().outcome.complete = true;
        }
    }
}

/// Makes the batch a failed one when a piece of it panics.
struct FailedIfUnwinding<'f, 'a>(&'f Filling<'a>);

impl Drop for FailedIfUnwinding<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().outcome.failed = true;
        }
    }
}

impl<'a> Filling<'a> {
    /// The lock; nothing can be half-done under it.
    fn lock(&self) -> MutexGuard<'_, Rest<'a>> {
        self.rest.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
