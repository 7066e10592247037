//! Positions that attention knows of itself: forms in recipes, the layers they stand for, mistakes.
#![allow(clippy::unwrap_used)]

use tidemill_nn::{
    AttentionSpec, Extent, LayerSpec, LossSpec, Mode, ModelSpec, OptimizerSpec, Positions,
    RelativeSpec, RotarySpec, step_graph, training_graph,
};

/// The model of a recipe, with its layers.
fn model(text: &str) -> Result<ModelSpec, String> {
    let mut model: ModelSpec = toml::from_str(text).map_err(|error| error.to_string())?;
    model.expand(Some(20)).map_err(|error| error.to_string())?;
    model.validate().map_err(|error| error.to_string())?;
    Ok(model)
}

fn next(positions: &str) -> Result<ModelSpec, String> {
    model(&format!(
        "decoder_only = {{ units = 24, heads = 4, layers = 2, context = 16, positions = {positions} }}"
    ))
}

fn other(positions: &str) -> Result<ModelSpec, String> {
    model(&format!(
        "encoder_decoder = {{ units = 24, heads = 4, encoder = 1, decoder = 1, positions = {positions} }}"
    ))
}

/// All attention layers of a model, in their order.
fn attention(layers: &[LayerSpec]) -> Vec<&AttentionSpec> {
    let each = layers.iter().flat_map(|layer| match layer {
        LayerSpec::Attention(spec) => vec![spec],
        other => other.nested().into_iter().flat_map(|(_, layers)| attention(layers)).collect(),
    });
    each.collect()
}

fn has_table(model: &ModelSpec) -> bool {
    model.layers.iter().any(|layer| layer.any(&|l| matches!(l, LayerSpec::Positions(_))))
}

fn scales(layers: &[LayerSpec]) -> Vec<f64> {
    let each = layers.iter().flat_map(|layer| match layer {
        LayerSpec::Embedding(spec) => vec![spec.scale],
        other => other.nested().into_iter().flat_map(|(_, layers)| scales(layers)).collect(),
    });
    each.collect()
}

#[test]
fn rotary_positions_are_in_each_attention_within_a_sequence() {
    for (text, base) in [("\"rotary\"", 1e4), ("{ rotary = { base = 500000 } }", 5e5)] {
        let spec = Some(RotarySpec { base });
        let model = next(text).unwrap();
        assert!(!has_table(&model));
        assert_eq!(scales(&model.layers), [1.0]);
        assert!(attention(&model.layers).iter().all(|a| a.rotary == spec && a.causal));
        let model = other(text).unwrap();
        assert!(!has_table(&model));
        assert_eq!(scales(&model.layers), [24.0_f64.sqrt(); 2]);
        let found: Vec<_> = attention(&model.layers)
            .iter()
            .map(|a| (a.causal, a.over.is_some(), a.rotary))
            .collect();
        assert_eq!(found, [(false, false, spec), (true, false, spec), (false, true, None)]);
        let written = toml::to_string(&model).unwrap();
        assert_eq!(toml::from_str::<ModelSpec>(&written).unwrap(), model);
    }
    for text in ["\"learned\"", "\"sinusoidal\""] {
        for model in [next(text).unwrap(), other(text).unwrap()] {
            assert!(has_table(&model));
            assert!(attention(&model.layers).iter().all(|a| a.rotary.is_none()));
        }
    }
    assert_eq!(serde_json::to_string(&Positions::Learned).unwrap(), "\"learned\"");
}

#[test]
fn biases_of_distances_are_in_each_attention_within_a_sequence() {
    for (text, spec) in [
        ("\"relative\"", RelativeSpec { buckets: 32, distance: 128 }),
        (
            "{ relative = { buckets = 8, distance = 20 } }",
            RelativeSpec { buckets: 8, distance: 20 },
        ),
    ] {
        let model = next(text).unwrap();
        assert!(!has_table(&model));
        let learned = next("\"learned\"").unwrap().num_parameters().unwrap();
        let added = 2 * spec.buckets * 4;
        assert_eq!(model.num_parameters().unwrap() + 16 * 24, learned + added);
        assert!(attention(&model.layers).iter().all(|a| a.relative == Some(spec)));
        let model = other(text).unwrap();
        let found: Vec<_> = attention(&model.layers).iter().map(|a| a.relative).collect();
        assert_eq!(found, [Some(spec), Some(spec), None]);
        let written = toml::to_string(&model).unwrap();
        assert_eq!(toml::from_str::<ModelSpec>(&written).unwrap(), model);
        let values = model.initial_values(1).unwrap();
        let tables = values.iter().filter(|v| v.name.ends_with(".attention.relative.bias"));
        assert_eq!(tables.clone().count(), 2);
        assert!(tables.clone().all(|t| t.shape == [spec.buckets, 4]));
        assert!(tables.flat_map(|t| &t.values).all(|&v| v == 0.0));
    }
}

#[test]
fn they_have_no_parameters_of_their_own() {
    let count = |positions: &str| next(positions).unwrap().num_parameters().unwrap();
    assert_eq!(count("\"rotary\""), count("\"learned\"") - 16 * 24);
}

/// At a step rows stand where their texts say; elsewhere at their index.
#[test]
fn only_a_step_reads_positions() {
    let model = next("\"rotary\"").unwrap();
    let loss = LossSpec::TokenCrossentropy { label_smoothing: 0.0 };
    let training = training_graph(&model, &loss, &OptimizerSpec::sgd(0.1), 3).unwrap();
    let has = |graph: &tidemill_graph::Graph| {
        graph.tensors.iter().any(|tensor| tensor.name.ends_with(".positions"))
    };
    assert!(!has(&training));
    let step = step_graph(&model, &Extent { batch: 2, times: vec![3] }, 32).unwrap();
    assert!(has(&step));
}

#[test]
fn mistakes() {
    let error = |text: &str| next(text).unwrap_err();
    assert!(error("\"round\"").contains("rotary"), "{}", error("\"round\""));
    let base = error("{ rotary = { base = 1 } }");
    assert!(base.contains("decoder_only.positions.rotary.base must be above 1, found 1"), "{base}");
    assert!(error("{ rotary = { bass = 1 } }").contains("bass"));
    let few = error("{ relative = { buckets = 1 } }");
    assert!(
        few.contains("decoder_only.positions.relative.buckets must be at least 2, found 1"),
        "{few}"
    );
    assert!(next("{ relative = { buckets = 3 } }").is_ok());
    let few = other("{ relative = { buckets = 3 } }").unwrap_err();
    assert!(few.contains("relative.buckets must be an even number, at least 4, found 3"), "{few}");
    let near = error("{ relative = { distance = 16 } }");
    let what =
        "relative.distance must be above 16, as 16 of 32 buckets are single distances, found 16";
    assert!(near.contains(what), "{near}");
    let near = other("{ relative = { distance = 16 } }").unwrap_err();
    assert!(near.contains("encoder_decoder.positions.relative.distance"), "{near}");
    assert!(other("{ relative = { distance = 17 } }").is_ok());
    let odd = model(
        "decoder_only = { units = 20, heads = 4, layers = 1, context = 8, positions = \"rotary\" }",
    );
    let odd = odd.unwrap_err();
    assert!(odd.contains("decoder_only.heads gives heads of 5 values"), "{odd}");
    let layers = |attention: &str| {
        let text = format!(
            "input = {{ tokens = {{ length = 8, vocabulary = 20 }} }}\nlayers = [\
             {{ embedding = {{ vocabulary = 20, units = 20 }} }}, {{ attention = {{ {attention} }} }}]"
        );
        let model = model(&text)?;
        let mut graph = tidemill_graph::Graph::new();
        model.build(&mut graph, 2, Mode::Train).map(|_| ()).map_err(|error| error.to_string())
    };
    layers("heads = 5, rotary = {}").unwrap();
    let error = layers("heads = 4, rotary = {}").unwrap_err();
    assert!(error.contains("layers.1.attention") && error.contains("heads of 5 values"), "{error}");
    let error = layers("heads = 5, rotary = { base = -3.0 }").unwrap_err();
    assert!(error.contains("layers[1].attention.rotary.base must be above 1"), "{error}");
    let error = layers("heads = 5, over = \"other\", relative = {}").unwrap_err();
    assert!(error.contains("layers[1].attention.relative has no place beside over"), "{error}");
    let error = layers("heads = 5, relative = { distance = 8 }").unwrap_err();
    assert!(error.contains("layers[1].attention.relative.distance must be above 8"), "{error}");
    layers("heads = 5, rotary = { base = 5.0 }, relative = { distance = 9 }").unwrap();
    layers("heads = 4, relative = { buckets = 6, distance = 9 }").unwrap();
    let error = layers("heads = 5, over = \"other\", rotary = {}").unwrap_err();
    assert!(error.contains("layers[1].attention.rotary has no place beside over"), "{error}");
}
