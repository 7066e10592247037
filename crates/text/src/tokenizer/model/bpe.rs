//! Byte pair encoding: a word is cut into characters, then the pair of the first merge is joined until
//! there is none (Sennrich et al. 2016), as the `tokenizers` of Hugging Face do it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use super::Dropout;
use crate::TextError;
use crate::tokenizer::vocabulary::{Map, Vocabulary};

/// A vocabulary and its merges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "File", into = "File")]
pub(crate) struct Bpe {
    pub(crate) vocabulary: Vocabulary,
    pub(crate) unknown: Option<i32>,
    /// Pairs in the order of their ranks.
    merges: Vec<(i32, i32)>,
    options: Options,
    /// The rank and the result of a pair.
    pairs: Map<(i32, i32), (u32, i32)>,
    characters: Characters,
    /// The ids of `<0x00>` to `<0xFF>`, for characters that the vocabulary lacks.
    bytes: Vec<Option<i32>>,
}

/// What a file says besides the vocabulary and the merges.
#[derive(Clone, Debug, Default, PartialEq)]
struct Options {
    prefix: Option<String>,
    suffix: Option<String>,
    fuse_unknown: bool,
    byte_fallback: bool,
    whole_words: bool,
}

/// The ids of characters.
#[derive(Clone, Debug, Default, PartialEq)]
struct Characters {
    ascii: Vec<Option<i32>>,
    others: Map<char, i32>,
}

impl Characters {
    fn new(vocabulary: &Vocabulary) -> Characters {
        let mut characters = Characters { ascii: vec![None; 128], others: Map::default() };
        for (token, id) in vocabulary.ids() {
            let mut all = token.chars();
            if let (Some(c), None) = (all.next(), all.next()) {
                match characters.ascii.get_mut(c as usize) {
                    Some(place) => *place = Some(id),
                    None => drop(characters.others.insert(c, id)),
                }
            }
        }
        characters
    }

    fn id(&self, c: char) -> Option<i32> {
        match self.ascii.get(c as usize) {
            Some(&id) => id,
            None => self.others.get(&c).copied(),
        }
    }
}

/// A part of a word, in a list.
#[derive(Clone, Copy, Debug)]
struct Part {
    id: i32,
    before: u32,
    after: u32,
    joined: bool,
}

/// No part.
const NONE: u32 = u32::MAX;

/// Memory that is used again.
#[derive(Debug, Default)]
pub(crate) struct Work {
    parts: Vec<Part>,
    queue: BinaryHeap<Reverse<(u32, u32, i32)>>,
    skipped: Vec<Reverse<(u32, u32, i32)>>,
    symbol: String,
    bytes: Vec<i32>,
}

impl Bpe {
    /// A model without merges, of characters.
    pub(crate) fn of_characters(
        vocabulary: Vocabulary,
        unknown: Option<&str>,
    ) -> Result<Bpe, TextError> {
        Bpe::new(vocabulary, Vec::new(), unknown, Options::default())
    }

    /// A model whose characters are bytes, which are never unknown.
    pub(crate) fn of_bytes(
        vocabulary: Vocabulary,
        merges: Vec<(i32, i32)>,
    ) -> Result<Bpe, TextError> {
        Bpe::new(vocabulary, merges, None, Options::default())
    }

    fn new(
        vocabulary: Vocabulary,
        merges: Vec<(i32, i32)>,
        unknown: Option<&str>,
        options: Options,
    ) -> Result<Bpe, TextError> {
        let unknown = match unknown {
            Some(token) => Some(vocabulary.id(token).ok_or_else(|| {
                TextError::new(format!("model: the unk_token `{token}` is not in the vocabulary"))
            })?),
            None => None,
        };
        let prefix = options.prefix.as_deref().unwrap_or_default();
        let mut pairs = Map::default();
        let mut joined = String::new();
        for (rank, &(a, b)) in merges.iter().enumerate() {
            let (a_token, b_token) =
                (vocabulary.token(a).unwrap_or_default(), vocabulary.token(b).unwrap_or_default());
            joined.clear();
            joined.push_str(a_token);
            joined.push_str(b_token.strip_prefix(prefix).unwrap_or(b_token));
            let Some(id) = vocabulary.id(&joined) else {
                return Err(TextError::new(format!(
                    "model: merge {rank} makes `{joined}`, which is not in the vocabulary"
                )));
            };
            pairs.insert((a, b), (rank as u32, id));
        }
        let bytes = match options.byte_fallback {
            true => (0..256).map(|byte| vocabulary.id(&format!("<0x{byte:02X}>"))).collect(),
            false => Vec::new(),
        };
        let characters = Characters::new(&vocabulary);
        Ok(Bpe { vocabulary, unknown, merges, options, pairs, characters, bytes })
    }

    /// Pairs in the order in which they are merged, with what they become.
    pub(crate) fn merges(&self) -> impl Iterator<Item = (i32, i32, i32)> {
        let joined = |&(a, b): &(i32, i32)| Some((a, b, self.pairs.get(&(a, b))?.1));
        self.merges.iter().filter_map(joined)
    }

    /// Whether characters that the vocabulary lacks become bytes.
    pub(crate) fn byte_fallback(&self) -> bool {
        self.options.byte_fallback
    }

    /// Whether a word is only cut into characters and merged; what else is done, if not.
    pub(crate) fn is_plain(&self) -> Result<(), &'static str> {
        let options = &self.options;
        if options.prefix.is_some() || options.suffix.is_some() {
            Err("its tokens have a mark inside or at the end of words")
        } else if options.whole_words {
            Err("a word that is a token is not merged (ignore_merges)")
        } else if !options.fuse_unknown && !options.byte_fallback {
            Err("each unknown character is a token of its own (fuse_unk = false)")
        } else {
            Ok(())
        }
    }

    pub(crate) fn has_merges(&self) -> bool {
        !self.merges.is_empty()
    }

    /// Appends the ids of a word; returns the number of characters that have none.
    pub(crate) fn encode(
        &self,
        word: &str,
        work: &mut Work,
        dropout: Option<&mut Dropout>,
        ids: &mut Vec<i32>,
    ) -> usize {
        if self.options.whole_words
            && dropout.is_none()
            && let Some(id) = self.vocabulary.id(word)
        {
            ids.push(id);
            return 0;
        }
        let start = ids.len();
        let left_out = self.symbols(word, work, ids);
        if self.has_merges() && ids.len() > start + 1 {
            self.merge(start, work, dropout, ids);
        }
        left_out
    }

    /// Appends the ids of the characters of a word.
    fn symbols(&self, word: &str, work: &mut Work, ids: &mut Vec<i32>) -> usize {
        let mut left_out = 0;
        // An unknown character waits for the next known one, so that several can become one.
        let mut waits = None;
        let affixes = self.options.prefix.is_some() || self.options.suffix.is_some();
        for (at, c) in word.char_indices() {
            let last = at + c.len_utf8() == word.len();
            let id = match affixes {
                true => self.affixed(c, at == 0, last, &mut work.symbol),
                false => self.characters.id(c),
            };
            if let Some(id) = id {
                ids.extend(waits.take());
                ids.push(id);
                continue;
            }
            if self.options.byte_fallback {
                if !affixes {
                    work.symbol.clear();
                    work.symbol.push(c);
                }
                work.bytes.clear();
                work.bytes.extend(
                    work.symbol
                        .bytes()
                        .filter_map(|b| self.bytes.get(b as usize).copied().flatten()),
                );
                if work.bytes.len() == work.symbol.len() {
                    ids.extend_from_slice(&work.bytes);
                    continue;
                }
            }
            match self.unknown {
                Some(unknown) => {
                    let before = waits.replace(unknown);
                    if !self.options.fuse_unknown {
                        ids.extend(before);
                    }
                }
                None => left_out += 1,
            }
        }
        ids.extend(waits);
        left_out
    }

    /// The id of a character with the marks of its place in the word.
    fn affixed(&self, c: char, first: bool, last: bool, symbol: &mut String) -> Option<i32> {
        symbol.clear();
        if !first {
            symbol.push_str(self.options.prefix.as_deref().unwrap_or_default());
        }
        symbol.push(c);
        if last {
            symbol.push_str(self.options.suffix.as_deref().unwrap_or_default());
        }
        self.vocabulary.id(symbol)
    }

    /// Joins the ids from `start` on.
    fn merge(
        &self,
        start: usize,
        work: &mut Work,
        mut dropout: Option<&mut Dropout>,
        ids: &mut Vec<i32>,
    ) {
        let Work { parts, queue, skipped, .. } = work;
        parts.clear();
        queue.clear();
        skipped.clear();
        let count = ids.len() - start;
        for (at, &id) in ids[start..].iter().enumerate() {
            let after = if at + 1 == count { NONE } else { at as u32 + 1 };
            parts.push(Part { id, before: (at as u32).wrapping_sub(1), after, joined: false });
        }
        let entry = |left: u32, pair: (i32, i32)| {
            let &(rank, id) = self.pairs.get(&pair)?;
            Some(Reverse((rank, left, id)))
        };
        for (at, pair) in ids[start..].windows(2).enumerate() {
            queue.extend(entry(at as u32, (pair[0], pair[1])));
        }
        while let Some(top) = queue.pop() {
            if dropout.as_mut().is_some_and(|dropout| dropout.random.unit() < dropout.rate) {
                skipped.push(top);
                continue;
            }
            queue.extend(skipped.drain(..));
            let Reverse((_, at, id)) = top;
            let left = parts[at as usize];
            if left.joined || left.after == NONE {
                continue;
            }
            let right = parts[left.after as usize];
            // The entry may be of a pair that is gone.
            if self.pairs.get(&(left.id, right.id)).is_none_or(|&(_, now)| now != id) {
                continue;
            }
            parts[left.after as usize].joined = true;
            parts[at as usize] = Part { id, after: right.after, ..left };
            if left.before != NONE {
                queue.extend(entry(left.before, (parts[left.before as usize].id, id)));
            }
            if right.after != NONE {
                parts[right.after as usize].before = at;
                queue.extend(entry(at, (id, parts[right.after as usize].id)));
            }
        }
        ids.truncate(start);
        ids.extend(parts.iter().filter(|part| !part.joined).map(|part| part.id));
    }
}

/// The model as a file has it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    dropout: Option<f32>,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    vocab: Vocabulary,
    merges: Vec<Merge>,
}

/// A merge in the form of today, and as older files have it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

impl Merge {
    fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Merge::Pair(a, b) => Some((a, b)),
            Merge::Line(line) => line.split_once(' ').filter(|(_, b)| !b.contains(' ')),
        }
    }
}

impl TryFrom<File> for Bpe {
    type Error = TextError;

    fn try_from(file: File) -> Result<Bpe, TextError> {
        if let Some(rate) = file.dropout.filter(|&rate| rate != 0.0) {
            return Err(TextError::new(format!(
                "model: dropout = {rate} makes the ids of each call different; set it to null, and \
                 set the dropout where the model is trained"
            )));
        }
        let mut merges = Vec::with_capacity(file.merges.len());
        for (rank, merge) in file.merges.iter().enumerate() {
            let pair =
                merge.parts().and_then(|(a, b)| Some((file.vocab.id(a)?, file.vocab.id(b)?)));
            merges.push(pair.ok_or_else(|| {
                TextError::new(format!(
                    "model: merge {rank} is not a pair of tokens of the vocabulary"
                ))
            })?);
        }
        let options = Options {
            prefix: file.continuing_subword_prefix,
            suffix: file.end_of_word_suffix,
            fuse_unknown: file.fuse_unk,
            byte_fallback: file.byte_fallback,
            whole_words: file.ignore_merges,
        };
        Bpe::new(file.vocab, merges, file.unk_token.as_deref(), options)
    }
}

impl From<Bpe> for File {
    fn from(bpe: Bpe) -> File {
        let token = |id| bpe.vocabulary.token(id).unwrap_or_default().to_owned();
        File {
            dropout: None,
            unk_token: bpe.unknown.map(token),
            merges: bpe.merges.iter().map(|&(a, b)| Merge::Pair(token(a), token(b))).collect(),
            continuing_subword_prefix: bpe.options.prefix,
            end_of_word_suffix: bpe.options.suffix,
            fuse_unk: bpe.options.fuse_unknown,
            byte_fallback: bpe.options.byte_fallback,
            ignore_merges: bpe.options.whole_words,
            vocab: bpe.vocabulary,
        }
    }
}
