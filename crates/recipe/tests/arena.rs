//! The memory of the ready recipes' plans, against the smallest possible.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

use tidemill_cpu::compile::CpuTarget;
use tidemill_cpu::isa::Isa;
use tidemill_engine::nn::{evaluation_graph, inference_graph, training_graph};
use tidemill_plan::{Options, Plan};
use tidemill_recipe::RecipeFile;
use tidemill_recipe::evaluate_options;

fn recipes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<_> =
        entries.filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    found.sort();
    assert!(found.len() >= 8, "{found:?}");
    found
}

/// Placing buffers is a hard problem, so that some graph may need more than the bytes that are alive
/// at once; each step that the ready recipes take is within 2 % of them.
#[test]
fn arenas_are_within_two_percent_of_the_bytes_alive() {
    for path in recipes() {
        let file = RecipeFile::read(&path, &[]).unwrap();
        if file.recipe.online.linear.is_some() {
            continue; // no network, no arena
        }
        let (model, training) = (&file.recipe.model, &file.recipe.training);
        let evaluated = evaluate_options(&file).batch_size;
        // The recipe's batch, one sample, the odd batch at the end of an epoch.
        let mut sizes = vec![file.recipe.batch.batch_size, 1, 5, 17, 32, evaluated];
        sizes.sort_unstable();
        sizes.dedup();
        for isa in Isa::available() {
            for &batch in &sizes {
                let graphs = [
                    training_graph(model, &training.loss, &training.optimizer, batch),
                    evaluation_graph(model, &training.loss, batch),
                    inference_graph(model, &training.loss, batch),
                ];
                for (purpose, graph) in ["training", "evaluation", "prediction"].iter().zip(graphs)
                {
                    let plan =
                        Plan::new(&graph.unwrap(), &mut CpuTarget::new(isa), Options::default());
                    let gap = plan.arena_gap_percent();
                    let what = format!("{}, {purpose}, batch {batch}, {isa:?}", path.display());
                    println!("{what}: {} bytes, gap {gap:.3} %", plan.arena_bytes);
                    assert!(plan.arena_bytes >= plan.arena_bound, "{what}");
                    assert!(gap <= 2.0, "{what}: {gap:.2} % above {} bytes", plan.arena_bound);
                }
            }
        }
    }
}
