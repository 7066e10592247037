//! Fusion: epilogues into matrix and convolution kernels, updates into the kernels that finish a
//! gradient, and elementwise nodes into programs.

mod again;
mod elements;
mod epilogue;
pub(crate) mod spread;
mod updates;

use crate::ir::Schedule;

/// Runs all fusions. Without `enabled` every op becomes a kernel of its own (for tests, and to
/// show what fusion gains).
pub fn fuse(schedule: &mut Schedule, enabled: bool) {
    if enabled {
        epilogue::absorb_chains(schedule);
        epilogue::absorb_bias_sums(schedule);
        updates::absorb(schedule);
        again::normalized(schedule);
    }
    elements::group(schedule, enabled);
}
