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
    #[cfg(unix)]
    with_parent(&flag);
    flag
}

/// Makes of a file that reaches the limit of its size (`ulimit -f`) an error of writing, as of a full disk, in place of
/// the signal that ends the program without a word.
pub(crate) fn outlive_limits() {
    // Without a handler the program still works.
    #[cfg(unix)]
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

/// Names the process whose end ends this one, which it has started.
pub(crate) const PARENT: &str = "TIDEMILL_PARENT";

/// Sets the flag when that process is gone, so that what it has started does not stay behind.
#[cfg(unix)]
fn with_parent(flag: &Arc<AtomicBool>) {
    let parent = std::env::var(PARENT).ok().and_then(|text| text.parse::<u32>().ok());
    let (Some(parent), flag) = (parent, flag.clone()) else { return };
    // Without the thread the program still works.
    let _ = std::thread::Builder::new().name("parent".into()).spawn(move || {
        while std::os::unix::process::parent_id() == parent {
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        flag.store(true, SeqCst);
    });
}
