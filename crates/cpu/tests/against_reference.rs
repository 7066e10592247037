//! Whole training steps on the fast path against the reference interpreter in f64: every model
//! kind, every instruction set, fused and not, on one thread and on several.

#![allow(clippy::unwrap_used)]

use tidemill_cpu::isa::Isa;
use tidemill_cpu::runtime::{Input, Runtime};
use tidemill_graph::reference::{Values, apply_updates, evaluate};
use tidemill_graph::{DType, Graph, Op, Role, TensorId};
use tidemill_nn::{
    Activation, BatchNormSpec, Conv2dSpec, EntityEmbeddingSpec, HatsSpec, LayerSpec, LossSpec,
    MemorySpec, Model, ModelSpec, OptimizerSpec, Padding, ResidualSpec, hyper_values,
    initial_state, training_graph,
};
use tidemill_plan::Options;

struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
    fn below(&mut self, n: usize) -> i32 {
        (((self.next() + 1.0) * 0.5 * n as f32) as usize).min(n - 1) as i32
    }
}

fn recipe(layers: &str) -> Vec<LayerSpec> {
    #[derive(serde::Deserialize)]
    struct Layers {
        layers: Vec<LayerSpec>,
    }
    toml::from_str::<Layers>(&format!("layers = [{layers}]")).unwrap().layers
}

fn conv(filters: usize, stride: usize) -> Conv2dSpec {
    Conv2dSpec {
        padding: Padding::Same,
        stride: [stride; 2],
        bias: false,
        ..Conv2dSpec::new(filters, 3)
    }
}

fn block(filters: usize, stride: usize) -> ResidualSpec {
    let shortcut = match stride {
        1 => vec![],
        _ => vec![
            Conv2dSpec { kernel: [1, 1], ..conv(filters, stride) }.into(),
            BatchNormSpec::default().into(),
        ],
    };
    ResidualSpec {
        layers: vec![
            conv(filters, stride).into(),
            BatchNormSpec::default().into(),
            Activation::Relu.into(),
            conv(filters, 1).into(),
            BatchNormSpec::default().into(),
        ],
        shortcut,
        activation: Activation::Relu,
        drop_path: 0.0,
    }
}

/// The eight model kinds that cover every kernel of ready recipes, and more.
fn models() -> Vec<(&'static str, ModelSpec)> {
    let relu = Activation::Relu;
    let linear = Activation::Linear;
    let mlp = Model::image(7, 5, 1).flatten().dense(33, relu).dense(10, linear);
    let deep = Model::features(20)
        .dense(17, Activation::Tanh)
        .dropout(0.3)
        .dense(18, Activation::Gelu)
        .layer(LayerSpec::LayerNorm { epsilon: 1e-3 })
        .dense(16, Activation::Silu)
        .layer(LayerSpec::RmsNorm { epsilon: 1e-6 })
        .dense(10, linear);
    let same = |filters| Conv2dSpec { activation: relu, bias: true, ..conv(filters, 1) };
    let cnn = Model::image(12, 12, 1)
        .layer(same(8))
        .max_pool2d(2)
        .layer(same(16))
        .max_pool2d(2)
        .flatten()
        .dense(24, relu)
        .dense(10, linear);
    let valid = Model::image(9, 11, 3)
        .conv2d(5, 3, Activation::Sigmoid)
        .avg_pool2d(2)
        .layer(LayerSpec::GlobalMaxPool {})
        .dense(10, linear);
    let resnet = Model::image(8, 8, 3)
        .layer(conv(16, 1))
        .batch_norm()
        .activation(relu)
        .layer(block(16, 1))
        .layer(block(32, 2))
        .global_avg_pool()
        .dense(10, linear);
    let depthwise = ModelSpec {
        layers: recipe(
            "{ depthwise_conv2d = { kernel = 3, padding = 'same' } }, { activation = 'elu' }, \
             { conv2d = { filters = 6, kernel = 1, groups = 2 } }, { global_avg_pool = {} }, \
             { dense = { units = 10 } }",
        ),
        ..Model::image(8, 6, 4)
    };
    let gated = ModelSpec {
        layers: recipe(
            "{ conv2d = { filters = 8, kernel = 3, padding = 'same', activation = 'hard_swish' } }, \
             { residual = { drop_path = 0.4, layers = [ \
             { multiply = { layers = [{ global_avg_pool = {} }, { dense = { units = 4, activation = 'relu' } }, \
             { dense = { units = 8, activation = 'hard_sigmoid' } }] } }, { layer_scale = { initial = 0.5 } }] } }, \
             { global_avg_pool = {} }, { dense = { units = 10 } }",
        ),
        ..Model::image(6, 5, 3)
    };
    let words = Model::ids(6, 30).embedding(8).flatten().dense(10, linear);
    let tables = Model::features(5)
        .layer(EntityEmbeddingSpec::new(&[40, 30], 4))
        .dense(12, relu)
        .dense(10, linear);
    // tokens 0 among them, which give nothing
    let bag = EntityEmbeddingSpec { tokens: vec![3, 1], ..EntityEmbeddingSpec::new(&[30, 30], 5) };
    let bags = Model::features(6).layer(bag).dense(12, relu).dense(10, linear);
    let hedged = Model::features(7)
        .dense(12, relu)
        .dense(9, relu)
        .dense(10, linear)
        .hedged_depth(Default::default());
    let hats = Model::features(8 + 1 + 2 * 9).dense(12, relu).dense(9, relu).dense(10, linear);
    let hats = hats.hats(HatsSpec::new(2));
    let memory = ModelSpec { memory: Some(MemorySpec { events: 20 }), ..hats.clone() };
    vec![
        ("hats", hats),
        ("memory", memory),
        ("tables", tables),
        ("bags", bags),
        ("hedged", hedged),
        ("mlp", mlp),
        ("deep", deep),
        ("cnn", cnn),
        ("valid", valid),
        ("resnet", resnet),
        ("depthwise", depthwise),
        ("gated", gated),
        ("words", words),
    ]
}

fn optimizer(text: &str) -> OptimizerSpec {
    #[derive(serde::Deserialize)]
    struct Section {
        optimizer: OptimizerSpec,
    }
    toml::from_str::<Section>(&format!("optimizer = {text}")).unwrap().optimizer
}

fn cross_entropy() -> LossSpec {
    LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 }
}

/// Values of every input of a step.
fn feeds(graph: &Graph, step: u64, optimizer: &OptimizerSpec) -> Vec<(TensorId, Feed)> {
    let mut random = Random(77 + step);
    let inputs: Vec<TensorId> = graph.with_role(Role::Input).collect();
    let feed = |id: TensorId| {
        let tensor = graph.tensor(id);
        let len = tensor.len();
        let feed = match (tensor.name.as_str(), tensor.dtype) {
            ("labels", _) => Feed::Ints((0..len).map(|_| random.below(10)).collect()),
            ("key", _) => Feed::Ints(vec![3, 5, step as i32, 0]),
            ("hyper", _) => Feed::Floats(hyper_values(&optimizer.rule(), 0.01, step + 1).to_vec()),
            ("weights", _) => Feed::Floats((0..len).map(|i| 1.0 + (i % 3) as f32).collect()),
            ("targets", _) => Feed::Floats((0..len).map(|_| random.next().abs()).collect()),
            (_, DType::I32) => Feed::Ints((0..len).map(|_| random.below(30)).collect()),
            _ => {
                let mut values: Vec<f32> = (0..len).map(|_| random.next()).collect();
                // the last features are ids where there are tables for them
                let tensors = graph.tensors.iter();
                let lookups = tensors.filter(|t| matches!(t.op, Op::Embedding(_)));
                let taken = lookups.map(|t| graph.shape(t.inputs[1]).iter().product::<usize>());
                let batch = tensor.shape.first().copied().unwrap_or(1);
                let ids = taken.sum::<usize>() / batch;
                let width = tensor.shape.last().copied().unwrap_or(1).max(ids);
                for row in values.chunks_mut(width) {
                    row[width - ids..].fill_with(|| random.below(30) as f32);
                    // and 0 is no token
                    row[width - ids..].iter_mut().for_each(|id| *id = (*id - 8.0).max(0.0));
                }
                Feed::Floats(values)
            }
        };
        (id, feed)
    };
    inputs.into_iter().map(feed).collect()
}

enum Feed {
    Floats(Vec<f32>),
    Ints(Vec<i32>),
}

struct Case<'a> {
    name: String,
    model: &'a ModelSpec,
    loss: LossSpec,
    optimizer: OptimizerSpec,
    batch: usize,
}

/// State and losses after some steps on the fast path.
fn fast(case: &Case<'_>, isa: Isa, threads: usize, options: Options) -> Vec<Vec<f32>> {
    let graph = training_graph(case.model, &case.loss, &case.optimizer, case.batch).unwrap();
    let mut runtime = Runtime::new(isa, threads, &graph);
    let states: Vec<TensorId> = graph
        .tensors
        .iter()
        .enumerate()
        .filter(|(_, t)| is_state(t.role))
        .map(|(i, _)| TensorId(i as u32))
        .collect();
    for (id, values) in initial_state(&graph, case.model, 5).unwrap() {
        let index = states.iter().position(|&s| s == id).unwrap();
        runtime.state_mut(index).copy_from_slice(&values);
    }
    let plan = runtime.add(&graph, options).unwrap();
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let feeds = feeds(&graph, step, &case.optimizer);
        let inputs: Vec<Input<'_>> = feeds
            .iter()
            .map(|(_, feed)| match feed {
                Feed::Floats(x) => Input::F32(x),
                Feed::Ints(x) => Input::I32(x),
            })
            .collect();
        runtime.run(plan, &inputs).unwrap();
        losses.push(runtime.output(plan, "loss").unwrap()[0]);
    }
    let mut result: Vec<Vec<f32>> = (0..states.len()).map(|i| runtime.state(i).to_vec()).collect();
    result.push(losses);
    result
}

const STEPS: u64 = 3;

fn is_state(role: Role) -> bool {
    matches!(role, Role::Parameter | Role::State)
}

fn slow(case: &Case<'_>) -> Vec<Vec<f32>> {
    let graph = training_graph(case.model, &case.loss, &case.optimizer, case.batch).unwrap();
    let mut values = Values::<f64>::new(&graph);
    let wide = |v: Vec<f32>| v.into_iter().map(f64::from).collect();
    for (id, start) in initial_state(&graph, case.model, 5).unwrap() {
        values.set(id, wide(start));
    }
    let loss = graph.outputs.iter().find(|o| o.0 == "loss").unwrap().1;
    let mut losses = Vec::new();
    for step in 0..STEPS {
        for (id, feed) in feeds(&graph, step, &case.optimizer) {
            match feed {
                Feed::Floats(x) => values.set(id, wide(x)),
                Feed::Ints(x) => values.set_ints(id, x),
            }
        }
        values = evaluate(&graph, values).unwrap();
        losses.push(values.get(loss).unwrap()[0] as f32);
        apply_updates(&graph, &mut values).unwrap();
    }
    let states = (0..graph.tensors.len() as u32).map(TensorId);
    let mut result: Vec<Vec<f32>> = states
        .filter(|&id| is_state(graph.tensor(id).role))
        .map(|id| values.get(id).unwrap().iter().map(|&x| x as f32).collect())
        .collect();
    result.push(losses);
    result
}

fn close(name: &str, expected: &[Vec<f32>], found: &[Vec<f32>]) {
    assert_eq!(expected.len(), found.len(), "{name}");
    for (t, (e, f)) in expected.iter().zip(found).enumerate() {
        let scale = e.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (i, (a, b)) in e.iter().zip(f).enumerate() {
            let error = (a - b).abs();
            assert!(error <= 1e-3 * scale + 1e-6, "{name}: tensor {t} [{i}]: {a} {b}");
        }
    }
}

fn check(case: &Case<'_>, exhaustive: bool) {
    let expected = slow(case);
    for isa in Isa::available() {
        let fused = fast(case, isa, 1, Options::default());
        close(&format!("{} {isa:?} fused", case.name), &expected, &fused);
        if !exhaustive {
            continue;
        }
        let threads = fast(case, isa, 3, Options::default());
        assert!(fused == threads, "{} {isa:?}: 3 threads give other bits than 1", case.name);
        let plain =
            fast(case, isa, 2, Options { fuse: false, in_place: false, ..Options::default() });
        close(&format!("{} {isa:?} unfused", case.name), &expected, &plain);
    }
}

#[test]
fn every_model_steps_as_the_reference_does() {
    for (name, model) in &models() {
        for batch in [1, 4, 7] {
            let case = Case {
                name: format!("{name} batch {batch}"),
                model,
                loss: cross_entropy(),
                // plain SGD, since Adam's first steps turn rounding into full steps
                optimizer: optimizer("{ sgd = { learning_rate = 0.01, momentum = 0.9 } }"),
                batch,
            };
            check(&case, true);
        }
    }
}

/// The rows that occur are updated alone, or all of the table, by the optimizer and the batch.
#[test]
fn tables_are_updated_as_the_reference_does() {
    let (name, model) = &models()[0];
    for text in [
        "{ sgd = {} }",
        "{ adagrad = {} }",
        "{ sgd = { clip_value = 0.01 } }",
        "{ rmsprop = { epsilon = 1e-2, lazy = true } }",
    ] {
        for batch in [2, 9, 33] {
            let name = format!("{name} {text} batch {batch}");
            let (loss, optimizer) = (cross_entropy(), optimizer(text));
            check(&Case { name, model, loss, optimizer, batch }, true);
        }
    }
}

#[test]
fn every_optimizer_steps_as_the_reference_does() {
    let model = Model::features(11).dense(19, Activation::Tanh).dense(10, Activation::Linear);
    for text in [
        "{ sgd = { weight_decay = 0.01 } }",
        "{ sgd = { momentum = 0.9, nesterov = true, clip_value = 0.01 } }",
        "{ adam = { epsilon = 1e-3, clip_norm = 0.1 } }",
        "{ adamw = { epsilon = 1e-3, global_clip_norm = 0.1 } }",
        "{ rmsprop = { epsilon = 1e-2 } }",
        "{ rmsprop = { epsilon = 1e-2, bias_correction = true, lazy = true } }",
        "{ rmsprop = { epsilon = 1e-2, momentum = 0.9, centered = true } }",
        "{ adagrad = {} }",
        "{ ftrl = { l1 = 0.001, l2 = 0.01 } }",
        "{ sgd = { momentum = 0.9, rates = { 'layers.0' = 0.1, 'layers.*.dense.bias' = 3.0 } } }",
        "{ adamw = { epsilon = 1e-3, weight_decay = 0.1, rates = { 'layers.0' = 0.1 } } }",
        "{ adam = { epsilon = 1e-3, global_clip_norm = 0.1, rates = { 'layers.1' = 0.5 } } }",
        "{ ftrl = { l2 = 0.01, rates = { 'layers.0' = 0.5 } } }",
    ] {
        let case = Case {
            name: text.into(),
            model: &model,
            loss: cross_entropy(),
            optimizer: optimizer(text),
            batch: 6,
        };
        check(&case, true);
    }
}

#[test]
fn every_loss_steps_as_the_reference_does() {
    let model = Model::features(9).dense(8, Activation::Softplus).dense(10, Activation::Linear);
    for text in [
        "{ sparse_categorical_crossentropy = { label_smoothing = 0.1 } }",
        "{ categorical_crossentropy = { label_smoothing = 0.1 } }",
        "'binary_crossentropy'",
        "{ binary_focal_crossentropy = { gamma = 2.0, alpha = 0.25 } }",
        "'mse'",
        "'mae'",
        "{ huber = { delta = 0.3 } }",
        "'hinge'",
    ] {
        #[derive(serde::Deserialize)]
        struct Section {
            loss: LossSpec,
        }
        let loss = toml::from_str::<Section>(&format!("loss = {text}")).unwrap().loss;
        let case = Case {
            name: text.into(),
            model: &model,
            loss,
            optimizer: optimizer("{ sgd = {} }"),
            batch: 5,
        };
        check(&case, true);
    }
}
