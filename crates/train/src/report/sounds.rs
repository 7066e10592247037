//! The page of what sounds were written down as: error rates, and the worst sounds to be seen and heard.

use std::fmt::Write;
use std::path::Path;

use tidemill_engine::data::sound::{FbankSpec, Features, FrontEndSpec, wav_bytes};
use tidemill_engine::data::tokens::score::{Alignment, Edit, ErrorRateScore};
use tidemill_engine::data::{RawImage, RawSound};
use tidemill_engine::page::html::{self, base64, escape};
use tidemill_engine::page::number::{Scale, count, value};

use super::mistakes::encode;
use crate::transcribe::{TranscriptFigures, WrittenWrong};

/// Bands of a spectrogram, from the low ones to the high ones.
const BINS: usize = 64;
/// What is quieter than the loudest value of a sound by more is black, in nats: 60 dB.
const RANGE: f32 = 13.8;
/// Black, violet, orange, and a light yellow, so that louder is lighter also in greys.
const COLORS: [[f32; 3]; 4] =
    [[5.0, 4.0, 22.0], [107.0, 28.0, 110.0], [237.0, 105.0, 37.0], [252.0, 254.0, 190.0]];

/// The page of the run in `run`; `weights` says of which weights, for people. It needs nothing else: pictures and sounds are in it.
pub fn sounds_page(run: &Path, weights: &str, found: &TranscriptFigures) -> String {
    let mut page = String::new();
    let run = escape(&run.display().to_string());
    html::start(&mut page, &format!("what sounds say, by {run}"));
    let _ = write!(
        page,
        "<header><p class=\"eyebrow\">tidemill eval</p><h1>{} sounds written down</h1>\
         <p class=\"sub\"><code>{run}</code> &middot; {}</p></header>",
        count(found.sounds as u64),
        escape(weights)
    );
    let card = |name: &str, of: ErrorRateScore, unit: &str| {
        let ErrorRateScore { hits, substitutions, deletions, insertions } = of;
        let all = count(hits + substitutions + deletions);
        let note = format!(
            "of {all} {unit}: {} others, {} missing, {} too many",
            count(substitutions),
            count(deletions),
            count(insertions)
        );
        (name.to_owned(), value(of.value(), Scale::Percent), note)
    };
    let cards = [
        card("Word error rate", found.words, "words"),
        card("Character error rate", found.characters, "characters"),
    ];
    html::cards(&mut page, &cards);
    if found.worst.is_empty() {
        page.push_str("<section><p>All of them are right.</p></section>");
    } else {
        page.push_str("<section><h2>The worst sounds</h2><div class=\"sounds\">");
        found.worst.iter().for_each(|one| sound(&mut page, one));
        page.push_str("</div></section>");
    }
    page.push_str("</main></body></html>\n");
    page
}

/// A sound with its picture, a player, and both texts.
fn sound(page: &mut String, one: &WrittenWrong) {
    page.push_str("<figure>");
    if let Some(sound) = &one.sound {
        if let Some(png) = spectrogram(sound).and_then(|image| encode(&image)) {
            let seconds = sound.samples.len() as f64 / f64::from(sound.sample_rate.max(1));
            let _ = write!(
                page,
                "<img alt=\"spectrogram of {seconds:.2} s, from low to high frequencies\" src=\"data:image/png;base64,{}\">",
                base64(&png)
            );
        }
        if let Ok(wav) = wav_bytes(&sound.samples, sound.sample_rate) {
            let _ = write!(
                page,
                "<audio controls preload=\"metadata\" src=\"data:audio/wav;base64,{}\"></audio>",
                base64(&wav)
            );
        }
    }
    page.push_str("<figcaption><dl>");
    let Alignment { reference, hypothesis, chunks, .. } = &one.words;
    page.push_str("<dt>said</dt><dd>");
    for chunk in chunks {
        words(page, &reference[chunk.reference.clone()], chunk.edit);
    }
    page.push_str("</dd><dt>written</dt><dd>");
    for chunk in chunks {
        words(page, &hypothesis[chunk.hypothesis.clone()], chunk.edit);
    }
    let _ = write!(
        page,
        "</dd></dl><span class=\"path\">{}</span></figcaption></figure>",
        escape(&one.source)
    );
}

/// Words, marked where they are wrong.
fn words(page: &mut String, words: &[String], edit: Edit) {
    for word in words {
        let _ = match edit {
            Edit::Equal => write!(page, "{} ", escape(word)),
            _ => write!(page, "<b class=\"wrong\">{}</b> ", escape(word)),
        };
    }
}

/// A picture of the energy in bands of mel, 10 ms a column, low bands below.
fn spectrogram(sound: &RawSound) -> Option<RawImage> {
    let spec = FbankSpec { bins: BINS, sample_rate: sound.sample_rate, ..FbankSpec::default() };
    let mut features = Features::new(&FrontEndSpec::Fbank(spec)).ok()?;
    let mut frames = Vec::new();
    features.push(&sound.samples, &mut frames);
    features.finish(&mut frames);
    let width = frames.len() / BINS;
    if width == 0 {
        return None;
    }
    let loudest = frames.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut pixels = Vec::with_capacity(3 * frames.len());
    for bin in (0..BINS).rev() {
        for column in 0..width {
            let below = (loudest - frames[column * BINS + bin]) / RANGE;
            pixels.extend(color(1.0 - below.clamp(0.0, 1.0)));
        }
    }
    Some(RawImage { height: BINS, width, channels: 3, pixels })
}

/// The color of a loudness from 0 to 1.
fn color(loudness: f32) -> [u8; 3] {
    let place = loudness * (COLORS.len() - 1) as f32;
    let at = (place as usize).min(COLORS.len() - 2);
    let part = place - at as f32;
    let mix = |i: usize| COLORS[at][i] + part * (COLORS[at + 1][i] - COLORS[at][i]);
    [0, 1, 2].map(|i| mix(i) as u8)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_a_bright_line() {
        let turn = |n: usize| (std::f32::consts::TAU * 1000.0 * n as f32 / 8000.0).sin();
        let sound = RawSound { samples: (0..8000).map(turn).collect(), sample_rate: 8000 };
        let image = spectrogram(&sound).unwrap();
        assert_eq!((image.height, image.channels), (BINS, 3));
        assert!((90..=100).contains(&image.width), "{}", image.width);
        let row = |y: usize| {
            let start = 3 * y * image.width;
            image.pixels[start..start + 3 * image.width].iter().map(|&p| u32::from(p)).sum::<u32>()
        };
        let brightest = (0..BINS).max_by_key(|&y| row(y)).unwrap();
        // 1,000 Hz are about half of the mels of 4,000 Hz.
        assert!((BINS / 3..2 * BINS / 3).contains(&brightest), "{brightest}");
        assert!(encode(&image).unwrap().len() > 100);
        assert_eq!(spectrogram(&RawSound { samples: vec![0.5], sample_rate: 8000 }), None);
        assert_eq!((color(0.0), color(1.0)), ([5, 4, 22], [252, 254, 190]));
    }
}
