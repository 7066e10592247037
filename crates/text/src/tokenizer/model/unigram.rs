//! The most probable sequence of tokens (Kudo 2018), as SentencePiece and `tokenizers` find it.

use serde::{Deserialize, Serialize};

use crate::TextError;
use crate::tokenizer::spec::MOST_TOKENS;
use crate::tokenizer::vocabulary::{Map, Vocabulary};

/// How much less probable an unknown character is than the least probable token.
const UNKNOWN_PENALTY: f64 = 10.0;

/// Tokens with the logarithms of their probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "File", into = "File")]
pub(crate) struct Unigram {
    pub(crate) vocabulary: Vocabulary,
    pub(crate) unknown: Option<i32>,
    scores: Vec<f64>,
    lowest: f64,
    /// The ids of `<0x00>` to `<0xFF>`, for characters that the vocabulary lacks.
    bytes: Option<Vec<Option<i32>>>,
    /// From a node of the tree of tokens and a byte to the next node; the root is 0.
    tree: Map<(u32, u8), u32>,
    /// The token that ends at a node.
    ends: Vec<Option<i32>>,
}

/// The model as a file has it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    unk_id: Option<usize>,
    vocab: Vec<(String, f64)>,
    #[serde(default)]
    byte_fallback: bool,
}

/// The best way to a position in a word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Best {
    score: f64,
    start: usize,
    /// The token that ends here; nothing for an unknown character.
    id: Option<i32>,
    reached: bool,
}

const UNREACHED: Best = Best { score: 0.0, start: 0, id: None, reached: false };

impl TryFrom<File> for Unigram {
    type Error = TextError;

    fn try_from(file: File) -> Result<Unigram, TextError> {
        if file.vocab.len() > MOST_TOKENS {
            return Err(TextError::new(format!(
                "the vocabulary has more than {MOST_TOKENS} tokens"
            )));
        }
        if file.unk_id.is_some_and(|id| id >= file.vocab.len()) {
            return Err(TextError::new("the unk_id is not in the vocabulary"));
        }
        let mut vocabulary = Vocabulary::default();
        let mut tree = Map::default();
        let mut ends = vec![None];
        for (id, (token, _)) in file.vocab.iter().enumerate() {
            vocabulary.set(token, id as i64);
            let mut node = 0;
            for byte in token.bytes() {
                node = *tree.entry((node, byte)).or_insert_with(|| {
                    ends.push(None);
                    ends.len() as u32 - 1
                });
            }
            ends[node as usize] = Some(id as i32);
        }
        // An empty token would end where it begins.
        ends[0] = None;
        let scores: Vec<f64> = file.vocab.iter().map(|&(_, score)| score).collect();
        if scores.iter().any(|score| score.is_nan()) {
            return Err(TextError::new("a score of the vocabulary is not a number"));
        }
        let bytes = file
            .byte_fallback
            .then(|| (0..256).map(|byte| vocabulary.id(&format!("<0x{byte:02X}>"))).collect());
        Ok(Unigram {
            vocabulary,
            unknown: file.unk_id.map(|id| id as i32),
            lowest: scores.iter().copied().fold(f64::INFINITY, f64::min),
            scores,
            bytes,
            tree,
            ends,
        })
    }
}

impl From<Unigram> for File {
    fn from(model: Unigram) -> File {
        let token = |id| model.vocabulary.token(id as i32).unwrap_or_default().to_owned();
        File {
            unk_id: model.unknown.map(|id| id as usize),
            vocab: model.scores.iter().enumerate().map(|(id, &n)| (token(id), n)).collect(),
            byte_fallback: model.bytes.is_some(),
        }
    }
}

impl Unigram {
    /// The logarithms of the probabilities of tokens, by id.
    pub(crate) fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// Whether characters that the vocabulary lacks become bytes.
    pub(crate) fn byte_fallback(&self) -> bool {
        self.bytes.is_some()
    }

    /// Appends the ids of a word; returns the number of characters that have none.
    pub(crate) fn encode(&self, word: &str, best: &mut Vec<Best>, ids: &mut Vec<i32>) -> usize {
        self.search(word, best);
        // From the end to the start; a run of unknown characters is one token.
        let first = ids.len();
        let mut left_out = 0;
        let mut end = word.len();
        let mut unknown_end = None;
        while end > 0 {
            let at = best[end];
            if at.id == self.unknown || at.id.is_none() {
                unknown_end.get_or_insert(end);
            } else {
                if let Some(until) = unknown_end.take() {
                    left_out += self.unknown(&word[end..until], ids);
                }
                ids.extend(at.id);
            }
            end = at.start;
        }
        if let Some(until) = unknown_end {
            left_out += self.unknown(&word[..until], ids);
        }
        ids[first..].reverse();
        left_out
    }

    /// Finds the best way to each position.
    fn search(&self, word: &str, best: &mut Vec<Best>) {
        best.clear();
        best.resize(word.len() + 1, UNREACHED);
        for (start, c) in word.char_indices() {
            let so_far = best[start].score;
            let mut reach = |end: usize, score: f64, id: Option<i32>| {
                let score = score + so_far;
                if !best[end].reached || score > best[end].score {
                    best[end] = Best { score, start, id, reached: true };
                }
            };
            let mut node = 0;
            let mut single = false;
            for (at, byte) in word.bytes().enumerate().skip(start) {
                let Some(&next) = self.tree.get(&(node, byte)) else { break };
                node = next;
                if let Some(id) = self.ends[node as usize] {
                    single |= at + 1 - start == c.len_utf8();
                    reach(at + 1, self.scores[id as usize], Some(id));
                }
            }
            if !single {
                reach(start + c.len_utf8(), self.lowest - UNKNOWN_PENALTY, self.unknown);
            }
        }
    }

    /// Appends the ids of unknown text, the last one first.
    fn unknown(&self, text: &str, ids: &mut Vec<i32>) -> usize {
        let before = ids.len();
        if let Some(id) = self.vocabulary.id(text) {
            ids.push(id);
            return 0;
        }
        if let Some(bytes) = &self.bytes {
            ids.extend(text.bytes().rev().filter_map(|byte| bytes[byte as usize]));
            if ids.len() - before == text.len() {
                return 0;
            }
            ids.truncate(before);
        }
        ids.extend(self.unknown);
        if self.unknown.is_some() { 0 } else { text.chars().count() }
    }
}
