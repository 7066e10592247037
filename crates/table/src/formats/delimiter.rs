//! What is between the fields of rows.

use std::collections::HashMap;

use memchr::{memchr, memchr_iter};

use super::FormatSpec;
use super::number;

/// The delimiter of rows: of `,`, `;`, tab and `|` the one that cuts all rows into as many fields, and
/// most of them. Any other comes before a comma that is only within numbers.
pub(super) fn delimiter(lines: &[&[u8]], quote: Option<u8>) -> u8 {
    let score = |&by: &u8| {
        let counts: Vec<usize> = lines.iter().map(|line| count(line, by, quote)).collect();
        let most = common(&counts);
        let same = counts.iter().filter(|n| **n == most).count();
        // Rows that fit, by their share in tenths.
        (most > 1).then_some((10 * same / counts.len().max(1), most))
    };
    let all: Vec<(u8, (usize, usize))> =
        [b',', b'\t', b';', b'|'].iter().filter_map(|by| Some((*by, score(by)?))).collect();
    let Some(&(mut best, (share, _))) =
        all.iter().max_by_key(|(by, (share, _))| (*share, *by == b','))
    else {
        return b',';
    };
    // `1,5;2,5`: both cut, but a comma there cuts numbers in two.
    if best == b','
        && let Some(&(by, (other, _))) =
            all.iter().find(|(by, _)| matches!(by, b';' | b'\t' | b'|'))
        && other >= share
        && lines.iter().all(|line| commas_in_numbers(line, by))
    {
        best = by;
    }
    best
}

/// Whether all commas of a row are within fields that are numbers, or quoted.
fn commas_in_numbers(line: &[u8], by: u8) -> bool {
    let style = number::Style::default();
    let fields = line.strip_suffix(b"\r").unwrap_or(line).split(|b| *b == by);
    fields.map(<[u8]>::trim_ascii).all(|field| {
        memchr(b',', field).is_none()
            || field.starts_with(b"\"")
            || number::loose(field, style).is_some()
    })
}

/// Fields of a line.
pub(super) fn count(line: &[u8], by: u8, quote: Option<u8>) -> usize {
    let Some(quote) = quote.filter(|quote| memchr(*quote, line).is_some()) else {
        return memchr_iter(by, line).count() + 1;
    };
    let (mut quoted, mut fields) = (false, 1);
    for &b in line {
        quoted ^= b == quote;
        fields += usize::from(b == by && !quoted);
    }
    fields
}

/// The count that most rows have.
pub(super) fn common(counts: &[usize]) -> usize {
    let mut times: HashMap<usize, usize> = HashMap::new();
    counts.iter().for_each(|n| *times.entry(*n).or_default() += 1);
    times.into_iter().max_by_key(|(n, times)| (*times, *n)).map_or(1, |(n, _)| n)
}

/// The delimiter of rows whose numbers have a comma before their decimals. Only quotes show
/// whether a comma is between fields or in a number.
pub(super) fn beside_commas(rows: &[&[u8]], spec: &FormatSpec) -> crate::Result<u8> {
    let quote = spec.quote_byte();
    let cuts = |by: u8| {
        let counts: Vec<usize> = rows.iter().map(|row| count(row, by, quote)).collect();
        let most = common(&counts);
        let same = counts.iter().filter(|n| **n == most).count();
        (most > 1 && 10 * same >= 9 * counts.len()).then_some(most)
    };
    let others = [b';', b'\t', b'|'].into_iter().filter_map(|by| Some((cuts(by)?, by)));
    if let Some((_, by)) = others.max() {
        return Ok(by);
    }
    let quoted = |row: &&[u8]| {
        quote.is_some_and(|quote| {
            let inside = row.split(|b| *b == quote).skip(1).step_by(2);
            inside.into_iter().any(|field| memchr(b',', field).is_some())
        })
    };
    if rows.iter().any(|row| memchr(b',', row).is_some()) && !rows.iter().any(quoted) {
        return Err(crate::Error::Usage(format!(
            "{section}.decimal = \",\": commas are all that could be between the fields, and cannot be before decimals too; say \
             what is between fields in {section}.delimiter, or leave decimal out where it is a comma",
            section = spec.section
        )));
    }
    Ok(b',')
}
