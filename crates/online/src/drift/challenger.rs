//! A second model that learns in the shadow of the first.

use serde::{Deserialize, Serialize};
use tidemill_engine::data::Batch;

use super::wealth::Wealth;
use tidemill_engine::engine::{Engine, EngineSpec, State, StateTensor};
use tidemill_engine::error::Result;
use tidemill_recipe::online::drift::{ChallengerSpec, From};

/// What a challenger is beside its tensors; part of the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChallengerState {
    /// Which one of the stream, from 1.
    pub number: u64,
    /// Steps it has learned.
    pub step: u64,
    /// The evidence for it.
    pub wealth: Wealth,
}

/// What came of a challenger's step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It continues.
    Learning,
    /// It is better.
    Better,
    /// It has had its events.
    Late,
    /// Its loss is not finite.
    NotFinite,
}

/// A model of the champion's kind that learns from the same events.
pub(super) struct Challenger {
    pub engine: Engine,
    spec: ChallengerSpec,
    number: u64,
    wealth: Wealth,
}

impl Challenger {
    /// The `number`-th of a stream.
    pub fn start(spec: ChallengerSpec, champion: &Engine, number: u64) -> Result<Challenger> {
        let mut engine = compile(champion, number)?;
        if spec.from == From::Champion {
            engine.set_state(champion.state().tensors())?;
            engine.reset_slots();
        }
        Ok(Challenger { engine, spec, number, wealth: Wealth::default() })
    }

    /// Goes on with one of a checkpoint.
    pub fn resume(
        spec: ChallengerSpec,
        champion: &Engine,
        state: ChallengerState,
        tensors: &[StateTensor],
    ) -> Result<Challenger> {
        let ChallengerState { number, step, wealth } = state;
        let mut engine = compile(champion, number)?;
        engine.set_state(tensors)?;
        engine.set_step(step);
        Ok(Challenger { engine, spec, number, wealth })
    }

    pub fn state(&self) -> ChallengerState {
        ChallengerState { number: self.number, step: self.engine.step(), wealth: self.wealth }
    }

    /// Is scored beside the champion, whose losses are given, then learns.
    pub fn step(&mut self, batch: &Batch, rate: f64, champion: &[f32]) -> Result<Standing> {
        let (wealth, clip) = (&mut self.wealth, self.spec.clip);
        let mut finite = true;
        self.engine.train_if(batch, (rate * self.spec.rate) as f32, &mut |outputs| {
            let losses = || champion.iter().zip(outputs.losses).zip(&batch.weights);
            let counted = || losses().filter(|(_, weight)| **weight > 0.0).map(|(both, _)| both);
            finite = counted().all(|(a, b)| (a - b).is_finite());
            if finite {
                counted().for_each(|(a, b)| wealth.add(f64::from(a - b) / clip));
            }
            finite
        })?;
        Ok(match () {
            () if !finite => Standing::NotFinite,
            () if self.wealth.is_better(self.spec.alpha, self.number) => Standing::Better,
            () if self.wealth.events() >= self.spec.events => Standing::Late,
            () => Standing::Learning,
        })
    }
}

fn compile(champion: &Engine, number: u64) -> Result<Engine> {
    let spec = champion.spec();
    let seed = spec.seed.wrapping_add(number);
    Ok(Engine::compile_shifted(EngineSpec { seed, ..spec.clone() }, champion.shift())?)
}

/// A challenger's tensors lie beside the champion's under these names.
const MARK: &str = "challenger/";

/// Appends a challenger's tensors to a state that is to be written.
pub(super) fn append(state: &mut State, challenger: &Engine) {
    let mut tensors = std::mem::take(state).into_tensors();
    let mark = |t: StateTensor| StateTensor { name: format!("{MARK}{}", t.name), ..t };
    let own: Vec<StateTensor> = challenger.state().into_tensors().into_iter().map(mark).collect();
    // No checkpoint is written of what is not finite; such a challenger is dropped at its next
    // event, or when the run is resumed.
    if own.iter().all(|t| t.values.is_finite().unwrap_or(false)) {
        tensors.extend(own);
    }
    *state = State::from_tensors(tensors);
}

/// Takes a challenger's tensors out of those of a checkpoint.
pub(crate) fn take_challenger(tensors: &mut Vec<StateTensor>) -> Vec<StateTensor> {
    let (own, rest) =
        std::mem::take(tensors).into_iter().partition(|t: &StateTensor| t.name.starts_with(MARK));
    *tensors = rest;
    let unmark = |t: StateTensor| StateTensor {
        name: t.name.strip_prefix(MARK).unwrap_or(&t.name).to_owned(),
        ..t
    };
    let own: Vec<StateTensor> = own;
    own.into_iter().map(unmark).collect()
}
