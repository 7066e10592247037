//! Texts that are not UTF-8: Windows-1252, which Latin-1 is a part of, and UTF-16.

use std::io::{self, Read};

use super::{BadEvent, Note, short};
use crate::formats::spec::Encoding;

/// What Windows-1252 has from 0x80 to 0x9f.
const WINDOWS: [char; 32] = [
    '\u{20ac}', '\u{81}', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}', '\u{2021}',
    '\u{2c6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8d}', '\u{17d}', '\u{8f}',
    '\u{90}', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '\u{2022}', '\u{2013}', '\u{2014}',
    '\u{2dc}', '\u{2122}', '\u{161}', '\u{203a}', '\u{153}', '\u{9d}', '\u{17e}', '\u{178}',
];

/// Bytes of Windows-1252 as text.
pub(super) fn windows(bytes: &[u8], out: &mut String) {
    out.clear();
    out.extend(bytes.iter().map(|&b| match b {
        0x80..=0x9f => WINDOWS[usize::from(b - 0x80)],
        b => char::from(b),
    }));
}

/// A text in Windows-1252, where that has all of its characters.
pub(super) fn to_windows(text: &str) -> Option<Vec<u8>> {
    let byte = |c: char| match u8::try_from(u32::from(c)) {
        Ok(byte) if !(0x80..0xa0).contains(&byte) => Some(byte),
        _ => WINDOWS.iter().position(|w| *w == c).map(|at| 0x80 + at as u8),
    };
    text.chars().map(byte).collect()
}

/// The text of a value; what is not UTF-8 is Windows-1252, put into `scratch` and counted, unless
/// the recipe says that all is UTF-8.
pub(super) fn value<'a>(
    bytes: &'a [u8],
    encoding: Option<Encoding>,
    scratch: &'a mut String,
    count: &mut u64,
) -> Result<&'a str, BadEvent> {
    if encoding == Some(Encoding::Latin1) {
        windows(bytes, scratch);
        return Ok(scratch);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) if encoding == Some(Encoding::Utf8) => {
            Err(BadEvent::new(format!("`{}` is not UTF-8", short(bytes))))
        }
        Err(_) => {
            *count += 1;
            windows(bytes, scratch);
            Ok(scratch)
        }
    }
}

/// The note about such values.
pub(super) fn note(count: u64) -> Option<Note> {
    let text = "texts that are not UTF-8 were read as Windows-1252 (Latin-1); set encoding if they are not";
    (count > 0).then(|| Note { text: text.to_owned(), count })
}

/// An input as UTF-8: one in UTF-16 that begins with a byte order mark is converted, any other is
/// passed on as it is.
#[derive(Debug)]
pub struct Utf16Reader<R> {
    input: R,
    /// Bytes that were read to look at them, or converted, and how many of them were given.
    ready: Vec<u8>,
    given: usize,
    state: State,
    /// A byte or a first half of a character that waits for its second.
    half: Option<u8>,
    high: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Plain,
    Little,
    Big,
}

impl<R: Read> Utf16Reader<R> {
    /// Looks at the start of `input` at the first read.
    pub fn new(input: R) -> Utf16Reader<R> {
        let (ready, state) = (Vec::new(), State::Start);
        Utf16Reader { input, ready, given: 0, state, half: None, high: None }
    }

    fn begin(&mut self) -> io::Result<()> {
        let mut mark = Vec::new();
        Read::by_ref(&mut self.input).take(2).read_to_end(&mut mark)?;
        self.state = match mark[..] {
            [0xff, 0xfe] => State::Little,
            [0xfe, 0xff] => State::Big,
            _ => State::Plain,
        };
        if self.state == State::Plain {
            self.ready = mark;
        }
        Ok(())
    }

    fn convert(&mut self, bytes: &[u8]) {
        (self.given, _) = (0, self.ready.clear());
        for &byte in bytes {
            let Some(first) = self.half.take() else {
                self.half = Some(byte);
                continue;
            };
            let pair = [first, byte];
            let unit = match self.state {
                State::Big => u16::from_be_bytes(pair),
                _ => u16::from_le_bytes(pair),
            };
            let units: Vec<u16> = self.high.take().into_iter().chain([unit]).collect();
            if units.len() == 1 && (0xd800..0xdc00).contains(&unit) {
                self.high = Some(unit);
                continue;
            }
            for c in char::decode_utf16(units) {
                let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
                self.ready.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
}

impl<R: Read> Read for Utf16Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.state == State::Start {
            self.begin()?;
        }
        let mut bytes = [0; 16 << 10];
        loop {
            if self.given < self.ready.len() {
                let n = out.len().min(self.ready.len() - self.given);
                out[..n].copy_from_slice(&self.ready[self.given..self.given + n]);
                self.given += n;
                return Ok(n);
            }
            if self.state == State::Plain {
                return self.input.read(out);
            }
            let n = self.input.read(&mut bytes)?;
            if n == 0 {
                // Half a character at the end of a file that was cut.
                let cut = self.half.take().is_some() | self.high.take().is_some();
                (self.given, _) = (0, self.ready.clear());
                if !cut {
                    return Ok(0);
                }
                self.ready.extend_from_slice("\u{fffd}".as_bytes());
                continue;
            }
            self.convert(&bytes[..n]);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn utf_16_in_both_orders_and_anything_else() {
        let text = "a,b\n1,\u{e4}\u{1f600}\n";
        let mut little = vec![0xff, 0xfe];
        little.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        let mut big = vec![0xfe, 0xff];
        big.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
        for bytes in [little, big, text.as_bytes().to_vec()] {
            let mut read = String::new();
            Utf16Reader::new(&bytes[..]).read_to_string(&mut read).unwrap();
            assert_eq!(read, text);
        }
        for bytes in [&b""[..], b"x", b"\xff"] {
            let mut read = Vec::new();
            Utf16Reader::new(bytes).read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes);
        }
        let mut cut = String::new();
        Utf16Reader::new(&b"\xff\xfea\0b"[..]).read_to_string(&mut cut).unwrap();
        assert_eq!(cut, "a\u{fffd}");
    }

    #[test]
    fn windows_1252() {
        let mut scratch = String::new();
        let mut count = 0;
        assert_eq!(
            value(b"caf\xe9 \x80", None, &mut scratch, &mut count).unwrap(),
            "caf\u{e9} \u{20ac}"
        );
        assert_eq!(count, 1);
        assert!(value(b"caf\xe9", Some(Encoding::Utf8), &mut String::new(), &mut count).is_err());
    }
}
