//! Predictions by several threads at once, of one network and while a clone of it learns on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use tidemill::{Activation, Fit, LossSpec, MemoryDataset, Model, Network, OptimizerSpec, Result};

fn main() -> Result<()> {
    let x: Vec<f32> = (0..4000).map(|i| ((i * 7919) % 4001) as f32 / 2000.0 - 1.0).collect();
    let y = x.chunks_exact(2).map(|p| p[0] * p[1]).collect();
    let data = Arc::new(MemoryDataset::targets(x.clone(), &[2], y, 1)?);
    let model = Model::features(2)
        .dense(128, Activation::Relu)
        .dense(128, Activation::Relu)
        .dense(1, Activation::Linear);
    let mut network =
        tidemill::compile(model, LossSpec::MeanSquaredError {}, OptimizerSpec::adam(3e-3))?;
    network.fit(data.clone(), Fit { epochs: 5, ..Fit::default() })?;

    // `predict` takes `&self`: threads share the weights, no lock is held while they compute.
    let alone = network.predict(&x)?;
    let (network, x) = (&network, &x);
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| network.predict(x))).collect();
        threads.into_iter().map(|t| t.join().expect("no panic")).collect::<Result<Vec<_>>>()
    })?;
    println!("4 threads predicted the same bits: {}", all.iter().all(|outputs| *outputs == alone));

    // Serve while learning: readers share one network, a clone learns and takes its place each epoch.
    let serving = RwLock::new(Arc::new(network.clone()));
    let (mut learning, done) = (network.clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| -> Result<Vec<f32>> {
            let mut seen = Vec::new();
            loop {
                let last = done.load(Ordering::Acquire);
                let current: Arc<Network> = serving.read().expect("no panic").clone();
                seen.push(current.predict(&[0.5, 0.5])?[0]);
                if last {
                    return Ok(seen);
                }
            }
        });
        let learned = (0..5).try_for_each(|_| {
            learning.fit(data.clone(), Fit::default())?;
            *serving.write().expect("no panic") = Arc::new(learning.clone());
            Ok(())
        });
        done.store(true, Ordering::Release);
        let seen = reader.join().expect("no panic")?;
        let (first, last) = (seen[0], seen[seen.len() - 1]);
        println!("while the clone learned, predictions went from {first:.4} to {last:.4} (0.25)");
        learned
    })
}
