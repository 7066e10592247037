//! Measures the matrix and optimizer kernels next to the machine's peak.
//!
//! `cargo run --release --example kernels -- [part of a name] [isa]`. Times are thread CPU time,
//! the least of many windows, so that they hold on a machine that others use. With 2 threads:
//! the time of the fuller half of the chunks, run one after the other (balance without contention).

mod common;

use common::thread_seconds;
use std::time::Instant;
use tidemill_cpu::gemm::{Activation, Gemm, GemmDesc, args};
use tidemill_cpu::isa::Isa;
use tidemill_cpu::kernel::Kernel;
use tidemill_cpu::optimizer::{Optimize, OptimizePacked, Update};
use tidemill_graph::SlotType;
use tidemill_graph::update::{Rule, WeightDecay};

/// Seconds of one call, the least of many windows.
fn measure(mut f: impl FnMut()) -> f64 {
    f();
    let start = Instant::now();
    f();
    let once = start.elapsed().as_secs_f64().max(1e-8);
    let repeats = (3e-4 / once).ceil().max(1.0) as usize;
    let mut best = f64::INFINITY;
    let begin = Instant::now();
    let mut windows = 0;
    while windows < 10 || (begin.elapsed().as_secs_f64() < 0.15 && windows < 2000) {
        let start = thread_seconds();
        for _ in 0..repeats {
            f();
        }
        best = best.min((thread_seconds() - start) / repeats as f64);
        windows += 1;
    }
    best
}

/// A 64-byte aligned array.
struct Buffer(Vec<f32>, usize);

impl Buffer {
    fn new(len: usize, seed: u64) -> Buffer {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 33
        };
        let mut data = vec![0.0; len + 16];
        for x in &mut data {
            *x = (next() % 2001) as f32 / 1000.0 - 1.0;
        }
        let offset = data.as_ptr().align_offset(64);
        Buffer(data, offset)
    }

    /// Images of 28x28 pixels with a ring each: about as empty as MNIST's digits.
    fn rings(count: usize) -> Buffer {
        let mut buffer = Buffer::new(count * 784, 1);
        let offset = buffer.1;
        for image in 0..count {
            let shift = |step: usize| ((image * step) % 7) as f32 - 3.0;
            let (cx, cy, radius) =
                (14.0 + shift(3) / 2.0, 14.0 + shift(5) / 2.0, 6.5 + shift(2) / 2.0);
            for pixel in 0..784 {
                let (x, y) = ((pixel % 28) as f32 - cx, (pixel / 28) as f32 - cy);
                let distance = (1.6 * x * x + y * y).sqrt() - radius;
                let value = &mut buffer.0[offset + image * 784 + pixel];
                *value = if distance.abs() < 1.8 { value.abs() + 0.1 } else { 0.0 };
            }
        }
        buffer
    }

    fn ptr(&mut self) -> *mut f32 {
        // SAFETY: the offset is below the 16 spare elements.
        unsafe { self.0.as_mut_ptr().add(self.1) }
    }
}

/// GFLOP/s of independent multiply-adds on registers.
fn peak(isa: Isa) -> f64 {
    // A tile whose operands all stay in the L1 cache; the best of three shapes.
    let mut best: f64 = 0.0;
    for m in [6, 8, 12] {
        let desc = GemmDesc::new(m, 2 * isa.lanes(), 64, true, false);
        best = best.max(desc.flops() as f64 / time_gemm(isa, &desc, false).0 * 1e-9);
    }
    best
}

/// Seconds of all chunks, and of the fuller half of them.
fn time_gemm(isa: Isa, desc: &GemmDesc, rings: bool) -> (f64, f64, usize) {
    let kernel = Gemm::new(isa, desc);
    let of_c = desc.batch * desc.m * desc.ldc;
    let mut buffers: Vec<Buffer> = vec![
        if rings {
            Buffer::rings(desc.m.min(desc.k))
        } else {
            Buffer::new(desc.batch * desc.m * desc.k, 1)
        },
        Buffer::new(desc.batch * desc.k * desc.n, 2),
        Buffer::new(of_c, 3),
        Buffer::new(desc.n, 4),
        Buffer::new(of_c, 5),
        Buffer::new(of_c, 6),
    ];
    if desc.epilogue.update.is_some() {
        buffers.extend((0..4).map(|i| Buffer::new(of_c, 7 + i)));
        for slot in &mut buffers[7..] {
            slot.0.iter_mut().for_each(|x| *x = x.abs());
        }
    }
    let mut pointers: Vec<*mut f32> = buffers.iter_mut().map(Buffer::ptr).collect();
    pointers.resize(args::LEN, std::ptr::null_mut());
    let mut hyper = [1e-6, 0.9, 0.9, 1.0, 1.0, 0.0, 0.0, 0.0];
    pointers[args::HYPER] = hyper.as_mut_ptr();
    let mut scratch = Buffer::new(kernel.scratch_bytes() / 4, 9);
    let scratch = scratch.ptr();
    let run = |chunks: std::ops::Range<usize>| {
        for chunk in chunks {
            // SAFETY: buffers and scratch have the documented sizes, the set is available.
            unsafe { kernel.run(&pointers, chunk, scratch) };
        }
    };
    let chunks = kernel.chunks();
    let all = measure(|| run(0..chunks));
    let half = measure(|| run(0..chunks.div_ceil(2)));
    (all, half, chunks)
}

fn adam() -> Update {
    Update {
        rule: Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
        decay: WeightDecay::None,
        clip_value: None,
        rate: 1.0,
    }
}

fn sgd() -> Update {
    Update { rule: Rule::Sgd, decay: WeightDecay::None, clip_value: None, rate: 1.0 }
}

fn products() -> Vec<(String, GemmDesc, bool)> {
    let mut all = Vec::new();
    let mut add = |kind: &str, m, n, k, change: &dyn Fn(&mut GemmDesc)| {
        let mut desc = GemmDesc::new(m, n, k, kind.starts_with('T'), kind.ends_with('T'));
        change(&mut desc);
        let e = &desc.epilogue;
        let mut name = format!("{kind} {m}x{n}x{k}");
        if e.bias {
            name += " bias";
        }
        if e.activation == Activation::Relu {
            name += " relu";
        }
        if e.mask {
            name += " mask";
        }
        if let Some(update) = &e.update {
            name += if update.rule == Rule::Sgd { " sgd" } else { " adam" };
        }
        all.push((name.clone(), desc, false));
        if kind != "NT" && (k == 784 || m == 784) && n == 128 {
            all.push((name + " rings", desc, true));
        }
    };
    let dense = |d: &mut GemmDesc| {
        d.epilogue.bias = true;
        d.epilogue.activation = Activation::Relu;
    };
    let mask = |d: &mut GemmDesc| d.epilogue.mask = true;
    let plain = |_: &mut GemmDesc| {};
    let with_adam = |d: &mut GemmDesc| d.epilogue.update = Some(adam());
    let with_sgd = |d: &mut GemmDesc| d.epilogue.update = Some(sgd());
    for (m, n, k) in [
        (1, 128, 784),
        (1, 10, 128),
        (1, 512, 512),
        (4, 128, 784),
        (8, 128, 784),
        (32, 128, 784),
        (256, 128, 784),
        (1024, 128, 784),
        (32, 10, 128),
        (1024, 10, 128),
        (128, 128, 3136),
        (128, 512, 784),
        (128, 512, 512),
    ] {
        add("NN", m, n, k, &dense);
    }
    for (m, n, k) in [(784, 128, 1), (128, 10, 1), (784, 128, 4)] {
        add("TN", m, n, k, &with_sgd);
    }
    add("TN", 784, 128, 1, &with_adam);
    for (m, n, k) in
        [(784, 128, 32), (784, 128, 256), (784, 128, 1024), (128, 10, 32), (3136, 128, 128)]
    {
        add("TN", m, n, k, &plain);
        add("TN", m, n, k, &with_adam);
    }
    for (m, n, k) in [(1, 128, 10), (1, 512, 512), (32, 128, 10), (128, 512, 512), (128, 3136, 128)]
    {
        add("NT", m, n, k, &mask);
    }
    // a block of a transformer: 768 positions of 128 units, 1024 of 384
    for (rows, units) in [(768, 128), (1024, 384)] {
        for (from, to) in [(1, 3), (1, 1), (1, 4), (4, 1)].map(|(a, b)| (a * units, b * units)) {
            add("NN", rows, to, from, &plain);
            add("NT", rows, from, to, &plain);
            add("TN", from, to, rows, &plain);
        }
    }
    for size in [64, 128, 256, 512, 768, 1024, 1536, 2048] {
        add("NN", size, size, size, &plain);
    }
    for size in [512, 1024] {
        add("TN", size, size, size, &plain);
        add("NT", size, size, size, &plain);
    }
    all
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next().unwrap_or_default();
    let isa = match arguments.next().as_deref() {
        Some("portable") => Isa::Portable,
        Some("avx2") => Isa::Avx2.min(Isa::detect()),
        _ => Isa::detect(),
    };
    let mut top = peak(isa);
    println!("{}, peak {top:.0} GFLOP/s of one thread (from cache)", isa.name());
    println!(
        "{:<34} {:>9} {:>8} {:>6} {:>7} {:>8}",
        "", "us", "GFLOP/s", "peak", "chunks", "half us"
    );
    for (name, desc, rings) in products() {
        if !name.contains(&wanted) {
            continue;
        }
        let (seconds, half, chunks) = time_gemm(isa, &desc, rings);
        // the clock may have changed since the start
        top = top.max(if !rings { desc.flops() as f64 / seconds * 1e-9 } else { 0.0 });
        let rate = desc.flops() as f64 / seconds * 1e-9;
        println!(
            "{name:<34} {:>9.2} {rate:>8.1} {:>5.0}% {chunks:>7} {:>8.2}",
            seconds * 1e6,
            100.0 * rate / top,
            half * 1e6
        );
    }
    for (name, update, arrays) in [("sgd", sgd(), 3), ("adam", adam(), 7)] {
        for len in [1280, 10_320, 100_480, 1 << 20, 8 << 20] {
            let name = format!("optimize {name} {len}");
            if !name.contains(&wanted) {
                continue;
            }
            let kernel = Optimize::new(isa, update, len);
            let mut buffers: Vec<Buffer> = (0..5).map(|i| Buffer::new(len, i)).collect();
            buffers[3].0.iter_mut().for_each(|x| *x = x.abs());
            let mut pointers: Vec<*mut f32> = buffers.iter_mut().map(Buffer::ptr).collect();
            let mut hyper = [1e-6, 0.9, 0.9, 1.0, 1.0, 0.0, 0.0, 0.0];
            pointers.push(hyper.as_mut_ptr());
            let seconds = measure(|| {
                for chunk in 0..kernel.chunks() {
                    // SAFETY: all arrays have len elements, the set is available.
                    unsafe { kernel.run(&pointers, chunk, std::ptr::null_mut()) };
                }
            });
            let bytes = (4 * arrays * len) as f64;
            println!("{name:<34} {:>9.1} us {:>8.1} GB/s", seconds * 1e6, bytes / seconds * 1e-9);
        }
    }
    for (name, slots) in [("bf16", SlotType::Bf16), ("8bit", SlotType::Bits8)] {
        for len in [100_480, 1 << 20, 8 << 20] {
            let name = format!("optimize adam, {name} {len}");
            if !name.contains(&wanted) {
                continue;
            }
            let kernel = OptimizePacked::new(isa, adam(), slots, 0, len);
            let mut arrays: Vec<Buffer> = (0..2).map(|i| Buffer::new(len, i)).collect();
            let mut words = vec![vec![0.0f32; slots.words(len)]; 2];
            let mut pointers: Vec<*mut f32> = arrays.iter_mut().map(Buffer::ptr).collect();
            pointers.extend(words.iter_mut().map(|w| w.as_mut_ptr()));
            let mut hyper = [1e-6, 0.9, 0.9, 1.0, 1.0, 0.0, 0.0, 0.0];
            pointers.extend([std::ptr::null_mut(), hyper.as_mut_ptr()]);
            let seconds = measure(|| {
                for chunk in 0..kernel.chunks() {
                    // SAFETY: arrays have len elements, slots their words; the set is available.
                    unsafe { kernel.run(&pointers, chunk, std::ptr::null_mut()) };
                }
            });
            let bytes = (12 * len + 16 * slots.words(len)) as f64;
            println!("{name:<34} {:>9.1} us {:>8.1} GB/s", seconds * 1e6, bytes / seconds * 1e-9);
        }
    }
}
