//! Which updates are refused.
//!
//! An update is judged by the losses of its events, before anything has changed: one that is not
//! finite, or that lies far above the running mean, is not applied. Many refusals in a short time
//! may mean that it is the model that is wrong and not the events: then the last good state is restored, if
//! that does better.

use serde::{Deserialize, Serialize};

use tidemill_engine::metrics::Task;
use tidemill_recipe::online::GuardSpec;

/// Losses have risen whose newest are so many standard deviations above the mean of all.
const RISEN: f64 = 1.0;

/// What the guard says about an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It is applied.
    Apply,
    /// A loss or an output is not finite.
    NotFinite,
    /// The loss lies so many standard deviations above the running mean.
    Spike(f64),
}

/// The judge of a stream's updates; part of the checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    spec: GuardSpec,
    /// The loss of a guess that knows nothing; 0 where there is no such thing.
    ignorance: f64,
    /// Losses that were applied since the start or the last rollback.
    count: u64,
    mean: f64,
    variance: f64,
    /// Mean of about the last 20 of them.
    #[serde(default)]
    newest: f64,
    /// Steps asked about.
    steps: u64,
    /// The steps among the last `within` that were refused.
    recent: Vec<u64>,
    /// Updates refused.
    pub refused: u64,
    /// States restored.
    pub rollbacks: u64,
}

impl Guard {
    /// A guard that has seen nothing, of a model with so many outputs. For classes and for yes or
    /// no, deviations are at least half of the loss of a guess that knows nothing: a model that is
    /// hardly ever wrong has losses of next to none, and the first event of another class, however
    /// many of those deviations above them, is what it should learn from.
    pub fn new(spec: GuardSpec, task: Task, num_outputs: usize) -> Guard {
        let ignorance = task.ignorance(num_outputs);
        Guard {
            spec,
            ignorance,
            count: 0,
            mean: 0.0,
            variance: 0.0,
            newest: 0.0,
            steps: 0,
            recent: Vec::new(),
            refused: 0,
            rollbacks: 0,
        }
    }

    /// Judges an update by the mean loss of its events and by whether all of its outputs are
    /// finite; remembers the loss if it is to be applied.
    pub fn judge(&mut self, loss: f32, finite: bool) -> Verdict {
        self.steps += 1;
        let verdict = self.verdict(f64::from(loss), finite);
        match verdict {
            Verdict::Apply => self.learn(f64::from(loss)),
            _ => {
                self.refused += 1;
                self.recent.push(self.steps);
            }
        }
        verdict
    }

    fn verdict(&self, loss: f64, finite: bool) -> Verdict {
        if !loss.is_finite() || !finite {
            return Verdict::NotFinite;
        }
        // Until the mean is known, all that is finite passes.
        if self.spec.spike == 0.0 || self.count < self.spec.window.min(200) {
            return Verdict::Apply;
        }
        let z = self.deviations(loss);
        if z > self.spec.spike { Verdict::Spike(z) } else { Verdict::Apply }
    }

    /// How many standard deviations a loss lies above the running mean.
    fn deviations(&self, loss: f64) -> f64 {
        // A deviation below a tenth of the mean says more about luck than about the stream.
        let least = (0.1 * self.mean.abs()).max(0.5 * self.ignorance).max(1e-6);
        (loss - self.mean) / self.variance.sqrt().max(least)
    }

    /// Mean and variance that fade, with equal weights until there are enough (West 1979).
    fn learn(&mut self, loss: f64) {
        self.count += 1;
        let rate = 1.0 / self.count.min(self.spec.window) as f64;
        let distance = loss - self.mean;
        self.mean += rate * distance;
        self.variance = (1.0 - rate) * (self.variance + rate * distance * distance);
        self.newest += (loss - self.newest) / self.count.min(20) as f64;
    }

    /// After a refusal: whether there were so many of them lately that the model may be what is wrong, and not the
    /// events.
    pub fn wants_rollback(&mut self) -> bool {
        let since = self.steps.saturating_sub(self.spec.within);
        self.recent.retain(|&step| step > since);
        self.spec.rollback_after > 0 && self.recent.len() >= self.spec.rollback_after
    }

    /// Whether most of the last steps were refused. Anyone may send some outliers; they judge no model that does well on the
    /// rest.
    pub fn refuses_most(&self) -> bool {
        let (refused, steps) = self.lately();
        2 * refused > steps
    }

    /// Whether the losses of the steps that were taken have risen as well.
    pub fn losses_rose(&self) -> bool {
        self.deviations(self.newest) > RISEN
    }

    /// Whether all of the last steps were refused: nothing is learned any more, so that the stream may be another one.
    pub fn refuses_all(&self) -> bool {
        let (refused, steps) = self.lately();
        refused == steps
    }

    /// How many of how many of the last steps were refused.
    fn lately(&self) -> (u64, u64) {
        let steps = self.spec.within.min(self.steps);
        let refused = self.recent.iter().filter(|&&step| step > self.steps - steps).count();
        (refused as u64, steps)
    }

    /// The last good state was restored: the guard starts over with what it takes as usual.
    pub fn start_over(&mut self) {
        self.recent.clear();
        (self.count, self.mean, self.variance, self.newest) = (0, 0.0, 0.0, 0.0);
        self.rollbacks += 1;
    }

    /// Whether the state after this step is one to roll back to: every so many steps, and nothing
    /// was refused lately.
    pub fn is_good(&self) -> bool {
        self.spec.rollback_after > 0
            && self.steps.is_multiple_of(self.spec.keep_every)
            && self.recent.last().is_none_or(|&step| step + self.spec.within < self.steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled() -> Guard {
        let mut guard = Guard::new(GuardSpec::default(), Task::Values, 1);
        for i in 0..1000 {
            let loss = if i % 2 == 0 { 0.4 } else { 0.6 };
            assert_eq!(guard.judge(loss, true), Verdict::Apply);
        }
        guard
    }

    #[test]
    fn what_is_not_finite_never_passes() {
        let mut guard = Guard::new(GuardSpec::default(), Task::Values, 1);
        assert_eq!(guard.judge(f32::NAN, true), Verdict::NotFinite);
        assert_eq!(guard.judge(f32::INFINITY, true), Verdict::NotFinite);
        assert_eq!(guard.judge(0.5, false), Verdict::NotFinite);
        assert_eq!(guard.judge(0.5, true), Verdict::Apply);
        assert_eq!(guard.refused, 3);
    }

    #[test]
    fn spikes_are_told_from_hard_events() {
        let mut guard = settled();
        assert_eq!(guard.judge(5.0, true), Verdict::Apply);
        let mut guard = settled();
        assert!(matches!(guard.judge(500.0, true), Verdict::Spike(z) if z > 100.0));
        assert_eq!(guard.judge(0.5, true), Verdict::Apply);
    }

    /// A class not seen for long, after thousands of events of another that are told without doubt.
    #[test]
    fn a_surprise_after_certainty_is_no_spike() {
        for (task, outputs) in [(Task::Classes, 2), (Task::Classes, 23), (Task::Binary, 1)] {
            let mut guard = Guard::new(GuardSpec::default(), task, outputs);
            for _ in 0..5000 {
                guard.judge(1e-4, true);
            }
            assert_eq!(guard.judge(12.0, true), Verdict::Apply, "{task:?}");
            assert!(matches!(guard.judge(1e4, true), Verdict::Spike(_)), "{task:?}");
        }
    }

    #[test]
    fn many_refusals_bring_the_last_good_state_back() {
        let mut guard = settled();
        for refused in 1..=10 {
            assert!(guard.judge(1e9, true) != Verdict::Apply);
            assert_eq!(guard.wants_rollback(), refused == 10);
        }
        guard.start_over();
        // What was a spike may be the new normal.
        assert_eq!(guard.judge(1e9, true), Verdict::Apply);
        assert_eq!((guard.refused, guard.rollbacks), (10, 1));
    }

    /// Ten outliers among events on which the model does as well as ever.
    #[test]
    fn outliers_do_not_speak_against_the_model() {
        let mut guard = settled();
        for i in 0..1000 {
            guard.judge(if i % 4 == 0 { 1e9 } else { 0.5 }, true);
            assert!(!guard.refuses_most() && !guard.losses_rose(), "{i}");
        }
        assert!(guard.wants_rollback());
        // Most of them, or losses that rise.
        let mut other = settled();
        for _ in 0..60 {
            other.judge(1e9, true);
        }
        assert!(other.wants_rollback() && other.refuses_most() && !other.refuses_all());
        let mut risen = settled();
        for _ in 0..10 {
            risen.judge(4.0, true);
        }
        assert!(risen.losses_rose(), "{risen:?}");
    }

    #[test]
    fn refusals_far_apart_do_not() {
        let mut guard = settled();
        for _ in 0..100 {
            assert!(guard.judge(1e9, true) != Verdict::Apply);
            assert!(!guard.wants_rollback());
            for _ in 0..20 {
                guard.judge(0.5, true);
            }
        }
    }
}
