#![allow(clippy::unwrap_used)]

use super::*;

fn values(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed * 2 + 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // few distinct values, so that ties are common
            ((state >> 60) as f32 - 8.0) * 0.5
        })
        .collect()
}

/// Calls `f(y index, x indices of the window in row order)`.
fn windows(d: &PoolShape, mut f: impl FnMut(usize, &[usize])) {
    for b in 0..d.batch {
        for oy in 0..d.out_h {
            for ox in 0..d.out_w {
                for c in 0..d.channels {
                    let mut inside = Vec::new();
                    for ky in 0..d.size[0] {
                        for kx in 0..d.size[1] {
                            let y = (oy * d.stride[0] + ky).wrapping_sub(d.pad_top);
                            let x = (ox * d.stride[1] + kx).wrapping_sub(d.pad_left);
                            if y < d.in_h && x < d.in_w {
                                inside.push(((b * d.in_h + y) * d.in_w + x) * d.channels + c);
                            }
                        }
                    }
                    f(((b * d.out_h + oy) * d.out_w + ox) * d.channels + c, &inside);
                }
            }
        }
    }
}

/// The definitions: y, dx of the maximum, y, dx of the average.
fn reference(d: &PoolShape, x: &[f32], dy: &[f32], relu: bool) -> [Vec<f32>; 4] {
    let mut results = [d.y_len(), d.x_len(), d.y_len(), d.x_len()].map(|n| vec![0.0; n]);
    windows(d, |o, inside| {
        let max = inside.iter().map(|&i| x[i]).fold(f32::NEG_INFINITY, f32::max);
        results[0][o] = max;
        if let Some(&i) = inside.iter().find(|&&i| x[i] == max)
            && (!relu || x[i] > 0.0)
        {
            results[1][i] += dy[o];
        }
        let count = if d.count_padding { d.size[0] * d.size[1] } else { inside.len() };
        for &i in inside {
            results[2][o] += x[i] / count as f32;
            results[3][i] += dy[o] / count as f32;
        }
    });
    results
}

fn output(kernel: &dyn Kernel, inputs: &[&[f32]], len: usize) -> Vec<f32> {
    let results = [false, true].map(|reverse| {
        let mut out = vec![f32::NAN; len + 32];
        let mut args: Vec<*mut f32> = inputs.iter().map(|v| v.as_ptr().cast_mut()).collect();
        args.push(out.as_mut_ptr());
        for i in 0..kernel.chunks() {
            let chunk = if reverse { kernel.chunks() - 1 - i } else { i };
            // SAFETY: buffers of the documented sizes.
            unsafe { kernel.run(&args, chunk, std::ptr::null_mut()) };
        }
        assert!(out[len..].iter().all(|v| v.is_nan()), "wrote past the end");
        out.truncate(len);
        out
    });
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&results[0]), bits(&results[1]), "bits depend on the order of chunks");
    results.into_iter().next().unwrap()
}

fn check(isa: Isa, d: PoolShape) {
    let (x, dy) = (values(1, d.x_len()), values(2, d.y_len()));
    for relu in [false, true] {
        let expected = reference(&d, &x, &dy, relu);
        let y = output(&MaxPool::new(isa, d), &[&x], d.y_len());
        let found = [
            y.clone(),
            output(&MaxPoolGrad::new(isa, d, relu), &[&x, &y, &dy], d.x_len()),
            output(&AvgPool::new(isa, d), &[&x], d.y_len()),
            output(&AvgPoolGrad::new(isa, d), &[&dy], d.x_len()),
        ];
        for (i, (expected, found)) in expected.iter().zip(&found).enumerate() {
            for (j, (&e, &f)) in expected.iter().zip(found).enumerate() {
                assert!(e == f || (e - f).abs() < 1e-4, "{isa:?} {d:?} [{i}][{j}]: {e} {f}");
            }
        }
    }
}

#[test]
fn matches_the_definition() {
    for isa in Isa::available() {
        for channels in [1, 3, 8, 15, 16, 17, 32, 33, 70] {
            for (h, w) in [(1, 1), (7, 9), (8, 8)] {
                for (size, stride, pad) in [
                    ([2, 2], [2, 2], 0),
                    ([3, 3], [2, 2], 1),
                    ([3, 2], [1, 1], 1),
                    ([2, 2], [3, 3], 0),
                    ([3, 3], [3, 3], 2),
                    ([h, w], [1, 1], 0),
                    ([9, 9], [1, 2], 4),
                ] {
                    let out = |len: usize, axis: usize| {
                        (len + 2 * pad).checked_sub(size[axis]).map(|room| room / stride[axis] + 1)
                    };
                    let (Some(out_h), Some(out_w)) = (out(h, 0), out(w, 1)) else { continue };
                    for count_padding in [false, true] {
                        let d = PoolShape {
                            batch: if channels > 40 { 3 } else { 2 },
                            in_h: h,
                            in_w: w,
                            channels,
                            out_h,
                            out_w,
                            size,
                            stride,
                            pad_top: pad,
                            pad_left: pad,
                            count_padding,
                        };
                        check(isa, d);
                    }
                }
            }
        }
    }
}

#[test]
fn many_chunks() {
    for isa in Isa::available() {
        for batch in [1, 33] {
            let d = PoolShape {
                batch,
                in_h: 30,
                in_w: 30,
                channels: 70,
                out_h: 15,
                out_w: 15,
                size: [2, 2],
                stride: [2, 2],
                pad_top: 0,
                pad_left: 0,
                count_padding: false,
            };
            assert!(MaxPool::new(isa, d).0.chunks() > 1);
            check(isa, d);
        }
    }
}

#[test]
fn nan_wins() {
    for isa in Isa::available() {
        for place in 0..4 {
            let mut x = [1.0, 2.0, 3.0, 4.0];
            x[place] = f32::NAN;
            let d = PoolShape {
                batch: 1,
                in_h: 2,
                in_w: 2,
                channels: 1,
                out_h: 1,
                out_w: 1,
                size: [2, 2],
                stride: [2, 2],
                pad_top: 0,
                pad_left: 0,
                count_padding: false,
            };
            assert!(output(&MaxPool::new(isa, d), &[&x], 1)[0].is_nan());
        }
    }
}
