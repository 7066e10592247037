//! Each loss of one sample, without a graph: of a prediction that was made before its label was known.

use crate::loss::LossSpec;
use tidemill_fields::Truth;

impl LossSpec {
    /// The loss of one sample's logits, as the compiled step has it. NaN for a loss of another crate,
    /// which only has a graph, and for labels of a sequence.
    pub fn of_sample(&self, logits: &[f32], truth: Truth<'_>) -> f32 {
        let logit = |i: usize| f64::from(logits.get(i).copied().unwrap_or(f32::NAN));
        let target = |i: usize| f64::from(truth.target(i, logits.len()));
        let n = logits.len() as f64;
        let mean = |f: &dyn Fn(f64, f64) -> f64| {
            (0..logits.len()).map(|i| f(logit(i), target(i))).sum::<f64>() / n
        };
        let crossentropy = |smoothing: f64| {
            // -ln softmax, the greatest logit taken off so that nothing overflows.
            let most = (0..logits.len()).map(logit).fold(f64::NEG_INFINITY, f64::max);
            let sum = (0..logits.len()).map(|i| (logit(i) - most).exp()).sum::<f64>();
            let log_sum = most + sum.ln();
            let share = |i: usize| target(i) * (1.0 - smoothing) + smoothing / n;
            (0..logits.len()).map(|i| share(i) * (log_sum - logit(i))).sum::<f64>()
        };
        let value = match *self {
            LossSpec::SparseCategoricalCrossentropy { label_smoothing }
            | LossSpec::TokenCrossentropy { label_smoothing }
            | LossSpec::CategoricalCrossentropy { label_smoothing } => {
                crossentropy(label_smoothing)
            }
            LossSpec::SparseCategoricalFocalCrossentropy { gamma } => {
                let l = crossentropy(0.0);
                (1.0 - (-l).exp()).powf(gamma) * l
            }
            LossSpec::BinaryCrossentropy { label_smoothing } => mean(&|x, t| {
                let t = t * (1.0 - label_smoothing) + label_smoothing / 2.0;
                sigmoid_crossentropy(x, t)
            }),
            LossSpec::BinaryFocalCrossentropy { gamma, alpha } => mean(&|x, t| {
                let l = sigmoid_crossentropy(x, t);
                let p = 1.0 / (1.0 + (-x).exp());
                let right = p * t + (1.0 - p) * (1.0 - t);
                let balance = alpha.map_or(1.0, |a| a * t + (1.0 - a) * (1.0 - t));
                balance * (1.0 - right).powf(gamma) * l
            }),
            LossSpec::MeanSquaredError {} => mean(&|x, t| (x - t) * (x - t)),
            LossSpec::MeanAbsoluteError {} => mean(&|x, t| (x - t).abs()),
            LossSpec::Huber { delta } => mean(&|x, t| {
                let d = (x - t).abs();
                if d <= delta { 0.5 * d * d } else { delta * (d - 0.5 * delta) }
            }),
            LossSpec::Hinge {} => mean(&|x, t| {
                let sign = if t <= 0.0 { -1.0 } else { t };
                (1.0 - sign * x).max(0.0)
            }),
            LossSpec::Poisson {} => mean(&|x, t| x.exp() - t * x),
            LossSpec::Ctc {} | LossSpec::Transducer { .. } | LossSpec::Custom(_) => f64::NAN,
        };
        value as f32
    }
}

fn sigmoid_crossentropy(x: f64, t: f64) -> f64 {
    x.max(0.0) - x * t + (-x.abs()).exp().ln_1p()
}
