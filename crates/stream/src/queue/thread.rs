//! The thread that reads a source: what it does with records as the queue is full or not.

use std::time::Duration;

use super::spill::Spill;
use super::{Policy, Shared, State};
use crate::error::{Error, Result};
use crate::records::Records;
use crate::source::{Poll, Source};
use crate::sync::{lock, wait, wait_while};

/// How long the thread waits for records before it looks for commits and its end.
const POLL: Duration = Duration::from_millis(50);

pub(super) fn run(shared: &Shared, source: Box<dyn Source>) {
    let end = End(shared);
    let ended = shared.read(source);
    end.0.end(ended.err());
}

/// Tells of the end also when the thread panics.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end(Some(Error::io("stream", "the thread that reads it failed: this is a bug")));
    }
}

impl Shared {
    fn end(&self, error: Option<Error>) {
        let mut state = lock(&self.state);
        state.ended.get_or_insert(error);
        self.filled.notify_one();
    }

    fn read(&self, mut source: Box<dyn Source>) -> Result<()> {
        if let Policy::Spill { folder, bytes } = &self.options.policy {
            let mut spill = Spill::open(folder, (*bytes).max(8 * self.block as u64))?;
            return self.read_spilling(source, &mut spill);
        }
        let mut records = lock(&self.state).spare.pop().unwrap_or_default();
        let mut random = 0x9e37_79b9_7f4a_7c15;
        let mut ended = false;
        while self.ready(source.as_mut(), ended)? {
            match source.poll(&mut records, self.block, POLL)? {
                Poll::Some => self.offer(&mut records, &mut random),
                Poll::Idle => {}
                Poll::End => {
                    ended = true;
                    self.end(None);
                }
            }
            lock(&self.state).source = source.counters();
        }
        Ok(())
    }

    /// The same where what does not fit waits on disk. While anything waits there, all that comes
    /// goes there, so that the order stays.
    fn read_spilling(&self, mut source: Box<dyn Source>, spill: &mut Spill) -> Result<()> {
        let mut records = lock(&self.state).spare.pop().unwrap_or_default();
        let mut back = Records::default();
        let (mut held, mut ended) = (false, None);
        let mut random = 0; // Draws nothing here.
        loop {
            // At the end, all that is left to do are commits.
            let told = spill.is_empty() && !held && ended.is_some();
            if told && let Some(error) = ended.take() {
                self.end(error);
            }
            let idle = lock(&self.state).ended.is_some();
            if !self.ready(source.as_mut(), idle)? {
                return Ok(());
            }
            while !spill.is_empty() && !self.is_full(&lock(&self.state)) {
                spill.pop(&mut back)?;
                self.offer(&mut back, &mut random);
            }
            if held || ended.is_some() {
                held = held && !spill.push(&mut records)?;
                if held || !spill.is_empty() {
                    let state = lock(&self.state);
                    drop(wait_while(&self.room, state, POLL, |s| {
                        self.is_full(s) && s.commit.is_none() && !s.stop
                    }));
                }
                continue;
            }
            let time = if spill.is_empty() { POLL } else { Duration::ZERO };
            match source.poll(&mut records, self.block, time) {
                Ok(Poll::Some) if spill.is_empty() && !self.is_full(&lock(&self.state)) => {
                    self.offer(&mut records, &mut random);
                }
                Ok(Poll::Some) => {
                    lock(&self.state).spilled += records.len() as u64;
                    held = !spill.push(&mut records)?;
                }
                Ok(Poll::Idle) if spill.is_empty() => {}
                Ok(Poll::Idle) => {
                    let state = lock(&self.state);
                    drop(wait_while(&self.room, state, POLL / 5, |s| {
                        self.is_full(s) && s.commit.is_none() && !s.stop
                    }));
                }
                Ok(Poll::End) => ended = Some(None),
                Err(error) => ended = Some(Some(error)),
            }
            lock(&self.state).source = source.counters();
        }
    }

    /// Commits what there is to commit and waits until the source may be read; false at the end.
    fn ready(&self, source: &mut dyn Source, ended: bool) -> Result<bool> {
        let mut state = lock(&self.state);
        loop {
            if let Some(position) = state.commit.take() {
                drop(state);
                source.commit(&position)?;
                state = lock(&self.state);
            } else if state.stop {
                return Ok(false);
            } else if ended || (self.options.policy == Policy::Block && self.is_full(&state)) {
                state = wait(&self.room, state);
            } else {
                return Ok(true);
            }
        }
    }

    fn is_full(&self, state: &State) -> bool {
        state.bytes > 0 && state.bytes + self.block > self.options.bytes
    }

    /// Lets `records` wait, and leaves other memory in their place.
    fn offer(&self, records: &mut Records, random: &mut u64) {
        let mut state = lock(&self.state);
        match self.options.policy {
            Policy::Block | Policy::Spill { .. } => {}
            Policy::DropOldest => {
                let limit = self.options.bytes.saturating_sub(records.footprint());
                while state.bytes > limit
                    && let Some(mut oldest) = state.blocks.pop_front()
                {
                    state.bytes -= oldest.footprint();
                    state.shed += oldest.len() as u64;
                    oldest.clear();
                    state.spare.push(oldest);
                }
            }
            Policy::Sample => {
                let bytes = state.bytes + records.footprint();
                let full = bytes as f64 / self.options.bytes.max(1) as f64;
                let share = (2.0 * (1.0 - full)).clamp(0.0, 1.0);
                let len = records.len();
                records.retain(|_| share >= 1.0 || uniform(random) < share);
                state.shed += (len - records.len()) as u64;
            }
        }
        if records.is_empty() {
            return;
        }
        state.bytes += records.footprint();
        match state.blocks.back_mut() {
            Some(last) if last.footprint() + records.footprint() <= self.block => {
                last.append(records);
                records.clear();
            }
            _ => {
                let spare = state.spare.pop().unwrap_or_default();
                state.blocks.push_back(std::mem::replace(records, spare));
            }
        }
        self.filled.notify_one();
    }
}

/// The next of a sequence of numbers from 0 to 1 (xorshift64*).
fn uniform(state: &mut u64) -> f64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
}
