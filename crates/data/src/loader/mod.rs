//! Batches in a fixed order, filled on the spot or ahead of time by background threads.
//!
//! Batches of a dataset in memory are filled by the caller's threads, beside the step on the batch
//! before if they like ([`Ahead`]): a copy costs less than handing it over. Decoded datasets get threads that run ahead within a bound in bytes. Either
//! way the batches are the same, since each is a pure function of its position, and buffers go
//! round, so that nothing is allocated once they exist.

mod batch;
mod inline;
mod prefetch;
mod soft;

use std::ops::Range;
use std::sync::Arc;
use std::thread;

use batch::Filler;
pub use inline::Ahead;
use inline::Inline;
use prefetch::Prefetch;

use tidemill_fields::Batch;

use crate::augment::Mix;
use crate::{Buckets, Dataset, Error, FillCost, Order, Result};

/// More threads than that decode nothing sooner, and the system may fail when it starts them.
pub const MAX_THREADS: usize = 1024;

/// How a [`Loader`] goes through a dataset.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// Samples of a batch.
    pub batch_size: usize,
    /// Batches of samples of like length, instead of `batch_size` samples.
    pub buckets: Option<Arc<Buckets>>,
    /// The order of each epoch.
    pub order: Order,
    /// Leave out the last, smaller batch of an epoch.
    pub drop_last: bool,
    /// Where to start, in samples counted over all epochs; [`Batch::next_position`] resumes there.
    pub position: u64,
    /// Stop before this epoch; endless if none.
    pub epochs: Option<u64>,
    /// Background threads; 0 fills on the caller's thread. By default threads are used for
    /// datasets that decode and not for those in memory.
    pub threads: Option<usize>,
    /// Bound on the bytes of all batches that wait or are being filled (at least two batches).
    pub memory_bytes: usize,
    /// A weight for each class; empty means 1 for all.
    pub class_weights: Vec<f32>,
    /// A weight for each sample of the dataset, by index.
    pub sample_weights: Option<Arc<[f32]>>,
    /// What is done to the samples of a batch together; labels are values then, one for each class.
    pub mix: Option<Mix>,
    /// How each batch is cut, and which pieces are wanted.
    pub shards: Shards,
}

/// Batches cut into pieces, each of which a loader gives as a batch of its own. A piece without samples is
/// given too, where a batch has fewer samples than pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shards {
    /// Pieces of each batch.
    pub count: usize,
    /// Those that are wanted.
    pub own: Range<usize>,
}

impl Default for Shards {
    /// Whole batches.
    fn default() -> Shards {
        Shards::all(1)
    }
}

impl Shards {
    /// All pieces of batches that are cut into `count`.
    pub fn all(count: usize) -> Shards {
        Shards { count, own: 0..count }
    }

    /// The rows of piece `shard` of a batch of `len` samples. Pieces differ by one sample at most.
    pub fn rows(&self, len: usize, shard: usize) -> Range<usize> {
        let at = |shard: usize| shard * len / self.count;
        at(shard)..at(shard + 1)
    }

    /// The most samples of a piece of batches of `len` samples.
    pub fn most_rows(&self, len: usize) -> usize {
        len.div_ceil(self.count)
    }
}

impl LoaderOptions {
    /// Batches of `batch_size` in `order`, endlessly.
    pub fn new(batch_size: usize, order: Order) -> Self {
        Self {
            batch_size,
            buckets: None,
            order,
            drop_last: false,
            position: 0,
            epochs: None,
            threads: None,
            memory_bytes: 8 << 20,
            class_weights: Vec::new(),
            sample_weights: None,
            mix: None,
            shards: Shards::default(),
        }
    }

    /// One pass by index, for evaluation.
    pub fn one_pass(batch_size: usize) -> Self {
        Self { epochs: Some(1), ..Self::new(batch_size, Order::Sequential) }
    }

    /// The threads that fill batches of `data` ahead.
    fn threads_for(&self, data: &dyn Dataset) -> usize {
        self.threads.unwrap_or_else(|| match data.fill_cost() {
            FillCost::Copy => 0,
            FillCost::Compute | FillCost::Decode => {
                thread::available_parallelism().map_or(1, |n| n.get().min(8))
            }
        })
    }

    /// The bytes that a loader of `data` takes at most, for batches and for what is decoded.
    pub fn bytes(&self, data: &dyn Dataset) -> u64 {
        let threads = self.threads_for(data);
        let batch_size = self.shards.most_rows(self.batch_size);
        let batch = batch::bytes_of(data, &data.info().signature, batch_size);
        let batches = match threads {
            0 => 2,
            threads => {
                let (chunks, per_chunk) =
                    prefetch::sizes(threads, self.memory_bytes, batch, batch_size);
                chunks * per_chunk
            }
        };
        (batches * batch) as u64 + threads.max(1) as u64 * data.bytes_to_read()
    }
}

/// Produces the batches of a dataset.
pub struct Loader {
    mode: Mode,
    data: Arc<dyn Dataset>,
    samples_per_epoch: u64,
    batches_per_epoch: u64,
    /// Go on without threads once everything is in memory.
    may_drop_threads: bool,
    /// Pieces of each batch.
    pieces: u64,
}

enum Mode {
    /// Filled by the consumer.
    Inline(Box<Inline>),
    /// Filled ahead by threads of the loader.
    Threads(Prefetch),
}

impl Loader {
    /// A loader over `data`; starts its threads, if it needs some.
    pub fn new(data: Arc<dyn Dataset>, options: LoaderOptions) -> Result<Self> {
        check(data.as_ref(), &options)?;
        let signature = soft::signature(data.as_ref(), options.mix.as_ref())?;
        let (n, batch_size) = (data.len() as u64, options.batch_size as u64);
        let samples_per_epoch = if options.drop_last { n - n % batch_size } else { n };
        let end = options.epochs.map_or(u64::MAX, |e| e.saturating_mul(samples_per_epoch));
        let may_drop_threads = options.threads.is_none();
        let threads = options.threads_for(data.as_ref());
        let pieces = options.shards.own.len() as u64;
        // What follows counts pieces of batches.
        let (position, end) = (options.position * pieces, end.saturating_mul(pieces));
        let memory_bytes = options.memory_bytes;
        let batches_per_epoch = match &options.buckets {
            Some(buckets) => buckets.batches() as u64,
            None => samples_per_epoch.div_ceil(batch_size),
        };
        let filler = Filler::new(data.clone(), options, signature, samples_per_epoch);
        let filler = Arc::new(filler);
        let mode = if threads == 0 {
            Mode::Inline(Box::new(Inline::new(filler, position, end)))
        } else {
            Mode::Threads(Prefetch::start(filler, threads, memory_bytes, position, end)?)
        };
        Ok(Self { mode, data, samples_per_epoch, batches_per_epoch, may_drop_threads, pieces })
    }

    /// The next batch, or none after the last epoch. It stays valid until the next call.
    pub fn next_batch(&mut self) -> Result<Option<&Batch>> {
        self.drop_idle_threads();
        match &mut self.mode {
            Mode::Inline(inline) => inline.next_batch(),
            Mode::Threads(prefetch) => prefetch.next_batch(),
        }
    }

    /// The next batch, and the filling of the one after it, to be done while this one is worked on.
    pub fn next_and_ahead(&mut self) -> Result<Option<(&Batch, Ahead<'_>)>> {
        self.drop_idle_threads();
        match &mut self.mode {
            Mode::Inline(inline) => inline.next_and_ahead(),
            Mode::Threads(prefetch) => {
                Ok(prefetch.next_batch()?.map(|batch| (batch, Ahead::nothing())))
            }
        }
    }

    /// Goes on without threads after an epoch in which all samples came into memory.
    fn drop_idle_threads(&mut self) {
        if self.may_drop_threads
            && let Mode::Threads(prefetch) = &self.mode
            && prefetch.epoch_ended()
            && self.data.fill_cost() == FillCost::Copy
        {
            self.mode = prefetch.continue_inline();
            self.may_drop_threads = false;
        }
    }

    /// The position of the next batch; none after the last one.
    pub fn position(&self) -> Option<u64> {
        let (at, end) = match &self.mode {
            Mode::Inline(inline) => inline.position(),
            Mode::Threads(prefetch) => prefetch.position(),
        };
        (at < end).then(|| at / self.pieces)
    }

    /// The dataset.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.data
    }

    /// The samples of one epoch: all, or those of whole batches under `drop_last`.
    pub fn samples_per_epoch(&self) -> u64 {
        self.samples_per_epoch
    }

    /// The batches of one epoch.
    pub fn batches_per_epoch(&self) -> u64 {
        self.batches_per_epoch
    }
}

fn check(data: &dyn Dataset, options: &LoaderOptions) -> Result<()> {
    let n = data.len();
    let Shards { count, own } = &options.shards;
    if own.is_empty() || own.end > *count {
        return Err(Error::option(format!("{own:?} are no shards of {count}")));
    }
    if options.batch_size == 0 {
        return Err(Error::option("batch_size must be at least 1"));
    }
    if n == 0 {
        return Err(Error::option("the dataset has no samples"));
    }
    if options.buckets.is_some() && options.drop_last {
        return Err(Error::option("drop_last has no meaning beside batches of like length"));
    }
    if options.drop_last && n < options.batch_size {
        return Err(Error::option(format!(
            "without the smaller last batch nothing is left: {n} samples make no batch of {}",
            options.batch_size
        )));
    }
    if let Some(threads) = options.threads.filter(|&n| n > MAX_THREADS) {
        return Err(Error::option(format!(
            "data_threads must be 0 to {MAX_THREADS}, found {threads}"
        )));
    }
    let weights = &options.class_weights;
    if !weights.is_empty() {
        let sequence = data.info().signature.truth().is_some_and(|field| field.time().is_some());
        if sequence {
            return Err(Error::option(
                "class weights need one class a sample, and these have one for each position",
            ));
        }
        let Some(num_classes) = data.num_classes() else {
            return Err(Error::option("class weights need labels that are classes"));
        };
        if weights.len() != num_classes {
            return Err(Error::option(format!(
                "{} class weights for {num_classes} classes",
                weights.len()
            )));
        }
    }
    if let Some(w) = &options.sample_weights
        && w.len() != n
    {
        return Err(Error::option(format!("{} sample weights for {n} samples", w.len())));
    }
    let all = weights.iter().chain(options.sample_weights.iter().flat_map(|w| w.iter()));
    if let Some(bad) = all.into_iter().find(|w| !(w.is_finite() && **w >= 0.0)) {
        return Err(Error::option(format!("a weight must be 0 or more, found {bad}")));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
