#![allow(clippy::unwrap_used)]

use super::{Values, apply_updates, evaluate};
use crate::graph::{DType, Graph, Update};
use crate::ops::Binary;
use crate::update::{Clip, Rule, WeightDecay, hyper};

#[test]
fn a_training_step() {
    let mut graph = Graph::new();
    let a = graph.parameter("a", &[2]);
    let b = graph.parameter("b", &[1]);
    let running = graph.state("running", &[2]);
    let (da, db) = (graph.input("da", &[2], DType::F32), graph.input("db", &[1], DType::F32));
    let hyper = graph.input("hyper", &[hyper::LEN], DType::F32);
    let twice = graph.apply(Binary::Add, &[a, a]).unwrap();
    graph.assignments.push((running, twice));
    graph.hyper = Some(hyper);
    for (parameter, gradient) in [(a, da), (b, db)] {
        let (rule, decay) = (Rule::Sgd, WeightDecay::None);
        graph.updates.push(Update {
            parameter,
            gradient,
            slots: vec![],
            rule,
            decay,
            slot_type: Default::default(),
            rate: 1.0,
            elsewhere: false,
        });
    }
    let feeds = Values::<f64>::new(&graph)
        .with(a, vec![1.0, 2.0])
        .with(b, vec![3.0])
        .with(running, vec![0.0; 2])
        .with(da, vec![3.0, 0.0])
        .with(db, vec![4.0])
        .with(hyper, vec![0.1, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    for (clip, want_a, want_b) in [
        (Clip::None, 0.7, 2.6),
        (Clip::Value(1.0), 0.9, 2.9),
        // The norms are 3 and 4, and that of both is 5; PyTorch adds 1e-6 to them.
        (Clip::Norm(1.0), 1.0 - 0.3 / 3.000001, 3.0 - 0.4 / 4.000001),
        (Clip::Norm(3.0), 1.0 - 0.9 / 3.000001, 3.0 - 1.2 / 4.000001),
        (Clip::GlobalNorm(1.0), 1.0 - 0.3 / 5.000001, 3.0 - 0.4 / 5.000001),
        (Clip::GlobalNorm(10.0), 0.7, 2.6),
    ] {
        graph.clip = Some(clip);
        let mut values = evaluate(&graph, feeds.clone()).unwrap();
        apply_updates(&graph, &mut values).unwrap();
        let found = [values.get(a).unwrap()[0], values.get(b).unwrap()[0]];
        assert!((found[0] - want_a).abs() < 1e-12, "{clip:?}: {found:?}");
        assert!((found[1] - want_b).abs() < 1e-12, "{clip:?}: {found:?}");
        assert_eq!(values.get(running).unwrap(), [2.0, 4.0], "from before the update");
    }
}
