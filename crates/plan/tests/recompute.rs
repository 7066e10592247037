//! Plans for small arenas do the same as those without a limit, in memory that they have.
#![allow(clippy::unwrap_used)]

mod training;

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use tidemill_graph::{Binary, DType, Graph, Loss, MatMul, Unary};
use tidemill_plan::null::NullTarget;
use tidemill_plan::{Options, Place, Plan};
use training::updates;

const ROWS: usize = 64;
const UNITS: usize = 16;

/// A training step of so many blocks `x + silu(x w) v`.
fn blocks(count: usize) -> Graph {
    let mut graph = Graph::new();
    let mut x = graph.input("x", &[ROWS, UNITS], DType::F32);
    let labels = graph.input("labels", &[ROWS], DType::I32);
    let weights = graph.input("weights", &[ROWS], DType::F32);
    for i in 0..count {
        let w = graph.parameter(&format!("w{i}"), &[UNITS, 2 * UNITS]);
        let v = graph.parameter(&format!("v{i}"), &[2 * UNITS, UNITS]);
        let bias = graph.parameter(&format!("b{i}"), &[2 * UNITS]);
        let product = graph.apply(MatMul::default(), &[x, w]).unwrap();
        let sum = graph.apply(Binary::Add, &[product, bias]).unwrap();
        let hidden = graph.apply(Unary::Silu, &[sum]).unwrap();
        let product = graph.apply(MatMul::default(), &[hidden, v]).unwrap();
        x = graph.apply(Binary::Add, &[x, product]).unwrap();
    }
    let loss = Loss::SparseCrossEntropy { label_smoothing: 0.0 };
    let losses = graph.apply(loss, &[x, labels]).unwrap();
    let mean = graph.apply(Loss::WeightedMean, &[losses, weights]).unwrap();
    updates(&mut graph, mean);
    graph.output("losses", losses);
    graph.output("loss", mean);
    graph
}

fn plan(graph: &Graph, arena_limit: Option<usize>) -> Plan {
    Plan::new(graph, &mut NullTarget, Options { arena_limit, ..Options::default() })
}

fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// What a run of the plan leaves in its state and outputs, with values as what they were computed from. Each value must
/// still be in the arena when it is read.
fn run(plan: &Plan) -> Vec<(String, u64)> {
    let mut arena: BTreeMap<usize, (usize, u64)> = BTreeMap::new(); // start -> (end, value)
    let mut state: Vec<u64> = plan.state.iter().map(|slot| hash(&slot.name)).collect();
    let read = |arena: &BTreeMap<usize, (usize, u64)>, state: &[u64], b: usize| {
        let buffer = &plan.buffers[b];
        match buffer.place {
            Place::Input(i) => hash(("input", i)),
            Place::Constant(c) => hash(("constant", c.to_bits())),
            Place::State(i) => state[i],
            Place::Arena(start) => {
                let (end, value) = arena[&start];
                assert_eq!(end, start + buffer.len * 4, "{} was written over", buffer.name);
                value
            }
        }
    };
    for call in &plan.calls {
        let inputs: Vec<u64> =
            call.args[..call.num_inputs].iter().map(|&b| read(&arena, &state, b)).collect();
        let changed = |b: &usize| matches!(plan.buffers[*b].place, Place::State(_));
        let before: Vec<u64> = call.args[call.num_inputs..]
            .iter()
            .filter(|b| changed(b))
            .map(|&b| read(&arena, &state, b))
            .collect();
        let done = hash((format!("{:?}", call.spec), inputs, before));
        for (i, &b) in call.args[call.num_inputs..].iter().enumerate() {
            match plan.buffers[b].place {
                Place::State(s) => state[s] = hash((done, i)),
                Place::Arena(start) => {
                    let end = start + plan.buffers[b].len * 4;
                    assert!(end <= plan.arena_bytes);
                    arena.retain(|&other, (stop, _)| *stop <= start || other >= end);
                    arena.insert(start, (end, hash((done, i))));
                }
                _ => panic!("{} is written", plan.buffers[b].name),
            }
        }
    }
    let outputs = plan.outputs.iter().map(|(name, b)| (name.clone(), read(&arena, &state, *b)));
    let names = plan.state.iter().map(|slot| slot.name.clone());
    outputs.chain(names.zip(state.iter().copied())).collect()
}

#[test]
fn the_same_is_computed_in_less_memory() {
    let graph = blocks(8);
    let usual = plan(&graph, None);
    let (wanted, smallest) = (run(&usual), plan(&graph, Some(0)));
    assert!(smallest.arena_bytes * 2 < usual.arena_bytes, "{}", smallest.arena_bytes);
    assert_eq!(run(&smallest), wanted);
    for step in 0..=40 {
        let (low, high) = (smallest.arena_bytes, usual.arena_bytes);
        let limit = low + (high - low) * step / 40;
        let plan = plan(&graph, Some(limit));
        assert!(plan.arena_bytes <= limit, "{} of {limit}", plan.arena_bytes);
        assert_eq!(run(&plan), wanted);
    }
}

#[test]
fn a_plan_that_fits_stays_as_it_is() {
    let graph = blocks(3);
    let usual = plan(&graph, None);
    let with = plan(&graph, Some(usual.arena_bytes));
    assert_eq!((with.calls, with.buffers), (usual.calls, usual.buffers));
}

/// Below the smallest arena all limits give the same plan, and a limit of its size is met.
#[test]
fn what_cannot_be_met_gives_the_smallest() {
    let graph = blocks(5);
    let smallest = plan(&graph, Some(0));
    for limit in [1, smallest.arena_bytes / 2, smallest.arena_bytes - 64] {
        let plan = plan(&graph, Some(limit));
        assert!(plan.arena_bytes <= smallest.arena_bytes);
        assert!(plan.arena_bytes <= limit || plan.arena_bytes == smallest.arena_bytes);
    }
    let met = plan(&graph, Some(smallest.arena_bytes));
    assert!(met.arena_bytes <= smallest.arena_bytes, "{}", met.arena_bytes);
}

#[test]
fn what_runs_again_says_so() {
    let graph = blocks(6);
    let usual = plan(&graph, None);
    let plan = plan(&graph, Some(usual.arena_bytes * 2 / 3));
    let again: Vec<_> =
        plan.calls.iter().enumerate().filter(|(_, c)| c.repeats.is_some()).collect();
    assert_eq!(plan.calls.len(), usual.calls.len() + again.len());
    assert!(!again.is_empty());
    for (i, call) in again {
        let first = &plan.calls[call.repeats.unwrap()];
        assert!(call.repeats.unwrap() < i);
        assert_eq!((&first.spec, &first.label), (&call.spec, &call.label));
        assert!(call.notes.iter().any(|note| note.starts_with("made again")));
        assert!(call.spec.update().is_none());
    }
}

/// A step of 2,000 kernels.
#[test]
fn large_steps_are_planned() {
    let graph = blocks(225);
    let usual = plan(&graph, None);
    assert!(usual.calls.len() > 1900, "{}", usual.calls.len());
    for share in [2, 4, 0] {
        let limit = usual.arena_bytes * share / 8;
        let plan = plan(&graph, Some(limit));
        assert!(plan.arena_bytes <= limit || share == 0);
    }
}
