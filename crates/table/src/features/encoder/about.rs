//! What columns and inputs are, for people and for the learner.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::super::bits;
use super::super::category::Category;
use super::super::hats::Hats;
use super::super::no_number;
use super::Encoder;
use super::column::Column;
use crate::formats::Note;

/// What a column is, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnKind {
    /// Its name.
    pub name: String,
    /// `number`, `text`, `code of a text`, `row of an embedding`, `words`.
    pub kind: String,
    /// Inputs that it makes.
    pub inputs: usize,
}

/// A column whose inputs are rows of an embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    /// The column.
    pub column: &'a str,
    /// Rows, row 0 included.
    pub rows: usize,
    /// Inputs: 1 for an id, several for words.
    pub inputs: usize,
}

impl Encoder {
    /// The columns whose inputs, the last ones, are rows of embeddings.
    pub fn tables(&self) -> Vec<Table<'_>> {
        let categories = self.categories.iter();
        let tables = categories.filter_map(|(column, category)| {
            let rows = match category {
                Category::Ids(ids) => ids.capacity() + 1,
                Category::Words { buckets, .. } => buckets + 1,
                _ => return None,
            };
            Some(Table { column: &column.name, rows, inputs: category.width() })
        });
        tables.collect()
    }

    /// How many columns are numbers.
    pub fn num_numbers(&self) -> usize {
        self.numbers.len()
    }

    /// The names of the numeric columns, and their values in the event encoded last, as they came; NaN
    /// where one is missing.
    pub fn numbers(&self) -> (impl Iterator<Item = &str>, &[f64]) {
        (self.numbers.iter().map(|column| column.name.as_str()), &self.values)
    }

    /// What was learned of the columns, as it is saved but for numbers in decimals in place of their bits.
    pub fn readable(&self) -> serde_json::Value {
        serde_json::to_value(self).map_or(serde_json::Value::Null, bits::readable)
    }

    /// What each column is, in the order of the schema.
    pub fn kinds(&self) -> Vec<ColumnKind> {
        let hats = self.hats.as_ref().map_or(0, Hats::each);
        let more = usize::from(self.missing_indicator) + hats;
        let number = |column: &Column| {
            let kind = if column.codes.is_some() { "code of a text" } else { "number" };
            (column.index, column.name.clone(), kind, 1 + more)
        };
        let category = |(column, category): &(Column, Category)| {
            let kind = match category {
                Category::Hashing(_) | Category::Dictionary(_) => "text",
                Category::Words { .. } => "words",
                Category::Ids(_) => "row of an embedding",
            };
            (column.index, column.name.clone(), kind, category.width())
        };
        let mut all: Vec<_> = self.numbers.iter().map(number).collect();
        all.extend(self.categories.iter().map(category));
        all.sort_unstable();
        let kind = |(_, name, kind, inputs): (usize, String, &str, usize)| ColumnKind {
            name,
            kind: kind.to_owned(),
            inputs,
        };
        all.into_iter().map(kind).collect()
    }

    /// The inputs that each column makes, in the order of the schema; those of a vector of numbers at the end, as `vector`.
    pub fn inputs_of_columns(&self) -> Vec<(String, Vec<Range<usize>>)> {
        let n = self.numbers.len();
        let mut all: Vec<(usize, String, Vec<Range<usize>>)> = Vec::new();
        let mut next = 0;
        let mut take = |inputs: usize| {
            next += inputs;
            next - inputs..next
        };
        for column in &self.numbers {
            all.push((column.index, column.name.clone(), vec![take(1)]));
        }
        if self.missing_indicator {
            all.iter_mut().for_each(|(.., own)| own.push(take(1)));
        }
        let first_row = self.categories.iter().position(|(_, category)| category.is_row());
        let (others, rows) = self.categories.split_at(first_row.unwrap_or(self.categories.len()));
        for (column, category) in others {
            all.push((column.index, column.name.clone(), vec![take(category.width())]));
        }
        let vector = take(self.vector);
        if let Some(hats) = &self.hats {
            all.iter_mut().take(n).for_each(|(.., own)| own.push(take(hats.each())));
        }
        for (column, category) in rows {
            all.push((column.index, column.name.clone(), vec![take(category.width())]));
        }
        all.sort_by_key(|(index, ..)| *index);
        let mut all: Vec<_> = all.into_iter().map(|(_, name, own)| (name, own)).collect();
        if self.vector > 0 {
            all.push(("vector".to_owned(), vec![vector]));
        }
        all
    }

    /// What a user should know of columns whose values are of two kinds.
    pub fn notes(&self) -> Vec<Note> {
        let odd = |column: &Column| column.odd.clone().unwrap_or_default();
        let numbers = self.numbers.iter().filter(|c| c.odd.is_some()).map(|c| {
            let (name, odd, place) = (&c.name, odd(c), &c.odd_place);
            let text = match &c.codes {
                Some(_) => format!(
                    "column `{name}` was taken for numbers and holds texts (`{odd}`{place}): each is a code of \
                     its one input; name the column in text for an input for each text"
                ),
                None => {
                    let none = no_number(&odd).replace("number", "numbers");
                    format!("column `{name}`: `{odd}`{place} and the like are {none} and are missing")
                }
            };
            Note { text, count: c.texts + c.beyond }
        });
        let texts = self
            .categories
            .iter()
            .map(|(column, _)| column)
            .filter(|c| c.numbers + c.texts >= 20 && c.texts > 0 && c.numbers > c.texts);
        let texts = texts.map(|c| {
            Note::once(format!(
                "column `{}` is text, though most of its values are numbers; name it in \
                 features.numeric if the others are missing values",
                c.name
            ))
        });
        numbers.chain(texts).collect()
    }

    /// What each input is: `price`, `price is missing`, `color=red`, `user row`, `x[3]`.
    pub fn names(&self) -> Vec<String> {
        let numbers = self.numbers.iter().map(|column| column.name.clone());
        let mut names: Vec<String> = numbers.collect();
        if self.missing_indicator {
            names.extend(self.numbers.iter().map(|c| format!("{} is missing", c.name)));
        }
        let first_row = self.categories.iter().position(|(_, category)| category.is_row());
        let (others, rows) = self.categories.split_at(first_row.unwrap_or(self.categories.len()));
        for (column, category) in others {
            category.names(&column.name, &mut names);
        }
        names.extend((0..self.vector).map(|i| format!("x[{i}]")));
        if let Some(hats) = &self.hats {
            let numbers = self.numbers.iter().enumerate();
            names.extend(numbers.flat_map(|(j, column)| hats.names(j, &column.name)));
        }
        for (column, category) in rows {
            category.names(&column.name, &mut names);
        }
        names
    }
}
