//! Models of SentencePiece: protocol buffers with pieces, their scores and the rules of normalization.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::vocabulary::Vocabulary;
use crate::TextError;

/// A field of a message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Float(f32),
}

/// What a model consists of.
#[derive(Default)]
struct Model<'a> {
    pieces: Vec<Piece>,
    bpe: bool,
    byte_fallback: bool,
    rules: &'a [u8],
    keeps_spaces: bool,
    no_prefix: bool,
}

#[derive(Default)]
struct Piece {
    text: String,
    score: f32,
    kind: u64,
}

/// Kinds of pieces; others are normal.
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const BYTE: u64 = 6;

/// The `tokenizer.json` of a model, as `transformers` converts it.
pub(crate) fn convert(bytes: &[u8]) -> Result<String, TextError> {
    let model = read(bytes)?;
    let Some(unknown) = model.pieces.iter().position(|piece| piece.kind == UNKNOWN) else {
        return Err(damaged("it has no piece for the unknown"));
    };
    let added: Vec<Value> =
        model.pieces.iter().enumerate().filter_map(|(id, piece)| added(id, piece)).collect();
    if model.pieces.iter().any(|piece| piece.kind == USER_DEFINED) {
        return Err(unsupported("pieces that its user defined"));
    }
    // A word begins with the mark; a piece with the mark elsewhere spans words.
    let spans = |piece: &Piece| piece.text.chars().skip(1).any(|c| c == '\u{2581}');
    let splits = !model.pieces.iter().any(spans);
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if !model.no_prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let file = json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": normalizers(&model)},
        "pre_tokenizer": splits.then(|| json!({
            "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "never", "split": true
        })),
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": if model.bpe { bpe(&model, unknown) } else { unigram(&model, unknown) },
    });
    Ok(file.to_string())
}

fn damaged(what: &str) -> TextError {
    TextError::new(format!("not a model of SentencePiece: {what}"))
}

fn unsupported(what: &str) -> TextError {
    TextError::new(format!("the model of SentencePiece has {what}, which is not supported"))
}

fn added(id: usize, piece: &Piece) -> Option<Value> {
    matches!(piece.kind, UNKNOWN | CONTROL).then(|| {
        json!({
            "id": id, "content": piece.text, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true
        })
    })
}

fn normalizers(model: &Model) -> Vec<Value> {
    let replace = |regex: &str, content: &str| json!({"type": "Replace", "pattern": {"Regex": regex}, "content": content});
    let mut steps = Vec::new();
    if !model.rules.is_empty() {
        let rules = STANDARD.encode(model.rules);
        steps.push(json!({"type": "Precompiled", "precompiled_charsmap": rules}));
    }
    if !model.keeps_spaces {
        steps.push(replace(r"\A +| +\z", ""));
        steps.push(replace(" {2,}", " "));
    }
    if !model.no_prefix {
        steps.push(json!({"type": "Prepend", "prepend": "\u{2581}"}));
    }
    steps.push(replace(" ", "\u{2581}"));
    steps
}

fn unigram(model: &Model, unknown: usize) -> Value {
    let pieces = model.pieces.iter();
    let vocab: Vec<Value> =
        pieces.map(|piece| json!([piece.text, f64::from(piece.score)])).collect();
    json!({
        "type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": model.byte_fallback
    })
}

/// The pairs that make a piece are merged in the order of the scores of pieces.
fn bpe(model: &Model, unknown: usize) -> Value {
    let mut vocab = Vocabulary::default();
    for (id, piece) in model.pieces.iter().enumerate() {
        vocab.set(&piece.text, id as i64);
    }
    let mut merges = Vec::new();
    for piece in model.pieces.iter().filter(|piece| !matches!(piece.kind, UNKNOWN | CONTROL | BYTE))
    {
        for (at, _) in piece.text.char_indices().skip(1) {
            let (left, right) = piece.text.split_at(at);
            if let (Some(left_id), Some(right_id)) = (vocab.id(left), vocab.id(right)) {
                merges.push((piece.score, left_id, right_id, left, right));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let merges: Vec<_> = merges.iter().map(|&(.., left, right)| (left, right)).collect();
    json!({
        "type": "BPE", "vocab": vocab, "merges": merges, "unk_token": model.pieces[unknown].text,
        "fuse_unk": true, "byte_fallback": model.byte_fallback
    })
}

fn read(bytes: &[u8]) -> Result<Model<'_>, TextError> {
    let mut model = Model::default();
    each(bytes, |number, field| match (number, field) {
        (1, Field::Bytes(piece)) => {
            model.pieces.push(read_piece(piece)?);
            Ok(())
        }
        (2, Field::Bytes(trainer)) => each(trainer, |number, field| match (number, field) {
            (3, Field::Number(kind)) => {
                model.bpe = kind == 2;
                if kind > 2 { Err(unsupported("words or characters as pieces")) } else { Ok(()) }
            }
            (24, Field::Number(1)) => Err(unsupported("spaces after words")),
            (35, Field::Number(on)) => {
                model.byte_fallback = on != 0;
                Ok(())
            }
            _ => Ok(()),
        }),
        (3, Field::Bytes(normalizer)) => each(normalizer, |number, field| {
            match (number, field) {
                (2, Field::Bytes(rules)) => model.rules = rules,
                (3, Field::Number(on)) => model.no_prefix = on == 0,
                (4, Field::Number(on)) => model.keeps_spaces = on == 0,
                (5, Field::Number(0)) => return Err(unsupported("spaces that are not escaped")),
                _ => {}
            }
            Ok(())
        }),
        (5, Field::Bytes(rules)) => each(rules, |number, field| match (number, field) {
            (2, Field::Bytes(rules)) if !rules.is_empty() => {
                Err(unsupported("rules of denormalization"))
            }
            _ => Ok(()),
        }),
        _ => Ok(()),
    })?;
    Ok(model)
}

fn read_piece(bytes: &[u8]) -> Result<Piece, TextError> {
    let mut piece = Piece { kind: 1, ..Piece::default() };
    each(bytes, |number, field| {
        match (number, field) {
            (1, Field::Bytes(text)) => {
                let text =
                    std::str::from_utf8(text).map_err(|_| damaged("a piece is not UTF-8"))?;
                piece.text = text.to_owned();
            }
            (2, Field::Float(score)) if score.is_finite() => piece.score = score,
            (3, Field::Number(kind)) => piece.kind = kind,
            _ => {}
        }
        Ok(())
    })?;
    Ok(piece)
}

/// Calls `take` with the number and the value of each field of a message.
fn each<'a>(
    mut bytes: &'a [u8],
    mut take: impl FnMut(u64, Field<'a>) -> Result<(), TextError>,
) -> Result<(), TextError> {
    let cut = || damaged("it ends within a field");
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)?),
            kind @ (1 | 5) => {
                let (value, rest) =
                    bytes.split_at_checked(if kind == 1 { 8 } else { 4 }).ok_or_else(cut)?;
                bytes = rest;
                match value.try_into() {
                    Ok(value) => Field::Float(f32::from_le_bytes(value)),
                    Err(_) => continue,
                }
            }
            2 => {
                let size = varint(&mut bytes)?.try_into().unwrap_or(usize::MAX);
                let (value, rest) = bytes.split_at_checked(size).ok_or_else(cut)?;
                bytes = rest;
                Field::Bytes(value)
            }
            _ => return Err(damaged("a field of no known type")),
        };
        take(tag >> 3, field)?;
    }
    Ok(())
}

/// Takes a number of up to ten bytes with seven bits each, the lowest first.
fn varint(bytes: &mut &[u8]) -> Result<u64, TextError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) =
            bytes.split_first().ok_or_else(|| damaged("it ends within a number"))?;
        *bytes = rest;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Ok(value);
        }
    }
    Err(damaged("a number of more than ten bytes"))
}
