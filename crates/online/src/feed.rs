//! Where the events of a step come from: records of a source, or a dataset that is replayed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::OnlineSpec;
use super::error::stream_error;
use super::images::Images;
use super::intake::{Filled, Intake, Item};
use super::join::{Join, JoinCounts, Reading, Waiting};
use super::journal::Journal;
use super::learner::{Learner, Scale};
use super::linear::LinearLearner;
use super::model::Model;
use serde::{Deserialize, Serialize};
use tidemill_engine::data::{Batch, Dataset, Known, Order, TableInputs};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::metrics::Task;
use tidemill_engine::prequential::Truth;
use tidemill_recipe::online::join::Missing;
use tidemill_recipe::stream::features::{Encoder, HashedColumns, Label, Labels};
use tidemill_recipe::stream::{BadEvent, Event, Mark, Position, Record, Value};
use tidemill_recipe::tables::check_inputs;

/// How many events of a stored stream decide what its columns are.
const FIRST_EVENTS: usize = 100;

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

/// Events for the steps of a learner, in order.
pub trait Feed {
    /// Waits up to `wait` for more events.
    fn fill(&mut self, wait: Duration) -> Result<Filled>;

    /// Events that can be taken now.
    fn waiting(&self) -> usize;

    /// Puts the next event into row `i` of the step.
    fn take(&mut self, learner: &mut Model, i: usize) -> Result<()>;

    /// Whether labels come later than their events: then [`Feed::take`] takes a record, and
    /// [`Feed::give`] what has its label.
    fn joins(&self) -> bool {
        false
    }

    /// Events that have got their label and wait to be learned from.
    fn ready(&self) -> usize {
        0
    }

    /// Puts the next of them into row `i` of the step.
    fn give(&mut self, _learner: &mut Model, _i: usize) -> Result<()> {
        Ok(())
    }

    /// Scores those that come next and are not learned from.
    fn settle(&mut self, _learner: &mut Model) -> Result<()> {
        Ok(())
    }

    /// The step was learned, or refused.
    fn stepped(&mut self) {}

    /// What waits for labels, for a checkpoint at this step.
    fn save_waiting(&mut self, _step: u64) -> Result<Option<Waiting>> {
        Ok(None)
    }

    /// What became of labels that came later than their events.
    fn label_counts(&self) -> Option<JoinCounts> {
        None
    }

    /// Passes what is left at the end of the stream and is no event.
    fn finish(&mut self) -> Result<()>;

    /// Where the last event that was taken ends.
    fn position(&self) -> &Position;

    /// What was brought so far.
    fn counts(&self) -> Counts;

    /// When the event taken last was acknowledged, in microseconds of the Unix epoch; 0 where
    /// there is no such moment.
    fn acknowledged(&self) -> u64 {
        0
    }

    /// Tells the source that a checkpoint at this position is on disk.
    fn commit(&self, position: Position);

    /// What it knows of the stream, for the checkpoint.
    fn learned(&self) -> Known;

    /// Events that were dropped because they came too fast.
    fn shed(&self) -> u64 {
        0
    }

    /// Where the file of bad events stands.
    fn dead(&self) -> super::journal::JournalMark;
}

/// The records of a source.
pub struct RecordFeed {
    intake: Intake,
    images: Option<Images>,
    /// What the model's named inputs read of an event.
    inputs: TableInputs,
    spec: OnlineSpec,
    task: Task,
    known: Known,
    /// How a linear model sees events.
    hashed: Option<HashedColumns>,
    /// Whether the same records come in the same blocks each time.
    stored: bool,
    class_names: Vec<String>,
    position: Position,
    counts: Counts,
    dead: Journal,
    acknowledged: u64,
    join: Option<Join>,
}

/// A line of `dead-letter.jsonl`.
#[derive(Serialize)]
struct DeadLetter<'a> {
    reason: &'a str,
    position: String,
    record: std::borrow::Cow<'a, str>,
}

impl RecordFeed {
    /// The events of `intake` after `position`.
    pub fn new(
        intake: Intake,
        images: Option<Images>,
        spec: OnlineSpec,
        task: Task,
        stored: bool,
        class_names: Vec<String>,
        dead: Journal,
    ) -> RecordFeed {
        RecordFeed {
            intake,
            images,
            inputs: TableInputs::default(),
            spec,
            task,
            known: Known::default(),
            hashed: None,
            stored,
            class_names,
            position: Position::default(),
            counts: Counts::default(),
            dead,
            acknowledged: 0,
            join: None,
        }
    }

    /// Labels come later than their events.
    pub(crate) fn join(&mut self, join: Join) {
        self.join = Some(join);
    }

    /// Says what the model's named inputs read of an event.
    pub fn set_inputs(&mut self, inputs: TableInputs) {
        self.inputs = inputs;
    }

    /// Goes on with what an earlier run has learned of the records.
    pub fn restore(&mut self, known: Known, position: Position, counts: Counts) {
        (self.known, self.position, self.counts) = (known, position, counts);
    }

    /// Decides, at the first events, what their columns and labels are.
    fn prepare(&mut self, model: &Model) -> Result<()> {
        let (Some(events), Some(schema)) = (self.intake.first_events(), self.intake.schema())
        else {
            return Ok(());
        };
        let mut first = events.clone();
        first.truncate(if self.stored { FIRST_EVENTS } else { 1 });
        if let Model::Linear(_) = model {
            self.hashed = Some(HashedColumns::new(schema));
        } else if schema.sparse {
            return Err(Error::Usage(
                "the stream has sparse features, which a network cannot take: leave [model] out and \
                 set online.linear = { bits = 18 }"
                    .into(),
            ));
        }
        let unknown = self.known.encoder.is_none() && self.images.is_none();
        if let (Model::Network(learner), true) = (model, unknown) {
            let encoder = Encoder::new(&self.spec.features, schema, &first);
            let encoder = encoder.map_err(stream_error)?;
            check_inputs(&encoder, &learner.engine().spec().model)?;
            self.known.encoder = Some(encoder);
        }
        if self.known.labels.is_none() {
            let seen: Vec<_> = (0..first.len()).map(|i| first.get(i).label()).collect();
            let seen: Vec<_> = seen.into_iter().filter(|l| *l != Value::Missing).collect();
            self.known.labels = Some(self.labels(&seen, model.num_outputs())?);
            if let Some(join) = &mut self.join {
                join.guessed = seen.is_empty();
            }
        }
        if self.known.schema.is_none() {
            self.known.schema = Some(schema.clone());
        }
        Ok(())
    }

    /// What labels like the ones seen are.
    fn labels(&self, seen: &[Value<'_>], outputs: usize) -> Result<Labels> {
        let labels = || seen.iter().copied();
        let named = self.spec.classes.as_ref().unwrap_or(&self.class_names);
        let labels = match self.task {
            Task::Values => Labels::values(self.spec.scale_targets && outputs == 1),
            _ if !named.is_empty() => Labels::classes(outputs.max(2), named),
            Task::Binary => {
                let plain = |l| matches!(l, Value::Number(n) if n == 0.0 || n == 1.0 || n == -1.0);
                if labels().all(plain) { Labels::Binary } else { Labels::classes(2, &[]) }
            }
            Task::Classes => {
                let number = |l| matches!(l, Value::Number(n) if n >= 0.0 && n < outputs as f64 && n.fract() == 0.0);
                let numbers: Vec<String> = (0..outputs).map(|i| i.to_string()).collect();
                let known = if labels().all(number) { &numbers[..] } else { &[] };
                Labels::classes(outputs, known)
            }
        };
        let negative = self.spec.labels.as_ref().is_some_and(|l| l.missing == Missing::Negative);
        if negative && labels.names().is_empty() {
            return Err(Error::Usage(
                "online.labels.missing = \"negative\" means class 0, and the labels are no numbers: \
                 name the classes in online.classes, the negative one first"
                    .into(),
            ));
        }
        Ok(labels)
    }

    /// Takes a record where labels come later than their events.
    fn take_joined(&mut self, model: &mut Model) -> Result<()> {
        let mut taken = false;
        while !taken {
            // Labels were guessed before one was seen.
            let outputs = model.num_outputs();
            let guessed = self.join.as_ref().is_some_and(|j| j.guessed);
            let mut decided = None;
            if guessed && let Some(event) = self.intake.next_event() {
                let label = event.label();
                decided = match label {
                    Value::Missing => None,
                    label => Some(self.labels(&[label], outputs)?),
                };
            }
            let RecordFeed {
                intake,
                images,
                known,
                hashed,
                position,
                counts,
                dead,
                acknowledged,
                join,
                ..
            } = self;
            let Some(join) = join else { return Ok(()) };
            if decided.is_some() {
                (known.labels, join.guessed) = (decided, false);
            }
            let more = intake.take(|record, item| {
                match item {
                    Item::Nothing => {}
                    Item::Header(schema) => known.schema = Some(schema.clone()),
                    Item::Bad(bad) => {
                        counts.bad += 1;
                        write_dead_letter(dead, &record, bad)?;
                    }
                    Item::Event(event) => {
                        taken = true;
                        let images = images.as_ref();
                        let reading = Reading { known, images, hashed, model, counts };
                        if let Err(bad) = join.take(reading, event)? {
                            counts.bad += 1;
                            write_dead_letter(dead, &record, &bad)?;
                        }
                    }
                }
                position.take(&record);
                *acknowledged = record.acknowledged;
                Ok(())
            })?;
            if !more {
                return Err(Error::Run("an event was lost in the queue; please report it".into()));
            }
        }
        Ok(())
    }
}

/// Gives an event to a linear model; says why not if it is bad. Nothing is learned from a bad event.
fn give(
    labels: &mut Option<Labels>,
    hashed: &mut Option<HashedColumns>,
    event: Event<'_>,
    learner: &mut LinearLearner,
) -> Result<Put> {
    let (Some(hashed), Some(labels)) = (hashed, labels) else {
        return Err(Error::Run(
            "an event came before the stream was known; please report it".into(),
        ));
    };
    let weight = event.weight();
    if !(weight.is_finite() && weight >= 0.0) {
        return Ok(Put::Bad(BadEvent::new(format!("weight {weight} is not 0 or more"))));
    }
    let features = match hashed.features(event) {
        Ok(features) => features,
        Err(bad) => return Ok(Put::Bad(bad)),
    };
    let mean = labels.unscale(0.0);
    let deviation = labels.unscale(1.0) - mean;
    Ok(match labels.encode(event.label()) {
        Ok(None) => Put::Unlabelled,
        Ok(Some(Label::Class(class))) => {
            learner.learn(features, Truth::Class(class), weight, None);
            Put::Labelled
        }
        Ok(Some(Label::Value(target))) => {
            let scale = match event.label() {
                Value::Number(target) => Some(Scale { mean, deviation, target }),
                _ => None,
            };
            learner.learn(features, Truth::Values(&[target]), weight, scale);
            Put::Labelled
        }
        Err(bad) => Put::Bad(bad),
    })
}

/// Puts an event into a row; says why not if it is bad. Nothing is learned from a bad event.
fn put(
    known: &mut Known,
    images: Option<&Images>,
    inputs: &TableInputs,
    event: Event<'_>,
    learner: &mut Learner,
    i: usize,
) -> Result<Put> {
    let Some(labels) = &mut known.labels else {
        return Err(Error::Run(
            "an event came before the stream was known; please report it".into(),
        ));
    };
    let weight = event.weight();
    if !(weight.is_finite() && weight >= 0.0) {
        return Ok(Put::Bad(BadEvent::new(format!("weight {weight} is not 0 or more"))));
    }
    if let Err(bad) = labels.check(event.label()) {
        return Ok(Put::Bad(bad));
    }
    let encoded = match (images, &mut known.encoder) {
        (Some(images), _) => match event.value(0) {
            Value::Text(text) => images.fill(text, learner.row(i)),
            _ => Err(BadEvent::new("the event has no image")),
        },
        (None, Some(encoder)) => {
            inputs.encode(encoder, known.schema.as_ref(), event, &mut learner.fields(i))
        }
        (None, None) => Err(BadEvent::fatal("its columns are not known")),
    };
    if let Err(bad) = encoded {
        return Ok(Put::Bad(bad));
    }
    if let (None, Some(encoder)) = (images, &mut known.encoder) {
        for freed in encoder.take_freed() {
            learner.reset_row(freed.embedding, freed.row);
        }
        if let Some(drift) = learner.drift_mut() {
            let (names, values) = encoder.numbers();
            drift.see_columns(|| names.map(str::to_owned).collect(), values);
        }
    }
    let mean = labels.unscale(0.0);
    let deviation = labels.unscale(1.0) - mean;
    Ok(match labels.encode(event.label()) {
        Ok(None) => Put::Unlabelled,
        Ok(Some(Label::Class(class))) => {
            learner.set(i, Truth::Class(class), weight)?;
            Put::Labelled
        }
        Ok(Some(Label::Value(target))) => {
            learner.set(i, Truth::Values(&[target]), weight)?;
            if let Value::Number(target) = event.label() {
                learner.set_scale(i, Scale { mean, deviation, target });
            }
            Put::Labelled
        }
        Err(bad) => Put::Bad(bad),
    })
}

enum Put {
    Labelled,
    Unlabelled,
    Bad(BadEvent),
}

fn write_dead_letter(dead: &mut Journal, record: &Record<'_>, bad: &BadEvent) -> Result<()> {
    if bad.fatal {
        return Err(Error::Usage(format!("the stream does not fit the recipe: {}", bad.reason)));
    }
    let mut position = Position::default();
    position.take(record);
    let record = &record.bytes[..record.bytes.len().min(4096)];
    let record = String::from_utf8_lossy(record);
    dead.write(&DeadLetter { reason: &bad.reason, position: position.to_string(), record })
}

impl Feed for RecordFeed {
    fn fill(&mut self, wait: Duration) -> Result<Filled> {
        self.intake.fill(wait)
    }

    fn waiting(&self) -> usize {
        self.intake.waiting()
    }

    fn take(&mut self, model: &mut Model, i: usize) -> Result<()> {
        let ready = self.images.is_some() || self.known.encoder.is_some() || self.hashed.is_some();
        if self.known.labels.is_none() || !ready {
            self.prepare(model)?;
        }
        if self.join.is_some() {
            return self.take_joined(model);
        }
        let RecordFeed {
            intake,
            images,
            inputs,
            known,
            hashed,
            position,
            counts,
            dead,
            acknowledged,
            ..
        } = self;
        let mut taken = false;
        while !taken {
            let more = intake.take(|record, item| {
                match item {
                    Item::Nothing => {}
                    Item::Header(schema) => known.schema = Some(schema.clone()),
                    Item::Bad(bad) => {
                        counts.bad += 1;
                        write_dead_letter(dead, &record, bad)?;
                    }
                    Item::Event(event) => {
                        taken = true;
                        let put = match model {
                            Model::Network(learner) => {
                                put(known, images.as_ref(), inputs, event, learner, i)?
                            }
                            Model::Linear(learner) => {
                                give(&mut known.labels, hashed, event, learner)?
                            }
                        };
                        match put {
                            Put::Labelled => counts.events += 1,
                            Put::Unlabelled => {
                                counts.events += 1;
                                counts.unlabelled += 1;
                                if let Model::Network(learner) = model {
                                    learner.unlabelled(i);
                                }
                            }
                            Put::Bad(bad) => {
                                counts.bad += 1;
                                write_dead_letter(dead, &record, &bad)?;
                                if let Model::Network(learner) = model {
                                    learner.leave_out(i);
                                }
                            }
                        }
                    }
                }
                position.take(&record);
                *acknowledged = record.acknowledged;
                Ok(())
            })?;
            if !more {
                return Err(Error::Run("an event was lost in the queue; please report it".into()));
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let RecordFeed { intake, known, position, counts, dead, .. } = self;
        while intake.take(|record, item| {
            match item {
                Item::Bad(bad) => {
                    counts.bad += 1;
                    write_dead_letter(dead, &record, bad)?;
                }
                Item::Header(schema) => known.schema = Some(schema.clone()),
                Item::Nothing | Item::Event(_) => {}
            }
            position.take(&record);
            Ok(())
        })? {}
        Ok(())
    }

    fn position(&self) -> &Position {
        &self.position
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    fn joins(&self) -> bool {
        self.join.is_some()
    }

    fn ready(&self) -> usize {
        self.join.as_ref().map_or(0, Join::num_ready)
    }

    fn give(&mut self, learner: &mut Model, i: usize) -> Result<()> {
        match &mut self.join {
            Some(join) => join.give(learner, &mut self.counts, i),
            None => Ok(()),
        }
    }

    fn settle(&mut self, learner: &mut Model) -> Result<()> {
        self.join.as_mut().map_or(Ok(()), |join| join.settle(learner))
    }

    fn stepped(&mut self) {
        if let Some(join) = &mut self.join {
            join.stepped();
        }
    }

    fn save_waiting(&mut self, step: u64) -> Result<Option<Waiting>> {
        self.join.as_mut().map(|join| join.save(step)).transpose()
    }

    fn label_counts(&self) -> Option<JoinCounts> {
        self.join.as_ref().map(Join::counts)
    }

    fn commit(&self, position: Position) {
        self.intake.reader().commit(position);
    }

    fn shed(&self) -> u64 {
        self.intake.reader().counters().shed
    }

    fn learned(&self) -> Known {
        self.known.clone()
    }

    fn dead(&self) -> super::journal::JournalMark {
        self.dead.mark()
    }
}

/// A dataset whose samples come one after the other, such as a folder of images.
pub struct DataFeed {
    data: Arc<dyn Dataset>,
    order: Order,
    position: Position,
    counts: Counts,
    /// Samples a second; as fast as they are learned from if none.
    rate: Option<f64>,
    start: Instant,
    first: u64,
    /// The sample in hand.
    one: Batch,
    known: Known,
    /// What targets 0 and 1 are in the units of the labels, where those were scaled.
    scale: Option<(f64, f64)>,
}

impl DataFeed {
    /// One pass over `data` after `position`; `known` is what the run knows of columns and labels.
    pub fn new(
        data: Arc<dyn Dataset>,
        order: Order,
        rate: Option<f64>,
        position: Position,
        counts: Counts,
        known: Known,
    ) -> DataFeed {
        let known = data.known().cloned().unwrap_or(known);
        let scale = known.labels.as_ref().map(|l| (l.unscale(0.0), l.unscale(1.0)));
        let scale = scale.filter(|scale| *scale != (0.0, 1.0));
        let one = Batch::new(data.info().signature.clone());
        let first = position.mark("").unwrap_or_default().major;
        let start = Instant::now();
        DataFeed { data, order, position, counts, rate, start, first, one, known, scale }
    }

    fn next(&self) -> u64 {
        self.position.mark("").unwrap_or_default().major
    }

    /// Samples that are due by now.
    fn due(&self) -> u64 {
        let len = self.data.len() as u64;
        match self.rate {
            None => len,
            Some(rate) => {
                let passed = (self.start.elapsed().as_secs_f64() * rate) as u64;
                (self.first + passed).min(len)
            }
        }
    }
}

impl Feed for DataFeed {
    fn fill(&mut self, wait: Duration) -> Result<Filled> {
        // Waits for one more sample than are due by now; without a rate all of them are.
        let due = self.due().max(self.next());
        let Some(rate) = self.rate.filter(|_| due < self.data.len() as u64) else {
            return Ok(Filled::End);
        };
        let until = Duration::from_secs_f64((due + 1 - self.first) as f64 / rate);
        std::thread::sleep(until.saturating_sub(self.start.elapsed()).min(wait));
        Ok(if self.due() > due { Filled::Some } else { Filled::Idle })
    }

    fn waiting(&self) -> usize {
        (self.due() - self.next().min(self.due())) as usize
    }

    fn take(&mut self, model: &mut Model, i: usize) -> Result<()> {
        let Model::Network(learner) = model else {
            return Err(Error::Usage(
                "a dataset has no hashed features: give online.linear a stream of records".into(),
            ));
        };
        let at = self.next();
        let index = self.order.epoch(0, self.data.len()).index(at as usize);
        let one = &mut self.one;
        one.resize(1);
        let mut row = one.row_mut(0);
        row.set_weight(1.0);
        self.data.fill(index, &mut row)?;
        let skipped = row.skipped() > 0;
        drop(row);
        learner.take(i, one, 0)?;
        if let (Some((mean, of_one)), Truth::Values(&[target])) = (self.scale, one.truth(0)) {
            let deviation = of_one - mean;
            let target = f64::from(target) * deviation + mean;
            learner.set_scale(i, Scale { mean, deviation, target });
        }
        match (skipped, one.truth(0)) {
            (true, _) => self.counts.bad += 1,
            (false, Truth::Unknown) => {
                self.counts.events += 1;
                self.counts.unlabelled += 1;
            }
            (false, _) => self.counts.events += 1,
        }
        self.position.advance("", Mark { major: at + 1, minor: 0 });
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    fn position(&self) -> &Position {
        &self.position
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn commit(&self, _position: Position) {}

    fn learned(&self) -> Known {
        self.known.clone()
    }

    fn dead(&self) -> super::journal::JournalMark {
        Default::default()
    }
}
