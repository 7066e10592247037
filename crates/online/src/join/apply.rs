//! Events and labels taken from the stream.

use tidemill_recipe::stream::{BadEvent, Event, Label, Value};

use super::arrived::Arrived;
use super::kept::{Given, Place, Status};
use super::{Join, Said, time};
use crate::encoding::{Encoding, OrBad, good};
use crate::input::Counts;
use crate::model::StreamModel;
use crate::sample::{Inputs, Sample, Scale};

/// A longer id is a mistake; what waits for labels has to fit into memory.
const MAX_ID_BYTES: usize = 256;

fn set_aside(reason: String) -> OrBad<()> {
    Ok(Err(BadEvent::new(reason)))
}

/// What happens to labels and events that are as they should be.
fn not_used(reason: String) -> OrBad<()> {
    Ok(Err(BadEvent::expected(reason)))
}

impl Join {
    /// Takes a record: an event, or a label of one.
    pub(crate) fn take_record(
        &mut self,
        event: Event<'_>,
        encoding: &mut Encoding,
        model: &mut dyn StreamModel,
        counts: &mut Counts,
    ) -> OrBad<()> {
        self.say(|_| Said::Nothing);
        // What labels are was guessed before one was seen.
        if self.guessed && event.label() != Value::Missing {
            good!(encoding.see_label(event.label()));
            self.guessed = false;
        }
        let number;
        let id = match event.id() {
            Value::Text(id) => Some(id),
            Value::Number(n) => {
                number = n.to_string();
                Some(number.as_str())
            }
            Value::Missing => None,
        };
        if let Some(id) = id.filter(|id| id.len() > MAX_ID_BYTES) {
            let (len, id) = (id.len(), id.chars().take(20).flat_map(char::escape_debug));
            let id: String = id.collect();
            return set_aside(format!(
                "the id `{id}...` has {len} bytes, and {MAX_ID_BYTES} are the most"
            ));
        }
        let at = match &self.spec.time {
            None => Some(self.clock.now.map_or(0, |before| before + 1)),
            Some(_) => good!(time::units(event.time())),
        };
        // A label record may repeat the inputs of its event.
        let answers = event.label() != Value::Missing
            && id.is_some_and(|id| {
                self.store.status(id).is_some_and(|s| !matches!(s, Status::Early(_)))
            });
        if event.is_bare() || answers {
            let Some(id) = id else { return set_aside("has no inputs and no id".into()) };
            let Some(given) = Given::of(event.label(), encoding.separator()) else {
                return set_aside("has neither inputs nor a label".into());
            };
            if let Some(at) = at {
                // A label says what it says also where its clock is wrong.
                let _ = self.see_time(at)?;
            }
            counts.labels += 1;
            return self.take_label(encoding, id, given);
        }
        let Some(at) = at else {
            let name = self.spec.time.as_deref().unwrap_or_default();
            return set_aside(format!("an event needs a time, and `{name}` is missing"));
        };
        let at = good!(self.see_time(at)?);
        let id = match id.map(|id| (id, self.store.status(id))) {
            Some((_, Some(status))) if !matches!(status, Status::Early(_)) => {
                self.counts.repeated += 1;
                return not_used("an event with this id came before".into());
            }
            id => id.map(|(id, _)| id),
        };
        good!(self.see(encoding, model, event, id)?);
        counts.events += 1;
        counts.unlabelled += 1;
        match id {
            Some(id) => self.take_event(encoding, event, id, at),
            // By its number, since something must choose among negatives without ids.
            None => match Given::of(event.label(), encoding.separator()) {
                Some(given) => self.learn_now(encoding, &counts.events.to_string(), &given),
                None => Ok(Ok(())),
            },
        }
    }

    /// Notes what is said to whoever sent the record, where someone may ask.
    pub(crate) fn say(&mut self, what: impl FnOnce(&Join) -> Said) {
        if self.said.is_some() {
            self.said = Some(what(self));
        }
    }

    /// The event in `scratch` waits for its label, or has it.
    fn take_event(
        &mut self,
        encoding: &mut Encoding,
        event: Event<'_>,
        id: &str,
        at: i64,
    ) -> OrBad<()> {
        let early = match self.store.status(id) {
            Some(Status::Early(given)) => Some(given.clone()),
            _ => None,
        };
        let given = Given::of(event.label(), encoding.separator());
        let here = given.is_some();
        let due = at.saturating_add(self.window);
        let Some(label) = given.or_else(|| early.clone()) else {
            self.keep_waiting(id, due)?;
            return Ok(Ok(()));
        };
        match early {
            Some(_) if !here => {
                self.counts.early += 1;
                self.counts.joined += 1;
            }
            // Its own label came before it, too.
            Some(early) if early.agrees(&label) => self.counts.duplicate += 1,
            Some(_) => self.counts.contradictory += 1,
            None => {}
        }
        let taken = self.learn_now(encoding, id, &label)?;
        self.answered(id.into(), due, label)?;
        Ok(taken)
    }

    /// Puts what the model sees of an event, and what it says of it, into `scratch`.
    fn see(
        &mut self,
        encoding: &mut Encoding,
        model: &mut dyn StreamModel,
        event: Event<'_>,
        id: Option<&str>,
    ) -> OrBad<()> {
        let scaling = encoding.scaling();
        let Sample { inputs, weight, freed, encoder, .. } = good!(encoding.encode_inputs(event)?);
        model.see(&freed, encoder);
        // What was predicted before was with other weights.
        self.steps += freed.len() as u64;
        let Arrived { row, fields, features, logits, .. } = &mut self.scratch;
        row.clear();
        fields.clear();
        features.clear();
        logits.clear();
        match inputs {
            Inputs::Row(x) => row.extend_from_slice(x),
            Inputs::Features(f) => features.extend_from_slice(f),
            Inputs::Fields(batch, i) => {
                let inputs = batch.columns.iter().take(batch.signature().inputs().len());
                fields.extend(inputs.map(|column| column.bits(i)));
            }
        }
        // Where the label is there, the step itself predicts; one with a shift does not.
        let here = event.label() != Value::Missing;
        if (!here && id.is_some()) || self.spec.shift() != 0.0 {
            model.predict_logits(inputs, logits)?;
        }
        // An answer must not change how the event is scored later.
        let mut said = Vec::new();
        if self.said.is_some() && !logits.is_empty() {
            said.clone_from(logits);
        } else if self.said.is_some() && self.awaited {
            model.predict_logits(inputs, &mut said)?;
        }
        if !said.is_empty() {
            let scale = Scale { target: 0.0, ..scaling };
            let id = id.map(str::to_owned);
            self.said = Some(Said::Predicted { id, logits: said, scale });
        }
        self.scratch.weight = weight;
        self.scratch.steps = self.steps;
        (self.scratch.mean, self.scratch.deviation) = (scaling.mean, scaling.deviation);
        Ok(Ok(()))
    }

    /// The event in `scratch` has its label.
    fn learn_now(&mut self, encoding: &mut Encoding, id: &str, given: &Given) -> OrBad<()> {
        let Some(label) = good!(encoding.encode_label(given.value())?) else { return Ok(Ok(())) };
        self.out.0.clear();
        self.scratch.write(&mut self.out);
        let place = Place::Memory(self.out.0.as_slice().into());
        let target = target(&label, given);
        self.push_ready(id, place, label, target);
        Ok(Ok(()))
    }

    fn take_label(&mut self, encoding: &mut Encoding, id: &str, given: Given) -> OrBad<()> {
        good!(encoding.check_label(given.value())?);
        let what = match self.store.status(id) {
            None => "early",
            Some(Status::Waiting(_)) => "joined",
            Some(Status::Answered(_) | Status::Early(_)) => "duplicate",
            Some(Status::Expired) => "late",
        };
        self.say(|_| Said::Label(id.to_owned(), what));
        match self.store.status(id) {
            None => {
                let until = self.clock.now.unwrap_or(0).saturating_add(self.window);
                self.store.keep(id.into(), until, Status::Early(given))?;
                self.make_room();
                Ok(Ok(()))
            }
            Some(Status::Answered(first) | Status::Early(first)) if first.agrees(&given) => {
                self.counts.duplicate += 1;
                Ok(Ok(()))
            }
            Some(Status::Answered(first) | Status::Early(first)) => {
                let reason =
                    format!("contradictory label {given}: {first} came before it, and counts");
                self.counts.contradictory += 1;
                not_used(reason)
            }
            Some(Status::Expired) => {
                self.counts.late += 1;
                not_used("late label: the window of its event is closed".into())
            }
            Some(Status::Waiting(_)) => {
                let label = encoding.encode_label(given.value())?;
                let Some(label) = good!(label) else { return Ok(Ok(())) };
                if let Some((due, Status::Waiting(place))) = self.store.remove(id) {
                    self.counts.joined += 1;
                    let target = target(&label, &given);
                    self.push_ready(id, place, label, target);
                    self.answered(id.into(), due, given)?;
                }
                Ok(Ok(()))
            }
        }
    }
}

fn target(label: &Label, given: &Given) -> Option<f64> {
    match (label, given) {
        (Label::Value(_), Given::Number(n)) => Some(*n),
        _ => None,
    }
}
