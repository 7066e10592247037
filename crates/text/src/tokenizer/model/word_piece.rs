//! The longest token that a word begins with, then the longest of what is left (BERT, Devlin et al. 2019).

use serde::{Deserialize, Serialize};

use crate::TextError;
use crate::tokenizer::vocabulary::{Map, Vocabulary};

/// A vocabulary of words and of their parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "File", into = "File")]
pub(crate) struct WordPiece {
    file: File,
    pub(crate) unknown: i32,
    /// The tokens that continue a word, without their prefix.
    continuing: Map<Box<str>, i32>,
    /// The length of the longest token in bytes.
    longest: usize,
}

/// The model as a file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    unk_token: String,
    continuing_subword_prefix: String,
    max_input_chars_per_word: usize,
    pub(crate) vocab: Vocabulary,
}

impl TryFrom<File> for WordPiece {
    type Error = TextError;

    fn try_from(file: File) -> Result<WordPiece, TextError> {
        let Some(unknown) = file.vocab.id(&file.unk_token) else {
            return Err(TextError::new(format!(
                "the unk_token `{}` is not in the vocabulary",
                file.unk_token
            )));
        };
        let prefix = file.continuing_subword_prefix.as_str();
        let tokens = file.vocab.ids();
        let continuing =
            tokens.filter_map(|(token, id)| Some((token.strip_prefix(prefix)?.into(), id)));
        let continuing = continuing.collect();
        let longest = file.vocab.ids().map(|(token, _)| token.len()).max().unwrap_or(0);
        Ok(WordPiece { file, unknown, continuing, longest })
    }
}

impl From<WordPiece> for File {
    fn from(model: WordPiece) -> File {
        model.file
    }
}

impl WordPiece {
    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        &self.file.vocab
    }

    /// Appends the ids of a word; all of it is unknown if a part is.
    pub(crate) fn encode(&self, word: &str, ids: &mut Vec<i32>) {
        let before = ids.len();
        if word.chars().nth(self.file.max_input_chars_per_word).is_some() {
            ids.push(self.unknown);
            return;
        }
        let mut rest = word;
        while !rest.is_empty() {
            let Some((id, len)) = self.longest_part(rest, rest.len() == word.len()) else {
                ids.truncate(before);
                ids.push(self.unknown);
                return;
            };
            ids.push(id);
            rest = &rest[len..];
        }
    }

    /// The longest token that a text begins with, and its length.
    fn longest_part(&self, text: &str, first: bool) -> Option<(i32, usize)> {
        let ends = text.char_indices().rev().map(|(at, c)| at + c.len_utf8());
        ends.skip_while(|&end| end > self.longest).find_map(|end| {
            let part = &text[..end];
            let id = match first {
                true => self.file.vocab.id(part),
                false => self.continuing.get(part).copied(),
            };
            Some((id?, end))
        })
    }
}
