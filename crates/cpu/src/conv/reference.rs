//! Scalar references: the definitions, summed in f64.

use super::ConvShape;

/// Calls `f(x index, w index, y index)` for every product of the convolution.
fn products(d: &ConvShape, mut f: impl FnMut(usize, usize, usize)) {
    let (cin, cout) = (d.in_c / d.groups, d.out_c / d.groups);
    for b in 0..d.batch {
        for oy in 0..d.out_h {
            for ox in 0..d.out_w {
                for ky in 0..d.kernel_h {
                    for kx in 0..d.kernel_w {
                        let y = (oy * d.stride[0] + ky * d.dilation[0]).wrapping_sub(d.pad_top);
                        let x = (ox * d.stride[1] + kx * d.dilation[1]).wrapping_sub(d.pad_left);
                        if y >= d.in_h || x >= d.in_w {
                            continue;
                        }
                        for o in 0..d.out_c {
                            let group = o / cout;
                            for c in 0..cin {
                                f(
                                    ((b * d.in_h + y) * d.in_w + x) * d.in_c + group * cin + c,
                                    ((ky * d.kernel_w + kx) * cin + c) * d.out_c + o,
                                    ((b * d.out_h + oy) * d.out_w + ox) * d.out_c + o,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn forward(d: &ConvShape, x: &[f32], w: &[f32]) -> Vec<f64> {
    let mut y = vec![0.0; d.y_len()];
    products(d, |i, j, k| y[k] += f64::from(x[i]) * f64::from(w[j]));
    y
}

pub(super) fn grad_input(d: &ConvShape, dy: &[f32], w: &[f32]) -> Vec<f64> {
    let mut dx = vec![0.0; d.x_len()];
    products(d, |i, j, k| dx[i] += f64::from(dy[k]) * f64::from(w[j]));
    dx
}

pub(super) fn grad_weight(d: &ConvShape, x: &[f32], dy: &[f32]) -> Vec<f64> {
    let mut dw = vec![0.0; d.w_len()];
    products(d, |i, j, k| dw[j] += f64::from(x[i]) * f64::from(dy[k]));
    dw
}
