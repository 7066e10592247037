//! `tidemill data connected-digits`

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_engine::data::sound::AudioError;
use tidemill_engine::data::sound::digits::{ConnectedDigitsSpec, write_connected_digits};
use tidemill_engine::page::number::count;

use crate::failure::{Failure, Result};
use crate::print::say;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The recordings: the Free Spoken Digit Dataset's folder, or its archive (.tar.gz). Without it, digits are
    /// synthesized, with ten voices: s0 to s9.
    #[arg(long)]
    from: Option<PathBuf>,
    /// The folder to write to.
    #[arg(long)]
    out: PathBuf,
    /// Strings to learn from.
    #[arg(long, default_value_t = 3000)]
    train: u64,
    /// Strings to test with.
    #[arg(long, default_value_t = 300)]
    test: u64,
    /// Random seed; the same seed gives the same files.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A speaker that only the test has; may be given several times. Without it, the test has recordings of all speakers
    /// that the training has not.
    #[arg(long = "test-speaker", value_name = "NAME")]
    test_speakers: Vec<String>,
    /// The most digits of a string.
    #[arg(long, default_value_t = 7)]
    max_digits: u64,
    /// Samples a second.
    #[arg(long, default_value_t = 8000, value_name = "HZ")]
    sample_rate: u32,
    /// Seconds of silence about each digit, from the least to the most.
    #[arg(long, default_value = "0.05,0.4", value_parser = range, value_name = "LOW,HIGH")]
    pause: [f64; 2],
    /// Decibels that strings are made louder by.
    #[arg(long, default_value = "-6,6", value_parser = range, value_name = "LOW,HIGH", allow_hyphen_values = true)]
    gain_db: [f64; 2],
    /// Decibels by which strings are louder than the noise.
    #[arg(long, default_value = "15,40", value_parser = range, value_name = "LOW,HIGH", allow_hyphen_values = true)]
    snr_db: [f64; 2],
    /// The slowest and the fastest speed.
    #[arg(long, default_value = "0.9,1.1", value_parser = range, value_name = "LOW,HIGH")]
    speed: [f64; 2],
}

/// Two numbers with a comma between them, or one for both.
fn range(text: &str) -> std::result::Result<[f64; 2], String> {
    let (low, high) = text.split_once(',').unwrap_or((text, text));
    let number = |t: &str| t.trim().parse::<f64>().ok().filter(|v| v.is_finite());
    match (number(low), number(high)) {
        (Some(low), Some(high)) => Ok([low, high]),
        _ => Err("must be two numbers with a comma between them, such as 10,30".into()),
    }
}

pub(crate) fn run(a: &Arguments) -> Result {
    let spec = ConnectedDigitsSpec {
        train: a.train,
        test: a.test,
        seed: a.seed,
        test_speakers: a.test_speakers.clone(),
        max_digits: a.max_digits,
        sample_rate: a.sample_rate,
        pause: a.pause,
        gain_db: a.gain_db,
        snr_db: a.snr_db,
        speed: a.speed,
    };
    let written =
        write_connected_digits(a.from.as_deref(), &a.out, &spec).map_err(|error| match error {
            AudioError::Option(what) => Failure::usage(what),
            error => Failure::failed(error.to_string()),
        })?;
    let verb = if written.reused { "found" } else { "wrote" };
    say!(
        "{verb} {} strings of digits, {:.1} minutes: {} by {}, and {} by {}",
        count(written.strings),
        written.seconds / 60.0,
        written.train.display(),
        written.train_speakers.join(", "),
        written.test.display(),
        written.test_speakers.join(", ")
    )?;
    Ok(ExitCode::SUCCESS)
}
