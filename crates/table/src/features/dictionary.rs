//! Texts numbered in their order of appearance, up to a capacity.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::MAX_KEY_BYTES;

/// A growing dictionary.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub(super) struct Dictionary {
    capacity: usize,
    texts: Vec<String>,
    index: HashMap<String, usize>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    capacity: usize,
    texts: Vec<String>,
}

impl From<Saved> for Dictionary {
    fn from(saved: Saved) -> Dictionary {
        let index = saved.texts.iter().cloned().zip(0..).collect();
        Dictionary { capacity: saved.capacity, texts: saved.texts, index }
    }
}

impl From<Dictionary> for Saved {
    fn from(dictionary: Dictionary) -> Saved {
        Saved { capacity: dictionary.capacity, texts: dictionary.texts }
    }
}

impl Dictionary {
    pub fn new(capacity: usize) -> Dictionary {
        Dictionary::from(Saved { capacity, texts: Vec::new() })
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    pub fn find(&self, text: &str) -> Option<usize> {
        // Hashing costs more than looking at a few.
        if self.texts.len() <= 4 {
            return self.texts.iter().position(|t| t == text);
        }
        self.index.get(text).copied()
    }

    /// Its number; `None` if it is new and there is no room.
    pub fn learn(&mut self, text: &str) -> Option<usize> {
        if let Some(found) = self.find(text) {
            return Some(found);
        }
        if self.texts.len() == self.capacity || text.len() > MAX_KEY_BYTES {
            return None;
        }
        self.index.insert(text.to_owned(), self.texts.len());
        self.texts.push(text.to_owned());
        Some(self.texts.len() - 1)
    }
}
