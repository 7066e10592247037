//! Continuing a run: what has changed since its checkpoint was written, and where it continues.

use std::sync::Arc;

use tidemill_engine::checkpoint::{Checkpoint, Checkpoints, Course, Meta};
use tidemill_engine::data::tokens::Tokenizer;
use tidemill_engine::data::{DataSpec, Known};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::nn::ScheduleSpec;
use tidemill_recipe::RecipeFile;
use tidemill_recipe::data::RunData;

use crate::place::Position;
use crate::run::RunOptions;

/// What a run that continues knows of the columns of its table, and its tokenizer: tables and texts are read
/// as the run knows them.
pub(crate) fn known(
    file: &RecipeFile,
    options: &RunOptions,
) -> Result<(Option<Known>, Option<Arc<Tokenizer>>)> {
    let is_table = matches!(file.recipe.batch.data, Some(DataSpec::Csv(_)));
    let Some(run) = options.continued() else { return Ok((None, None)) };
    if !is_table && !file.reads_tokens() {
        return Ok((None, None));
    }
    let checkpoints = Checkpoints::new(run, file.recipe.checkpoint.keep).stored(true);
    let Some(checkpoint) = checkpoints.newest()?.0 else { return Ok((None, None)) };
    let tokenizer = checkpoint.tokenizer()?;
    let known = Some(checkpoint.meta.known).filter(Known::is_fitted);
    Ok((known, tokenizer))
}

/// The recipe of the run that is continued, as it is in its folder.
pub(crate) fn old_recipe(options: &RunOptions) -> Option<String> {
    std::fs::read_to_string(options.continued()?.join("recipe.toml")).ok()
}

/// What the recipe and the data make of a run that starts now.
pub(crate) fn course(file: &RecipeFile, data: &RunData) -> Course {
    let batch = &file.recipe.batch;
    let (samples, size) = (data.train.len() as u64, batch.batch_size as u64);
    let samples_per_pass = match batch.drop_remainder {
        true => samples - samples % size,
        false => samples,
    };
    let batches = match &data.buckets {
        Some(buckets) => buckets.batches() as u64,
        None => samples_per_pass.div_ceil(size),
    };
    let steps_per_epoch = batch.steps_per_epoch.unwrap_or(batches).max(1);
    let mut course = Course {
        samples,
        samples_per_pass,
        steps_per_epoch,
        run_steps: 0,
        fingerprint: data.train.fingerprint(),
        options_sha256: file.data_options_sha256(),
        first_epoch: 0,
        first_step: 0,
    };
    course.run_steps = course.end(file.recipe.epochs());
    course
}

/// Where a run continues, and how its steps count from there.
pub(crate) struct Continued {
    pub(crate) at: Position,
    pub(crate) course: Course,
    /// Whether the epoch under way continues, as opposed to beginning again.
    pub(crate) same_epoch: bool,
}

/// Compares a checkpoint with what is there now. `old_recipe` is the recipe that the run had.
///
/// # Errors
/// If the run's weights would mean something else.
pub(crate) fn resume(
    file: &RecipeFile,
    old_recipe: Option<&str>,
    checkpoint: &Checkpoint,
    data: &RunData,
    notice: &mut dyn FnMut(&str),
) -> Result<Continued> {
    let meta = &checkpoint.meta;
    check_classes(file, meta, data, notice)?;
    let keys = old_recipe.map(|old| file.differences(old)).unwrap_or_default();
    if keys.iter().any(|key| key.starts_with("text.tokenizer")) {
        notice(
            "text.tokenizer has changed, and has no effect on this run: its weights belong to the tokens that \
             it began with",
        );
    }
    if meta.recipe_sha256 != file.sha256() {
        let keys = match &keys[..] {
            [] => String::new(),
            keys => format!(" in {}", keys.join(", ")),
        };
        notice(&format!(
            "the recipe has changed since this checkpoint{keys}: the run continues with the new one, \
             and will not end with the weights of a run that was never stopped"
        ));
    }
    let mut at = Position {
        step: meta.step - meta.online_steps,
        online_steps: meta.online_steps,
        samples: meta.samples,
        data: meta.position,
        history: meta.history.clone(),
        wall_seconds: meta.wall_seconds,
    };
    let mut now = course(file, data);
    let Some(then) = &meta.course else {
        return Ok(Continued { at, course: now, same_epoch: true });
    };
    tell_data(then, &now, notice);
    (now.first_epoch, now.first_step) = (then.first_epoch, then.first_step);
    let same_steps = (then.samples_per_pass, then.steps_per_epoch)
        == (now.samples_per_pass, now.steps_per_epoch);
    let mut same_epoch = true;
    if !same_steps {
        // Epochs have another number of steps from here on. The one under way begins again.
        (now.first_epoch, now.first_step) = (then.epoch(at.step), at.step);
        same_epoch = then.step_of_epoch(at.step) == 0;
        let passes = at.data / then.samples_per_pass.max(1);
        at.data = passes.saturating_mul(now.samples_per_pass);
        if !same_epoch {
            notice(&format!(
                "epochs have {} steps now, and had {}: epoch {} begins again",
                now.steps_per_epoch,
                then.steps_per_epoch,
                now.first_epoch + 1
            ));
        }
    }
    now.run_steps = now.end(file.recipe.epochs());
    tell_schedule(file.recipe.training.optimizer.schedule(), then, &now, at.step, notice);
    Ok(Continued { at, course: now, same_epoch })
}

/// Fails where a class number stands for another class than it did.
fn check_classes(
    file: &RecipeFile,
    meta: &Meta,
    data: &RunData,
    notice: &mut dyn FnMut(&str),
) -> Result<()> {
    let (then, now) = (&meta.class_names, &data.class_names);
    let both = then.iter().zip(now).enumerate();
    let other = both.filter(|(_, (then, now))| then != now);
    let changes: Vec<String> = other
        .map(|(class, (then, now))| format!("class {class} was \"{then}\" and is \"{now}\""))
        .collect();
    if changes.is_empty() {
        return Ok(());
    }
    let few = changes.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    let more = if changes.len() > 3 { ", ..." } else { "" };
    let given = file.recipe.batch.data.as_ref().is_some_and(|data| data.numbers_classes());
    let what = format!("the classes have changed since this checkpoint: {few}{more}");
    if given {
        notice(&format!("{what}, as class_names says"));
        return Ok(());
    }
    Err(Error::Usage(format!(
        "batch.data: {what}, so that the weights would be taken for other classes. Name the folders as \
         before, or say by class_names which folder is class 0, 1, ...; or train from the start with \
         --force or in another folder with --out"
    )))
}

/// Says that the data is not what it was.
fn tell_data(then: &Course, now: &Course, notice: &mut dyn FnMut(&str)) {
    const HENCE: &str = "the run continues with what is there now, and will not end with the weights of a run on it \
         from the start";
    if then.samples != now.samples {
        notice(&format!(
            "batch.data has {} samples and had {} when this checkpoint was written: {HENCE}",
            now.samples, then.samples
        ));
    } else if then.fingerprint != 0 && then.fingerprint != now.fingerprint {
        notice(&format!(
            "batch.data has changed since this checkpoint (as many samples, but others): {HENCE}"
        ));
    }
    if then.options_sha256 != now.options_sha256 {
        notice(
            "the options of batch.data have changed since this checkpoint: the weights were trained on \
             samples that were read in another way (of a table, the columns, categories, classes and \
             scaling stay those of the run)",
        );
    }
}

/// Says that a schedule which spans the run jumps, since the run's length has changed.
fn tell_schedule(
    schedule: &ScheduleSpec,
    then: &Course,
    now: &Course,
    step: u64,
    notice: &mut dyn FnMut(&str),
) {
    let rate = |steps| schedule.clone().over(steps).at(step);
    let (old, new) = (rate(then.run_steps), rate(now.run_steps));
    if then.run_steps == now.run_steps || old == new || step >= now.run_steps {
        return;
    }
    notice(&format!(
        "the learning rate's schedule spans the whole run, which has {} steps now and had {}: the rate of \
         step {} is {new:.3e} instead of {old:.3e}, and the weights will not be those of a run of {} steps \
         from the start. total_steps in the schedule fixes its length",
        now.run_steps,
        then.run_steps,
        step + 1,
        now.run_steps
    ));
}
