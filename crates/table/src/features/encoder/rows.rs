//! Events as rows of a table in memory.

use super::super::category::{Category, write_words};
use super::super::codes::{Codes, Part};
use super::{Checked, Encoder};
use crate::events::Event;

impl Encoder {
    /// The inputs in their order, as [`Codes`] hold them.
    pub(in crate::features) fn parts(&self) -> Vec<Part> {
        let mut parts = vec![Part::Plain(self.numbers.len())];
        if self.missing_indicator {
            parts.push(Part::Bits(self.numbers.len()));
        }
        let (rows, others): (Vec<_>, Vec<_>) =
            self.categories.iter().map(|(_, c)| c).partition(|c| c.is_row());
        parts.extend(others.iter().map(|c| c.part()));
        parts.push(Part::Plain(self.vector));
        if let Some(hats) = &self.hats {
            parts.push(Part::Hats(self.numbers.len(), hats.each()));
        }
        parts.extend(rows.iter().map(|c| c.part()));
        parts
    }

    /// Appends the codes of an event; of a bad one only a part.
    pub(in crate::features) fn append(&self, event: Event<'_>, codes: &mut Codes) -> Checked<()> {
        let (mut values, mut x) = (Vec::new(), vec![0.0; self.numbers.len()]);
        self.check(event, &mut values)?;
        self.scale(&values, self.clip as f32, &mut x);
        codes.fixed.extend(x.iter().map(|x| x.to_bits()));
        if self.missing_indicator {
            codes.fixed.extend(bits(values.iter().map(|v| v.is_nan())));
        }
        let mut hats: Vec<u32> = Vec::new();
        if let Some(own) = &self.hats {
            self.scale(&values, own.clip(self.clip as f32), &mut x);
            let places = values.iter().zip(&x).enumerate();
            let place =
                |(j, (v, z)): (usize, (&f64, &f32))| if own.has(j, *v) { *z } else { f32::NAN };
            hats.extend(places.map(place).map(f32::to_bits));
        }
        let first_row = self.categories.iter().position(|(_, category)| category.is_row());
        let (others, rows) = self.categories.split_at(first_row.unwrap_or(self.categories.len()));
        for (column, category) in others {
            let place = category.find(event.value(column.index));
            codes.fixed.push(place.map_or(0, |place| place as u32 + 1));
        }
        x.resize(self.vector, 0.0);
        self.vector_values(event, &mut values);
        self.write_vector(event, &values, &mut x);
        codes.fixed.extend(x.iter().map(|x| x.to_bits()));
        codes.fixed.extend(hats);
        for (column, category) in rows {
            let value = event.value(column.index);
            if let Category::Words { buckets, most } = category {
                x.clear();
                x.resize(*most, 0.0);
                write_words(value, *buckets, &mut x);
                let words = x.iter().take_while(|row| **row != 0.0);
                let before = codes.words.len();
                codes.words.extend(words.map(|row| *row as u32));
                codes.fixed.push((codes.words.len() - before) as u32);
            } else {
                codes.fixed.push(category.find(value).map_or(0, |row| row as u32));
            }
        }
        Ok(())
    }
}

/// Bits in words of 32, the first ones lowest.
fn bits(all: impl ExactSizeIterator<Item = bool>) -> impl Iterator<Item = u32> {
    let mut words = vec![0; all.len().div_ceil(32)];
    all.enumerate().filter(|(_, bit)| *bit).for_each(|(i, _)| words[i / 32] |= 1 << (i % 32));
    words.into_iter()
}
