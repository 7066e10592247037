//! Samples that are being filled.

use smallvec::SmallVec;

use crate::column::{Column, Values};
use crate::field::DType;

/// A row has no such field, or one of another type or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FieldError(pub String);

/// Elements of one field that are being filled.
#[derive(Debug)]
enum Cells<'a> {
    F32(&'a mut [f32]),
    I32(&'a mut [i32]),
}

/// One field of consecutive samples.
#[derive(Debug)]
struct Part<'a> {
    cells: Cells<'a>,
    /// Empty where the field has no time.
    lengths: &'a mut [i32],
    /// Elements of one sample.
    stride: usize,
    /// Elements of one position.
    inner: usize,
}

impl<'a> Part<'a> {
    fn of(column: &'a mut Column) -> Part<'a> {
        let (stride, inner) = (column.stride(), column.inner());
        let cells = match &mut column.values {
            Values::F32(v) => Cells::F32(v),
            Values::I32(v) => Cells::I32(v),
        };
        Part { cells, lengths: &mut column.lengths, stride, inner }
    }

    /// Splits off the first `n` samples.
    fn take(&mut self, n: usize) -> Part<'a> {
        let at = n * self.stride;
        let cells = match &mut self.cells {
            Cells::F32(v) => {
                let (first, rest) = std::mem::take(v).split_at_mut(at);
                *v = rest;
                Cells::F32(first)
            }
            Cells::I32(v) => {
                let (first, rest) = std::mem::take(v).split_at_mut(at);
                *v = rest;
                Cells::I32(first)
            }
        };
        let lengths = std::mem::take(&mut self.lengths);
        let (first, rest) = lengths.split_at_mut(n.min(lengths.len()));
        self.lengths = rest;
        Part { cells, lengths: first, stride: self.stride, inner: self.inner }
    }
}

/// A sample that is being filled, one of several consecutive ones. Fields are numbered as in the
/// signature.
#[derive(Debug, Default)]
pub struct Row<'a> {
    parts: SmallVec<[Part<'a>; 4]>,
    weights: &'a mut [f32],
    truth: Option<usize>,
    /// Which sample is being filled.
    at: usize,
    /// Samples that were skipped.
    skipped: usize,
    /// The epoch of a loader that they are filled for.
    epoch: Option<u64>,
}

impl<'a> Row<'a> {
    pub(crate) fn of(
        columns: &'a mut [Column],
        weights: &'a mut [f32],
        truth: Option<usize>,
        at: usize,
    ) -> Row<'a> {
        // Pushed one by one: that stays inline, and each event does it.
        let mut parts = SmallVec::new();
        columns.iter_mut().for_each(|column| parts.push(Part::of(column)));
        Row { parts, weights, truth, at, skipped: 0, epoch: None }
    }

    /// Says for which epoch of training they are filled.
    pub(crate) fn in_epoch(mut self, epoch: u64) -> Row<'a> {
        self.epoch = Some(epoch);
        self
    }

    /// The epoch that they are filled for; none outside of one. Where samples are varied by chance, such as by augmentation, that is by
    /// epoch, and outside of one they are as they are.
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// Sets the epoch that what fills them next varies them by.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.epoch = Some(epoch);
    }

    /// How many samples there are, this one and those before and after it.
    pub fn samples(&self) -> usize {
        self.weights.len()
    }

    /// Goes to sample `at` of them.
    pub fn select(&mut self, at: usize) {
        self.at = at;
    }

    /// Splits off the first `n` samples, or all, so that another thread may fill them.
    #[must_use]
    pub fn take(&mut self, n: usize) -> Row<'a> {
        let n = n.min(self.samples());
        let (first, rest) = std::mem::take(&mut self.weights).split_at_mut(n);
        self.weights = rest;
        let parts = self.parts.iter_mut().map(|part| part.take(n)).collect();
        Row { parts, weights: first, truth: self.truth, at: 0, skipped: 0, epoch: self.epoch }
    }

    /// The floats of a field, to be filled: `[dims...]`, time at its longest.
    ///
    /// # Errors
    /// If there is no such field, or it has integers.
    #[inline]
    pub fn f32(&mut self, field: usize) -> Result<&mut [f32], FieldError> {
        match self.parts.get_mut(field) {
            Some(Part { cells: Cells::F32(v), stride, .. }) => {
                Ok(&mut v[self.at * *stride..(self.at + 1) * *stride])
            }
            found => Err(wrong(field, DType::F32, found.is_some())),
        }
    }

    /// The integers of a field, to be filled.
    ///
    /// # Errors
    /// If there is no such field, or it has floats.
    #[inline]
    pub fn i32(&mut self, field: usize) -> Result<&mut [i32], FieldError> {
        match self.parts.get_mut(field) {
            Some(Part { cells: Cells::I32(v), stride, .. }) => {
                Ok(&mut v[self.at * *stride..(self.at + 1) * *stride])
            }
            found => Err(wrong(field, DType::I32, found.is_some())),
        }
    }

    /// Fills a field of ids with time: those beyond the longest time are cut off, and what is after
    /// the end is 0. Returns how many were cut off.
    ///
    /// # Errors
    /// If there is no such field, or it has floats.
    pub fn set_ids(&mut self, field: usize, ids: &[i32]) -> Result<usize, FieldError> {
        let cells = self.i32(field)?;
        let n = ids.len().min(cells.len());
        cells[..n].copy_from_slice(&ids[..n]);
        cells[n..].fill(0);
        self.set_length(field, n);
        Ok(ids.len() - n)
    }

    /// Sets how long the sample is in a field with time; positions beyond are to be 0.
    pub fn set_length(&mut self, field: usize, length: usize) {
        if let Some(part) = self.parts.get_mut(field)
            && let Some(own) = part.lengths.get_mut(self.at)
        {
            *own = length.min(part.stride / part.inner.max(1)) as i32;
        }
    }

    /// Sets the sample's class; where its truth is a value for each class, as a one-hot row.
    ///
    /// # Errors
    /// If its truth is no class, or has no value for it.
    #[inline]
    pub fn set_class(&mut self, class: u32) -> Result<(), FieldError> {
        let truth = self.truth.ok_or_else(no_truth)?;
        if let Some(Part { cells: Cells::F32(_), .. }) = self.parts.get(truth) {
            let values = self.f32(truth)?;
            values.fill(0.0);
            let len = values.len();
            let cell = values.get_mut(class as usize).ok_or_else(|| {
                FieldError(format!("class {class} has no place in a truth of {len} values"))
            })?;
            *cell = 1.0;
            return Ok(());
        }
        match self.i32(truth)? {
            [cell] => {
                *cell = class as i32;
                Ok(())
            }
            _ => Err(FieldError("the truth is no single class".into())),
        }
    }

    /// The sample's class, where its truth is one.
    pub fn class(&mut self) -> Option<usize> {
        match self.i32(self.truth?).ok()? {
            [class] => Some(*class as usize),
            _ => None,
        }
    }

    /// Sets the class of each position; cut off and filled up as by [`Row::set_ids`].
    ///
    /// # Errors
    /// If its truth is no sequence of classes.
    pub fn set_classes(&mut self, classes: &[i32]) -> Result<usize, FieldError> {
        let truth = self.truth.ok_or_else(no_truth)?;
        self.set_ids(truth, classes)
    }

    /// The values that are true of the sample, to be filled.
    ///
    /// # Errors
    /// If its truth is not values.
    pub fn targets(&mut self) -> Result<&mut [f32], FieldError> {
        let truth = self.truth.ok_or_else(no_truth)?;
        self.f32(truth)
    }

    /// What is true of the sample is not known: its truth becomes 0.
    pub fn forget_truth(&mut self) {
        if let Some(truth) = self.truth {
            self.zero(truth);
        }
    }

    fn zero(&mut self, field: usize) {
        let Some(part) = self.parts.get_mut(field) else { return };
        let own = self.at * part.stride..(self.at + 1) * part.stride;
        match &mut part.cells {
            Cells::F32(v) => v[own].fill(0.0),
            Cells::I32(v) => v[own].fill(0),
        }
        if let Some(length) = part.lengths.get_mut(self.at) {
            *length = 0;
        }
    }

    /// Sets how much the sample counts in the loss.
    #[inline]
    pub fn set_weight(&mut self, weight: f32) {
        if let Some(own) = self.weights.get_mut(self.at) {
            *own = weight;
        }
    }

    /// How much the sample counts.
    #[inline]
    pub fn weight(&self) -> f32 {
        self.weights.get(self.at).copied().unwrap_or(0.0)
    }

    /// The sample could not be read, or is left out: it becomes all zeros and counts for nothing, so
    /// that the positions of all other samples stay what they are.
    pub fn skip(&mut self) {
        (0..self.parts.len()).for_each(|field| self.zero(field));
        self.set_weight(0.0);
        self.skipped += 1;
    }

    /// How many samples were skipped.
    pub fn skipped(&self) -> usize {
        self.skipped
    }
}

fn no_truth() -> FieldError {
    FieldError("the samples have no truth".into())
}

fn wrong(field: usize, wanted: DType, exists: bool) -> FieldError {
    FieldError(match exists {
        true => format!("field {field} does not have the type {wanted:?}"),
        false => format!("the sample has no field {field}"),
    })
}
