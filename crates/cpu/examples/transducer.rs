//! Milliseconds of the loss of a transducer with its gradients, from what its joint network reads, of a batch on one thread: a line for each
//! size, which `bench/transducer.py` reads. With a folder as its argument it also writes what was read and computed, as f32 and i32 there.

use std::path::Path;
use std::time::Instant;

use tidemill_cpu::isa::Isa;
use tidemill_cpu::runtime::{Input, Runtime};
use tidemill_graph::{DType, Graph, Loss, PerPosition, Transducer, gradients};

/// Batch, positions, classes, labels, units.
const SIZES: [[usize; 5]; 3] =
    [[32, 125, 12, 7, 192], [16, 150, 64, 30, 256], [8, 100, 500, 20, 256]];

const NAMES: [&str; 4] = ["frames", "written", "kernel", "bias"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1);
    for [batch, time, classes, labels, units] in SIZES {
        let shapes = [
            vec![batch, time, units],
            vec![batch, labels + 1, units],
            vec![units, classes],
            vec![classes],
        ];
        let mut graph = Graph::new();
        let floats: Vec<_> = NAMES
            .iter()
            .zip(&shapes)
            .map(|(name, shape)| graph.input(name, shape, DType::F32))
            .collect();
        let of_labels = graph.input("labels", &[batch, labels], DType::I32);
        let [lengths, counts] =
            ["lengths", "counts"].map(|name| graph.input(name, &[batch], DType::I32));
        let weights = graph.input("weights", &[batch], DType::F32);
        let joint = [&floats[..], &[of_labels, lengths, counts]].concat();
        let log_p = graph.apply(Transducer::Joint, &joint)?;
        let losses = graph.apply(Transducer::Loss(PerPosition::Any), &[log_p, lengths, counts])?;
        let loss = graph.apply(Loss::WeightedMean, &[losses, weights])?;
        let slopes = gradients(&mut graph, loss, &floats)?;
        graph.output("loss", loss);
        for (name, slope) in NAMES.iter().zip(slopes) {
            graph.output(&format!("d{name}"), slope.ok_or("no gradient")?);
        }
        let mut runtime = Runtime::new(Isa::detect(), 1, &graph);
        let plan = runtime.add(&graph, Default::default())?;
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        // The kernel's scale is that of a network that has learned a little: neither flat nor sure.
        let values: Vec<Vec<f32>> = shapes
            .iter()
            .zip([1.0, 1.0, 0.2, 0.1])
            .map(|(shape, scale)| {
                let len = shape.iter().product();
                (0..len).map(|_| scale * (random() as f32 / (1 << 23) as f32 - 1.0)).collect()
            })
            .collect();
        let given: Vec<i32> =
            (0..batch * labels).map(|_| 1 + (random() as usize % (classes - 1)) as i32).collect();
        let (whole, all) = (vec![time as i32; batch], vec![labels as i32; batch]);
        let ones = vec![1.0; batch];
        let mut feeds: Vec<Input<'_>> = values.iter().map(|v| Input::F32(v)).collect();
        feeds.extend([&given, &whole, &all].map(|v| Input::I32(v)));
        feeds.push(Input::F32(&ones));
        let mut best = f64::INFINITY;
        for _ in 0..15 {
            let start = Instant::now();
            runtime.run(plan, &feeds)?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("transducer {batch} {time} {classes} {labels} {units} {:.4} ms", best * 1e3);
        let Some(folder) = folder.as_ref().map(Path::new) else { continue };
        let write = |name: &str, values: &[f32]| {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            std::fs::write(folder.join(format!("{classes}.{name}")), bytes)
        };
        for (name, values) in NAMES.iter().zip(&values) {
            write(name, values)?;
        }
        // Exact in f32: labels are small.
        write("labels", &given.iter().map(|&label| label as f32).collect::<Vec<_>>())?;
        for name in ["loss", "dframes", "dwritten", "dkernel", "dbias"] {
            write(name, runtime.output(plan, name).ok_or("no output")?)?;
        }
    }
    Ok(())
}
