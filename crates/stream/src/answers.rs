//! What a learner answers to the records of a log, for the senders that wait for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::sync::lock;

/// How long a sender waits who does not say for how long, and how long at most.
const WAIT: Duration = Duration::from_secs(30);
/// Answers that are kept.
const KEPT: usize = 4096;

/// Answers by the sequence number of their record, as JSON.
///
/// A sender waits only once a learner has said that it answers: before, and for learners that do not, a record is
/// acknowledged as soon as the log has it.
#[derive(Debug, Default)]
pub struct Answers {
    given: Mutex<Given>,
    came: Condvar,
    are_given: AtomicBool,
    /// Whether senders wait who do not say whether they do.
    by_default: AtomicBool,
}

/// The newest answers.
#[derive(Debug, Default)]
struct Given {
    by_sequence: BTreeMap<u64, String>,
    /// Records up to this have been answered, or come no more.
    passed: u64,
}

impl Given {
    /// The answer to a record; `null` if it comes no more, and nothing if it may come.
    fn to(&self, sequence: u64) -> Option<&str> {
        let null = (sequence <= self.passed).then_some("null");
        self.by_sequence.get(&sequence).map(String::as_str).or(null)
    }
}

impl Answers {
    /// From here on senders may wait for an answer to each record after `passed`; `by_default` also those who do not
    /// say that they do.
    pub fn start(&self, passed: u64, by_default: bool) {
        lock(&self.given).passed = passed;
        self.by_default.store(by_default, Relaxed);
        self.are_given.store(true, Relaxed);
    }

    /// From here on nobody waits: the learner ends.
    pub fn stop(&self) {
        self.are_given.store(false, Relaxed);
        self.came.notify_all();
    }

    /// The answer to the next record, as JSON; the newest ones are kept for senders that ask again.
    pub fn give(&self, sequence: u64, json: String) {
        let mut given = lock(&self.given);
        given.passed = sequence;
        given.by_sequence.insert(sequence, json);
        while given.by_sequence.len() > KEPT {
            given.by_sequence.pop_first();
        }
        drop(given);
        self.came.notify_all();
    }

    /// The answers to the records from `first` to `last`, waiting for as long as the sender `prefers`, if it says so; `null`
    /// stands for one that has not come. Nothing where a learner does not answer, or the sender does not wait.
    pub(crate) fn wait(
        &self,
        first: u64,
        last: u64,
        prefers: Option<Duration>,
    ) -> Option<Vec<String>> {
        let by_default = self.by_default.load(Relaxed).then_some(WAIT);
        let most = prefers.or(by_default).filter(|most| !most.is_zero())?.min(WAIT);
        if !self.are_given.load(Relaxed) {
            return None;
        }
        let end = Instant::now() + most;
        let mut given = lock(&self.given);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let all = given.to(last).is_some();
            if all || left.is_zero() || !self.are_given.load(Relaxed) {
                let to = |sequence| given.to(sequence).unwrap_or("null").to_owned();
                return Some((first..=last).map(to).collect());
            }
            // A wake-up that was missed costs this long.
            let wait = left.min(Duration::from_millis(100));
            given = match self.came.wait_timeout(given, wait) {
                Ok((given, _)) => given,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn answers_wait_and_are_waited_for() {
        let answers = std::sync::Arc::new(Answers::default());
        let long = Some(Duration::from_secs(60));
        assert_eq!(answers.wait(1, 1, long), None);
        answers.start(0, false);
        answers.give(1, "1".into());
        let giver = std::thread::spawn({
            let answers = answers.clone();
            move || answers.give(2, "2".into())
        });
        assert_eq!(answers.wait(1, 2, long).unwrap(), ["1", "2"]);
        giver.join().unwrap();
        assert_eq!(answers.wait(1, 2, None), None);
        assert_eq!(answers.wait(1, 2, Some(Duration::ZERO)), None);
        let short = Some(Duration::from_millis(1));
        assert_eq!(answers.wait(1, 2, short).unwrap(), ["1", "2"]);
        assert_eq!(answers.wait(2, 3, short).unwrap(), ["2", "null"]);
        answers.stop();
        assert_eq!(answers.wait(4, 4, long), None);
    }

    #[test]
    fn answers_that_nobody_takes_are_bounded() {
        let answers = Answers::default();
        answers.start(0, true);
        (1..=10_000).for_each(|i| answers.give(i, "0".into()));
        assert_eq!(lock(&answers.given).by_sequence.len(), KEPT);
        assert_eq!(answers.wait(1, 1, None).unwrap(), ["null"]);
    }
}
