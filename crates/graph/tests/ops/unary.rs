//! Functions of one value.

use crate::common::{Check, Random};
use crate::pytorch::Case;
use crate::{config, dims};
use proptest::prelude::*;
use tidemill_graph::{TensorId, Unary, reference};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let x = case.x.clone();
    named(case, op).map(|unary| case.apply(unary, &x))
}

fn named(case: &Case<'_>, op: &str) -> Option<Unary> {
    Some(match op {
        "relu" => Unary::Relu,
        "silu" => Unary::Silu,
        "sigmoid" => Unary::Sigmoid,
        "tanh" => Unary::Tanh,
        "softplus" => Unary::Softplus,
        "exp" => Unary::Exp,
        "log" => Unary::Log,
        "sqrt" => Unary::Sqrt,
        "rsqrt" => Unary::Pow { exponent: -0.5 },
        "abs" => Unary::Abs,
        "square" => Unary::Square,
        "negate" => Unary::Neg,
        "leaky_relu" => Unary::LeakyRelu { slope: case.number("negative_slope") },
        "elu" => Unary::Elu { alpha: case.number("alpha") },
        "gelu" if case.flag("approximate") => Unary::GeluTanh,
        "gelu" => Unary::GeluErf,
        "clip" => Unary::Clip { low: case.number("min"), high: case.number("max") },
        "pow" => Unary::Pow { exponent: case.number("exponent") },
        _ => return None,
    })
}

#[test]
fn not_a_number_stays() {
    for op in [Unary::Relu, Unary::LeakyRelu { slope: 0.1 }, Unary::Clip { low: 0.0, high: 6.0 }] {
        assert!(reference::unary(op, f32::NAN).is_nan(), "{op:?}");
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn unary(seed: u64, shape in dims(0..=3), which in 0..UNARY.len()) {
        let (op, positive) = UNARY[which];
        let mut check = Check::new(seed);
        let x = check.variable(&shape, if positive { Random::positive } else { Random::odd });
        let y = check.apply(op, &[x]);
        check.run(y);
    }
}

/// Op, and whether its input must be positive (or at least not near 0).
const UNARY: [(Unary, bool); 24] = [
    (Unary::Neg, false),
    (Unary::Abs, false),
    (Unary::Square, false),
    (Unary::Reciprocal, true),
    (Unary::Affine { scale: 1.0, shift: 2.0 }, false),
    (Unary::Affine { scale: -1.5, shift: 0.5 }, false),
    (Unary::Relu, false),
    (Unary::LeakyRelu { slope: 0.2 }, false),
    (Unary::LeakyRelu { slope: 0.0 }, false),
    (Unary::Elu { alpha: 0.7 }, false),
    (Unary::GeluErf, false),
    (Unary::GeluTanh, false),
    (Unary::Silu, false),
    (Unary::HardSwish, false),
    (Unary::Sigmoid, false),
    (Unary::Tanh, false),
    (Unary::Softplus, false),
    (Unary::Exp, false),
    (Unary::Log, true),
    (Unary::Sqrt, true),
    (Unary::Pow { exponent: -0.5 }, true),
    (Unary::Pow { exponent: 2.5 }, true),
    (Unary::Pow { exponent: 3.0 }, false),
    (Unary::Clip { low: -0.8, high: 1.1 }, false),
];
