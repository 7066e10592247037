//! Rings.

use tidemill_graph::reference::{Values, evaluate};
use tidemill_graph::{DType, Graph, Reduce, Reduction, Ring, gradients};

/// Of samples numbered from 1 on, the ring has the last ones, each in the column of its number.
#[test]
fn the_last_samples_are_kept() {
    for (batch, len) in [(1, 4), (2, 3), (3, 3), (5, 3)] {
        let rows = 2;
        let mut graph = Graph::new();
        let kept = graph.state("kept", &[rows, len]);
        let next = graph.state("next", &[1]);
        let samples = graph.input("samples", &[batch, rows], DType::F32);
        let pushed = graph.apply(Ring::Push, &[kept, samples, next]).unwrap();
        let after = graph.apply(Ring::Next { batch, len }, &[next]).unwrap();
        graph.assignments = vec![(kept, pushed), (next, after)];
        let (mut ring, mut place, mut number) = (vec![0.0f64; rows * len], vec![0.0], 0);
        for _ in 0..6 {
            let new: Vec<f64> = (0..batch * rows).map(|v| (number * rows + v) as f64).collect();
            number += batch;
            let values = Values::new(&graph).with(kept, ring).with(next, place);
            let found = evaluate(&graph, values.with(samples, new)).unwrap();
            (ring, place) =
                (found.get(pushed).unwrap().to_vec(), found.get(after).unwrap().to_vec());
        }
        for sample in number - len.min(number)..number {
            for row in 0..rows {
                let found = ring[row * len + sample % len];
                assert_eq!(found, (sample * rows + row) as f64, "batch {batch}, sample {sample}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let mut graph = Graph::new();
    let kept = graph.state("kept", &[2, 4]);
    let next = graph.state("next", &[1]);
    let samples = graph.input("samples", &[3, 5], DType::F32);
    let error = graph.apply(Ring::Push, &[kept, samples, next]).unwrap_err().to_string();
    assert!(error.contains("samples"), "{error}");
    let parameter = graph.parameter("parameter", &[2, 4]);
    let samples = graph.input("fit", &[3, 2], DType::F32);
    let pushed = graph.apply(Ring::Push, &[parameter, samples, next]).unwrap();
    let sum = Reduce::Axes { reduction: Reduction::Sum, axes: vec![0, 1], keep_dims: false };
    let sum = graph.apply(sum, &[pushed]).unwrap();
    assert!(gradients(&mut graph, sum, &[parameter]).is_err());
}
