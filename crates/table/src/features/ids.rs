//! Ids with rows of an embedding table: admission after some sightings, expiry, bounded memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::MAX_KEY_BYTES;
use super::evidence::{Keys, Seen, in_order};

/// Which row each id has. Row 0 is for ids without one.
///
/// Besides the ids with rows, as many candidates are remembered; when there are more, the one that
/// was seen longest ago is forgotten.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub(super) struct Ids {
    rules: Rules,
    now: u64,
    entries: HashMap<Arc<str>, Entry>,
    /// Ids with rows by when they were seen last. An event shows one id, so that moments differ.
    admitted: BTreeMap<u64, Arc<str>>,
    /// Ids without rows, likewise.
    candidates: BTreeMap<u64, Arc<str>>,
    /// Rows that have been given back, the next to be used last.
    free: Vec<u32>,
    /// Rows from here on were never used.
    next_row: u32,
    /// Rows freed since they were last asked for.
    freed: BTreeSet<u32>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Rules {
    capacity: usize,
    min_count: u32,
    expiry: Option<u64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Entry {
    count: u32,
    seen: u64,
    row: u32,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    rules: Rules,
    now: u64,
    entries: Vec<(String, Entry)>,
    free: Vec<u32>,
    next_row: u32,
    freed: BTreeSet<u32>,
}

impl From<Saved> for Ids {
    fn from(saved: Saved) -> Ids {
        let Saved { rules, now, entries, free, next_row, freed } = saved;
        let (mut admitted, mut candidates) = (BTreeMap::new(), BTreeMap::new());
        let mut by_id = HashMap::new();
        for (id, entry) in entries {
            let id: Arc<str> = id.into();
            let order = if entry.row == 0 { &mut candidates } else { &mut admitted };
            order.insert(entry.seen, id.clone());
            by_id.insert(id, entry);
        }
        Ids { rules, now, entries: by_id, admitted, candidates, free, next_row, freed }
    }
}

impl From<Ids> for Saved {
    fn from(ids: Ids) -> Saved {
        // In an order that does not depend on hashing, so that equal states are equal files.
        let all = ids.admitted.values().chain(ids.candidates.values());
        let entries = all.map(|id| (id.to_string(), ids.entries[id])).collect();
        let Ids { rules, now, free, next_row, freed, .. } = ids;
        Saved { rules, now, entries, free, next_row, freed }
    }
}

impl Ids {
    pub fn new(capacity: usize, min_count: u32, expiry: Option<u64>) -> Ids {
        let rules = Rules { capacity, min_count, expiry };
        let (entries, free, freed) = (Vec::new(), Vec::new(), BTreeSet::new());
        Ids::from(Saved { rules, now: 0, entries, free, next_row: 1, freed })
    }

    /// What the ids of a table's column make of it: those that were seen often enough have rows, the
    /// most frequent ones if there are too many. None expires within the table.
    pub fn fitted(self, keys: Keys, rows: u64) -> Ids {
        let Rules { capacity, min_count, .. } = self.rules;
        let mut keys = keys.by_frequency();
        let frequent = keys.partition_point(|(_, seen)| seen.count >= u64::from(min_count));
        let rest = keys.split_off(frequent);
        let (admitted, more) = in_order(keys, capacity);
        let entry = |seen: &Seen, row| Entry {
            count: u32::try_from(seen.count).unwrap_or(u32::MAX),
            seen: seen.last,
            row,
        };
        let next_row = admitted.len() as u32 + 1;
        let mut entries: Vec<(String, Entry)> = Vec::new();
        for ((id, seen), row) in admitted.into_iter().zip(1..) {
            entries.push((id.into(), entry(&seen, row)));
        }
        let mut candidates: Vec<_> = more.into_iter().chain(rest).collect();
        candidates.sort_unstable_by_key(|(_, seen)| std::cmp::Reverse(seen.last));
        candidates.truncate(capacity);
        entries.extend(candidates.into_iter().map(|(id, seen)| (id.into(), entry(&seen, 0))));
        let (free, freed) = (Vec::new(), BTreeSet::new());
        Ids::from(Saved { rules: self.rules, now: rows, entries, free, next_row, freed })
    }

    /// Rows besides row 0.
    pub fn capacity(&self) -> usize {
        self.rules.capacity
    }

    /// The row of an id; 0 if it has none.
    pub fn find(&self, id: &str) -> u32 {
        self.entries.get(id).map_or(0, |entry| entry.row)
    }

    /// An event goes by with this id, or with none. Gives the id's row.
    pub fn learn(&mut self, id: Option<&str>) -> u32 {
        self.now += 1;
        self.expire();
        let Some(id) = id.filter(|id| id.len() <= MAX_KEY_BYTES) else { return 0 };
        let mut entry = match self.entries.get(id) {
            Some(entry) => *entry,
            None => self.new_candidate(id),
        };
        let order = if entry.row == 0 { &mut self.candidates } else { &mut self.admitted };
        let id = order.remove(&entry.seen).unwrap_or_else(|| id.into());
        entry.count = entry.count.saturating_add(1);
        entry.seen = self.now;
        if entry.row == 0 && entry.count >= self.rules.min_count {
            entry.row = self.new_row();
        }
        if let Some(old) = self.entries.get_mut(&id) {
            *old = entry;
        }
        let order = if entry.row == 0 { &mut self.candidates } else { &mut self.admitted };
        order.insert(self.now, id);
        entry.row
    }

    /// Remembers an id for the first time.
    fn new_candidate(&mut self, id: &str) -> Entry {
        if self.candidates.len() == self.rules.capacity
            && let Some((_, oldest)) = self.candidates.pop_first()
        {
            self.entries.remove(&oldest);
        }
        let entry = Entry { count: 0, seen: self.now, row: 0 };
        let id: Arc<str> = id.into();
        self.entries.insert(id.clone(), entry);
        self.candidates.insert(self.now, id);
        entry
    }

    /// 0 if all are taken.
    fn new_row(&mut self) -> u32 {
        if let Some(row) = self.free.pop() {
            return row;
        }
        if self.next_row as usize > self.rules.capacity {
            return 0;
        }
        self.next_row += 1;
        self.next_row - 1
    }

    /// Frees the rows of ids that have not been seen for long, and forgets such candidates.
    fn expire(&mut self) {
        let Some(expiry) = self.rules.expiry else { return };
        for order in [&mut self.admitted, &mut self.candidates] {
            while let Some(first) = order.first_entry() {
                if self.now - first.key() <= expiry {
                    break;
                }
                let id = first.remove();
                let row = self.entries.remove(&id).map_or(0, |entry| entry.row);
                if row != 0 {
                    self.free.push(row);
                    self.freed.insert(row);
                }
            }
        }
    }

    /// Rows freed since the last call.
    pub fn take_freed(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.freed)
    }
}
