//! Records of several lines: a quoted field that continues in the next line.

use super::super::row::Role;
use super::Csv;
use crate::events::{Events, Value};
use crate::formats::{BadEvent, Decoded, short};

/// A quoted field continues for at most so many lines and bytes; what is longer is a stray quote.
const MOST_LINES: usize = 200;
const MOST_BYTES: usize = 1 << 20;

const UNCLOSED: &str = "a quoted field has no closing quote";

impl Csv {
    /// A line after one whose quoted field is not closed: its continuation, unless it is a row by
    /// itself, with numbers where there are numbers, so that the quote is a stray one.
    pub(super) fn go_on(&mut self, bytes: &[u8], events: &mut Events) -> Result<Decoded, BadEvent> {
        let mut joined = self.open.join(&b'\n');
        joined.push(b'\n');
        joined.extend_from_slice(bytes);
        let whole = self.record(&joined, events);
        let unclosed = match &whole {
            Ok(_) => {
                self.open.clear();
                return whole;
            }
            Err(bad) => bad.unclosed,
        };
        let count = events.len();
        if let Ok(Decoded::Event) = self.record(bytes, events) {
            if self.has_numbers(events) {
                self.give_up();
                return Ok(Decoded::Event);
            }
            events.truncate(count);
        }
        if unclosed && self.open.len() < MOST_LINES && joined.len() < MOST_BYTES {
            self.open.push(bytes.to_vec());
            return Ok(Decoded::Nothing);
        }
        // No record of several lines: each is bad by itself, but perhaps for this one.
        self.give_up();
        let alone = self.record(bytes, events);
        if alone.as_ref().is_err_and(|bad| bad.unclosed) {
            self.open.push(bytes.to_vec());
            return Ok(Decoded::Nothing);
        }
        alone
    }

    /// Whether the last event has numbers, and lacks none that the first event had.
    fn has_numbers(&self, events: &Events) -> bool {
        let Some(schema) = &self.schema else { return false };
        let Some(last) = events.len().checked_sub(1) else { return false };
        let mut any = false;
        for (field, cell) in schema.row.iter().zip(&self.cells).filter(|(f, _)| f.number) {
            let Role::Input(column) = cell.role else { continue };
            debug_assert!(!field.name.is_empty() || !schema.columns.is_empty());
            match events.get(last).value(column) {
                value if value.is_text() => return false,
                Value::Number(_) => any = true,
                _ => {}
            }
        }
        any
    }

    /// The lines that were taken to be one record are bad, each by itself.
    pub(super) fn give_up(&mut self) {
        for line in self.open.drain(..) {
            let reason = format!("{UNCLOSED}: `{}`", short(&line));
            self.lost.push(BadEvent::new(reason));
        }
    }
}
