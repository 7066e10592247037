//! What the measurements of kernels share.

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread in seconds: it holds on a machine that others use.
pub fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
