//! How many images a second a folder or tar file of them becomes, as samples of 224 x 224 values by a random resized crop and flips
//! (`bench/images.py` compares it).
//!
//! ```sh
//! cargo run --release -p tidemill-data --example images -- FOLDER [THREADS] [EPOCHS]
//! ```
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tidemill_data::{
    Augment, ImageAugmentSpec, ImageDirectorySpec, ImageFolder, InputSpec, Loader, LoaderOptions,
    Normalize, Order,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize, default: usize| arguments.get(at).map_or(default, |text| text.parse().unwrap());
    let mut spec = ImageDirectorySpec::new(arguments[0].clone());
    spec.normalize = Some(Normalize {
        scale: None,
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
    });
    let augment = ImageAugmentSpec {
        random_resized_crop: Some(Default::default()),
        horizontal_flip: 0.5,
        ..Default::default()
    };
    spec.augment = Some(Augment::new(augment, 1));
    let want = InputSpec::Image { height: 224, width: 224, channels: 3 };
    let opening = Instant::now();
    let folder = ImageFolder::open(&spec, &|path| PathBuf::from(path), want, &[]).unwrap();
    let listed = opening.elapsed().as_secs_f64();
    let options = LoaderOptions {
        threads: Some(number(1, 2)),
        epochs: Some(number(2, 4) as u64),
        memory_bytes: 64 << 20,
        ..LoaderOptions::new(32, Order::Shuffled { seed: 1 })
    };
    let mut loader = Loader::new(Arc::new(folder), options).unwrap();
    let (mut samples, mut sum, mut start) = (0, 0.0f64, None);
    while let Some(batch) = loader.next_batch().unwrap() {
        // The first epoch warms the threads up.
        if batch.epoch > 0 {
            start.get_or_insert_with(Instant::now);
            samples += batch.len;
        }
        sum += f64::from(batch.x()[0]);
    }
    let seconds = start.map_or(f64::NAN, |start| start.elapsed().as_secs_f64());
    let rate = samples as f64 / seconds;
    println!(
        "{{\"images_per_second\": {rate:.1}, \"listed_seconds\": {listed:.4}, \"sum\": {sum}}}"
    );
}
