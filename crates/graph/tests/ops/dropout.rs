//! Dropout.

use crate::common::{Check, Random};
use crate::{config, dims};
use proptest::prelude::*;
use tidemill_graph::random::DropoutMask;
use tidemill_graph::reference::{Values, evaluate};
use tidemill_graph::{DType, Dropout, Graph, Layout};

#[test]
fn dropout_is_the_mask_and_integers_move() {
    let mut graph = Graph::new();
    let x = graph.input("x", &[3, 5], DType::F32);
    let key = graph.input("key", &[4], DType::I32);
    let y = graph.apply(Dropout { rate: 0.4, stream: 2 }, &[x, key]).unwrap();
    let square = graph.apply(Layout::Reshape(vec![2, 2]), &[key]).unwrap();
    let turned = graph.apply(Layout::Transpose(vec![1, 0]), &[square]).unwrap();
    let feeds = Values::<f32>::new(&graph).with(x, vec![2.0; 15]).with_ints(key, vec![7, 8, 9, 0]);
    let values = evaluate(&graph, feeds).unwrap();
    let mask = DropoutMask::new(0.4, 2, [7, 8, 9, 0]);
    let want: Vec<_> = (0..15).map(|index| 2.0 * mask.factor(index)).collect();
    assert_eq!(values.get(y), Some(&want[..]));
    assert_eq!(values.ints(turned), Some(&[7, 9, 8, 0][..]));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn dropout(seed: u64, shape in dims(1..=3), which in 0..3usize, stream: u32) {
        let mut check = Check::new(seed);
        let x = check.variable(&shape, Random::odd);
        let key = check.ints(&[4], 1 << 30);
        let y = check.apply(Dropout { rate: [0.0, 0.25, 0.5][which], stream }, &[x, key]);
        check.run(y);
    }
}
