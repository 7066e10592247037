//! Attention against the reference, over lengths, heads and forms.

use crate::testing::Case;
use tidemill_graph::{Attention, Heads};

const PLAIN: Heads = Heads { queries: 1, keys: 1, causal: false, dropout: 0.0, stream: 3 };

fn within(heads: Heads, batch: usize, time: usize, dim: usize, lengths: Vec<i32>) {
    let mut case = Case::new();
    let x = case.floats(&[batch, time, (heads.queries + 2 * heads.keys) * dim]);
    let what = format!("{heads:?} {lengths:?} of {time}, dim {dim}");
    let mut inputs = vec![x, case.ints(&[batch], lengths)];
    if heads.dropout > 0.0 {
        inputs.push(case.ints(&[4], vec![7, 8, 9, 0]));
    }
    let y = case.apply(Attention::Within(heads), &inputs);
    case.check(&what, y, &[x]);
}

fn across(heads: Heads, [queries, keys]: [usize; 2], dim: usize, lengths: [Vec<i32>; 2]) {
    let mut case = Case::new();
    let batch = lengths[0].len();
    let q = case.floats(&[batch, queries, heads.queries * dim]);
    let kv = case.floats(&[batch, keys, 2 * heads.keys * dim]);
    let what = format!("{heads:?} {lengths:?} of {queries}, {keys}, dim {dim}");
    let lengths = lengths.map(|lengths| case.ints(&[batch], lengths));
    let mut inputs = vec![q, kv, lengths[0], lengths[1]];
    if heads.dropout > 0.0 {
        inputs.push(case.ints(&[4], vec![7, 8, 9, 0]));
    }
    let y = case.apply(Attention::Across(heads), &inputs);
    case.check(&what, y, &[q, kv]);
}

#[test]
fn within_a_sequence() {
    for causal in [false, true] {
        let heads = Heads { causal, ..PLAIN };
        within(heads, 1, 1, 4, vec![1]);
        within(heads, 3, 7, 8, vec![7, 0, 3]);
        within(Heads { queries: 3, keys: 3, ..heads }, 2, 50, 16, vec![50, 31]);
        within(Heads { queries: 2, keys: 2, ..heads }, 1, 130, 32, vec![117]);
        // heads that share keys, values of odd width
        within(Heads { queries: 4, keys: 2, ..heads }, 2, 20, 5, vec![20, 1]);
        within(Heads { queries: 2, keys: 1, ..heads }, 1, 97, 40, vec![97]);
        within(Heads { queries: 2, keys: 2, dropout: 0.3, ..heads }, 2, 70, 8, vec![70, 66]);
    }
}

#[test]
fn across_sequences() {
    for causal in [false, true] {
        let heads = Heads { queries: 2, keys: 2, causal, ..PLAIN };
        across(heads, [5, 9], 8, [vec![5, 3, 2], vec![9, 4, 0]]);
        across(heads, [60, 33], 16, [vec![60], vec![33]]);
        across(heads, [1, 77], 32, [vec![1], vec![77]]);
        across(Heads { queries: 4, dropout: 0.2, ..heads }, [9, 70], 8, [vec![9], vec![69]]);
    }
}
