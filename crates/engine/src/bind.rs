//! A batch's columns as a plan takes them.
//!
//! The engine's fields are bound to a batch's columns by name, once for each signature; a step then
//! looks columns up by index. What a batch has in another form is converted here, in one place:
//! class numbers to one-hot rows, lengths to masks, whole numbers in floats to ids.

use smallvec::SmallVec;
use std::sync::Arc;

use tidemill_cpu::runtime::Input;
use tidemill_fields::{Batch, Column, DType, Field, Signature, Values};
use tidemill_nn::{CONTEXT, Extent, LayerSpec, Link, LossSpec, ModelSpec};
use tidemill_plan::Slot;

use crate::engine::EngineError;

/// What a model and its loss read.
#[derive(Clone)]
pub(crate) struct Reads {
    /// The fields that the model reads, then the truth that its loss compares with.
    pub(crate) signature: Arc<Signature>,
    /// For each field: ids must be below this.
    vocabulary: Vec<Option<usize>>,
    num_outputs: usize,
    /// Whether labels are a sequence that is not that of the model's positions.
    own_labels: bool,
    /// Values of a one-hot row.
    width: usize,
    /// Class numbers must be below this.
    classes: usize,
}

impl Reads {
    pub(crate) fn new(
        model: &ModelSpec,
        loss: &LossSpec,
        inputs: Vec<Field>,
        truth: Field,
        num_outputs: usize,
    ) -> Reads {
        let named = model.named_inputs();
        let mut vocabulary: Vec<Option<usize>> =
            named.iter().map(|(_, input)| input.vocabulary()).collect();
        vocabulary.push(None);
        for (input, layer) in model.first_layers() {
            // An embedding may have fewer rows than the input has ids.
            let rows = match layer {
                LayerSpec::Embedding(spec) => spec.vocabulary,
                LayerSpec::EmbeddingBag(spec) => spec.vocabulary,
                _ => continue,
            };
            if let Some(own) = &mut vocabulary[input] {
                *own = rows.min(*own);
            }
        }
        let width = if truth.dtype == DType::F32 { truth.most() } else { num_outputs };
        let classes = classes(loss, width);
        let signature = Arc::new(Signature::new(inputs, Some(truth)));
        let own_labels = loss.has_own_labels();
        Reads { signature, vocabulary, num_outputs, own_labels, width, classes }
    }

    /// Ids of a field must be below this.
    pub(crate) fn vocabulary(&self, field: usize) -> usize {
        self.vocabulary[field].unwrap_or(usize::MAX)
    }

    /// Where the inputs of a plan come from.
    pub(crate) fn sources(&self, inputs: &[Slot]) -> Result<Vec<Source>, EngineError> {
        let fields = self.signature.fields();
        let source = |slot: &Slot| {
            let name = slot.name.as_str();
            let field = |name: &str| fields.iter().position(|f| f.name == name);
            let of = |suffix: &str| name.strip_suffix(suffix).and_then(field);
            let of_time = [of(".mask"), of(".lengths"), of(".last")];
            match (field(name), of_time, name) {
                (Some(i), ..) => Ok(Source::Field(i)),
                (_, [Some(i), _, _], _) => Ok(Source::Mask(i)),
                (_, [_, Some(i), _], _) => Ok(Source::Lengths(i)),
                (_, [_, _, Some(i)], _) => Ok(Source::Last(i)),
                (.., "weights") => Ok(Source::Weights),
                (.., "key") => Ok(Source::Key),
                (.., "hyper") => Ok(Source::Hyper),
                _ => StepInput::of(name)
                    .map(Source::Step)
                    .ok_or_else(|| EngineError(format!("no value is known for the input {name}"))),
            }
        };
        inputs.iter().map(source).collect()
    }
}

/// Class numbers must be below this for a truth of so many values, or so many outputs.
pub(crate) fn classes(loss: &LossSpec, width: usize) -> usize {
    match (width, loss.link()) {
        // One output may be the value of a class number itself.
        (1, Link::Identity | Link::Exponential) => usize::MAX,
        (1, _) => 2,
        (n, _) => n,
    }
}

/// Where an input of a plan comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A field of the engine's signature, as the batch has it.
    Field(usize),
    /// Which positions of that field count, and how much.
    Mask(usize),
    /// The lengths of that field's sequences.
    Lengths(usize),
    /// Which position of that field is a sample's last.
    Last(usize),
    Weights,
    Key,
    Hyper,
    /// What is kept between the steps that write a text.
    Step(StepInput),
}

/// An input of a step that writes a token, see [`tidemill_nn::step_graph`], or of a chunk, see [`tidemill_nn::chunk_graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepInput {
    /// Keys and values of earlier positions, of that attention layer.
    Cached(usize),
    /// Keys and values of another sequence.
    Memory(usize),
    /// Where the earlier positions of each row are.
    Table,
    /// How many there are.
    Lengths,
    /// Where the new tokens are in their texts.
    Positions,
    /// What a layer reads of earlier positions, where a sequence comes in chunks.
    Context(usize),
}

impl StepInput {
    fn of(name: &str) -> Option<StepInput> {
        let numbered = |prefix: &str| name.strip_prefix(prefix)?.parse().ok();
        match name.rsplit_once('.')?.1 {
            "table" => Some(StepInput::Table),
            "cached" => Some(StepInput::Lengths),
            "positions" => Some(StepInput::Positions),
            _ => numbered("cached.")
                .map(StepInput::Cached)
                .or_else(|| numbered("memory.").map(StepInput::Memory))
                .or_else(|| numbered(CONTEXT).map(StepInput::Context)),
        }
    }
}

/// Which columns of a batch are the engine's fields; looked up once for each signature.
#[derive(Clone)]
pub(crate) struct Binding {
    pub(crate) signature: Arc<Signature>,
    /// For each field of the engine: the batch's column, if it has one of that name.
    columns: Vec<Option<usize>>,
}

/// Memory for inputs that are not in the batch as a plan takes them.
#[derive(Clone, Default)]
pub(crate) struct Converted {
    /// For each field of the engine: class numbers as one-hot rows.
    dense: Vec<Vec<f32>>,
    /// For each field: which positions count.
    masks: Vec<Vec<f32>>,
    /// For each field: which position is the last.
    last: Vec<Vec<f32>>,
    /// For each field: whole numbers out of floats.
    whole: Vec<Vec<i32>>,
}

/// What the inputs of a step are made of.
pub(crate) struct Given<'a> {
    pub(crate) reads: &'a Reads,
    pub(crate) binding: &'a Binding,
    pub(crate) batch: &'a Batch,
    pub(crate) key: &'a [i32],
    pub(crate) hyper: &'a [f32],
}

impl Binding {
    /// The binding for a batch: the one that is held, or another in its place.
    pub(crate) fn keep<'a>(
        held: &'a mut Option<Binding>,
        reads: &Reads,
        batch: &Batch,
    ) -> &'a Binding {
        if !held.as_ref().is_some_and(|b| Arc::ptr_eq(&b.signature, batch.signature())) {
            *held = None;
        }
        held.get_or_insert_with(|| Binding::new(&reads.signature, batch.signature()))
    }

    pub(crate) fn new(engine: &Signature, batch: &Arc<Signature>) -> Binding {
        let truth = batch.truth_index();
        let column = |(i, field): (usize, &Field)| match engine.truth_index() == Some(i) {
            // A truth is what it is whatever it is called: class numbers become one-hot rows.
            true => truth,
            // A single input needs no name.
            false => batch
                .find(&field.name)
                .filter(|c| Some(*c) != truth)
                .or_else(|| (engine.inputs().len() == 1 && batch.inputs().len() == 1).then_some(0)),
        };
        let columns = engine.fields().iter().enumerate().map(column).collect();
        Binding { signature: batch.clone(), columns }
    }

    pub(crate) fn column<'b>(&self, field: usize, batch: &'b Batch) -> Option<&'b Column> {
        batch.columns.get((*self.columns.get(field)?)?)
    }

    /// The batch's size, with the room for positions in each input field where there are some.
    pub(crate) fn extent(&self, reads: &Reads, batch: &Batch) -> Extent {
        let fields = reads.signature.inputs();
        let time = |(i, field): (usize, &Field)| match (field.time(), self.column(i, batch)) {
            (Some(_), Some(column)) => column.time,
            _ => 0,
        };
        let varies = fields.iter().any(|f| f.time().is_some());
        let mut times: Vec<usize> =
            if varies { fields.iter().enumerate().map(time).collect() } else { vec![] };
        if reads.own_labels && varies {
            times.push(self.column(fields.len(), batch).map_or(0, |labels| labels.time));
        }
        Extent { batch: batch.len, times }
    }
}

impl Converted {
    /// Checks what the batch has for a source, and brings it into the form that plans take.
    pub(crate) fn prepare(
        &mut self,
        source: Source,
        reads: &Reads,
        binding: &Binding,
        batch: &Batch,
    ) -> Result<(), EngineError> {
        let (Source::Field(i) | Source::Mask(i) | Source::Last(i)) = source else { return Ok(()) };
        let (signature, vocabulary) = (&reads.signature, &reads.vocabulary);
        let field = &signature.fields()[i];
        let is_truth = signature.truth_index() == Some(i);
        let Some(column) = binding.column(i, batch) else {
            let names: Vec<&str> =
                batch.signature().fields().iter().map(|f| f.name.as_str()).collect();
            return Err(EngineError(format!(
                "the model reads `{}`, and the samples have only {}",
                field.name,
                if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
            )));
        };
        if let Source::Last(_) = source {
            grow(&mut self.last, i);
            last(column, &mut self.last[i]);
            return Ok(());
        }
        if let Source::Mask(_) = source {
            let weights = batch.signature().position_weights_index().filter(|_| is_truth);
            let weights = weights.and_then(|w| batch.columns.get(w)).map(Column::f32);
            grow(&mut self.masks, i);
            mask(column, weights, &mut self.masks[i]);
            return Ok(());
        }
        if is_truth {
            check_positions(field, column)?;
        }
        match (&column.values, field.dtype) {
            (Values::I32(labels), _) if is_truth && field.dtype == DType::F32 => {
                check_labels(labels, reads)?;
                grow(&mut self.dense, i);
                one_hot(labels, reads.width, &mut self.dense[i]);
                Ok(())
            }
            (Values::I32(labels), _) if is_truth => check_labels(labels, reads),
            (Values::I32(ids), _) => check_ids(ids, vocabulary[i], field, batch.len, column),
            (Values::F32(x), DType::I32) if !is_truth => {
                grow(&mut self.whole, i);
                let ids = &mut self.whole[i];
                ids.clear();
                ids.extend(x.iter().map(|&v| v as i32));
                if let Some(bad) = x.iter().zip(&*ids).find(|(v, id)| **v != **id as f32) {
                    let (value, name) = (bad.0, &field.name);
                    return Err(EngineError(format!(
                        "{value} in `{name}` is no id; ids are whole"
                    )));
                }
                check_ids(ids, vocabulary[i], field, batch.len, column)
            }
            (Values::F32(_), DType::I32) => Err(EngineError(
                "the loss compares with class numbers, and the labels are values".into(),
            )),
            (Values::F32(x), _) => {
                let wanted = match column.has_time() && field.time().is_some() {
                    true => batch.len * column.time * field.inner(),
                    false => batch.len * field.most(),
                };
                if x.len() == wanted {
                    return Ok(());
                }
                let (len, found) = (batch.len, x.len());
                let what = if is_truth { "target values" } else { "values" };
                Err(EngineError(format!(
                    "a batch of {len} samples needs {wanted} {what}, found {found}"
                )))
            }
        }
    }

    /// The inputs of a plan, once all are prepared.
    pub(crate) fn inputs<'a>(
        &'a self,
        sources: &[Source],
        given: &Given<'a>,
    ) -> SmallVec<[Input<'a>; 8]> {
        let input = |source: &Source| match *source {
            Source::Field(i) => self.field(i, given.reads, given.binding, given.batch),
            Source::Mask(i) => Input::F32(self.mask(i)),
            Source::Last(i) => Input::F32(self.last.get(i).map_or(&[], |v| v)),
            Source::Lengths(i) => {
                let column = given.binding.column(i, given.batch);
                Input::I32(column.map_or(&[], |column| &column.lengths))
            }
            Source::Weights => Input::F32(&given.batch.weights),
            Source::Key => Input::I32(given.key),
            Source::Hyper => Input::F32(given.hyper),
            // not of a batch: a step has inputs of its own
            Source::Step(_) => Input::F32(&[]),
        };
        // Pushed one by one: that stays inline, and each step does it.
        let mut inputs = SmallVec::new();
        sources.iter().for_each(|source| inputs.push(input(source)));
        inputs
    }

    /// Which positions of a field count.
    fn mask(&self, i: usize) -> &[f32] {
        self.masks.get(i).map_or(&[], |v| v)
    }

    /// What was prepared, or the batch's own column.
    fn field<'a>(
        &'a self,
        i: usize,
        reads: &Reads,
        binding: &Binding,
        batch: &'a Batch,
    ) -> Input<'a> {
        let wanted = reads.signature.fields()[i].dtype;
        match (binding.column(i, batch).map(|c| &c.values), wanted) {
            (Some(Values::F32(v)), DType::F32) => Input::F32(v),
            (Some(Values::I32(v)), DType::I32) => Input::I32(v),
            (_, DType::F32) => Input::F32(self.dense.get(i).map_or(&[], |v| v)),
            (_, DType::I32) => Input::I32(self.whole.get(i).map_or(&[], |v| v)),
        }
    }
}

fn grow<T: Default>(all: &mut Vec<T>, i: usize) {
    if all.len() <= i {
        all.resize_with(i + 1, T::default);
    }
}

/// Class numbers as targets `[len, outputs]`: the number itself where there is one output, else
/// one-hot rows.
fn one_hot(labels: &[i32], outputs: usize, to: &mut Vec<f32>) {
    to.clear();
    if outputs == 1 {
        to.extend(labels.iter().map(|&label| label as f32));
        return;
    }
    to.resize(labels.len() * outputs, 0.0);
    for (row, &label) in to.chunks_exact_mut(outputs).zip(labels) {
        row[label as usize] = 1.0;
    }
}

/// 1 (or a position's weight) up to each sample's end, then 0.
fn mask(column: &Column, weights: Option<&[f32]>, to: &mut Vec<f32>) {
    let time = column.time;
    to.clear();
    to.resize(column.lengths.len() * time, 0.0);
    for (i, (row, &length)) in to.chunks_exact_mut(time.max(1)).zip(&column.lengths).enumerate() {
        let row = &mut row[..length.max(0) as usize];
        match weights {
            Some(weights) => row.copy_from_slice(&weights[i * time..i * time + row.len()]),
            None => row.fill(1.0),
        }
    }
}

/// 1 at each sample's last position, else 0.
fn last(column: &Column, to: &mut Vec<f32>) {
    to.clear();
    to.resize(column.lengths.len() * column.time, 0.0);
    for (row, &length) in to.chunks_exact_mut(column.time.max(1)).zip(&column.lengths) {
        if let Some(last) = (length as usize).checked_sub(1) {
            row[last] = 1.0;
        }
    }
}

/// Ids beyond the vocabulary would read memory that is not the table's.
fn check_ids(
    ids: &[i32],
    vocabulary: Option<usize>,
    field: &Field,
    len: usize,
    column: &Column,
) -> Result<(), EngineError> {
    let wanted = len * column.stride();
    if ids.len() != wanted {
        return Err(EngineError(format!(
            "a batch of {len} samples needs {wanted} ids in `{}`, found {}",
            field.name,
            ids.len()
        )));
    }
    let Some(vocabulary) = vocabulary else { return Ok(()) };
    match ids.iter().find(|&&id| id < 0 || id as usize >= vocabulary) {
        None => Ok(()),
        Some(id) => Err(EngineError(format!(
            "id {id} in `{}` is outside of the model's vocabulary of {vocabulary}; \
             help: ids are 0 to {}",
            field.name,
            vocabulary - 1
        ))),
    }
}

/// Whether there is a label for each position where the model has outputs for each, and only there.
fn check_positions(field: &Field, column: &Column) -> Result<(), EngineError> {
    let what = match (field.time().is_some(), !column.lengths.is_empty()) {
        (true, false) => {
            "the model has outputs for each position of a sample, and a sample one label; end the positions, with \
             global_avg_pool or with gru or lstm without return_sequences"
        }
        (false, true) => {
            "the samples have a label for each position, and the model one row of outputs for a sample; keep the positions, \
             with gru or lstm with return_sequences = true and without pooling"
        }
        _ => return Ok(()),
    };
    Err(EngineError(what.into()))
}

fn check_labels(labels: &[i32], reads: &Reads) -> Result<(), EngineError> {
    let num_outputs = reads.num_outputs;
    let wrong = |&&l: &&i32| l < 0 || l as usize >= reads.classes;
    match labels.iter().find(wrong) {
        None => Ok(()),
        Some(label) => Err(EngineError(format!(
            "label {label} is outside of the model's {num_outputs} outputs; \
             help: the last layer needs one unit for each class"
        ))),
    }
}
