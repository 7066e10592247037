//! A pass over data without learning.

use std::sync::Arc;

use tidemill_data::{Dataset, Loader, LoaderOptions};
use tidemill_nn::Link;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::metrics::{
    Calibration, Confusion, CustomMeter, Figures, Meter, Metric, Residuals, RocCurve, Sets, Task,
    argmax,
};

/// How data is measured.
#[derive(Clone, Debug)]
pub struct EvaluateOptions {
    /// How outputs are read.
    pub task: Task,
    /// Measured beside the loss.
    pub metrics: Vec<Metric>,
    /// Samples at a time.
    pub batch_size: usize,
    /// Worst mistakes to keep.
    pub mistakes: usize,
    /// Whether to count what is drawn: calibration, ROC curves, residuals.
    pub drawn: bool,
    /// Threads that decode ahead.
    pub data_threads: Option<usize>,
    /// Bytes of batches that wait; the loader's default where none.
    pub read_ahead: Option<usize>,
}

impl EvaluateOptions {
    /// How the data is gone through.
    pub fn pass(&self) -> LoaderOptions {
        let mut pass = LoaderOptions::one_pass(self.batch_size);
        pass.threads = self.data_threads;
        pass.memory_bytes = self.read_ahead.unwrap_or(pass.memory_bytes);
        pass
    }
}

/// What a pass found.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// The loss and the metrics.
    pub figures: Figures,
    /// True against predicted classes, where there are classes.
    pub confusion: Option<Confusion>,
    /// Yes and no of each class, where any number of classes is true of a sample.
    pub sets: Option<Sets>,
    /// Wrong predictions, the most confident ones first.
    pub mistakes: Vec<Mistake>,
    /// How often predicted classes are right, by their probability; where it is drawn.
    pub calibration: Option<Calibration>,
    /// The ROC curves of classes, where they are drawn.
    pub curves: Vec<RocCurve>,
    /// The errors of each output that is a value, where they are drawn.
    pub residuals: Vec<Residuals>,
    /// What was left out because it is broken, if anything.
    pub skipped: Option<String>,
    /// What else a user should know of the data.
    pub notes: Vec<String>,
}

/// Samples that were left out by policy, in a sentence: they never are in silence.
pub fn skipped(data: &dyn Dataset) -> Option<String> {
    let n = data.num_skipped();
    let samples = if n == 1 { "sample was" } else { "samples were" };
    let examples = data.skipped_examples();
    let example = examples.first().map_or(String::new(), |e| format!(", such as {e}"));
    (n > 0).then(|| format!("{n} broken {samples} left out{example}"))
}

/// A wrong prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mistake {
    /// Index of the sample in the dataset.
    pub index: u32,
    /// Its class.
    pub truth: usize,
    /// What the model says.
    pub predicted: usize,
    /// How sure the model is of that.
    pub probability: f32,
    /// The sample's loss.
    pub loss: f32,
}

/// Batches below this waste the kernels; larger ones only cost memory, since 32 rows already run
/// near the machine's peak.
const SMALLEST_BATCH: usize = 32;

/// The batch size to measure with, where the recipe names none.
pub fn default_batch_size(training: usize) -> usize {
    training.max(SMALLEST_BATCH)
}

/// What 1 of a target is in the units of the labels, where those were scaled; else 1.
pub fn unit(data: &dyn Dataset) -> f64 {
    let labels = data.known().and_then(|known| known.labels.as_ref());
    labels.map_or(1.0, |labels| labels.unscale(1.0) - labels.unscale(0.0))
}

/// Measures `engine` on all of `data`.
///
/// # Errors
/// If data cannot be read or does not fit the model, or a target is none that the loss is defined for.
pub fn evaluate(
    engine: &mut Engine,
    data: &Arc<dyn Dataset>,
    options: &EvaluateOptions,
) -> Result<Evaluation> {
    let num_outputs = engine.num_outputs();
    let meter =
        Meter::new(options.task, num_outputs, &options.metrics).in_units(unit(data.as_ref()));
    let mut meter = meter.with_confusion();
    let mut residuals = Vec::new();
    if options.drawn {
        meter = meter.with_curves();
        residuals = Residuals::of(options.task, num_outputs);
    }
    let probable = matches!(engine.spec().loss.link(), Link::Softmax | Link::Sigmoid);
    let labels = data.known().and_then(|known| known.labels.as_ref());
    let unscale = |value| labels.map_or(f64::from(value), |labels| labels.unscale(value));
    let mut mistakes = Mistakes::new(options.mistakes);
    let mut loader = Loader::new(data.clone(), options.pass())?;
    let by_position = engine.by_position();
    let mut custom = CustomMeter::of(engine);
    while let Some((batch, ahead)) = loader.next_and_ahead()? {
        // Such a target has a loss that is not finite or means nothing, and the figures would hide it.
        if let Some((sample, what)) = engine.wrong_target(batch) {
            let place = data.describe(batch.indices[sample] as usize);
            return Err(Error::Run(format!("{place}: the target {what}")));
        }
        let outputs = engine.evaluate_beside(batch, &|| ahead.piece())?;
        meter.add(outputs.losses, outputs.logits, batch);
        custom.add(engine, &batch.weights);
        let outputs = engine.outputs();
        Residuals::add(&mut residuals, options.task, outputs.logits, batch, &unscale);
        if options.task != Task::Classes || options.mistakes == 0 || by_position {
            continue;
        }
        for (i, &loss) in outputs.losses.iter().enumerate() {
            // Most samples end here: their loss is below that of all kept mistakes.
            if mistakes.wants(loss) && batch.weights[i] != 0.0 {
                let row = &outputs.logits[i * num_outputs..(i + 1) * num_outputs];
                if let Some(truth) = options.task.class(batch.truth(i)) {
                    mistakes.offer(batch.indices[i], truth, row, loss);
                }
            }
        }
    }
    let mut figures = meter.figures();
    custom.extend(&mut figures);
    Ok(Evaluation {
        figures,
        confusion: meter.confusion().cloned(),
        sets: meter.sets().cloned(),
        mistakes: mistakes.finish(),
        calibration: meter.calibration().filter(|_| options.drawn && probable),
        curves: if options.drawn { meter.roc_curves() } else { Vec::new() },
        residuals,
        skipped: skipped(data.as_ref()),
        notes: data.notes(),
    })
}

/// The mistakes with the greatest loss, in constant memory.
struct Mistakes {
    kept: Vec<Mistake>,
    most: usize,
    /// The smallest loss kept, once there are as many as wanted.
    bar: f32,
}

impl Mistakes {
    fn new(most: usize) -> Mistakes {
        Mistakes { kept: Vec::with_capacity(most), most, bar: f32::NEG_INFINITY }
    }

    fn wants(&self, loss: f32) -> bool {
        self.most > 0 && loss > self.bar
    }

    fn offer(&mut self, index: u32, truth: usize, logits: &[f32], loss: f32) {
        let predicted = argmax(logits);
        if predicted == truth {
            return;
        }
        let top = logits[predicted];
        let sum: f32 = logits.iter().map(|l| (l - top).exp()).sum();
        let mistake = Mistake { index, truth, predicted, probability: 1.0 / sum, loss };
        if self.kept.len() < self.most {
            self.kept.push(mistake);
        } else if let Some(least) = self.kept.iter_mut().min_by(|a, b| a.loss.total_cmp(&b.loss)) {
            *least = mistake;
        }
        if self.kept.len() == self.most {
            let least = self.kept.iter().map(|m| m.loss).fold(f32::INFINITY, f32::min);
            self.bar = least;
        }
    }

    fn finish(mut self) -> Vec<Mistake> {
        self.kept.sort_by(|a, b| b.loss.total_cmp(&a.loss).then(a.index.cmp(&b.index)));
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_are_kept() {
        let mut mistakes = Mistakes::new(2);
        for (index, loss) in [(0, 1.0), (1, 5.0), (2, 3.0), (3, 0.5), (4, 4.0)] {
            if mistakes.wants(loss) {
                mistakes.offer(index, 1, &[2.0, 0.0], loss);
            }
        }
        mistakes.offer(9, 0, &[2.0, 0.0], 100.0);
        let kept: Vec<u32> = mistakes.finish().iter().map(|m| m.index).collect();
        assert_eq!(kept, [1, 4]);
    }
}
