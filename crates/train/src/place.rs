//! Where a run is, and for how long it has trained.

use std::time::{Duration, Instant};

use tidemill_engine::Step;
use tidemill_engine::checkpoint::EpochFigures;

/// How often progress is reported.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// Where a run is in its steps; saved with each checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    /// Steps of batch training.
    pub(crate) step: u64,
    /// Steps that learned from a stream before.
    pub(crate) online_steps: u64,
    pub(crate) samples: u64,
    pub(crate) data: u64,
    pub(crate) history: Vec<EpochFigures>,
    pub(crate) wall_seconds: f64,
}

impl Position {
    /// Steps of both kinds.
    pub(crate) fn total_steps(&self) -> u64 {
        self.step + self.online_steps
    }

    /// The epochs that decide about stops, rates and the best weights: those since the run last learned from a stream.
    /// What was best before is not what its weights are now compared with: other data have moved them since.
    pub(crate) fn epochs(&self) -> &[EpochFigures] {
        let is_before = |epoch: &EpochFigures| epoch.online_steps != self.online_steps;
        let before = self.history.iter().rposition(is_before);
        &self.history[before.map_or(0, |last| last + 1)..]
    }

    pub(crate) fn advance(&mut self, step: &Step) {
        self.step += 1;
        self.samples += step.samples;
        self.data = step.position;
    }
}

/// Time trained, over all resumptions, and when to tell.
pub(crate) struct Clock {
    start: Instant,
    before: f64,
    pub(crate) first_step: u64,
    pub(crate) first_sample: u64,
    next_report: Instant,
}

impl Clock {
    pub(crate) fn start(at: &Position) -> Clock {
        let start = Instant::now();
        Clock {
            start,
            before: at.wall_seconds,
            first_step: at.step,
            first_sample: at.samples,
            next_report: start + REPORT_EVERY,
        }
    }

    /// Since the start or resumption.
    pub(crate) fn here(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    pub(crate) fn total(&self) -> f64 {
        self.before + self.here()
    }

    pub(crate) fn is_time_to_report(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.next_report;
        if due {
            self.next_report = now + REPORT_EVERY;
        }
        due
    }
}
