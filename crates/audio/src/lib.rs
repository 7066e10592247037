//! Audio: from files and live streams to features of speech, in bounded memory.
//!
//! # Layout
//!
//! In the order in which data flows:
//!
//! - [`decode`]: samples of files (WAV, FLAC, Ogg Vorbis, MP3) and of live streams; WAV files written
//! - [`resample`]: other sample rates, and speed
//! - [`features`]: log mel filter banks and MFCC as Kaldi has them, and Whisper's log mel, sample by sample
//! - [`cmvn`]: features with mean 0 and deviation 1
//! - [`augment`]: training samples varied
//! - [`manifest`]: tables of recordings with their texts
//! - [`digits`]: strings of spoken digits made from single ones
//! - [`tones`]: strings of telephone keys, made without recordings
//! - [`AudioError`]: what can go wrong
//!
//! All samples are `f32` in -1 to 1, of one channel. Everything that computes is fed with any number of samples at
//! a time, and gives the same bits however they are cut.
//!
//! The feature `compressed` reads more than WAV.
#![forbid(unsafe_code)]

pub mod augment;
pub mod cmvn;
pub mod decode;
pub mod digits;
mod error;
pub mod features;
mod lanes;
pub mod manifest;
mod random;
pub mod resample;
pub mod tones;

pub use augment::{
    Augment, AugmentSpec, ConcatenateSpec, Joined, NoiseColor, NoiseSpec, SpecAugmentSpec,
};
pub use cmvn::{Cmvn, Moments};
pub use decode::{
    ReadOptions, Reader, Report, SampleFormat, StreamFormat, read_file, wav_bytes, write_wav,
};
pub use error::{AudioError, Result};
pub use features::{FbankSpec, Features, FrontEndSpec, LogMelSpec, MfccSpec, Window};
pub use manifest::Utterance;
pub use resample::Resampler;
