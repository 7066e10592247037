//! A dataset that is replayed as a stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_engine::data::{Dataset, Order};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::fields::{Batch, Truth};
use tidemill_recipe::stream::{Mark, Position};

use super::{Came, Feed, Item, Take};
use crate::driver::clock::duration;
use crate::intake::Filled;
use crate::sample::{Inputs, Sample, Scale};

/// A dataset whose samples come one after the other, such as a folder of images.
pub struct DataFeed {
    data: Arc<dyn Dataset>,
    order: Order,
    position: Position,
    /// Samples that are broken.
    bad: u64,
    /// Samples a second; as fast as they are learned from if none.
    rate: Option<f64>,
    start: Instant,
    first: u64,
    /// The sample in hand.
    one: Batch,
    /// How targets were scaled, if they were.
    scale: Option<Scale>,
}

impl DataFeed {
    /// One pass over `data` after `position`, with so many broken samples before;
    /// `scaling` says how its targets were scaled.
    pub fn new(
        data: Arc<dyn Dataset>,
        order: Order,
        rate: Option<f64>,
        position: Position,
        bad: u64,
        scaling: Scale,
    ) -> DataFeed {
        let is_scaled = (scaling.mean, scaling.deviation) != (0.0, 1.0);
        let scale = is_scaled.then_some(scaling);
        let one = Batch::new(data.info().signature.clone());
        let first = position.mark("").unwrap_or_default().major;
        let start = Instant::now();
        DataFeed { data, order, position, bad, rate, start, first, one, scale }
    }

    /// The place of the next sample in the order.
    fn upcoming(&self) -> u64 {
        self.position.mark("").unwrap_or_default().major
    }

    /// Samples that are due by now.
    fn due(&self) -> u64 {
        let len = self.data.len() as u64;
        match self.rate {
            None => len,
            Some(rate) => {
                let passed = (self.start.elapsed().as_secs_f64() * rate) as u64;
                (self.first + passed).min(len)
            }
        }
    }
}

impl Feed for DataFeed {
    fn fill(&mut self, wait: Duration) -> Result<Filled> {
        // Waits for one more sample than are due by now; without a rate all of them are.
        let due = self.due().max(self.upcoming());
        let Some(rate) = self.rate.filter(|_| due < self.data.len() as u64) else {
            return Ok(Filled::End);
        };
        let until = duration((due + 1 - self.first) as f64 / rate);
        std::thread::sleep(until.saturating_sub(self.start.elapsed()).min(wait));
        Ok(if self.due() > due { Filled::Some } else { Filled::Idle })
    }

    fn waiting(&self) -> usize {
        (self.due() - self.upcoming().min(self.due())) as usize
    }

    fn next(&mut self, take: &mut Take<'_>) -> Result<Came> {
        let at = self.upcoming();
        let index = self.order.epoch(0, self.data.len()).index(at as usize);
        self.one.resize(1);
        let mut row = self.one.row_mut(0);
        row.set_weight(1.0);
        self.data.fill(index, &mut row)?;
        let skipped = row.skipped() > 0;
        drop(row);
        self.position.advance("", Mark { major: at + 1, minor: 0 });
        if skipped {
            self.bad += 1;
            return Ok(Came::SetAside);
        }
        let (weight, truth) = (self.one.weights[0], self.one.truth(0));
        let scale = match (self.scale, truth) {
            (Some(scale), Truth::Values([target])) => {
                let target = f64::from(*target) * scale.deviation + scale.mean;
                Some(Scale { target, ..scale })
            }
            _ => None,
        };
        let sample = Sample::new(Inputs::Fields(&self.one, 0), truth);
        match take(Item::Sample(Sample { weight, scale, ..sample }))? {
            Ok(()) => Ok(Came::Taken),
            Err(bad) => Err(Error::Usage(bad.reason)),
        }
    }

    fn position(&self) -> &Position {
        &self.position
    }

    fn bad(&self) -> u64 {
        self.bad
    }
}
