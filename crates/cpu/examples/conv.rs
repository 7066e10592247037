//! Speed of the convolution kernels against this core's measured peak.
//!
//! `cargo run --release -p tidemill-cpu --example conv [-- FILTER]`; TIDEMILL_ISA picks a lower
//! instruction set. One thread: thread CPU time, the minimum of many windows, since machines are
//! shared. Two threads: wall time of claimed chunks, meaningful on an idle machine only.

#![allow(missing_docs)]

mod common;

use common::thread_seconds;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tidemill_cpu::conv::depthwise::{self, DepthwiseConv, DepthwiseGradWeight};
use tidemill_cpu::conv::winograd::{self, Pass, WinogradConv, WinogradFilter, WinogradGradWeight};
use tidemill_cpu::conv::{ConvForward, ConvGradInput, ConvGradWeight, ConvShape, ReduceUpdate};
use tidemill_cpu::gemm::{Gemm, GemmDesc, args};
use tidemill_cpu::isa::Isa;
use tidemill_cpu::kernel;
use tidemill_cpu::kernel::Kernel;
use tidemill_cpu::simd::Simd;

#[inline(always)]
unsafe fn multiply_adds<S: Simd>(rounds: usize) -> f32 {
    // SAFETY: register arithmetic only.
    unsafe {
        let x = S::splat(0.5);
        let mut acc = [S::splat(0.0); 12];
        for _ in 0..rounds {
            for v in &mut acc {
                *v = S::fma(*v, x, x);
            }
        }
        acc.iter().map(|&v| S::sum(v)).sum()
    }
}
kernel!(fn multiply_adds_on(rounds: usize) -> f32 = multiply_adds;);

fn peak(isa: Isa) -> f64 {
    let rounds = 20_000;
    let mut best = f64::MAX;
    for _ in 0..300 {
        let start = thread_seconds();
        // SAFETY: the set was detected.
        black_box(unsafe { multiply_adds_on(isa)(black_box(rounds)) });
        best = best.min(thread_seconds() - start);
    }
    (24 * isa.lanes() * rounds) as f64 / best
}

fn run(kernel: &dyn Kernel, args: &[*mut f32], scratch: &mut [[f32; 16]]) {
    for chunk in 0..kernel.chunks() {
        // SAFETY: `buffers` makes the documented sizes.
        unsafe { kernel.run(args, chunk, scratch.as_mut_ptr().cast()) };
    }
}

fn scratch(kernel: &dyn Kernel) -> Vec<[f32; 16]> {
    vec![[0.0; 16]; kernel.scratch_bytes().div_ceil(64) + 1]
}

/// Seconds on one thread.
fn one_thread(kernel: &dyn Kernel, args: &[*mut f32]) -> f64 {
    let mut scratch = scratch(kernel);
    let end = Instant::now() + Duration::from_millis(150);
    let mut best = f64::MAX;
    while Instant::now() < end {
        let start = thread_seconds();
        run(kernel, args, &mut scratch);
        best = best.min(thread_seconds() - start);
    }
    best
}

struct Args(Vec<*mut f32>);
// SAFETY: kernels write disjoint parts from their chunks.
unsafe impl Sync for Args {}

/// Seconds on two threads that claim chunks.
fn two_threads(kernel: &dyn Kernel, args: &Args) -> f64 {
    let rounds = 100;
    let next: Vec<AtomicUsize> = (0..rounds).map(|_| AtomicUsize::new(0)).collect();
    let arrived: Vec<AtomicUsize> = (0..2 * rounds).map(|_| AtomicUsize::new(0)).collect();
    let start = Barrier::new(2);
    let meet = |at: &AtomicUsize| {
        at.fetch_add(1, Ordering::AcqRel);
        while at.load(Ordering::Acquire) < 2 {
            std::thread::yield_now();
        }
    };
    let work = || {
        let mut scratch = scratch(kernel);
        let mut times = Vec::with_capacity(rounds);
        start.wait();
        for (next, arrived) in next.iter().zip(arrived.chunks(2)) {
            meet(&arrived[0]);
            let begin = Instant::now();
            loop {
                let chunk = next.fetch_add(1, Ordering::Relaxed);
                if chunk >= kernel.chunks() {
                    break;
                }
                let args = &args.0;
                // SAFETY: each chunk is claimed once a round.
                unsafe { kernel.run(args, chunk, scratch.as_mut_ptr().cast()) };
            }
            meet(&arrived[1]);
            times.push((begin, Instant::now()));
        }
        times
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let mine = work();
        let other = other.join().unwrap_or_default();
        let spans = mine.iter().zip(&other).map(|(a, b)| a.1.max(b.1) - a.0.min(b.0));
        spans.min().unwrap_or_default().as_secs_f64()
    })
}

fn desc([b, h, c, o]: [usize; 4], kernel: usize, stride: usize, groups: usize) -> ConvShape {
    let out = h.div_ceil(stride);
    ConvShape {
        batch: b,
        in_h: h,
        in_w: h,
        in_c: c,
        out_h: out,
        out_w: out,
        out_c: o,
        kernel_h: kernel,
        kernel_w: kernel,
        stride: [stride; 2],
        dilation: [1, 1],
        pad_top: kernel / 2,
        pad_left: kernel / 2,
        groups,
    }
}

fn buffer(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.01).collect()
}

/// Shapes of MNIST's networks, ResNet-20, ResNet-50 and MobileNetV3.
fn shapes() -> Vec<(&'static str, ConvShape)> {
    vec![
        ("mnist1", desc([32, 28, 1, 32], 3, 1, 1)),
        ("mnist2", desc([32, 14, 32, 64], 3, 1, 1)),
        ("mnist2 b128", desc([128, 14, 32, 64], 3, 1, 1)),
        ("stem", desc([32, 32, 3, 16], 3, 1, 1)),
        ("r20a", desc([32, 32, 16, 16], 3, 1, 1)),
        ("r20b", desc([32, 16, 32, 32], 3, 1, 1)),
        ("r20c", desc([32, 8, 64, 64], 3, 1, 1)),
        ("r20a b128", desc([128, 32, 16, 16], 3, 1, 1)),
        ("r20a b64", desc([64, 32, 16, 16], 3, 1, 1)),
        ("r20c b128", desc([128, 8, 64, 64], 3, 1, 1)),
        ("r20ab s2", desc([32, 32, 16, 32], 3, 2, 1)),
        ("r20bc s2", desc([32, 16, 32, 64], 3, 2, 1)),
        ("1x1 s2 a", desc([32, 32, 16, 32], 1, 2, 1)),
        ("1x1 s2 b", desc([32, 16, 32, 64], 1, 2, 1)),
        ("c64 h56", desc([8, 56, 64, 64], 3, 1, 1)),
        ("c256 h14", desc([8, 14, 256, 256], 3, 1, 1)),
        ("1x1 64-256", desc([8, 56, 64, 256], 1, 1, 1)),
        ("1x1 512 h7", desc([32, 7, 512, 512], 1, 1, 1)),
        ("1x1 256-64", desc([8, 56, 256, 64], 1, 1, 1)),
        ("1x1 256-128", desc([16, 56, 256, 128], 1, 1, 1)),
        ("1x1 512-128", desc([16, 28, 512, 128], 1, 1, 1)),
        ("1x1 128-512", desc([16, 28, 128, 512], 1, 1, 1)),
        ("1x1 1024-256", desc([16, 14, 1024, 256], 1, 1, 1)),
        ("1x1 256-1024", desc([16, 14, 256, 1024], 1, 1, 1)),
        ("1x1 2048-512", desc([16, 7, 2048, 512], 1, 1, 1)),
        ("1x1 512-2048", desc([16, 7, 512, 2048], 1, 1, 1)),
        ("1x1 16-64", desc([32, 112, 16, 64], 1, 1, 1)),
        ("1x1 64-24", desc([32, 56, 64, 24], 1, 1, 1)),
        ("1x1 24-72", desc([32, 56, 24, 72], 1, 1, 1)),
        ("1x1 40-120", desc([32, 28, 40, 120], 1, 1, 1)),
        ("1x1 200-80", desc([32, 14, 200, 80], 1, 1, 1)),
        ("1x1 112-672", desc([32, 14, 112, 672], 1, 1, 1)),
        ("1x1 672-112", desc([32, 14, 672, 112], 1, 1, 1)),
        ("1x1 160-960", desc([32, 7, 160, 960], 1, 1, 1)),
        ("1x1 s2 256", desc([16, 56, 256, 512], 1, 2, 1)),
        ("1x1 s2 1024", desc([16, 14, 1024, 2048], 1, 2, 1)),
        ("3x3 s2 128", desc([16, 56, 128, 128], 3, 2, 1)),
        ("3x3 s2 512", desc([16, 14, 512, 512], 3, 2, 1)),
        ("c512 h7", desc([16, 7, 512, 512], 3, 1, 1)),
        ("7x7 stem", desc([16, 224, 3, 64], 7, 2, 1)),
        ("depthwise", desc([8, 28, 128, 128], 3, 1, 128)),
        ("depthwise s2", desc([32, 112, 64, 64], 3, 2, 64)),
        ("depthwise 56", desc([32, 56, 72, 72], 3, 1, 72)),
        ("depthwise 5x5", desc([32, 28, 120, 120], 5, 1, 120)),
        ("depthwise 14", desc([32, 14, 672, 672], 3, 1, 672)),
        ("depthwise 7", desc([32, 7, 960, 960], 5, 1, 960)),
        ("r20b b1", desc([1, 16, 32, 32], 3, 1, 1)),
    ]
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let isa = Isa::detect();
    let peak = peak(isa);
    println!("{}: peak {:.1} GFLOP/s per core, measured", isa.name(), peak / 1e9);
    println!("GFLOP/s (% of peak), 1 thread; in brackets 2 threads (% of twice the peak)");
    let shapes = shapes();
    let titles = ["forward", "dx", "dw"];
    println!("{:12} {:>23} {:>23} {:>23}", "", titles[0], titles[1], titles[2]);
    for (name, d) in shapes.iter().filter(|shape| shape.0.contains(&filter)) {
        let (mut x, mut y) = (buffer(d.x_len()), buffer(d.y_len()));
        let (mut w, mut bias) = (buffer(d.w_len()), buffer(d.out_c));
        let (mut dx, mut mask) = (buffer(d.x_len()), buffer(d.x_len()));
        let null = std::ptr::null_mut();
        let weight = ConvGradWeight::new(isa, *d, true);
        let mut partials = buffer(weight.workspace_len().max(8 * d.w_len()));
        let reduce = ReduceUpdate::new(isa, d.w_len(), weight.partials(), weight.partial_len());
        let mut dw = buffer(d.w_len());
        let [xp, yp, wp] = [&mut x, &mut y, &mut w].map(|v| v.as_mut_ptr());
        let forward = ConvForward::new(isa, *d, true);
        let forward_args = Args(vec![xp, wp, bias.as_mut_ptr(), null, yp]);
        let input = ConvGradInput::new(isa, *d);
        let input_args = Args(vec![yp, wp, mask.as_mut_ptr(), null, dx.as_mut_ptr()]);
        let weight_args = Args(vec![xp, yp, partials.as_mut_ptr()]);
        let reduce_args = Args(vec![partials.as_mut_ptr(), dw.as_mut_ptr()]);
        let flops = d.flops() as f64;
        let pairs: [(&dyn Kernel, &Args); 3] =
            [(&forward, &forward_args), (&input, &input_args), (&weight, &weight_args)];
        print!("{name:12}");
        for (i, (kernel, args)) in pairs.into_iter().enumerate() {
            let sum = if i == 2 { one_thread(&reduce, &reduce_args.0) } else { 0.0 };
            let one = flops / (one_thread(kernel, &args.0) + sum);
            let two = flops / (two_threads(kernel, args) + sum);
            print_rates(one, two, peak);
        }
        println!("  {}, {}, {} chunks", forward.chunks(), input.chunks(), weight.chunks());
        if depthwise::applies(d) {
            let forward = DepthwiseConv::new(isa, d, Pass::Forward, true);
            let forward_args = Args(vec![xp, wp, bias.as_mut_ptr(), null, null, yp]);
            let input = DepthwiseConv::new(isa, d, Pass::GradInput, false);
            let input_args = Args(vec![yp, wp, null, mask.as_mut_ptr(), null, dx.as_mut_ptr()]);
            let weight = DepthwiseGradWeight::new(isa, d, true);
            let reduce = ReduceUpdate::new(isa, d.w_len(), weight.partials(), weight.partial_len());
            let mut partials = buffer(weight.partials() * weight.partial_len());
            let weight_args = Args(vec![xp, yp, partials.as_mut_ptr()]);
            let reduce_args = Args(vec![partials.as_mut_ptr(), dw.as_mut_ptr()]);
            let pairs: [(&dyn Kernel, &Args); 3] =
                [(&forward, &forward_args), (&input, &input_args), (&weight, &weight_args)];
            print!("{:12}", "  new");
            for (i, (kernel, args)) in pairs.into_iter().enumerate() {
                let sum = if i == 2 { one_thread(&reduce, &reduce_args.0) } else { 0.0 };
                print_rates(
                    flops / (one_thread(kernel, &args.0) + sum),
                    flops / (two_threads(kernel, args) + sum),
                    peak,
                );
            }
            println!();
        }
        if (d.kernel_h, d.stride) == (1, [1, 1]) {
            by_product(
                isa,
                d,
                peak,
                [xp, yp, wp, dx.as_mut_ptr(), partials.as_mut_ptr(), dw.as_mut_ptr()],
            );
        }
        if winograd::applies(isa, d) {
            by_winograd(isa, d, peak, [xp, yp, wp, bias.as_mut_ptr()], [&mut mask, &mut dx]);
        }
    }
}

/// Rates of one and of two threads.
fn print_rates(one: f64, two: f64, peak: f64) {
    let [of_one, of_two] = [one / peak * 100.0, two / peak * 50.0];
    print!(" {:6.1} ({of_one:2.0}%) [{:5.0} {of_two:2.0}%]", one / 1e9, two / 1e9);
}

/// The same figures for products of matrices.
fn by_product(isa: Isa, d: &ConvShape, peak: f64, [x, y, w, dx, partials, dw]: [*mut f32; 6]) {
    let pixels = d.batch * d.out_h * d.out_w;
    let forward = GemmDesc::new(pixels, d.out_c, d.in_c, false, false);
    let input = GemmDesc::new(pixels, d.in_c, d.out_c, false, true);
    let parts = (1..=8).rev().find(|n| pixels.is_multiple_of(*n)).unwrap_or(1);
    let k = pixels / parts;
    let weight = GemmDesc {
        batch: parts,
        batch_strides: [k * d.in_c, k * d.out_c, d.in_c * d.out_c],
        ..GemmDesc::new(d.in_c, d.out_c, k, true, false)
    };
    let reduce = ReduceUpdate::new(isa, d.w_len(), parts, d.w_len());
    print!("{:12}", "  gemm");
    for (desc, a, b, c) in [(forward, x, w, y), (input, y, w, dx), (weight, x, y, partials)] {
        let kernel = Gemm::new(isa, &desc);
        let mut list = vec![std::ptr::null_mut(); args::LEN];
        (list[args::A], list[args::B], list[args::C]) = (a, b, c);
        let list = Args(list);
        let extra = if desc.batch > 1 { one_thread(&reduce, &[partials, dw]) } else { 0.0 };
        let one = d.flops() as f64 / (one_thread(&kernel, &list.0) + extra);
        let two = d.flops() as f64 / (two_threads(&kernel, &list) + extra);
        print_rates(one, two, peak);
    }
    println!();
}

/// The same figures for Winograd's way, with the direct way's FLOPs, so that they compare.
fn by_winograd(
    isa: Isa,
    d: &ConvShape,
    peak: f64,
    [x, y, w, bias]: [*mut f32; 4],
    [mask, dx]: [&mut Vec<f32>; 2],
) {
    let null = std::ptr::null_mut();
    let filters = [Pass::Forward, Pass::GradInput].map(|pass| WinogradFilter::new(isa, d, pass));
    let mut u = buffer(filters[0].transformed_len());
    let u = u.as_mut_ptr();
    let weight = WinogradGradWeight::new(isa, d, true);
    let (count, len) = (weight.partials(), weight.partial_len());
    let mut partials = buffer(count * len);
    let mut dw = buffer(d.w_len());
    let reduce = ReduceUpdate::new(isa, d.w_len(), count, len);
    let forward = WinogradConv::new(isa, d, Pass::Forward, true);
    let input = WinogradConv::new(isa, d, Pass::GradInput, false);
    let filter_args = Args(vec![w, u]);
    let calls: [(&dyn Kernel, Args, &dyn Kernel, &Args); 3] = [
        (&forward, Args(vec![x, u, bias, null, null, y]), &filters[0], &filter_args),
        (
            &input,
            Args(vec![y, u, null, mask.as_mut_ptr(), null, dx.as_mut_ptr()]),
            &filters[1],
            &filter_args,
        ),
        (
            &weight,
            Args(vec![x, y, partials.as_mut_ptr()]),
            &reduce,
            &Args(vec![partials.as_mut_ptr(), dw.as_mut_ptr()]),
        ),
    ];
    let flops = d.flops() as f64;
    print!("{:12}", "  winograd");
    for (kernel, args, extra, extra_args) in &calls {
        let extra = one_thread(*extra, &extra_args.0);
        let one = flops / (one_thread(*kernel, &args.0) + extra);
        let two = flops / (two_threads(*kernel, args) + extra);
        print_rates(one, two, peak);
    }
    println!("  {}, {}, {} chunks", forward.chunks(), input.chunks(), weight.chunks());
}
