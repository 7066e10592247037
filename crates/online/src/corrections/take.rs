//! What becomes of a record: a text is written and waits, a correction is joined, scored, judged and learned from.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidemill_engine::error::{Error, Result};
use tidemill_recipe::stream::BadEvent;

use super::driver::Driver;
use super::learner::Served;
use super::quarantine::{Judged, reason};
use super::record::Record;
use crate::join::bytes::{In, Out};
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
    source: String,
    hypothesis: String,
    correction: String,
    /// The mean loss of a token, before anything was learned from it.
    loss: Option<f64>,
    /// Steps taken before.
    step: u64,
}

impl Driver<'_> {
    /// Takes a record that was read.
    pub(super) fn take_read(&mut self, read: Record) -> Taken {
        let Record { id, at, source, correction, release } = read;
        if let Some(number) = release {
            return self.release(number);
        }
        let timed = self.spec.labels.as_ref().is_some_and(|labels| labels.time.is_some());
        if timed && at.is_none() && source.is_some() {
            return Ok(Err(BadEvent::new("has no time, and online.labels.time names one")));
        }
        let at = match (timed, at) {
            // A correction without a time comes at the present.
            (true, None) => 0,
            (_, at) => self.join.record_came(at)?,
        };
        let known = id.as_deref().is_some_and(|id| self.join.knows(id));
        match (id, source, correction) {
            (Some(id), _, Some(correction)) if known => self.correction(&id, &correction),
            (id, Some(source), Some(correction)) => {
                self.counts.events += 1;
                self.counts.labels += 1;
                if let Some(id) = &id {
                    self.join.pair_came(id, at, &correction)?;
                }
                let (hypothesis, _) = self.learner.write(&source)?;
                self.corrected(id, source, hypothesis.text, correction, false)
            }
            (Some(id), Some(source), None) => self.text(&id, at, source),
            (None, Some(source), None) => {
                self.counts.events += 1;
                self.counts.unlabelled += 1;
                let (hypothesis, is_cut) = self.learner.write(&source)?;
                Ok(Ok(answer(None, &hypothesis.text, Some(hypothesis.score), is_cut)))
            }
            (Some(id), None, Some(correction)) => self.correction(&id, &correction),
            (None, None, _) => Ok(Err(BadEvent::new("a correction needs the id of its text"))),
            (Some(_), None, None) => Ok(Err(BadEvent::new("has neither a text nor a correction"))),
        }
    }

    /// A text whose correction comes later, or has come.
    fn text(&mut self, id: &str, at: i64, source: String) -> Taken {
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
                let before = kept.as_deref().and_then(two).filter(|(text, _)| *text == source);
                match before {
                    // Who asks again, since the first answer was lost, gets it again.
                    Some((_, hypothesis)) => Ok(Ok(answer(Some(id), &hypothesis, None, false))),
                    None if kept.is_none() => Ok(Ok(json!({ "id": id, "repeated": true }))),
                    None => {
                        let what =
                            "another text with this id came before, and waits for its correction";
                        Ok(Err(BadEvent::expected(what)))
                    }
                }
            }
            (TextCame::Corrected(correction), _) => {
                self.counts.events += 1;
                let (hypothesis, _) = self.learner.write(&source)?;
                self.corrected(Some(id.to_owned()), source, hypothesis.text, correction, false)
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
        match self.join.correction_came(id, correction)? {
            CorrectionCame::Joined(kept) => {
                let Some((source, hypothesis)) = two(&kept) else {
                    return Err(Error::Run(
                        "a text that waited for its correction is damaged".into(),
                    ));
                };
                self.counts.labels += 1;
                self.counts.unlabelled -= self.counts.unlabelled.min(1);
                self.corrected(
                    Some(id.to_owned()),
                    source,
                    hypothesis,
                    correction.to_owned(),
                    false,
                )
            }
            CorrectionCame::Early => {
                self.counts.labels += 1;
                Ok(Ok(json!({ "id": id, "waits": "for its text" })))
            }
            CorrectionCame::Duplicate => {
                self.counts.labels += 1;
                Ok(Ok(json!({ "id": id, "duplicate": true })))
            }
            CorrectionCame::Contradictory(first) => Ok(Err(BadEvent::expected(format!(
                "another correction of this text came before it, and counts: {first}"
            )))),
            CorrectionCame::Late => {
                Ok(Err(BadEvent::expected("comes late: the window of its text is closed")))
            }
        }
    }

    /// A text with its correction: scored, then learned from, or set aside as garbage unless it was `released`.
    fn corrected(
        &mut self,
        id: Option<String>,
        source: String,
        hypothesis: String,
        correction: String,
        released: bool,
    ) -> Taken {
        let (pair, is_cut) = self.learner.pair(&source, &correction);
        if pair.target.is_empty() {
            return Ok(Err(BadEvent::new("the correction has nothing that the vocabulary knows")));
        }
        let losses = self.learner.losses(&pair)?;
        let loss = self.learner.served_loss(losses);
        let judged =
            Judged { source: &source, hypothesis: &hypothesis, correction: &correction, loss };
        let limits = &self.spec.corrections.quarantine;
        let garbage = reason(limits, self.learner.usual(), self.learner.known_losses(), judged);
        let step = self.learner.engine().step();
        let mut line = Line {
            number: self.learner.state.quarantined + 1,
            reason: garbage.filter(|_| !released),
            id,
            source,
            hypothesis,
            correction,
            loss: Some(loss).filter(|loss| loss.is_finite()),
            step,
        };
        if line.reason.is_some() {
            self.quarantine.write(&line)?;
            self.learner.state.quarantined += 1;
            if let Some(id) = &line.id {
                self.join.wait_again(id, &both(&line.source, &line.hypothesis))?;
            }
            let (number, reason) = (line.number, line.reason);
            return Ok(Ok(json!({ "id": line.id, "quarantined": number, "reason": reason })));
        }
        let added = self.scores.add(&line.hypothesis, &line.correction, losses.fast);
        if let Err(e) = added {
            return Ok(Err(BadEvent::new(format!("the correction cannot be compared: {e}"))));
        }
        line.number = self.scores.corrections();
        self.log.write(&line)?;
        let mut answer = json!({ "id": line.id, "learned": !self.base.frozen });
        if is_cut {
            answer["cut"] = json!("the model does not read or write texts as long as this");
        }
        if !self.base.frozen
            && let Some(served) = self.learner.learn(&line.hypothesis, pair, losses)?
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
        self.learner.state.released.insert(number);
        if let Some(id) = line.id.as_deref().filter(|id| self.join.waits(id)) {
            self.join.correction_came(id, &line.correction)?;
        }
        self.corrected(line.id, line.source, line.hypothesis, line.correction, true)
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

/// What is kept of a text until its correction comes.
fn both(source: &str, hypothesis: &str) -> Vec<u8> {
    let mut out = Out::default();
    out.slice(source.as_bytes());
    out.slice(hypothesis.as_bytes());
    out.0
}

/// The text and the hypothesis that are kept.
fn two(bytes: &[u8]) -> Option<(String, String)> {
    let mut from = In(bytes);
    Some((from.text()?.to_owned(), from.text()?.to_owned()))
}
