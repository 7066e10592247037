//! Features of speech: a row of numbers for each 10 ms or so, computed as the samples come.
//!
//! ```
//! use tidemill_audio::{Features, FrontEndSpec, FbankSpec};
//!
//! let spec = FrontEndSpec::Fbank(FbankSpec { bins: 40, ..FbankSpec::default() });
//! let mut features = Features::new(&spec)?;
//! let samples = vec![0.25_f32; 16_000];
//! let mut frames = Vec::new(); // [frames, bins], row by row
//! for piece in samples.chunks(160) {
//!     features.push(piece, &mut frames);
//! }
//! features.finish(&mut frames); // the end of the audio; the next sample begins another
//! assert_eq!(frames.len(), 98 * features.bins());
//! # Ok::<(), tidemill_audio::AudioError>(())
//! ```

mod frames;
mod mel;
mod power;
pub(crate) mod spec;
mod spectrum;

pub use spec::{FbankSpec, FrontEndSpec, LogMelSpec, MfccSpec, Window};

use crate::Result;
use frames::{Edges, Frames};
use spectrum::Spectrum;

/// Computes the features of one stream of samples. The same bits come out however the samples are cut.
#[derive(Clone, Debug)]
pub struct Features {
    frames: Frames,
    spectrum: Spectrum,
    bins: usize,
}

impl Features {
    /// Of no sample yet.
    ///
    /// # Errors
    /// If an option is wrong.
    pub fn new(spec: &FrontEndSpec) -> Result<Features> {
        spec.check()?;
        let rate = spec.sample_rate();
        let (frame_ms, shift_ms, edges) = match spec {
            FrontEndSpec::Fbank(s) | FrontEndSpec::Mfcc(MfccSpec { fbank: s, .. }) => {
                let edges = if s.snip_edges { Edges::Snip } else { Edges::Mirror };
                (s.frame_ms, s.shift_ms, edges)
            }
            FrontEndSpec::LogMel(s) => (s.frame_ms, s.shift_ms, Edges::Stft),
        };
        let len = spec::samples(rate, frame_ms);
        let shift = spec::samples(rate, shift_ms);
        let spectrum = match spec {
            FrontEndSpec::Fbank(s) => Spectrum::fbank(s, len),
            FrontEndSpec::Mfcc(s) => Spectrum::mfcc(s, len),
            FrontEndSpec::LogMel(s) => Spectrum::log_mel(s, len),
        };
        Ok(Features { frames: Frames::new(len, shift, edges), spectrum, bins: spec.bins() })
    }

    /// Values of a frame.
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// How many frames audio of so many samples has, from its start to [`finish`](Self::finish).
    pub fn num_frames(&self, samples: u64) -> u64 {
        self.frames.count(samples)
    }

    /// Takes samples, in -1 to 1 and finite, and appends the frames that are complete to `out`, each of
    /// [`bins`](Self::bins) values. Gives their number.
    ///
    /// A frame is complete when its last sample is there: with `snip_edges`, frame `i` comes with sample
    /// `i * shift + len`.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> usize {
        let before = out.len();
        let Features { frames, spectrum, bins } = self;
        frames.push(samples, |frame| {
            let at = out.len();
            out.resize(at + *bins, 0.0);
            spectrum.features(frame, &mut out[at..]);
        });
        (out.len() - before) / self.bins
    }

    /// The audio is over: appends the frames that reach beyond its end, if there are any, and gives their number.
    /// The next sample is the first one of another audio.
    pub fn finish(&mut self, out: &mut Vec<f32>) -> usize {
        let before = out.len();
        let Features { frames, spectrum, bins } = self;
        frames.finish(|frame| {
            let at = out.len();
            out.resize(at + *bins, 0.0);
            spectrum.features(frame, &mut out[at..]);
        });
        (out.len() - before) / self.bins
    }

    /// The features of audio as a whole, `[frames, bins]`.
    pub fn of(&mut self, samples: &[f32]) -> Vec<f32> {
        let mut out =
            Vec::with_capacity(self.num_frames(samples.len() as u64) as usize * self.bins);
        self.push(samples, &mut out);
        self.finish(&mut out);
        out
    }
}

/// What Whisper does to `log_mel` features of a window, which is padded to 30 seconds there: values are at most 8
/// below the loudest, and are divided by 4 after 4 was added.
pub fn whisper_scale(features: &mut [f32]) {
    let loudest = features.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    for value in features {
        *value = (value.max(loudest - 8.0) + 4.0) / 4.0;
    }
}
