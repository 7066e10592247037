//! What becomes of a record: of a text or a sound a text is written, and waits; a correction is joined, scored, judged and learned from.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::page::html::base64;
use tidemill_recipe::stream::BadEvent;

use super::driver::Driver;
use super::learner::Served;
use super::quarantine::{Judged, reason};
use super::record::Record;
use super::source::{Source, both, two};
use crate::join::texts::{CorrectionCame, TextCame};
use crate::run::LearnEvent;

/// What becomes of a record: an answer for who sent it, or why it is set aside.
pub(super) type Taken = Result<std::result::Result<Value, BadEvent>>;

/// A line of `corrections.jsonl`, and one of `quarantine.jsonl` with its reason.
#[derive(Serialize, Deserialize)]
struct Line {
    number: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    id: Option<String>,
    /// The text, or the file of the sound; left out where the sound was sent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    speaker: Option<String>,
    /// The sound as base64 of a WAV, in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audio: Option<String>,
    hypothesis: String,
    correction: String,
    /// The mean loss of a token, before anything was learned from it.
    loss: Option<f64>,
    /// Steps taken before.
    step: u64,
}

/// What came to be corrected, and what became of it.
struct Case {
    id: Option<String>,
    source: Source,
    hypothesis: String,
    correction: String,
    /// Whether it was in quarantine.
    released: bool,
}

impl Driver<'_> {
    /// Takes a record that was read.
    pub(super) fn take_read(&mut self, read: Record) -> Taken {
        let Record { id, at, source, correction, release, sound } = read;
        if let Some(number) = release {
            return self.release(number);
        }
        let timed = self.spec.labels.as_ref().is_some_and(|labels| labels.time.is_some());
        if timed && at.is_none() && source.is_some() {
            return Ok(Err(BadEvent::new("has no time, and online.labels.time names one")));
        }
        let (source, odd) = match (source, &self.sounds) {
            (Some(text), Some(sounds)) => match sounds.read(&text, &sound) {
                Ok((sound, odd)) => (Some(Source::Sound(sound)), odd),
                Err(bad) => return Ok(Err(bad)),
            },
            (source, _) => (source.map(Source::Text), None),
        };
        if let Some(odd) = &odd {
            self.note_odd(odd);
        }
        let at = match (timed, at) {
            // A correction without a time comes at the present.
            (true, None) => 0,
            (_, at) => self.join.record_came(at)?,
        };
        let known = id.as_deref().is_some_and(|id| self.join.knows(id));
        let taken = match (id, source, correction) {
            (Some(id), _, Some(correction)) if known => self.correction(&id, &correction),
            (id, Some(source), Some(correction)) => {
                self.counts.events += 1;
                self.counts.labels += 1;
                if let Some(id) = &id {
                    self.join.pair_came(id, at, &correction)?;
                }
                let (hypothesis, _) = self.learner.write(&source)?;
                let hypothesis = hypothesis.text;
                self.corrected(Case { id, source, hypothesis, correction, released: false })
            }
            (Some(id), Some(source), None) => self.text(&id, at, source),
            (None, Some(source), None) => {
                self.counts.events += 1;
                self.counts.unlabelled += 1;
                let (hypothesis, is_cut) = self.learner.write(&source)?;
                Ok(Ok(answer(None, &hypothesis.text, Some(hypothesis.score), is_cut)))
            }
            (Some(id), None, Some(correction)) => self.correction(&id, &correction),
            (None, None, _) => Ok(Err(BadEvent::new(format!(
                "a correction needs the id of its {}",
                self.reading.what()
            )))),
            (Some(_), None, None) => Ok(Err(BadEvent::new("has neither a text nor a correction"))),
        };
        Ok(taken?.map(|mut answer| {
            if let (Some(odd), Value::Object(answer)) = (odd, &mut answer) {
                answer.insert("note".into(), json!(format!("the sound {odd}")));
            }
            answer
        }))
    }

    /// A text or a sound whose correction comes later, or has come.
    fn text(&mut self, id: &str, at: i64, source: Source) -> Taken {
        let mut written = None;
        let Driver { join, learner, .. } = self;
        let came = join.text_came(id, at, || {
            let (hypothesis, is_cut) = learner.write(&source)?;
            let kept = both(&source, &hypothesis.text);
            written = Some((hypothesis, is_cut));
            Ok(kept)
        })?;
        match (came, written) {
            (TextCame::Repeated(kept), _) => {
                let before = kept.as_deref().and_then(two).filter(|(before, _)| *before == source);
                match before {
                    // Who asks again, since the first answer was lost, gets it again.
                    Some((_, hypothesis)) => Ok(Ok(answer(Some(id), &hypothesis, None, false))),
                    None if kept.is_none() => Ok(Ok(json!({ "id": id, "repeated": true }))),
                    None => {
                        let what = self.reading.what();
                        Ok(Err(BadEvent::expected(format!(
                            "another {what} with this id came before, and waits for its correction"
                        ))))
                    }
                }
            }
            (TextCame::Corrected(correction), _) => {
                self.counts.events += 1;
                let (hypothesis, _) = self.learner.write(&source)?;
                let (id, hypothesis) = (Some(id.to_owned()), hypothesis.text);
                self.corrected(Case { id, source, hypothesis, correction, released: false })
            }
            (TextCame::Waits, written) => {
                self.counts.events += 1;
                self.counts.unlabelled += 1;
                let (text, score, is_cut) = match written {
                    Some((hypothesis, is_cut)) => (hypothesis.text, Some(hypothesis.score), is_cut),
                    None => (String::new(), None, false),
                };
                Ok(Ok(answer(Some(id), &text, score, is_cut)))
            }
        }
    }

    /// The correction of a text that came before, or comes later.
    fn correction(&mut self, id: &str, correction: &str) -> Taken {
        let what = self.reading.what();
        match self.join.correction_came(id, correction)? {
            CorrectionCame::Joined(kept) => {
                let Some((source, hypothesis)) = two(&kept) else {
                    return Err(Error::Run(
                        "a text that waited for its correction is damaged".into(),
                    ));
                };
                self.counts.labels += 1;
                self.counts.unlabelled -= self.counts.unlabelled.min(1);
                let (id, correction) = (Some(id.to_owned()), correction.to_owned());
                self.corrected(Case { id, source, hypothesis, correction, released: false })
            }
            CorrectionCame::Early => {
                self.counts.labels += 1;
                Ok(Ok(json!({ "id": id, "waits": format!("for its {what}") })))
            }
            CorrectionCame::Duplicate => {
                self.counts.labels += 1;
                Ok(Ok(json!({ "id": id, "duplicate": true })))
            }
            CorrectionCame::Contradictory(first) => Ok(Err(BadEvent::expected(format!(
                "another correction of this {what} came before it, and counts: {first}"
            )))),
            CorrectionCame::Late => Ok(Err(BadEvent::expected(format!(
                "comes late: the window of its {what} is closed"
            )))),
        }
    }

    /// A source with its correction: scored, then learned from, or set aside as garbage unless it was released.
    fn corrected(&mut self, case: Case) -> Taken {
        let Case { id, source, hypothesis, correction, released } = case;
        let made = self.learner.pair(&source, &correction);
        if made.pair.target.is_empty() {
            return Ok(Err(BadEvent::new(format!(
                "the correction has nothing that the vocabulary has: {}",
                correction.chars().take(100).collect::<String>()
            ))));
        }
        let losses = self.learner.losses(&made.pair)?;
        let loss = self.learner.served_loss(losses);
        let (written, given) = (&hypothesis, &correction);
        let judged =
            Judged { source: &source, made: &made, hypothesis: written, correction: given, loss };
        let limits = &self.spec.corrections.quarantine;
        let garbage = reason(limits, self.learner.usual(), self.learner.known_losses(), judged);
        let step = self.learner.engine().step();
        let mut line = Line {
            number: self.learner.state.quarantined + 1,
            reason: garbage.filter(|_| !released),
            id,
            source: source.name().to_owned(),
            speaker: source.speaker().map(str::to_owned),
            audio: None,
            hypothesis,
            correction,
            loss: Some(loss).filter(|loss| loss.is_finite()),
            step,
        };
        if line.reason.is_some() {
            if let (Source::Sound(sound), Some(sounds)) = (&source, &self.sounds) {
                line.audio = Some(base64(&sounds.wav(sound)?));
            }
            self.quarantine.write(&line)?;
            self.learner.state.quarantined += 1;
            if let Some(id) = &line.id {
                self.join.wait_again(id, &both(&source, &line.hypothesis))?;
            }
            let (number, reason) = (line.number, line.reason);
            return Ok(Ok(json!({ "id": line.id, "quarantined": number, "reason": reason })));
        }
        let added = self.scores.add(&source, &line.hypothesis, &line.correction, losses.fast);
        if let Err(e) = added {
            return Ok(Err(BadEvent::new(format!("the correction cannot be compared: {e}"))));
        }
        line.number = self.scores.corrections();
        self.log.write(&line)?;
        let mut answer = json!({ "id": line.id, "learned": !self.base.frozen });
        if made.is_cut {
            answer["cut"] = json!("the model does not read or write texts as long as this");
        }
        if !self.base.frozen
            && let Some(served) = self.learner.learn(&line.hypothesis, made.pair, losses)?
        {
            let what = match served {
                Served::Fast => "the fast weights make texts from here on",
                Served::Slow => "the slow weights make texts from here on",
            };
            let position = self.position.to_string();
            self.audit.write(&json!({ "correction": line.number, "step": step, "position": position, "what": what }))?;
            (self.tell)(LearnEvent::Notice(&format!("after {} corrections, {what}", line.number)));
        }
        Ok(Ok(answer))
    }

    /// Learns from a correction that was set aside.
    fn release(&mut self, number: u64) -> Taken {
        let state = &self.learner.state;
        if number == 0 || number > state.quarantined {
            let what =
                format!("release {number}: quarantine.jsonl has {} lines", state.quarantined);
            return Ok(Err(BadEvent::new(what)));
        }
        if state.released.contains(&number) {
            return Ok(Err(BadEvent::expected(format!(
                "release {number}: it was released before"
            ))));
        }
        let path = self.quarantine.path();
        let text = std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let Some(line) = lines.into_iter().find(|line| line.number == number) else {
            let what = format!("release {number}: {} does not have it any more", path.display());
            return Ok(Err(BadEvent::new(what)));
        };
        let source = match (&self.sounds, &line.audio) {
            (None, _) => Source::Text(line.source),
            (Some(sounds), Some(audio)) => {
                let speaker = line.speaker.clone().unwrap_or_default();
                match sounds.of_wav(audio, line.source, speaker) {
                    Ok(sound) => Source::Sound(sound),
                    Err(bad) => return Ok(Err(bad)),
                }
            }
            (Some(_), None) => {
                let what = format!("release {number}: its line has no sound any more");
                return Ok(Err(BadEvent::new(what)));
            }
        };
        let better = line.id.as_deref().and_then(|id| self.join.corrected_to(id));
        if let Some(better) = better {
            let what = self.reading.what();
            return Ok(Err(BadEvent::expected(format!(
                "release {number}: another correction of its {what} was learned from, and counts: {better}"
            ))));
        }
        self.learner.state.released.insert(number);
        if let Some(id) = line.id.as_deref().filter(|id| self.join.waits(id)) {
            self.join.correction_came(id, &line.correction)?;
        }
        let (id, hypothesis, correction) = (line.id, line.hypothesis, line.correction);
        self.corrected(Case { id, source, hypothesis, correction, released: true })
    }
}

/// What is said to a text.
fn answer(id: Option<&str>, text: &str, score: Option<f64>, is_cut: bool) -> Value {
    let mut answer = json!({ "id": id, "text": text });
    if let Some(score) = score {
        answer["score"] = json!(score);
    }
    if is_cut {
        answer["cut"] = json!("the text is longer than the model reads, and its end was left out");
    }
    answer
}
