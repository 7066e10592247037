//! What a learner answers to the records of a log, for the senders that wait for it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::position::Position;
use crate::sync::lock;

/// How long a sender waits who does not say for how long, and how long at most.
const WAIT: Duration = Duration::from_secs(30);
/// Answers that are kept.
const KEPT: usize = 4096;

/// Which senders wait for the answers of a learner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Awaited {
    /// None: no learner answers, and a record is acknowledged as soon as the log has it.
    #[default]
    Never,
    /// Those who ask to wait.
    IfAsked,
    /// All but those who ask not to wait.
    ByDefault,
}

/// Answers by the sequence number of their record, as JSON.
///
/// Who waits is said when the source is opened: the first records may come before the learner takes any, and are
/// answered like all others.
#[derive(Debug)]
pub struct Answers {
    given: Mutex<Given>,
    came: Notify,
    by_default: bool,
    /// Senders that wait now.
    waiting: AtomicUsize,
    /// Whether no further answer comes.
    ended: AtomicBool,
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
    /// Answers for those who wait; nothing where nobody does.
    pub(crate) fn new(awaited: Awaited) -> Option<Arc<Answers>> {
        (awaited != Awaited::Never).then(|| {
            let (given, came, waiting) = Default::default();
            let by_default = awaited == Awaited::ByDefault;
            Arc::new(Answers { given, came, by_default, waiting, ended: AtomicBool::new(false) })
        })
    }

    /// The learner's end of it, for a stream of one part.
    pub fn start(self: Arc<Answers>) -> Answerer {
        Answerer(self)
    }

    /// A sender that waits for as long as it `prefers`, if it says so, for records that it is about to append.
    pub(crate) fn awaited(&self, prefers: Option<Duration>) -> Waiting<'_> {
        let by_default = self.by_default.then_some(WAIT);
        let most = prefers.or(by_default).filter(|most| !most.is_zero()).map(|most| most.min(WAIT));
        self.waiting.fetch_add(usize::from(most.is_some()), SeqCst);
        Waiting { answers: self, most }
    }

    /// The answers once all are there; what is there with `now`.
    fn look(&self, first: u64, last: u64, now: bool) -> Option<Vec<String>> {
        let given = lock(&self.given);
        let to = |sequence| given.to(sequence).unwrap_or("null").to_owned();
        (now || given.to(last).is_some()).then(|| (first..=last).map(to).collect())
    }
}

/// A sender that may wait.
pub(crate) struct Waiting<'a> {
    answers: &'a Answers,
    /// For so long; nothing if it does not.
    most: Option<Duration>,
}

impl Waiting<'_> {
    /// The answers to the records from `first` to `last`; `null` stands for one that has not come. Nothing where the sender
    /// does not wait, or the learner has ended.
    pub(crate) async fn wait(&self, first: u64, last: u64) -> Option<Vec<String>> {
        let (answers, most) = (self.answers, self.most?);
        if answers.ended.load(Relaxed) {
            return None;
        }
        let end = Instant::now() + most;
        loop {
            // Before the look, so that no answer comes unseen between the two.
            let mut came = pin!(answers.came.notified());
            came.as_mut().enable();
            let late = Instant::now() >= end;
            if let Some(found) = answers.look(first, last, late || answers.ended.load(Relaxed)) {
                return Some(found);
            }
            let _ = timeout_at(end, came).await;
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.answers.waiting.fetch_sub(usize::from(self.most.is_some()), SeqCst);
    }
}

/// The learner's end of it. Once it is dropped, nobody waits for answers that do not come any more.
#[derive(Debug)]
pub struct Answerer(Arc<Answers>);

impl Answerer {
    /// Whether anyone waits now: what only answers need can be left out where nobody does.
    pub fn is_awaited(&self) -> bool {
        self.0.waiting.load(SeqCst) > 0
    }

    /// The answer to the record that ends at `position`, as JSON; the newest ones are kept for senders that ask again.
    pub fn give(&self, position: &Position, json: String) {
        let sequence = sequence(position);
        let mut given = lock(&self.0.given);
        given.passed = sequence;
        given.by_sequence.insert(sequence, json);
        while given.by_sequence.len() > KEPT {
            given.by_sequence.pop_first();
        }
        drop(given);
        self.0.came.notify_waiters();
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.0.ended.store(true, Relaxed);
        self.0.came.notify_waiters();
    }
}

/// The number of the last record of a log.
fn sequence(position: &Position) -> u64 {
    position.mark("").map_or(0, |mark| mark.major)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn wait(
        answers: &Answers,
        first: u64,
        last: u64,
        prefers: Option<Duration>,
    ) -> Option<Vec<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let waiting = answers.awaited(prefers);
        runtime.unwrap().block_on(waiting.wait(first, last))
    }

    fn at(sequence: u64) -> Position {
        let mut position = Position::default();
        position.advance("", crate::position::Mark { major: sequence, minor: 0 });
        position
    }

    #[test]
    fn answers_wait_and_are_waited_for() {
        assert!(Answers::new(Awaited::Never).is_none());
        let answers = Answers::new(Awaited::IfAsked).unwrap();
        let long = Some(Duration::from_secs(60));
        // Who asks before the learner is there waits for it.
        let learner = answers.clone();
        let giver = std::thread::spawn(move || {
            let answerer = learner.start();
            answerer.give(&at(1), "1".into());
            answerer.give(&at(2), "2".into());
            answerer
        });
        assert_eq!(wait(&answers, 1, 2, long).unwrap(), ["1", "2"]);
        let answerer = giver.join().unwrap();
        assert_eq!(wait(&answers, 1, 2, None), None);
        assert_eq!(wait(&answers, 1, 2, Some(Duration::ZERO)), None);
        let short = Some(Duration::from_millis(1));
        assert_eq!(wait(&answers, 1, 2, short).unwrap(), ["1", "2"]);
        assert_eq!(wait(&answers, 2, 3, short).unwrap(), ["2", "null"]);
        drop(answerer);
        assert_eq!(wait(&answers, 4, 4, long), None);
    }

    #[test]
    fn answers_that_nobody_takes_are_bounded() {
        let answers = Answers::new(Awaited::ByDefault).unwrap();
        let answerer = answers.clone().start();
        (1..=10_000).for_each(|i| answerer.give(&at(i), "0".into()));
        assert_eq!(lock(&answers.given).by_sequence.len(), KEPT);
        assert_eq!(wait(&answers, 1, 1, None).unwrap(), ["null"]);
    }
}
