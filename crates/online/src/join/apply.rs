//! Events and labels taken from the stream.

use tidemill_recipe::stream::features::HashedColumns;
use tidemill_recipe::stream::{BadEvent, Event, Label, Value};

use super::arrived::Arrived;
use super::kept::{Given, Place, Status};
use super::{Join, time};
use crate::feed::Counts;
use crate::images::Images;
use crate::model::Model;
use tidemill_engine::data::Known;
use tidemill_engine::error::{Error, Result};

/// What the records of a stream are read with.
pub(crate) struct Reading<'a> {
    pub known: &'a mut Known,
    pub images: Option<&'a Images>,
    pub hashed: &'a mut Option<HashedColumns>,
    pub model: &'a mut Model,
    pub counts: &'a mut Counts,
}

/// Why a record is set aside; an error of the run is another thing.
type Taken = Result<std::result::Result<(), BadEvent>>;

/// Gives up on a record, not on the stream.
macro_rules! good {
    ($value:expr) => {
        match $value {
            Ok(value) => value,
            Err(bad) => return Ok(Err(bad)),
        }
    };
}

fn set_aside(reason: String) -> Taken {
    Ok(Err(BadEvent::new(reason)))
}

impl Join {
    /// Takes a record: an event, or a label of one.
    pub(crate) fn take(&mut self, reading: Reading<'_>, event: Event<'_>) -> Taken {
        let number;
        let id = match event.id() {
            Value::Text(id) => Some(id),
            Value::Number(n) => {
                number = n.to_string();
                Some(number.as_str())
            }
            Value::Missing => None,
        };
        let at = match &self.spec.time {
            None => Some(self.watermark.map_or(0, |before| before + 1)),
            Some(_) => good!(time::units(event.time())),
        };
        if event.is_bare() {
            let Some(id) = id else { return set_aside("has no inputs and no id".into()) };
            let Some(given) = Given::of(event.label()) else {
                return set_aside("has neither inputs nor a label".into());
            };
            if let Some(at) = at {
                self.advance(at)?;
            }
            return self.take_label(reading, id, given);
        }
        let Some(at) = at else {
            let name = self.spec.time.as_deref().unwrap_or_default();
            return set_aside(format!("an event needs a time, and `{name}` is missing"));
        };
        self.advance(at)?;
        self.take_event(reading, event, id, at)
    }

    fn take_event(
        &mut self,
        reading: Reading<'_>,
        event: Event<'_>,
        id: Option<&str>,
        at: i64,
    ) -> Taken {
        let Reading { known, images, hashed, model, counts } = reading;
        let early = match id.and_then(|id| self.store.status(id)) {
            None => None,
            Some(Status::Early(given)) => Some(given.clone()),
            Some(_) => {
                self.counts.repeated += 1;
                return set_aside("an event with this id came before".into());
            }
        };
        let Some(labels) = &mut known.labels else { return Err(unknown()) };
        good!(labels.check(event.label()));
        self.scratch.weight = event.weight();
        if !(self.scratch.weight.is_finite() && self.scratch.weight >= 0.0) {
            return set_aside(format!("weight {} is not 0 or more", self.scratch.weight));
        }
        let given = Given::of(event.label());
        let here = given.is_some();
        // Where the label is there, the step itself predicts; one with a shift does not.
        let ask = (!here && id.is_some()) || self.spec.shift() != 0.0;
        good!(self.see(known, images, hashed, model, event, ask)?);
        counts.events += 1;
        counts.unlabelled += 1;
        let Some(id) = id else {
            return match given {
                // By its number, since something must choose among negatives without ids.
                Some(given) => self.learn_now(known, &counts.events.to_string(), &given),
                None => Ok(Ok(())),
            };
        };
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
        let taken = self.learn_now(known, id, &label)?;
        self.answered(id.into(), due, label)?;
        Ok(taken)
    }

    /// Puts what the model sees of an event, and what it says of it, into `scratch`.
    fn see(
        &mut self,
        known: &mut Known,
        images: Option<&Images>,
        hashed: &mut Option<HashedColumns>,
        model: &mut Model,
        event: Event<'_>,
        ask: bool,
    ) -> Taken {
        let Arrived { row, features, logits, .. } = &mut self.scratch;
        row.clear();
        features.clear();
        logits.clear();
        match model {
            Model::Network(learner) => {
                row.resize(learner.engine().sample_len(), 0.0);
                match (images, &mut known.encoder) {
                    (Some(images), _) => match event.value(0) {
                        Value::Text(text) => good!(images.fill(text, row)),
                        _ => return set_aside("the event has no image".into()),
                    },
                    (None, Some(encoder)) => {
                        good!(encoder.encode(event, row));
                        for freed in encoder.take_freed() {
                            learner.engine_mut().reset_row(freed.embedding, freed.row);
                            // What was predicted before was with other weights.
                            self.steps += 1;
                        }
                    }
                    (None, None) => return Ok(Err(BadEvent::fatal("its columns are not known"))),
                }
                if ask {
                    logits.extend_from_slice(learner.logits(row)?);
                }
            }
            Model::Linear(learner) => {
                let Some(hashed) = hashed else { return Err(unknown()) };
                features.extend_from_slice(good!(hashed.features(event)));
                if ask {
                    logits.push(learner.model().predict(features));
                }
            }
        }
        self.scratch.steps = self.steps;
        if let Some(labels) = &known.labels {
            self.scratch.mean = labels.unscale(0.0);
            self.scratch.deviation = labels.unscale(1.0) - self.scratch.mean;
        }
        Ok(Ok(()))
    }

    /// The event in `scratch` has its label.
    fn learn_now(&mut self, known: &mut Known, id: &str, given: &Given) -> Taken {
        let Some(labels) = &mut known.labels else { return Err(unknown()) };
        let Some(label) = good!(labels.encode(given.value())) else { return Ok(Ok(())) };
        self.out.0.clear();
        self.scratch.write(&mut self.out);
        let place = Place::Memory(self.out.0.as_slice().into());
        self.push_ready(id, place, label, target(label, given));
        Ok(Ok(()))
    }

    fn take_label(&mut self, reading: Reading<'_>, id: &str, given: Given) -> Taken {
        let Reading { known, counts, .. } = reading;
        counts.labels += 1;
        let Some(labels) = &mut known.labels else { return Err(unknown()) };
        good!(labels.check(given.value()));
        match self.store.status(id) {
            None => {
                let until = self.watermark.unwrap_or(0).saturating_add(self.window);
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
                set_aside(reason)
            }
            Some(Status::Expired) => {
                self.counts.late += 1;
                set_aside("late label: the window of its event is closed".into())
            }
            Some(Status::Waiting(_)) => {
                let Some(label) = good!(labels.encode(given.value())) else { return Ok(Ok(())) };
                if let Some((due, Status::Waiting(place))) = self.store.remove(id) {
                    self.counts.joined += 1;
                    self.push_ready(id, place, label, target(label, &given));
                    self.answered(id.into(), due, given)?;
                }
                Ok(Ok(()))
            }
        }
    }
}

fn target(label: Label, given: &Given) -> Option<f64> {
    match (label, given) {
        (Label::Value(_), Given::Number(n)) => Some(*n),
        _ => None,
    }
}

fn unknown() -> Error {
    Error::Run("an event came before the stream was known; please report it".into())
}
