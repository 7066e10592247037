//! The numbers and the vector of an event: taken, checked and written as inputs.

use super::super::MAX_NUMBER;
use super::column::{bad_number, loose};
use super::{Checked, Encoder, Standardize};
use crate::events::{Event, Value};

impl Encoder {
    /// Takes the event's numbers and learns what their columns are.
    pub(super) fn take(&mut self, event: Event<'_>, values: &mut Vec<f64>) {
        let fill = self.fill.unwrap_or(f64::NAN);
        values.resize(self.numbers.len(), 0.0);
        for (j, (value, column)) in values.iter_mut().zip(&mut self.numbers).enumerate() {
            *value = match event.value(column.index) {
                Value::Number(n) if column.codes.is_none() && n.abs() <= MAX_NUMBER => {
                    column.numbers += 1;
                    n
                }
                Value::Missing => fill,
                other => {
                    let was_odd = column.odd.is_some();
                    let (taken, revised) = column.other(other);
                    if !was_odd && column.odd.is_some() {
                        column.odd_place = event.place().to_string();
                    }
                    if revised {
                        self.running.reset(j);
                        if let Some(hats) = &mut self.hats {
                            hats.reset(j);
                        }
                    }
                    if taken.is_nan() { fill } else { taken }
                }
            };
        }
    }

    /// The columns of numbers where the event has something else, which counts as missing.
    pub fn not_numbers<'e>(
        &self,
        event: Event<'e>,
    ) -> impl Iterator<Item = (usize, Value<'e>)> + use<'_, 'e> {
        let numbers = self.numbers.iter().filter(|column| column.codes.is_none());
        let values = numbers.map(move |column| (column.index, event.value(column.index)));
        values.filter(|(_, value)| match value {
            Value::Missing => false,
            Value::Number(n) => n.abs() > MAX_NUMBER || n.is_nan(),
            Value::Text(text) => loose(text).is_none_or(|n| n.abs() > MAX_NUMBER),
        })
    }

    /// The event's numbers; what is no number is missing.
    pub(super) fn check(&self, event: Event<'_>, values: &mut Vec<f64>) -> Checked<()> {
        let fill = self.fill.unwrap_or(f64::NAN);
        values.resize(self.numbers.len(), 0.0);
        for (value, column) in values.iter_mut().zip(&self.numbers) {
            *value = match event.value(column.index) {
                Value::Missing => fill,
                value if column.codes.is_some() => column.find_code(value).unwrap_or(0.0),
                Value::Number(n) if n.abs() <= MAX_NUMBER => n,
                Value::Text(text) => loose(text).filter(|n| n.abs() <= MAX_NUMBER).unwrap_or(fill),
                Value::Number(_) => fill,
            };
        }
        self.check_vector(event)
    }

    /// Whether the numbers of the vector are good.
    pub(super) fn check_vector(&self, event: Event<'_>) -> Checked<()> {
        assert_eq!((event.columns(), event.vector().len()), (self.columns, self.vector), "columns");
        let good = |v: &f32| v.abs() <= MAX_NUMBER as f32;
        if !event.vector().iter().fold(true, |all, v| all & good(v)) {
            let at = event.vector().iter().position(|v| !good(v)).unwrap_or(0);
            return Err(bad_number(&format!("vector[{at}]"), f64::from(event.vector()[at])));
        }
        Ok(())
    }

    /// Writes these inputs; gives those of the categories, and those that are rows of embeddings, to
    /// be written.
    pub(super) fn numbers_and_vector<'x>(
        &self,
        event: Event<'_>,
        values: &[f64],
        vector_values: &[f64],
        x: &'x mut [f32],
    ) -> [&'x mut [f32]; 2] {
        let (x, rows) = x.split_at_mut(x.len() - self.rows());
        let (numbers, mut rest) = x.split_at_mut(values.len());
        let clip = self.clip as f32;
        let hats_clip = self.hats.as_ref().map_or(clip, |hats| hats.clip(clip));
        self.scale(values, hats_clip, numbers);
        if let Some(hats) = &self.hats {
            let (others, x) = rest.split_at_mut(rest.len() - hats.width());
            hats.write(values, numbers, x);
            rest = others;
        }
        if hats_clip > clip {
            numbers.iter_mut().for_each(|z| *z = z.clamp(-clip, clip));
        }
        if self.missing_indicator {
            let (indicators, others) = rest.split_at_mut(values.len());
            for (x, v) in indicators.iter_mut().zip(values) {
                *x = f32::from(u8::from(v.is_nan()));
            }
            rest = others;
        }
        let (categories, vector) = rest.split_at_mut(rest.len() - self.vector);
        self.write_vector(event, vector_values, vector);
        [categories, rows]
    }

    /// The inputs of these numbers; those that are standardized are clipped at `clip`.
    pub(super) fn scale(&self, values: &[f64], clip: f32, x: &mut [f32]) {
        let map = |x: &mut [f32], f: &dyn Fn(f64) -> f64| {
            for (x, v) in x.iter_mut().zip(values) {
                *x = if v.is_nan() { 0.0 } else { f(*v) as f32 };
            }
        };
        match self.standardize {
            Standardize::Running => self.running.transform(values, clip, x),
            Standardize::None => map(x, &|v| v),
            Standardize::Scale { multiply, add } => map(x, &|v| v * multiply + add),
        }
    }

    /// The numbers of the event's vector, where they are standardized.
    pub(super) fn vector_values(&self, event: Event<'_>, values: &mut Vec<f64>) {
        values.clear();
        if self.vector_running.is_some() {
            values.extend(event.vector().iter().map(|v| f64::from(*v)));
        }
    }

    /// The inputs of the event's vector; `values` has its numbers where they are standardized.
    pub(super) fn write_vector(&self, event: Event<'_>, values: &[f64], x: &mut [f32]) {
        if let Some(running) = &self.vector_running {
            running.transform(values, self.clip as f32, x);
            return;
        }
        let (scale, offset) = (self.vector_scale as f32, self.vector_offset as f32);
        for (x, v) in x.iter_mut().zip(event.vector()) {
            *x = v * scale + offset;
        }
    }
}
