//! Plans that only read the state run by several threads at once, with the values of a run alone.
#![allow(clippy::unwrap_used, missing_docs)]

use tidemill_cpu::isa::Isa;
use tidemill_cpu::runtime::{Input, Runtime, Workspace};
use tidemill_nn::{
    Activation, LossSpec, Model, OptimizerSpec, inference_graph, initial_state, training_graph,
};
use tidemill_plan::Options;

const LOSS: LossSpec = LossSpec::MeanSquaredError {};

fn model(units: usize) -> Model {
    Model::features(64).dense(units, Activation::Tanh).dense(300, Activation::Linear)
}

fn runtime(model: &Model) -> Runtime {
    let graph = training_graph(model, &LOSS, &OptimizerSpec::sgd(0.1), 64).unwrap();
    let mut runtime = Runtime::new(Isa::detect(), 2, &graph);
    for (id, values) in initial_state(&graph, model, 1).unwrap() {
        let name = &graph.tensor(id).name;
        let slot = runtime.slots().iter().position(|slot| slot.name == *name).unwrap();
        runtime.state_mut(slot).copy_from_slice(&values);
    }
    runtime
}

#[test]
fn several_threads_read_the_same_values() {
    let model = model(256);
    let mut runtime = runtime(&model);
    let graphs: Vec<_> = [64, 3].map(|n| inference_graph(&model, &LOSS, n).unwrap()).into();
    let x: Vec<f32> = (0..64 * 64).map(|i| ((i * 29) % 83) as f32 / 41.0 - 1.0).collect();
    let alone: Vec<Vec<f32>> = graphs
        .iter()
        .map(|graph| {
            let id = runtime.add(graph, Options::default()).unwrap();
            runtime.run(id, &[Input::F32(&x)]).unwrap();
            runtime.output(id, "probabilities").unwrap().to_vec()
        })
        .collect();
    let plans: Vec<_> = graphs.iter().map(|graph| runtime.read_plan(graph).unwrap()).collect();
    let (copy, shared) = (runtime.clone(), &runtime);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (plans, alone, x, copy) = (&plans, &alone, &x, &copy);
            scope.spawn(move || {
                let mut workspace = Workspace::default();
                for turn in 0..40 {
                    let which = (turn + thread) % 2;
                    let output = plans[which].find_output("probabilities").unwrap();
                    let runtime = if turn % 5 == 0 { copy } else { shared };
                    let values =
                        runtime.read(&plans[which], output, &[Input::F32(x)], &mut workspace);
                    assert_eq!(values.unwrap(), alone[which]);
                }
            });
        }
    });
}

#[test]
fn what_does_not_fit_is_an_error() {
    let (small, large) = (model(8), model(16));
    let runtimes = [runtime(&small), runtime(&large)];
    let plan = runtimes[1].read_plan(&inference_graph(&large, &LOSS, 1).unwrap()).unwrap();
    let mut workspace = Workspace::default();
    let x = [0.5; 64];
    assert!(runtimes[1].read(&plan, 0, &[Input::F32(&x)], &mut workspace).is_ok());
    assert!(runtimes[1].read(&plan, 0, &[Input::F32(&x[1..])], &mut workspace).is_err());
    let other = runtimes[0].read(&plan, 0, &[Input::F32(&x)], &mut workspace);
    assert!(other.unwrap_err().to_string().contains("layers.0.dense"));
    let learns = training_graph(&large, &LOSS, &OptimizerSpec::sgd(0.1), 1).unwrap();
    assert!(runtimes[1].read_plan(&learns).is_err());
    assert!(runtimes[0].read_plan(&inference_graph(&large, &LOSS, 1).unwrap()).is_err());
}
