//! Parts of a run as files for other programs.

use std::path::Path;
use std::sync::Arc;

use tidemill_engine::checkpoint::files::write_atomic;
use tidemill_engine::data::text::read_tokenizer;
use tidemill_engine::data::tokens::Tokenizer;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::folder::RunFolder;

/// The tokenizer of a run, by its folder, or the one in a file: a `tokenizer.json` or a `.model` of SentencePiece.
///
/// # Errors
/// If there is none, or it cannot be read.
pub fn tokenizer_of(path: &Path) -> Result<Arc<Tokenizer>> {
    if path.is_file() {
        return Ok(Arc::new(read_tokenizer(path)?));
    }
    let checkpoint = RunFolder::open(path)?.checkpoints(1).latest()?.ok_or_else(|| {
        Error::Usage(format!("{}: has no checkpoint; train it first", path.display()))
    })?;
    checkpoint.tokenizer()?.ok_or_else(|| {
        Error::Usage(format!("{}: its model reads no tokens of a tokenizer", path.display()))
    })
}

/// Writes a tokenizer: to a file named `.json` as Hugging Face's `tokenizers` read it, to one named `.model` as
/// SentencePiece reads it. The file is replaced at once.
///
/// # Errors
/// If the name is another, SentencePiece has no such tokenizer, or the file cannot be written.
pub fn write_tokenizer(tokenizer: &Tokenizer, path: &Path) -> Result<()> {
    let usage = |what: String| Error::Usage(format!("{}: {what}", path.display()));
    let bytes = match path.extension().and_then(|e| e.to_str()) {
        Some("json") => tokenizer.to_json().into_bytes(),
        Some("model") => tokenizer.to_sentencepiece().map_err(|e| usage(e.to_string()))?,
        _ => {
            return Err(usage(
                "the name of a tokenizer's file ends in .json (of Hugging Face) or .model (of \
                 SentencePiece)"
                    .into(),
            ));
        }
    };
    write_atomic(path, &bytes)
}
