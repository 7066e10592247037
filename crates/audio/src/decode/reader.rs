//! The reader: a source, one channel of it, at one rate.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::pcm::SampleFormat;
use super::report::Report;
use super::wav;
use crate::features::spec::check_rate;
use crate::{AudioError, Resampler, Result};

/// Bytes that are read at a time: 2 s of 16 kHz, so that a file of any length takes no more memory.
const PIECE_BYTES: usize = 1 << 16;

/// What is read of a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadOptions {
    /// Samples a second to resample to; `None` keeps the source's.
    pub sample_rate: Option<u32>,
    /// The channel to take, from 0; `None` takes the mean of all.
    pub channel: Option<u16>,
    /// Seconds to begin at. What is before is not read of a WAV, and decoded of a compressed file.
    pub start: Option<f64>,
    /// Seconds to end at; `None` is the end of the source.
    pub end: Option<f64>,
}

/// How samples without a header are stored, channel beside channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamFormat {
    /// How a sample is stored.
    pub sample: SampleFormat,
    /// Samples a second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u16,
}

impl StreamFormat {
    fn check(&self) -> Result<()> {
        check_rate("the sample rate of the stream", self.sample_rate)?;
        if self.channels == 0 {
            return Err(AudioError::option("a stream must have 1 channel at least, found 0"));
        }
        Ok(())
    }
}

/// Reads one source. The same samples come out however the source is cut.
pub struct Reader {
    place: String,
    source: Source,
    channel: Option<u16>,
    /// Samples of each channel that are still to be skipped, and to be read.
    skip: u64,
    remaining: Option<u64>,
    resampler: Option<Resampler>,
    /// Samples of all channels as they were decoded.
    decoded: Vec<f32>,
    mono: Vec<f32>,
    full_scale: f32,
    report: Report,
    is_over: bool,
}

enum Source {
    Pcm(Pcm),
    #[cfg(feature = "compressed")]
    Compressed(Box<super::compressed::Compressed>),
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Reader").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a file: WAV, and with the feature `compressed` also FLAC, Ogg Vorbis and MP3. What it is, its first bytes
    /// tell, whatever its name.
    ///
    /// # Errors
    /// If the file cannot be read, is none of these, or an option is wrong.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Reader> {
        let place = path.display().to_string();
        let read = |error| AudioError::read(&place, error);
        let mut file = File::open(path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        if metadata.is_dir() {
            return Err(AudioError::format(place, "is a folder: give a file"));
        }
        let mut magic = [0; 4];
        let len = fill(&mut file, &mut magic).map_err(read)?;
        match &magic[..len] {
            b"RIFF" | b"RF64" | b"RIFX" => {
                let header = wav::read(&mut io::BufReader::new(&mut file), magic, &place)?;
                file.seek(SeekFrom::Start(header.position)).map_err(read)?;
                let pcm = Pcm::new(Input::File(file), header.format, header.bytes);
                Reader::new(place, pcm.format, Source::Pcm(pcm), options)
            }
            [] => Err(AudioError::format(place, "is empty: record or copy it again")),
            _ => Self::open_compressed(file, path, magic, options),
        }
    }

    /// Opens what a file holds, such as a member of an archive; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn of_bytes(bytes: Vec<u8>, name: &str, options: &ReadOptions) -> Result<Reader> {
        #[cfg(feature = "compressed")]
        if let Some(&magic) = bytes.first_chunk::<4>()
            && super::compressed::is_known(magic)
        {
            let source = Box::new(io::Cursor::new(bytes));
            let source = super::compressed::Compressed::open(source, magic, name)?;
            let format = source.format();
            let source = Source::Compressed(Box::new(source));
            return Reader::new(name.to_owned(), format, source, options);
        }
        Reader::stream(Box::new(io::Cursor::new(bytes)), name, None, options)
    }

    #[cfg(feature = "compressed")]
    fn open_compressed(
        mut file: File,
        path: &Path,
        magic: [u8; 4],
        options: &ReadOptions,
    ) -> Result<Reader> {
        let place = path.display().to_string();
        if !super::compressed::is_known(magic) {
            return Err(unknown(&place, magic));
        }
        file.rewind().map_err(|error| AudioError::read(&place, error))?;
        let source = super::compressed::Compressed::open(Box::new(file), magic, &place)?;
        let format = source.format();
        Reader::new(place, format, Source::Compressed(Box::new(source)), options)
    }

    #[cfg(not(feature = "compressed"))]
    fn open_compressed(_: File, path: &Path, magic: [u8; 4], _: &ReadOptions) -> Result<Reader> {
        let place = path.display().to_string();
        Err(match &magic {
            b"fLaC" | b"OggS" | [b'I', b'D', b'3', _] | [0xff, 0xe0..=0xff, ..] => {
                AudioError::format(
                    place,
                    "is a compressed file, which this program was built without: build it with the feature `audio`, or convert the file to WAV",
                )
            }
            _ => unknown(&place, magic),
        })
    }

    /// Reads a stream as it comes, such as standard input; `name` is what messages call it. With `None` it must begin
    /// with the header of a WAV, of which the length may be missing, as `arecord` and `ffmpeg` write it to a pipe. A
    /// stream that begins with one is read by it, whatever `format` says.
    ///
    /// [`read`](Self::read) gives what has come and does not wait for more.
    ///
    /// # Errors
    /// If the stream cannot be read or has no such header, or an option is wrong.
    pub fn stream(
        mut input: Box<dyn Read + Send>,
        name: &str,
        format: Option<StreamFormat>,
        options: &ReadOptions,
    ) -> Result<Reader> {
        let mut magic = [0; 4];
        let len = fill(&mut input, &mut magic).map_err(|error| AudioError::read(name, error))?;
        let is_wav = len == 4 && [b"RIFF", b"RF64", b"RIFX"].contains(&&magic);
        let (format, bytes, first) = match format {
            _ if is_wav => {
                let header = wav::read(&mut input, magic, name)?;
                (header.format, header.bytes, &[][..])
            }
            Some(format) => {
                format.check()?;
                (format, None, &magic[..len])
            }
            None if len == 0 => {
                return Err(AudioError::format(name, "is empty: nothing was recorded"));
            }
            None => {
                let what = format!(
                    "must begin with the header of a WAV (RIFF), found {}: for samples without one say their format, such as s16le, and \
                     their rate",
                    shown(magic)
                );
                return Err(AudioError::format(name, what));
            }
        };
        let mut pcm = Pcm::new(Input::Stream(input), format, bytes);
        pcm.buffer[..first.len()].copy_from_slice(first);
        pcm.kept = first.len();
        Reader::new(name.to_owned(), format, Source::Pcm(pcm), options)
    }

    fn new(
        place: String,
        format: StreamFormat,
        source: Source,
        options: &ReadOptions,
    ) -> Result<Reader> {
        let StreamFormat { sample, sample_rate, channels } = format;
        if let Some(channel) = options.channel.filter(|c| *c >= channels) {
            let what = format!("has {channels} channels, not channel {channel} (from 0)");
            return Err(AudioError::format(place, what));
        }
        let resampler = match options.sample_rate {
            Some(rate) if rate != sample_rate => Some(Resampler::new(sample_rate, rate)?),
            _ => None,
        };
        let seconds = |name: &str, value: Option<f64>| match value {
            Some(v) if !(0.0..1e9).contains(&v) => {
                let what = format!("{name} = {v} must be seconds from 0");
                Err(AudioError::format(&place, what))
            }
            value => Ok(value.map(|v| (v * f64::from(sample_rate)).round() as u64)),
        };
        let skip = seconds("start", options.start)?.unwrap_or(0);
        let end = seconds("end", options.end)?;
        if let Some(end) = end.filter(|end| *end < skip) {
            let what =
                format!("the part to read ends (at sample {end}) before it begins (at {skip})");
            return Err(AudioError::format(place, what));
        }
        Ok(Reader {
            place,
            source,
            channel: options.channel,
            skip,
            remaining: end.map(|end| end - skip),
            resampler,
            decoded: Vec::new(),
            mono: Vec::new(),
            full_scale: sample.full_scale(),
            report: Report { source_rate: sample_rate, channels, ..Report::default() },
            is_over: false,
        })
    }

    /// Samples a second of what [`read`](Self::read) gives, if not resampled those of the source.
    pub fn source_rate(&self) -> u32 {
        self.report.source_rate
    }

    /// How many samples [`read`](Self::read) will give, if the source says so without being decoded: files of WAV and
    /// FLAC do. Where a file was cut off or damaged, it is those that it should have.
    pub fn num_samples(&self) -> Option<u64> {
        let all = match &self.source {
            Source::Pcm(pcm) => pcm.len(),
            #[cfg(feature = "compressed")]
            Source::Compressed(source) => source.len(),
        }?;
        let len = all.saturating_sub(self.skip).min(self.remaining.unwrap_or(u64::MAX));
        Some(self.resampler.as_ref().map_or(len, |r| r.num_samples(len)))
    }

    /// Counts so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Appends the next samples to `out`, in -1 to 1, and gives their number: 0 at the end, and only there.
    ///
    /// # Errors
    /// If the source cannot be read any further. What it gave before stays good.
    pub fn read(&mut self, out: &mut Vec<f32>) -> Result<usize> {
        let before = out.len();
        while !self.is_over && out.len() == before {
            self.decoded.clear();
            let more = self.remaining != Some(0) && self.decode()?;
            self.mix();
            match &mut self.resampler {
                Some(resampler) => resampler.push(&self.mono, out),
                None => out.extend_from_slice(&self.mono),
            }
            if !more {
                self.is_over = true;
                if let Some(resampler) = &mut self.resampler {
                    resampler.finish(out);
                }
                self.report.beyond_end = self.skip + self.remaining.unwrap_or(0);
            }
        }
        self.report.samples += (out.len() - before) as u64;
        Ok(out.len() - before)
    }

    /// Decodes a piece; whether there may be more.
    fn decode(&mut self) -> Result<bool> {
        match &mut self.source {
            Source::Pcm(pcm) => {
                let skipped = pcm.skip(self.skip, &self.place)?;
                self.skip -= skipped;
                let more = pcm.read(&mut self.decoded, &self.place)?;
                self.report.missing_bytes = if more { 0 } else { pcm.missing() };
                Ok(more)
            }
            #[cfg(feature = "compressed")]
            Source::Compressed(source) => {
                let more = source.read(&mut self.decoded, &self.place)?;
                self.report.damaged_packets = source.damaged();
                Ok(more)
            }
        }
    }

    /// From what was decoded to one channel, within the part that is read.
    fn mix(&mut self) {
        let channels = usize::from(self.report.channels);
        let samples = (self.decoded.len() / channels) as u64;
        let skip = self.skip.min(samples);
        let take = (samples - skip).min(self.remaining.unwrap_or(u64::MAX));
        self.skip -= skip;
        self.remaining = self.remaining.map(|remaining| remaining - take);
        let (skip, take) = (skip as usize * channels, take as usize * channels);
        let decoded = &mut self.decoded[skip..skip + take];
        for value in decoded.iter_mut() {
            if !value.is_finite() {
                self.report.not_finite += 1;
                *value = 0.0;
            }
            let size = value.abs();
            self.report.clipped += u64::from(size >= self.full_scale);
            self.report.peak = self.report.peak.max(size);
        }
        self.report.source_samples += (take / channels) as u64;
        self.mono.clear();
        match (channels, self.channel) {
            (1, _) => self.mono.extend_from_slice(decoded),
            (_, Some(channel)) => {
                self.mono.extend(decoded.chunks_exact(channels).map(|s| s[usize::from(channel)]));
            }
            _ => {
                let mean = |s: &[f32]| s.iter().sum::<f32>() / channels as f32;
                self.mono.extend(decoded.chunks_exact(channels).map(mean));
            }
        }
    }
}

/// Reads a whole file, or the part that the options name.
///
/// # Errors
/// Those of [`Reader`].
pub fn read_file(path: &Path, options: &ReadOptions) -> Result<(Vec<f32>, Report)> {
    let mut reader = Reader::open(path, options)?;
    let mut samples = Vec::new();
    while reader.read(&mut samples)? > 0 {}
    Ok((samples, *reader.report()))
}

enum Input {
    File(File),
    Stream(Box<dyn Read + Send>),
}

/// Samples that are stored as they are.
struct Pcm {
    input: Input,
    format: StreamFormat,
    /// Bytes that the header promises and that were not read yet.
    promised: Option<u64>,
    buffer: Vec<u8>,
    /// Bytes in the buffer: a part of a sample.
    kept: usize,
}

impl Pcm {
    fn new(input: Input, format: StreamFormat, promised: Option<u64>) -> Pcm {
        Pcm { input, format, promised, buffer: vec![0; PIECE_BYTES], kept: 0 }
    }

    fn block(&self) -> usize {
        self.format.sample.bytes() * usize::from(self.format.channels)
    }

    /// Samples of each channel, if that is known; those that were read are not counted.
    fn len(&self) -> Option<u64> {
        let bytes = match &self.input {
            Input::File(file) => {
                let end = file.metadata().ok()?.len();
                let rest = end.saturating_sub((&*file).stream_position().ok()?);
                self.promised.map_or(rest, |promised| promised.min(rest))
            }
            Input::Stream(_) => self.promised?,
        };
        Some(bytes / self.block() as u64)
    }

    /// Skips samples of a file without reading them; gives how many.
    fn skip(&mut self, samples: u64, place: &str) -> Result<u64> {
        let (block, Input::File(file)) = (self.block() as u64, &mut self.input) else {
            return Ok(0);
        };
        let read = |error| AudioError::read(place, error);
        if samples == 0 || self.kept > 0 {
            return Ok(0);
        }
        let position = file.stream_position().map_err(read)?;
        let rest = file.metadata().map_err(read)?.len().saturating_sub(position);
        let rest = self.promised.map_or(rest, |promised| promised.min(rest));
        let samples = samples.min(rest / block);
        file.seek_relative((samples * block) as i64).map_err(read)?;
        self.promised = self.promised.map(|promised| promised - samples * block);
        Ok(samples)
    }

    /// Appends what there is; whether there may be more.
    fn read(&mut self, out: &mut Vec<f32>, place: &str) -> Result<bool> {
        let whole = self.kept / self.block() * self.block();
        if whole > 0 {
            // The first bytes of a stream, which are here already.
            self.format.sample.decode(&self.buffer[..whole], out);
            self.buffer.copy_within(whole..self.kept, 0);
            self.kept -= whole;
            return Ok(true);
        }
        let most = self.promised.unwrap_or(u64::MAX).min(self.buffer.len() as u64) as usize;
        let room = most.min(self.buffer.len() - self.kept);
        if room == 0 {
            return Ok(false);
        }
        let buffer = &mut self.buffer[self.kept..self.kept + room];
        let read = loop {
            let read = match &mut self.input {
                Input::File(file) => file.read(buffer),
                Input::Stream(stream) => stream.read(buffer),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(|error| AudioError::read(place, error))?,
            }
        };
        self.promised = self.promised.map(|promised| promised - read as u64);
        let end = self.kept + read;
        let whole = end / self.block() * self.block();
        self.format.sample.decode(&self.buffer[..whole], out);
        self.buffer.copy_within(whole..end, 0);
        self.kept = end - whole;
        Ok(read > 0)
    }

    /// Bytes that are missing now that nothing more comes.
    fn missing(&self) -> u64 {
        self.promised.unwrap_or(0) + self.kept as u64
    }
}

/// Fills a buffer as far as the input goes.
fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match input.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

fn shown(magic: [u8; 4]) -> String {
    format!("\"{}\"", magic.escape_ascii())
}

fn unknown(place: &str, magic: [u8; 4]) -> AudioError {
    let what = format!(
        "is not WAV, FLAC, Ogg Vorbis or MP3 (it begins with {}): convert it with `ffmpeg -i IN OUT.wav`",
        shown(magic)
    );
    AudioError::format(place, what)
}
