//! Metrics of other crates, whose parts come from the graph.

use tidemill_nn::{Custom, CustomMetric};

use super::Figures;
use crate::engine::Engine;

/// The means of an engine's custom metrics over batches.
#[derive(Clone)]
pub struct CustomMeter {
    metrics: Vec<Measured>,
    weight: f64,
}

#[derive(Clone)]
struct Measured {
    metric: Custom<dyn CustomMetric>,
    /// Its output in the graph.
    output: String,
    /// Weighted sums of its parts.
    sums: Vec<f64>,
}

impl CustomMeter {
    /// Of the metrics that the engine was compiled with.
    pub fn of(engine: &Engine) -> CustomMeter {
        let measured = |metric: &Custom<dyn CustomMetric>| Measured {
            output: format!("metric.{}", metric.get().name()),
            metric: metric.clone(),
            sums: Vec::new(),
        };
        CustomMeter { metrics: engine.spec().metrics.iter().map(measured).collect(), weight: 0.0 }
    }

    /// Takes in the batch that the engine trained or evaluated last; `weights` are those of its samples.
    pub fn add(&mut self, engine: &Engine, weights: &[f32]) {
        if self.metrics.is_empty() {
            return;
        }
        for Measured { output, sums, .. } in &mut self.metrics {
            let values = engine.output(output).unwrap_or(&[]);
            let parts = values.len() / weights.len().max(1);
            sums.resize(parts, 0.0);
            for (row, &weight) in values.chunks_exact(parts.max(1)).zip(weights) {
                if weight != 0.0 {
                    for (sum, &value) in sums.iter_mut().zip(row) {
                        *sum += f64::from(weight) * f64::from(value);
                    }
                }
            }
        }
        self.weight += weights.iter().map(|&w| f64::from(w)).sum::<f64>();
    }

    /// Adds the metrics to figures; not those that have no finite value.
    pub fn extend(&self, figures: &mut Figures) {
        if self.weight == 0.0 {
            return;
        }
        for Measured { metric, sums, .. } in &self.metrics {
            let means: Vec<f64> = sums.iter().map(|sum| sum / self.weight).collect();
            let value = metric.get().value(&means);
            if value.is_finite() {
                figures.insert(metric.get().name().to_owned(), value);
            }
        }
    }

    /// Forgets all batches.
    pub fn reset(&mut self) {
        self.weight = 0.0;
        self.metrics.iter_mut().for_each(|metric| metric.sums.fill(0.0));
    }
}
