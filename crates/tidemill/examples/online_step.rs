//! How long a library call takes that predicts and learns one event.
//!
//! `online_step --net 8-32-32-2 [--activation tanh] [--defaults [--hats [--linear]]] [--seconds 1]` prints
//! `{"microseconds": ...}`, with plain SGD, or with all that a stream has by default (hats are made
//! beforehand, by the encoder), the median over windows, and beside it the two halves.

use std::time::{Duration, Instant};

use tidemill::nn::{HATS, HatsSpec};
use tidemill::train::online::DriftSpec;
use tidemill::{Activation, EngineSpec, Learner, LossSpec, Model, OptimizerSpec, Truth};

fn main() -> tidemill::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str, default: &str| {
        let at = arguments.iter().position(|a| a == name);
        at.and_then(|i| arguments.get(i + 1)).cloned().unwrap_or_else(|| default.to_owned())
    };
    let widths: Vec<usize> = option("--net", "8-32-32-2").split('-').flat_map(str::parse).collect();
    let activation = match option("--activation", "relu").as_str() {
        "tanh" => Activation::Tanh,
        _ => Activation::Relu,
    };
    let defaults = arguments.iter().any(|a| a == "--defaults");
    let seconds: f64 = option("--seconds", "1").parse().unwrap_or(1.0);
    let (columns, outputs) = (widths[0], widths[widths.len() - 1]);
    let hats = arguments.iter().any(|a| a == "--hats");
    let inputs = if hats { columns * (1 + HATS) } else { columns };
    let mut model = Model::features(inputs);
    if hats {
        model = model.hats(HatsSpec::new(columns));
        model.linear = arguments.iter().any(|a| a == "--linear");
    }
    for &width in &widths[1..widths.len() - 1] {
        model = model.dense(width, activation);
    }
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let optimizer = match defaults {
        true => OptimizerSpec::online(),
        false => OptimizerSpec::sgd(0.01),
    };
    let spec = EngineSpec::new(model.dense(outputs, Activation::Linear), loss, optimizer);
    let mut learner = Learner::new(EngineSpec { batch_size: 1, seed: 1, ..spec })?;
    if defaults {
        learner.normalize_rate();
        learner.watch_drift(DriftSpec::default())?;
    }
    // Events that no cache line predicts: a few hundred of them, one after the other.
    let mut random = 1u64;
    let mut uniform = || {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 40) as f32 / (1 << 24) as f32
    };
    let mut event = || {
        let mut x: Vec<f32> = (0..columns).map(|_| uniform()).collect();
        x.resize(inputs, 0.0);
        // Two neighbours of each column's hats.
        for hats in x[columns..].chunks_exact_mut(HATS) {
            let (first, part) = ((uniform() * (HATS - 1) as f32) as usize, uniform());
            (hats[first], hats[first + 1]) = (1.0 - part, part);
        }
        (x, (uniform() * outputs as f32) as usize)
    };
    let events: Vec<(Vec<f32>, usize)> = (0..256).map(|_| event()).collect();
    let mut windows = [Vec::new(), Vec::new()];
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        let mut parts = [Duration::ZERO; 2];
        for chunk in events.chunks(32) {
            let start = Instant::now();
            for (x, class) in chunk {
                learner.predict(x)?;
                learner.learn(x, Truth::Class(*class))?;
            }
            let both = start.elapsed();
            for (x, _) in chunk {
                learner.predict(x)?;
            }
            parts[0] += both;
            parts[1] += start.elapsed() - both;
        }
        for (window, part) in windows.iter_mut().zip(parts) {
            window.push(part.as_secs_f64() * 1e6 / events.len() as f64);
        }
    }
    let [both, predict] = windows.map(|mut window| {
        window.sort_by(f64::total_cmp);
        window[window.len() / 2]
    });
    println!("{{\"microseconds\": {both:.3}, \"predict_microseconds\": {predict:.3}}}");
    Ok(())
}
