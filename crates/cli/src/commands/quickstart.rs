//! `tidemill quickstart`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use tidemill_engine::Existing;
use tidemill_engine::data::digits::{PHASES, write_folder, write_stream};
use tidemill_engine::page::number::{count, duration};
use tidemill_engine::prequential::Prequential;
use tidemill_online::driver::{StreamEnd, Until};
use tidemill_online::{LearnOptions, LearnOutcome};
use tidemill_recipe::RecipeFile;
use tidemill_train::{RunOptions, StoppedBy, Trained, Weights};

use super::{learn, quickstart_speech, quickstart_text, train};
use crate::failure::{Failure, INTERRUPTED, Result};
use crate::interrupt;
use crate::print::{say, tell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder for the images, the recipe and the runs.
    #[arg(long, default_value = "tidemill-quickstart")]
    out: PathBuf,
    /// Translate numbers from English to German words instead.
    #[arg(long)]
    text: bool,
    /// Write down the keys of a telephone from the sound of its tones instead, while they come.
    #[arg(long, conflicts_with = "text")]
    speech: bool,
}

/// The article's model on the digits beside it.
const RECIPE: &str = r#"# Written by `tidemill quickstart`. Change it, then: tidemill train recipe.toml

[model]
input  = { image = { height = 28, width = 28, channels = 1 } }
layers = [
  { flatten = {} },
  { dense = { units = 128, activation = "relu" } },
  { dense = { units = 10 } },
]

[training]
loss      = "sparse_categorical_crossentropy" # on logits
optimizer = { sgd = { learning_rate = 0.05 } }

[batch]
data       = { image_directory = { path = "digits/train", normalize = { mean = [0.5], std = [0.5] } } }
validation = { image_directory = { path = "digits/test", normalize = { mean = [0.5], std = [0.5] } } }
batch_size = 32
epochs     = 10

[stream]
format = "json_lines"

[online]
learning_rate = 0.003 # lower than above: a single event is noisier than a batch
features = { vector_scale = 0.00784313725490196, vector_offset = -1.0 } # grey values to -1..1, like normalize above
"#;

/// Digits of the stream.
const EVENTS: u64 = 12_000;

const TRAIN_PER_CLASS: usize = 1000;
const TEST_PER_CLASS: usize = 200;

pub(crate) fn run(arguments: &Arguments) -> Result {
    let out = &arguments.out;
    if arguments.text {
        return quickstart_text::run(out);
    }
    if arguments.speech {
        return quickstart_speech::run(out);
    }
    let start = Instant::now();
    let digits = write_folder(&out.join("digits"), 0, TRAIN_PER_CLASS, TEST_PER_CLASS, 28)?;
    tell!(
        "{} digit images {} {} ({})",
        count(digits.num_images as u64),
        if digits.reused { "found in" } else { "drawn into" },
        out.join("digits").display(),
        duration(start.elapsed().as_secs_f64())
    );

    let Some(run) = train_in(out, RECIPE, "training a 784-128-10 network on them")? else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    ask(&run, &digits.test)?;
    stream(out, &out.join("recipe.toml"))
}

/// Trains as the recipe in `out` says, which is `text` where there is none yet, and shows the result. Gives the run's
/// folder; none if the run was interrupted.
pub(super) fn train_in(out: &Path, text: &str, doing: &str) -> Result<Option<PathBuf>> {
    let recipe = out.join("recipe.toml");
    // A recipe that was changed since is not ours to overwrite.
    if !recipe.exists() {
        std::fs::write(&recipe, text).map_err(|e| {
            Failure::failed(format!("{}: cannot be written: {e}", recipe.display()))
        })?;
    }
    tell!("{doing} ({})", recipe.display());
    let options = RunOptions {
        from: None,
        out: out.join("run"),
        existing: Existing::Replace,
        threads: None,
        memory: None,
        workers: tidemill_train::WorkerGroup::One,
        pause_after: None,
        interrupt: interrupt::flag(),
    };
    let outcome = train::train(RecipeFile::read(&recipe, &[])?, &options)?;
    say!("\n{}", train::result(&outcome).trim_end())?;
    Ok((outcome.stopped_by != StoppedBy::Interrupt).then_some(options.out))
}

/// A stream of digits that drifts, learned from by the trained model, and scored by a frozen one.
fn stream(out: &Path, recipe: &Path) -> Result {
    let (run, events) = (out.join("run"), out.join("stream.jsonl"));
    write_stream(&events, 0, EVENTS, 28)?;
    let each = EVENTS / PHASES.len() as u64;
    tell!(
        "\nlearning from a stream of {} digits that drifts after every {}: {}",
        count(EVENTS),
        count(each),
        PHASES.join(", ")
    );
    let file = RecipeFile::read(&run.join("recipe.toml"), &[])?;
    let mut options = LearnOptions {
        from: events.display().to_string(),
        out: out.join("frozen"),
        existing: Existing::Replace,
        model: Some(run.clone()),
        checkpoint: None,
        frozen: true,
        beside: None,
        from_start: false,
        threads: None,
        memory: None,
        until: Until::default(),
        rate: None,
        predictions: None,
        access: Default::default(),
        skip: Vec::new(),
        interrupt: interrupt::flag(),
    };
    let frozen = learn::shown(file.clone(), &options, false)?;
    options.out = out.join("run-stream");
    options.frozen = false;
    options.beside = Some(frozen.prequential.clone());
    let learned = learn::shown(file, &options, false)?;
    if learned.ended_by == StreamEnd::Interrupt {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    say!("\n  accuracy on the stream; each digit is predicted before the model learns from it")?;
    say!("  {:<20}{:>8}  {:>8}", "", "frozen", "learning")?;
    for (i, phase) in PHASES.iter().enumerate() {
        let range = i as u64 * each..(i as u64 + 1) * each;
        let share = |o: &LearnOutcome| 100.0 * accuracy(&o.prequential, &range);
        say!("  {phase:<20}{:>6.1} %  {:>6.1} %", share(&frozen), share(&learned))?;
    }
    say!("\n{}", learn::result(&learned).trim_end())?;
    say!(
        "\nnext:  tidemill learn {} --from FILE\n       tidemill train {} --set batch.epochs=20",
        options.out.display(),
        recipe.display()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The share of right predictions among those events, from the points of the curve.
fn accuracy(figures: &Prequential, events: &std::ops::Range<u64>) -> f64 {
    let right = |at: u64| {
        let points = figures.curve().line("accuracy");
        let point = points.into_iter().rfind(|&(events, _)| events <= at as f64);
        point.map_or((0.0, 0.0), |(events, share)| (events, events * share))
    };
    let ((from, before), (to, after)) = (right(events.start), right(events.end));
    (after - before) / (to - from).max(1.0)
}

/// Asks the trained model about a few images, as a user would.
fn ask(run: &Path, test: &Path) -> Result<()> {
    let mut files = Vec::new();
    for digit in ["3", "7"] {
        let folder = test.join(digit);
        let entries = std::fs::read_dir(&folder)
            .map_err(|e| Failure::failed(format!("{}: cannot be read: {e}", folder.display())))?;
        files.extend(entries.filter_map(|e| Some(e.ok()?.path())).min());
    }
    let mut lines = vec!["\npredictions of the trained model".to_string()];
    Trained::open(run, Weights::Latest, None)?.predict(&files, &[], &mut |p| {
        let class = p.class.unwrap_or_default();
        lines.push(format!("  {} is a {class} ({:.1} %)", p.source, 100.0 * p.probability));
        Ok(())
    })?;
    Ok(say!("{}", lines.join("\n"))?)
}
