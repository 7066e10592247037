//! The model that learns from corrections: fast weights, slow ones beside them, and which of both make texts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidemill_engine::beam::Beam;
use tidemill_engine::checkpoint::Checkpoint;
use tidemill_engine::data::audio::Standard;
use tidemill_engine::data::tokens::Tokenizer;
use tidemill_engine::engine::{Engine, EngineSpec, StateTensor};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::fields::{Batch, Truth};
use tidemill_engine::memory::Budget;
use tidemill_engine::metrics::Task;
use tidemill_engine::transcript::Search;
use tidemill_engine::translate::{Hypothesis, Texts};
use tidemill_engine::{Average, Averaging, Decoding};
use tidemill_recipe::online::CorrectionsSpec;
use tidemill_recipe::online::corrections::{Scope, Serve};
use tidemill_recipe::{RecipeFile, engine_spec};

use super::kept::{self, Kept};
use super::pair::{Made, Pair, Read, Room, Shape, pad};
use super::quarantine::Losses;
use super::source::Source;
use super::state::Learned;
use super::stored::{Stored, Usual};
use crate::continual::random::{Purpose, below};
use crate::drift::wealth::Wealth;

/// The learning rate of corrections where the recipe says none.
const RATE: f64 = 3e-4;
/// The same of sounds: a voice is off in all words, where a customer's word is one of many (`bench/speakers.py` on two speakers of fsdd;
/// 3e-4 leaves more errors, 2e-3 takes no more away).
const RATE_OF_SOUNDS: f64 = 1e-3;
/// The L2 norm to which gradients are clipped where the recipe says nothing of it: one odd correction moves little.
const CLIP: f64 = 1.0;
/// The largest difference of two losses that the test counts, in nats a token.
const MOST_DIFFERENCE: f64 = 1.0;
/// Pairs of the training data whose losses are the first ones to be surprised by.
const FIRST_LOSSES: usize = 64;
/// How often a pair is drawn again that is too long or that corrections contradict; then its place stays empty.
const DRAWS: usize = 16;
/// Between the numbers of draws of earlier corrections and of stored pairs.
const PART: usize = 1 << 20;
/// What the names of the weights start with that do not make texts, and of those that do where they are averages; `predict` takes the
/// latter.
const GROUPS: [&str; 2] = ["slow/", "average/"];

/// Which weights make texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Served {
    /// The running mean.
    #[default]
    Slow,
    /// Those that learn.
    Fast,
}

/// The mean loss of a correction's tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct PairLoss {
    pub fast: f64,
    pub slow: f64,
}

/// The model, with all that decides how it learns.
pub(super) struct Learner {
    engine: Engine,
    tokenizer: Arc<Tokenizer>,
    shape: Shape,
    spec: CorrectionsSpec,
    beam: Beam,
    decoding: Decoding,
    rate: f64,
    slow: Average,
    stored: Option<Stored>,
    kept: Kept,
    /// What is a function of the corrections so far, beside weights.
    pub state: Learned,
    step: Batch,
    one: Batch,
    /// Tensors of the checkpoint that this model does not have: slots of weights that do not learn here.
    rest: Vec<StateTensor>,
}

impl Learner {
    /// The model of a recipe with its tokenizer, with the weights of a checkpoint; `before` is what it had learned from corrections.
    ///
    /// # Errors
    /// If the model makes no texts, or the training data cannot be read.
    pub fn open(
        file: &RecipeFile,
        (threads, memory): (Option<usize>, Option<u64>),
        checkpoint: &Checkpoint,
        before: Option<&Learned>,
    ) -> Result<Learner> {
        let spec = file.recipe.online.corrections.clone();
        let Some(tokenizer) = file.tokenizer().cloned() else { return Err(no_texts()) };
        let stored = Stored::open(file, &checkpoint.meta.known)?;
        let mut wanted = engine_spec(file, threads);
        // Steps have plans of their own, by the lengths of their texts.
        wanted.batch_size = 1;
        wanted.optimizer = wanted.optimizer.or_clipped(CLIP).with_f32_slots();
        // The slow weights, and a copy of all that is being written.
        let budget = Budget { limit: memory, copies: 2, ..Budget::default() };
        let compile = |spec: EngineSpec| Engine::compile_within(spec, 0.0, budget.clone());
        let mut engine = compile(wanted.clone())?;
        let frozen = out_of_scope(&engine, spec.scope);
        if !frozen.is_empty() {
            wanted.model.frozen.extend(frozen);
            engine = compile(wanted)?;
        }
        let rest = load(&mut engine, checkpoint)?;
        let how = Averaging::Ema(spec.average);
        let slow = match before {
            Some(_) => Average::restore(&engine, how, &as_average(checkpoint))?,
            // The weights that the training was measured with are where both start.
            None => {
                if Average::is_in(checkpoint) {
                    Average::restore(&engine, how, checkpoint)?.swap(&mut engine);
                }
                Average::new(&engine, how)
            }
        };
        let shape = shape_of(file, &engine, &tokenizer, checkpoint)?;
        let mut kept = Kept::new(spec.capacity, shape.width());
        if let Some(tensor) = checkpoint.tensors.iter().find(|t| t.name == kept::TENSOR) {
            kept.restore(tensor).map_err(|e| checkpoint.unusable(e))?;
        }
        let rate = if shape.standard().is_some() { RATE_OF_SOUNDS } else { RATE };
        let signature = engine.signature().clone();
        let beam = Beam { width: spec.beam, ..Beam::default() };
        let mut learner = Learner {
            shape,
            tokenizer,
            beam,
            decoding: Decoding::default(),
            rate: file.recipe.online.learning_rate.unwrap_or(rate),
            slow,
            stored,
            kept,
            state: before.cloned().unwrap_or_default(),
            step: Batch::new(signature.clone()),
            one: Batch::new(signature),
            rest,
            engine,
            spec,
        };
        match learner.serve() {
            Serve::Slow => learner.state.served = Served::Slow,
            Serve::Fast => learner.state.served = Served::Fast,
            Serve::Better => {}
        }
        if before.is_none() {
            learner.get_used_to()?;
        }
        Ok(learner)
    }

    /// Learns what is usual from the training data.
    fn get_used_to(&mut self) -> Result<()> {
        let Some(stored) = &self.stored else { return Ok(()) };
        self.state.usual = Some(stored.usual.clone());
        // Voices that were learned say nothing of how others are understood.
        if matches!(self.shape, Shape::Sounds { .. }) {
            return Ok(());
        }
        let (pairs, len) = (stored.pairs.clone(), stored.pairs.len());
        for i in 0..FIRST_LOSSES {
            let index = below(self.seed(), Purpose::Sample, u64::MAX, i as u32, len as u64);
            let pair = pairs.read(index as usize)?;
            self.one.truncate(0);
            self.one.push_row(&pair, 0);
            pad(&mut self.one);
            let loss = self.engine.evaluate(&self.one)?.losses.first().copied().unwrap_or(f32::NAN);
            self.state.losses.add(f64::from(loss));
        }
        Ok(())
    }

    /// Which weights make texts, or whether a test decides it.
    fn serve(&self) -> Serve {
        let is_sound = self.shape.standard().is_some();
        self.spec.serve.unwrap_or(if is_sound { Serve::Slow } else { Serve::Better })
    }

    fn seed(&self) -> u64 {
        self.engine.spec().seed
    }

    /// Works with the weights that make texts.
    fn with_served<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        match self.state.served {
            Served::Fast => work(self),
            Served::Slow => self.with_slow(work),
        }
    }

    fn with_slow<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        self.slow.swap(&mut self.engine);
        let done = work(self);
        self.slow.swap(&mut self.engine);
        done
    }

    /// What the model makes of a text or a sound, and whether the end of that was left out.
    pub fn write(&mut self, source: &Source) -> Result<(Hypothesis, bool)> {
        let text = match source {
            Source::Text(text) => text.as_str(),
            Source::Sound(_) => return Ok((self.write_down(source)?, false)),
        };
        let found = self.with_served(|learner| {
            let Learner { engine, tokenizer, decoding, beam, .. } = learner;
            engine.translate(decoding, tokenizer, &[text], "", beam)
        })?;
        let found = found.into_iter().next().unwrap_or_default();
        Ok((found.hypotheses.into_iter().next().unwrap_or_default(), found.is_cut))
    }

    /// What a sound says, by the same search as of sounds that come.
    fn write_down(&mut self, source: &Source) -> Result<Hypothesis> {
        let Read::Frames { values, width } = self.shape.frames(source) else {
            return Ok(Hypothesis::default());
        };
        let positions = values.len() / width;
        let pair = Pair { source: Read::Frames { values, width }, target: Vec::new() };
        self.fill_one(&pair)?;
        let (labels, beam) = (self.engine.num_outputs(), self.spec.beam);
        self.with_served(|learner| {
            let mut search = Search::new(Task::of(&learner.engine.spec().loss), beam);
            let outputs = learner.engine.predict(&learner.one)?;
            for row in outputs.chunks_exact(labels).take(positions) {
                let log: Vec<f32> = row.iter().map(|p| p.ln()).collect();
                search.add(&log);
            }
            let ids: Vec<i32> = search.best().0.iter().map(|label| label - 1).collect();
            Ok(Hypothesis { text: learner.tokenizer.decode(&ids), score: search.score() })
        })
    }

    /// Features as the model reads them.
    pub fn standard(&self) -> Option<&Standard> {
        self.shape.standard()
    }

    /// A source and its correction as the model reads them.
    pub fn pair(&mut self, source: &Source, correction: &str) -> Made {
        self.shape.pair(&self.tokenizer, source, correction)
    }

    fn fill_one(&mut self, pair: &Pair) -> Result<()> {
        self.one.truncate(0);
        self.one.resize(1);
        self.shape.fill(&mut self.one, 0, pair, 1.0)?;
        pad(&mut self.one);
        Ok(())
    }

    /// The loss of a correction, before anything is learned from it.
    pub fn losses(&mut self, pair: &Pair) -> Result<PairLoss> {
        self.fill_one(pair)?;
        let loss = |learner: &mut Learner| -> Result<f64> {
            let losses = learner.engine.evaluate(&learner.one)?.losses;
            Ok(f64::from(losses.first().copied().unwrap_or(f32::NAN)))
        };
        Ok(PairLoss { fast: loss(self)?, slow: self.with_slow(loss)? })
    }

    /// The loss of the weights that make texts.
    pub fn served_loss(&self, losses: PairLoss) -> f64 {
        match self.state.served {
            Served::Slow => losses.slow,
            Served::Fast => losses.fast,
        }
    }

    /// The losses of corrections so far.
    pub fn known_losses(&self) -> &Losses {
        &self.state.losses
    }

    /// What is usual in the training data, where that is known.
    pub fn usual(&self) -> Option<&Usual> {
        self.state.usual.as_ref()
    }

    /// Learns from the correction of a hypothesis, whose losses are these; says which weights make texts from here on, if others
    /// do.
    pub fn learn(
        &mut self,
        hypothesis: &str,
        pair: Pair,
        losses: PairLoss,
    ) -> Result<Option<Served>> {
        // What was misheard is not replaced: it is the right word for other sounds.
        if matches!(pair.source, Read::Tokens(_)) {
            let mut written = Vec::new();
            self.tokenizer.encode(hypothesis, &mut written);
            self.state.rejected.add(&written, &pair.target);
        }
        let learned = self.state.learned;
        let seed = self.seed();
        let draw = |part: usize, i: usize, again: usize, len: usize| {
            let index = (part * PART + i * DRAWS + again) as u32;
            below(seed, Purpose::Sample, learned, index, len as u64) as usize
        };
        self.step.truncate(0);
        self.step.resize(1 + self.spec.recent + self.spec.stored);
        self.shape.fill(&mut self.step, 0, &pair, self.spec.weight as f32)?;
        let (rejected, room) = (&self.state.rejected, Room::of(&pair));
        for i in 0..self.spec.recent.min(self.kept.len()) {
            let mut drawn = (0..DRAWS).map(|again| draw(0, i, again, self.kept.len()));
            let earlier = drawn.find_map(|at| {
                self.kept.get(at).filter(|earlier| {
                    room.fits(earlier.lengths()) && !rejected.is_in(&earlier.target)
                })
            });
            if let Some(earlier) = earlier {
                self.shape.fill(&mut self.step, 1 + i, earlier, 1.0)?;
            }
        }
        if let Some(stored) = &self.stored {
            for i in 0..self.spec.stored {
                for again in 0..DRAWS {
                    let earlier = stored.pairs.read(draw(1, i, again, stored.pairs.len()))?;
                    let Truth::Classes(target) = earlier.truth(0) else { continue };
                    let length = |field: usize| earlier.columns[field].lengths[0] as usize;
                    if room.fits([length(0), length(1)]) && !rejected.is_in(target) {
                        self.step.copy_row(1 + self.spec.recent + i, &earlier, 0);
                        break;
                    }
                }
            }
        }
        pad(&mut self.step);
        let warm = (learned + 1) as f64 / self.spec.warmup.max(1) as f64;
        let rate = self.rate * warm.min(1.0);
        let step = self.engine.train(&self.step, rate as f32)?;
        if !step.loss.is_finite() {
            return Err(Error::Run(
                "the loss is not finite any more; what was learned before is in the run's last checkpoint. \
                 Continue with a smaller online.learning_rate"
                    .into(),
            ));
        }
        self.slow.add(&self.engine, u64::MAX);
        self.kept.push(pair);
        self.state.learned += 1;
        self.state.losses.add(self.served_loss(losses));
        Ok(self.compare(losses))
    }

    /// Looks whether the weights that do not make texts are better.
    fn compare(&mut self, losses: PairLoss) -> Option<Served> {
        if self.serve() != Serve::Better {
            return None;
        }
        let state = &mut self.state;
        let (advantage, other) = match state.served {
            Served::Slow => (losses.slow - losses.fast, Served::Fast),
            Served::Fast => (losses.fast - losses.slow, Served::Slow),
        };
        state.wealth.add(advantage.clamp(-MOST_DIFFERENCE, MOST_DIFFERENCE) / MOST_DIFFERENCE);
        if !state.wealth.is_better(self.spec.alpha, state.changes + 1) {
            return None;
        }
        state.wealth = Wealth::default();
        state.changes += 1;
        state.served = other;
        Some(other)
    }

    /// The engine, for what describes it.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The tensors of a checkpoint beside the engine's own.
    pub fn tensors(&self) -> Vec<StateTensor> {
        let group = GROUPS[usize::from(self.state.served == Served::Slow)];
        let slow = self.slow.tensors(&self.engine).map(|tensor| StateTensor {
            name: tensor.name.replacen(GROUPS[1], group, 1),
            ..tensor
        });
        slow.chain(self.rest.iter().cloned()).chain([self.kept.tensor()]).collect()
    }
}

fn no_texts() -> Error {
    Error::Usage("the model makes no texts of other texts or of sounds".into())
}

/// How what the model reads becomes rows.
fn shape_of(
    file: &RecipeFile,
    engine: &Engine,
    tokenizer: &Tokenizer,
    checkpoint: &Checkpoint,
) -> Result<Shape> {
    if file.reads_transcripts() {
        let moments = checkpoint.meta.known.frames.clone();
        let context = file.audio_context(false);
        let standard = Standard::new(&context, moments);
        let standard = Box::new(standard.map_err(|e| checkpoint.misfit(&e))?);
        let (positions, parts_equal) = (context.positions, context.parts_equal);
        return Ok(Shape::Sounds { standard, positions, parts_equal });
    }
    Texts::of(engine, tokenizer).map(Shape::Texts).ok_or_else(no_texts)
}

/// Puts a checkpoint into an engine, and gives the model's tensors that it does not have.
fn load(engine: &mut Engine, checkpoint: &Checkpoint) -> Result<Vec<StateTensor>> {
    let own = tidemill_engine::checkpoint::own_tensors(&checkpoint.tensors);
    let (own, rest): (Vec<_>, Vec<_>) =
        own.into_iter().partition(|t| engine.find_tensor(&t.name).is_some());
    engine.set_state(&own).map_err(|e| checkpoint.misfit(&e.to_string()))?;
    engine.set_step(checkpoint.meta.step);
    Ok(rest)
}

/// A checkpoint whose slow weights are averages, whatever group they are in.
fn as_average(checkpoint: &Checkpoint) -> Checkpoint {
    let mut checkpoint = checkpoint.clone();
    for tensor in &mut checkpoint.tensors {
        if let Some(name) = tensor.name.strip_prefix(GROUPS[0]) {
            tensor.name = format!("{}{name}", GROUPS[1]);
        }
    }
    checkpoint
}

/// The parameters that do not learn.
fn out_of_scope(engine: &Engine, scope: Scope) -> Vec<String> {
    let names: Vec<&str> = engine.parameters().map(|(_, name)| name).collect();
    let is_in = |name: &str, ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    let learns: Box<dyn Fn(&str) -> bool> = match scope {
        Scope::All => return Vec::new(),
        Scope::Biases => Box::new(|name| is_in(name, &["bias", "beta"])),
        Scope::Head => {
            let last = engine.spec().model.layers.len().saturating_sub(1);
            let last = format!("layers.{last}.");
            // Where the last layer has the table of tokens for its weights, that is the head.
            match names.iter().any(|name| name.starts_with(&last)) {
                true => Box::new(move |name| name.starts_with(&last)),
                false => Box::new(|name| is_in(name, &["embedding.table"])),
            }
        }
    };
    names.into_iter().filter(|name| !learns(name)).map(str::to_owned).collect()
}
