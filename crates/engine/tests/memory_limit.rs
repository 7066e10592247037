//! A run in a small arena ends with the same bits as one in a large arena: values that are made a second time are the same.

#![allow(clippy::unwrap_used, missing_docs)]

mod models;

use std::sync::Arc;

use tidemill_engine::data::Batch;
use tidemill_engine::fields::{Field, Signature};
use tidemill_engine::memory::Budget;
use tidemill_engine::nn::{LossSpec, Model, OptimizerSpec};
use tidemill_engine::{Engine, EngineSpec};

use models::MLP;

const BATCH: usize = 6;
const STEPS: usize = 3;

const DROPOUT: &str = r#"
input = { features = 24 }
layers = [
  { repeat = { times = 4, layers = [{ dense = { units = 40, activation = "relu" } }, { dropout = { rate = 0.3 } }] } },
  { dense = { units = 5 } },
]"#;

const RESIDUAL: &str = r#"
input = { image = { height = 12, width = 12, channels = 3 } }
layers = [
  { conv2d = { filters = 8, kernel = 3, padding = "same", bias = false } },
  { batch_norm = {} },
  { activation = "relu" },
  { repeat = { times = 3, layers = [{ residual = { activation = "relu", layers = [
    { conv2d = { filters = 8, kernel = 3, padding = "same", bias = false } },
    { batch_norm = {} },
    { activation = "relu" },
    { conv2d = { filters = 8, kernel = 3, padding = "same", bias = false } },
    { batch_norm = {} },
  ] } }] } },
  { residual = { activation = "relu", layers = [
    { conv2d = { filters = 16, kernel = 3, stride = 2, padding = "same", bias = false } },
    { batch_norm = {} },
  ], shortcut = [{ conv2d = { filters = 16, kernel = 1, stride = 2, padding = "same", bias = false } }] } },
  { global_avg_pool = {} },
  { dense = { units = 5 } },
]"#;

const TOKENS: &str =
    "decoder_only = { units = 16, heads = 2, layers = 4, context = 16, dropout = 0.2 }";

const VOCABULARY: usize = 13;

/// A model, and how it learns: with updates as gradients are ready, or after clipping, which keeps all of them.
fn spec(model: &str, clip: Option<f64>, threads: usize) -> EngineSpec {
    let mut model: Model = toml::from_str(model).unwrap();
    let tokens = model.expand(Some(VOCABULARY)).is_ok() && model.input.shape().len() == 1;
    let ids = tokens && model.signature().inputs()[0].time().is_some();
    let loss = match ids {
        true => LossSpec::TokenCrossentropy { label_smoothing: 0.0 },
        false => LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 },
    };
    let clip = clip.map_or(String::new(), |clip| format!(", global_clip_norm = {clip:?}"));
    let optimizer: toml::Table =
        toml::from_str(&format!("o = {{ adam = {{ learning_rate = 1e-2{clip} }} }}")).unwrap();
    let optimizer: OptimizerSpec = optimizer["o"].clone().try_into().unwrap();
    let spec = EngineSpec::new(model, loss, optimizer);
    EngineSpec { batch_size: BATCH, threads: Some(threads), seed: 3, ..spec }
}

/// Numbers that look random.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

fn batch(engine: &Engine, draws: &mut Draws) -> Batch {
    let signature = engine.signature();
    let inputs = signature.inputs().to_vec();
    let ids = inputs[0].time().is_some();
    let truth = if ids { Field::ids("labels", 16) } else { Field::class("labels") };
    let mut batch = Batch::new(Arc::new(Signature::new(inputs, Some(truth))));
    batch.resize(BATCH);
    for i in 0..BATCH {
        let mut row = batch.row_mut(i);
        if ids {
            let mut some = || (0..16).map(|_| draws.below(VOCABULARY) as i32).collect::<Vec<_>>();
            let (x, y) = (some(), some());
            row.set_ids(0, &x).unwrap();
            row.set_ids(1, &y).unwrap();
        } else {
            row.f32(0)
                .unwrap()
                .iter_mut()
                .for_each(|x| *x = draws.below(1000) as f32 / 500.0 - 1.0);
            row.set_class(draws.below(5) as u32).unwrap();
        }
        row.set_weight(1.0);
    }
    if ids {
        batch.pad();
    }
    batch
}

/// The arena, and the bits of losses and state after some steps.
fn run(spec: EngineSpec, arena: Option<usize>) -> (usize, Vec<u8>) {
    let budget = Budget { arena: arena.map(|bytes| bytes as u64), ..Budget::default() };
    let mut engine = Engine::compile_within(spec, 0.0, budget).unwrap();
    let mut draws = Draws(7);
    let mut bits = Vec::new();
    for _ in 0..STEPS {
        let batch = batch(&engine, &mut draws);
        bits.extend(engine.train(&batch, 1e-2).unwrap().loss.to_bits().to_le_bytes());
    }
    for tensor in engine.state().tensors() {
        bits.extend(tensor.values.bytes().unwrap().as_ref());
    }
    (engine.training_plan().arena_bytes, bits)
}

#[test]
fn a_small_arena_changes_no_bit() {
    let mut draws = Draws(1);
    let mut smaller = 0;
    for (model, clip) in
        [(MLP, None), (DROPOUT, None), (RESIDUAL, None), (TOKENS, None), (TOKENS, Some(1.0))]
    {
        let (usual, wanted) = run(spec(model, clip, 1), None);
        let (least, bits) = run(spec(model, clip, 3), Some(0));
        assert!(bits == wanted, "{model} in {least} bytes");
        for i in 0..10 {
            let limit = least + draws.below(usual - least + 1);
            let (arena, bits) = run(spec(model, clip, [1, 3][i % 2]), Some(limit));
            assert!(arena <= limit, "{model}: {arena} bytes in {limit}");
            assert!(bits == wanted, "{model} in {limit} bytes");
            smaller += usize::from(arena < usual);
        }
        println!("{usual} to {least} bytes");
    }
    assert!(smaller > 40);
}
