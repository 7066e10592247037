//! `tidemill prove`

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_engine::page::number::plural;
use tidemill_recipe::RecipeFile;
use tidemill_train::{Proved, prove};

use crate::failure::{Failure, Result};
use crate::interrupt;
use crate::print::{say, tell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The recipe.
    recipe: PathBuf,
    /// Number of training steps in each way.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..))]
    steps: u64,
    /// Override a value of the recipe, such as training.shards=8; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let file = RecipeFile::read(&arguments.recipe, &arguments.set)?;
    let (shards, batch) = (file.recipe.training.shards, file.recipe.batch.batch_size);
    if shards == 1 {
        tell!(
            "note: training.shards = 1: batches are not shared, so that only threads are compared; \
             --set training.shards=8 compares workers too"
        );
    }
    let folder = std::env::temp_dir().join(format!("tidemill-prove-{}", std::process::id()));
    say!("{:<24} {:<14} {:>7}  state_sha256", "workers x threads", "samples each", "seconds")?;
    let mut line = |proved: &Proved| {
        let part = |&(workers, threads): &(usize, usize)| format!("{workers} x {threads}");
        let ways: Vec<String> = proved.parts.iter().map(part).collect();
        let samples = match proved.parts[..] {
            [(workers, _)] => format!("{workers} x {}", batch.div_ceil(workers)),
            _ => "resumed".to_owned(),
        };
        let (ways, sha) = (ways.join(", then "), &proved.state_sha256);
        // Shown as it comes; that nobody reads it does not matter.
        drop(say!("{ways:<24} {samples:<14} {:>7.2}  {sha}", proved.seconds));
    };
    let proved = prove(&file, arguments.steps, &folder, &interrupt::flag(), &mut line);
    // Whatever came of it.
    drop(std::fs::remove_dir_all(&folder));
    let proved = proved?;
    let first = proved.first().map(|p| (&p.state_sha256, p.loss.to_bits()));
    let others =
        proved.iter().filter(|p| Some((&p.state_sha256, p.loss.to_bits())) != first).count();
    if others > 0 {
        return Err(Failure::failed(format!(
            "{others} of {} ways ended with another state or loss; please report it",
            proved.len()
        )));
    }
    let steps = plural(arguments.steps, "step");
    say!(
        "after {steps}, all {} ways have the same parameters, optimizer slots and loss",
        proved.len()
    )?;
    Ok(ExitCode::SUCCESS)
}
