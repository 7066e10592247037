//! Pre-tokenizers: they cut a text into the words that a model sees.

use serde::{Deserialize, Serialize};

use super::classes::{Classes, SPACE, WORD};
use super::cut::{Behavior, Cutter};

/// The pre-tokenizer of a `tokenizer.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum PreTokenizer {
    /// `\w+|[^\w\s]+`
    Whitespace,
}

impl PreTokenizer {
    /// Calls `emit` with each word, and with whether it begins the text. `first`: whether `text` does.
    pub(crate) fn cut(&self, text: &str, first: bool, emit: &mut dyn FnMut(&str, bool)) {
        match self {
            PreTokenizer::Whitespace => whitespace(text, first, emit),
        }
    }
}

/// `\w+|[^\w\s]+`
fn whitespace(text: &str, first: bool, emit: &mut dyn FnMut(&str, bool)) {
    let classes = Classes::get();
    let mut cutter = Cutter::new(text, first, Behavior::Removed, emit);
    let mut before = SPACE;
    for (at, c) in text.char_indices() {
        let class = classes.of(c) & (SPACE | WORD);
        if class == SPACE {
            cutter.found(at, at + c.len_utf8());
        } else if class != before {
            cutter.boundary(at);
        }
        before = class;
    }
    cutter.finish();
}
