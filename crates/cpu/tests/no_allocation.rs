//! A training step allocates nothing once its plan is compiled, counted over all threads.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use tidemill_cpu::isa::Isa;
use tidemill_cpu::runtime::{Input, Runtime};
use tidemill_graph::{DType, hyper};
use tidemill_nn::{Activation, LossSpec, Model, OptimizerSpec, training_graph};
use tidemill_plan::Options;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: as the caller's.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_step_allocates_nothing() {
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.1 };
    let model = Model::image(12, 12, 3)
        .conv2d(16, 3, Activation::Linear)
        .batch_norm()
        .activation(Activation::Relu)
        .max_pool2d(2)
        .flatten()
        .dense(128, Activation::Gelu)
        .dropout(0.2)
        .dense(10, Activation::Linear);
    for batch in [1, 32] {
        let graph = training_graph(&model, &loss, &OptimizerSpec::adam(1e-3), batch).unwrap();
        let mut runtime = Runtime::new(Isa::detect(), 2, &graph);
        let plan = runtime.add(&graph, Options::default()).unwrap();
        let slots = runtime.plan(plan).inputs.clone();
        let floats: Vec<Vec<f32>> = slots.iter().map(|s| vec![0.5; s.len()]).collect();
        let ints: Vec<Vec<i32>> = slots.iter().map(|s| vec![3; s.len()]).collect();
        let mut values = [0.5; hyper::LEN];
        values[hyper::GRADIENT_SCALE] = 1.0;
        let inputs: Vec<Input<'_>> = slots
            .iter()
            .enumerate()
            .map(|(i, slot)| match (slot.name.as_str(), slot.dtype) {
                ("hyper", _) => Input::F32(&values),
                (_, DType::F32) => Input::F32(&floats[i]),
                (_, DType::I32) => Input::I32(&ints[i]),
            })
            .collect();
        runtime.run(plan, &inputs).unwrap();
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        for _ in 0..20 {
            runtime.run(plan, &inputs).unwrap();
        }
        let loss = runtime.output(plan, "loss").unwrap()[0];
        assert_eq!(ALLOCATIONS.load(Ordering::SeqCst), before, "batch {batch}");
        assert!(loss.is_finite());
    }
}
