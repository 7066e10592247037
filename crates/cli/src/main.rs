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

use clap::{Parser, Subcommand};

/// Train neural networks with one compiled step.
#[derive(Parser)]
#[command(name = "tidemill", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make digit images, train on them, and show what came out; needs nothing but this program.
    Quickstart(commands::quickstart::Arguments),
    /// Train as a recipe says.
    Train(commands::train::Arguments),
    /// Learn from a stream, event by event.
    Learn(commands::learn::Arguments),
    /// Batch or online? Measure on the data and answer.
    Advise(commands::advise::Arguments),
    /// Measure batch and online learning side by side on the same events.
    Compare(commands::compare::Arguments),
    /// Measure a run's model on data.
    Eval(commands::eval::Arguments),
    /// Say what a run's model thinks of files.
    Predict(commands::predict::Arguments),
    /// Show how a recipe's training step is computed: layers, kernels, memory, predicted time.
    Explain(commands::explain::Arguments),
    /// Look for mistakes in a recipe and its data before the first step.
    Doctor(commands::doctor::Arguments),
    /// Measure how long a training step takes.
    Bench(commands::bench::Arguments),
    /// Make data.
    #[command(subcommand)]
    Data(commands::data::Command),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Quickstart(arguments) => commands::quickstart::run(&arguments),
        Command::Train(arguments) => commands::train::run(&arguments),
        Command::Learn(arguments) => commands::learn::run(&arguments),
        Command::Advise(arguments) => commands::advise::run(&arguments),
        Command::Compare(arguments) => commands::compare::run(&arguments),
        Command::Eval(arguments) => commands::eval::run(&arguments),
        Command::Predict(arguments) => commands::predict::run(&arguments),
        Command::Explain(arguments) => commands::explain::run(&arguments),
        Command::Doctor(arguments) => commands::doctor::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::Data(command) => commands::data::run(&command),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
