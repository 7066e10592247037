//! Times of loading, ordering and filling: `cargo run --release --example load_times -- DATA`,
//! where DATA is the folder of the real datasets; or of a folder of images, streamed in batches
//! of 1: `load_times --folder DIR`.

use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use tidemill_data::images::Cache;
use tidemill_data::{
    Dataset, IdxSpec, ImageDirectorySpec, ImageFolder, InputSpec, Loader, LoaderOptions, Order,
};

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: load_times DATA | load_times --folder DIR";
    let first = std::env::args().nth(1).ok_or(usage)?;
    match first.as_str() {
        "--folder" => folder(&std::env::args().nth(2).ok_or(usage)?)?,
        data => mnist(&PathBuf::from(data))?,
    }
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        status.lines().filter(|l| l.starts_with("VmHWM")).for_each(|l| println!("{l}"));
    }
    Ok(())
}

fn folder(path: &str) -> Result<(), Box<dyn Error>> {
    let mut spec = ImageDirectorySpec::new(path);
    spec.cache = Cache::Never;
    let want = InputSpec::Image { height: 28, width: 28, channels: 1 };
    let data = Arc::new(ImageFolder::open(&spec, &|name| name.into(), want, &[])?);
    let options =
        LoaderOptions { epochs: Some(2), ..LoaderOptions::new(1, Order::Shuffled { seed: 1 }) };
    let start = Instant::now();
    let mut loader = Loader::new(data, options)?;
    let mut num_samples = 0;
    while let Some(batch) = loader.next_batch()? {
        num_samples += batch.len;
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / num_samples as f64;
    println!("{num_samples} samples, {micros:.1} us each on the clock");
    Ok(())
}

fn mnist(root: &Path) -> Result<(), Box<dyn Error>> {
    let spec = IdxSpec {
        images: "mnist/train-images-idx3-ubyte.gz".into(),
        labels: Some("mnist/train-labels-idx1-ubyte.gz".into()),
        ..IdxSpec::default()
    };
    let mut best = f64::MAX;
    let mut data = None;
    for _ in 0..5 {
        drop(data.take());
        let start = seconds();
        data = Some(spec.open(&|name| root.join(name))?);
        best = best.min(seconds() - start);
    }
    let data: Arc<dyn Dataset> = Arc::new(data.ok_or("nothing was loaded")?);
    println!("MNIST train loaded in {:.0} ms (best of 5)", best * 1e3);

    let order = Order::Shuffled { seed: 1 }.epoch(0, data.len());
    let ns = time(3, 50 * data.len(), || {
        for _ in 0..50 {
            for position in 0..data.len() {
                black_box(order.index(position));
            }
        }
    });
    println!("position to index: {ns:.1} ns");

    let shuffled = Order::Shuffled { seed: 1 };
    for (name, batch_size, order) in [
        ("shuffled", 1, shuffled),
        ("shuffled", 32, shuffled),
        ("shuffled", 256, shuffled),
        ("sequential", 32, Order::Sequential),
    ] {
        let options = LoaderOptions::new(batch_size, order);
        let mut loader = Loader::new(data.clone(), options)?;
        let ns = time(3, data.len(), || {
            for _ in 0..loader.batches_per_epoch() {
                let batch = loader.next_batch();
                black_box(batch.is_ok());
            }
        });
        println!("{name}, batch of {batch_size}: {ns:.0} ns a sample");
    }
    Ok(())
}

/// Seconds that this thread has run, so that a busy machine does not show; on systems that do
/// not tell, seconds on the clock.
fn seconds() -> f64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let on_cpu = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = on_cpu.and_then(|s| s.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| START.elapsed().as_secs_f64(), |ns| ns * 1e-9)
}

/// Nanoseconds of one of `n` items, best of `rounds`.
fn time(rounds: usize, n: usize, mut work: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..rounds {
        let start = seconds();
        work();
        best = best.min(seconds() - start);
    }
    best * 1e9 / n as f64
}
