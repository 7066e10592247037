//! ARFF: `@attribute` lines, `@data`, then rows; sparse rows `{index value, ...}` as well.
//!
//! Nominal and string attributes are text, also where they look like numbers. A value is missing
//! where it is `?`.

use super::bounds::Names;
use super::missing::Missing;
use super::row::{self, Cell, Role};
use super::{BadEvent, Decoded, Decoder, FormatSpec, number, short};
use crate::events::{Draft, Events, Field, Schema, Value};

type Result<T> = std::result::Result<T, BadEvent>;

pub(super) struct Arff {
    spec: FormatSpec,
    /// Attributes so far of a file, until its `@data`. Not in checkpoints: after a restart within a
    /// header the rows of that file are refused.
    attributes: Vec<Field>,
    names: Names,
    /// Why an attribute of this header cannot be used, where one cannot.
    wrong: Option<BadEvent>,
    schema: Option<Schema>,
    cells: Vec<Cell>,
    /// What the header of this file lacks, where it was not good.
    lacks: Option<String>,
    missing: Missing,
    unquoted: Vec<u8>,
}

impl Arff {
    pub fn new(spec: &FormatSpec, schema: Option<Schema>) -> Arff {
        let cells = schema.as_ref().map_or_else(Vec::new, |s| row::cells(spec, s));
        let (attributes, unquoted) = (Vec::new(), Vec::new());
        let missing = Missing::new(&spec.missing_given());
        let (names, wrong, lacks) = (Names::default(), None, None);
        let spec = spec.clone();
        Arff { spec, attributes, names, wrong, schema, cells, lacks, missing, unquoted }
    }

    /// A line of the header.
    fn declaration(&mut self, bytes: &[u8]) -> Result<()> {
        let end = bytes.iter().position(u8::is_ascii_whitespace).unwrap_or(bytes.len());
        let rest = bytes[end..].trim_ascii();
        match bytes[..end].to_ascii_lowercase().as_slice() {
            b"@relation" => self.begin(),
            b"@attribute" => {
                let bounds = &mut self.names;
                let field = attribute(rest, &mut self.unquoted).and_then(|field| {
                    let zero = field.zero.as_ref().map_or(0, String::len);
                    bounds.add("attribute", &field.name, zero).map(|()| field)
                });
                match field {
                    Ok(field) => self.attributes.push(field),
                    Err(bad) => {
                        // Without it, the header means other columns.
                        self.wrong = Some(BadEvent::new(bad.reason.clone()));
                        return Err(bad);
                    }
                }
            }
            b"@data" => {
                let row = std::mem::take(&mut self.attributes);
                let wrong = self.wrong.take();
                self.begin();
                let result = match wrong {
                    Some(bad) if self.spec.live => return Err(bad),
                    _ => self.data(row),
                };
                let schema = self.schema.as_ref();
                self.cells = schema.map_or_else(Vec::new, |s| row::cells(&self.spec, s));
                return result;
            }
            _ => {
                let what = short(&bytes[..end]);
                return Err(BadEvent::new(format!(
                    "`{what}` is none of @relation, @attribute and @data"
                )));
            }
        }
        Ok(())
    }

    /// A header begins.
    fn begin(&mut self) {
        self.attributes.clear();
        (self.names, self.wrong) = (Names::default(), None);
    }

    /// The header is whole.
    fn data(&mut self, row: Vec<Field>) -> Result<()> {
        if row.is_empty() {
            return Err(BadEvent::new("@data without an @attribute before it"));
        }
        let Some(schema) = &mut self.schema else {
            self.schema = Some(row::schema(&self.spec, row, &[])?);
            return Ok(());
        };
        let kept = row::same_columns(schema, row.iter().map(|f| f.name.clone()).collect());
        if self.spec.live && kept.is_err() {
            // Others send rows under the header that is known.
            return kept.map(|_| ());
        }
        // As with CSV: a header that lacks a column leaves an empty row behind.
        schema.row.clear();
        self.lacks = kept.as_ref().err().map(|bad| bad.reason.clone());
        schema.row = kept?;
        for (field, found) in schema.row.iter_mut().zip(row) {
            (field.text, field.zero) = (field.text | found.text, found.zero);
        }
        Ok(())
    }
}

impl Decoder for Arff {
    fn decode(&mut self, bytes: &[u8], first: bool, events: &mut Events) -> Result<Decoded> {
        let bytes = bytes.trim_ascii();
        if first {
            self.begin();
        }
        match bytes.first() {
            None | Some(b'%') => return Ok(Decoded::Nothing),
            Some(b'@') => {
                let is_data = bytes.len() >= 5 && bytes[..5].eq_ignore_ascii_case(b"@data");
                self.declaration(bytes)?;
                return Ok(if is_data { Decoded::Header } else { Decoded::Nothing });
            }
            Some(_) => {}
        }
        let Some(schema) = self.schema.as_ref().filter(|s| !s.row.is_empty()) else {
            let lacks = self.lacks.as_deref();
            let reason = lacks.unwrap_or("a row before @data, or after a header that was not good");
            return Err(BadEvent::new(reason));
        };
        let mut draft = events.start(schema);
        let row =
            Row { cells: &self.cells, schema, missing: &self.missing, scratch: &mut self.unquoted };
        match bytes.strip_prefix(b"{") {
            Some(rest) => row.sparse(rest, &mut draft)?,
            None => row.dense(bytes, &mut draft)?,
        }
        row::finish(&self.spec, draft);
        Ok(Decoded::Event)
    }

    fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }
}

struct Row<'a> {
    cells: &'a [Cell],
    schema: &'a Schema,
    missing: &'a Missing,
    scratch: &'a mut Vec<u8>,
}

impl Row<'_> {
    fn dense(mut self, bytes: &[u8], draft: &mut Draft<'_>) -> Result<()> {
        let (mut at, mut count) = (0, 0);
        loop {
            at = self.value(count, bytes, at, b",\t", draft)?;
            count += 1;
            if at >= bytes.len() || count == self.cells.len() {
                break;
            }
            at += 1;
        }
        // MOA writes a comma after the last value; Weka a weight in braces.
        let rest = bytes[at.min(bytes.len())..].strip_prefix(b",").unwrap_or_default().trim_ascii();
        if count == self.cells.len() && at < bytes.len() {
            let braces = rest.strip_prefix(b"{").and_then(|r| r.strip_suffix(b"}"));
            if let Some(weight) = braces.and_then(|w| number::whole(w.trim_ascii())) {
                row::put(draft, Role::Weight, Value::Number(weight))?;
                return Ok(());
            }
            if rest.is_empty() {
                return Ok(());
            }
        }
        if at < bytes.len() || count < self.cells.len() {
            let (more, expected) =
                (if at < bytes.len() { "more" } else { "fewer" }, self.cells.len());
            return Err(BadEvent::new(format!("the row has {more} than {expected} values")));
        }
        Ok(())
    }

    /// `index value, index value}`, the rest is zero.
    fn sparse(mut self, bytes: &[u8], draft: &mut Draft<'_>) -> Result<()> {
        for (cell, field) in self.cells.iter().zip(&self.schema.row) {
            let zero = match &field.zero {
                Some(zero) if cell.text => Value::Text(zero),
                Some(zero) => {
                    number::whole(zero.as_bytes()).map_or(Value::Text(zero), Value::Number)
                }
                None => Value::Number(0.0),
            };
            row::put(draft, cell.role, zero)?;
        }
        let space = |at: usize| bytes[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
        let mut at = space(0);
        while bytes.get(at) != Some(&b'}') {
            let digits = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
            let index = number::whole(&bytes[at..at + digits]).map(|index| index as usize);
            let rest = short(&bytes[at..]);
            let index = index.filter(|index| *index < self.cells.len()).ok_or_else(|| {
                let most = self.cells.len() - 1;
                BadEvent::new(format!("`{rest}` does not begin with an index from 0 to {most}"))
            })?;
            at += digits;
            at += space(at);
            at = self.value(index, bytes, at, b",}", draft)?;
            match bytes.get(at) {
                Some(b',') => at += 1,
                Some(_) => {}
                None => return Err(BadEvent::new("a sparse row has no `}` at its end")),
            }
            at += space(at);
            if at >= bytes.len() {
                return Err(BadEvent::new("a sparse row has no `}` at its end"));
            }
        }
        Ok(())
    }

    /// The value at `at`; gives where it ends.
    fn value(
        &mut self,
        index: usize,
        bytes: &[u8],
        at: usize,
        ends: &[u8],
        draft: &mut Draft<'_>,
    ) -> Result<usize> {
        let cell = self.cells[index];
        // Nearly all values are numbers: the end of the number is the end of the value.
        if !cell.text
            && let Some((number, len)) = number::prefix(&bytes[at..])
            && bytes.get(at + len).is_none_or(|end| ends.contains(end))
            && number.is_finite()
            && !self.missing.has_number(number)
        {
            row::put(draft, cell.role, Value::Number(number))?;
            return Ok(at + len);
        }
        let name = &self.schema.row[index].name;
        let bad = |text: String| BadEvent::new(format!("column `{name}`: {text}"));
        let (value, quoted, end) = cut(bytes, at, ends, self.scratch).map_err(|b| bad(b.reason))?;
        let is_missing = value == b"?" || self.missing.has(value);
        let value = if is_missing && !quoted {
            Value::Missing
        } else if let Some(number) = number::whole(value).filter(|n| !cell.text && n.is_finite()) {
            Value::Number(number)
        } else if cell.text || !matches!(cell.role, Role::Input(_) | Role::Weight) {
            let text = std::str::from_utf8(value);
            Value::Text(text.map_err(|_| bad(format!("`{}` is not UTF-8", short(value))))?)
        } else {
            return Err(bad(format!("`{}` is no number", short(value))));
        };
        row::put(draft, cell.role, value).map_err(|b| bad(b.reason))?;
        Ok(end)
    }
}

/// The value at `at`, whether it was quoted, and where it ends: at one of `ends` or after all.
fn cut<'b>(
    bytes: &'b [u8],
    at: usize,
    ends: &[u8],
    scratch: &'b mut Vec<u8>,
) -> Result<(&'b [u8], bool, usize)> {
    let at = at + bytes[at..].iter().take_while(|b| **b == b' ').count();
    let Some(quote @ (b'\'' | b'"')) = bytes.get(at) else {
        let len = bytes[at..].iter().position(|b| ends.contains(b));
        let end = len.map_or(bytes.len(), |len| at + len);
        return Ok((bytes[at..end].trim_ascii(), false, end));
    };
    scratch.clear();
    let mut rest = bytes.iter().enumerate().skip(at + 1);
    while let Some((i, b)) = rest.next() {
        if b == quote {
            let space = bytes[i + 1..].iter().take_while(|b| b.is_ascii_whitespace());
            // A tab may be what ends the value.
            let space = space.take_while(|b| !ends.contains(b)).count();
            let end = i + 1 + space;
            if bytes.get(end).is_some_and(|next| !ends.contains(next)) {
                let rest = short(&bytes[end..]);
                return Err(BadEvent::new(format!("`{rest}` follows a closing quote")));
            }
            return Ok((scratch, true, end));
        }
        let escaped = if *b == b'\\' { rest.next().map(|(_, b)| b) } else { Some(b) };
        scratch.extend(escaped);
    }
    Err(BadEvent::new("a quoted value has no closing quote on its line"))
}

/// `name type`, where the name may be quoted.
fn attribute(bytes: &[u8], scratch: &mut Vec<u8>) -> Result<Field> {
    let bad =
        || BadEvent::fatal(format!("@attribute {}: expected a name and a type", short(bytes)));
    let (name, _, end) = cut(bytes, 0, b" \t", scratch)?;
    let name = String::from_utf8(name.to_vec()).map_err(|_| bad())?;
    let kind = bytes[end..].trim_ascii();
    if name.is_empty() || kind.is_empty() {
        return Err(bad());
    }
    if let Some(values) = kind.strip_prefix(b"{") {
        let (first, _, _) = cut(values, 0, b",}", scratch)?;
        let zero = String::from_utf8_lossy(first).into_owned();
        return Ok(Field { text: true, zero: Some(zero), ..Field::named(name) });
    }
    let word = kind.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    match word.to_ascii_lowercase().as_slice() {
        b"numeric" | b"real" | b"integer" => Ok(Field::named(name)),
        b"string" | b"date" => Ok(Field { text: true, ..Field::named(name) }),
        _ => Err(BadEvent::fatal(format!(
            "@attribute {name}: `{}` is none of numeric, real, integer, string, date and {{...}}",
            short(kind)
        ))),
    }
}
