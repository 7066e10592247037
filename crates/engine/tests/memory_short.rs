//! Memory that does not suffice for the usual plan. The only test of its program, since it looks at the memory of the process.

#![allow(clippy::unwrap_used, missing_docs)]

mod models;

use tidemill_engine::memory::{Budget, rss_bytes};
use tidemill_engine::nn::{LossSpec, Model, OptimizerSpec};
use tidemill_engine::{Engine, EngineSpec};

use models::MLP;

#[test]
fn memory_that_is_short_gives_a_smaller_plan_and_too_little_an_error() {
    let spec = || {
        let model: Model = toml::from_str(MLP).unwrap();
        let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
        let spec = EngineSpec::new(model, loss, OptimizerSpec::adam(1e-3));
        EngineSpec { batch_size: 4000, threads: Some(1), ..spec }
    };
    let usual = Engine::compile(spec()).unwrap();
    let (arena, others) = (usual.arena_bytes(), usual.state_and_scratch_bytes());
    let plan = usual.training_plan().clone();
    drop(usual);
    let limited = |arena: usize| {
        let limit = rss_bytes() + (others + arena + (4 << 20)) as u64;
        Engine::compile_within(spec(), 0.0, Budget { limit: Some(limit), ..Budget::default() })
    };
    // With room for all of it the plan is the usual one.
    let roomy = limited(2 * arena).unwrap();
    assert_eq!(roomy.training_plan().calls, plan.calls);
    drop(roomy);
    let tight = limited(arena * 3 / 4).unwrap();
    assert!(tight.arena_bytes() < arena);
    drop(tight);
    let error = limited(0).err().unwrap().to_string();
    assert!(error.contains("the run needs at least "), "{error}");
    assert!(error.contains("the largest values of a step are "), "{error}");
}
