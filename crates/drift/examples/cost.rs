//! Nanoseconds per update of each detector, and how well a column of inputs is watched by ADWIN
//! and by Page-Hinkley.
//!
//! ```text
//! cargo run --release -p tidemill-drift --example cost
//! ```

use std::hint::black_box;
use std::time::Instant;
use tidemill_drift::{
    AdwinSpec, Detector, DetectorSpec, FeatureDrift, FeatureDriftSpec, PageHinkleySpec, Signal,
    SpecError,
};

const EVENTS: usize = 200_000;
const ROUNDS: usize = 7;

/// Knuth's MMIX generator; normal values by the sum of twelve uniform ones.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// The fastest of some rounds, in nanoseconds per item.
fn fastest(items: usize, mut round: impl FnMut()) -> f64 {
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        round();
        start.elapsed().as_secs_f64() * 1e9 / items as f64
    });
    times.fold(f64::INFINITY, f64::min)
}

fn costs() -> Result<(), SpecError> {
    let mut random = Random(1);
    let errors: Vec<f64> =
        (0..EVENTS).map(|_| f64::from(u8::from(random.uniform() < 0.2))).collect();
    let values: Vec<f64> = (0..EVENTS).map(|_| random.normal()).collect();
    println!("{:<14} {:>12} {:>12}", "detector", "errors, ns", "values, ns");
    let specs = [
        DetectorSpec::Adwin(Default::default()),
        DetectorSpec::Ddm(Default::default()),
        DetectorSpec::Eddm(Default::default()),
        DetectorSpec::HddmA(Default::default()),
        DetectorSpec::HddmW(Default::default()),
        DetectorSpec::Kswin(Default::default()),
        DetectorSpec::PageHinkley(Default::default()),
    ];
    for (name, spec) in
        ["adwin", "ddm", "eddm", "hddm_a", "hddm_w", "kswin", "page_hinkley"].iter().zip(specs)
    {
        let time = |stream: &[f64]| -> Result<f64, SpecError> {
            let mut detector = Detector::new(spec.clone())?;
            Ok(fastest(stream.len(), || {
                for &x in stream {
                    black_box(detector.update(x));
                }
            }))
        };
        print!("{name:<14} {:>12.1}", time(&errors)?);
        let of_values = !matches!(*name, "ddm" | "eddm" | "hddm_a" | "hddm_w");
        println!(" {:>12}", if of_values { format!("{:.1}", time(&values)?) } else { "-".into() });
    }
    for every in [1, 8] {
        let columns = 50;
        let spec = FeatureDriftSpec { every, ..Default::default() };
        let mut watch = FeatureDrift::new(spec, (0..columns).map(|i| format!("x{i}")))?;
        let ns = fastest(EVENTS, || {
            for row in values.chunks_exact(columns) {
                black_box(watch.update(row.iter().copied()));
            }
        });
        println!("50 columns watched, every = {every}: {ns:.1} ns per column and event");
    }
    Ok(())
}

/// Alarms in 200 streams of 10,000 values; in half of them the mean moves by `shift` standard
/// deviations after 5,000.
fn quality(name: &str, spec: &DetectorSpec, scale: f64, shift: f64) -> Result<(), SpecError> {
    let (mut false_alarms, mut found, mut delay) = (0, 0, 0);
    for stream in 0..200 {
        let mut random = Random(stream + 17);
        let mut detector = Detector::new(spec.clone())?;
        let moves = stream % 2 == 1;
        let mut seen = false;
        for i in 0..10_000 {
            let moved = moves && i >= 5000;
            let x = scale * (random.normal() + if moved { shift } else { 0.0 });
            if detector.update(x) == Signal::Drift {
                match (moved, seen) {
                    (true, false) => (found, delay, seen) = (found + 1, delay + i - 5000, true),
                    _ => false_alarms += 1,
                }
            }
        }
    }
    let delay = f64::from(delay) / f64::from(found.max(1));
    println!("{name:<40} {shift:>5} {false_alarms:>6} {found:>9} {delay:>8.0}");
    Ok(())
}

fn main() -> Result<(), SpecError> {
    costs()?;
    println!("\n{:<40} shift  false  found/100   delay", "one column, 200 x 10,000 normal values");
    let adwin = |delta, any_scale| {
        DetectorSpec::Adwin(AdwinSpec { delta, any_scale, ..Default::default() })
    };
    let hinkley = |delta, threshold| {
        DetectorSpec::PageHinkley(PageHinkleySpec { delta, threshold, ..Default::default() })
    };
    for shift in [0.25, 0.5, 1.0] {
        for (name, spec, scale) in [
            ("adwin any_scale, delta 0.002", adwin(0.002, true), 1.0),
            ("adwin any_scale, delta 0.0001", adwin(0.0001, true), 1.0),
            ("adwin any_scale, delta 0.0001, x 0.001", adwin(0.0001, true), 0.001),
            ("adwin of River, delta 0.002", adwin(0.002, false), 1.0),
            ("adwin of River, delta 0.002, x 0.001", adwin(0.002, false), 0.001),
            ("page_hinkley of River", hinkley(0.005, 50.0), 1.0),
            ("page_hinkley of River, x 0.001", hinkley(0.005, 50.0), 0.001),
            ("page_hinkley, delta 0.1, threshold 50", hinkley(0.1, 50.0), 1.0),
        ] {
            quality(name, &spec, scale, shift)?;
        }
    }
    Ok(())
}
