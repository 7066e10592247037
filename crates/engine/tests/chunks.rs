//! Sequences of vectors with labels that have no places in them: learned with the losses `ctc` and `transducer`, and
//! computed as they come.

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use tidemill_engine::data::Batch;
use tidemill_engine::fields::{DType, Dim, Field, Signature};
use tidemill_engine::metrics::{Meter, Metric, Task};
use tidemill_engine::nn::{LossSpec, Model, OptimizerSpec};
use tidemill_engine::transcript::{Search, greedy};
use tidemill_engine::{Engine, EngineSpec};

const VALUES: usize = 6;
const LONGEST: usize = 40;
/// The blank and four labels.
const OUTPUTS: usize = 5;

const MODEL: &str = "ctc_encoder = { units = 16, layers = 2, kernel = 3, dropout = 0.1 }";

const TRANSDUCER: &str =
    "transducer = { encoder = { units = 16, layers = 2, kernel = 3, dropout = 0.1 }, units = 12 }";

fn engine(model: &str, threads: usize, shards: usize) -> Engine {
    let mut model: Model = toml::from_str(model).unwrap();
    let frames = Some([LONGEST, VALUES]);
    let mut loss = LossSpec::Ctc {};
    if let Some(spec) = &mut model.ctc_encoder {
        spec.frames = frames;
    }
    if let Some(spec) = &mut model.transducer {
        spec.encoder.frames = frames;
        loss = LossSpec::Transducer { per_position: Default::default() };
    }
    model.expand(Some(OUTPUTS)).unwrap();
    let spec = EngineSpec::new(model, loss, OptimizerSpec::adam(0.01));
    Engine::compile(EngineSpec { batch_size: 8, threads: Some(threads), shards, ..spec }).unwrap()
}

/// A generator of test data.
struct Random(u32);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as usize % n
    }

    fn noise(&mut self) -> f32 {
        self.below(1000) as f32 / 2500.0 - 0.2
    }
}

/// Labels of one to four, each for some positions in a row with a few others around: value `label` is then near 1.
fn sample(random: &mut Random) -> (Vec<f32>, Vec<i32>) {
    let labels: Vec<i32> = (0..1 + random.below(4)).map(|_| 1 + random.below(4) as i32).collect();
    let mut frames = Vec::new();
    let mut put = |class: usize, n: usize, random: &mut Random| {
        for _ in 0..n {
            frames.extend((0..VALUES).map(|v| f32::from(u8::from(v == class)) + random.noise()));
        }
    };
    for &label in &labels {
        let (silence, sound) = (1 + random.below(3), 2 + random.below(3));
        put(0, silence, random);
        put(label as usize, sound, random);
    }
    put(0, 1, random);
    (frames, labels)
}

fn batch(samples: &[(Vec<f32>, Vec<i32>)]) -> Batch {
    let dims = vec![Dim::Time(LONGEST), Dim::Fixed(VALUES)];
    let x = Field { name: "x".into(), dtype: DType::F32, dims };
    let truth = Field::ids("labels", LONGEST);
    let mut batch = Batch::new(Arc::new(Signature::new(vec![x], Some(truth))));
    batch.resize(samples.len());
    for (i, (frames, labels)) in samples.iter().enumerate() {
        let mut row = batch.row_mut(i);
        row.f32(0).unwrap()[..frames.len()].copy_from_slice(frames);
        row.set_length(0, frames.len() / VALUES);
        row.set_ids(1, labels).unwrap();
        row.set_weight(1.0);
    }
    batch.pad();
    batch
}

fn samples(seed: u32, n: usize) -> Vec<(Vec<f32>, Vec<i32>)> {
    let mut random = Random(seed);
    (0..n).map(|_| sample(&mut random)).collect()
}

fn trained(model: &str, threads: usize, shards: usize, steps: u32) -> Engine {
    let mut engine = engine(model, threads, shards);
    for step in 0..steps {
        engine.train(&batch(&samples(step, 8)), 0.01).unwrap();
    }
    engine
}

#[test]
fn labels_are_learned_without_their_places() {
    for model in [MODEL, TRANSDUCER] {
        let mut engine = trained(model, 1, 1, 150);
        let test = batch(&samples(10_000, 64));
        let task = Task::of(&engine.spec().loss);
        let outputs = engine.evaluate(&test).unwrap();
        let mut meter = Meter::new(task, OUTPUTS, &[Metric::LabelErrorRate]);
        meter.add(outputs.losses, outputs.logits, &test);
        let figures = meter.figures();
        assert!(figures["label_error_rate"] < 0.05 && figures["loss"] < 0.3, "{figures:?}");
    }
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    for model in [MODEL, TRANSDUCER] {
        let bits = |threads| -> Vec<u32> {
            trained(model, threads, 1, 5).flat_state().iter().map(|v| v.to_bits()).collect()
        };
        assert_eq!(bits(1), bits(3));
    }
}

/// Alone, with others that are longer, and with room for more labels.
#[test]
fn other_samples_change_nothing() {
    for model in [MODEL, TRANSDUCER] {
        let mut engine = trained(model, 1, 1, 20);
        let all = samples(7, 8);
        let together = engine.evaluate(&batch(&all)).unwrap().losses.to_vec();
        for (one, want) in all.iter().zip(together) {
            let own = engine.evaluate(&batch(std::slice::from_ref(one))).unwrap().losses[0];
            assert!((own - want).abs() <= 1e-5 * want.abs().max(1.0), "{own} {want}");
        }
    }
}

/// What chunks give is what the whole sequence gives, whatever their length.
#[test]
fn chunks_give_what_the_whole_gives() {
    chunks_of(MODEL);
    chunks_of(TRANSDUCER);
}

fn chunks_of(model: &str) {
    let mut engine = trained(model, 1, 1, 60);
    let task = Task::of(&engine.spec().loss);
    let mut random = Random(5);
    for (frames, _) in samples(99, 20) {
        let one = batch(&[(frames.clone(), vec![1])]);
        let whole = engine.evaluate(&one).unwrap().logits.to_vec();
        let count = frames.len() / VALUES;
        let positions = 1 + random.below(7);
        let mut chunks = engine.chunks(positions).unwrap();
        let mut first = Vec::new();
        for round in 0..2 {
            let mut log = Vec::new();
            for chunk in frames.chunks(positions * VALUES) {
                log.extend_from_slice(engine.next_chunk(&mut chunks, chunk).unwrap());
            }
            assert_eq!(log.len(), count * OUTPUTS);
            for (row, want) in log.chunks(OUTPUTS).zip(whole.chunks(OUTPUTS)) {
                let sum = want.iter().map(|x| x.exp()).sum::<f32>().ln();
                for (log, x) in row.iter().zip(want) {
                    assert!((log - (x - sum)).abs() < 1e-4, "{log} {}", x - sum);
                }
            }
            let mut search = Search::new(task, 8);
            log.chunks(OUTPUTS).for_each(|row| search.add(row));
            if task == Task::Transduction {
                assert_eq!(search.best().0, greedy(task, &log, OUTPUTS));
            }
            if round == 0 {
                first = log;
            } else {
                assert_eq!(first, log);
            }
            let want = greedy(task, &whole[..count * OUTPUTS], OUTPUTS);
            assert_eq!(greedy(task, &first, OUTPUTS), want);
            chunks.restart();
        }
    }
}

#[test]
fn a_sequence_that_is_over_and_layers_that_look_ahead_are_errors() {
    let mut engine = engine(MODEL, 1, 1);
    let mut chunks = engine.chunks(4).unwrap();
    assert!(engine.next_chunk(&mut chunks, &[0.0; 5 * VALUES]).is_err());
    assert!(engine.next_chunk(&mut chunks, &[0.0; VALUES + 1]).is_err());
    engine.next_chunk(&mut chunks, &[0.0; 3 * VALUES]).unwrap();
    let error = engine.next_chunk(&mut chunks, &[0.0; VALUES]).unwrap_err().to_string();
    assert!(error.contains("the sequence was over"), "{error}");
    for (layers, what) in [
        ("{ conv1d = { filters = 4, kernel = 3 } }", "conv1d"),
        ("{ gru = { units = 4, return_sequences = true } }", "gru"),
    ] {
        let model = format!(
            "input = {{ frames = {{ length = 9, values = 2 }} }}\nlayers = [{layers}, {{ dense = {{ units = 3 }} }}]"
        );
        let error = self::engine(&model, 1, 1).check_chunks().unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("have not come yet"), "{error}");
    }
}

/// A joiner is for its own loss, and that for a joiner.
#[test]
fn a_joiner_and_its_loss_go_together() {
    let input = "input = { frames = { length = 9, values = 2 } }";
    let compiled = |layers: &str, loss: LossSpec| {
        let model: Model = toml::from_str(&format!("{input}\nlayers = [{layers}]")).unwrap();
        let spec = EngineSpec::new(model, loss, OptimizerSpec::adam(0.01));
        Engine::compile(spec).map(|_| ()).unwrap_err().to_string()
    };
    let error = compiled(
        "{ dense = { units = 3 } }",
        LossSpec::Transducer { per_position: Default::default() },
    );
    assert!(error.contains("joiner"), "{error}");
    let error = compiled("{ joiner = { outputs = 3 } }", LossSpec::Ctc {});
    assert!(error.contains("take the loss transducer"), "{error}");
}
