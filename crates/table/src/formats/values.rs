//! JSON of any layout as JSON lines: an array of values, or values over several lines.

use std::io::{self, Cursor, Read};

/// Bytes of the first value that are looked at.
pub const JSON_LOOK: usize = 64 << 10;
const CHUNK: usize = 64 << 10;

/// `input` as JSON lines: one that begins with an array gives the items of the array, and one whose
/// first value goes over several lines gives each value in one line. Any other is given as it is, and
/// costs nothing then. Reads until the first line or value decides.
///
/// # Errors
/// If it cannot be read.
pub fn json_lines(mut input: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut head = Vec::new();
    let layout = loop {
        if let Some(layout) = layout(&head) {
            break layout;
        }
        let len = head.len();
        head.resize(len + 4096, 0);
        let read = loop {
            match input.read(&mut head[len..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        head.truncate(len + read);
        if read == 0 || head.len() > JSON_LOOK {
            break Layout::Lines;
        }
    };
    let input = Cursor::new(head).chain(input);
    Ok(match layout {
        Layout::Lines => Box::new(input),
        Layout::Array | Layout::Spread => Box::new(Values {
            input,
            in_array: layout == Layout::Array,
            depth: 0,
            text: None,
            begun: false,
            buffer: Vec::new(),
            out: Vec::new(),
            given: 0,
            ended: false,
        }),
    })
}

/// Whether JSON that begins with `head` ([`JSON_LOOK`] bytes of it) is anything but one value a line.
pub fn is_spread(head: &[u8]) -> bool {
    layout(head).is_some_and(|layout| layout != Layout::Lines)
}

#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// One value a line.
    Lines,
    /// One array of values.
    Array,
    /// Values over several lines.
    Spread,
}

/// Within a string, and whether after a backslash.
#[derive(Clone, Copy, PartialEq)]
enum Text {
    Plain,
    Escaped,
}

/// How the text that begins so is laid out; none while that is open.
fn layout(head: &[u8]) -> Option<Layout> {
    let mark = b"\xef\xbb\xbf";
    if mark.starts_with(head) {
        return None;
    }
    let text = head.strip_prefix(mark).unwrap_or(head);
    let text = text.trim_ascii_start();
    match text.first()? {
        b'[' => return Some(Layout::Array),
        b'{' => {}
        _ => return Some(Layout::Lines),
    }
    let (mut depth, mut inside) = (0_usize, None);
    for &byte in text {
        match (inside, byte) {
            (None, b'\n') => return Some(if depth > 0 { Layout::Spread } else { Layout::Lines }),
            (inside_, byte) => inside = step(inside_, byte, &mut depth),
        }
        if depth == 0 && inside.is_none() {
            return Some(Layout::Lines);
        }
    }
    None
}

/// Follows one byte: strings, and how deep objects and arrays are nested.
fn step(inside: Option<Text>, byte: u8, depth: &mut usize) -> Option<Text> {
    match (inside, byte) {
        (Some(Text::Plain), b'"') => None,
        (Some(Text::Plain), b'\\') => Some(Text::Escaped),
        (Some(_), _) => Some(Text::Plain),
        (None, b'"') => Some(Text::Plain),
        (None, b'{' | b'[') => {
            *depth += 1;
            None
        }
        (None, b'}' | b']') => {
            *depth = depth.saturating_sub(1);
            None
        }
        (None, _) => None,
    }
}

/// The values of an input, each in one line.
struct Values<R> {
    input: R,
    /// Whether they are the items of an array; its own brackets are dropped.
    in_array: bool,
    /// Within a value.
    depth: usize,
    text: Option<Text>,
    /// Whether something of a value was given that its line end has to follow.
    begun: bool,
    buffer: Vec<u8>,
    out: Vec<u8>,
    given: usize,
    ended: bool,
}

impl<R: Read> Values<R> {
    fn fill(&mut self) -> io::Result<()> {
        self.out.clear();
        self.given = 0;
        self.buffer.resize(CHUNK, 0);
        let read = self.input.read(&mut self.buffer)?;
        if read == 0 {
            self.ended = true;
            let open = if self.in_array { self.depth > 0 } else { self.depth > 0 || self.begun };
            return match open {
                false => Ok(()),
                true => Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the JSON ends within an array or object: the file is cut off",
                )),
            };
        }
        let outer = usize::from(self.in_array);
        for i in 0..read {
            let byte = self.buffer[i];
            let before = (self.depth, self.text);
            self.text = step(self.text, byte, &mut self.depth);
            match (before, byte) {
                // The byte order mark, the array's own brackets, and what is between values.
                ((0, None), 0xef | 0xbb | 0xbf) if !self.begun => {}
                ((0, None), b'[') if self.in_array => {}
                ((depth, None), b']' | b',') if depth == outer && self.in_array => self.end_value(),
                ((_, None), b' ' | b'\t' | b'\n' | b'\r') => {
                    // Space that ends a number or a name, which nothing else does here.
                    match before.0 == 0 {
                        true => self.end_value(),
                        false if self.begun => self.out.push(b' '),
                        false => {}
                    }
                }
                _ => {
                    self.out.push(byte);
                    self.begun = true;
                    let closed = before.0 > self.depth && self.depth == outer;
                    if closed && self.text.is_none() && !self.in_array {
                        self.end_value();
                    }
                }
            }
        }
        Ok(())
    }

    fn end_value(&mut self) {
        if std::mem::take(&mut self.begun) {
            self.out.push(b'\n');
        }
    }
}

impl<R: Read> Read for Values<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.given == self.out.len() {
            if self.ended {
                return Ok(0);
            }
            self.fill()?;
        }
        let n = (self.out.len() - self.given).min(out.len());
        out[..n].copy_from_slice(&self.out[self.given..self.given + n]);
        self.given += n;
        Ok(n)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Gives pieces of a few bytes.
    struct Pieces(Vec<u8>, usize);

    impl Read for Pieces {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(out.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0.drain(..n);
            Ok(n)
        }
    }

    fn lines(text: &str, step: usize) -> io::Result<String> {
        let mut out = String::new();
        json_lines(Box::new(Pieces(text.as_bytes().to_vec(), step)))?.read_to_string(&mut out)?;
        Ok(out)
    }

    #[test]
    fn every_layout_is_one_value_a_line() {
        let want = "{\"a\":1,\"b\":[1,{\"c\":2}]}\n{\"a\":\"x,]}\\\"\\\\y\"}\n3\n";
        let array =
            "\u{feff} [ {\"a\":1, \"b\":[1,\n {\"c\":2}]},\r\n{\"a\": \"x,]}\\\"\\\\y\"} , 3]\n";
        let spread =
            "{\n  \"a\": 1,\n  \"b\": [1, {\"c\": 2}]\n}\n{\n \"a\": \"x,]}\\\"\\\\y\"\n}\n3\n";
        for step in [1, 2, 3, 7, 1000] {
            assert_eq!(lines(array, step).unwrap().replace(' ', ""), want, "{step}");
            assert_eq!(lines(spread, step).unwrap().replace(' ', ""), want, "{step}");
            // What is JSON lines already stays as it is, space and all.
            for text in
                ["{\"a\": 1}\n\n{ }\n", "{\"a\": [\"\\\"}\"]} {\"b\":2}\nx", "a,b\n1,2\n", "", " "]
            {
                assert_eq!(lines(text, step).unwrap(), text);
            }
            assert_eq!(lines("[]", step).unwrap(), "");
        }
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        for text in ["[{\"a\":1},", "[{\"a\":1}", "[{\"a\":", "{\n\"a\":1}\n{\n\"a\""] {
            let error = lines(text, 5).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{text}");
        }
    }
}
