//! Streaming metrics: constant memory, `f64` sums, the values that scikit-learn gives.
//!
//! A [`Meter`] takes the logits that a step has computed anyway, so that training accuracy costs
//! a scan of each sample's logits and no second forward pass.

mod auc;
mod classes;
mod custom;
mod drawn;
mod metric;
mod probabilities;
mod quantiles;
mod regression;
mod sets;

use std::collections::BTreeMap;

use crate::transcript::{edits, greedy};
use serde::{Deserialize, Serialize};
use tidemill_fields::{Batch, Truth};
pub use tidemill_nn::{Task, argmax};

pub use classes::{ClassFigures, Confusion, Score};
pub use custom::CustomMeter;
pub use drawn::{Calibration, CalibrationBin, Residuals, RocCurve};
pub use metric::{Averaged, Metric};
pub use sets::Sets;

pub(crate) use auc::Auc;
pub(crate) use classes::Mean;
use probabilities::Probabilities;
use quantiles::Quantiles;
use regression::Regression;
pub(crate) use sets::{Counts, averaged};

/// Named results, such as `loss` and `accuracy`.
pub type Figures = BTreeMap<String, f64>;

/// Sums over the samples seen since the last reset.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meter {
    task: Task,
    num_outputs: usize,
    metrics: Vec<Metric>,
    samples: u64,
    weight: f64,
    loss: f64,
    /// Predictions made: one a sample, or one an output for binary tasks.
    predictions: u64,
    correct: u64,
    /// Labels of sequences, and how many of them had to be changed.
    #[serde(default)]
    labels: [u64; 2],
    /// Hits of each `TopK`, in the order of `metrics`.
    top: Vec<u64>,
    confusion: Option<Confusion>,
    /// Where a sample has a yes or no for each of several classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sets: Option<Sets>,
    auc: Option<Auc>,
    regression: Option<Regression>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probabilities: Option<Probabilities>,
    /// The absolute errors of each output, where quantiles of them are wanted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Quantiles>,
    /// What 1 of an output is in the units of the labels.
    #[serde(default = "one")]
    unit: f64,
}

fn one() -> f64 {
    1.0
}

impl Meter {
    /// A meter of `metrics` over samples with `num_outputs` logits; metrics that do not fit `task`
    /// are left out (a recipe that names one has been refused before).
    pub fn new(task: Task, num_outputs: usize, metrics: &[Metric]) -> Meter {
        let metrics: Vec<Metric> = metrics.iter().copied().filter(|m| m.fits(task)).collect();
        let needs = |wanted: &dyn Fn(Metric) -> bool| metrics.iter().any(|&m| wanted(m));
        let confusion = needs(&Metric::is_of_confusion);
        let classes = if task == Task::Binary { 2 } else { num_outputs };
        let of_sets = task == Task::Binary && num_outputs > 1;
        // The area of yes and no has a summary of its own, as streams have it.
        let own_area = |m: Metric| m == Metric::Auc && task == Task::Binary && !of_sets;
        let probabilities = needs(&|m| m.is_of_probabilities() && !own_area(m));
        let curves = needs(&|m| m.is_of_curves() && !own_area(m));
        let errors = if needs(&|m| m.quantile().is_some()) { num_outputs } else { 0 };
        Meter {
            task,
            num_outputs,
            samples: 0,
            weight: 0.0,
            loss: 0.0,
            predictions: 0,
            correct: 0,
            labels: [0; 2],
            top: metrics.iter().filter(|m| matches!(m, Metric::TopK(_))).map(|_| 0).collect(),
            confusion: confusion.then(|| Confusion::new(classes)),
            sets: of_sets.then(|| Sets::new(num_outputs)),
            auc: needs(&own_area).then(Auc::default),
            regression: (!task.has_classes()).then(|| Regression::new(num_outputs)),
            probabilities: probabilities.then(|| match of_sets {
                true => Probabilities::of_sets(num_outputs, curves),
                false => Probabilities::new(classes, curves),
            }),
            errors: vec![Quantiles::default(); errors],
            metrics,
            unit: 1.0,
        }
    }

    /// Gives the errors of values in the units of the labels: outputs and targets are labels divided
    /// by `unit`, where a stream has scaled them. The loss stays that of the outputs.
    pub fn in_units(mut self, unit: f64) -> Meter {
        self.unit = unit;
        self
    }

    /// Also counts true against predicted classes, where a sample has one and there are at most 1000.
    pub fn with_confusion(mut self) -> Meter {
        if self.sets.is_some() {
            return self;
        }
        let classes = if self.task == Task::Binary { 2 } else { self.num_outputs };
        let wanted = matches!(self.task, Task::Classes | Task::Binary);
        if wanted && classes <= 1000 && self.confusion.is_none() {
            self.confusion = Some(Confusion::new(classes));
        }
        self
    }

    /// Also counts what is drawn of probabilities, where outputs are some: how often they are right, and the ROC curves of
    /// at most 32 classes.
    pub fn with_curves(mut self) -> Meter {
        let classes = if self.task == Task::Binary { 2 } else { self.num_outputs };
        if matches!(self.task, Task::Classes | Task::Binary) {
            let curves = self.metrics.iter().any(|metric| metric.is_of_curves());
            let few = |classes| curves || classes <= drawn::MOST_CURVES;
            self.probabilities = Some(match &self.sets {
                Some(_) => Probabilities::of_sets(self.num_outputs, few(self.num_outputs)),
                None => Probabilities::new(classes, few(classes)),
            });
        }
        self
    }

    /// Takes in a batch: `losses` is `[len]` unweighted, `logits` is `[len, num_outputs]`, or
    /// `[len, time, num_outputs]` for a class at each position of a sequence, where each position
    /// counts as one prediction.
    pub fn add(&mut self, losses: &[f32], logits: &[f32], batch: &Batch) {
        match self.task {
            Task::Tokens => self.add_tokens(losses, batch),
            _ => self.add_losses(losses, &batch.weights),
        }
        let stride = (logits.len() / losses.len().max(1)).max(1);
        for (i, row) in logits.chunks_exact(stride).enumerate() {
            if batch.weights.get(i) == Some(&0.0) {
                continue;
            }
            match (self.task, batch.truth(i)) {
                (task, Truth::Classes(labels)) if task.is_transcript() => {
                    let positions = positions(batch, i).unwrap_or(row.len());
                    let own = (positions * self.num_outputs).min(row.len());
                    let found = greedy(task, &row[..own], self.num_outputs);
                    self.labels[0] += labels.len() as u64;
                    self.labels[1] += edits(labels, &found) as u64;
                }
                (Task::Classes | Task::Tokens, Truth::Classes(classes)) => {
                    let weights = batch.position_weights(i);
                    let rows = row.chunks_exact(self.num_outputs.max(1)).zip(classes).enumerate();
                    for (t, (row, &class)) in rows {
                        if weights.is_none_or(|w| w[t] != 0.0) {
                            self.add_class(row, class as usize);
                        }
                    }
                }
                (Task::Classes | Task::Tokens, truth) => {
                    if let Some(class) = self.task.class(truth) {
                        self.add_class(row, class);
                    }
                }
                (Task::Binary, truth) => {
                    let yes = |o| truth.target(o, row.len()) > 0.5;
                    for (o, &logit) in row.iter().enumerate() {
                        self.add_binary(o, logit, yes(o));
                    }
                    if let Some(sets) = &mut self.sets {
                        sets.add(row.iter().enumerate().map(|(o, &logit)| (yes(o), logit > 0.0)));
                    }
                }
                (_, truth) => {
                    let outputs = self.errors.len();
                    for (o, errors) in self.errors.iter_mut().enumerate() {
                        let predicted = f64::from(self.task.value(row[o]));
                        errors.add((predicted - f64::from(truth.target(o, outputs))).abs());
                    }
                    if let Some(regression) = &mut self.regression {
                        regression.add(row.iter().map(|&x| self.task.value(x)), truth);
                    }
                }
            }
        }
    }

    fn add_losses(&mut self, losses: &[f32], weights: &[f32]) {
        if weights.is_empty() {
            self.loss += losses.iter().map(|&l| f64::from(l)).sum::<f64>();
            self.weight += losses.len() as f64;
            self.samples += losses.len() as u64;
            return;
        }
        for (&loss, &weight) in losses.iter().zip(weights) {
            if weight != 0.0 {
                self.loss += f64::from(loss) * f64::from(weight);
                self.weight += f64::from(weight);
                self.samples += 1;
            }
        }
    }

    /// A sample's loss is the mean of its tokens, which count alike.
    fn add_tokens(&mut self, losses: &[f32], batch: &Batch) {
        for (i, &loss) in losses.iter().enumerate() {
            let weight = f64::from(batch.weights.get(i).copied().unwrap_or(1.0));
            if weight != 0.0 {
                let tokens = match (batch.position_weights(i), batch.truth(i)) {
                    (Some(weights), Truth::Classes(classes)) => {
                        weights[..classes.len()].iter().map(|&w| f64::from(w)).sum()
                    }
                    (_, Truth::Classes(classes)) => classes.len() as f64,
                    _ => 0.0,
                };
                self.loss += f64::from(loss) * weight * tokens;
                self.weight += weight * tokens;
                self.samples += 1;
            }
        }
    }

    fn add_class(&mut self, row: &[f32], truth: usize) {
        let predicted = argmax(row);
        self.predictions += 1;
        self.correct += u64::from(predicted == truth);
        if let Some(confusion) = &mut self.confusion {
            confusion.add(truth, predicted);
        }
        if let Some(probabilities) = &mut self.probabilities {
            probabilities.add_class(row, truth);
        }
        if self.top.is_empty() {
            return;
        }
        let Some(&own) = row.get(truth) else { return };
        let better = row
            .iter()
            .enumerate()
            .filter(|&(i, &v)| v > own || (v == own && i < truth) || v.is_nan())
            .count();
        let ks = self.metrics.iter().filter_map(|m| match m {
            Metric::TopK(k) => Some(*k),
            _ => None,
        });
        for (hits, k) in self.top.iter_mut().zip(ks) {
            *hits += u64::from(better < k && !own.is_nan());
        }
    }

    fn add_binary(&mut self, class: usize, logit: f32, truth: bool) {
        self.predictions += 1;
        let predicted = logit > 0.0;
        self.correct += u64::from(predicted == truth);
        if let Some(confusion) = &mut self.confusion {
            confusion.add(usize::from(truth), usize::from(predicted));
        }
        if let Some(auc) = &mut self.auc {
            auc.add(logit, truth);
        }
        if let Some(probabilities) = &mut self.probabilities {
            probabilities.add_binary(class, logit, truth);
        }
    }

    /// Samples taken in, skipped ones not counted.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The weighted mean loss so far; 0 before the first sample.
    pub fn loss(&self) -> f64 {
        if self.weight == 0.0 { 0.0 } else { self.loss / self.weight }
    }

    /// The share of right predictions so far, where the task has any.
    pub fn accuracy(&self) -> Option<f64> {
        (self.task.has_classes() && self.predictions > 0)
            .then(|| self.correct as f64 / self.predictions as f64)
    }

    /// True against predicted classes, where counted and a sample has one class.
    pub fn confusion(&self) -> Option<&Confusion> {
        self.confusion.as_ref().filter(|_| self.sets.is_none())
    }

    /// Yes and no of each class, where a sample has one for each of several.
    pub fn sets(&self) -> Option<&Sets> {
        self.sets.as_ref().filter(|_| self.samples > 0)
    }

    /// How often predicted classes are right by their probability, where counted.
    pub fn calibration(&self) -> Option<Calibration> {
        let counted = self.probabilities.as_ref().filter(|_| self.predictions > 0);
        counted.map(Probabilities::calibration)
    }

    /// The ROC curves, where counted.
    pub fn roc_curves(&self) -> Vec<RocCurve> {
        self.probabilities.as_ref().map(Probabilities::roc_curves).unwrap_or_default()
    }

    /// The loss and all metrics that are defined on what was seen.
    pub fn figures(&self) -> Figures {
        let mut figures = Figures::new();
        if self.samples == 0 {
            return figures;
        }
        figures.insert("loss".into(), self.loss());
        let macro_mean = match (&self.sets, &self.confusion) {
            (Some(sets), _) => Some(sets.macro_mean()),
            (None, Some(c)) if self.task == Task::Binary => Some(c.of_class(1)),
            (None, c) => c.as_ref().map(Confusion::macro_mean),
        };
        let mut top = self.top.iter();
        for &metric in &self.metrics {
            let value = match metric {
                Metric::Accuracy => self.accuracy(),
                Metric::SubsetAccuracy => match &self.sets {
                    Some(sets) => Some(sets.subset_accuracy()),
                    None => self.accuracy(),
                },
                Metric::TopK(_) => top.next().map(|&h| h as f64 / self.predictions as f64),
                Metric::Precision => macro_mean.map(|m| m.precision),
                Metric::Recall => macro_mean.map(|m| m.recall),
                Metric::F1 => macro_mean.map(|m| m.f1),
                Metric::Auc if self.auc.is_some() => self.auc.as_ref().and_then(Auc::value),
                Metric::Mae => self.regression.as_ref().map(|r| r.mae() * self.unit),
                Metric::Mse => self.regression.as_ref().map(|r| r.mse() * self.unit * self.unit),
                Metric::R2 => self.regression.as_ref().map(Regression::r2),
                Metric::LabelErrorRate => Some(self.labels[1] as f64 / self.labels[0] as f64),
                other => self.further(other),
            };
            // An undefined metric (AUC of one class) is left out rather than written as NaN.
            if let Some(value) = value.filter(|v| v.is_finite()) {
                figures.insert(metric.name(), value);
            }
        }
        figures
    }

    /// The metrics of classes, probabilities and errors that have no sums of their own here.
    fn further(&self, metric: Metric) -> Option<f64> {
        let (confusion, probabilities) = (self.confusion.as_ref(), self.probabilities.as_ref());
        let regression = self.regression.as_ref();
        match metric {
            Metric::Averaged(score, how) => {
                let mean = match how {
                    Averaged::Usual if self.task == Task::Binary && self.sets.is_none() => {
                        Mean::Class(1)
                    }
                    Averaged::Usual | Averaged::Macro => Mean::Macro,
                    Averaged::Micro => Mean::Micro,
                    Averaged::Weighted => Mean::Weighted,
                };
                match &self.sets {
                    Some(sets) => Some(sets.averaged(score, mean)),
                    None => confusion.map(|c| c.averaged(score, mean)),
                }
            }
            Metric::BalancedAccuracy => confusion.map(Confusion::balanced_accuracy),
            Metric::CohenKappa => confusion.map(Confusion::kappa),
            Metric::Mcc => confusion.map(Confusion::matthews),
            Metric::LogLoss => probabilities.map(Probabilities::log_loss),
            Metric::Brier => probabilities.map(Probabilities::brier),
            Metric::Ece => probabilities.map(Probabilities::calibration_error),
            Metric::Auc => probabilities.and_then(Probabilities::roc_auc),
            Metric::AveragePrecision => probabilities.and_then(Probabilities::average_precision),
            Metric::Rmse => regression.map(|r| r.rmse() * self.unit),
            // Scaled targets are not in proportion to the labels.
            Metric::Mape => regression.filter(|_| self.unit == 1.0).map(Regression::mape),
            _ => {
                let share = metric.quantile()?;
                let sum: f64 = self.errors.iter().map(|errors| errors.at(share)).sum();
                Some(sum / self.errors.len() as f64 * self.unit)
            }
        }
    }

    /// Takes in what another meter of the same metrics has.
    pub fn merge(&mut self, other: &Meter) {
        self.samples += other.samples;
        self.weight += other.weight;
        self.loss += other.loss;
        self.predictions += other.predictions;
        self.correct += other.correct;
        self.labels.iter_mut().zip(other.labels).for_each(|(to, from)| *to += from);
        self.top.iter_mut().zip(&other.top).for_each(|(to, from)| *to += from);
        if let (Some(to), Some(from)) = (&mut self.confusion, &other.confusion) {
            to.merge(from);
        }
        if let (Some(to), Some(from)) = (&mut self.sets, &other.sets) {
            to.merge(from);
        }
        if let (Some(to), Some(from)) = (&mut self.auc, &other.auc) {
            to.merge(from);
        }
        if let (Some(to), Some(from)) = (&mut self.regression, &other.regression) {
            to.merge(from);
        }
        if let (Some(to), Some(from)) = (&mut self.probabilities, &other.probabilities) {
            to.merge(from);
        }
        self.errors.iter_mut().zip(&other.errors).for_each(|(to, from)| to.merge(from));
    }

    /// What meters of the shards of batches have measured together, added in their order.
    pub fn merged(meters: &[Meter]) -> Option<Meter> {
        let (first, others) = meters.split_first()?;
        let mut all = first.clone();
        others.iter().for_each(|other| all.merge(other));
        Some(all)
    }

    /// Forgets all samples; allocates nothing.
    pub fn reset(&mut self) {
        self.samples = 0;
        self.weight = 0.0;
        self.loss = 0.0;
        self.predictions = 0;
        self.correct = 0;
        self.labels = [0; 2];
        self.top.fill(0);
        if let Some(confusion) = &mut self.confusion {
            confusion.reset();
        }
        if let Some(sets) = &mut self.sets {
            sets.reset();
        }
        if let Some(auc) = &mut self.auc {
            auc.reset();
        }
        if let Some(regression) = &mut self.regression {
            regression.reset();
        }
        if let Some(probabilities) = &mut self.probabilities {
            probabilities.reset();
        }
        self.errors.iter_mut().for_each(Quantiles::reset);
    }
}

/// How long the first sequence among the inputs of sample `i` is.
fn positions(batch: &Batch, i: usize) -> Option<usize> {
    let inputs = batch.signature().inputs().len();
    let lengths = batch.columns.iter().take(inputs).find_map(|column| column.lengths.get(i))?;
    Some((*lengths).max(0) as usize)
}

#[cfg(test)]
mod tests;
