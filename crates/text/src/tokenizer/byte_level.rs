//! Bytes as characters, and the words of GPT-2 (Radford et al. 2019, `encoder.py`).

use std::sync::LazyLock;

use super::classes::{Classes, LETTER, NUMBER, SPACE};

/// The character of each byte, and the byte of each character up to U+0143.
struct Alphabet {
    characters: [char; 256],
    bytes: [Option<u8>; 324],
}

static ALPHABET: LazyLock<Alphabet> = LazyLock::new(|| {
    let mut alphabet = Alphabet { characters: ['\0'; 256], bytes: [None; 324] };
    let mut next = 256;
    for byte in 0..=255u8 {
        // Bytes whose Latin-1 character is visible stand for themselves.
        let code = match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => u32::from(byte),
            _ => {
                next += 1;
                next - 1
            }
        };
        alphabet.characters[byte as usize] = char::from_u32(code).unwrap_or_default();
        alphabet.bytes[code as usize] = Some(byte);
    }
    alphabet
});

/// The character of each byte.
pub(crate) fn characters() -> &'static [char; 256] {
    &ALPHABET.characters
}

/// Appends the characters of the bytes of a text.
pub(crate) fn map(text: &str, mapped: &mut String) {
    let characters = characters();
    mapped.extend(text.bytes().map(|byte| characters[byte as usize]));
}

/// Appends the bytes that a token stands for; a token with another character stands for itself.
pub(crate) fn unmap(token: &str, bytes: &mut Vec<u8>) {
    let before = bytes.len();
    for c in token.chars() {
        match ALPHABET.bytes.get(c as usize).copied().flatten() {
            Some(byte) => bytes.push(byte),
            None => {
                bytes.truncate(before);
                bytes.extend_from_slice(token.as_bytes());
                return;
            }
        }
    }
}

/// Calls `emit` with each match of
/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
/// and with whether the text begins with it and is the `first`. Matches cover the whole text.
pub(crate) fn words(text: &str, first: bool, emit: &mut dyn FnMut(&str, bool)) {
    let classes = Classes::get();
    let mut start = 0;
    while let Some(len) = next(&text[start..], classes) {
        emit(&text[start..start + len], first && start == 0);
        start += len;
    }
}

/// The length of the first match; nothing in an empty text.
fn next(text: &str, classes: Classes) -> Option<usize> {
    if let Some(rest) = text.strip_prefix('\'') {
        match rest.as_bytes() {
            [b's' | b't' | b'm' | b'd', ..] => return Some(2),
            [b'r' | b'v', b'e', ..] | [b'l', b'l', ..] => return Some(3),
            _ => {}
        }
    }
    let kind = |c: char| classes.of(c) & (SPACE | LETTER | NUMBER);
    let run = |text: &str, of: u16| {
        text.char_indices().find(|&(_, c)| kind(c) != of).map_or(text.len(), |(at, _)| at)
    };
    let first = text.chars().next()?;
    if kind(first) != SPACE {
        return Some(run(text, kind(first)));
    }
    let after = text.strip_prefix(' ').unwrap_or_default();
    if let Some(second) = after.chars().next().map(kind).filter(|&kind| kind != SPACE) {
        return Some(1 + run(after, second));
    }
    let end = run(text, SPACE);
    let last = text[..end].chars().next_back().map_or(0, char::len_utf8);
    // The last space of several stays for the word after it.
    Some(if end == text.len() || end == last { end } else { end - last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_as_gpt_2_has_them() {
        let cut = |text: &str| {
            let mut words = Vec::new();
            super::words(text, true, &mut |word, _| words.push(word.to_owned()));
            assert_eq!(words.concat(), text);
            words.join("|")
        };
        assert_eq!(
            cut("I'm  here, you'll 'see' 12ab\n\n x "),
            "I|'m| | here|,| you|'ll| '|see|'| 12|ab|\n\n| x| "
        );
        assert_eq!(cut("\t\tä\u{a0}b '"), "\t|\t|ä|\u{a0}|b| '");
        assert_eq!(cut("'"), "'");
        assert_eq!(cut(""), "");
    }

    #[test]
    fn each_byte_has_a_character() {
        let all: String = (0..=255u8).map(char::from).collect();
        let (mut mapped, mut bytes) = (String::new(), Vec::new());
        map(&all, &mut mapped);
        unmap(&mapped, &mut bytes);
        assert_eq!(bytes, all.as_bytes());
    }
}
