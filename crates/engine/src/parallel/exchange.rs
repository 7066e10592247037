//! How workers make the sum of all shards from the sums that each has.

use std::borrow::Cow;
use std::ops::Range;

use super::Workers;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::group::{Kind, Message, expect};
use crate::metrics::Meter;
use crate::tree::{add, spans};

impl Workers {
    /// Makes the sums of this worker's shards those of all shards. `measured` is what this worker has measured of
    /// its own shards, which worker 0 gets: what all have, in the order of the shards.
    pub(crate) fn exchange(
        &mut self,
        engine: &mut Engine,
        measured: &[Meter],
    ) -> Result<Vec<Meter>> {
        if engine.part().is_some() && !engine.needs_all_sums() {
            return self.by_owners(engine, measured);
        }
        match self.rounds() {
            Some(rounds) => self.by_halves(engine, measured, rounds),
            None => self.by_parts(engine, measured),
        }
    }

    /// The rounds of [`Workers::by_halves`], where the workers are as many as a level of the tree has nodes.
    fn rounds(&self) -> Option<u32> {
        let (workers, shards) = (self.members.len(), self.shards);
        let fits = workers.is_power_of_two()
            && shards.is_multiple_of(workers)
            && (shards / workers).is_power_of_two();
        fits.then_some(workers.trailing_zeros())
    }

    /// By halving the values and doubling the distance, then back: 2 log2(p) messages.
    fn by_halves(
        &mut self,
        engine: &mut Engine,
        measured: &[Meter],
        rounds: u32,
    ) -> Result<Vec<Meter>> {
        let (threads, len, rank) = (engine.threads(), engine.num_sums(), self.group.rank());
        let at = [engine.step(), self.generation];
        let place = self.members.iter().position(|&member| member == rank).unwrap_or(0);
        let sum = engine.sums()?.only().ok_or_else(|| {
            Error::Run(
                "the sums of this worker are not of one part of the batch; please report it".into(),
            )
        })?;
        let mut all = measured.to_vec();
        let mut range = 0..len;
        let mut given = Vec::new();
        for round in 0..rounds {
            let (bit, middle) = (1 << round, range.start + range.len() / 2);
            let partner = self.members[place ^ bit];
            let (low, high) = (range.start..middle, middle..range.end);
            let (keep, give) = if place & bit == 0 { (low, high) } else { (high, low) };
            // Figures go up a tree whose root is worker 0: who is at the right of a pair has sent all it had.
            let sends = place & bit != 0 && place & (bit - 1) == 0;
            let text = if sends { to_json(&all)? } else { String::new() };
            let message = Message::new(Kind::Sums, at[0]).number(at[1]).text(text);
            self.group.send(partner, message.values(sum[give.clone()].to_vec()))?;
            let message = expect(self.group.as_mut(), partner, Kind::Sums, at)?;
            self.check(partner, "sums", message.values.len(), keep.len())?;
            // a + b = b + a, so that both make the node's bits
            add(&mut sum[keep.clone()], &message.values, threads);
            if place & (2 * bit - 1) == 0 {
                all.extend(self.figures(partner, &message.text, measured.len() << round)?);
            }
            given.push(give);
            range = keep;
        }
        for (round, give) in given.into_iter().enumerate().rev() {
            let partner = self.members[place ^ 1 << round];
            let message = Message::new(Kind::Sum, at[0]).number(at[1]);
            self.group.send(partner, message.values(sum[range.clone()].to_vec()))?;
            let values = expect(self.group.as_mut(), partner, Kind::Sum, at)?.values;
            self.check(partner, "values of the sum", values.len(), give.len())?;
            sum[give.clone()].copy_from_slice(&values);
            range = range.start.min(give.start)..range.end.max(give.end);
        }
        self.group.flush()?;
        Ok(all)
    }

    /// What another worker has measured of so many shards.
    fn figures(&self, other: usize, text: &str, shards: usize) -> Result<Vec<Meter>> {
        let measured: Vec<Meter> = serde_json::from_str(text)
            .map_err(|e| Error::Run(format!("the figures of {}: {e}", self.group.name(other))))?;
        self.check(other, "figures", measured.len(), shards)?;
        Ok(measured)
    }

    /// Worker `j` gets all others' sums for part `j` of the values, adds them in the tree's order, and sends its part of
    /// the whole sum to all: 2 (p - 1) messages, for any number of workers.
    fn by_parts(&mut self, engine: &mut Engine, measured: &[Meter]) -> Result<Vec<Meter>> {
        let len = engine.num_sums();
        let at = [engine.step(), self.generation];
        let (rank, others) = (self.group.rank(), self.others());
        let parts: Vec<_> =
            (0..self.group.size()).map(|worker| vec![self.part_of(len, worker)]).collect();
        let all = self.reduce(engine, measured, &parts)?;
        let summed = self.part.finish(engine.threads()).to_vec();
        let sum = engine.sums()?.replace(len);
        sum[self.part_of(len, rank)].copy_from_slice(&summed);
        self.tell_all(&Message::new(Kind::Sum, at[0]).number(at[1]).values(summed))?;
        for other in others {
            let values = expect(self.group.as_mut(), other, Kind::Sum, at)?.values;
            let part = self.part_of(len, other);
            self.check(other, "values of the sum", values.len(), part.len())?;
            sum[part].copy_from_slice(&values);
        }
        self.group.flush()?;
        Ok(all)
    }

    /// Each worker gets all others' sums of the gradients that it updates with, and adds them in the tree's order: p - 1
    /// messages. The other gradients stay unknown to it.
    fn by_owners(&mut self, engine: &mut Engine, measured: &[Meter]) -> Result<Vec<Meter>> {
        let (rank, len, threads) = (self.group.rank(), engine.num_sums(), engine.threads());
        let workers = 0..self.group.size();
        let ranges: Vec<_> = workers.map(|worker| engine.sums_for(worker).to_vec()).collect();
        let all = self.reduce(engine, measured, &ranges)?;
        let summed = self.part.finish(threads);
        let sum = engine.sums()?.replace(len);
        let mut rest = summed;
        for range in &ranges[rank] {
            let (first, others) = rest.split_at(range.len());
            sum[range.clone()].copy_from_slice(first);
            rest = others;
        }
        self.group.flush()?;
        Ok(all)
    }

    /// Leaves in `part` the sum, over all workers, of the values that this one adds up: `ranges` has those of each worker.
    fn reduce(
        &mut self,
        engine: &mut Engine,
        measured: &[Meter],
        ranges: &[Vec<Range<usize>>],
    ) -> Result<Vec<Meter>> {
        let threads = engine.threads();
        let at = [engine.step(), self.generation];
        let (rank, others) = (self.group.rank(), self.others());
        let sums = engine.sums()?;
        for &other in &others {
            let of_node = sums.nodes().iter().map(|node| parts_of(&node.values, &ranges[other]));
            let values = of_node.collect::<Vec<_>>().concat();
            let text = if other == 0 { to_json(measured)? } else { String::new() };
            let message = Message::new(Kind::Sums, at[0]).number(at[1]).text(text);
            self.group.send(other, message.values(values))?;
        }
        let own: usize = ranges[rank].iter().map(Range::len).sum();
        let mut all = Vec::new();
        self.part.clear();
        for other in self.members.clone() {
            if other == rank {
                for node in sums.nodes() {
                    let values = parts_of(&node.values, &ranges[rank]);
                    self.part.push(node.level, node.index, &values, threads);
                }
                all.extend_from_slice(measured);
                continue;
            }
            let shards = self.shards_of(other).own;
            let spans = spans(shards.clone());
            let Message { values, text, .. } = expect(self.group.as_mut(), other, Kind::Sums, at)?;
            self.check(other, "sums", values.len(), own * spans.len())?;
            for ((level, index), values) in spans.into_iter().zip(values.chunks_exact(own.max(1))) {
                self.part.push(level, index, values, threads);
            }
            if rank == 0 {
                all.extend(self.figures(other, &text, shards.len())?);
            }
        }
        Ok(all)
    }
}

/// The values in these ranges, one after the other.
fn parts_of<'v>(values: &'v [f32], ranges: &[Range<usize>]) -> Cow<'v, [f32]> {
    match ranges {
        [one] => values[one.clone()].into(),
        several => several.iter().flat_map(|range| values[range.clone()].iter().copied()).collect(),
    }
}

fn to_json(meters: &[Meter]) -> Result<String> {
    serde_json::to_string(meters).map_err(|e| Error::Run(format!("figures cannot be sent: {e}")))
}
