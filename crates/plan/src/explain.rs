//! The plan as text: kernels with what was fused and why, the memory map, the predicted time.

use crate::cost;
use crate::kernel::KernelSpec;
use crate::plan::{Buffer, Call, Place, Plan};
use std::cmp::Reverse;
use std::fmt::Write;

/// What the machine was measured to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Floating point operations a second, all threads.
    pub flops: f64,
    /// Bytes a second to and from memory in use, all threads.
    pub bytes: f64,
}

/// Calls of one kind that run a second time.
#[derive(Clone, Debug, PartialEq)]
pub struct Recomputed {
    /// What they compute.
    pub name: String,
    /// How many they are.
    pub count: usize,
    /// Bytes of the values that are therefore not kept in between.
    pub bytes: usize,
    /// What they take, by common rates.
    pub microseconds: f64,
}

impl Plan {
    /// The calls that run a second time, by what they compute; those that save most first.
    pub fn recomputed(&self) -> Vec<Recomputed> {
        let mut kinds: Vec<Recomputed> = Vec::new();
        let mut dropped = vec![false; self.calls.len()];
        for (at, call) in self.calls.iter().enumerate() {
            let Some(first) = call.repeats else { continue };
            let name = match (&call.spec, call.notes.first()) {
                (KernelSpec::Eltwise(_), Some(program)) => program.as_str(),
                (spec, _) => spec.name(),
            };
            let outputs = self.calls[first].args.iter().skip(call.num_inputs);
            // A workspace is no value.
            let outputs = outputs.map(|&b| &self.buffers[b]);
            let gone = outputs.filter(|b| first < b.life.1 && b.life.1 < at);
            let bytes: usize = gone.map(|b| b.len * 4).sum();
            let known = kinds.iter().position(|kind| kind.name == name).unwrap_or_else(|| {
                let (count, bytes, microseconds) = (0, 0, 0.0);
                kinds.push(Recomputed { name: name.to_owned(), count, bytes, microseconds });
                kinds.len() - 1
            });
            kinds[known].count += 1;
            kinds[known].microseconds += self.estimated_microseconds(call);
            if !std::mem::replace(&mut dropped[first], true) {
                kinds[known].bytes += bytes;
            }
        }
        kinds.sort_by_key(|kind| Reverse(kind.bytes));
        kinds
    }

    /// Floating-point operations of one run by the definitions of its kernels.
    pub fn flops(&self) -> u64 {
        self.calls.iter().map(|c| c.spec.flops()).sum()
    }

    /// Bytes that one run must move at least.
    pub fn bytes(&self) -> u64 {
        self.calls.iter().map(|c| cost::bytes(self, c)).sum()
    }

    /// Floating point operations and bytes of the kernels that work for each layer, forward, backward
    /// and update together; the last entry is of those that work for none, such as the loss. `layers`
    /// are paths such as `layers.1.dense`; a kernel fused over two layers counts for one of them.
    pub fn cost_by_layer(&self, layers: &[&str]) -> Vec<(u64, u64)> {
        let mut costs = vec![(0, 0); layers.len() + 1];
        for call in &self.calls {
            let label = call.label.strip_prefix("grad.").unwrap_or(&call.label);
            let inside = |path: &str| label.strip_prefix(path).is_some_and(|r| r.starts_with('.'));
            // A layer in a block is named more closely than the block.
            let found = (0..layers.len()).filter(|&i| inside(layers[i]));
            let cost = &mut costs[found.max_by_key(|&i| layers[i].len()).unwrap_or(layers.len())];
            cost.0 += call.spec.flops();
            cost.1 += cost::bytes(self, call);
        }
        costs
    }

    /// The time of a run if each kernel were bound by arithmetic or by memory alone, in
    /// microseconds.
    pub fn predicted_microseconds(&self, rates: Rates) -> f64 {
        let call = |c: &Call| {
            let arithmetic = c.flops as f64 / rates.flops;
            arithmetic.max(cost::bytes(self, c) as f64 / rates.bytes) * 1e6
        };
        self.calls.iter().map(call).sum()
    }

    /// What a call takes by common rates, in microseconds ([`cost::microseconds`]).
    pub fn estimated_microseconds(&self, call: &Call) -> f64 {
        cost::microseconds(&call.spec, call.flops, cost::bytes(self, call))
    }

    /// The call at which most bytes are alive.
    pub fn peak(&self) -> usize {
        let mut change = vec![0isize; self.calls.len() + 1];
        for (buffer, size) in self.in_arena() {
            change[buffer.life.0] += size as isize;
            change[(buffer.life.1 + 1).min(self.calls.len())] -= size as isize;
        }
        let mut alive = 0;
        let alive = change.iter().enumerate().map(|(call, bytes)| {
            alive += bytes;
            (alive, Reverse(call))
        });
        alive.max().map_or(0, |(_, Reverse(call))| call)
    }

    /// Names and bytes of the largest buffers of the arena at the call where most is alive.
    pub fn largest_at_peak(&self, count: usize) -> Vec<(&str, usize)> {
        let peak = self.peak();
        let there = self.in_arena().filter(|(b, _)| b.life.0 <= peak && peak <= b.life.1);
        let mut there: Vec<(&str, usize)> =
            there.map(|(b, size)| (b.name.as_str(), size)).collect();
        there.sort_by_key(|&(_, size)| Reverse(size));
        there.truncate(count);
        there
    }

    fn in_arena(&self) -> impl Iterator<Item = (&Buffer, usize)> {
        let stored = self.buffers.iter().filter(|b| matches!(b.place, Place::Arena(_)));
        stored.map(|b| (b, b.len * 4))
    }

    /// How far the arena is above the smallest possible, in percent.
    pub fn arena_gap_percent(&self) -> f64 {
        match self.arena_bound {
            0 => 0.0,
            bound => (self.arena_bytes as f64 / bound as f64 - 1.0) * 100.0,
        }
    }

    /// Kernels, one a line, with the reasons of fusions and refusals.
    pub fn explain_kernels(&self, rates: Option<Rates>) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{:>3}  {:<22} {:>10} {:>9} {:>9}  for",
            "#", "kernel", "MFLOP", "KB", "us"
        );
        for (i, call) in self.calls.iter().enumerate() {
            let (flops, bytes) = (call.flops as f64, cost::bytes(self, call) as f64);
            let time = rates.map_or("-".into(), |r| {
                format!("{:.1}", (flops / r.flops).max(bytes / r.bytes) * 1e6)
            });
            let _ = writeln!(
                text,
                "{i:>3}  {:<22} {:>10.3} {:>9.1} {time:>9}  {}",
                call.spec.name(),
                flops / 1e6,
                bytes / 1e3,
                call.label
            );
            for note in &call.notes {
                let _ = writeln!(text, "{:>5}- {note}", "");
            }
        }
        text
    }

    /// The arena: each buffer's offset, size and life, by offset.
    pub fn explain_memory(&self) -> String {
        let mut text = format!(
            "arena {} bytes; lower bound {} bytes; gap {:.2} %\n",
            self.arena_bytes,
            self.arena_bound,
            self.arena_gap_percent()
        );
        let mut rows: Vec<_> = self
            .buffers
            .iter()
            .filter_map(|b| match b.place {
                Place::Arena(offset) => Some((offset, b)),
                _ => None,
            })
            .collect();
        rows.sort_by_key(|(offset, b)| (*offset, b.life));
        let _ = writeln!(text, "{:>12} {:>12}  {:<9}  tensor", "offset", "bytes", "kernels");
        for (offset, buffer) in rows {
            let life = format!("{}-{}", buffer.life.0, buffer.life.1);
            let _ =
                writeln!(text, "{offset:>12} {:>12}  {life:<9}  {}", buffer.len * 4, buffer.name);
        }
        text
    }
}
