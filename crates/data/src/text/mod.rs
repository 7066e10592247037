//! Texts as sequences of ids.
//!
//! - [`words`]: the words of a text and their ids ([`words::TextIds`])
//! - [`TextDirectorySpec`]: a folder of texts with one sub-folder for each class
//! - [`TaggedSpec`]: words with a class each, one a line
//! - [`DocumentsSpec`]: documents with summaries, a sample for each sentence
//! - [`TextFileSpec`]: a long text in windows; [`ParallelSpec`]: texts with what they become; both by the
//!   tokenizer of the run ([`TextContext`])

mod documents;
mod folder;
mod parallel;
mod tagged;
pub(crate) mod tokens;
mod windows;
pub mod words;

pub use documents::{Document, DocumentsSpec, PLACE};
pub use folder::{TextDirectorySpec, files_below};
pub use parallel::ParallelSpec;
pub use tagged::TaggedSpec;
pub use tokens::{TextContext, read_tokenizer, read_utf8};
pub use windows::{TextFileSpec, Texts, Windows};

use std::io::Read;
use std::path::Path;

use crate::source::open_file;
use crate::{Error, Result};

/// A file's text: UTF-8, or Latin-1 where it is not valid UTF-8. A mark of byte order at its start is
/// left out.
fn read(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    open_file(path)?.read_to_end(&mut bytes).map_err(|e| Error::read(path, e))?;
    Ok(decode(bytes))
}

fn decode(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| error.into_bytes().iter().map(|&b| char::from(b)).collect());
    match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}
