//! Events encoded: inputs for a network or features for a linear model, and labels.

use std::collections::BTreeSet;

use tidemill_engine::data::{Known, TableInputs};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::fields::{Batch, Truth};
use tidemill_engine::nn::LossSpec;
use tidemill_recipe::RecipeFile;
use tidemill_recipe::stream::features::{Encoder, FreedRow, HashedColumns, Label, Labels};
use tidemill_recipe::stream::{
    BadEvent, Event, Events, FormatSpec, Look, Note, Schema, Understood, Value,
};

use crate::ahead::{Ahead, Encoded};
use crate::fitting::Fitting;
use crate::images::Images;
use crate::model::{StreamModel, Takes};
use crate::sample::{Inputs, Sample, Scale, truth_of};
use crate::weights::ClassWeights;

/// Encodes the events of a stream, and learns how from them as they come.
pub struct Encoding {
    fitting: Fitting,
    loss: LossSpec,
    takes: Takes,
    images: Option<Images>,
    /// What the model's named inputs read of an event.
    inputs: TableInputs,
    known: Known,
    /// How records are written, as it was found, and what a look at the start of the file has shown.
    format: FormatSpec,
    looked: Option<(Events, BTreeSet<String>)>,
    notes: Vec<Note>,
    hints: Vec<Note>,
    /// Whether this run has seen its first events.
    prepared: bool,
    /// How a linear model sees events.
    hashed: Option<HashedColumns>,
    class_weights: ClassWeights,
    /// The event in hand, as a network takes it.
    one: Batch,
    label: Option<Label>,
    freed: Vec<FreedRow>,
}

/// A record that is set aside; an error of the run is another thing.
pub(crate) type OrBad<T> = Result<std::result::Result<T, BadEvent>>;

/// Gives up on a record, not on the stream.
macro_rules! good {
    ($value:expr) => {
        match $value {
            Ok(value) => value,
            Err(bad) => return Ok(Err(bad)),
        }
    };
}
pub(crate) use good;

impl Encoding {
    /// Encodes for a model as the recipe says. `class_names` are those of batch training before.
    ///
    /// # Errors
    /// If the recipe names images and its model takes none.
    pub fn new(
        file: &RecipeFile,
        model: &dyn StreamModel,
        class_names: Vec<String>,
    ) -> Result<Encoding> {
        let takes = model.takes();
        let mut one = match &takes {
            Takes::Fields(signature) => Batch::new(signature.clone()),
            Takes::Features => Batch::default(),
        };
        one.resize(1);
        Ok(Encoding {
            fitting: Fitting::new(file, model, class_names)?,
            loss: file.recipe.training.loss.clone(),
            takes,
            images: Images::of(file)?,
            inputs: file.table_inputs(),
            known: Known::default(),
            format: FormatSpec::default(),
            looked: None,
            notes: Vec::new(),
            hints: Vec::new(),
            prepared: false,
            hashed: None,
            class_weights: ClassWeights::of_recipe(file),
            one,
            label: None,
            freed: Vec::new(),
        })
    }

    /// Continues with what an earlier run has learned of columns and labels.
    pub fn restore(&mut self, known: Known) {
        self.known = known;
    }

    /// Takes over how the records are written, and what was seen at the start of their file.
    pub(crate) fn set_format(&mut self, format: FormatSpec, look: Option<Look>) {
        self.format = format;
        if let Some(look) = look {
            self.notes = look.notes;
            self.hints = look.hints;
            self.looked = Some((look.events, look.labels));
        }
    }

    /// What columns and labels were taken for.
    pub fn understood(&self) -> Option<Understood> {
        let Known { schema, encoder, labels, samples, .. } = &self.known;
        let (encoder, labels) = (encoder.as_ref(), labels.as_ref());
        let mut now = Understood::new(&self.format, schema.as_ref()?, encoder, labels, None);
        for (column, sample) in now.columns.iter_mut().zip(samples) {
            column.sample.clone_from(sample);
        }
        Some(now)
    }

    /// What events must be like.
    pub(crate) fn fitting(&self) -> &Fitting {
        &self.fitting
    }

    /// Whether this run has taken columns and labels for something, at its first events.
    pub(crate) fn is_prepared(&self) -> bool {
        self.prepared
    }

    /// What a user should know of columns.
    pub fn notes(&self) -> Vec<Note> {
        let encoder = self.known.encoder.as_ref().map(Encoder::notes).unwrap_or_default();
        self.notes.iter().cloned().chain(encoder).collect()
    }

    /// What was learned of the records.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Rows consist of this from here on.
    pub fn set_schema(&mut self, schema: &Schema) {
        let mut schema = schema.clone();
        if let Some(before) = &self.known.schema {
            schema.remember(before);
        }
        self.known.schema = Some(schema);
    }

    /// Whether it is known what columns and labels are.
    pub(crate) fn is_ready(&self) -> bool {
        let inputs = self.images.is_some() || self.known.encoder.is_some() || self.hashed.is_some();
        inputs && self.known.labels.is_some()
    }

    /// Decides, at the first events, what their columns and labels are. Whether labels were guessed
    /// without having seen one.
    ///
    /// # Errors
    /// If the events do not fit the model.
    pub(crate) fn prepare(&mut self, events: &Events, schema: &Schema) -> Result<bool> {
        let (first, found) = match self.looked.take() {
            Some((first, found))
                if first.width() == (schema.columns.len(), schema.vector) && !first.is_empty() =>
            {
                (first, Some(found))
            }
            _ => {
                let mut first = events.clone();
                first.truncate(1);
                (first, None)
            }
        };
        match &self.takes {
            Takes::Features => {
                self.hashed = Some(self.fitting.hashed(schema)?);
            }
            Takes::Fields(_) => {
                if schema.sparse {
                    return Err(Error::Usage(
                        "the stream has sparse features, which a network cannot take: leave \
                         [model] out and set online.linear = { bits = 18 }"
                            .into(),
                    ));
                }
                if self.known.encoder.is_none() && self.images.is_none() {
                    let hints = Fitting::hints(self.notes.iter().chain(&self.hints));
                    self.known.encoder = Some(self.fitting.encoder(schema, &first, &hints)?);
                }
            }
        }
        let mut guessed = false;
        if self.known.labels.is_none() {
            let seen: Vec<_> = (0..first.len()).map(|i| first.get(i).label()).collect();
            let seen: Vec<_> = seen.into_iter().filter(|l| *l != Value::Missing).collect();
            self.known.labels = Some(self.fitting.labels(&seen, found.as_ref())?);
            guessed = seen.is_empty();
        }
        if self.known.schema.is_none() {
            self.known.schema = Some(schema.clone());
        }
        if self.known.samples.is_empty() {
            let Known { encoder, labels, .. } = &self.known;
            let (encoder, labels) = (encoder.as_ref(), labels.as_ref());
            let first = Understood::new(&self.format, schema, encoder, labels, Some(&first));
            self.known.samples = first.columns.into_iter().map(|column| column.sample).collect();
        }
        self.prepared = true;
        Ok(guessed)
    }

    /// Decides again what labels are, now that one was seen.
    pub(crate) fn see_label(&mut self, label: Value<'_>) -> std::result::Result<(), BadEvent> {
        if !self.known.labels.as_ref().is_some_and(Labels::is_known) {
            let labels = self.fitting.labels(&[label], None);
            self.known.labels = Some(labels.map_err(|e| BadEvent::new(e.to_string()))?);
        }
        Ok(())
    }

    /// An event as the model takes it, or why it is bad. Nothing is learned from a bad event.
    ///
    /// # Errors
    /// If nothing is known of the stream yet.
    pub(crate) fn encode<'a>(&'a mut self, event: Event<'a>) -> OrBad<Sample<'a>> {
        let Encoded { label, weight, scale, freed } = good!(self.encode_to(None, event)?);
        self.label = label;
        let Encoding { inputs, known, hashed, one, label, .. } = self;
        let inputs = good!(inputs_of(inputs, hashed, one, event));
        let truth = truth_of(label.as_ref());
        let encoder = known.encoder.as_ref();
        Ok(Ok(Sample { inputs, truth, weight, scale, scored: false, freed, encoder }))
    }

    /// The same with the inputs in a row of a batch, to be learned from later; without one, they are the
    /// event in hand.
    pub(crate) fn encode_to(
        &mut self,
        row: Option<(&mut Batch, usize)>,
        event: Event<'_>,
    ) -> OrBad<Encoded> {
        let mut weight = good!(self.check(event)?);
        let scaling = self.scaling();
        good!(self.encode_fields(row, event)?);
        let Encoding { known, freed, class_weights, .. } = self;
        let Some(labels) = &mut known.labels else { return Err(unknown()) };
        let label = good!(labels.encode(event.label()));
        let mut scale = None;
        match &label {
            None | Some(Label::Set(_)) => {}
            Some(Label::Class(class)) => weight *= class_weights.of(*class, || labels.names()),
            Some(Label::Value(_)) => {
                let target = Labels::number(event.label());
                scale = target.map(|target| Scale { target, ..scaling });
            }
        }
        Ok(Ok(Encoded { label, weight, scale, freed: std::mem::take(freed) }))
    }

    /// Room for events that are encoded ahead; none where a model takes something else than encoded columns.
    pub(crate) fn ahead(&self) -> Option<Ahead> {
        match &self.takes {
            Takes::Fields(signature) if self.images.is_none() => {
                Some(Ahead::new(signature.clone(), self.inputs.0.is_empty()))
            }
            _ => None,
        }
    }

    /// What the class of a sample that is not an event weighs; 1 where labels are no classes.
    pub(crate) fn class_weight(&mut self, truth: Truth<'_>) -> f32 {
        let Encoding { fitting, known, class_weights, .. } = self;
        let (task, class_names) = (fitting.task(), fitting.class_names());
        let class = if task.has_classes() { task.class(truth) } else { None };
        class.map_or(1.0, |class| class_weights.of(class, || names_of(known, class_names)))
    }

    /// The classes that the recipe has weights for and that have not come.
    pub(crate) fn weights_without_class(&self) -> Vec<&str> {
        self.class_weights.unknown(&names_of(&self.known, self.fitting.class_names()))
    }

    /// Encodes the fields of a network's inputs into a row of a batch, or into the event in hand.
    fn encode_fields(&mut self, row: Option<(&mut Batch, usize)>, event: Event<'_>) -> OrBad<()> {
        let Encoding { takes, images, inputs, known, hashed, one, freed, .. } = self;
        match (takes, images, &mut known.encoder) {
            (Takes::Features, ..) if hashed.is_some() => Ok(Ok(())),
            (Takes::Features, ..) => Err(unknown()),
            (Takes::Fields(_), Some(images), _) => Ok(match event.value(0) {
                Value::Text(text) => images.fill(text, one.x_mut(0)),
                _ => Err(BadEvent::new("the event has no image")),
            }),
            (Takes::Fields(_), None, Some(encoder)) => {
                let (batch, i) = row.unwrap_or((one, 0));
                let row = &mut batch.row_mut(i);
                let encoded = inputs.encode(encoder, known.schema.as_ref(), event, row);
                freed.extend(encoder.take_freed());
                Ok(encoded)
            }
            (Takes::Fields(_), None, None) => Ok(Err(BadEvent::fatal("its columns are not known"))),
        }
    }

    /// The weight of an event, if it and the label can be taken; nothing is learned from either.
    pub(crate) fn check(&self, event: Event<'_>) -> OrBad<f32> {
        let Some(labels) = &self.known.labels else { return Err(unknown()) };
        let weight = event.weight();
        if !(weight.is_finite() && weight >= 0.0) {
            return Ok(Err(BadEvent::new(format!("weight {weight} is not 0 or more"))));
        }
        let label = labels.check(event.label()).and_then(|()| self.in_range(event.label()));
        Ok(label.map(|()| weight))
    }

    /// An event whose label is taken later.
    pub(crate) fn encode_inputs<'a>(&'a mut self, event: Event<'a>) -> OrBad<Sample<'a>> {
        let weight = good!(self.check(event)?);
        good!(self.encode_fields(None, event)?);
        let Encoding { inputs, known, hashed, one, freed, .. } = self;
        let inputs = good!(inputs_of(inputs, hashed, one, event));
        let (freed, encoder) = (std::mem::take(freed), known.encoder.as_ref());
        Ok(Ok(Sample { weight, freed, encoder, ..Sample::new(inputs, Truth::Unknown) }))
    }

    /// What is between the classes of a label that has several.
    pub(crate) fn separator(&self) -> Option<char> {
        self.fitting.separator()
    }

    /// Whether a label can be taken; nothing is learned from it.
    pub(crate) fn check_label(&self, label: Value<'_>) -> OrBad<()> {
        match &self.known.labels {
            Some(labels) => Ok(labels.check(label).and_then(|()| self.in_range(label))),
            None => Err(unknown()),
        }
    }

    /// Whether the loss is defined for a label that is a value.
    fn in_range(&self, label: Value<'_>) -> std::result::Result<(), BadEvent> {
        if self.fitting.task().has_classes() {
            return Ok(());
        }
        let Some(target) = Labels::number(label) else { return Ok(()) };
        match self.loss.refusal(target) {
            Some(takes) => Err(BadEvent::new(format!("label {target}: {takes}"))),
            None => Ok(()),
        }
    }

    /// A label as the model sees it; none if it is missing.
    pub(crate) fn encode_label(&mut self, label: Value<'_>) -> OrBad<Option<Label>> {
        match &mut self.known.labels {
            Some(labels) => Ok(labels.encode(label)),
            None => Err(unknown()),
        }
    }

    /// How targets are scaled now; no target is in it.
    pub(crate) fn scaling(&self) -> Scale {
        let scaling = self.known.labels.as_ref().map_or(Some((0.0, 1.0)), Labels::scaling);
        let (mean, deviation) = scaling.unwrap_or((f64::NAN, 1.0));
        Scale { mean, deviation, target: 0.0 }
    }
}

/// The inputs of the event in hand.
fn inputs_of<'a>(
    inputs: &TableInputs,
    hashed: &'a mut Option<HashedColumns>,
    one: &'a Batch,
    event: Event<'a>,
) -> std::result::Result<Inputs<'a>, BadEvent> {
    match hashed {
        Some(hashed) => hashed.features(event).map(Inputs::Features),
        None if inputs.0.is_empty() => Ok(Inputs::Row(one.x())),
        None => Ok(Inputs::Fields(one, 0)),
    }
}

fn unknown() -> Error {
    Error::Run("an event came before the stream was known; please report it".into())
}

/// The names of the classes: of the labels that came, or else of the training before.
fn names_of(known: &Known, class_names: &[String]) -> Vec<String> {
    known.labels.as_ref().map_or_else(|| class_names.to_vec(), Labels::names)
}
