//! What a run writes down while it trains, for programs: lines of steps, a table of epochs, events for TensorBoard.
//!
//! A checkpoint has the lengths of the files and what the next line of steps has gathered so far, so that a run that
//! is resumed writes what it would have written: lines after the checkpoint are cut off and written again.

mod appended;
mod csv;
mod events;

use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use tidemill_engine::Step;
use tidemill_engine::checkpoint::{EpochFigures, LogState};
use tidemill_engine::data::Dataset;
use tidemill_engine::engine::Engine;
use tidemill_engine::error::{Error, Result};
use tidemill_recipe::LogSpec;

use crate::report::mistakes::png;
use appended::Appended;
use events::Events;

/// The file of steps in a run's folder.
pub(crate) const STEPS: &str = "steps.jsonl";

/// A line of `steps.jsonl`.
#[derive(Debug, Serialize)]
struct Line {
    /// Steps done.
    step: u64,
    /// The epoch that they are in, from 1.
    epoch: u64,
    /// Samples learned from.
    samples: u64,
    /// The mean loss of the steps since the line before.
    loss: f64,
    /// Of the last of them.
    learning_rate: f64,
    /// Seconds trained.
    wall_seconds: f64,
}

/// The files of one run.
pub(crate) struct Log {
    spec: LogSpec,
    steps: Option<Appended>,
    table: Option<csv::Table>,
    events: Option<Events>,
    /// Of the steps since the last line.
    losses: (f64, u64),
    flushed: Instant,
}

impl Log {
    /// Opens the files of a run, as they were at the checkpoint that it continues from.
    pub(crate) fn open(
        run: &Path,
        spec: &LogSpec,
        recipe: &str,
        state: &LogState,
        history: &[EpochFigures],
    ) -> Result<Log> {
        let steps = match spec.every_steps {
            Some(_) => Some(Appended::open(run, STEPS, state)?),
            None => None,
        };
        let table = match spec.csv {
            true => Some(csv::Table::open(run, history)?),
            false => None,
        };
        let events = match spec.tensorboard {
            true => Some(Events::open(run, recipe, state, history)?),
            false => None,
        };
        let losses = (state.loss_sum, state.losses);
        Ok(Log { spec: spec.clone(), steps, table, events, losses, flushed: Instant::now() })
    }

    /// Takes in a step; `step`, `epoch` (from 1) and `samples` are those after it.
    pub(crate) fn step(&mut self, at: (u64, u64, u64), made: &Step, seconds: f64) -> Result<()> {
        let Some(every) = self.spec.every_steps else { return Ok(()) };
        self.losses = (self.losses.0 + f64::from(made.loss), self.losses.1 + 1);
        let (step, epoch, samples) = at;
        if !step.is_multiple_of(every) {
            return Ok(());
        }
        let loss = self.losses.0 / self.losses.1 as f64;
        self.losses = (0.0, 0);
        let learning_rate = made.learning_rate;
        if let Some(steps) = &mut self.steps {
            let line = Line { step, epoch, samples, loss, learning_rate, wall_seconds: seconds };
            let text = serde_json::to_string(&line)
                .map_err(|e| Error::Run(format!("a line of {STEPS} cannot be written: {e}")))?;
            steps.write(format!("{text}\n").as_bytes())?;
        }
        if let Some(events) = &mut self.events {
            events.step(step, &[("batch_loss", loss), ("batch_learning_rate", learning_rate)])?;
        }
        // So that those who watch the run see it.
        if self.flushed.elapsed().as_secs() >= 1 {
            self.flush()?;
        }
        Ok(())
    }

    /// Takes in an epoch that is over.
    pub(crate) fn epoch(&mut self, figures: &EpochFigures, engine: &Engine) -> Result<()> {
        if let Some(table) = &mut self.table {
            table.epoch(figures)?;
        }
        if let Some(events) = &mut self.events {
            events.epoch(figures)?;
            if self.spec.histograms.is_some_and(|n| figures.epoch.is_multiple_of(n)) {
                for (place, name) in engine.parameters() {
                    events.histogram(figures.epoch, name, &engine.values(place)?)?;
                }
            }
        }
        self.flush()
    }

    /// Shows the first images of the data in TensorBoard; gives their number.
    pub(crate) fn images(&mut self, data: &dyn Dataset, most: usize) -> Result<usize> {
        let Some(events) = &mut self.events else { return Ok(0) };
        let mut shown = 0;
        for index in 0..data.len().min(most) {
            let image = data.raw_image(index).ok().flatten();
            if let Some(png) = image.and_then(|image| png(&image)) {
                events.image(&format!("data/{index}"), &png)?;
                shown += 1;
            }
        }
        Ok(shown)
    }

    fn flush(&mut self) -> Result<()> {
        self.flushed = Instant::now();
        self.steps.as_mut().map_or(Ok(()), Appended::flush)?;
        self.events.as_mut().map_or(Ok(()), Events::flush)
    }

    /// What a checkpoint needs to continue the files.
    pub(crate) fn state(&mut self) -> Result<LogState> {
        self.flush()?;
        let mut state =
            LogState { loss_sum: self.losses.0, losses: self.losses.1, ..LogState::default() };
        let steps = self.steps.iter();
        let events = self.events.iter().flat_map(Events::files);
        for file in steps.chain(events) {
            state.lengths.insert(file.name().to_owned(), file.len());
        }
        Ok(state)
    }
}
