//! A tokenizer as a model of SentencePiece, where there is one with the same ids.

use std::collections::HashSet;

use super::{ENDS, Kind, MARK, Model, Piece, SEVERAL, byte_name};
use crate::TextError;
use crate::tokenizer::classes::{Classes, SPACE};
use crate::tokenizer::json::Parts;
use crate::tokenizer::model::{self, Bpe, Unigram};
use crate::tokenizer::normalizer::Normalizer;
use crate::tokenizer::pre_tokenizer::{Metaspace, PreTokenizer, Prepend};
use crate::tokenizer::precompiled::Precompiled;
use crate::tokenizer::vocabulary::Map;

fn other(what: &str) -> TextError {
    TextError::new(format!(
        "this tokenizer cannot be written as a model of SentencePiece: {what}; write it as a \
         tokenizer.json"
    ))
}

/// The model of a tokenizer with ids below `size`.
pub(crate) fn represent(parts: &Parts, size: usize) -> Result<Model, TextError> {
    let byte_fallback = match &parts.model {
        model::Model::Unigram(unigram) => unigram.byte_fallback(),
        model::Model::Bpe(bpe) => bpe.byte_fallback(),
        model::Model::WordLevel(_) => return Err(other("its tokens are whole words")),
        model::Model::WordPiece(_) => return Err(other("it takes the longest tokens (WordPiece)")),
    };
    if matches!(&parts.pre_tokenizer, Some(step) if step.maps_bytes()?) {
        return Err(other("its tokens are made of bytes, as GPT-2's, not of characters"));
    }
    let mut model = Model { byte_fallback, ..Model::default() };
    spaces(parts, &mut model)?;
    model.pieces = pieces(parts, byte_fallback, size)?;
    if !model.splits() && parts.pre_tokenizer.is_some() {
        return Err(other(
            "a token has more characters after a space, and texts are cut at spaces first",
        ));
    }
    match &parts.model {
        model::Model::Unigram(unigram) => score_unigram(unigram, &mut model),
        model::Model::Bpe(bpe) => score_bpe(bpe, &mut model)?,
        _ => {}
    }
    Ok(model)
}

/// The pieces, without their scores.
fn pieces(parts: &Parts, byte_fallback: bool, size: usize) -> Result<Vec<Piece>, TextError> {
    let vocabulary = parts.model.vocabulary();
    let added: Map<i32, _> = parts.added_tokens.iter().map(|token| (token.id, token)).collect();
    let unknown = parts.model.unknown();
    let bytes: HashSet<String> = (0..=255).map(byte_name).collect();
    let mut pieces = Vec::with_capacity(size);
    let mut seen = HashSet::new();
    for id in 0..size as i32 {
        let token = added.get(&id);
        let text = token.map(|token| token.content.as_str()).or_else(|| vocabulary.token(id));
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Err(other(&format!("the id {id} has no token")));
        };
        if text.contains('\0') {
            return Err(other(&format!("the token of the id {id} has a character of number 0")));
        }
        if !seen.insert(text) {
            return Err(other(&format!("the token `{text}` has two ids")));
        }
        let kind = match token {
            _ if Some(id) == unknown => Kind::Unknown,
            Some(token) if token.special => Kind::Control,
            Some(_) => {
                return Err(other(&format!(
                    "the added token `{text}` is looked for in texts and is not special"
                )));
            }
            None if byte_fallback && bytes.contains(text) => Kind::Byte,
            None => Kind::Normal,
        };
        pieces.push(Piece { text: text.into(), score: 0.0, kind });
    }
    let count = |kind| pieces.iter().filter(|piece| piece.kind == kind).count();
    if count(Kind::Unknown) == 0 {
        return Err(other("it has no token for the unknown (unk_id, unk_token)"));
    }
    if byte_fallback && count(Kind::Byte) != 256 {
        return Err(other("it lacks some of the tokens of bytes, `<0x00>` to `<0xFF>`"));
    }
    Ok(pieces)
}

/// How texts are normalized and cut: each form here has the same words as SentencePiece with the options of the
/// model.
fn spaces(parts: &Parts, model: &mut Model) -> Result<(), TextError> {
    let mut steps = Vec::new();
    parts.normalizer.iter().for_each(|step| flatten(step, &mut steps));
    let mut steps = steps.as_slice();
    let mut rules = None;
    if let [Normalizer::Precompiled(map), rest @ ..] = steps {
        (rules, steps) = (Some(map), rest);
        model.rules = map.bytes();
    }
    let replaces = |step: &Normalizer, regex: &str, with: &str| matches!(step, Normalizer::Replace { pattern, content } if pattern.is_regex(regex) && content == with);
    let mark = |step: &Normalizer| {
        matches!(step, Normalizer::Replace { pattern, content }
            if (pattern.is_text(" ") || pattern.is_regex(" ")) && content.chars().eq([MARK]))
    };
    let prefix = |step: &Normalizer| matches!(step, Normalizer::Prepend { prepend } if prepend.chars().eq([MARK]));
    // Where the rules leave no white space but spaces, other ways to remove them are the same.
    let plain = rules.is_some_and(leaves_spaces);
    match (steps, &parts.pre_tokenizer) {
        ([Normalizer::Strip { strip_left: false, strip_right: true }, several], Some(step))
            if plain && replaces(several, SEVERAL, "\u{2581}") && prepends(step) => {}
        ([several], Some(step)) if plain && replaces(several, SEVERAL, " ") && splits(step) => {}
        ([], Some(step)) if plain && splits(step) => {}
        (
            _,
            None | Some(PreTokenizer::Metaspace(Metaspace { prepend_scheme: Prepend::Never, .. })),
        ) => {
            model.keeps_spaces = true;
            if let [ends, several, rest @ ..] = steps
                && replaces(ends, ENDS, "")
                && replaces(several, SEVERAL, " ")
            {
                (model.keeps_spaces, steps) = (false, rest);
            }
            match steps {
                [first, second] if prefix(first) && mark(second) => {}
                [first] if mark(first) => model.no_prefix = true,
                _ => return Err(other("SentencePiece has no such normalizer")),
            }
        }
        _ => return Err(other("SentencePiece has no such normalizer and pre_tokenizer")),
    }
    Ok(())
}

fn flatten<'a>(step: &'a Normalizer, steps: &mut Vec<&'a Normalizer>) {
    match step {
        Normalizer::Sequence { normalizers } => {
            normalizers.iter().for_each(|step| flatten(step, steps));
        }
        step => steps.push(step),
    }
}

/// Whether it puts the mark before a text that begins without one.
fn prepends(step: &PreTokenizer) -> bool {
    matches!(
        step,
        PreTokenizer::Metaspace(Metaspace {
            replacement: MARK,
            prepend_scheme: Prepend::Always,
            ..
        })
    )
}

/// Whether it cuts at white space, and puts the mark before each word.
fn splits(step: &PreTokenizer) -> bool {
    match step {
        PreTokenizer::Sequence { pretokenizers } => {
            matches!(pretokenizers.as_slice(), [PreTokenizer::WhitespaceSplit, step] if prepends(step))
        }
        _ => false,
    }
}

/// Whether rules leave of white space only spaces. U+0085 is not looked at: the usual rules leave it as it is.
fn leaves_spaces(rules: &Precompiled) -> bool {
    let classes = Classes::get();
    let white = ('\0'..=char::MAX).filter(|&c| classes.is(c, SPACE) && c != '\u{85}');
    white
        .map(|c| rules.apply(c.encode_utf8(&mut [0; 4])))
        .all(|text| text.bytes().all(|b| b == b' '))
}

fn score_unigram(unigram: &Unigram, model: &mut Model) {
    for (piece, &score) in model.pieces.iter_mut().zip(unigram.scores()) {
        piece.score = score as f32;
    }
}

/// Scores that give the same merges in the same order.
fn score_bpe(bpe: &Bpe, model: &mut Model) -> Result<(), TextError> {
    model.bpe = true;
    bpe.is_plain().map_err(other)?;
    let mut rank = 0;
    let mut last = None;
    let mut scores = vec![None; model.pieces.len()];
    for (a, b, joined) in bpe.merges() {
        if last != Some(joined) {
            let score = scores.get_mut(joined as usize);
            if score.is_none_or(|score| score.replace(rank).is_some()) {
                let (a, b) = (bpe.vocabulary.token(a), bpe.vocabulary.token(b));
                return Err(other(&format!(
                    "the merge of `{}` and `{}` comes later than another one with the same result",
                    a.unwrap_or_default(),
                    b.unwrap_or_default()
                )));
            }
            (rank, last) = (rank + 1, Some(joined));
        }
    }
    for (piece, score) in model.pieces.iter_mut().zip(scores) {
        if piece.kind == Kind::Normal {
            piece.score = -(score.unwrap_or(rank) as f32);
        }
    }
    // SentencePiece joins all pairs that make a piece.
    let all: Vec<_> = model.merges(&bpe.vocabulary).into_iter().map(|(.., a, b)| (a, b)).collect();
    let mut merges: Vec<_> =
        bpe.merges().map(|(a, b, joined)| (scores_of(model, joined), a, b)).collect();
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let known: HashSet<(i32, i32)> = merges.iter().map(|&(_, a, b)| (a, b)).collect();
    if let Some(&(a, b)) = all.iter().find(|pair| !known.contains(pair)) {
        let (a, b) = (bpe.vocabulary.token(a), bpe.vocabulary.token(b));
        return Err(other(&format!(
            "SentencePiece would join `{}` and `{}`, which are together a token, and this tokenizer \
             does not",
            a.unwrap_or_default(),
            b.unwrap_or_default()
        )));
    }
    if merges.into_iter().map(|(_, a, b)| (a, b)).ne(all) {
        return Err(other("it joins tokens in another way"));
    }
    Ok(())
}

fn scores_of(model: &Model, id: i32) -> f32 {
    model.pieces.get(id as usize).map_or(0.0, |piece| piece.score)
}
