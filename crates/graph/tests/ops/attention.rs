//! Attention within and across sequences.

use crate::common::fixtures::json;
use crate::common::{Check, Random};
use crate::config;
use crate::pytorch::Case;
use crate::typed_shape_of;
use proptest::prelude::*;
use tidemill_graph::reference::evaluate;
use tidemill_graph::{
    Attention, DType, Graph, Heads, Reduce, Reduction, Relative, TensorId, gradients,
};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let x = case.x.clone();
    let heads = |case: &Case<'_>| Heads {
        queries: case.number("heads") as usize,
        keys: case.number("key_heads") as usize,
        causal: case.flag("causal"),
        dropout: 0.0,
        stream: 0,
        relative: case.attributes.get("buckets").map(|_| Relative {
            buckets: case.number("buckets") as usize,
            distance: case.number("distance") as usize,
        }),
    };
    let op = match op {
        "attention" => Attention::Within(heads(case)),
        "cross_attention" => Attention::Across(heads(case)),
        _ => return None,
    };
    Some(case.apply(op, &x))
}

const HEADS: Heads =
    Heads { queries: 2, keys: 1, causal: true, dropout: 0.0, stream: 0, relative: None };

#[test]
fn shapes() {
    let of = |x: &[usize], lengths: &[usize]| {
        typed_shape_of(Attention::Within(HEADS), &[(x, DType::F32), (lengths, DType::I32)])
    };
    assert_eq!(of(&[3, 5, 12], &[3]).unwrap(), [3, 5, 6]);
    let error = of(&[3, 5, 10], &[3]).unwrap_err();
    assert!(error.contains("10 values of a position are no whole number for each of 4"), "{error}");
    assert!(of(&[3, 5, 12], &[5]).unwrap_err().contains("expected lengths of shape [3]"));
    assert!(of(&[3, 12], &[3]).unwrap_err().contains("batch, time"));
    let across = |kv: &[usize]| {
        let (f, i) = (DType::F32, DType::I32);
        let inputs = [(&[3, 5, 6][..], f), (kv, f), (&[3][..], i), (&[3][..], i)];
        typed_shape_of(Attention::Across(HEADS), &inputs)
    };
    assert_eq!(across(&[3, 9, 6]).unwrap(), [3, 5, 6]);
    assert!(across(&[3, 9, 8]).unwrap_err().contains("keys and values of shape [3, 9, 6]"));
    let odd = Heads { keys: 3, ..HEADS };
    let error =
        typed_shape_of(Attention::Within(odd), &[(&[1, 1, 8], DType::F32), (&[1], DType::I32)]);
    assert!(error.unwrap_err().contains("3 heads of keys do not divide 2"));
}

const RELATIVE: Relative = Relative { buckets: 6, distance: 9 };

#[test]
fn biases_have_a_row_for_each_range_and_a_column_for_each_head() {
    let (f, i) = (DType::F32, DType::I32);
    let heads = Heads { relative: Some(RELATIVE), ..HEADS };
    let of = |heads, bias: &[usize]| {
        let inputs = [(&[3, 5, 12][..], f), (&[3][..], i), (bias, f)];
        typed_shape_of(Attention::Within(heads), &inputs)
    };
    assert_eq!(of(heads, &[6, 2]).unwrap(), [3, 5, 6]);
    assert!(of(heads, &[6, 1]).unwrap_err().contains("a bias of shape [6, 2]"));
    assert!(of(HEADS, &[6, 2]).unwrap_err().contains("expected 2 inputs, found 3"));
    let wrong = |causal, buckets, distance| {
        let relative = Some(Relative { buckets, distance });
        of(Heads { causal, relative, ..HEADS }, &[buckets, 2]).unwrap_err()
    };
    assert!(wrong(true, 1, 9).contains("buckets must be at least 2"));
    assert!(wrong(false, 5, 9).contains("buckets must be an even number, at least 4"));
    assert!(wrong(false, 2, 9).contains("buckets must be an even number, at least 4"));
    assert!(wrong(true, 6, 3).contains("distance must be above 3, as 3 of 6 buckets"));
    let across = [(&[3, 5, 6][..], f), (&[3, 9, 6], f), (&[3], i), (&[3], i)];
    let error = typed_shape_of(Attention::Across(heads), &across).unwrap_err();
    assert!(error.contains("positions of two sequences have no distance"), "{error}");
}

/// Those of T5 in Hugging Face, for distances from -`limit` to `limit`.
#[test]
fn ranges_of_distances() {
    let list = json("positions.json");
    let mut compared = 0;
    for case in list["ranges"].as_array().unwrap() {
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let relative = Relative { buckets: number("buckets"), distance: number("distance") };
        let causal = case["causal"].as_bool().unwrap();
        assert_eq!(relative.fault(causal), None);
        let limit = number("limit");
        // Where each begins, by key - query + limit.
        let starts = case["starts"].as_array().unwrap();
        let start =
            |i: usize| starts.get(i).map_or(2 * limit + 1, |s| s[0].as_u64().unwrap() as usize);
        assert_eq!(start(0), 0);
        for (i, entry) in starts.iter().enumerate() {
            for at in start(i)..start(i + 1) {
                let (query, key) = (limit.saturating_sub(at), at.saturating_sub(limit));
                let found = relative.bucket(query, key, causal);
                assert_eq!(found as u64, entry[1], "{relative:?} {causal} {query} {key}");
                assert_eq!(relative.bucket(query + 77, key + 77, causal), found);
                compared += 1;
            }
        }
    }
    assert!(compared > 10_000, "{compared}");
}

#[test]
fn cached_attention_has_shapes_and_no_gradient() {
    let of = |cache: &[usize], table: &[usize], lengths: &[usize]| {
        let (f, i) = (DType::F32, DType::I32);
        let inputs = [(&[3, 5, 12][..], f), (cache, f), (table, i), (lengths, i)];
        typed_shape_of(Attention::Cached(HEADS), &inputs)
    };
    assert_eq!(of(&[7, 15, 6], &[3, 5, 7], &[3, 5]).unwrap(), [3, 5, 6]);
    let error = |cache, table, lengths| of(cache, table, lengths).unwrap_err();
    assert!(error(&[7, 15, 8], &[3, 5, 7], &[3, 5]).contains("a cache of shape [7, 15, 6]"));
    assert!(error(&[7, 15, 6], &[3, 5, 8], &[3, 5]).contains("a table of shape [3, 5, 7]"));
    assert!(error(&[7, 15, 6], &[3, 5, 7], &[3]).contains("lengths of shape [3, 5]"));
    let mut graph = Graph::new();
    let x = graph.parameter("x", &[1, 1, 12]);
    let cache = graph.input("cache", &[2, 1, 6], DType::F32);
    let table = graph.input("table", &[1, 1, 2], DType::I32);
    let lengths = graph.input("lengths", &[1, 1], DType::I32);
    let y = graph.apply(Attention::Cached(HEADS), &[x, cache, table, lengths]).unwrap();
    let all = Reduce::Axes { reduction: Reduction::Sum, axes: vec![0, 1, 2], keep_dims: false };
    let loss = graph.apply(all, &[y]).unwrap();
    let error = gradients(&mut graph, loss, &[x]).unwrap_err().to_string();
    assert!(error.contains("no gradient through"), "{error}");
}

proptest! {
    #![proptest_config(config())]

    /// Position by position, each from those before it in any rows of the cache, is all at once.
    #[test]
    fn cached_is_causal_attention_within(seed: u64, time in 1..6usize, dim in 1..4usize,
                                         keys in 1..3usize, group in 1..3usize, rows in 1..4usize,
                                         biased: bool) {
        let relative = biased.then_some(Relative { buckets: 4, distance: 4 });
        let heads =
            Heads { queries: keys * group, keys, causal: true, dropout: 0.0, stream: 0, relative };
        let width = (heads.queries + 2 * keys) * dim;
        let kept = 2 * keys * dim;
        let mut check = Check::new(seed);
        let qkv = check.random.odd(time * width);
        let whole = check.graph.input("qkv", &[1, time, width], DType::F32);
        check.feeds.set(whole, qkv.clone());
        let lengths = check.graph.input("time", &[1], DType::I32);
        check.feeds.set_ints(lengths, vec![time as i32]);
        let bias = biased.then(|| check.constant(&[4, heads.queries], Random::odd));
        let inputs: Vec<TensorId> = [whole, lengths].into_iter().chain(bias).collect();
        let within = check.apply(Attention::Within(heads), &inputs);
        // All positions as rows of one step.
        let each = check.graph.input("each", &[time, 1, width], DType::F32);
        check.feeds.set(each, qkv.clone());
        let place: Vec<usize> = (0..time).map(|_| check.random.below(rows)).collect();
        let mut cache = check.random.odd(time * rows * kept);
        for (j, row) in place.iter().enumerate() {
            cache[(j * rows + row) * kept..][..kept]
                .copy_from_slice(&qkv[(j + 1) * width - kept..(j + 1) * width]);
        }
        let given = check.graph.input("cache", &[time, rows, kept], DType::F32);
        check.feeds.set(given, cache);
        let table = check.graph.input("table", &[time, 1, time], DType::I32);
        let entries = place.iter().map(|&row| row as i32);
        check.feeds.set_ints(table, entries.cycle().take(time * time).collect());
        let before = check.graph.input("before", &[time, 1], DType::I32);
        check.feeds.set_ints(before, (0..time as i32).collect());
        let inputs: Vec<TensorId> = [each, given, table, before].into_iter().chain(bias).collect();
        let stepped = check.apply(Attention::Cached(heads), &inputs);
        let values = evaluate(&check.graph, check.feeds).unwrap();
        let (a, b) = (values.get(within).unwrap(), values.get(stepped).unwrap());
        for (a, b) in a.iter().zip(b) {
            prop_assert!((a - b).abs() < 1e-12, "{} {}", a, b);
        }
    }

    /// Lengths from 0 to the room for positions.
    #[test]
    fn within(seed: u64, batch in 1..3usize, time in 1..5usize, dim in 1..4usize,
              keys in 1..3usize, group in 1..3usize, causal: bool, dropped: bool, biased: bool) {
        let dropout = if dropped { 0.4 } else { 0.0 };
        let relative = biased.then_some(RELATIVE);
        let heads = Heads { queries: keys * group, keys, causal, dropout, stream: 5, relative };
        let mut check = Check::new(seed);
        let x = check.variable(&[batch, time, (heads.queries + 2 * keys) * dim], Random::odd);
        let mut inputs = vec![x, check.ints(&[batch], time + 1)];
        if biased {
            inputs.push(check.variable(&[6, heads.queries], Random::odd));
        }
        if dropped {
            inputs.push(check.ints(&[4], 1 << 30));
        }
        let y = check.apply(Attention::Within(heads), &inputs);
        check.run(y);
    }

    #[test]
    fn across(seed: u64, batch in 1..3usize, queries in 1..4usize, keys in 1..5usize, dim in 1..4usize,
              causal: bool, dropped: bool) {
        let dropout = if dropped { 0.4 } else { 0.0 };
        let heads = Heads { queries: 2, keys: 1, causal, dropout, stream: 5, relative: None };
        let mut check = Check::new(seed);
        let q = check.variable(&[batch, queries, 2 * dim], Random::odd);
        let kv = check.variable(&[batch, keys, 2 * dim], Random::odd);
        let mut inputs =
            vec![q, kv, check.ints(&[batch], queries + 1), check.ints(&[batch], keys + 1)];
        if dropped {
            inputs.push(check.ints(&[4], 1 << 30));
        }
        let y = check.apply(Attention::Across(heads), &inputs);
        check.run(y);
    }
}
