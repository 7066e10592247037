//! A model as a `tokenizer.json`, as `transformers` converts it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::wire::damaged;
use super::{ENDS, Kind, MARK, Model, Piece, SEVERAL};
use crate::TextError;
use crate::tokenizer::vocabulary::Vocabulary;

/// How many times the lowest score is that of a byte; `<0x41>` has six characters.
const BELOW: f32 = 8.0;

impl Model {
    /// The `tokenizer.json` of a model.
    pub(crate) fn to_json(&self) -> Result<String, TextError> {
        let Some(unknown) = self.pieces.iter().position(|piece| piece.kind == Kind::Unknown) else {
            return Err(damaged("it has no piece for the unknown"));
        };
        let added: Vec<Value> =
            self.pieces.iter().enumerate().filter_map(|(id, piece)| added(id, piece)).collect();
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": MARK}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if !self.no_prefix {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let file = json!({
            "version": "1.0",
            "added_tokens": added,
            "normalizer": {"type": "Sequence", "normalizers": self.normalizers()},
            "pre_tokenizer": self.splits().then(|| json!({
                "type": "Metaspace", "replacement": MARK, "prepend_scheme": "never", "split": true
            })),
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": if self.bpe { self.bpe(unknown) } else { self.unigram(unknown) },
        });
        Ok(file.to_string())
    }

    /// Whether a text may be cut into words: these begin with the mark, and a piece with the mark elsewhere spans words.
    pub(super) fn splits(&self) -> bool {
        !self.pieces.iter().any(|piece| piece.text.chars().skip(1).any(|c| c == MARK))
    }

    fn normalizers(&self) -> Vec<Value> {
        let replace = |regex: &str, content: &str| json!({"type": "Replace", "pattern": {"Regex": regex}, "content": content});
        let mut steps = Vec::new();
        if !self.rules.is_empty() {
            let rules = STANDARD.encode(&self.rules);
            steps.push(json!({"type": "Precompiled", "precompiled_charsmap": rules}));
        }
        if !self.keeps_spaces {
            steps.push(replace(ENDS, ""));
            steps.push(replace(SEVERAL, " "));
        }
        if !self.no_prefix {
            steps.push(json!({"type": "Prepend", "prepend": MARK}));
        }
        steps.push(replace(" ", &MARK.to_string()));
        steps
    }

    /// The scores of bytes are below that of any other way to write `<0x41>` with known characters: SentencePiece
    /// does not take such a text for a byte.
    fn unigram(&self, unknown: usize) -> Value {
        let others = self.pieces.iter().filter(|piece| piece.kind != Kind::Byte);
        let lowest = others.map(|piece| piece.score).fold(0.0, f32::min);
        let score = |piece: &Piece| match piece.kind {
            Kind::Byte => f64::from(BELOW * lowest - 1.0),
            _ => f64::from(piece.score),
        };
        let pieces = self.pieces.iter();
        let vocab: Vec<Value> = pieces.map(|piece| json!([piece.text, score(piece)])).collect();
        json!({
            "type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": self.byte_fallback
        })
    }

    fn bpe(&self, unknown: usize) -> Value {
        let mut vocab = Vocabulary::default();
        for (id, piece) in self.pieces.iter().enumerate() {
            vocab.set(&piece.text, id as i64);
        }
        let merges: Vec<_> = self.merges(&vocab).into_iter().map(|(a, b, ..)| (a, b)).collect();
        json!({
            "type": "BPE", "vocab": vocab, "merges": merges, "unk_token": self.pieces[unknown].text,
            "fuse_unk": true, "byte_fallback": self.byte_fallback
        })
    }

    /// The pairs of pieces that make a piece, and their ids. They are merged in the order of the scores of the pieces
    /// that they make.
    pub(super) fn merges<'a>(&'a self, vocab: &Vocabulary) -> Vec<(&'a str, &'a str, i32, i32)> {
        let mut merges = Vec::new();
        for piece in self.pieces.iter().filter(|piece| piece.kind == Kind::Normal) {
            for (at, _) in piece.text.char_indices().skip(1) {
                let (left, right) = piece.text.split_at(at);
                if let (Some(left_id), Some(right_id)) = (vocab.id(left), vocab.id(right)) {
                    merges.push((piece.score, left, right, left_id, right_id));
                }
            }
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.3, a.4).cmp(&(b.3, b.4))));
        merges.into_iter().map(|(_, left, right, a, b)| (left, right, a, b)).collect()
    }
}

fn added(id: usize, piece: &Piece) -> Option<Value> {
    matches!(piece.kind, Kind::Unknown | Kind::Control).then(|| {
        json!({
            "id": id, "content": piece.text, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true
        })
    })
}
