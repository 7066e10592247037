//! The stream opened: a dataset that is replayed, or the records of a source.

use std::path::Path;
use std::sync::Arc;

use tidemill_engine::checkpoint::Meta;
use tidemill_engine::data::{DataSpec, Dataset, ImageDirectorySpec, Known, Order};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::folder::{Existing, RunFolder};
use tidemill_recipe::data::open_one;
use tidemill_recipe::online::{OnlineSpec, WhenFull};
use tidemill_recipe::stream::{
    Awaited, Content, Fits, Format, FormatSpec, Look, Note, OpenOptions, Policy, Position,
    QueueOptions, Reader, Rows, Schema, Source, decoder, file_of, format_of,
    formats::look::{HEAD_BYTES, lost_column},
    head_of, is_files, is_live, look, open as open_source,
};
use tidemill_recipe::tables::wanted_columns;
use tidemill_recipe::{DataPaths, RecipeFile};

use crate::answering::Answering;
use crate::encoding::Encoding;
use crate::error::stream_error;
use crate::feed::{DataFeed, DeadLetters, Feed, RecordFeed};
use crate::input::{Counts, Input};
use crate::intake::{Decoding, Intake};
use crate::join::{Join, Said};
use crate::journal::JournalMark;
use crate::model::{StreamModel, Takes};
use crate::run::{JOURNAL_BYTES, LearnEvent, LearnOptions};
use crate::start::Start;

/// A stream that is open.
pub(crate) struct Opened {
    pub(crate) input: Input,
    /// What waits for labels, where they come later.
    pub(crate) join: Option<Box<Join>>,
    /// What answers senders, then.
    pub(crate) answering: Option<Answering>,
    /// How records are written.
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
    model: &dyn StreamModel,
    watch: &mut dyn FnMut(LearnEvent<'_>),
) -> Result<Opened> {
    let mut encoding = Encoding::new(file, model, base.class_names.clone())?;
    let counts = start.same().map_or_else(Counts::default, |s| s.counts);
    if is_data(&options.from) {
        let data = open_data(file, options, base, model)?;
        let known = data.known().map(|known| known.beside(&base.known));
        encoding.restore(known.unwrap_or_else(|| base.known.clone()));
        folder.make_room()?;
        let feed = Box::new(data_feed(file, options, start, data, &encoding));
        let input = Input::new(feed, encoding, counts);
        return Ok(Opened { input, join: None, answering: None, format: None });
    }
    let format = match start.same().and_then(|s| s.format) {
        Some(format) => format,
        None => {
            let found = format_of(&file.recipe.stream, &options.from).map_err(stream_error)?;
            found.1.iter().for_each(|note| watch(LearnEvent::Notice(note)));
            found.0
        }
    };
    // Where events wait for their labels, their senders may wait for predictions.
    let awaited = match file.recipe.online.labels {
        Some(_) => Awaited::IfAsked,
        None => Awaited::Never,
    };
    let position = start.same().map(|s| &s.position);
    let source = open_at((options, awaited), folder, format, position, watch)?;
    let policy = policy(&file.recipe.online, folder);
    if base.known.encoder.is_some() && matches!(format, Format::Vw | Format::Libsvm) {
        let what = format!("= {format:?} has no columns, and the model has learned from columns");
        return Err(file.error_at("stream.format", &what));
    }
    let (spec, look) = spec_of(file, &options.from, format, base.known.schema.as_ref(), model)?;
    folder.make_room()?;
    let known = base.known.schema.clone();
    let answers = source.answers();
    let (health, rows) = (source.health(), source.rows());
    encoding.restore(base.known.clone());
    let fits = fits_of(&encoding);
    if let Some(rows) = &rows {
        let position = start.same().map(|s| &s.position);
        rows.expect(&spec, format, known.clone(), position, fits.clone());
    }
    let reader = Reader::spawn(source, queue_of(file, policy)).map_err(stream_error)?;
    let intake = open_intake((&options.from, reader, rows), format, &spec, known, fits)?;
    encoding.set_format(spec, look);
    // Those of another stream that the run has learned from stay before those of this one.
    let mark = start.own().map(|s| s.dead_letters).unwrap_or_default();
    let mut dead = DeadLetters::open(folder.path(), mark, counts.bad, JOURNAL_BYTES)?;
    if let Some(note) = dead.journal().take_note() {
        watch(LearnEvent::Notice(&note));
    }
    let recent = start.same().map(|s| s.recent.clone()).unwrap_or_default();
    let dead = dead.watch(recent, file.recipe.online.on_bad, &options.from).tell(health);
    let position = start.same().map(|s| s.position.clone()).unwrap_or_default();
    // What an earlier version has not kept in mind cannot be made up for.
    let content = match start.same() {
        Some(same) => same.content.clone(),
        None => is_files(&options.from).then(Content::default),
    };
    let mut join = open_join(file, folder, start, format)?.map(Box::new);
    let answers = answers.map(|answers| Arc::new(answers.start()));
    let answering = join.as_mut().zip(answers.clone()).map(|(join, answers)| {
        join.said = Some(Said::Nothing);
        let task = (file.recipe.task(), &file.recipe.training.loss);
        Answering::new(answers, task, base.class_names.clone())
    });
    let feed = RecordFeed::new(intake, dead, position, content).skip(&options.skip).answer(answers);
    let feed = Box::new(feed);
    let input = Input::new(feed, encoding, counts);
    Ok(Opened { input, join, answering, format: Some(format) })
}

/// The events of a stream from its start, or those of a dataset in its stored order, for whoever only
/// reads them. Bad records go to `dead-letter.jsonl` in `folder`, of at most `dead_bytes`.
///
/// # Errors
/// If it cannot be opened.
pub fn open_to_read(
    file: &RecipeFile,
    from: &str,
    folder: &Path,
    dead_bytes: u64,
    model: &dyn StreamModel,
) -> Result<Input> {
    let names = file.recipe.online.classes.clone().unwrap_or_default();
    let mut encoding = Encoding::new(file, model, names)?;
    let feed: Box<dyn Feed> = if is_data(from) {
        let data = dataset(file, from, None)?;
        encoding.restore(data.known().cloned().unwrap_or_default());
        let (order, position) = (Order::Sequential, Position::default());
        Box::new(DataFeed::new(data, order, None, position, 0, encoding.scaling()))
    } else {
        let (format, _) = format_of(&file.recipe.stream, from).map_err(stream_error)?;
        let options = OpenOptions { format: Some(format), ..OpenOptions::default() };
        let source = open_source(from, &options).map_err(stream_error)?;
        let (spec, look) = spec_of(file, from, format, None, model)?;
        let reader = Reader::spawn(source, queue_of(file, Policy::Block)).map_err(stream_error)?;
        let intake = open_intake((from, reader, None), format, &spec, None, fits_of(&encoding))?;
        encoding.set_format(spec, look);
        let dead = DeadLetters::open(folder, JournalMark::default(), 0, dead_bytes)?;
        Box::new(RecordFeed::new(intake, dead, Position::default(), None))
    };
    Ok(Input::new(feed, encoding, Counts::default()))
}

/// How the records of a stream are written: as the recipe says, and as a look at the start of a file
/// shows; `schema` is what is known of its columns.
fn spec_of(
    file: &RecipeFile,
    from: &str,
    format: Format,
    schema: Option<&Schema>,
    model: &dyn StreamModel,
) -> Result<(FormatSpec, Option<Look>)> {
    let mut own = file.stream_format(format)?;
    let wants = matches!(model.takes(), Takes::Fields(_)) && own.image.is_none();
    own.wants = wants.then(|| wanted_columns(&file.recipe.model));
    if let Some(path) = file_of(from) {
        own = own.of_file(path);
    }
    let has_look = matches!(format, Format::Csv | Format::Tsv | Format::JsonLines);
    if !has_look || file_of(from).is_none() {
        return Ok((own, None));
    }
    let head = head_of(from, format).map_err(stream_error)?;
    own.likely_thousands = schema.and_then(|schema| schema.thousands);
    let mut found = look(&head, head.len() < HEAD_BYTES, &own, format).map_err(stream_error)?;
    let Some(schema) = schema else {
        if let Some((key, what)) = found.unknown_name(&file.recipe.stream, &head) {
            let (key, what) = (format!("stream.{key}"), format!("{what} in {from}"));
            // Further keys of JSON may come later.
            if format != Format::JsonLines {
                return Err(file.error_at(&key, &what));
            }
            found.notes.push(Note::once(format!("{key} {what}, as far as was looked")));
        }
        return Ok((found.spec.clone(), Some(found)));
    };
    let lost = lost_column(&head, &own, format, schema).map_err(stream_error)?;
    // Which keys are inputs is known as well.
    let mut notes = if format == Format::JsonLines { Vec::new() } else { found.notes };
    match lost {
        Some(lost) if head.len() < HEAD_BYTES => {
            return Err(Error::Usage(format!("{from}: {lost}")));
        }
        Some(lost) => notes.push(Note::once(format!("at the start of {from}, {lost}"))),
        None => {}
    }
    // The columns are known; how they are written is for each file to say.
    let own = own.written_as(&found.spec);
    let delimiter = own.delimiter.or(schema.delimiter);
    let spec = FormatSpec { delimiter, looked: true, ..own };
    Ok((spec, Some(Look { notes, ..Look::default() })))
}

/// A dataset to be replayed.
fn open_data(
    file: &RecipeFile,
    options: &LearnOptions,
    base: &Meta,
    model: &dyn StreamModel,
) -> Result<Arc<dyn Dataset>> {
    let from = &options.from;
    if let Takes::Features = model.takes() {
        let what =
            format!("learns from records, and {from} has none: name a file or another stream");
        return Err(file.error_at("online.linear", &what));
    }
    if file.recipe.online.labels.is_some() {
        let what = format!("joins records by their ids, and {from} has none");
        return Err(file.error_at("online.labels", &what));
    }
    dataset(file, from, Some(&base.known))
}

/// Its samples one after the other.
fn data_feed(
    file: &RecipeFile,
    options: &LearnOptions,
    start: &Start,
    data: Arc<dyn Dataset>,
    encoding: &Encoding,
) -> DataFeed {
    let order = if file.recipe.batch.shuffle {
        Order::Shuffled { seed: file.recipe.training.seed }
    } else {
        Order::Sequential
    };
    let position = start.same().map(|s| s.position.clone()).unwrap_or_default();
    let bad = start.same().map_or(0, |s| s.counts.bad);
    DataFeed::new(data, order, options.rate, position, bad, encoding.scaling())
}

/// The source at the record after the last one that was learned from, at `position`; whose senders may wait for answers
/// is said here, since the first ones may come before anyone learns.
pub(crate) fn open_at(
    (options, answers): (&LearnOptions, Awaited),
    folder: &RunFolder,
    format: Format,
    position: Option<&Position>,
    watch: &mut dyn FnMut(LearnEvent<'_>),
) -> Result<Box<dyn Source>> {
    let is_http = options.from.starts_with("http");
    if is_http
        && options.existing == Existing::Replace
        && let Some(kept) = kept_log(folder)
    {
        watch(LearnEvent::Notice(&kept));
    }
    let open_options = OpenOptions {
        log_folder: Some(folder.path().join("log")),
        format: Some(format),
        access: options.access.clone(),
        answers,
        ..OpenOptions::default()
    };
    let mut source = open_source(&options.from, &open_options).map_err(stream_error)?;
    source.notes().iter().for_each(|note| watch(LearnEvent::Notice(note)));
    if let Some(why) = source.not_seekable() {
        watch(LearnEvent::Notice(&format!(
            "{}: {why}: after a crash, what came since the last checkpoint is lost",
            source.name()
        )));
    }
    if let Some(position) = position {
        match source.not_seekable() {
            None => source.seek(position).map_err(stream_error)?,
            Some(_) => watch(LearnEvent::Notice(
                "the stream cannot be read again: the run continues with what comes now",
            )),
        }
    }
    Ok(source)
}

/// What is said where a run is replaced whose log has events: they were acknowledged, and stay.
fn kept_log(folder: &RunFolder) -> Option<String> {
    let log = folder.path().join("log");
    let len =
        |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.metadata().ok().map(|m| m.len());
    let bytes: u64 = std::fs::read_dir(&log).ok()?.filter_map(len).sum();
    (bytes > 0).then(|| {
        format!(
            "{}: has events that were acknowledged by the run that --force replaces; they stay, and are learned from first (to leave \
             them out, delete that folder before the start)",
            log.display()
        )
    })
}

/// Which first event a live stream may have; nothing where it is known what events are.
fn fits_of(encoding: &Encoding) -> Option<Arc<Fits>> {
    let (fitting, known) = (encoding.fitting().clone(), encoding.known());
    let (columns, labels) = (known.encoder.is_some(), known.labels.is_some());
    let fits: Arc<Fits> = Arc::new(move |schema, first| fitting.check(schema, first, columns));
    (!(columns && labels)).then_some(fits)
}

/// The records of a source, decoded ahead.
fn open_intake(
    (from, reader, rows): (&str, Reader, Option<Arc<Rows>>),
    format: Format,
    spec: &FormatSpec,
    schema: Option<Schema>,
    fits: Option<Arc<Fits>>,
) -> Result<Intake> {
    let (spec, live) = (FormatSpec { live: is_live(from), ..spec.clone() }, is_live(from));
    let make = move |schema| decoder(&spec, format, schema).map_err(stream_error);
    let decoding = Decoding::new(Box::new(make), schema, live, fits)?;
    Intake::new(reader, decoding, from == "-" || is_files(from), rows)
}

fn queue_of(file: &RecipeFile, policy: Policy) -> QueueOptions {
    QueueOptions { bytes: file.recipe.online.queue_bytes, policy }
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
