//! What is wrong with a stream, for whoever asks its source.

use std::sync::Mutex;

use crate::sync::lock;

/// What a learner says of the records that come, so that a source can tell it to those who send them.
#[derive(Debug, Default)]
pub struct Health(Mutex<Option<String>>);

impl Health {
    /// Nearly all records are bad, and why the last one was; or they are not, from here on.
    pub fn set(&self, bad: Option<String>) {
        *lock(&self.0) = bad;
    }

    /// What is wrong, if anything is.
    pub fn bad(&self) -> Option<String> {
        lock(&self.0).clone()
    }
}
