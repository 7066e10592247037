//! A thread that reads a source ahead of the learner, in bounded memory.

mod spill;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::position::Position;
use crate::records::Records;
use crate::source::{Counters, Poll, Source};
use crate::sync::{lock, wait, wait_while};
use spill::Spill;

/// How long the thread waits for records before it looks for commits and its end.
const POLL: Duration = Duration::from_millis(50);

/// What happens when the queue is full. Each event is learned exactly once with [`Policy::Block`]
/// and [`Policy::Spill`]; the others trade events for being up to date, and count them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The source waits, and with it whoever sends.
    #[default]
    Block,
    /// The oldest waiting records are dropped, many at once.
    DropOldest,
    /// From half full on, fewer and fewer of the new records are taken; none when full. Which ones
    /// is drawn at random.
    Sample,
    /// What does not fit waits on disk; when that is full too, the source waits. What is there is
    /// of no use after a crash, since the source is read again from the learner's position.
    Spill {
        /// Where; what an earlier queue left there is removed.
        folder: PathBuf,
        /// Bytes on disk at most.
        bytes: u64,
    },
}

/// How much waits, and what then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueOptions {
    /// Memory of the waiting records ([`Records::footprint`]).
    pub bytes: usize,
    /// What happens when that is full.
    pub policy: Policy,
}

impl Default for QueueOptions {
    /// 4 MiB; the source waits.
    fn default() -> Self {
        QueueOptions { bytes: 4 << 20, policy: Policy::Block }
    }
}

/// What [`Reader::next`] gives.
#[derive(Debug)]
pub enum Next {
    /// Records, to be handed back with [`Reader::give_back`].
    Records(Records),
    /// Nothing came within the time.
    Idle,
    /// The stream has ended and all its records have been given.
    End,
}

/// Reads a source in a thread of its own, which ends when this is dropped.
#[derive(Debug)]
pub struct Reader {
    name: String,
    not_seekable: Option<&'static str>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    options: QueueOptions,
    /// A block is at most about this large, so that there are several.
    block: usize,
    state: Mutex<State>,
    filled: Condvar,
    /// Also tells of commits and of the end.
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    blocks: VecDeque<Records>,
    spare: Vec<Records>,
    /// Footprint of `blocks`.
    bytes: usize,
    commit: Option<Position>,
    ended: Option<Option<Error>>,
    stop: bool,
    source: Counters,
    shed: u64,
    spilled: u64,
}

impl Reader {
    /// Reads on from where `source` stands.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn spawn(source: Box<dyn Source>, options: QueueOptions) -> Result<Reader> {
        let (name, not_seekable) = (source.name(), source.not_seekable());
        let block = (options.bytes / 8).clamp(1 << 10, 1 << 20);
        let state = Mutex::new(State { source: source.counters(), ..State::default() });
        let (filled, room) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { options, block, state, filled, room });
        let thread = std::thread::Builder::new()
            .name("read source".to_owned())
            .spawn({
                let shared = shared.clone();
                move || {
                    let end = End(&shared);
                    let ended = end.0.run(source);
                    end.0.end(ended.err());
                }
            })
            .map_err(|e| Error::io(&name, e))?;
        Ok(Reader { name, not_seekable, shared, thread: Some(thread) })
    }

    /// The next records, waiting up to `wait` for them. Hand them back when done.
    ///
    /// # Errors
    /// What the source failed with, once, after all records before it.
    pub fn next(&self, wait: Duration) -> Result<Next> {
        let state = lock(&self.shared.state);
        let mut state = wait_while(&self.shared.filled, state, wait, |s| {
            s.blocks.is_empty() && s.ended.is_none()
        });
        if let Some(records) = state.blocks.pop_front() {
            state.bytes -= records.footprint();
            self.shared.room.notify_one();
            return Ok(Next::Records(records));
        }
        match &mut state.ended {
            None => Ok(Next::Idle),
            Some(error) => error.take().map_or(Ok(Next::End), Err),
        }
    }

    /// Hands back the memory of records.
    pub fn give_back(&self, mut records: Records) {
        records.clear();
        let mut state = lock(&self.shared.state);
        if state.spare.len() < 8 {
            state.spare.push(records);
        }
    }

    /// Tells the source, soon, that all records up to `position` are in a checkpoint on disk.
    pub fn commit(&self, position: Position) {
        lock(&self.shared.state).commit = Some(position);
        self.shared.room.notify_one();
    }

    /// What the source has seen and the queue has shed.
    pub fn counters(&self) -> Counters {
        let state = lock(&self.shared.state);
        let (shed, spilled) = (state.source.shed + state.shed, state.spilled);
        Counters { shed, spilled, ..state.source.clone() }
    }

    /// Memory of the records that wait.
    pub fn waiting_bytes(&self) -> usize {
        lock(&self.shared.state).bytes
    }

    /// How users call the source.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why the stream cannot be read again from a position, if it cannot.
    pub fn not_seekable(&self) -> Option<&'static str> {
        self.not_seekable
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        lock(&self.shared.state).stop = true;
        self.shared.room.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there has been told as an error already.
            let _ = thread.join();
        }
    }
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

    fn run(&self, mut source: Box<dyn Source>) -> Result<()> {
        if let Policy::Spill { folder, bytes } = &self.options.policy {
            let mut spill = Spill::open(folder, (*bytes).max(8 * self.block as u64))?;
            return self.run_spilling(source, &mut spill);
        }
        let mut records = Records::default();
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
    fn run_spilling(&self, mut source: Box<dyn Source>, spill: &mut Spill) -> Result<()> {
        let (mut records, mut back) = (Records::default(), Records::default());
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
