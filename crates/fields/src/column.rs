//! One field of many samples.

use crate::field::{DType, Field};

/// The elements of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Floats.
    F32(Vec<f32>),
    /// Integers.
    I32(Vec<i32>),
}

impl Values {
    /// No elements of that type.
    pub fn new(dtype: DType) -> Values {
        match dtype {
            DType::F32 => Values::F32(Vec::new()),
            DType::I32 => Values::I32(Vec::new()),
        }
    }

    /// Their type.
    pub fn dtype(&self) -> DType {
        match self {
            Values::F32(_) => DType::F32,
            Values::I32(_) => DType::I32,
        }
    }

    /// Their number.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(v) => v.len(),
            Values::I32(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes them so many; new ones are 0.
    pub fn resize(&mut self, len: usize) {
        match self {
            Values::F32(v) => v.resize(len, 0.0),
            Values::I32(v) => v.resize(len, 0),
        }
    }

    /// Makes room for so many in all.
    pub fn reserve(&mut self, len: usize) {
        match self {
            Values::F32(v) => v.reserve(len.saturating_sub(v.len())),
            Values::I32(v) => v.reserve(len.saturating_sub(v.len())),
        }
    }

    /// Moves `len` elements within the column.
    fn copy_within(&mut self, from: usize, len: usize, to: usize) {
        match self {
            Values::F32(v) => v.copy_within(from..from + len, to),
            Values::I32(v) => v.copy_within(from..from + len, to),
        }
    }

    /// Zeros elements `at..at + len`.
    fn zero(&mut self, at: usize, len: usize) {
        match self {
            Values::F32(v) => v[at..at + len].fill(0.0),
            Values::I32(v) => v[at..at + len].fill(0),
        }
    }

    /// Copies elements of another column of the same type; nothing if the types differ.
    fn copy_from(&mut self, to: usize, other: &Values, from: usize, len: usize) {
        match (self, other) {
            (Values::F32(a), Values::F32(b)) => {
                a[to..to + len].copy_from_slice(&b[from..from + len]);
            }
            (Values::I32(a), Values::I32(b)) => {
                a[to..to + len].copy_from_slice(&b[from..from + len]);
            }
            _ => {}
        }
    }
}

/// One field of many samples: `[len, time, dims...]`, without `time` where the field has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The elements, sample by sample; those after a sample's end are 0.
    pub values: Values,
    /// How long each sample is; empty where the field has no time.
    pub lengths: Vec<i32>,
    /// Positions that each sample has room for; 0 where the field has no time.
    pub time: usize,
    /// Elements of a position, or of a sample where the field has no time.
    inner: usize,
    /// The longest time of the field.
    longest: usize,
}

/// The shortest room for a sequence; from there on, it doubles.
const SHORTEST: usize = 8;

/// The room that samples of up to `length` positions get: a power of two, so that a model needs
/// few plans, but never more than the field allows.
pub(crate) fn bucket(length: usize, most: usize) -> usize {
    length.max(SHORTEST).next_power_of_two().min(most.max(1))
}

impl Column {
    /// A column of no samples.
    pub fn new(field: &Field) -> Column {
        let (inner, longest) = (field.inner(), field.time().unwrap_or(0));
        Column {
            values: Values::new(field.dtype),
            lengths: Vec::new(),
            time: longest,
            inner,
            longest,
        }
    }

    /// A column of floats without time: `values` are `[len, inner]`.
    pub fn of_f32(values: Vec<f32>, inner: usize) -> Column {
        Column { values: Values::F32(values), lengths: Vec::new(), time: 0, inner, longest: 0 }
    }

    /// A column of integers without time: `values` are `[len, inner]`.
    pub fn of_i32(values: Vec<i32>, inner: usize) -> Column {
        Column { values: Values::I32(values), lengths: Vec::new(), time: 0, inner, longest: 0 }
    }

    /// Whether the field has time.
    pub fn has_time(&self) -> bool {
        self.longest > 0
    }

    /// Elements of a position, or of a sample where the field has no time.
    pub fn inner(&self) -> usize {
        self.inner
    }

    /// Elements of one sample, with those after its end.
    pub fn stride(&self) -> usize {
        if self.has_time() { self.time * self.inner } else { self.inner }
    }

    /// Elements of sample `i` that are its own.
    fn own(&self, i: usize) -> usize {
        match self.lengths.get(i) {
            Some(&length) => length.max(0) as usize * self.inner,
            None => self.inner,
        }
    }

    /// The floats; none where the column has integers.
    pub fn f32(&self) -> &[f32] {
        match &self.values {
            Values::F32(v) => v,
            Values::I32(_) => &[],
        }
    }

    /// The integers; none where the column has floats.
    pub fn i32(&self) -> &[i32] {
        match &self.values {
            Values::I32(v) => v,
            Values::F32(_) => &[],
        }
    }

    /// The bits of sample `i`, up to its end: to be kept anywhere.
    pub fn bits(&self, i: usize) -> Vec<u32> {
        let range = i * self.stride()..i * self.stride() + self.own(i);
        match &self.values {
            Values::F32(v) => v[range].iter().map(|v| v.to_bits()).collect(),
            Values::I32(v) => v[range].iter().map(|&v| v as u32).collect(),
        }
    }

    /// Sample `i` gets bits of [`Column::bits`]; false, and nothing is changed, where they are not of such
    /// a column.
    pub fn set_bits(&mut self, i: usize, bits: &[u32]) -> bool {
        self.widen();
        let (stride, inner) = (self.stride(), self.inner.max(1));
        let fits = if self.has_time() { bits.len() <= stride } else { bits.len() == stride };
        if !fits || !bits.len().is_multiple_of(inner) {
            return false;
        }
        self.values.zero(i * stride, stride);
        match &mut self.values {
            Values::F32(v) => {
                v[i * stride..].iter_mut().zip(bits).for_each(|(v, &b)| *v = f32::from_bits(b));
            }
            Values::I32(v) => {
                v[i * stride..].iter_mut().zip(bits).for_each(|(v, &b)| *v = b as i32)
            }
        }
        if let Some(length) = self.lengths.get_mut(i) {
            *length = (bits.len() / inner) as i32;
        }
        true
    }

    /// Makes room for `len` samples of the longest time, the old ones first; new ones are 0.
    pub(crate) fn resize(&mut self, len: usize) {
        self.widen();
        self.values.resize(len * self.stride());
        if self.has_time() {
            self.lengths.resize(len, 0);
        }
    }

    /// Samples get room for the longest time again.
    fn widen(&mut self) {
        if self.time == self.longest {
            return;
        }
        let (old, new, len) = (self.stride(), self.longest * self.inner, self.lengths.len());
        self.values.resize(len * new);
        for i in (0..len).rev() {
            self.values.copy_within(i * old, old, i * new);
            self.values.zero(i * new + old, new - old);
        }
        self.time = self.longest;
    }

    /// Samples get only as much room as the longest of them needs, rounded up to a power of two.
    pub(crate) fn pad(&mut self) {
        if !self.has_time() {
            return;
        }
        let time = bucket(self.longest_here(), self.longest);
        self.shrink(time);
    }

    fn longest_here(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0).max(0) as usize
    }

    /// Samples get room for so many positions, or as many as the longest needs.
    pub(crate) fn pad_to(&mut self, room: usize) {
        if self.has_time() {
            self.shrink(room.max(self.longest_here()).max(1));
        }
    }

    fn shrink(&mut self, time: usize) {
        if time >= self.time {
            return;
        }
        let (old, new) = (self.stride(), time * self.inner);
        for i in 1..self.lengths.len() {
            self.values.copy_within(i * old, new, i * new);
        }
        self.values.resize(self.lengths.len() * new);
        self.time = time;
    }

    /// Sample `to` becomes sample `from` of another column, whose whole numbers may be floats.
    pub(crate) fn copy_converted(
        &mut self,
        to: usize,
        other: &Column,
        from: usize,
    ) -> Result<(), String> {
        if self.has_time() == other.has_time() && self.values.dtype() == other.values.dtype() {
            if self.inner != other.inner {
                return Err(format!("has {} values, not {}", other.inner, self.inner));
            }
            self.copy_row(to, other, from);
            return Ok(());
        }
        let (own, theirs) = (self.stride(), other.stride());
        match (&mut self.values, &other.values) {
            (Values::I32(a), Values::F32(b)) if own == theirs => {
                let cells = a[to * own..(to + 1) * own].iter_mut();
                cells.zip(&b[from * own..]).for_each(|(a, &b)| *a = b as i32);
                Ok(())
            }
            _ => Err("has another type or size".to_owned()),
        }
    }

    /// Sample `to` becomes sample `from` of another column of the same field.
    pub(crate) fn copy_row(&mut self, to: usize, other: &Column, from: usize) {
        let own = other.own(from);
        if own > self.stride() {
            self.widen();
        }
        let stride = self.stride();
        self.values.copy_from(to * stride, &other.values, from * other.stride(), own.min(stride));
        self.values.zero(to * stride + own.min(stride), stride - own.min(stride));
        if let Some(length) = self.lengths.get_mut(to) {
            *length = other.lengths.get(from).copied().unwrap_or(0);
        }
    }
}
