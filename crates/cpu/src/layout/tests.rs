use super::*;
use crate::testing::{Case, Random, run_all};
use tidemill_graph::{Layout, TensorId};

fn run(call: &Call, mut args: Vec<Vec<f32>>) -> Vec<f32> {
    let phases: Vec<&dyn Kernel> = call.phases.iter().map(|p| &**p).collect();
    run_all(&phases, &mut args);
    args.pop().expect("the output is last")
}

/// Coordinates of each element of a shape, in order.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let total: usize = shape.iter().product();
    let strides = strides(shape);
    (0..total).map(|e| (0..shape.len()).map(|i| e / strides[i] % shape[i]).collect()).collect()
}

fn at(shape: &[usize], index: &[usize]) -> usize {
    index.iter().zip(strides(shape)).map(|(i, s)| i * s).sum()
}

fn numbers(shape: &[usize]) -> Vec<f32> {
    (0..shape.iter().product()).map(|i| i as f32).collect()
}

#[test]
fn transposes() {
    let shapes: [&[usize]; 9] = [
        &[],
        &[5],
        &[3, 4],
        &[33, 17],
        &[64, 400],
        &[3, 1, 5, 2],
        &[2, 7, 9, 16],
        &[4, 20, 3, 21],
        &[2, 3, 4, 5, 6],
    ];
    let mut random = Random(12);
    for shape in shapes {
        for _ in 0..8 {
            let mut perm: Vec<usize> = (0..shape.len()).collect();
            for i in (1..perm.len()).rev() {
                perm.swap(i, random.below(i + 1));
            }
            let x = numbers(shape);
            let out: Vec<usize> = perm.iter().map(|&p| shape[p]).collect();
            let expected: Vec<f32> = indices(&out)
                .iter()
                .map(|o| {
                    let mut index = vec![0; shape.len()];
                    for (i, &p) in perm.iter().enumerate() {
                        index[p] = o[i];
                    }
                    x[at(shape, &index)]
                })
                .collect();
            for isa in Isa::available() {
                let found = run(&transpose(isa, shape, &perm), vec![x.clone(), vec![0.0; x.len()]]);
                assert_eq!(found, expected, "{isa:?} {shape:?} {perm:?}");
            }
        }
    }
}

#[test]
fn slices_pads_and_concatenations() {
    let mut random = Random(13);
    let isa = Isa::detect();
    for _ in 0..200 {
        let rank = random.below(5);
        let dims = |random: &mut Random, n: usize| -> Vec<usize> {
            (0..rank).map(|_| random.below(n)).collect()
        };
        let size: Vec<usize> = dims(&mut random, 12).iter().map(|d| d + 1).collect();
        let (before, after) = (dims(&mut random, 3), dims(&mut random, 3));
        let whole: Vec<usize> = (0..rank).map(|i| before[i] + size[i] + after[i]).collect();
        let x = numbers(&size);
        let mut padded = vec![-1.0; whole.iter().product()];
        for (e, index) in indices(&size).iter().enumerate() {
            let index: Vec<usize> = (0..rank).map(|i| index[i] + before[i]).collect();
            padded[at(&whole, &index)] = x[e];
        }
        let call = pad(isa, &size, &before, &after, -1.0);
        assert_eq!(run(&call, vec![x.clone(), vec![0.0; padded.len()]]), padded);
        let call = slice(isa, &whole, &before, &size);
        assert_eq!(run(&call, vec![padded, vec![0.0; x.len()]]), x);
        if rank == 0 {
            continue;
        }
        let axis = random.below(rank);
        let shapes: Vec<Vec<usize>> = (0..1 + random.below(4))
            .map(|_| {
                let mut s = size.clone();
                s[axis] = 1 + random.below(20);
                s
            })
            .collect();
        let parts: Vec<Vec<f32>> =
            shapes.iter().map(|s| random.values(s.iter().product())).collect();
        let mut out = size.clone();
        out[axis] = shapes.iter().map(|s| s[axis]).sum();
        let expected: Vec<f32> = indices(&out)
            .iter()
            .map(|o| {
                let (mut index, mut n) = (o.clone(), 0);
                while index[axis] >= shapes[n][axis] {
                    index[axis] -= shapes[n][axis];
                    n += 1;
                }
                parts[n][at(&shapes[n], &index)]
            })
            .collect();
        let mut args = parts;
        args.push(vec![0.0; expected.len()]);
        assert_eq!(run(&concat(isa, &shapes, axis), args), expected);
    }
}

#[test]
fn broadcasts_copies_and_fills() {
    let cases: [(&[usize], &[usize]); 7] = [
        (&[], &[3, 4]),
        (&[4], &[3, 4]),
        (&[3, 1], &[3, 4]),
        (&[2, 1, 5], &[2, 6, 5]),
        (&[1, 1], &[100, 300]),
        (&[100, 1], &[100, 300]),
        (&[7], &[2, 3, 7]),
    ];
    for isa in Isa::available() {
        for (from, to) in cases {
            let x = numbers(from);
            let skip = to.len() - from.len();
            let expected: Vec<f32> = indices(to)
                .iter()
                .map(|o| {
                    let index: Vec<usize> =
                        (0..from.len()).map(|i| o[i + skip].min(from[i] - 1)).collect();
                    x[at(from, &index)]
                })
                .collect();
            let found = run(&broadcast_to(isa, from, to), vec![x, vec![0.0; expected.len()]]);
            assert_eq!(found, expected, "{from:?} {to:?}");
        }
        for len in [0, 1, 17, 1_000_003] {
            let x = numbers(&[len]);
            assert_eq!(run(&copy(isa, len), vec![x.clone(), vec![0.0; len]]), x);
            assert_eq!(run(&fill(len, 2.5), vec![x]), vec![2.5; len]);
        }
    }
}

/// Columns of several inputs side by side, and the parts of the gradient.
#[test]
fn concat_along_the_last_axis() {
    for leading in [&[5][..], &[3, 4], &[2, 3, 2]] {
        let mut case = Case::new();
        let part = |case: &mut Case, width: usize| case.floats(&[leading, &[width]].concat());
        let parts: Vec<TensorId> = [1, 7, 33].map(|width| part(&mut case, width)).to_vec();
        let y = case.apply(Layout::Concat { axis: leading.len() }, &parts);
        assert_eq!(case.graph.shape(y), [leading, &[41]].concat());
        case.check(&format!("concat {leading:?}"), y, &parts);
    }
}
