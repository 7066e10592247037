//! Layers, losses and metrics of another crate, made of the ops that built-in ones are made of, train the
//! same bits; what is wrong with them is an error that names them.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use tidemill::graph::Sequence;
use tidemill::{
    Activation, Builder, CustomLayer, CustomLoss, CustomMetric, EngineSpec, Field, FieldValues,
    FieldsDataset, Fit, GraphError, Initializer, LayerSpec, Link, LossSpec, MemoryDataset, Model,
    Network, OptimizerSpec, Targets, TensorId,
};

type Built = Result<TensorId, GraphError>;
type Ops = fn(&mut Builder<'_>, TensorId) -> Built;

/// A layer of a name and ops.
struct Layer(&'static str, bool, Ops);

impl CustomLayer for Layer {
    fn name(&self) -> &str {
        self.0
    }
    fn keeps_time(&self) -> bool {
        self.1
    }
    fn build(&self, b: &mut Builder<'_>, x: TensorId) -> Built {
        (self.2)(b, x)
    }
}

type Compare = fn(&mut Builder<'_>, TensorId, TensorId) -> Built;

struct Loss(&'static str, Targets, Link, Compare);

impl CustomLoss for Loss {
    fn name(&self) -> &str {
        self.0
    }
    fn targets(&self) -> Targets {
        self.1
    }
    fn link(&self) -> Link {
        self.2
    }
    fn build(&self, b: &mut Builder<'_>, outputs: TensorId, truth: TensorId) -> Built {
        (self.3)(b, outputs, truth)
    }
}

struct Metric(&'static str, fn(&[f64]) -> f64, Compare);

impl CustomMetric for Metric {
    fn name(&self) -> &str {
        self.0
    }
    fn value(&self, means: &[f64]) -> f64 {
        (self.1)(means)
    }
    fn build(&self, b: &mut Builder<'_>, outputs: TensorId, truth: TensorId) -> Built {
        (self.2)(b, outputs, truth)
    }
}

fn squared() -> Loss {
    Loss("squared", Targets::Dense, Link::Identity, |b, outputs, truth| {
        let error = b.sub(outputs, truth)?;
        b.square(error)
    })
}

fn values(n: usize) -> Arc<MemoryDataset> {
    let x: Vec<f32> = (0..3 * n).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
    let y = x.chunks(3).map(|x| x[0] * x[1] + x[2]).collect();
    Arc::new(MemoryDataset::targets(x, &[3], y, 1).unwrap())
}

fn compiled(model: Model, loss: impl Into<LossSpec>) -> Network {
    tidemill::compile(model, loss, OptimizerSpec::adam(0.01)).unwrap()
}

fn fit(network: &mut Network, epochs: u64) -> Vec<f64> {
    let history = network.fit(values(200), Fit { epochs, ..Fit::default() }).unwrap();
    history.iter().map(|epoch| epoch.train["loss"]).collect()
}

/// The message of why a model cannot be compiled.
fn refused(model: Model, loss: impl Into<LossSpec>) -> String {
    match tidemill::compile(model, loss, OptimizerSpec::sgd(0.1)) {
        Ok(_) => panic!("it compiles"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_custom_dense_layer_and_loss_are_the_built_in_ones() {
    let dense = Layer("mine", true, |b, x| {
        let kernel = b.parameter("kernel", &[b.width(x), 16], Initializer::default())?;
        let y = b.matmul(x, kernel)?;
        let bias = b.parameter("bias", &[16], Initializer::Zeros)?;
        let y = b.add(y, bias)?;
        b.tanh(y)
    });
    let last = |model: Model| model.dense(1, Activation::Linear);
    let mut ours = compiled(last(Model::features(3).layer(dense)), squared());
    let built_in = last(Model::features(3).dense(16, Activation::Tanh));
    let mut theirs = compiled(built_in, LossSpec::MeanSquaredError {});
    // Start values are drawn by name; take the other's.
    for part in ["kernel", "bias"] {
        let values = ours.weight(&format!("layers.0.mine.{part}")).unwrap().to_vec();
        theirs.set_weight(&format!("layers.0.dense.{part}"), &values).unwrap();
    }
    let (a, b) = (fit(&mut ours, 5), fit(&mut theirs, 5));
    assert!(a[4] < 0.5 * a[0], "{a:?}");
    let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-5 * b.abs();
    assert!(a.iter().zip(&b).all(close), "{a:?} {b:?}");
    // The planner fuses the layer as it fuses the built-in one.
    let kernels = |n: &Network| {
        let names = n.engine().training_plan().calls.iter().map(|c| c.spec.name());
        names.filter(|name| name.contains("gemm")).count()
    };
    assert_eq!(kernels(&ours), kernels(&theirs));
    assert_eq!(ours.engine().spec().model.summary().unwrap()[0].kind, "mine");
    assert!(ours.engine().explain().contains("layers.0.mine"));
}

#[test]
fn a_layer_has_state_dropout_and_layers_inside() {
    let block = Layer("block", true, |b, x| {
        let inner = [Model::features(1).dense(8, Activation::Relu).layers, vec![]].concat();
        let y = b.layers("inner", &inner, x)?;
        let y = b.dropout(y, 0.1)?;
        let seen = b.state("seen", &[1], Initializer::Zeros)?;
        let one = b.affine(seen, 1.0, 1.0)?;
        b.assign(seen, one)?;
        Ok(y)
    });
    let mut network =
        compiled(Model::features(3).layer(block).dense(1, Activation::Linear), squared());
    let losses = fit(&mut network, 3);
    assert!(losses[2] < losses[0]);
    assert!(network.weight("layers.0.block.inner.0.dense.kernel").is_some());
    // Seven steps an epoch were counted, none in evaluation.
    network.evaluate(values(50)).unwrap();
    assert_eq!(network.weight("layers.0.block.seen").unwrap(), &[21.0]);
    assert_eq!(
        network.predict(&[0.1, 0.2, 0.3]).unwrap(),
        network.predict(&[0.1, 0.2, 0.3]).unwrap()
    );
}

#[test]
fn metrics_are_means_of_parts() {
    let error = |b: &mut Builder<'_>, outputs, truth| {
        let error = b.sub(outputs, truth)?;
        b.abs(error)
    };
    let both = |b: &mut Builder<'_>, outputs, truth| {
        let error = b.sub(outputs, truth)?;
        let parts = [b.square(error)?, b.square(truth)?];
        b.concat(&parts)
    };
    let mut network = Network::new(EngineSpec {
        metrics: vec![
            Metric("my_mae", |means| means[0], error).into(),
            Metric("share", |means| means[0] / means[1], both).into(),
        ],
        ..EngineSpec::new(
            Model::features(3).dense(1, Activation::Linear),
            LossSpec::MeanSquaredError {},
            OptimizerSpec::sgd(0.01),
        )
    })
    .unwrap();
    let history = network.fit(values(100), Fit::default()).unwrap();
    let close = |a: f64, b: f64| (a - b).abs() < 1e-6 * b.abs();
    assert!(close(history[0].train["my_mae"], history[0].train["mae"]), "{history:?}");
    let figures = network.evaluate(values(77)).unwrap();
    assert!(close(figures["my_mae"], figures["mae"]), "{figures:?}");
    let power = mean_square(&values(77));
    assert!(close(figures["share"], figures["loss"] / power), "{figures:?} {power}");
}

fn mean_square(data: &MemoryDataset) -> f64 {
    use tidemill::Dataset;
    let targets = (0..data.len()).map(|i| f64::from(data.read(i).unwrap().targets()[0]));
    targets.map(|t| t * t).sum::<f64>() / data.len() as f64
}

#[test]
fn sequences_have_masks() {
    let mut words = FieldValues::sequences();
    for i in 0..64 {
        words.push_sequence(&vec![1 + i % 2; 1 + i as usize % 7]);
    }
    let labels = FieldValues::I32((0..64).map(|i| i % 2).collect());
    let data = FieldsDataset::new(vec![(Field::ids("words", 7), words)]).unwrap();
    let data = Arc::new(data.with_truth(Field::class("labels"), labels).unwrap());
    let mean = |b: &mut Builder<'_>, x| b.mean_over_positions(x);
    let model = Model::tokens(7, 3).embedding(4);
    let pooled = |layer: LayerSpec| model.clone().layer(layer).dense(2, Activation::Linear);
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let mut ours = compiled(pooled(Layer("mean", false, mean).into()), loss.clone());
    let mut theirs = compiled(pooled(LayerSpec::GlobalAvgPool {}), loss.clone());
    let fit = |network: &mut Network| {
        let fit = Fit { epochs: 20, batch_size: 8, ..Fit::default() };
        network.fit(data.clone(), fit).unwrap().pop().unwrap().train
    };
    assert_eq!(fit(&mut ours), fit(&mut theirs));
    let kept = refused(pooled(Layer("mean", true, mean).into()), loss);
    assert!(kept.contains("layers.1.mean") && kept.contains("keeps_time"), "{kept}");
}

#[test]
fn a_loss_of_each_position() {
    let (mut words, mut tags) = (FieldValues::sequences(), FieldValues::sequences());
    for i in 0..64 {
        let ids: Vec<i32> = (0..1 + i % 6).map(|t| 1 + (i * 7 + t * 3) % 5).collect();
        tags.push_sequence(&ids.iter().map(|id| id % 2).collect::<Vec<_>>());
        words.push_sequence(&ids);
    }
    let data = FieldsDataset::new(vec![(Field::ids("words", 6), words)]).unwrap();
    let data = Arc::new(data.with_truth(Field::ids("labels", 6), tags).unwrap());
    let model = || Model::tokens(6, 6).embedding(8).dense(2, Activation::Linear);
    let sparse = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    // Losses of positions are averaged by the mask; or the loss does that itself.
    let by_position: Compare = |b, outputs, truth| {
        let op = tidemill::graph::Loss::SparseCrossEntropy { label_smoothing: 0.0 };
        b.apply(op, &[outputs, truth])
    };
    let itself: Compare = |b, outputs, truth| {
        let op = tidemill::graph::Loss::SparseCrossEntropy { label_smoothing: 0.0 };
        let losses = b.apply(op, &[outputs, truth])?;
        let mask = b.mask().unwrap();
        b.apply(Sequence::WeightedMean, &[losses, mask])
    };
    let fit = |loss: LossSpec| {
        let fit = Fit { epochs: 5, batch_size: 8, ..Fit::default() };
        compiled(model(), loss).fit(data.clone(), fit).unwrap().pop().unwrap().train
    };
    let wanted = fit(sparse);
    assert!(wanted["accuracy"] > 0.9, "{wanted:?}");
    for compare in [by_position, itself] {
        let ours = Loss("tags", Targets::ClassIds, Link::Softmax, compare);
        assert_eq!(fit(ours.into()), wanted);
    }
}

#[test]
fn mistakes_name_the_part() {
    let dense = |model: Model| model.dense(1, Activation::Linear);
    let with = |name, ops: Ops| dense(Model::features(3).layer(Layer(name, true, ops)));
    let cases: [(Model, &[&str]); 7] = [
        (with("odd", |b, x| b.matmul(x, x)), &["layers.0.odd", "[32, 3]"]),
        (
            with("twice", |b, x| {
                b.parameter("w", &[3], Initializer::Zeros)?;
                b.parameter("w", &[3], Initializer::Zeros)?;
                Ok(x)
            }),
            &["layers.0.twice", "declares `w` twice"],
        ),
        (
            with("of_batch", |b, x| {
                let shape = b.shape(x).to_vec();
                let w = b.parameter("w", &shape, Initializer::Zeros)?;
                b.add(x, w)
            }),
            &["layers.0.of_batch.w", "batch size"],
        ),
        (
            with("training", |b, x| {
                if !b.is_training() {
                    return Ok(x);
                }
                let w = b.parameter("w", &[3], Initializer::Zeros)?;
                b.add(x, w)
            }),
            &["layers.0.training.w", "training alone"],
        ),
        (with("summed", |b, x| b.sum(x, &[0])), &["layers.0.summed", "the batch"]),
        (with("a.b", |_, x| Ok(x)), &["layers[0]", "\"a.b\""]),
        (
            with("dotted", |b, x| {
                b.parameter("a.b", &[3], Initializer::Zeros)?;
                Ok(x)
            }),
            &["layers.0.dotted", "a.b"],
        ),
    ];
    for (model, parts) in cases {
        let message = refused(model, squared());
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let loss = |name, compare: Compare| Loss(name, Targets::Dense, Link::Identity, compare);
    let cases = [
        (loss("total", |b, x, _| b.sum(x, &[0, 1])), "loss.total"),
        (
            loss("learned", |b, x, _| {
                b.parameter("w", &[1], Initializer::Zeros)?;
                Ok(x)
            }),
            "only a layer",
        ),
        (loss("odd", |b, x, t| b.matmul(x, t)), "loss.odd"),
    ];
    for (loss, part) in cases {
        let message = refused(dense(Model::features(3)), loss);
        assert!(message.contains(part), "{message}");
    }
}

#[cfg(feature = "recipes")]
#[test]
fn no_recipe_holds_a_custom_part() {
    use tidemill::train::RecipeFile;
    let text = "[model]\ninput = { features = 3 }\nlayers = [{ custom = {} }]\n[training]\nloss = \"mse\"\n";
    let error = RecipeFile::parse(text, std::path::Path::new("r.toml"), &[]).err().unwrap();
    assert!(error.to_string().contains("custom"), "{error}");
}

/// A layer that does other things in training than in evaluation is scored by evaluation.
#[cfg(feature = "online")]
#[test]
fn a_stream_is_scored_by_evaluation() {
    use tidemill::{Learner, Truth};
    let half = Layer("half", true, |b, x| match b.is_training() {
        true => b.affine(x, 0.5, 0.0),
        false => Ok(x),
    });
    let model = Model::features(3).layer(half).dense(2, Activation::Linear);
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let spec = EngineSpec::new(model, loss, OptimizerSpec::sgd(0.1));
    let mut learner = Learner::new(EngineSpec { batch_size: 1, ..spec }).unwrap();
    for i in 0..20 {
        let x = [1.0, i as f32 / 10.0, -0.5];
        let asked = learner.predict(&x).unwrap().to_vec();
        learner.learn(&x, Truth::Class(i % 2)).unwrap();
        let scored = learner.scored(0).outputs;
        assert!((scored[0] - asked[0]).abs() < 1e-6, "{i}: {scored:?} {asked:?}");
    }
}
