//! The events that all modes see: rows and labels in memory, in their order or shuffled.

use std::path::Path;
use std::time::Duration;

use tidemill_engine::data::{Batch, Order};
use tidemill_engine::nn::Targets as Wanted;
use tidemill_recipe::stream::{OpenOptions, QueueOptions, Reader, decoder, open};

use tidemill_engine::error::Result;
use tidemill_engine::prequential::Truth;
use tidemill_online::OnlineSpec;
use tidemill_online::error::stream_error;
use tidemill_online::feed::{Counts, DataFeed, Feed, RecordFeed};
use tidemill_online::images::Images;
use tidemill_online::intake::{Filled, Intake};
use tidemill_online::journal::{Journal, JournalMark};
use tidemill_online::learner::{Learner, Scale};
use tidemill_online::model::Model;
use tidemill_online::run::dataset;
use tidemill_recipe::RecipeFile;
use tidemill_recipe::data::shaped;

/// How long reading waits for more before it looks again.
const WAIT: Duration = Duration::from_millis(50);
/// Bytes of `dead-letter.jsonl` at most.
const JOURNAL_BYTES: u64 = 16 << 20;

/// A stream, encoded once: each row as it was encoded when its event came (test, then train), so that
/// all modes are given the same.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// Values of a row.
    pub width: usize,
    /// Targets of an event; 0 where labels are classes by number.
    pub num_targets: usize,
    /// `[len, width]`
    pub x: Vec<f32>,
    /// `[len]`, or nothing where events have targets.
    pub labels: Vec<i32>,
    /// `[len, num_targets]`
    pub targets: Vec<f32>,
    /// How targets were scaled.
    pub scales: Vec<Option<Scale>>,
    /// `[len]`
    pub weights: Vec<f32>,
    /// Events without a label, which nothing can be measured on.
    pub unlabelled: u64,
    /// Records set aside.
    pub bad: u64,
    /// Whether the source has more events than were read.
    pub cut: bool,
}

/// How much is read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Events at most.
    pub events: usize,
    /// Bytes of rows at most.
    pub bytes: u64,
}

impl Events {
    /// Reads a stream, a folder of images, or `data:`, the recipe's training data in its stored order;
    /// what cannot be read goes to `dead-letter.jsonl` in `folder`.
    ///
    /// # Errors
    /// If the recipe does not fit the stream, or nothing can be read.
    pub fn read(file: &RecipeFile, from: &str, limits: Limits, folder: &Path) -> Result<Events> {
        let mut file = file.clone();
        file.recipe.online.batch_size = 1;
        file.recipe.online.max_batch = None;
        let mut model = Model::build(&file, Some(1), None)?;
        let mut feed = feed(&file, from, folder, &model)?;
        let mut events = Events::default();
        if let Model::Network(learner) = &model {
            events.width = learner.engine().sample_len();
            if learner.engine().spec().loss.targets() == Wanted::Dense {
                events.num_targets = learner.engine().num_outputs();
            }
        }
        let row = 4 * (events.width + events.num_targets + 8) as u64;
        let most = limits.events.min((limits.bytes / row) as usize).max(1);
        loop {
            let ended = feed.fill(WAIT)? == Filled::End;
            while feed.waiting() > 0 && events.len() < most {
                model.start(1);
                feed.take(&mut model, 0)?;
                if let Model::Network(learner) = &model {
                    events.push(learner);
                }
            }
            if events.len() == most {
                events.cut = feed.waiting() > 0 || feed.fill(WAIT)? == Filled::Some;
                break;
            }
            if ended {
                break;
            }
        }
        if !events.cut {
            feed.finish()?;
        }
        let counts = feed.counts();
        (events.unlabelled, events.bad) = (counts.unlabelled, counts.bad);
        Ok(events)
    }

    fn push(&mut self, learner: &Learner) {
        let (batch, scale) = learner.given();
        if batch.weights.first().is_none_or(|&w| w == 0.0) {
            return;
        }
        self.x.extend_from_slice(&batch.x);
        match self.num_targets {
            0 => self.labels.extend_from_slice(&batch.labels),
            _ => self.targets.extend_from_slice(&batch.targets),
        }
        self.weights.extend_from_slice(&batch.weights);
        self.scales.push(scale);
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// Bytes of so many events in memory.
    pub fn bytes(&self, len: usize) -> u64 {
        (len * 4 * (self.width + self.num_targets.max(1) + 1)) as u64
    }

    /// What is true of event `i`.
    pub fn truth(&self, i: usize) -> Truth<'_> {
        match self.num_targets {
            0 => Truth::Class(self.labels[i] as usize),
            n => Truth::Values(&self.targets[i * n..(i + 1) * n]),
        }
    }

    /// The inputs of event `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.x[i * self.width..(i + 1) * self.width]
    }
}

/// The events in their order, or in another.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// All of them.
    pub events: &'a Events,
    /// The event at each place; none for the order in which they came.
    order: Option<Vec<u32>>,
}

impl<'a> View<'a> {
    /// As they came.
    pub fn ordered(events: &'a Events) -> View<'a> {
        View { events, order: None }
    }

    /// As if time had no say.
    pub fn shuffled(events: &'a Events, seed: u64) -> View<'a> {
        let epoch = Order::Shuffled { seed }.epoch(0, events.len());
        let order = (0..events.len()).map(|i| epoch.index(i) as u32).collect();
        View { events, order: Some(order) }
    }

    /// Whether it is in the order in which the events came.
    pub fn is_ordered(&self) -> bool {
        self.order.is_none()
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The event at a place.
    pub fn at(&self, place: usize) -> usize {
        self.order.as_ref().map_or(place, |o| o[place] as usize)
    }

    /// Fills a batch with the events at these places.
    pub fn fill(&self, places: impl ExactSizeIterator<Item = usize>, batch: &mut Batch) {
        batch.len = places.len();
        batch.x.clear();
        batch.labels.clear();
        batch.targets.clear();
        batch.weights.clear();
        let events = self.events;
        for i in places.map(|place| self.at(place)) {
            batch.x.extend_from_slice(events.row(i));
            match events.truth(i) {
                Truth::Class(class) => batch.labels.push(class as i32),
                Truth::Values(values) => batch.targets.extend_from_slice(values),
            }
            batch.weights.push(events.weights[i]);
        }
    }
}

fn feed(file: &RecipeFile, from: &str, folder: &Path, model: &Model) -> Result<Box<dyn Feed>> {
    let (position, counts) = Default::default();
    if from == "data:" || Path::new(from).is_dir() {
        let data = shaped(&dataset(file, from, None)?, file, model.num_outputs());
        return Ok(Box::new(DataFeed::new(
            data,
            Order::Sequential,
            None,
            position,
            counts,
            Default::default(),
        )));
    }
    let (recipe, spec) = (&file.recipe, &file.recipe.online);
    let format = recipe.stream.format_of(from).map_err(stream_error)?;
    let arrow = format == tidemill_recipe::stream::Format::Arrow;
    let source = open(from, &OpenOptions { arrow, ..OpenOptions::default() });
    let source = source.map_err(stream_error)?;
    let decoder = decoder(&file.stream_format(format)?, format, None).map_err(stream_error)?;
    let queue =
        QueueOptions { bytes: spec.queue_bytes, policy: tidemill_recipe::stream::Policy::Block };
    let reader = Reader::spawn(source, queue).map_err(stream_error)?;
    let intake = Intake::new(reader, decoder)?;
    let dead = folder.join("dead-letter.jsonl");
    let dead = Journal::open(&dead, JournalMark::default(), JOURNAL_BYTES)?;
    let stored = Path::new(from.trim_start_matches("file:")).is_file();
    let images = Images::of(file)?;
    let names = spec.classes.clone().unwrap_or_default();
    let spec = OnlineSpec { features: file.features()?, ..spec.clone() };
    let mut feed = RecordFeed::new(intake, images, spec, recipe.task(), stored, names, dead);
    feed.restore(Default::default(), position, Counts::default());
    Ok(Box::new(feed))
}
