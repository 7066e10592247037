//! Tables of audio: which file, or which part of it, says what, and who speaks.
//!
//! A manifest is a CSV or TSV file with a header, or JSON lines, of these columns, of which all but the first may lack:
//!
//! | column | meaning |
//! | --- | --- |
//! | `path` | the file, below the folder of the manifest |
//! | `text` | what is said |
//! | `speaker` | who says it |
//! | `start`, `end` | seconds within the file; empty for its start and end |
//!
//! Others are left alone. In a TSV, quotes are characters like others.

mod rows;
mod within;

pub use rows::read_manifest;
pub use within::within;

use std::path::PathBuf;

use crate::{ReadOptions, Reader, Result};

/// A recording, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Utterance {
    /// The file, all links resolved.
    pub path: PathBuf,
    /// The file as the manifest names it, for messages.
    pub name: String,
    /// What is said.
    pub text: String,
    /// Who says it.
    pub speaker: Option<String>,
    /// Seconds at which it starts.
    pub start: Option<f64>,
    /// Seconds at which it ends.
    pub end: Option<f64>,
    /// The line in the manifest, from 1; 0 if there is none.
    pub line: u64,
}

impl Utterance {
    /// Opens the recording at a sample rate, at the part that this is.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn open(&self, sample_rate: u32) -> Result<Reader> {
        let sample_rate = Some(sample_rate);
        let options = ReadOptions { sample_rate, channel: None, start: self.start, end: self.end };
        Reader::open(&self.path, &options)
    }
}
