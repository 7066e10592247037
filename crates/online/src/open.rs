//! The stream opened: a dataset that is replayed, or the records of a source.

use std::path::Path;
use std::sync::Arc;

use tidemill_engine::checkpoint::Meta;
use tidemill_engine::data::{DataSpec, Dataset, ImageDirectorySpec, Known, Order};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::folder::RunFolder;
use tidemill_recipe::data::open_one;
use tidemill_recipe::online::{OnlineSpec, WhenFull};
use tidemill_recipe::stream::{
    Format, OpenOptions, Policy, QueueOptions, Reader, Source, decoder, open as open_source,
};
use tidemill_recipe::{DataPaths, RecipeFile};

use crate::error::stream_error;
use crate::feed::{Counts, DataFeed, Feed, RecordFeed};
use crate::images::Images;
use crate::intake::Intake;
use crate::join::Join;
use crate::journal::Journal;
use crate::model::Model;
use crate::run::{JOURNAL_BYTES, LearnEvent, LearnOptions};
use crate::start::Start;

/// A stream, and how its records are written.
pub(crate) struct Opened {
    pub(crate) feed: Box<dyn Feed>,
    /// None for a dataset.
    pub(crate) format: Option<Format>,
}

/// Whether the address is that of a dataset: the recipe's own, or a folder of images.
pub fn is_data(from: &str) -> bool {
    from == "data:" || Path::new(from).is_dir()
}

/// Opens the stream where the run starts.
///
/// # Errors
/// If it cannot be opened, or is none that the recipe can learn from.
pub(crate) fn open(
    file: &RecipeFile,
    options: &LearnOptions,
    folder: &RunFolder,
    base: &Meta,
    start: &Start,
    model: &Model,
    watch: &mut dyn FnMut(LearnEvent<'_>),
) -> Result<Opened> {
    if is_data(&options.from) {
        let feed = open_data(file, options, base, start, model)?;
        return Ok(Opened { feed: Box::new(feed), format: None });
    }
    let format = match start.same().and_then(|s| s.format) {
        Some(format) => format,
        None => file.recipe.stream.format_of(&options.from).map_err(stream_error)?,
    };
    let source = open_at(options, folder, format, start, watch)?;
    let feed = open_records(file, options, folder, base, start, source, format)?;
    Ok(Opened { feed: Box::new(feed), format: Some(format) })
}

/// A dataset whose samples come one after the other.
fn open_data(
    file: &RecipeFile,
    options: &LearnOptions,
    base: &Meta,
    start: &Start,
    model: &Model,
) -> Result<DataFeed> {
    let from = &options.from;
    if let Model::Linear(_) = model {
        let what =
            format!("learns from records, and {from} has none: name a file or another stream");
        return Err(file.error_at("online.linear", &what));
    }
    if file.recipe.online.labels.is_some() {
        let what = format!("joins records by their ids, and {from} has none");
        return Err(file.error_at("online.labels", &what));
    }
    let data = dataset(file, from, Some(&base.known))?;
    let order = if file.recipe.batch.shuffle {
        Order::Shuffled { seed: file.recipe.training.seed }
    } else {
        Order::Sequential
    };
    let position = start.same().map(|s| s.position.clone()).unwrap_or_default();
    let counts = start.same().map_or_else(Counts::default, |s| s.counts);
    Ok(DataFeed::new(data, order, options.rate, position, counts, base.known.clone()))
}

/// The source at the record after the last one that was learned from.
fn open_at(
    options: &LearnOptions,
    folder: &RunFolder,
    format: Format,
    start: &Start,
    watch: &mut dyn FnMut(LearnEvent<'_>),
) -> Result<Box<dyn Source>> {
    let open_options = OpenOptions {
        log_folder: Some(folder.path().join("log")),
        arrow: format == Format::Arrow,
        ..OpenOptions::default()
    };
    let mut source = open_source(&options.from, &open_options).map_err(stream_error)?;
    if let Some(why) = source.not_seekable() {
        watch(LearnEvent::Notice(&format!(
            "{}: {why}: after a crash, what came since the last checkpoint is lost",
            source.name()
        )));
    }
    if let Some(same) = start.same() {
        match source.not_seekable() {
            None => source.seek(&same.position).map_err(stream_error)?,
            Some(_) => watch(LearnEvent::Notice(
                "the stream cannot be read again: the run goes on with what comes now",
            )),
        }
    }
    Ok(source)
}

/// The records of a source, joined with labels that come later where the recipe says so.
fn open_records(
    file: &RecipeFile,
    options: &LearnOptions,
    folder: &RunFolder,
    base: &Meta,
    start: &Start,
    source: Box<dyn Source>,
    format: Format,
) -> Result<RecordFeed> {
    let spec = OnlineSpec { features: file.features()?, ..file.recipe.online.clone() };
    let same = start.same();
    let known = base.known.clone();
    if known.encoder.is_some() && matches!(format, Format::Vw | Format::Libsvm) {
        let what = format!("= {format:?} has no columns, and the model has learned from columns");
        return Err(file.error_at("stream.format", &what));
    }
    let decoder = decoder(&file.stream_format(format)?, format, known.schema.clone());
    let queue = QueueOptions { bytes: spec.queue_bytes, policy: policy(&spec, folder) };
    let reader = Reader::spawn(source, queue).map_err(stream_error)?;
    let intake = Intake::new(reader, decoder.map_err(stream_error)?)?;
    let dead = Journal::open(
        &folder.path().join("dead-letter.jsonl"),
        same.map(|s| s.dead_letters).unwrap_or_default(),
        JOURNAL_BYTES,
    )?;
    let images = Images::of(file)?;
    let stored = Path::new(options.from.trim_start_matches("file:")).is_file();
    let (names, task) = (base.class_names.clone(), file.recipe.task());
    let mut feed = RecordFeed::new(intake, images, spec, task, stored, names, dead);
    feed.set_inputs(file.table_inputs());
    let position = same.map(|s| s.position.clone()).unwrap_or_default();
    feed.restore(known, position, same.map_or_else(Counts::default, |s| s.counts));
    if let Some(join) = open_join(file, folder, start, format)? {
        feed.join(join);
    }
    Ok(feed)
}

fn policy(spec: &OnlineSpec, folder: &RunFolder) -> Policy {
    match spec.when_full {
        WhenFull::Block => Policy::Block,
        WhenFull::DropOldest => Policy::DropOldest,
        WhenFull::Sample => Policy::Sample,
        WhenFull::Spill => {
            Policy::Spill { folder: folder.path().join("spill"), bytes: spec.spill_bytes }
        }
    }
}

/// What waits for labels, where they come later.
fn open_join(
    file: &RecipeFile,
    folder: &RunFolder,
    start: &Start,
    format: Format,
) -> Result<Option<Join>> {
    let Some(labels) = &file.recipe.online.labels else { return Ok(None) };
    if !file.recipe.model.inputs.is_empty() {
        let what = "keeps one row of numbers for each event that waits; a model with named inputs \
                    cannot learn from labels that come later yet";
        return Err(file.error_at("online.labels", what));
    }
    if format == Format::Libsvm || (format != Format::Vw && file.recipe.stream.id.is_none()) {
        let what = match format {
            Format::Libsvm => "joins records by their ids, and libsvm has none",
            _ => "is missing: name the column or key that events and labels share",
        };
        return Err(file.error_at("online.labels.id", what));
    }
    let seed = file.recipe.training.seed;
    let folder = folder.path().join("labels");
    let mut join = Join::new(labels, seed, &folder, file.recipe.checkpoint.keep)?;
    if let Some(waiting) = start.waiting() {
        join.restore(waiting)?;
    }
    Ok(Some(join))
}

/// The recipe's training data, or a folder of images with the recipe's options; `known` is what the
/// run has learned of columns and labels.
///
/// # Errors
/// If the recipe names no data, or they cannot be opened.
pub fn dataset(file: &RecipeFile, from: &str, known: Option<&Known>) -> Result<Arc<dyn Dataset>> {
    let paths = DataPaths::new(&file.path);
    let spec = match (from, &file.recipe.batch.data) {
        ("data:", _) => file.batch_data()?.clone(),
        (folder, spec) => {
            let folder =
                std::path::absolute(folder).map_err(|e| Error::read(Path::new(folder), e))?;
            let options = match spec {
                Some(DataSpec::ImageDirectory(options)) => options.clone(),
                _ => ImageDirectorySpec::new(""),
            };
            let path = folder.display().to_string();
            DataSpec::ImageDirectory(ImageDirectorySpec {
                path,
                validation_split: None,
                subset: None,
                ..options
            })
        }
    };
    let known = known.filter(|known| known.encoder.is_some());
    open_one(file, "batch.data", &spec, &paths, known, || None)
}
