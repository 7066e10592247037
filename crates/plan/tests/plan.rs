//! What a plan promises its target and its runner.
#![allow(clippy::unwrap_used)]

use tidemill_graph::{
    Binary, DType, Graph, Loss, MatMul, Role, Rule, TensorId, Update, WeightDecay, gradients, hyper,
};
use tidemill_plan::{KernelSpec, Method, Options, Place, Plan, Target};

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
    let parameters: Vec<TensorId> = graph.with_role(Role::Parameter).collect();
    let found = gradients(&mut graph, mean, &parameters).unwrap();
    graph.hyper = Some(graph.input("hyper", &[hyper::LEN], DType::F32));
    for (parameter, gradient) in parameters.into_iter().zip(found) {
        let (gradient, slots) = (gradient.unwrap(), vec![]);
        let (rule, decay) = (Rule::Sgd, WeightDecay::None);
        graph.updates.push(Update { parameter, gradient, slots, rule, decay });
    }
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
