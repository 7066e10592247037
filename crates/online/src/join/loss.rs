//! The loss of a prediction that was made before its label was known.

use tidemill_engine::nn::LossSpec;

use tidemill_engine::prequential::Truth;

/// The loss of one event's logits, as the compiled step has it.
pub(crate) fn loss_of(loss: &LossSpec, logits: &[f32], truth: Truth<'_>) -> f32 {
    let logit = |i: usize| f64::from(logits.get(i).copied().unwrap_or(f32::NAN));
    let target = |i: usize| f64::from(truth.target(i, logits.len()));
    let n = logits.len() as f64;
    let mean = |f: &dyn Fn(f64, f64) -> f64| {
        (0..logits.len()).map(|i| f(logit(i), target(i))).sum::<f64>() / n
    };
    // -ln softmax, the greatest logit taken off so that nothing overflows.
    let most = (0..logits.len()).map(logit).fold(f64::NEG_INFINITY, f64::max);
    let log_sum = || most + (0..logits.len()).map(|i| (logit(i) - most).exp()).sum::<f64>().ln();
    let crossentropy = |smoothing: f64| {
        let share = |i: usize| target(i) * (1.0 - smoothing) + smoothing / n;
        (0..logits.len()).map(|i| share(i) * (log_sum() - logit(i))).sum::<f64>()
    };
    let value = match *loss {
        LossSpec::SparseCategoricalCrossentropy { label_smoothing }
        | LossSpec::CategoricalCrossentropy { label_smoothing } => crossentropy(label_smoothing),
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
        // Labels come late in recipes alone, and no recipe has a custom loss.
        LossSpec::Custom(_) => f64::NAN,
    };
    value as f32
}

fn sigmoid_crossentropy(x: f64, t: f64) -> f64 {
    x.max(0.0) - x * t + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tidemill_engine::data::Batch;
    use tidemill_engine::engine::{Engine, EngineSpec};
    use tidemill_engine::nn::{Activation, Model, OptimizerSpec};

    #[test]
    fn it_is_that_of_the_compiled_step() {
        let losses = [
            (LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.1 }, 3),
            (LossSpec::CategoricalCrossentropy { label_smoothing: 0.2 }, 3),
            (LossSpec::SparseCategoricalFocalCrossentropy { gamma: 1.5 }, 3),
            (LossSpec::BinaryCrossentropy { label_smoothing: 0.1 }, 1),
            (LossSpec::BinaryFocalCrossentropy { gamma: 2.0, alpha: Some(0.3) }, 1),
            (LossSpec::BinaryFocalCrossentropy { gamma: 1.0, alpha: None }, 1),
            (LossSpec::MeanSquaredError {}, 1),
            (LossSpec::MeanAbsoluteError {}, 1),
            (LossSpec::Huber { delta: 0.5 }, 1),
            (LossSpec::Hinge {}, 1),
        ];
        for (loss, outputs) in losses {
            let model = Model::features(2).dense(outputs, Activation::Linear);
            let optimizer = OptimizerSpec::sgd(0.1);
            let spec = EngineSpec {
                batch_size: 1,
                seed: 5,
                threads: Some(1),
                ..EngineSpec::new(model, loss.clone(), optimizer)
            };
            let mut engine = Engine::compile(spec).unwrap();
            for i in 0..6 {
                let class = i % outputs.max(2);
                let x = vec![i as f32 - 2.0, 1.5 - 0.5 * i as f32];
                let batch = Batch::of_x(x, &[2]).with_classes(vec![class as i32]);
                let got = engine.evaluate(&batch).unwrap();
                let (want, ours) = (got.losses[0], loss_of(&loss, got.logits, Truth::Class(class)));
                assert!((want - ours).abs() < 1e-5 * (1.0 + want.abs()), "{loss:?} {want} {ours}");
            }
        }
    }
}
