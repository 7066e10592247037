//! Every op's gradient in f64 against central differences, over random shapes.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Check, Random};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidemill_graph::{
    Binary, Conv2d, Graph, Op, PairLoss, Pool2d, Reduction, TensorId, Unary, gradients,
};

/// The same cases in each run: a failure is not a matter of luck.
fn config() -> ProptestConfig {
    // About a second in release; an unoptimised build is thirty times slower.
    let mut config = ProptestConfig::with_cases(if cfg!(debug_assertions) { 32 } else { 256 });
    config.rng_seed = RngSeed::Fixed(20_260_811);
    config.failure_persistence = None;
    config
}

fn dims(rank: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..=4usize, rank)
}

/// A shape with some dims set to 1 or dropped from the front: it broadcasts to the given one.
fn narrowed(shape: &[usize], random: &mut Random) -> Vec<usize> {
    let narrow = |&dim: &usize| if random.below(3) == 0 { 1 } else { dim };
    let mut shape: Vec<_> = shape.iter().map(narrow).collect();
    shape.drain(..random.below(shape.len() + 1));
    shape
}

/// A random set of axes, in order.
fn some_axes(rank: usize, random: &mut Random) -> Vec<usize> {
    (0..rank).filter(|_| random.below(2) == 0).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn matmul(
        seed: u64, m in 1..5usize, k in 1..5usize, n in 1..5usize, batch in dims(1..=2),
        a_batched: bool, b_batched: bool, transpose_a: bool, transpose_b: bool,
    ) {
        let mut check = Check::new(seed);
        let matrix = |batched: bool, transposed: bool, rows: usize, columns: usize| {
            let matrix = if transposed { [columns, rows] } else { [rows, columns] };
            [if batched { &batch[..] } else { &[] }, &matrix].concat()
        };
        let a = check.variable(&matrix(a_batched, transpose_a, m, k), Random::odd);
        let b = check.variable(&matrix(b_batched, transpose_b, k, n), Random::odd);
        let y = check.apply(Op::MatMul { transpose_a, transpose_b }, &[a, b]);
        check.run(y);
    }

    #[test]
    fn conv2d(
        seed: u64, batch in 1..3usize, image in prop::array::uniform2(1..7usize),
        kernel in prop::array::uniform2(1..4usize), stride in prop::array::uniform2(1..4usize),
        dilation in prop::array::uniform2(1..3usize), padding in prop::array::uniform4(0..3usize),
        groups in 1..4usize, group_channels in 1..3usize, group_filters in 1..3usize,
    ) {
        let conv = Conv2d { stride, dilation, padding, groups };
        let mut check = Check::new(seed);
        let x = [batch, image[0], image[1], groups * group_channels];
        let weight = [kernel[0], kernel[1], group_channels, groups * group_filters];
        let x = check.variable(&x, Random::odd);
        let weight = check.variable(&weight, Random::odd);
        let y = check.graph.apply(Op::Conv2d(conv), &[x, weight]);
        prop_assume!(y.is_ok(), "the kernel does not fit");
        check.run(y.unwrap());
    }

    #[test]
    fn pools(
        seed: u64, batch in 1..3usize, image in prop::array::uniform2(1..7usize), channels in 1..3usize,
        size in prop::array::uniform2(1..4usize), stride in prop::array::uniform2(1..4usize),
        padding in prop::array::uniform4(0..3usize), count_padding: bool, maximum: bool,
    ) {
        let most = [size[0], size[0], size[1], size[1]];
        let padding = std::array::from_fn(|side| padding[side].min(most[side] - 1));
        let pool = Pool2d { size, stride, padding, count_padding };
        let mut check = Check::new(seed);
        let x = check.variable(&[batch, image[0], image[1], channels], Random::distinct);
        let op = if maximum { Op::MaxPool2d(pool) } else { Op::AvgPool2d(pool) };
        let y = check.graph.apply(op, &[x]);
        prop_assume!(y.is_ok(), "the window does not fit");
        check.run(y.unwrap());
    }

    #[test]
    fn batch_norm(seed: u64, leading in dims(1..=3), c in 1..5usize, training: bool) {
        prop_assume!(leading.iter().product::<usize>() > 1, "one value has no variance");
        let epsilon = 1e-3;
        let mut check = Check::new(seed);
        let x = check.variable(&[leading, vec![c]].concat(), Random::odd);
        let gamma = check.variable(&[c], Random::odd);
        let beta = check.variable(&[c], Random::odd);
        let (op, moments) = if training {
            (Op::BatchNormTrain { epsilon }, check.apply(Op::ChannelMoments, &[x]))
        } else {
            (Op::BatchNormEval { epsilon }, check.constant(&[2, c], Random::positive))
        };
        let y = check.apply(op, &[x, moments, gamma, beta]);
        check.run(y);
    }

    #[test]
    fn row_norms(seed: u64, leading in dims(0..=3), c in 2..6usize, layer: bool) {
        let epsilon = 1e-3;
        let mut check = Check::new(seed);
        let x = check.variable(&[leading, vec![c]].concat(), Random::odd);
        let gamma = check.variable(&[c], Random::odd);
        let y = if layer {
            let beta = check.variable(&[c], Random::odd);
            check.apply(Op::LayerNorm { epsilon }, &[x, gamma, beta])
        } else {
            check.apply(Op::RmsNorm { epsilon }, &[x, gamma])
        };
        check.run(y);
    }

    #[test]
    fn unary(seed: u64, shape in dims(0..=3), which in 0..UNARY.len()) {
        let (op, positive) = UNARY[which];
        let mut check = Check::new(seed);
        let x = check.variable(&shape, if positive { Random::positive } else { Random::odd });
        let y = check.apply(Op::Unary(op), &[x]);
        check.run(y);
    }

    #[test]
    fn binary(seed: u64, shape in dims(0..=4), which in 0..6usize) {
        let op = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min][which];
        let mut check = Check::new(seed);
        let a_shape = narrowed(&shape, &mut check.random);
        let b_shape = narrowed(&shape, &mut check.random);
        let a = check.variable(&a_shape, Random::odd);
        let divisor = op == Binary::Div;
        let b = check.variable(&b_shape, if divisor { Random::positive } else { Random::even });
        let y = check.apply(Op::Binary(op), &[a, b]);
        check.run(y);
    }

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
        let y = check.apply(Op::Binary(Binary::Loss(loss)), &[x, t]);
        check.run(y);
    }

    #[test]
    fn softmaxes(seed: u64, leading in dims(0..=2), c in 1..6usize, log: bool) {
        let mut check = Check::new(seed);
        let x = check.variable(&[leading, vec![c]].concat(), Random::odd);
        let y = check.apply(if log { Op::LogSoftmax } else { Op::Softmax }, &[x]);
        check.run(y);
    }

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
            check.apply(Op::SparseCrossEntropy { label_smoothing }, &[logits, labels])
        } else {
            // Not normalised: the gradient must not assume that targets sum to 1.
            let targets = check.constant(&logits_shape, Random::positive);
            check.apply(Op::DenseCrossEntropy { label_smoothing }, &[logits, targets])
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
        let y = check.apply(Op::WeightedMean, &[loss, weights]);
        check.run(y);
    }

    #[test]
    fn reductions(seed: u64, shape in dims(0..=4), which in 0..3usize, keep_dims: bool) {
        let reduction = [Reduction::Sum, Reduction::Mean, Reduction::Max][which];
        let mut check = Check::new(seed);
        let x = check.variable(&shape, Random::distinct);
        let axes = some_axes(shape.len(), &mut check.random);
        let y = check.apply(Op::Reduce { reduction, axes, keep_dims }, &[x]);
        check.run(y);
    }

    #[test]
    fn broadcast_to(seed: u64, shape in dims(0..=4)) {
        let mut check = Check::new(seed);
        let from = narrowed(&shape, &mut check.random);
        let x = check.variable(&from, Random::odd);
        let y = check.apply(Op::BroadcastTo(shape), &[x]);
        check.run(y);
    }

    #[test]
    fn reshape_and_transpose(seed: u64, shape in dims(0..=4)) {
        let mut check = Check::new(seed);
        let x = check.variable(&shape, Random::odd);
        let mut permutation: Vec<_> = (0..shape.len()).collect();
        for i in (1..shape.len()).rev() {
            permutation.swap(i, check.random.below(i + 1));
        }
        let y = check.apply(Op::Transpose(permutation), &[x]);
        let y = check.apply(Op::Reshape(vec![shape.iter().product(), 1]), &[y]);
        check.run(y);
    }

    #[test]
    fn concat(seed: u64, shape in dims(1..=3), axis in 0..3usize, parts in 1..4usize) {
        let axis = axis % shape.len();
        let mut check = Check::new(seed);
        let mut inputs = vec![];
        for _ in 0..parts {
            let mut part = shape.clone();
            part[axis] = 1 + check.random.below(3);
            inputs.push(check.variable(&part, Random::odd));
        }
        // The same input twice: both parts of the gradient count.
        inputs.push(inputs[0]);
        let y = check.apply(Op::Concat { axis }, &inputs);
        check.run(y);
    }

    #[test]
    fn slice_and_pad(seed: u64, shape in dims(1..=4)) {
        let mut check = Check::new(seed);
        let x = check.variable(&shape, Random::odd);
        let start: Vec<_> = shape.iter().map(|&dim| check.random.below(dim)).collect();
        let size: Vec<_> = shape
            .iter()
            .zip(&start)
            .map(|(&dim, &start)| 1 + check.random.below(dim - start))
            .collect();
        let y = check.apply(Op::Slice { start, size }, &[x]);
        let before = shape.iter().map(|_| check.random.below(3)).collect();
        let after = shape.iter().map(|_| check.random.below(3)).collect();
        let y = check.apply(Op::Pad { before, after, value: 0.5 }, &[y]);
        check.run(y);
    }

    #[test]
    fn embedding(seed: u64, rows in 1..5usize, width in 1..4usize, ids in dims(0..=2)) {
        let mut check = Check::new(seed);
        let table = check.variable(&[rows, width], Random::odd);
        let ids = check.ints(&ids, rows);
        let y = check.apply(Op::Embedding, &[table, ids]);
        check.run(y);
    }

    /// Ids that are floats, as columns of a table are: no gradient flows to them.
    #[test]
    fn embedding_by_floats(seed: u64, rows in 1..5usize, width in 1..4usize, len in 1..4usize) {
        let mut check = Check::new(seed);
        let table = check.variable(&[rows + 1, width], Random::odd);
        let ids = check.constant(&[len], |random, n| (0..n).map(|_| random.below(2) as f64).collect());
        let y = check.apply(Op::Embedding, &[table, ids]);
        check.run(y);
    }

    /// Bags of tokens, some of them of id 0, which is none.
    #[test]
    fn embedding_bag(seed: u64, rows in 1..5usize, width in 1..4usize, bags in 1..4usize, tokens in 1..5usize) {
        let mut check = Check::new(seed);
        let table = check.variable(&[rows, width], Random::odd);
        let ids = check.ints(&[bags, tokens], rows);
        let y = check.apply(Op::EmbeddingBag, &[table, ids]);
        check.run(y);
    }

    #[test]
    fn dropout(seed: u64, shape in dims(1..=3), which in 0..3usize, stream: u32) {
        let mut check = Check::new(seed);
        let x = check.variable(&shape, Random::odd);
        let key = check.ints(&[4], 1 << 30);
        let y = check.apply(Op::Dropout { rate: [0.0, 0.25, 0.5][which], stream }, &[x, key]);
        check.run(y);
    }

    /// A residual block with a norm, shared weights and a scale: contributions meet.
    #[test]
    fn composed(seed: u64, batch in 1..4usize, width in 2..5usize) {
        let mut check = Check::new(seed);
        let x = check.variable(&[batch, width], Random::odd);
        let weight = check.variable(&[width, width], Random::odd);
        let gamma = check.variable(&[width], Random::odd);
        let mut h = x;
        for transpose_b in [false, true] {
            let normal = check.apply(Op::RmsNorm { epsilon: 1e-3 }, &[h, gamma]);
            let product = Op::MatMul { transpose_a: false, transpose_b };
            let product = check.apply(product, &[normal, weight]);
            let gate = check.apply(Op::Unary(Unary::Silu), &[product]);
            h = check.apply(Op::Binary(Binary::Add), &[h, gate]);
        }
        let cut = check.apply(Op::StopGradient, &[gamma]);
        let y = check.apply(Op::Binary(Binary::Mul), &[h, gamma]);
        // Differences see through a cut, so it must not matter here.
        let zero = check.apply(Op::Unary(Unary::Affine { scale: 0.0, shift: 0.0 }), &[cut]);
        let y = check.apply(Op::Binary(Binary::Add), &[y, zero]);
        check.run(y);
    }
}

/// Op, and whether its input must be positive (or at least not near 0).
const UNARY: [(Unary, bool); 23] = [
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

/// Ops whose slope is 0 everywhere have no gradient rather than one of zeros.
#[test]
fn flat_ops_have_no_gradient() {
    let sum = |graph: &mut Graph, x: TensorId| {
        let axes = (0..graph.shape(x).len()).collect();
        graph.apply(Op::Reduce { reduction: Reduction::Sum, axes, keep_dims: false }, &[x]).unwrap()
    };
    for op in [Op::Unary(Unary::Sign), Op::Binary(Binary::GreaterEqual), Op::StopGradient] {
        let mut graph = Graph::new();
        let x = graph.parameter("x", &[3]);
        let inputs = if matches!(op, Op::Binary(_)) { vec![x, x] } else { vec![x] };
        let y = graph.apply(op.clone(), &inputs).unwrap();
        let loss = sum(&mut graph, y);
        assert_eq!(gradients(&mut graph, loss, &[x]).unwrap(), [None], "{op:?}");
    }
}
