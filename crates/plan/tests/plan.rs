//! What a plan promises its target and its runner.
#![allow(clippy::unwrap_used)]

mod training;

use tidemill_graph::{Binary, DType, Graph, Loss, MatMul, TensorId, Unary};
use tidemill_plan::{KernelSpec, Method, Options, Place, Plan, Target};
use training::updates;

/// Remembers what it was asked about.
#[derive(Default)]
struct Asked(Vec<KernelSpec>);

impl Target for Asked {
    fn method(&mut self, spec: &KernelSpec) -> Method {
        self.0.push(spec.clone());
        Method::default()
    }

    fn restart(&mut self) {
        self.0.clear();
    }
}

/// A training step of one dense layer: the graph, its logits and its losses.
fn dense() -> (Graph, TensorId, TensorId) {
    let mut graph = Graph::new();
    let x = graph.input("x", &[8, 5], DType::F32);
    let labels = graph.input("labels", &[8], DType::I32);
    let weights = graph.input("weights", &[8], DType::F32);
    let kernel = graph.parameter("kernel", &[5, 3]);
    let bias = graph.parameter("bias", &[3]);
    let product = graph.apply(MatMul::default(), &[x, kernel]).unwrap();
    let logits = graph.apply(Binary::Add, &[product, bias]).unwrap();
    let loss = Loss::SparseCrossEntropy { label_smoothing: 0.0 };
    let losses = graph.apply(loss, &[logits, labels]).unwrap();
    let mean = graph.apply(Loss::WeightedMean, &[losses, weights]).unwrap();
    updates(&mut graph, mean);
    graph.output("scores", logits);
    graph.output("errors", losses);
    (graph, logits, losses)
}

#[test]
fn the_target_is_asked_once_for_each_call() {
    for fuse in [true, false] {
        let mut asked = Asked::default();
        let options = Options { fuse, ..Options::default() };
        let plan = Plan::new(&dense().0, &mut asked, options);
        let specs: Vec<KernelSpec> = plan.calls.iter().map(|call| call.spec.clone()).collect();
        assert_eq!(specs, asked.0);
    }
}

/// The gate is where the graph says, whatever its outputs are called.
#[test]
fn the_gate_is_after_the_outputs_that_decide() {
    let gated = Options { gated: true, ..Options::default() };
    let (mut graph, logits, losses) = dense();
    assert_eq!(Plan::new(&graph, &mut Asked::default(), gated).gate, None);
    graph.gate = vec![logits, losses];
    // What a step keeps of its inputs could be written at once, and waits too.
    let x = graph.find("x").unwrap();
    let shape = graph.shape(x).to_vec();
    let kept = graph.state("kept", &shape);
    let twice = graph.apply(Unary::Affine { scale: 2.0, shift: 0.0 }, &[x]).unwrap();
    graph.assignments.push((kept, twice));
    assert_eq!(Plan::new(&graph, &mut Asked::default(), Options::default()).gate, None);
    let plan = Plan::new(&graph, &mut Asked::default(), gated);
    let gate = plan.gate.unwrap();
    let written = |calls: std::ops::Range<usize>| -> Vec<usize> {
        plan.calls[calls].iter().flat_map(|call| call.args[call.num_inputs..].to_vec()).collect()
    };
    let (before, after) = (written(0..gate), written(gate..plan.calls.len()));
    assert!(plan.outputs.iter().all(|(_, buffer)| before.contains(buffer)));
    let is_state = |&buffer: &usize| matches!(plan.buffers[buffer].place, Place::State(_));
    assert!(!before.iter().any(is_state) && after.iter().any(is_state));
}
