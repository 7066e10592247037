//! Prequential (test-then-train) figures of a stream, in constant memory.
//!
//! Each labelled event is scored with the outputs that were predicted before learning from it.
//! Three views are kept: over the whole stream, over a sliding window of the last events, and
//! fading, where an event that lies `n` events back weighs `fading^n` (Gama, Sebastião, Rodrigues,
//! *On evaluating stream learning algorithms*, 2013). Beside them stand the baselines that a
//! stream's figures mean nothing without: *no change* repeats the last label, *prior* names the
//! most frequent class so far (the mean, for values). Kappa-M is the gain over prior (Bifet et
//! al., *Efficient online evaluation of big data stream classifiers*, 2015), Kappa-T the gain over
//! no change (Žliobaitė et al., *Evaluation methods and decision theory for classification of
//! streaming data with temporal dependence*, 2015): `(accuracy - baseline) / (1 - baseline)`.
//!
//! The values equal those of River's metrics on the same predictions, which
//! `fixtures/prequential.json` tests. All of it is state: it clones, and it goes through JSON to
//! the same bits, so that a resumed stream has the figures of one that never stopped.

mod classes;
mod curve;
mod experts;
mod sets;
mod values;

use serde::{Deserialize, Serialize};

use crate::metrics::{Confusion, Figures, Task, argmax};

pub use curve::Curve;
pub use experts::ExpertFigures;

use classes::Classes;
use experts::Experts;
use sets::Sets;
use values::Values;

/// Metrics of a stream. Each event is scored before it is learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrequentialSpec {
    /// Number of events in the sliding window.
    pub window: usize,
    /// Factor by which an event's weight in the fading metrics shrinks with each further event.
    pub fading: f64,
    /// Maximum number of points of a curve in the report.
    pub curve_points: usize,
}

impl Default for PrequentialSpec {
    fn default() -> Self {
        PrequentialSpec { window: 1000, fading: 0.999, curve_points: 512 }
    }
}

impl PrequentialSpec {
    /// The first key that cannot be used, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.window == 0 {
            return Err(("window", "must be a positive integer, found 0".into()));
        }
        if !(self.fading > 0.0 && self.fading <= 1.0) {
            let message = format!("must be above 0 and at most 1, found {}", self.fading);
            return Err(("fading", message));
        }
        if self.curve_points < 2 {
            return Err((
                "curve_points",
                format!("must be 2 or more, found {}", self.curve_points),
            ));
        }
        Ok(())
    }
}

pub use tidemill_fields::Truth;

/// What a live line shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Headline {
    /// Events scored.
    pub events: u64,
    /// What `value`, `sliding` and `no_change` are: `accuracy` or `mae`.
    pub name: &'static str,
    /// Over the whole stream.
    pub value: f64,
    /// Over the last events.
    pub sliding: f64,
    /// Of the baseline that repeats the last label, over the whole stream.
    pub no_change: f64,
    /// The gain over that baseline, for classes.
    pub kappa_t: Option<f64>,
    /// The mean loss.
    pub loss: f64,
}

/// How many events of a class were recognized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recall {
    /// The class.
    pub class: usize,
    /// Its events.
    pub events: u64,
    /// The share of them that was predicted as the class.
    pub value: f64,
}

/// The figures of a stream so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prequential {
    spec: PrequentialSpec,
    task: Task,
    events: u64,
    non_finite: u64,
    loss: Mean,
    fading_loss: Fading,
    scores: Scores,
    curve: Curve,
    /// The parts of a model that is a mixture.
    #[serde(default, skip_serializing_if = "Experts::is_empty")]
    experts: Experts,
    /// The class of two that `f1` is of.
    #[serde(skip, default = "second")]
    positive: usize,
}

fn second() -> usize {
    1
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Scores {
    Classes(Classes),
    /// A yes or no for each of several classes.
    Sets(Sets),
    Values(Values),
}

impl Prequential {
    /// Before the first event. `classes` is how many are known, or how many values a prediction
    /// without classes has; further classes may appear as labels. A binary task with several outputs has a yes or no for each.
    pub fn new(task: Task, classes: usize, spec: PrequentialSpec) -> Prequential {
        let scores = match task {
            Task::Classes | Task::Tokens => Scores::Classes(Classes::new(classes)),
            Task::Binary if classes > 1 => Scores::Sets(Sets::new(classes)),
            Task::Binary => Scores::Classes(Classes::new(2)),
            _ => Scores::Values(Values::new(classes)),
        };
        let names = match &scores {
            Scores::Classes(_) => &classes::CURVES[..],
            Scores::Sets(_) => &sets::CURVES[..],
            Scores::Values(_) => &values::CURVES[..],
        };
        Prequential {
            task,
            events: 0,
            non_finite: 0,
            loss: Mean::default(),
            fading_loss: Fading::default(),
            scores,
            curve: Curve::new(names, spec.curve_points),
            spec,
            experts: Experts::default(),
            positive: second(),
        }
    }

    /// Which class of two the figures are about, such as `f1`: 1 by default. Not kept in checkpoints.
    pub fn set_positive(&mut self, class: usize) {
        self.positive = class;
    }

    /// Scores one event. `outputs` is what was predicted before learning from it: a probability
    /// for each class, the probability of yes, or values; `loss` is that of the step. As in batch
    /// training an event of weight 0 is not scored, and other weights go into the mean loss only.
    ///
    /// What is not finite is counted and kept out of the sums, so that one bad prediction does not
    /// end all figures: such a probability counts as 0, such values leave the event unscored.
    pub fn add(&mut self, outputs: &[f32], truth: Truth<'_>, loss: f32, weight: f32) {
        if weight == 0.0 {
            return;
        }
        let PrequentialSpec { window, fading, .. } = self.spec;
        let finite = match (&mut self.scores, self.task) {
            (Scores::Classes(classes), Task::Binary) => {
                let yes = truth.target(0, outputs.len()) > 0.5;
                let p = outputs.first().copied().unwrap_or(f32::NAN);
                classes.add_binary(p, yes, window, fading);
                p.is_finite()
            }
            (Scores::Sets(sets), _) => {
                if matches!(truth, Truth::Unknown) {
                    return;
                }
                sets.add(outputs, |o| truth.target(o, outputs.len()) > 0.5, window, fading);
                outputs.iter().all(|p| p.is_finite())
            }
            (Scores::Classes(classes), _) => {
                let one = self.task.class(truth).map(|class| [class as i32]);
                // A sequence has a row of outputs and a class at each position.
                let labels = match (&one, truth) {
                    (Some(one), _) => &one[..],
                    (None, Truth::Classes(labels)) if !labels.is_empty() => labels,
                    (None, _) => return,
                };
                let width = (outputs.len() / labels.len()).max(1);
                let mut finite = true;
                for (&label, row) in labels.iter().zip(outputs.chunks_exact(width)) {
                    // A class that the model has no output for yet had no chance.
                    let p = row.get(label as usize).copied().unwrap_or(0.0);
                    classes.add(argmax(row), label as usize, p, window, fading);
                    if let (&[_, second], 0 | 1) = (row, label) {
                        classes.add_second(second, label == 1);
                    }
                    finite &= p.is_finite();
                }
                finite
            }
            (Scores::Values(_), _) => {
                let wide =
                    |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
                let targets = match truth {
                    Truth::Class(class) => vec![class as f64],
                    Truth::Values(targets) => wide(targets),
                    Truth::Unknown | Truth::Classes(_) => return,
                };
                return self.add_values(Some(&wide(outputs)), &targets, loss, weight);
            }
        };
        self.add_loss(finite, loss, weight);
    }

    /// As [`Prequential::add`] for values in full precision: a target of 1.7 billion that changes by
    /// ten is none in f32. Without `outputs` the model had no guess, since it had seen no target to
    /// take the units from: the event counts for the baselines only.
    pub fn add_values(&mut self, outputs: Option<&[f64]>, targets: &[f64], loss: f32, weight: f32) {
        let PrequentialSpec { window, fading, .. } = self.spec;
        let Scores::Values(scores) = &mut self.scores else { return };
        if weight == 0.0 {
            return;
        }
        let finite = scores.add(outputs, targets, window, fading);
        self.add_loss(finite, loss, weight);
    }

    fn add_loss(&mut self, finite: bool, loss: f32, weight: f32) {
        let fading = self.spec.fading;
        let (loss, weight) = (f64::from(loss), f64::from(weight));
        let countable = (loss * weight).is_finite();
        if countable {
            self.loss.add(loss, weight);
            self.fading_loss.add(loss, fading);
        }
        self.events += 1;
        self.non_finite += u64::from(!(finite && countable));
        if self.events >= self.curve.next() {
            let now = self.quick();
            self.curve.push(self.events, &now);
        }
    }

    /// Scores what part `k` of a mixture predicted for an event, as [`Prequential::add`] takes it. A `value` is the
    /// one output in the units that `target` came in.
    pub fn add_expert(
        &mut self,
        (k, name): (usize, &str),
        outputs: &[f32],
        truth: Truth<'_>,
        value: Option<(f64, f64)>,
    ) {
        let hit = |hit: bool| f64::from(u8::from(hit));
        let score = match (&self.scores, self.task, value) {
            (Scores::Values(_), _, Some((value, target))) => (value - target).abs(),
            (Scores::Values(_), ..) => {
                let Truth::Values(targets) = truth else { return };
                let off = |(a, b): (&f32, &f32)| f64::from((a - b).abs());
                outputs.iter().zip(targets).map(off).sum::<f64>() / targets.len().max(1) as f64
            }
            (Scores::Sets(_), ..) => {
                let right =
                    |(o, p): (usize, &f32)| (*p > 0.5) == (truth.target(o, outputs.len()) > 0.5);
                let count = outputs.iter().enumerate().filter(|(o, p)| right((*o, *p))).count();
                count as f64 / outputs.len().max(1) as f64
            }
            (_, Task::Binary, _) => {
                let yes = truth.target(0, outputs.len()) > 0.5;
                hit(outputs.first().is_some_and(|p| (*p > 0.5) == yes))
            }
            _ => match self.task.class(truth) {
                Some(class) => hit(argmax(outputs) == class),
                None => return,
            },
        };
        self.experts.add(k, name, score, self.spec.fading);
    }

    /// The parts' shares of the mixture from here on.
    pub fn weigh_experts(&mut self, weights: &[f32]) {
        self.experts.weigh(weights);
    }

    /// The parts of a model that is a mixture; none of another one.
    pub fn experts(&self) -> Vec<ExpertFigures> {
        self.experts.figures().collect()
    }

    /// Events scored.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How outputs are read.
    pub fn task(&self) -> Task {
        self.task
    }

    /// What the figures are taken over.
    pub fn spec(&self) -> &PrequentialSpec {
        &self.spec
    }

    /// Takes them over something else from the next event on, as when a run continues with another
    /// recipe; a window grows as events come, and the curve keeps its number of points.
    pub fn set_spec(&mut self, spec: PrequentialSpec) {
        self.spec = spec;
    }

    /// All figures that are defined on what was seen; every one is finite.
    ///
    /// For classes: `accuracy`, `log_loss`, `kappa` (Cohen's), `kappa_m`, `kappa_t`, `macro_f1`
    /// (mean over the classes seen or predicted), `f1` (of the positive class, see [`Prequential::set_positive`], while there are two classes),
    /// `recall.<class>` (of the first hundred classes, where seen), `no_change.accuracy`,
    /// `prior.accuracy`, `auc` of a binary task and of two outputs. For sets of classes: `accuracy` (of yes and no of all classes),
    /// `subset_accuracy`, `micro_f1`, `macro_f1` (over all classes, as in scikit-learn), `recall.<class>`, `no_change.accuracy`, and `auc` (the mean
    /// over at most 32 classes). For values: `mae`, `rmse`, `r2`, `no_change.mae`, `mean.mae`; means over
    /// the outputs. Of these `sliding.…` (no recall),
    /// `fading.accuracy` or `fading.mae`; always `events`, `loss`, `fading.loss`; `non_finite`
    /// where any was; of a mixture `expert.<name>.weight`, and `expert.<name>.accuracy` or `expert.<name>.mae` of what
    /// each part would have predicted alone.
    ///
    /// At the first event no baseline has a guess: as an accuracy this is a miss, from an error it
    /// is left out, and so is the first event of a model whose targets are scaled. Kappa is 0 where chance alone is always right, as in River; over a sliding
    /// window without a change Kappa-T is undefined and left out.
    pub fn figures(&self) -> Figures {
        let mut figures = Vec::new();
        if self.events > 0 {
            figures = self.quick();
            figures.push(("events", self.events as f64));
            match &self.scores {
                Scores::Classes(classes) => {
                    classes.slow(self.task == Task::Binary, self.positive, &mut figures);
                }
                Scores::Sets(sets) => sets.slow(&mut figures),
                Scores::Values(values) => values.slow(&mut figures),
            }
            if self.non_finite > 0 {
                figures.push(("non_finite", self.non_finite as f64));
            }
        }
        let named = figures.into_iter().map(|(name, v)| (name.to_string(), v));
        let mut figures: Figures = named.filter(|(_, v)| v.is_finite()).collect();
        let score = if self.task.has_classes() { "accuracy" } else { "mae" };
        self.experts.append(score, &mut figures);
        for recall in self.recalls().into_iter().take_while(|r| r.class < 100) {
            figures.insert(format!("recall.{}", recall.class), recall.value);
        }
        figures
    }

    /// The recall of each class that was seen, in their order.
    pub fn recalls(&self) -> Vec<Recall> {
        match &self.scores {
            Scores::Classes(classes) => classes.recalls().collect(),
            Scores::Sets(sets) => sets.recalls().collect(),
            Scores::Values(_) => Vec::new(),
        }
    }

    /// How often each class was taken for each among the events of the window; none for tasks without classes, and where there are more than
    /// `most` classes.
    pub fn confusion(&self, most: usize) -> Option<Confusion> {
        match &self.scores {
            Scores::Classes(classes) => classes.confusion(most),
            Scores::Sets(_) | Scores::Values(_) => None,
        }
    }

    /// The few figures of a live line; `None` before the first event.
    pub fn headline(&self) -> Option<Headline> {
        if self.events == 0 {
            return None;
        }
        let (name, [value, sliding, no_change], kappa_t) = match &self.scores {
            Scores::Classes(c) => ("accuracy", c.headline(), Some(c.kappa_t())),
            Scores::Sets(s) => ("accuracy", s.headline(), None),
            Scores::Values(v) => ("mae", v.headline()?, None),
        };
        let (events, loss) = (self.events, self.loss.get().unwrap_or(0.0));
        Some(Headline { events, name, value, sliding, no_change, kappa_t, loss })
    }

    /// The course of the main figures over the events.
    pub fn curve(&self) -> &Curve {
        &self.curve
    }

    /// The figures of the curve as they are now.
    pub fn quick(&self) -> Vec<(&'static str, f64)> {
        let mut figures = Vec::with_capacity(16);
        match &self.scores {
            Scores::Classes(classes) => classes.quick(&mut figures),
            Scores::Sets(sets) => sets.quick(&mut figures),
            Scores::Values(values) => values.quick(&mut figures),
        }
        figures.extend(self.loss.get().map(|v| ("loss", v)));
        figures.extend(self.fading_loss.get().map(|v| ("fading.loss", v)));
        figures
    }
}

/// A weighted mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    fn add(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
    }

    fn get(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

/// A mean in which the past fades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Fading {
    sum: f64,
    weight: f64,
}

impl Fading {
    fn add(&mut self, value: f64, fading: f64) {
        self.sum = value + fading * self.sum;
        self.weight = 1.0 + fading * self.weight;
    }

    fn get(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

#[cfg(test)]
mod tests;
