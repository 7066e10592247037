//! Batch norm.

use crate::common::{Check, Random};
use crate::pytorch::Case;
use crate::{config, dims};
use proptest::prelude::*;
use tidemill_graph::{BatchNorm, Layout, TensorId};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    if op != "batch_norm" {
        return None;
    }
    let epsilon = case.number("epsilon");
    let [x, gamma, beta, mean, variance] = case.x.clone().try_into().unwrap();
    let row = vec![1, case.graph.shape(mean)[0]];
    let mean = case.apply(Layout::Reshape(row.clone()), &[mean]);
    let variance = case.apply(Layout::Reshape(row.clone()), &[variance]);
    let running = case.apply(Layout::Concat { axis: 0 }, &[mean, variance]);
    if !case.flag("training") {
        return Some(case.apply(BatchNorm::Eval { epsilon }, &[x, running, gamma, beta]));
    }
    let moments = case.apply(BatchNorm::Moments, &[x]);
    let count = case.graph.tensor(x).len() / row[1];
    let momentum = (1.0 - case.attributes["momentum"].as_f64().unwrap()) as f32;
    for (count, names) in [
        (0, ["new_running_mean", "new_running_variance"]),
        (count, ["new_running_mean", "new_running_variance_unbiased"]),
    ] {
        let new = case.apply(BatchNorm::UpdateMoments { momentum, count }, &[running, moments]);
        halves(case, new, names);
    }
    halves(case, moments, ["batch_mean", "batch_variance"]);
    Some(case.apply(BatchNorm::Train { epsilon }, &[x, moments, gamma, beta]))
}

fn halves(case: &mut Case<'_>, moments: TensorId, names: [&'static str; 2]) {
    let channels = case.graph.shape(moments)[1];
    for (row, name) in names.into_iter().enumerate() {
        let op = Layout::Slice { start: vec![row, 0], size: vec![1, channels] };
        let half = case.apply(op, &[moments]);
        case.extras.push((name, half));
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn batch_norm(seed: u64, leading in dims(1..=3), c in 1..5usize, training: bool) {
        prop_assume!(leading.iter().product::<usize>() > 1, "one value has no variance");
        let epsilon = 1e-3;
        let mut check = Check::new(seed);
        let x = check.variable(&[leading, vec![c]].concat(), Random::odd);
        let gamma = check.variable(&[c], Random::odd);
        let beta = check.variable(&[c], Random::odd);
        let (op, moments) = if training {
            (BatchNorm::Train { epsilon }, check.apply(BatchNorm::Moments, &[x]))
        } else {
            (BatchNorm::Eval { epsilon }, check.constant(&[2, c], Random::positive))
        };
        let y = check.apply(op, &[x, moments, gamma, beta]);
        check.run(y);
    }
}
