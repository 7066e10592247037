//! A run's model that writes what sounds say, asked about a sound while it comes.
//!
//! Samples become positions of features, positions become chunks, which the model computes one after the other ([`Chunks`]); a beam search over
//! labels goes along. The same samples give the same text, however they are cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_engine::Chunks;
use tidemill_engine::data::audio::{Standard, sounds_below};
use tidemill_engine::data::sound::{AudioError, ReadOptions, Reader};
use tidemill_engine::data::tokens::Tokenizer;
use tidemill_engine::data::tokens::score::{Alignment, ErrorRate, ErrorRateScore, Unit};
use tidemill_engine::data::{DataSpec, Dataset, Loader, LoaderOptions, RawSound};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::metrics::Task;
use tidemill_engine::transcript::{Search, greedy};
use tidemill_recipe::{EndpointSpec, evaluate_options};

use crate::Trained;

/// Milliseconds of a chunk: text is late by so much at most, and what the model computes of a second does not depend on it.
pub const CHUNK_MS: f64 = 160.0;

/// Hypotheses that the search keeps.
pub const BEAM: usize = 8;

/// What is said so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// The text of the utterance, or of its part so far.
    pub text: String,
    /// The beginning of it that will not change; all of it where the utterance is over.
    pub stable: String,
    /// Whether the utterance is over; the next text is that of another one.
    pub is_final: bool,
    /// Seconds of sound at which the utterance began, and that were heard so far.
    pub seconds: [f64; 2],
}

/// How what is written down compares with what was said.
#[derive(Clone, Debug)]
pub struct TranscriptFigures {
    /// Number of sounds.
    pub sounds: usize,
    /// Word error rate.
    pub words: ErrorRateScore,
    /// Character error rate.
    pub characters: ErrorRateScore,
    /// The sounds with the most wrong words, those with the most first; none that are right.
    pub worst: Vec<WrittenWrong>,
}

/// A sound of which something else was written than is said in it.
#[derive(Clone, Debug)]
pub struct WrittenWrong {
    /// Where it is, for people.
    pub source: String,
    /// Which word became which.
    pub words: Alignment,
    /// Its number in the data.
    index: usize,
    /// Its samples, where they were asked for.
    pub sound: Option<RawSound>,
}

/// Worst sounds that are kept.
const WORST: usize = 10;

/// A sound under way.
pub struct Transcription {
    standard: Standard,
    chunks: Chunks,
    task: Task,
    search: Search,
    tokenizer: Arc<Tokenizer>,
    endpoint: EndpointSpec,
    /// Seconds of a position.
    position: f64,
    /// Values of positions that wait for a whole chunk.
    waiting: Vec<f32>,
    /// Positions so far, and where the utterance began.
    now: u64,
    began: u64,
    /// What was given last.
    last: Heard,
}

/// The text of labels of sounds; a label is a token's id plus 1.
pub(crate) fn text_of(tokenizer: &Tokenizer, labels: &[i32]) -> String {
    let ids: Vec<i32> = labels.iter().map(|label| label - 1).collect();
    tokenizer.decode(&ids)
}

impl Trained {
    /// Sounds of which nothing is known, in files and folders.
    pub(crate) fn open_sounds(
        &self,
        spec: &DataSpec,
        files: &[PathBuf],
    ) -> Result<Arc<dyn Dataset>> {
        let mut found = Vec::new();
        for path in files {
            match path.is_dir() {
                true => found.extend(sounds_below(path)?),
                false => found.push(path.clone()),
            }
        }
        match self.file.with_context(spec, false) {
            DataSpec::Audio(sounds) => Ok(Arc::new(sounds.of_files(&found, Some(self.known()))?)),
            _ => Err(Error::Usage("the data are no sounds".into())),
        }
    }

    /// Files and sounds of folders one after the other, and whether each is longer than the samples of training.
    pub(crate) fn sounds_by_length(&self, files: &[PathBuf]) -> Result<Vec<(PathBuf, bool)>> {
        let options = ReadOptions { sample_rate: Some(self.sample_rate()), ..Default::default() };
        let most = self.file.recipe.audio.seconds * f64::from(self.sample_rate());
        // What cannot be opened is said where it is read.
        let is_long = |path: &Path| {
            let reader = Reader::open(path, &options).ok();
            reader.and_then(|reader| reader.num_samples()).is_some_and(|n| n as f64 > most)
        };
        let can = self.transcribes() && self.engine().check_chunks().is_ok();
        let mut found = Vec::new();
        for path in files {
            let below = if path.is_dir() { sounds_below(path)? } else { vec![path.clone()] };
            found.extend(below.into_iter().map(|path| (can && is_long(&path), path)));
        }
        Ok(found.into_iter().map(|(is_long, path)| (path, is_long)).collect())
    }

    /// What a long sound says: the texts of its utterances in one, piece by piece, in memory that does not depend on its length. Also says
    /// what is odd about it.
    ///
    /// # Errors
    /// As [`Trained::hear`]; and if the file cannot be read.
    pub(crate) fn transcribe_long(&mut self, path: &Path) -> Result<(String, Vec<String>)> {
        let options = ReadOptions { sample_rate: Some(self.sample_rate()), ..Default::default() };
        let unreadable = |e: AudioError| Error::Run(e.to_string());
        let mut reader = Reader::open(path, &options).map_err(unreadable)?;
        let mut transcription = self.transcription()?;
        let mut texts = Vec::new();
        let mut each = |heard: &Heard| {
            if heard.is_final {
                texts.push(heard.text.clone());
            }
            Ok(())
        };
        let mut samples = Vec::new();
        while reader.read(&mut samples).map_err(unreadable)? > 0 {
            self.hear(&mut transcription, &samples, &mut each)?;
            samples.clear();
        }
        self.heard_all(&mut transcription, &mut each)?;
        let odd = reader.report().warnings().into_iter();
        let odd = odd.map(|warning| format!("{} {warning}", path.display())).collect();
        Ok((texts.join(" "), odd))
    }

    /// Samples a second that a [`Transcription`] takes.
    pub fn sample_rate(&self) -> u32 {
        self.file.recipe.audio.features.sample_rate()
    }

    /// Whether the model writes what sounds say.
    pub fn transcribes(&self) -> bool {
        self.file.recipe.task().is_transcript()
    }

    /// What the model writes of the sounds in `data` (the recipe's validation data where none are named), compared with their texts. Sounds are
    /// read whole; `with_sounds` also gives the samples of the worst ones.
    ///
    /// # Errors
    /// If the data cannot be read or have no texts.
    pub fn score_transcripts(
        &mut self,
        data: &[PathBuf],
        with_sounds: bool,
    ) -> Result<TranscriptFigures> {
        let spec = self.measured(data)?;
        let set = self.open_spec(&spec)?;
        let batch_size = evaluate_options(&self.file).batch_size;
        let mut loader = Loader::new(set.clone(), LoaderOptions::one_pass(batch_size))?;
        let (task, labels) = (self.file.recipe.task(), self.engine().num_outputs());
        let Some(tokenizer) = self.file.tokenizer().cloned() else {
            return Err(Error::Usage("the model does not write what sounds say".into()));
        };
        let [mut words, mut characters] = [Unit::Words, Unit::Characters].map(ErrorRate::new);
        let (mut sounds, mut worst) = (0, Vec::<WrittenWrong>::new());
        while let Some(batch) = loader.next_batch()? {
            let outputs = self.engine_mut().predict(batch)?;
            let stride = outputs.len() / batch.len.max(1);
            for (i, row) in outputs.chunks_exact(stride.max(1)).enumerate() {
                let index = batch.indices[i] as usize;
                let Some(said) = set.text(index) else { continue };
                let length = batch.columns[0].lengths[i].max(0) as usize;
                let found = greedy(task, &row[..length * labels], labels);
                let found = text_of(&tokenizer, &found);
                words.add(&found, said);
                characters.add(&found, said);
                sounds += 1;
                if found != said {
                    let source = set.describe(index);
                    let words = Alignment::new(&found, said, Unit::Words);
                    worst.push(WrittenWrong { source, words, index, sound: None });
                }
            }
            // The first of those that are as bad.
            let wrong = |alignment: &Alignment| {
                let score = alignment.score();
                score.substitutions + score.deletions + score.insertions
            };
            worst.sort_by_key(|one| std::cmp::Reverse(wrong(&one.words)));
            worst.truncate(WORST);
        }
        for one in worst.iter_mut().filter(|_| with_sounds) {
            one.sound = set.raw_sound(one.index)?;
        }
        Ok(TranscriptFigures {
            sounds,
            words: words.score(),
            characters: characters.score(),
            worst,
        })
    }

    /// Begins a sound that comes.
    ///
    /// # Errors
    /// If the model does not write what sounds say, or reads positions that have not come yet.
    pub fn transcription(&mut self) -> Result<Transcription> {
        let (true, Some(tokenizer)) = (self.transcribes(), self.file.tokenizer().cloned()) else {
            return Err(Error::Usage("the model does not write what sounds say".into()));
        };
        let (task, audio) = (self.file.recipe.task(), self.file.recipe.audio.clone());
        let context = self.file.audio_context(false);
        let standard = Standard::new(&context, self.known().frames.clone()).map_err(Error::Run)?;
        let position = audio.features.shift_ms() * audio.stack as f64;
        let positions = ((CHUNK_MS / position).round() as usize).max(1);
        let chunks = self.engine_mut().chunks(positions).map_err(|e| {
            Error::Usage(format!("the model cannot transcribe a sound while it comes: {e}"))
        })?;
        Ok(Transcription {
            standard,
            chunks,
            task,
            search: Search::new(task, BEAM),
            tokenizer,
            endpoint: audio.endpoint,
            position: position / 1000.0,
            waiting: Vec::new(),
            now: 0,
            began: 0,
            last: Heard::default(),
        })
    }

    /// Takes samples at [`Trained::sample_rate`], in -1 to 1; gives what is said, whenever that changes.
    ///
    /// # Errors
    /// Those of `each`, and of the engine.
    pub fn hear(
        &mut self,
        transcription: &mut Transcription,
        samples: &[f32],
        each: &mut dyn FnMut(&Heard) -> Result<()>,
    ) -> Result<()> {
        let t = transcription;
        t.standard.push(samples, &mut t.waiting);
        let whole = t.chunks.positions() * t.chunks.width();
        let mut from = 0;
        while t.waiting.len() - from >= whole {
            self.chunk(t, from..from + whole, each)?;
            from += whole;
        }
        t.waiting.drain(..from);
        Ok(())
    }

    /// The sound is over: gives the text of its last utterance. The next sample is the first of another sound.
    ///
    /// # Errors
    /// As [`Trained::hear`].
    pub fn heard_all(
        &mut self,
        transcription: &mut Transcription,
        each: &mut dyn FnMut(&Heard) -> Result<()>,
    ) -> Result<()> {
        let t = transcription;
        let mut rest = Vec::new();
        t.standard.finish(&mut rest);
        t.waiting.extend_from_slice(&rest);
        let whole = t.chunks.positions() * t.chunks.width();
        let mut from = 0;
        while from < t.waiting.len() {
            let to = (from + whole).min(t.waiting.len());
            self.chunk(t, from..to, each)?;
            from = to;
        }
        t.waiting.clear();
        t.end(each)?;
        t.chunks.restart();
        (t.now, t.began) = (0, 0);
        Ok(())
    }

    fn chunk(
        &mut self,
        t: &mut Transcription,
        range: std::ops::Range<usize>,
        each: &mut dyn FnMut(&Heard) -> Result<()>,
    ) -> Result<()> {
        let labels = self.engine().num_outputs();
        let log = self.engine_mut().next_chunk(&mut t.chunks, &t.waiting[range])?;
        for row in log.chunks_exact(labels) {
            t.search.add(row);
            t.now += 1;
            if t.is_over() {
                t.end(each)?;
            }
        }
        t.show(each)
    }
}

impl Transcription {
    /// Whether one of the rules ends the utterance.
    fn is_over(&self) -> bool {
        let seconds = |positions: u64| positions as f64 * self.position;
        let all = self.now - self.began;
        let (labels, at) = self.search.best();
        let EndpointSpec { silence, silence_without_speech, longest } = self.endpoint;
        match at.last() {
            _ if seconds(all) >= longest => true,
            None => labels.is_empty() && seconds(all) >= silence_without_speech,
            Some(&last) => seconds(all - 1 - u64::from(last)) >= silence,
        }
    }

    fn heard(&self, is_final: bool) -> Heard {
        let text = text_of(&self.tokenizer, self.search.best().0);
        let stable = match is_final {
            true => text.clone(),
            false => text_of(&self.tokenizer, self.search.stable()),
        };
        let seconds = [self.began, self.now].map(|positions| positions as f64 * self.position);
        Heard { text, stable, is_final, seconds }
    }

    /// Gives the text so far, if it has changed.
    fn show(&mut self, each: &mut dyn FnMut(&Heard) -> Result<()>) -> Result<()> {
        let heard = self.heard(false);
        if heard.text != self.last.text || heard.stable != self.last.stable {
            each(&heard)?;
            self.last = heard;
        }
        Ok(())
    }

    /// Ends the utterance. What the model has heard stays, as context of the next one; the search starts again, and so do, from the next chunk on,
    /// the labels before that a transducer goes by.
    fn end(&mut self, each: &mut dyn FnMut(&Heard) -> Result<()>) -> Result<()> {
        let heard = self.heard(true);
        if !heard.text.is_empty() {
            each(&heard)?;
        }
        self.search = Search::new(self.task, BEAM);
        self.chunks.restart_labels();
        self.began = self.now;
        self.last = Heard::default();
        Ok(())
    }
}
