//! The normalization rules in the models of SentencePiece: a tree of what is replaced, and the replacements.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use crate::TextError;

/// The rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "File", into = "File")]
pub(crate) struct Precompiled {
    map: String,
    /// The double array of Darts (darts-clone of Susumu Yata).
    tree: Vec<u32>,
    /// Each ends with a zero byte.
    replacements: String,
}

/// The rules as a file has them, in Base64.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    precompiled_charsmap: String,
}

impl TryFrom<File> for Precompiled {
    type Error = TextError;

    fn try_from(file: File) -> Result<Precompiled, TextError> {
        let damaged = || TextError::new("precompiled_charsmap is damaged");
        let bytes = STANDARD.decode(&file.precompiled_charsmap).map_err(|_| damaged())?;
        let (size, rest) = bytes.split_first_chunk().ok_or_else(damaged)?;
        let size = u32::from_le_bytes(*size) as usize;
        let (tree, replacements) = rest.split_at_checked(size).ok_or_else(damaged)?;
        let (units, _) = tree.as_chunks();
        Ok(Precompiled {
            tree: units.iter().map(|unit| u32::from_le_bytes(*unit)).collect(),
            replacements: String::from_utf8(replacements.to_vec()).map_err(|_| damaged())?,
            map: file.precompiled_charsmap,
        })
    }
}

impl From<Precompiled> for File {
    fn from(rules: Precompiled) -> File {
        File { precompiled_charsmap: rules.map }
    }
}

impl Precompiled {
    /// The rules as a model of SentencePiece has them.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        STANDARD.decode(&self.map).unwrap_or_default()
    }

    /// Replaces what the rules know: short graphemes as a whole, then their characters.
    pub(crate) fn apply(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut bytes = [0; 4];
        for grapheme in text.graphemes(true) {
            if grapheme.len() < 6
                && let Some(replacement) = self.replacement(grapheme)
            {
                out.push_str(replacement);
                continue;
            }
            for c in grapheme.chars() {
                let c: &str = c.encode_utf8(&mut bytes);
                out.push_str(self.replacement(c).unwrap_or(c));
            }
        }
        out
    }

    /// The replacement of the shortest rule that a text begins with.
    fn replacement(&self, text: &str) -> Option<&str> {
        let offset = |unit: u32| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let mut unit = *self.tree.first()?;
        let mut at = offset(unit);
        for byte in text.bytes().take_while(|&byte| byte != 0) {
            at ^= u32::from(byte);
            unit = *self.tree.get(at as usize)?;
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                return None;
            }
            at ^= offset(unit);
            if (unit >> 8) & 1 == 1 {
                let value = *self.tree.get(at as usize)? & !(1 << 31);
                let rest = self.replacements.get(value as usize..)?;
                return rest.split('\0').next();
            }
        }
        None
    }
}
