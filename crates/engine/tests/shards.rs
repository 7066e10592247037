//! Steps whose batches are cut into shards: what they compute, and that it does not depend on who computes which.

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use tidemill_engine::data::{Dataset, Loader, LoaderOptions, MemoryDataset, Order, Shards};
use tidemill_engine::error::Result;
use tidemill_engine::group::Local;
use tidemill_engine::metrics::{Meter, Metric, Task};
use tidemill_engine::nn::{LossSpec, Model, OptimizerSpec};
use tidemill_engine::parallel::{Follower, Workers};
use tidemill_engine::{Engine, EngineSpec, Training};

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

fn data(shape: &[usize]) -> Arc<dyn Dataset> {
    let x: Vec<f32> = (0..SAMPLES * 6).map(|i| ((i * 7919 % 201) as f32 - 100.0) / 60.0).collect();
    let labels = (0..SAMPLES).map(|i| (x[i * 6] > 0.3) as u32 + (x[i * 6 + 1] > 0.0) as u32);
    let labels = labels.collect();
    Arc::new(MemoryDataset::classes(x, shape, labels).unwrap())
}

fn engine(model: &str, optimizer: &str, shards: usize, threads: usize) -> Engine {
    let model: Model = toml::from_str(model).unwrap();
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    #[derive(serde::Deserialize)]
    struct Of {
        of: OptimizerSpec,
    }
    let Of { of: optimizer } = toml::from_str(&format!("of = {optimizer}")).unwrap();
    let spec = EngineSpec::new(model, loss, optimizer);
    let spec = EngineSpec { batch_size: 16, threads: Some(threads), shards, seed: 5, ..spec };
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
    let data = data(if model == NORM { &[3, 2, 1] } else { &[6] });
    let mut engine = engine(model, optimizer, shards, threads);
    let remake = |shards: Shards, position: u64| loader(&data, shards, position);
    let mut groups = Local::group(workers).into_iter();
    let first = groups.next().unwrap();
    std::thread::scope(|scope| {
        for group in groups {
            let (mut engine, remake) = (engine.clone(), &remake);
            let workers = Workers::new(Box::new(group), shards).unwrap();
            scope
                .spawn(move || Follower::new(&mut engine, remake, meter(), workers).run().unwrap());
        }
        let workers = Workers::new(Box::new(first), shards).unwrap();
        let loader = remake(workers.own(), 0).unwrap();
        let mut training = Training::new(&mut engine, loader, vec![meter()]);
        if shards > 1 {
            training = training.with(Some(workers), &remake);
        }
        training.run(&mut []).unwrap();
    });
    engine.flat_state().iter().map(|v| v.to_bits()).collect()
}

#[test]
fn the_bits_do_not_depend_on_workers_and_threads() {
    let jobs = [
        (DENSE, "{ sgd = { learning_rate = 0.1 } }"),
        (DROPS, "{ adam = { learning_rate = 0.01, global_clip_norm = 0.5 } }"),
        (NORM, "{ sgd = { learning_rate = 0.1, momentum = 0.9, clip_norm = 0.3 } }"),
        (WIDE, "{ adamw = { learning_rate = 0.01, slots = '8bit' } }"),
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
