//! Signs of currencies, of per cent and of units that stand before or behind numbers, as in `$1,234.50`, `68 %` and `5 kg`.

use super::number::{self, Style};
use super::text;

/// Signs that stand for nothing but an amount or a share.
const SIGNS: &str = "$€£¥¢₹₽₩₺₪₫₴₿%‰";

/// What is no part of the numbers that it stands beside.
#[derive(Clone, Debug, Default)]
pub(super) struct Units(Vec<Vec<u8>>);

impl Units {
    /// Of these texts, in UTF-8 and in Windows-1252.
    pub(super) fn new(units: &[String]) -> Units {
        let encoded = units.iter().flat_map(|unit| {
            let bytes = unit.clone().into_bytes();
            let windows = text::to_windows(unit).filter(|windows| *windows != bytes);
            std::iter::once(bytes).chain(windows)
        });
        Units(encoded.collect())
    }

    /// The number that `value` is with one of the units before or behind it.
    pub(super) fn number(&self, value: &[u8], style: Style) -> Option<f64> {
        self.0.iter().find_map(|unit| without(value, unit, style))
    }
}

/// The number that is left of `value` without `unit`; a minus may stand before both.
fn without(value: &[u8], unit: &[u8], style: Style) -> Option<f64> {
    if let Some(rest) = value.strip_suffix(unit) {
        return number::loose(trimmed(rest), style);
    }
    let (minus, size) = number::minus(value).map_or((false, value), |size| (true, size));
    let rest = trimmed(size.strip_prefix(unit)?);
    // One sign is enough.
    if minus && number::minus(rest).is_some() {
        return None;
    }
    number::loose(rest, style).map(|n| if minus { -n } else { n })
}

/// Without spaces at its ends, also those that no line is broken at.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes.trim_ascii();
    while let Some(len) = number::hard_space(rest) {
        rest = &rest[len..];
    }
    while let Some(start) = (1..=rest.len().min(3))
        .rev()
        .map(|n| rest.len() - n)
        .find(|at| number::hard_space(&rest[*at..]) == Some(rest.len() - at))
    {
        rest = &rest[..start];
    }
    rest.trim_ascii()
}

/// What stands before or behind the number that a text is, and whether it is a sign that can be nothing else. None where the
/// text is no number, or one without a unit.
pub(super) fn unit_of(value: &str, style: Style) -> Option<(String, bool)> {
    let size =
        number::minus(value.as_bytes()).map_or(value, |size| &value[value.len() - size.len()..]);
    let end = value.trim_end_matches(|c: char| !c.is_ascii_digit()).len();
    let start = size.find(|c: char| c.is_ascii_digit() || matches!(c, '.' | ','))?;
    let (before, behind) = (size[..start].trim(), value[end..].trim());
    let unit = match (before.is_empty(), behind.is_empty()) {
        (true, false) => behind,
        (false, true) => before,
        _ => return None,
    };
    let is_sign = unit.chars().all(|c| SIGNS.contains(c)) && unit.chars().count() == 1;
    // `A12` is more likely a code than twelve of something.
    let is_word = unit.chars().all(char::is_alphabetic) && unit.chars().count() <= 4;
    let apart = before.is_empty() || size[..start].ends_with(char::is_whitespace);
    ((is_sign || (is_word && apart)) && without(value.as_bytes(), unit.as_bytes(), style).is_some())
        .then(|| (unit.to_owned(), is_sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_no_part_of_numbers() {
        let units = Units::new(&["$", "€", "%", "kg"].map(String::from));
        let style = Style { commas_group: true, ..Style::default() };
        for (text, want) in [
            ("$1,234.50", Some(1234.5)),
            ("-$5", Some(-5.0)),
            ("$-5", Some(-5.0)),
            ("-$-5", None),
            ("$ 5", Some(5.0)),
            ("34432 €", Some(34432.0)),
            ("34432\u{a0}€", Some(34432.0)),
            ("34\u{202f}432\u{a0}€", Some(34432.0)),
            ("68.7%", Some(68.7)),
            ("5kg", Some(5.0)),
            ("5 lb", None),
            ("$", None),
            ("$5%", None),
            ("5", None),
        ] {
            assert_eq!(units.number(text.as_bytes(), style), want, "{text}");
        }
        assert_eq!(units.number(b"7 \x80", style), Some(7.0), "Windows-1252");
    }

    #[test]
    fn units_are_found() {
        let style = Style { commas_group: true, ..Style::default() };
        for (text, want) in [
            ("$1,234.50", Some(("$", true))),
            ("-£5", Some(("£", true))),
            ("12 %", Some(("%", true))),
            ("5 kg", Some(("kg", false))),
            ("5kg", Some(("kg", false))),
            ("EUR 5", Some(("EUR", false))),
            ("A12", None),
            ("12:30", None),
            ("2020-01-02", None),
            ("10.0.0.1", None),
            ("5", None),
            ("kg", None),
            ("12 Main Street", None),
        ] {
            let want = want.map(|(unit, sign)| (unit.to_owned(), sign));
            assert_eq!(unit_of(text, style), want, "{text}");
        }
    }
}
