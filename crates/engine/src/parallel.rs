//! Data-parallel training: workers that compute the shards of each batch together.
//!
//! Each worker has the whole model, computes some of the shards, and adds them as far as it can
//! ([`Tree`]). Then they make the whole sum of what they have (`exchange`): each sends and receives
//! `2 (p - 1) / p` of the values, as a ring does, and every bit is the same for any number `p` of workers.
//! Then each makes the same update.
//!
//! Worker 0 leads ([`crate::training`]), the others follow ([`Follower`]). When one of them is lost, worker 0
//! divides the shards among the remaining workers, sends them its state, and repeats the step: a new
//! generation begins. Since sums do not depend on which worker computes which shard, the run ends with the same
//! bits as without the loss. Without worker 0 the run ends, with its last checkpoint.
//!
//! Where each keeps a part of the optimizer's slots (`slots`, [`EngineSpec::part`](crate::EngineSpec)), each sums the gradients of
//! the parameters that it updates, and they exchange new weights in place of the sum; without any of them the run ends.

mod exchange;
mod slots;

use std::ops::Range;

use tidemill_data::{Loader, Shards};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::group::{Group, Kind, Message, end_all, ended, report_lost};
use crate::metrics::Meter;
use crate::tree::{Tree, spans};

/// Makes a loader of some shards of each batch from a position on.
pub type Remake<'a> = &'a dyn Fn(Shards, u64) -> Result<Loader>;

/// The nodes of the tree that a range of shards adds up to, each as many bytes as the model's sums.
pub fn nodes(shards: Range<usize>) -> usize {
    spans(shards).len()
}

/// This worker among those of a group.
pub struct Workers {
    group: Box<dyn Group>,
    shards: usize,
    /// The workers that are there, by their numbers.
    members: Vec<usize>,
    /// How often they changed.
    generation: u64,
    /// Adds up this worker's part.
    part: Tree,
    /// Whether [`Kind::End`] has been sent.
    is_over: bool,
    /// Whether a worker was lost, with the slots that it keeps.
    is_broken: bool,
}

impl Workers {
    /// Of a run whose batches are cut into `shards`.
    ///
    /// # Errors
    /// If there are more workers than shards.
    pub fn new(group: Box<dyn Group>, shards: usize) -> Result<Workers> {
        let size = group.size();
        if size > shards {
            return Err(Error::Usage(format!(
                "{size} workers cannot share {shards} shards of a batch: set training.shards to {size} or \
                 more, or start fewer workers"
            )));
        }
        let members = (0..size).collect();
        let part = Tree::default();
        let (generation, is_over, is_broken) = (0, false, false);
        Ok(Workers { group, shards, members, generation, part, is_over, is_broken })
    }

    /// The shards that are computed here.
    pub fn own(&self) -> Shards {
        self.shards_of(self.group.rank())
    }

    /// Consecutive shards, as many as others have, or one more.
    fn shards_of(&self, rank: usize) -> Shards {
        Shards { count: self.shards, own: self.part_of(self.shards, rank) }
    }

    /// The number of workers.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    fn others(&self) -> Vec<usize> {
        let rank = self.group.rank();
        self.members.iter().copied().filter(|&other| other != rank).collect()
    }

    fn tell_all(&mut self, message: &Message) -> Result<()> {
        self.others().into_iter().try_for_each(|other| self.group.send(other, message.clone()))
    }

    /// Gives all others the model's state as it is here.
    ///
    /// # Errors
    /// If another worker is gone.
    pub fn share_state(&mut self, engine: &Engine) -> Result<()> {
        let message = Message::new(Kind::State, engine.step()).number(engine.slot_age());
        if engine.part().is_none() {
            return self.tell_all(&message.values(engine.flat_state()));
        }
        for other in self.others() {
            let state = engine.flat_state_for(other)?;
            self.group.send(other, message.clone().values(state))?;
        }
        Ok(())
    }

    /// Begins a step on the batch at `position`.
    pub(crate) fn begin(&mut self, step: u64, position: u64, rate: f32) -> Result<()> {
        self.tell_all(&Message::new(Kind::Step, step).number(position).values(vec![rate]))
    }

    /// A worker's part of `len` shards, or of `len` values to add up.
    fn part_of(&self, len: usize, rank: usize) -> Range<usize> {
        let place = self.members.iter().position(|&member| member == rank).unwrap_or(0);
        Shards::all(self.members.len()).rows(len, place)
    }

    /// After an error: continues without workers that are lost, if that is the reason. Says which, or gives the
    /// error back. Only worker 0 calls this.
    pub(crate) fn go_on(&mut self, engine: &Engine, error: Error) -> Result<String> {
        let lost = self.group.lost();
        if lost.is_empty() || lost.contains(&0) {
            return Err(error);
        }
        self.leave_out(&lost, engine).map_err(|e| Error::Run(format!("{error}: {e}")))?;
        let left = match self.members.len() {
            1 => "without other workers".to_owned(),
            n => format!("with {n} workers"),
        };
        Ok(format!("{error}: the run continues {left}, from step {}", engine.step()))
    }

    /// Divides the shards among the others than these, and gives all the state as it is here. Only worker 0 calls this.
    ///
    /// # Errors
    /// If nothing can be sent, or they kept a part of the optimizer's slots.
    pub fn leave_out(&mut self, lost: &[usize], engine: &Engine) -> Result<()> {
        if engine.part().is_some() {
            self.is_broken = true;
            return Err(Error::Run(slots::LOST.into()));
        }
        self.members.retain(|member| !lost.contains(member));
        self.generation += 1;
        let members = self.members.iter().map(|&member| member as f32).collect();
        let regroup = Message::new(Kind::Regroup, engine.step()).number(self.generation);
        self.tell_all(&regroup.values(members))?;
        self.share_state(engine)
    }

    /// Tells the others that the run is over, and why where that is an error.
    pub fn end(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_over, true) {
            end_all(self.group.as_mut(), why);
        }
    }

    /// Goes on with the workers that worker 0 names.
    fn regroup(&mut self, message: &Message) {
        self.members = message.values.iter().map(|&member| member as usize).collect();
        self.generation = message.number;
        for rank in (0..self.group.size()).filter(|rank| !self.members.contains(rank)) {
            self.group.leave_out(rank);
        }
    }

    fn check(&self, other: usize, what: &str, found: usize, wanted: usize) -> Result<()> {
        if found == wanted {
            return Ok(());
        }
        let name = self.group.name(other);
        Err(Error::Run(format!("{name} sent {found} {what}, and {wanted} were expected")))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let why = if std::thread::panicking() { "it panicked; please report it" } else { "" };
        self.end(why);
    }
}

/// A worker that does what worker 0 says.
pub struct Follower<'a> {
    engine: &'a mut Engine,
    remake: Remake<'a>,
    meter: Meter,
    workers: Workers,
    /// Whether a step could not be finished, so that worker 0 has to begin a new generation.
    waits: bool,
}

impl<'a> Follower<'a> {
    /// Of the group of `workers`. `remake` makes its loaders, and `meter` is an empty meter.
    pub fn new(
        engine: &'a mut Engine,
        remake: Remake<'a>,
        meter: Meter,
        workers: Workers,
    ) -> Follower<'a> {
        Follower { engine, remake, meter, workers, waits: false }
    }

    /// Computes this worker's shards of each step until worker 0 ends the run.
    ///
    /// # Errors
    /// For a batch that cannot be read or does not fit, which is sent to all workers; and if worker 0 ends with an
    /// error or is gone.
    pub fn run(mut self) -> Result<()> {
        let result = self.follow();
        match &result {
            Ok(()) => self.workers.is_over = true,
            Err(e) => self.workers.end(&e.to_string()),
        }
        result
    }

    fn follow(&mut self) -> Result<()> {
        let mut own = self.workers.own();
        let mut meters = vec![self.meter.clone(); own.own.len()];
        let mut loader: Option<(Loader, u64)> = None;
        loop {
            let message = self.next()?;
            match message.kind {
                // Of a step that could not be finished.
                Kind::Sums | Kind::Sum | Kind::Weights => {}
                Kind::Gather => self.workers.give_slots(self.engine)?,
                Kind::Step if self.waits => {}
                Kind::State => {
                    self.engine.set_flat_state(&message.values)?;
                    self.engine.set_step(message.step);
                    self.engine.set_slot_age(message.number);
                }
                Kind::Regroup => {
                    self.workers.regroup(&message);
                    self.waits = false;
                    own = self.workers.own();
                    meters.resize(own.own.len(), self.meter.clone());
                    loader = None;
                }
                Kind::Step => {
                    let at = message.number;
                    let mut here = match loader.take() {
                        Some((loader, next)) if next == at => loader,
                        _ => (self.remake)(own.clone(), at)?,
                    };
                    let rate = message.values.first().copied().unwrap_or(0.0);
                    let done = shards(self.engine, &mut here, &own, &mut meters)?;
                    let Some(done) = done else {
                        return Err(Error::Run(format!("there are no samples at position {at}")));
                    };
                    match self.step(&meters, rate) {
                        Ok(()) => {}
                        Err(e) => self.wait_after(e)?,
                    }
                    loader = Some((here, done.position));
                }
                Kind::End if message.text.is_empty() => return Ok(()),
                Kind::End => return Err(ended(self.workers.group.as_ref(), 0, &message.text)),
                kind => {
                    return Err(Error::Run(format!("worker 0 sent {kind:?} between two steps")));
                }
            }
        }
    }

    /// Makes the step whose shards are computed.
    fn step(&mut self, measured: &[Meter], rate: f32) -> Result<()> {
        self.workers.exchange(self.engine, measured)?;
        self.engine.update(rate)?;
        self.workers.exchange_weights(self.engine)
    }

    /// What worker 0 says next; that another worker is lost is for worker 0 to find out.
    fn next(&mut self) -> Result<Message> {
        loop {
            match self.workers.group.receive(0) {
                Ok(message) => return Ok(message),
                Err(e) => self.wait_after(e)?,
            }
        }
    }

    /// The error, unless it is that another worker than number 0 is lost: that is reported to worker 0, which begins a new
    /// generation.
    fn wait_after(&mut self, error: Error) -> Result<()> {
        report_lost(self.workers.group.as_mut(), error)?;
        self.waits = true;
        Ok(())
    }
}

/// What a worker's shards of a batch say of the batch.
pub(crate) struct Computed {
    /// The position after the batch.
    pub(crate) position: u64,
    /// Whether the epoch ends with it.
    pub(crate) last_in_epoch: bool,
    /// What may be the cause where the loss of a shard is not finite.
    pub(crate) why_not_finite: Option<String>,
}

/// Computes a worker's shards of the loader's next batch. None where there is none. `meters` has one for
/// each of them, which has then measured this shard of this batch alone.
pub(crate) fn shards(
    engine: &mut Engine,
    loader: &mut Loader,
    own: &Shards,
    meters: &mut [Meter],
) -> Result<Option<Computed>> {
    engine.forget_shards();
    let mut computed = None;
    let mut why_not_finite = None;
    for (shard, meter) in own.own.clone().zip(meters) {
        let Some((batch, ahead)) = loader.next_and_ahead()? else { return Ok(None) };
        engine.check(batch)?;
        let last = shard + 1 == own.own.end;
        let loss = engine.train_shard(shard, last, batch, &|| ahead.piece())?;
        drop(ahead);
        meter.reset();
        if batch.len > 0 {
            let outputs = engine.outputs();
            meter.add(outputs.losses, outputs.logits, batch);
            if !loss.is_finite() && why_not_finite.is_none() {
                why_not_finite = Some(engine.why_not_finite(batch));
            }
        }
        let (position, last_in_epoch) = (batch.next_position, batch.last_in_epoch);
        computed = Some(Computed { position, last_in_epoch, why_not_finite: None });
    }
    Ok(computed.map(|computed| Computed { why_not_finite, ..computed }))
}
