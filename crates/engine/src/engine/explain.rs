//! The plan as text, and what it predicts.

use tidemill_cpu::rates::measure;
use tidemill_cpu::runtime::Prepared;
use tidemill_page::number::bytes;
use tidemill_plan::{Plan, Rates};

use super::compile::options;
use super::{Compiled, Engine, EngineError};

/// What the disk under a state in a file is taken to move in a millisecond: 1 GB a second.
const DISK_BYTES_PER_MS: f64 = 1e6;

impl Engine {
    /// The least time that a training step can take on this machine, in microseconds: each kernel
    /// bound by arithmetic or by memory alone, at rates measured now.
    pub fn floor_microseconds(&self) -> f64 {
        self.training_plan().predicted_microseconds(self.rates())
    }

    /// Measured once: other figures of the same text are then comparable.
    fn rates(&self) -> Rates {
        let (arena, state, _) = self.runtime.bytes();
        *self.rates.get_or_init(|| measure(self.runtime.isa(), self.threads(), arena + state))
    }

    /// What the memory of a run is made of, what of a step is computed twice to fit into it, and the predicted time of
    /// a step, as text.
    ///
    /// # Errors
    /// If the model cannot be planned again without a limit.
    pub fn explain_memory(&self) -> Result<String, EngineError> {
        let shares = self.memory_shares();
        let Compiled { purpose, extent, .. } = &self.compiled[0];
        let graph = self.spec.graph(*purpose, extent, self.shift)?;
        let prepared = Prepared::new(self.runtime.isa(), &graph, options(*purpose, None));
        let (usual, plan) = (prepared.plan(), self.training_plan());
        let arena = |before: usize| match self.budget.limit {
            Some(_) if before != plan.arena_bytes => {
                format!("{} -> {}", bytes(before as u64), bytes(shares.arena))
            }
            _ => bytes(shares.arena),
        };
        let limit =
            self.budget.limit.map_or(String::new(), |limit| format!(" of {}", bytes(limit)));
        let threads = format!("scratch of {} threads", self.threads());
        let mut text = format!("memory {}{limit}\n", bytes(shares.total()));
        for (name, size) in [
            ("program and data so far", bytes(shares.program)),
            ("data cached or read ahead", bytes(shares.beside)),
            ("weights and slots", bytes(shares.state)),
            ("their copies for checkpoints", bytes(shares.copies)),
            (
                if self.is_filed() { "arena, with windows of a file" } else { "arena" },
                arena(usual.arena_bytes),
            ),
            (threads.as_str(), bytes(shares.scratch)),
        ] {
            text += &format!("  {name:<30} {size}\n");
        }
        let time = |plan: &Plan| -> f64 {
            plan.calls.iter().map(|call| plan.estimated_microseconds(call)).sum()
        };
        let whole = time(usual);
        text += &self.filed_in_words().map_or_else(String::new, |what| format!("  {what}\n"));
        let again = plan.recomputed();
        if !again.is_empty() {
            text += "recomputed\n";
        }
        for kind in again {
            let what = format!("{} x {}", kind.count, kind.name);
            let (saved, more) = (bytes(kind.bytes as u64), kind.microseconds / whole * 100.0);
            text += &format!("  {what:<30} saves {saved}, +{more:.1} % time\n");
        }
        let least = usual.predicted_microseconds(self.rates());
        let (before, after) = (least / 1e3, least / 1e3 * time(plan) / whole);
        text += &format!("predicted step {before:.2} ms");
        if plan.calls.len() > usual.calls.len() {
            text += &format!(" -> {after:.2} ms");
        }
        if self.is_filed() {
            // Kernels run while the file is read and written; how fast the disk is, only its user can know.
            let disk = self.traffic().iter().sum::<u64>() as f64 / DISK_BYTES_PER_MS;
            text += &format!(
                " of kernels, or {disk:.2} ms of the file where its disk moves 1 GB/s, whichever is longer,"
            );
        }
        text += " if nothing else took time\n";
        Ok(text)
    }

    /// The plan as text: layers, kernels with the reasons of fusions, memory map, predicted time.
    pub fn explain(&self) -> String {
        let (plan, rates) = (self.training_plan(), self.rates());
        let mut text = self.explain_layers();
        text += &format!(
            "\none {}: {} parameters, {:.3} MFLOP, {:.1} KB moved\n\
             machine: {} threads, {}, {:.0} GFLOP/s, {:.0} GB/s measured\n\
             predicted {:.1} us a {} if nothing else took time; compiled in {:.1} ms\n\n",
            self.what_is_planned(),
            self.num_parameters(),
            plan.flops() as f64 / 1e6,
            plan.bytes() as f64 / 1e3,
            self.threads(),
            self.runtime.isa().name(),
            rates.flops / 1e9,
            rates.bytes / 1e9,
            plan.predicted_microseconds(rates),
            if self.shards() > 1 { "shard" } else { "step" },
            self.compile_seconds * 1e3
        );
        text += &plan.explain_kernels(Some(rates));
        text.push('\n');
        text += &plan.explain_memory();
        let (arena, state, scratch) = self.runtime.bytes();
        text += &format!("state {state} bytes, arena {arena} bytes, scratch {scratch} bytes\n");
        text
    }

    /// What the first plan computes.
    fn what_is_planned(&self) -> String {
        let samples = self.compiled[0].extent.batch;
        match self.shards() {
            1 => format!("step of {samples} samples"),
            n => format!("shard of {samples} samples, of the {n} of a step, without its update"),
        }
    }

    /// Layers with what their kernels of a training step compute and move.
    fn explain_layers(&self) -> String {
        let layers = self.spec.model.summary().unwrap_or_default();
        let paths: Vec<&str> = layers.iter().map(|l| l.path.as_str()).collect();
        let costs = self.training_plan().cost_by_layer(&paths);
        let width = paths.iter().map(|p| p.len()).max().unwrap_or(0).max(24);
        let mut text = format!(
            "{:<width$} {:<18} {:>10} {:>10} {:>9}\n",
            "layer", "output", "parameters", "MFLOP", "KB"
        );
        let mut row = |name: &str, output: &str, parameters: &str, (flops, bytes): (u64, u64)| {
            text += &format!(
                "{name:<width$} {output:<18} {parameters:>10} {:>10.3} {:>9.1}\n",
                flops as f64 / 1e6,
                bytes as f64 / 1e3
            );
        };
        for (layer, &cost) in layers.iter().zip(&costs) {
            let output = format!("{:?}", layer.output_shape);
            row(&layer.path, &output, &layer.num_parameters.to_string(), cost);
        }
        if let Some(&rest) = costs.last() {
            row("loss and the rest", "", "", rest);
        }
        text
    }

    /// The kernels and the memory map, without the machine's rates: measuring those takes longer than
    /// writing a report.
    pub fn plan_in_short(&self) -> String {
        let plan = self.training_plan();
        format!("{}\n{}", plan.explain_kernels(None).trim_end(), plan.explain_memory())
    }
}
