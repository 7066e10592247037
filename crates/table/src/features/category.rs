//! Columns of categories: hashed, in a dictionary, rows of embeddings, words.

use serde::{Deserialize, Serialize};

use super::codes::Part;
use super::dictionary::Dictionary;
use super::evidence::{Keys, in_order};
use super::ids::Ids;
use super::labels::key;
use super::spec::Categorical;
use crate::events::Value;
use crate::formats::hash::murmur3;

/// What a column of categories is, with what was learned of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Category {
    Hashing(usize),
    Words { buckets: usize, most: usize },
    Dictionary(Dictionary),
    Ids(Ids),
}

impl Category {
    pub fn new(spec: &Categorical) -> Category {
        match *spec {
            Categorical::Hashing { buckets } => Category::Hashing(buckets),
            Categorical::Words { buckets, most } => Category::Words { buckets, most },
            Categorical::Dictionary { capacity } => Category::Dictionary(Dictionary::new(capacity)),
            Categorical::Embedding { capacity, min_count, expiry } => {
                Category::Ids(Ids::new(capacity, min_count, expiry))
            }
        }
    }

    /// What a table's texts make of it.
    pub fn fit(spec: &Categorical, keys: Keys, rows: u64) -> Category {
        let empty = Category::new(spec);
        match empty {
            Category::Dictionary(mut dictionary) => {
                let capacity = dictionary.capacity();
                let (known, _) = in_order(keys.by_frequency(), capacity);
                for (text, _) in known {
                    dictionary.learn(&text);
                }
                Category::Dictionary(dictionary)
            }
            Category::Ids(ids) => Category::Ids(ids.fitted(keys, rows)),
            Category::Hashing(_) | Category::Words { .. } => empty,
        }
    }

    /// The inputs, in memory.
    pub fn part(&self) -> Part {
        match self {
            Category::Ids(_) => Part::Row,
            Category::Words { most, .. } => Part::Words(*most),
            Category::Hashing(_) | Category::Dictionary(_) => Part::OneHot(self.width()),
        }
    }

    /// Whether its input is a row of an embedding.
    pub fn is_row(&self) -> bool {
        matches!(self, Category::Ids(_) | Category::Words { .. })
    }

    pub fn width(&self) -> usize {
        match self {
            Category::Hashing(buckets) => *buckets,
            Category::Words { most, .. } => *most,
            Category::Dictionary(dictionary) => dictionary.capacity() + 1,
            Category::Ids(_) => 1,
        }
    }

    /// The bucket, place in the dictionary or row of a value; `None` if it is missing.
    pub fn learn(&mut self, value: Value<'_>) -> Option<usize> {
        let mut buffer = [0; 32];
        let text = key(value, &mut buffer);
        match self {
            Category::Dictionary(dictionary) => Some(dictionary.learn(text?).map_or(0, |i| i + 1)),
            Category::Ids(ids) => {
                // A missing id lets the time go by for the others.
                let row = ids.learn(text);
                text.map(|_| row as usize)
            }
            Category::Hashing(_) | Category::Words { .. } => self.find(value),
        }
    }

    /// The same without learning.
    pub fn find(&self, value: Value<'_>) -> Option<usize> {
        let mut buffer = [0; 32];
        let text = key(value, &mut buffer)?;
        Some(match self {
            Category::Hashing(buckets) | Category::Words { buckets, .. } => bucket(text, *buckets),
            Category::Dictionary(dictionary) => dictionary.find(text).map_or(0, |i| i + 1),
            Category::Ids(ids) => ids.find(text) as usize,
        })
    }

    pub fn write(&self, found: Option<usize>, x: &mut [f32]) {
        x.fill(0.0);
        match (self, found) {
            (_, None) => {}
            (Category::Ids(_), Some(row)) => x[0] = row as f32,
            (_, Some(place)) => x[place] = 1.0,
        }
    }

    pub fn names(&self, column: &str, names: &mut Vec<String>) {
        match self {
            Category::Hashing(buckets) => {
                names.extend((0..*buckets).map(|b| format!("{column} hash {b}")));
            }
            Category::Dictionary(dictionary) => {
                names.push(format!("{column} is another"));
                let texts = dictionary.texts();
                names.extend(texts.iter().map(|text| format!("{column}={text}")));
                let left = texts.len()..dictionary.capacity();
                names.extend(left.map(|i| format!("{column} unused {i}")));
            }
            Category::Words { most, .. } => {
                names.extend((1..=*most).map(|i| format!("{column} word {i}")));
            }
            Category::Ids(_) => names.push(format!("{column} row")),
        }
    }
}

fn bucket(text: &str, buckets: usize) -> usize {
    murmur3(text.as_bytes(), 0) as usize % buckets
}

/// The rows of a text's different words, as many as there is room for.
pub(super) fn write_words(value: Value<'_>, buckets: usize, x: &mut [f32]) {
    x.fill(0.0);
    let mut buffer = [0; 32];
    let Some(text) = key(value, &mut buffer) else { return };
    let mut len = 0;
    let mut put = |word: &[u8]| {
        let row = (murmur3(word, 0) as usize % buckets + 1) as f32;
        if len < x.len() && !x[..len].contains(&row) {
            x[len] = row;
            len += 1;
        }
    };
    // One pass, most of which sees ASCII.
    let mut word = Vec::with_capacity(64);
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            word.push(c.to_ascii_lowercase() as u8);
        } else if !c.is_ascii() && c.is_alphanumeric() {
            for c in c.to_lowercase() {
                word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        } else if !word.is_empty() {
            put(&word);
            word.clear();
        }
    }
    if !word.is_empty() {
        put(&word);
    }
}
