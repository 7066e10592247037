#![allow(clippy::unwrap_used)]

use super::super::reference;
use super::super::tests::{Random, assert_close, check_grad_weight, desc, output, ptr};
use super::*;

fn check(isa: Isa, d: &ConvShape, random: &mut Random) {
    let [x, w] = [random.values(d.x_len()), random.values(d.w_len())];
    let [dy, bias] = [random.values(d.y_len()), random.values(d.out_c)];
    let [residual, x_residual] = [random.values(d.y_len()), random.values(d.x_len())];
    let null = std::ptr::null_mut();
    let name = format!("{isa:?} {d:?}");

    let filter = WinogradFilter::new(isa, d, Pass::Forward);
    let u = output(&filter, &[ptr(&w)], filter.transformed_len());
    let kernel = WinogradConv::new(isa, d, Pass::Forward, false);
    let y = output(&kernel, &[ptr(&x), ptr(&u), null, null, null], d.y_len());
    let expected = reference::forward(d, &x, &w);
    assert_close(&format!("y {name}"), &expected, &y);
    let kernel = WinogradConv::new(isa, d, Pass::Forward, true);
    let args = [ptr(&x), ptr(&u), ptr(&bias), null, ptr(&residual)];
    let y = output(&kernel, &args, d.y_len());
    let expected: Vec<f64> = expected
        .iter()
        .enumerate()
        .map(|(i, y)| (y + f64::from(bias[i % d.out_c]) + f64::from(residual[i])).max(0.0))
        .collect();
    assert_close(&format!("relu {name}"), &expected, &y);

    let filter = WinogradFilter::new(isa, d, Pass::GradInput);
    let u = output(&filter, &[ptr(&w)], filter.transformed_len());
    let kernel = WinogradConv::new(isa, d, Pass::GradInput, false);
    let args = [ptr(&dy), ptr(&u), null, ptr(&x), ptr(&x_residual)];
    let dx = output(&kernel, &args, d.x_len());
    let expected: Vec<f64> = reference::grad_input(d, &dy, &w)
        .iter()
        .enumerate()
        .map(|(i, dx)| if x[i] > 0.0 { dx + f64::from(x_residual[i]) } else { 0.0 })
        .collect();
    assert_close(&format!("dx {name}"), &expected, &dx);

    for bias in [false, true] {
        let kernel = WinogradGradWeight::new(isa, d, bias);
        check_grad_weight(&name, isa, &kernel, kernel.partials(), (d, bias), [&x, &dy]);
    }
}

#[test]
fn equals_the_direct_way() {
    let mut random = Random(17);
    for isa in Isa::available() {
        for (size, pad) in [
            ([4, 14, 14, 32, 64], [1; 4]),
            ([2, 32, 32, 16, 16], [1; 4]),
            ([3, 8, 8, 64, 64], [1; 4]),
            ([2, 9, 11, 48, 80], [1; 4]),
            ([5, 7, 5, 16, 48], [0; 4]),
            ([1, 12, 9, 32, 16], [0, 1, 2, 1]),
            ([3, 6, 7, 16, 16], [2; 4]),
            ([30, 1, 1, 16, 16], [1; 4]),
            ([9, 2, 3, 112, 16], [1, 2, 0, 2]),
        ] {
            let d = desc(size, [3; 2], [1; 2], [1; 2], pad, 1).unwrap();
            assert!(applies(isa, &d), "{d:?}");
            check(isa, &d, &mut random);
        }
    }
}

#[test]
fn random_shapes() {
    let mut random = Random(23);
    let channels = [16, 32, 48, 64];
    let mut done = 0;
    while done < 40 {
        let (batch, h, w) = (1 + random.below(9), 1 + random.below(13), 1 + random.below(13));
        let pad = [(); 4].map(|()| random.below(3));
        let (c, o) = (random.pick(&channels), random.pick(&channels));
        let Some(d) = desc([batch, h, w, c, o], [3; 2], [1; 2], [1; 2], pad, 1) else {
            continue;
        };
        if d.flops() > 8_000_000 || !applies(Isa::Portable, &d) {
            continue;
        }
        done += 1;
        for isa in Isa::available() {
            check(isa, &d, &mut random);
        }
    }
}

#[test]
fn not_a_number_stays() {
    for isa in Isa::available() {
        let d = desc([4, 8, 8, 16, 16], [3; 2], [1; 2], [1; 2], [1; 4], 1).unwrap();
        let mut random = Random(29);
        let [mut x, w] = [random.values(d.x_len()), random.values(d.w_len())];
        x[(2 * 8 + 3) * 16] = f32::NAN;
        let filter = WinogradFilter::new(isa, &d, Pass::Forward);
        let u = output(&filter, &[ptr(&w)], filter.transformed_len());
        let kernel = WinogradConv::new(isa, &d, Pass::Forward, true);
        let null = std::ptr::null_mut();
        let y = output(&kernel, &[ptr(&x), ptr(&u), null, null, null], d.y_len());
        for (dy, dx) in [(1, 2), (2, 3), (3, 4)] {
            assert!(y[(dy * 8 + dx) * 16].is_nan(), "{isa:?}");
        }
    }
}
