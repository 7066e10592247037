//! `tidemill quickstart`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use tidemill_data::digits::write_folder;
use tidemill_train::{Existing, RecipeFile, RunOptions, StoppedBy, Trained, Weights};

use super::train;
use crate::failure::{Failure, INTERRUPTED, Result};
use crate::interrupt;
use crate::print::{say, tell};
use crate::table::{count, duration};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder for images, recipe and run.
    #[arg(long, default_value = "tidemill-quickstart")]
    out: PathBuf,
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
optimizer = { adam = { learning_rate = 1e-3 } }

[batch]
data       = { image_directory = { path = "digits/train" } }
validation = { image_directory = { path = "digits/test" } }
batch_size = 32
epochs     = 10
"#;

const TRAIN_PER_CLASS: usize = 1000;
const TEST_PER_CLASS: usize = 200;

pub(crate) fn run(arguments: &Arguments) -> Result {
    let out = &arguments.out;
    let start = Instant::now();
    let digits = write_folder(&out.join("digits"), 0, TRAIN_PER_CLASS, TEST_PER_CLASS, 28)?;
    tell!(
        "{} digit images {} {} ({})",
        count(digits.num_images as u64),
        if digits.reused { "found in" } else { "drawn into" },
        out.join("digits").display(),
        duration(start.elapsed().as_secs_f64())
    );

    let recipe = out.join("recipe.toml");
    // A recipe that was changed since is not ours to overwrite.
    if !recipe.exists() {
        std::fs::write(&recipe, RECIPE).map_err(|e| {
            Failure::failed(format!("{}: cannot be written: {e}", recipe.display()))
        })?;
    }
    tell!("training 784-128-10 on them, as {} says", recipe.display());
    let options = RunOptions {
        out: out.join("run"),
        existing: Existing::Replace,
        threads: None,
        memory: None,
        interrupt: interrupt::flag(),
    };
    let outcome = train::train(RecipeFile::read(&recipe, &[])?, &options)?;
    say!("\n{}", train::result(&outcome).trim_end())?;
    if outcome.stopped_by == StoppedBy::Interrupt {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    ask(&options.out, &digits.test)?;
    say!("\nnext:  tidemill train {} --set batch.epochs=20", recipe.display())?;
    Ok(ExitCode::SUCCESS)
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
    Trained::open(run, Weights::Latest, None)?.predict(&files, &mut |p| {
        let class = p.class.unwrap_or_default();
        lines.push(format!("  {} is a {class} ({:.1} %)", p.source, 100.0 * p.probability));
        Ok(())
    })?;
    Ok(say!("{}", lines.join("\n"))?)
}
