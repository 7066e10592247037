//! What the records of a live stream consist of, as its learner has understood them: so that a source can refuse records that
//! do not fit before it acknowledges them.

use std::sync::{Arc, Mutex};

use tidemill_table::{BadEvent, Decoded, Decoder, Events, Format, FormatSpec, Schema, decoder};

use crate::position::Position;
use crate::sync::lock;

/// Whether events of a schema fit what is learned: asked with a header alone, or with the first event.
pub type Fits = dyn Fn(&Schema, Option<&Events>) -> std::result::Result<(), String> + Send + Sync;

/// What a learner has understood of the records, for the source that they come through.
#[derive(Default)]
pub struct Rows(Mutex<State>);

#[derive(Default)]
struct State {
    /// How records are written; none before a learner is there.
    written: Option<(FormatSpec, Format)>,
    schema: Option<Arc<Schema>>,
    /// Asked about the first event, where no schema is known.
    fits: Option<Arc<Fits>>,
    /// All records up to this one have been decoded.
    decoded: u64,
    /// The last record that may have said what rows consist of.
    said: u64,
    /// Decoders of that schema which nobody uses now.
    spare: Vec<Box<dyn Decoder>>,
}

/// Decoders that are kept.
const MOST_SPARE: usize = 4;

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = lock(&self.0);
        f.debug_struct("Rows").field("schema", &state.schema).finish_non_exhaustive()
    }
}

/// What a check of several records came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Whether they say what those after them consist of.
    pub(crate) says: bool,
    /// Numbers of those that are no events, such as headers and comments.
    pub(crate) others: Vec<usize>,
}

impl Rows {
    /// Of a stream that has records up to `last` already: they may say something.
    pub(crate) fn new(last: u64) -> Rows {
        Rows(Mutex::new(State { said: last, ..State::default() }))
    }

    /// A learner reads records written so, from `position` on; what it has learned of their columns before, and which first
    /// event it takes where it has learned nothing.
    pub fn expect(
        &self,
        spec: &FormatSpec,
        format: Format,
        schema: Option<Schema>,
        position: Option<&Position>,
        fits: Option<Arc<Fits>>,
    ) {
        let mut state = lock(&self.0);
        state.decoded = position.and_then(|p| p.mark("")).map_or(0, |mark| mark.major);
        let spec = FormatSpec { live: true, ..spec.clone() };
        (state.written, state.schema, state.fits) =
            (Some((spec, format)), schema.map(Arc::new), fits);
        state.spare.clear();
    }

    /// The learner has decoded the records up to `last`, and those after it consist of this.
    pub fn decoded(&self, schema: Option<&Schema>, last: u64) {
        let mut state = lock(&self.0);
        if state.schema.as_deref() != schema {
            state.schema = schema.cloned().map(Arc::new);
            state.spare.clear();
        }
        state.decoded = last;
    }

    /// The records up to `last` are stored, and some of them say what those after them consist of.
    pub(crate) fn said(&self, last: u64) {
        let mut state = lock(&self.0);
        state.said = state.said.max(last);
    }

    /// Checks records that come together, the first of the stream if `first`; the number of the first one that does not fit,
    /// from 0, and why. Nothing is known, and nothing is given, as long as what records consist of is still to be read by the
    /// learner.
    pub(crate) fn check<'a>(
        &self,
        records: impl Iterator<Item = &'a [u8]>,
        first: bool,
    ) -> Result<Option<Checked>, (usize, BadEvent)> {
        let (made, before, fits, format) = {
            let mut state = lock(&self.0);
            let State { written, schema, fits, decoded, said, spare } = &mut *state;
            let Some((spec, format)) = written else { return Ok(None) };
            let checked = [Format::Csv, Format::Tsv, Format::Arff, Format::JsonLines];
            if !checked.contains(format) || *said > *decoded {
                return Ok(None);
            }
            let made = match spare.pop() {
                Some(decoder) => Ok(decoder),
                None => decoder(spec, *format, schema.as_deref().cloned()),
            };
            (made, schema.clone(), fits.clone(), *format)
        };
        let Ok(mut decoder) = made else { return Ok(None) };
        let fits = fits.filter(|_| before.is_none());
        let mut check =
            Check { format, fits, number: 0, title: None, any: false, others: Vec::new() };
        let mut events = Events::default();
        let checked = check.all(records, first, decoder.as_mut(), &mut events);
        let says = decoder.schema() != before.as_deref();
        // What is read line by line leaves nothing behind that the next request could see.
        if format == Format::JsonLines && before.is_some() && !says {
            let mut state = lock(&self.0);
            let same = state.schema.as_ref().zip(before.as_ref());
            if same.is_some_and(|(now, then)| Arc::ptr_eq(now, then))
                && state.spare.len() < MOST_SPARE
            {
                state.spare.push(decoder);
            }
        }
        checked.map(|()| Some(Checked { says, others: check.others }))
    }
}

/// A check under way.
struct Check {
    format: Format,
    /// Asked about the first event.
    fits: Option<Arc<Fits>>,
    number: usize,
    /// A line before a table, which is passed over if a table follows.
    title: Option<(usize, BadEvent)>,
    any: bool,
    others: Vec<usize>,
}

impl Check {
    fn all<'a>(
        &mut self,
        records: impl Iterator<Item = &'a [u8]>,
        first: bool,
        decoder: &mut dyn Decoder,
        events: &mut Events,
    ) -> Result<(), (usize, BadEvent)> {
        for (i, record) in records.enumerate() {
            self.number = i;
            events.clear();
            let decoded = decoder.decode(record, first && i == 0, events);
            self.take(decoded, decoder, events)?;
        }
        if let Some(lost) = decoder.finish().into_iter().next() {
            return Err((self.number, lost));
        }
        self.title.take().filter(|_| !self.any).map_or(Ok(()), Err)
    }

    fn take(
        &mut self,
        decoded: Result<Decoded, BadEvent>,
        decoder: &mut dyn Decoder,
        events: &Events,
    ) -> Result<(), (usize, BadEvent)> {
        if let Some(lost) = decoder.take_lost().into_iter().next() {
            return Err((self.number, lost));
        }
        match decoded {
            Ok(Decoded::Event) => {
                self.any = true;
                if let (Some(fits), Some(schema)) = (self.fits.take(), decoder.schema()) {
                    fits(schema, Some(events)).map_err(|e| (self.number, BadEvent::new(e)))?;
                }
            }
            Ok(other) => {
                self.any |= other == Decoded::Header;
                self.others.push(self.number);
            }
            Err(bad)
                if matches!(self.format, Format::Csv | Format::Tsv)
                    && decoder.schema().is_none() =>
            {
                self.others.push(self.number);
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
        let fits: Arc<Fits> = Arc::new(|schema, _| match schema.columns.len() + schema.vector {
            0..3 => Ok(()),
            n => Err(format!("{n} inputs")),
        });
        rows.expect(&spec, format, None, None, Some(fits));
        rows
    }

    fn check(rows: &Rows, text: &str, first: bool) -> Result<bool, String> {
        let checked = rows.check(text.split('\n').map(str::as_bytes), first);
        let says = |checked: Option<Checked>| checked.is_some_and(|c| c.says);
        checked.map(says).map_err(|(i, bad)| format!("{i}: {bad}"))
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

    #[test]
    fn events_that_do_not_fit() {
        let rows = rows(Format::JsonLines);
        let good = "{\"a\":1,\"b\":2,\"y\":0}";
        let wide = "{\"a\":1,\"b\":2,\"c\":3,\"y\":0}";
        assert_eq!(check(&rows, wide, true).unwrap_err(), "0: 3 inputs");
        assert_eq!(check(&rows, &format!("{good}\n{wide}"), true), Ok(true));
        // Until the learner has read that, nothing is known.
        rows.said(1);
        assert_eq!(rows.check([&b"{\"c\":1}"[..]].into_iter(), false).unwrap(), None);
        read(&rows, good, Format::JsonLines);
        // Twice, since decoders are used again.
        for _ in 0..2 {
            for (text, wrong) in [
                (good, ""),
                (wide, ""),
                ("{\"a\":1}", ""),
                ("{\"a\":1e400,\"b\":null}", ""),
                ("{\"c\":1,\"y\":0}", "none of the keys that are inputs is there"),
                ("{\"a\":[1,2],\"y\":0}", "key `a`: is an array"),
                ("{\"a\":{\"x\":1},\"y\":0}", "key `a`: is an object"),
                ("{\"a\":1,\"y\":[0]}", "key `y`: is an array"),
                ("{\"a\":oops}", "key `a`: "),
                ("[1,2]", "byte 0: expected an object"),
            ] {
                let found = check(&rows, &format!("{good}\n{text}"), false);
                match wrong {
                    "" => assert_eq!(found, Ok(false), "{text}"),
                    wrong => assert!(found.unwrap_err().contains(&format!("1: {wrong}")), "{text}"),
                }
            }
        }
    }

    #[test]
    fn what_is_no_event_is_counted() {
        let rows = rows(Format::Csv);
        let checked = rows.check([&b"a,b,y"[..], b"1,2,0", b"a,b,y", b"2,1,1"].into_iter(), true);
        assert_eq!(checked.unwrap(), Some(Checked { says: true, others: vec![0, 2] }));
        let rows = Rows::new(0);
        assert_eq!(rows.check([&b"a,b,y"[..]].into_iter(), true).unwrap(), None);
    }
}
