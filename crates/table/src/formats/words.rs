//! The words of VW text and libsvm: `name`, `name:number` or `name:text`, between spaces and tabs.

use super::{BadEvent, number, short};

/// Cuts a line into words, looking at each byte once: this is most of the time of these formats.
pub(super) struct Words<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// One of them.
pub(super) struct Word<'a> {
    pub name: &'a [u8],
    pub value: Amount<'a>,
}

/// What is behind the colon.
#[derive(Clone, Copy)]
pub(super) enum Amount<'a> {
    /// There is no colon.
    None,
    Number(f64),
    /// Anything else, also nothing.
    Text(&'a [u8]),
}

impl<'a> Words<'a> {
    pub fn new(bytes: &'a [u8]) -> Words<'a> {
        Words { bytes, at: 0 }
    }
}

fn is_space(b: &u8) -> bool {
    matches!(b, b' ' | b'\t')
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    #[inline]
    fn next(&mut self) -> Option<Word<'a>> {
        let space = self.bytes[self.at..].iter().position(|b| !is_space(b))?;
        let rest = &self.bytes[self.at + space..];
        self.at += space;
        let end = rest.iter().position(|b| is_space(b) || *b == b':').unwrap_or(rest.len());
        let name = &rest[..end];
        self.at += end;
        if rest.get(end) != Some(&b':') {
            return Some(Word { name, value: Amount::None });
        }
        self.at += 1;
        let rest = &rest[end + 1..];
        if let Some((number, len)) = number::prefix(rest)
            && rest.get(len).is_none_or(is_space)
        {
            self.at += len;
            return Some(Word { name, value: Amount::Number(number) });
        }
        let len = rest.iter().position(is_space).unwrap_or(rest.len());
        self.at += len;
        Some(Word { name, value: Amount::Text(&rest[..len]) })
    }
}

impl Word<'_> {
    /// As it was written.
    pub fn shown(&self) -> String {
        match self.value {
            Amount::None => short(self.name),
            Amount::Number(number) => format!("{}:{number}", short(self.name)),
            Amount::Text(text) => format!("{}:{}", short(self.name), short(text)),
        }
    }

    /// Its value, which must be a finite number.
    pub fn number(&self) -> Result<f32, BadEvent> {
        match self.value {
            Amount::Number(number) if (number as f32).is_finite() => Ok(number as f32),
            _ => Err(BadEvent::new(format!(
                "feature `{}` has no finite number as its value",
                self.shown()
            ))),
        }
    }
}
