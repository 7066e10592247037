//! Windows: parts of the arena that hold tensors of the state which are kept in a file.
//!
//! A kernel needs the whole of a tensor, but each only for a few calls of a step: twice for a weight, once for what
//! the optimizer keeps for it. So such a tensor has a buffer in the arena for those calls alone, and is read into it
//! before them and written back after an update. The buffers are placed with all others, so that the size of the arena
//! says what the step takes. No value changes: the kernels are those of a state in memory.

use std::collections::HashMap;

use crate::ir::{NodeId, Origin, Schedule, ValueId};
use crate::plan::Slot;

/// Windows begin at multiples of this and take multiples of it: the block of files that are read without a cache.
pub const BLOCK: usize = 4096;

/// Calls between two uses of a tensor over which it stays in its window.
const NEAR: usize = 4;

/// Which tensors of the state are in a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filed<'a> {
    /// Their names.
    pub names: &'a [String],
    /// A tensor is read as soon as the use of the one so many before it begins, and written back until the use of the
    /// one so many after it: 0 reads and writes while nothing is computed.
    pub ahead: usize,
}

impl Filed<'_> {
    /// Whether a tensor is in the file.
    pub fn has(&self, slot: &Slot) -> bool {
        self.names.contains(&slot.name)
    }
}

/// A tensor of the state in the arena for some calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Number of the plan's state tensor.
    pub state: usize,
    /// Its buffer, in the arena.
    pub buffer: usize,
    /// The call before which reading begins.
    pub read: usize,
    /// The first call that uses it.
    pub first: usize,
    /// The last call that uses it.
    pub last: usize,
    /// For one that changes: the call after which it must be in the file again.
    pub written: Option<usize>,
}

/// What happens to the windows at the start of a call, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transfer {
    /// A window begins to be written.
    Write(usize),
    /// It must have been written.
    Written(usize),
    /// A window begins to be read.
    Read(usize),
    /// It must have been read.
    Ready(usize),
}

/// What happens to windows, each with the call before which it does; the number of calls stands for their end.
pub fn transfers(windows: &[Window]) -> Vec<(usize, Transfer)> {
    let mut all = Vec::new();
    for (i, window) in windows.iter().enumerate() {
        all.extend([(window.read, Transfer::Read(i)), (window.first, Transfer::Ready(i))]);
        if let Some(end) = window.written {
            all.extend([(window.last + 1, Transfer::Write(i)), (end + 1, Transfer::Written(i))]);
        }
    }
    all.sort_unstable();
    all
}

/// Uses of a tensor that are near each other.
struct Group {
    state: usize,
    first: usize,
    last: usize,
    changes: bool,
}

/// The windows of a schedule in some order.
#[derive(Default)]
pub(crate) struct Windows {
    groups: Vec<Group>,
    /// The group of a value at a call.
    at: HashMap<(ValueId, usize), usize>,
    /// The buffer of each group.
    buffers: Vec<Option<usize>>,
}

impl Windows {
    pub fn new(schedule: &Schedule, order: &[NodeId], state: &[Slot], filed: Filed<'_>) -> Windows {
        let mut windows = Windows::default();
        if filed.names.is_empty() {
            return windows;
        }
        let is_filed: Vec<bool> = state.iter().map(|slot| filed.has(slot)).collect();
        let mut open: HashMap<usize, usize> = HashMap::new();
        for (position, &id) in order.iter().enumerate() {
            let node = &schedule.nodes[id];
            let read = node.inputs.iter().map(|&v| (v, false));
            for (value, changes) in read.chain(node.state.iter().map(|&v| (v, true))) {
                let Origin::State(state) = schedule.values[value].origin else { continue };
                if !is_filed[state] {
                    continue;
                }
                let groups = &mut windows.groups;
                let group = match open.get(&state) {
                    // What has changed is not read again before it is written.
                    Some(&group) if groups[group].changes => group,
                    Some(&group) if groups[group].last + NEAR >= position => group,
                    _ => {
                        groups.push(Group { state, first: position, last: position, changes });
                        groups.len() - 1
                    }
                };
                open.insert(state, group);
                groups[group].last = position;
                groups[group].changes |= changes;
                windows.at.insert((value, position), group);
            }
        }
        windows.buffers = vec![None; windows.groups.len()];
        windows
    }

    /// Where the number of the buffer of a value at a call belongs, if it is in a window there.
    pub fn buffer_at(&mut self, value: ValueId, position: usize) -> Option<&mut Option<usize>> {
        let group = *self.at.get(&(value, position))?;
        Some(&mut self.buffers[group])
    }

    /// Which call's reading begins when, given how far ahead, in a plan of so many calls.
    pub fn finish(self, ahead: usize, calls: usize) -> Vec<Window> {
        let mut starts: Vec<usize> = self.groups.iter().map(|group| group.first).collect();
        starts.sort_unstable();
        starts.dedup();
        let window = |(group, buffer): (&Group, Option<usize>)| {
            let Group { state, first, last, changes } = *group;
            let own = starts.partition_point(|&start| start < first);
            let read = if ahead > own { 0 } else { starts[own - ahead] };
            let next = starts.partition_point(|&start| start <= last);
            let end = match ahead {
                0 => last,
                _ => starts.get(next + ahead - 1).copied().unwrap_or(calls) - 1,
            };
            let written = changes.then_some(end);
            buffer.map(|buffer| Window { state, buffer, read, first, last, written })
        };
        self.groups.iter().zip(self.buffers.iter().copied()).filter_map(window).collect()
    }
}
