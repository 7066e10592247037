//! Texts that are written token by token: keys and values of earlier positions are kept between the steps.
//!
//! Nothing that depends on the weights outlives a [`Decoding`], so that training between two texts needs no care.
//!
//! Layout of what is kept: a sample has `width` rows side by side. A cache is `[position, row, values]`, so that more room for
//! positions moves nothing; `table[row, position]` says which row's keys and values stand at an earlier position of a row, so
//! that rows continue other rows without copies.

use smallvec::SmallVec;
use tidemill_cpu::runtime::Input;
use tidemill_fields::{Batch, Values};
use tidemill_nn::{Extent, step_graph, written_field};

use super::{Compiled, Engine, EngineError, Purpose, error};
use crate::bind::{Binding, Source, StepInput};

/// Room for earlier positions at first; it grows by this factor, so that few plans are compiled.
const CAPACITY: usize = 32;
const GROWTH: usize = 4;

/// Texts under way: several samples, of each a number of rows that are its texts so far. May be used again for other texts,
/// which saves taking memory.
#[derive(Debug, Default)]
pub struct Decoding {
    /// Rows of a sample.
    width: usize,
    /// Samples that there is room for.
    samples: usize,
    /// For each sample that is still written: its place among those.
    slots: Vec<usize>,
    /// The model's input that is written.
    written: usize,
    /// Room for positions of the model's inputs; `width` for what is written.
    times: Vec<usize>,
    /// Lengths of the model's inputs, of each sample; for what is written the number of rows in use.
    lengths: Vec<Vec<i32>>,
    /// Tokens of the model's inputs, `[samples, time]` each, where they are tokens and not what is written.
    ids: Vec<Vec<i32>>,
    /// Keys and values of other inputs, of each attention layer that reads one: `[samples, time, values]`.
    memories: Vec<Vec<f32>>,
    /// Keys and values of earlier positions, of each attention layer.
    caches: Vec<Vec<f32>>,
    /// Room for positions.
    capacity: usize,
    table: Vec<i32>,
    /// The table of the step before.
    before: Vec<i32>,
    /// Positions of each row that are kept.
    kept: Vec<i32>,
    /// Positions of each row that its new token reads.
    cached: Vec<i32>,
    /// The new token of each row.
    tokens: Vec<i32>,
    /// Zeros for inputs that a step does not read.
    unread: (Vec<f32>, Vec<i32>),
}

/// How the rows of a sample go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Continued {
    /// The sample: its place among those of the call before.
    pub sample: usize,
    /// For each new row: which row of the sample it continues, and by which token. At least one, at most the width.
    pub rows: Vec<(usize, i32)>,
}

/// The logarithms of the probabilities of what comes next.
#[derive(Clone, Copy, Debug)]
pub struct Next<'e, 'd> {
    log: &'e [f32],
    slots: &'d [usize],
    width: usize,
    tokens: usize,
}

impl<'e> Next<'e, '_> {
    /// Of a row of a sample, `[tokens]`; the sample is its place in the call that gave this.
    pub fn row(&self, sample: usize, row: usize) -> &'e [f32] {
        let at = (self.slots[sample] * self.width + row) * self.tokens;
        &self.log[at..at + self.tokens]
    }
}

impl Engine {
    /// Whether the model writes texts token by token with what it keeps of earlier ones: its layers compute a position
    /// from itself and, by causal attention, from earlier ones. Others are asked by [`Engine::next`].
    pub fn decodes(&mut self) -> bool {
        self.written().is_some()
    }

    fn written(&mut self) -> Option<usize> {
        if self.written.is_none() {
            let model = &self.spec.model;
            let field = || {
                let name = written_field(model).ok()?;
                let inputs = self.reads.signature.inputs();
                let times =
                    inputs.iter().map(|field| usize::from(field.time().is_some())).collect();
                step_graph(model, &Extent { batch: 1, times }, 1).ok()?;
                inputs.iter().position(|field| field.name == name)
            };
            self.written = Some(field());
        }
        self.written.flatten()
    }

    /// Begins texts: computes what is there of the first `samples` samples of a batch, and what comes next, row 0 of each. A
    /// batch may have more rows, so that fewer plans are compiled. At later steps a sample has at most `width` rows.
    ///
    /// # Errors
    /// For a batch that does not fit, an empty text, and a model that cannot be asked position by position.
    pub fn start_texts<'e, 'd>(
        &'e mut self,
        decoding: &'d mut Decoding,
        batch: &Batch,
        samples: usize,
        width: usize,
    ) -> Result<Next<'e, 'd>, EngineError> {
        let Some(written) = self.written() else {
            return Err(EngineError("the model does not write token by token".into()));
        };
        if samples == 0 || samples > batch.len || width == 0 {
            let what = format!("{samples} samples of {} with {width} rows each", batch.len);
            return Err(EngineError(format!("no texts can be begun: {what}")));
        }
        let hyper = [0.0; tidemill_graph::hyper::LEN];
        let index = self.run(Purpose::Start, batch, hyper, tidemill_cpu::threads::NOTHING)?;
        let binding = Binding::keep(&mut self.binding, &self.reads, batch);
        let mut times = binding.extent(&self.reads, batch).times;
        let time = std::mem::replace(&mut times[written], width);
        let d = &mut *decoding;
        (d.width, d.written, d.times) = (width, written, times);
        (d.samples, d.capacity) = (samples.next_power_of_two(), CAPACITY);
        d.slots = (0..samples).collect();
        d.lengths.clear();
        d.ids.clear();
        for field in 0..self.reads.signature.inputs().len() {
            let lengths = binding.column(field, batch).map_or(&[][..], |c| &c.lengths);
            let mut lengths = lengths[..samples.min(lengths.len())].to_vec();
            lengths.resize(d.samples, 0);
            d.lengths.push(lengths);
            let column = binding.column(field, batch).filter(|_| field != written);
            let mut ids = match column.map(|c| &c.values) {
                Some(Values::I32(all)) => all[..samples * (all.len() / batch.len)].to_vec(),
                _ => Vec::new(),
            };
            ids.resize(ids.len() / samples * d.samples, 0);
            d.ids.push(ids);
        }
        if d.lengths[written][..samples].contains(&0) {
            return Err(EngineError("a text that is continued needs at least one token".into()));
        }
        while d.capacity <= time {
            d.capacity *= GROWTH;
        }
        let widths = self.step_widths(d)?;
        let plan = self.compiled[index].plan;
        let output = |name: String| self.runtime.output(plan, &name).unwrap_or(&[]);
        d.keep_start([batch.len, time], &widths, output);
        let log = self.runtime.output(plan, "log_probabilities").unwrap_or(&[]);
        Ok(Next { log, slots: &d.slots, width: 1, tokens: log.len() / batch.len })
    }

    /// Values of a row of each cache, and the number of memories: of the plan of a step.
    fn step_widths(&mut self, d: &mut Decoding) -> Result<Vec<usize>, EngineError> {
        let index = self.plan_for(Purpose::Step(d.capacity), &d.extent())?;
        let Compiled { plan, sources, .. } = &self.compiled[index];
        let inputs = &self.runtime.plan(*plan).inputs;
        let (mut widths, mut memories, mut unread) = (Vec::new(), 0, 0);
        for (source, slot) in sources.iter().zip(inputs) {
            match source {
                Source::Step(StepInput::Cached(_)) => {
                    widths.push(slot.shape.last().copied().unwrap_or(0));
                }
                Source::Step(StepInput::Memory(_)) => memories += 1,
                _ => unread = unread.max(slot.len()),
            }
        }
        d.memories.resize_with(memories, Vec::new);
        d.unread.0.resize(unread, 0.0);
        d.unread.1.resize(unread, 0);
        Ok(widths)
    }

    /// Continues texts by a token each; says what comes next. Samples that are not named are over. Those named are in the
    /// order of the call before.
    ///
    /// # Errors
    /// For rows that are not there, ids outside of the vocabulary, and texts longer than the model's.
    pub fn continue_texts<'e, 'd>(
        &'e mut self,
        decoding: &'d mut Decoding,
        continued: &[Continued],
    ) -> Result<Next<'e, 'd>, EngineError> {
        let field = &self.reads.signature.inputs()[decoding.written];
        let longest = field.time().unwrap_or(usize::MAX);
        decoding.check(continued, self.reads.vocabulary(decoding.written), longest)?;
        decoding.advance(continued);
        let index = self.plan_for(Purpose::Step(decoding.capacity), &decoding.extent())?;
        let Compiled { plan, sources, .. } = &self.compiled[index];
        let inputs: SmallVec<[Input<'_>; 32]> =
            sources.iter().map(|source| decoding.input(*source)).collect();
        self.runtime.run(*plan, &inputs).map_err(error)?;
        drop(inputs);
        self.last = Some(index);
        let output = |name: String| self.runtime.output(*plan, &name).unwrap_or(&[]);
        decoding.keep_step(output);
        let log = self.runtime.output(*plan, "log_probabilities").unwrap_or(&[]);
        let (slots, width) = (&decoding.slots, decoding.width);
        Ok(Next { log, slots, width, tokens: log.len() / decoding.rows().max(1) })
    }
}

impl Decoding {
    fn rows(&self) -> usize {
        self.samples * self.width
    }

    fn extent(&self) -> Extent {
        Extent { batch: self.samples, times: self.times.clone() }
    }

    /// What a plan of a step reads.
    fn input(&self, source: Source) -> Input<'_> {
        match source {
            Source::Field(i) if i == self.written => Input::I32(&self.tokens),
            Source::Lengths(i) => Input::I32(&self.lengths[i]),
            Source::Step(StepInput::Cached(i)) => Input::F32(&self.caches[i]),
            Source::Step(StepInput::Memory(i)) => Input::F32(&self.memories[i]),
            Source::Step(StepInput::Table) => Input::I32(&self.table),
            // A new token stands after those that it reads.
            Source::Step(StepInput::Lengths | StepInput::Positions) => Input::I32(&self.cached),
            // Read where words are copied; elsewhere their number does not matter.
            Source::Field(i) if !self.ids[i].is_empty() => Input::I32(&self.ids[i]),
            Source::Field(_) => Input::I32(&self.unread.1),
            _ => Input::F32(&self.unread.0),
        }
    }

    /// Takes over what the start has computed of a batch of so many rows with so much room for positions.
    fn keep_start<'o>(
        &mut self,
        [batch, time]: [usize; 2],
        widths: &[usize],
        output: impl Fn(String) -> &'o [f32],
    ) {
        let (samples, rows, capacity) = (self.slots.len(), self.rows(), self.capacity);
        for (i, memory) in self.memories.iter_mut().enumerate() {
            let values = output(format!("memory.{i}"));
            let sample = values.len() / batch;
            memory.clear();
            memory.extend_from_slice(&values[..samples * sample]);
            memory.resize(self.samples * sample, 0.0);
        }
        for table in [&mut self.table, &mut self.before] {
            table.clear();
            table.resize(rows * capacity, 0);
        }
        for row in [&mut self.kept, &mut self.cached, &mut self.tokens] {
            row.clear();
            row.resize(rows, 0);
        }
        for sample in 0..samples {
            let row = sample * self.width;
            self.kept[row] = self.lengths[self.written][sample];
            self.table[row * capacity..][..self.kept[row] as usize].fill(row as i32);
        }
        self.caches.resize_with(widths.len(), Vec::new);
        for (i, (cache, &width)) in self.caches.iter_mut().zip(widths).enumerate() {
            cache.resize(capacity * rows * width, 0.0);
            let values = output(format!("keys.{i}"));
            let all = values.len() / (batch * time);
            for sample in 0..samples {
                let row = sample * self.width;
                for position in 0..self.kept[row] as usize {
                    let from = (sample * time + position + 1) * all - width;
                    let to = (position * rows + row) * width;
                    cache[to..to + width].copy_from_slice(&values[from..from + width]);
                }
            }
        }
    }

    fn check(
        &self,
        continued: &[Continued],
        vocabulary: usize,
        longest: usize,
    ) -> Result<(), EngineError> {
        let wrong = |what: String| Err(EngineError(format!("texts cannot go on so: {what}")));
        let ordered = continued.windows(2).all(|pair| pair[0].sample < pair[1].sample);
        let last = continued.last().map_or(usize::MAX, |last| last.sample);
        if !ordered || last >= self.slots.len() {
            return wrong(format!("of {} samples, in their order", self.slots.len()));
        }
        for Continued { sample, rows } in continued {
            let first = self.slots[*sample] * self.width;
            if rows.is_empty() || rows.len() > self.width {
                return wrong(format!("{} rows of a sample, of {}", rows.len(), self.width));
            }
            for &(from, token) in rows {
                if from >= self.width || self.kept[first + from] == 0 {
                    return wrong(format!("sample {sample} has no row {from}"));
                }
                if usize::try_from(token).map_or(true, |token| token >= vocabulary) {
                    return wrong(format!("{token} is no id of a vocabulary of {vocabulary}"));
                }
                if self.kept[first + from] as usize >= longest {
                    return wrong(format!("the model writes at most {longest} tokens"));
                }
            }
        }
        Ok(())
    }

    /// Sets the tokens of the next step, and what they read.
    fn advance(&mut self, continued: &[Continued]) {
        self.slots = continued.iter().map(|c| self.slots[c.sample]).collect();
        if self.slots.len().next_power_of_two() < self.samples {
            self.compact();
        }
        let old = self.capacity;
        let longest = self.kept.iter().max().map_or(0, |&longest| longest as usize);
        while self.capacity <= longest {
            self.capacity *= GROWTH;
        }
        if self.capacity > old {
            for cache in &mut self.caches {
                cache.resize(cache.len() / old * self.capacity, 0.0);
            }
        }
        let (rows, capacity, width) = (self.rows(), self.capacity, self.width);
        std::mem::swap(&mut self.table, &mut self.before);
        self.table.resize(rows * capacity, 0);
        for row in [&mut self.tokens, &mut self.cached] {
            row.clear();
            row.resize(rows, 0);
        }
        self.lengths[self.written].fill(0);
        for (continued, &slot) in continued.iter().zip(&self.slots) {
            self.lengths[self.written][slot] = continued.rows.len() as i32;
            for (place, &(from, token)) in continued.rows.iter().enumerate() {
                let (row, from) = (slot * width + place, slot * width + from);
                let read = self.kept[from] as usize;
                self.table[row * capacity..][..read]
                    .copy_from_slice(&self.before[from * old..][..read]);
                (self.tokens[row], self.cached[row]) = (token, read as i32);
            }
        }
    }

    /// Moves the samples that are still written together, so that a smaller plan has them all.
    fn compact(&mut self) {
        let (width, capacity, rows) = (self.width, self.capacity, self.rows());
        let longest = self.kept.iter().max().map_or(0, |&longest| longest as usize);
        let samples = self.slots.len().next_power_of_two();
        for lengths in self.lengths.iter_mut().filter(|lengths| !lengths.is_empty()) {
            (0..self.slots.len()).for_each(|to| lengths[to] = lengths[self.slots[to]]);
            lengths.truncate(samples);
            lengths[self.slots.len()..].fill(0);
        }
        for ids in &mut self.ids {
            move_together(ids, self.samples, samples, &self.slots);
        }
        for memory in &mut self.memories {
            move_together(memory, self.samples, samples, &self.slots);
        }
        // Each part moves towards the front, the first one first: none is written over before it has moved.
        for cache in &mut self.caches {
            let position = cache.len() / capacity;
            let sample = position / rows * width;
            for j in 0..longest {
                for (to, &from) in self.slots.iter().enumerate() {
                    let from = j * position + from * sample;
                    cache.copy_within(from..from + sample, (j * samples + to) * sample);
                }
            }
            cache.truncate(capacity * samples * sample);
        }
        for (to, &from) in self.slots.iter().enumerate() {
            for place in 0..width {
                let (to, from) = (to * width + place, from * width + place);
                self.kept[to] = self.kept[from];
                for j in 0..self.kept[to] as usize {
                    self.table[to * capacity + j] =
                        self.table[from * capacity + j] + to as i32 - from as i32;
                }
            }
        }
        self.kept.truncate(samples * width);
        self.samples = samples;
        self.slots = (0..self.slots.len()).collect();
    }

    /// Takes over the keys and values of the new positions.
    fn keep_step<'o>(&mut self, output: impl Fn(String) -> &'o [f32]) {
        let (rows, capacity) = (self.rows(), self.capacity);
        self.kept.fill(0);
        let used = |slot: &usize| {
            let first = slot * self.width;
            first..first + self.lengths[self.written][*slot] as usize
        };
        let used: SmallVec<[std::ops::Range<usize>; 32]> = self.slots.iter().map(used).collect();
        for row in used.iter().cloned().flatten() {
            let position = self.cached[row] as usize;
            self.table[row * capacity + position] = row as i32;
            self.kept[row] = position as i32 + 1;
        }
        for (i, cache) in self.caches.iter_mut().enumerate() {
            let width = cache.len() / (capacity * rows);
            let values = output(format!("keys.{i}"));
            let all = values.len() / rows;
            for row in used.iter().cloned().flatten() {
                let (from, to) = ((row + 1) * all - width, self.cached[row] as usize * rows + row);
                cache[to * width..][..width].copy_from_slice(&values[from..from + width]);
            }
        }
    }
}

/// Of `before` samples keeps those of the slots, in their order, and room for `after` in all.
fn move_together<T: Copy>(values: &mut Vec<T>, before: usize, after: usize, slots: &[usize]) {
    let sample = values.len() / before;
    for (to, &from) in slots.iter().enumerate() {
        values.copy_within(from * sample..(from + 1) * sample, to * sample);
    }
    values.truncate(after * sample);
}
