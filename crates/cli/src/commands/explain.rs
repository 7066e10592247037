//! `tidemill explain`

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_engine::engine::Engine;
use tidemill_engine::nn::UNKNOWN_VOCABULARY;
use tidemill_recipe::RecipeFile;
use tidemill_recipe::engine_spec;
use tidemill_train::bench::BenchData;

use crate::failure::{Failure, Result};
use crate::print::say;

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
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let mut file = RecipeFile::read(&arguments.recipe, &arguments.set)?;
    file.only_network()?;
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
    let engine = Engine::compile(engine_spec(&file, arguments.threads.map(usize::from)))
        .map_err(|e| Failure::usage(format!("{}: {e}", arguments.recipe.display())))?;
    say!("{}", engine.explain().trim_end())?;
    Ok(ExitCode::SUCCESS)
}
