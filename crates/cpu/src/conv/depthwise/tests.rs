#![allow(clippy::unwrap_used)]

use super::super::reference;
use super::super::tests::{Random, assert_close, check_grad_weight, desc, output, ptr};
use super::super::winograd::Pass;
use super::*;
use crate::isa::Isa;

fn check(isa: Isa, d: &ConvShape, random: &mut Random) {
    let [x, w] = [random.values(d.x_len()), random.values(d.w_len())];
    let [dy, bias] = [random.values(d.y_len()), random.values(d.out_c)];
    let [residual, x_residual] = [random.values(d.y_len()), random.values(d.x_len())];
    let null = std::ptr::null_mut();
    let name = format!("{isa:?} {d:?}");

    let kernel = DepthwiseConv::new(isa, d, Pass::Forward, false);
    let y = output(&kernel, &[ptr(&x), ptr(&w), null, null, null], d.y_len());
    let expected = reference::forward(d, &x, &w);
    assert_close(&format!("y {name}"), &expected, &y);
    let kernel = DepthwiseConv::new(isa, d, Pass::Forward, true);
    let y = output(&kernel, &[ptr(&x), ptr(&w), ptr(&bias), null, ptr(&residual)], d.y_len());
    let expected: Vec<f64> = expected
        .iter()
        .enumerate()
        .map(|(i, y)| (y + f64::from(bias[i % d.out_c]) + f64::from(residual[i])).max(0.0))
        .collect();
    assert_close(&format!("relu {name}"), &expected, &y);

    let kernel = DepthwiseConv::new(isa, d, Pass::GradInput, false);
    let expected = reference::grad_input(d, &dy, &w);
    let dx = output(&kernel, &[ptr(&dy), ptr(&w), null, null, null], d.x_len());
    assert_close(&format!("dx {name}"), &expected, &dx);
    let args = [ptr(&dy), ptr(&w), null, ptr(&x), ptr(&x_residual)];
    let dx = output(&kernel, &args, d.x_len());
    let expected: Vec<f64> = expected
        .iter()
        .enumerate()
        .map(|(i, dx)| if x[i] > 0.0 { dx + f64::from(x_residual[i]) } else { 0.0 })
        .collect();
    assert_close(&format!("masked dx {name}"), &expected, &dx);

    for bias in [false, true] {
        let kernel = DepthwiseGradWeight::new(isa, d, bias);
        check_grad_weight(&name, isa, &kernel, kernel.partials(), (d, bias), [&x, &dy]);
    }
}

#[test]
fn random_shapes() {
    let mut random = Random(31);
    let mut done = 0;
    while done < 120 {
        let (batch, h, w) = (1 + random.below(4), 1 + random.below(16), 1 + random.below(16));
        let c = random.pick(&[2, 3, 8, 15, 16, 17, 24, 32, 40, 72]);
        let kernel = [(); 2].map(|()| random.pick(&[1, 2, 3, 5, 7, 9]));
        let stride = [(); 2].map(|()| random.pick(&[1, 1, 2, 3]));
        let dilation = [(); 2].map(|()| random.pick(&[1, 1, 2]));
        let pad = [(); 4].map(|()| random.below(5));
        let Some(d) = desc([batch, h, w, c, c], kernel, stride, dilation, pad, c) else {
            continue;
        };
        done += 1;
        for isa in Isa::available() {
            check(isa, &d, &mut random);
        }
    }
}
