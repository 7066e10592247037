//! WAV files and live streams, good and bad.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use tidemill_audio::{
    ReadOptions, Reader, Report, SampleFormat, StreamFormat, read_file, wav_bytes,
};

/// A WAV of any format.
fn wav(tag: u16, bits: u16, channels: u16, rate: u32, data: &[u8]) -> Vec<u8> {
    let block = channels * bits / 8;
    let mut out = b"RIFF".to_vec();
    out.extend((36 + data.len() as u32).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0");
    out.extend(tag.to_le_bytes());
    out.extend(channels.to_le_bytes());
    out.extend(rate.to_le_bytes());
    out.extend((rate * u32::from(block)).to_le_bytes());
    out.extend(block.to_le_bytes());
    out.extend(bits.to_le_bytes());
    out.extend(b"data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

fn s16(values: &[i16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn read_bytes(bytes: &[u8], options: &ReadOptions) -> Result<(Vec<f32>, Report), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.wav");
    fs::write(&path, bytes).unwrap();
    let found = read_file(&path, options).map_err(|e| e.to_string());
    // What the header tells is what comes.
    if let (Ok((samples, _)), Ok(reader)) = (&found, Reader::open(&path, options)) {
        assert_eq!(reader.num_samples(), Some(samples.len() as u64));
    }
    // A stream of the same gives the same.
    let stream = all(Reader::stream(Box::new(Slow(bytes.to_vec(), 0)), "x.wav", None, options));
    if let (Ok((a, b)), Ok((c, d))) = (&found, &stream) {
        assert_eq!((a, b), (c, d));
    }
    if bytes.starts_with(b"RIFF") {
        assert_eq!(found.is_ok(), stream.is_ok(), "{found:?} {stream:?}");
    }
    found.map_err(|e| e.replace(&path.display().to_string(), "x.wav"))
}

fn all(reader: tidemill_audio::Result<Reader>) -> Result<(Vec<f32>, Report), String> {
    let mut reader = reader.map_err(|e| e.to_string())?;
    let mut samples = Vec::new();
    while reader.read(&mut samples).map_err(|e| e.to_string())? > 0 {}
    Ok((samples, *reader.report()))
}

/// Gives three bytes at a time, with interruptions.
struct Slow(Vec<u8>, usize);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        if self.1.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = self.0.len().min(3).min(buffer.len());
        buffer[..len].copy_from_slice(&self.0[..len]);
        self.0.drain(..len);
        Ok(len)
    }
}

fn plain() -> ReadOptions {
    ReadOptions::default()
}

#[test]
fn each_kind_of_sample_is_read() {
    let half = |tag, bits, bytes: &[u8]| {
        let (samples, report) = read_bytes(&wav(tag, bits, 1, 8000, bytes), &plain()).unwrap();
        assert_eq!(samples, [0.5, -0.5], "{tag} {bits}");
        assert_eq!((report.source_rate, report.channels, report.samples), (8000, 1, 2));
        assert_eq!(report.warnings(), Vec::<String>::new());
    };
    half(1, 8, &[192, 64]);
    half(1, 16, &[0, 0x40, 0, 0xc0]);
    half(1, 24, &[0, 0, 0x40, 0, 0, 0xc0]);
    half(1, 32, &[0, 0, 0, 0x40, 0, 0, 0, 0xc0]);
    half(3, 32, &[0.5_f32, -0.5].map(f32::to_le_bytes).concat());
    half(3, 64, &[0.5_f64, -0.5].map(f64::to_le_bytes).concat());
    let (samples, _) = read_bytes(&wav(7, 8, 1, 8000, &[0xff, 0x80]), &plain()).unwrap();
    assert_eq!(samples, [0.0, 32_124.0 / 32_768.0]);
    // The extensible form, 20 bits in 24.
    let mut bytes = wav(0xfffe, 24, 1, 8000, &[0, 0, 0x40]);
    let extension = [&[22, 0, 20, 0, 4, 0, 0, 0, 1, 0][..], &[0; 14]].concat();
    bytes[16] = 40;
    bytes.splice(36..36, extension);
    assert_eq!(read_bytes(&bytes, &plain()).unwrap().0, [0.5]);
}

#[test]
fn channels_are_mixed_or_picked() {
    let bytes = wav(1, 16, 2, 8000, &s16(&[16_384, 0, 8192, 8192]));
    assert_eq!(read_bytes(&bytes, &plain()).unwrap().0, [0.25, 0.25]);
    let right = ReadOptions { channel: Some(1), ..plain() };
    assert_eq!(read_bytes(&bytes, &right).unwrap().0, [0.0, 0.25]);
    let third = ReadOptions { channel: Some(2), ..plain() };
    let error = read_bytes(&bytes, &third).unwrap_err();
    assert!(error.contains("x.wav: has 2 channels, not channel 2"), "{error}");
}

#[test]
fn rates_are_resampled() {
    for rate in [8000, 44_100, 48_000, 22_050, 11_025] {
        let values: Vec<i16> = (0..rate / 10).map(|_| 8192).collect();
        let to = ReadOptions { sample_rate: Some(16_000), ..plain() };
        let (samples, report) = read_bytes(&wav(1, 16, 1, rate, &s16(&values)), &to).unwrap();
        assert_eq!((samples.len(), report.samples), (1600, 1600), "{rate}");
        assert!(samples[200..1400].iter().all(|v| (v - 0.25).abs() < 1e-3), "{rate}");
    }
}

#[test]
fn parts_are_read_by_seconds() {
    let values: Vec<i16> = (0..8000).collect();
    let bytes = wav(1, 16, 1, 8000, &s16(&values));
    let part = |start, end| ReadOptions { start, end, ..plain() };
    let as_i16 = |(samples, _): (Vec<f32>, Report)| -> Vec<i16> {
        samples.iter().map(|v| (v * 32_768.0) as i16).collect()
    };
    let read = |start, end| read_bytes(&bytes, &part(start, end));
    assert_eq!(as_i16(read(Some(0.25), Some(0.26)).unwrap()), values[2000..2080]);
    assert_eq!(as_i16(read(Some(0.99), None).unwrap()), values[7920..]);
    let (samples, report) = read(Some(0.5), Some(1.5)).unwrap();
    assert_eq!((samples.len(), report.beyond_end), (4000, 4000));
    assert!(report.warnings()[0].contains("ends 0.500 s before"), "{:?}", report.warnings());
    let (samples, report) = read(Some(3.0), None).unwrap();
    assert_eq!((samples.len(), report.beyond_end), (0, 16_000));
    assert!(read(Some(0.5), Some(0.4)).unwrap_err().contains("before it begins"));
    assert!(read(Some(f64::NAN), None).unwrap_err().contains("start = NaN"));
    assert!(read(Some(-1.0), None).unwrap_err().contains("start = -1"));
}

#[test]
fn what_is_wrong_with_samples_is_counted_and_told() {
    let floats = |v: &[f32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let warned = |bytes: &[u8]| read_bytes(bytes, &plain()).unwrap().1.warnings().join("; ");
    let bad = wav(3, 32, 1, 8000, &floats(&[0.5, f32::NAN, f32::INFINITY, 0.25]));
    let (samples, report) = read_bytes(&bad, &plain()).unwrap();
    assert_eq!((samples, report.not_finite), (vec![0.5, 0.0, 0.0, 0.25], 2));
    assert!(report.warnings()[0].contains("2 samples that are NaN or infinite"));

    assert_eq!(warned(&wav(1, 16, 1, 8000, &[])), "has no samples");
    assert_eq!(warned(&wav(1, 16, 1, 8000, &s16(&[0; 99]))), "is silent: all samples are 0");
    assert_eq!(warned(&wav(1, 16, 1, 8000, &s16(&[77]))), "");
    let clipped = warned(&wav(1, 16, 1, 8000, &s16(&[32_767, -32_768, 5, 6])));
    assert!(clipped.contains("50.0 % of its samples"), "{clipped}");
    let whole = warned(&wav(3, 32, 1, 8000, &floats(&[1200.0, -4.0])));
    assert!(whole.contains("up to 1200, not 1: divide them"), "{whole}");
}

#[test]
fn a_file_that_was_cut_off_is_read_as_far_as_it_goes() {
    let whole = wav(1, 16, 2, 8000, &s16(&[100; 200]));
    let (samples, report) = read_bytes(&whole[..whole.len() - 101], &plain()).unwrap();
    assert_eq!((samples.len(), report.missing_bytes), (74, 104));
    assert!(report.warnings()[0].contains("is cut off: 104 bytes are missing"));
    for len in [5, 11, 13, 30, 43] {
        let error = read_bytes(&whole[..len], &plain()).unwrap_err();
        assert!(error.contains("x.wav: the header of this WAV ends"), "{len}: {error}");
    }
    assert!(read_bytes(&[], &plain()).unwrap_err().contains("x.wav: is empty"));
    // Chunks after the samples are none.
    let mut more = whole.clone();
    more.extend(b"LIST\x04\0\0\0INFO");
    assert_eq!(read_bytes(&more, &plain()).unwrap().0.len(), 100);
}

/// As `arecord`, `sox` and `ffmpeg` write to a pipe, and a recorder that was killed.
#[test]
fn a_length_that_is_not_known_goes_to_the_end() {
    let whole = wav(1, 16, 1, 8000, &s16(&[100; 200]));
    for (riff, data) in [
        (0x7fff_ff24_u32, 0x7fff_ff00_u32),
        (u32::MAX, u32::MAX),
        (0, 0),
        (36, 0),
        (0x8000_0024, 0x8000_0000),
    ] {
        let mut bytes = whole.clone();
        bytes[4..8].copy_from_slice(&riff.to_le_bytes());
        bytes[40..44].copy_from_slice(&data.to_le_bytes());
        let (samples, report) = read_bytes(&bytes, &plain()).unwrap();
        assert_eq!((samples.len(), report.missing_bytes), (200, 0), "{riff:x} {data:x}");
    }
    // Without samples, but with another chunk after them.
    let mut empty = wav(1, 16, 1, 8000, &[]);
    empty.extend(b"LIST\x04\0\0\0INFO");
    empty[4] += 12;
    assert_eq!(read_bytes(&empty, &plain()).unwrap().0.len(), 0);
}

#[test]
fn wrong_headers_say_what_is_wrong() {
    let error = |bytes: &[u8]| read_bytes(bytes, &plain()).unwrap_err();
    let good = wav(1, 16, 1, 8000, &s16(&[1, 2]));
    let with = |at: usize, values: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + values.len()].copy_from_slice(values);
        error(&bytes)
    };
    assert!(with(8, b"AVI ").contains("\"AVI \" and not WAVE"));
    assert!(with(20, &[2, 0]).contains("Microsoft's ADPCM"), "{}", with(20, &[2, 0]));
    assert!(with(20, &[9, 9]).contains("format 0x0909"));
    assert!(with(22, &[0, 0]).contains("0 channels"));
    assert!(with(22, &[255, 255]).contains("65535 channels"));
    assert!(with(24, &[0, 0, 0, 0]).contains("0 samples a second"));
    assert!(with(24, &[255, 255, 255, 255]).contains("4294967295 samples a second"));
    assert!(with(32, &[0, 0]).contains("is not read") && with(34, &[0, 0]).contains("do not fit"));
    assert!(with(34, &[77, 0]).contains("77 bits"));
    assert!(with(12, b"none").contains("samples come before their format"));
    assert!(with(16, &[2]).contains("`fmt ` chunk has 2 bytes"));
    assert!(error(b"RIFX....WAVE").contains("big-endian"));
    assert!(error(b"<html>").contains("begins with \"<htm\""));
    assert!(error(&[0]).contains("begins with"));
    let folder = tempfile::tempdir().unwrap();
    let text = |path: &Path| read_file(path, &plain()).unwrap_err().to_string();
    assert!(text(folder.path()).contains("is a folder"));
    assert!(text(&folder.path().join("none.wav")).contains("none.wav: cannot be read"));
}

/// No header of any bytes is a panic, and none takes long.
#[test]
fn any_bytes_are_an_error_or_audio() {
    let good = wav(0xfffe, 16, 1, 8000, &s16(&[3; 40]));
    for at in 0..good.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let _ = read_bytes(&bytes, &plain());
        }
    }
}

#[test]
fn raw_samples_are_read_as_they_come() {
    struct Live(Vec<Vec<u8>>);
    impl Read for Live {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.pop() else { return Ok(0) };
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }
    // The second piece ends within a sample, and the last sample is cut off.
    let pieces =
        vec![vec![9], s16(&[5])[1..].to_vec(), s16(&[3, 4, 5])[..5].to_vec(), s16(&[1, 2])];
    let format = StreamFormat { sample: SampleFormat::S16, sample_rate: 16_000, channels: 1 };
    let mut reader =
        Reader::stream(Box::new(Live(pieces)), "standard input", Some(format), &plain()).unwrap();
    let mut counts = Vec::new();
    let mut samples = Vec::new();
    loop {
        let count = reader.read(&mut samples).unwrap();
        counts.push(count);
        if count == 0 {
            break;
        }
    }
    assert_eq!(counts, [2, 2, 1, 0]);
    let found: Vec<f32> = samples.iter().map(|v| v * 32_768.0).collect();
    assert_eq!((found, reader.report().missing_bytes), (vec![1.0, 2.0, 3.0, 4.0, 5.0], 1));

    let stream = |bytes: &[u8], format: Option<StreamFormat>| {
        all(Reader::stream(
            Box::new(io::Cursor::new(bytes.to_vec())),
            "standard input",
            format,
            &plain(),
        ))
    };
    // A header that is there counts.
    let whole = wav(1, 16, 1, 16_000, &s16(&[1, 2, 3]));
    assert_eq!(stream(&whole, Some(format)).unwrap().0.len(), 3);
    let few: Vec<usize> =
        (0..5).map(|n| stream(&[7; 9][..n], Some(format)).unwrap().0.len()).collect();
    assert_eq!(few, [0, 0, 1, 1, 2]);
    let floats = StreamFormat { sample: SampleFormat::F32, ..format };
    assert_eq!(stream(&0.5_f32.to_le_bytes(), Some(floats)).unwrap().0, [0.5]);
    let error = stream(&[1, 2, 3, 4, 5], None).unwrap_err();
    assert!(error.contains("standard input: must begin with the header of a WAV"), "{error}");
    assert!(stream(&[], None).unwrap_err().contains("standard input: is empty"));
    let wrong = StreamFormat { channels: 0, ..format };
    assert!(stream(&[], Some(wrong)).unwrap_err().contains("1 channel at least"));
    let wrong = StreamFormat { sample_rate: 3, ..format };
    assert!(stream(&[], Some(wrong)).unwrap_err().contains("sample rate of the stream = 3"));
}

/// Ten hours, of few samples a second: the time of this test is not what it is about.
#[test]
fn long_audio_is_read_in_pieces() {
    let seconds = 10 * 3600;
    let header = wav(1, 16, 1, 1000, &[]);
    let samples = io::repeat(0x11).take(2 * 1000 * seconds);
    let input = io::Cursor::new(header).chain(samples);
    let options = ReadOptions { sample_rate: Some(1100), ..plain() };
    let mut reader = Reader::stream(Box::new(input), "long", None, &options).unwrap();
    let (mut out, mut total) = (Vec::new(), 0);
    while reader.read(&mut out).unwrap() > 0 {
        total += out.len() as u64;
        out.clear();
    }
    assert_eq!(total, 1100 * seconds);
    assert!(out.capacity() < 100_000, "{}", out.capacity());
}

#[test]
fn what_is_written_is_read() {
    let samples = [0.0, 0.5, -0.25, 2.0, -2.0, 0.999];
    let (found, report) = read_bytes(&wav_bytes(&samples, 8000).unwrap(), &plain()).unwrap();
    assert_eq!(found[..3], samples[..3]);
    assert_eq!((found[3], found[4], report.clipped), (32_767.0 / 32_768.0, -1.0, 2));
    assert_eq!(report.source_rate, 8000);
}
