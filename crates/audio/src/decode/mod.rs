//! Audio from files and live streams, piece by piece: one channel, any sample rate, in bounded memory.
//!
//! ```no_run
//! use tidemill_audio::{ReadOptions, Reader};
//!
//! let options = ReadOptions { sample_rate: Some(16_000), ..ReadOptions::default() };
//! let mut reader = Reader::open("talk.flac".as_ref(), &options)?;
//! let mut samples = Vec::new();
//! while reader.read(&mut samples)? > 0 {
//!     // use them
//!     samples.clear();
//! }
//! for warning in reader.report().warnings() {
//!     eprintln!("talk.flac {warning}");
//! }
//! # Ok::<(), tidemill_audio::AudioError>(())
//! ```

#[cfg(feature = "compressed")]
mod compressed;
mod pcm;
mod reader;
mod report;
mod wav;
mod write;

pub use pcm::SampleFormat;
pub use reader::{ReadOptions, Reader, StreamFormat, read_file};
pub use report::Report;
pub use write::{wav_bytes, write_wav};
