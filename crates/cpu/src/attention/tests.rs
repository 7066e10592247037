//! Attention against the reference, over lengths, heads and forms.
#![allow(clippy::unwrap_used)]

use crate::testing::Case;
use tidemill_graph::{Attention, Heads, Relative};

const PLAIN: Heads =
    Heads { queries: 1, keys: 1, causal: false, dropout: 0.0, stream: 3, relative: None };

fn within(heads: Heads, batch: usize, time: usize, dim: usize, lengths: Vec<i32>) {
    let mut case = Case::new();
    let x = case.floats(&[batch, time, (heads.queries + 2 * heads.keys) * dim]);
    let what = format!("{heads:?} {lengths:?} of {time}, dim {dim}");
    let mut inputs = vec![x, case.ints(&[batch], lengths)];
    let bias = heads.relative.map(|r| case.floats(&[r.buckets, heads.queries]));
    inputs.extend(bias);
    if heads.dropout > 0.0 {
        inputs.push(case.ints(&[4], vec![7, 8, 9, 0]));
    }
    let y = case.apply(Attention::Within(heads), &inputs);
    let wrt: Vec<_> = [x].into_iter().chain(bias).collect();
    case.check(&what, y, &wrt);
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
fn biases_of_distances() {
    for causal in [false, true] {
        let relative = Some(Relative { buckets: 6, distance: 20 });
        let heads = Heads { causal, relative, ..PLAIN };
        within(heads, 1, 1, 4, vec![1]);
        within(heads, 3, 7, 8, vec![7, 0, 3]);
        within(Heads { queries: 3, keys: 3, ..heads }, 2, 50, 16, vec![50, 31]);
        let relative = Some(Relative { buckets: 32, distance: 128 });
        let heads = Heads { relative, ..heads };
        within(Heads { queries: 2, keys: 2, ..heads }, 1, 300, 32, vec![287]);
        within(Heads { queries: 4, keys: 2, ..heads }, 5, 20, 5, vec![20, 1, 0, 19, 20]);
        within(Heads { queries: 2, keys: 1, ..heads }, 1, 97, 40, vec![97]);
        within(Heads { queries: 2, keys: 2, dropout: 0.3, ..heads }, 2, 70, 8, vec![70, 66]);
    }
}

/// The sum over samples has one order, whatever threads make its parts.
#[test]
fn gradients_of_biases_do_not_depend_on_threads() {
    use crate::runtime::{Input, Runtime};
    use tidemill_graph::{Binary, DType, Graph, Reduce, Reduction, gradients};
    let relative = Some(Relative { buckets: 8, distance: 50 });
    let heads = Heads { queries: 4, keys: 2, causal: true, relative, ..PLAIN };
    let mut graph = Graph::new();
    let x = graph.input("x", &[9, 60, 8 * 16], DType::F32);
    let lengths = graph.input("lengths", &[9], DType::I32);
    let bias = graph.input("bias", &[8, 4], DType::F32);
    let y = graph.apply(Attention::Within(heads), &[x, lengths, bias]).unwrap();
    let square = graph.apply(Binary::Mul, &[y, y]).unwrap();
    let all = Reduce::Axes { reduction: Reduction::Sum, axes: vec![0, 1, 2], keep_dims: false };
    let loss = graph.apply(all, &[square]).unwrap();
    let gradient = gradients(&mut graph, loss, &[bias]).unwrap()[0].unwrap();
    graph.output("gradient", gradient);
    let mut random = crate::testing::Random(5);
    let (values, biases) = (random.values(9 * 60 * 8 * 16), random.values(8 * 4));
    for isa in crate::isa::Isa::available() {
        let of = |threads: usize| {
            let mut runtime = Runtime::new(isa, threads, &graph);
            let plan = runtime.add(&graph, Default::default()).unwrap();
            let lengths = [60, 3, 0, 59, 60, 31, 17, 60, 60];
            let inputs = [Input::F32(&values), Input::I32(&lengths), Input::F32(&biases)];
            runtime.run(plan, &inputs).unwrap();
            let found = runtime.output(plan, "gradient").unwrap();
            found.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        let one = of(1);
        assert!(one.iter().any(|&bits| bits != 0));
        assert_eq!(one, of(3), "{isa:?}");
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

fn cached(heads: Heads, [batch, time]: [usize; 2], [room, rows]: [usize; 2], dim: usize) {
    let mut case = Case::new();
    let qkv = case.floats(&[batch, time, (heads.queries + 2 * heads.keys) * dim]);
    let cache = case.floats(&[room, rows, 2 * heads.keys * dim]);
    let table = (0..batch * time * room).map(|_| case.below(rows) as i32).collect();
    let table = case.ints(&[batch, time, room], table);
    // From none to all.
    let lengths =
        (0..batch * time).map(|i| (i * room / (batch * time - 1).max(1)) as i32).collect();
    let lengths = case.ints(&[batch, time], lengths);
    let bias = heads.relative.map(|r| case.floats(&[r.buckets, heads.queries]));
    let inputs: Vec<_> = [qkv, cache, table, lengths].into_iter().chain(bias).collect();
    let y = case.apply(Attention::Cached(heads), &inputs);
    case.check(&format!("{heads:?} {batch} {time} {room} {rows} {dim}"), y, &[]);
}

#[test]
fn new_positions() {
    let heads = Heads { queries: 2, keys: 2, causal: true, ..PLAIN };
    cached(heads, [1, 1], [3, 1], 8);
    cached(heads, [2, 5], [32, 10], 32);
    cached(Heads { queries: 4, keys: 2, ..heads }, [7, 1], [19, 7], 5);
    cached(Heads { queries: 3, keys: 1, ..heads }, [8, 5], [128, 40], 68);
    let relative = Some(Relative { buckets: 9, distance: 40 });
    cached(Heads { queries: 4, keys: 2, relative, ..heads }, [7, 3], [100, 21], 6);
}

/// Memory that is not the cache's is never read.
#[test]
fn rows_that_are_not_there_give_nan() {
    use crate::runtime::{Input, Runtime};
    use tidemill_graph::{DType, Graph};
    let heads = Heads { queries: 1, keys: 1, causal: true, ..PLAIN };
    let mut graph = Graph::new();
    let inputs = [
        graph.input("qkv", &[1, 4, 6], DType::F32),
        graph.input("cache", &[3, 2, 4], DType::F32),
        graph.input("table", &[1, 4, 3], DType::I32),
        graph.input("lengths", &[1, 4], DType::I32),
    ];
    let y = graph.apply(Attention::Cached(heads), &inputs).unwrap();
    graph.output("y", y);
    for isa in crate::isa::Isa::available() {
        let mut runtime = Runtime::new(isa, 1, &graph);
        let plan = runtime.add(&graph, Default::default()).unwrap();
        // Beyond a row's length an entry does not matter; a length beyond the room is the room.
        let table = [0, 2, 0, -1, 0, 0, 1, 9, -9, 1, 1, 0];
        let inputs = [
            Input::F32(&[0.5; 24]),
            Input::F32(&[0.25; 24]),
            Input::I32(&table),
            Input::I32(&[2, 1, 1, 99]),
        ];
        runtime.run(plan, &inputs).unwrap();
        let y = runtime.output(plan, "y").unwrap();
        let nan: Vec<bool> = y.chunks(2).map(|y| y.iter().all(|v| v.is_nan())).collect();
        assert_eq!(nan, [true, true, false, false], "{isa:?}: {y:?}");
        assert!((y[6] - (3.0 * 0.25 + 0.5) / 4.0).abs() < 0.05, "{y:?}");
    }
}
