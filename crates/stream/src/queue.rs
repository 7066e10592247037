//! A thread that reads a source ahead of the learner, in bounded memory.

mod spill;
mod thread;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::position::Position;
use crate::records::{MOST_KEPT, Records};
use crate::source::{Counters, Source};
use crate::sync::{lock, wait_while};

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
    /// 1 MiB; the source waits.
    fn default() -> Self {
        QueueOptions { bytes: 1 << 20, policy: Policy::Block }
    }
}

/// Blocks of a full queue: few, since handing one over costs as much as decoding some records.
const BLOCKS: usize = 8;

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
///
/// ```
/// use std::time::Duration;
/// use tidemill_stream::{Next, OpenOptions, Position, QueueOptions, Reader, open};
///
/// # fn main() -> tidemill_stream::Result<()> {
/// let mut source = open("Cargo.toml", &OpenOptions::default())?;
/// let mut position = Position::default(); // Or that of a checkpoint.
/// source.seek(&position)?;
/// let reader = Reader::spawn(source, QueueOptions::default())?;
/// loop {
///     match reader.next(Duration::from_millis(100))? {
///         Next::Records(records) => {
///             for record in records.iter() {
///                 // Learn from `record.bytes`, then:
///                 position.take(&record);
///             }
///             reader.give_back(records);
///         }
///         Next::Idle => {}
///         Next::End => break,
///     }
/// }
/// // Once a checkpoint with `position` is on disk:
/// reader.commit(position);
/// # Ok(())
/// # }
/// ```
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
        let block = (options.bytes / BLOCKS).clamp(1 << 10, 1 << 20);
        // All memory is taken here, so that a process which has begun does not grow with its first
        // delays.
        let spare = (0..BLOCKS).map(|_| Records::with_footprint(block)).collect();
        let state = Mutex::new(State { source: source.counters(), spare, ..State::default() });
        let (filled, room) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { options, block, state, filled, room });
        let thread = std::thread::Builder::new()
            .name("read source".to_owned())
            .spawn({
                let shared = shared.clone();
                move || thread::run(&shared, source)
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
        if records.capacity() > MOST_KEPT {
            // One very long record is not a reason to hold as much for good.
            records = Records::with_footprint(self.shared.block);
        }
        let mut state = lock(&self.shared.state);
        // Memory that is dropped here and allocated again by another thread leaves a hole, so that a stream
        // would grow. Of what has been used there is no more than the queue and its users ever held.
        if !records.is_new() {
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
