//! What a piece of work costs: wall time and CPU time.

use std::time::Instant;

/// Running time and CPU time of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Cost {
    /// Wall-clock seconds.
    pub wall_seconds: f64,
    /// Seconds of all threads together: what stands here for energy, which a processor spends in
    /// proportion. The wall's seconds where the system has no such clock.
    pub cpu_seconds: f64,
}

impl Cost {
    /// Seconds that it takes on a machine with nothing else to do: on a busy one the wall's clock also
    /// counts the work of others.
    pub fn free_seconds(&self) -> f64 {
        self.wall_seconds.min(self.cpu_seconds).max(1e-9)
    }
}

/// A clock of both.
pub(crate) struct Clock {
    wall: Instant,
    cpu: Option<f64>,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { wall: Instant::now(), cpu: cpu_seconds() }
    }

    /// Since the start.
    pub(crate) fn cost(&self) -> Cost {
        let wall_seconds = self.wall.elapsed().as_secs_f64();
        let cpu = self.cpu.zip(cpu_seconds()).map(|(from, to)| to - from);
        Cost { wall_seconds, cpu_seconds: cpu.unwrap_or(wall_seconds) }
    }
}

#[cfg(unix)]
fn cpu_seconds() -> Option<f64> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9)
}

#[cfg(not(unix))]
fn cpu_seconds() -> Option<f64> {
    None
}
