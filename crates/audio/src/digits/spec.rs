//! What strings of digits are made.

use crate::augment::spec::range;
use crate::features::spec::check_rate;
use crate::{AudioError, Result};

/// Which strings of digits are made, and how they sound.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectedDigitsSpec {
    /// Strings to train with.
    pub train: u64,
    /// Strings to test with.
    pub test: u64,
    /// Two runs with one seed make the same files.
    pub seed: u64,
    /// Speakers that only the test has. Without any, the test has recordings of all speakers that the training has not:
    /// those numbered 0 to 4, as in the dataset's own split.
    pub test_speakers: Vec<String>,
    /// The most digits of a string, equally often as fewer.
    pub max_digits: u64,
    /// Samples a second.
    pub sample_rate: u32,
    /// The least and the most seconds between two digits, and before the first and after the last.
    pub pause: [f64; 2],
    /// The least and the most decibels that strings are made louder by.
    pub gain_db: [f64; 2],
    /// The least and the most decibels by which the string is louder than the noise, white or pink.
    pub snr_db: [f64; 2],
    /// The slowest and the fastest speed.
    pub speed: [f64; 2],
}

impl Default for ConnectedDigitsSpec {
    fn default() -> ConnectedDigitsSpec {
        ConnectedDigitsSpec {
            train: 3000,
            test: 300,
            seed: 0,
            test_speakers: vec![],
            max_digits: 7,
            sample_rate: 8000,
            pause: [0.05, 0.4],
            gain_db: [-6.0, 6.0],
            snr_db: [15.0, 40.0],
            speed: [0.9, 1.1],
        }
    }
}

impl ConnectedDigitsSpec {
    pub(super) fn check(&self) -> Result<()> {
        check_rate("the sample rate", self.sample_rate)?;
        range("the seconds of pauses", self.pause, [0.0, 10.0])?;
        range("the decibels of gain", self.gain_db, [-60.0, 60.0])?;
        range("the decibels of the signal above the noise", self.snr_db, [-40.0, 120.0])?;
        range("the speed", self.speed, [0.5, 2.0])?;
        if !(1..=100).contains(&self.max_digits) {
            let what = format!("strings of {} digits must be of 1 to 100", self.max_digits);
            return Err(AudioError::option(what));
        }
        if self.train.max(self.test) > 99_999 || self.train + self.test == 0 {
            let (train, test) = (self.train, self.test);
            return Err(AudioError::option(format!(
                "from 1 to 99999 strings can be made to train and to test with, found {train} and {test}"
            )));
        }
        Ok(())
    }
}
