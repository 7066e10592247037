//! Networks: clones, threads, frozen layers, weights by name, and what is an error.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use tidemill::nn::EntityEmbeddingSpec;
use tidemill::{
    Activation, Batch, Callback, Engine, EngineSpec, Fit, Flow, LossSpec, MemoryDataset, Model,
    Network, OptimizerSpec, Result, Step, Training,
};

const SPARSE: LossSpec = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };

fn classes(n: usize) -> Arc<MemoryDataset> {
    let x: Vec<f32> = (0..4 * n).map(|i| ((i * 31) % 97) as f32 / 48.0 - 1.0).collect();
    let labels = x.chunks(4).map(|x| u32::from(x[0] * x[1] > x[2])).collect();
    Arc::new(MemoryDataset::classes(x, &[4], labels).unwrap())
}

fn model() -> Model {
    Model::features(4)
        .dense(32, Activation::Relu)
        .batch_norm()
        .dense(16, Activation::Relu)
        .dropout(0.1)
        .dense(2, Activation::Linear)
}

fn network(model: Model) -> Network {
    let spec = EngineSpec {
        threads: Some(2),
        ..EngineSpec::new(model, SPARSE, OptimizerSpec::adam(0.01))
    };
    Network::new(spec).unwrap()
}

fn bits(network: &Network) -> Vec<(String, Vec<u8>)> {
    let tensors = network.engine().state().into_tensors();
    tensors.into_iter().map(|t| (t.name, t.values.bytes().unwrap().to_vec())).collect()
}

fn fit(network: &mut Network, epochs: u64) -> Vec<f64> {
    let history = network.fit(classes(200), Fit { epochs, ..Fit::default() }).unwrap();
    history.iter().map(|epoch| epoch.train["loss"]).collect()
}

#[test]
fn networks_may_be_sent_and_shared() {
    fn both<T: Send + Sync + Clone>() {}
    both::<Network>();
    both::<Engine>();
}

#[test]
fn a_clone_goes_on_with_the_same_bits_by_itself() {
    let mut first = network(model());
    fit(&mut first, 2);
    let mut second = first.clone();
    let at_the_clone = bits(&first);
    assert_eq!(at_the_clone, bits(&second));
    let losses = fit(&mut first, 2);
    assert_eq!(bits(&second), at_the_clone, "the clone has a state of its own");
    assert_eq!(fit(&mut second, 2), losses);
    assert_eq!(bits(&first), bits(&second));
}

#[test]
fn threads_predict_the_same_bits() {
    let mut network = network(model().dense(300, Activation::Relu).dense(2, Activation::Linear));
    fit(&mut network, 1);
    let x: Vec<f32> = (0..4 * 700).map(|i| ((i * 13) % 29) as f32 / 14.0 - 1.0).collect();
    let mut engine_s = Vec::new();
    for samples in x.chunks(4 * 256) {
        let batch = Batch::of_x(samples.to_vec(), &[4]);
        engine_s.extend_from_slice(network.clone().engine_mut().predict(&batch).unwrap());
    }
    assert_eq!(network.predict(&x).unwrap(), engine_s, "by the engine alone");
    let (shared, x) = (&network, &x);
    for _ in 0..5 {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|t| {
                    scope.spawn(move || (t, shared.predict(&x[..4 * (700 - 50 * t)]).unwrap()))
                })
                .collect();
            for thread in threads {
                let (t, outputs) = thread.join().unwrap();
                // Batches of other sizes may sum in another order; whole ones are the same.
                assert_eq!(outputs[..2 * 256], engine_s[..2 * 256], "thread {t}");
                assert_eq!(outputs, shared.predict(&x[..4 * (700 - 50 * t)]).unwrap());
            }
        });
    }
    // Training sees no trace of it.
    let mut untouched = network.clone();
    assert_eq!(fit(&mut network, 1), fit(&mut untouched, 1));
    assert_ne!(network.predict(x).unwrap(), engine_s, "predictions are of the newest weights");
}

#[test]
fn frozen_layers_keep_their_bits() {
    for clip_norm in [false, true] {
        let mut optimizer = OptimizerSpec::adam(0.01);
        if let (OptimizerSpec::Adam(adam), true) = (&mut optimizer, clip_norm) {
            adam.global_clip_norm = Some(1.0);
        }
        let frozen = model().freeze(0).freeze_layer("layers.1.batch_norm");
        let mut network = tidemill::compile(frozen, SPARSE, optimizer).unwrap();
        let before = bits(&network);
        let is_frozen = |name: &str| name.starts_with("layers.0.") || name.starts_with("layers.1.");
        let slots = before.iter().filter(|(name, _)| is_frozen(name)).count();
        assert_eq!(slots, 5, "kernel, bias, gamma, beta, moments and no slots: {before:?}");
        let losses = fit(&mut network, 10);
        assert!(losses[9] < 0.8 * losses[0], "{losses:?}");
        for ((name, old), (_, new)) in before.iter().zip(bits(&network)) {
            assert_eq!(*old == new, is_frozen(name), "{name}");
        }
    }
}

/// The layers above frozen ones learn as if they were alone, with what the frozen ones give as input.
#[test]
fn layers_above_frozen_ones_learn_as_alone() {
    let below = Model::features(4).dense(8, Activation::Tanh);
    let whole = below.clone().dense(16, Activation::Relu).dense(2, Activation::Linear).freeze(0);
    let top = Model::features(8).dense(16, Activation::Relu).dense(2, Activation::Linear);
    let (mut whole, mut top) = (network(whole), network(top));
    let mut features = network(below);
    features.take_weights(&whole).unwrap();
    for layer in 0..2 {
        for part in ["kernel", "bias"] {
            let values = whole.weight(&format!("layers.{}.dense.{part}", layer + 1)).unwrap();
            top.set_weight(&format!("layers.{layer}.dense.{part}"), values).unwrap();
        }
    }
    for i in 0..20 {
        let x: Vec<f32> =
            (0..32 * 4).map(|k| ((k * 17 + i * 5) % 23) as f32 / 11.0 - 1.0).collect();
        let labels: Vec<i32> = x.chunks(4).map(|x| i32::from(x[0] > x[1])).collect();
        let given = features.engine_mut();
        let given =
            given.evaluate(&Batch::of_x(x.clone(), &[4]).with_classes(vec![0; 32])).unwrap();
        let seen = Batch::of_x(given.logits.to_vec(), &[8]).with_classes(labels.clone());
        let a = whole.train_on_batch(&Batch::of_x(x, &[4]).with_classes(labels)).unwrap();
        let b = top.train_on_batch(&seen).unwrap();
        assert!((a - b).abs() < 1e-5 * b, "{i}: {a} {b}");
    }
}

#[test]
fn what_cannot_be_frozen_is_an_error() {
    let refused = |model: Model| match tidemill::compile(model, SPARSE, OptimizerSpec::sgd(0.1)) {
        Ok(_) => panic!("it compiles"),
        Err(error) => error.to_string(),
    };
    let unknown = refused(model().freeze_layer("layers.9"));
    assert!(unknown.contains("layers.9") && unknown.contains("layers.0.dense"), "{unknown}");
    let part = refused(model().freeze_layer("layers.0.dens"));
    assert!(part.contains("layers.0.dens\""), "{part}");
    let all = refused((0..5).fold(model(), Model::freeze));
    assert!(all.contains("frozen"), "{all}");
}

#[test]
fn weights_come_from_another_model_and_from_files() {
    let mut first = network(model());
    fit(&mut first, 2);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("first.safetensors");
    first.save(&file).unwrap();
    let mut other = model();
    other.layers.pop();
    let mut second = network(other.dense(5, Activation::Linear).freeze(0));
    let left = second.load_weights(&file).unwrap();
    assert_eq!(left, ["layers.4.dense.kernel", "layers.4.dense.bias"]);
    let name = "layers.1.batch_norm.moments";
    assert_eq!(second.weight(name), first.weight(name));
    assert!(second.load(&file).is_err(), "another model");
    let mut unlike = network(Model::features(4).dense(2, Activation::Linear));
    assert!(unlike.take_weights(&first).unwrap_err().to_string().contains("no weights"));
    assert!(second.set_weight("layers.0.dense.kernel", &[1.0]).is_err());
    assert!(second.set_weight("kernel", &[1.0]).unwrap_err().to_string().contains("layers.0"));
}

#[test]
fn what_is_not_finite_is_an_error() {
    let nan = MemoryDataset::classes(vec![0.1, 0.2, f32::NAN, 0.4], &[4], vec![1]).unwrap();
    let nan = Arc::new(nan);
    let mut bad = network(model());
    let message = bad.predict(&[0.1, f32::INFINITY, 0.0, 0.0]).unwrap_err().to_string();
    assert!(message.contains("`x` of sample 0") && message.contains("inf"), "{message}");
    let message = bad.evaluate(nan.clone()).unwrap_err().to_string();
    assert!(message.contains("sample 0") && message.contains("NaN"), "{message}");
    let batch = Batch::of_x(vec![f32::NAN; 4], &[4]).with_classes(vec![0]);
    // Batch norm takes no single sample in training.
    assert!(bad.train_on_batch(&batch).unwrap_err().to_string().contains("batch"));
    let two = Batch::of_x(vec![f32::NAN; 8], &[4]).with_classes(vec![0, 1]);
    let message = bad.train_on_batch(&two).unwrap_err().to_string();
    assert!(message.contains("at step 1") && message.contains("`x`"), "{message}");
    let message = bad.fit(classes(50), Fit::default()).unwrap_err().to_string();
    assert!(message.contains("layers.0.dense.kernel has values that are not finite"), "{message}");
}

/// As in a run: what is not finite is not written, not taken over, and not the result of training.
#[test]
fn weights_that_are_not_finite_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.safetensors");
    let mut good = network(model());
    fit(&mut good, 1);
    good.save(&file).unwrap();
    let saved = std::fs::read(&file).unwrap();
    // The loss of the only step is finite, and its update is not.
    let mut bad = network(model());
    let rate: Option<Box<dyn FnMut(u64) -> f64>> = Some(Box::new(|_| f64::INFINITY));
    let once = Fit { batch_size: 50, learning_rate: rate, ..Fit::default() };
    let message = bad.fit(classes(50), once).unwrap_err().to_string();
    assert!(message.contains("after step 1: layers.0.dense"), "{message}");
    let message = bad.save(&file).unwrap_err().to_string();
    assert!(message.contains("is not written: layers.0.dense"), "{message}");
    assert_eq!(std::fs::read(&file).unwrap(), saved);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let mut damaged = saved;
    let end = damaged.len() - 4;
    damaged[end..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&file, damaged).unwrap();
    let before = good.weight("layers.0.dense.kernel").unwrap().to_vec();
    for message in [good.load(&file).unwrap_err(), good.load_weights(&file).unwrap_err()] {
        assert!(message.to_string().contains("is not taken over"), "{message}");
    }
    assert_eq!(good.weight("layers.0.dense.kernel").unwrap(), before);
}

#[test]
fn ids_beyond_a_vocabulary_are_errors() {
    // Ids of an input of ids: by its vocabulary, and by the rows of the table that reads them.
    let ids = |rows: usize| {
        let table = tidemill::nn::EmbeddingSpec::new(rows, 4);
        network(Model::ids(2, 10).layer(table).flatten().dense(2, Activation::Linear))
    };
    for (rows, bad) in [(10, 10.0), (10, -1.0), (6, 6.0), (10, 1.5), (10, f32::NAN)] {
        let mut network = ids(rows);
        assert!(network.predict(&[1.0, 5.0]).is_ok());
        let message = network.predict(&[1.0, bad]).unwrap_err().to_string();
        assert!(message.contains("id"), "{message}");
        let data = Arc::new(MemoryDataset::classes(vec![1.0, bad], &[2], vec![1]).unwrap());
        assert!(network.evaluate(data.clone()).is_err());
        let before = bits(&network);
        assert!(network.fit(data.clone(), Fit::default()).is_err());
        let batch = Batch::of_x(vec![1.0, bad], &[2]).with_classes(vec![1]);
        assert!(network.train_on_batch(&batch).is_err());
        assert_eq!(bits(&network), before, "nothing was learned");
    }
    // Ids among features.
    let tables = EntityEmbeddingSpec::new(&[3, 5], 4);
    let mut network = network(Model::features(3).layer(tables).dense(2, Activation::Linear));
    assert!(network.predict(&[0.5, 2.0, 4.0]).is_ok());
    for bad in [[0.5, 3.0, 0.0], [0.5, 0.0, 5.0], [0.5, -1.0, 0.0], [0.5, 0.5, 0.0]] {
        let message = network.predict(&bad).unwrap_err().to_string();
        assert!(message.contains("for table"), "{message}");
        let before = bits(&network);
        let batch = Batch::of_x(bad.to_vec(), &[3]).with_classes(vec![1]);
        assert!(network.train_on_batch(&batch).unwrap_err().to_string().contains("for table"));
        assert_eq!(bits(&network), before, "nothing was learned");
        let data = Arc::new(MemoryDataset::classes(bad.to_vec(), &[3], vec![1]).unwrap());
        assert!(network.evaluate(data.clone()).unwrap_err().to_string().contains("for table"));
        assert!(network.fit(data, Fit::default()).is_err());
    }
}

#[test]
fn targets_that_a_loss_is_not_defined_for_are_errors() {
    let model = Model::features(1).dense(2, Activation::Linear);
    for (loss, bad) in [
        (LossSpec::BinaryCrossentropy { label_smoothing: 0.0 }, 3.0),
        (LossSpec::BinaryFocalCrossentropy { gamma: 2.0, alpha: None }, -1.0),
        (LossSpec::Hinge {}, 2.0),
    ] {
        let mut network = tidemill::compile(model.clone(), loss, OptimizerSpec::sgd(0.1)).unwrap();
        let data = |y: f32| {
            Arc::new(
                MemoryDataset::targets(vec![0.1, 0.2], &[1], vec![0.0, 1.0, 1.0, y], 2).unwrap(),
            )
        };
        assert!(network.fit(data(0.0), Fit::default()).is_ok());
        let before = bits(&network);
        let message = network.fit(data(bad), Fit::default()).unwrap_err().to_string();
        assert!(message.contains(&format!("is {bad}; the loss ")), "{message}");
        assert_eq!(bits(&network), before, "nothing was learned");
    }
}

#[test]
fn counts_are_learned_as_rates() {
    // Without inputs that say anything, the most likely rate is the mean count.
    let counts: Vec<f32> = (0..100).map(|i| [0.0, 1.0, 7.0, 2.0][i % 4]).collect();
    let data = Arc::new(MemoryDataset::targets(vec![0.0; 100], &[1], counts, 1).unwrap());
    let model = Model::features(1).dense(1, Activation::Linear);
    let mut network =
        tidemill::compile(model, LossSpec::Poisson {}, OptimizerSpec::sgd(0.1)).unwrap();
    let fit = Fit { epochs: 50, batch_size: 100, ..Fit::default() };
    let history = network.fit(data.clone(), fit).unwrap();
    let rate = network.predict(&[0.0]).unwrap()[0];
    assert!((rate - 2.5).abs() < 1e-3, "{rate}");
    // Errors are of counts: |0 - 2.5|, |1 - 2.5|, |7 - 2.5|, |2 - 2.5|.
    let figures = network.evaluate(data).unwrap();
    assert!((figures["mae"] - 2.25).abs() < 1e-3, "{figures:?}");
    // e^x - t x at x = ln 2.5, on average 2.5 - 2.5 ln 2.5.
    let least = 2.5 - 2.5 * 2.5_f64.ln();
    assert!((figures["loss"] - least).abs() < 1e-4 && history[0].train["loss"] > least);
    let negative = MemoryDataset::targets(vec![0.0], &[1], vec![-1.0], 1).unwrap();
    let message = network.fit(Arc::new(negative), Fit::default()).unwrap_err().to_string();
    assert!(message.contains("is -1; the loss poisson takes targets of 0 or more"), "{message}");
}

/// Counts, changes the learning rate, and stops.
#[derive(Default)]
struct Counter {
    steps: u64,
    epochs: u64,
}

impl Callback for Counter {
    fn before_step(&mut self, training: &mut Training<'_>) -> Result<Flow> {
        training.learning_rate = if training.engine.step() < 7 { 0.01 } else { 0.0 };
        Ok(Flow::Continue)
    }

    fn after_step(&mut self, training: &mut Training<'_>, step: &Step) -> Result<Flow> {
        self.steps += 1;
        assert_eq!(training.engine.step(), self.steps);
        assert!(step.loss.is_finite() && step.samples == if step.last_in_epoch { 8 } else { 32 });
        Ok(if self.steps == 17 { Flow::Stop } else { Flow::Continue })
    }

    fn after_epoch(&mut self, training: &mut Training<'_>, _: &Step) -> Result<Flow> {
        self.epochs += 1;
        assert!(training.figures()["accuracy"] > 0.0);
        Ok(Flow::Continue)
    }
}

#[test]
fn callbacks_see_each_step_change_its_rate_and_stop() {
    let plain = Model::features(4).dense(8, Activation::Relu).dense(2, Activation::Linear);
    let mut counted = network(plain.clone());
    let mut counter = Counter::default();
    let callbacks: Vec<&mut dyn Callback> = vec![&mut counter];
    let history =
        counted.fit(classes(200), Fit { epochs: 5, callbacks, ..Fit::default() }).unwrap();
    assert_eq!((counter.steps, counter.epochs, history.len()), (17, 2, 2));
    // The same by a function of the step: after step 7 nothing is learned any more.
    let mut other = network(plain);
    let rate = |step| if step < 7 { 0.01 } else { 0.0 };
    let fit = Fit { epochs: 1, learning_rate: Some(Box::new(rate)), ..Fit::default() };
    other.fit(classes(200), fit).unwrap();
    for name in ["layers.0.dense.kernel", "layers.1.dense.bias"] {
        assert_eq!(counted.weight(name), other.weight(name));
    }
}

#[test]
fn errors_are_printed_for_people() {
    let images = Model::image(4, 4, 1).dense(2, Activation::Linear);
    let error = tidemill::compile(images, SPARSE, OptimizerSpec::sgd(0.1)).err().unwrap();
    let shown = format!("Error: {error:?}");
    assert!(shown.contains("\n  help: insert { flatten = {} }"), "{shown}");
    assert!(!shown.contains("Engine(") && !shown.contains("EngineError"), "{shown}");
}
