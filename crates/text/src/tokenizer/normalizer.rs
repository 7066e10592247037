//! Normalizers: they change a text before it is cut into words.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::byte_level;
use super::classes::{ACCENT, CONTROL, Classes, MARK, NEW, SPACE};
use super::pattern::Pattern;
use super::precompiled::Precompiled;

/// The normalizer of a `tokenizer.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum Normalizer {
    #[serde(rename = "BertNormalizer")]
    Bert(Bert),
    /// Bytes become characters.
    ByteLevel,
    Lowercase,
    #[serde(rename = "NFC")]
    Nfc,
    #[serde(rename = "NFD")]
    Nfd,
    #[serde(rename = "NFKC")]
    Nfkc,
    #[serde(rename = "NFKD")]
    Nfkd,
    /// The spaces and control characters of SentencePiece's `nmt` rules.
    Nmt,
    Precompiled(Precompiled),
    Prepend {
        prepend: String,
    },
    Replace {
        pattern: Pattern,
        content: String,
    },
    Sequence {
        normalizers: Vec<Normalizer>,
    },
    Strip {
        strip_left: bool,
        strip_right: bool,
    },
    /// Combining marks are removed.
    StripAccents,
}

/// What BERT does with a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bert {
    /// Whether control characters are removed and all spaces become ` `.
    clean_text: bool,
    /// Whether spaces are put around Chinese characters.
    handle_chinese_chars: bool,
    /// Whether accents are removed; as `lowercase` if it is not said.
    #[serde(default)]
    strip_accents: Option<bool>,
    lowercase: bool,
}

impl Normalizer {
    /// The normalized text.
    pub(crate) fn apply<'a>(&self, text: Cow<'a, str>) -> Cow<'a, str> {
        let plain = text.is_ascii();
        match self {
            Normalizer::Bert(options) => options.apply(&text).into(),
            Normalizer::ByteLevel => {
                let mut mapped = String::with_capacity(text.len() * 2);
                byte_level::map(&text, &mut mapped);
                mapped.into()
            }
            Normalizer::Lowercase => lowercase(&text).into(),
            Normalizer::Nfc | Normalizer::Nfd | Normalizer::Nfkc | Normalizer::Nfkd if plain => {
                text
            }
            Normalizer::Nfc => normal_form(&text, |part, out| out.extend(part.nfc())),
            Normalizer::Nfd => normal_form(&text, |part, out| out.extend(part.nfd())),
            Normalizer::Nfkc => normal_form(&text, |part, out| out.extend(part.nfkc())),
            Normalizer::Nfkd => normal_form(&text, |part, out| out.extend(part.nfkd())),
            Normalizer::Nmt => text.chars().filter_map(nmt).collect(),
            Normalizer::Precompiled(map) => map.apply(&text).into(),
            Normalizer::Prepend { .. } if text.is_empty() => text,
            Normalizer::Prepend { prepend } => format!("{prepend}{text}").into(),
            Normalizer::Replace { pattern, content } => pattern.replace(text, content),
            Normalizer::Sequence { normalizers } => {
                normalizers.iter().fold(text, |text, normalizer| normalizer.apply(text))
            }
            Normalizer::Strip { strip_left, strip_right } => {
                let mut stripped: &str = &text;
                if *strip_left {
                    stripped = stripped.trim_start();
                }
                if *strip_right {
                    stripped = stripped.trim_end();
                }
                stripped.to_owned().into()
            }
            Normalizer::StripAccents if plain => text,
            Normalizer::StripAccents => {
                let classes = Classes::get();
                text.chars().filter(|&c| !classes.is(c, MARK)).collect()
            }
        }
    }
}

/// A normal form of a text. Characters that are new to `tokenizers` stay as they are and where they are.
fn normal_form(text: &str, form: impl Fn(&str, &mut String)) -> Cow<'static, str> {
    let classes = Classes::get();
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(|c| classes.is(c, NEW)) {
        let old = part.trim_end_matches(|c| classes.is(c, NEW));
        form(old, &mut out);
        out.push_str(&part[old.len()..]);
    }
    out.into()
}

/// Each character in lower case by itself: a final sigma is one as any other.
fn lowercase(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

fn nmt(c: char) -> Option<char> {
    match c {
        '\u{1}'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{8f}' | '\u{9f}' => None,
        '\t'
        | '\n'
        | '\u{c}'
        | '\r'
        | '\u{1680}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{2581}'
        | '\u{feff}'
        | '\u{fffd}' => Some(' '),
        _ => Some(c),
    }
}

impl Bert {
    fn apply(&self, text: &str) -> String {
        let classes = Classes::get();
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            let space = classes.is(c, SPACE);
            if self.clean_text {
                let control = classes.is(c, CONTROL) && !matches!(c, '\t' | '\n' | '\r');
                if c == '\0' || c == '\u{fffd}' || control {
                    continue;
                }
            }
            let c = if self.clean_text && space { ' ' } else { c };
            match self.handle_chinese_chars && is_chinese(c) {
                true => out.extend([' ', c, ' ']),
                false => out.push(c),
            }
        }
        if self.strip_accents.unwrap_or(self.lowercase) && !out.is_ascii() {
            let parts = normal_form(&out, |part, out| out.extend(part.nfd()));
            out = parts.chars().filter(|&c| !classes.is(c, ACCENT)).collect();
        }
        if self.lowercase { lowercase(&out) } else { out }
    }
}

/// The blocks of ideographs, as in BERT.
fn is_chinese(c: char) -> bool {
    matches!(u32::from(c),
        0x4e00..=0x9fff | 0x3400..=0x4dbf | 0x20000..=0x2a6df | 0x2a700..=0x2b73f
        | 0x2b740..=0x2b81f | 0x2b920..=0x2ceaf | 0xf900..=0xfaff | 0x2f800..=0x2fa1f)
}
