//! `tidemill explain`

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_engine::engine::Engine;
use tidemill_engine::nn::UNKNOWN_VOCABULARY;
use tidemill_engine::page::number::bytes;
use tidemill_recipe::{OptimizerState, RecipeFile, training_spec};
use tidemill_train::bench::BenchData;
use tidemill_train::memory::engine_within;

use crate::failure::{Failure, Result};
use crate::print::say;
use crate::size;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The recipe, a TOML file.
    recipe: PathBuf,
    /// Override a value of the recipe, such as batch.batch_size=1; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Number of threads [default: all cores].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Memory limit of a run, such as 512MB: also prints what its memory is made of, and what is computed twice to fit.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    memory: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let mut file = RecipeFile::read(&arguments.recipe, &arguments.set)?;
    file.only_network()?;
    if file.recipe.training.shards > 1 {
        let shards = file.recipe.training.shards;
        say!(
            "training.shards = {shards}: a step computes {shards} such shards, then makes its update\n"
        )?;
    }
    let threads = arguments.threads.map(usize::from);
    if let Some(limit) = arguments.memory {
        let (engine, why) = engine_within(&mut file, threads, limit)?;
        if let Some(why) = why {
            say!("data that are read ahead are not counted: {why}\n")?;
        }
        let memory = engine.explain_memory().map_err(|e| Failure::usage(e.to_string()))?;
        say!("{memory}")?;
        return show(&file, &engine);
    }
    // A plan depends on shapes alone. Only the vocabulary of texts is one that their files tell.
    if file.reads_tokens()
        && file.recipe.model.is_short()
        && let Err(why) = BenchData::open(&mut file)
    {
        if file.tokenizer().is_some() {
            return Err(why.into());
        }
        say!("the vocabulary is not known, and {UNKNOWN_VOCABULARY} tokens stand in: {why}\n")?;
    }
    let engine = Engine::compile(training_spec(&file, threads))
        .map_err(|e| Failure::usage(format!("{}: {e}", arguments.recipe.display())))?;
    show(&file, &engine)
}

fn show(file: &RecipeFile, engine: &Engine) -> Result {
    say!("{}", engine.explain().trim_end())?;
    let training = &file.recipe.training;
    if training.optimizer_state == OptimizerState::Sharded {
        let kept = |workers: usize| bytes(engine.slot_bytes_of(workers));
        let most = [2, 4, 8].into_iter().filter(|&workers| workers <= training.shards);
        let most: Vec<String> = most.map(|n| format!("{} with {n}", kept(n))).collect();
        say!(
            "training.optimizer_state: {} of the optimizer's slots; a worker keeps at most {}",
            kept(1),
            most.join(", ")
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
