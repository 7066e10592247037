//! Each kind of model in onnxruntime, compared with the reference interpreter.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};
use tidemill_engine::graph::reference::{Values, evaluate};
use tidemill_engine::graph::{DType, Role};
use tidemill_engine::nn::{Extent, LossSpec, ModelSpec, inference_graph};

use super::*;

/// Name, model, loss.
const MODELS: &[(&str, &str, &str)] = &[
    (
        "dense",
        r#"{"input": {"features": 5}, "layers": [{"dense": {"units": 8, "activation": "gelu"}}, {"layer_norm": {}},
            {"dense": {"units": 6, "activation": "silu"}}, {"batch_norm": {}}, {"rms_norm": {}}, {"dense": {"units": 3}}]}"#,
        "sparse_categorical_crossentropy",
    ),
    (
        "regression",
        r#"{"input": {"features": 4}, "layers": [{"dense": {"units": 8, "activation": "elu"}}, {"dense": {"units": 8, "activation": "tanh"}},
            {"dense": {"units": 8, "activation": "leaky_relu"}}, {"dense": {"units": 8, "activation": "softplus"}}, {"dense": {"units": 1}}]}"#,
        "mean_squared_error",
    ),
    (
        "conv",
        r#"{"input": {"image": {"height": 9, "width": 8, "channels": 3}}, "layers": [
            {"conv2d": {"filters": 6, "kernel": 3, "stride": 2, "padding": "same", "activation": "relu"}},
            {"depthwise_conv2d": {"kernel": [3, 2], "depth_multiplier": 2, "padding": "same"}},
            {"conv2d": {"filters": 8, "kernel": 3, "dilation": 2, "padding": [2, 2], "groups": 4, "activation": "gelu_tanh"}},
            {"layer_norm": {}}, {"max_pool2d": {"size": 2, "stride": 1}}, {"avg_pool2d": {"size": 3, "stride": 1, "padding": "same"}},
            {"flatten": {}}, {"dense": {"units": 4}}]}"#,
        "binary_crossentropy",
    ),
    (
        "resnet",
        r#"{"input": {"image": {"height": 8, "width": 8, "channels": 3}}, "layers": [
            {"conv2d": {"filters": 4, "kernel": 3, "padding": "same", "bias": false}}, {"batch_norm": {}}, {"activation": "relu"},
            {"residual": {"layers": [{"conv2d": {"filters": 4, "kernel": 3, "padding": "same"}}, {"batch_norm": {}}], "activation": "relu"}},
            {"residual": {"layers": [{"conv2d": {"filters": 8, "kernel": 3, "stride": 2, "padding": "same"}}, {"batch_norm": {}}],
                "shortcut": [{"conv2d": {"filters": 8, "kernel": 1, "stride": 2}}], "activation": "relu"}},
            {"global_avg_pool": {}}, {"dense": {"units": 10}}]}"#,
        "sparse_categorical_crossentropy",
    ),
    (
        "embeddings",
        r#"{"input": {"features": 5}, "layers": [{"entity_embedding": {"vocabulary": [5, 7], "tokens": [1, 2], "units": 4}},
            {"dense": {"units": 8, "activation": "relu"}}, {"dense": {"units": 1}}]}"#,
        "mean_squared_error",
    ),
    (
        "bag",
        r#"{"input": {"tokens": {"length": 7, "vocabulary": 20}}, "layers": [{"embedding_bag": {"vocabulary": 20, "units": 6}}, {"dense": {"units": 3}}]}"#,
        "sparse_categorical_crossentropy",
    ),
    (
        "two-inputs",
        r#"{"inputs": {"age": {"features": 2}, "text": {"tokens": {"length": 6, "vocabulary": 20}}}, "layers": [
            {"concat": {"branches": [{"input": "age"}, {"input": "text", "layers": [{"embedding": {"vocabulary": 20, "units": 4}},
            {"conv1d": {"filters": 4, "kernel": 3, "activation": "relu"}}, {"global_max_pool": {}}]}]}}, {"dense": {"units": 1}}]}"#,
        "binary_crossentropy",
    ),
    (
        "mean-of-words",
        r#"{"input": {"tokens": {"length": 6, "vocabulary": 20}}, "layers": [{"embedding": {"vocabulary": 20, "units": 4, "scale": 2.0}},
            {"dense": {"units": 5, "activation": "relu"}}, {"global_avg_pool": {}}, {"dense": {"units": 3}}]}"#,
        "sparse_categorical_crossentropy",
    ),
    (
        "decoder",
        r#"{"input": {"tokens": {"length": 9, "vocabulary": 13}}, "layers": [{"embedding": {"vocabulary": 13, "units": 8}},
            {"positions": {"length": 9}},
            {"residual": {"layers": [{"layer_norm": {}}, {"attention": {"heads": 2, "causal": true}}]}},
            {"residual": {"layers": [{"layer_norm": {}}, {"dense": {"units": 16, "activation": "gelu"}}, {"dense": {"units": 8}}]}},
            {"residual": {"layers": [{"attention": {"heads": 4, "key_heads": 2, "causal": true, "rotary": {}}}]}},
            {"residual": {"layers": [{"attention": {"heads": 2, "relative": {"buckets": 8, "distance": 6}}}]}},
            {"dense": {"units": 13, "tied": "layers.0.embedding", "bias": false}}]}"#,
        "token_crossentropy",
    ),
    (
        "translation",
        r#"{"inputs": {"source": {"tokens": {"length": 7, "vocabulary": 11}}, "target": {"tokens": {"length": 6, "vocabulary": 11}}}, "layers": [
            {"encode": {"input": "source", "name": "memory", "layers": [{"embedding": {"vocabulary": 11, "units": 8}},
                {"positions": {"length": 7, "kind": "sinusoidal"}}, {"residual": {"layers": [{"attention": {"heads": 2}}]}}]}},
            {"concat": {"branches": [{"input": "target", "layers": [{"embedding": {"vocabulary": 11, "units": 8}}]}]}},
            {"residual": {"layers": [{"attention": {"heads": 2, "causal": true}}]}},
            {"residual": {"layers": [{"attention": {"heads": 2, "over": "memory"}}]}},
            {"dense": {"units": 11}}]}"#,
        "token_crossentropy",
    ),
    (
        "recurrent",
        r#"{"input": {"tokens": {"length": 7, "vocabulary": 20}}, "layers": [{"embedding": {"vocabulary": 20, "units": 4}},
            {"gru": {"units": 5, "bidirectional": true, "return_sequences": true}}, {"lstm": {"units": 6, "bidirectional": true}}, {"dense": {"units": 3}}]}"#,
        "sparse_categorical_crossentropy",
    ),
    (
        "gated",
        r#"{"input": {"image": {"height": 8, "width": 6, "channels": 3}}, "layers": [
            {"conv2d": {"filters": 8, "kernel": 3, "padding": "same", "activation": "hard_swish"}},
            {"residual": {"drop_path": 0.2, "layers": [{"batch_norm": {}}, {"multiply": {"layers": [{"global_avg_pool": {}}, {"dense": {"units": 4, "activation": "relu"}},
                {"dense": {"units": 8, "activation": "hard_sigmoid"}}]}}, {"layer_scale": {"initial": 0.5}}]}},
            {"layer_norm": {}}, {"global_max_pool": {}}, {"dense": {"units": 4}}]}"#,
        "sparse_categorical_crossentropy",
    ),
    (
        "vision-transformer",
        r#"{"input": {"image": {"height": 8, "width": 12, "channels": 3}}, "layers": [{"conv2d": {"filters": 8, "kernel": 4, "stride": 4}},
            {"image_to_sequence": {"class_token": true}}, {"positions": {"length": 7}},
            {"residual": {"layers": [{"layer_norm": {}}, {"attention": {"heads": 2}}]}},
            {"concat": {"branches": [{"layers": [{"first_position": {}}]}, {"layers": [{"global_avg_pool": {}}]}]}}, {"dense": {"units": 4}}]}"#,
        "sparse_categorical_crossentropy",
    ),
    (
        "hats",
        r#"{"input": {"features": 27}, "layers": [{"dense": {"units": 12, "activation": "relu"}}, {"dense": {"units": 9, "activation": "relu"}},
            {"dense": {"units": 3}}], "hats": {"columns": 2}, "linear": true}"#,
        "sparse_categorical_crossentropy",
    ),
    (
        "memory",
        r#"{"input": {"features": 27}, "layers": [{"dense": {"units": 12, "activation": "relu"}}, {"dense": {"units": 3}}],
            "hats": {"columns": 2}, "memory": {"events": 5}}"#,
        "sparse_categorical_crossentropy",
    ),
    (
        "summary",
        r#"{"inputs": {"source": {"tokens": {"length": 7, "vocabulary": 11}}, "target": {"tokens": {"length": 6, "vocabulary": 11}}}, "layers": [
            {"encode": {"input": "source", "name": "memory", "layers": [{"embedding": {"vocabulary": 11, "units": 8}}]}},
            {"concat": {"branches": [{"input": "target", "layers": [{"embedding": {"vocabulary": 11, "units": 8}}]}]}},
            {"copy": {"input": "source", "over": "memory", "layers": [{"dense": {"units": 11}}]}}]}"#,
        "token_crossentropy",
    ),
    (
        "sounds",
        r#"{"input": {"frames": {"length": 11, "values": 4}}, "layers": [{"dense": {"units": 8}},
            {"residual": {"layers": [{"layer_norm": {}}, {"conv1d": {"filters": 8, "kernel": 3, "causal": true, "dilation": 2, "activation": "silu"}}, {"dense": {"units": 8}}]}},
            {"conv1d": {"filters": 8, "kernel": 5, "groups": 8}}, {"dense": {"units": 6}}]}"#,
        "ctc",
    ),
];

fn numbers() -> impl FnMut() -> f32 {
    let mut state = 7u64;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Weights that are no start values, so that each counts.
fn weights(model: &ModelSpec) -> HashMap<String, Vec<f32>> {
    let mut next = numbers();
    let mut weights = HashMap::new();
    for start in model.initial_values(1).unwrap() {
        let moments = start.name.ends_with(".moments");
        let spread = |&value: &f32| {
            let value = value + 0.2 * next();
            if moments { value.abs() } else { value }
        };
        weights.insert(start.name, start.values.iter().map(spread).collect());
    }
    weights
}

/// Writes a model, an input of another size than any that it was built with, and the reference's output.
fn write_case(folder: &Path, name: &str, model: &str, loss: &str) {
    let model: ModelSpec = serde_json::from_str(model).unwrap_or_else(|e| panic!("{name}: {e}"));
    let loss: LossSpec = serde_json::from_value(json!(loss)).unwrap();
    let weights = weights(&model);
    let content = Content { weights: weights.clone(), ..Content::default() };
    let bytes = super::model(&model, &loss, content).unwrap_or_else(|e| panic!("{name}: {e}"));
    std::fs::write(folder.join(format!("{name}.onnx")), bytes).unwrap();

    let signature = model.signature();
    let times: Vec<usize> =
        signature.inputs().iter().map(|f| f.time().map_or(0, |t| t - 2)).collect();
    let graph = inference_graph(&model, &loss, Extent { batch: 5, times }).unwrap();
    let (mut values, mut inputs) = (Values::<f64>::new(&graph), Map::new());
    let (mut next, mut of_output) = (numbers(), None);
    // The last sample is as long as there is room, the others are shorter.
    let lengths = |time: usize| -> Vec<i32> { (1..=5).map(|i| i.min(time) as i32).collect() };
    for id in (0..graph.tensors.len() as u32).map(TensorId) {
        let tensor = graph.tensor(id);
        let field = |suffix| tensor.name.strip_suffix(suffix).and_then(|name| graph.find(name));
        let long = |of: TensorId| {
            let mut lengths = lengths(graph.shape(of)[1]);
            lengths[4] = graph.shape(of)[1] as i32;
            lengths
        };
        match (tensor.role, tensor.dtype) {
            (Role::Computed, _) => {}
            (Role::Parameter | Role::State, _) => {
                values.set(id, weights[&tensor.name].iter().map(|&v| v.into()).collect());
            }
            (Role::Input, DType::F32) if field(".mask").is_some() => {
                let (lengths, time) = (long(field(".mask").unwrap()), tensor.shape[1]);
                let row =
                    |l: &i32| (0..time).map(|t| f64::from(t < *l as usize)).collect::<Vec<_>>();
                let all: Vec<f64> = lengths.iter().flat_map(row).collect();
                let name = tensor.name.replace(".mask", ".lengths");
                inputs.insert(name, json!({"type": "int64", "shape": [5], "values": lengths}));
                values.set(id, all);
                of_output = Some(lengths);
            }
            (Role::Input, DType::F32) if field(".last").is_some() => {
                let (lengths, time) = (long(field(".last").unwrap()), tensor.shape[1]);
                let row = |l: &i32| {
                    (0..time).map(|t| f64::from(t + 1 == *l as usize)).collect::<Vec<_>>()
                };
                values.set(id, lengths.iter().flat_map(row).collect());
                let name = tensor.name.replace(".last", ".lengths");
                inputs.insert(name, json!({"type": "int64", "shape": [5], "values": lengths}));
            }
            (Role::Input, DType::I32) if field(".lengths").is_some() => {
                let lengths = long(field(".lengths").unwrap());
                let given = json!({"type": "int64", "shape": [5], "values": lengths});
                inputs.insert(tensor.name.clone(), given);
                values.set_ints(id, lengths.clone());
                of_output = Some(lengths);
            }
            (Role::Input, DType::F32) => {
                // Ids of tables come last.
                let ids = model.entity_embedding().map_or(0, |e| e.num_ids());
                let width = *tensor.shape.last().unwrap();
                let value = |i: usize| match i % width + ids >= width {
                    true => (next().abs() * 4.9).floor(),
                    false => next(),
                };
                let x: Vec<f32> = (0..tensor.len()).map(value).collect();
                let given = json!({"type": "float32", "shape": tensor.shape, "values": x});
                inputs.insert(tensor.name.clone(), given);
                values.set(id, x.iter().map(|&v| v.into()).collect());
            }
            (Role::Input, DType::I32) => {
                let x: Vec<i32> = (0..tensor.len()).map(|_| (next().abs() * 10.9) as i32).collect();
                let given = json!({"type": "int64", "shape": tensor.shape, "values": x});
                inputs.insert(tensor.name.clone(), given);
                values.set_ints(id, x);
            }
        }
    }
    let done = evaluate(&graph, values).unwrap_or_else(|e| panic!("{name}: {e}"));
    let output = graph.outputs.iter().find(|(name, _)| name == "probabilities").unwrap().1;
    let by_position = of_output.filter(|_| graph.shape(output).len() > 2);
    let case: Value = json!({
        "inputs": inputs,
        "output": done.get(output).unwrap(),
        "shape": graph.shape(output),
        "lengths": by_position,
    });
    std::fs::write(folder.join(format!("{name}.json")), case.to_string()).unwrap();
}

#[test]
fn onnxruntime_computes_what_the_reference_does() {
    let folder = tempfile::tempdir().unwrap();
    for (name, model, loss) in MODELS {
        write_case(folder.path(), name, model, loss);
    }
    let python = std::env::var_os("TIDEMILL_PYTHON").unwrap_or_else(|| "python3".into());
    let run =
        Command::new(python).args(["-c", include_str!("check.py")]).arg(folder.path()).output();
    match run {
        Err(e) => eprintln!("SKIPPED: Python cannot be run: {e}"),
        Ok(output) if output.status.code() == Some(77) => {
            eprintln!("SKIPPED: {}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(output) => {
            let [said, errors] =
                [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
            println!("{said}");
            assert!(output.status.success(), "{said}{errors}");
            assert!(said.ends_with(&format!("{} models\n", MODELS.len())), "{said}");
        }
    }
}

#[test]
fn what_has_no_form_is_said_with_its_layer() {
    // A product that sums over positions is one of gradients alone; attention that is causal over another sequence is refused.
    let text = r#"{"inputs": {"source": {"tokens": {"length": 7, "vocabulary": 11}}, "target": {"tokens": {"length": 6, "vocabulary": 11}}}, "layers": [
        {"encode": {"input": "source", "name": "memory", "layers": [{"embedding": {"vocabulary": 11, "units": 8}}]}},
        {"concat": {"branches": [{"input": "target", "layers": [{"embedding": {"vocabulary": 11, "units": 8}}]}]}},
        {"residual": {"layers": [{"attention": {"heads": 2, "over": "memory", "causal": true}}]}},
        {"dense": {"units": 11}}]}"#;
    let model: ModelSpec = serde_json::from_str(text).unwrap();
    let loss: LossSpec = serde_json::from_value(json!("token_crossentropy")).unwrap();
    let content = Content { weights: weights(&model), ..Content::default() };
    let error = super::model(&model, &loss, content).unwrap_err().to_string();
    assert!(error.contains("layers.2.residual.layers.0.attention: cross_attention"), "{error}");
    assert!(error.contains("no ONNX form"), "{error}");
}

#[test]
fn what_depends_on_a_stream_is_named_by_its_key() {
    let text = r#"{"input": {"features": 20}, "hats": {"columns": 2}, "last_label": true, "layers": [{"dense": {"units": 2}}]}"#;
    let model: ModelSpec = serde_json::from_str(text).unwrap();
    let loss: LossSpec = serde_json::from_value(json!("sparse_categorical_crossentropy")).unwrap();
    let content = Content { weights: weights(&model), ..Content::default() };
    let error = super::model(&model, &loss, content).unwrap_err().to_string();
    assert!(error.contains("model.last_label") && error.contains("no ONNX form"), "{error}");
}
