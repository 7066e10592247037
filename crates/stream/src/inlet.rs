//! Where threads that wait for input leave records for the thread that polls the source.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::records::Records;
use crate::source::{Counters, Poll};
use crate::sync::{lock, wait, wait_while};

/// Records that wait at most; more make their sender wait, and by that the sender's peer.
const BOUND: usize = 64 << 10;

/// Each of many senders keeps no more memory than this for its next records.
const MOST_KEPT: usize = 4 * BOUND;

/// Holds records until they are polled, in two blocks that change places.
#[derive(Debug, Default)]
pub(crate) struct Inlet {
    state: Mutex<State>,
    filled: Condvar,
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Records,
    counters: Counters,
    ended: bool,
    error: Option<Error>,
    closed: bool,
}

impl Inlet {
    /// Leaves `records`, which it empties, once there is room. False when nobody polls any more.
    pub(crate) fn push(&self, records: &mut Records) -> bool {
        self.leave(records, false)
    }

    /// The same with records of several threads, which are numbered in the order they are left.
    pub(crate) fn push_numbered(&self, records: &mut Records) -> bool {
        self.leave(records, true)
    }

    fn leave(&self, records: &mut Records, numbered: bool) -> bool {
        let mut state = lock(&self.state);
        while !state.closed && state.waiting.footprint() >= BOUND {
            state = wait(&self.room, state);
        }
        if numbered {
            records.number(state.counters.records + 1);
        }
        state.counters.records += records.len() as u64;
        state.counters.bytes += records.num_bytes() as u64;
        if state.waiting.is_empty() {
            std::mem::swap(&mut state.waiting, records);
        } else {
            state.waiting.append(records);
        }
        records.clear_above(MOST_KEPT);
        self.filled.notify_one();
        !state.closed
    }

    /// Whether a push would not wait.
    #[cfg(feature = "nats")]
    pub(crate) fn has_room(&self) -> bool {
        let state = lock(&self.state);
        state.closed || state.waiting.footprint() < BOUND
    }

    /// No more records come.
    pub(crate) fn end(&self, error: Option<Error>) {
        let mut state = lock(&self.state);
        state.ended = true;
        state.error = error;
        self.filled.notify_one();
    }

    /// Nobody polls any more: threads that push can end.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.room.notify_all();
    }

    /// See [`crate::Source::poll`].
    pub(crate) fn poll(&self, records: &mut Records, time: Duration) -> Result<Poll> {
        let state = lock(&self.state);
        let mut state = wait_while(&self.filled, state, time, |s| s.waiting.is_empty() && !s.ended);
        if state.waiting.is_empty() {
            return match state.error.take() {
                Some(error) => Err(error),
                None => Ok(if state.ended { Poll::End } else { Poll::Idle }),
            };
        }
        if records.is_empty() {
            std::mem::swap(&mut state.waiting, records);
        } else {
            records.append(&state.waiting);
        }
        state.waiting.clear_above(MOST_KEPT);
        self.room.notify_all();
        Ok(Poll::Some)
    }

    /// Changes or reads the counters.
    pub(crate) fn counters<T>(&self, change: impl FnOnce(&mut Counters) -> T) -> T {
        change(&mut lock(&self.state).counters)
    }
}
