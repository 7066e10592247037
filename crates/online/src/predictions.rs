//! What was predicted for each event before it was learned from: `learn --predictions FILE`.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tidemill_engine::checkpoint::files::start_of;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::fields::Truth;
use tidemill_engine::metrics::Task;
use tidemill_recipe::stream::Value;
use tidemill_recipe::stream::features::{Labels, Sets};

use crate::journal::{Journal, JournalMark};
use crate::model::StreamModel;
use crate::sample::{Sample, Scale};

/// What the first line begins with.
const HEADER: &str = "event,id,label,prediction";

/// A file with a line of CSV for each event. Like the other files of a run it is cut at the last
/// checkpoint when that is resumed, so that each event has one line.
pub(crate) struct Predictions {
    path: PathBuf,
    /// Opened with the first line of a new file.
    journal: Option<Journal>,
    /// What a user should know of the file that was found.
    note: Option<String>,
    task: Task,
    /// The events of the step under way.
    step: Vec<Event>,
    /// Names of the classes of the training before.
    class_names: Vec<String>,
    /// How many outputs had a class when that was looked at last, and what was known then.
    known: (usize, Option<Rc<Labels>>),
}

/// An event of the step under way.
struct Event {
    /// Its place in the step.
    place: usize,
    /// Its number, from 1.
    number: u64,
    id: String,
    /// None where it is missing.
    label: Option<String>,
    /// The class of a sample of a dataset, in place of its label.
    class: Option<usize>,
    scale: Scale,
    /// What was known of labels before it.
    known: Option<Rc<Labels>>,
}

impl Predictions {
    /// Continues at `mark`, after so many events; a file that is not there is begun. One that is there stays as it is until the
    /// first line is written: a start that fails costs nobody a file.
    ///
    /// # Errors
    /// If the file cannot be written, or is not as long as it was.
    pub(crate) fn open(
        path: &Path,
        (mark, events): (JournalMark, u64),
        task: Task,
        class_names: Vec<String>,
    ) -> Result<Predictions> {
        let is_there = path.exists();
        let is_open = mark.bytes > 0 && is_there;
        let journal = is_open.then(|| Journal::open(path, mark, u64::MAX)).transpose()?;
        let shown = path.display();
        // But for the header, a line is an event.
        let lacks = events.saturating_sub(if is_open { mark.lines.saturating_sub(1) } else { 0 });
        let note = match () {
            () if mark.bytes > 0 && !is_there => Some(format!(
                "{shown}: is not there, and had the events before the checkpoint: it begins again"
            )),
            () if lacks == 0 => None,
            () if is_open => Some(format!(
                "{shown}: has no line of {lacks} of the {events} events before, which were learned from without --predictions"
            )),
            () => Some(format!(
                "{shown}: begins with event {}, since those before were learned from without --predictions",
                events + 1
            )),
        };
        let (path, step) = (path.to_owned(), Vec::new());
        let known = (0, None);
        let mut predictions = Predictions { path, journal, note, task, step, class_names, known };
        if is_there {
            let open = OpenOptions::new().append(true).open(&predictions.path);
            open.map_err(|e| Error::write(&predictions.path, e))?;
        } else {
            predictions.journal()?;
        }
        Ok(predictions)
    }

    /// The file, which is begun where it is new.
    fn journal(&mut self) -> Result<&mut Journal> {
        if let Some(ref mut journal) = self.journal {
            return Ok(journal);
        }
        let mut journal = Journal::open(&self.path, JournalMark::default(), u64::MAX)?;
        let probability = if self.task.has_classes() { ",probability" } else { "" };
        journal.write_text(&format!("{HEADER}{probability}"))?;
        Ok(self.journal.insert(journal))
    }

    /// Begins a step.
    pub(crate) fn start(&mut self) {
        self.step.clear();
    }

    /// What is known of labels before the next event.
    pub(crate) fn look(&mut self, labels: Option<&Labels>) {
        let taken = labels.map_or(0, Labels::num_taken);
        if taken != self.known.0 || labels.is_some() != self.known.1.is_some() {
            self.known = (taken, labels.cloned().map(Rc::new));
        }
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
        let class = match (given, sample.truth) {
            (None, Truth::Class(class)) => Some(class),
            _ => None,
        };
        let (id, label) = match (given, sample.truth) {
            (Some((id, label)), _) => (text(id).unwrap_or_default(), text(label)),
            (None, Truth::Values(values)) => {
                let unscaled = |v: &f32| scale.value(*v).unwrap_or_default().to_string();
                let values: Vec<String> = values.iter().map(unscaled).collect();
                (String::new(), Some(values.join(" ")))
            }
            (None, _) => Default::default(),
        };
        let known = self.known.1.clone();
        self.step.push(Event { place, number, id, label, class, scale, known });
    }

    /// The step was taken: writes its lines. What is predicted are classes that were known before the event.
    pub(crate) fn write(&mut self, model: &dyn StreamModel) -> Result<()> {
        let width = model.num_outputs();
        for event in std::mem::take(&mut self.step) {
            let (outputs, labels) = (model.predicted(event.place), event.known.as_deref());
            let separator = labels.and_then(Labels::separator);
            let label = match (event.class, separator) {
                (Some(class), _) => self.name(class, labels).unwrap_or_else(|| class.to_string()),
                (None, Some(separator)) => event.label.map_or_else(String::new, set(separator)),
                (None, None) => event.label.unwrap_or_default(),
            };
            let mut line = format!("{},{},{}", event.number, quoted(&event.id), quoted(&label));
            if !self.task.has_classes() {
                let value =
                    |v: &f32| event.scale.value(*v).map_or_else(String::new, |v| v.to_string());
                line += &format!(",{}", outputs.iter().map(value).collect::<Vec<_>>().join(" "));
            } else {
                let name = |class| self.name(class, labels);
                let class = self.task.class_in_words(outputs, width, separator, name);
                let class = class.map(|(class, probability)| match separator {
                    Some(separator) => (set(separator)(class), probability),
                    None => (class, probability),
                });
                line += &match class {
                    Some((class, probability)) => format!(",{},{probability}", quoted(&class)),
                    // No class is known yet.
                    None => ",,".to_owned(),
                };
            }
            self.journal()?.write_text(&line)?;
        }
        Ok(())
    }

    fn name(&self, class: usize, labels: Option<&Labels>) -> Option<String> {
        Labels::class_of(labels, class, &self.class_names)
    }

    /// The file, once it has a line.
    pub(crate) fn opened(&mut self) -> Option<&mut Journal> {
        self.journal.as_mut()
    }

    /// What a user should know of the file that was found; once.
    pub(crate) fn take_note(&mut self) -> Option<String> {
        self.note.take().or_else(|| self.journal.as_mut()?.take_note())
    }

    /// Where the file stands.
    pub(crate) fn mark(&self) -> JournalMark {
        self.journal.as_ref().map(Journal::mark).unwrap_or_default()
    }
}

/// A set as it is written: the empty one, which is not a missing label, as the separator alone.
fn set(separator: char) -> impl Fn(String) -> String {
    move |text| match Sets::canonical(&text, separator) {
        empty if empty.is_empty() => separator.to_string(),
        set => set,
    }
}

fn text(value: Value<'_>) -> Option<String> {
    match value {
        Value::Missing => None,
        Value::Number(n) => Some(n.to_string()),
        Value::Text(text) => Some(text.to_owned()),
    }
}

/// A field of CSV.
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

/// Refuses a file that is what the events come from, and one that holds something else than predictions, such as a table or a
/// recipe.
///
/// # Errors
/// If it is one of these, or cannot be read.
pub(crate) fn check(path: &Path, from: &str) -> Result<()> {
    let from = from.trim_start_matches("file:").trim_start_matches("tail:");
    match (path.canonicalize(), Path::new(from).canonicalize()) {
        (Ok(a), Ok(b)) if a == b => Err(Error::Usage(format!(
            "--predictions {}: is what the events are read from; name another file",
            path.display()
        ))),
        _ => check_replaced(path),
    }
}

/// Refuses a file that holds something else than predictions.
fn check_replaced(path: &Path) -> Result<()> {
    match start_of(path, HEADER.len())? {
        Some(start) if start != HEADER.as_bytes() => Err(Error::Usage(format!(
            "--predictions {}: exists and holds something else than predictions (its first line is not `{HEADER}`); name another \
             file, or remove it",
            path.display()
        ))),
        _ => Ok(()),
    }
}
