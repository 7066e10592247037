//! Embeddings.

use crate::common::{Check, Random};
use crate::pytorch::Case;
use crate::{config, dims};
use proptest::prelude::*;
use tidemill_graph::{Embedding, TensorId};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let x = case.x.clone();
    (op == "embedding").then(|| case.apply(Embedding::Rows, &x))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn embedding(seed: u64, rows in 1..5usize, width in 1..4usize, ids in dims(0..=2)) {
        let mut check = Check::new(seed);
        let table = check.variable(&[rows, width], Random::odd);
        let ids = check.ints(&ids, rows);
        let y = check.apply(Embedding::Rows, &[table, ids]);
        check.run(y);
    }

    /// Ids that are floats, as columns of a table are: no gradient flows to them.
    #[test]
    fn embedding_by_floats(seed: u64, rows in 1..5usize, width in 1..4usize, len in 1..4usize) {
        let mut check = Check::new(seed);
        let table = check.variable(&[rows + 1, width], Random::odd);
        let ids = check.constant(&[len], |random, n| (0..n).map(|_| random.below(2) as f64).collect());
        let y = check.apply(Embedding::Rows, &[table, ids]);
        check.run(y);
    }

    /// Bags of tokens, some of them of id 0, which is none.
    #[test]
    fn embedding_bag(seed: u64, rows in 1..5usize, width in 1..4usize, bags in 1..4usize, tokens in 1..5usize) {
        let mut check = Check::new(seed);
        let table = check.variable(&[rows, width], Random::odd);
        let ids = check.ints(&[bags, tokens], rows);
        let y = check.apply(Embedding::Bag, &[table, ids]);
        check.run(y);
    }
}
