//! Whether a point or comma in the numbers of a file is between groups of three digits or before decimals:
//! `3.335` may be either, and the other values tell.

use memchr::memchr;

use super::short;

/// What a character in the numbers of a file was found to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Grouping {
    /// It is between groups of three digits.
    Thousands(char),
    /// It is before decimals, though it grouped digits in another file.
    Decimals(char),
    /// It may be either.
    Unclear(char),
}

/// What a value is if `separator` groups digits.
enum Kind {
    /// Up to three digits, or more of them.
    Small,
    Large,
    /// So many separators between groups.
    Grouped(usize),
    /// The separator can only be before decimals.
    Fraction,
    Other,
}

#[derive(Default)]
struct Column {
    grouped: u64,
    several: bool,
    small: bool,
    /// Whether some value has more than three digits in a row, or another number of them behind the
    /// separator.
    unlike: bool,
    sample: String,
}

/// Looks at the rows of a file, of fields between `by`; `likely` is what groups digits in the file that the
/// columns were learned from. Gives also the place of a column and a value of it.
pub(super) fn grouping(
    rows: &[&[u8]],
    by: u8,
    likely: Option<char>,
) -> Option<(Grouping, usize, String)> {
    [b'.', b','].into_iter().filter(|s| *s != by).find_map(|s| of(rows, by, s, likely))
}

fn of(
    rows: &[&[u8]],
    by: u8,
    separator: u8,
    likely: Option<char>,
) -> Option<(Grouping, usize, String)> {
    let mut columns: Vec<Column> = Vec::new();
    let (mut fractions, mut decimals) = (false, false);
    if !rows.iter().any(|row| memchr(separator, row).is_some()) {
        return None;
    }
    for row in rows {
        // Nothing that comes can change what is said of such columns.
        if fractions && columns.iter().all(|column| column.unlike) {
            break;
        }
        for (i, value) in row.split(|b| *b == by).enumerate() {
            if columns.len() == i {
                columns.push(Column::default());
            }
            if fractions && columns[i].unlike {
                continue;
            }
            let value = value.trim_ascii();
            let value = value.strip_prefix(b"\"").unwrap_or(value);
            let value = value.strip_suffix(b"\"").unwrap_or(value);
            let (kind, decimal) = kind(value, separator);
            decimals |= decimal;
            let column = &mut columns[i];
            match kind {
                Kind::Small => column.small = true,
                Kind::Large => column.unlike = true,
                Kind::Grouped(separators) => {
                    column.grouped += 1;
                    column.several |= separators > 1;
                    if column.sample.is_empty() || separators > 1 {
                        column.sample = short(value);
                    }
                }
                Kind::Fraction => (fractions, column.unlike) = (true, true),
                Kind::Other => {}
            }
        }
    }
    let all = columns.into_iter().enumerate();
    let mut fitting: Vec<_> = all.filter(|(_, c)| c.grouped > 0 && !c.unlike).collect();
    fitting.sort_by_key(|(_, column)| !column.several);
    let is_likely = likely == Some(char::from(separator));
    let sign = char::from(separator);
    let several = fitting.first().is_some_and(|(_, column)| column.several);
    let (grouping, found) = match (fractions, several || decimals || is_likely) {
        (false, true) => (Grouping::Thousands(sign), fitting.into_iter().next()?),
        (true, _) if is_likely => {
            let none = (0, Column::default());
            (Grouping::Decimals(sign), fitting.into_iter().next().unwrap_or(none))
        }
        _ => {
            let unclear = |(_, c): &(usize, Column)| c.small || c.several;
            (Grouping::Unclear(sign), fitting.into_iter().find(unclear)?)
        }
    };
    Some((grouping, found.0, found.1.sample))
}

/// What a value is, and whether it has decimals behind the other character.
fn kind(value: &[u8], separator: u8) -> (Kind, bool) {
    let other = if separator == b'.' { b',' } else { b'.' };
    let value = value.strip_prefix(b"-").or(value.strip_prefix(b"+")).unwrap_or(value);
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let (whole, decimals) = match memchr(other, value) {
        Some(at) => (&value[..at], Some(&value[at + 1..])),
        None => (value, None),
    };
    if decimals.is_some_and(|decimals| !digits(decimals)) {
        return (Kind::Other, false);
    }
    // Three digits may be a group.
    let decimal = decimals.is_some_and(|decimals| decimals.len() != 3);
    let groups: Vec<&[u8]> = whole.split(|b| *b == separator).collect();
    let kind = match &groups[..] {
        groups if !groups.iter().all(|group| digits(group)) => return (Kind::Other, false),
        [one] if one.len() <= 3 => Kind::Small,
        [_] => Kind::Large,
        [first, rest @ ..]
            if first.len() <= 3 && first[0] != b'0' && rest.iter().all(|g| g.len() == 3) =>
        {
            Kind::Grouped(rest.len())
        }
        [_, _] if decimals.is_none() => Kind::Fraction,
        _ => return (Kind::Other, false),
    };
    (kind, decimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_between_thousands_or_before_decimals() {
        let of = |text: &str, by: u8, likely| {
            let rows: Vec<&[u8]> = text.split('\n').map(str::as_bytes).collect();
            grouping(&rows, by, likely).map(|(grouping, ..)| grouping)
        };
        let thousands = Some(Grouping::Thousands('.'));
        for (text, by, likely, want) in [
            ("3.335,a\n876,b\n1.234.567,c", b',', None, thousands),
            ("3.335;1,5\n876;2,25\n1.000;3,5", b';', None, Some(Grouping::Thousands('.'))),
            ("3.335\n876.1\n1.234.567", b',', None, None),
            ("3.335,0.5\n876,0.25\n1.234.567,1", b',', None, Some(Grouping::Unclear('.'))),
            ("3.335,a\n4.1,b\n5,c", b',', None, None),
            ("3.335,a\n4.100,b\n512,c", b',', None, Some(Grouping::Unclear('.'))),
            ("3.335,a\n4.100,b\n5123,c", b',', None, None),
            ("3.335,a\n4.125,1.5", b',', None, None),
            ("1,234\t876\n2,345\t1\n1,234,567\t2", b'\t', None, Some(Grouping::Thousands(','))),
            ("3.335", b',', Some('.'), Some(Grouping::Thousands('.'))),
            ("3.33", b',', Some('.'), Some(Grouping::Decimals('.'))),
            ("12.03.2020,a\n1.2.3.4,b", b',', None, None),
        ] {
            let found = of(text, by, likely);
            assert_eq!(found, want, "{text}");
        }
    }
}
