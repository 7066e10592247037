//! Pre-tokenizers: they cut a text into the words that a model sees.

use serde::{Deserialize, Serialize};

use super::byte_level;
use super::classes::{Classes, PUNCTUATION, SPACE, WORD};
use super::cut::{Behavior, Cutter};
use super::pattern::Pattern;
use crate::TextError;

/// The pre-tokenizer of a `tokenizer.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum PreTokenizer {
    /// Spaces are removed, each punctuation mark is a word.
    #[serde(rename = "BertPreTokenizer")]
    Bert,
    ByteLevel(ByteLevel),
    CharDelimiterSplit {
        delimiter: char,
    },
    Digits {
        individual_digits: bool,
    },
    Metaspace(Metaspace),
    Punctuation {
        #[serde(default = "isolated")]
        behavior: Behavior,
    },
    Sequence {
        pretokenizers: Vec<PreTokenizer>,
    },
    Split {
        pattern: Pattern,
        behavior: Behavior,
        invert: bool,
    },
    /// `\w+|[^\w\s]+`
    Whitespace,
    WhitespaceSplit,
}

fn isolated() -> Behavior {
    Behavior::Isolated
}

/// Words of GPT-2, whose bytes then become characters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ByteLevel {
    /// Whether a space is put before a text that begins without one.
    pub(crate) add_prefix_space: bool,
    /// Of positions in the text, which are not computed here.
    pub(crate) trim_offsets: bool,
    /// Whether the text is cut at all.
    #[serde(default = "yes")]
    pub(crate) use_regex: bool,
}

fn yes() -> bool {
    true
}

impl Default for ByteLevel {
    fn default() -> ByteLevel {
        ByteLevel { add_prefix_space: true, trim_offsets: true, use_regex: true }
    }
}

/// Spaces become a visible character, which begins words, as in SentencePiece.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "MetaspaceFile")]
pub(crate) struct Metaspace {
    pub(crate) replacement: char,
    pub(crate) prepend_scheme: Prepend,
    split: bool,
}

/// Whether the replacement is put before a text that begins without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Prepend {
    /// Only at the start of the whole text.
    First,
    Never,
    #[default]
    Always,
}

/// With the keys of older files.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetaspaceFile {
    replacement: char,
    #[serde(default)]
    prepend_scheme: Prepend,
    #[serde(default = "yes")]
    split: bool,
    add_prefix_space: Option<bool>,
    #[serde(rename = "str_rep")]
    _str_rep: Option<String>,
}

impl TryFrom<MetaspaceFile> for Metaspace {
    type Error = TextError;

    fn try_from(file: MetaspaceFile) -> Result<Metaspace, TextError> {
        let MetaspaceFile { replacement, mut prepend_scheme, split, add_prefix_space, .. } = file;
        if add_prefix_space == Some(false) {
            if prepend_scheme == Prepend::First {
                return Err(TextError::new("add_prefix_space = false contradicts prepend_scheme"));
            }
            prepend_scheme = Prepend::Never;
        }
        Ok(Metaspace { replacement, prepend_scheme, split })
    }
}

/// Takes a piece, and whether the whole text begins with it.
type Emit<'e> = &'e mut dyn FnMut(&str, bool);

impl PreTokenizer {
    /// Calls `emit` with each word, and with whether it begins the whole text. `first`: whether `text` does.
    pub(crate) fn cut(&self, text: &str, first: bool, emit: Emit) {
        let classes = Classes::get();
        match self {
            PreTokenizer::Bert => {
                let punctuation = |c| classes.is(c, PUNCTUATION);
                at(text, first, Behavior::Removed, |c| classes.is(c, SPACE), &mut |word, first| {
                    at(word, first, Behavior::Isolated, punctuation, emit);
                });
            }
            PreTokenizer::ByteLevel(options) => options.cut(text, first, emit),
            PreTokenizer::CharDelimiterSplit { delimiter } => {
                at(text, first, Behavior::Removed, |c| c == *delimiter, emit);
            }
            PreTokenizer::Digits { individual_digits } => {
                let behavior = match individual_digits {
                    true => Behavior::Isolated,
                    false => Behavior::Contiguous,
                };
                at(text, first, behavior, char::is_numeric, emit);
            }
            PreTokenizer::Metaspace(options) => options.cut(text, first, emit),
            PreTokenizer::Punctuation { behavior } => {
                at(text, first, *behavior, |c| classes.is(c, PUNCTUATION), emit);
            }
            PreTokenizer::Sequence { pretokenizers } => chain(pretokenizers, text, first, emit),
            PreTokenizer::Split { pattern, behavior, invert } => {
                let mut cutter = Cutter::new(text, first, *behavior, emit);
                cutter.invert = *invert;
                pattern.find(text, |start, end| cutter.found(start, end));
                cutter.finish();
            }
            PreTokenizer::Whitespace => whitespace(text, first, emit),
            PreTokenizer::WhitespaceSplit => {
                at(text, first, Behavior::Removed, |c| classes.is(c, SPACE), emit);
            }
        }
    }

    /// Whether the bytes of words become characters in the end. That must be the last step: the model's
    /// words are kept as they are in the text.
    pub(crate) fn maps_bytes(&self) -> Result<bool, TextError> {
        match self {
            PreTokenizer::ByteLevel(_) => Ok(true),
            PreTokenizer::Sequence { pretokenizers } => {
                let Some((last, before)) = pretokenizers.split_last() else { return Ok(false) };
                for step in before {
                    if step.maps_bytes()? {
                        return Err(TextError::new(
                            "tokenizer.json, `pre_tokenizer`: ByteLevel before another step is not supported",
                        ));
                    }
                }
                last.maps_bytes()
            }
            _ => Ok(false),
        }
    }
}

/// Runs steps one after the other.
fn chain(steps: &[PreTokenizer], text: &str, first: bool, emit: Emit) {
    match steps.split_first() {
        Some((step, rest)) => {
            step.cut(text, first, &mut |piece, first| chain(rest, piece, first, emit));
        }
        None => emit(text, first),
    }
}

/// Cuts at characters.
fn at(text: &str, first: bool, behavior: Behavior, is: impl Fn(char) -> bool, emit: Emit) {
    let mut cutter = Cutter::new(text, first, behavior, emit);
    for (at, c) in text.char_indices().filter(|&(_, c)| is(c)) {
        cutter.found(at, at + c.len_utf8());
    }
    cutter.finish();
}

/// `\w+|[^\w\s]+`
fn whitespace(text: &str, first: bool, emit: Emit) {
    let classes = Classes::get();
    let mut start = 0;
    let mut before = SPACE;
    for (at, c) in text.char_indices() {
        let class = classes.of(c) & (SPACE | WORD);
        if class != before {
            if before != SPACE {
                emit(&text[start..at], first && start == 0);
            }
            start = at;
            before = class;
        }
    }
    if before != SPACE {
        emit(&text[start..], first && start == 0);
    }
}

impl ByteLevel {
    fn cut(&self, text: &str, first: bool, emit: Emit) {
        let prefixed;
        let text = match self.add_prefix_space && !text.starts_with(' ') {
            true => {
                prefixed = format!(" {text}");
                &prefixed
            }
            false => text,
        };
        match self.use_regex {
            true => byte_level::words(text, first, emit),
            false => emit(text, first),
        }
    }
}

impl Metaspace {
    fn cut(&self, text: &str, first: bool, emit: Emit) {
        let mut replaced = String::with_capacity(text.len() + text.len() / 4 + 4);
        let prepends = match self.prepend_scheme {
            Prepend::First => first,
            Prepend::Never => false,
            Prepend::Always => true,
        };
        if prepends && !text.starts_with([' ', self.replacement]) {
            replaced.push(self.replacement);
        }
        replaced.extend(text.chars().map(|c| if c == ' ' { self.replacement } else { c }));
        match self.split {
            true => at(&replaced, first, Behavior::MergedWithNext, |c| c == self.replacement, emit),
            false => emit(&replaced, first),
        }
    }
}
