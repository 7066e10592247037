//! The header of a WAV: of a file, or as a program writes it that does not know yet how long it will record.

use std::io::{self, Read};

use super::StreamFormat;
use super::pcm::SampleFormat;
use crate::features::spec::SAMPLE_RATES;
use crate::{AudioError, Result};

/// Programs that do not know the length write 0, 0xffffffff, or what keeps below the limits of a file: `arecord` and
/// `sox` have lengths about 0x7fffffff.
const UNKNOWN_FROM: u32 = 0x7fff_0000;
/// Bytes of other chunks that may come before the samples: a picture is a few megabytes.
const MOST_OTHER_BYTES: u64 = 64 << 20;
/// Channels that a file may have: what is more is a damaged header.
const MOST_CHANNELS: u16 = 64;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) format: StreamFormat,
    /// Bytes of samples; `None` if they go on to the end.
    pub(crate) bytes: Option<u64>,
    /// Bytes before the samples.
    pub(crate) position: u64,
}

/// Counts what it reads of a header.
struct Chunks<'a> {
    input: &'a mut dyn Read,
    place: &'a str,
    position: u64,
}

impl Chunks<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|error| self.ended(error))?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        let skipped = io::copy(&mut (&mut *self.input).take(bytes), &mut io::sink());
        let skipped = skipped.map_err(|error| AudioError::read(self.place, error))?;
        self.position += skipped;
        if skipped < bytes {
            return Err(self.ended(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    fn ended(&self, error: io::Error) -> AudioError {
        if error.kind() != io::ErrorKind::UnexpectedEof {
            return AudioError::read(self.place, error);
        }
        let at = self.position;
        self.wrong(format!("the header of this WAV ends after {at} bytes, before any sample: the file was cut off; record or copy it again"))
    }

    fn wrong(&self, what: impl Into<String>) -> AudioError {
        AudioError::format(self.place, what)
    }
}

/// Reads a header up to its first sample. `magic` are the four bytes that were read already to see what it is.
pub(crate) fn read(input: &mut dyn Read, magic: [u8; 4], place: &str) -> Result<Header> {
    let mut chunks = Chunks { input, place, position: 4 };
    if &magic == b"RIFX" {
        return Err(chunks.wrong("is a big-endian WAV (RIFX), which is not read: convert it with `sox IN OUT.wav` or ffmpeg"));
    }
    let riff = u32::from_le_bytes(chunks.bytes()?);
    let form: [u8; 4] = chunks.bytes()?;
    if &form != b"WAVE" {
        let form = String::from_utf8_lossy(&form).into_owned();
        return Err(chunks
            .wrong(format!("begins with RIFF, but is {form:?} and not WAVE: give a WAV file")));
    }
    let (mut format, mut long) = (None, None);
    let mut other = 0;
    loop {
        let name: [u8; 4] = chunks.bytes()?;
        let size = u32::from_le_bytes(chunks.bytes()?);
        match &name {
            b"fmt " => format = Some(read_format(&mut chunks, size)?),
            b"ds64" if size >= 16 => {
                // The sizes of a file above 4 GB: of all, then of the samples.
                let [_, bytes]: [[u8; 8]; 2] = [chunks.bytes()?, chunks.bytes()?];
                long = Some(u64::from_le_bytes(bytes));
                chunks.skip(padded(size) - 16)?;
            }
            b"data" => {
                let Some(format) = format else {
                    return Err(chunks.wrong("its samples come before their format (no `fmt ` chunk before `data`): the header is damaged"));
                };
                let position = chunks.position;
                let unknown = |length: u32| length == 0 || length >= UNKNOWN_FROM;
                // Nothing was recorded, and more chunks follow: there are no samples.
                let is_empty = size == 0 && !unknown(riff) && u64::from(riff) + 8 > position;
                let bytes = match long {
                    Some(bytes) if size == u32::MAX && bytes > 0 => Some(bytes),
                    _ if unknown(size) && !is_empty => None,
                    _ => Some(size.into()),
                };
                return Ok(Header { format, bytes, position });
            }
            _ => {
                other += padded(size);
                if other > MOST_OTHER_BYTES {
                    return Err(chunks.wrong(format!(
                        "{other} bytes of its header are no samples: the header is damaged"
                    )));
                }
                chunks.skip(padded(size))?;
            }
        }
    }
}

/// Chunks of an odd size have one byte more.
fn padded(size: u32) -> u64 {
    u64::from(size) + u64::from(size % 2)
}

fn read_format(chunks: &mut Chunks, size: u32) -> Result<StreamFormat> {
    if !(16..=1 << 16).contains(&size) {
        return Err(chunks.wrong(format!(
            "its `fmt ` chunk has {size} bytes, which must be 16 at least: the header is damaged"
        )));
    }
    let word = |bytes: [u8; 2]| u16::from_le_bytes(bytes);
    let mut tag = word(chunks.bytes()?);
    let channels = word(chunks.bytes()?);
    let sample_rate = u32::from_le_bytes(chunks.bytes()?);
    let _bytes_a_second: [u8; 4] = chunks.bytes()?;
    let block = word(chunks.bytes()?);
    let bits = word(chunks.bytes()?);
    let mut rest = padded(size) - 16;
    // The extensible form: the tag is the first word of the 16 bytes that name the format.
    if tag == 0xfffe && size >= 40 {
        let _: [u8; 8] = chunks.bytes()?;
        tag = word(chunks.bytes()?);
        rest -= 10;
    }
    chunks.skip(rest)?;
    if !(1..=MOST_CHANNELS).contains(&channels) {
        return Err(chunks.wrong(format!("its header has {channels} channels, which must be 1 to {MOST_CHANNELS}: the header is damaged")));
    }
    if !SAMPLE_RATES.contains(&sample_rate) {
        let (least, most) = (SAMPLE_RATES.start(), SAMPLE_RATES.end());
        return Err(chunks.wrong(format!("its header has {sample_rate} samples a second, which must be {least} to {most}: the header is damaged")));
    }
    // A sample of 20 bits is stored in 24, its lowest bits 0.
    let stored = block / channels * 8;
    let sample = match (tag, stored) {
        (1, 8) => SampleFormat::U8,
        (1, 16) => SampleFormat::S16,
        (1, 24) => SampleFormat::S24,
        (1, 32) => SampleFormat::S32,
        (3, 32) => SampleFormat::F32,
        (3, 64) => SampleFormat::F64,
        (6, 8) => SampleFormat::ALaw,
        (7, 8) => SampleFormat::MuLaw,
        _ => {
            let kind = match tag {
                1 => "whole numbers",
                2 => "Microsoft's ADPCM",
                3 => "floats",
                6 | 7 => "G.711",
                0x11 => "IMA ADPCM",
                0x31 => "GSM 6.10",
                0x50 | 0x55 => "MPEG",
                _ => "an unknown format",
            };
            return Err(chunks.wrong(format!(
                "holds {kind} (format {tag:#06x}, {bits} bits, {block} bytes for {channels} channels), which is not read: convert it with \
                 `ffmpeg -i IN -c:a pcm_s16le OUT.wav`"
            )));
        }
    };
    if bits == 0 || bits > stored || block % channels != 0 {
        return Err(chunks.wrong(format!(
            "its header has {bits} bits a sample in {block} bytes for {channels} channels, which do not fit: the header is damaged"
        )));
    }
    Ok(StreamFormat { sample, sample_rate, channels })
}
