//! Layers that do not learn: features learned on one task serve another one with few samples.

use std::sync::Arc;

use tidemill::{Activation, Fit, LossSpec, MemoryDataset, Model, OptimizerSpec, Result};

/// Points of the plane; the class is the ring around the origin that they are in, `width` wide.
fn rings(n: usize, width: f32, classes: u32) -> Result<Arc<MemoryDataset>> {
    let hash = |i: usize| ((i as u32).wrapping_mul(0x9e37_79b9) >> 8) as f32 / (1 << 24) as f32;
    let x: Vec<f32> = (0..2 * n).map(|i| 2.0 * hash(i + 7) - 1.0).collect();
    let ring = |p: &[f32]| ((p[0] * p[0] + p[1] * p[1]).sqrt() / width) as u32 % classes;
    let labels = x.chunks_exact(2).map(ring).collect();
    Ok(Arc::new(MemoryDataset::classes(x, &[2], labels)?))
}

fn features() -> Model {
    Model::features(2).dense(64, Activation::Relu).batch_norm().dense(32, Activation::Relu)
}

fn main() -> Result<()> {
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let (fit, adam) = (|epochs| Fit { epochs, ..Fit::default() }, OptimizerSpec::adam(5e-3));

    // Many samples of one task.
    let model = features().dense(3, Activation::Linear);
    let mut first = tidemill::compile(model, loss.clone(), adam.clone())?;
    first.fit(rings(4000, 0.4, 3)?, fit(20))?;
    let file =
        std::env::temp_dir().join(format!("tidemill-frozen-{}.safetensors", std::process::id()));
    first.save(&file)?;

    // Few samples of another one: all layers but the last keep their weights. They have no gradients and no
    // optimizer state, and the batch norm uses its running statistics and leaves them alone.
    let (few, test) = (rings(150, 0.4, 2)?, rings(2000, 0.4, 2)?);
    let frozen =
        features().dense(2, Activation::Linear).freeze(0).freeze(1).freeze_layer("layers.2.dense");
    let mut second = tidemill::compile(frozen, loss.clone(), adam.clone())?;
    let left = second.load_weights(&file)?;
    std::fs::remove_file(&file).ok();
    println!("not loaded, since the shape differs or there is none: {left:?}");

    let before = second.weight("layers.0.dense.kernel").map(<[f32]>::to_vec);
    second.fit(few.clone(), fit(60))?;
    let same = second.weight("layers.0.dense.kernel") == before.as_deref();
    println!("the frozen weights are the same after training: {same}");
    println!("with frozen features: accuracy {:.3}", second.evaluate(test.clone())?["accuracy"]);

    let mut alone = tidemill::compile(features().dense(2, Activation::Linear), loss, adam)?;
    alone.fit(few, fit(60))?;
    println!("from scratch:         accuracy {:.3}", alone.evaluate(test)?["accuracy"]);

    for name in second.weight_names() {
        println!("{name:<28} {} values", second.weight(&name).map_or(0, <[f32]>::len));
    }
    Ok(())
}
