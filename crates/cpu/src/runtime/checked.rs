//! Runs that look, after each kernel, at what it touched: for tests, since they take several times as long.
//!
//! `TIDEMILL_ARENA=checked` makes every plan one with gaps ([`Options::gap`]), and runs of such plans are checked:
//! - Gaps, and buffers before their first and after their last use, hold NaN with a mark. State tensors and inputs are
//!   copies between gaps of their own. So a kernel that reads beyond a buffer, or what is no longer there, computes NaN.
//! - After each kernel all memory but what its call writes must be as it was, and of the scratch what it did not ask for.
//! - Chunks run last to first, on the calling thread: they may run in any order.
//!
//! The bits must be those of an unchecked run, which tests compare.
//!
//! [`Options::gap`]: tidemill_plan::Options::gap

use std::ops::Range;
use std::sync::OnceLock;

use tidemill_plan::{Input, Place, Plan};

use crate::buffer::AlignedBuffer;
use crate::step::Step;

/// Bytes between buffers: more than any kernel loads at once.
pub(crate) const GAP: usize = 1024;
const WORDS: usize = GAP / 4;

/// A quiet NaN that no computation gives; as an integer it is beyond any index.
const MARK: u32 = 0x7fc5_a5a5;

/// Whether the environment asks for checked runs.
pub(crate) fn asked() -> bool {
    static ASKED: OnceLock<bool> = OnceLock::new();
    *ASKED.get_or_init(|| std::env::var("TIDEMILL_ARENA").is_ok_and(|value| value == "checked"))
}

/// Memory, and what must be in it.
struct Region {
    name: String,
    start: *mut u32,
    expected: Vec<u32>,
    /// The memory of copies.
    owned: Option<AlignedBuffer>,
}

impl Region {
    /// A copy of `values` between gaps, which begins at an odd word where `odd`.
    fn copy_of(name: &str, values: &[u32], odd: bool) -> Region {
        let before = WORDS + usize::from(odd);
        let memory = AlignedBuffer::new(before + values.len() + WORDS);
        let mut expected = vec![MARK; memory.len()];
        expected[before..before + values.len()].copy_from_slice(values);
        let start = memory.as_mut_ptr().cast::<u32>();
        // SAFETY: both have the same length.
        unsafe { start.copy_from_nonoverlapping(expected.as_ptr(), expected.len()) };
        Region { name: name.into(), start, expected, owned: Some(memory) }
    }

    /// What is in it now.
    fn words(&self) -> &[u32] {
        // SAFETY: the memory is as long as what is expected of it, and no kernel runs while this is borrowed.
        unsafe { std::slice::from_raw_parts(self.start, self.expected.len()) }
    }

    /// Writes the mark.
    fn mark(&mut self, range: Range<usize>) {
        for word in range {
            self.expected[word] = MARK;
            // SAFETY: inside the region, as the index above is.
            unsafe { self.start.add(word).write(MARK) };
        }
    }

    /// The first word that is not as expected outside of `written`, which becomes what is expected.
    fn find_change(&mut self, written: &mut [Range<usize>]) -> Option<usize> {
        written.sort_by_key(|range| range.start);
        let mut from = 0;
        let end = self.expected.len();
        for range in written.iter().cloned().chain(std::iter::once(end..end)) {
            if from < range.start {
                let (now, before) =
                    (&self.words()[from..range.start], &self.expected[from..range.start]);
                if now != before {
                    return now.iter().zip(before).position(|(a, b)| a != b).map(|at| from + at);
                }
            }
            from = from.max(range.end);
        }
        for range in written {
            // SAFETY: another memory than what is expected of it.
            let now =
                unsafe { std::slice::from_raw_parts(self.start.add(range.start), range.len()) };
            self.expected[range.clone()].copy_from_slice(now);
        }
        None
    }
}

/// Runs tasks of a step whose plan has gaps, over `state`, the values of the plan's state tensors, which are given back as
/// they are afterwards. Inputs fit the plan. The step's arguments point to memory of this run when it returns.
///
/// # Panics
/// When a kernel wrote to what is not its own: names the call.
pub(super) fn run(
    step: &mut Step,
    arena: &AlignedBuffer,
    state: Vec<Vec<f32>>,
    inputs: &[Input<'_>],
    tasks: Range<usize>,
) -> Vec<Vec<f32>> {
    let program = step.program.clone();
    let plan = &program.plan;
    let mut regions = regions(plan, arena, &state, inputs);
    if tasks.start == 0 {
        let all = 0..regions[0].expected.len();
        regions[0].mark(all);
    }
    let starts: Vec<*mut u32> = regions.iter().map(|region| region.start).collect();
    let place = |buffer: usize| match place(plan, buffer) {
        // SAFETY: regions are as long as what is placed in them.
        Some((region, word)) => unsafe { starts[region].add(word).cast::<f32>() },
        None => program.constant(buffer),
    };
    step.bind(place);
    let first_input = 1 + plan.state.len();
    // SAFETY: as above.
    step.bind_inputs(|input| unsafe { starts[first_input + input].add(WORDS + 1).cast() });
    let mut scratch = Region::copy_of("scratch", &vec![MARK; program.scratch_len], false);
    let instructions = program.instructions(tasks);
    for (at, &(instr, call)) in instructions.iter().enumerate() {
        let kernel = &program.instr(instr).kernel;
        let taken = WORDS..WORDS + kernel.scratch_bytes().div_ceil(4);
        for chunk in (0..program.instr(instr).chunks).rev() {
            scratch.mark(taken.clone());
            // SAFETY: as in any run, each chunk once; the scratch begins at a cache line behind its gap.
            unsafe { kernel.run(step.args(instr), chunk, scratch.start.add(WORDS).cast()) };
            let found = scratch.find_change(&mut [taken.clone()]);
            assert!(found.is_none(), "{}", complaint(plan, call, &scratch, found.unwrap_or(0)));
        }
        for (number, region) in regions.iter_mut().enumerate() {
            let found = region.find_change(&mut written(plan, call, number));
            assert!(found.is_none(), "{}", complaint(plan, call, region, found.unwrap_or(0)));
        }
        if instructions.get(at + 1).is_none_or(|&(_, next)| next != call) {
            for buffer in plan.dying(call) {
                if let Some((0, word)) = self::place(plan, buffer) {
                    regions[0].mark(word..word + plan.buffers[buffer].len);
                }
            }
        }
    }
    let values = |region: &Region| {
        let len = region.expected.len() - WORDS;
        region.words()[WORDS..len].iter().map(|&word| f32::from_bits(word)).collect()
    };
    regions[1..first_input].iter().map(values).collect()
}

/// The arena, the tensors of the plan's state, its inputs.
fn regions(
    plan: &Plan,
    arena: &AlignedBuffer,
    state: &[Vec<f32>],
    inputs: &[Input<'_>],
) -> Vec<Region> {
    let start = arena.as_mut_ptr().cast::<u32>();
    let len = plan.arena_reach.div_ceil(4);
    // SAFETY: the arena has room for the plan, and is not written to meanwhile.
    let expected = unsafe { std::slice::from_raw_parts(start, len) }.to_vec();
    let mut regions = vec![Region { name: "the arena".into(), start, expected, owned: None }];
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
    for (slot, values) in plan.state.iter().zip(state) {
        regions.push(Region::copy_of(&slot.name, &bits(&values[..slot.len()]), false));
    }
    for (slot, input) in plan.inputs.iter().zip(inputs) {
        let values = match input {
            Input::F32(values) => bits(&values[..slot.len()]),
            Input::I32(values) => values[..slot.len()].iter().map(|&n| n.cast_unsigned()).collect(),
        };
        regions.push(Region::copy_of(&slot.name, &values, true));
    }
    regions
}

/// The region of a buffer and its first word there; none for constants.
fn place(plan: &Plan, buffer: usize) -> Option<(usize, usize)> {
    match plan.buffers[buffer].place {
        Place::Arena(offset) => Some((0, offset / 4)),
        Place::State(i) => Some((1 + i, WORDS)),
        Place::Input(i) => Some((1 + plan.state.len() + i, WORDS + 1)),
        Place::Constant(_) => None,
    }
}

/// What a call may write of a region.
fn written(plan: &Plan, call: usize, region: usize) -> Vec<Range<usize>> {
    let call = &plan.calls[call];
    let buffers = call.args[call.num_inputs..].iter();
    let range = |&buffer: &usize| {
        let (of, word) = place(plan, buffer)?;
        (of == region).then(|| word..word + plan.buffers[buffer].len)
    };
    buffers.filter_map(range).collect()
}

/// What a call did wrong.
fn complaint(plan: &Plan, call: usize, region: &Region, word: usize) -> String {
    let near = plan.calls[call].args.iter().map(|&b| {
        let buffer = &plan.buffers[b];
        format!("{} ({} values, {:?})", buffer.name, buffer.len, buffer.place)
    });
    let near: Vec<String> = near.collect();
    format!(
        "call {call}, {} of {:?}, wrote to word {word} of {}, where it has nothing to write; its buffers: {}; copies begin at word {WORDS}{}",
        plan.calls[call].spec.name(),
        plan.calls[call].label,
        region.name,
        near.join(", "),
        if region.owned.is_some() { "" } else { ", the first buffer of the arena too" },
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
