//! Graphs of models: names, modes, inputs, updates, shape errors.
#![allow(clippy::unwrap_used)]

use tidemill_graph::{Clip, DType, Graph, Op, Role, WeightDecay};
use tidemill_nn::optimizer::{Adam, AdamW, Sgd};
use tidemill_nn::{
    Activation, DepthwiseConv2dSpec, LayerSpec, LossSpec, Mode, Model, OptimizerSpec, Padding,
    evaluation_graph, inference_graph, initial_state, training_graph,
};
use tidemill_nn::{BatchNormSpec, Conv2dSpec, ResidualSpec};

const SPARSE: LossSpec = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };

fn conv(filters: usize, kernel: usize) -> Conv2dSpec {
    Conv2dSpec { padding: Padding::Same, ..Conv2dSpec::new(filters, kernel) }
}

/// One of nearly everything.
fn model() -> Model {
    let block = ResidualSpec {
        layers: vec![
            Conv2dSpec { stride: [2, 2], ..conv(8, 3) }.into(),
            BatchNormSpec::default().into(),
        ],
        shortcut: vec![Conv2dSpec { stride: [2, 2], ..conv(8, 1) }.into()],
        activation: Activation::Relu,
        drop_path: 0.0,
    };
    Model::image(8, 8, 3)
        .layer(conv(4, 3))
        .batch_norm()
        .layer(block)
        .layer(LayerSpec::Repeat { times: 2, layers: vec![conv(8, 3).into()] })
        .max_pool2d(2)
        .flatten()
        .dropout(0.5)
        .layer(LayerSpec::RmsNorm { epsilon: 1e-6 })
        .dense(5, Activation::Linear)
}

fn names(graph: &Graph, role: Role) -> Vec<&str> {
    graph.with_role(role).map(|id| graph.tensor(id).name.as_str()).collect()
}

#[test]
fn parameters_have_the_same_names_in_all_graphs() {
    let expected = [
        "layers.0.conv2d.kernel",
        "layers.0.conv2d.bias",
        "layers.1.batch_norm.gamma",
        "layers.1.batch_norm.beta",
        "layers.2.residual.layers.0.conv2d.kernel",
        "layers.2.residual.layers.0.conv2d.bias",
        "layers.2.residual.layers.1.batch_norm.gamma",
        "layers.2.residual.layers.1.batch_norm.beta",
        "layers.2.residual.shortcut.0.conv2d.kernel",
        "layers.2.residual.shortcut.0.conv2d.bias",
        "layers.3.repeat.0.0.conv2d.kernel",
        "layers.3.repeat.0.0.conv2d.bias",
        "layers.3.repeat.1.0.conv2d.kernel",
        "layers.3.repeat.1.0.conv2d.bias",
        "layers.7.rms_norm.gamma",
        "layers.8.dense.kernel",
        "layers.8.dense.bias",
    ];
    for batch in [1, 2, 7] {
        let train = training_graph(&model(), &SPARSE, &OptimizerSpec::sgd(0.1), batch).unwrap();
        assert_eq!(names(&train, Role::Parameter), expected);
        let eval = evaluation_graph(&model(), &SPARSE, batch).unwrap();
        assert_eq!(names(&eval, Role::Parameter), expected);
        let infer = inference_graph(&model(), &SPARSE, batch).unwrap();
        assert_eq!(names(&infer, Role::Parameter), expected);
        let moments =
            ["layers.1.batch_norm.moments", "layers.2.residual.layers.1.batch_norm.moments"];
        for graph in [&train, &eval, &infer] {
            assert_eq!(names(graph, Role::State), moments);
        }
    }
}

#[test]
fn inputs_and_outputs_of_the_three_graphs() {
    let adam = OptimizerSpec::adam(1e-3);
    let train = training_graph(&model(), &SPARSE, &adam, 6).unwrap();
    assert_eq!(names(&train, Role::Input), ["x", "key", "labels", "weights", "hyper"]);
    let output_names = |graph: &Graph| -> Vec<String> {
        graph.outputs.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(output_names(&train), ["loss", "logits", "losses"]);
    assert_eq!(train.assignments.len(), 2);
    assert_eq!(train.updates.len(), 17);
    let eval = evaluation_graph(&model(), &SPARSE, 6).unwrap();
    assert_eq!(names(&eval, Role::Input), ["x", "labels", "weights"]);
    assert!(eval.assignments.is_empty() && eval.updates.is_empty());
    let infer = inference_graph(&model(), &SPARSE, 6).unwrap();
    assert_eq!(names(&infer, Role::Input), ["x"]);
    assert_eq!(output_names(&infer), ["logits", "probabilities"]);
    let labels = train.tensor(train.find("labels").unwrap());
    assert_eq!((labels.shape.as_slice(), labels.dtype), (&[6][..], DType::I32));

    let mse = LossSpec::MeanSquaredError {};
    let dense = Model::features(3).dense(2, Activation::Tanh);
    let graph = training_graph(&dense, &mse, &adam, 4).unwrap();
    assert_eq!(names(&graph, Role::Input), ["x", "targets", "weights", "hyper"]);
    assert_eq!(graph.shape(graph.find("targets").unwrap()), [4, 2]);
}

#[test]
fn every_loss_builds() {
    let losses = [
        r#""sparse_categorical_crossentropy""#,
        r#"{"categorical_crossentropy": {"label_smoothing": 0.1}}"#,
        r#""binary_crossentropy""#,
        r#"{"focal": {"alpha": 0.25}}"#,
        r#""mse""#,
        r#""mean_absolute_error""#,
        r#"{"huber": {"delta": 2.0}}"#,
        r#""hinge""#,
    ];
    for (text, units) in losses.into_iter().zip([3, 3, 1, 1, 2, 1, 1, 1]) {
        let loss: LossSpec = serde_json::from_str(text).unwrap();
        let model = Model::features(3).dense(units, Activation::Linear);
        let graph = training_graph(&model, &loss, &OptimizerSpec::sgd(0.1), 4).unwrap();
        let shape = |name| graph.shape(graph.outputs.iter().find(|o| o.0 == name).unwrap().1);
        assert_eq!(shape("loss"), [0; 0], "{text}");
        assert_eq!(shape("losses"), [4], "{text}");
    }
}

#[test]
fn state_starts_as_the_rules_and_initializers_say() {
    let adagrad: OptimizerSpec = serde_json::from_str("\"adagrad\"").unwrap();
    let train = training_graph(&model(), &SPARSE, &adagrad, 2).unwrap();
    let state = initial_state(&train, &model(), 3).unwrap();
    let wanted = train.with_role(Role::Parameter).count() + train.with_role(Role::State).count();
    assert_eq!(state.len(), wanted);
    for (id, values) in &state {
        let tensor = train.tensor(*id);
        assert_eq!(values.len(), tensor.len());
        let leaf = tensor.name.rsplit('.').next().unwrap();
        let sum: f32 = values.iter().sum();
        match leaf {
            "gamma" => assert_eq!(sum, tensor.len() as f32),
            "bias" | "beta" => assert_eq!(sum, 0.0),
            "moments" => assert_eq!(values[..2 + 2], [0.0; 4]),
            "accumulator" => assert!(values.iter().all(|&v| v == 0.1)),
            _ => assert!(values.iter().any(|&v| v != values[0])),
        }
    }
    // Parameters are the same whatever the graph.
    let eval = evaluation_graph(&model(), &SPARSE, 5).unwrap();
    for (id, values) in initial_state(&eval, &model(), 3).unwrap() {
        let twin = train.find(&eval.tensor(id).name).unwrap();
        assert_eq!(state.iter().find(|(id, _)| *id == twin).unwrap().1, values);
    }
}

#[test]
fn dropouts_have_streams_of_their_own() {
    let model = Model::features(4).dropout(0.5).dense(4, Activation::Relu).dropout(0.2);
    let mut graph = Graph::new();
    model.build(&mut graph, 2, Mode::Train).unwrap();
    let streams: Vec<u32> = graph
        .tensors
        .iter()
        .filter_map(|t| if let Op::Dropout(dropout) = t.op { Some(dropout.stream) } else { None })
        .collect();
    assert_eq!(streams, [0, 1]);
}

#[test]
fn decay_and_clipping() {
    let sgd = Sgd { weight_decay: 1e-4, clip_norm: Some(2.0), ..Sgd::new(0.1) };
    let spec = OptimizerSpec::Sgd(sgd);
    assert_eq!(spec.weight_decay("layers.0.dense.bias"), WeightDecay::L2(1e-4));
    assert_eq!(spec.clip(), Clip::Norm(2.0));
    let exclude = vec!["bias".to_owned(), "gamma".to_owned()];
    let spec = OptimizerSpec::AdamW(AdamW { exclude, ..AdamW::default() });
    assert_eq!(spec.weight_decay("layers.0.dense.bias"), WeightDecay::None);
    assert_eq!(spec.weight_decay("layers.0.dense.kernel"), WeightDecay::Decoupled(4e-3));
    assert_eq!(spec.clip(), Clip::None);
    let both = Adam { clip_norm: Some(1.0), clip_value: Some(1.0), ..Adam::default() };
    let error = OptimizerSpec::Adam(both).validate().unwrap_err().to_string();
    assert_eq!(
        error,
        "optimizer.adam must have at most one of clip_value, clip_norm and global_clip_norm"
    );
}

#[test]
fn grouped_and_depthwise_convolutions() {
    let grouped = Conv2dSpec { groups: 2, ..conv(6, 3) };
    let depthwise: DepthwiseConv2dSpec =
        serde_json::from_str(r#"{"kernel_size": [3, 5], "depth_multiplier": 2}"#).unwrap();
    let model = Model::image(9, 9, 4)
        .layer(grouped)
        .layer(LayerSpec::DepthwiseConv2d(depthwise))
        .global_avg_pool();
    let mut graph = Graph::new();
    let y = model.build(&mut graph, 2, Mode::Eval).unwrap();
    assert_eq!(graph.shape(graph.find("layers.0.conv2d.kernel").unwrap()), [3, 3, 2, 6]);
    assert_eq!(graph.shape(graph.find("layers.1.depthwise_conv2d.kernel").unwrap()), [3, 5, 1, 12]);
    assert_eq!(graph.shape(y), [2, 12]);
    assert_eq!(model.summary().unwrap()[1].output_shape, [7, 5, 12]);
}

#[test]
fn shape_errors_name_the_layer_and_a_way_out() {
    let message = |model: Model| {
        training_graph(&model, &SPARSE, &OptimizerSpec::sgd(0.1), 4).unwrap_err().to_string()
    };
    assert_eq!(
        message(Model::image(8, 8, 1).flatten().conv2d(4, 3, Activation::Relu)),
        "layers.1.conv2d: takes images [batch, height, width, channels], but its input is [4, 64]; \
         help: put it before flatten, or insert { reshape = { shape = [h, w, c] } } before it"
    );
    assert!(
        message(Model::image(8, 8, 1).dense(3, Activation::Linear)).contains("insert { flatten")
    );
    let block = ResidualSpec {
        layers: vec![conv(8, 3).into()],
        shortcut: vec![],
        activation: Activation::Relu,
        drop_path: 0.0,
    };
    assert_eq!(
        message(Model::image(8, 8, 4).layer(block)),
        "layers.0.residual: the layers give [4, 8, 8, 8], the shortcut [4, 8, 8, 4]; help: give the \
         shortcut a conv2d of kernel 1 with the same filters and stride"
    );
    let too_small = message(Model::image(4, 4, 1).conv2d(2, 5, Activation::Relu).flatten());
    assert!(too_small.starts_with("layers.0.conv2d: "), "{too_small}");
    let single = training_graph(
        &Model::features(3).batch_norm().dense(2, Activation::Linear),
        &SPARSE,
        &OptimizerSpec::sgd(0.1),
        1,
    );
    assert!(single.unwrap_err().to_string().contains("layer_norm"));
}

/// What is copied must be tokens of the output, and what is attended to be made of them.
#[test]
fn copies_fit_the_text_that_is_read() {
    let error = |copy: &str| {
        let text = format!(
            r#"
            inputs = {{ source = {{ tokens = {{ length = 9, vocabulary = 30 }} }}, target = {{ tokens = {{ length = 7, vocabulary = 30 }} }} }}
            layers = [
                {{ encode = {{ input = "source", name = "read", layers = [{{ embedding = {{ vocabulary = 30, units = 8 }} }}] }} }},
                {{ concat = {{ branches = [{{ input = "target", layers = [{{ embedding = {{ vocabulary = 30, units = 8 }} }}] }}] }} }},
                {{ copy = {copy} }},
            ]
            "#
        );
        let model: Model = toml::from_str(&text).unwrap();
        let built = model.build(&mut Graph::new(), 2, Mode::Eval);
        built.map(|_| ()).map_err(|e| e.to_string())
    };
    let layers = |units: usize| format!("layers = [{{ dense = {{ units = {units} }} }}]");
    let copy = |input: &str, over: &str, units: usize| {
        error(&format!("{{ input = \"{input}\", over = \"{over}\", {} }}", layers(units)))
    };
    copy("source", "read", 30).unwrap();
    let said = copy("source", "read", 29).unwrap_err();
    assert!(said.contains("copies tokens up to 29, and its layers have 29 outputs"), "{said}");
    assert!(said.contains("layers.2.copy"), "{said}");
    let said = copy("target", "read", 30).unwrap_err();
    assert!(said.contains("\"read\" is not made of the tokens of the input \"target\""), "{said}");
    assert!(copy("source", "nothing", 30).unwrap_err().contains("no input \"nothing\""));
}
