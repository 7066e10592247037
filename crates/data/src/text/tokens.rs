//! What all data of tokens shares: the tokenizer, trained or taken over, and how long samples may be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_text::{Tokenizer, TokenizerSpec};

use crate::source;
use crate::{Error, Result};

/// What other sections of a recipe say of texts.
#[derive(Clone, Debug, Default)]
pub struct TextContext {
    /// How the tokenizer is made.
    pub tokenizer: Option<TokenizerSpec>,
    /// The tokenizer of the run, once there is one.
    pub trained: Option<Arc<Tokenizer>>,
    /// The most tokens of a sample, or of each of its sides.
    pub lengths: Vec<usize>,
}

/// They are compared where they are said.
impl PartialEq for TextContext {
    fn eq(&self, _: &TextContext) -> bool {
        true
    }
}

impl TextContext {
    /// The most tokens of side `side`.
    pub(crate) fn length(&self, side: usize, path: &Path) -> Result<usize> {
        self.lengths.get(side).copied().ok_or_else(|| {
            Error::option(format!(
                "{}: texts are for models of tokens; give the model decoder_only = {{ ... }} or \
                 encoder_decoder = {{ ... }}",
                path.display()
            ))
        })
    }

    /// The run's tokenizer, or `like`, that of the training data, or a new one of these texts.
    pub(crate) fn tokenizer(
        &self,
        resolve: &dyn Fn(&str) -> PathBuf,
        like: Option<Arc<Tokenizer>>,
        texts: &mut dyn Iterator<Item = &str>,
    ) -> Result<Arc<Tokenizer>> {
        if let Some(known) = self.trained.clone().or(like) {
            return Ok(known);
        }
        let wrong = |e: tidemill_text::TextError| Error::option(format!("text.tokenizer: {e}"));
        match &self.tokenizer {
            None => Err(Error::option(
                "the recipe says no text.tokenizer; add [text] with tokenizer = { characters = {} } or \
                 { bpe = { vocabulary = 4000 } }",
            )),
            Some(TokenizerSpec::File(name)) => {
                let path = resolve(name);
                Ok(Arc::new(read_tokenizer(&path)?))
            }
            Some(spec) => Tokenizer::train(spec, texts).map(Arc::new).map_err(wrong),
        }
    }
}

/// The tokenizer in a file: a `tokenizer.json`, or a `.model` of SentencePiece.
///
/// # Errors
/// If it cannot be read, is neither, is damaged, or needs what is not supported.
pub fn read_tokenizer(path: &Path) -> Result<Tokenizer> {
    let bytes = std::fs::read(path).map_err(|e| Error::read(path, e))?;
    Tokenizer::from_bytes(&bytes).map_err(|e| Error::format(path, e.to_string()))
}

/// A text file, inflated where it is gzip, without a mark of byte order at its start.
///
/// # Errors
/// If it cannot be read, is UTF-16, or is not valid UTF-8: then with the line.
pub fn read_utf8(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let mut reader = source::open(path)?;
    std::io::Read::read_to_end(&mut reader, &mut bytes).map_err(|e| source::read_error(path, e))?;
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes[..] {
        let what = "is UTF-16; convert the file, such as with iconv -f utf16 -t utf8";
        return Err(Error::format(path, what));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let (at, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let line = 1 + bytes[..at].iter().filter(|&&b| b == b'\n').count();
        let what = format!(
            "line {line} is not valid UTF-8 (byte 0x{:02x}); convert the file, such as with iconv -f \
             latin1 -t utf8",
            bytes[at]
        );
        Error::format(path, what)
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// How much of the texts a tokenizer has tokens for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Coverage {
    tokens: usize,
    /// Tokens that stand for what the vocabulary lacks.
    unknown: usize,
    /// Characters without any token.
    left_out: usize,
}

impl Coverage {
    /// Appends the ids of a text, and counts.
    pub(crate) fn encode(&mut self, tokenizer: &Tokenizer, text: &str, ids: &mut Vec<i32>) {
        let before = ids.len();
        self.left_out += tokenizer.encode(text, ids);
        self.tokens += ids.len() - before;
        if let Some(unknown) = tokenizer.special().unknown {
            self.unknown += ids[before..].iter().filter(|&&id| id == unknown).count();
        }
    }

    /// What has no token of its own, in sentences.
    pub(crate) fn notes(&self) -> impl Iterator<Item = String> {
        let Coverage { tokens, unknown, left_out } = *self;
        let unknown = (unknown > 0).then(|| {
            format!("{unknown} of {tokens} tokens of the texts stand for words that the vocabulary lacks")
        });
        let (characters, have) =
            if left_out == 1 { ("character", "has") } else { ("characters", "have") };
        let left_out = (left_out > 0).then(|| {
            format!(
                "{left_out} {characters} of the texts {have} no token of their own in the vocabulary"
            )
        });
        unknown.into_iter().chain(left_out)
    }
}
