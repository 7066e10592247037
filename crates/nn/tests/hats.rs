//! Hats: what a model with them starts as, and how its two outputs are mixed.
#![allow(clippy::unwrap_used, missing_docs)]

use tidemill_graph::{Graph, Rule};
use tidemill_nn::{
    Activation, BranchSpec, ConcatSpec, DenseSpec, EntityEmbeddingSpec, HATS, HatsSpec,
    HedgedDepth, InitialValue, InputSpec, LossSpec, MemorySpec, Model, ModelSpec, OptimizerSpec,
    ResidualSpec, TokensSpec, training_graph,
};

const LOSS: LossSpec = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };

/// Layers over three columns of numbers and one more input.
fn layers(model: ModelSpec) -> ModelSpec {
    model.dense(6, Activation::Relu).dense(3, Activation::Linear)
}

fn plain() -> ModelSpec {
    layers(Model::features(4))
}

fn with(hats: HatsSpec) -> ModelSpec {
    layers(Model::features(4 + 3 * HATS)).hats(hats)
}

fn alone() -> HatsSpec {
    HatsSpec { beside: false, ..HatsSpec::new(3) }
}

fn value<'a>(values: &'a [InitialValue], name: &str) -> &'a InitialValue {
    values.iter().find(|v| v.name == name).unwrap()
}

#[test]
fn rows_of_hats_start_at_zero_and_the_others_as_without_hats() {
    let (without, alone) =
        (plain().initial_values(5).unwrap(), with(alone()).initial_values(5).unwrap());
    let kernel = value(&alone, "layers.0.dense.kernel");
    assert_eq!(kernel.shape, [4 + 3 * HATS, 6]);
    let (rows, hats) = kernel.values.split_at(4 * 6);
    assert_eq!(rows, value(&without, "layers.0.dense.kernel").values);
    assert!(hats.iter().all(|w| *w == 0.0));
    for other in without.iter().filter(|v| v.name != "layers.0.dense.kernel") {
        assert_eq!(value(&alone, &other.name).values, other.values);
    }
    // Beside hats, the network without them is that model as it is.
    let both = with(HatsSpec::new(3)).initial_values(5).unwrap();
    for own in &without {
        assert_eq!(value(&both, &own.name).values, own.values);
    }
    let kernel = value(&both, "hats.0.dense.kernel");
    assert!(kernel.values[..4 * 6].iter().all(|w| *w != 0.0));
    assert!(kernel.values[4 * 6..].iter().all(|w| *w == 0.0));
    assert_eq!(value(&both, "hats.weights").values, [0.5, 0.5]);
    let (few, many) =
        (plain().num_parameters().unwrap(), with(HatsSpec::new(3)).num_parameters().unwrap());
    assert_eq!(many, 2 * few + 3 * HATS * 6);
}

/// The rows of zeros are those of hats wherever the kernel that reads them is.
#[test]
fn hats_are_followed_to_the_kernel_that_reads_them() {
    let zeros = |model: &ModelSpec, kernel: &str| {
        let values = model.initial_values(1).unwrap();
        let kernel = value(&values, kernel);
        let rows = kernel.values.chunks(kernel.shape[1]).enumerate();
        let zeros = rows.filter(|(_, row)| row.iter().all(|w| *w == 0.0)).map(|(i, _)| i);
        (zeros.collect::<Vec<usize>>(), kernel.shape[0])
    };
    let beside = |model: ModelSpec| model.hats(HatsSpec::new(2));
    // Two numbers, their hats, two ids.
    let ids = Model::features(2 + 2 * HATS + 2).layer(EntityEmbeddingSpec::new(&[7, 9], 5));
    let ids = beside(layers(ids));
    assert_eq!(
        zeros(&ids, "hats.1.dense.kernel"),
        ((2..2 + 2 * HATS).collect(), 2 + 2 * HATS + 10)
    );
    assert_eq!(zeros(&ids, "layers.1.dense.kernel"), (vec![], 12));
    // Words beside numbers.
    let inputs = [
        ("said", InputSpec::Tokens(TokensSpec::new(6, 50))),
        ("x", InputSpec::Features(2 + 2 * HATS)),
    ];
    let words = BranchSpec {
        input: Some("said".into()),
        layers: vec![tidemill_nn::EmbeddingBagSpec::new(50, 4).into()],
    };
    let numbers = BranchSpec { input: Some("x".into()), layers: vec![] };
    let named = Model::inputs(inputs).layer(ConcatSpec { branches: vec![words, numbers] });
    let named = beside(layers(named));
    assert_eq!(zeros(&named, "hats.1.dense.kernel"), ((6..6 + 2 * HATS).collect(), 6 + 2 * HATS));
    assert_eq!(zeros(&named, "layers.1.dense.kernel"), (vec![], 6));
    // A linear path beside the layers.
    let linear = ResidualSpec {
        layers: layers(Model::features(1)).layers,
        shortcut: vec![DenseSpec::new(3).into()],
        activation: Activation::Linear,
        drop_path: 0.0,
    };
    let linear = beside(Model::features(2 + 2 * HATS).layer(linear));
    for kernel in
        ["hats.0.residual.layers.0.dense.kernel", "hats.0.residual.shortcut.0.dense.kernel"]
    {
        assert_eq!(zeros(&linear, kernel), ((2..2 + 2 * HATS).collect(), 2 + 2 * HATS), "{kernel}");
    }
}

/// What of a graph is on the way to an update.
#[test]
fn each_network_learns_from_its_own_output() {
    let model = with(HatsSpec::new(3));
    let graph = training_graph(&model, &LOSS, &OptimizerSpec::sgd(0.1), 1).unwrap();
    let names = |graph: &Graph| -> Vec<String> {
        graph.updates.iter().map(|u| graph.tensor(u.parameter).name.clone()).collect()
    };
    let updated = names(&graph);
    let own = updated.iter().filter(|name| name.starts_with("layers.")).count();
    assert_eq!((own, updated.len()), (4, 8), "{updated:?}");
    assert_eq!(graph.assignments.len(), 1, "the weights");
}

#[test]
fn hats_that_do_not_fit_are_refused() {
    let wrong = |model: &ModelSpec| model.validate().unwrap_err().to_string();
    let few = wrong(&plain().hats(HatsSpec::new(3)));
    assert!(few.contains("hats.columns = 3 gives 27 inputs of hats"), "{few}");
    assert!(few.contains("the model has 4 inputs; set features to 30 or more"), "{few}");
    assert!(wrong(&with(HatsSpec { columns: 0, ..alone() })).contains("hats.columns"));
    assert!(wrong(&with(HatsSpec { rate: 0.0, ..alone() })).contains("hats.rate"));
    assert!(wrong(&with(HatsSpec { share: 1.5, ..alone() })).contains("hats.share"));
    let image = layers(Model::image(4, 4, 1).flatten()).hats(HatsSpec::new(1));
    assert!(wrong(&image).contains("one input of features"), "{}", wrong(&image));
    let both = with(HatsSpec::new(3)).hedged_depth(HedgedDepth::default());
    assert!(
        wrong(&both).contains("hats.beside has no place beside hedged_depth"),
        "{}",
        wrong(&both)
    );
    with(alone()).hedged_depth(HedgedDepth::default()).validate().unwrap();
}

#[test]
fn a_memory_is_mixed_with_networks() {
    let memory = Some(MemorySpec { events: 5 });
    let model = ModelSpec { memory, last_label: true, ..with(HatsSpec::new(3)) };
    model.validate().unwrap();
    let values = model.initial_values(1).unwrap();
    assert_eq!(value(&values, "hats.weights").values, [0.25; 4]);
    assert_eq!(model.expert_names(), ["plain", "hats", "memory", "last"]);
    assert_eq!(value(&values, "memory.twice").shape, [4, 5]);
    assert_eq!(value(&values, "memory.truths").shape, [3, 5]);
    let losses = [
        (LOSS, 3),
        (LossSpec::BinaryCrossentropy { label_smoothing: 0.0 }, 1),
        (LossSpec::MeanSquaredError {}, 1),
        (LossSpec::Poisson {}, 1),
    ];
    for (loss, units) in losses {
        let mut model = model.clone();
        model.layers.pop();
        let model = model.dense(units, Activation::Linear);
        for batch in [1, 3, 8] {
            let graph = training_graph(&model, &loss, &OptimizerSpec::sgd(0.1), batch).unwrap();
            assert_eq!(graph.assignments.len(), 6, "the weights and what is kept");
            let updated = graph.updates.iter().map(|u| &*graph.tensor(u.parameter).name);
            let own =
                updated.filter(|name| name.starts_with("memory.") || name.starts_with("last."));
            assert_eq!(own.count(), 3, "{loss:?}");
        }
    }
    let wrong = |model: &ModelSpec| model.validate().unwrap_err().to_string();
    let none = ModelSpec { hats: None, ..model.clone() };
    assert!(wrong(&none).contains("memory is mixed with networks"), "{}", wrong(&none));
    let none = ModelSpec { last_label: true, ..plain() };
    assert!(wrong(&none).contains("last_label is mixed with networks"), "{}", wrong(&none));
    let none = ModelSpec { memory: Some(MemorySpec { events: 0 }), ..model };
    assert!(wrong(&none).contains("memory.events must be from 1 to 65536"), "{}", wrong(&none));
}

#[test]
fn linear_models_are_mixed_with_networks() {
    let model = ModelSpec { linear: true, ..with(HatsSpec::new(3)) };
    model.validate().unwrap();
    assert_eq!(model.expert_names(), ["plain", "hats", "linear", "additive"]);
    let values = model.initial_values(1).unwrap();
    for (name, inputs) in [("linear", 4), ("additive", 4 + 3 * HATS)] {
        let kernel = value(&values, &format!("{name}.0.dense.kernel"));
        assert_eq!(kernel.shape, [inputs, 3]);
        assert!(kernel.values.iter().all(|w| *w == 0.0));
    }
    // They are in the summary, and so among the parameters that people are shown.
    let without = with(HatsSpec::new(3)).num_parameters().unwrap();
    assert_eq!(model.num_parameters().unwrap(), without + 3 * (4 + 1) + 3 * (4 + 3 * HATS + 1));
    // All of the weight stays, and none is lost for good.
    let transitions = value(&values, "hats.transitions");
    assert_eq!(transitions.shape, [4, 4]);
    for row in transitions.values.chunks(4) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{row:?}");
    }
    assert!((transitions.values[1] - 0.005).abs() < 1e-6, "between the networks");
    assert!(transitions.values[2] < 1e-5 && transitions.values[2] > 0.0, "to a linear model");
    let none = ModelSpec { linear: true, ..plain() };
    let wrong = none.validate().unwrap_err().to_string();
    assert!(wrong.contains("linear is mixed with networks"), "{wrong}");
}

/// The rule of their own reaches the same rate with any optimizer, and its slots are never packed.
#[test]
fn linear_models_are_learned_by_adagrad() {
    let model = ModelSpec { linear: true, ..with(HatsSpec::new(3)) };
    let adam = OptimizerSpec::adam(1e-3);
    for (optimizer, times) in [(OptimizerSpec::online(), 100.0), (adam, 200.0)] {
        let graph = training_graph(&model, &LOSS, &optimizer, 1).unwrap();
        for update in &graph.updates {
            let name = &*graph.tensor(update.parameter).name;
            if name.starts_with("linear.") || name.starts_with("additive.") {
                assert!(matches!(update.rule, Rule::Adagrad { .. }), "{name}");
                assert!((update.rate - times).abs() < 1e-3, "{name}: {}", update.rate);
            } else {
                assert_eq!((update.rule, update.rate), (optimizer.rule(), 1.0), "{name}");
            }
        }
    }
}
