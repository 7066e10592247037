//! The ready recipes: they parse, build, and have the parameter counts of their Keras twins.
#![allow(clippy::unwrap_used)]

use serde::Deserialize;
use std::path::Path;
use tidemill_nn::{
    LossSpec, ModelSpec, OptimizerSpec, evaluation_graph, inference_graph, training_graph,
};

#[derive(Deserialize)]
struct Recipe {
    model: ModelSpec,
    training: Training,
}

#[derive(Deserialize)]
struct Training {
    loss: LossSpec,
    #[serde(default = "OptimizerSpec::online")]
    optimizer: OptimizerSpec,
}

fn recipe(name: &str) -> Recipe {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../recipes/{name}.toml"));
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Recipe, learned values as `count_params` of Keras gives them without running statistics, outputs.
const RECIPES: [(&str, usize, usize); 23] = [
    ("article-batch", 101_770, 10),
    ("article-sgd", 101_770, 10),
    ("article-online", 101_770, 10),
    ("mnist-article", 101_770, 10),
    ("mnist-mlp", 669_706, 10),
    ("mnist-cnn", 421_642, 10),
    ("mnist-online", 101_770, 10),
    ("fashion-mlp", 101_770, 10),
    ("fashion-cnn", 421_642, 10),
    // 270,906 for convolutions, shortcuts and the dense layer, 1,568 for 21 batch norms.
    ("cifar-resnet", 272_474, 10),
    ("imagenet-resnet50", 25_557_032, 1000),
    ("elec2", 321, 1),
    ("elec2-logistic", 9, 1),
    ("movielens", 177_121, 1),
    ("stream", 10_232, 2),
    ("adult", 355_842, 1),
    ("bikes", 12_936, 1),
    ("covertype", 275_470, 7),
    ("newsgroups", 8_389_268, 20),
    ("banking77", 4_199_309, 77),
    ("banking77-gru", 1_217_357, 77),
    ("clinc150", 4_204_054, 150),
    ("scitldr", 1_048_929, 1),
];

/// Recipes of models whose size depends on a tokenizer.
const TOKENS: [&str; 4] = ["aeslc", "multi30k", "shakespeare", "shakespeare-small"];

/// Recipes of models whose input depends on the section `audio`.
const SOUNDS: [&str; 3] = ["digits-streaming", "digits-transducer", "fsdd"];

/// Recipes of models that are no network.
const LINEAR: [&str; 1] = ["hashed-logistic"];

#[test]
fn every_recipe_builds_for_every_batch_size() {
    for (name, parameters, outputs) in RECIPES {
        let Recipe { mut model, training: Training { loss, optimizer } } = recipe(name);
        model.expand(None).unwrap();
        assert_eq!(model.num_parameters().unwrap(), parameters, "{name}");
        assert_eq!(model.output_shape().unwrap(), [outputs], "{name}");
        optimizer.validate().unwrap();
        loss.validate().unwrap();
        for batch in [1, 3, 64] {
            let graph = training_graph(&model, &loss, &optimizer, batch).unwrap();
            assert_eq!(
                graph.updates.iter().map(|u| graph.tensor(u.parameter).len()).sum::<usize>(),
                parameters
            );
            evaluation_graph(&model, &loss, batch).unwrap();
            inference_graph(&model, &loss, batch).unwrap();
        }
    }
}

/// 40 values of 4 frames; ten digits, four special tokens and the blank. By hand: the dense layers and convolutions of the encoder with its norms, and the joiner's
/// dense layer, table, kernel and bias.
#[test]
fn a_transducer_has_the_parameters_of_its_layers() {
    let Recipe { mut model, .. } = recipe("digits-transducer");
    let spec = model.transducer.as_mut().unwrap();
    spec.encoder.frames = Some([300, 160]);
    let (units, labels, context) = (192, 15, spec.context);
    model.expand(Some(labels)).unwrap();
    let dense = |inputs: usize, outputs: usize| (inputs + 1) * outputs;
    let block = 2 * units + dense(5 * units, units) + dense(units, units);
    let encoder = dense(160, units) + 6 * block + 2 * units;
    let joiner = dense(units, units) + context * labels * units + dense(units, labels);
    assert_eq!(model.num_parameters().unwrap(), encoder + joiner);
    assert_eq!(model.output_shape().unwrap(), [300, labels]);
}

#[test]
fn no_recipe_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    let mut tested: Vec<&str> =
        RECIPES.iter().map(|r| r.0).chain(LINEAR).chain(TOKENS).chain(SOUNDS).collect();
    tested.sort_unstable();
    assert_eq!(found, tested);
}

#[test]
fn a_recipe_survives_being_written_and_read() {
    for (name, ..) in RECIPES {
        let Recipe { model, training } = recipe(name);
        assert_eq!(toml::from_str::<ModelSpec>(&toml::to_string(&model).unwrap()).unwrap(), model);
        let text = serde_json::to_string(&training.optimizer).unwrap();
        assert_eq!(serde_json::from_str::<OptimizerSpec>(&text).unwrap(), training.optimizer);
    }
}

/// A stream has no known end; a run of batches has one.
#[test]
fn the_default_rate_stays_on_streams_and_falls_in_batches() {
    let optimizer = OptimizerSpec::online();
    assert_eq!([0, 1, 1 << 32].map(|step| optimizer.schedule().at(step)), [2e-3; 3]);
    let rates = optimizer.schedule().clone().over(100);
    assert!(rates.at(0) == 2e-3 && (rates.at(50) - 1e-3).abs() < 1e-9 && rates.at(100) < 1e-9);
}
