//! A training loop of one's own: the batches of a loader, a schedule, and what is printed are all here.

use std::sync::Arc;

use tidemill::{
    Activation, Loader, LoaderOptions, LossSpec, MemoryDataset, Model, OptimizerSpec, Order, Result,
};

const STEPS: u64 = 1500;

/// Warm-up over 100 steps, then down along a cosine.
fn learning_rate(step: u64) -> f64 {
    let warmth = ((step + 1) as f64 / 100.0).min(1.0);
    let done = step as f64 / STEPS as f64;
    0.02 * warmth * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
}

/// Points of the plane in a chessboard of 3 x 3 fields.
fn chessboard(n: usize) -> Result<Arc<MemoryDataset>> {
    let hash = |i: usize| ((i as u32).wrapping_mul(0x85eb_ca6b) >> 8) as f32 / (1 << 24) as f32;
    let x: Vec<f32> = (0..2 * n).map(hash).collect();
    let field = |v: f32| (v * 3.0) as u32;
    let classes = x.chunks_exact(2).map(|p| (field(p[0]) + field(p[1])) % 2).collect();
    Ok(Arc::new(MemoryDataset::classes(x, &[2], classes)?))
}

fn main() -> Result<()> {
    let model = Model::features(2)
        .dense(64, Activation::Relu)
        .dense(64, Activation::Relu)
        .dense(2, Activation::Linear);
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let mut network = tidemill::compile(model, loss, OptimizerSpec::adam(0.02))?;

    let data = chessboard(2000)?;
    let options = LoaderOptions::new(64, Order::Shuffled { seed: 1 }); // endless
    let mut loader = Loader::new(data.clone(), options)?;
    let (mut sum, mut steps) = (0.0, 0);
    while let Some(batch) = loader.next_batch()? {
        let step = network.step();
        if step == STEPS {
            break;
        }
        sum += network.train_on_batch_at(batch, learning_rate(step))?;
        steps += 1;
        if batch.last_in_epoch && batch.epoch % 10 == 0 {
            let (epoch, mean) = (batch.epoch, sum / steps as f32);
            println!("epoch {epoch:>2}: mean loss {mean:.4}, rate {:.5}", learning_rate(step));
            (sum, steps) = (0.0, 0);
        }
    }
    println!("accuracy {:.3}", network.evaluate(data)?["accuracy"]);
    Ok(())
}
