//! Bounds on what a record may name, checked before memory is taken for it: whoever sends records to a
//! live source chooses their keys and headers.

use super::{BadEvent, short};

/// Columns of a row, attributes of a header, or keys of an event.
pub(super) const MOST_NAMES: usize = 1 << 16;
/// Bytes of one of them.
const MOST_NAME_BYTES: usize = 1024;
/// Dots in one of them: levels of nested keys.
const MOST_DOTS: usize = 64;
/// Bytes of all of them; of a key with dots, those of all keys around it as well.
const MOST_BYTES: usize = 4 << 20;
/// Numbers of a vector, and features of a sparse event.
pub(super) const MOST_NUMBERS: usize = 1 << 20;
/// Notes about single columns; more of them say nothing new.
pub(super) const MOST_NOTES: usize = 16;

/// The names of one header or event so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names {
    count: usize,
    bytes: usize,
}

impl Names {
    /// One more name, of what users call a `what`; with `more` bytes that are kept beside it.
    ///
    /// # Errors
    /// If it is too long, or there are too many.
    pub(super) fn add(&mut self, what: &str, name: &str, more: usize) -> Result<(), BadEvent> {
        let dots = memchr::memchr_iter(b'.', name.as_bytes()).count();
        if name.len() > MOST_NAME_BYTES || more > MOST_NAME_BYTES || dots > MOST_DOTS {
            let (len, name) = (name.len().max(more), short(name.as_bytes()));
            return Err(BadEvent::new(format!(
                "{what} `{name}` has {len} bytes and {dots} dots; {MOST_NAME_BYTES} bytes and {MOST_DOTS} \
                 dots are the most"
            )));
        }
        self.count += 1;
        self.bytes += name.len() * (dots + 1) + more;
        match self.count > MOST_NAMES || self.bytes > MOST_BYTES {
            true => Err(too_many(what)),
            false => Ok(()),
        }
    }
}

/// More names than there may be.
pub(super) fn too_many(what: &str) -> BadEvent {
    BadEvent::new(format!(
        "more than {MOST_NAMES} {what}s, or more than {} MiB of their names; give numbers as an array of \
         JSON, or as VW text or libsvm, which have no columns",
        MOST_BYTES >> 20
    ))
}

/// Refuses an event of more numbers than a model could take.
///
/// # Errors
/// If there are too many.
pub(super) fn check_numbers(what: &str, count: usize) -> Result<(), BadEvent> {
    match count > MOST_NUMBERS {
        true => Err(BadEvent::new(format!("more than {MOST_NUMBERS} {what} in one event"))),
        false => Ok(()),
    }
}
