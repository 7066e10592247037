//! Products of random and edge shapes against the scalar reference, on every instruction set.

#![allow(clippy::unwrap_used)]

use super::zeros::Strip;
use super::*;
use crate::optimizer::reference_update;
use tidemill_graph::update::{Rule, WeightDecay, hyper};

/// A plain product in f64, with the epilogue: the definition.
fn reference(d: &GemmDesc, buffers: &mut [Vec<f32>]) {
    let hyper: Vec<f64> = buffers[args::HYPER].iter().map(|&x| f64::from(x)).collect();
    for index in 0..d.batch {
        let [a0, b0, c0] = d.batch_strides.map(|stride| stride * index);
        for i in 0..d.m {
            for j in 0..d.n {
                let mut sum = 0.0f64;
                for p in 0..d.k {
                    if !counts(d, buffers, if d.transpose_a { p } else { i }) {
                        continue;
                    }
                    let a = if d.transpose_a { p * d.lda + i } else { i * d.lda + p };
                    let b = if d.transpose_b { j * d.ldb + p } else { p * d.ldb + j };
                    sum +=
                        f64::from(buffers[args::A][a0 + a]) * f64::from(buffers[args::B][b0 + b]);
                }
                let at = c0 + i * d.ldc + j;
                let e = &d.epilogue;
                if e.accumulate {
                    sum += f64::from(buffers[args::C][at]);
                }
                if e.bias {
                    sum += f64::from(buffers[args::BIAS][j]);
                }
                if e.residual {
                    sum += f64::from(buffers[args::RESIDUAL][at]);
                }
                if e.activation == Activation::Relu {
                    sum = sum.max(0.0);
                }
                if e.mask && buffers[args::MASK][at] <= 0.0 {
                    sum = 0.0;
                }
                let Some(update) = &e.update else {
                    buffers[args::C][at] = sum as f32;
                    continue;
                };
                let mut w = f64::from(buffers[args::PARAM][at]);
                let mut slots: Vec<f64> = (0..update.rule.num_slots())
                    .map(|s| f64::from(buffers[args::SLOT0 + s][at]))
                    .collect();
                let hyper: &[f64; hyper::LEN] = hyper.as_slice().try_into().unwrap();
                reference_update(
                    &update.rule,
                    &update.decay,
                    update.clip_value,
                    hyper,
                    sum,
                    &mut w,
                    &mut slots,
                );
                buffers[args::PARAM][at] = w as f32;
                for (s, value) in slots.into_iter().enumerate() {
                    buffers[args::SLOT0 + s][at] = value as f32;
                }
            }
        }
    }
}

/// Whether that stored row of A is inside its sample's length.
fn counts(d: &GemmDesc, buffers: &[Vec<f32>], row: usize) -> bool {
    d.time == 0 || row % d.time < buffers[args::LENGTHS][row / d.time].to_bits() as usize
}

/// A small generator of numbers in -1..1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    fn value(&mut self) -> f32 {
        (self.next() % 20001) as f32 / 10000.0 - 1.0
    }

    fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }
}

/// Exactly the elements that a product may touch, and no more: the end of an allocation.
fn buffers(d: &GemmDesc, random: &mut Random) -> Vec<Vec<f32>> {
    let size = |rows: usize, cols: usize, stride: usize, batch_stride: usize| {
        if rows * cols == 0 { 0 } else { (d.batch - 1) * batch_stride + (rows - 1) * stride + cols }
    };
    let [a, b, c] = d.batch_strides;
    let (rows_a, cols_a) = if d.transpose_a { (d.k, d.m) } else { (d.m, d.k) };
    let (rows_b, cols_b) = if d.transpose_b { (d.n, d.k) } else { (d.k, d.n) };
    let of_c = size(d.m, d.n, d.ldc, c);
    let e = &d.epilogue;
    let slots = e.update.map_or(0, |u| u.rule.num_slots());
    let mut all = vec![
        random.values(size(rows_a, cols_a, d.lda, a)),
        random.values(size(rows_b, cols_b, d.ldb, b)),
        random.values(of_c),
        random.values(if e.bias { d.n } else { 0 }),
        random.values(if e.residual { of_c } else { 0 }),
        random.values(if e.mask { of_c } else { 0 }),
        random.values(if e.update.is_some() { of_c } else { 0 }),
    ];
    for slot in 0..3 {
        let values = random.values(if slot < slots { of_c } else { 0 });
        all.push(values.into_iter().map(|x| x.abs() + 0.01).collect());
    }
    all.push(vec![0.05, 0.19, 0.002, 0.5, 2.0, 0.0, 0.0, 0.0]);
    let samples = rows_a.checked_div(d.time).unwrap_or(0);
    all.push((0..samples).map(|_| f32::from_bits(random.below(d.time + 1) as u32)).collect());
    all
}

fn run(kernel: &Gemm, buffers: &mut [Vec<f32>], backwards: bool) {
    let pointers: Vec<*mut f32> = buffers
        .iter_mut()
        .map(|b| if b.is_empty() { std::ptr::null_mut() } else { b.as_mut_ptr() })
        .collect();
    let mut scratch = vec![f32::NAN; kernel.scratch_bytes() / 4 + 16];
    let aligned = scratch.as_ptr().align_offset(64);
    for chunk in 0..kernel.chunks() {
        let chunk = if backwards { kernel.chunks() - 1 - chunk } else { chunk };
        // SAFETY: buffers and scratch have the documented sizes, the set is available.
        unsafe { kernel.run(&pointers, chunk, scratch.as_mut_ptr().add(aligned)) };
    }
}

fn check(d: &GemmDesc, blocking: Option<Blocking>, seed: u64) {
    compare(d, blocking, buffers(d, &mut Random(seed)));
}

fn compare(d: &GemmDesc, blocking: Option<Blocking>, start: Vec<Vec<f32>>) {
    let mut expected = start.clone();
    reference(d, &mut expected);
    for isa in Isa::available() {
        let kernel = match blocking {
            Some(blocking) => Gemm::with_blocking(isa, d, blocking),
            None => Gemm::new(isa, d),
        };
        let mut found = start.clone();
        run(&kernel, &mut found, false);
        let mut again = start.clone();
        run(&kernel, &mut again, true);
        assert_eq!(found, again, "{isa:?} {d:?}: the order of chunks changed the result");
        for (arg, (found, expected)) in found.iter().zip(&expected).enumerate() {
            for (at, (x, y)) in found.iter().zip(expected).enumerate() {
                let tolerance = 2e-6 * (d.k as f32 + 10.0).sqrt() * (y.abs() + 3.0);
                assert!(
                    (x - y).abs() <= tolerance,
                    "{isa:?} {d:?} argument {arg} [{at}]: {x}, not {y}"
                );
            }
        }
    }
}

fn plain(rule: Rule) -> Update {
    Update { rule, decay: WeightDecay::None, clip_value: None, rate: 1.0 }
}

#[test]
fn every_width_and_small_height() {
    for n in 1..=70 {
        for (i, &(ta, tb)) in
            [(false, false), (true, false), (false, true), (true, true)].iter().enumerate()
        {
            let m = 1 + (n * 7 + i) % 27;
            check(&GemmDesc::new(m, n, 5 + n % 4, ta, tb), None, n as u64);
        }
    }
    for m in 1..=40 {
        check(&GemmDesc::new(m, 10, 33, false, false), None, m as u64);
        check(&GemmDesc::new(m, 33, 7, true, false), None, m as u64);
        check(&GemmDesc::new(m, 20, 19, false, true), None, m as u64);
    }
}

#[test]
fn empty_and_single_reductions() {
    for k in 0..=2 {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut d = GemmDesc::new(9, 21, k, ta, tb);
            d.epilogue.bias = true;
            check(&d, None, 3);
            d.epilogue = Epilogue { accumulate: true, ..Default::default() };
            check(&d, None, 4);
            check(&GemmDesc::new(1, 5, k, ta, tb), None, 5);
        }
    }
}

fn random_epilogue(random: &mut Random) -> Epilogue {
    let mut flag = || random.below(2) == 0;
    Epilogue {
        accumulate: flag(),
        bias: flag(),
        residual: flag(),
        activation: if flag() { Activation::Relu } else { Activation::None },
        mask: flag(),
        update: None,
    }
}

fn random_desc(random: &mut Random) -> GemmDesc {
    let (m, n, k) = (1 + random.below(60), 1 + random.below(90), random.below(80));
    let mut d = GemmDesc::new(m, n, k, random.below(2) == 0, random.below(2) == 0);
    d.lda += random.below(5);
    d.ldb += random.below(5);
    d.ldc += random.below(5);
    d.batch = 1 + random.below(4);
    let rows = |transposed: bool, a: usize, b: usize| if transposed { b } else { a };
    d.batch_strides = [
        d.lda * rows(d.transpose_a, m, k) + random.below(3),
        d.ldb * rows(d.transpose_b, k, n) + random.below(3),
        d.ldc * m + random.below(3),
    ];
    if random.below(3) == 0 {
        d.batch_strides[random.below(2)] = 0;
    }
    d.epilogue = random_epilogue(random);
    d
}

fn rules() -> Vec<Rule> {
    vec![
        Rule::Sgd,
        Rule::Momentum { momentum: 0.9, nesterov: true },
        Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
        Rule::RmsProp {
            rho: 0.9,
            epsilon: 1e-3,
            momentum: 0.5,
            centered: false,
            corrected: false,
            lazy: false,
        },
        Rule::RmsProp {
            rho: 0.999,
            epsilon: 1e-3,
            momentum: 0.0,
            centered: false,
            corrected: true,
            lazy: true,
        },
        Rule::Adagrad { epsilon: 1e-8, initial_accumulator: 0.1 },
    ]
}

#[test]
fn random_shapes_strides_batches_and_epilogues() {
    let mut random = Random(11);
    for seed in 0..300 {
        check(&random_desc(&mut random), None, seed);
    }
}

#[test]
fn random_blockings() {
    let mut random = Random(12);
    for seed in 0..200 {
        let mut d = random_desc(&mut random);
        if random.below(3) == 0 {
            d.batch = 1;
            d.epilogue.update = Some(Update {
                rule: rules()[random.below(5)],
                decay: WeightDecay::L2(0.01),
                clip_value: Some(2.0),
                rate: 1.0,
            });
        }
        let blocking = Blocking {
            pack_a: random.below(2) == 0,
            pack_b: random.below(2) == 0,
            kc: 1 + random.below(d.k + 20),
            mc: 1 + random.below(40),
            nc: 32 * (1 + random.below(3)),
            row_chunks: 1 + random.below(d.m.min(4)),
            col_chunks: 1 + random.below(3),
        };
        check(&d, Some(blocking), seed);
    }
}

/// Of the gradients of weights, with rows of zeros too, whose steps are left out.
#[test]
fn packing_changes_no_bits() {
    let mut random = Random(41);
    for (m, n, k) in [(128, 512, 768), (70, 300, 600), (13, 64, 512), (200, 80, 1100)] {
        let mut d = GemmDesc::new(m, n, k, true, false);
        for zeros in [false, true] {
            let mut start = buffers(&d, &mut random);
            let rows = start[args::A].chunks_mut(m).skip(usize::from(!zeros) * k).step_by(2);
            rows.for_each(|row| row.fill(0.0));
            for isa in Isa::available() {
                let packed =
                    Blocking { pack_a: true, pack_b: true, ..Gemm::new(isa, &d).blocking() };
                let plain = Blocking { pack_a: false, pack_b: false, ..packed };
                let [packed, plain] = [packed, plain].map(|blocking| {
                    let mut found = start.clone();
                    run(&Gemm::with_blocking(isa, &d, blocking), &mut found, false);
                    found
                });
                assert_eq!(packed, plain, "{isa:?} {d:?}");
            }
            d.epilogue.accumulate = true;
        }
    }
}

#[test]
fn updates_in_the_epilogue() {
    for (seed, rule) in rules().into_iter().enumerate() {
        for (m, n, k) in [(7, 33, 5), (12, 32, 40), (40, 10, 1), (30, 50, 3), (1, 9, 8)] {
            for decay in [WeightDecay::None, WeightDecay::L2(0.1), WeightDecay::Decoupled(0.1)] {
                for clip_value in [None, Some(0.3)] {
                    let mut d = GemmDesc::new(m, n, k, true, false);
                    d.epilogue.update = Some(Update { rule, decay, clip_value, rate: 1.0 });
                    check(&d, None, seed as u64);
                }
            }
        }
    }
}

#[test]
fn zeros_are_left_out_without_a_trace() {
    let mut random = Random(31);
    for (m, n, k, transpose_a) in
        [(32, 128, 300, false), (13, 64, 100, false), (60, 64, 40, true), (30, 100, 64, true)]
    {
        let mut d = GemmDesc::new(m, n, k, transpose_a, false);
        d.epilogue.bias = true;
        let mut start = buffers(&d, &mut random);
        // whole steps and whole blocks of zeros, and single ones
        for (at, x) in start[args::A].iter_mut().enumerate() {
            let (step, row) = if transpose_a { (at / m, at % m) } else { (at % k, at / k) };
            if step % 3 != 1 || row / 12 == 1 || random.below(4) == 0 {
                *x = 0.0;
            }
        }
        compare(&d, None, start.clone());
        // the sums are the same bits as those of the same tiles without a list
        let kernel = Gemm::new(Isa::detect(), &d);
        let mut with_list = start.clone();
        run(&kernel, &mut with_list, false);
        let mut dense = kernel.clone();
        dense.zeros = all_steps;
        run(&dense, &mut start, false);
        assert_eq!(with_list[args::C], start[args::C]);
    }
}

unsafe fn all_steps(strip: &Strip, _steps: *mut u32) -> usize {
    strip.k
}

#[test]
fn vectors_with_zeros() {
    let mut random = Random(21);
    for (m, n, k) in [
        (1, 300, 100),
        (1, 10, 784),
        (1, 70, 33),
        (1, 35, 8),
        (1, 34, 32),
        (1, 50, 64),
        (100, 70, 1),
        (37, 300, 1),
        (37, 8, 1),
        (37, 32, 1),
    ] {
        for (transpose_b, update) in [(false, false), (true, false), (false, true)] {
            let mut d = GemmDesc::new(m, n, k, k == 1, transpose_b);
            d.epilogue.update = update.then_some(plain(Rule::Sgd));
            d.epilogue.bias = !update;
            let mut start = buffers(&d, &mut random);
            for x in &mut start[args::A] {
                *x = if random.below(5) == 0 { *x } else { 0.0 };
            }
            compare(&d, None, start);
        }
    }
}

/// Rows of zeros in a parameter of few columns, alone and in runs, also at both ends.
#[test]
fn narrow_updates_leave_out_zeros() {
    let mut random = Random(22);
    for (m, n) in [(1, 7), (16, 23), (37, 10), (100, 3), (425, 23)] {
        for rule in rules() {
            for run in [1, 5, 40] {
                let mut d = GemmDesc::new(m, n, 1, true, false);
                d.epilogue.update = Some(plain(rule));
                for first in [run, 0] {
                    let mut start = buffers(&d, &mut random);
                    for (i, x) in start[args::A].iter_mut().enumerate() {
                        if (i + first) / run % 2 == 0 {
                            *x = 0.0;
                        }
                    }
                    compare(&d, None, start);
                }
            }
        }
    }
}

#[test]
fn residual_and_mask_may_be_the_output() {
    for isa in Isa::available() {
        let mut d = GemmDesc::new(13, 37, 9, false, true);
        d.epilogue.residual = true;
        d.epilogue.mask = true;
        let mut random = Random(5);
        let mut expected = buffers(&d, &mut random);
        let c = expected[args::C].clone();
        (expected[args::RESIDUAL], expected[args::MASK]) = (c.clone(), c);
        let mut found = expected.clone();
        reference(&d, &mut expected);
        let kernel = Gemm::new(isa, &d);
        let mut pointers: Vec<*mut f32> = found.iter_mut().map(|b| b.as_mut_ptr()).collect();
        pointers[args::RESIDUAL] = pointers[args::C];
        pointers[args::MASK] = pointers[args::C];
        let mut scratch = vec![0.0f32; kernel.scratch_bytes() / 4];
        for chunk in 0..kernel.chunks() {
            // SAFETY: as in `run`; residual and mask may be C.
            unsafe { kernel.run(&pointers, chunk, scratch.as_mut_ptr()) };
        }
        for (x, y) in found[args::C].iter().zip(&expected[args::C]) {
            assert!((x - y).abs() < 1e-5, "{isa:?}: {x}, not {y}");
        }
    }
}

#[test]
fn larger_shapes() {
    for (m, n, k, ta, tb) in [
        (32, 128, 784, false, false),
        (784, 128, 32, true, false),
        (128, 512, 300, false, true),
        (130, 600, 1030, false, false),
    ] {
        check(&GemmDesc::new(m, n, k, ta, tb), None, 9);
    }
}

/// What lies beyond a length is not read, and what is summed has the bits of a product with zeros there.
#[test]
fn ragged_rows() {
    let mut random = Random(77);
    for case in 0..300 {
        let (samples, time) = (1 + random.below(9), 1 + random.below(11));
        let (n, other) =
            (1 + random.below(80), 1 + random.below(if case < 250 { 70 } else { 900 }));
        let transpose_a = random.below(2) == 0;
        let (m, k) = if transpose_a { (other, samples * time) } else { (samples * time, other) };
        let mut d = GemmDesc::new(m, n, k, transpose_a, !transpose_a && random.below(2) == 0);
        d.time = time;
        d.epilogue = random_epilogue(&mut random);
        if transpose_a && random.below(2) == 0 {
            d.epilogue = Epilogue { update: Some(plain(Rule::Sgd)), ..Default::default() };
        }
        let start = buffers(&d, &mut random);
        compare(&d, None, start.clone());
        let [mut broken, mut zeros] = [f32::NAN, 0.0].map(|beyond| {
            let (lengths, mut start) = (start.clone(), start.clone());
            for row in (0..samples * time).filter(|&row| !counts(&d, &lengths, row)) {
                start[args::A][row * d.lda..][..if transpose_a { m } else { k }].fill(beyond);
                if transpose_a {
                    start[args::B][row * n..][..n].fill(beyond);
                }
            }
            start
        });
        for isa in Isa::available() {
            let kernel = Gemm::new(isa, &d);
            let plain = Gemm::with_blocking(isa, &GemmDesc { time: 0, ..d }, kernel.blocking());
            run(&kernel, &mut broken, false);
            run(&plain, &mut zeros, false);
            for arg in [args::C, args::PARAM] {
                assert_eq!(broken[arg], zeros[arg], "{isa:?} {d:?}");
            }
        }
    }
}
