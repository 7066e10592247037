//! What a run on a stream starts from: nothing, the weights of another run, or its own checkpoint.

use std::path::Path;

use tidemill_engine::checkpoint::{Checkpoint, Course, Meta};
use tidemill_engine::data::{Known, Order};
use tidemill_engine::engine::StateTensor;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::fields::Truth;
use tidemill_engine::folder::RunFolder;
use tidemill_recipe::RecipeFile;
use tidemill_recipe::stream::{
    Compared, Content, Format, OpenOptions, format_of, identity, is_files, open,
};

use crate::join::TENSOR;
use crate::meaning;
use crate::model::StreamModel;
use crate::open::{dataset, is_data};
use crate::run::{LearnEvent, LearnOptions};
use crate::sample::{Inputs, Sample};
use crate::state::StreamState;

/// What a run starts from.
pub(crate) struct Start {
    /// The name by which checkpoints know the stream: files by their full path.
    pub(crate) source: String,
    checkpoint: Option<Checkpoint>,
    /// What the checkpoint knows of a stream.
    state: Option<StreamState>,
    /// Whether the checkpoint is the run's own, as opposed to one of a model that it starts from.
    is_own: bool,
    /// Whether the stream continues where the checkpoint was written.
    continues: bool,
    /// The recipe of the run that the checkpoint is one of.
    old_recipe: Option<String>,
}

impl Start {
    /// What there is to start from; `resumed` is the run's own newest checkpoint.
    ///
    /// # Errors
    /// If the recipe means other columns or labels than the checkpoint has learned, or the stream is
    /// not what it was.
    pub(crate) fn new(
        file: &RecipeFile,
        options: &LearnOptions,
        resumed: Option<Checkpoint>,
        watch: &mut dyn FnMut(LearnEvent<'_>),
    ) -> Result<Start> {
        let is_own = resumed.is_some();
        let checkpoint = match (resumed, &options.model) {
            (None, Some(run)) => Some(model_of(run, options.checkpoint, watch)?),
            (resumed, _) => resumed,
        };
        let state = match &checkpoint {
            Some(checkpoint) => StreamState::of(&checkpoint.meta)?,
            None => None,
        };
        let source = source_of(options);
        let own = state.as_ref().filter(|_| is_own && !options.from_start);
        let continues = match own {
            Some(StreamState { source: was, content, format, .. }) => {
                let before = Before {
                    source: was,
                    content: content.as_ref(),
                    format: *format,
                    goes_on: false,
                };
                continues(file, options, &before, &source, watch)?
            }
            None => false,
        };
        let folder = if is_own { Some(&options.out) } else { options.model.as_ref() };
        let old_recipe =
            folder.and_then(|folder| std::fs::read_to_string(folder.join("recipe.toml")).ok());
        let start = Start { source, checkpoint, state, is_own, continues, old_recipe };
        if let (Some(folder), Some(_)) = (folder, &start.checkpoint) {
            // One of another version may have keys that are not known here.
            if let Ok(old) = RecipeFile::read(&folder.join("recipe.toml"), &[]) {
                meaning::check(&old, file, &start.known(), start.same().is_some())?;
            }
        }
        Ok(start)
    }

    /// What is known of columns and labels, from batches or any stream that was learned from before.
    pub(crate) fn known(&self) -> Known {
        let old = self.state.as_ref().and_then(|state| state.known.clone());
        old.or_else(|| self.checkpoint.as_ref().map(|c| c.meta.known.clone())).unwrap_or_default()
    }

    /// What is known of this same stream, which then continues where it was left; another one starts
    /// with figures of its own.
    pub(crate) fn same(&self) -> Option<&StreamState> {
        self.state.as_ref().filter(|_| self.continues)
    }

    /// What the run itself knows of the stream that it learned from last, be it this one or another.
    pub(crate) fn own(&self) -> Option<&StreamState> {
        self.state.as_ref().filter(|_| self.is_own)
    }

    /// What waited for its label.
    pub(crate) fn waiting(&self) -> Option<&StateTensor> {
        let checkpoint = self.checkpoint.as_ref().filter(|_| self.same().is_some())?;
        checkpoint.tensors.iter().find(|t| t.name == TENSOR)
    }

    /// Whether the run itself has nothing to continue from.
    pub(crate) fn is_new(&self) -> bool {
        !self.is_own
    }

    /// The fields of a checkpoint that stay the same.
    pub(crate) fn base_meta(&self, file: &RecipeFile) -> Meta {
        match &self.checkpoint {
            Some(checkpoint) => {
                let meta = checkpoint.meta.clone();
                let course = meta.course.clone().map(|course| match &meta.known.encoder {
                    Some(_) => Course { fingerprint: 0, ..course },
                    None => course,
                });
                let (recipe_sha256, known) = (file.sha256(), self.known());
                Meta { recipe_sha256, stream: None, known, course, ..meta }
            }
            None => Meta {
                class_names: file.recipe.online.classes.clone().unwrap_or_default(),
                ..Meta::new(file.recipe.training.seed, file.recipe.task(), file.sha256())
            },
        }
    }

    /// Puts all of it into the model.
    ///
    /// # Errors
    /// If the checkpoint is one of another model.
    pub(crate) fn restore(
        &self,
        model: &mut dyn StreamModel,
        file: &RecipeFile,
        frozen: bool,
        watch: &mut dyn FnMut(LearnEvent<'_>),
    ) -> Result<()> {
        if let Some(checkpoint) = &self.checkpoint {
            model.load(checkpoint).map_err(|e| file.of_misfit(e, self.old_recipe.as_deref()))?;
        }
        if frozen {
            model.freeze();
        }
        anchor(model, file, &self.known())?;
        if let (Some(state), Some(checkpoint)) = (self.same(), &self.checkpoint) {
            model.restore(state, &checkpoint.tensors)?;
            tell_resumed(file, checkpoint, state, watch);
        }
        let seen = if self.is_own { self.same() } else { self.state.as_ref() };
        model.restore_input_length(seen.and_then(|s| s.input_length));
        Ok(())
    }
}

/// Whether the newest checkpoint of the run in a folder is one of a stream.
///
/// # Errors
/// If it cannot be read now.
pub fn learned_from_stream(run: &Path) -> Result<bool> {
    let Ok(folder) = RunFolder::open(run) else { return Ok(false) };
    let found = folder.checkpoints(1).newest()?.0;
    Ok(found.is_some_and(|checkpoint| checkpoint.meta.stream.is_some()))
}

/// Whether the run in a folder has taken no step and no event, as one whose records were all bad.
pub(crate) fn has_learned_nothing(run: &Path) -> Result<bool> {
    let Ok(folder) = RunFolder::open(run) else { return Ok(false) };
    let (Some(checkpoint), damaged) = folder.checkpoints(1).newest()? else { return Ok(false) };
    // What those after it had learned is not known.
    if !damaged.is_empty() {
        return Ok(false);
    }
    let state = StreamState::of(&checkpoint.meta)?;
    Ok(checkpoint.meta.step == 0 && state.is_some_and(|s| s.counts.events + s.counts.labels == 0))
}

/// The checkpoint of another run, of its last step or a chosen one, whose model this one starts with.
///
/// # Errors
/// If there is none, or it is damaged or cannot be read.
pub(crate) fn model_of(
    run: &Path,
    step: Option<u64>,
    watch: &mut dyn FnMut(LearnEvent<'_>),
) -> Result<Checkpoint> {
    let found = checkpoint_of(run, step)?;
    watch(LearnEvent::Notice(&format!("starting with the model of {}", found.path.display())));
    Ok(found)
}

/// The checkpoint of a run: that of `step`, or the last one.
///
/// # Errors
/// If there is none, or it is damaged or cannot be read.
pub(crate) fn checkpoint_of(run: &Path, step: Option<u64>) -> Result<Checkpoint> {
    let checkpoints = RunFolder::open(run)?.checkpoints(1);
    let found = match step {
        Some(step) => Some(checkpoints.of_step(step)?),
        None => checkpoints.latest()?,
    };
    found.ok_or_else(|| {
        Error::Usage(format!("{}: has no checkpoint; train it first", run.display()))
    })
}

fn tell_resumed(
    file: &RecipeFile,
    checkpoint: &Checkpoint,
    state: &StreamState,
    watch: &mut dyn FnMut(LearnEvent<'_>),
) {
    if checkpoint.meta.recipe_sha256 != file.sha256() {
        watch(LearnEvent::Notice(
            "the recipe has changed since this checkpoint: the run continues with the new one",
        ));
    }
    let (events, position) = (state.counts.events, &state.position);
    watch(LearnEvent::Notice(&format!("continuing after {events} events, from {position}")));
}

/// The name by which a checkpoint knows the stream.
pub(crate) fn source_of(options: &LearnOptions) -> String {
    let from = &options.from;
    match is_data(from) {
        true if from == "data:" => from.clone(),
        true => identity(&format!("file:{from}"), None),
        false => identity(from, Some(&options.out.join("log"))),
    }
}

/// What a checkpoint knows of the source that was learned from.
pub(crate) struct Before<'a> {
    pub(crate) source: &'a str,
    /// What its files have held.
    pub(crate) content: Option<&'a Content>,
    pub(crate) format: Option<Format>,
    /// Whether counts and figures go on with another source.
    pub(crate) goes_on: bool,
}

/// Whether the stream is the one of the checkpoint, to be taken from where that was written.
pub(crate) fn continues(
    file: &RecipeFile,
    options: &LearnOptions,
    state: &Before<'_>,
    source: &str,
    watch: &mut dyn FnMut(LearnEvent<'_>),
) -> Result<bool> {
    let from = &options.from;
    let is_same = state.source == source;
    let another = |watch: &mut dyn FnMut(LearnEvent<'_>)| {
        let figures = match state.goes_on {
            true => "counts and figures go on",
            false => "counts and figures start again",
        };
        watch(LearnEvent::Notice(&format!(
            "{from} is another stream than {}: the run continues with its model, and {figures}",
            state.source
        )));
        Ok(false)
    };
    let content = state.content.filter(|content| content.records > 0);
    let (Some(content), true) = (content, is_files(from)) else {
        return if is_same { Ok(true) } else { another(watch) };
    };
    let format = match state.format {
        Some(format) => Some(format),
        None => format_of(&file.recipe.stream, from).ok().map(|(format, _)| format),
    };
    let opened = open(from, &OpenOptions { format, ..OpenOptions::default() });
    let compared = opened.and_then(|mut opened| content.compare(opened.as_mut()));
    match (compared, is_same) {
        (Ok(Compared::Same), true) => Ok(true),
        (Ok(Compared::Different(what)), true) => Err(Error::Usage(format!(
            "{from}: is not what the run has learned from: {what}; give that file, or read this one \
             from its start with --from-start"
        ))),
        // The source itself says better what it lacks.
        (Err(_), true) => Ok(true),
        (Ok(Compared::Same), false) if kind(state.source) == kind(source) => {
            let was = state.source;
            let what =
                format!("{from} holds what the run has learned from as {was}: it continues there");
            watch(LearnEvent::Notice(&what));
            Ok(true)
        }
        (Ok(Compared::Same), false) => Err(Error::Usage(format!(
            "{from}: holds what the run has learned from as {}; continue with that address, or read \
             this one from its start with --from-start",
            state.source
        ))),
        (Ok(Compared::Different(_)) | Err(_), false) => another(watch),
    }
}

/// The scheme of a stream's name.
fn kind(source: &str) -> &str {
    source.split_once(':').map_or("", |(scheme, _)| scheme)
}

/// Where an anchor needs to know which weights matter: they are those of the recipe's batch data.
fn anchor(model: &mut dyn StreamModel, file: &RecipeFile, known: &Known) -> Result<()> {
    if !model.wants_anchor() {
        return Ok(());
    }
    let data = dataset(file, "data:", Some(known))?;
    let order = Order::Shuffled { seed: file.recipe.training.seed }.epoch(0, data.len());
    let mut next = 0;
    model.anchor(&mut |take| {
        if next >= data.len() {
            return Ok(false);
        }
        let one = data.read(order.index(next))?;
        let weight = one.weights.first().copied().unwrap_or(0.0);
        // What is broken weighs nothing.
        let truth = if weight == 0.0 { Truth::Unknown } else { one.truth(0) };
        take(&Sample { weight, ..Sample::new(Inputs::Fields(&one, 0), truth) })?;
        next += 1;
        Ok(true)
    })
}
