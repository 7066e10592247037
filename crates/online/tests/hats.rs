//! Hats beside the network without them.
#![allow(clippy::unwrap_used, missing_docs)]

use tidemill_engine::engine::{EngineSpec, StateValues};
use tidemill_engine::nn::{
    Activation, HATS, HatsSpec, LossSpec, MemorySpec, Model, ModelSpec, OptimizerSpec,
};
use tidemill_engine::prequential::Truth;
use tidemill_online::Learner;
use tidemill_recipe::stream::features::{Encoder, FeaturesSpec, HATS as HATS_OF_ENCODER};
use tidemill_recipe::stream::{Events, Format, FormatSpec, Schema, decoder};

fn learner(model: ModelSpec, classes: usize) -> Learner {
    let leaky = Activation::LeakyRelu { slope: 0.1 };
    let model = model.dense(16, leaky).dense(8, leaky).dense(classes, Activation::Linear);
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let spec = EngineSpec {
        batch_size: 1,
        seed: 3,
        threads: Some(1),
        ..EngineSpec::new(model, loss, OptimizerSpec::online())
    };
    let mut learner = Learner::new(spec).unwrap();
    learner.normalize_rate();
    learner
}

/// Events of two columns, whose class is a corner.
fn corners(len: usize) -> (Events, Schema, Vec<usize>) {
    let mut random = 7_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 40) as f64 / f64::from(1 << 24)
    };
    let spec = FormatSpec { header: Some(true), label: Some("y".into()), ..FormatSpec::default() };
    let mut csv = decoder(&spec, Format::Csv, None).unwrap();
    let (mut events, mut classes) = (Events::default(), Vec::new());
    csv.decode(b"a,b,y", true, &mut events).unwrap();
    for _ in 0..len {
        let (a, b) = (next(), next());
        let class = usize::from(((a * 4.0) as usize + (b * 4.0) as usize).is_multiple_of(2));
        csv.decode(format!("{a},{b},{class}").as_bytes(), false, &mut events).unwrap();
        classes.push(class);
    }
    (events, csv.schema().unwrap().clone(), classes)
}

/// The network without hats ends with the bits of a model without hats; the mixture is better than it.
#[test]
fn the_network_beside_hats_learns_as_if_they_were_not_there() {
    assert_eq!(HATS, HATS_OF_ENCODER);
    let (events, schema, classes) = corners(6000);
    let encoder = |hats| {
        let spec = FeaturesSpec { hats, ..FeaturesSpec::default() };
        Encoder::new(&spec, &schema, &events).unwrap()
    };
    let (mut plain, mut hats) = (encoder(None), encoder(Some(HATS)));
    let mut without = learner(Model::features(plain.width()), 2);
    let mut with = learner(Model::features(hats.width()).hats(HatsSpec::new(2)), 2);
    let (mut few, mut many) = (vec![0.0; plain.width()], vec![0.0; hats.width()]);
    for (i, class) in classes.iter().enumerate() {
        plain.encode(events.get(i), &mut few).unwrap();
        hats.encode(events.get(i), &mut many).unwrap();
        assert_eq!(few, many[..2]);
        without.learn(&few, Truth::Class(*class)).unwrap();
        with.learn(&many, Truth::Class(*class)).unwrap();
    }
    let (own, beside) = (without.engine().state(), with.engine().state());
    for tensor in own.tensors().iter().filter(|t| t.name.starts_with("layers.")) {
        let same = beside.tensors().iter().find(|t| t.name == tensor.name).unwrap();
        assert!(same.values.bytes().unwrap() == tensor.values.bytes().unwrap(), "{}", tensor.name);
    }
    let weights = beside.tensors().iter().find(|t| t.name == "hats.weights").unwrap();
    let StateValues::F32(weights) = &weights.values else { panic!("{weights:?}") };
    assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5 && weights[1] > 0.6, "{weights:?}");
    let accuracy = |learner: &Learner| learner.figures()["accuracy"];
    let (few, many) = (accuracy(&without), accuracy(&with));
    assert!(many > few + 0.03, "{few} without hats, {many} with them");
    // What is predicted is the mixture.
    let x = vec![0.5; hats.width()];
    let said = with.predict(&x).unwrap().to_vec();
    assert!((said.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{said:?}");
}

/// A memory says what the last events of its kind were, also where no rule of numbers does; it is seen which part
/// of the mixture is right.
#[test]
fn a_memory_of_the_last_events_is_weighed_with_the_networks() {
    let model = ModelSpec {
        memory: Some(MemorySpec { events: 200 }),
        ..Model::features(3 * (1 + HATS)).hats(HatsSpec::new(3))
    };
    let mut learner = learner(model, 4);
    let mut random = 5_u64;
    let mut next = || {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 40) as f32 / (1 << 24) as f32
    };
    // The classes of forty places, which change now and then; the third number says nothing.
    let mut places: Vec<([f32; 2], usize)> = Vec::new();
    let mut x = [0.0; 3 * (1 + HATS)];
    for i in 0..4000 {
        if i % 500 == 0 {
            places = (0..40)
                .map(|_| ([3.0 * next() - 1.5, 3.0 * next() - 1.5], (4.0 * next()) as usize))
                .collect();
        }
        let (place, class) = places[(40.0 * next()) as usize];
        x[..3].copy_from_slice(&[place[0], place[1], 3.0 * next() - 1.5]);
        learner.learn(&x, Truth::Class(class)).unwrap();
    }
    let figures = learner.figures();
    let of = |name: &str| figures[name];
    let (memory, plain) = (of("expert.memory.accuracy"), of("expert.plain.accuracy"));
    assert!(memory > plain + 0.05, "{memory} from memory, {plain} without");
    assert!(of("expert.memory.weight") > 0.5 && of("accuracy") > plain + 0.05, "{figures:?}");
    let shares = ["plain", "hats", "memory"].map(|name| of(&format!("expert.{name}.weight")));
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{shares:?}");
    // It has found which inputs matter.
    let state = learner.engine().state();
    let scale = state.tensors().iter().find(|t| t.name == "memory.scale").unwrap();
    let StateValues::F32(scale) = &scale.values else { panic!("{scale:?}") };
    assert!(scale[2] < scale[0].min(scale[1]), "{scale:?}");
}

/// Labels that come in runs, which no input tells: the last label again is right, of classes and of values.
#[test]
fn the_last_label_is_weighed_with_the_networks() {
    let model = |inputs: usize| ModelSpec {
        last_label: true,
        ..Model::features(inputs * (1 + HATS)).hats(HatsSpec::new(inputs))
    };
    let mut classes = learner(model(1), 3);
    let mut x = [0.0; 1 + HATS];
    for i in 0..2000_usize {
        x[0] = (i * 7 % 11) as f32 / 5.0 - 1.0;
        classes.learn(&x, Truth::Class(i / 20 % 3)).unwrap();
    }
    let figures = classes.figures();
    let of = |name: &str| figures[name];
    assert!(of("expert.last.accuracy") > 0.94 && of("expert.plain.accuracy") < 0.9, "{figures:?}");
    assert!(of("accuracy") > 0.93 && of("expert.last.weight") > 0.5, "{figures:?}");
}

/// A noisy line, of which a network finds curves that are not there: a linear model is closer, and has the weight.
#[test]
fn linear_models_are_weighed_with_the_networks() {
    let model = |inputs: usize| ModelSpec {
        linear: true,
        ..Model::features(inputs * (1 + HATS)).hats(HatsSpec::new(inputs))
    };
    let (mut with, mut without) =
        (learner(model(6), 2), learner(ModelSpec { linear: false, ..model(6) }, 2));
    let mut random = 11_u64;
    let mut uniform = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    for _ in 0..6000 {
        let mut x = [0.0; 6 * (1 + HATS)];
        let mut sum = 0.0;
        for (column, weight) in [1.0, -1.0, 0.5, 0.5, -0.25, 0.0].into_iter().enumerate() {
            x[column] = 3.4 * uniform();
            x[6 + column * HATS + (uniform() * 8.9 + 4.5) as usize] = 1.0;
            sum += weight * x[column];
        }
        let truth = Truth::Class(usize::from(sum + 2.0 * uniform() > 0.0));
        with.learn(&x, truth).unwrap();
        without.learn(&x, truth).unwrap();
    }
    let figures = with.figures();
    let of = |name: &str| figures[name];
    assert!(of("expert.linear.accuracy") > of("expert.plain.accuracy"), "{figures:?}");
    assert!(of("expert.linear.weight") > 0.5, "{figures:?}");
    assert!(of("accuracy") > without.figures()["accuracy"] + 0.002, "{figures:?}");
    // The optimizer's slots begin again, also those of the linear models' own rule.
    let sums = |learner: &Learner| {
        let state = learner.engine().state();
        let slot = state.tensors().iter().find(|t| t.name == "linear.0.dense.kernel.accumulator");
        let StateValues::F32(values) = &slot.unwrap().values else { panic!("not f32") };
        values.to_vec()
    };
    assert!(sums(&with).iter().all(|v| *v > 1.0));
    let mut engine = with.engine().clone();
    assert!(engine.weights().all(|(_, name)| !name.ends_with("accumulator")));
    engine.reset_slots();
    let index = engine.find_tensor("linear.0.dense.kernel.accumulator").unwrap();
    assert!(engine.tensor(index).iter().all(|v| *v == 1e-4));
}
