//! Classes of characters: `\w`, `\s`, `\p{L}` and so on, from the tables of `regex-syntax`, in one look-up.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// `\s`: white space.
pub(crate) const SPACE: u8 = 1;
/// `\w`: letters, marks, decimal digits, connectors.
pub(crate) const WORD: u8 = 2;
/// `\p{L}`: letters.
pub(crate) const LETTER: u8 = 4;
/// `\p{N}`: numbers.
pub(crate) const NUMBER: u8 = 8;
/// Punctuation as BERT has it: `\p{P}` of Unicode 8 and all ASCII marks.
pub(crate) const PUNCTUATION: u8 = 16;
/// What BERT removes as control characters: `\p{C}` but unassigned ones.
pub(crate) const OTHER: u8 = 32;
/// What BERT removes as accents: `\p{Mn}`.
pub(crate) const ACCENT: u8 = 64;

/// The patterns of the bits, in their order.
const PATTERNS: [&str; 7] = [
    r"\s",
    r"\w",
    r"\p{L}",
    r"\p{N}",
    r"[[\p{P}&&\p{age:8.0}]!-/:-@\[-`{-~]",
    r"[\p{Cc}\p{Cf}\p{Co}]",
    r"\p{Mn}",
];

/// The bits of each code point, 1.1 MB; only pages of characters that occur are touched after it was made.
static CLASSES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut classes = vec![0u8; 0x11_0000];
    for (bit, pattern) in PATTERNS.iter().enumerate() {
        let Ok(hir) = regex_syntax::parse(pattern) else { continue };
        let HirKind::Class(Class::Unicode(class)) = hir.kind() else { continue };
        for range in class.ranges() {
            let range = range.start() as usize..=range.end() as usize;
            classes[range].iter_mut().for_each(|class| *class |= 1 << bit);
        }
    }
    classes
});

/// The table, so that a loop looks it up once.
#[derive(Clone, Copy)]
pub(crate) struct Classes(&'static [u8]);

impl Classes {
    pub(crate) fn get() -> Classes {
        Classes(&CLASSES)
    }

    /// Whether a character is in one of these classes.
    pub(crate) fn is(self, c: char, mask: u8) -> bool {
        self.of(c) & mask != 0
    }

    /// The classes of a character.
    pub(crate) fn of(self, c: char) -> u8 {
        self.0.get(c as usize).copied().unwrap_or(0)
    }
}
