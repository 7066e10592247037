//! FLAC, Ogg Vorbis and MP3, by Symphonia.

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;

use super::pcm::SampleFormat;
use super::reader::StreamFormat;
use crate::features::spec::SAMPLE_RATES;
use crate::{AudioError, Result};

/// Damaged packets in a row after which a file is given up.
const MOST_DAMAGED: u64 = 1000;

/// A file that is decoded packet by packet.
pub(super) struct Compressed {
    container: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    format: StreamFormat,
    len: Option<u64>,
    /// The first samples, which tell rate and channels.
    first: Vec<f32>,
    damaged: u64,
}

/// Whether a file that begins so may be one of these.
pub(super) fn is_known(magic: [u8; 4]) -> bool {
    matches!(&magic, b"fLaC" | b"OggS" | [b'I', b'D', b'3', _] | [0xff, 0xe0..=0xff, ..])
}

impl Compressed {
    pub(super) fn open(
        source: Box<dyn MediaSource>,
        magic: [u8; 4],
        place: &str,
    ) -> Result<Compressed> {
        let wrong = |what: String| AudioError::format(place, what);
        let stream = MediaSourceStream::new(source, Default::default());
        let options = (FormatOptions::default(), MetadataOptions::default());
        let probed =
            symphonia::default::get_probe().probe(&Hint::new(), stream, options.0, options.1);
        let container = probed.map_err(|error| {
            wrong(format!("cannot be read as FLAC, Ogg Vorbis or MP3: {error}; convert it with `ffmpeg -i IN OUT.wav`"))
        })?;
        let track = container.default_track(TrackType::Audio);
        let track = track.ok_or_else(|| wrong("has no audio: give another file".into()))?;
        let id = track.id;
        let parameters = track.codec_params.as_ref().and_then(|p| p.audio());
        let parameters =
            parameters.ok_or_else(|| wrong("does not say how it was compressed".into()))?;
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|error| {
                wrong(format!("is compressed by what is not read: {error}; convert it with `ffmpeg -i IN OUT.wav`"))
            })?;
        // MP3 and Vorbis only estimate it.
        let len = track.num_frames.filter(|_| magic == *b"fLaC");
        // Of its formats only the end of the range matters, which most recordings have that of.
        let format = StreamFormat { sample: SampleFormat::S16, sample_rate: 0, channels: 0 };
        let mut source =
            Compressed { container, decoder, track: id, format, len, first: vec![], damaged: 0 };
        let mut first = Vec::new();
        // Only the first samples tell for all codecs what they are.
        while first.is_empty() && source.packet(&mut first, place)? {}
        if source.format.channels == 0 {
            return Err(wrong(
                "has no samples that can be decoded: record or copy it again".into(),
            ));
        }
        source.first = first;
        Ok(source)
    }

    pub(super) fn format(&self) -> StreamFormat {
        self.format
    }

    /// Samples of each channel, if that is known.
    pub(super) fn len(&self) -> Option<u64> {
        self.len
    }

    /// Packets that were left out.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Appends the samples of a packet; whether there may be more.
    pub(super) fn read(&mut self, out: &mut Vec<f32>, place: &str) -> Result<bool> {
        if !self.first.is_empty() {
            out.append(&mut self.first);
            return Ok(true);
        }
        self.packet(out, place)
    }

    fn packet(&mut self, out: &mut Vec<f32>, place: &str) -> Result<bool> {
        let mut in_a_row = 0;
        loop {
            let packet = match self.container.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(false),
                // The end within a packet: the file was cut off.
                Err(Error::IoError(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                    self.damaged += 1;
                    return Ok(false);
                }
                Err(Error::IoError(error)) => return Err(AudioError::read(place, error)),
                Err(Error::ResetRequired) => {
                    let what = "is several streams one after the other, of which only the first is read: convert it with `ffmpeg -i IN OUT.wav`";
                    return Err(AudioError::format(place, what));
                }
                Err(_) if in_a_row < MOST_DAMAGED => {
                    (self.damaged, in_a_row) = (self.damaged + 1, in_a_row + 1);
                    continue;
                }
                Err(error) => {
                    let what = format!("is damaged: {error}; record or copy it again");
                    return Err(AudioError::format(place, what));
                }
            };
            if packet.track_id != self.track {
                continue;
            }
            match self.decoder.decode(&packet) {
                Ok(decoded) => {
                    let (rate, channels) = (decoded.spec().rate(), decoded.spec().channels());
                    let channels = channels.count() as u16;
                    let known = (self.format.sample_rate, self.format.channels);
                    if known.1 == 0 && SAMPLE_RATES.contains(&rate) && channels > 0 {
                        (self.format.sample_rate, self.format.channels) = (rate, channels);
                    } else if known != (rate, channels) {
                        return Err(AudioError::format(
                            place,
                            format!(
                                "goes from {} Hz and {} channels to {rate} Hz and {channels} channels, which is not read: convert it with \
                                 `ffmpeg -i IN OUT.wav`",
                                known.0, known.1
                            ),
                        ));
                    }
                    let at = out.len();
                    out.resize(at + decoded.samples_interleaved(), 0.0);
                    decoded.copy_to_slice_interleaved(&mut out[at..]);
                    return Ok(true);
                }
                Err(Error::DecodeError(_) | Error::IoError(_)) if in_a_row < MOST_DAMAGED => {
                    (self.damaged, in_a_row) = (self.damaged + 1, in_a_row + 1);
                }
                Err(error) => {
                    let what = format!("is damaged: {error}; record or copy it again");
                    return Err(AudioError::format(place, what));
                }
            }
        }
    }
}
