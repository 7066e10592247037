//! Times the kernels that move memory: fused elementwise programs, softmax, norms, layout.
//!
//! `cargo run --release -p tidemill-cpu --example eltwise [-- part of a name]`; TIDEMILL_ISA picks
//! a lower instruction set. One thread: all chunks one after another, thread CPU time, the minimum
//! of many windows, since machines are shared. GB/s counts each input and output once.

mod common;

use common::thread_seconds;
use std::time::{Duration, Instant};
use tidemill_cpu::call::Call;
use tidemill_cpu::eltwise::Eltwise;
use tidemill_cpu::gather::{Embedding, EmbeddingGrad};
use tidemill_cpu::isa::Isa;
use tidemill_cpu::layout;
use tidemill_cpu::loss::{CrossEntropy, CrossEntropyFused};
use tidemill_cpu::moments::ChannelMoments;
use tidemill_cpu::norm::{RowNorm, RowNormGradGamma, RowNormGradInput};
use tidemill_cpu::reduce::Reduce;
use tidemill_cpu::softmax::Softmax;
use tidemill_graph::Lookup;
use tidemill_graph::Normalization as Kind;
use tidemill_graph::{Binary as B, PairLoss, Reduction, Unary as U};
use tidemill_plan::eltwise::{Program, Sink, Spread, Step};

struct Bench {
    isa: Isa,
    filter: String,
}

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line([f32; 16]);

type Lines = Vec<Line>;

impl Bench {
    /// `args`: f32 of each argument. Integer arguments read as zeros.
    fn call(&self, name: &str, call: &Call, args: &[usize], integers: &[usize]) {
        if !name.contains(&self.filter) {
            return;
        }
        let mut seed = 1u32;
        let mut fill = |len: usize, zero: bool| -> Lines {
            let mut lines = vec![Line([0.0; 16]); len.div_ceil(16) + 1];
            for x in lines.iter_mut().flat_map(|l| &mut l.0).filter(|_| !zero) {
                seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
                *x = (seed >> 9) as f32 / (1 << 22) as f32 - 1.0;
            }
            lines
        };
        let mut buffers: Vec<Lines> = args
            .iter()
            .enumerate()
            .map(|(i, &n)| fill(n, integers.contains(&i)))
            .chain([vec![Line([0.0; 16]); call.workspace_len.div_ceil(16) + 1]])
            .collect();
        let pointers: Vec<*mut f32> = buffers.iter_mut().map(|b| b.as_mut_ptr().cast()).collect();
        let bytes = call.phases.iter().map(|k| k.scratch_bytes()).max().unwrap_or(0);
        let mut scratch = vec![Line([0.0; 16]); bytes / 64 + 1];
        let mut once = || {
            for kernel in &call.phases {
                for chunk in 0..kernel.chunks() {
                    // SAFETY: arguments as the kernels document them.
                    unsafe { kernel.run(&pointers, chunk, scratch.as_mut_ptr().cast()) };
                }
            }
        };
        once();
        let mut rounds = 1;
        let mut best = f64::MAX;
        let end = Instant::now() + Duration::from_millis(250);
        while Instant::now() < end {
            let start = thread_seconds();
            (0..rounds).for_each(|_| once());
            let time = thread_seconds() - start;
            best = best.min(time / rounds as f64);
            if time < 5e-4 {
                rounds *= 2;
            }
        }
        let total: usize = args.iter().sum::<usize>() * 4;
        let chunks = call.phases.iter().map(|k| k.chunks()).max().unwrap_or(0);
        println!(
            "{name:44} {:10.2} us {:8.1} GB/s {:8.3} ns/value {chunks:3} chunks",
            best * 1e6,
            total as f64 / best * 1e-9,
            best * 1e9 / args.iter().max().copied().unwrap_or(1) as f64,
        );
    }

    fn program(&self, name: &str, p: &Program) {
        let len = |s: &Spread| match s {
            Spread::Full => p.rows * p.cols,
            Spread::Row => p.cols,
            Spread::Column => p.rows,
            Spread::Scalar => 1,
        };
        let sink = |s: Sink| match s {
            Sink::Full => p.rows * p.cols,
            Sink::ColumnSums => p.cols,
            Sink::RowSums => p.rows,
            Sink::Total => 1,
        };
        let mut args: Vec<usize> = p.inputs.iter().map(len).collect();
        if p.steps.iter().any(|s| matches!(s, Step::Dropout { .. })) {
            args.push(4);
        }
        args.extend(p.outputs.iter().map(|o| sink(o.1)));
        let name = format!("{name} {}x{}", p.rows, p.cols);
        self.call(&name, &Eltwise::call(self.isa, p), &args, &[]);
    }
}

fn programs(bench: &Bench, rows: usize, cols: usize) {
    use Spread::*;
    use Step::*;
    let all = |name: &str, inputs: &[Spread], steps: &[Step], outputs: &[(usize, Sink)]| {
        let inputs = inputs.to_vec();
        let first = (0..inputs.len()).map(Input);
        let steps = first.chain(steps.iter().copied()).collect();
        let outputs = outputs.iter().map(|&(v, s)| (v, s, 1.0)).collect();
        bench.program(name, &Program { rows, cols, inputs, steps, outputs });
    };
    let relu = U::Relu;
    all("relu", &[Full], &[Unary(relu, 0)], &[(1, Sink::Full)]);
    all("relu grad", &[Full, Full], &[UnaryGrad(relu, 0, 1)], &[(2, Sink::Full)]);
    all("add", &[Full, Full], &[Binary(B::Add, 0, 1)], &[(2, Sink::Full)]);
    all("bias relu", &[Full, Row], &[Binary(B::Add, 0, 1), Unary(relu, 2)], &[(3, Sink::Full)]);
    all("norm", &[Full, Row, Row], &[MulAdd(0, 1, 2)], &[(3, Sink::Full)]);
    all("norm relu", &[Full, Row, Row], &[MulAdd(0, 1, 2), Unary(relu, 3)], &[(4, Sink::Full)]);
    all(
        "norm add relu",
        &[Full, Row, Row, Full],
        &[MulAdd(0, 1, 2), Binary(B::Add, 4, 3), Unary(relu, 5)],
        &[(6, Sink::Full)],
    );
    all(
        "norm grad sums",
        &[Full, Full],
        &[Binary(B::Mul, 0, 1)],
        &[(0, Sink::ColumnSums), (2, Sink::ColumnSums)],
    );
    // y, dy, x
    all(
        "relu norm grad sums",
        &[Full, Full, Full],
        &[UnaryGrad(relu, 0, 1), Binary(B::Mul, 3, 2)],
        &[(3, Sink::ColumnSums), (4, Sink::ColumnSums)],
    );
    all(
        "relu norm grad sums, stored",
        &[Full, Full, Full],
        &[UnaryGrad(relu, 0, 1), Binary(B::Mul, 3, 2)],
        &[(3, Sink::Full), (3, Sink::ColumnSums), (4, Sink::ColumnSums)],
    );
    // dy, x, p, q, r
    all(
        "norm grad",
        &[Full, Full, Row, Row, Row],
        &[MulAdd(1, 3, 4), MulAdd(0, 2, 5)],
        &[(6, Sink::Full)],
    );
    all(
        "relu norm grad",
        &[Full, Full, Row, Row, Row, Full],
        &[UnaryGrad(relu, 5, 0), MulAdd(1, 3, 4), MulAdd(6, 2, 7)],
        &[(8, Sink::Full)],
    );
    all("column sums", &[Full], &[], &[(0, Sink::ColumnSums)]);
    all(
        "relu grad + column sums",
        &[Full, Full],
        &[UnaryGrad(relu, 0, 1)],
        &[(2, Sink::Full), (2, Sink::ColumnSums)],
    );
    all("dropout", &[Full], &[Dropout { a: 0, rate: 0.2, stream: 1 }], &[(1, Sink::Full)]);
    all(
        "relu dropout",
        &[Full],
        &[Unary(relu, 0), Dropout { a: 1, rate: 0.2, stream: 1 }],
        &[(2, Sink::Full)],
    );
    let unaries = [
        ("gelu", U::GeluErf),
        ("gelu tanh", U::GeluTanh),
        ("silu", U::Silu),
        ("sigmoid", U::Sigmoid),
        ("tanh", U::Tanh),
        ("exp", U::Exp),
        ("log", U::Log),
        ("softplus", U::Softplus),
        ("elu", U::Elu { alpha: 1.0 }),
    ];
    for (name, op) in unaries {
        all(name, &[Full], &[Unary(op, 0)], &[(1, Sink::Full)]);
    }
    all("gelu grad", &[Full, Full], &[UnaryGrad(U::GeluErf, 0, 1)], &[(2, Sink::Full)]);
    let bce = PairLoss::BinaryCrossEntropy { label_smoothing: 0.0 };
    all("bce", &[Full, Full], &[Binary(B::Loss(bce), 0, 1)], &[(2, Sink::RowSums)]);
    let mse = Binary(B::Loss(PairLoss::SquaredError), 0, 1);
    all("mse", &[Full, Full], &[mse], &[(2, Sink::Total)]);
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let bench = Bench { isa: Isa::detect(), filter };
    let isa = bench.isa;
    println!("{}", isa.name());
    for (rows, cols) in [(65536, 16), (16384, 32), (4096, 64), (32, 128), (32, 10), (1, 128)] {
        programs(&bench, rows, cols);
        let n = rows * cols;
        let call = ChannelMoments::call(isa, rows, cols);
        bench.call(&format!("moments {rows}x{cols}"), &call, &[n, 2 * cols], &[]);
    }
    for (rows, cols) in
        [(1, 10), (32, 10), (1024, 10), (1024, 2), (256, 100), (64, 1000), (8, 50_000)]
    {
        let n = rows * cols;
        let shape = format!("{rows}x{cols}");
        let call = CrossEntropyFused::call(isa, rows, cols, true, 0.0);
        bench.call(
            &format!("cross-entropy fused {shape}"),
            &call,
            &[n, rows, rows, rows, n, 1],
            &[1],
        );
        let call = Call::single(CrossEntropy::new(isa, rows, cols, true, 0.0));
        bench.call(&format!("cross-entropy {shape}"), &call, &[n, rows, rows], &[1]);
        let call = Call::single(Softmax::new(isa, rows, cols, false));
        bench.call(&format!("softmax {shape}"), &call, &[n, n], &[]);
    }
    for (rows, cols) in [(32, 128), (4096, 768)] {
        let n = rows * cols;
        for (name, kind) in [("layer", Kind::Layer), ("rms", Kind::Rms)] {
            let name = |part: &str| format!("{name} norm{part} {rows}x{cols}");
            let call = Call::single(RowNorm::new(isa, kind, rows, cols, 1e-5));
            let args: &[usize] =
                if kind == Kind::Layer { &[n, cols, cols, n] } else { &[n, cols, n] };
            bench.call(&name(""), &call, args, &[]);
            let call = Call::single(RowNormGradInput::new(isa, kind, rows, cols, 1e-5));
            bench.call(&name(" dx"), &call, &[n, cols, n, n], &[]);
            let call = RowNormGradGamma::call(isa, kind, rows, cols, 1e-5);
            bench.call(&name(" dgamma"), &call, &[n, n, cols], &[]);
        }
    }
    let copies: [(&str, Call, usize); 7] = [
        ("copy", layout::copy(isa, 1 << 20), 1 << 20),
        ("transpose 1024x1024", layout::transpose(isa, &[1024, 1024], &[1, 0]), 1 << 20),
        ("transpose 784x128", layout::transpose(isa, &[784, 128], &[1, 0]), 784 * 128),
        (
            "transpose nhwc to nchw",
            layout::transpose(isa, &[32, 28, 28, 32], &[0, 3, 1, 2]),
            802816,
        ),
        ("transpose heads", layout::transpose(isa, &[8, 128, 8, 64], &[0, 2, 1, 3]), 524288),
        ("slice", layout::slice(isa, &[64, 32, 32, 3], &[0, 2, 2, 0], &[64, 28, 28, 3]), 150528),
        ("broadcast", layout::broadcast_to(isa, &[1, 512], &[2048, 512]), 1 << 20),
    ];
    for (name, call, n) in copies {
        bench.call(name, &call, &[n.max(196608 * usize::from(name == "slice")), n], &[]);
    }
    let reductions: [(&str, &[usize], &[usize], usize); 4] = [
        ("reduce all", &[1 << 20], &[0], 1),
        ("reduce last", &[4096, 256], &[1], 4096),
        ("reduce first", &[4096, 256], &[0], 256),
        ("global average pool", &[64, 64, 64], &[1], 4096),
    ];
    for (name, shape, axes, out) in reductions {
        let call = Reduce::call(isa, Reduction::Mean, shape, axes);
        bench.call(name, &call, &[shape.iter().product(), out], &[]);
    }
    let lookup = Lookup { rows: 10_000, cols: 64, len: 4096, float: false, bag: 0 };
    let call = Call::single(Embedding::new(isa, &lookup));
    bench.call("embedding 4096 of 10000x64", &call, &[640_000, 4096, 4096 * 64], &[1]);
    let call = Call::single(EmbeddingGrad::new(isa, &lookup));
    bench.call("embedding grad", &call, &[4096, 4096 * 64, 640_000], &[0]);
}
