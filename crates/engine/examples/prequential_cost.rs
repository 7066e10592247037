//! What the prequential figures of a stream cost:
//! `cargo run --release -p tidemill-train --example prequential_cost`.

use std::hint::black_box;
use std::time::Instant;

use tidemill_engine::metrics::Task;
use tidemill_engine::prequential::{Prequential, PrequentialSpec, Truth};

/// Events of a round; a power of two of them differ.
const EVENTS: usize = 4_000_000;
const DIFFERENT: usize = 4096;

/// Nanoseconds of one call.
fn nanoseconds(calls: usize, mut call: impl FnMut(usize)) -> f64 {
    let begin = Instant::now();
    (0..calls).for_each(&mut call);
    begin.elapsed().as_secs_f64() * 1e9 / calls as f64
}

fn main() {
    for (task, width) in
        [(Task::Binary, 1), (Task::Classes, 2), (Task::Classes, 10), (Task::Values, 1)]
    {
        let hash = |i: usize| (i * 2_654_435_761) % 1009;
        let rows: Vec<f32> = (0..DIFFERENT * width).map(|i| hash(i) as f32 / 1009.0).collect();
        let labels: Vec<usize> = (0..DIFFERENT).map(|i| hash(i + 7) % width.max(2)).collect();
        let mut scores = Prequential::new(task, width, PrequentialSpec::default());
        let mut add = |i: usize| {
            let i = i % DIFFERENT;
            let value = [labels[i] as f32];
            let truth = match task {
                Task::Values => Truth::Values(&value),
                _ => Truth::Class(labels[i]),
            };
            scores.add(&rows[i * width..(i + 1) * width], truth, 0.5, 1.0);
        };
        let cost = (0..5).map(|_| nanoseconds(EVENTS, &mut add)).fold(f64::INFINITY, f64::min);
        let headline = nanoseconds(1000, |_| {
            black_box(scores.headline());
        });
        let figures = nanoseconds(100, |_| drop(black_box(scores.figures()))) / 1e3;
        let copy = nanoseconds(100, |_| drop(black_box(scores.clone()))) / 1e3;
        let bytes = serde_json::to_vec(&scores).map_or(0, |json| json.len());
        println!(
            "{task:?}, {width} outputs: {cost:.0} ns an event, headline {headline:.0} ns, \
             figures {figures:.0} us, copy {copy:.0} us, {bytes} bytes of JSON"
        );
    }
}
