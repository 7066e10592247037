//! State that is in a file: two threads read and write the windows of a plan while its kernels run.
//!
//! One thread reads and one writes, each in the order in which transfers begin. Whoever runs the plan begins them and
//! waits for them where the plan says so ([`Transfer`]). When a transfer has failed the state is not that of any step,
//! and nothing is read from the file any more.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tidemill_graph::Graph;
use tidemill_plan::windows::{BLOCK, Filed, Transfer};
use tidemill_plan::{InputError, Place, Plan, Slot, state_slots};

use super::{Runtime, checked};
use crate::buffer::AlignedBuffer;
use crate::isa::Isa;
use crate::step::Step;
use crate::threads::Beside;

/// Values that are written at once from outside of a step.
const PART: usize = 1 << 18;

/// A file for a state, which has room for it.
#[derive(Debug)]
pub struct StateFile {
    /// The file, opened so that nothing of it is kept in memory where the system can do that.
    pub file: File,
    /// Where it is, for messages.
    pub path: PathBuf,
    /// The tensors in it.
    pub names: Vec<String>,
    /// [`Filed::ahead`]
    pub ahead: usize,
    /// Set when its contents are not those of any step.
    pub broken: Arc<AtomicBool>,
}

impl StateFile {
    /// What plans are made for.
    pub fn filed(&self) -> Filed<'_> {
        Filed { names: &self.names, ahead: self.ahead }
    }

    /// Where each tensor of a state begins in its file, if it is there, and the bytes of the file.
    pub fn layout(slots: &[Slot], filed: Filed<'_>) -> (Vec<Option<u64>>, u64) {
        let mut end = 0;
        let place = |slot: &Slot| {
            filed.has(slot).then(|| {
                end += padded(slot.len()) as u64;
                end - padded(slot.len()) as u64
            })
        };
        (slots.iter().map(place).collect(), end)
    }
}

/// Whether state may be in a file: not where each kernel is looked after (`TIDEMILL_ARENA=checked`).
pub fn can_file() -> bool {
    cfg!(unix) && !checked::asked()
}

impl Runtime {
    /// The same with some of the state in a file, where it is as the file has it.
    ///
    /// # Errors
    /// If its threads cannot be started.
    pub fn filed(
        isa: Isa,
        threads: usize,
        graph: &Graph,
        file: StateFile,
    ) -> std::io::Result<Runtime> {
        let mut runtime = Runtime::of(isa, threads, state_slots(graph), file.filed());
        runtime.storage = Some(Storage::new(file, &runtime.slots)?);
        Ok(runtime)
    }

    /// What of the state is in a file.
    pub fn in_file(&self) -> Filed<'_> {
        self.storage.as_ref().map_or(Filed::default(), |storage| storage.file.filed())
    }

    /// Where a state tensor begins in the file, by its place in [`Runtime::slots`]; none for those in memory.
    pub fn place_in_file(&self, index: usize) -> Option<u64> {
        self.storage.as_ref()?.offsets[index]
    }

    /// The file that has some of the state.
    pub fn file(&self) -> Option<&StateFile> {
        self.storage.as_ref().map(|storage| &storage.file)
    }

    /// Sets the values of a state tensor, in memory or in the file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn store(&mut self, index: usize, values: &[f32]) -> std::io::Result<()> {
        match (&self.storage, self.place_in_file(index)) {
            (Some(storage), Some(_)) => storage.store(index, values),
            _ => {
                self.state_mut(index).copy_from_slice(values);
                Ok(())
            }
        }
    }

    /// That kernels of a plan find their state where it is: kernels trust their arguments.
    pub(super) fn check_windows(&self, plan: &Plan, states: &[usize]) {
        let lost = |&b: &usize| match plan.buffers[b].place {
            Place::State(i) => self.place_in_file(states[i]).is_some(),
            _ => false,
        };
        let filed = |state: usize| self.place_in_file(states[state]).is_some();
        let fits = plan.windows.iter().all(|window| filed(window.state))
            && !plan.calls.iter().any(|call| call.args.iter().any(lost));
        assert!(fits, "the plan looks for state in another place; please report it");
    }
}

/// Bytes that so many values take in the file and in a window.
fn padded(len: usize) -> usize {
    (len * 4).next_multiple_of(BLOCK)
}

/// The file of a runtime's state, and the threads that read and write it.
pub(super) struct Storage {
    pub file: StateFile,
    /// The part of the file of each tensor of the state.
    pub offsets: Vec<Option<u64>>,
    shared: Arc<File>,
    reader: Lane,
    writer: Lane,
}

impl Storage {
    /// # Errors
    /// If a thread cannot be started.
    pub fn new(file: StateFile, slots: &[Slot]) -> io::Result<Storage> {
        let (offsets, _) = StateFile::layout(slots, file.filed());
        let shared = Arc::new(file.file.try_clone()?);
        let (reader, writer) =
            (Lane::new(shared.clone(), false)?, Lane::new(shared.clone(), true)?);
        Ok(Storage { file, offsets, shared, reader, writer })
    }

    /// Writes the values of a tensor, between steps.
    pub fn store(&self, slot: usize, values: &[f32]) -> io::Result<()> {
        let Some(mut at) = self.offsets[slot] else { return Ok(()) };
        let mut part = AlignedBuffer::new(PART);
        for values in values.chunks(PART) {
            part.as_mut_slice()[..values.len()].copy_from_slice(values);
            let bytes = padded(values.len());
            // SAFETY: the buffer is ours, aligned to huge pages, and has room for so many bytes.
            unsafe { transfer(&self.shared, &job(part.as_mut_ptr(), bytes, at), true)? };
            at += bytes as u64;
        }
        Ok(())
    }

    /// Runs tasks of a step by `run`, with the transfers of its windows between them. `arena` is that of the step, and
    /// `states` has the runtime's slot of each tensor of its plan.
    ///
    /// # Errors
    /// If the file cannot be read or written: the step has not been finished then.
    pub fn run(
        &self,
        step: &Step,
        (arena, states): (&AlignedBuffer, &[usize]),
        tasks: Range<usize>,
        beside: Beside<'_>,
        mut run: impl FnMut(Range<usize>),
    ) -> Result<(), InputError> {
        let plan = &step.plan;
        assert!(arena.len() * 4 >= plan.arena_bytes, "the arena has room for the plan");
        let job_of = |window: usize| {
            let window = &plan.windows[window];
            let buffer = &plan.buffers[window.buffer];
            let Place::Arena(offset) = buffer.place else {
                unreachable!("windows are in the arena")
            };
            // SAFETY: the arena has room for the plan, whose offset this is.
            let start = unsafe { arena.as_mut_ptr().add(offset / 4) };
            let at = self.offsets[states[window.state]].unwrap_or_default();
            job(start, padded(buffer.len), at)
        };
        // Also when a kernel panics: the arena may not go away before the transfers are done.
        let idle = Idle(self);
        if self.file.broken.load(Relaxed) {
            let path = self.file.path.display().to_string();
            return Err(InputError::of_file(path, 0, "what an unfinished step has left"));
        }
        let (mut reads, mut writes) = (vec![0; plan.windows.len()], vec![0; plan.windows.len()]);
        let mut from = tasks.start;
        for &(at, transfer) in &step.transfers {
            if at > from {
                run(from..at.min(tasks.end));
                from = at;
            }
            // SAFETY: a window belongs to nobody else from the beginning of its transfer until the plan waits for it, and
            // `idle` waits for all that have begun.
            let done = unsafe {
                match transfer {
                    Transfer::Read(window) => self.reader.begin(job_of(window), &mut reads[window]),
                    Transfer::Write(window) => {
                        self.writer.begin(job_of(window), &mut writes[window])
                    }
                    Transfer::Ready(window) => self.reader.wait(reads[window], beside),
                    Transfer::Written(window) => self.writer.wait(writes[window], beside),
                }
            };
            if let Err(what) = done {
                self.file.broken.store(true, Relaxed);
                let path = self.file.path.display().to_string();
                return Err(InputError::of_file(path, job_of(window_of(transfer)).bytes, what));
            }
        }
        if from < tasks.end {
            run(from..tasks.end);
        }
        drop(idle);
        while beside() {}
        Ok(())
    }
}

fn window_of(transfer: Transfer) -> usize {
    let (Transfer::Read(window)
    | Transfer::Ready(window)
    | Transfer::Write(window)
    | Transfer::Written(window)) = transfer;
    window
}

/// Waits for all transfers; a kernel that panics has left half of a step.
struct Idle<'a>(&'a Storage);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.file.broken.store(true, Relaxed);
        }
        self.0.reader.idle();
        self.0.writer.idle();
    }
}

/// A part of memory that is read or written.
struct Job {
    start: *mut u8,
    bytes: usize,
    at: u64,
}

// SAFETY: who begins a job leaves its memory alone until it is done.
unsafe impl Send for Job {}

fn job(start: *mut f32, bytes: usize, at: u64) -> Job {
    Job { start: start.cast(), bytes, at }
}

/// Reads or writes memory.
///
/// # Safety
/// The memory of the job is valid, and nobody else uses it meanwhile.
unsafe fn transfer(file: &File, job: &Job, writes: bool) -> io::Result<()> {
    // SAFETY: the caller's.
    let memory = unsafe { std::slice::from_raw_parts_mut(job.start, job.bytes) };
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileExt;
        match writes {
            true => file.write_all_at(memory, job.at),
            false => file.read_exact_at(memory, job.at),
        }
    }
    #[cfg(not(unix))]
    {
        let _ = (file, memory, writes);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A thread that does one job after the other.
struct Lane {
    jobs: Option<Sender<Job>>,
    state: Arc<(Mutex<Done>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Done {
    begun: u64,
    done: u64,
    error: Option<String>,
}

impl Lane {
    fn new(file: Arc<File>, writes: bool) -> io::Result<Lane> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let state = Arc::new((Mutex::new(Done::default()), Condvar::new()));
        let shared = state.clone();
        let name = if writes { "state writer" } else { "state reader" };
        let work = move || {
            for job in inbox {
                // SAFETY: as `begin` demands.
                let result = unsafe { transfer(&file, &job, writes) };
                let mut state = lock(&shared.0);
                state.done += 1;
                if let Err(e) = result {
                    state.error.get_or_insert(e.to_string());
                }
                shared.1.notify_all();
            }
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(work)?;
        Ok(Lane { jobs: Some(jobs), state, thread: Some(thread) })
    }

    /// Begins a job; `ticket` is for [`Lane::wait`].
    ///
    /// # Safety
    /// The memory is valid, and nobody else uses it, until the job was waited for.
    unsafe fn begin(&self, job: Job, ticket: &mut u64) -> Result<(), String> {
        let mut state = lock(&self.state.0);
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            return Err("its thread has ended; please report it".into());
        }
        state.begun += 1;
        *ticket = state.begun;
        Ok(())
    }

    /// Waits for a job, and does other work meanwhile.
    fn wait(&self, ticket: u64, beside: Beside<'_>) -> Result<(), String> {
        while lock(&self.state.0).done < ticket && beside() {}
        let mut state = lock(&self.state.0);
        while state.done < ticket {
            state = self.state.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.error.clone().map_or(Ok(()), Err)
    }

    /// Waits for all jobs.
    fn idle(&self) {
        let mut state = lock(&self.state.0);
        while state.done < state.begun {
            state = self.state.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<Done>) -> MutexGuard<'_, Done> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
