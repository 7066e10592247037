//! The memory of this process, and whether a run fits into what it was given.

use tidemill_page::number::bytes;

use crate::engine::Engine;
use crate::error::{Error, Result};

/// Fails when the run cannot fit into the memory that was given: `copies` of the state exist beside it
/// at most, and `queue` bytes of events wait.
///
/// # Errors
/// Says what the run needs, part by part.
pub fn check_memory(engine: &Engine, limit: Option<u64>, copies: u64, queue: u64) -> Result<()> {
    let Some(limit) = limit else { return Ok(()) };
    let (arena, state) = (engine.arena_bytes() as u64, engine.state_and_scratch_bytes() as u64);
    // The arena and the state have been touched, so they are resident already.
    let data_bytes = rss_bytes().saturating_sub(arena + state);
    let need = data_bytes + arena + (1 + copies) * state + queue;
    if need <= limit {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "--memory {}: the run needs {} (program and data {}, arena {}, state and its checkpoint \
         {}); give it more, or lower batch.batch_size",
        bytes(limit),
        bytes(need),
        bytes(data_bytes),
        bytes(arena),
        bytes((1 + copies) * state)
    )))
}

/// The most resident memory of this process so far, in bytes.
pub fn peak_rss_bytes() -> u64 {
    status_bytes("VmHWM:")
}

/// The resident memory of this process now, in bytes.
pub fn rss_bytes() -> u64 {
    status_bytes("VmRSS:")
}

/// A line of Linux's `/proc/self/status`; 0 on other systems.
fn status_bytes(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default();
    let kilobytes: u64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
    kilobytes * 1024
}
