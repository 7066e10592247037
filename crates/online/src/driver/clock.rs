//! When to look around, to tell, to save.

use std::time::{Duration, Instant};

use tidemill_recipe::online::OnlineSpec;

/// How often progress is reported.
const REPORT_EVERY: Duration = Duration::from_millis(200);
/// From the start to the first checkpoint: a stream that is over sooner has the one of its end.
const FIRST_CHECKPOINT: Duration = Duration::from_millis(100);

/// So many seconds, or the longest that a wait may be: a recipe may say 1e308.
pub(crate) fn duration(seconds: f64) -> Duration {
    const LONGEST: f64 = 3.2e8;
    Duration::from_secs_f64(seconds.clamp(0.0, LONGEST))
}

/// When to look around, to tell, to save.
pub(crate) struct StreamClock {
    pub(crate) start: Instant,
    pub(super) before: f64,
    /// Events of earlier processes.
    pub(crate) first_event: u64,
    /// From the start to when the last event was learned from.
    pub(crate) learning: Duration,
    pub(super) reported: Instant,
    pub(super) reported_events: u64,
    pub(super) saved: Instant,
    pub(crate) saved_events: u64,
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

    /// Events a second since the last report, if it is time for another one.
    pub(crate) fn report(&mut self, events: u64) -> Option<f64> {
        let now = Instant::now();
        if now - self.reported < REPORT_EVERY {
            return None;
        }
        let seconds = (now - self.reported).as_secs_f64();
        let rate = (events - self.reported_events) as f64 / seconds;
        (self.reported, self.reported_events) = (now, events);
        Some(rate)
    }

    /// Whether it is time for a checkpoint, if anything came since the last one. The first one is soon: a disk that cannot be
    /// written is found out before much has been learned, and what a checkpoint takes of memory is taken before the stream is
    /// long.
    pub(crate) fn is_checkpoint_due(&self, events: u64, spec: &OnlineSpec) -> bool {
        let (since, elapsed) = (events - self.saved_events, self.saved.elapsed());
        (!self.has_saved && elapsed >= FIRST_CHECKPOINT)
            || elapsed.as_secs_f64() >= spec.checkpoint_seconds
            || spec.checkpoint_events.is_some_and(|n| since >= n)
    }

    /// A checkpoint was handed to the writer.
    pub(crate) fn save(&mut self, events: u64) {
        (self.saved, self.has_saved, self.saved_events) = (Instant::now(), true, events);
    }

    pub(crate) fn total(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }
}
