//! Times attention, forward and backward, next to the peak of one thread.
//!
//! `cargo run --release -p tidemill-cpu --example attention`: one thread, thread CPU time, the least
//! of many windows. `bench/text.py` compares it with PyTorch's; `--json` prints a line for it.

mod common;

use common::thread_seconds;
use std::time::Instant;
use tidemill_cpu::attention::{Attention, AttentionGrad};
use tidemill_cpu::isa::Isa;
use tidemill_cpu::kernel::Kernel;
use tidemill_cpu::rates;
use tidemill_graph::{AttentionShape, Heads};

/// Seconds of one call, the least of many windows within a second.
fn measure(mut f: impl FnMut()) -> f64 {
    f();
    let (begin, mut best, mut windows) = (Instant::now(), f64::INFINITY, 0);
    while windows < 5 || begin.elapsed().as_secs_f64() < 1.0 {
        let start = thread_seconds();
        f();
        best = best.min(thread_seconds() - start);
        windows += 1;
    }
    best
}

/// Values below 1 in size, at a multiple of 64 bytes.
fn values(len: usize, seed: u64) -> (Vec<f32>, *mut f32) {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 33) % 2001) as f32 / 1000.0 - 1.0
    };
    let mut data: Vec<f32> = (0..len + 16).map(|_| next()).collect();
    let offset = data.as_ptr().align_offset(64);
    let at = data.as_mut_ptr().wrapping_add(offset);
    (data, at)
}

/// Seconds of forward and backward, all chunks one after the other.
fn time(isa: Isa, shape: AttentionShape) -> [f64; 2] {
    let AttentionShape { heads, batch, queries: time, dim, .. } = shape;
    let width = heads.queries * dim;
    let qkv = values(batch * time * 3 * width, 1);
    let mut lengths = vec![time as i32; batch];
    let y = values(batch * time * width, 2);
    let dy = values(batch * time * width, 3);
    let dqkv = values(batch * time * 3 * width, 4);
    let lengths = lengths.as_mut_ptr().cast::<f32>();
    let forward = Attention::new(isa, shape, true);
    let backward = AttentionGrad::new(isa, shape, true);
    let room = forward.scratch_bytes().max(backward.scratch_bytes()) / 4;
    let scratch = values(room, 5);
    let run = |kernel: &dyn Kernel, args: &[*mut f32]| {
        measure(|| {
            for chunk in 0..kernel.chunks() {
                // SAFETY: arguments and scratch have the documented sizes, the set is available.
                unsafe { kernel.run(args, chunk, scratch.1) };
            }
        })
    };
    [run(&forward, &[qkv.1, lengths, y.1]), run(&backward, &[qkv.1, lengths, y.1, dy.1, dqkv.1])]
}

fn main() {
    let json = std::env::args().any(|argument| argument == "--json");
    let isa = Isa::detect();
    let peak = rates::measure(isa, 1, 1 << 20).flops * 1e-9;
    for (count, batch, time_steps, dim, causal) in [
        (4, 12, 64, 32, true),
        (6, 4, 256, 64, true),
        (8, 1, 1024, 64, false),
        (8, 1, 1024, 64, true),
    ] {
        let heads =
            Heads { queries: count, keys: count, causal, dropout: 0.0, stream: 0, relative: None };
        let shape = AttentionShape { heads, batch, queries: time_steps, keys: time_steps, dim };
        let seconds = time(isa, shape);
        // two products forward; five backward, one of them made again
        let rates = [2.0, 5.0].map(|products| products * shape.products() as f64 * 1e-9);
        let [forward, backward] = [0, 1].map(|i| rates[i] / seconds[i]);
        let mask = if causal { "causal" } else { "full" };
        let us = seconds.map(|s| s * 1e6);
        if json {
            println!(
                "{{\"heads\":{count},\"batch\":{batch},\"time\":{time_steps},\"dim\":{dim},\"causal\":{causal},\
                 \"forward_us\":{:.1},\"backward_us\":{:.1},\"peak_gflops\":{peak:.1}}}",
                us[0], us[1]
            );
        } else {
            println!(
                "{batch} x {count} heads, T {time_steps}, {dim} values, {mask}: forward {:.0} us, {forward:.1} GFLOP/s \
                 ({:.0} % of {peak:.0}); backward {:.0} us, {backward:.1} ({:.0} %)",
                us[0],
                100.0 * forward / peak,
                us[1],
                100.0 * backward / peak,
            );
        }
    }
}
