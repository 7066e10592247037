//! What was predicted for each event before it was learned from: `learn --predictions FILE`.

use std::path::Path;

use tidemill_engine::error::{Error, Result};
use tidemill_engine::fields::Truth;
use tidemill_engine::metrics::Task;
use tidemill_engine::nn::Answer;
use tidemill_recipe::stream::Value;
use tidemill_recipe::stream::features::Labels;

use crate::journal::{Journal, JournalMark};
use crate::model::StreamModel;
use crate::sample::{Sample, Scale};

/// A file with a line of CSV for each event. Like the other files of a run it is cut at the last
/// checkpoint when that is resumed, so that each event has one line.
pub(crate) struct Predictions {
    journal: Journal,
    task: Task,
    /// The events of the step under way.
    step: Vec<Event>,
    /// Names of the classes, as of the last look.
    names: Vec<String>,
}

/// An event of the step under way.
struct Event {
    /// Its place in the step.
    place: usize,
    /// Its number, from 1.
    number: u64,
    id: String,
    label: String,
    scale: Scale,
}

impl Predictions {
    /// Continues at `mark`; a file that is not there is begun.
    ///
    /// # Errors
    /// If the file cannot be written, or is not as long as it was.
    pub(crate) fn open(path: &Path, mark: JournalMark, task: Task) -> Result<Predictions> {
        let mark = if path.exists() { mark } else { JournalMark::default() };
        let journal = Journal::open(path, mark, u64::MAX)?;
        let mut predictions = Predictions { journal, task, step: Vec::new(), names: Vec::new() };
        if mark.bytes == 0 {
            let probability = if task.has_classes() { ",probability" } else { "" };
            predictions.journal.write_text(&format!("event,id,label,prediction{probability}"))?;
        }
        Ok(predictions)
    }

    /// Begins a step.
    pub(crate) fn start(&mut self) {
        self.step.clear();
    }

    /// Event `number` is at `place` of the step. `scale` is how targets were scaled before it.
    pub(crate) fn event(
        &mut self,
        place: usize,
        number: u64,
        given: Option<(Value<'_>, Value<'_>)>,
        sample: &Sample<'_>,
        scale: Scale,
    ) {
        let (id, label) = match (given, sample.truth) {
            (Some((id, label)), _) => (text(id), text(label)),
            (None, Truth::Class(class)) => (String::new(), self.name(class)),
            (None, Truth::Values(values)) => {
                let unscaled = |v: &f32| scale.value(*v).unwrap_or_default().to_string();
                (String::new(), values.iter().map(unscaled).collect::<Vec<_>>().join(" "))
            }
            (None, Truth::Unknown | Truth::Classes(_)) => Default::default(),
        };
        self.step.push(Event { place, number, id, label, scale });
    }

    /// The step was taken: writes its lines.
    pub(crate) fn write(&mut self, model: &dyn StreamModel, labels: Option<&Labels>) -> Result<()> {
        let width = model.num_outputs().max(1);
        for event in std::mem::take(&mut self.step) {
            let outputs = model.predicted(event.place);
            let mut line =
                format!("{},{},{}", event.number, quoted(&event.id), quoted(&event.label));
            if !self.task.has_classes() {
                let value =
                    |v: &f32| event.scale.value(*v).map_or_else(String::new, |v| v.to_string());
                line += &format!(",{}", outputs.iter().map(value).collect::<Vec<_>>().join(" "));
            } else {
                // Of a sequence, the classes of its positions and the least of their probabilities.
                let (mut classes, mut least) = (Vec::new(), 1.0_f32);
                for row in outputs.chunks_exact(width) {
                    if let Answer::Class { class, probability } = self.task.answer(row) {
                        if class >= self.names.len() {
                            self.names = labels.map(Labels::names).unwrap_or_default();
                        }
                        classes.push(self.name(class));
                        least = least.min(probability);
                    }
                }
                line += &format!(",{},{least}", quoted(&classes.join(" ")));
            }
            self.journal.write_text(&line)?;
        }
        Ok(())
    }

    fn name(&self, class: usize) -> String {
        self.names.get(class).cloned().unwrap_or_else(|| class.to_string())
    }

    /// The names of the classes of a dataset.
    pub(crate) fn set_names(&mut self, names: Vec<String>) {
        self.names = names;
    }

    /// Where the file stands.
    pub(crate) fn mark(&self) -> JournalMark {
        self.journal.mark()
    }
}

fn text(value: Value<'_>) -> String {
    match value {
        Value::Missing => String::new(),
        Value::Number(n) => n.to_string(),
        Value::Text(text) => text.to_owned(),
    }
}

/// A field of CSV.
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

/// Refuses a file that is what the events come from.
///
/// # Errors
/// If it is.
pub(crate) fn check(path: &Path, from: &str) -> Result<()> {
    let from = from.trim_start_matches("file:").trim_start_matches("tail:");
    match (path.canonicalize(), Path::new(from).canonicalize()) {
        (Ok(a), Ok(b)) if a == b => Err(Error::Usage(format!(
            "--predictions {}: is what the events are read from; name another file",
            path.display()
        ))),
        _ => Ok(()),
    }
}
