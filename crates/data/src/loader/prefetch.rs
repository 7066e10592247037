//! Threads that fill batches ahead, handed over in order.
//!
//! Work is cut into chunks of consecutive batches, so that batches of one small image do not pay
//! for a hand-over each. A thread takes a free chunk and the next position under one lock, fills
//! the chunk without it, and puts it at its number in a ring. The number of chunks bounds both
//! the memory and how far the threads run ahead; since the lowest number outstanding always owns
//! a chunk, the order cannot dead-lock.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use tidemill_fields::Batch;

use super::Mode;
use super::batch::Filler;
use super::inline::Inline;
use crate::{Error, Result};

/// Below this many samples a hand-over (some microseconds) shows beside decoding them.
const CHUNK_SAMPLES: usize = 32;

/// The number of chunks, and of batches in each, of `batch_bytes` for `batch_size` samples.
pub(super) fn sizes(
    num_threads: usize,
    memory_bytes: usize,
    batch_bytes: usize,
    batch_size: usize,
) -> (usize, usize) {
    let batches_allowed = (memory_bytes / batch_bytes.max(1)).max(2);
    // One chunk is with the consumer, one with each thread, one ready for each thread.
    let num_chunks = (2 * num_threads + 1).min(batches_allowed);
    let per_chunk = CHUNK_SAMPLES.div_ceil(batch_size).min(batches_allowed / num_chunks).max(1);
    (num_chunks, per_chunk)
}

/// Consecutive batches on their way from a thread to the consumer and back.
#[derive(Default)]
struct Chunk {
    batches: Vec<Batch>,
    /// How many of `batches` are filled.
    filled: usize,
    /// Why the next one could not be filled.
    error: Option<Error>,
}

struct State {
    /// The first position that no thread has taken.
    position: u64,
    /// The number of the next chunk to take.
    taken: u64,
    free: Vec<Chunk>,
    /// Chunk `i` waits at `i % ring.len()`.
    ring: Vec<Option<Chunk>>,
    /// The consumer is gone.
    closed: bool,
    /// A thread panicked.
    broken: bool,
}

struct Shared {
    filler: Arc<Filler>,
    end: u64,
    state: Mutex<State>,
    /// Told to threads: a chunk is free, or all is over.
    work: Condvar,
    /// Told to the consumer: a chunk is ready.
    ready: Condvar,
}

impl Shared {
    /// The lock; a panicking thread leaves nothing half-done under it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The consumer's end.
pub(super) struct Prefetch {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    current: Chunk,
    cursor: usize,
    next: u64,
    position: u64,
    failed: bool,
}

impl Prefetch {
    pub(super) fn start(
        filler: Arc<Filler>,
        num_threads: usize,
        memory_bytes: usize,
        position: u64,
        end: u64,
    ) -> Result<Self> {
        let (num_chunks, per_chunk) =
            sizes(num_threads, memory_bytes, filler.batch_bytes(), filler.batch_size());
        let chunk = |_| Chunk {
            batches: (0..per_chunk).map(|_| filler.empty_batch()).collect(),
            ..Chunk::default()
        };
        let free: Vec<Chunk> = (1..num_chunks).map(chunk).collect();
        let current = chunk(0);
        let state = State {
            position,
            taken: 0,
            free,
            ring: (0..num_chunks).map(|_| None).collect(),
            closed: false,
            broken: false,
        };
        let shared = Arc::new(Shared {
            filler,
            end,
            state: Mutex::new(state),
            work: Condvar::new(),
            ready: Condvar::new(),
        });
        let mut prefetch = Self {
            shared,
            threads: Vec::with_capacity(num_threads),
            current,
            cursor: 0,
            next: 0,
            position,
            failed: false,
        };
        for i in 0..num_threads.min(num_chunks) {
            let shared = prefetch.shared.clone();
            let thread = thread::Builder::new()
                .name(format!("data-{i}"))
                .spawn(move || fill_ahead(&shared))
                .map_err(|e| Error::option(format!("a data thread cannot be started: {e}")))?;
            prefetch.threads.push(thread);
        }
        Ok(prefetch)
    }

    pub(super) fn next_batch(&mut self) -> Result<Option<&Batch>> {
        if self.cursor == self.current.filled {
            if self.failed {
                return Err(Error::option("the loader stopped at an earlier error"));
            }
            if let Some(error) = self.current.error.take() {
                self.failed = true;
                return Err(error);
            }
            if self.position >= self.shared.end {
                return Ok(None);
            }
            self.fetch()?;
            if self.current.filled == 0 {
                return self.next_batch();
            }
        }
        let batch = &self.current.batches[self.cursor];
        self.cursor += 1;
        self.position = self.shared.filler.next_position(self.position);
        Ok(Some(batch))
    }

    /// Where the next piece is, and the end.
    pub(super) fn position(&self) -> (u64, u64) {
        (self.position, self.shared.end)
    }

    /// Whether the batch delivered last is the end of an epoch.
    pub(super) fn epoch_ended(&self) -> bool {
        let last = self.cursor.checked_sub(1).and_then(|i| self.current.batches.get(i));
        !self.failed && last.is_some_and(|b| b.last_in_epoch)
    }

    /// The same batches from here on, without threads; these end when `self` is dropped.
    pub(super) fn continue_inline(&self) -> Mode {
        let filler = self.shared.filler.clone();
        Mode::Inline(Box::new(Inline::new(filler, self.position, self.shared.end)))
    }

    /// Gives the used chunk back and waits for the next one.
    fn fetch(&mut self) -> Result<()> {
        let mut state = self.shared.lock();
        if self.next > 0 || !self.current.batches.is_empty() {
            let used = std::mem::take(&mut self.current);
            state.free.push(used);
            self.shared.work.notify_one();
        }
        let slot = (self.next % state.ring.len() as u64) as usize;
        loop {
            if let Some(chunk) = state.ring[slot].take() {
                self.current = chunk;
                self.cursor = 0;
                self.next += 1;
                return Ok(());
            }
            if state.broken {
                self.failed = true;
                return Err(Error::Worker);
            }
            state =
                self.shared.ready.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A panic was told to the consumer already, or nobody asks any more.
            drop(thread.join());
        }
    }
}

/// Tells the consumer if the thread unwinds.
struct PanicFlag<'a>(&'a Shared);

impl Drop for PanicFlag<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().broken = true;
            self.0.ready.notify_all();
        }
    }
}

/// A thread's life: take, fill, hand over.
fn fill_ahead(shared: &Shared) {
    let _flag = PanicFlag(shared);
    loop {
        let mut state = shared.lock();
        let (mut chunk, number, mut position) = loop {
            if state.closed || state.broken || state.position >= shared.end {
                return;
            }
            if let Some(chunk) = state.free.pop() {
                let (number, position) = (state.taken, state.position);
                state.taken += 1;
                let mut next = position;
                for _ in 0..chunk.batches.len() {
                    if next < shared.end {
                        next = shared.filler.next_position(next);
                    }
                }
                state.position = next;
                break (chunk, number, position);
            }
            state = shared.work.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        };
        drop(state);

        chunk.filled = 0;
        chunk.error = None;
        for batch in &mut chunk.batches {
            if position >= shared.end {
                break;
            }
            match shared.filler.fill(position, batch) {
                Ok(()) => {
                    position = shared.filler.next_position(position);
                    chunk.filled += 1;
                }
                Err(error) => {
                    chunk.error = Some(error);
                    break;
                }
            }
        }

        let mut state = shared.lock();
        // An error is the last thing that is delivered.
        if chunk.error.is_some() {
            state.position = shared.end;
            shared.work.notify_all();
        }
        let slot = (number % state.ring.len() as u64) as usize;
        state.ring[slot] = Some(chunk);
        drop(state);
        shared.ready.notify_one();
    }
}
