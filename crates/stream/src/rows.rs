//! What the rows of a live stream consist of, as its learner has understood them: so that a source can refuse rows that are
//! none before it acknowledges them.

use std::sync::Mutex;

use tidemill_table::{BadEvent, Decoded, Decoder, Events, Format, FormatSpec, Schema, decoder};

use crate::position::Position;
use crate::sync::lock;

/// What a learner knows of the rows, told to the source that they come through.
#[derive(Debug)]
pub struct Rows(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How records are written; none before a learner is there.
    written: Option<(FormatSpec, Format)>,
    schema: Option<Schema>,
    /// All records up to this one have been decoded.
    decoded: u64,
    /// The last record that may have said what rows consist of.
    said: u64,
}

/// What a check of several records came to.
pub(crate) struct Checked {
    /// Whether they say what those after them consist of.
    pub(crate) says: bool,
}

impl Rows {
    /// Of a stream that has records up to `last` already: they may say something.
    pub(crate) fn new(last: u64) -> Rows {
        Rows(Mutex::new(State { said: last, ..State::default() }))
    }

    /// A learner reads records written so, from `position` on; what it has learned of their columns before.
    pub fn expect(
        &self,
        spec: &FormatSpec,
        format: Format,
        schema: Option<Schema>,
        position: Option<&Position>,
    ) {
        let mut state = lock(&self.0);
        state.decoded = position.and_then(|p| p.mark("")).map_or(0, |mark| mark.major);
        let spec = FormatSpec { live: true, ..spec.clone() };
        (state.written, state.schema) = (Some((spec, format)), schema);
    }

    /// The learner has decoded the records up to `last`, and those after it consist of this.
    pub fn decoded(&self, schema: Option<&Schema>, last: u64) {
        let mut state = lock(&self.0);
        if state.schema.as_ref() != schema {
            state.schema = schema.cloned();
        }
        state.decoded = last;
    }

    /// The records up to `last` are stored, and some of them say what those after them consist of.
    pub(crate) fn said(&self, last: u64) {
        let mut state = lock(&self.0);
        state.said = state.said.max(last);
    }

    /// Checks records that come together, the first of the stream if `first`; the number of the first one that is no row,
    /// from 0, and why. Nothing is checked as long as what rows consist of is still to be read by the learner.
    pub(crate) fn check<'a>(
        &self,
        records: impl Iterator<Item = &'a [u8]>,
        first: bool,
    ) -> Result<Checked, (usize, BadEvent)> {
        let nothing = Ok(Checked { says: false });
        let (made, before, format) = {
            let state = lock(&self.0);
            let Some((spec, format)) = &state.written else { return nothing };
            if !matches!(format, Format::Csv | Format::Tsv | Format::Arff)
                || state.said > state.decoded
            {
                return nothing;
            }
            (decoder(spec, *format, state.schema.clone()), state.schema.clone(), *format)
        };
        let Ok(mut decoder) = made else { return nothing };
        let mut place = Place { number: 0, title: None, any: false };
        let mut events = Events::default();
        for (i, record) in records.enumerate() {
            place.number = i;
            events.clear();
            let decoded = decoder.decode(record, first && i == 0, &mut events);
            place.take(decoded, decoder.as_mut(), format)?;
        }
        if let Some(lost) = decoder.finish().into_iter().next() {
            return Err((place.number, lost));
        }
        match place.title {
            Some(bad) if !place.any => Err(bad),
            _ => Ok(Checked { says: decoder.schema() != before.as_ref() }),
        }
    }
}

/// Where a check is.
struct Place {
    number: usize,
    /// A line before a table, which is passed over if a table follows.
    title: Option<(usize, BadEvent)>,
    any: bool,
}

impl Place {
    fn take(
        &mut self,
        decoded: Result<Decoded, BadEvent>,
        decoder: &mut dyn Decoder,
        format: Format,
    ) -> Result<(), (usize, BadEvent)> {
        if let Some(lost) = decoder.take_lost().into_iter().next() {
            return Err((self.number, lost));
        }
        match decoded {
            Ok(Decoded::Nothing) => {}
            Ok(Decoded::Event | Decoded::Header) => self.any = true,
            Err(bad) if format != Format::Arff && decoder.schema().is_none() => {
                self.title.get_or_insert((self.number, bad));
            }
            Err(bad) => return Err((self.number, bad)),
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rows(format: Format) -> Rows {
        let rows = Rows::new(0);
        let spec = FormatSpec { label: Some("y".into()), ..FormatSpec::default() };
        rows.expect(&spec, format, None, None);
        rows
    }

    fn check(rows: &Rows, text: &str, first: bool) -> Result<bool, String> {
        let checked = rows.check(text.split('\n').map(str::as_bytes), first);
        checked.map(|c| c.says).map_err(|(i, bad)| format!("{i}: {bad}"))
    }

    /// The learner reads them.
    fn read(rows: &Rows, text: &str, format: Format) {
        let spec = FormatSpec { label: Some("y".into()), live: true, ..FormatSpec::default() };
        let mut decoder = decoder(&spec, format, None).unwrap();
        let mut events = Events::default();
        for (i, line) in text.split('\n').enumerate() {
            let _ = decoder.decode(line.as_bytes(), i == 0, &mut events);
        }
        rows.decoded(decoder.schema(), text.split('\n').count() as u64);
    }

    #[test]
    fn rows_that_are_none_are_told_from_those_that_are() {
        let rows = rows(Format::Csv);
        assert_eq!(
            check(&rows, "a,b,y\n1,2\n", true).unwrap_err(),
            "1: the row has 2 fields, expected 3"
        );
        assert_eq!(check(&rows, "a title\na,b,y\n1,2,0", true), Ok(true));
        assert!(check(&rows, "a title", true).unwrap_err().starts_with("0: a line of one field"));
        read(&rows, "a,b,y\n1,2,0", Format::Csv);
        for (text, wrong) in [
            ("1,2,0\n2,1,1", ""),
            ("a,b,y\n2,1,1", ""),
            ("\n1,\"2\",0\n", ""),
            ("1,2,0\n1,2", "1: the row has 2 fields, expected 3"),
            ("1,2,0,3", "0: the row has 4 fields, expected 3"),
            ("1,\"2,0", "0: a quoted field has no closing quote"),
            ("1,\"2,0\n1,2,0", "1: a quoted field has no closing quote"),
            ("1,\"2\n3\",0", ""),
        ] {
            match wrong {
                "" => assert_eq!(check(&rows, text, false), Ok(false), "{text}"),
                wrong => {
                    assert!(check(&rows, text, false).unwrap_err().starts_with(wrong), "{text}")
                }
            }
        }
        // What says something new, and is not read yet: nothing is refused meanwhile.
        rows.said(9);
        assert_eq!(check(&rows, "1", false), Ok(false));
        rows.decoded(None, 9);
        assert!(check(&rows, "1,2,3\n1", false).is_err());
    }

    #[test]
    fn rows_of_attributes() {
        let rows = rows(Format::Arff);
        let head = "@relation r\n@attribute a numeric\n@attribute y {0,1}\n@data";
        assert!(check(&rows, "1,0", true).is_err());
        assert_eq!(check(&rows, &format!("{head}\n1,0"), true), Ok(true));
        read(&rows, head, Format::Arff);
        assert_eq!(check(&rows, "1,0\n% text\n{0 1}", false), Ok(false));
        for wrong in ["1", "1,0,0", "@attribute z relational", "@data", "1,'0"] {
            assert!(check(&rows, wrong, false).is_err(), "{wrong}");
        }
    }
}
