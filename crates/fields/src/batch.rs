//! Samples by columns.

use std::sync::Arc;

use crate::column::{Column, Values};
use crate::field::{DType, Field, Signature};
use crate::row::{FieldError, Row};
use crate::truth::Truth;

/// Samples for one step, or any other rows that are kept, such as those of a replay memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    signature: Arc<Signature>,
    /// One for each field of the signature: `[len, dims...]`.
    pub columns: Vec<Column>,
    /// How much each sample counts in the loss, `[len]`; 0 for skipped samples.
    pub weights: Vec<f32>,
    /// Index of each sample in its dataset, `[len]`; empty where they come from none.
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

impl Batch {
    /// No samples of this signature.
    pub fn new(signature: Arc<Signature>) -> Batch {
        let columns = signature.fields().iter().map(Column::new).collect();
        Batch { signature, columns, ..Batch::default() }
    }

    /// Samples without a truth, of one field `x` of floats: `x` are `[len, shape...]`.
    pub fn of_x(x: Vec<f32>, shape: &[usize]) -> Batch {
        let field = Field::numbers("x", shape);
        let inner = field.inner();
        let len = x.len() / inner.max(1);
        let signature = Arc::new(Signature::new(vec![field], None));
        let columns = vec![Column::of_f32(x, inner)];
        Batch { signature, columns, weights: vec![1.0; len], len, ..Batch::default() }
    }

    /// These samples with classes: `labels` are `[len]`.
    #[must_use]
    pub fn with_classes(self, labels: Vec<i32>) -> Batch {
        self.with_truth(Field::class("labels"), Column::of_i32(labels, 1))
    }

    /// These samples with values: `targets` are `[len, width]`.
    #[must_use]
    pub fn with_targets(self, targets: Vec<f32>, width: usize) -> Batch {
        self.with_truth(Field::numbers("targets", &[width]), Column::of_f32(targets, width))
    }

    fn with_truth(mut self, field: Field, column: Column) -> Batch {
        let inputs = self.signature.inputs().to_vec();
        self.columns.truncate(inputs.len());
        self.columns.push(column);
        self.signature = Arc::new(Signature::new(inputs, Some(field)));
        self
    }

    /// What its samples are.
    pub fn signature(&self) -> &Arc<Signature> {
        &self.signature
    }

    /// Makes room for `n` samples in all.
    pub fn reserve(&mut self, n: usize) {
        for column in &mut self.columns {
            let stride = column.stride();
            column.values.reserve(n * stride);
            if column.has_time() {
                column.lengths.reserve(n.saturating_sub(column.lengths.len()));
            }
        }
        self.weights.reserve(n.saturating_sub(self.weights.len()));
    }

    /// Makes it `len` samples, with room for the longest time; new ones are 0 and weigh nothing.
    pub fn resize(&mut self, len: usize) {
        self.columns.iter_mut().for_each(|column| column.resize(len));
        self.weights.resize(len, 0.0);
        self.len = len;
    }

    /// Sequences get only as much room as the longest of the batch needs, rounded up to a power of
    /// two, so that a model needs few plans. To be called once all samples are filled.
    pub fn pad(&mut self) {
        self.columns.iter_mut().for_each(Column::pad);
    }

    /// The same, with so much room in each column that has time; more where samples need it.
    pub fn pad_to(&mut self, rooms: &[usize]) {
        self.columns.iter_mut().zip(rooms).for_each(|(column, &room)| column.pad_to(room));
    }

    /// Sample `i`, to be filled.
    #[inline]
    pub fn row_mut(&mut self, i: usize) -> Row<'_> {
        let truth = self.signature.truth_index();
        Row::of(&mut self.columns, &mut self.weights, truth, i)
    }

    /// The samples from the first one on, to be filled, and their indices.
    pub fn rows_and_indices(&mut self) -> (Row<'_>, &[u32]) {
        let truth = self.signature.truth_index();
        let row = Row::of(&mut self.columns, &mut self.weights, truth, 0);
        (row.in_epoch(self.epoch), &self.indices)
    }

    /// The floats of the first field, `[len, dims...]`; none if it has integers.
    pub fn x(&self) -> &[f32] {
        self.columns.first().map_or(&[], Column::f32)
    }

    /// The floats of sample `i` in the first field.
    pub fn x_mut(&mut self, i: usize) -> &mut [f32] {
        match self.columns.first_mut() {
            Some(column) => {
                let stride = column.stride();
                match &mut column.values {
                    Values::F32(v) => &mut v[i * stride..(i + 1) * stride],
                    Values::I32(_) => &mut [],
                }
            }
            None => &mut [],
        }
    }

    /// The column of truths, if there is one.
    pub fn truths(&self) -> Option<&Column> {
        self.columns.get(self.signature.truth_index()?)
    }

    /// The classes of all samples, `[len]`, or of all their positions; none where truths are values.
    pub fn labels(&self) -> &[i32] {
        self.truths().map_or(&[], Column::i32)
    }

    /// The target values of all samples, `[len, width]`; none where truths are classes.
    pub fn targets(&self) -> &[f32] {
        self.truths().map_or(&[], Column::f32)
    }

    /// How much each position of sample `i`'s truth counts, if that is said.
    pub fn position_weights(&self, i: usize) -> Option<&[f32]> {
        let column = self.columns.get(self.signature.position_weights_index()?)?;
        let stride = column.stride();
        Some(&column.f32()[i * stride..(i + 1) * stride])
    }

    /// What is true of sample `i`.
    #[inline]
    pub fn truth(&self, i: usize) -> Truth<'_> {
        let Some(column) = self.truths() else { return Truth::Unknown };
        let stride = column.stride();
        match &column.values {
            Values::I32(v) if column.has_time() => {
                let length = column.lengths.get(i).copied().unwrap_or(0).max(0) as usize;
                Truth::Classes(&v[i * stride..i * stride + length])
            }
            Values::I32(v) => Truth::Class(v[i] as usize),
            Values::F32(v) => Truth::Values(&v[i * stride..(i + 1) * stride]),
        }
    }

    /// Adds sample `from` of another batch of the same signature.
    pub fn push_row(&mut self, other: &Batch, from: usize) {
        self.resize(self.len + 1);
        self.copy_row(self.len - 1, other, from);
    }

    /// Sample `to` becomes sample `from` of another batch of the same signature.
    pub fn copy_row(&mut self, to: usize, other: &Batch, from: usize) {
        for (own, theirs) in self.columns.iter_mut().zip(&other.columns) {
            own.copy_row(to, theirs, from);
        }
        self.weights[to] = other.weights[from];
    }

    /// Empties it, to be filled with samples of `signature`.
    pub fn restart(&mut self, signature: &Arc<Signature>) {
        if !Arc::ptr_eq(&self.signature, signature) {
            *self = Batch::new(signature.clone());
        }
        self.truncate(0);
    }

    /// Sample `to` becomes sample `from` of another batch, field by field of the same name; a single
    /// input needs no name. Truths stay as they are.
    ///
    /// # Errors
    /// If the other batch lacks a field, or has it with another type or size.
    pub fn copy_inputs(&mut self, to: usize, other: &Batch, from: usize) -> Result<(), FieldError> {
        let (own, theirs) = (self.signature.clone(), &other.signature);
        let single = own.inputs().len() == 1 && theirs.inputs().len() == 1;
        for (i, field) in own.inputs().iter().enumerate() {
            let at = if single { Some(0) } else { theirs.find(&field.name) };
            let Some(column) = at.and_then(|at| other.columns.get(at)) else {
                return Err(FieldError(format!("the samples have no field `{}`", field.name)));
            };
            self.columns[i].copy_converted(to, column, from).map_err(|what| {
                FieldError(format!("the field `{}` of the samples {what}", field.name))
            })?;
        }
        Ok(())
    }

    /// Keeps the first `len` samples.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        for column in &mut self.columns {
            let stride = column.stride();
            column.values.resize(len * stride);
            column.lengths.truncate(len);
        }
        self.weights.truncate(len);
        self.len = len;
    }

    /// The elements of all its columns, in bytes.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(|c| 4 * (c.values.len() + c.lengths.len())).sum()
    }

    /// Whether any float is not finite. Without a branch, so that the compiler takes many at once.
    pub fn has_non_finite(&self) -> bool {
        let bad = |column: &Column| column.f32().iter().fold(false, |bad, v| bad | !v.is_finite());
        self.signature
            .inputs()
            .iter()
            .zip(&self.columns)
            .any(|(f, c)| f.dtype == DType::F32 && bad(c))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences() -> Batch {
        let inputs = vec![Field::numbers("x", &[2]), Field::ids("words", 20)];
        Batch::new(Arc::new(Signature::new(inputs, Some(Field::class("labels")))))
    }

    fn fill(batch: &mut Batch, lengths: &[usize]) {
        batch.resize(lengths.len());
        for (i, &n) in lengths.iter().enumerate() {
            let ids: Vec<i32> = (1..=n as i32).collect();
            let mut row = batch.row_mut(i);
            row.f32(0).unwrap_or(&mut []).fill(i as f32);
            assert_eq!(row.set_ids(1, &ids), Ok(n.saturating_sub(20)));
            assert_eq!(row.set_class(i as u32), Ok(()));
            row.set_weight(1.0);
        }
    }

    #[test]
    fn sequences_get_the_room_they_need() {
        let mut batch = sequences();
        fill(&mut batch, &[3, 9, 0]);
        assert_eq!(batch.columns[1].time, 20);
        batch.pad();
        let words = &batch.columns[1];
        assert_eq!(
            (words.time, words.lengths.as_slice(), words.i32().len()),
            (16, &[3, 9, 0][..], 48)
        );
        assert_eq!(&words.i32()[16..26], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 0]);
        // Filled again, as loaders do, the room is the longest time.
        fill(&mut batch, &[25]);
        batch.pad();
        assert_eq!((batch.columns[1].time, batch.columns[1].lengths[0]), (20, 20));
    }

    #[test]
    fn rows_go_between_batches_of_other_room() {
        let (mut short, mut long, mut kept) = (sequences(), sequences(), sequences());
        fill(&mut short, &[2, 3]);
        short.pad();
        fill(&mut long, &[12, 17]);
        long.pad();
        kept.push_row(&short, 1);
        kept.push_row(&long, 1);
        kept.pad();
        assert_eq!((kept.columns[1].lengths.as_slice(), kept.columns[1].time), (&[3, 17][..], 20));
        kept.copy_row(1, &short, 0);
        kept.pad();
        assert_eq!((kept.columns[1].lengths.as_slice(), kept.columns[1].time), (&[3, 2][..], 8));
        assert_eq!(kept.columns[1].i32(), &[1, 2, 3, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0]);
        assert_eq!((kept.truth(0), kept.truth(1)), (Truth::Class(1), Truth::Class(0)));
        assert_eq!(kept.x(), &[1.0, 1.0, 0.0, 0.0]);
        // A longer row makes room for itself.
        kept.copy_row(0, &long, 1);
        assert_eq!(kept.columns[1].lengths, [17, 2]);
        assert_eq!(&kept.columns[1].i32()[20..23], &[1, 2, 0]);
        kept.truncate(1);
        assert_eq!((kept.len, kept.columns[1].lengths.len()), (1, 1));
    }

    #[test]
    fn bits_of_a_row_make_it_again() {
        let (mut batch, mut other) = (sequences(), sequences());
        fill(&mut batch, &[3, 17, 0]);
        fill(&mut other, &[20]);
        for i in 0..3 {
            batch.pad();
            for (from, to) in batch.columns.iter().zip(&mut other.columns) {
                assert!(to.set_bits(0, &from.bits(i)));
            }
            let mut want = sequences();
            want.push_row(&batch, i);
            assert_eq!(other.columns, want.columns);
        }
        assert!(!other.columns[0].set_bits(0, &[1]) && !other.columns[1].set_bits(0, &[1; 21]));
    }

    #[test]
    fn rows_are_taken_apart_by_pieces() {
        let mut batch = sequences();
        batch.resize(5);
        {
            let mut rest = batch.row_mut(0);
            let mut first = rest.take(3);
            assert_eq!((first.samples(), rest.samples()), (3, 2));
            for n in 0..3 {
                first.select(n);
                assert_eq!(first.set_class(n as u32), Ok(()));
            }
            rest.select(1);
            assert_eq!(rest.set_class(7), Ok(()));
            assert_eq!((rest.take(9).samples(), rest.samples()), (2, 0));
        }
        assert_eq!(batch.columns[2].i32(), &[0, 1, 2, 0, 7]);
    }

    #[test]
    fn wrong_fields_are_errors() {
        let mut batch = sequences();
        batch.resize(1);
        let mut row = batch.row_mut(0);
        assert!(row.f32(1).is_err() && row.i32(0).is_err() && row.i32(9).is_err());
        assert!(row.targets().is_err());
        let mut plain = Batch::of_x(vec![1.0, 2.0], &[2]);
        assert!(plain.row_mut(0).set_class(1).is_err());
        assert_eq!(plain.truth(0), Truth::Unknown);
    }
}
