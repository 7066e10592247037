//! The plan as text, and what it predicts.

use tidemill_cpu::rates::measure;
use tidemill_plan::Rates;

use super::Engine;

impl Engine {
    /// The least time that a training step can take on this machine, in microseconds: each kernel
    /// bound by arithmetic or by memory alone, at rates measured now.
    pub fn floor_microseconds(&self) -> f64 {
        self.training_plan().predicted_microseconds(self.rates())
    }

    fn rates(&self) -> Rates {
        let (arena, state, _) = self.runtime.bytes();
        measure(self.runtime.isa(), self.threads(), arena + state)
    }

    /// The plan as text: layers, kernels with the reasons of fusions, memory map, predicted time.
    pub fn explain(&self) -> String {
        let (plan, rates) = (self.training_plan(), self.rates());
        let mut text = self.explain_layers();
        text += &format!(
            "\none step of {} samples: {} parameters, {:.3} MFLOP, {:.1} KB moved\n\
             machine: {} threads, {}, {:.0} GFLOP/s, {:.0} GB/s measured\n\
             predicted {:.1} us a step if nothing else took time; compiled in {:.1} ms\n\n",
            self.spec.batch_size,
            self.num_parameters(),
            plan.flops() as f64 / 1e6,
            plan.bytes() as f64 / 1e3,
            self.threads(),
            self.runtime.isa().name(),
            rates.flops / 1e9,
            rates.bytes / 1e9,
            plan.predicted_microseconds(rates),
            self.compile_seconds * 1e3
        );
        text += &plan.explain_kernels(Some(rates));
        text.push('\n');
        text += &plan.explain_memory();
        let (arena, state, scratch) = self.runtime.bytes();
        text += &format!("state {state} bytes, arena {arena} bytes, scratch {scratch} bytes\n");
        text
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
