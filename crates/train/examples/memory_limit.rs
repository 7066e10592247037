//! What a smaller arena costs: `memory_limit RECIPE [BATCH] [THREADS] [STEPS]` plans the recipe's step for an arena of
//! parts of its activations (0 %: the smallest that is found) and prints how long the plans took, what the arenas are, and the times
//! of a step, taken in turns (with 0 steps only plans, of more parts). Activations are the arena without the gradients that clipping by norm keeps until the end
//! of the step. The losses of all plans must have the same bits.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::time::Instant;

use tidemill_engine::engine::Engine;
use tidemill_engine::memory::Budget;
use tidemill_engine::plan::{KernelSpec, Place, Plan};
use tidemill_recipe::{RecipeFile, engine_spec};
use tidemill_train::bench::{BenchData, batches};

const SHARES: [f64; 6] = [1.0, 0.75, 0.5, 0.35, 0.25, 0.0];

/// Those where no steps are taken.
fn sweep() -> Vec<f64> {
    (0..20).map(|i| 1.0 - f64::from(i) / 20.0).collect()
}

/// Bytes of gradients that wait for their updates, where most of them do.
fn waiting(plan: &Plan) -> usize {
    let mut waits = vec![0usize; plan.calls.len()];
    for call in &plan.calls {
        let gradient = &plan.buffers[call.args[0]];
        if matches!(call.spec, KernelSpec::Optimize { .. })
            && matches!(gradient.place, Place::Arena(_))
        {
            waits[gradient.life.0..=gradient.life.1]
                .iter_mut()
                .for_each(|w| *w += gradient.len * 4);
        }
    }
    waits.into_iter().max().unwrap_or(0)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, rest @ ..] = arguments.as_slice() else {
        return Err("memory_limit RECIPE [BATCH] [THREADS] [STEPS]".into());
    };
    let number = |i: usize| rest.get(i).map(|text| text.parse::<usize>()).transpose();
    let mut file = RecipeFile::read(&PathBuf::from(recipe), &[])?;
    let data = BenchData::open(&mut file)?;
    let mut spec = engine_spec(&file, Some(number(1)?.unwrap_or(1)));
    spec.batch_size = number(0)?.unwrap_or(spec.batch_size);
    let steps = number(2)?.unwrap_or(20);
    let usual = Engine::compile(spec.clone())?;
    let all = usual.training_plan().arena_bytes;
    let gradients = waiting(usual.training_plan());
    println!(
        "{recipe}, batch {}: arena {all}, of it waiting gradients {gradients}",
        spec.batch_size
    );
    let mut engines = Vec::new();
    let shares = if steps == 0 { sweep() } else { SHARES.to_vec() };
    for share in shares {
        let limit = gradients + ((all - gradients) as f64 * share) as usize;
        let begun = Instant::now();
        let budget = Budget { arena: Some(limit as u64), ..Budget::default() };
        let engine = Engine::compile_within(spec.clone(), 0.0, budget)?;
        engines.push((share, limit, engine, begun.elapsed().as_secs_f64(), Vec::new()));
    }
    let given = batches(&file, &data, &engines[0].2, spec.batch_size)?;
    let rate = file.recipe.training.optimizer.schedule().at(100) as f32;
    for step in 0..steps {
        let mut losses = Vec::new();
        for (_, _, engine, _, times) in &mut engines {
            let begun = Instant::now();
            let result = engine.train(&given[step % given.len()], rate)?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            losses.push(result.loss.to_bits());
        }
        if losses.iter().any(|loss| *loss != losses[0]) {
            return Err(format!("step {step}: the losses differ: {losses:x?}").into());
        }
    }
    let mut first = [f64::NAN; 3];
    for (share, limit, engine, seconds, mut times) in engines {
        let plan = engine.training_plan();
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
        let best = times.first().copied().unwrap_or(f64::NAN);
        let predicted: f64 = plan.calls.iter().map(|call| plan.estimated_microseconds(call)).sum();
        if share == 1.0 {
            first = [median, best, predicted];
        }
        println!(
            "{:>4.0} %  limit {limit:>10}  arena {:>10}  {:>4} calls, {:>3} again  compiled in {seconds:.2} s  \
             {median:>8.2} ms, {:.3} x  best {best:>8.2} ms, {:.3} x  predicted {:.3} x",
            share * 100.0,
            plan.arena_bytes,
            plan.calls.len(),
            plan.calls.iter().filter(|call| call.repeats.is_some()).count(),
            median / first[0],
            best / first[1],
            predicted / first[2],
        );
    }
    Ok(())
}
