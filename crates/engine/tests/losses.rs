//! The losses of one sample against those of the compiled step.
#![allow(clippy::unwrap_used)]

use tidemill_engine::data::Batch;
use tidemill_engine::engine::{Engine, EngineSpec};
use tidemill_engine::nn::LossSpec;
use tidemill_engine::nn::{Activation, Model, OptimizerSpec};
use tidemill_engine::prequential::Truth;

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
        (LossSpec::Poisson {}, 1),
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
            let (want, ours) = (got.losses[0], loss.of_sample(got.logits, Truth::Class(class)));
            assert!((want - ours).abs() < 1e-5 * (1.0 + want.abs()), "{loss:?} {want} {ours}");
        }
    }
}
