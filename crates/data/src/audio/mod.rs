//! Sounds with what is said in them, as frames of features that are computed when a sample is read.
//!
//! - [`AudioSpec`]: what a recipe says; `names`: what the names of files say; `store`: where sounds are
//! - [`AudioDataset`]: the samples; [`Standard`]: from samples to frames, alike in files and in streams

mod spec;
mod standard;
mod store;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_audio::{Augment, Cmvn, Moments};
use tidemill_fields::{DType, Dim, Field, Row, Signature};
use tidemill_table::{FrameMoments, Known};
use tidemill_text::Tokenizer;

use crate::spec::Like;
use crate::text::tokens::Coverage;
use crate::{Dataset, Error, FillCost, Info, RawSound, Result};
use store::Store;

pub use spec::{AudioContext, AudioSpec};
pub use standard::Standard;
pub use store::{ENDINGS, sounds_below};

/// Sounds that are kept in memory once they are decoded take at most so many samples together: 1 GiB.
const MOST_KEPT: usize = 256 << 20;

/// Examples of what was left out, in messages.
const EXAMPLES: usize = 3;

/// What is known of each sound, in the order of the samples.
#[derive(Debug)]
struct Clip {
    /// Its number in the store.
    place: usize,
    /// What is said in it, as it is written.
    text: String,
    label: Label,
    /// Positions of its features.
    positions: usize,
    /// Its samples at the features' rate, where they are kept.
    samples: Option<Arc<[f32]>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Label {
    Class(u32),
    /// A label for each token: its id plus 1, since 0 is the blank.
    Tokens(Vec<i32>),
    Unknown,
}

impl Label {
    /// The least number of positions for it: of tokens one for each, and where that is so one between equal neighbours.
    fn positions(&self, parts_equal: bool) -> usize {
        match self {
            Label::Tokens(labels) => {
                let equal = labels.windows(2).filter(|pair| parts_equal && pair[0] == pair[1]);
                (labels.len() + equal.count()).max(1)
            }
            Label::Class(_) | Label::Unknown => 1,
        }
    }
}

/// What the labels of sounds become.
#[derive(Debug)]
pub(crate) struct Labels {
    each: Vec<Label>,
    class_names: Vec<String>,
    tokenizer: Option<Arc<Tokenizer>>,
    notes: Vec<String>,
}

impl Labels {
    /// Of so many sounds of which nothing is known.
    fn unknown(count: usize) -> Labels {
        let each = vec![Label::Unknown; count];
        Labels { each, class_names: vec![], tokenizer: None, notes: vec![] }
    }

    /// Tokens, where the context says how texts become some, else classes.
    fn new(
        context: &AudioContext,
        resolve: &dyn Fn(&str) -> PathBuf,
        clips: &[(usize, String)],
        like: Option<&Like<'_>>,
    ) -> Result<Labels> {
        if let Some(text) = &context.text {
            let known = like.and_then(|like| like.tokenizer.cloned());
            let mut texts = clips.iter().map(|(_, label)| label.as_str());
            let tokenizer = text.tokenizer(resolve, known, &mut texts)?;
            let mut coverage = Coverage::default();
            let each = clips.iter().map(|(_, label)| {
                let mut ids = Vec::new();
                coverage.encode(&tokenizer, label, &mut ids);
                Label::Tokens(ids.into_iter().map(|id| id + 1).collect())
            });
            let each = each.collect();
            let (notes, tokenizer) = (coverage.notes().collect(), Some(tokenizer));
            return Ok(Labels { each, class_names: vec![], tokenizer, notes });
        }
        let own: BTreeSet<&String> = clips.iter().map(|(_, label)| label).collect();
        let class_names: Vec<String> = match like.map_or(&[][..], |like| like.class_names) {
            [] => own.iter().map(|name| (*name).clone()).collect(),
            names => names.to_vec(),
        };
        if let Some(other) = own.iter().find(|name| !class_names.contains(name)) {
            return Err(Error::option(format!(
                "a sound's label is `{other}`, which is none of the classes of the training data ({})",
                class_names.join(", ")
            )));
        }
        let class = |label: &String| class_names.iter().position(|name| name == label);
        let each = clips.iter().map(|(_, label)| Label::Class(class(label).unwrap_or(0) as u32));
        let each = each.collect();
        Ok(Labels { each, class_names, tokenizer: None, notes: vec![] })
    }
}

/// Sounds with their labels. A sample is frames of features, standardized by those of the training data, `stack` of them side by side.
pub struct AudioDataset {
    info: Info,
    store: Store,
    clips: Vec<Clip>,
    context: AudioContext,
    augment: Option<Augment>,
    known: Known,
    tokenizer: Option<Arc<Tokenizer>>,
    notes: Vec<String>,
    /// Feature extractors that are not in use.
    idle: Mutex<Vec<Standard>>,
}

impl AudioDataset {
    /// Reads each sound once: how long it is, and what features are like, unless `known` says that.
    fn new(
        store: Store,
        clips: Vec<(usize, String)>,
        labels: Labels,
        context: &AudioContext,
        known: Option<&Known>,
    ) -> Result<AudioDataset> {
        let moments = known.and_then(|known| known.frames.clone());
        let standard = Standard::new(context, moments.clone()).map_err(Error::option)?;
        let dims = vec![Dim::Time(context.positions), Dim::Fixed(standard.width())];
        let x = Field { name: "x".into(), dtype: DType::F32, dims };
        let truth = match (&labels.tokenizer, labels.each.iter().all(|l| *l == Label::Unknown)) {
            (_, true) => None,
            (Some(_), _) => Some(Field::ids("labels", context.positions)),
            (None, _) => Some(Field::class("labels")),
        };
        let num_classes = match &labels.tokenizer {
            Some(tokenizer) => tokenizer.vocabulary() + 1,
            None => labels.class_names.len(),
        };
        let rate = context.features.sample_rate();
        let augment = context.augment.as_ref();
        let augment = augment.map(|spec| Augment::new(spec, rate, context.seed));
        let mut data = AudioDataset {
            info: Info {
                len: 0,
                signature: Signature::new(vec![x], truth.clone()).into(),
                num_classes: truth.is_some().then_some(num_classes),
                class_names: labels.class_names,
            },
            store,
            clips: vec![],
            context: context.clone(),
            augment: augment.transpose().map_err(|e| Error::option(e.to_string()))?,
            known: Known { frames: moments, ..Known::default() },
            tokenizer: labels.tokenizer,
            notes: labels.notes,
            idle: Mutex::default(),
        };
        data.scan(clips, labels.each, standard)?;
        Ok(data)
    }

    /// Reads all sounds; what cannot be used is left out, and said.
    fn scan(
        &mut self,
        clips: Vec<(usize, String)>,
        labels: Vec<Label>,
        mut standard: Standard,
    ) -> Result<()> {
        let mut moments = self.known.frames.is_none().then(|| Moments::new(standard.bins()));
        let (mut kept, mut left_out) = (0, LeftOut::default());
        let mut first_error = None;
        for ((place, text), label) in clips.into_iter().zip(labels) {
            let samples = match self.decode(place) {
                Ok((samples, warning)) => {
                    warning.into_iter().for_each(|warning| left_out.add(3, || warning));
                    samples
                }
                Err(e) => {
                    left_out.add(0, || e.to_string());
                    first_error = first_error.or(Some(e));
                    continue;
                }
            };
            let positions = standard.positions(samples.len());
            let describe = || self.store.describe(place);
            if positions > self.context.positions {
                left_out.add(1, describe);
                continue;
            }
            if positions < label.positions(self.context.parts_equal) {
                left_out.add(2, describe);
                continue;
            }
            if label != Label::Unknown && text.trim().is_empty() {
                left_out.add(4, describe);
            }
            if let Some(moments) = &mut moments {
                moments.add(standard.raw(&samples));
            }
            let keeps = kept + samples.len() <= MOST_KEPT;
            kept += if keeps { samples.len() } else { 0 };
            let samples = keeps.then(|| samples.into());
            self.clips.push(Clip { place, text, label, positions, samples });
        }
        self.notes.extend(left_out.notes());
        if self.clips.is_empty() {
            let what = left_out.notes().collect::<Vec<_>>().join("; ");
            return Err(first_error
                .unwrap_or_else(|| Error::option(format!("no sound can be used: {what}"))));
        }
        self.info.len = self.clips.len();
        if let Some(moments) = moments {
            let Cmvn { mean, deviation } =
                moments.cmvn().map_err(|e| Error::option(e.to_string()))?;
            let found = FrameMoments { mean, deviation };
            standard.set(found.clone());
            self.known.frames = Some(found);
        }
        self.idle = Mutex::new(vec![standard]);
        Ok(())
    }

    /// The samples of a sound, at the features' rate, and what people should know of it. Of one that has more positions than a sample may
    /// have, so many that this can be seen: a file of ten hours is not read.
    fn decode(&self, place: usize) -> Result<(Vec<f32>, Option<String>)> {
        let features = &self.context.features;
        let rate = features.sample_rate();
        let frames = (self.context.positions + 2) * self.context.stack.max(1);
        // What a frame reads beyond its shift is less than a second.
        let seconds = frames as f64 * features.shift_ms() / 1000.0 + 1.0;
        self.store.decode(place, rate, (seconds * f64::from(rate)) as usize)
    }

    /// The samples of a sound that is in use.
    fn samples(&self, clip: &Clip) -> Result<Arc<[f32]>> {
        match &clip.samples {
            Some(samples) => Ok(samples.clone()),
            None => Ok(self.decode(clip.place)?.0.into()),
        }
    }

    /// A sample as it is varied in an epoch: others joined to it, then its speed and loudness changed, noise added, parts hidden. None where
    /// that leaves too few positions for its labels, or more than a sample may have.
    fn varied(
        &self,
        augment: &Augment,
        (epoch, index): (u64, u64),
        standard: &mut Standard,
    ) -> Result<Option<(Vec<f32>, Label)>> {
        let own = &self.clips[index as usize];
        let mut samples = self.samples(own)?.to_vec();
        let mut label = own.label.clone();
        if let Label::Tokens(labels) = &mut label {
            let mut positions = own.positions;
            for joined in augment.joined(epoch, index, self.clips.len() as u64) {
                let other = &self.clips[joined.sample as usize];
                let (Label::Tokens(more), true) =
                    (&other.label, 2 * (positions + other.positions) < self.context.positions)
                else {
                    continue;
                };
                positions += other.positions;
                samples.resize(samples.len() + joined.pause, 0.0);
                samples.extend_from_slice(&self.samples(other)?);
                labels.extend_from_slice(more);
            }
        }
        let samples = augment.sound(epoch, index, samples);
        let width = standard.width();
        let frames = standard.hidden(&samples, augment, (epoch, index));
        let least = label.positions(self.context.parts_equal);
        let fits = (least..=self.context.positions).contains(&(frames.len() / width));
        Ok(fits.then(|| (frames.to_vec(), label)))
    }

    /// What the features of the training data are like.
    pub fn moments(&self) -> Option<&FrameMoments> {
        self.known.frames.as_ref()
    }
}

/// What was left out or is odd, by reason, with examples.
#[derive(Default)]
struct LeftOut([(usize, Vec<String>); 5]);

impl LeftOut {
    fn add(&mut self, reason: usize, example: impl FnOnce() -> String) {
        let (count, examples) = &mut self.0[reason];
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(example());
        }
    }

    fn notes(&self) -> impl Iterator<Item = String> + '_ {
        const WHAT: [&str; 5] = [
            "cannot be read, and are left out",
            "are longer than audio.seconds, and are left out",
            "are too short for their labels, and are left out",
            "are not quite as they should be",
            "have an empty text, which is what is learned of them",
        ];
        let reasons = self.0.iter().zip(WHAT).filter(|((count, _), _)| *count > 0);
        reasons.map(|((count, examples), what)| {
            format!("{count} sounds {what}: {}", examples.join("; "))
        })
    }
}

impl Dataset for AudioDataset {
    fn info(&self) -> &Info {
        &self.info
    }

    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()> {
        let clip = &self.clips[index];
        let lock = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = lock().pop();
        let mut standard = match idle {
            Some(standard) => standard,
            None => {
                Standard::new(&self.context, self.known.frames.clone()).map_err(Error::option)?
            }
        };
        let varied = match (&self.augment, row.epoch()) {
            (Some(augment), Some(epoch)) => {
                self.varied(augment, (epoch, index as u64), &mut standard)?
            }
            _ => None,
        };
        let (frames, labels) = match &varied {
            Some((frames, labels)) => (&frames[..], labels),
            None => (standard.frames(&self.samples(clip)?), &clip.label),
        };
        let x = row.f32(0)?;
        let len = frames.len().min(x.len());
        x[..len].copy_from_slice(&frames[..len]);
        x[len..].fill(0.0);
        match labels {
            Label::Class(class) => row.set_class(*class)?,
            Label::Tokens(labels) => {
                row.set_ids(1, labels)?;
            }
            Label::Unknown => {}
        }
        row.set_length(0, len / standard.width());
        lock().push(standard);
        Ok(())
    }

    fn class(&self, index: usize) -> Option<u32> {
        match self.clips[index].label {
            Label::Class(class) => Some(class),
            _ => None,
        }
    }

    fn text(&self, index: usize) -> Option<&str> {
        let clip = &self.clips[index];
        matches!(clip.label, Label::Tokens(_)).then_some(&clip.text)
    }

    fn raw_sound(&self, index: usize) -> Result<Option<RawSound>> {
        let samples = self.samples(&self.clips[index])?.to_vec();
        let sample_rate = self.context.features.sample_rate();
        Ok(Some(RawSound { samples, sample_rate }))
    }

    fn lengths(&self, index: usize) -> Result<Vec<usize>> {
        let clip = &self.clips[index];
        let labels = if let Label::Tokens(labels) = &clip.label { labels.len() } else { 0 };
        let Some(augment) = &self.context.augment else { return Ok(vec![clip.positions, labels]) };
        if augment.concatenate.is_some() {
            return Ok(vec![self.context.positions; 2]);
        }
        let slowest = augment.speed.iter().fold(1.0_f64, |slowest, &speed| slowest.min(speed));
        // A position more for what is rounded.
        let most = (clip.positions as f64 / slowest).ceil() as usize + 1;
        Ok(vec![most.min(self.context.positions), labels])
    }

    fn describe(&self, index: usize) -> String {
        self.store.describe(self.clips[index].place)
    }

    fn fill_cost(&self) -> FillCost {
        FillCost::Decode
    }

    fn known(&self) -> Option<&Known> {
        Some(&self.known)
    }

    fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        self.tokenizer.as_ref()
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}
