//! Classes of characters: `\w`, `\s`, `\p{L}` and so on, from the tables of `regex-syntax`, in one look-up.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// `\s`: white space.
pub(crate) const SPACE: u16 = 1;
/// `\w`: letters, marks, decimal digits, connectors.
pub(crate) const WORD: u16 = 2;
/// `\p{L}`: letters.
pub(crate) const LETTER: u16 = 4;
/// `\p{N}`: numbers.
pub(crate) const NUMBER: u16 = 8;
/// Punctuation as BERT has it: `\p{P}` and all ASCII marks.
pub(crate) const PUNCTUATION: u16 = 16;
/// What BERT removes as control characters.
pub(crate) const CONTROL: u16 = 32;
/// What BERT removes as accents.
pub(crate) const ACCENT: u16 = 64;
/// What `StripAccents` removes.
pub(crate) const MARK: u16 = 128;
/// Not known to the normal forms of `tokenizers`.
pub(crate) const NEW: u16 = 256;

/// The patterns of the bits, in their order. From the fifth on they are of the version of Unicode that
/// `tokenizers` has there, 8 or 9, with what became another class later.
const PATTERNS: [&str; 9] = [
    r"\s",
    r"\w",
    r"\p{L}",
    r"\p{N}",
    r"[[\p{P}&&\p{age:8.0}]!-/:-@\[-`{-~\u{166D}\u{111C9}]",
    r"[[\p{Cc}\p{Cf}\p{Co}]&&\p{age:8.0}]",
    r"[[\p{Mn}\u{1734}\u{1171E}&&\p{age:8.0}]--[\u{1885}\u{1886}\u{A9BD}\u{111C9}]]",
    r"[[\p{M}\u{1CF2}\u{1CF3}&&\p{age:9.0}]--[\u{111C9}]]",
    r"\P{age:9.0}",
];

/// The bits of each code point, 2.2 MB; only pages of characters that occur are touched after it was made.
static CLASSES: LazyLock<Vec<u16>> = LazyLock::new(|| {
    let mut classes = vec![0u16; 0x11_0000];
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
pub(crate) struct Classes(&'static [u16]);

impl Classes {
    pub(crate) fn get() -> Classes {
        Classes(&CLASSES)
    }

    /// Whether a character is in one of these classes.
    pub(crate) fn is(self, c: char, mask: u16) -> bool {
        self.of(c) & mask != 0
    }

    /// The classes of a character.
    pub(crate) fn of(self, c: char) -> u16 {
        self.0.get(c as usize).copied().unwrap_or(0)
    }
}
