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

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
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
    /// Each chunk runs once per step, after all chunks of the tasks before; the thread number is
    /// the running thread's own.
    unsafe fn run(&self, task: usize, chunk: usize, thread: usize);
}

/// Work that is done beside a step by threads that would wait otherwise, in pieces that any thread
/// may do at any time during the step: filling the next batch. It does the next piece, and says
/// whether there was one. A piece should be shorter than a chunk, which may have to wait for it.
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
    /// run in the lower, so that a thread which is late by a step never claims one of a newer step.
    claimed: Box<[Apart<AtomicU64>]>,
    /// Chunks done, of all runs.
    done: Apart<AtomicU32>,
}

impl Progress {
    fn new(threads: usize) -> Progress {
        let claimed = (0..threads).map(|_| Apart(AtomicU64::new(0))).collect();
        Progress { claimed, done: Apart(AtomicU32::new(0)) }
    }

    /// Claims a chunk of the run of `owner`, if one is left; `Err` if the step is over.
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

struct Job {
    tasks: *const dyn Tasks,
    beside: *const (dyn Fn() -> bool + Sync),
    progress: *const Progress,
}

struct Shared {
    /// Number of the step that is open, twice; odd while none is. Workers wait on it.
    epoch: AtomicU32,
    /// The open step's job; valid while workers are inside (see `inside`).
    job: AtomicPtr<Job>,
    /// Workers that may still touch the job.
    inside: AtomicU32,
    sleeping: AtomicU32,
    /// Workers that have started.
    ready: AtomicU32,
    stop: AtomicBool,
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
    pub fn run(&mut self, tasks: &dyn Tasks, parallel: bool, beside: Beside<'_>) {
        if self.workers.is_empty() || !parallel {
            for task in 0..tasks.len() {
                for chunk in 0..tasks.chunks(task) {
                    // SAFETY: in order, each once, on the caller's thread 0.
                    unsafe { tasks.run(task, chunk, 0) };
                }
            }
            while beside() {}
            return;
        }
        self.reserve(tasks.len());
        self.epoch = self.epoch.wrapping_add(1);
        for progress in &self.progress[..tasks.len()] {
            progress.done.0.store(0, Ordering::Relaxed);
            for claimed in &progress.claimed {
                claimed.0.store(u64::from(self.epoch) << 32, Ordering::Relaxed);
            }
        }
        let tasks_ptr: *const dyn Tasks =
            // SAFETY: only the lifetime is lost; the job is cleared and every worker has left it
            // before this function returns.
            unsafe { std::mem::transmute::<*const (dyn Tasks + '_), *const dyn Tasks>(tasks) };
        let beside: *const (dyn Fn() -> bool + Sync) =
            // SAFETY: as above.
            unsafe { std::mem::transmute::<Beside<'_>, Beside<'static>>(beside) };
        let mut job = Job { tasks: tasks_ptr, beside, progress: self.progress.as_ptr() };
        self.shared.job.store(&mut job, Ordering::Release);
        self.shared.epoch.store(self.epoch, Ordering::SeqCst);
        if self.shared.sleeping.load(Ordering::SeqCst) > 0 {
            atomic_wait::wake_all(&self.shared.epoch);
        }
        work(&job, self.epoch, 0);
        // Close the step, then wait for workers that are on their way out of it, or at a last piece
        // of the work beside it.
        self.shared.job.store(std::ptr::null_mut(), Ordering::SeqCst);
        let mut spins = 0;
        while self.shared.inside.load(Ordering::SeqCst) != 0 {
            pause(&mut spins);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        atomic_wait::wake_all(&self.shared.epoch);
        for worker in self.workers.drain(..) {
            // a worker that panicked has already printed why
            let _ = worker.join();
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
            if epoch != seen {
                break epoch;
            }
            spins += 1;
            if spins < SPINS_BETWEEN_STEPS {
                std::hint::spin_loop();
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
            // SAFETY: the caller keeps the job alive while `inside` is not 0 and it is published.
            let job = unsafe { &*job };
            // A newer step may have been opened meanwhile: take its number from the shared state.
            seen = shared.epoch.load(Ordering::SeqCst);
            work(job, seen, thread);
        }
        shared.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Works through a step: claims chunks of each task, then waits until all its chunks are done.
/// Does work beside the step whenever it would wait, and what is left of it at the end.
fn work(job: &Job, epoch: u32, thread: usize) {
    // SAFETY: the job's pointers live as long as the step (see `Pool::run`).
    let (tasks, beside) = unsafe { (&*job.tasks, &*job.beside) };
    let mut more = true;
    for task in 0..tasks.len() {
        // SAFETY: `reserve` made at least as many entries as there are tasks.
        let progress = unsafe { &*job.progress.add(task) };
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
                        // SAFETY: the claim makes this chunk this thread's; tasks before are done.
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
            let open = (progress.claimed[0].0.load(Ordering::Relaxed) >> 32) as u32 == epoch;
            if thread != 0 && !open {
                return;
            }
            more = more && beside();
            if !more {
                pause(&mut spins);
            }
        }
    }
    while more {
        more = beside();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    struct Count {
        chunks: Vec<usize>,
        hits: Vec<Vec<AtomicUsize>>,
        finished: AtomicUsize,
    }

    impl Tasks for Count {
        fn len(&self) -> usize {
            self.chunks.len()
        }
        fn chunks(&self, task: usize) -> usize {
            self.chunks[task]
        }
        unsafe fn run(&self, task: usize, chunk: usize, _thread: usize) {
            let before: usize = self.chunks[..task].iter().sum();
            assert!(self.finished.load(Ordering::SeqCst) >= before, "a task began too early");
            self.hits[task][chunk].fetch_add(1, Ordering::SeqCst);
            self.finished.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn count(chunks: &[usize]) -> Count {
        Count {
            chunks: chunks.to_vec(),
            hits: chunks.iter().map(|&n| (0..n).map(|_| AtomicUsize::new(0)).collect()).collect(),
            finished: AtomicUsize::new(0),
        }
    }

    #[test]
    fn every_chunk_runs_once_in_order() {
        let steps = if cfg!(miri) { 5 } else { 3_000 };
        for threads in [1, 2, 3, 5] {
            let mut pool = Pool::new(threads);
            for step in 0..steps {
                let tasks = count(&[1, 7, 2, 1, 16, 3]);
                pool.run(&tasks, true, NOTHING);
                assert!(tasks.hits.iter().flatten().all(|h| h.load(Ordering::SeqCst) == 1));
                if step % 500 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(2)); // workers fall asleep
                }
            }
        }
    }

    #[test]
    fn serial_steps_wake_nobody() {
        let mut pool = Pool::new(2);
        let tasks = count(&[3, 1]);
        pool.run(&tasks, false, NOTHING);
        assert!(tasks.hits.iter().flatten().all(|h| h.load(Ordering::SeqCst) == 1));
    }

    #[test]
    fn work_beside_a_step_is_done_with_it() {
        for (threads, parallel) in [(1, true), (2, true), (2, false), (5, true)] {
            let mut pool = Pool::new(threads);
            for step in 0..if cfg!(miri) { 3 } else { 1_000 } {
                let tasks = count(&[2, 1, 5]);
                let (given, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
                let pieces = step % 7;
                pool.run(&tasks, parallel, &|| {
                    let mine = given.fetch_add(1, Ordering::SeqCst) < pieces;
                    done.fetch_add(usize::from(mine), Ordering::SeqCst);
                    mine
                });
                assert_eq!(done.load(Ordering::SeqCst), pieces);
                assert!(tasks.hits.iter().flatten().all(|h| h.load(Ordering::SeqCst) == 1));
            }
        }
    }

    #[test]
    fn an_empty_step_is_fine() {
        Pool::new(3).run(&count(&[]), true, NOTHING);
    }
}
