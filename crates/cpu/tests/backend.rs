//! What every backend promises its driver: the one without a machine, and this machine.
#![allow(clippy::unwrap_used)]

use tidemill_cpu::isa::Isa;
use tidemill_cpu::runtime::Runtime;
use tidemill_graph::{Binary, DType, Graph, Unary};
use tidemill_plan::null::Null;
use tidemill_plan::{Backend, Input, Options};

/// `total += sum`, with `sum = x + shift` known before anything changes.
fn graph() -> Graph {
    let mut graph = Graph::new();
    let x = graph.input("x", &[3], DType::F32);
    graph.input("ids", &[2], DType::I32);
    let shift = graph.parameter("shift", &[3]);
    let total = graph.state("total", &[3]);
    let sum = graph.apply(Binary::Add, &[x, shift]).unwrap();
    let new = graph.apply(Binary::Add, &[total, sum]).unwrap();
    graph.output("sum", sum);
    graph.gate = vec![sum];
    graph.assignments.push((total, new));
    graph
}

/// Every check of the contract; gives the sums and the totals of two runs, the second refused.
fn exercise(backend: &mut dyn Backend) -> [Vec<f32>; 2] {
    let plan = backend.add(&graph(), Options { gated: true, ..Options::default() }).unwrap();
    assert_eq!(backend.plan(plan).inputs.len(), 2);
    assert_eq!(backend.plan(plan).outputs[0].0, "sum");

    let mut other = graph();
    other.state("more", &[1]);
    let error = backend.add(&other, Options::default()).unwrap_err().to_string();
    assert_eq!(
        error,
        "state more: expected a tensor of the backend's state, found an unknown one of shape [1]"
    );

    let names: Vec<String> = backend.slots().iter().map(|slot| slot.name.clone()).collect();
    assert_eq!(names, ["shift", "total"]);
    let error = backend.upload(0, &[1.0]).unwrap_err().to_string();
    assert_eq!(error, "state shift: expected 3 values, found 1");
    assert!(backend.download(1, &mut [0.0; 4]).is_err());
    backend.upload(0, &[10.0, 20.0, 30.0]).unwrap();
    let mut back = [0.0; 3];
    backend.download(0, &mut back).unwrap();
    assert_eq!(back, [10.0, 20.0, 30.0]);

    let (x, ids) = ([1.0, 2.0, 3.0], [7, 8]);
    for (wrong, message) in [
        (vec![Input::F32(&x)], "input list: expected 2 inputs, found 1"),
        (
            vec![Input::F32(&x), Input::F32(&x)],
            "input ids: expected I32 [2], found 3 values of F32",
        ),
        (
            vec![Input::F32(&x[..2]), Input::I32(&ids)],
            "input x: expected F32 [3], found 2 values of F32",
        ),
    ] {
        let error = backend.run(plan, &wrong, &|| false).unwrap_err().to_string();
        assert_eq!(error, message);
    }

    let inputs = [Input::F32(&x[..]), Input::I32(&ids[..])];
    let left = std::sync::atomic::AtomicUsize::new(5);
    let beside = || {
        let taken = |left: usize| left.checked_sub(1);
        let order = std::sync::atomic::Ordering::Relaxed;
        left.fetch_update(order, order, taken).is_ok()
    };
    backend.run(plan, &inputs, &beside).unwrap();
    assert_eq!(left.into_inner(), 0, "all of the work beside the step was done");
    let mut sum = vec![0.0; 3];
    assert!(backend.output(plan, 0, &mut [0.0; 2]).is_err());
    backend.output(plan, 0, &mut sum).unwrap();
    let mut total = vec![0.0; 3];
    backend.download(1, &mut total).unwrap();

    // A step that is refused changes nothing; at its gate the output is known.
    assert!(backend.plan(plan).gate.is_some());
    let mut seen = vec![0.0; 3];
    let refuse = &mut |backend: &dyn Backend| {
        backend.output(plan, 0, &mut seen).unwrap();
        false
    };
    assert!(!backend.run_gated(plan, &inputs, refuse).unwrap());
    assert_eq!(seen, sum);
    let mut after = vec![0.0; 3];
    backend.download(1, &mut after).unwrap();
    assert_eq!(after, total);
    assert!(backend.run_gated(plan, &inputs, &mut |_| true).unwrap());
    [sum, total]
}

#[test]
fn backends_keep_their_contract() {
    let mut null = Null::new(&graph());
    assert_eq!(exercise(&mut null), [vec![0.0; 3], vec![0.0; 3]]);
    assert!(null.calls() > 0);
    for isa in Isa::available() {
        for threads in [1, 3] {
            let mut runtime = Runtime::new(isa, threads, &graph());
            let found = exercise(&mut runtime);
            assert_eq!(found, [vec![11.0, 22.0, 33.0], vec![11.0, 22.0, 33.0]]);
        }
    }
}

/// A second plan that needs more memory leaves the first one usable.
#[test]
fn plans_that_were_added_before_stay() {
    let mut runtime = Runtime::new(Isa::detect(), 1, &graph());
    let small = Backend::add(&mut runtime, &graph(), Options::default()).unwrap();
    let mut large = Graph::new();
    let x = large.input("x", &[100_000], DType::F32);
    let y = large.apply(Unary::Square, &[x]).unwrap();
    large.output("y", y);
    let large = Backend::add(&mut runtime, &large, Options::default()).unwrap();
    let values = vec![3.0; 100_000];
    Backend::run(&mut runtime, large, &[Input::F32(&values)], &|| false).unwrap();
    let mut y = vec![0.0; 100_000];
    Backend::output(&runtime, large, 0, &mut y).unwrap();
    assert!(y.iter().all(|&y| y == 9.0));
    let inputs = [Input::F32(&[1.0, 2.0, 3.0]), Input::I32(&[0, 0])];
    Backend::run(&mut runtime, small, &inputs, &|| false).unwrap();
    let mut sum = vec![0.0; 3];
    Backend::output(&runtime, small, 0, &mut sum).unwrap();
    assert_eq!(sum, [1.0, 2.0, 3.0]);
}
