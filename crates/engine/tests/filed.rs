//! State in a file: the same bits as in memory, within a budget that the state alone exceeds. The only test of its program, since
//! it looks at the memory of the process.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;

use tidemill_engine::checkpoint::{Checkpoints, Meta, state_sha256};
use tidemill_engine::data::Batch;
use tidemill_engine::fields::{Field, Signature};
use tidemill_engine::memory::{Budget, return_pieces, rss_bytes};
use tidemill_engine::nn::{LossSpec, Model, OptimizerSpec, Task};
use tidemill_engine::{Engine, EngineSpec};

const BATCH: usize = 8;
const STEPS: usize = 3;
const WIDTH: usize = 384;
const LAYERS: usize = 14;

/// A deep one, whose layers are small beside the whole.
fn deep() -> String {
    format!(
        "input = {{ features = {WIDTH} }}\nlayers = [\n  {{ repeat = {{ times = {LAYERS}, layers = [{{ dense = {{ units = {WIDTH}, \
         activation = \"relu\" }} }}] }} }},\n  {{ dense = {{ units = 5 }} }},\n]"
    )
}

fn spec(optimizer: &str, frozen: &[&str], threads: usize) -> EngineSpec {
    let mut model: Model = toml::from_str(&deep()).unwrap();
    model.frozen = frozen.iter().map(ToString::to_string).collect();
    let optimizer: toml::Table = toml::from_str(&format!("o = {optimizer}")).unwrap();
    let optimizer: OptimizerSpec = optimizer["o"].clone().try_into().unwrap();
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let spec = EngineSpec::new(model, loss, optimizer);
    EngineSpec { batch_size: BATCH, threads: Some(threads), seed: 3, ..spec }
}

fn batch(turn: usize) -> Batch {
    let fields = vec![Field::numbers("x", &[WIDTH])];
    let mut batch = Batch::new(Arc::new(Signature::new(fields, Some(Field::class("y")))));
    batch.resize(BATCH);
    for i in 0..BATCH {
        let mut row = batch.row_mut(i);
        for (j, x) in row.f32(0).unwrap().iter_mut().enumerate() {
            *x = ((turn * 31 + i * 17 + j * 7) % 41) as f32 / 20.0 - 1.0;
        }
        row.set_class(((turn + i) % 5) as u32).unwrap();
        row.set_weight(1.0);
    }
    batch
}

/// The bits of the losses and of the state after some steps, with a loss in evaluation.
fn bits(engine: &mut Engine) -> (Vec<u32>, String) {
    let mut losses: Vec<u32> =
        (0..STEPS).map(|i| engine.train(&batch(i), 1e-3).unwrap().loss.to_bits()).collect();
    losses.extend(engine.evaluate(&batch(9)).unwrap().losses.iter().map(|l| l.to_bits()));
    (losses, state_sha256(engine.state().tensors()).unwrap())
}

fn within(spec: EngineSpec, megabytes: u64, folder: &Path) -> Engine {
    let limit = rss_bytes() + (megabytes << 20);
    let budget =
        Budget { limit: Some(limit), folder: Some(folder.to_owned()), ..Budget::default() };
    let engine = Engine::compile_within(spec, 0.0, budget).unwrap();
    assert!(rss_bytes() <= limit, "{} of {limit}", rss_bytes());
    engine
}

#[test]
fn state_in_a_file_has_the_bits_of_state_in_memory() {
    // Where each kernel is looked after, all of the state is in memory.
    if std::env::var("TIDEMILL_ARENA").is_ok() {
        return;
    }
    return_pieces();
    let folder = tempfile::tempdir().unwrap();
    let adam = "{ adam = { learning_rate = 1e-3 } }";
    let cases = [
        (adam, vec![], 24),
        (adam, vec![], 18),
        (adam, vec!["layers.0.repeat.2.0.dense", "layers.0.repeat.9.0.dense"], 14),
        ("{ adagrad = { learning_rate = 1e-3 } }", vec![], 16),
        ("{ sgd = { learning_rate = 1e-3, momentum = 0.9 } }", vec![], 16),
        ("{ adam = { learning_rate = 1e-3, slots = \"8bit\" } }", vec![], 14),
        ("{ adam = { learning_rate = 1e-3, global_clip_norm = 1.0 } }", vec![], 26),
    ];
    for (optimizer, frozen, megabytes) in cases {
        let mut usual = Engine::compile(spec(optimizer, &frozen, 1)).unwrap();
        let wanted = bits(&mut usual);
        let held = usual.state();
        drop(usual);
        for threads in [1, 3] {
            let mut engine = within(spec(optimizer, &frozen, threads), megabytes, folder.path());
            assert!(engine.is_filed(), "{optimizer} {frozen:?} in {megabytes} MB");
            assert!(bits(&mut engine) == wanted, "{optimizer} {frozen:?}");
            // Through a checkpoint and back, by files alone.
            let checkpoints = Checkpoints::new(folder.path(), 1).stored(true);
            let state = engine.state();
            let meta = Meta {
                step: 3,
                state_sha256: wanted.1.clone(),
                ..Meta::new(3, Task::Classes, String::new())
            };
            checkpoints.write(&meta, state.tensors()).unwrap();
            engine.train(&batch(4), 1e-3).unwrap();
            assert_ne!(state_sha256(engine.state().tensors()).unwrap(), wanted.1);
            let read = checkpoints.newest().unwrap().0.unwrap();
            read.load_into(&mut engine).unwrap();
            assert_eq!(state_sha256(engine.state().tensors()).unwrap(), wanted.1);
            // From tensors in memory.
            engine.set_state(held.tensors()).unwrap();
            assert_eq!(state_sha256(engine.state().tensors()).unwrap(), wanted.1);
        }
        // Nothing has a name: a process that is killed leaves nothing.
        let names = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name());
        assert!(names.into_iter().all(|name| name == "checkpoints"));
    }
}
