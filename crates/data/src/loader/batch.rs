//! One batch, and how it is filled.

use std::sync::Arc;

use crate::{Dataset, Label, LoaderOptions, Result};

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
        let (epoch, offset, len) = self.place(position);
        batch.len = len;
        batch.epoch = epoch;
        batch.position = position;
        batch.next_position = position + len as u64;
        batch.last_in_epoch = offset + len as u64 == self.samples_per_epoch;
        batch.num_skipped = 0;
        batch.x.resize(len * self.sample_len, 0.0);
        batch.targets.resize(len * self.target_len, 0.0);
        batch.labels.clear();
        batch.weights.clear();
        batch.indices.clear();

        let order = self.options.order.epoch(epoch, self.data.len());
        let (mut x, mut targets) = (&mut batch.x[..], &mut batch.targets[..]);
        let mut next = order.index(offset as usize);
        for i in 0..len {
            let index = next;
            let following = offset as usize + i + 1;
            if (following as u64) < self.samples_per_epoch {
                next = order.index(following);
                self.data.touch(next);
            }
            let (sample, rest) = x.split_at_mut(self.sample_len);
            let (target, rest_targets) = targets.split_at_mut(self.target_len);
            (x, targets) = (rest, rest_targets);
            let label = self.data.fill(index, sample, target)?;
            batch.indices.push(index as u32);
            batch.labels.push(if let Label::Class(c) = label { c as i32 } else { 0 });
            batch.weights.push(self.weight(index, label));
            batch.num_skipped += usize::from(label == Label::Skipped);
        }
        Ok(())
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
