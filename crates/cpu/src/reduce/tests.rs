use super::*;
use crate::testing::{Random, close, run_all};

#[test]
fn all_axes_of_all_shapes() {
    let mut random = Random(14);
    let shapes: [&[usize]; 11] = [
        &[],
        &[1],
        &[7],
        &[100_000],
        &[3000, 40],
        &[5, 3, 4],
        &[32, 49, 64],
        &[2, 3, 4, 5],
        &[1, 6, 1, 70],
        &[3, 2, 2, 3, 2],
        &[300, 5, 33],
    ];
    for shape in shapes {
        for mask in 0..1usize << shape.len() {
            let axes: Vec<usize> = (0..shape.len()).filter(|i| mask >> i & 1 == 1).collect();
            let total: usize = shape.iter().product();
            // few values: many ties
            let x: Vec<f32> = (0..total).map(|_| random.below(50) as f32 - 25.0).collect();
            let kept: Vec<usize> =
                (0..shape.len()).map(|i| if axes.contains(&i) { 1 } else { shape[i] }).collect();
            let (from, to) = (strides(shape), strides(&kept));
            let len: usize = kept.iter().product();
            let index = |e: usize| -> usize {
                (0..shape.len()).map(|i| (e / from[i] % shape[i]).min(kept[i] - 1) * to[i]).sum()
            };
            let mut sum = vec![0.0; len];
            let mut max = vec![f64::NEG_INFINITY; len];
            for e in 0..total {
                sum[index(e)] += f64::from(x[e]);
                max[index(e)] = max[index(e)].max(f64::from(x[e]));
            }
            let mut ties = vec![0.0; len];
            for e in 0..total {
                ties[index(e)] += f64::from(u8::from(f64::from(x[e]) == max[index(e)]));
            }
            let mean: Vec<f64> = sum.iter().map(|s| s * len as f64 / total as f64).collect();
            let dy = random.values(len);
            let y: Vec<f32> = max.iter().map(|&m| m as f32).collect();
            let dx: Vec<f64> = (0..total)
                .map(|e| {
                    let hit = f64::from(x[e]) == max[index(e)];
                    if hit { f64::from(dy[index(e)]) / ties[index(e)] } else { 0.0 }
                })
                .collect();
            for isa in Isa::available() {
                let results =
                    [(Reduction::Sum, &sum), (Reduction::Mean, &mean), (Reduction::Max, &max)];
                for (reduction, expected) in results {
                    let call = Reduce::call(isa, reduction, shape, &axes);
                    let phases: Vec<&dyn Kernel> = call.phases.iter().map(|p| &**p).collect();
                    let mut args = vec![x.clone(), vec![0.0; len], vec![0.0; call.workspace_len]];
                    run_all(&phases, &mut args);
                    close(&args[1], expected, 1e-6, &format!("{reduction:?} {shape:?} {axes:?}"));
                }
            }
            let mut args = vec![x, y, dy, vec![f32::NAN; total]];
            run_all(&[&ReduceMaxGrad::new(shape, &axes)], &mut args);
            close(&args[3], &dx, 1e-6, "max grad");
        }
    }
}

#[test]
fn a_nan_is_the_maximum() {
    for isa in Isa::available() {
        for n in [3, 40, 100] {
            for at in [0, 1, n / 2, n - 1] {
                let mut x = vec![1.0; n];
                x[at] = f32::NAN;
                let mut args = vec![x, vec![0.0]];
                let call = Reduce::call(isa, Reduction::Max, &[n], &[0]);
                run_all(&[&*call.phases[0]], &mut args);
                assert!(args[1][0].is_nan(), "{isa:?} {n} {at}");
            }
        }
    }
}
