//! Kernels that touch what is not theirs are found out, and those that keep to it give the same bits.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tidemill_graph::{Binary, DType, Graph, MatMul, Unary};
use tidemill_plan::{Input, Options, Plan};

use super::GAP;
use crate::compile::CpuTarget;
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::runtime::{Prepared, Runtime};
use crate::step::Program;

/// `total += exp(relu(x w) w)`, in calls of which the first leaves its result in the arena for the others.
fn graph() -> Graph {
    let mut graph = Graph::new();
    let x = graph.input("x", &[6, 5], DType::F32);
    let w = graph.parameter("w", &[5, 5]);
    let total = graph.state("total", &[6, 5]);
    let hidden = graph.apply(MatMul::default(), &[x, w]).unwrap();
    let hidden = graph.apply(Unary::Relu, &[hidden]).unwrap();
    let hidden = graph.apply(MatMul::default(), &[hidden, w]).unwrap();
    let out = graph.apply(Unary::Exp, &[hidden]).unwrap();
    let sum = graph.apply(Binary::Add, &[total, out]).unwrap();
    graph.output("out", out);
    graph.assignments.push((total, sum));
    graph
}

/// What a faulty kernel does after its work.
#[derive(Clone, Copy)]
enum Fault {
    Nothing,
    /// Writes to this word of its argument.
    Writes(usize, usize),
    /// Adds this word of its first argument to its result, which is its argument of the second number.
    Reads(usize, usize),
    /// Writes to this word of its scratch.
    Scratch(usize),
}

struct Faulty(Box<dyn Kernel>, Fault);

impl Kernel for Faulty {
    fn chunks(&self) -> usize {
        self.0.chunks()
    }

    fn scratch_bytes(&self) -> usize {
        self.0.scratch_bytes()
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        // SAFETY: as the caller's; the faults stay inside the gaps.
        unsafe {
            self.0.run(args, chunk, scratch);
            match self.1 {
                Fault::Nothing => {}
                Fault::Writes(arg, word) => *args[arg].add(word) = 1.0,
                Fault::Reads(word, result) => *args[result] += *args[0].add(word),
                Fault::Scratch(word) => *scratch.add(word) = 1.0,
            }
        }
    }
}

/// The bits of the output and of the total after two runs with a fault in one of the calls, or what was wrong.
fn run(gap: usize, call: usize, fault: Fault) -> Result<Vec<u32>, String> {
    let (isa, graph) = (Isa::detect(), graph());
    let mut target = CpuTarget::new(isa);
    let plan = Plan::new(&graph, &mut target, Options { gap, ..Options::default() });
    let mut compiled = target.compiled();
    let phase = &mut compiled[call].phases[0];
    let kernel = std::mem::replace(&mut phase.kernel, Box::new(Idle));
    phase.kernel = Box::new(Faulty(kernel, fault));
    let mut runtime = Runtime::new(isa, 1, &graph);
    runtime.state_mut(0).iter_mut().enumerate().for_each(|(i, w)| *w = i as f32 / 7.0 - 1.5);
    let id = runtime.add_prepared(Prepared { program: Program::new(plan, compiled) }).unwrap();
    let x: Vec<f32> = (0..30).map(|i| i as f32 / 11.0 - 1.0).collect();
    let runs = AssertUnwindSafe(|| {
        for _ in 0..2 {
            runtime.run(id, &[Input::F32(&x)]).unwrap();
        }
        let values = runtime.output(id, "out").unwrap().iter().chain(runtime.state(1));
        values.map(|value| value.to_bits()).collect()
    });
    catch_unwind(runs).map_err(|panic| *panic.downcast::<String>().unwrap())
}

/// Takes the place of the kernel that a [`Faulty`] one takes over.
struct Idle;

impl Kernel for Idle {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, _args: &[*mut f32], _chunk: usize, _scratch: *mut f32) {}
}

#[test]
fn a_checked_run_has_the_bits_of_any_run() {
    let plain = run(0, 0, Fault::Nothing).unwrap();
    assert!(plain.iter().all(|&bits| f32::from_bits(bits).is_finite()));
    assert_eq!(run(GAP, 0, Fault::Nothing).unwrap(), plain);
}

#[test]
fn kernels_that_touch_what_is_not_theirs_are_found_out() {
    // The first call is a product: inputs x and w, then its output of 30 values in the arena.
    for (what, fault) in [
        ("the arena", Fault::Writes(2, 30)),
        ("x,", Fault::Writes(0, 3)),
        ("x,", Fault::Writes(0, 30)),
        ("w,", Fault::Writes(1, 24)),
        ("w,", Fault::Writes(1, 25)),
        ("scratch", Fault::Scratch(GAP / 8)),
    ] {
        let wrong = run(GAP, 0, fault).unwrap_err();
        assert!(wrong.contains("call 0, gemm") && wrong.contains(what), "{wrong}");
    }
    // Its result is an input of the second.
    let wrong = run(GAP, 1, Fault::Writes(0, 7)).unwrap_err();
    assert!(wrong.contains("call 1, gemm") && wrong.contains("the arena"), "{wrong}");
    // What is read beyond a buffer is not a number, wherever the buffer is.
    for call in [0, 1] {
        let bits = run(GAP, call, Fault::Reads(30, 2)).unwrap();
        assert!(bits.iter().any(|&bits| f32::from_bits(bits).is_nan()));
    }
}
