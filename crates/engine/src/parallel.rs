//! Data-parallel training: workers that compute the shards of each batch together.
//!
//! Each worker has the whole model, computes some of the shards, and adds them as far as it can
//! ([`Tree`]). Worker `j` then gets all others' sums for part `j` of the values, adds them in the tree's
//! order, and sends its part of the whole sum to all. So each sends and receives `2 (p - 1) / p` of the
//! values, as a ring does, and every bit is the same for any number `p` of workers. Then each makes the
//! same update.

use std::ops::Range;

use tidemill_data::{Loader, Shards};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::group::{Group, Kind, Message, ended, expect};
use crate::metrics::Meter;
use crate::tree::{Tree, spans};

/// The shards of a worker: consecutive ones, and as many as others have, or one more.
pub fn own_shards(shards: usize, rank: usize, size: usize) -> Shards {
    Shards { count: shards, own: rank * shards / size..(rank + 1) * shards / size }
}

/// This worker among those of a group.
pub struct Workers {
    group: Box<dyn Group>,
    shards: usize,
    /// Adds up this worker's part.
    part: Tree,
    /// Whether the others have been told that the run is over.
    is_over: bool,
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
        Ok(Workers { group, shards, part: Tree::default(), is_over: false })
    }

    /// The shards that are computed here.
    pub fn own(&self) -> Shards {
        own_shards(self.shards, self.group.rank(), self.group.size())
    }

    /// The number of workers.
    pub fn size(&self) -> usize {
        self.group.size()
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let rank = self.group.rank();
        (0..self.group.size()).filter(move |&other| other != rank)
    }

    fn tell_all(&mut self, message: &Message) -> Result<()> {
        self.others().try_for_each(|other| self.group.send(other, message.clone()))
    }

    /// Gives all others the model's state as it is here.
    ///
    /// # Errors
    /// If another worker is gone.
    pub fn share_state(&mut self, engine: &Engine) -> Result<()> {
        let state = engine.flat_state();
        let message = Message::new(Kind::State, engine.step()).number(engine.slot_age());
        self.tell_all(&message.values(state))
    }

    /// Begins a step on the batch at `position`.
    pub(crate) fn begin(&mut self, step: u64, position: u64, rate: f32) -> Result<()> {
        self.tell_all(&Message::new(Kind::Step, step).number(position).values(vec![rate]))
    }

    /// Begins an epoch.
    pub(crate) fn begin_epoch(&mut self, step: u64) -> Result<()> {
        self.tell_all(&Message::new(Kind::Epoch, step))
    }

    /// Makes the sums of this worker's shards those of all shards.
    pub(crate) fn exchange(&mut self, engine: &mut Engine) -> Result<()> {
        let (step, threads, len) = (engine.step(), engine.threads(), engine.num_sums());
        let (rank, size) = (self.group.rank(), self.group.size());
        let part = |of: usize| part(len, of, size);
        let sums = engine.sums()?;
        for other in self.others() {
            let values = sums.nodes().iter().flat_map(|n| n.values[part(other)].iter().copied());
            let message = Message::new(Kind::Sums, step).values(values.collect());
            self.group.send(other, message)?;
        }
        self.part.clear();
        for other in 0..size {
            let spans = spans(own_shards(self.shards, other, size).own);
            if other == rank {
                for node in sums.nodes() {
                    self.part.push(node.level, node.index, &node.values[part(rank)], threads);
                }
                continue;
            }
            let given = expect(self.group.as_mut(), other, Kind::Sums, step)?.values;
            let own = part(rank).len();
            self.check(other, "sums", given.len(), own * spans.len())?;
            for ((level, index), values) in spans.into_iter().zip(given.chunks_exact(own.max(1))) {
                self.part.push(level, index, values, threads);
            }
        }
        let own = self.part.finish(threads).to_vec();
        let sum = sums.replace(len);
        sum[part(rank)].copy_from_slice(&own);
        let message = Message::new(Kind::Sum, step).values(own);
        self.others().try_for_each(|other| self.group.send(other, message.clone()))?;
        for other in self.others() {
            let given = expect(self.group.as_mut(), other, Kind::Sum, step)?.values;
            self.check(other, "part of the sum", given.len(), part(other).len())?;
            sum[part(other)].copy_from_slice(&given);
        }
        Ok(())
    }

    /// The meters of all shards, those of others in place of what `own` has for them.
    pub(crate) fn gather(&mut self, step: u64, meters: &mut [Meter]) -> Result<()> {
        self.tell_all(&Message::new(Kind::Figures, step))?;
        for other in self.others() {
            let text = expect(self.group.as_mut(), other, Kind::Figures, step)?.text;
            let given: Vec<Meter> = serde_json::from_str(&text)
                .map_err(|e| Error::Run(format!("the figures of worker {other}: {e}")))?;
            let shards = own_shards(self.shards, other, self.group.size()).own;
            self.check(other, "figures", given.len(), shards.len())?;
            meters[shards].iter_mut().zip(given).for_each(|(to, from)| *to = from);
        }
        Ok(())
    }

    /// Tells the others that the run is over, and why where that is an error.
    pub fn end(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_over, true) {
            let step = 0;
            for other in self.others() {
                // One that is gone needs not be told.
                drop(self.group.send(other, Message::new(Kind::End, step).text(why)));
            }
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

/// Part `of` of `len` values for `size` workers.
fn part(len: usize, of: usize, size: usize) -> Range<usize> {
    of * len / size..(of + 1) * len / size
}

/// A worker that does what worker 0 says.
pub struct Follower<'a> {
    /// The model.
    pub engine: &'a mut Engine,
    /// Makes a loader of these shards from this position on.
    pub loader: &'a dyn Fn(Shards, u64) -> Result<Loader>,
    /// An empty meter.
    pub meter: Meter,
    /// This worker and the others.
    pub workers: Workers,
}

impl Follower<'_> {
    /// Computes this worker's shards of each step until worker 0 ends the run.
    ///
    /// # Errors
    /// For a batch that cannot be read or does not fit, of which all workers are told; and if another worker ends
    /// with an error or is gone.
    pub fn run(mut self) -> Result<()> {
        let result = self.follow();
        match &result {
            Ok(()) => self.workers.is_over = true,
            Err(e) => self.workers.end(&e.to_string()),
        }
        result
    }

    fn follow(&mut self) -> Result<()> {
        let own = self.workers.own();
        let mut meters = vec![self.meter.clone(); own.own.len()];
        let mut loader: Option<(Loader, u64)> = None;
        loop {
            let message = self.workers.group.receive(0)?;
            match message.kind {
                Kind::State => {
                    self.engine.set_flat_state(&message.values)?;
                    self.engine.set_step(message.step);
                    self.engine.set_slot_age(message.number);
                }
                Kind::Step => {
                    let at = message.number;
                    let mut here = match loader.take() {
                        Some((loader, next)) if next == at => loader,
                        _ => (self.loader)(own.clone(), at)?,
                    };
                    let rate = message.values.first().copied().unwrap_or(0.0);
                    let done = shards(self.engine, &mut here, &own, &mut meters)?;
                    let Some(done) = done else {
                        return Err(Error::Run(format!("there are no samples at position {at}")));
                    };
                    self.workers.exchange(self.engine)?;
                    self.engine.update(rate)?;
                    loader = Some((here, done.position));
                }
                Kind::Figures => {
                    let text = serde_json::to_string(&meters)
                        .map_err(|e| Error::Run(format!("figures cannot be sent: {e}")))?;
                    let reply = Message::new(Kind::Figures, message.step).text(text);
                    self.workers.group.send(0, reply)?;
                }
                Kind::Epoch => meters.iter_mut().for_each(Meter::reset),
                Kind::End if message.text.is_empty() => return Ok(()),
                Kind::End => return Err(ended(self.workers.group.as_ref(), 0, &message.text)),
                kind => {
                    return Err(Error::Run(format!("worker 0 sent {kind:?} between two steps")));
                }
            }
        }
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
/// each of them.
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
