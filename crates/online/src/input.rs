//! The events of a stream, encoded and given to a model.

use serde::{Deserialize, Serialize};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::fields::Truth;
use tidemill_recipe::stream::Note;

use crate::ahead::Ahead;
use crate::encoding::Encoding;
use crate::feed::{Came, Feed, Item};
use crate::join::Join;
use crate::model::StreamModel;
use crate::predictions::Predictions;

/// What a stream has brought; part of the checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Events taken, with or without a label.
    pub events: u64,
    /// Events without a label, which were not learned from.
    pub unlabelled: u64,
    /// Records that were labels of events that had come without.
    #[serde(default)]
    pub labels: u64,
    /// Records set aside.
    pub bad: u64,
}

/// A stream with how its events are encoded.
pub struct Input {
    /// Where the events come from.
    pub feed: Box<dyn Feed>,
    /// How they become samples.
    pub encoding: Encoding,
    counts: Counts,
    /// What was predicted for each event, where that is wanted.
    pub(crate) predictions: Option<Predictions>,
}

impl Input {
    /// The events of `feed`, after those that were counted.
    pub fn new(feed: Box<dyn Feed>, encoding: Encoding, counts: Counts) -> Input {
        Input { feed, encoding, counts, predictions: None }
    }

    /// Encodes the next event and makes it event `i` of the model's step; one that is bad is left out
    /// of the step.
    ///
    /// # Errors
    /// If the stream does not fit the recipe, or nothing waits.
    pub fn take(&mut self, model: &mut dyn StreamModel, i: usize) -> Result<()> {
        self.prepare()?;
        let Input { feed, encoding, counts, predictions } = self;
        let came = feed.next(&mut |item| {
            let scale = encoding.scaling();
            if let Some(predictions) = predictions.as_mut() {
                predictions.look(encoding.known().labels.as_ref());
            }
            let given = match &item {
                Item::Event(event) if predictions.is_some() => Some((event.id(), event.label())),
                _ => None,
            };
            let encoded = match item {
                Item::Sample(mut sample) => {
                    sample.weight *= encoding.class_weight(sample.truth);
                    Ok(sample)
                }
                Item::Event(event) => encoding.encode(event)?,
                Item::Header(schema) => {
                    encoding.set_schema(schema);
                    return Ok(Ok(()));
                }
            };
            let sample = match encoded {
                Ok(sample) => sample,
                Err(bad) => return Ok(Err(bad)),
            };
            model.take(i, &sample)?;
            counts.events += 1;
            counts.unlabelled += u64::from(sample.truth == Truth::Unknown);
            if let Some(predictions) = predictions {
                predictions.event(i, counts.events, given, &sample, scale);
            }
            Ok(Ok(()))
        })?;
        if came == Came::SetAside {
            model.leave_out(i);
        }
        Ok(())
    }

    /// Encodes up to `most` of the events that wait, to be learned from one by one; only where all of them
    /// come as records.
    ///
    /// # Errors
    /// As [`Input::take`].
    pub(crate) fn encode_ahead(&mut self, ahead: &mut Ahead, most: usize) -> Result<()> {
        self.prepare()?;
        let Input { feed, encoding, counts, .. } = self;
        ahead.clear();
        while ahead.len() < most && ahead.may_grow(feed.position()) {
            let mut encoded = None;
            feed.next(&mut |item| {
                match item {
                    Item::Event(event) => match encoding.encode_to(Some(ahead.next()), event)? {
                        Ok(event) => {
                            counts.events += 1;
                            counts.unlabelled += u64::from(event.label.is_none());
                            encoded = Some(event);
                        }
                        Err(bad) => return Ok(Err(bad)),
                    },
                    Item::Header(schema) => encoding.set_schema(schema),
                    Item::Sample(_) => {
                        let what = "a sample is not encoded ahead; please report it";
                        return Err(Error::Run(what.into()));
                    }
                }
                Ok(Ok(()))
            })?;
            ahead.push(encoded, counts.events, feed.position(), feed.acknowledged());
            // Where learning stops for bad records must not depend on how many are encoded ahead.
            if feed.too_many_bad().is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Takes a record where labels come later than their events; whether it was set aside.
    ///
    /// # Errors
    /// As [`Input::take`].
    pub(crate) fn take_joined(
        &mut self,
        join: &mut Join,
        model: &mut dyn StreamModel,
    ) -> Result<Came> {
        if self.prepare()? {
            join.guessed = true;
        }
        let Input { feed, encoding, counts, .. } = self;
        feed.next(&mut |item| match item {
            Item::Event(event) => join.take_record(event, encoding, model, counts),
            Item::Header(schema) => {
                encoding.set_schema(schema);
                Ok(Ok(()))
            }
            Item::Sample(_) => {
                Err(Error::Run("a sample of a dataset has no id; please report it".into()))
            }
        })
    }

    /// Decides at the first events what their columns and labels are; whether labels were guessed
    /// without having seen one.
    fn prepare(&mut self) -> Result<bool> {
        if self.encoding.is_ready() {
            return Ok(false);
        }
        match self.feed.first() {
            Some((events, schema)) => self.encoding.prepare(events, schema),
            None => Ok(false),
        }
    }

    /// Passes what comes before the next event, and at the end of the stream all that is left.
    ///
    /// # Errors
    /// If a bad record cannot be written down.
    pub fn pass(&mut self) -> Result<()> {
        let encoding = &mut self.encoding;
        self.feed.pass(&mut |schema| encoding.set_schema(schema))
    }

    /// What a user should know of the records so far.
    pub fn notes(&self) -> Vec<Note> {
        let mut notes = self.feed.notes();
        for note in self.encoding.notes() {
            if !notes.iter().any(|n| n.text == note.text) {
                notes.push(note);
            }
        }
        notes
    }

    /// What is counted beside the events that were set aside.
    pub(crate) fn counts_mut(&mut self) -> &mut Counts {
        &mut self.counts
    }

    /// What came so far.
    pub fn counts(&self) -> Counts {
        Counts { bad: self.feed.bad(), ..self.counts }
    }
}
