//! Callbacks that capture variables: a history, early stopping, and the weights of the best epoch.

use std::sync::Arc;

use tidemill::{
    Activation, Fit, Flow, LossSpec, MemoryDataset, Model, Network, OptimizerSpec, Result,
};

/// `sin(6 x)` with noise: few samples, so that the model fits the noise in the end.
fn sine(from: usize, n: usize) -> Result<Arc<MemoryDataset>> {
    let hash = |i: usize| {
        let bits = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((bits ^ bits >> 27) >> 40) as f32 / (1 << 24) as f32
    };
    let x: Vec<f32> = (from..from + n).map(|i| hash(2 * i) * 2.0 - 1.0).collect();
    let noise = (from..from + n).map(|i| hash(2 * i + 1) - 0.5);
    let y = x.iter().zip(noise).map(|(x, noise)| (6.0 * x).sin() + noise).collect();
    Ok(Arc::new(MemoryDataset::targets(x, &[1], y, 1)?))
}

fn main() -> Result<()> {
    let (train, validation) = (sine(0, 60)?, sine(1000, 200)?);
    let model = Model::features(1)
        .dense(64, Activation::Tanh)
        .dense(64, Activation::Tanh)
        .dense(1, Activation::Linear);
    let mut network =
        tidemill::compile(model, LossSpec::MeanSquaredError {}, OptimizerSpec::adam(0.01))?;

    // What the callbacks capture.
    let mut history = Vec::new();
    let (mut best, mut since_best) = (f64::INFINITY, 0);
    let (patience, mut rate) = (40, 0.01);
    network.fit(
        train,
        Fit {
            epochs: 2000,
            batch_size: 20,
            validation: Some(validation.clone()),
            learning_rate: Some(Box::new(|_step| {
                rate *= 0.9998;
                rate
            })),
            on_epoch: Some(Box::new(|number, epoch| {
                let loss = epoch.validation["loss"];
                history.push((number, epoch.train["loss"], loss));
                since_best += 1;
                if loss < best {
                    (best, since_best) = (loss, 0);
                }
                if since_best >= patience { Flow::Stop } else { Flow::Continue }
            })),
            ..Fit::default()
        },
    )?;
    let last = history.len();
    for (number, train, validation) in history.iter().step_by(last.div_ceil(6)) {
        println!("epoch {number:>4}: loss {train:.4}, validation {validation:.4}");
    }
    println!("stopped after epoch {last}, {patience} after the best of {best:.4}");

    let kept = keep_best(&mut network, validation)?;
    println!("training on with the best weights kept: {kept:.4}");
    Ok(())
}

/// Ten more epochs, of which the best weights are kept: a clone has the weights of its moment.
fn keep_best(network: &mut Network, validation: Arc<MemoryDataset>) -> Result<f64> {
    let mut best = network.clone();
    let mut best_loss = network.evaluate(validation.clone())?["loss"];
    for _ in 0..10 {
        network.fit(sine(0, 60)?, Fit { batch_size: 20, ..Fit::default() })?;
        let loss = network.evaluate(validation.clone())?["loss"];
        if loss < best_loss {
            (best, best_loss) = (network.clone(), loss);
        }
    }
    *network = best;
    Ok(best_loss)
}
