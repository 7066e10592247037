//! Times of loading, ordering and filling: `cargo run --release --example load_times -- DATA`,
//! where DATA is the folder of the real datasets.

use std::error::Error;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use tidemill_data::{Dataset, IdxSpec, Loader, LoaderOptions, Order};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::args().nth(1).ok_or("usage: load_times DATA")?);
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
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        status.lines().filter(|l| l.starts_with("VmHWM")).for_each(|l| println!("{l}"));
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
