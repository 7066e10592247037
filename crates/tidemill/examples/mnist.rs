//! Trains a small classifier on MNIST: `cargo run --release -p tidemill --example mnist DIR`, where
//! DIR holds the four original IDX files (default `../shared/data/mnist`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidemill::data::IdxSpec;
use tidemill::{Activation, Fit, Flow, LossSpec, MemoryDataset, Model, OptimizerSpec, Result};

fn open(folder: &str, part: &str) -> Result<Arc<MemoryDataset>> {
    let file = |kind: &str| format!("{folder}/{part}-{kind}-ubyte.gz");
    let (images, labels) = (file("images-idx3"), Some(file("labels-idx1")));
    let spec = IdxSpec { images, labels, ..IdxSpec::default() };
    Ok(Arc::new(spec.open(&|name| PathBuf::from(name))?))
}

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or("../shared/data/mnist".into());
    if !Path::new(&folder).is_dir() {
        println!("skipped: there is no folder {folder}; name one with MNIST's four files");
        return Ok(());
    }
    let (train, test) = (open(&folder, "train")?, open(&folder, "t10k")?);

    let model = Model::image(28, 28, 1)
        .flatten()
        .dense(128, Activation::Relu)
        .dense(10, Activation::Linear);
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let mut network = tidemill::compile(model, loss, OptimizerSpec::adam(1e-3))?;

    let fit = Fit {
        epochs: 5,
        validation: Some(test.clone()),
        on_epoch: Some(Box::new(|number, epoch| {
            println!(
                "epoch {number}: loss {:.4}, accuracy {:.4}, validation accuracy {:.4}",
                epoch.train["loss"], epoch.train["accuracy"], epoch.validation["accuracy"]
            );
            Flow::Continue
        })),
        ..Fit::default()
    };
    network.fit(train, fit)?;
    network.save("mnist.safetensors")?;

    let x: Vec<f32> = vec![0.0; 28 * 28];
    println!("a black image: {:.3?}", network.predict(&x)?);
    Ok(())
}
