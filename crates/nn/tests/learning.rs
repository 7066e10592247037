//! Whole training steps on the reference interpreter: losses fall, and the modes agree.
#![allow(clippy::unwrap_used)]

use tidemill_fields::Truth;
use tidemill_graph::reference::{Values, apply_updates, evaluate};
use tidemill_graph::{Graph, Loss, Op, Role, TensorId};
use tidemill_nn::{
    Activation, BatchNormSpec, Conv2dSpec, HedgedDepth, InputSpec, LayerSpec, LossSpec, Model,
    ModelSpec, OptimizerSpec, Padding, ResidualSpec, Targets, evaluation_graph, hyper_values,
    initial_state, training_graph,
};

const BATCH: usize = 8;

/// Numbers that look random: the fractions of a quadratic sequence.
fn noise(i: usize) -> f64 {
    (i as f64 * i as f64 * 0.618_033_988_7 + i as f64 * 0.414_213_562).fract() - 0.5
}

/// Values of a graph's state and of a fixed batch whose classes show in the inputs.
fn feeds(graph: &Graph, model: &ModelSpec, classes: usize) -> Values<f64> {
    let mut values = Values::new(graph);
    for (id, start) in initial_state(graph, model, 5).unwrap() {
        values.set(id, start.into_iter().map(f64::from).collect());
    }
    for id in graph.with_role(Role::Input) {
        let tensor = graph.tensor(id);
        let class = |sample: usize| sample % classes;
        let len = tensor.len();
        match tensor.name.as_str() {
            "x" => match model.input {
                InputSpec::Ids { vocabulary, .. } => {
                    let token = |i: usize| (class(i * BATCH / len) * 3 + i % 2) % vocabulary;
                    values.set_ints(id, (0..len).map(|i| token(i) as i32).collect());
                }
                _ => {
                    let size = len / BATCH;
                    let shows =
                        |i: usize| if i % size % classes == class(i / size) { 0.5 } else { 0.0 };
                    values.set(id, (0..len).map(|i| noise(i) + shows(i)).collect());
                }
            },
            "key" => values.set_ints(id, vec![1, 0, 0, 0]),
            "labels" => values.set_ints(id, (0..BATCH).map(|s| class(s) as i32).collect()),
            "targets" => {
                let width = len / BATCH;
                let target = |i: usize| Truth::Class(class(i / width)).target(i % width, width);
                values.set(id, (0..len).map(|i| f64::from(target(i))).collect());
            }
            "weights" => values.set(id, vec![1.0; BATCH]),
            _ => {}
        }
    }
    values
}

fn output(graph: &Graph, values: &Values<f64>, name: &str) -> Vec<f64> {
    let id = graph.outputs.iter().find(|(n, _)| n == name).unwrap().1;
    values.get(id).unwrap().to_vec()
}

/// Losses of some steps on one batch.
fn losses(
    model: &ModelSpec,
    loss: &LossSpec,
    optimizer: &OptimizerSpec,
    classes: usize,
    steps: u64,
) -> Vec<f64> {
    let graph = training_graph(model, loss, optimizer, BATCH).unwrap();
    let mut values = feeds(&graph, model, classes);
    let rule = optimizer.rule();
    (1..=steps)
        .map(|t| {
            let vector = hyper_values(&rule, optimizer.schedule().at(t - 1), t);
            values.set(graph.hyper.unwrap(), vector.map(f64::from).to_vec());
            values = evaluate(&graph, values.clone()).unwrap();
            apply_updates(&graph, &mut values).unwrap();
            output(&graph, &values, "loss")[0]
        })
        .collect()
}

fn assert_falls(what: &str, losses: &[f64], factor: f64) {
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(losses.iter().all(|l| l.is_finite()), "{what}: {losses:?}");
    assert!(last < factor * first, "{what}: from {first} to {last}");
}

fn convolution() -> Model {
    let same = |filters, stride, kernel| {
        LayerSpec::from(Conv2dSpec {
            padding: Padding::Same,
            stride: [stride, stride],
            bias: false,
            ..Conv2dSpec::new(filters, kernel)
        })
    };
    let norm = || LayerSpec::BatchNorm(BatchNormSpec { momentum: 0.8, ..Default::default() });
    let block = ResidualSpec {
        layers: vec![same(6, 2, 3), norm(), Activation::Relu.into(), same(6, 1, 3), norm()],
        shortcut: vec![same(6, 2, 1), norm()],
        activation: Activation::Relu,
        drop_path: 0.0,
    };
    Model::image(6, 6, 2).layer(same(4, 1, 3)).layer(norm()).layer(block).global_avg_pool()
}

#[test]
fn models_learn_a_batch() {
    let sparse = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let linear = Activation::Linear;
    let models = [
        ("dense", Model::image(4, 4, 1).flatten().dense(16, Activation::Relu).dense(3, linear)),
        ("residual", convolution().dense(3, linear)),
        (
            "pooled",
            Model::image(8, 8, 1)
                .conv2d(8, 3, Activation::Gelu)
                .max_pool2d(2)
                .avg_pool2d(3)
                .flatten()
                .layer(LayerSpec::LayerNorm { epsilon: 1e-3 })
                .dropout(0.1)
                .dense(3, linear),
        ),
        (
            "embedded",
            Model::ids(4, 12).embedding(6).flatten().dense(8, Activation::Silu).dense(3, linear),
        ),
    ];
    for (what, model) in models {
        let found = losses(&model, &sparse, &OptimizerSpec::adam(0.02), 3, 30);
        assert!((found[0] - 3f64.ln()).abs() < 1.0, "{what} starts at {}", found[0]);
        assert_falls(what, &found, 0.6);
    }
}

#[test]
fn every_loss_falls() {
    let names = [
        ("sparse_categorical_crossentropy", 3),
        ("sparse_categorical_focal_crossentropy", 3),
        ("categorical_crossentropy", 3),
        ("binary_crossentropy", 3),
        ("binary_focal_crossentropy", 3),
        ("mse", 3),
        ("mae", 1),
        ("huber", 1),
        ("hinge", 3),
    ];
    for (name, units) in names {
        let loss: LossSpec = serde_json::from_str(&format!("\"{name}\"")).unwrap();
        assert_eq!(loss.targets() == Targets::ClassIds, name.starts_with("sparse"));
        let model = Model::features(9).dense(16, Activation::Tanh).dense(units, Activation::Linear);
        let found = losses(&model, &loss, &OptimizerSpec::adam(0.02), 3, 40);
        assert_falls(name, &found, 0.7);
    }
}

#[test]
fn every_optimizer_learns() {
    let options = [
        r#"{"sgd": {"learning_rate": 0.3}}"#,
        r#"{"sgd": {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-4}}"#,
        r#"{"sgd": {"learning_rate": 0.1, "momentum": 0.9, "nesterov": true}}"#,
        r#"{"adam": {"learning_rate": 0.02, "global_clip_norm": 1.0}}"#,
        r#"{"adamw": {"learning_rate": 0.02}}"#,
        r#"{"rmsprop": {"learning_rate": 0.01}}"#,
        r#"{"rmsprop": {"learning_rate": 0.005, "centered": true, "momentum": 0.5}}"#,
        r#"{"adagrad": {"learning_rate": 0.1}}"#,
        r#"{"lion": {"learning_rate": 0.01}}"#,
        r#"{"ftrl": {"learning_rate": 0.3}}"#,
    ];
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let model = Model::features(9).dense(16, Activation::Relu).dense(3, Activation::Linear);
    for text in options {
        let optimizer: OptimizerSpec = serde_json::from_str(text).unwrap();
        assert_falls(text, &losses(&model, &loss, &optimizer, 3, 30), 0.7);
    }
}

#[test]
fn running_moments_come_to_those_of_the_data() {
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let model = convolution().dense(3, Activation::Linear);
    let frozen = OptimizerSpec::sgd(0.0);
    let train = training_graph(&model, &loss, &frozen, BATCH).unwrap();
    let mut values = feeds(&train, &model, 3);
    values.set(train.hyper.unwrap(), vec![0.0; 8]);
    for _ in 0..60 {
        values = evaluate(&train, values).unwrap();
        apply_updates(&train, &mut values).unwrap();
    }
    let eval = evaluation_graph(&model, &loss, BATCH).unwrap();
    let mut again = feeds(&eval, &model, 3);
    for role in [Role::Parameter, Role::State] {
        for id in eval.with_role(role) {
            let twin = train.find(&eval.tensor(id).name).unwrap();
            again.set(id, values.get(twin).unwrap().to_vec());
        }
    }
    let again = evaluate(&eval, again).unwrap();
    let (a, b) = (output(&train, &values, "logits"), output(&eval, &again, "logits"));
    // The running variance is the unbiased one, the batch's own the biased.
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() < 0.05, "{a} in training, {b} in evaluation");
    }
}

/// The outputs of all depths are weighed by `exp(-eta loss)`, and what is shown is their mixture.
#[test]
fn hedged_depths_are_mixed_and_weighed() {
    let linear = Activation::Linear;
    let losses = [
        (LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 }, 3),
        (LossSpec::BinaryCrossentropy { label_smoothing: 0.0 }, 1),
        (LossSpec::MeanSquaredError {}, 1),
    ];
    for (loss, units) in losses {
        let model = Model::features(5).dense(7, Activation::Tanh).dense(6, Activation::Relu);
        let model = model.dense(units, linear).hedged_depth(HedgedDepth { rate: 0.5, share: 0.1 });
        let graph = training_graph(&model, &loss, &OptimizerSpec::sgd(0.1), BATCH).unwrap();
        let mut values = feeds(&graph, &model, 2);
        let weights = graph.find("hedge.weights").unwrap();
        values.set(weights, vec![0.2, 0.3, 0.5]);
        values.set(graph.hyper.unwrap(), vec![0.1, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
        let values = evaluate(&graph, values).unwrap();
        let of_heads: Vec<f64> = graph
            .tensors
            .iter()
            .enumerate()
            .filter(|(_, t)| t.op == Op::Loss(Loss::WeightedMean))
            .map(|(i, _)| values.get(TensorId(i as u32)).unwrap()[0])
            .skip(1)
            .collect();
        assert_eq!(of_heads.len(), 3);
        let mut want: Vec<f64> =
            of_heads.iter().zip([0.2, 0.3, 0.5]).map(|(l, w)| w * (-0.5 * l).exp()).collect();
        let sum: f64 = want.iter().sum();
        want.iter_mut().for_each(|w| *w = *w / sum * 0.9 + 0.1 / 3.0);
        let learned = graph.assignments.iter().find(|a| a.0 == weights).unwrap().1;
        for (got, want) in values.get(learned).unwrap().iter().zip(&want) {
            assert!((got - want).abs() < 1e-7, "{loss:?}: {got}, not {want}");
        }
        // Jensen: the mixture is never worse than its parts in the mean.
        let bound: f64 = of_heads.iter().zip([0.2, 0.3, 0.5]).map(|(l, w)| w * l).sum();
        assert!(output(&graph, &values, "loss")[0] <= bound + 1e-9, "{loss:?}");
        assert_eq!(model.output_shape().unwrap(), [units]);
        // 3 depths: the features, 7 and 6 units
        let heads = (5 + 1 + 7 + 1) * units;
        let plain = ModelSpec { hedged_depth: None, ..model.clone() };
        assert_eq!(model.num_parameters().unwrap(), plain.num_parameters().unwrap() + heads);
    }
}

/// A factor of the learning rate is that rate for its layers, and leaves the others as they are.
#[test]
fn layers_have_rates_of_their_own() {
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let model = Model::features(9).dense(16, Activation::Relu).dense(3, Activation::Linear);
    let after = |text: &str| {
        let optimizer: OptimizerSpec = serde_json::from_str(text).unwrap();
        let graph = training_graph(&model, &loss, &optimizer, BATCH).unwrap();
        let mut values = feeds(&graph, &model, 3);
        let rate = optimizer.schedule().clone().over(1).at(0) as f32;
        let hyper = tidemill_nn::hyper_values(&optimizer.rule(), f64::from(rate), 1);
        values.set(graph.hyper.unwrap(), hyper.iter().map(|&v| v.into()).collect());
        let mut values = evaluate(&graph, values).unwrap();
        apply_updates(&graph, &mut values).unwrap();
        let of = |name: &str| values.get(graph.find(name).unwrap()).unwrap().to_vec();
        ["layers.0.dense.kernel", "layers.1.dense.kernel", "layers.1.dense.bias"].map(of)
    };
    let plain = after(r#"{"adam": {"learning_rate": 0.5}}"#);
    let slow = after(r#"{"adam": {"learning_rate": 0.05}}"#);
    let rates = r#"{"adam": {"learning_rate": 0.5, "rates": {"layers.1": 0.1, "layers.*.dense.bias": 1.0}}}"#;
    let [first, kernel, bias] = after(rates);
    assert_eq!((&first, &bias), (&plain[0], &plain[2]));
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-8);
    assert!(close(&kernel, &slow[1]) && !close(&kernel, &plain[1]));

    let optimizer: OptimizerSpec =
        serde_json::from_str(r#"{"sgd": {"rates": {"layers.2": 0.1}}}"#).unwrap();
    let error = training_graph(&model, &loss, &optimizer, BATCH).unwrap_err().to_string();
    assert!(error.contains("no layer that learns has the path \"layers.2\""), "{error}");
    let optimizer: OptimizerSpec =
        serde_json::from_str(r#"{"sgd": {"rates": {"layers.0": 0.0}}}"#).unwrap();
    assert!(optimizer.validate().unwrap_err().message.contains("above 0"));
}

#[test]
fn frozen_layers_are_named_by_patterns() {
    let mut model = Model::features(9).dense(16, Activation::Relu).dense(3, Activation::Linear);
    model.frozen = vec!["layers.*.dense.bias".into()];
    assert!(model.is_frozen("layers.1.dense.bias") && !model.is_frozen("layers.1.dense.kernel"));
    model.summary().unwrap();
    model.frozen = vec!["layers.*.conv2d".into()];
    assert!(model.summary().unwrap_err().to_string().contains("layers.*.conv2d"));
}
