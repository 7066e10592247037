//! What a recipe says about features.

use serde::{Deserialize, Serialize};

use crate::{AudioError, Result};

/// Rates that are read and resampled to.
pub(crate) const SAMPLE_RATES: std::ops::RangeInclusive<u32> = 1_000..=384_000;
/// The most samples of a frame: 8 times what 25 ms are at 192 kHz.
const MOST_FRAME_SAMPLES: usize = 1 << 16;
/// The most filters of a bank.
const MOST_BINS: usize = 1024;

/// What is computed of the samples. A recipe has one of `{ fbank = { bins = 40 } }`, `{ mfcc = {} }` and
/// `{ log_mel = {} }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FrontEndSpec {
    /// Logarithms of the energies of mel filters, as Kaldi computes them.
    Fbank(FbankSpec),
    /// Mel-frequency cepstral coefficients, as Kaldi computes them.
    Mfcc(MfccSpec),
    /// Whisper's logarithms of mel filters. Its scaling by the loudest value of a window of 30 seconds is a
    /// function of its own, `whisper_scale`, since a stream does not know that value.
    LogMel(LogMelSpec),
}

/// Options of `fbank`. The defaults are those of Kaldi, with 80 filters and without dither, so that the same
/// samples give the same features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FbankSpec {
    /// Samples a second that the features are computed at; audio of other rates is resampled. Default: 16,000.
    pub sample_rate: u32,
    /// Filters. Default: 80.
    pub bins: usize,
    /// Milliseconds of a frame. Default: 25.
    pub frame_ms: f64,
    /// Milliseconds from one frame to the next. Default: 10.
    pub shift_ms: f64,
    /// Hertz at which the first filter begins. Default: 20.
    pub low_hz: f64,
    /// Hertz at which the last filter ends; 0 or less is counted from half the sample rate. Default: 0.
    pub high_hz: f64,
    /// What a frame is multiplied by. Default: `povey`.
    pub window: Window,
    /// How much of the sample before is subtracted from each. Default: 0.97.
    pub preemphasis: f64,
    /// Whether a frame's mean is subtracted from it. Default: true.
    pub remove_dc: bool,
    /// Whether only frames that lie within the audio are computed. Otherwise there is one for each shift, and the
    /// audio is mirrored at both ends. Default: true.
    pub snip_edges: bool,
    /// Whether filters add up squares of magnitudes rather than magnitudes. Default: true.
    pub power: bool,
    /// What samples are multiplied by, since Kaldi reads them as whole numbers of 16 bits. Default: 32,768.
    pub scale: f32,
}

/// Options of `mfcc`. The defaults are those of Kaldi without its energy, and without dither.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MfccSpec {
    /// Coefficients, at most as many as filters. Default: 13.
    pub cepstra: usize,
    /// By how much high coefficients are scaled up; 0 leaves them as they are. Default: 22.
    pub lifter: f64,
    /// Whether the first coefficient is the logarithm of the frame's energy. Default: false.
    pub energy: bool,
    /// The filters that the coefficients are computed of. Default: those of `fbank`, but 23 filters.
    pub fbank: FbankSpec,
}

/// Options of `log_mel`. The defaults are those of Whisper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogMelSpec {
    /// Samples a second that the features are computed at; audio of other rates is resampled. Default: 16,000.
    pub sample_rate: u32,
    /// Filters: 80, or 128 for the third large Whisper. Default: 80.
    pub bins: usize,
    /// Milliseconds of a frame. Default: 25.
    pub frame_ms: f64,
    /// Milliseconds from one frame to the next. Default: 10.
    pub shift_ms: f64,
}

/// What the samples of a frame are multiplied by, from 0 at its ends to 1 in its middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Kaldi's: `hann` to the power of 0.85.
    Povey,
    /// `0.54 - 0.46 cos`, which does not end at 0.
    Hamming,
    /// `0.5 - 0.5 cos`
    Hann,
    /// 1.
    Rectangular,
}

impl Default for FrontEndSpec {
    fn default() -> FrontEndSpec {
        FrontEndSpec::Fbank(FbankSpec::default())
    }
}

impl Default for FbankSpec {
    fn default() -> FbankSpec {
        FbankSpec {
            sample_rate: 16_000,
            bins: 80,
            frame_ms: 25.0,
            shift_ms: 10.0,
            low_hz: 20.0,
            high_hz: 0.0,
            window: Window::Povey,
            preemphasis: 0.97,
            remove_dc: true,
            snip_edges: true,
            power: true,
            scale: 32_768.0,
        }
    }
}

impl Default for MfccSpec {
    fn default() -> MfccSpec {
        MfccSpec {
            cepstra: 13,
            lifter: 22.0,
            energy: false,
            fbank: FbankSpec { bins: 23, ..FbankSpec::default() },
        }
    }
}

impl Default for LogMelSpec {
    fn default() -> LogMelSpec {
        LogMelSpec { sample_rate: 16_000, bins: 80, frame_ms: 25.0, shift_ms: 10.0 }
    }
}

impl FrontEndSpec {
    /// Samples a second that the features are computed at.
    pub fn sample_rate(&self) -> u32 {
        match self {
            FrontEndSpec::Fbank(s) => s.sample_rate,
            FrontEndSpec::Mfcc(s) => s.fbank.sample_rate,
            FrontEndSpec::LogMel(s) => s.sample_rate,
        }
    }

    /// Values of a frame.
    pub fn bins(&self) -> usize {
        match self {
            FrontEndSpec::Fbank(s) => s.bins,
            FrontEndSpec::Mfcc(s) => s.cepstra,
            FrontEndSpec::LogMel(s) => s.bins,
        }
    }

    /// Milliseconds from one frame to the next.
    pub fn shift_ms(&self) -> f64 {
        match self {
            FrontEndSpec::Fbank(s) => s.shift_ms,
            FrontEndSpec::Mfcc(s) => s.fbank.shift_ms,
            FrontEndSpec::LogMel(s) => s.shift_ms,
        }
    }

    /// Whether the options are valid.
    pub fn check(&self) -> Result<()> {
        match self {
            FrontEndSpec::Fbank(s) => s.check("fbank"),
            FrontEndSpec::Mfcc(s) => s.check(),
            FrontEndSpec::LogMel(s) => {
                frames("log_mel", s.sample_rate, s.frame_ms, s.shift_ms)?;
                let (len, shift) = (s.frame_ms, s.shift_ms);
                let [frame, step] = [len, shift].map(|ms| samples(s.sample_rate, ms));
                if 2 * step > frame || !frame.is_multiple_of(2) {
                    return Err(AudioError::option(format!(
                        "log_mel: a frame must be an even number of samples and twice shift_ms at least, found {frame} samples for \
                         frame_ms = {len} and {step} for shift_ms = {shift} at {} Hz",
                        s.sample_rate
                    )));
                }
                within("log_mel.bins", s.bins, 1..=MOST_BINS)
            }
        }
    }
}

impl FbankSpec {
    fn check(&self, key: &str) -> Result<()> {
        frames(key, self.sample_rate, self.frame_ms, self.shift_ms)?;
        within(&format!("{key}.bins"), self.bins, 1..=MOST_BINS)?;
        let nyquist = f64::from(self.sample_rate) / 2.0;
        let high = self.high();
        // Negated, so that NaN is refused too.
        if !(self.low_hz >= 0.0 && high > self.low_hz && high <= nyquist) {
            return Err(AudioError::option(format!(
                "{key}: the filters go from low_hz = {} to high_hz = {} (0 or less is counted from {nyquist}), which must be a range \
                 within 0 to {nyquist}, half the sample rate",
                self.low_hz, self.high_hz
            )));
        }
        if !(0.0..=1.0).contains(&self.preemphasis) {
            let value = self.preemphasis;
            let what = format!("{key}.preemphasis = {value} must be from 0 to 1");
            return Err(AudioError::option(what));
        }
        if !(self.scale.is_finite() && self.scale > 0.0) {
            let what = format!("{key}.scale = {} must be above 0 and finite", self.scale);
            return Err(AudioError::option(what));
        }
        Ok(())
    }

    /// Hertz at which the last filter ends.
    pub(crate) fn high(&self) -> f64 {
        let nyquist = f64::from(self.sample_rate) / 2.0;
        if self.high_hz <= 0.0 { nyquist + self.high_hz } else { self.high_hz }
    }
}

impl MfccSpec {
    fn check(&self) -> Result<()> {
        self.fbank.check("mfcc.fbank")?;
        within("mfcc.cepstra", self.cepstra, 1..=self.fbank.bins)?;
        if !(self.lifter >= 0.0 && self.lifter.is_finite()) {
            let what = format!("mfcc.lifter = {} must be at least 0", self.lifter);
            return Err(AudioError::option(what));
        }
        Ok(())
    }
}

fn within(key: &str, value: usize, range: std::ops::RangeInclusive<usize>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    Err(AudioError::option(format!("{key} = {value} must be from {least} to {most}")))
}

/// Samples of `ms` milliseconds, rounded down as Kaldi does.
pub(crate) fn samples(sample_rate: u32, ms: f64) -> usize {
    // A hair more, so that 0.001 does not make 159 of 160.
    (f64::from(sample_rate) * ms / 1000.0 + 1e-6) as usize
}

fn frames(key: &str, sample_rate: u32, frame_ms: f64, shift_ms: f64) -> Result<()> {
    check_rate(&format!("{key}.sample_rate"), sample_rate)?;
    for (name, ms) in [("frame_ms", frame_ms), ("shift_ms", shift_ms)] {
        let len = samples(sample_rate, ms);
        let least = if name == "frame_ms" { 2 } else { 1 };
        if !(ms.is_finite() && (least..=MOST_FRAME_SAMPLES).contains(&len)) {
            return Err(AudioError::option(format!(
                "{key}.{name} = {ms} must be from {least} to {MOST_FRAME_SAMPLES} samples, found {len} at {sample_rate} Hz"
            )));
        }
    }
    if shift_ms > frame_ms {
        return Err(AudioError::option(format!(
            "{key}.shift_ms = {shift_ms} must be at most frame_ms = {frame_ms}, or samples would be skipped"
        )));
    }
    Ok(())
}

pub(crate) fn check_rate(key: &str, sample_rate: u32) -> Result<()> {
    if SAMPLE_RATES.contains(&sample_rate) {
        return Ok(());
    }
    let (least, most) = (SAMPLE_RATES.start(), SAMPLE_RATES.end());
    Err(AudioError::option(format!("{key} = {sample_rate} must be from {least} to {most} Hz")))
}
