//! Writes checkpoints beside the training, since syncing files takes longer than many steps.

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;

use super::{Checkpoints, Meta, state_sha256};
use crate::engine::StateTensor;
use crate::error::{Error, Result};

/// A thread that writes one checkpoint at a time; a second waits for the first, so that at most
/// two copies of the state exist.
#[derive(Debug)]
pub struct Writer {
    jobs: Option<SyncSender<(Meta, Vec<StateTensor>)>>,
    done: Receiver<Result<PathBuf>>,
    pending: usize,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub fn new(checkpoints: Checkpoints) -> Result<Writer> {
        // A rendezvous: `write` returns when the thread has taken the job.
        let (jobs, inbox) = mpsc::sync_channel::<(Meta, Vec<StateTensor>)>(0);
        let (outbox, done) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("checkpoints".into())
            .spawn(move || {
                for (mut meta, tensors) in inbox {
                    meta.state_sha256 = state_sha256(&tensors);
                    if outbox.send(checkpoints.write(&meta, &tensors)).is_err() {
                        return;
                    }
                }
            })
            .map_err(|e| Error::Run(format!("the checkpoint thread cannot be started: {e}")))?;
        Ok(Writer { jobs: Some(jobs), done, pending: 0, thread: Some(thread) })
    }

    /// Hands over a checkpoint (its fingerprint is filled in by the thread). An error of an earlier
    /// one comes back here.
    pub fn write(&mut self, meta: Meta, tensors: Vec<StateTensor>) -> Result<()> {
        self.wait()?;
        self.pending += 1;
        match &self.jobs {
            Some(jobs) if jobs.send((meta, tensors)).is_ok() => Ok(()),
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
