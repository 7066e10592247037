//! How a batch is filled.

use std::sync::{Arc, Mutex, PoisonError};

use tidemill_fields::{Batch, Row, Signature, Truth};

use super::soft;
use crate::buckets::{Buckets, EpochBatches};
use crate::{Dataset, FillCost, LoaderOptions, Result};

/// Values of the samples that are filled in one go: long enough that handing them out does not
/// show, short enough that a step which waits for the last one does not notice.
const PIECE_VALUES: usize = 3000;

/// Rows of a batch that are still to be filled.
#[derive(Default)]
pub(super) struct Rows<'a> {
    row: Row<'a>,
    indices: &'a [u32],
    /// The sample that follows the last one.
    after: Option<u32>,
}

impl<'a> Rows<'a> {
    /// Splits off the first `n` rows, or all; none if there are none.
    pub(super) fn take(&mut self, n: usize) -> Option<Rows<'a>> {
        if self.indices.is_empty() {
            return None;
        }
        let n = n.min(self.indices.len());
        let (indices, rest) = self.indices.split_at(n);
        self.indices = rest;
        let after = rest.first().copied().or(self.after);
        Some(Rows { row: self.row.take(n), indices, after })
    }
}

/// The bytes of a full batch of `data`, of samples like this.
pub(super) fn bytes_of(data: &dyn Dataset, signature: &Signature, batch_size: usize) -> usize {
    let fields = signature.fields().iter();
    let sample_len: usize = fields.map(|field| field.most()).sum();
    4 * batch_size.min(data.len()) * (sample_len + 2)
}

/// Fills batches by position.
pub(super) struct Filler {
    data: Arc<dyn Dataset>,
    options: LoaderOptions,
    /// What a sample of a batch is.
    signature: Arc<Signature>,
    samples_per_epoch: u64,
    /// Elements of one sample.
    sample_len: usize,
    /// The batches of the epochs that were asked for last.
    epochs: Mutex<Vec<Arc<EpochBatches>>>,
}

/// Where a batch is, or a piece of one.
struct Place {
    epoch: u64,
    /// Samples of all epochs before the batch.
    position: u64,
    /// The piece among those that are wanted.
    piece: u64,
    /// Samples of the epoch before it.
    offset: u64,
    len: usize,
    /// Its number among the batches of the epoch, where they are of buckets.
    number: usize,
}

impl Filler {
    pub(super) fn new(
        data: Arc<dyn Dataset>,
        options: LoaderOptions,
        signature: Arc<Signature>,
        samples_per_epoch: u64,
    ) -> Self {
        let fields = signature.fields();
        let sample_len = fields.iter().map(|field| field.most()).sum();
        let epochs = Mutex::default();
        Self { data, options, signature, samples_per_epoch, sample_len, epochs }
    }

    /// A batch with room for everything.
    pub(super) fn empty_batch(&self) -> Batch {
        let n = self.batch_size().min(self.data.len());
        let mut batch = Batch::new(self.signature.clone());
        batch.reserve(n);
        batch.indices.reserve(n);
        batch
    }

    /// The bytes of one full batch.
    pub(super) fn batch_bytes(&self) -> usize {
        bytes_of(self.data.as_ref(), &self.signature, self.batch_size())
    }

    /// Samples of one full batch, or of its largest piece.
    pub(super) fn batch_size(&self) -> usize {
        let buckets = self.options.buckets.as_ref();
        let whole = buckets.map_or(self.options.batch_size, |buckets| buckets.most_rows());
        self.options.shards.most_rows(whole)
    }

    /// Pieces of a batch that are wanted. Positions in this module count these: piece `i` of the batch
    /// at `p` is at `p * pieces + i`.
    fn pieces(&self) -> u64 {
        self.options.shards.own.len() as u64
    }

    /// Whether a sample is a mere copy.
    pub(super) fn is_copy(&self) -> bool {
        self.data.fill_cost() == FillCost::Copy
    }

    /// What is at `position`.
    fn place(&self, position: u64) -> Place {
        let (position, piece) = (position / self.pieces(), position % self.pieces());
        let (epoch, offset) =
            (position / self.samples_per_epoch, position % self.samples_per_epoch);
        match &self.options.buckets {
            None => {
                let len = (self.samples_per_epoch - offset).min(self.options.batch_size as u64);
                Place { epoch, position, piece, offset, len: len as usize, number: 0 }
            }
            Some(buckets) => {
                // A position within a batch is one of a run whose batches were others.
                let (number, samples) = self.epoch(buckets, epoch).place(offset);
                let len = (samples.end - offset) as usize;
                Place { epoch, position, piece, offset, len, number }
            }
        }
    }

    /// The batches of an epoch; threads that run ahead may be in the next one already.
    fn epoch(&self, buckets: &Buckets, epoch: u64) -> Arc<EpochBatches> {
        let mut known = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.iter().find(|batches| batches.epoch == epoch) {
            return found.clone();
        }
        let made = Arc::new(buckets.epoch(self.options.order, epoch));
        known.retain(|batches| batches.epoch + 1 == epoch);
        known.push(made.clone());
        made
    }

    /// What comes after `position`: the next piece, or the first one of the next batch.
    pub(super) fn next_position(&self, position: u64) -> u64 {
        let place = self.place(position);
        match place.piece + 1 < self.pieces() {
            true => position + 1,
            false => (place.position + place.len as u64) * self.pieces(),
        }
    }

    /// Fills `batch` with the samples from `position` on.
    pub(super) fn fill(&self, position: u64, batch: &mut Batch) -> Result<()> {
        let rows = self.start(position, batch);
        batch.num_skipped = self.fill_rows(rows)?;
        self.finish(position, batch);
        Ok(())
    }

    /// What is done to a batch, once all of its samples are filled.
    pub(super) fn finish(&self, position: u64, batch: &mut Batch) {
        if let Some(mix) = &self.options.mix {
            let piece = self.options.shards.own.start as u64 + self.place(position).piece;
            soft::apply(mix, batch, piece);
        }
        self.pad(batch);
    }

    /// Takes room that no sample of a filled batch needs.
    fn pad(&self, batch: &mut Batch) {
        let Some(buckets) = &self.options.buckets else { return batch.pad() };
        let Place { epoch, number, .. } = self.place(batch.position * self.pieces());
        batch.pad_to(buckets.rooms(&self.epoch(buckets, epoch), number));
    }

    /// Makes `batch` the one at `position`, all but its samples, which are the rows returned.
    pub(super) fn start<'a>(&self, position: u64, batch: &'a mut Batch) -> Rows<'a> {
        let Place { epoch, position, piece, offset, len, number } = self.place(position);
        let shards = &self.options.shards;
        let rows = shards.rows(len, shards.own.start + piece as usize);
        let is_last = piece + 1 == self.pieces();
        batch.resize(rows.len());
        batch.epoch = epoch;
        batch.position = position;
        batch.next_position = if is_last { position + len as u64 } else { position };
        batch.last_in_epoch = is_last && offset + len as u64 == self.samples_per_epoch;
        batch.num_skipped = 0;
        batch.indices.clear();
        let mut after = None;
        match &self.options.buckets {
            None => {
                let order = self.options.order.epoch(epoch, self.data.len());
                let range = offset as usize + rows.start..offset as usize + rows.end;
                let index = |position: usize| order.index(position) as u32;
                after = (range.end < self.samples_per_epoch as usize).then(|| index(range.end));
                batch.indices.extend(range.map(index));
            }
            Some(buckets) => {
                let batches = self.epoch(buckets, epoch);
                buckets.batch(self.options.order, &batches, number, &mut batch.indices);
                batch.indices.drain(..batch.indices.len() - len);
                batch.indices.truncate(rows.end);
                batch.indices.drain(..rows.start);
            }
        }
        let (row, indices) = batch.rows_and_indices();
        Rows { row, indices, after }
    }

    /// Samples that are worth handing out at once.
    pub(super) fn rows_of_a_piece(&self) -> usize {
        PIECE_VALUES.div_ceil(self.sample_len.max(1))
    }

    /// Reads the samples of `rows`; says how many had to be skipped.
    pub(super) fn fill_rows(&self, mut rows: Rows<'_>) -> Result<usize> {
        let mut skipped = 0;
        while let Some(piece) = rows.take(self.rows_of_a_piece()) {
            skipped += self.fill_piece(piece)?;
        }
        Ok(skipped)
    }

    fn fill_piece(&self, rows: Rows<'_>) -> Result<usize> {
        // All at once, so that the memory's latency is waited for once; a single sample, in good
        // time before the next.
        match (rows.indices, rows.after) {
            ([_], Some(after)) => self.data.touch(after as usize),
            (indices, _) => indices.iter().for_each(|&index| self.data.touch(index as usize)),
        }
        let mut row = rows.row;
        for (i, &index) in rows.indices.iter().enumerate() {
            row.select(i);
            row.set_weight(1.0);
            self.data.fill(index as usize, &mut row)?;
            self.weigh(index as usize, &mut row);
        }
        Ok(row.skipped())
    }

    /// The class's and the sample's weight upon the row's own.
    fn weigh(&self, index: usize, row: &mut Row<'_>) {
        let options = &self.options;
        if !options.class_weights.is_empty() {
            let of_targets = |row: &mut Row<'_>| Truth::Values(row.targets().ok()?).class();
            let class = row.class().or_else(|| of_targets(row));
            let weight = class.and_then(|class| options.class_weights.get(class));
            row.set_weight(row.weight() * weight.copied().unwrap_or(1.0));
        }
        if let Some(weights) = &options.sample_weights {
            row.set_weight(row.weight() * weights[index]);
        }
    }
}
