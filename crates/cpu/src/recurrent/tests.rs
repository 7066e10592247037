//! Recurrent layers against the reference.
#![allow(clippy::unwrap_used)]

use crate::isa::Isa;
use crate::runtime::{Input, Runtime};
use crate::testing::{Case, Random};
use tidemill_graph::{Cell, DType, Graph, Recurrent, Reduce, Reduction, Scan, gradients};

const CELLS: [Cell; 3] = [Cell::Gru { bias: true }, Cell::Gru { bias: false }, Cell::Lstm];

/// With all gradients, or that of the kernel alone.
fn scanned(cell: Cell, [time, units]: [usize; 2], lengths: &[i32]) {
    for (reverse, all) in [(false, true), (true, true), (true, false)] {
        let mut case = Case::new();
        let scan = Scan { cell, reverse };
        let (batch, width) = (lengths.len(), cell.gates() * units);
        let what = format!("{scan:?} {lengths:?} of {time}, {units} units");
        let x = case.floats(&[batch, time, width]);
        // Small, as weights are: states stay away from the ends of their range.
        let kernel = (0..units * width).map(|_| case.below(1000) as f32 / 1000.0 - 0.5);
        let by = 1.0 / (units as f32).sqrt();
        let kernel = kernel.map(|w| w * by).collect();
        let kernel = case.given(&[units, width], kernel);
        let mut inputs = vec![x, kernel, case.ints(&[batch], lengths.to_vec())];
        if cell.has_bias() {
            inputs.push(case.floats(&[width]));
        }
        let y = case.apply(Recurrent::States(scan), &inputs);
        let wrt: Vec<_> =
            inputs.iter().copied().filter(|&i| i == kernel || all && i != inputs[2]).collect();
        case.check(&what, y, &wrt);
    }
}

#[test]
fn against_the_reference() {
    for cell in CELLS {
        scanned(cell, [1, 1], &[1]);
        scanned(cell, [3, 5], &[3, 0, 1]);
        scanned(cell, [9, 17], &[9, 2, 9, 4, 0, 7, 8, 3, 1, 9, 5, 6, 9]);
        scanned(cell, [6, 40], &[5, -1, 99]);
        let lengths: Vec<i32> = (0..70).map(|i| i * 7 % 6).collect();
        scanned(cell, [5, 8], &lengths);
    }
}

/// Several chunks: the bits of states and gradients are those of one thread, and those of a sample do not depend on the others.
#[test]
fn bits_are_the_same() {
    let (batch, time, units) = (37, 11, 33);
    for cell in CELLS {
        let width = cell.gates() * units;
        let mut random = Random(3);
        let x = random.values(batch * time * width);
        let kernel: Vec<f32> = random.values(units * width).iter().map(|w| w * 0.1).collect();
        let bias = random.values(width);
        let lengths: Vec<i32> = (0..batch).map(|_| random.below(time + 1) as i32).collect();
        let run = |isa, threads, samples: std::ops::Range<usize>| {
            let batch = samples.len();
            let mut graph = Graph::new();
            let given = graph.input("x", &[batch, time, width], DType::F32);
            let weights = graph.input("kernel", &[units, width], DType::F32);
            let mut inputs = vec![given, weights, graph.input("lengths", &[batch], DType::I32)];
            let of_bias = graph.input("bias", &[width], DType::F32);
            inputs.extend(cell.has_bias().then_some(of_bias));
            let scan = Scan { cell, reverse: true };
            let y = graph.apply(Recurrent::States(scan), &inputs).unwrap();
            let axes = vec![0, 1, 2];
            let sum = Reduce::Axes { reduction: Reduction::Sum, axes, keep_dims: false };
            let loss = graph.apply(sum, &[y]).unwrap();
            let found = gradients(&mut graph, loss, &[given, weights]).unwrap();
            for (name, id) in [("y", y), ("dx", found[0].unwrap()), ("dw", found[1].unwrap())] {
                graph.output(name, id);
            }
            let mut runtime = Runtime::new(isa, threads, &graph);
            let plan = runtime.add(&graph, Default::default()).unwrap();
            let from = samples.start * time * width..samples.end * time * width;
            let inputs = [
                Input::F32(&x[from]),
                Input::F32(&kernel),
                Input::I32(&lengths[samples]),
                Input::F32(&bias),
            ];
            runtime.run(plan, &inputs).unwrap();
            ["y", "dx", "dw"].map(|name| {
                let values = runtime.output(plan, name).unwrap();
                values.iter().map(|v| v.to_bits()).collect::<Vec<u32>>()
            })
        };
        for isa in Isa::available() {
            let one = run(isa, 1, 0..batch);
            assert_eq!(one, run(isa, 3, 0..batch), "{cell:?} {isa:?}");
            let [y, dx, _] = run(isa, 1, 20..21);
            assert_eq!(y, one[0][20 * time * units..21 * time * units], "{cell:?} {isa:?}");
            assert_eq!(dx, one[1][20 * time * width..21 * time * width], "{cell:?} {isa:?}");
        }
    }
}

/// Gradients of states that are given, of which nothing was kept.
#[test]
fn states_may_come_from_elsewhere() {
    let (batch, time, units) = (3, 4, 5);
    for cell in CELLS {
        let width = cell.gates() * units;
        let mut random = Random(5);
        let values = [batch * time * width, units * width, width, batch * time * units];
        let [x, kernel, bias, dy] = values.map(|n| random.values(n));
        let run = |y: Option<&[f32]>| {
            let mut graph = Graph::new();
            let given = [
                graph.input("x", &[batch, time, width], DType::F32),
                graph.input("kernel", &[units, width], DType::F32),
                graph.input("lengths", &[batch], DType::I32),
            ];
            let of_bias = graph.input("bias", &[width], DType::F32);
            let of_bias: Vec<_> = cell.has_bias().then_some(of_bias).into_iter().collect();
            let states = [batch, time, units];
            let dy_of = graph.input("dy", &states, DType::F32);
            let of_y = graph.input("y", &states, DType::F32);
            let scan = Scan { cell, reverse: false };
            let from = [&given[..], &of_bias].concat();
            let own = graph.apply(Recurrent::States(scan), &from).unwrap();
            let from = [&given[..], &[if y.is_some() { of_y } else { own }, dy_of], &of_bias];
            let dx = graph.apply(Recurrent::GradInputs(scan), &from.concat()).unwrap();
            graph.output("y", own);
            graph.output("dx", dx);
            let mut runtime = Runtime::new(Isa::detect(), 1, &graph);
            let plan = runtime.add(&graph, Default::default()).unwrap();
            let inputs = [
                Input::F32(&x),
                Input::F32(&kernel),
                Input::I32(&[4, 0, 3]),
                Input::F32(&bias),
                Input::F32(&dy),
                Input::F32(y.unwrap_or(&dy)),
            ];
            runtime.run(plan, &inputs).unwrap();
            ["y", "dx"].map(|name| runtime.output(plan, name).unwrap().to_vec())
        };
        let [y, dx] = run(None);
        assert_eq!(run(Some(&y))[1], dx, "{cell:?}");
    }
}
