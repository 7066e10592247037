//! The tidemill command line.
#![forbid(unsafe_code)]

mod commands;
mod failure;
mod interrupt;
mod print;
mod progress;
mod size;
mod table;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
// For its features alone; see the workspace's Cargo.toml.
use getrandom as _;

/// Train neural networks from stored data and from live streams.
#[derive(Parser)]
#[command(name = "tidemill", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
First steps:
  tidemill quickstart                        a first run that needs no data
  tidemill init DATA                         write a recipe for your data
  tidemill train RECIPE                      train it
  tidemill predict RUN --data FILES          use it

Exit status: 0 success, 1 the run failed, 2 wrong usage or recipe, 130 interrupted with a checkpoint.
The documentation is in docs/ of the repository; docs/recipe-reference.md lists every key of a recipe.";

#[derive(Subcommand)]
enum Command {
    /// Draw digit images, train on them, learn from a drifting stream, and print the results.
    Quickstart(commands::quickstart::Arguments),
    /// Look at data and write a commented recipe for it.
    Init(commands::init::Arguments),
    /// Train a model on stored data.
    Train(commands::train::Arguments),
    /// Take part in a run of another process that trains with several workers.
    Work(commands::work::Arguments),
    /// Learn from a stream, event by event.
    Learn(commands::learn::Arguments),
    /// Evaluate a trained model on data.
    Eval(commands::eval::Arguments),
    /// Predict on files with a trained model.
    Predict(commands::predict::Arguments),
    /// Measure how much a trained model owes to each column of a table.
    Importance(commands::importance::Arguments),
    /// Check a recipe and its data for mistakes before training.
    Doctor(commands::doctor::Arguments),
    /// Show how a recipe's training step is computed: kernels, fusions, memory, expected time.
    Explain(commands::explain::Arguments),
    /// Show that a recipe's result does not depend on workers and threads.
    Prove(commands::prove::Arguments),
    /// Compare runs: a table, and a page with their curves.
    Runs(commands::runs::Arguments),
    /// Watch runs in the terminal: a table, and the curves of one of them.
    Top(commands::top::Arguments),
    /// Train a recipe with different values of its keys, and compare the results.
    Search(commands::search::Arguments),
    /// Try many learning rates for a few steps, and suggest one.
    FindRate(commands::find_rate::Arguments),
    /// Measure the time of a training step.
    Bench(commands::bench::Arguments),
    /// Compare batch and online learning on the same events.
    Compare(commands::compare::Arguments),
    /// Recommend batch or online learning, from measurements on your data.
    Advise(commands::advise::Arguments),
    /// Write a run's model, weights or tokenizer to a file for other programs.
    Export(commands::export::Arguments),
    /// Generate sample data.
    #[command(subcommand)]
    Data(commands::data::Command),
    /// Print a completion script for a shell.
    Completions(commands::manual::Completions),
    /// Write the manual pages, one for each command.
    Man(commands::manual::Man),
}

fn main() -> ExitCode {
    if let Err(failure) = check_environment() {
        return failure.report();
    }
    interrupt::outlive_limits();
    let result = match Arguments::parse().command {
        Command::Quickstart(arguments) => commands::quickstart::run(&arguments),
        Command::Init(arguments) => commands::init::run(&arguments),
        Command::Train(arguments) => commands::train::run(&arguments),
        Command::Work(arguments) => commands::work::run(&arguments),
        Command::Learn(arguments) => commands::learn::run(&arguments),
        Command::Advise(arguments) => commands::advise::run(&arguments),
        Command::Compare(arguments) => commands::compare::run(&arguments),
        Command::Eval(arguments) => commands::eval::run(&arguments),
        Command::Predict(arguments) => commands::predict::run(&arguments),
        Command::Importance(arguments) => commands::importance::run(&arguments),
        Command::Explain(arguments) => commands::explain::run(&arguments),
        Command::Doctor(arguments) => commands::doctor::run(&arguments),
        Command::Prove(arguments) => commands::prove::run(&arguments),
        Command::Runs(arguments) => commands::runs::run(&arguments),
        Command::Top(arguments) => commands::top::run(&arguments),
        Command::Search(arguments) => commands::search::run(&arguments),
        Command::FindRate(arguments) => commands::find_rate::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::Export(arguments) => commands::export::run(&arguments),
        Command::Data(command) => commands::data::run(&command),
        Command::Completions(arguments) => commands::manual::completions(&arguments, program()),
        Command::Man(arguments) => commands::manual::man(&arguments, program()),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

/// A misspelt instruction set would be ignored, and the run would have other bits than expected; so would a check.
fn check_environment() -> Result<(), failure::Failure> {
    if let Ok(name) = std::env::var("TIDEMILL_ARENA")
        && name != "checked"
    {
        let what = format!("TIDEMILL_ARENA = {name:?} means nothing; it may be checked");
        return Err(failure::Failure::usage(what));
    }
    const KNOWN: [&str; 3] = ["portable", "avx2", "avx512"];
    match std::env::var("TIDEMILL_ISA") {
        Ok(name) if !KNOWN.contains(&name.as_str()) => Err(failure::Failure::usage(format!(
            "TIDEMILL_ISA = {name:?} is no instruction set; it may be portable, avx2 or avx512"
        ))),
        _ => Ok(()),
    }
}

/// All commands and options, for what is made from them.
fn program() -> clap::Command {
    Arguments::command()
}
