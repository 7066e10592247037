//! `tidemill data`

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_engine::data::digits::write_folder;
use tidemill_engine::data::numerals::write_numerals;
use tidemill_engine::page::number::{count, plural};
use tidemill_recipe::RecipeFile;
use tidemill_train::preview::preview;

use crate::failure::Result;
use crate::print::say;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Draw images of handwritten-looking digits into OUT/train/0..9 and OUT/test/0..9.
    Digits(Digits),
    /// Write numbers in English and in German words, a line each: a translation to learn.
    Numerals(Numerals),
    /// Draw a sheet of training images as augmentation varies them: a PNG file with a row for each sample.
    Preview(Preview),
    /// Make images smaller once and put them into shards: tar files with KEY.jpg and KEY.cls, from which training reads faster.
    Pack(super::pack::Arguments),
    /// Make strings of spoken digits from recordings of single ones, with pauses and noise: speech to learn.
    ConnectedDigits(super::connected_digits::Arguments),
}

#[derive(clap::Args)]
pub(crate) struct Preview {
    /// The recipe, a TOML file.
    recipe: PathBuf,
    /// The PNG file to write.
    #[arg(long)]
    out: PathBuf,
    /// Number of samples, one a row.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=100))]
    samples: u16,
    /// Number of variants of each, those of the first epochs.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=100))]
    variants: u16,
    /// Override a value of the recipe, such as batch.augment.horizontal_flip=0.5; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(clap::Args)]
pub(crate) struct Numerals {
    /// The folder to write to.
    #[arg(long)]
    out: PathBuf,
    /// Pairs to learn from.
    #[arg(long, default_value_t = 6000)]
    train: usize,
    /// Other pairs, to test with.
    #[arg(long, default_value_t = 300)]
    test: usize,
    /// Random seed; the same seed gives the same numbers.
    #[arg(long, default_value_t = 0)]
    seed: u64,
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
    let d = match command {
        Command::Digits(digits) => digits,
        Command::ConnectedDigits(arguments) => return super::connected_digits::run(arguments),
        Command::Pack(arguments) => return super::pack::run(arguments),
        Command::Preview(p) => {
            let file = RecipeFile::read(&p.recipe, &p.set)?;
            let (samples, variants) = (usize::from(p.samples), usize::from(p.variants));
            let shown = preview(&file, samples, variants, &p.out)?;
            say!(
                "wrote {}: {} as they are, and {variants} variants of each",
                p.out.display(),
                plural(shown as u64, "sample")
            )?;
            if file.recipe.batch.augment.is_none() {
                say!("the recipe has no batch.augment, so that all variants are alike")?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        Command::Numerals(n) => {
            let written = write_numerals(&n.out, n.seed, n.train, n.test)?;
            let (train, test) = (count(n.train as u64), count(n.test as u64));
            say!(
                "wrote {train} numbers in words: {}, and {test} others: {}, each with the German words in a .de file",
                written.train.display(),
                written.test.display()
            )?;
            return Ok(ExitCode::SUCCESS);
        }
    };
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
