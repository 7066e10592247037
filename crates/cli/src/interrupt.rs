//! Ctrl-C.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::failure::INTERRUPTED;

/// A flag that the first Ctrl-C (or SIGTERM) sets; the second ends the program on the spot.
pub(crate) fn flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = flag.clone();
    // Without a handler the program still works; Ctrl-C then ends it without a checkpoint.
    let _ = ctrlc::set_handler(move || {
        if seen.swap(true, SeqCst) {
            process::exit(i32::from(INTERRUPTED));
        }
    });
    flag
}
