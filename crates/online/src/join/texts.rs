//! Texts whose corrections come later: the same rules, where a label is a text and what waits are bytes.

use std::sync::Arc;

use tidemill_engine::error::Result;

use super::Join;
use super::kept::{Given, Status};

/// What became of a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TextCame {
    /// It waits for its correction.
    Waits,
    /// Its correction had come before it.
    Corrected(String),
    /// One with its id is known: what was kept of it, if it still waits.
    Repeated(Option<Box<[u8]>>),
}

/// What became of a correction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CorrectionCame {
    /// What was kept of its text.
    Joined(Box<[u8]>),
    /// It waits for its text.
    Early,
    /// It says what an earlier one said.
    Duplicate,
    /// It says something else than this earlier one, which counts.
    Contradictory(String),
    /// The window of its text is closed.
    Late,
}

impl Join {
    /// A record has this time (none where records are counted): windows close. Gives the time from which its own window runs.
    pub(crate) fn record_came(&mut self, at: Option<i64>) -> Result<i64> {
        let next = self.clock.now.map_or(0, |before| before + 1);
        // A text whose clock is wrong is worth an answer all the same.
        let seen = self.see_time(at.unwrap_or(next))?;
        Ok(seen.unwrap_or(self.clock.now.unwrap_or(next)))
    }

    /// Whether a text with this id has come.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.store.status(id).is_some_and(|status| !matches!(status, Status::Early(_)))
    }

    /// Whether a text with this id waits for its correction.
    pub(crate) fn waits(&self, id: &str) -> bool {
        matches!(self.store.status(id), Some(Status::Waiting(_)))
    }

    /// What a text with this id was corrected to, while its window is open.
    pub(crate) fn corrected_to(&self, id: &str) -> Option<String> {
        match self.store.status(id) {
            Some(Status::Answered(given)) => Some(text_of(given)),
            _ => None,
        }
    }

    /// A text came at `at`; `keep` makes what is kept of it until its correction comes.
    pub(crate) fn text_came(
        &mut self,
        id: &str,
        at: i64,
        keep: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<TextCame> {
        let due = at.saturating_add(self.window);
        let early = match self.store.status(id) {
            None => None,
            Some(Status::Early(given)) => Some(given.clone()),
            Some(status) => {
                let place = match status {
                    Status::Waiting(place) => Some(place.clone()),
                    _ => None,
                };
                self.counts.repeated += 1;
                let kept = place.map(|place| self.store.peek(&place)).transpose()?;
                return Ok(TextCame::Repeated(kept));
            }
        };
        match early {
            Some(given) => {
                self.counts.early += 1;
                self.counts.joined += 1;
                let text = text_of(&given);
                self.answered(id.into(), due, given)?;
                Ok(TextCame::Corrected(text))
            }
            None => {
                self.store.wait(id, due, &keep()?)?;
                self.make_room();
                Ok(TextCame::Waits)
            }
        }
    }

    /// The correction of a text came.
    pub(crate) fn correction_came(&mut self, id: &str, text: &str) -> Result<CorrectionCame> {
        let given = Given::Text(text.into());
        match self.store.status(id) {
            None => {
                let until = self.clock.now.unwrap_or(0).saturating_add(self.window);
                self.store.keep(Arc::from(id), until, Status::Early(given))?;
                self.make_room();
                Ok(CorrectionCame::Early)
            }
            Some(Status::Answered(first) | Status::Early(first)) if first.agrees(&given) => {
                self.counts.duplicate += 1;
                Ok(CorrectionCame::Duplicate)
            }
            Some(Status::Answered(first) | Status::Early(first)) => {
                let first = text_of(first);
                self.counts.contradictory += 1;
                Ok(CorrectionCame::Contradictory(first))
            }
            Some(Status::Expired) => {
                self.counts.late += 1;
                Ok(CorrectionCame::Late)
            }
            Some(Status::Waiting(_)) => match self.store.remove(id) {
                Some((due, Status::Waiting(place))) => {
                    self.counts.joined += 1;
                    let kept = self.store.fetch(place)?;
                    self.answered(id.into(), due, given)?;
                    Ok(CorrectionCame::Joined(kept))
                }
                _ => Ok(CorrectionCame::Late),
            },
        }
    }

    /// What a text was corrected to was garbage: it waits again, for another correction. `bytes` are what was kept of it.
    pub(crate) fn wait_again(&mut self, id: &str, bytes: &[u8]) -> Result<()> {
        if let Some((due, _)) = self.store.remove(id) {
            self.counts.joined -= self.counts.joined.min(1);
            self.store.wait(id, due, bytes)?;
            self.make_room();
        }
        Ok(())
    }

    /// A text and its correction came in one record; none of another record with this id is learned from then. Says whether the id
    /// is new.
    pub(crate) fn pair_came(&mut self, id: &str, at: i64, text: &str) -> Result<bool> {
        if self.store.status(id).is_some() {
            self.counts.repeated += 1;
            return Ok(false);
        }
        let due = at.saturating_add(self.window);
        self.counts.joined += 1;
        self.answered(id.into(), due, Given::Text(text.into()))?;
        Ok(true)
    }
}

fn text_of(given: &Given) -> String {
    match given {
        Given::Text(text) => text.to_string(),
        Given::Number(number) => number.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tidemill_recipe::online::join::JoinSpec;

    fn join(folder: &std::path::Path, window: usize) -> Join {
        let spec: JoinSpec = serde_json::from_value(
            serde_json::json!({"window": window as f64, "memory_bytes": 16384}),
        )
        .unwrap();
        Join::new(&spec, 1, folder, 2).unwrap()
    }

    #[test]
    fn corrections_find_their_texts_whatever_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut join = join(folder.path(), 100);
        let at = join.record_came(None).unwrap();
        assert_eq!(join.text_came("a", at, || Ok(b"x".to_vec())).unwrap(), TextCame::Waits);
        join.record_came(None).unwrap();
        let again = join.text_came("a", 1, || Ok(vec![])).unwrap();
        assert_eq!(again, TextCame::Repeated(Some((*b"x").into())));
        assert_eq!(join.correction_came("a", "y").unwrap(), CorrectionCame::Joined((*b"x").into()));
        assert_eq!(join.correction_came("a", "y").unwrap(), CorrectionCame::Duplicate);
        let other = join.correction_came("a", "z").unwrap();
        assert_eq!(other, CorrectionCame::Contradictory("y".into()));
        assert_eq!(join.correction_came("b", "early").unwrap(), CorrectionCame::Early);
        let came = join.text_came("b", 1, || Ok(vec![])).unwrap();
        assert_eq!(came, TextCame::Corrected("early".into()));
        assert!(join.pair_came("c", 1, "t").unwrap() && !join.pair_came("c", 1, "t").unwrap());
        let counts = join.counts();
        assert_eq!((counts.joined, counts.early, counts.duplicate), (3, 1, 1));
        // What was garbage does not count.
        join.wait_again("c", b"z").unwrap();
        assert!(join.waits("c") && join.counts().joined == 2);
        assert_eq!(join.correction_came("c", "t").unwrap(), CorrectionCame::Joined((*b"z").into()));
        assert_eq!((counts.contradictory, counts.repeated), (1, 2));
    }

    #[test]
    fn windows_close_and_what_waits_on_disk_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut join = join(folder.path(), 40);
        for i in 0..40 {
            let at = join.record_came(None).unwrap();
            let kept = vec![i as u8; 500];
            join.text_came(&format!("{i}"), at, || Ok(kept)).unwrap();
        }
        assert!(join.counts().spilled > 0);
        let CorrectionCame::Joined(kept) = join.correction_came("3", "y").unwrap() else {
            panic!("it waits")
        };
        assert_eq!(&kept[..], [3; 500]);
        for _ in 0..30 {
            join.record_came(None).unwrap();
        }
        assert_eq!(join.correction_came("4", "y").unwrap(), CorrectionCame::Late);
    }
}
