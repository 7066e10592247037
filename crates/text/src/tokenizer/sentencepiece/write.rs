//! Writing a file.

use super::wire::{Field, put};
use super::{Kind, Model};

/// The names that a special piece may have, in the order of the fields 45 to 48 of the trainer's options; the ids
/// are the fields 40 to 43.
const SPECIAL: [&[&str]; 4] =
    [&[], crate::tokenizer::BEGIN, crate::tokenizer::END, crate::tokenizer::PAD];

impl Model {
    /// The file.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let mut message = Vec::new();
        for piece in &self.pieces {
            message.clear();
            put(&mut message, 1, Field::Bytes(piece.text.as_bytes()));
            put(&mut message, 2, Field::Float(piece.score));
            if piece.kind != Kind::Normal {
                put(&mut message, 3, Field::Number(piece.kind as u64));
            }
            put(&mut file, 1, Field::Bytes(&message));
        }
        put(&mut file, 2, Field::Bytes(&self.trainer()));
        message.clear();
        let name = if self.rules.is_empty() { "identity" } else { "user_defined" };
        put(&mut message, 1, Field::Bytes(name.as_bytes()));
        put(&mut message, 2, Field::Bytes(&self.rules));
        put(&mut message, 3, Field::Number(u64::from(!self.no_prefix)));
        put(&mut message, 4, Field::Number(u64::from(!self.keeps_spaces)));
        put(&mut message, 5, Field::Number(1));
        put(&mut file, 3, Field::Bytes(&message));
        file
    }

    /// The options of the trainer, of which those that a reader asks for are written.
    fn trainer(&self) -> Vec<u8> {
        let mut message = Vec::new();
        put(&mut message, 3, Field::Number(if self.bpe { 2 } else { 1 }));
        put(&mut message, 4, Field::Number(self.pieces.len() as u64));
        if self.byte_fallback {
            put(&mut message, 35, Field::Number(1));
        }
        let mut names = Vec::new();
        for (at, known) in SPECIAL.iter().enumerate() {
            let piece = self.pieces.iter().enumerate().find(|(_, piece)| match piece.kind {
                Kind::Unknown => at == 0,
                Kind::Control => known.contains(&piece.text.as_str()),
                _ => false,
            });
            // -1 is none, in all 64 bits.
            let id = piece.map_or(u64::MAX, |(id, _)| id as u64);
            put(&mut message, 40 + at as u64, Field::Number(id));
            names.extend(piece.map(|(_, piece)| (45 + at as u64, piece.text.as_str())));
        }
        for (number, name) in names {
            put(&mut message, number, Field::Bytes(name.as_bytes()));
        }
        message
    }
}
