//! Writes the thread pool over loom's atomics and threads: `crates/cpu/src/threads.rs` itself, with other names.
//!
//! Each replacement must occur as often as it says: a change of the pool that this does not know fails the build.

use std::path::Path;

/// What is replaced, by what, and how often it occurs (0: at least once).
const REPLACED: [(&str, &str, usize); 16] = [
    ("use std::sync::atomic::", "use loom::sync::atomic::", 1),
    (
        "use std::sync::{Arc, Mutex, PoisonError};",
        "use loom::sync::{Arc, Mutex};\nuse std::sync::PoisonError;",
        1,
    ),
    ("use std::thread::JoinHandle;", "use loom::thread::JoinHandle;", 1),
    ("std::thread::Builder", "loom::thread::Builder", 1),
    ("std::thread::yield_now", "loom::thread::yield_now", 0),
    ("std::hint::spin_loop", "loom::thread::yield_now", 0),
    ("atomic_wait::", "crate::futex::", 0),
    // A turn of a loop that waits is one to explore.
    ("SPINS_BETWEEN_STEPS: u32 = 2_000", "SPINS_BETWEEN_STEPS: u32 = 0", 1),
    ("SPINS_WITHIN_STEP: u32 = 400", "SPINS_WITHIN_STEP: u32 = 0", 1),
    // loom takes `SeqCst` loads and stores for acquire and release. Exchanges always see the newest value, which is
    // what the pool needs of the pairs of `job` and `inside`, and of `epoch` and `sleeping`.
    (
        "job.store(std::ptr::null_mut(), Ordering::SeqCst)",
        "job.swap(std::ptr::null_mut(), Ordering::SeqCst)",
        1,
    ),
    // A thread that claims may see an old count only until its exchange fails; loom would show it the old one for ever.
    // So for one that waits for a task.
    ("done.0.load(Ordering::Acquire)", "done.0.fetch_add(0, Ordering::AcqRel)", 1),
    ("counter.load(Ordering::Relaxed)", "counter.fetch_add(0, Ordering::Relaxed)", 1),
    ("inside.load(Ordering::SeqCst)", "inside.fetch_add(0, Ordering::SeqCst)", 1),
    ("shared.job.load(Ordering::SeqCst)", "crate::newest(&shared.job)", 1),
    (
        "shared.epoch.store(job.epoch, Ordering::SeqCst)",
        "shared.epoch.swap(job.epoch, Ordering::SeqCst)",
        1,
    ),
    ("shared.sleeping.load(Ordering::SeqCst)", "shared.sleeping.fetch_add(0, Ordering::SeqCst)", 1),
];

fn main() {
    let source = "../../crates/cpu/src/threads.rs";
    println!("cargo::rerun-if-changed={source}");
    println!("cargo::rerun-if-changed=translate.rs");
    let text = std::fs::read_to_string(source).expect("the thread pool's source");
    let (mut text, _) = text
        .split_once("#[cfg(test)]")
        .map(|(code, tests)| (code.to_owned(), tests))
        .expect("the pool's tests are at its end");
    for (from, to, times) in REPLACED {
        let found = text.matches(from).count();
        assert!(found > 0 && (times == 0 || found == times), "{source} has `{from}` {found} times");
        text = text.replace(from, to);
    }
    // What begins a file cannot be included.
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("//!"))
        .map(|line| format!("{line}\n"))
        .collect();
    let out = std::env::var("OUT_DIR").expect("cargo says where");
    std::fs::write(Path::new(&out).join("threads.rs"), text).expect("the folder can be written");
}
