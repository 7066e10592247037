//! What is found on the first events alone: learning rates, epochs, and the weights that all modes
//! start from.

use serde::Serialize;

use super::Options;
use super::events::{Events, Limits, View};
use super::fit::{Untrained, choose, fit};
use super::modes::{Mode, Setting};
use super::score::Judge;
use tidemill_engine::checkpoint::files::make_folder;
use tidemill_engine::engine::{Engine, EngineSpec, State};
use tidemill_engine::error::{Error, Result};
use tidemill_recipe::RecipeFile;
use tidemill_recipe::engine_spec;

/// Factors on the recipe's learning rate that are tried on a stream.
const FACTORS: [f64; 4] = [1.0, 10.0, 0.1, 0.01];
/// Events of a step where the recipe says none.
const STEP: usize = 32;

/// What was chosen on the first events.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tuned {
    /// Of batch training: the learning rate at its start.
    pub batch_rate: f64,
    /// Passes over the window.
    pub batch_epochs: u64,
    /// The learning rate of single events.
    pub online_rate: f64,
    /// That of steps of several events.
    pub step_rate: f64,
}

/// A recipe's model and the events that it is measured on.
pub struct Study<'a> {
    file: &'a RecipeFile,
    events: &'a Events,
    options: &'a Options,
    spec: EngineSpec,
    /// Events that only train.
    pub(crate) first: usize,
    pub(crate) judge: Judge,
}

impl<'a> Study<'a> {
    /// Reads the events that a study is made on.
    ///
    /// # Errors
    /// If the recipe does not fit the stream.
    pub fn read(
        file: &RecipeFile,
        options: &Options,
        watch: &mut dyn FnMut(&str),
    ) -> Result<Events> {
        file.only_network()?;
        if file.sets().is_some() {
            return Err(Error::Usage(
                "labels of any number of classes are not compared: train in batches and learn from the stream, \
                 and compare the validation figures with those of the stream"
                    .into(),
            ));
        }
        if options.from == "data:" && file.recipe.batch.data.is_none() {
            return Err(file.error_at("batch.data", "is missing: name the events with --from"));
        }
        make_folder(&options.out)?;
        watch(&format!("reading {}", options.from));
        let limits = Limits { events: options.events, bytes: options.bytes };
        Events::read(file, &options.from, limits, &options.out)
    }

    /// Of a recipe and its events.
    ///
    /// # Errors
    /// If there are too few events.
    pub fn new(
        file: &'a RecipeFile,
        events: &'a Events,
        options: &'a Options,
    ) -> Result<Study<'a>> {
        let (spec, len, delay) = (engine_spec(file, options.threads), events.len(), options.delay);
        let first = options.first.unwrap_or(len / 3);
        if first < delay + 50 || len < first + 100 {
            return Err(Error::Usage(format!(
                "{}: {len} labelled events, of which the first {first} train and labels come {delay} \
                 late, are too few: at least {} must train and 100 be scored; give more, or another \
                 --first",
                options.from,
                delay + 50
            )));
        }
        let judge = Judge::new(file.recipe.task(), spec.loss.link());
        Ok(Study { file, events, options, spec, first, judge })
    }

    /// The events.
    pub(crate) fn events(&self) -> &'a Events {
        self.events
    }

    /// The events in random order.
    pub(crate) fn shuffled(&self) -> View<'a> {
        View::shuffled(self.events, self.spec.seed ^ 0x5EED)
    }

    /// Events that are scored.
    pub(crate) fn scored(&self) -> usize {
        self.events.len() - self.first
    }

    /// The modes that are compared.
    pub(crate) fn modes(&self) -> [Mode; 5] {
        let every = self.options.every.unwrap_or_else(|| round(self.scored() / 8));
        let step = self.step();
        [
            Mode::Frozen,
            Mode::Retrained { every, window: None },
            Mode::Retrained { every, window: Some(self.first) },
            Mode::Online { step, every: step },
            Mode::Online { step: 1, every: 1 },
        ]
    }

    /// Events of a step of several.
    pub(crate) fn step(&self) -> usize {
        let most = self.file.recipe.online.most();
        if most > 1 { most } else { STEP }
    }

    /// Chooses rates on the first events, in the order of `view`, and trains on them.
    ///
    /// # Errors
    /// If no training has a finite loss.
    pub(crate) fn setting(&self, view: View<'a>) -> Result<Setting<'a>> {
        let mut engine = Engine::compile(self.spec.clone())?;
        let untrained = Untrained::of(&engine);
        let known = self.first - self.options.delay;
        let mut how = choose(&mut engine, &untrained, &view, known, self.options.tune)?;
        let mut setting = Setting {
            spec: self.spec.clone(),
            view,
            first: self.first,
            trained: known,
            delay: self.options.delay,
            judge: self.judge,
            guard: self.file.recipe.online.guard.clone(),
            fit: how,
            rates: [self.own_rate(); 2],
            start: (State::default(), 0),
        };
        if self.options.tune {
            // As later: trained on what came first, then on line with what follows.
            let half = known / 2;
            fit(&mut engine, &untrained, &setting.view, 0..half, how)?;
            setting.start = (engine.state(), engine.step());
            for (rate, step) in [(0, 1), (1, self.step().min(known / 8))] {
                setting.rates[rate] = self.best_rate(&setting, half..known, step)?;
            }
        }
        how.epochs = how.epochs.max(1);
        fit(&mut engine, &untrained, &setting.view, 0..known, how)?;
        setting.start = (engine.state(), engine.step());
        Ok(setting)
    }

    /// The recipe's learning rate on a stream.
    fn own_rate(&self) -> f64 {
        let schedule = self.spec.optimizer.schedule();
        self.file.recipe.online.learning_rate.unwrap_or_else(|| schedule.at(0))
    }

    fn best_rate(
        &self,
        setting: &Setting<'_>,
        places: std::ops::Range<usize>,
        step: usize,
    ) -> Result<f64> {
        let mut best = (f64::INFINITY, self.own_rate());
        for factor in FACTORS {
            let rate = factor * self.own_rate();
            let loss = setting.online_loss(places.clone(), step, rate)?;
            if loss < best.0 {
                best = (loss, rate);
            }
        }
        Ok(best.1)
    }
}

impl Setting<'_> {
    pub(crate) fn tuned(&self) -> Tuned {
        Tuned {
            batch_rate: self.fit.factor * self.spec.optimizer.schedule().at(0),
            batch_epochs: self.fit.epochs,
            online_rate: self.rates[0],
            step_rate: self.rates[1],
        }
    }
}

/// The nearest of 1, 2, 5, 10, 20, ... below, so that tables read well.
pub(crate) fn round(n: usize) -> usize {
    let steps = (0..18).flat_map(|e| [1, 2, 5].map(|m| m * 10usize.pow(e)));
    steps.take_while(|&s| s <= n).last().unwrap_or(1)
}
