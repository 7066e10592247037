//! Hats beside the network without them.
#![allow(clippy::unwrap_used, missing_docs)]

use tidemill_engine::engine::{EngineSpec, StateValues};
use tidemill_engine::nn::{Activation, HATS, HatsSpec, LossSpec, Model, ModelSpec, OptimizerSpec};
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
    let (mut plain, mut hats) = (encoder(false), encoder(true));
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
        assert!(same.values.bytes() == tensor.values.bytes(), "{}", tensor.name);
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
