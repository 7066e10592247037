//! Events encoded some ahead of the steps that learn from them.
//!
//! The code of a small model's step and that of encoding its event are together larger than what a core
//! keeps of instructions in its first cache: taken in turns, each would be fetched again for each event.
//! How an event is encoded depends on the events before it and on no weights, so a few are encoded first
//! and then learned from one by one, with the same results.

use std::sync::Arc;

use tidemill_engine::fields::{Batch, Signature};
use tidemill_recipe::stream::features::{FreedRow, Label};
use tidemill_recipe::stream::{Mark, Position};

use crate::sample::{Inputs, Sample, Scale, truth_of};

/// The most events that are encoded ahead.
const MOST: usize = 16;

/// An encoded event.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) label: Option<Label>,
    pub(crate) weight: f32,
    pub(crate) scale: Option<Scale>,
    pub(crate) freed: Vec<FreedRow>,
}

/// One that waits to be learned from.
#[derive(Debug)]
struct Slot {
    /// None where it was bad.
    event: Option<Encoded>,
    /// Events taken with it, and where it ends in its part of the stream.
    events: u64,
    mark: Mark,
    acknowledged: u64,
}

/// Events encoded and not yet learned from.
pub(crate) struct Ahead {
    /// Their inputs, a row each.
    batch: Batch,
    /// Whether the inputs are one field of floats.
    single: bool,
    slots: Vec<Slot>,
    /// Where the first of them ends.
    position: Position,
}

impl Ahead {
    /// Room for events of this signature; `single` says that it is one field of floats.
    pub(crate) fn new(signature: Arc<Signature>, single: bool) -> Ahead {
        let mut batch = Batch::new(signature);
        batch.resize(MOST);
        Ahead { batch, single, slots: Vec::with_capacity(MOST), position: Position::default() }
    }

    /// Nothing is encoded.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
    }

    /// Events encoded.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether another event may follow, of a stream that is at `position`: those of one group are of one
    /// part of the stream.
    pub(crate) fn may_grow(&self, position: &Position) -> bool {
        let same = || match (single(&self.position), single(position)) {
            (Some((part, _)), Some((now, _))) => part == now,
            _ => false,
        };
        self.slots.is_empty() || self.len() < MOST && same()
    }

    /// The row of the next event, to be filled.
    pub(crate) fn next(&mut self) -> (&mut Batch, usize) {
        (&mut self.batch, self.slots.len())
    }

    /// The next event is in its row, or was bad; `events` were taken with it, and the stream is at
    /// `position` after it.
    pub(crate) fn push(
        &mut self,
        event: Option<Encoded>,
        events: u64,
        position: &Position,
        acknowledged: u64,
    ) {
        if self.slots.is_empty() {
            self.position.clone_from(position);
        }
        let mark = single(position).map_or_else(Mark::default, |(_, mark)| mark);
        self.slots.push(Slot { event, events, mark, acknowledged });
    }

    /// When event `j` was acknowledged.
    pub(crate) fn acknowledged(&self, j: usize) -> u64 {
        self.slots[j].acknowledged
    }

    /// How many events had been taken with event `j`, and where it ends; `now` is where the last one does.
    pub(crate) fn place(&self, j: usize, now: &Position) -> (u64, String) {
        let slot = &self.slots[j];
        if j + 1 == self.len() {
            return (slot.events, now.to_string());
        }
        let mut position = self.position.clone();
        position.parts.values_mut().for_each(|mark| *mark = slot.mark);
        (slot.events, position.to_string())
    }

    /// Event `j` as a model takes it, or none if it was bad. To be called once: the rows that it frees
    /// are taken out.
    pub(crate) fn sample(&mut self, j: usize) -> Option<Sample<'_>> {
        let Ahead { batch, single, slots, .. } = self;
        let event = slots[j].event.as_mut()?;
        let freed = std::mem::take(&mut event.freed);
        let inputs = match single {
            true => {
                let stride = batch.x().len() / batch.len.max(1);
                Inputs::Row(&batch.x()[j * stride..(j + 1) * stride])
            }
            false => Inputs::Fields(batch, j),
        };
        let truth = truth_of(event.label.as_ref());
        let (weight, scale) = (event.weight, event.scale);
        Some(Sample { weight, scale, freed, ..Sample::new(inputs, truth) })
    }
}

/// The one part of a position with its mark; none if there are several, or none.
fn single(position: &Position) -> Option<(&str, Mark)> {
    let mut parts = position.parts.iter();
    match (parts.next(), parts.next()) {
        (Some((part, mark)), None) => Some((part, *mark)),
        _ => None,
    }
}
