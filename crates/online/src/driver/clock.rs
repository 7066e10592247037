//! When to look around, to tell, to save.

use std::time::{Duration, Instant};

/// When to look around, to tell, to save.
pub(crate) struct StreamClock {
    pub(super) start: Instant,
    pub(super) before: f64,
    /// Events of earlier processes.
    pub(crate) first_event: u64,
    /// From the start to when the last event was learned from.
    pub(crate) learning: Duration,
    pub(super) reported: Instant,
    pub(super) reported_events: u64,
    pub(super) saved: Instant,
    pub(super) saved_events: u64,
    /// Whether this process has saved anything.
    pub(super) has_saved: bool,
    pub(super) steps: u32,
}

impl StreamClock {
    pub(crate) fn start(before: f64, events: u64) -> StreamClock {
        let start = Instant::now();
        StreamClock {
            start,
            before,
            first_event: events,
            learning: Duration::ZERO,
            reported: start,
            reported_events: events,
            saved: start,
            saved_events: events,
            has_saved: false,
            steps: 0,
        }
    }

    pub(crate) fn total(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }
}
