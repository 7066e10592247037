//! What stands around the rows of a table: padded titles, the names of columns, and names of rows.

use std::collections::HashSet;

use super::{is_blank, number};

/// Whether a row of `most` fields has words in the first or the first two of them alone.
pub(super) fn is_padded(row: &[u8], by: u8, most: usize) -> bool {
    let fields: Vec<&[u8]> = row.split(|b| *b == by).collect();
    let filled = fields.iter().take_while(|field| !is_blank(field)).count();
    let words = fields[..filled].iter().all(|field| number::plain(field.trim_ascii()).is_none());
    (1..=2).contains(&filled)
        && 2 * filled < most
        && words
        && fields[filled..].iter().all(|field| is_blank(field))
}

/// Whether a row can be that of the names below padded titles: nearly all fields are words.
pub(super) fn are_names(row: &[u8], by: u8, most: usize) -> bool {
    let is_word = |field: &[u8]| !is_blank(field) && number::plain(field.trim_ascii()).is_none();
    let words = row.split(|b| *b == by).filter(|field| is_word(field)).count();
    words + 1 >= most && words > 1
}

/// Whether rows begin with names of their own, as R writes them: texts or whole numbers, each of them once.
pub(super) fn are_row_names(rows: &[&[u8]], by: u8) -> bool {
    let first = |row: &&'_ [u8]| {
        let field = row.split(|b| *b == by).next().unwrap_or_default().trim_ascii();
        let field = field.strip_prefix(b"\"").unwrap_or(field);
        field.strip_suffix(b"\"").unwrap_or(field).to_vec()
    };
    let names: HashSet<Vec<u8>> = rows.iter().map(first).collect();
    let is_whole = |name: &Vec<u8>| name.iter().all(u8::is_ascii_digit);
    let is_text = |name: &Vec<u8>| number::whole(name).is_none();
    names.len() == rows.len() && (names.iter().all(is_whole) || names.iter().all(is_text))
}
