//! How many events the next step has, and steps of one event each.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Instant;

use tidemill_engine::error::{Error, Result};

use super::clock::duration;
use super::{LOOK_EVERY, StreamDriver, WAIT};
use crate::ahead::Ahead;
use crate::intake::Filled;
use crate::journal::JournalMark;

impl StreamDriver<'_> {
    /// Events of the next step: 0 if none came in time, none at the end of the stream.
    pub(super) fn next_len(&mut self) -> Result<Option<usize>> {
        // What comes before the next event does not count below, whenever it was read.
        self.input.pass()?;
        let left = self.until.events.map(|n| (n - self.input.counts().events) as usize);
        // Where labels come later, it is them that make a step whole.
        let most = if self.join.is_some() { 1 } else { self.spec.most() };
        let most = most.min(left.unwrap_or(usize::MAX)).max(1);
        if let Some(&len) = self.replay.front() {
            while self.input.feed.waiting() < len {
                match self.input.feed.fill(WAIT)? {
                    Filled::Some if self.passes_all()? => return Ok(Some(0)),
                    Filled::Some => {}
                    Filled::Idle => return Ok(Some(0)),
                    Filled::End => break,
                }
            }
            self.replay.pop_front();
            // A stream that is shorter now than it was ends here.
            let len = len.min(self.input.feed.waiting());
            return Ok((len > 0).then_some(len));
        }
        // A step of fixed size waits until it is full; one that adapts, for at most its delay.
        let adaptive = self.spec.max_batch.is_some();
        let mut ended = false;
        let bad = self.spec.queue_bytes;
        while self.input.feed.waiting() < most && self.input.feed.events_within(bad).is_none() {
            let waiting = self.input.feed.waiting();
            let wait = match adaptive && waiting > 0 {
                false => {
                    self.deadline = None;
                    WAIT
                }
                true => {
                    let delay = duration(self.spec.max_delay_ms / 1e3);
                    let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + delay);
                    deadline.saturating_duration_since(Instant::now())
                }
            };
            // However long a step may wait, limits and Ctrl-C do not.
            let is_last = wait <= WAIT;
            let wait = wait.min(WAIT);
            match self.input.feed.fill(wait)? {
                Filled::Some if self.passes_all()? => return Ok(Some(0)),
                Filled::Some => {}
                Filled::Idle if adaptive && is_last && self.input.feed.waiting() > 0 => break,
                Filled::Idle => return Ok(Some(0)),
                Filled::End => {
                    ended = true;
                    break;
                }
            }
        }
        self.deadline = None;
        // Events that wait for others while many bad records come would keep all of those in memory.
        let most = most.min(self.input.feed.events_within(bad).unwrap_or(most)).max(1);
        let waiting = self.input.feed.waiting();
        Ok(match (waiting, adaptive) {
            (0, _) => None,
            (_, true) => Some(1 << waiting.min(most).ilog2()),
            (_, false) if ended => Some(waiting.min(most)),
            (_, false) => Some(most),
        })
    }

    /// Takes steps of one event each, of which some are encoded before; gives how many there were.
    pub(super) fn step_ahead(&mut self) -> Result<u32> {
        let Some(mut ahead) = self.ahead.take() else { return Ok(0) };
        let left = self.until.events.map_or(u64::MAX, |n| n - self.input.counts().events);
        let most = (LOOK_EVERY - self.clock.steps) as usize;
        let most = most.min(self.input.feed.waiting()).min(left.try_into().unwrap_or(most)).max(1);
        self.input.encode_ahead(&mut ahead, most)?;
        for j in 0..ahead.len() {
            self.model.start(1);
            match ahead.sample(j) {
                Some(sample) => self.model.take(0, &sample)?,
                None => self.model.leave_out(0),
            }
            self.lags.take(ahead.acknowledged(j));
            self.learn(Some((&ahead, j)))?;
            self.lags.learned(self.input.feed.waiting() + ahead.len() - j - 1);
        }
        let steps = ahead.len() as u32;
        self.ahead = Some(ahead);
        Ok(steps)
    }

    /// The number of the event that is learned from, and where it ends.
    pub(super) fn place(&self, of: Option<(&Ahead, usize)>) -> (u64, String) {
        let position = self.input.feed.position();
        match of {
            Some((ahead, j)) => ahead.place(j, position),
            None => (self.input.counts().events, position.to_string()),
        }
    }

    /// Passes what comes before the next event; whether that was all there is.
    fn passes_all(&mut self) -> Result<bool> {
        self.input.pass()?;
        Ok(self.input.feed.waiting() == 0)
    }
}

/// The sizes of steps that an earlier run took after its checkpoint.
pub(super) fn sizes_after(path: &Path, mark: JournalMark) -> Result<VecDeque<usize>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(VecDeque::new()),
        Err(e) => return Err(Error::read(path, e)),
    };
    let rest = text.get(mark.bytes as usize..).unwrap_or_default();
    // A line that was cut by a kill belongs to a step that was not taken.
    let whole = rest.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
    let lines = String::from_utf8_lossy(&rest[..whole]).into_owned();
    Ok(lines.lines().filter_map(|l| l.parse().ok()).collect())
}
