//! Losses over rows, and their mean.

use crate::common::{Check, Random};
use crate::pytorch::Case;
use crate::{config, dims, typed_shape_of};
use proptest::prelude::*;
use tidemill_graph::reference::{Values, evaluate};
use tidemill_graph::{DType, Graph, Loss, TensorId};

/// One value a sample, then the mean with sample and class weights.
pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let sparse = match op {
        "sparse_categorical_crossentropy" => true,
        "categorical_crossentropy" => false,
        _ => return None,
    };
    let label_smoothing = case.number("label_smoothing");
    let loss = if sparse {
        Loss::SparseCrossEntropy { label_smoothing }
    } else {
        Loss::DenseCrossEntropy { label_smoothing }
    };
    let x = case.x[..2].to_vec();
    let losses = case.apply(loss, &x);
    Some(mean(case, losses))
}

/// The mean of losses with the case's weights.
pub fn mean(case: &mut Case<'_>, losses: TensorId) -> TensorId {
    let shape = case.graph.shape(losses).to_vec();
    let weights = case.graph.input("weights", &shape, DType::F32);
    case.weights = Some(weights);
    case.apply(Loss::WeightedMean, &[losses, weights])
}

#[test]
fn loss_errors_name_the_other_loss() {
    let sparse = Loss::SparseCrossEntropy { label_smoothing: 0.0 };
    let dense = Loss::DenseCrossEntropy { label_smoothing: 0.0 };
    let logits: (&[usize], _) = (&[32, 10], DType::F32);
    assert_eq!(typed_shape_of(sparse, &[logits, (&[32], DType::I32)]).unwrap(), [32]);
    let error = typed_shape_of(sparse, &[logits, (&[32, 10], DType::F32)]).unwrap_err();
    assert!(error.contains("expected labels of type i32, found f32"), "{error}");
    let error = typed_shape_of(sparse, &[logits, (&[32, 1], DType::I32)]).unwrap_err();
    assert!(error.contains("reshape the labels to [32]"), "{error}");
    let image: (&[usize], _) = (&[32, 28, 28, 10], DType::F32);
    let error = typed_shape_of(sparse, &[image, (&[32], DType::I32)]).unwrap_err();
    assert!(error.contains("flatten"), "{error}");
    let error = typed_shape_of(dense, &[logits, (&[32], DType::I32)]).unwrap_err();
    assert!(error.contains("sparse_categorical_crossentropy"), "{error}");
}

#[test]
fn bad_values_are_errors() {
    let mut graph = Graph::new();
    graph.enter("loss");
    let logits = graph.input("logits", &[2, 3], DType::F32);
    let labels = graph.input("labels", &[2], DType::I32);
    let op = Loss::SparseCrossEntropy { label_smoothing: 0.0 };
    graph.apply(op, &[logits, labels]).unwrap();

    let error = |feeds: Values<f32>| evaluate(&graph, feeds).unwrap_err().to_string();
    let feeds = Values::new(&graph).with(logits, vec![0.0; 6]);
    assert!(error(feeds.clone()).contains("loss.labels of shape [2] has no value"));
    let outside = error(feeds.clone().with_ints(labels, vec![0, 3]));
    assert!(outside.contains("label 3 of row 1 is outside 0 to 2"), "{outside}");
    assert!(error(feeds.clone().with_ints(labels, vec![0, -1])).contains("label -1"));
    assert!(error(feeds.with_ints(labels, vec![0])).contains("has 2 elements, found 1"));
}

#[test]
fn weights_that_sum_to_zero_give_zero() {
    let mut graph = Graph::new();
    let loss = graph.input("loss", &[2], DType::F32);
    let weight = graph.input("weight", &[2], DType::F32);
    let mean = graph.apply(Loss::WeightedMean, &[loss, weight]).unwrap();
    let slope = graph.apply(Loss::WeightedMeanGrad, &[weight, mean]).unwrap();
    let feeds = Values::<f32>::new(&graph).with(loss, vec![1.0, 2.0]).with(weight, vec![0.0; 2]);
    let values = evaluate(&graph, feeds).unwrap();
    assert_eq!(values.get(mean), Some(&[0.0][..]));
    assert_eq!(values.get(slope), Some(&[0.0, 0.0][..]));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn cross_entropies(
        seed: u64, leading in dims(0..=2), c in 1..6usize, sparse: bool, smooth: bool,
    ) {
        let label_smoothing = if smooth { 0.1 } else { 0.0 };
        let mut check = Check::new(seed);
        let logits_shape = [leading.clone(), vec![c]].concat();
        let logits = check.variable(&logits_shape, Random::odd);
        let y = if sparse {
            let labels = check.ints(&leading, c);
            check.apply(Loss::SparseCrossEntropy { label_smoothing }, &[logits, labels])
        } else {
            // Not normalised: the gradient must not assume that targets sum to 1.
            let targets = check.constant(&logits_shape, Random::positive);
            check.apply(Loss::DenseCrossEntropy { label_smoothing }, &[logits, targets])
        };
        check.run(y);
    }

    #[test]
    fn weighted_mean(seed: u64, b in 1..6usize, zeros: bool) {
        let mut check = Check::new(seed);
        let loss = check.variable(&[b], Random::odd);
        let mut weights = check.random.positive(b);
        if zeros {
            weights[0] = 0.0;
        }
        let weights = check.given(&[b], weights);
        let y = check.apply(Loss::WeightedMean, &[loss, weights]);
        check.run(y);
    }
}
