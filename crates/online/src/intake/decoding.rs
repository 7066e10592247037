//! A decoder, and which event may say what events consist of.

use std::sync::Arc;

use tidemill_recipe::stream::{BadEvent, Decoded, Decoder, Events, Fits, Note, Schema};

use tidemill_engine::error::Result;

/// Makes a decoder that knows a schema, or none.
pub(crate) type Make = dyn Fn(Option<Schema>) -> Result<Box<dyn Decoder>> + Send;

/// Decodes records.
///
/// Anyone may send the first record of a live source. There, what records consist of is said by the first header or
/// event that fits the model. What does not is set aside, and what was concluded from it is forgotten.
pub(crate) struct Decoding {
    decoder: Box<dyn Decoder>,
    make: Box<Make>,
    /// Asked until an event fits, where the source is live.
    fits: Option<Arc<Fits>>,
    /// What the header has said that counts, until an event has come.
    header: Option<Schema>,
    live: bool,
}

impl Decoding {
    /// A decoder that knows `schema`. Of a live source, `fits` says which first event to take; none where that is known.
    ///
    /// # Errors
    /// If what the recipe says of the format does not go together.
    pub(crate) fn new(
        make: Box<Make>,
        schema: Option<Schema>,
        live: bool,
        fits: Option<Arc<Fits>>,
    ) -> Result<Decoding> {
        let decoder = make(schema.clone())?;
        Ok(Decoding { decoder, make, fits: fits.filter(|_| live), header: schema, live })
    }

    /// Decodes one record, see [`Decoder::decode`].
    pub(super) fn decode(
        &mut self,
        bytes: &[u8],
        first: bool,
        events: &mut Events,
    ) -> std::result::Result<Decoded, BadEvent> {
        let decoded = match self.fits.is_some() {
            true => self.first(bytes, first, events),
            false => self.decoder.decode(bytes, first, events),
        };
        // Whatever one sender writes, others may send what fits.
        decoded.map_err(|mut bad| {
            bad.fatal &= !self.live;
            bad
        })
    }

    /// Decodes a record before any event has fitted.
    fn first(
        &mut self,
        bytes: &[u8],
        first: bool,
        events: &mut Events,
    ) -> std::result::Result<Decoded, BadEvent> {
        let bad = match self.fitting(bytes, first, events) {
            Ok(decoded) => return Ok(decoded),
            Err(bad) => bad,
        };
        // What was taken for the header may be what was wrong: then this is one itself, or the first row.
        let Ok(fresh) = (self.make)(None) else { return Err(bad) };
        let before = std::mem::replace(&mut self.decoder, fresh);
        if let Ok(decoded @ (Decoded::Event | Decoded::Header)) = self.fitting(bytes, true, events)
        {
            return Ok(decoded);
        }
        // One that has concluded nothing from the record still has its notes on those before.
        if before.schema() == self.header.as_ref() {
            self.decoder = before;
            return Err(bad);
        }
        match (self.make)(self.header.clone()) {
            Ok(decoder) => self.decoder = decoder,
            Err(e) => return Err(BadEvent::new(e.to_string())),
        }
        Err(bad)
    }

    fn fitting(
        &mut self,
        bytes: &[u8],
        first: bool,
        events: &mut Events,
    ) -> std::result::Result<Decoded, BadEvent> {
        let len = events.len();
        let decoded = self.decoder.decode(bytes, first, events)?;
        let (Some(fits), Some(schema)) = (&self.fits, self.decoder.schema()) else {
            return Ok(decoded);
        };
        match decoded {
            Decoded::Nothing => {}
            Decoded::Header => {
                fits(schema, None).map_err(BadEvent::new)?;
                self.header = Some(schema.clone());
            }
            Decoded::Event => {
                if let Err(what) = fits(schema, Some(events)) {
                    events.truncate(len);
                    return Err(BadEvent::new(what));
                }
                self.fits = None;
            }
        }
        Ok(decoded)
    }

    /// What events consist of, once that is known.
    pub(super) fn schema(&self) -> Option<&Schema> {
        self.decoder.schema()
    }

    /// See [`Decoder::is_open`].
    pub(super) fn is_open(&self) -> bool {
        self.decoder.is_open()
    }

    /// See [`Decoder::take_lost`].
    pub(super) fn take_lost(&mut self) -> Vec<BadEvent> {
        self.decoder.take_lost()
    }

    /// See [`Decoder::finish`].
    pub(super) fn finish(&mut self) -> Vec<BadEvent> {
        self.decoder.finish()
    }

    /// What a user should know of the records so far.
    pub(super) fn notes(&self) -> Vec<Note> {
        let mut notes = self.decoder.notes();
        notes.extend(self.decoder.gaps());
        notes
    }
}
