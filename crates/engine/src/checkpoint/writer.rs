//! Writes files beside the training, since syncing them takes longer than many steps.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::{Attachment, Checkpoints, Meta, state_sha256};
use crate::engine::{State, StateTensor};
use crate::error::{Error, Result};

type Job = Box<dyn FnOnce() -> Result<()> + Send>;

/// A checkpoint of a state and of what belongs to it.
pub struct Parts {
    /// The model's state.
    pub state: State,
    /// Groups of tensors that the model's owner shares with the checkpoint, such as the state to roll
    /// back to.
    pub shared: Vec<Arc<State>>,
    /// Further tensors.
    pub tensors: Vec<StateTensor>,
    /// Files that must be on disk before the checkpoint is, since it refers to them.
    pub files: Vec<Needed>,
    /// Makes the attachment, on the thread that writes.
    pub attach: Box<dyn FnOnce() -> Result<Attachment> + Send>,
}

/// A file that a checkpoint refers to.
#[derive(Clone, Debug)]
pub struct Needed {
    /// Where it is.
    pub path: PathBuf,
    /// Shared, so that a checkpoint opens no file for it.
    pub file: Arc<File>,
}

impl Needed {
    /// Waits until the files are on disk, and the folders that they are in: a new one would else be
    /// nowhere after a power cut.
    fn sync(all: &[Needed]) -> Result<()> {
        let mut folders: Vec<&Path> = Vec::new();
        for Needed { path, file } in all {
            file.sync_all().map_err(|e| Error::write(path, e))?;
            let folder = path.parent().unwrap_or(Path::new("."));
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders.into_iter().try_for_each(super::files::sync_folder)
    }
}

/// A thread that writes one thing at a time; a second waits for the first, so that at most two
/// copies of the state exist and files come to be in the order in which they were handed over.
#[derive(Debug)]
pub struct Writer {
    checkpoints: Checkpoints,
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Result<()>>,
    pending: usize,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub fn new(checkpoints: Checkpoints) -> Result<Writer> {
        // A rendezvous: `run` returns when the thread has taken the job.
        let (jobs, inbox) = mpsc::sync_channel::<Job>(0);
        let (outbox, done) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("checkpoints".into())
            .spawn(move || {
                for job in inbox {
                    if outbox.send(job()).is_err() {
                        return;
                    }
                }
            })
            .map_err(|e| Error::Run(format!("the checkpoint thread cannot be started: {e}")))?;
        Ok(Writer { checkpoints, jobs: Some(jobs), done, pending: 0, thread: Some(thread) })
    }

    /// Hands over a checkpoint (its fingerprint is filled in by the thread); a run that this one
    /// replaces is removed then. Returns the error of an earlier job.
    pub fn write(&mut self, mut meta: Meta, tensors: Vec<StateTensor>) -> Result<()> {
        let checkpoints = self.checkpoints.clone();
        self.run(move || {
            meta.state_sha256 = state_sha256(&tensors)?;
            checkpoints.write(&meta, &tensors)?;
            checkpoints.settle()
        })
    }

    /// The same of a state with what belongs to it; the state's memory goes to `back` when it is
    /// done.
    pub fn write_parts(
        &mut self,
        mut meta: Meta,
        parts: Parts,
        back: Arc<Mutex<Option<State>>>,
    ) -> Result<()> {
        let checkpoints = self.checkpoints.clone();
        self.run(move || {
            let Parts { state, shared, tensors, files, attach } = parts;
            // What the checkpoint refers to is on disk before it is.
            Needed::sync(&files)?;
            meta.stream = Some(attach()?);
            let shared = shared.iter().flat_map(|state| state.tensors());
            let all: Vec<&StateTensor> =
                state.tensors().iter().chain(shared).chain(&tensors).collect();
            meta.state_sha256 = state_sha256(&all)?;
            let written = checkpoints.write(&meta, &all).map(|_| ());
            if let Ok(mut back) = back.lock() {
                *back = Some(state);
            }
            written
        })
    }

    /// Whether handing over more would wait. Returns the error of an earlier job.
    pub fn is_busy(&mut self) -> Result<bool> {
        while self.pending > 0 {
            match self.done.try_recv() {
                Err(TryRecvError::Empty) => return Ok(true),
                Ok(result) => {
                    self.pending -= 1;
                    result?;
                }
                Err(TryRecvError::Disconnected) => return self.wait().map(|()| false),
            }
        }
        Ok(false)
    }

    /// Hands over anything that writes. Returns the error of an earlier job.
    pub fn run(&mut self, job: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
        self.wait()?;
        self.pending += 1;
        match &self.jobs {
            Some(jobs) if jobs.send(Box::new(job)).is_ok() => Ok(()),
            _ => Err(Error::Run("the checkpoint thread has ended; please report it".into())),
        }
    }

    /// Waits until all that was handed over is on disk.
    pub fn wait(&mut self) -> Result<()> {
        while self.pending > 0 {
            self.pending -= 1;
            match self.done.recv() {
                Ok(result) => result?,
                Err(_) => {
                    return Err(Error::Run(
                        "the checkpoint thread has ended; please report it".into(),
                    ));
                }
            };
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Closing the inbox ends the thread once it has written what it holds.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
