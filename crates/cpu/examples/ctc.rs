//! Milliseconds of the loss of connectionist temporal classification with its gradient, of a batch on one thread: a line for each size, which
//! `bench/ctc.py` reads.

use std::time::Instant;

use tidemill_cpu::isa::Isa;
use tidemill_cpu::runtime::{Input, Runtime};
use tidemill_graph::{Ctc, DType, Graph, Loss, gradients};

/// Batch, positions, classes, labels.
const SIZES: [[usize; 4]; 3] = [[32, 125, 12, 7], [16, 250, 32, 60], [16, 200, 1000, 40]];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for [batch, time, classes, labels] in SIZES {
        let mut graph = Graph::new();
        let inputs = [
            graph.input("labels", &[batch, labels], DType::I32),
            graph.input("lengths", &[batch], DType::I32),
            graph.input("label_lengths", &[batch], DType::I32),
        ];
        let weights = graph.input("weights", &[batch], DType::F32);
        let logits = graph.parameter("logits", &[batch, time, classes]);
        let losses = graph.apply(Ctc::Loss, &[logits, inputs[0], inputs[1], inputs[2]])?;
        let loss = graph.apply(Loss::WeightedMean, &[losses, weights])?;
        let slopes = gradients(&mut graph, loss, &[logits])?;
        graph.output("loss", loss);
        if let Some(slope) = slopes[0] {
            graph.output("slope", slope);
        }
        let mut runtime = Runtime::new(Isa::detect(), 1, &graph);
        let plan = runtime.add(&graph, Default::default())?;
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        let given: Vec<i32> =
            (0..batch * labels).map(|_| 1 + (random() as usize % (classes - 1)) as i32).collect();
        let (lengths, counts) = (vec![time as i32; batch], vec![labels as i32; batch]);
        let ones = vec![1.0; batch];
        let feeds =
            [Input::I32(&given), Input::I32(&lengths), Input::I32(&counts), Input::F32(&ones)];
        let mut best = f64::INFINITY;
        for _ in 0..30 {
            let start = Instant::now();
            runtime.run(plan, &feeds)?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("ctc {batch} {time} {classes} {labels} {:.4} ms", best * 1e3);
    }
    Ok(())
}
