//! `tidemill data`

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_engine::data::digits::write_folder;
use tidemill_engine::page::number::count;

use crate::failure::Result;
use crate::print::say;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Draw images of handwritten-looking digits into OUT/train/0..9 and OUT/test/0..9.
    Digits(Digits),
}

#[derive(clap::Args)]
pub(crate) struct Digits {
    /// The folder to write to.
    #[arg(long)]
    out: PathBuf,
    /// Training images per digit.
    #[arg(long, default_value_t = 1000)]
    train: usize,
    /// Test images per digit.
    #[arg(long, default_value_t = 200)]
    test: usize,
    /// Random seed; the same seed gives the same images.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Height and width of an image, in pixels.
    #[arg(long, default_value_t = 28)]
    size: usize,
}

pub(crate) fn run(command: &Command) -> Result {
    let Command::Digits(d) = command;
    let written = write_folder(&d.out, d.seed, d.train, d.test, d.size)?;
    let verb = if written.reused { "found" } else { "wrote" };
    say!(
        "{verb} {} images of digits: {} and {}",
        count(written.num_images as u64),
        written.train.display(),
        written.test.display()
    )?;
    Ok(ExitCode::SUCCESS)
}
