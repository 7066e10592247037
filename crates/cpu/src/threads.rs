//! The thread pool that runs a step.
//!
//! The calling thread enters the pool once per step and works itself. Within a step every thread
//! walks the same list of tasks. A task's chunks are dealt to the threads in equal runs, the same at
//! every step, so that weights and optimizer state stay in the cache of the core that used them
//! last; but they are claimed one by one, and a thread that is through with its own run takes from
//! the others', so that one which the system has put aside delays nobody. Between tasks a
//! thread waits until all chunks of the task are done. Waiting threads spin briefly, then sleep:
//! unbounded spinning collapses on a busy machine. What a step leaves over of a waiting thread goes
//! to the work [`Beside`] it.
//!
//! A step borrows from the caller's stack, so the caller leaves it only when every worker has: an
//! `Open` step closes when it is dropped. A panic in a chunk or in the work beside the step, on
//! whatever thread, ends the step for all: each thread finishes the chunk or piece that it has begun,
//! no other is begun, and the caller panics with the payload of the first panic. The pool is as good
//! as new then; what the step was to write is not.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Turns of spinning before a worker sleeps between steps, about 50 us.
const SPINS_BETWEEN_STEPS: u32 = 2_000;
/// Turns of spinning within a step before a thread gives its core away, about 10 us: where other
/// programs have put two threads on one core, each waits for the other that long at each task.
const SPINS_WITHIN_STEP: u32 = 400;

/// The chunks of one task of a step.
pub trait Tasks: Sync {
    /// Number of tasks.
    fn len(&self) -> usize;
    /// Whether there is nothing to do.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Chunks of a task; at least 1.
    fn chunks(&self, task: usize) -> usize;
    /// Runs one chunk on the given thread of the pool.
    ///
    /// # Safety
    /// No chunk runs twice in a step, each runs after all chunks of the tasks before, and the thread
    /// number is the running thread's own.
    unsafe fn run(&self, task: usize, chunk: usize, thread: usize);
}

/// Work that is done beside a step by threads that would wait otherwise, in pieces that any thread
/// may do at any time during the step: filling the next batch. It does the next piece, and says
/// whether there was one. A piece should be shorter than a chunk, which may have to wait for it.
/// If a step ends in a panic, pieces may be left over.
pub type Beside<'a> = &'a (dyn Fn() -> bool + Sync);

/// No work beside a step.
pub const NOTHING: Beside<'static> = &|| false;

/// A cache line of its own (two, since the hardware fetches them in pairs), so that threads which
/// count do not take each other's line away.
#[repr(align(128))]
struct Apart<T>(T);

/// Progress of one task.
struct Progress {
    /// For each thread's run of chunks: the step's number in the upper half, chunks claimed of the
    /// run in the lower. Another number abandons the task without a look at anything else.
    claimed: Box<[Apart<AtomicU64>]>,
    /// Chunks done, of all runs.
    done: Apart<AtomicU32>,
}

impl Progress {
    fn new(threads: usize) -> Progress {
        let claimed = (0..threads).map(|_| Apart(AtomicU64::new(0))).collect();
        Progress { claimed, done: Apart(AtomicU32::new(0)) }
    }

    /// Leaves nothing to claim, and tells those who wait that they wait in vain.
    fn abandon(&self, epoch: u32) {
        for claimed in &self.claimed {
            // No thread works on a step of this number before the next step has set it again.
            claimed.0.store(u64::from(epoch.wrapping_add(1)) << 32, Ordering::Relaxed);
        }
    }

    /// Whether the step was abandoned.
    fn is_abandoned(&self, epoch: u32) -> bool {
        (self.claimed[0].0.load(Ordering::Relaxed) >> 32) as u32 != epoch
    }

    /// Claims a chunk of the run of `owner`, if one is left; `Err` if the step was abandoned.
    fn claim(&self, owner: usize, chunks: usize, epoch: u32) -> Result<Option<usize>, ()> {
        let runs = self.claimed.len();
        let (start, end) = (owner * chunks / runs, (owner + 1) * chunks / runs);
        let counter = &self.claimed[owner].0;
        loop {
            let claim = counter.load(Ordering::Relaxed);
            if (claim >> 32) as u32 != epoch {
                return Err(());
            }
            let next = start + claim as u32 as usize;
            if next >= end {
                return Ok(None);
            }
            let (old, new) = (claim, claim + 1);
            let (ok, failed) = (Ordering::Relaxed, Ordering::Relaxed);
            if counter.compare_exchange_weak(old, new, ok, failed).is_ok() {
                return Ok(Some(next));
            }
        }
    }
}

/// What a step is about.
struct Job<'a> {
    /// The step's number.
    epoch: u32,
    tasks: &'a dyn Tasks,
    beside: Beside<'a>,
    /// Of each task.
    progress: &'a [Progress],
}

struct Shared {
    /// Number of the newest step. Workers wait on it.
    epoch: AtomicU32,
    /// The open step's job, or null; valid while workers are inside (see `inside`).
    job: AtomicPtr<Job<'static>>,
    /// Workers that may still touch the job.
    inside: AtomicU32,
    sleeping: AtomicU32,
    /// Workers that have started.
    ready: AtomicU32,
    stop: AtomicBool,
    /// Whether the newest step has panicked.
    panicked: AtomicBool,
    /// What the first of its panics carries; never contended.
    payload: Mutex<Option<Payload>>,
}

/// What a panic carries.
type Payload = Box<dyn Any + Send>;

impl Shared {
    /// Remembers a panic of the open step, if it is the first.
    fn keep(&self, payload: Payload) {
        if self.panicked.swap(true, Ordering::Relaxed) {
            // The destructor of a payload may panic too, and nobody could catch that.
            std::mem::forget(payload);
        } else {
            *self.payload.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
        }
    }

    /// The first panic of a step that is closed, if there was one.
    fn take_panic(&self) -> Option<Payload> {
        if !self.panicked.load(Ordering::Relaxed) {
            return None;
        }
        self.panicked.store(false, Ordering::Relaxed);
        self.payload.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A step that workers may join. Dropping it closes the step: none joins any more, and those that
/// have joined are waited for, so that what the job borrows outlives its use however the caller's
/// frame is left.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared, job: &'a Job<'a>) -> Open<'a> {
        // The lifetime is lost here; `drop` sees to it that no worker has the job for longer.
        shared.job.store(std::ptr::from_ref(job).cast_mut().cast(), Ordering::Release);
        shared.epoch.store(job.epoch, Ordering::SeqCst);
        if shared.sleeping.load(Ordering::SeqCst) > 0 {
            atomic_wait::wake_all(&shared.epoch);
        }
        Open(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.job.store(std::ptr::null_mut(), Ordering::SeqCst);
        let mut spins = 0;
        while self.0.inside.load(Ordering::SeqCst) != 0 {
            pause(&mut spins);
        }
    }
}

/// A pool of threads; the caller is thread 0.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    progress: Vec<Progress>,
    epoch: u32,
}

impl Pool {
    /// A pool of `threads` threads, the caller included. Threads that cannot be started are done
    /// without: results never depend on their number.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            epoch: AtomicU32::new(1),
            job: AtomicPtr::new(std::ptr::null_mut()),
            inside: AtomicU32::new(0),
            sleeping: AtomicU32::new(0),
            ready: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            payload: Mutex::new(None),
        });
        let mut workers = Vec::new();
        for thread in 1..threads.max(1) {
            let shared = shared.clone();
            let spawned = std::thread::Builder::new()
                .name(format!("tidemill-{thread}"))
                .stack_size(1 << 20)
                .spawn(move || worker(&shared, thread));
            match spawned {
                Ok(handle) => workers.push(handle),
                Err(_) => break,
            }
        }
        // What a starting thread allocates must not fall into a step.
        while shared.ready.load(Ordering::SeqCst) < workers.len() as u32 {
            std::thread::yield_now();
        }
        Pool { shared, workers, progress: Vec::new(), epoch: 1 }
    }

    /// Threads of the pool, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Makes room for steps of so many tasks, so that running one allocates nothing.
    pub fn reserve(&mut self, tasks: usize) {
        if self.progress.len() < tasks {
            let threads = self.threads();
            self.progress.resize_with(tasks, || Progress::new(threads));
        }
    }

    /// Runs all tasks in order, and all of the work beside them. With `parallel` false, or without
    /// workers, the caller does all of it alone, which is quicker for steps of a few microseconds.
    ///
    /// # Panics
    /// With the payload of the first panic in a chunk or in the work beside, once no thread uses
    /// either any more. Chunks and pieces that had not begun are left out then.
    pub fn run(&mut self, tasks: &dyn Tasks, parallel: bool, beside: Beside<'_>) {
        if self.workers.is_empty() || !parallel {
            run_alone(tasks);
            while beside() {}
            return;
        }
        self.reserve(tasks.len());
        self.epoch = self.epoch.wrapping_add(1);
        let progress = &self.progress[..tasks.len()];
        for Progress { claimed, done } in progress {
            done.0.store(0, Ordering::Relaxed);
            for claimed in claimed {
                claimed.0.store(u64::from(self.epoch) << 32, Ordering::Relaxed);
            }
        }
        let job = Job { epoch: self.epoch, tasks, beside, progress };
        let open = Open::new(&self.shared, &job);
        work(&self.shared, &job, 0);
        drop(open);
        if let Some(payload) = self.shared.take_panic() {
            resume_unwind(payload);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        atomic_wait::wake_all(&self.shared.epoch);
        for worker in self.workers.drain(..) {
            // workers catch what panics in a step, and do nothing else
            let _ = worker.join();
        }
    }
}

/// Runs all tasks on the calling thread.
pub(crate) fn run_alone(tasks: &dyn Tasks) {
    for task in 0..tasks.len() {
        for chunk in 0..tasks.chunks(task) {
            // SAFETY: in order, each once, on the caller's thread 0.
            unsafe { tasks.run(task, chunk, 0) };
        }
    }
}

fn pause(spins: &mut u32) {
    *spins += 1;
    if *spins < SPINS_WITHIN_STEP {
        std::hint::spin_loop();
    } else {
        *spins = 0;
        std::thread::yield_now();
    }
}

fn worker(shared: &Shared, thread: usize) {
    shared.ready.fetch_add(1, Ordering::SeqCst);
    let mut seen = 1;
    loop {
        let mut spins = 0;
        let epoch = loop {
            let epoch = shared.epoch.load(Ordering::SeqCst);
            // A job can be seen before its number is: one that was worked on is not entered again.
            if epoch.wrapping_sub(seen) as i32 > 0 {
                break epoch;
            }
            spins += 1;
            if spins < SPINS_BETWEEN_STEPS {
                std::hint::spin_loop();
            } else if epoch != seen {
                std::thread::yield_now();
            } else {
                shared.sleeping.fetch_add(1, Ordering::SeqCst);
                atomic_wait::wait(&shared.epoch, seen);
                shared.sleeping.fetch_sub(1, Ordering::SeqCst);
            }
        };
        seen = epoch;
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        // Announce before reading the job: once the caller has cleared the job and sees nobody
        // inside, nobody can read the old one any more.
        shared.inside.fetch_add(1, Ordering::SeqCst);
        let job = shared.job.load(Ordering::SeqCst);
        if !job.is_null() {
            // SAFETY: a published job is valid until its caller has cleared it and then seen `inside`
            // at 0 (`Open`), and this thread stays inside until it is through with the job.
            let job = unsafe { &*job };
            // A newer step may have been opened since its number was read.
            seen = job.epoch;
            work(shared, job, thread);
        }
        shared.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Takes part in a step. A panic ends here: it is kept for the caller, and ends the step for all.
fn work(shared: &Shared, job: &Job<'_>, thread: usize) {
    // Nothing that a panic could leave half-done is used after the step: counters are set at the start
    // of the next one, and what the step writes is the caller's, who is told.
    let done = catch_unwind(AssertUnwindSafe(|| work_through(shared, job, thread)));
    if let Err(payload) = done {
        shared.keep(payload);
        job.progress.iter().for_each(|progress| progress.abandon(job.epoch));
    }
}

/// Works through a step: claims chunks of each task, then waits until all its chunks are done.
/// Does work beside the step whenever it would wait, and what is left of it at the end.
fn work_through(shared: &Shared, job: &Job<'_>, thread: usize) {
    let &Job { epoch, tasks, beside, progress } = job;
    let mut more = true;
    for (task, progress) in progress.iter().enumerate() {
        let chunks = tasks.chunks(task);
        let runs = progress.claimed.len();
        let mut mine = 0;
        for turn in 0..runs {
            let owner = (thread + turn) % runs;
            loop {
                match progress.claim(owner, chunks, epoch) {
                    Err(()) => return,
                    Ok(None) => break,
                    Ok(Some(chunk)) => {
                        // SAFETY: the claim makes this chunk this thread's; tasks before are done,
                        // for a chunk that panicked is never counted as done.
                        unsafe { tasks.run(task, chunk, thread) };
                        mine += 1;
                    }
                }
            }
        }
        if mine > 0 {
            progress.done.0.fetch_add(mine, Ordering::Release);
        }
        let mut spins = 0;
        while progress.done.0.load(Ordering::Acquire) < chunks as u32 {
            if progress.is_abandoned(epoch) {
                return;
            }
            more = more && beside();
            if !more {
                pause(&mut spins);
            }
        }
    }
    while more && !shared.panicked.load(Ordering::Relaxed) {
        more = beside();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "threads/tests.rs"] // also where another crate has this file, see .ci/tsan
pub(crate) mod tests;
