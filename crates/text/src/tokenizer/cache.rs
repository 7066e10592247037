//! The ids of words that were seen, and memory that encoding uses again.

use std::sync::{Mutex, PoisonError};

use super::model::Work;
use super::vocabulary::Map;

/// The most words that are kept; after that all are forgotten.
const MOST_WORDS: usize = 1 << 16;
/// Longer words are not kept: they hardly come again.
const LONGEST: usize = 256;

/// What a thread needs while it encodes.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) work: Work,
    pub(crate) cache: Cache,
    /// A word in the alphabet of bytes.
    pub(crate) mapped: String,
}

/// The ids of words.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    words: Map<Box<str>, Entry>,
    ids: Vec<i32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    len: u32,
    left_out: u32,
}

impl Cache {
    /// Appends the ids of a word if it is known; gives the number of characters that have none.
    pub(crate) fn get(&self, word: &str, ids: &mut Vec<i32>) -> Option<usize> {
        let entry = self.words.get(word)?;
        ids.extend_from_slice(&self.ids[entry.start as usize..][..entry.len as usize]);
        Some(entry.left_out as usize)
    }

    /// Keeps the ids of a word.
    pub(crate) fn put(&mut self, word: &str, ids: &[i32], left_out: usize) {
        if word.len() > LONGEST {
            return;
        }
        if self.words.len() >= MOST_WORDS {
            self.words.clear();
            self.ids.clear();
        }
        let (start, len) = (self.ids.len() as u32, ids.len() as u32);
        self.words.insert(word.into(), Entry { start, len, left_out: left_out as u32 });
        self.ids.extend_from_slice(ids);
    }
}

/// The memory of threads that are not encoding now.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Vec<Scratch>>);

impl Pool {
    /// Runs with memory that no other thread uses meanwhile.
    pub(crate) fn with<T>(&self, run: impl FnOnce(&mut Scratch) -> T) -> T {
        let free = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = free().pop();
        let mut scratch = taken.unwrap_or_default();
        let result = run(&mut scratch);
        free().push(scratch);
        result
    }
}

impl Clone for Pool {
    fn clone(&self) -> Pool {
        Pool::default()
    }
}

impl PartialEq for Pool {
    fn eq(&self, _: &Pool) -> bool {
        true
    }
}
