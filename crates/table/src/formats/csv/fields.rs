//! A row cut into fields, and the values of these.

use memchr::memchr;

use super::super::bounds::{MOST_NAMES, too_many};
use super::super::delimiter::count;
use super::super::missing::Missing;
use super::super::number::{self, EXACT, Style};
use super::super::row::{self, Cell, Role};
use super::super::spec::Encoding;
use super::super::units::Units;
use crate::events::{Draft, Value};
use crate::formats::{BadEvent, FormatSpec, short, text};

/// Cuts rows into fields.
pub(super) struct Fields {
    pub(super) delimiter: u8,
    quote: Option<u8>,
    pub(super) missing: Missing,
    style: Style,
    units: Units,
    encoding: Option<Encoding>,
    /// A quoted field without its doubled quotes.
    unquoted: Vec<u8>,
    converted: String,
    /// Values that were not UTF-8.
    pub(super) odd: u64,
    /// Whether rows may end early, and how many did.
    short_rows: bool,
    pub(super) short: u64,
}

impl Fields {
    pub(super) fn new(spec: &FormatSpec, delimiter: u8) -> Fields {
        Fields {
            delimiter,
            quote: spec.quote_byte(),
            missing: Missing::new(&spec.missing),
            style: spec.style(delimiter),
            units: Units::new(&spec.units),
            encoding: spec.encoding,
            unquoted: Vec::new(),
            converted: String::new(),
            odd: 0,
            short_rows: spec.short_rows,
            short: 0,
        }
    }

    pub(super) fn set_delimiter(&mut self, spec: &FormatSpec, delimiter: u8) {
        (self.delimiter, self.style) = (delimiter, spec.style(delimiter));
    }

    /// Decodes a row; an error comes with the field it is in.
    pub(super) fn row(
        &mut self,
        bytes: &[u8],
        cells: &[Cell],
        draft: &mut Draft<'_>,
    ) -> Result<(), (usize, BadEvent)> {
        let mut at = 0;
        let commas = self.style.decimal == Some(b',') || self.style.thousands == Some(b'.');
        for (i, cell) in cells.iter().enumerate() {
            // Nearly all fields are numbers: the end of the number is the end of the field.
            match number::prefix(&bytes[at..]) {
                Some((number, len))
                    if !cell.text
                        && bytes.get(at + len).is_none_or(|next| *next == self.delimiter)
                        && is_plain(number, &bytes[at..at + len], cell.role)
                        && !commas
                        && !self.missing.has_number(number) =>
                {
                    at += len;
                    row::put(draft, cell.role, Value::Number(number)).map_err(|bad| (i, bad))?;
                }
                _ => {
                    let end = self.field(bytes, at, cell, draft).map_err(|bad| (i, bad))?;
                    at = end;
                }
            }
            if at == bytes.len() {
                if i + 1 < cells.len() {
                    let short = self.short_rows || self.delimiter == b'\t';
                    let has_label = cells[..=i].iter().any(|c| c.role == Role::Label);
                    if short && i > 0 && has_label {
                        self.short += 1;
                        return Ok(());
                    }
                    let mut what = wrong_count(i + 1, cells.len());
                    what.extend(
                        (i == 0).then(|| self.other_delimiter(bytes, cells.len())).flatten(),
                    );
                    return Err((cells.len(), BadEvent::new(what)));
                }
                return Ok(());
            }
            at += 1;
        }
        // A delimiter after the last value.
        if bytes[at..].trim_ascii().is_empty() {
            return Ok(());
        }
        let rest = self.split(&bytes[at..]).map_err(|bad| (cells.len(), bad))?.len();
        Err((cells.len(), BadEvent::new(wrong_count(cells.len() + rest, cells.len()))))
    }

    /// What to say of a row without the delimiter, if another one cuts it into as many fields as are expected.
    fn other_delimiter(&self, bytes: &[u8], expected: usize) -> Option<String> {
        let shown =
            |by: u8| if by == b'\t' { "tabs".to_owned() } else { format!("`{}`", char::from(by)) };
        let others = [b',', b';', b'\t', b'|'].into_iter();
        let other = others
            .filter(|by| *by != self.delimiter)
            .find(|by| count(bytes, *by, self.quote) == expected)?;
        Some(format!(
            ": fields are separated by {} here, and by {} where the columns were learned; write the file in the same way, or give its \
             delimiter in a recipe",
            shown(other),
            shown(self.delimiter)
        ))
    }

    /// The field at `at` that is no plain number; gives its end.
    fn field(
        &mut self,
        bytes: &[u8],
        at: usize,
        cell: &Cell,
        draft: &mut Draft<'_>,
    ) -> Result<usize, BadEvent> {
        let (value, end) = self.cut(bytes, at)?;
        let value = match value {
            Cut::Plain(value) => value,
            Cut::Unquoted => &self.unquoted,
        };
        if cell.role == Role::Ignore {
            return Ok(end);
        }
        let number = match cell.text {
            true => None,
            false => number_of(value, cell.role, self.style)
                .or_else(|| self.units.number(value, self.style)),
        };
        let value = if self.missing.has(value) || number.is_some_and(|n| self.missing.has_number(n))
        {
            Value::Missing
        } else if let Some(number) = number {
            Value::Number(number)
        } else {
            Value::Text(text::value(value, self.encoding, &mut self.converted, &mut self.odd)?)
        };
        row::put(draft, cell.role, value)?;
        Ok(end)
    }

    /// Cuts out the field at `at`, without spaces around it, and finds its end.
    fn cut<'b>(&mut self, bytes: &'b [u8], at: usize) -> Result<(Cut<'b>, usize), BadEvent> {
        let spaces = |&&b: &&u8| b == b' ' && self.delimiter != b' ';
        let rest = &bytes[at..];
        let start = rest.iter().take_while(spaces).count();
        let quote = self.quote.filter(|quote| rest.get(start) == Some(quote));
        let Some(quote) = quote else { return Ok(self.cut_plain(bytes, at, start)) };
        let text = &rest[start + 1..];
        // Between tabs a quote is mostly a character like others.
        let tabs = self.delimiter == b'\t';
        let mut close = match memchr(quote, text) {
            Some(close) => close,
            None if tabs => return Ok(self.cut_plain(bytes, at, start)),
            None => return Err(BadEvent::unclosed()),
        };
        let doubled = text.get(close + 1) == Some(&quote);
        if doubled {
            self.unquoted.clear();
            let mut from = 0;
            while text.get(close + 1) == Some(&quote) {
                self.unquoted.extend_from_slice(&text[from..=close]);
                from = close + 2;
                close = match memchr(quote, &text[from..]) {
                    Some(more) => from + more,
                    None if tabs => return Ok(self.cut_plain(bytes, at, start)),
                    None => return Err(BadEvent::unclosed()),
                };
            }
            self.unquoted.extend_from_slice(&text[from..close]);
        }
        let after = close + 1;
        let end = after + text[after..].iter().take_while(spaces).count();
        if text.get(end).is_some_and(|next| *next != self.delimiter) {
            if tabs {
                return Ok(self.cut_plain(bytes, at, start));
            }
            return Err(BadEvent::new(format!(
                "`{}` follows a closing quote; a quote within a field is doubled",
                short(&text[end..])
            )));
        }
        let cut = if doubled { Cut::Unquoted } else { Cut::Plain(&text[..close]) };
        Ok((cut, at + start + 1 + end))
    }

    /// The field at `at` up to the next delimiter, of which the first `start` bytes are spaces.
    fn cut_plain<'b>(&self, bytes: &'b [u8], at: usize, start: usize) -> (Cut<'b>, usize) {
        let rest = &bytes[at..];
        let len = memchr(self.delimiter, rest).unwrap_or(rest.len());
        let start = start.min(len);
        let spaces = |&&b: &&u8| b == b' ' && self.delimiter != b' ';
        let after = rest[start..len].iter().rev().take_while(spaces).count();
        (Cut::Plain(&rest[start..len - after]), at + len)
    }

    /// All fields as text; for headers.
    pub(super) fn split(&mut self, bytes: &[u8]) -> Result<Vec<String>, BadEvent> {
        let mut fields = Vec::new();
        let mut at = 0;
        loop {
            let (value, end) = self.cut(bytes, at)?;
            let value = match value {
                Cut::Plain(value) => value,
                Cut::Unquoted => &self.unquoted,
            };
            let text = text::value(value, self.encoding, &mut self.converted, &mut self.odd)?;
            if fields.len() == MOST_NAMES {
                return Err(too_many("column"));
            }
            fields.push(text.to_owned());
            if end == bytes.len() {
                return Ok(fields);
            }
            at = end + 1;
        }
    }
}

/// Whether what begins a field can be taken as the number that it was read as.
#[inline]
fn is_plain(number: f64, bytes: &[u8], role: Role) -> bool {
    let zero = bytes[0] == b'0' && bytes.get(1).is_some_and(u8::is_ascii_digit);
    // Labels that are whole numbers are distinguished by their digits.
    let label = role == Role::Label && number.abs() >= EXACT && is_whole(bytes);
    number.is_finite() && !zero && !label
}

/// Whether it is digits and perhaps a sign.
fn is_whole(bytes: &[u8]) -> bool {
    bytes.strip_prefix(b"-").unwrap_or(bytes).iter().all(u8::is_ascii_digit)
}

/// The number that a value is where it is used like that.
fn number_of(value: &[u8], role: Role, style: Style) -> Option<f64> {
    if number::leading_zero(value) && matches!(role, Role::Input(_) | Role::Label | Role::Id) {
        return None;
    }
    match role {
        Role::Label => match number::loose(value, style) {
            // A class of 64 bits.
            Some(n) if n.abs() >= EXACT && is_whole(value) => None,
            // `true` and `false` are names of classes.
            Some(_) if value.first().is_some_and(u8::is_ascii_alphabetic) => None,
            number => number,
        },
        _ => number::loose(value, style),
    }
}

enum Cut<'a> {
    Plain(&'a [u8]),
    /// It is in [`Fields::unquoted`].
    Unquoted,
}

pub(super) fn wrong_count(found: usize, expected: usize) -> String {
    format!("the row has {found} fields, expected {expected}")
}
