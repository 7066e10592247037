//! The forms that recipes may use, and what readers say of mistakes.
#![allow(clippy::unwrap_used)]

use tidemill_nn::{
    Activation, Initializer, InputSpec, LayerSpec, LossSpec, Model, ModelSpec, OptimizerSpec,
    Padding, ScheduleSpec,
};

fn layer(text: &str) -> Result<LayerSpec, String> {
    #[derive(serde::Deserialize)]
    struct One {
        layer: LayerSpec,
    }
    toml::from_str(&format!("layer = {text}")).map(|one: One| one.layer).map_err(|e| e.to_string())
}

fn training<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    #[derive(serde::Deserialize)]
    struct One<T> {
        value: T,
    }
    toml::from_str(&format!("value = {text}"))
        .map(|one: One<T>| one.value)
        .map_err(|e| e.to_string())
}

#[test]
fn the_builder_and_the_recipe_agree() {
    let text = r#"
        input  = { image = { height = 28, width = 28, channels = 1 } }
        layers = [ { flatten = {} }, { dense = { units = 128, activation = "relu" } }, { dense = { units = 10 } } ]
    "#;
    let built = Model::image(28, 28, 1)
        .flatten()
        .dense(128, Activation::Relu)
        .dense(10, Activation::Linear);
    assert_eq!(toml::from_str::<ModelSpec>(text).unwrap(), built);
    let features: InputSpec = training("{ features = 4 }").unwrap();
    assert_eq!(features, InputSpec::Features(4));
    let ids: InputSpec = training("{ ids = { length = 8, vocabulary = 100 } }").unwrap();
    assert_eq!(ids, InputSpec::Ids { length: 8, vocabulary: 100 });
}

#[test]
fn numbers_pairs_and_names() {
    let LayerSpec::Conv2d(conv) = layer(
        r#"{ conv2d = { filters = 8, kernel_size = [3, 5], strides = 2, padding = 1, activation = { leaky_relu = { slope = 0.1 } }, kernel_initializer = "kaiming_uniform" } }"#,
    )
    .unwrap() else {
        panic!("not a convolution")
    };
    assert_eq!((conv.kernel, conv.stride, conv.dilation), ([3, 5], [2, 2], [1, 1]));
    assert_eq!(conv.padding, Padding::Symmetric([1, 1]));
    assert_eq!(conv.activation, Activation::LeakyRelu { slope: 0.1 });
    assert_eq!(conv.kernel_initializer, Initializer::HeUniform);
    assert_eq!(conv.bias_initializer, Initializer::Zeros);
    assert_eq!(
        layer(r#"{ activation = "leaky_relu" }"#).unwrap(),
        LayerSpec::Activation(Activation::LeakyRelu { slope: 0.3 })
    );
    let swish: Activation = training("\"swish\"").unwrap();
    assert_eq!(swish, Activation::Silu);

    let huber = LossSpec::Huber { delta: 1.0 };
    assert_eq!(training::<LossSpec>("\"huber\"").unwrap(), huber);
    assert_eq!(training::<LossSpec>("{ huber = {} }").unwrap(), huber);
    assert_eq!(training::<LossSpec>("\"mse\"").unwrap(), LossSpec::MeanSquaredError {});
    assert_eq!(training::<OptimizerSpec>("\"adam\"").unwrap(), OptimizerSpec::adam(1e-3));
    assert_eq!(
        training::<OptimizerSpec>("{ sgd = { learning_rate = 1 } }").unwrap(),
        OptimizerSpec::sgd(1.0)
    );
    let schedule: OptimizerSpec =
        training("{ adam = { learning_rate = { step = { start = 0.1, step_size = 5 } } } }")
            .unwrap();
    assert_eq!(*schedule.schedule(), ScheduleSpec::Step { start: 0.1, step_size: 5, gamma: 0.1 });
}

#[test]
fn mistakes_are_named() {
    let cases = [
        ("{ dense = { units = -5 } }", "must be a positive integer, found -5"),
        ("{ dense = { units = 0 } }", "must be a positive integer, found 0"),
        ("{ dense = { units = 1.5 } }", "must be a positive integer, found 1.5"),
        ("{ dense = { units = \"ten\" } }", "must be a positive integer, found \"ten\""),
        ("{ dense = {} }", "missing field `units`"),
        ("{ dense = { units = 5, unit = 5 } }", "unknown field `unit`"),
        ("{ flatten = { axis = 1 } }", "axis"),
        ("{ dens = { units = 5 } }", "unknown variant `dens`"),
        ("{ conv2d = { filters = 1, kernel = [3, 3, 3] } }", "must be one number or two, found 3"),
        ("{ conv2d = { filters = 1, kernel = 3, padding = \"full\" } }", "found \"full\""),
        ("{ dense = { units = 5, activation = \"rely\" } }", "unknown variant `rely`"),
    ];
    for (text, part) in cases {
        let error = layer(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error} lacks {part}");
    }
    let error = training::<LossSpec>("\"msee\"").unwrap_err();
    assert!(error.contains("unknown variant `msee`"), "{error}");
    let error = training::<OptimizerSpec>("{ adam = { beta_1 = 0.9 } }").unwrap_err();
    assert!(error.contains("unknown field `beta_1`"), "{error}");
    let error = training::<OptimizerSpec>("3").unwrap_err();
    assert!(error.contains("an optimizer's name"), "{error}");
}

#[test]
fn values_out_of_range_are_named_by_path() {
    let message = |model: Model| model.validate().unwrap_err().to_string();
    let dense = || Model::features(4).dense(4, Activation::Relu);
    assert_eq!(
        message(dense().dropout(1.0)),
        "layers[1].dropout.rate must be from 0 to below 1, found 1"
    );
    assert_eq!(
        message(dense().dense(0, Activation::Linear)),
        "layers[1].dense.units must be a positive integer, found 0"
    );
    assert_eq!(
        message(Model::image(28, 0, 1)),
        "input.image.width must be a positive integer, found 0"
    );
    let nested = LayerSpec::Repeat { times: 1, layers: vec![LayerSpec::Dropout { rate: -0.1 }] };
    assert_eq!(
        message(dense().layer(nested)),
        "layers[1].repeat.layers[0].dropout.rate must be from 0 to below 1, found -0.1"
    );
}

/// A recipe's reader gets key paths from `serde_path_to_error`; names that stand for tables must
/// not hide them.
#[test]
fn paths_reach_through_every_form() {
    #[derive(Debug, serde::Deserialize)]
    #[allow(dead_code)]
    struct Recipe {
        layers: Vec<LayerSpec>,
        optimizer: OptimizerSpec,
    }
    let message = |layers: &str, optimizer: &str| {
        let text = format!("layers = {layers}\noptimizer = {optimizer}");
        let reader = toml::Deserializer::parse(&text).unwrap();
        let error = serde_path_to_error::deserialize::<_, Recipe>(reader).unwrap_err();
        format!("{} {}", error.path(), error.inner().message())
    };
    let flat = "{ flatten = {} }";
    assert_eq!(
        message(&format!("[{flat}, {flat}, {{ dense = {{ units = -5 }} }}]"), "\"adam\""),
        "layers[2].dense.units must be a positive integer, found -5"
    );
    let message = message("[]", "{ adam = { learning_rate = { cosine = { start = \"x\" } } } }");
    assert!(
        message.starts_with("optimizer.adam.learning_rate.cosine.start invalid type"),
        "{message}"
    );
}

#[test]
fn custom_parts_are_not_written() {
    struct Same;
    impl tidemill_nn::CustomLayer for Same {
        fn name(&self) -> &str {
            "same"
        }
        fn build(
            &self,
            _: &mut tidemill_nn::Builder<'_>,
            x: tidemill_graph::TensorId,
        ) -> Result<tidemill_graph::TensorId, tidemill_graph::GraphError> {
            Ok(x)
        }
    }
    let model = Model::features(3).layer(Same);
    let error = toml::to_string(&model).unwrap_err().to_string();
    assert!(error.contains("the custom layer `same` is Rust code"), "{error}");
    let read: Result<LayerSpec, _> = toml::from_str("custom = {}");
    assert!(read.unwrap_err().to_string().contains("unknown variant `custom`"));
}

#[test]
fn frozen_layers_are_a_list_of_paths() {
    let model: Model =
        toml::from_str("input = { features = 3 }\nlayers = []\nfrozen = [\"layers.0\"]").unwrap();
    assert_eq!(model.frozen, ["layers.0"]);
    let written = toml::to_string(&Model::features(3)).unwrap();
    assert!(!written.contains("frozen"), "{written}");
}
