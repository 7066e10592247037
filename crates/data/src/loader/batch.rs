//! One batch, and how it is filled.

use std::sync::Arc;

use crate::{Dataset, FillCost, Label, LoaderOptions, Result};

/// Samples for one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Sample values, `(len, sample shape)`.
    pub x: Vec<f32>,
    /// Class numbers, `(len)`; all 0 where labels are values or none.
    pub labels: Vec<i32>,
    /// Target values, `(len, target_len)`; empty where labels are classes or none.
    pub targets: Vec<f32>,
    /// Weight of each sample, `(len)`: class weight times sample weight, 0 for skipped samples.
    pub weights: Vec<f32>,
    /// Index of each sample in the dataset, `(len)`.
    pub indices: Vec<u32>,
    /// The number of samples; the last batch of an epoch may be smaller.
    pub len: usize,
    /// The epoch that the batch belongs to, from 0.
    pub epoch: u64,
    /// Position of the first sample, counted over all epochs.
    pub position: u64,
    /// Position after the last sample: where a resumed loader starts.
    pub next_position: u64,
    /// Whether the epoch ends with this batch.
    pub last_in_epoch: bool,
    /// Samples that could not be read and weigh nothing.
    pub num_skipped: usize,
}

/// Values of the samples that are filled in one go: long enough that handing them out does not
/// show, short enough that a step which waits for the last one does not notice.
const PIECE_VALUES: usize = 3000;

/// Rows of a batch that are still to be filled.
#[derive(Default)]
pub(super) struct Rows<'a> {
    x: &'a mut [f32],
    targets: &'a mut [f32],
    labels: &'a mut [i32],
    weights: &'a mut [f32],
    indices: &'a [u32],
    /// The sample that follows the last one.
    after: Option<u32>,
}

impl<'a> Rows<'a> {
    /// Splits off the first `n` rows, or all; none if there are none.
    pub(super) fn take(&mut self, n: usize) -> Option<Rows<'a>> {
        let rows = std::mem::take(self);
        let len = rows.indices.len();
        if len == 0 {
            return None;
        }
        let n = n.min(len);
        let (x, x_rest) = rows.x.split_at_mut(rows.x.len() / len * n);
        let (targets, targets_rest) = rows.targets.split_at_mut(rows.targets.len() / len * n);
        let (labels, labels_rest) = rows.labels.split_at_mut(n);
        let (weights, weights_rest) = rows.weights.split_at_mut(n);
        let (indices, rest) = rows.indices.split_at(n);
        let after = rest.first().copied().or(rows.after);
        *self = Rows {
            x: x_rest,
            targets: targets_rest,
            labels: labels_rest,
            weights: weights_rest,
            indices: rest,
            after: rows.after,
        };
        Some(Rows { x, targets, labels, weights, indices, after })
    }
}

/// Fills batches by position.
pub(super) struct Filler {
    data: Arc<dyn Dataset>,
    options: LoaderOptions,
    samples_per_epoch: u64,
    sample_len: usize,
    target_len: usize,
}

impl Filler {
    pub(super) fn new(
        data: Arc<dyn Dataset>,
        options: LoaderOptions,
        samples_per_epoch: u64,
    ) -> Self {
        let (sample_len, target_len) = (data.sample_len(), data.label_kind().target_len());
        Self { data, options, samples_per_epoch, sample_len, target_len }
    }

    /// A batch with room for everything.
    pub(super) fn empty_batch(&self) -> Batch {
        let n = self.options.batch_size.min(self.data.len());
        Batch {
            x: Vec::with_capacity(n * self.sample_len),
            labels: Vec::with_capacity(n),
            targets: Vec::with_capacity(n * self.target_len),
            weights: Vec::with_capacity(n),
            indices: Vec::with_capacity(n),
            ..Batch::default()
        }
    }

    /// The bytes of one full batch.
    pub(super) fn batch_bytes(&self) -> usize {
        let n = self.options.batch_size.min(self.data.len());
        4 * n * (self.sample_len + self.target_len + 3)
    }

    /// Samples of one full batch.
    pub(super) fn batch_size(&self) -> usize {
        self.options.batch_size
    }

    /// Whether a sample is a mere copy.
    pub(super) fn is_copy(&self) -> bool {
        self.data.fill_cost() == FillCost::Copy
    }

    /// Epoch, offset in it and length of the batch that starts at `position`.
    fn place(&self, position: u64) -> (u64, u64, usize) {
        let (epoch, offset) =
            (position / self.samples_per_epoch, position % self.samples_per_epoch);
        let len = (self.samples_per_epoch - offset).min(self.options.batch_size as u64);
        (epoch, offset, len as usize)
    }

    /// Where the batch after the one at `position` starts.
    pub(super) fn next_position(&self, position: u64) -> u64 {
        position + self.place(position).2 as u64
    }

    /// Fills `batch` with the samples from `position` on.
    pub(super) fn fill(&self, position: u64, batch: &mut Batch) -> Result<()> {
        let rows = self.start(position, batch);
        batch.num_skipped = self.fill_rows(rows)?;
        Ok(())
    }

    /// Makes `batch` the one at `position`, all but its samples, which are the rows returned.
    pub(super) fn start<'a>(&self, position: u64, batch: &'a mut Batch) -> Rows<'a> {
        let (epoch, offset, len) = self.place(position);
        batch.len = len;
        batch.epoch = epoch;
        batch.position = position;
        batch.next_position = position + len as u64;
        batch.last_in_epoch = offset + len as u64 == self.samples_per_epoch;
        batch.x.resize(len * self.sample_len, 0.0);
        batch.targets.resize(len * self.target_len, 0.0);
        batch.labels.resize(len, 0);
        batch.weights.resize(len, 0.0);
        batch.num_skipped = 0;
        let order = self.options.order.epoch(epoch, self.data.len());
        let range = offset as usize..offset as usize + len;
        batch.indices.clear();
        batch.indices.extend(range.clone().map(|position| order.index(position) as u32));
        let after = (!batch.last_in_epoch).then(|| order.index(range.end) as u32);
        Rows {
            x: &mut batch.x,
            targets: &mut batch.targets,
            labels: &mut batch.labels,
            weights: &mut batch.weights,
            indices: &batch.indices,
            after,
        }
    }

    /// Samples that are worth handing out at once.
    pub(super) fn rows_of_a_piece(&self) -> usize {
        PIECE_VALUES.div_ceil(self.sample_len + self.target_len)
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
        let (mut x, mut targets) = (rows.x, rows.targets);
        let mut skipped = 0;
        let outs = rows.labels.iter_mut().zip(rows.weights.iter_mut());
        for (&index, (class, weight)) in rows.indices.iter().zip(outs) {
            let index = index as usize;
            let (sample, rest) = x.split_at_mut(self.sample_len);
            let (target, rest_targets) = targets.split_at_mut(self.target_len);
            (x, targets) = (rest, rest_targets);
            let label = self.data.fill(index, sample, target)?;
            *class = if let Label::Class(c) = label { c as i32 } else { 0 };
            *weight = self.weight(index, label);
            skipped += usize::from(label == Label::Skipped);
        }
        Ok(skipped)
    }

    fn weight(&self, index: usize, label: Label) -> f32 {
        let class = match label {
            Label::Skipped => return 0.0,
            Label::Class(c) => self.options.class_weights.get(c as usize).copied().unwrap_or(1.0),
            Label::Values | Label::None => 1.0,
        };
        class * self.options.sample_weights.as_ref().map_or(1.0, |w| w[index])
    }
}
