//! Audio: from files and live streams to features of speech, in bounded memory.
//!
//! # Layout
//!
//! In the order in which data flows:
//!
//! - [`features`]: log mel filter banks and MFCC as Kaldi has them, and Whisper's log mel, sample by sample
//! - [`AudioError`]: what can go wrong
//!
//! All samples are `f32` in -1 to 1, of one channel. Everything that computes is fed with any number of samples at
//! a time, and gives the same bits however they are cut.
#![forbid(unsafe_code)]

mod error;
pub mod features;

pub use error::{AudioError, Result};
pub use features::{FbankSpec, Features, FeaturesSpec, LogMelSpec, MfccSpec, Window};
