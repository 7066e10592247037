use super::*;

const SPARSE: LossSpec = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
const BINARY: LossSpec = LossSpec::BinaryCrossentropy { label_smoothing: 0.0 };
const MSE: LossSpec = LossSpec::MeanSquaredError {};

fn found(model: &ModelSpec, loss: LossSpec, labels: Labels) -> Vec<String> {
    let facts = Facts { labels, batch_size: 32 };
    let findings = check(model, &loss, &OptimizerSpec::adam(1e-3), facts);
    findings.iter().map(|f| format!("{:?}: {f}", f.severity)).collect()
}

fn article() -> ModelSpec {
    ModelSpec::image(28, 28, 1).flatten().dense(128, Activation::Relu).dense(10, Activation::Linear)
}

#[test]
fn a_sound_model_has_no_findings() {
    assert_eq!(found(&article(), SPARSE, Labels::Classes(10)), [""; 0]);
    assert_eq!(found(&article(), SPARSE, Labels::Unknown), [""; 0]);
    let binary = ModelSpec::features(4).dense(1, Activation::Linear);
    assert_eq!(found(&binary, BINARY, Labels::Classes(2)), [""; 0]);
    assert_eq!(found(&binary, MSE, Labels::Values(1)), [""; 0]);
    let squashed = ModelSpec::features(4).dense(1, Activation::Sigmoid);
    assert_eq!(found(&squashed, MSE, Labels::Values(1)), [""; 0]);
}

#[test]
fn both_mistakes_of_the_article() {
    let model =
        ModelSpec::image(28, 28, 1).dense(128, Activation::Relu).dense(10, Activation::Softmax);
    assert_eq!(
        found(&model, SPARSE, Labels::Classes(10)),
        [
            "Error: layers[1]: softmax before sparse_categorical_crossentropy, which takes logits: \
             the gradient vanishes; help: remove activation = \"softmax\"; predict gives \
             probabilities all the same",
            "Error: layers[0]: dense on images [28, 28, 1] sees one pixel at a time; help: insert \
             { flatten = {} } before it",
        ]
    );
    let as_layer = article().layer(LayerSpec::Softmax {});
    assert_eq!(
        found(&as_layer, SPARSE, Labels::Classes(10)),
        [
            "Error: layers[3]: softmax before sparse_categorical_crossentropy, which takes logits: the \
          gradient vanishes; help: remove the softmax layer; predict gives probabilities all the same"
        ]
    );
}

#[test]
fn the_last_layer() {
    let ends = |activation| ModelSpec::features(4).dense(8, Activation::Relu).dense(3, activation);
    let has = |activation, loss, part: &str| {
        let findings = found(&ends(activation), loss, Labels::Unknown);
        assert!(findings.iter().any(|f| f.contains(part)), "{findings:?} lack {part}");
    };
    has(Activation::Sigmoid, BINARY, "Error: layers[1]: sigmoid before binary_crossentropy");
    has(Activation::Relu, SPARSE, "Warning: layers[1]: relu on the last layer");
    has(Activation::Tanh, SPARSE, "logits stay between -1 and 1");
    let dropped = article().dropout(0.5);
    assert!(found(&dropped, SPARSE, Labels::Unknown)[0].contains("dropout on the outputs"));
    let bare = ModelSpec::image(8, 8, 1).flatten();
    assert!(found(&bare, SPARSE, Labels::Unknown)[0].contains("nothing in the model can learn"));
}

#[test]
fn outputs_against_labels() {
    let first = |units, loss, labels| {
        let model = ModelSpec::features(4).dense(units, Activation::Linear);
        found(&model, loss, labels).into_iter().next().unwrap_or_default()
    };
    assert_eq!(
        first(8, SPARSE, Labels::Classes(10)),
        "Error: layers[0]: 8 outputs for 10 classes; help: set units = 10"
    );
    assert!(first(12, SPARSE, Labels::Classes(10)).starts_with("Warning: layers[0]: 12 outputs"));
    assert!(first(1, SPARSE, Labels::Classes(2)).contains("binary_crossentropy"));
    assert!(first(1, SPARSE, Labels::Unknown).contains("nothing to choose from"));
    assert!(first(1, BINARY, Labels::Classes(3)).starts_with("Error"));
    assert!(first(3, MSE, Labels::Classes(3)).starts_with("Warning: loss: mean_squared_error on"));
    assert!(
        first(3, BINARY, Labels::Classes(3)).starts_with("Warning: loss: binary_crossentropy j")
    );
    assert_eq!(first(1, BINARY, Labels::Classes(2)), "");
    assert!(first(1, MSE, Labels::Classes(3)).contains("1 outputs for 3 classes"));
    assert!(first(3, SPARSE, Labels::Values(1)).contains("takes class ids"));
    assert!(first(3, SPARSE, Labels::Values(3)).ends_with("or labels that are class ids"));
    assert!(first(3, MSE, Labels::Values(2)).contains("set units = 2"));
    assert!(first(3, SPARSE, Labels::Classes(1)).contains("fewer than 2 classes"));
    assert!(first(3, SPARSE, Labels::Classes(1)).contains("the label of a table"));
}

#[test]
fn single_layers() {
    let has = |model: ModelSpec, part: &str| {
        let findings = found(&model.dense(3, Activation::Linear), SPARSE, Labels::Classes(3));
        assert!(findings.iter().any(|f| f.contains(part)), "{findings:?} lack {part}");
    };
    let features = || ModelSpec::features(4).dense(4, Activation::Relu);
    has(features().dropout(1.5), "layers[1].dropout.rate: must be from 0 to below 1, found 1.5");
    has(features().dropout(0.9), "not the share that is kept");
    has(ModelSpec::features(4).dense(4, Activation::Linear), "are one linear layer");
    let mut zero = crate::DenseSpec::new(4);
    zero.kernel_initializer = Initializer::Zeros;
    has(ModelSpec::features(4).layer(zero), "layers[0].dense.kernel_initializer: all units start");
    has(
        ModelSpec::ids(5, 100).layer(crate::EmbeddingSpec::new(10, 4)).flatten(),
        "vocabulary = 100",
    );
    has(ModelSpec::features(4).conv2d(2, 3, Activation::Relu), "layers[0].conv2d: takes images");
}

#[test]
fn learning_rates() {
    let of = |optimizer: OptimizerSpec| check(&article(), &SPARSE, &optimizer, Facts::default());
    assert_eq!(of(OptimizerSpec::sgd(0.1)), []);
    assert!(of(OptimizerSpec::adam(0.5))[0].message.contains("far above"));
    assert!(of(OptimizerSpec::sgd(0.0))[0].message.contains("is 0"));
    assert_eq!(of(OptimizerSpec::adam(-1.0))[0].severity, Severity::Error);
}

#[test]
fn keys_in_the_whole_recipe() {
    let key = |path: &str| {
        Finding {
            severity: Severity::Error,
            path: path.to_owned(),
            message: String::new(),
            help: String::new(),
        }
        .key()
    };
    assert_eq!(key("layers[2].dense.units"), "model.layers[2].dense.units");
    assert_eq!(key("input.image.width"), "model.input.image.width");
    assert_eq!(key("loss"), "training.loss");
    assert_eq!(key("optimizer.sgd.momentum"), "training.optimizer.sgd.momentum");
    assert_eq!(key("data"), "batch.data");
}
