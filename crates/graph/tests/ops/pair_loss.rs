//! Elementwise losses.

use crate::common::{Check, Random};
use crate::loss::mean;
use crate::pytorch::Case;
use crate::{config, dims, narrowed, shape_of};
use proptest::prelude::*;
use tidemill_graph::{Binary, PairLoss, Reduction, TensorId, Unary};

/// One value a sample, then the mean with sample and class weights.
pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let loss = match op {
        "binary_crossentropy" => {
            PairLoss::BinaryCrossEntropy { label_smoothing: case.number("label_smoothing") }
        }
        "binary_focal_crossentropy" => PairLoss::Focal {
            gamma: case.number("gamma"),
            alpha: case.attributes["alpha"].as_f64().map_or(-1.0, |alpha| alpha as f32),
        },
        "hinge" | "squared_hinge" => PairLoss::Hinge,
        "mean_squared_error" => PairLoss::SquaredError,
        "mean_absolute_error" => PairLoss::AbsoluteError,
        "huber" => PairLoss::Huber { delta: case.number("delta") },
        _ => return None,
    };
    let (x, t) = (case.x[0], case.x[1]);
    let mut losses = case.apply(Binary::Loss(loss), &[x, t]);
    if op == "squared_hinge" {
        losses = case.apply(Unary::Square, &[losses]);
    }
    let axes: Vec<_> = (1..case.graph.shape(losses).len()).collect();
    let losses = case.reduce(losses, Reduction::Mean, axes);
    Some(mean(case, losses))
}

#[test]
fn shapes_must_agree() {
    let loss = Binary::Loss(PairLoss::SquaredError);
    let error = shape_of(loss, &[&[8, 2], &[8, 3]]).unwrap_err();
    assert!(error.contains("predictions and the targets"), "{error}");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn pair_losses(seed: u64, shape in dims(1..=3), which in 0..LOSSES.len(), soft: bool) {
        let loss = LOSSES[which];
        let mut check = Check::new(seed);
        let x_shape = narrowed(&shape, &mut check.random);
        let x = check.variable(&x_shape, Random::odd);
        let classes = matches!(
            loss, PairLoss::BinaryCrossEntropy { .. } | PairLoss::Focal { .. } | PairLoss::Hinge
        );
        let targets: fn(&mut Random, usize) -> Vec<f64> = match (classes, soft) {
            (false, _) => Random::even,
            (true, false) => |random, n| (0..n).map(|_| random.below(2) as f64).collect(),
            (true, true) if loss == PairLoss::Hinge => {
                |random, n| (0..n).map(|_| random.below(2) as f64 * 2.0 - 1.0).collect()
            }
            (true, true) => |random, n| (0..n).map(|_| random.uniform(0.0, 1.0)).collect(),
        };
        let t = check.constant(&shape, targets);
        let y = check.apply(Binary::Loss(loss), &[x, t]);
        check.run(y);
    }
}

const LOSSES: [PairLoss; 9] = [
    PairLoss::SquaredError,
    PairLoss::AbsoluteError,
    PairLoss::Huber { delta: 0.5 },
    PairLoss::BinaryCrossEntropy { label_smoothing: 0.0 },
    PairLoss::BinaryCrossEntropy { label_smoothing: 0.1 },
    PairLoss::Focal { gamma: 2.0, alpha: 0.25 },
    PairLoss::Focal { gamma: 0.0, alpha: -1.0 },
    PairLoss::Focal { gamma: 0.5, alpha: -1.0 },
    PairLoss::Hinge,
];
