//! Decimal numbers, exactly rounded, and the other ways in which tables write them.

/// From here on not all whole numbers differ as `f64`.
pub(crate) const EXACT: f64 = 9_007_199_254_740_992.0;

/// A column holds numbers if at most one value in ten is a text; those texts count as missing.
const NUMBERS_PER_TEXT: u64 = 9;

/// Whether a column of which so many values are numbers and texts ([`Value::is_text`]) is one of numbers:
/// the same for tables, streams and `init`.
///
/// [`Value::is_text`]: crate::events::Value::is_text
pub fn mostly_numbers(numbers: u64, texts: u64) -> bool {
    numbers >= NUMBERS_PER_TEXT.saturating_mul(texts)
}

/// How numbers are written beside the plain way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// `,` where a comma stands before the decimals, `.` where nothing else may.
    pub decimal: Option<u8>,
    /// What is between groups of three digits; a space stands for [`hard_space`]s too.
    pub thousands: Option<u8>,
    /// Whether a comma is the delimiter, so that a single comma within a (quoted) number groups digits.
    pub commas_group: bool,
}

/// The number at the start of `bytes` and its length; `None` if there is none.
///
/// What `f64::from_str` takes, `inf` and `nan` in any case included.
#[inline(always)]
pub(super) fn prefix(bytes: &[u8]) -> Option<(f64, usize)> {
    match short(bytes) {
        Some(found) => Some(found),
        None => fast_float2::parse_partial(bytes).ok(),
    }
}

/// As [`prefix`], in less than half of its instructions, for what most numbers of a table are: up to seven
/// digits, perhaps a point and one to seven more, with more of the row after them. Where it gives `None`,
/// the library decides.
///
/// Whole numbers below 2^53 and powers of ten up to 10^22 are exact in `f64`, so that one division rounds
/// as IEEE 754 wants it (Clinger 1990, the fast case).
#[inline(always)]
fn short(bytes: &[u8]) -> Option<(f64, usize)> {
    const TENS: [i64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
    let start = usize::from(*bytes.first()? == b'-');
    let first = bytes.get(start)?.wrapping_sub(b'0');
    let (whole, len) = match bytes.get(start + 1)?.is_ascii_digit() {
        false if first < 10 => (i64::from(first), 1),
        _ => digits(&bytes[start..])?,
    };
    let (mut size, mut at) = (whole as f64, start + len);
    if bytes[at] == b'.' {
        let (fraction, len) = digits(&bytes[at + 1..])?;
        let tens = TENS[len & 7];
        (size, at) = ((whole * tens + fraction) as f64 / tens as f64, at + 1 + len);
    }
    if bytes[at] | 0x20 == b'e' {
        return None;
    }
    Some((if start == 1 { -size } else { size }, at))
}

/// The one to seven digits at the start, of which eight bytes must be there, and how many they are.
#[inline(always)]
fn digits(bytes: &[u8]) -> Option<(i64, usize)> {
    let eight: &[u8; 8] = bytes.get(..8)?.try_into().ok()?;
    let word = u64::from_le_bytes(*eight) ^ 0x3030_3030_3030_3030;
    // The top bit of each byte that is no digit: what is more than 9 carries into it. The carry out of such a
    // byte does not matter, since only the first one is looked for.
    let others = (word.wrapping_add(0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080;
    let bits = others.trailing_zeros() & !7;
    if !(8..=56).contains(&bits) {
        return None;
    }
    // Eight digits with zeros before them, joined to pairs, to fours, to one number.
    let word = word << (64 - bits);
    let word = word.wrapping_mul(10).wrapping_add(word >> 8) & 0x00ff_00ff_00ff_00ff;
    let word = word.wrapping_mul(100).wrapping_add(word >> 16) & 0x0000_ffff_0000_ffff;
    let number = word.wrapping_mul(10_000).wrapping_add(word >> 32) & 0xffff_ffff;
    Some((number as i64, (bits / 8) as usize))
}

/// The number that `bytes` is as a whole.
pub(super) fn whole(bytes: &[u8]) -> Option<f64> {
    prefix(bytes).filter(|(_, len)| *len == bytes.len()).map(|(number, _)| number)
}

/// The number that `bytes` is for a column: finite, and no code with a leading zero (`02134`).
pub(crate) fn plain(bytes: &[u8]) -> Option<f64> {
    if leading_zero(bytes) { None } else { whole(bytes).filter(|n| n.is_finite()) }
}

/// Whether it is written as a number and is none for a column: `inf`, `NaN`, `1e400`. With a longer exponent
/// it is more likely an id, such as `58e67456`.
pub(crate) fn not_finite(bytes: &[u8]) -> bool {
    let exponent = bytes.iter().rposition(|b| matches!(b, b'e' | b'E'));
    let is_id = exponent.is_some_and(|at| bytes[at + 1..].len() > 4);
    !is_id && whole(bytes).is_some_and(|n| !n.is_finite())
}

/// Whether it is digits that begin with a zero, so that something would be lost in a number.
pub(crate) fn leading_zero(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    digits.len() > 1 && digits[0] == b'0' && digits.iter().all(u8::is_ascii_digit)
}

/// The number that a text of a column of numbers is: as [`plain`], also with leading zeros, as `true`
/// or `false`, with a decimal comma or with groups of three digits.
pub(crate) fn loose(bytes: &[u8], style: Style) -> Option<f64> {
    let points = style.decimal != Some(b',') && style.thousands != Some(b'.');
    if points && let Some(number) = whole(bytes).filter(|n| n.is_finite()) {
        return Some(number);
    }
    truth(bytes).or_else(|| separated(bytes, style))
}

/// 1 for `true` and 0 for `false`, in any case.
fn truth(bytes: &[u8]) -> Option<f64> {
    let is = |word: &str| bytes.eq_ignore_ascii_case(word.as_bytes());
    is("true").then_some(1.0).or(is("false").then_some(0.0))
}

/// The number that a text in quotes is for a column of inputs: as [`plain`], also `true` and `false`, so
/// that events are the same from programs that know texts only.
pub(crate) fn quoted(bytes: &[u8]) -> Option<f64> {
    plain(bytes).or_else(|| truth(bytes))
}

/// The length of a space at the start that no line is broken at, as French and other programs have it between groups of
/// digits: U+00A0, in Windows-1252 too, U+2009 and U+202F.
pub(super) fn hard_space(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0xc2, 0xa0, ..] => Some(2),
        [0xe2, 0x80, 0x89 | 0xaf, ..] => Some(3),
        [0xa0, ..] => Some(1),
        _ => None,
    }
}

/// What is behind a minus at the start, `-` or U+2212.
pub(super) fn minus(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(b"-").or_else(|| bytes.strip_prefix("\u{2212}".as_bytes()))
}

/// A number with hard spaces as spaces, which then group digits if nothing else does, and a plain minus. None where it has neither.
fn in_ascii(bytes: &[u8], style: Style) -> Option<(Vec<u8>, Style)> {
    if bytes.is_ascii() {
        return None;
    }
    let (mut style, mut out) = (style, Vec::with_capacity(bytes.len()));
    let mut rest = bytes;
    if let Some(size) = minus(rest) {
        out.push(b'-');
        rest = size;
    }
    while let Some(&first) = rest.first() {
        if let Some(len) = hard_space(rest) {
            style.thousands.get_or_insert(b' ');
            out.push(b' ');
            rest = &rest[len..];
        } else if first.is_ascii() {
            out.push(first);
            rest = &rest[1..];
        } else {
            return None;
        }
    }
    Some((out, style))
}

/// A number with separators: `2,5`, `1,234`, `1.234,5`, `1,234.5`, `1 234`.
fn separated(bytes: &[u8], style: Style) -> Option<f64> {
    if bytes.len() > 40 || !bytes.last()?.is_ascii_digit() {
        return None;
    }
    if let Some((plain, style)) = in_ascii(bytes, style) {
        return loose(&plain, style);
    }
    let has = |b: u8| bytes.contains(&b);
    let (decimal, group) = match (style.decimal, style.thousands) {
        (Some(decimal), group) => (decimal, group),
        (None, Some(group)) => {
            let points = group == b',' || (group != b'.' && has(b'.'));
            (if points { b'.' } else { b',' }, Some(group))
        }
        // Both are there: the later one is before the decimals.
        (None, None) if has(b',') && has(b'.') => {
            let last = bytes.iter().rfind(|b| matches!(b, b',' | b'.')).copied()?;
            (last, Some(if last == b',' { b'.' } else { b',' }))
        }
        (None, None) if style.commas_group => (b'.', Some(b',')),
        (None, None) => (b',', None),
    };
    let mut plain = Vec::with_capacity(bytes.len());
    let mut run = 0;
    let (mut grouped, mut fraction) = (false, false);
    for (i, &b) in bytes.iter().enumerate() {
        match b {
            b'0'..=b'9' => {
                run += 1;
                plain.push(b);
            }
            b'-' | b'+' if i == 0 => plain.push(b),
            _ if b == decimal && !fraction && (!grouped || run == 3) && run > 0 => {
                (fraction, run) = (true, 0);
                plain.push(b'.');
            }
            _ if Some(b) == group
                && !fraction
                && (run == 3 || (!grouped && (1..=3).contains(&run))) =>
            {
                (grouped, run) = (true, 0);
            }
            // An exponent.
            b'e' | b'E' if run > 0 && !grouped => {
                plain.extend_from_slice(&bytes[i..]);
                return whole(&plain).filter(|n| n.is_finite());
            }
            _ => return None,
        }
    }
    if grouped && !fraction && run != 3 {
        return None;
    }
    whole(&plain).filter(|n| n.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_other_countries() {
        let none = Style::default();
        let commas = Style { commas_group: true, ..none };
        for (text, style, want) in [
            ("2,5", none, Some(2.5)),
            ("2,5", commas, None),
            ("1,234", commas, Some(1234.0)),
            ("1,234", none, Some(1.234)),
            ("12,34,567", commas, None),
            ("1234,567", commas, None),
            ("-1.234.567,25", none, Some(-1_234_567.25)),
            ("1,234,567.25", none, Some(1_234_567.25)),
            ("1 234", Style { thousands: Some(b' '), ..none }, Some(1234.0)),
            ("940'976.96", Style { thousands: Some(b'\''), ..none }, Some(940_976.96)),
            ("940'976,96", Style { thousands: Some(b'\''), ..none }, Some(940_976.96)),
            ("1_000", Style { thousands: Some(b'_'), ..none }, Some(1000.0)),
            ("1.234,5", Style { thousands: Some(b'\''), ..none }, None),
            ("1.234,5", Style { thousands: Some(b'.'), ..none }, Some(1234.5)),
            ("1.234", Style { thousands: Some(b'.'), ..none }, Some(1234.0)),
            ("1,234.5", Style { thousands: Some(b','), ..none }, Some(1234.5)),
            ("1 234", none, None),
            ("1\u{a0}234", Style { thousands: Some(b' '), ..none }, Some(1234.0)),
            ("1\u{202f}234\u{202f}567,25", none, Some(1_234_567.25)),
            ("1\u{a0}234.5", commas, Some(1234.5)),
            ("1\u{a0}23", none, None),
            ("1\u{a0}234", Style { thousands: Some(b'.'), ..none }, None),
            ("\u{2212}2.5", none, Some(-2.5)),
            ("\u{2212}\u{2212}2", none, None),
            ("caf\u{e9} 5", none, None),
            ("1.234", none, Some(1.234)),
            ("1.234", Style { decimal: Some(b','), thousands: Some(b'.'), ..none }, Some(1234.0)),
            ("2,5e3", Style { decimal: Some(b','), ..none }, Some(2500.0)),
            ("007", none, Some(7.0)),
            ("True", none, Some(1.0)),
            ("inf", none, None),
            ("58e67456", none, None),
            ("1,2,3", none, None),
            ("a", none, None),
            ("", none, None),
            (",", none, None),
            ("-", none, None),
        ] {
            assert_eq!(loose(text.as_bytes(), style), want, "{text} {style:?}");
        }
        assert_eq!(loose(b"1\xa0234", none), Some(1234.0), "Windows-1252");
        assert_eq!(plain(b"02134"), None);
        assert_eq!(plain(b"0"), Some(0.0));
        assert_eq!(plain(b"0.5"), Some(0.5));
        assert_eq!(plain(b"NaN"), None);
    }

    #[test]
    fn short_numbers_are_those_of_the_library() {
        let mut state = 7u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 33) % below) as usize
        };
        let afters = [
            ",1,2,3,4,5",
            "",
            ",",
            "e5,33333333",
            "E-2",
            "\t3.25\t3.5",
            "/",
            ":",
            ".5",
            ".,,,,,,,,",
            "\u{e9}\u{b0}\u{ff}abcd",
        ];
        let mut taken = 0;
        for _ in 0..300_000 {
            let mut run = |most| -> String {
                (0..random(most)).map(|_| char::from(b'0' + random(10) as u8)).collect()
            };
            let (whole, fraction) = (run(10), run(10));
            let sign = ["", "", "-", "+"][random(4)];
            let point = ["", ".", ".", ","][random(4)];
            let text = format!("{sign}{whole}{point}{fraction}{}", afters[random(11)]);
            if let Some((number, len)) = short(text.as_bytes()) {
                let wanted = fast_float2::parse_partial::<f64, _>(text.as_bytes()).ok();
                let wanted = wanted.map(|(number, len)| (number.to_bits(), len));
                assert_eq!(Some((number.to_bits(), len)), wanted, "{text}");
                taken += 1;
            }
        }
        assert!(taken > 50_000, "{taken}");
        assert_eq!(short(b"-0.056443,"), None);
        assert_eq!(short(b"-0.056443,12"), Some((-0.056443, 9)));
    }
}
