//! MixUp and CutMix: each sample of a batch is mixed with the one before it, the first with the last, as torchvision has it. What is
//! done to a batch is a pure function of (seed, epoch, position of the batch).

use tidemill_fields::{Batch, Values};

use super::{MixSpec, Purpose, Window, draws};

/// Mixes the samples of batches, and their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    pub(super) mixup: Option<MixSpec>,
    pub(super) cutmix: Option<MixSpec>,
    pub(super) seed: u64,
}

/// What is done to a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    /// All values: so much is a sample's own.
    Whole(f64),
    /// A rectangle is replaced.
    Part(Window),
}

impl Mix {
    /// What is done to the batch at `position` of an epoch, whose images are `[height, width]`; none where chance leaves it as it is.
    pub fn how(&self, epoch: u64, position: u64, [height, width]: [usize; 2]) -> Option<How> {
        let mut draws = draws(self.seed, epoch, position, Purpose::Mix);
        let second = draws.double() < 0.5;
        let (spec, cuts) = match (&self.mixup, &self.cutmix) {
            (Some(spec), None) => (spec, false),
            (None, Some(spec)) => (spec, true),
            (Some(mixup), Some(cutmix)) => (if second { cutmix } else { mixup }, second),
            (None, None) => return None,
        };
        if draws.double() >= spec.probability {
            return None;
        }
        let own = draws.beta(spec.alpha);
        if !cuts {
            return Some(How::Whole(own));
        }
        let half = 0.5 * (1.0 - own).sqrt();
        let mut side = |len: usize| {
            let middle = draws.below(len as u64) as i64;
            let reach = (half * len as f64) as i64;
            let clamp = |at: i64| at.clamp(0, len as i64) as usize;
            (clamp(middle - reach), clamp(middle + reach))
        };
        let (left, right) = side(width);
        let (top, bottom) = side(height);
        Some(How::Part(Window { top, left, height: bottom - top, width: right - left }))
    }

    /// Mixes a batch whose first field is images of `shape`, and whose truth is values; `piece` sets pieces of one batch apart.
    pub fn apply(&self, batch: &mut Batch, shape: [usize; 3], piece: u64) {
        let position = batch.position.wrapping_mul(0x1_0000).wrapping_add(piece);
        if let Some(how) = self.how(batch.epoch, position, [shape[0], shape[1]]) {
            how.apply(batch, shape);
        }
    }
}

impl How {
    /// Mixes a batch so. Samples that weigh nothing are left as they are, and those after them.
    pub fn apply(self, batch: &mut Batch, [height, width, channels]: [usize; 3]) {
        let own = match self {
            How::Whole(own) => own,
            How::Part(w) => 1.0 - (w.height * w.width) as f64 / (height * width).max(1) as f64,
        };
        let (len, truth) = (batch.len, batch.signature().truth_index());
        let before = |i: usize| if i == 0 { len - 1 } else { i - 1 };
        let mixes: Vec<bool> =
            (0..len).map(|i| batch.weights[i] != 0.0 && batch.weights[before(i)] != 0.0).collect();
        let blend = |a: &mut [f32], b: &[f32]| {
            let (own, other) = (own as f32, (1.0 - own) as f32);
            a.iter_mut().zip(b).for_each(|(a, &b)| *a = b * other + *a * own);
        };
        roll(&mut batch.weights, 1, &mixes, &blend);
        if let Some(column) = truth.map(|truth| &mut batch.columns[truth])
            && let (stride, Values::F32(targets)) = (column.stride(), &mut column.values)
        {
            roll(targets, stride, &mixes, &blend);
        }
        let stride = height * width * channels;
        let Some(Values::F32(x)) = batch.columns.first_mut().map(|column| &mut column.values)
        else {
            return;
        };
        match self {
            How::Whole(_) => roll(x, stride, &mixes, &blend),
            How::Part(w) => roll(x, stride, &mixes, &|a: &mut [f32], b: &[f32]| {
                for y in w.top..w.top + w.height {
                    let row =
                        (y * width + w.left) * channels..(y * width + w.left + w.width) * channels;
                    a[row.clone()].copy_from_slice(&b[row]);
                }
            }),
        }
    }
}

/// Mixes each row with the one before it as that was, the first with the last.
fn roll(values: &mut [f32], stride: usize, mixes: &[bool], mix: &dyn Fn(&mut [f32], &[f32])) {
    let Some(last) = mixes.len().checked_sub(1).filter(|&last| last > 0) else { return };
    let kept = values[last * stride..(last + 1) * stride].to_vec();
    for i in (1..=last).rev().filter(|&i| mixes[i]) {
        let (before, own) = values.split_at_mut(i * stride);
        mix(&mut own[..stride], &before[(i - 1) * stride..]);
    }
    if mixes[0] {
        mix(&mut values[..stride], &kept);
    }
}
