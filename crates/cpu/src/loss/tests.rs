use super::*;
use crate::testing::{Case, Random, close, run_all};
use tidemill_graph::{Binary, Loss};

/// `(loss, softmax * T - t)` in plain loops.
fn reference(x: &[f32], t: &[f64], cols: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut losses, mut grads) = (Vec::new(), Vec::new());
    for (x, t) in x.chunks(cols).zip(t.chunks(cols)) {
        let max = x.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(f64::from(v)));
        let sum: f64 = x.iter().map(|&v| (f64::from(v) - max).exp()).sum();
        let log = |v: f32| f64::from(v) - max - sum.ln();
        losses.push(-x.iter().zip(t).map(|(&v, t)| t * log(v)).sum::<f64>());
        let total: f64 = t.iter().sum();
        grads.extend(x.iter().zip(t).map(|(&v, t)| log(v).exp() * total - t));
    }
    (losses, grads)
}

#[test]
fn all_kinds_and_shapes() {
    let mut random = Random(6);
    let shapes = [(1, 2), (32, 10), (33, 16), (5, 17), (1000, 10), (100, 1000), (2, 50_000)];
    for (round, (rows, cols)) in shapes.into_iter().enumerate() {
        for sparse in [true, false] {
            let s = if round % 2 == 0 { 0.0 } else { 0.1f32 };
            let x: Vec<f32> = random.values(rows * cols).iter().map(|v| v * 5.0).collect();
            let labels: Vec<usize> = (0..rows).map(|_| random.below(cols)).collect();
            let mut w: Vec<f32> = random.values(rows).iter().map(|v| v.abs()).collect();
            if rows > 3 {
                w[2] = 0.0;
            }
            let targets: Vec<f32> = if sparse {
                (0..rows * cols)
                    .map(|i| f32::from(u8::from(labels[i / cols] == i % cols)))
                    .collect()
            } else {
                random.values(rows * cols).iter().map(|v| v.abs()).collect()
            };
            let smooth =
                |&t: &f32| (1.0 - f64::from(s)) * f64::from(t) + f64::from(s) / cols as f64;
            let t: Vec<f64> = targets.iter().map(smooth).collect();
            let (losses, grads) = reference(&x, &t, cols);
            let scaled = |g: &dyn Fn(usize) -> f64| -> Vec<f64> {
                grads.iter().enumerate().map(|(i, d)| d * g(i / cols)).collect()
            };
            let total = w.iter().filter(|&&w| w != 0.0).count() as f64;
            let mean = losses.iter().zip(&w).map(|(l, &w)| l * f64::from(w)).sum::<f64>() / total;
            let target = if sparse {
                labels.iter().map(|&l| f32::from_bits(l as u32)).collect()
            } else {
                targets
            };
            for isa in Isa::available() {
                let zeros = vec![0.0; rows * cols];
                let mut args = vec![x.clone(), target.clone(), vec![0.0; rows]];
                run_all(&[&CrossEntropy::new(isa, rows, cols, sparse, s)], &mut args);
                close(&args[2], &losses, 3e-6, "loss");
                let mut args = vec![x.clone(), target.clone(), w.clone(), zeros.clone()];
                run_all(&[&CrossEntropyGrad::new(isa, rows, cols, sparse, s)], &mut args);
                close(&args[3], &scaled(&|r| f64::from(w[r])), 3e-6, "gradient");
                let call = CrossEntropyFused::call(isa, rows, cols, sparse, s);
                let phases: Vec<&dyn Kernel> = call.phases.iter().map(|p| &**p).collect();
                let mut args = vec![x.clone(), target.clone(), w.clone(), vec![0.0; rows], zeros];
                args.extend([vec![0.0], vec![0.0; call.workspace_len]]);
                run_all(&phases, &mut args);
                close(&args[3], &losses, 3e-6, "fused loss");
                close(&args[4], &scaled(&|r| f64::from(w[r]) / total), 1e-5, "fused gradient");
                close(&args[5], &[mean], 3e-6, "fused mean");
            }
        }
    }
}

#[test]
fn bad_labels_and_weights_are_safe() {
    for isa in Isa::available() {
        for label in [-1, 3, i32::MIN, i32::MAX] {
            let labels = vec![f32::from_bits(label as u32), f32::from_bits(1)];
            for w in [1.0, 0.0] {
                let call = CrossEntropyFused::call(isa, 2, 3, true, 0.0);
                let mut args = vec![vec![0.5; 6], labels.clone(), vec![w, 1.0]];
                args.extend([vec![0.0; 2], vec![7.0; 6], vec![0.0], vec![]]);
                run_all(&[&*call.phases[0]], &mut args);
                assert!(args[3][0].is_nan() && args[3][1].is_finite());
                assert_eq!(args[4][0].is_nan(), w == 1.0);
                assert!(args[4][3..].iter().all(|v| v.is_finite()));
                assert_eq!(args[5][0].is_nan(), w == 1.0, "a row without weight does not count");
            }
        }
        let mut args = vec![vec![1.0, 2.0], vec![0.0, 0.0], vec![5.0]];
        run_all(&[&WeightedMean::new(isa, 2)], &mut args);
        assert_eq!(args[2], [0.0], "no weight at all");
        let mut args = vec![vec![1.0, 3.0], vec![2.0], vec![0.0; 2]];
        run_all(&[&WeightedMeanGrad::new(isa, 2)], &mut args);
        assert_eq!(args[2], [1.0, 3.0]);
    }
}

/// A class for each position: cross-entropy over `[batch, time, classes]`, the weighted mean over
/// each sample's positions, 0 for a sample whose weights are all 0, then over the samples.
#[test]
fn position_weights() {
    let (batch, time, classes) = (5, 6, 11);
    let mut case = Case::new();
    let logits = case.floats(&[batch, time, classes]);
    let labels = (0..batch * time).map(|_| case.below(classes) as i32).collect();
    let labels = case.ints(&[batch, time], labels);
    let weights = (0..batch * time).map(|i| if i / time == 2 { 0.0 } else { (i % 3) as f32 });
    let weights = case.given(&[batch, time], weights.collect());
    let samples = case.given(&[batch], vec![1.0, 0.5, 1.0, 2.0, 0.0]);

    let losses = case.apply(Loss::SparseCrossEntropy { label_smoothing: 0.1 }, &[logits, labels]);
    assert_eq!(case.graph.shape(losses), [batch, time]);
    let weighted = case.apply(Binary::Mul, &[losses, weights]);
    let sum = case.sum(weighted, vec![1]);
    let total = case.sum(weights, vec![1]);
    // A sample without weights has a sum of 0, over any number.
    let least = case.graph.constant(f32::MIN_POSITIVE);
    let total = case.apply(Binary::Max, &[total, least]);
    let per_sample = case.apply(Binary::Div, &[sum, total]);
    let mean = case.apply(Loss::WeightedMean, &[per_sample, samples]);
    case.check("weighted positions", mean, &[logits]);
}
