//! The driver's steps over events whose labels come later.

use tidemill_engine::error::Result;

use super::Join;
use crate::answering::Answering;
use crate::driver::StreamDriver;
use crate::feed::Came;

impl StreamDriver<'_> {
    /// Takes `len` records, and learns from what has its label as soon as that is a whole step.
    pub(crate) fn step_joined(&mut self, join: &mut Join, len: usize) -> Result<()> {
        for _ in 0..len {
            join.awaited = self.answering.as_ref().is_some_and(Answering::is_awaited);
            let came = self.input.take_joined(join, self.model.as_mut())?;
            if let (Some(answering), Some(said), Came::Taken) =
                (&mut self.answering, &join.said, came)
            {
                let labels = self.input.encoding.known().labels.as_ref();
                answering.give(self.input.feed.position(), said, labels);
            }
            self.lags.take(self.input.feed.acknowledged());
            self.learn_ready(join, self.spec.most())?;
        }
        self.lags.learned(self.input.feed.waiting());
        Ok(())
    }

    /// Learns from what has its label in steps of `len` events, while there are so many.
    fn learn_ready(&mut self, join: &mut Join, len: usize) -> Result<()> {
        while join.num_ready() >= len {
            self.model.start(len);
            for i in 0..len {
                join.take_ready(self.model.as_mut(), &mut self.input, i)?;
            }
            self.learn(None)?;
            join.count_step();
        }
        if join.num_ready() == 0 {
            join.score_left_out(self.model.as_mut())?;
        }
        Ok(())
    }

    /// At the end of the stream: learns from the rest. What waits for its label continues to wait.
    pub(crate) fn learn_rest(&mut self, join: &mut Join) -> Result<()> {
        match join.num_ready() {
            0 => Ok(()),
            rest => self.learn_ready(join, rest),
        }
    }
}
