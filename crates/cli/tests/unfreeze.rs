//! Layers that learn from a later epoch on (`training.unfreeze`), and vision transformers.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::*;

/// Three dense layers, of which two learn later.
const LAYERS: &str = r#"{ flatten = {} },
    { dense = { units = 12, activation = "relu" } },
    { dense = { units = 12, activation = "relu" } },
    { dense = { units = 10 } }"#;

const FROZEN: [&str; 4] = [
    "--set",
    "model.frozen=[\"layers.1\", \"layers.2\"]",
    "--set",
    "training.unfreeze=[{ epoch = 2, layers = [\"layers.2\"] }, { epoch = 4, layers = [\"layers.1\"] }]",
];

/// The tensors of a run's newest checkpoint.
fn tensors(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let checkpoints = run.join("checkpoints");
    let step = summary(run).steps.to_string();
    let bytes = std::fs::read(checkpoints.join(step).join("state.safetensors")).unwrap();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    let values = |entry: &serde_json::Value| {
        let at = |i: usize| 8 + len + entry["data_offsets"][i].as_u64().unwrap() as usize;
        bytes[at(0)..at(1)].to_vec()
    };
    let tensors = header.iter().filter(|(name, _)| *name != "__metadata__");
    tensors.map(|(name, entry)| (name.clone(), values(entry))).collect()
}

const KERNELS: [&str; 3] =
    ["layers.1.dense.kernel", "layers.2.dense.kernel", "layers.3.dense.kernel"];

#[test]
fn layers_learn_from_their_epoch_on_and_a_resume_anywhere_has_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let more =
        "[training.average]\nema = 0.9\n[training.spikes]\nevery = 7\n[log]\nevery_steps = 5\n";
    let recipe = recipe(folder.path(), LAYERS, more);
    let path = |name: &str| folder.path().join(name);
    let run =
        |name: &str, more: &[&str]| train(&recipe, &path(name), &[&FROZEN[..], more].concat());

    let said = run("whole", &[]);
    for part in ["from epoch 2 on, layers.2 learn", "from epoch 4 on, layers.1 learn"] {
        assert!(said.contains(part), "{said}");
    }
    let whole = summary(&path("whole"));
    assert_eq!((whole.epochs, metrics(&path("whole")).len()), (4, 4));
    let steps = whole.steps / 4;

    // What is frozen stays as it starts, and has no slots.
    let ends: Vec<BTreeMap<String, Vec<u8>>> = (0..=4)
        .map(|epoch| {
            let name = format!("until-{epoch}");
            let stop = format!("stop.steps={}", (epoch * steps).max(1));
            run(&name, &["--set", &stop]);
            tensors(&path(&name))
        })
        .collect();
    let moves = |from: usize, to: usize| KERNELS.map(|name| ends[from][name] != ends[to][name]);
    assert_eq!(moves(0, 1), [false, false, true]);
    assert_eq!(moves(1, 2), [false, true, true]);
    assert_eq!(moves(2, 3), [false, true, true]);
    assert_eq!(moves(3, 4), [true, true, true]);
    let slots = |end: usize, layer: &str| {
        let prefix = format!("{layer}.dense.kernel.");
        ends[end].keys().any(|name| name.starts_with(&prefix))
    };
    assert!(!slots(2, "layers.1") && slots(2, "layers.2") && slots(4, "layers.1"));

    // The first step of a layer is no longer than Adam's rate: the bias of its moments is corrected from there on.
    run("first", &["--set", &format!("stop.steps={}", steps + 1)]);
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let (before, after) =
        (floats(&ends[1][KERNELS[1]]), floats(&tensors(&path("first"))[KERNELS[1]]));
    let longest = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!((1e-3..2.01e-3).contains(&longest), "{longest}");

    for stop in [1, steps - 1, steps, steps + 1, 3 * steps, 3 * steps + 4] {
        let name = format!("cut-{stop}");
        run(&name, &["--set", &format!("stop.steps={stop}")]);
        run(&name, &["--resume"]);
        assert_eq!(summary(&path(&name)).state_sha256, whole.state_sha256, "cut at step {stop}");
        let log =
            |run: &Path| std::fs::read_to_string(run.join("steps.jsonl")).unwrap().lines().count();
        assert_eq!(log(&path(&name)), log(&path("whole")));
    }
    // The same with a pause where layers begin to learn.
    run("paused", &["--pause-after", "1"]);
    assert_eq!(summary(&path("paused")).stopped_by, "pause");
    run("paused", &["--resume"]);
    assert_eq!(summary(&path("paused")).state_sha256, whole.state_sha256);

    // The run is measured, predicted with, and continued with a stream, wherever it stands.
    for name in ["whole", "until-1", "until-2"] {
        succeed(&["eval", text(&path(name))]);
        let digits = digits().join("digits").join("test");
        succeed(&["learn", text(&path(name)), "--from", text(&digits), "--until-events", "20"]);
    }
}

#[test]
fn layers_that_cannot_be_unfrozen_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), LAYERS, "");
    let run = folder.path().join("run");
    let refused = |unfreeze: &str, more: &[&str]| {
        let set = format!("training.unfreeze=[{unfreeze}]");
        let start =
            ["train", text(&recipe), "--out", text(&run), "--set", FROZEN[1], "--set", &set];
        let output = tidemill(&[&start[..], more].concat());
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    let cases = [
        ("{ epoch = 2, layers = [\"layers.9\"] }", "the model has no layer \"layers.9\""),
        ("{ epoch = 2, layers = [\"layers.3\"] }", "\"layers.3\" is not frozen"),
        ("{ epoch = 1, layers = [\"layers.1\"] }", "is the start of the run"),
        ("{ epoch = 0, layers = [\"layers.1\"] }", "training.unfreeze[0].epoch"),
        ("{ epoch = 2, layers = [] }", "must name layers"),
    ];
    for (unfreeze, part) in cases {
        let said = refused(unfreeze, &[]);
        assert!(said.contains(part) && said.contains("training.unfreeze"), "{said}");
    }
    // An epoch that the run does not reach is said; rates may name layers that learn later, and no others.
    let late = "training.unfreeze=[{ epoch = 9, layers = [\"layers.1\"] }]";
    let start = ["--set", FROZEN[1], "--set", late, "--set", "batch.epochs=1"];
    let rate = |layer: &str| {
        format!("training.optimizer={{ adam = {{ rates = {{ \"{layer}\" = 0.1 }} }} }}")
    };
    let said = train(&recipe, &run, &[&start[..], &["--set", &rate("layers.1")]].concat());
    assert!(said.contains("so that layers.1 never learn"), "{said}");
    let of_frozen = rate("layers.2");
    let arguments = ["train", text(&recipe), "--out", text(&run), "--force", "--set", &of_frozen];
    let output = tidemill(&[&arguments[..], &start[..]].concat());
    assert!(stderr(&output).contains("no layer that learns has the path"), "{}", stderr(&output));
    std::fs::remove_dir_all(&run).unwrap();
    let said = refused(
        "{ epoch = 2, layers = [\"layers.1\"] }",
        &["--workers", "2", "--set", "training.shards=2"],
    );
    assert!(said.contains("training.unfreeze") && said.contains("--workers"), "{said}");
}

/// Patches of 4 x 4 pixels, a class token, learned positions, two blocks.
const TRANSFORMER: &str = r#"{ conv2d = { filters = 16, kernel = 4, stride = 4 } },
    { image_to_sequence = { class_token = true } },
    { positions = { length = 17 } },
    { repeat = { times = 2, layers = [
        { residual = { layers = [{ layer_norm = {} }, { attention = { heads = 2, dropout = 0.1 } }], drop_path = 0.1 } },
        { residual = { layers = [{ layer_norm = {} }, { dense = { units = 32, activation = "gelu" } }, { dense = { units = 16 } }] } },
    ] } },
    { layer_norm = {} },
    { first_position = {} },
    { dense = { units = 10 } }"#;

#[test]
fn a_vision_transformer_learns_with_the_same_bits_for_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), TRANSFORMER, "");
    let run = |threads: &str, more: &[&str]| {
        let run = folder.path().join(format!("run-{threads}-{}", more.len()));
        let start = ["train", text(&recipe), "--out", text(&run), "--threads", threads];
        let start = [&start[..], &["--set", "batch.epochs=30"]].concat();
        succeed(&[&start[..], more].concat());
        summary(&run)
    };
    let one = run("1", &[]);
    assert_eq!(one.state_sha256, run("3", &[]).state_sha256);
    assert!(one.validation["accuracy"] > 0.3, "{:?}", one.validation);
    // The mean of all positions in place of the first one's.
    let pooled = TRANSFORMER.replace("first_position", "global_avg_pool").replace('\n', " ");
    let layers = format!("model.layers=[{pooled}]");
    assert!(run("1", &["--set", &layers]).validation["accuracy"] > 0.3);
}
