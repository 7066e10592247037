//! Events for TensorBoard (`event.proto`, `summary.proto`) in records of TFRecord, with the names that Keras's callback gives them: `epoch_loss`, `epoch_learning_rate`,
//! `batch_loss`, histograms by parameter, and the recipe as a text; training and validation are runs beside each other.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tidemill_engine::checkpoint::{EpochFigures, LogState};
use tidemill_engine::error::Result;
use tidemill_engine::metrics::Figures;

use super::appended::Appended;
use crate::protobuf::Message;

/// The files of training and of validation.
const TRAIN: &str = "tensorboard/train/events.out.tfevents.0000000000.tidemill";
const VALIDATION: &str = "tensorboard/validation/events.out.tfevents.0000000000.tidemill";

/// Buckets of a histogram.
const BUCKETS: usize = 30;

/// What TensorBoard reads of a run.
pub(super) struct Events {
    train: Appended,
    /// Once there are figures of it.
    validation: Option<Appended>,
    run: std::path::PathBuf,
}

impl Events {
    /// Opens the files; epochs of which they know nothing, such as those before events were wanted, are added.
    pub(super) fn open(
        run: &Path,
        recipe: &str,
        state: &LogState,
        history: &[EpochFigures],
    ) -> Result<Events> {
        let train = Appended::open(run, TRAIN, state)?;
        let validation = match state.lengths.contains_key(VALIDATION) {
            true => Some(Appended::open(run, VALIDATION, state)?),
            false => None,
        };
        let mut events = Events { train, validation, run: run.to_owned() };
        if events.train.len() == 0 {
            events.validation = None;
            begin(&mut events.train)?;
            let text = format!("```toml\n{recipe}\n```");
            let value = Message::new()
                .text(1, "recipe")
                .message(8, &string(&text))
                .message(9, &plugin("text"));
            event(&mut events.train, 0, value)?;
            history.iter().try_for_each(|epoch| events.epoch(epoch))?;
        }
        Ok(events)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &Appended> {
        std::iter::once(&self.train).chain(&self.validation)
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.train.flush()?;
        self.validation.as_mut().map_or(Ok(()), Appended::flush)
    }

    /// Figures of a step.
    pub(super) fn step(&mut self, step: u64, figures: &[(&str, f64)]) -> Result<()> {
        figures.iter().try_for_each(|(name, value)| scalar(&mut self.train, step, name, *value))
    }

    /// Figures of an epoch.
    pub(super) fn epoch(&mut self, epoch: &EpochFigures) -> Result<()> {
        let all = |file: &mut Appended, figures: &Figures| {
            let mut each = figures.iter();
            each.try_for_each(|(name, value)| {
                scalar(file, epoch.epoch, &format!("epoch_{name}"), *value)
            })
        };
        all(&mut self.train, &epoch.train)?;
        scalar(&mut self.train, epoch.epoch, "epoch_learning_rate", epoch.learning_rate)?;
        if epoch.validation.is_empty() {
            return Ok(());
        }
        let file = match &mut self.validation {
            Some(file) => file,
            none => {
                let mut file = Appended::open(&self.run, VALIDATION, &LogState::default())?;
                begin(&mut file)?;
                none.insert(file)
            }
        };
        all(file, &epoch.validation)
    }

    /// The values of a parameter.
    pub(super) fn histogram(&mut self, epoch: u64, name: &str, values: &[f32]) -> Result<()> {
        let value =
            Message::new().text(1, &format!("{name}/histogram")).message(5, &buckets(values));
        event(&mut self.train, epoch, value)
    }

    /// An image as PNG, whose size is in its header.
    pub(super) fn image(&mut self, name: &str, png: &[u8]) -> Result<()> {
        let size = |at: usize| {
            let bytes = png.get(at..at + 4).and_then(|b| b.try_into().ok()).unwrap_or_default();
            i64::from(u32::from_be_bytes(bytes))
        };
        let image = Message::new().int(1, size(20)).int(2, size(16));
        let image = image.int(3, 3).bytes(4, png);
        event(&mut self.train, 0, Message::new().text(1, name).message(4, &image))
    }
}

/// The first record of a file.
fn begin(file: &mut Appended) -> Result<()> {
    let message = Message::new().double(1, now()).text(3, "brain.Event:2");
    file.write(&record(message))
}

/// Writes `Summary.Value` as an event.
fn event(file: &mut Appended, step: u64, value: Message) -> Result<()> {
    let summary = Message::new().message(1, &value);
    let message = Message::new().double(1, now()).int(2, step as i64).message(5, &summary);
    file.write(&record(message))
}

fn scalar(file: &mut Appended, step: u64, name: &str, value: f64) -> Result<()> {
    event(file, step, Message::new().text(1, name).float(2, value as f32))
}

/// A `TensorProto` of one string.
fn string(text: &str) -> Message {
    let shape = Message::new().message(2, &Message::new().int(1, 1));
    Message::new().int(1, 7).message(2, &shape).text(8, text)
}

/// `SummaryMetadata`: what shows the value.
fn plugin(name: &str) -> Message {
    Message::new().message(1, &Message::new().text(1, name))
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// `HistogramProto` of the finite ones of these values, in buckets of the same width.
fn buckets(values: &[f32]) -> Message {
    let finite = || values.iter().map(|&v| f64::from(v)).filter(|v| v.is_finite());
    let (least, most) =
        finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    let mut counts = vec![0.0; BUCKETS];
    let width = ((most - least) / BUCKETS as f64).max(f64::MIN_POSITIVE);
    for v in finite() {
        (sum, squares, count) = (sum + v, squares + v * v, count + 1.0);
        counts[(((v - least) / width) as usize).min(BUCKETS - 1)] += 1.0;
    }
    if count == 0.0 {
        return Message::new().doubles(6, &[0.0]).doubles(7, &[0.0]);
    }
    let limits: Vec<f64> = (1..=BUCKETS).map(|i| least + width * i as f64).collect();
    let message = Message::new().double(1, least).double(2, most).double(3, count);
    message.double(4, sum).double(5, squares).doubles(6, &limits).doubles(7, &counts)
}

/// A record of TFRecord: the length and the bytes of a message, each with a sum.
fn record(message: Message) -> Vec<u8> {
    let bytes = message.into_bytes();
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), &bytes, &masked(&bytes)].concat()
}

/// TFRecord's sum: CRC-32C, turned and shifted, so that sums of data with sums in them stay good.
fn masked(bytes: &[u8]) -> [u8; 4] {
    let sum = crc32c::crc32c(bytes);
    sum.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}
