//! The learner: refused updates, rollbacks, and readers of a model that learns.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tidemill_engine::engine::{Engine, EngineSpec};
use tidemill_engine::nn::{Activation, LayerSpec, LossSpec, Model, OptimizerSpec};
use tidemill_engine::prequential::{PrequentialSpec, Truth};
use tidemill_online::publish::Publisher;
use tidemill_online::{GuardSpec, Learner, Verdict};
use tidemill_recipe::stream::{Mark, Position};

fn spec(model: Model, optimizer: OptimizerSpec) -> EngineSpec {
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    EngineSpec {
        batch_size: 1,
        seed: 3,
        threads: Some(1),
        ..EngineSpec::new(model, loss, optimizer)
    }
}

fn net() -> Model {
    Model::features(4).dense(16, Activation::Tanh).dense(3, Activation::Linear)
}

/// Events of which the class is easy to learn.
fn event(i: u64) -> ([f32; 4], usize) {
    let bits = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = [0, 16, 32, 48].map(|shift| (bits >> shift & 0xffff) as f32 / 32768.0 - 1.0);
    let class = usize::from(x[0] + x[1] > 0.0) + usize::from(x[2] > 0.5);
    (x, class)
}

fn bits(learner: &Learner) -> Vec<u8> {
    let state = learner.engine().state();
    state.tensors().iter().flat_map(|t| t.values.bytes().unwrap().to_vec()).collect()
}

#[test]
fn a_refused_update_changes_no_bit() {
    for optimizer in [OptimizerSpec::sgd(0.1), OptimizerSpec::adam(0.01)] {
        let mut learner = Learner::new(spec(net(), optimizer)).unwrap();
        for i in 0..50 {
            let (x, class) = event(i);
            learner.learn(&x, Truth::Class(class)).unwrap();
        }
        let before = bits(&learner);
        let step = learner.engine().step();
        for bad in [f32::NAN, f32::INFINITY] {
            let learned = learner.learn(&[bad, 0.0, 0.0, 0.0], Truth::Class(0)).unwrap();
            assert_eq!(learned.verdict, Verdict::NotFinite);
        }
        assert_eq!((bits(&learner), learner.engine().step()), (before, step));
    }
}

#[test]
fn batch_norm_and_dropout_are_judged_before_the_step() {
    let mut model = Model::features(4).dense(8, Activation::Relu);
    model.layers.push(LayerSpec::BatchNorm(Default::default()));
    model.layers.push(LayerSpec::Dropout { rate: 0.5 });
    let spec = spec(model.dense(3, Activation::Linear), OptimizerSpec::sgd(0.1));
    // Batch norm needs two samples to train on.
    let mut learner = Learner::new(EngineSpec { batch_size: 2, ..spec }).unwrap();
    let step = |learner: &mut Learner, i: u64, spoil: f32| {
        learner.start(2);
        for row in 0..2 {
            let (mut x, class) = event(2 * i + row as u64);
            x[0] *= spoil;
            learner.row(row).copy_from_slice(&x);
            learner.set(row, Truth::Class(class), 1.0).unwrap();
        }
        learner.step().unwrap()
    };
    for i in 0..20 {
        // What is scored is what a prediction says.
        let said = learner.predict(&event(2 * i + 1).0).unwrap().to_vec();
        step(&mut learner, i, 1.0);
        for (said, scored) in said.iter().zip(learner.scored(1).outputs) {
            assert!((said - scored).abs() < 1e-5, "{said} {scored}");
        }
    }
    let before = bits(&learner);
    assert_eq!(step(&mut learner, 20, f32::NAN).verdict, Verdict::NotFinite);
    assert_eq!(bits(&learner), before);
}

#[test]
fn a_model_that_diverged_comes_back() {
    let guard = GuardSpec { keep_every: 500, ..GuardSpec::default() };
    let engine = Engine::compile(spec(net(), OptimizerSpec::sgd(0.1))).unwrap();
    let mut learner = Learner::with(engine, PrequentialSpec::default(), guard).unwrap();
    let mut good = Vec::new();
    for i in 0..1700 {
        let (x, class) = event(i);
        learner.learn(&x, Truth::Class(class)).unwrap();
        if i == 1499 {
            good = bits(&learner);
        }
    }
    // Someone breaks the weights.
    let mut state = learner.engine().state().into_tensors();
    state[0].values = vec![f32::NAN; state[0].values.len()].into();
    learner.engine_mut().set_state(&state).unwrap();
    let mut rolled_back = 0;
    for i in 1700..1720 {
        let (x, class) = event(i);
        let learned = learner.learn(&x, Truth::Class(class)).unwrap();
        if learned.rolled_back {
            rolled_back += 1;
            assert_eq!(bits(&learner), good);
        }
    }
    assert_eq!((rolled_back, learner.guard().rollbacks, learner.guard().refused), (1, 1, 10));
}

/// Four readers under full learning load: each answer is that of exactly one version.
#[test]
fn readers_never_see_half_an_update() {
    let mut learner = Learner::new(spec(net(), OptimizerSpec::sgd(0.1))).unwrap();
    let asked = [0.25, -0.5, 0.75, 0.1];
    let mut position = Position::default();
    let publisher = Publisher::new(&learner, &position);
    let stop = AtomicBool::new(false);
    let mut right: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    let to_bits = |outputs: &[f32]| outputs.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
    let seen = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let mut follower = publisher.follower().unwrap();
                let stop = &stop;
                scope.spawn(move || {
                    let mut seen: Vec<(u64, u64, Vec<u32>)> = Vec::new();
                    while !stop.load(Relaxed) {
                        let answer = follower.predict(&asked).unwrap();
                        let at = answer.position.mark("").unwrap_or_default().major;
                        if seen.last().is_none_or(|last| last.0 != answer.version) {
                            seen.push((answer.version, at, to_bits(answer.outputs)));
                        }
                    }
                    seen
                })
            })
            .collect();
        for i in 0..20_000 {
            right.insert(i, to_bits(learner.predict(&asked).unwrap()));
            let (x, class) = event(i);
            learner.learn(&x, Truth::Class(class)).unwrap();
            position.advance("", Mark { major: i + 1, minor: 0 });
            publisher.publish(&learner, &position);
        }
        right.insert(20_000, to_bits(learner.predict(&asked).unwrap()));
        std::thread::sleep(std::time::Duration::from_millis(20));
        stop.store(true, Relaxed);
        readers.into_iter().flat_map(|r| r.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(seen.len() > 20, "{} versions seen", seen.len());
    for (version, at, outputs) in &seen {
        assert_eq!(version, at);
        assert_eq!(&right[version], outputs, "version {version}");
    }
    // The last one is fresh.
    assert!(seen.iter().any(|(version, ..)| *version == 20_000));
}
