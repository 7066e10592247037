//! The driver's steps over events whose labels come later.

use crate::driver::StreamDriver;
use tidemill_engine::error::Result;

impl StreamDriver<'_> {
    /// Takes `len` records, and learns from what has its label as soon as that is a whole step.
    pub(crate) fn step_joined(&mut self, len: usize) -> Result<()> {
        for _ in 0..len {
            self.feed.take(&mut self.learner, 0)?;
            self.lags.take(self.feed.acknowledged());
            self.learn_ready(self.spec.most())?;
        }
        self.lags.learned(self.feed.waiting());
        Ok(())
    }

    /// Learns from what has its label in steps of `len` events, while there are so many.
    fn learn_ready(&mut self, len: usize) -> Result<()> {
        while self.feed.ready() >= len {
            self.learner.start(len);
            for i in 0..len {
                self.feed.give(&mut self.learner, i)?;
            }
            self.learn()?;
            self.feed.stepped();
        }
        if self.feed.ready() == 0 {
            self.feed.settle(&mut self.learner)?;
        }
        Ok(())
    }

    /// At the end of the stream: learns from the rest. What waits for its label goes on waiting.
    pub(crate) fn learn_rest(&mut self) -> Result<()> {
        match self.feed.ready() {
            0 => Ok(()),
            rest => self.learn_ready(rest),
        }
    }
}
