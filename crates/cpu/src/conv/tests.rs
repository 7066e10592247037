#![allow(clippy::unwrap_used)]

use super::*;
use crate::isa::Isa;
use crate::kernel::Kernel;

/// A small deterministic generator.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    pub(super) fn pick(&mut self, from: &[usize]) -> usize {
        from[self.below(from.len())]
    }

    pub(super) fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
    }
}

/// Runs all chunks, last first if `reverse`; scratch starts as NaN to catch reads of nothing.
fn run(kernel: &dyn Kernel, args: &[*mut f32], reverse: bool) {
    let len = kernel.scratch_bytes() / 4;
    let mut scratch = vec![[f32::NAN; 16]; len.div_ceil(16) + 1];
    let chunks = kernel.chunks();
    for i in 0..chunks {
        let chunk = if reverse { chunks - 1 - i } else { i };
        // SAFETY: the tests give buffers of the documented sizes.
        unsafe { kernel.run(args, chunk, scratch.as_mut_ptr().cast()) };
        scratch.fill([f32::NAN; 16]);
    }
}

pub(super) fn ptr(values: &[f32]) -> *mut f32 {
    values.as_ptr().cast_mut()
}

/// Runs twice, in both orders of chunks, and checks that the bits agree.
pub(super) fn output(kernel: &dyn Kernel, inputs: &[*mut f32], len: usize) -> Vec<f32> {
    let mut results = [false, true].map(|reverse| {
        let mut out = vec![f32::NAN; len + 64];
        let mut args = inputs.to_vec();
        args.push(out.as_mut_ptr());
        run(kernel, &args, reverse);
        assert!(out[len..].iter().all(|v| v.is_nan()), "wrote past the end");
        out.truncate(len);
        out
    });
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&results[0]), bits(&results[1]), "bits depend on the order of chunks");
    std::mem::take(&mut results[0])
}

pub(super) fn assert_close(what: &str, expected: &[f64], found: &[f32]) {
    assert_eq!(expected.len(), found.len());
    let scale = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    for (i, (&e, &f)) in expected.iter().zip(found).enumerate() {
        let f = f64::from(f);
        assert!((e - f).abs() <= 3e-6 * scale, "{what} [{i}]: {e} expected, {f} found");
    }
}

fn check(isa: Isa, d: ConvShape, random: &mut Random) {
    let x = random.values(d.x_len());
    let w = random.values(d.w_len());
    let dy = random.values(d.y_len());
    let bias = random.values(d.out_c);
    let residual = random.values(d.y_len());
    let x_residual = random.values(d.x_len());
    let null = std::ptr::null_mut();
    let name = format!("{isa:?} {d:?}");

    let kernel = ConvForward::new(isa, d, false);
    let y = output(&kernel, &[ptr(&x), ptr(&w), null, null], d.y_len());
    let expected = reference::forward(&d, &x, &w);
    assert_close(&format!("y {name}"), &expected, &y);
    let kernel = ConvForward::new(isa, d, true);
    let y = output(&kernel, &[ptr(&x), ptr(&w), ptr(&bias), ptr(&residual)], d.y_len());
    let expected: Vec<f64> = expected
        .iter()
        .enumerate()
        .map(|(i, y)| (y + f64::from(bias[i % d.out_c]) + f64::from(residual[i])).max(0.0))
        .collect();
    assert_close(&format!("relu {name}"), &expected, &y);

    let kernel = ConvGradInput::new(isa, d);
    let dx = output(&kernel, &[ptr(&dy), ptr(&w), null, null], d.x_len());
    let expected = reference::grad_input(&d, &dy, &w);
    assert_close(&format!("dx {name}"), &expected, &dx);
    let dx = output(&kernel, &[ptr(&dy), ptr(&w), ptr(&x), ptr(&x_residual)], d.x_len());
    let expected: Vec<f64> = expected
        .iter()
        .enumerate()
        .map(|(i, dx)| if x[i] > 0.0 { dx + f64::from(x_residual[i]) } else { 0.0 })
        .collect();
    assert_close(&format!("masked dx {name}"), &expected, &dx);
    let mut sum = x_residual.clone();
    let place = sum.as_mut_ptr();
    run(&kernel, &[ptr(&dy), ptr(&w), ptr(&x), place, place], false);
    assert_close(&format!("dx in place {name}"), &expected, &sum);

    for bias in [false, true] {
        let kernel = ConvGradWeight::new(isa, d, bias);
        check_grad_weight(&name, isa, &kernel, kernel.partials(), (&d, bias), [&x, &dy]);
    }
}

/// Checks the sum of a kernel's partial gradients of the weight, and of the bias if it makes them.
pub(super) fn check_grad_weight(
    name: &str,
    isa: Isa,
    kernel: &dyn Kernel,
    count: usize,
    (d, bias): (&ConvShape, bool),
    [x, dy]: [&[f32]; 2],
) {
    let len = d.w_len() + if bias { d.out_c } else { 0 };
    let partials = output(kernel, &[ptr(x), ptr(dy)], count * len);
    let reduce = ReduceUpdate::new(isa, d.w_len(), count, len);
    let dw = output(&reduce, &[ptr(&partials)], d.w_len());
    assert_close(&format!("dw {name}"), &reference::grad_weight(d, x, dy), &dw);
    if bias {
        let reduce = ReduceUpdate::new(isa, d.out_c, count, len);
        let db = output(&reduce, &[ptr(&partials[d.w_len()..])], d.out_c);
        let expected: Vec<f64> = (0..d.out_c)
            .map(|c| dy.iter().skip(c).step_by(d.out_c).map(|&g| f64::from(g)).sum())
            .collect();
        assert_close(&format!("db {name}"), &expected, &db);
    }
}

/// A description with the output size that the padding gives.
pub(super) fn desc(
    [batch, h, w, c, o]: [usize; 5],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pad: [usize; 4],
    groups: usize,
) -> Option<ConvShape> {
    let out = |size: usize, axis: usize, pad: usize| {
        let reach = (kernel[axis] - 1) * dilation[axis] + 1;
        (size + pad >= reach).then(|| (size + pad - reach) / stride[axis] + 1)
    };
    Some(ConvShape {
        batch,
        in_h: h,
        in_w: w,
        in_c: c,
        out_h: out(h, 0, pad[0] + pad[1])?,
        out_w: out(w, 1, pad[2] + pad[3])?,
        out_c: o,
        kernel_h: kernel[0],
        kernel_w: kernel[1],
        stride,
        dilation,
        pad_top: pad[0],
        pad_left: pad[2],
        groups,
    })
}

#[test]
fn usual_shapes() {
    let mut random = Random(7);
    for isa in Isa::available() {
        for (size, kernel, stride, pad) in [
            ([4, 28, 28, 1, 32], 3, 1, [1; 4]),
            ([2, 14, 14, 16, 64], 3, 1, [1; 4]),
            ([2, 32, 32, 3, 16], 3, 1, [1; 4]),
            ([3, 8, 8, 32, 64], 3, 1, [1; 4]),
            ([1, 32, 32, 16, 32], 3, 2, [0, 1, 0, 1]),
            ([2, 16, 16, 16, 64], 3, 2, [1; 4]),
            ([2, 32, 32, 16, 32], 1, 2, [0; 4]),
            ([9, 7, 7, 48, 80], 1, 1, [0; 4]),
            ([1, 4, 4, 96, 256], 3, 1, [1; 4]),
            ([1, 30, 30, 8, 24], 5, 1, [2; 4]),
            ([1, 1, 1, 5, 3], 1, 1, [0; 4]),
            ([1, 1, 1, 5, 3], 3, 1, [1; 4]),
            ([20, 2, 3, 4, 33], 5, 2, [2; 4]),
            ([1, 9, 9, 20, 20], 2, 3, [0; 4]),
        ] {
            let d = desc(size, [kernel; 2], [stride; 2], [1; 2], pad, 1).unwrap();
            check(isa, d, &mut random);
        }
    }
}

#[test]
fn random_shapes() {
    let mut random = Random(11);
    let channels = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 64, 70];
    let mut done = 0;
    while done < 120 {
        let batch = random.pick(&[1, 1, 2, 3, 17]);
        let (h, w) = (1 + random.below(12), 1 + random.below(18));
        let kernel = [1 + random.below(4), 1 + random.below(4)];
        let stride = [1 + random.below(3), 1 + random.below(3)];
        let dilation = [random.pick(&[1, 1, 2, 3]), random.pick(&[1, 1, 2, 3])];
        let pad = [(); 4].map(|()| random.below(4));
        let groups = random.pick(&[1, 1, 1, 2, 3, 17]);
        let (mut c, mut o) = (random.pick(&channels), random.pick(&channels));
        if groups > 1 {
            (c, o) = (groups * (1 + random.below(4)), groups * (1 + random.below(4)));
            if random.below(2) == 0 {
                (c, o) = (groups, groups);
            }
        }
        let Some(d) = desc([batch, h, w, c, o], kernel, stride, dilation, pad, groups) else {
            continue;
        };
        if d.flops() > 800_000 {
            continue;
        }
        done += 1;
        for isa in Isa::available() {
            check(isa, d, &mut random);
        }
    }
}

#[test]
fn depthwise_shapes() {
    let mut random = Random(5);
    for isa in Isa::available() {
        for channels in (1..=20).chain([31, 32, 33, 48, 70]) {
            for stride in [1, 2] {
                let size = [2, 9, 11, channels, channels];
                let d = desc(size, [3; 2], [stride; 2], [1; 2], [1; 4], channels).unwrap();
                check(isa, d, &mut random);
            }
        }
    }
}

#[test]
fn relu_keeps_nan() {
    for isa in Isa::available() {
        let d = desc([1, 2, 2, 1, 1], [1; 2], [1; 2], [1; 2], [0; 4], 1).unwrap();
        let null = std::ptr::null_mut();
        let x = [f32::NAN, -1.0, 2.0, 0.0];
        let kernel = ConvForward::new(isa, d, true);
        let y = output(&kernel, &[ptr(&x), ptr(&[1.0]), null, null], 4);
        assert!(y[0].is_nan(), "{isa:?}");
        assert_eq!(y[1..], [0.0, 2.0, 0.0]);
    }
}

#[test]
fn sums_then_updates() {
    use crate::optimizer::{Optimize, Update};
    use tidemill_graph::update::{Rule, WeightDecay};
    let mut random = Random(3);
    let rule = Rule::Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 };
    let update = Update { rule, decay: WeightDecay::L2(0.1), clip_value: None, rate: 1.0 };
    for isa in Isa::available() {
        for (len, count) in [(1, 1), (37, 3), (20_000, 5)] {
            let partials = random.values(count * (len + 2));
            let hyper = [0.01f32, 0.1, 0.01, 1.0, 1.0, 0.0, 0.0, 0.0];
            let null = std::ptr::null_mut();
            let start = [random.values(len), vec![0.1; len], vec![0.2; len]];
            let (mut one, mut two) = (start.clone(), start);

            let sum = ReduceUpdate::new(isa, len, count, len + 2);
            let gradient = output(&sum, &[ptr(&partials)], len);
            let [w, m, v] = one.each_mut().map(|x| x.as_mut_ptr());
            let apply = Optimize::new(isa, update, len);
            run(&apply, &[ptr(&gradient), w, m, v, null, ptr(&hyper)], false);

            let [w, m, v] = two.each_mut().map(|x| x.as_mut_ptr());
            let fused = ReduceUpdate::with_update(isa, len, count, len + 2, update);
            run(&fused, &[ptr(&partials), w, m, v, null, ptr(&hyper)], true);
            assert_eq!(one, two, "{isa:?} {len} {count}");
        }
    }
}
