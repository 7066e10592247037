//! Row norms.

use crate::common::{Check, Random};
use crate::pytorch::Case;
use crate::{config, dims};
use proptest::prelude::*;
use tidemill_graph::{Normalization, RowNorm, TensorId};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let kind = match op {
        "layer_norm" => Normalization::Layer,
        "rms_norm" => Normalization::Rms,
        _ => return None,
    };
    let (x, epsilon) = (case.x.clone(), case.number("epsilon"));
    Some(case.apply(RowNorm::Forward { kind, epsilon }, &x))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn row_norms(seed: u64, leading in dims(0..=3), c in 2..6usize, layer: bool) {
        let epsilon = 1e-3;
        let mut check = Check::new(seed);
        let x = check.variable(&[leading, vec![c]].concat(), Random::odd);
        let gamma = check.variable(&[c], Random::odd);
        let y = if layer {
            let beta = check.variable(&[c], Random::odd);
            check.apply(RowNorm::Forward { kind: Normalization::Layer, epsilon }, &[x, gamma, beta])
        } else {
            check.apply(RowNorm::Forward { kind: Normalization::Rms, epsilon }, &[x, gamma])
        };
        check.run(y);
    }
}
