//! The batch driver: one loop over the steps of a run.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tidemill_engine::nn::ScheduleSpec;

use crate::log::Log;
use crate::place::{Clock, Position};
use crate::spikes::{Verdict, Watch};
use crate::watch;
use tidemill_engine::Average;
use tidemill_engine::checkpoint::{Course, EpochFigures, Meta};
use tidemill_engine::engine::Engine;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::evaluate::Evaluation;
use tidemill_engine::memory::Budget;
use tidemill_engine::metrics::Figures;
use tidemill_engine::session::Session;
use tidemill_engine::{Callback, Flow, Step, Training};
use tidemill_recipe::Recipe;

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoppedBy {
    /// All epochs are done.
    Epochs,
    /// `stop.steps`
    Steps,
    /// `stop.wall_seconds`
    WallSeconds,
    /// `stop.target`
    Target,
    /// `stop.patience`
    Patience,
    /// [`RunOptions::pause_after`](crate::RunOptions::pause_after)
    Pause,
    /// `training.unfreeze`: other layers learn from here on.
    Unfreeze,
    /// Ctrl-C, or the library's flag.
    Interrupt,
}

impl StoppedBy {
    /// Its name in `summary.json`.
    pub fn name(self) -> &'static str {
        match self {
            StoppedBy::Epochs => "epochs",
            StoppedBy::Steps => "steps",
            StoppedBy::WallSeconds => "wall_seconds",
            StoppedBy::Target => "target",
            StoppedBy::Patience => "patience",
            StoppedBy::Pause => "pause",
            StoppedBy::Unfreeze => "unfreeze",
            StoppedBy::Interrupt => "interrupt",
        }
    }
}

/// What a run reports.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Something that a user should know.
    Notice(&'a str),
    /// Told a few times a second.
    Progress(Progress),
    /// An epoch is done.
    Epoch(&'a EpochFigures),
}

/// Where a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The epoch under way, from 1.
    pub epoch: u64,
    /// The last epoch.
    pub epochs: u64,
    /// Steps done in the epoch.
    pub step: u64,
    /// Steps of an epoch.
    pub steps: u64,
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// Accuracy of the epoch so far, where the task has one.
    pub accuracy: Option<f64>,
    /// Since the run, or its resumption, started.
    pub samples_per_second: f64,
    /// Until the last epoch at that rate.
    pub seconds_left: f64,
}

/// Measures the validation data, if there is any; where that is for the page, also what it draws.
pub(crate) type Validate<'a> = dyn FnMut(&mut Engine, bool) -> Result<Option<Evaluation>> + 'a;

/// Measures the weights that are predicted with.
pub(crate) fn measure(
    engine: &mut Engine,
    average: &mut Option<Average>,
    validate: &mut Validate<'_>,
    for_page: bool,
) -> Result<Option<Evaluation>> {
    if let Some(average) = average {
        average.swap(engine);
    }
    let found = validate(engine, for_page);
    if let Some(average) = average {
        average.swap(engine);
    }
    found
}

/// What a recipe says to be done around the steps: stops, schedules, validation, checkpoints, the log.
pub(crate) struct Driver<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) schedule: ScheduleSpec,
    /// How steps count.
    pub(crate) course: Course,
    pub(crate) at: Position,
    /// Fields of a checkpoint that do not change during the run.
    pub(crate) base: Meta,
    /// Where epochs and checkpoints go.
    pub(crate) session: &'a mut Session,
    /// What is written for other programs.
    pub(crate) log: Log,
    /// The step of the newest checkpoint: the same one is not written twice.
    pub(crate) saved: Option<u64>,
    /// The seconds trained then.
    pub(crate) saved_at: f64,
    pub(crate) validate: &'a mut Validate<'a>,
    /// The averaged weights, if the recipe wants some: they are what is measured.
    pub(crate) average: Option<Average>,
    /// Rolls the model back where the loss rises all at once.
    pub(crate) spikes: Option<Watch>,
    /// What the last validation found, and at which step.
    pub(crate) last_validation: Option<(u64, Evaluation)>,
    pub(crate) interrupt: &'a AtomicBool,
    /// The epoch after which it ends for now.
    pub(crate) pause: Option<u64>,
    pub(crate) watch: &'a mut dyn FnMut(Event<'_>),
    pub(crate) clock: Clock,
    /// The number of epochs after which further layers learn.
    pub(crate) unfreeze: Option<u64>,
    /// What the process may take.
    pub(crate) budget: Budget,
    /// The factor that plateaus so far put on the learning rate.
    pub(crate) factor: f64,
    /// Why the run ended; the data has no more epochs where nothing else stopped it.
    pub(crate) stopped_by: StoppedBy,
}

impl Callback for Driver<'_> {
    fn before_step(&mut self, training: &mut Training<'_>) -> Result<Flow> {
        if let Some(reason) = self.reason_to_stop() {
            self.stopped_by = reason;
            return Ok(Flow::Stop);
        }
        training.learning_rate = self.rate(self.at.step);
        Ok(Flow::Continue)
    }

    fn after_step(&mut self, training: &mut Training<'_>, step: &Step) -> Result<Flow> {
        self.at.advance(step);
        training.take_notices().iter().for_each(|notice| (self.watch)(Event::Notice(notice)));
        if self.rolled_back(training, step)? {
            return Ok(Flow::Continue);
        }
        if let Some(why) = &step.why_not_finite {
            return Err(self.not_finite(step.loss, why));
        }
        if let Some(average) = &mut self.average {
            average.add(training.engine, self.at.step);
        }
        let epoch = self.course.epoch(self.at.step - 1) + 1;
        let at = (self.at.total_steps(), epoch, self.at.samples);
        self.log.step(at, step, self.clock.total())?;
        if !step.last_in_epoch {
            if self.is_checkpoint_step() {
                self.checkpoint(training)?;
            }
            self.tell(training)?;
        }
        Ok(Flow::Continue)
    }

    fn after_epoch(&mut self, training: &mut Training<'_>, step: &Step) -> Result<Flow> {
        self.end_epoch(training, step.learning_rate)?;
        self.stay_within(training)?;
        self.factor = self.plateau_factor();
        self.tell(training)?;
        Ok(Flow::Continue)
    }

    fn on_error(&mut self, training: &mut Training<'_>, error: Error) -> Error {
        self.keep(training, error)
    }
}

impl Driver<'_> {
    /// Trains until something stops it, and hands a checkpoint of the last step to the writer.
    pub(crate) fn run(&mut self, training: &mut Training<'_>) -> Result<StoppedBy> {
        // A run that was resumed may have ended where its last epoch could not be measured.
        if self.course.step_of_epoch(self.at.step) == 0 && training.meter().samples() > 0 {
            let rate = self.rate(self.at.step.saturating_sub(1));
            self.end_epoch(training, rate)?;
        }
        self.factor = self.plateau_factor();
        training.run(&mut [self])?;
        self.checkpoint(training)?;
        Ok(self.stopped_by)
    }

    /// Takes back what was learned since some steps where the loss of this one is a spike.
    fn rolled_back(&mut self, training: &mut Training<'_>, step: &Step) -> Result<bool> {
        let Some(watch) = &mut self.spikes else { return Ok(false) };
        match watch.step(training.engine, self.at.step, step.loss)? {
            Verdict::Good => Ok(false),
            Verdict::RolledBack(what) => {
                (self.watch)(Event::Notice(&what));
                training.share_state()?;
                Ok(true)
            }
            Verdict::TooOften(what) => {
                self.session.writer.wait()?;
                Err(Error::Run(what))
            }
        }
    }

    /// Says where a resumed run continues, or why nothing is left to do.
    pub(crate) fn tell_resumed(&mut self) {
        let (step, epoch) = (self.at.total_steps(), self.course.epoch(self.at.step));
        let stop = &self.recipe.stop;
        let more = match self.reason_to_stop() {
            None | Some(StoppedBy::Interrupt | StoppedBy::Pause | StoppedBy::Unfreeze) => {
                let text = format!("continuing from step {step} (epoch {})", epoch + 1);
                return (self.watch)(Event::Notice(&text));
            }
            Some(StoppedBy::Epochs) => match stop.epochs {
                Some(n) if n < self.recipe.batch.epochs => {
                    format!("set stop.epochs to more than {n}")
                }
                _ => {
                    format!("set batch.epochs to more than {}", self.recipe.batch.epochs.max(epoch))
                }
            },
            Some(StoppedBy::Steps) => "set stop.steps to more, or leave it out".to_owned(),
            Some(StoppedBy::WallSeconds) => {
                "set stop.wall_seconds to more, or leave it out".to_owned()
            }
            Some(StoppedBy::Target) => {
                "the target is reached: set stop.target.value further away, or leave it out"
                    .to_owned()
            }
            Some(StoppedBy::Patience) => {
                "patience has run out: set stop.patience.epochs to more, or leave it out".to_owned()
            }
        };
        (self.watch)(Event::Notice(&format!(
            "nothing is left to do after step {step} (epoch {epoch}): {more} to continue"
        )));
    }

    /// The factor that plateaus so far put on the learning rate.
    fn plateau_factor(&self) -> f64 {
        let plateau = self.recipe.training.plateau.as_ref();
        plateau.map_or(1.0, |p| watch::plateau_factor(self.at.epochs(), p))
    }

    fn rate(&self, step: u64) -> f64 {
        let scheduled = self.schedule.at(step);
        let plateau = self.recipe.training.plateau.as_ref();
        plateau.map_or(scheduled, |p| watch::lowered(scheduled, self.factor, p))
    }

    /// What ends the run where it is.
    pub(crate) fn reason_to_stop(&self) -> Option<StoppedBy> {
        let stop = &self.recipe.stop;
        if self.at.step >= self.course.end(self.recipe.epochs()) {
            return Some(StoppedBy::Epochs);
        }
        if stop.steps.is_some_and(|n| self.at.step >= n) {
            return Some(StoppedBy::Steps);
        }
        if self.interrupt.load(Relaxed) {
            return Some(StoppedBy::Interrupt);
        }
        if stop.wall_seconds.is_some_and(|s| self.clock.total() >= s) {
            return Some(StoppedBy::WallSeconds);
        }
        // Only the end of an epoch brings new figures to judge by.
        if self.course.step_of_epoch(self.at.step) != 0 || self.at.step == 0 {
            return None;
        }
        if self.pause.is_some_and(|n| self.course.epoch(self.at.step) >= n) {
            return Some(StoppedBy::Pause);
        }
        if self.unfreeze.is_some_and(|n| self.course.epoch(self.at.step) >= n) {
            return Some(StoppedBy::Unfreeze);
        }
        let history = self.at.epochs();
        if stop.target.as_ref().is_some_and(|t| watch::reached(history, t)) {
            return Some(StoppedBy::Target);
        }
        let patience = stop.patience.as_ref();
        patience.is_some_and(|p| watch::out_of_patience(history, p)).then_some(StoppedBy::Patience)
    }

    fn end_epoch(&mut self, training: &mut Training<'_>, learning_rate: f64) -> Result<()> {
        let epoch = self.course.epoch(self.at.step);
        let last = epoch >= self.recipe.epochs();
        if let Some(average) = &mut self.average {
            average.end_epoch(training.engine);
        }
        let validation = match epoch.is_multiple_of(self.recipe.batch.validation_every) || last {
            true => match measure(training.engine, &mut self.average, self.validate, last) {
                Ok(found) => found,
                Err(e) => return Err(self.keep(training, e)),
            },
            false => None,
        };
        let figures = EpochFigures {
            epoch,
            step: self.at.total_steps(),
            online_steps: self.at.online_steps,
            samples: self.at.samples,
            learning_rate,
            wall_seconds: self.clock.total(),
            train: training.figures(),
            validation: validation.as_ref().map_or_else(Figures::new, |v| v.figures.clone()),
        };
        self.last_validation = validation.map(|v| (self.at.total_steps(), v));
        // The log is started on the writer's thread.
        self.session.writer.wait()?;
        self.session.folder.append_metrics(&figures)?;
        self.log.epoch(&figures, training.engine)?;
        self.at.history.push(figures);
        training.start_epoch();
        if let Some(epoch) = self.at.history.last() {
            (self.watch)(Event::Epoch(epoch));
        }
        // A last checkpoint is written when the loop ends.
        let due = epoch.is_multiple_of(self.recipe.checkpoint.every_epochs) && !last;
        if due || self.is_best() || self.is_checkpoint_step() {
            self.checkpoint(training)
        } else {
            Ok(())
        }
    }

    /// The steps of the best epochs, as many as are kept.
    fn best_steps(&self) -> Vec<u64> {
        let (metric, most) = (self.recipe.best_metric(), self.recipe.checkpoint.keep_best);
        metric.map_or_else(Vec::new, |m| watch::best_steps(self.at.epochs(), &m, most))
    }

    fn is_best(&self) -> bool {
        self.best_steps().contains(&self.at.total_steps())
    }

    /// Whether a checkpoint is due within an epoch.
    fn is_checkpoint_step(&self) -> bool {
        let spec = &self.recipe.checkpoint;
        spec.every_steps.is_some_and(|n| self.at.step.is_multiple_of(n))
            || spec.every_minutes.is_some_and(|m| self.clock.total() - self.saved_at >= 60.0 * m)
    }

    fn checkpoint(&mut self, training: &mut Training<'_>) -> Result<()> {
        if self.saved.replace(self.at.total_steps()) == Some(self.at.total_steps()) {
            return Ok(());
        }
        self.saved_at = self.clock.total();
        let (running, running_shards) = match training.meters().split_first() {
            Some((first, others)) => (first.clone(), others.to_vec()),
            None => (training.meter(), Vec::new()),
        };
        let best = self.recipe.best_metric().and_then(|m| watch::best(self.at.epochs(), &m));
        let meta = Meta {
            step: self.at.total_steps(),
            online_steps: self.at.online_steps,
            position: self.at.data,
            epoch: self.course.epoch(self.at.step),
            course: Some(self.course.clone()),
            samples: self.at.samples,
            wall_seconds: self.clock.total(),
            running,
            running_shards,
            history: self.at.history.clone(),
            best,
            log: self.log.state()?,
            spikes: self.spikes.as_ref().map(Watch::state),
            slot_age: Some(training.engine.slot_age()).filter(|&age| age != training.engine.step()),
            next_best: self.best_steps(),
            ..self.base.clone()
        };
        let mut tensors = training.state()?.into_tensors();
        if let Some(average) = &self.average {
            tensors.extend(average.tensors(training.engine));
        }
        tensors.extend(self.spikes.iter().flat_map(Watch::tensors));
        self.session.writer.write(meta, tensors)?;
        match training.engine.is_filed() {
            // The next step would change what is written.
            true => self.session.writer.wait(),
            false => Ok(()),
        }
    }

    /// Keeps what was learned before an error that has nothing to do with it.
    fn keep(&mut self, training: &mut Training<'_>, error: Error) -> Error {
        if self.at.total_steps() == 0 {
            return error;
        }
        let step = self.at.total_steps();
        match self.checkpoint(training).and_then(|()| self.session.writer.wait()) {
            Ok(()) => Error::Run(format!(
                "{error}\nnote: what was learned until then is kept in the checkpoint of step {step}; \
                 --resume continues from there"
            )),
            Err(_) => error,
        }
    }

    fn not_finite(&mut self, loss: f32, why: &str) -> Error {
        let kept = match self.session.writer.wait() {
            Ok(()) => "the last good checkpoint stays",
            Err(_) => "no checkpoint could be written either",
        };
        let (step, epoch) = (self.at.step, self.course.epoch(self.at.step - 1) + 1);
        Error::Run(format!(
            "the loss is {loss} at step {step} (epoch {epoch}), so the run stops; {kept}; {why}"
        ))
    }

    /// Ends a run that takes more memory than it was given, with a checkpoint.
    fn stay_within(&mut self, training: &mut Training<'_>) -> Result<()> {
        let Err(e) = self.budget.enforce() else { return Ok(()) };
        self.checkpoint(training)?;
        self.session.writer.wait()?;
        Err(e)
    }

    fn tell(&mut self, training: &mut Training<'_>) -> Result<()> {
        if !self.clock.is_time_to_report() {
            return Ok(());
        }
        self.stay_within(training)?;
        let epochs = self.recipe.epochs();
        let left = self.course.end(epochs).saturating_sub(self.at.step);
        let (seconds, meter) = (self.clock.here(), training.meter());
        let steps = self.at.step - self.clock.first_step;
        let samples = self.at.samples - self.clock.first_sample;
        (self.watch)(Event::Progress(Progress {
            epoch: (self.course.epoch(self.at.step) + 1).min(epochs),
            epochs,
            step: self.course.step_of_epoch(self.at.step),
            steps: self.course.steps_per_epoch,
            loss: meter.loss(),
            accuracy: meter.accuracy(),
            samples_per_second: samples as f64 / seconds,
            seconds_left: left as f64 * seconds / steps.max(1) as f64,
        }));
        Ok(())
    }
}
