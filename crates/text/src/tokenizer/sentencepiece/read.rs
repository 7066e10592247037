//! Reading a file.

use super::wire::{Field, damaged, each};
use super::{Kind, Model, Piece};
use crate::TextError;

fn unsupported(what: &str) -> TextError {
    TextError::new(format!("the model of SentencePiece has {what}, which is not supported"))
}

impl Model {
    /// Reads a file; what it needs and is not supported is an error.
    pub(crate) fn read(bytes: &[u8]) -> Result<Model, TextError> {
        let mut model = Model::default();
        let mut has = [false; 4];
        each(bytes, |number, field| {
            if let Some(has) = has.get_mut(number as usize) {
                *has = true;
            }
            match (number, field) {
                (1, Field::Bytes(piece)) => {
                    model.pieces.push(read_piece(piece)?);
                    Ok(())
                }
                (2, Field::Bytes(trainer)) => {
                    each(trainer, |number, field| match (number, field) {
                        (3, Field::Number(kind)) => {
                            model.bpe = kind == 2;
                            if kind > 2 {
                                Err(unsupported("words or characters as pieces"))
                            } else {
                                Ok(())
                            }
                        }
                        (24, Field::Number(1)) => Err(unsupported("spaces after words")),
                        (35, Field::Number(on)) => {
                            model.byte_fallback = on != 0;
                            Ok(())
                        }
                        _ => Ok(()),
                    })
                }
                (3, Field::Bytes(normalizer)) => each(normalizer, |number, field| {
                    match (number, field) {
                        (2, Field::Bytes(rules)) => model.rules = rules.to_vec(),
                        (3, Field::Number(on)) => model.no_prefix = on == 0,
                        (4, Field::Number(on)) => model.keeps_spaces = on == 0,
                        (5, Field::Number(0)) => {
                            return Err(unsupported("spaces that are not escaped"));
                        }
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
            }
        })?;
        // Each file has them, last: one without them is cut off.
        if !has[2] || !has[3] {
            return Err(damaged("it has no options of the trainer or of the normalizer"));
        }
        Ok(model)
    }
}

fn read_piece(bytes: &[u8]) -> Result<Piece, TextError> {
    let mut piece = Piece::default();
    each(bytes, |number, field| {
        match (number, field) {
            (1, Field::Bytes(text)) => {
                let text =
                    std::str::from_utf8(text).map_err(|_| damaged("a piece is not UTF-8"))?;
                piece.text = text.to_owned();
            }
            (2, Field::Float(score)) if score.is_finite() => piece.score = score,
            (3, Field::Number(kind)) => {
                piece.kind = match kind {
                    1 => Kind::Normal,
                    2 => Kind::Unknown,
                    3 => Kind::Control,
                    4 => return Err(unsupported("pieces that its user defined")),
                    5 => return Err(unsupported("pieces that are not used")),
                    6 => Kind::Byte,
                    _ => return Err(damaged("a piece of no known kind")),
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(piece)
}
