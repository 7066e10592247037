//! The events that all modes see: rows and labels in memory, in their order or shuffled.

use std::path::Path;
use std::time::Duration;

use tidemill_engine::data::Order;
use tidemill_engine::error::Result;
use tidemill_engine::fields::{Batch, DType, Field};
use tidemill_engine::prequential::Truth;
use tidemill_online::intake::Filled;
use tidemill_online::model::build_network;
use tidemill_online::open::open_to_read;
use tidemill_online::{Learner, Scale};
use tidemill_recipe::RecipeFile;

/// How long reading waits for more before it looks again.
const WAIT: Duration = Duration::from_millis(50);
/// Bytes of `dead-letter.jsonl` at most.
const DEAD_BYTES: u64 = 16 << 20;

/// A stream, encoded once: each row as it was encoded when its event came (test, then train), so that
/// all modes are given the same.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// The rows, as the model takes them, with their truths and weights.
    pub rows: Batch,
    /// How targets were scaled.
    pub scales: Vec<Option<Scale>>,
    /// Events without a label, which nothing can be measured on.
    pub unlabelled: u64,
    /// Records set aside.
    pub bad: u64,
    /// Whether the source has more events than were read.
    pub cut: bool,
}

/// How much is read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Events at most.
    pub events: usize,
    /// Bytes of rows at most.
    pub bytes: u64,
}

impl Events {
    /// Reads a stream, a folder of images, or `data:`, the recipe's training data in its stored order;
    /// what cannot be read goes to `dead-letter.jsonl` in `folder`.
    ///
    /// # Errors
    /// If the recipe does not fit the stream, or nothing can be read.
    pub fn read(file: &RecipeFile, from: &str, limits: Limits, folder: &Path) -> Result<Events> {
        let mut file = file.clone();
        file.recipe.online.batch_size = 1;
        file.recipe.online.max_batch = None;
        let mut learner = build_network(&file, Some(1), None)?;
        let mut input = open_to_read(&file, from, folder, DEAD_BYTES, &learner)?;
        let rows = Batch::new(learner.engine().signature().clone());
        let mut events = Events { rows, ..Events::default() };
        let row = events.bytes(1) + 24;
        let most = limits.events.min((limits.bytes / row) as usize).max(1);
        loop {
            let ended = input.feed.fill(WAIT)? == Filled::End;
            input.pass()?;
            while input.feed.waiting() > 0 && events.len() < most {
                learner.start(1);
                input.take(&mut learner, 0)?;
                events.push(&learner);
            }
            if events.len() == most {
                events.cut = input.feed.waiting() > 0 || input.feed.fill(WAIT)? == Filled::Some;
                break;
            }
            if ended {
                break;
            }
        }
        if !events.cut {
            input.pass()?;
        }
        let counts = input.counts();
        (events.unlabelled, events.bad) = (counts.unlabelled, counts.bad);
        Ok(events)
    }

    fn push(&mut self, learner: &Learner) {
        let (batch, scale) = learner.given();
        if batch.weights.first().is_none_or(|&w| w == 0.0) {
            return;
        }
        // The first target gives the units; a prediction before it is in none, and shuffled it would
        // be scored.
        if scale.is_some_and(|scale| scale.mean.is_nan()) {
            return;
        }
        self.rows.push_row(batch, 0);
        self.scales.push(scale);
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.rows.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.len == 0
    }

    /// Bytes of so many events in memory.
    pub fn bytes(&self, len: usize) -> u64 {
        let fields = self.rows.signature().fields().iter();
        (len * 4 * (fields.map(Field::most).sum::<usize>() + 1)) as u64
    }

    /// Targets of an event; 0 where labels are classes by number.
    pub fn num_targets(&self) -> usize {
        let truth = self.rows.signature().truth();
        truth.filter(|field| field.dtype == DType::F32).map_or(0, Field::most)
    }

    /// What is true of event `i`.
    pub fn truth(&self, i: usize) -> Truth<'_> {
        self.rows.truth(i)
    }
}

/// The events in their order, or in another.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// All of them.
    pub events: &'a Events,
    /// The event at each place; none for the order in which they came.
    order: Option<Vec<u32>>,
}

impl<'a> View<'a> {
    /// As they came.
    pub fn ordered(events: &'a Events) -> View<'a> {
        View { events, order: None }
    }

    /// As if order did not matter.
    pub fn shuffled(events: &'a Events, seed: u64) -> View<'a> {
        let epoch = Order::Shuffled { seed }.epoch(0, events.len());
        let order = (0..events.len()).map(|i| epoch.index(i) as u32).collect();
        View { events, order: Some(order) }
    }

    /// Whether it is in the order in which the events came.
    pub fn is_ordered(&self) -> bool {
        self.order.is_none()
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The event at a place.
    pub fn at(&self, place: usize) -> usize {
        self.order.as_ref().map_or(place, |o| o[place] as usize)
    }

    /// Fills a batch with the events at these places.
    pub fn fill(&self, places: impl ExactSizeIterator<Item = usize>, batch: &mut Batch) {
        let rows = &self.events.rows;
        batch.restart(rows.signature());
        batch.resize(places.len());
        for (to, i) in places.map(|place| self.at(place)).enumerate() {
            batch.copy_row(to, rows, i);
        }
        batch.pad();
    }
}
