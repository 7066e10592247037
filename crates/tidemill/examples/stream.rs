//! A model that learns event by event, and readers that follow it.
//!
//! Each event is predicted, scored, then learned from. Half way the classes swap: the model unlearns
//! and learns again, while another thread goes on predicting with whole, fresh weights.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tidemill::{Activation, EngineSpec, Learner, LossSpec, Model, OptimizerSpec, Publisher, Truth};

/// Two moons of points; the classes swap after half of the stream.
fn event(i: u32, of: u32) -> ([f32; 2], usize) {
    let noise = |salt: u32| {
        let n = (i ^ salt).wrapping_mul(0x9e37_79b9).rotate_left(13).wrapping_mul(0x85eb_ca6b);
        (n >> 8) as f32 / (1 << 24) as f32
    };
    let (class, angle) = ((noise(1) > 0.5) as usize, std::f32::consts::PI * noise(2));
    let x = match class {
        0 => [angle.cos(), angle.sin()],
        _ => [1.0 - angle.cos(), 0.5 - angle.sin()],
    };
    let x = [x[0] + 0.2 * noise(3), x[1] + 0.2 * noise(4)];
    (x, if i < of / 2 { class } else { 1 - class })
}

fn main() -> tidemill::Result<()> {
    let model = Model::features(2).dense(32, Activation::Relu).dense(2, Activation::Linear);
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let spec = EngineSpec::new(model, loss, OptimizerSpec::sgd(0.05));
    let mut learner =
        Learner::new(EngineSpec { batch_size: 1, seed: 1, threads: Some(1), ..spec })?;
    let publisher = Publisher::new(&learner, &Default::default());
    let mut follower = publisher.follower()?;
    let done = AtomicBool::new(false);
    let (events, asked) = (20_000, [0.5, 0.25]);

    std::thread::scope(|scope| -> tidemill::Result<()> {
        let reader = scope.spawn(|| -> tidemill::Result<(u64, u64)> {
            let (mut answers, mut versions, mut last) = (0u64, 0u64, u64::MAX);
            while !done.load(Relaxed) {
                let answer = follower.predict(&asked)?;
                answers += 1;
                versions += u64::from(answer.version != last);
                last = answer.version;
            }
            Ok((answers, versions))
        });
        for i in 0..events {
            let (x, class) = event(i, events);
            learner.learn(&x, Truth::Class(class))?;
            if i % 100 == 0 {
                publisher.publish(&learner, &Default::default());
            }
            if (i + 1) % 1_000 == 0 {
                let figures = learner.figures();
                println!(
                    "{:>7} events  accuracy {:5.1} %  last 1,000 {:5.1} %",
                    i + 1,
                    100.0 * figures["accuracy"],
                    100.0 * figures["sliding.accuracy"]
                );
            }
        }
        done.store(true, Relaxed);
        let (answers, versions) = reader.join().expect("the reader does not panic")?;
        println!("meanwhile {answers} predictions by another thread, with {versions} versions");
        Ok(())
    })
}
