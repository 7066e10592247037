//! The ops by family: shapes, gradients in f64 against central differences over random shapes, and
//! outputs and gradients against PyTorch's.
#![allow(clippy::unwrap_used)]

mod attention;
mod batch_norm;
mod binary;
#[path = "../common/mod.rs"]
mod common;
mod conv;
mod copying;
mod ctc;
mod dropout;
mod embedding;
mod layout;
mod loss;
mod matmul;
mod pair_loss;
mod pool;
mod pytorch;
mod recurrent;
mod reduce;
mod ring;
mod rotary;
mod row_norm;
mod sequence;
mod softmax;
mod transducer;
mod unary;
mod windows;

use common::{Check, Random};
use matmul::DENSE;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use pytorch::Build;
use tidemill_graph::{
    Binary, Conv, Conv2d, DType, Dropout, Embedding, Graph, Layout, MatMul, Normalization, Op,
    Reduce, Reduction, RowNorm, TensorId, Unary, gradients,
};

/// Files of cases from PyTorch, `NAME.json` and `NAME.safetensors` in `fixtures`.
const FIXTURES: &[&str] = &["ops", "sequence", "positions"];

/// How each family builds a fixture's case, if it is one of its ops.
const BUILDERS: &[Build] = &[
    matmul::build,
    conv::build,
    pool::build,
    batch_norm::build,
    row_norm::build,
    embedding::build,
    unary::build,
    binary::build,
    pair_loss::build,
    softmax::build,
    loss::build,
    reduce::build,
    sequence::build,
    attention::build,
    rotary::build,
    copying::build,
    ctc::build,
    transducer::build,
    recurrent::build,
    layout::build,
];

/// The same cases in each run: a failure is not a matter of luck.
pub fn config() -> ProptestConfig {
    // About a second in release; an unoptimised build is thirty times slower.
    let mut config = ProptestConfig::with_cases(if cfg!(debug_assertions) { 32 } else { 256 });
    config.rng_seed = RngSeed::Fixed(20_260_811);
    config.failure_persistence = None;
    config
}

/// Random dims of a rank.
pub fn dims(rank: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..=4usize, rank)
}

/// A shape with some dims set to 1 or dropped from the front: it broadcasts to the given one.
pub fn narrowed(shape: &[usize], random: &mut Random) -> Vec<usize> {
    let narrow = |&dim: &usize| if random.below(3) == 0 { 1 } else { dim };
    let mut shape: Vec<_> = shape.iter().map(narrow).collect();
    shape.drain(..random.below(shape.len() + 1));
    shape
}

/// The shape that a rule gives, or its error.
pub fn shape_of(op: impl Into<Op>, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
    let typed: Vec<_> = inputs.iter().map(|&s| (s, DType::F32)).collect();
    typed_shape_of(op, &typed)
}

/// The same, of inputs with types.
pub fn typed_shape_of(
    op: impl Into<Op>,
    inputs: &[(&[usize], DType)],
) -> Result<Vec<usize>, String> {
    let mut graph = Graph::new();
    graph.enter("layers.1");
    let ids: Vec<_> = inputs.iter().map(|(shape, dtype)| graph.input("x", shape, *dtype)).collect();
    graph.apply(op, &ids).map(|id| graph.shape(id).to_vec()).map_err(|error| error.to_string())
}

#[test]
fn absurd_sizes_are_errors() {
    const HUGE: usize = usize::MAX;
    let x: &[usize] = &[2, 3];
    let pad = Layout::Pad { before: vec![HUGE, HUGE], after: vec![HUGE, 1], value: 0.0 };
    let slice = Layout::Slice { start: vec![HUGE, HUGE], size: vec![HUGE, 2] };
    for op in [
        Op::from(Layout::BroadcastTo(vec![HUGE, 2, 3])),
        Layout::Reshape(vec![HUGE, HUGE]).into(),
        Embedding::RowsGrad { rows: HUGE }.into(),
        pad.into(),
        slice.into(),
        Unary::Clip { low: 1.0, high: f32::NAN }.into(),
        Dropout { rate: 1.0, stream: 0 }.into(),
    ] {
        assert!(shape_of(op.clone(), &[x]).is_err(), "{op:?}");
        assert!(shape_of(op.clone(), &[&[HUGE, HUGE]]).is_err(), "{op:?}");
        assert!(shape_of(op, &[]).is_err());
    }
    let huge = Conv2d { stride: [HUGE; 2], dilation: [HUGE; 2], padding: [HUGE; 4], groups: HUGE };
    assert!(shape_of(Conv::Forward(huge), &[&[1, 2, 2, 1], &[3, 3, 1, 1]]).is_err());
    let zero = Conv2d { stride: [0; 2], dilation: [1; 2], padding: [0; 4], groups: 0 };
    assert!(shape_of(Conv::Forward(zero), &[&[1, 2, 2, 1], &[1, 1, 1, 1]]).is_err());
    assert!(shape_of(DENSE, &[&[HUGE, 3], &[3, HUGE]]).unwrap_err().contains("more elements"));
    assert!(shape_of(DENSE, &[&[0, 3], &[3, 2]]).unwrap_err().contains("no elements"));
}

proptest! {
    #![proptest_config(config())]

    /// A residual block with a norm, shared weights and a scale: contributions meet.
    #[test]
    fn composed(seed: u64, batch in 1..4usize, width in 2..5usize) {
        let mut check = Check::new(seed);
        let x = check.variable(&[batch, width], Random::odd);
        let weight = check.variable(&[width, width], Random::odd);
        let gamma = check.variable(&[width], Random::odd);
        let mut h = x;
        for transpose_b in [false, true] {
            let normal = check.apply(RowNorm::Forward { kind: Normalization::Rms, epsilon: 1e-3 }, &[h, gamma]);
            let product = MatMul { transpose_a: false, transpose_b, ragged: false };
            let product = check.apply(product, &[normal, weight]);
            let gate = check.apply(Unary::Silu, &[product]);
            h = check.apply(Binary::Add, &[h, gate]);
        }
        let cut = check.apply(Layout::StopGradient, &[gamma]);
        let y = check.apply(Binary::Mul, &[h, gamma]);
        // Differences see through a cut, so it must not matter here.
        let zero = check.apply(Unary::Affine { scale: 0.0, shift: 0.0 }, &[cut]);
        let y = check.apply(Binary::Add, &[y, zero]);
        check.run(y);
    }
}

/// Ops whose slope is 0 everywhere have no gradient rather than one of zeros.
#[test]
fn flat_ops_have_no_gradient() {
    let sum = |graph: &mut Graph, x: TensorId| {
        let axes = (0..graph.shape(x).len()).collect();
        graph
            .apply(Reduce::Axes { reduction: Reduction::Sum, axes, keep_dims: false }, &[x])
            .unwrap()
    };
    for op in [Unary::Sign.into(), Binary::GreaterEqual.into(), Op::from(Layout::StopGradient)] {
        let mut graph = Graph::new();
        let x = graph.parameter("x", &[3]);
        let inputs = if matches!(op, Op::Binary(_)) { vec![x, x] } else { vec![x] };
        let y = graph.apply(op.clone(), &inputs).unwrap();
        let loss = sum(&mut graph, y);
        assert_eq!(gradients(&mut graph, loss, &[x]).unwrap(), [None], "{op:?}");
    }
}
