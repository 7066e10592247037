//! State in a file: the same bits as in memory, and errors of the file.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use tidemill_cpu::isa::Isa;
use tidemill_cpu::runtime::{Input, PlanId, Prepared, Runtime, StateFile, can_file};
use tidemill_graph::Graph;
use tidemill_nn::{Activation, LossSpec, Model, OptimizerSpec, initial_state, training_graph};
use tidemill_plan::windows::Filed;
use tidemill_plan::{Options, state_slots};

const BATCH: usize = 5;

/// Tensors smaller than a block of the file, larger ones, and of sizes that are no multiples of it.
fn model() -> Model {
    let layers = [(40, Activation::Relu), (70, Activation::Tanh), (33, Activation::Relu)];
    let model = Model::features(24);
    layers.iter().fold(model, |model, &(units, activation)| model.dense(units, activation))
}

fn graph() -> Graph {
    let loss = LossSpec::MeanSquaredError {};
    training_graph(&model(), &loss, &OptimizerSpec::adam(1e-2), BATCH).unwrap()
}

/// A file that is nowhere once it is closed.
fn temporary(len: u64) -> (File, PathBuf) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("tidemill-filed-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
    let path = std::env::temp_dir().join(name);
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    file.set_len(len).unwrap();
    (file, path)
}

fn state_file(file: File, names: &[String], ahead: usize) -> StateFile {
    let broken = Arc::new(AtomicBool::new(false));
    StateFile { file, path: "the file".into(), names: names.to_vec(), ahead, broken }
}

/// A runtime with the tensors of these names in a file, and its plan.
fn runtime(graph: &Graph, names: &[String], ahead: usize) -> (Runtime, PlanId, File) {
    let size = StateFile::layout(&state_slots(graph), Filed { names, ahead }).1;
    let (file, path) = temporary(size);
    let read = file.try_clone().unwrap();
    std::fs::remove_file(path).unwrap();
    let mut runtime = match names.is_empty() {
        true => Runtime::new(Isa::detect(), 2, graph),
        false => Runtime::filed(Isa::detect(), 2, graph, state_file(file, names, ahead)).unwrap(),
    };
    for (id, values) in initial_state(graph, &model(), 1).unwrap() {
        let name = &graph.tensor(id).name;
        let slot = runtime.slots().iter().position(|slot| slot.name == *name).unwrap();
        runtime.store(slot, &values).unwrap();
    }
    let plan = runtime.add(graph, Options::default()).unwrap();
    (runtime, plan, read)
}

fn step(runtime: &mut Runtime, plan: PlanId, turn: usize) -> Result<(), String> {
    let slots = runtime.plan(plan).inputs.clone();
    let values: Vec<Vec<f32>> = slots
        .iter()
        .map(|slot| match slot.name.as_str() {
            "hyper" => vec![1e-2, 0.1, 0.001, 1.0, 1.0, 0.0, 0.0, 0.0],
            _ => (0..slot.len()).map(|i| ((i * 7 + turn * 3) % 11) as f32 / 10.0 + 0.1).collect(),
        })
        .collect();
    let inputs: Vec<Input<'_>> = values.iter().map(|values| Input::F32(values)).collect();
    runtime.run(plan, &inputs).map_err(|e| e.to_string())
}

/// The bits of all tensors.
fn state(runtime: &Runtime, file: &File) -> Vec<Vec<u8>> {
    let bits = |(i, slot): (usize, &tidemill_plan::Slot)| match runtime.place_in_file(i) {
        None => runtime.state(i).iter().flat_map(|v| v.to_le_bytes()).collect(),
        Some(at) => {
            let mut bytes = vec![0; slot.len() * 4];
            file.read_exact_at(&mut bytes, at).unwrap();
            bytes
        }
    };
    runtime.slots().iter().enumerate().map(bits).collect()
}

#[test]
fn any_tensors_in_a_file_leave_the_bits_as_they_are() {
    if !can_file() {
        return;
    }
    let graph = graph();
    let all: Vec<String> = state_slots(&graph).into_iter().map(|slot| slot.name).collect();
    let run = |names: &[String], ahead: usize| {
        let (mut runtime, plan, file) = runtime(&graph, names, ahead);
        (0..4).for_each(|turn| step(&mut runtime, plan, turn).unwrap());
        state(&runtime, &file)
    };
    let wanted = run(&[], 0);
    for ahead in [0, 1, 2, 50] {
        assert!(run(&all, ahead) == wanted, "all, {ahead} ahead");
        for skip in 0..3 {
            let some: Vec<String> = all.iter().skip(skip).step_by(3).cloned().collect();
            assert!(run(&some, ahead) == wanted, "{some:?}, {ahead} ahead");
        }
    }
    let mut random = 1u64;
    for _ in 0..50 {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let is_in = |i: usize| random >> (20 + i % 40) & 1 == 1;
        let some: Vec<String> =
            all.iter().enumerate().filter(|(i, _)| is_in(*i)).map(|(_, n)| n.clone()).collect();
        let ahead = (random >> 61) as usize % 4;
        assert!(run(&some, ahead) == wanted, "{some:?}, {ahead} ahead");
    }
}

#[test]
fn windows_take_less_than_the_state() {
    let graph = graph();
    let names: Vec<String> = state_slots(&graph).into_iter().map(|slot| slot.name).collect();
    let arena = |ahead| {
        let filed = Filed { names: &names, ahead };
        let prepared = Prepared::filed(Isa::detect(), &graph, Options::default(), filed);
        assert!(prepared.plan().windows.iter().all(|w| w.read <= w.first && w.first <= w.last));
        prepared.plan().arena_reach
    };
    assert!(arena(0) < arena(1) && arena(1) < arena(50));
}

#[test]
fn a_file_that_fails_ends_the_run_and_is_not_used_again() {
    if !can_file() {
        return;
    }
    let graph = graph();
    let names: Vec<String> = state_slots(&graph).into_iter().map(|slot| slot.name).collect();
    let size = StateFile::layout(&state_slots(&graph), Filed { names: &names, ahead: 1 }).1;
    // One that cannot be written, and one that is too short.
    for (len, writes) in [(size, false), (size - 4096, true)] {
        let (file, path) = temporary(len);
        let file = if writes { file } else { File::open(&path).unwrap() };
        std::fs::remove_file(path).unwrap();
        let file = state_file(file, &names, 1);
        let broken = file.broken.clone();
        let mut runtime = Runtime::filed(Isa::detect(), 2, &graph, file).unwrap();
        let plan = runtime.add(&graph, Options::default()).unwrap();
        let error = step(&mut runtime, plan, 0).unwrap_err();
        assert!(error.starts_with("the file of the state the file: expected "), "{error}");
        assert!(broken.load(Relaxed));
        let error = step(&mut runtime, plan, 1).unwrap_err();
        assert!(error.contains("an unfinished step has left"), "{error}");
    }
}

#[test]
#[should_panic(expected = "the plan looks for state in another place")]
fn a_plan_for_state_in_a_file_is_none_for_state_in_memory() {
    let graph = graph();
    let names: Vec<String> = state_slots(&graph).into_iter().map(|slot| slot.name).collect();
    let filed = Filed { names: &names, ahead: 1 };
    let prepared = Prepared::filed(Isa::detect(), &graph, Options::default(), filed);
    let _ = Runtime::new(Isa::detect(), 1, &graph).add_prepared(prepared);
}
