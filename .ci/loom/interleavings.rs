//! The thread pool in every order of its threads' steps, for small steps of two threads.
//!
//! Each chunk reads what the chunks of the task before wrote and writes a cell of its own, without a lock: loom reports a
//! race, a wrong order gives a wrong sum, and a thread that is never woken is a deadlock.

mod threads {
    #![allow(dead_code)]
    include!(concat!(env!("OUT_DIR"), "/threads.rs"));
}

/// `atomic_wait` over loom's locks.
mod futex {
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};

    loom::lazy_static! {
        static ref SLEEPERS: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
    }

    pub(crate) fn wait(value: &AtomicU32, seen: u32) {
        let guard = SLEEPERS.0.lock().expect("no thread panics with it");
        if value.load(Ordering::SeqCst) == seen {
            drop(SLEEPERS.1.wait(guard).expect("no thread panics with it"));
        }
    }

    pub(crate) fn wake_all(_value: &AtomicU32) {
        let _guard = SLEEPERS.0.lock().expect("no thread panics with it");
        SLEEPERS.1.notify_all();
    }
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use loom::cell::UnsafeCell;
use threads::{NOTHING, Pool, Tasks};

/// The newest value, as a `SeqCst` load sees it.
fn newest<T>(pointer: &loom::sync::atomic::AtomicPtr<T>) -> *mut T {
    use loom::sync::atomic::Ordering::SeqCst;
    let null = std::ptr::null_mut();
    pointer.compare_exchange(null, null, SeqCst, SeqCst).unwrap_or_else(|found| found)
}

/// Tasks of so many chunks each, with a cell for each chunk.
struct Sums {
    chunks: Vec<usize>,
    cells: Vec<UnsafeCell<u32>>,
}

// SAFETY: loom checks each access.
unsafe impl Sync for Sums {}

impl Sums {
    fn new(chunks: &[usize]) -> Sums {
        let cells = (0..chunks.iter().sum()).map(|_| UnsafeCell::new(0)).collect();
        Sums { chunks: chunks.to_vec(), cells }
    }

    fn first(&self, task: usize) -> usize {
        self.chunks[..task].iter().sum()
    }

    fn value(&self, cell: usize) -> u32 {
        // SAFETY: loom checks that nobody writes it.
        self.cells[cell].with(|value| unsafe { *value })
    }

    /// What each cell must be after a step.
    fn check(&self) {
        let mut expect = 1;
        for task in 0..self.chunks.len() {
            if task > 0 {
                expect = 1 + self.chunks[task - 1] as u32 * expect;
            }
            for chunk in 0..self.chunks[task] {
                assert_eq!(self.value(self.first(task) + chunk), expect);
            }
        }
    }
}

impl Tasks for Sums {
    fn len(&self) -> usize {
        self.chunks.len()
    }

    fn chunks(&self, task: usize) -> usize {
        self.chunks[task]
    }

    unsafe fn run(&self, task: usize, chunk: usize, _thread: usize) {
        let before = if task == 0 { 0..0 } else { self.first(task - 1)..self.first(task) };
        let sum: u32 = before.map(|cell| self.value(cell)).sum();
        // SAFETY: loom checks that no other thread touches it.
        self.cells[self.first(task) + chunk].with_mut(|value| unsafe { *value += 1 + sum });
    }
}

/// Runs `steps` steps of tasks with `chunks`, a piece of work beside each where `beside`.
fn explore(steps: usize, chunks: &'static [usize], beside: bool, bound: usize) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(bound);
    model.max_branches = 20_000;
    model.max_duration = Some(Duration::from_secs(30));
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    model.check(move || {
        counted.fetch_add(1, Relaxed);
        let mut pool = Pool::new(2);
        for _ in 0..steps {
            let sums = Sums::new(chunks);
            let left = loom::sync::atomic::AtomicUsize::new(1);
            let piece = || left.swap(0, Relaxed) == 1;
            pool.run(&sums, true, if beside { &piece } else { NOTHING });
            sums.check();
        }
    });
    println!("{steps} steps of {chunks:?}, beside {beside}: {} orders", executions.load(Relaxed));
}

fn main() {
    explore(1, &[1], false, 3);
    explore(1, &[2], true, 3);
    explore(1, &[2, 1], false, 3);
    explore(1, &[1, 2], true, 2);
    // One after the other: a worker may be late for the first, or early for the second.
    explore(2, &[1], false, 3);
    explore(2, &[2], true, 2);
    explore(2, &[2, 1], false, 2);
    explore(3, &[1], false, 2);
}
