//! The memory of this process, and whether a run fits into what it was given.

use std::path::PathBuf;

use tidemill_cpu::buffer;
use tidemill_page::number::bytes;
use tidemill_plan::windows::Filed;

use crate::engine::Engine;
use crate::error::{Error, Result};

/// For what is not planned byte by byte: the allocator, the page, files that are written.
const SLACK: u64 = 4 << 20;

/// For what making plans and running them leaves in the allocator, where an arena takes all that is left beside it.
pub(crate) const RESERVE: u64 = 2 << 20;

/// For the threads that read and write a file of state, and what is written to it before the first step.
pub(crate) const FILE: u64 = 2 << 20;

/// An arena ends at one.
const PAGE: u64 = 4 << 10;

/// Addresses that a process takes beside its memory: stacks of threads, and arenas of the allocator.
const ADDRESSES: u64 = 16 << 20;

/// What a run may take, and what of it comes on top of its engine.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// Bytes that the process may take in all; what the machine has left where none.
    pub limit: Option<u64>,
    /// Copies of the state that exist beside it at most.
    pub copies: u64,
    /// Copies of the weights alone that exist beside those.
    pub averages: u64,
    /// Bytes of what is still to come, such as batches that are read ahead and events that wait.
    pub beside: u64,
    /// Bytes that the arena should fit into, whatever is left.
    pub arena: Option<u64>,
    /// What the program and its data take, once an engine is compiled: from then on further plans are made, and a run that begins
    /// has some of its copies. Measured where none.
    pub program: Option<u64>,
    /// Engines beside the first one, each for a worker of this process.
    pub others: u64,
    /// The folder in which a file may have what of the state does not fit; one above it where it is not there yet. All of
    /// the state is in memory where none.
    pub folder: Option<PathBuf>,
}

/// What an engine takes, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    pub(crate) arena: u64,
    pub(crate) state: u64,
    /// What a copy of the state has of that.
    pub(crate) copied: u64,
    pub(crate) scratch: u64,
    /// Sums of shards that wait for others.
    pub(crate) sums: u64,
    /// The weights among the state.
    pub(crate) weights: u64,
    /// The largest tensor of the state that is in a file, which is in memory while a checkpoint is written.
    pub(crate) moved: u64,
    /// Slots that other workers keep. Worker 0 gathers them for checkpoints.
    pub(crate) elsewhere: u64,
}

impl Needs {
    fn total(&self) -> u64 {
        self.arena + self.state + self.scratch + self.sums + self.moved
    }
}

impl Budget {
    /// The same with what moving state between memory and a file takes, where some of it is in one.
    pub(crate) fn with_file(&self, filed: Filed<'_>) -> Budget {
        let more = if filed.names.is_empty() { 0 } else { FILE };
        Budget { beside: self.beside + more, ..self.clone() }
    }

    /// What a run takes whose engine takes `needs`, of which it may have taken `held` already, and what it may
    /// take, if that is known.
    pub(crate) fn shares(&self, needs: Needs, held: Needs) -> Shares {
        let program = self.program.unwrap_or_else(|| self.measured(held));
        let engines = self.others + 1;
        let left = || Some(program + held.total() + available_bytes()?);
        Shares {
            program,
            beside: self.beside,
            state: engines * needs.state,
            copies: self.copies * (needs.copied + needs.elsewhere)
                + self.averages * needs.weights
                + needs.elsewhere
                + needs.moved,
            arena: engines * needs.arena,
            scratch: engines * (needs.scratch + needs.sums),
            limit: self.limit.or_else(left),
        }
    }

    /// What the program and its data take beside an engine that has taken `held`, with what will come on top of that.
    fn measured(&self, held: Needs) -> u64 {
        if self.limit.is_some() {
            buffer::return_freed();
        }
        // What an engine has taken is resident.
        let resident = rss_bytes().saturating_sub(held.total());
        resident + if self.limit.is_some() { SLACK } else { 0 }
    }

    /// An engine that has taken `held` is compiled, or its run begins: what is taken from then on is in its other shares.
    ///
    /// # Errors
    /// If more was left in memory since the engine's plan was chosen than is kept free for that.
    pub(crate) fn begin(&mut self, held: Needs) -> Result<()> {
        let Some(limit) = self.limit else { return Ok(()) };
        self.program = None;
        let shares = self.shares(held, held);
        let above = shares.total().saturating_sub(limit);
        if above > SLACK {
            return self.check(held, held, "").map_err(|short| short.why);
        }
        self.program = Some(shares.program - above);
        Ok(())
    }

    /// Bytes that the arena of an engine should fit into that takes `needs` otherwise.
    pub(crate) fn room(&self, needs: Needs, held: Needs) -> u64 {
        let shares = self.shares(Needs { arena: 0, ..needs }, held);
        let reserve = if self.limit.is_some() { RESERVE } else { 0 };
        let others = shares.total() + reserve;
        let left =
            shares.limit.map_or(u64::MAX, |limit| limit.saturating_sub(others) / (self.others + 1));
        // What other plans have taken is there.
        self.arena.unwrap_or(u64::MAX).min(left - left % PAGE).max(held.arena)
    }

    /// Fails when an engine that takes `needs` does not fit. It may have taken `held` of them already. `least` says
    /// more of it where the arena is as small as it can be.
    ///
    /// # Errors
    /// Says what the run needs, part by part.
    pub(crate) fn check(&self, needs: Needs, held: Needs, least: &str) -> Result<(), Short> {
        let shares = self.shares(needs, held);
        let Some(limit) = shares.limit else { return Ok(()) };
        let (need, at_least) = (shares.total(), if least.is_empty() { "" } else { "at least " });
        if need <= limit {
            return Ok(());
        }
        let what = match self.limit {
            Some(limit) => format!("--memory {}: the run needs {at_least}", bytes(limit)),
            None => {
                let left = limit.saturating_sub(shares.program + held.total());
                format!("the machine has {} left: the run needs {at_least}", bytes(left))
            }
        };
        let beside = match self.beside {
            0 => String::new(),
            n => format!(", data that is cached or read ahead {}", bytes(n)),
        };
        let why = Error::Usage(format!(
            "{what}{} (program and data {}, arena {}, state and its checkpoint {}{beside}); give it \
             more, or lower batch.batch_size{least}",
            bytes(need),
            bytes(shares.program),
            bytes(shares.arena + shares.scratch),
            bytes(shares.state + shares.copies),
        ));
        Err(Short { need, why })
    }

    /// Fails when the process has taken more than the limit.
    ///
    /// # Errors
    /// If so; not where there is no limit.
    pub fn enforce(&self) -> Result<()> {
        let (Some(limit), now) = (self.limit, rss_bytes()) else { return Ok(()) };
        if now <= limit {
            return Ok(());
        }
        Err(Error::Run(format!(
            "the run takes {}, more than --memory {}, so it stops; what was learned is in its last \
             checkpoint. Give it more, lower batch.batch_size or batch.data_threads, or set cache = \
             false for images",
            bytes(now),
            bytes(limit)
        )))
    }
}

/// A run that does not fit.
#[derive(Debug)]
pub(crate) struct Short {
    /// The bytes that it needs.
    pub(crate) need: u64,
    /// What it needs, part by part.
    pub(crate) why: Error,
}

/// What the memory of a run is made of, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shares {
    /// The program with what it has read so far, and what is not planned byte by byte.
    pub program: u64,
    /// Data that is cached or read ahead.
    pub beside: u64,
    /// Weights and slots.
    pub state: u64,
    /// Copies of them for checkpoints.
    pub copies: u64,
    /// Values of a step.
    pub arena: u64,
    /// Scratch of the threads.
    pub scratch: u64,
    /// What all may be in sum.
    pub limit: Option<u64>,
}

impl Shares {
    /// Their sum.
    pub fn total(&self) -> u64 {
        self.program + self.beside + self.state + self.copies + self.arena + self.scratch
    }
}

/// Fails when the run cannot fit into the memory that was given: `copies` of the state exist beside it
/// at most, and `queue` bytes of events wait.
///
/// # Errors
/// Says what the run needs, part by part.
pub fn check_memory(engine: &Engine, limit: Option<u64>, copies: u64, queue: u64) -> Result<()> {
    if limit.is_none() {
        return Ok(());
    }
    let needs = engine.needs();
    let budget = Budget { limit, copies, beside: queue, ..Budget::default() };
    budget.check(needs, needs, "").map_err(|short| short.why)
}

/// From now on all memory is given back soon after it was used, as where a limit is close, or senders may take some.
pub fn return_pieces() {
    buffer::return_pieces(256 << 10);
}

/// The most resident memory of this process so far, in bytes.
pub fn peak_rss_bytes() -> u64 {
    status_bytes("VmHWM:")
}

/// The resident memory of this process now, in bytes.
pub fn rss_bytes() -> u64 {
    status_bytes("VmRSS:")
}

/// The memory that this process may still take, in bytes: what the machine has, or the control group
/// of a container. None on systems that do not say so.
fn available_bytes() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let info = read("/proc/meminfo")?;
    let line = |key: &str| -> Option<u64> {
        let line = info.lines().find_map(|l| l.strip_prefix(key))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    let machine = line("MemAvailable:")? + line("SwapFree:").unwrap_or(0);
    // The two versions of control groups; a limit that is not set is "max", or as large as can be.
    // What a group uses counts cached files, which give way, so that it says nothing.
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = groups.iter().filter_map(|path| read(path)?.trim().parse::<u64>().ok()).min();
    let left = group.map_or(machine, |group| machine.min(group.saturating_sub(rss_bytes())));
    // What `ulimit -v` leaves of addresses, without those that threads and the allocator will take.
    let limits = read("/proc/self/limits").unwrap_or_default();
    let space = limits.lines().find_map(|line| line.strip_prefix("Max address space"));
    let space = space.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let space = space.map(|most| most.saturating_sub(status_bytes("VmSize:") + ADDRESSES));
    Some(space.map_or(left, |space| left.min(space)))
}

/// A line of Linux's `/proc/self/status`; 0 on other systems.
fn status_bytes(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default();
    let kilobytes: u64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
    kilobytes * 1024
}
