//! Steps whole, steps that panic, and threads that contend.

use super::*;
use std::cell::UnsafeCell;
use std::sync::atomic::AtomicUsize;

struct Count {
    chunks: Vec<usize>,
    hits: Vec<Vec<AtomicUsize>>,
    /// Plain memory, as that of kernels: a chunk reads what all chunks of the task before wrote.
    values: Vec<Vec<UnsafeCell<usize>>>,
    finished: AtomicUsize,
}

// SAFETY: the value of a chunk is written by that chunk alone, and read by later tasks.
unsafe impl Sync for Count {}

impl Tasks for Count {
    fn len(&self) -> usize {
        self.chunks.len()
    }
    fn chunks(&self, task: usize) -> usize {
        self.chunks[task]
    }
    unsafe fn run(&self, task: usize, chunk: usize, _thread: usize) {
        // Relaxed: what orders the chunks is the pool.
        let before: usize = self.chunks[..task].iter().sum();
        assert!(self.finished.load(Ordering::Relaxed) >= before, "a task began too early");
        self.hits[task][chunk].fetch_add(1, Ordering::Relaxed);
        let last = task.checked_sub(1).map_or(&[][..], |last| &self.values[last][..]);
        // SAFETY: the chunks of the task before are done.
        let sum: usize = last.iter().map(|value| unsafe { *value.get() }).sum();
        // SAFETY: no other chunk writes this value, and none of this task reads it.
        unsafe { *self.values[task][chunk].get() = sum + 1 };
        self.finished.fetch_add(1, Ordering::Relaxed);
    }
}

fn count(chunks: &[usize]) -> Count {
    Count {
        chunks: chunks.to_vec(),
        hits: chunks.iter().map(|&n| (0..n).map(|_| AtomicUsize::new(0)).collect()).collect(),
        values: chunks.iter().map(|&n| (0..n).map(|_| UnsafeCell::new(0)).collect()).collect(),
        finished: AtomicUsize::new(0),
    }
}

/// Every chunk has run once and seen those before it.
fn assert_whole(tasks: &mut Count) {
    assert!(tasks.hits.iter().flatten().all(|h| h.load(Ordering::SeqCst) == 1));
    let mut want = 0;
    for values in &mut tasks.values {
        want += 1;
        assert!(values.iter_mut().all(|value| *value.get_mut() == want));
        want *= values.len();
    }
}

#[test]
fn every_chunk_runs_once_in_order() {
    let steps = if cfg!(miri) { 5 } else { 3_000 };
    for threads in [1, 2, 3, 5] {
        let mut pool = Pool::new(threads);
        for step in 0..steps {
            let mut tasks = count(&[1, 7, 2, 1, 16, 3]);
            pool.run(&tasks, true, NOTHING);
            assert_whole(&mut tasks);
            if step % 500 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(2)); // workers fall asleep
            }
        }
    }
}

#[test]
fn serial_steps_wake_nobody() {
    let mut pool = Pool::new(2);
    let mut tasks = count(&[3, 1]);
    pool.run(&tasks, false, NOTHING);
    assert_whole(&mut tasks);
}

#[test]
fn work_beside_a_step_is_done_with_it() {
    for (threads, parallel) in [(1, true), (2, true), (2, false), (5, true)] {
        let mut pool = Pool::new(threads);
        for step in 0..if cfg!(miri) { 3 } else { 1_000 } {
            let mut tasks = count(&[2, 1, 5]);
            let (given, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let pieces = step % 7;
            pool.run(&tasks, parallel, &|| {
                let mine = given.fetch_add(1, Ordering::SeqCst) < pieces;
                done.fetch_add(usize::from(mine), Ordering::SeqCst);
                mine
            });
            assert_eq!(done.load(Ordering::SeqCst), pieces);
            assert_whole(&mut tasks);
        }
    }
}

#[test]
fn an_empty_step_is_fine() {
    Pool::new(3).run(&count(&[]), true, NOTHING);
}

/// The payload of panics that tests make. They are raised without a message on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Made(usize);

fn raise(step: usize) -> ! {
    resume_unwind(Box::new(Made(step)))
}

/// Where a step panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    ChunkOnCaller,
    ChunkOnWorker,
    BesideOnCaller,
    BesideOnWorker,
    Everywhere,
}

const PLACES: [Where; 5] = [
    Where::ChunkOnCaller,
    Where::ChunkOnWorker,
    Where::BesideOnCaller,
    Where::BesideOnWorker,
    Where::Everywhere,
];

/// A step that panics. In task `LAST` the caller and a worker are made to meet, each in a chunk, so
/// that both take part in what follows.
struct Panicking {
    place: Where,
    step: usize,
    caller: std::thread::ThreadId,
    /// On the caller's stack, as the batch is that a step reads: must not be used after `run`.
    stack: *const AtomicUsize,
    met: [AtomicBool; 2],
    /// The chunk that waits for the panic of the other thread.
    raised: AtomicBool,
    after: AtomicUsize,
}

// SAFETY: the pointer is to an atomic, which is alive while the step runs.
unsafe impl Sync for Panicking {}

impl Panicking {
    const LAST: usize = 2;

    fn new(place: Where, step: usize, stack: &AtomicUsize) -> Panicking {
        Panicking {
            place,
            step,
            caller: std::thread::current().id(),
            stack,
            met: [AtomicBool::new(false), AtomicBool::new(false)],
            raised: AtomicBool::new(false),
            after: AtomicUsize::new(0),
        }
    }

    fn touch_stack(&self) {
        // SAFETY: as above.
        unsafe { &*self.stack }.fetch_add(1, Ordering::Relaxed);
    }

    fn wait_for(&self, what: &AtomicBool) {
        let mut spins = 0;
        while !what.load(Ordering::Acquire) {
            pause(&mut spins);
        }
    }

    fn raise(&self) -> ! {
        self.raised.store(true, Ordering::Release);
        raise(self.step)
    }

    fn beside(&self) -> bool {
        self.touch_stack();
        let on_caller = std::thread::current().id() == self.caller;
        let both = self.met.iter().all(|met| met.load(Ordering::Acquire));
        match self.place {
            _ if !both => {}
            Where::BesideOnCaller if on_caller => self.raise(),
            Where::BesideOnWorker if !on_caller => self.raise(),
            Where::Everywhere => self.raise(),
            _ => {}
        }
        // There is always more, until the step ends.
        true
    }
}

impl Tasks for Panicking {
    fn len(&self) -> usize {
        Self::LAST + 2
    }
    fn chunks(&self, task: usize) -> usize {
        [3, 1, 2, 5][task]
    }
    unsafe fn run(&self, task: usize, _chunk: usize, thread: usize) {
        self.touch_stack();
        if task > Self::LAST {
            self.after.fetch_add(1, Ordering::SeqCst);
        }
        if task != Self::LAST {
            return;
        }
        // One of the two chunks for the caller, one for a worker.
        let on_caller = thread == 0;
        assert_eq!(on_caller, std::thread::current().id() == self.caller);
        self.met[usize::from(on_caller)].store(true, Ordering::Release);
        self.wait_for(&self.met[usize::from(!on_caller)]);
        match (self.place, on_caller) {
            (Where::ChunkOnCaller, true) | (Where::ChunkOnWorker, false) => self.raise(),
            (Where::Everywhere, _) => self.raise(),
            // The other thread waits for this one, beside the step.
            (Where::BesideOnCaller, false) | (Where::BesideOnWorker, true) => {
                self.wait_for(&self.raised);
            }
            _ => {}
        }
        self.touch_stack();
    }
}

/// Runs a step that panics, then one that does not.
fn panics_once(pool: &mut Pool, place: Where, step: usize) {
    {
        let stack = AtomicUsize::new(0);
        let tasks = Panicking::new(place, step, &stack);
        let run = || pool.run(&tasks, true, &|| tasks.beside());
        let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&Made(step)), "{place:?}");
        // A task whose chunk panicked is never done; one beside which something panicked may be.
        let after = tasks.after.load(Ordering::SeqCst);
        let beside = matches!(place, Where::BesideOnCaller | Where::BesideOnWorker);
        assert!(after == 0 || beside, "{place:?}: a task began too early");
        // Nobody is inside any more.
        let touched = stack.swap(usize::MAX / 2, Ordering::SeqCst);
        assert!(touched > 0);
        assert_eq!(stack.load(Ordering::SeqCst), usize::MAX / 2);
    }
    let mut tasks = count(&[4, 1, 9, 2, 1, 3]);
    let pieces = AtomicUsize::new(0);
    pool.run(&tasks, true, &|| pieces.fetch_add(1, Ordering::SeqCst) < 5);
    assert_whole(&mut tasks);
    assert!(pieces.load(Ordering::SeqCst) > 5);
}

/// Rounds of a stress test: fewer under an interpreter.
fn rounds(usual: usize) -> usize {
    if cfg!(miri) { 2 } else { usual }
}

#[test]
fn a_panic_anywhere_reaches_the_caller_and_the_pool_goes_on() {
    // With two threads, so that of the two chunks the caller has one and the worker the other.
    let mut pool = Pool::new(2);
    for round in 0..rounds(300) {
        for (i, place) in PLACES.into_iter().enumerate() {
            panics_once(&mut pool, place, round * PLACES.len() + i);
        }
    }
}

#[test]
fn pools_that_contend_survive_panics() {
    // More threads than cores: workers are late, asleep, or put aside at any point.
    std::thread::scope(|scope| {
        for shift in 0..3 {
            scope.spawn(move || {
                let mut pool = Pool::new(2);
                for round in 0..rounds(200) {
                    panics_once(&mut pool, PLACES[(round + shift) % PLACES.len()], round);
                }
            });
        }
    });
}

/// A chunk by number that panics, whoever has it.
struct OneBad {
    inner: Count,
    bad: (usize, usize),
}

impl Tasks for OneBad {
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn chunks(&self, task: usize) -> usize {
        self.inner.chunks(task)
    }
    unsafe fn run(&self, task: usize, chunk: usize, thread: usize) {
        if (task, chunk) == self.bad {
            raise(task);
        }
        // SAFETY: as the caller's.
        unsafe { self.inner.run(task, chunk, thread) };
    }
}

#[test]
fn nothing_after_a_bad_chunk_is_begun() {
    const CHUNKS: [usize; 5] = [2, 8, 1, 16, 3];
    for threads in [1, 2, 3, 5] {
        let mut pool = Pool::new(threads);
        for round in 0..rounds(400) {
            let task = round % CHUNKS.len();
            let bad = (task, round / CHUNKS.len() % CHUNKS[task]);
            let tasks = OneBad { inner: count(&CHUNKS), bad };
            let run = || pool.run(&tasks, round % 7 != 6, NOTHING);
            let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
            assert_eq!(payload.downcast_ref(), Some(&Made(task)));
            let hits = |t: usize| tasks.inner.hits[t].iter().map(|h| h.load(Ordering::SeqCst));
            assert!((0..task).flat_map(hits).all(|h| h == 1));
            assert!(hits(task).all(|h| h <= 1));
            assert!((task + 1..CHUNKS.len()).flat_map(hits).all(|h| h == 0));
            let mut whole = count(&CHUNKS);
            pool.run(&whole, true, NOTHING);
            assert_whole(&mut whole);
        }
    }
}

/// A panic's payload may itself panic when it is dropped.
struct Nasty;

impl Drop for Nasty {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            raise(0);
        }
    }
}

#[test]
fn payloads_that_panic_do_no_harm() {
    let mut pool = Pool::new(3);
    for _ in 0..rounds(100) {
        let beside = || -> bool { resume_unwind(Box::new(Nasty)) };
        let run = || pool.run(&count(&[3, 2]), true, &beside);
        let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert!(payload.is::<Nasty>());
        std::mem::forget(payload);
    }
    pool.run(&count(&[3, 2]), true, NOTHING);
}

#[test]
fn a_pool_can_be_dropped_by_a_panic() {
    for _ in 0..rounds(50) {
        let run = || {
            let mut pool = Pool::new(3);
            pool.run(&OneBad { inner: count(&[3]), bad: (0, 1) }, true, NOTHING);
        };
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    }
}

/// Steps with and without panics on pools that contend, for a program without the harness of tests:
/// ThreadSanitizer takes that for racy, and the end of threads too, so that all of these stay.
#[allow(dead_code)]
pub(crate) fn stress(rounds: usize) {
    static DONE: AtomicUsize = AtomicUsize::new(0);
    let sizes = [2, 2, 3, 5];
    for (shift, threads) in sizes.into_iter().enumerate() {
        let run = move || {
            let mut pool = Pool::new(threads);
            for round in 0..rounds {
                if threads == 2 {
                    panics_once(&mut pool, PLACES[(round + shift) % PLACES.len()], round);
                    continue;
                }
                let mut tasks = count(&[1, 7, 2, 1, 16, 3]);
                let pieces = AtomicUsize::new(0);
                pool.run(&tasks, true, &|| pieces.fetch_add(1, Ordering::SeqCst) < round % 9);
                assert_whole(&mut tasks);
                let tasks = OneBad { inner: count(&[4, 9]), bad: (round % 2, round % 4) };
                let unwound = catch_unwind(AssertUnwindSafe(|| pool.run(&tasks, true, NOTHING)));
                std::mem::forget(unwound.unwrap_err());
            }
            DONE.fetch_add(1, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        };
        std::mem::forget(std::thread::spawn(run));
    }
    while DONE.load(Ordering::SeqCst) < sizes.len() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
