//! Steps whose batches are cut into shards: what they compute, and that it does not depend on who computes which.

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use tidemill_engine::data::{Dataset, Loader, LoaderOptions, MemoryDataset, Order, Shards};
use tidemill_engine::engine::{State, StateTensor, StateValues};
use tidemill_engine::error::Result;
use tidemill_engine::group::Local;
use tidemill_engine::metrics::{Meter, Metric, Task};
use tidemill_engine::nn::{LossSpec, Model, OptimizerSpec, Part};
use tidemill_engine::parallel::{Follower, Workers};
use tidemill_engine::{Callback, Engine, EngineSpec, Flow, Step, Training};

const SAMPLES: usize = 101;
const DENSE: &str = r#"input = { features = 6 }
layers = [{ dense = { units = 9, activation = "relu" } }, { dense = { units = 3 } }]"#;
/// With a tensor that is large enough for packed slots.
const WIDE: &str = r#"input = { features = 6 }
layers = [{ dense = { units = 700, activation = "relu" } }, { dense = { units = 3 } }]"#;
const DROPS: &str = r#"input = { features = 6 }
layers = [{ dense = { units = 9, activation = "relu" } }, { dropout = { rate = 0.3 } }, { dense = { units = 3 } }]"#;
const NORM: &str = r#"input = { image = { height = 3, width = 2, channels = 1 } }
layers = [{ conv2d = { filters = 4, kernel = 3, padding = "same" } }, { batch_norm = {} },
    { activation = "relu" }, { flatten = {} }, { dense = { units = 3 } }]"#;

/// Networks and linear models, the last with a rule of their own, mixed by weights that each step moves.
const MIXED: &str = r#"input = { features = 6 }
hats = { columns = 1, knots = 3 }
linear = true
layers = [{ dense = { units = 9, activation = "relu" } }, { dense = { units = 3 } }]"#;

fn data(shape: &[usize]) -> Arc<dyn Dataset> {
    let x: Vec<f32> = (0..SAMPLES * 6).map(|i| ((i * 7919 % 201) as f32 - 100.0) / 60.0).collect();
    let labels = (0..SAMPLES).map(|i| (x[i * 6] > 0.3) as u32 + (x[i * 6 + 1] > 0.0) as u32);
    let labels = labels.collect();
    Arc::new(MemoryDataset::classes(x, shape, labels).unwrap())
}

fn engine(model: &str, optimizer: &str, shards: usize, threads: usize) -> Engine {
    part_of_engine(model, optimizer, shards, threads, None)
}

fn part_of_engine(
    model: &str,
    optimizer: &str,
    shards: usize,
    threads: usize,
    part: Option<Part>,
) -> Engine {
    let model: Model = toml::from_str(model).unwrap();
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    #[derive(serde::Deserialize)]
    struct Of {
        of: OptimizerSpec,
    }
    let Of { of: optimizer } = toml::from_str(&format!("of = {optimizer}")).unwrap();
    let spec = EngineSpec::new(model, loss, optimizer);
    let spec = EngineSpec { batch_size: 16, threads: Some(threads), shards, seed: 5, part, ..spec };
    Engine::compile(spec).unwrap()
}

fn meter() -> Meter {
    Meter::new(Task::Classes, 3, &[Metric::Accuracy, Metric::TopK(2), Metric::F1])
}

fn loader(data: &Arc<dyn Dataset>, shards: Shards, position: u64) -> Result<Loader> {
    let options = LoaderOptions::new(16, Order::Shuffled { seed: 2 });
    let options = LoaderOptions { shards, position, epochs: Some(2), ..options };
    Ok(Loader::new(data.clone(), options)?)
}

/// Two epochs by so many workers: the bits of the state, and the figures of the last epoch's first steps.
fn train(model: &str, optimizer: &str, shards: usize, workers: usize, threads: usize) -> Vec<u32> {
    let mut engine = engine(model, optimizer, shards, threads);
    let state = train_engine(&mut engine, model, workers, &mut []);
    let bits = |t: &StateTensor| match &t.values {
        StateValues::F32(values) => values.iter().map(|v| v.to_bits()).collect(),
        StateValues::I32(words) => words.iter().map(|w| w.cast_unsigned()).collect(),
        other => panic!("{other:?}"),
    };
    state.tensors().iter().flat_map::<Vec<u32>, _>(bits).collect()
}

/// Two epochs by `engine` and the workers beside it; gives the whole state.
fn train_engine(
    engine: &mut Engine,
    model: &str,
    workers: usize,
    callbacks: &mut [&mut dyn Callback],
) -> State {
    let shards = engine.shards();
    let data = data(if model == NORM { &[3, 2, 1] } else { &[6] });
    let remake = |shards: Shards, position: u64| loader(&data, shards, position);
    let mut groups = Local::group(workers).into_iter();
    let first = groups.next().unwrap();
    std::thread::scope(|scope| {
        for (number, group) in (1..).zip(groups) {
            let other = match engine.part() {
                None => engine.clone(),
                Some(part) => engine.with_part(Part { number, ..part }).unwrap(),
            };
            let (mut engine, remake) = (other, &remake);
            let workers = Workers::new(Box::new(group), shards).unwrap();
            scope
                .spawn(move || Follower::new(&mut engine, remake, meter(), workers).run().unwrap());
        }
        let workers = Workers::new(Box::new(first), shards).unwrap();
        let loader = remake(workers.own(), 0).unwrap();
        let mut training = Training::new(engine, loader, vec![meter()]);
        if shards > 1 {
            training = training.with(Some(workers), &remake);
        }
        training.run(callbacks).unwrap();
        training.state().unwrap()
    })
}

/// Takes the state again and again, as a run that writes checkpoints does.
struct Watch(Vec<State>);

impl Callback for Watch {
    fn after_step(&mut self, training: &mut Training<'_>, _step: &Step) -> Result<Flow> {
        if training.engine.step().is_multiple_of(3) {
            self.0.push(training.state()?);
        }
        Ok(Flow::Continue)
    }
}

#[test]
fn slots_may_be_kept_by_a_worker_each() {
    let jobs = [
        (DENSE, "{ sgd = { learning_rate = 0.1, momentum = 0.9 } }"),
        (DROPS, "{ adam = { learning_rate = 0.01, global_clip_norm = 0.5 } }"),
        (NORM, "{ adam = { learning_rate = 0.01, clip_norm = 0.3 } }"),
        (WIDE, "{ adamw = { learning_rate = 0.01, slots = '8bit' } }"),
        (DENSE, "{ adagrad = { learning_rate = 0.1 } }"),
        (MIXED, "{ adam = { learning_rate = 0.01 } }"),
    ];
    for (model, optimizer) in jobs {
        let mut alone = engine(model, optimizer, 8, 1);
        let mut expected = Watch(Vec::new());
        let end = train_engine(&mut alone, model, 1, &mut [&mut expected]);
        for of in [2, 3, 4, 8] {
            let part = Some(Part { number: 0, of });
            let mut engine = part_of_engine(model, optimizer, 8, 1, part);
            assert!(engine.flat_state().len() < alone.flat_state().len());
            assert_eq!(engine.state().tensors().len(), alone.state().tensors().len());
            let mut watch = Watch(Vec::new());
            assert!(train_engine(&mut engine, model, of, &mut [&mut watch]) == end, "{model} {of}");
            assert!(watch.0 == expected.0, "{model} {optimizer} by {of}");
        }
        // From a state in the middle of a run by other workers.
        let middle = &expected.0[1];
        let resumed = |part: Option<Part>| {
            let mut engine = part_of_engine(model, optimizer, 8, 1, part);
            engine.set_state(middle.tensors()).unwrap();
            engine.set_step(6);
            assert!(engine.has_all_slots() && engine.state() == *middle);
            train_engine(&mut engine, model, part.map_or(1, |part| part.of), &mut [])
        };
        let one = resumed(None);
        for of in [2, 5] {
            assert!(resumed(Some(Part { number: 0, of })) == one, "{model} {optimizer} by {of}");
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_workers_and_threads() {
    let jobs = [
        (DENSE, "{ sgd = { learning_rate = 0.1 } }"),
        (DROPS, "{ adam = { learning_rate = 0.01, global_clip_norm = 0.5 } }"),
        (NORM, "{ sgd = { learning_rate = 0.1, momentum = 0.9, clip_norm = 0.3 } }"),
        (WIDE, "{ adamw = { learning_rate = 0.01, slots = '8bit' } }"),
        (MIXED, "{ adam = { learning_rate = 0.01 } }"),
    ];
    for (model, optimizer) in jobs {
        // The last batch has 5 samples, so that some shards are empty.
        for shards in [2, 5, 7, 8] {
            let one = train(model, optimizer, shards, 1, 1);
            assert!(model == WIDE || one.iter().all(|bits| f32::from_bits(*bits).is_finite()));
            for (workers, threads) in [(1, 3), (2, 1), (4.min(shards), 1), (shards, 1)] {
                let other = train(model, optimizer, shards, workers, threads);
                assert!(one == other, "{model}: {shards} shards by {workers} x {threads}");
            }
        }
    }
}

#[test]
fn shards_have_the_gradients_of_the_whole_batch() {
    for optimizer in ["{ sgd = { learning_rate = 0.1 } }", "{ adam = { global_clip_norm = 0.1 } }"]
    {
        let values = |shards| -> Vec<f32> {
            let bits = train(DENSE, optimizer, shards, 1, 1);
            bits.into_iter().map(f32::from_bits).collect()
        };
        let whole = values(1);
        for shards in [2, 3, 8] {
            for (a, b) in whole.iter().zip(values(shards)) {
                assert!((a - b).abs() < 2e-5 * a.abs().max(1.0), "{a} {b}");
            }
        }
    }
}

#[test]
fn sums_are_no_part_of_the_state() {
    let (whole, cut) = (engine(NORM, "\"adam\"", 1, 1), engine(NORM, "\"adam\"", 4, 1));
    let names = |engine: &Engine| -> Vec<String> {
        engine.state().tensors().iter().map(|t| t.name.clone()).collect()
    };
    assert_eq!(names(&whole), names(&cut));
    assert_eq!(whole.flat_state(), cut.flat_state());
    assert_eq!(whole.num_parameters(), cut.num_parameters());
}
