//! The index of ids: what waits for a label, what was answered, what came too early or too late.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::bytes::{In, Out};
use super::kept::{Place, Status};
use super::spill::{Spill, Spot};
use tidemill_engine::checkpoint::Needed;
use tidemill_engine::error::Result;

/// What an id takes in the index, beside its own bytes: the entry, its key, its place in the order.
const ENTRY: usize = 200;

/// When an id is no longer kept, and which of two that are kept equally long came first.
type Due = (i64, u64);

struct Entry {
    due: Due,
    status: Status,
}

/// Bounds in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of the index and the events in memory.
    pub memory: usize,
    /// Of events on disk.
    pub disk: u64,
}

/// All ids that are kept.
pub(super) struct Store {
    entries: HashMap<Arc<str>, Entry>,
    /// Those that wait, by when their window closes.
    waiting: BTreeMap<Due, Arc<str>>,
    /// The others, by when they are forgotten.
    others: BTreeMap<Due, Arc<str>>,
    /// Those that wait in memory.
    residents: BTreeSet<Due>,
    sequence: u64,
    index_bytes: usize,
    /// Bytes of events in memory, and of all that wait.
    resident: usize,
    total: u64,
    /// Events that were written to disk so far.
    spilled: u64,
    limits: Limits,
    spill: Spill,
}

impl Store {
    pub fn new(limits: Limits, folder: &Path, keep: u64) -> Result<Store> {
        Ok(Store {
            entries: HashMap::new(),
            waiting: BTreeMap::new(),
            others: BTreeMap::new(),
            residents: BTreeSet::new(),
            sequence: 0,
            index_bytes: 0,
            resident: 0,
            total: 0,
            spilled: 0,
            limits,
            spill: Spill::open(folder, keep, &[])?,
        })
    }

    pub fn status(&self, id: &str) -> Option<&Status> {
        self.entries.get(id).map(|e| &e.status)
    }

    /// Events that wait.
    pub fn num_waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Labels that wait for their event; looks at all that is kept.
    pub fn num_early(&self) -> u64 {
        let early = |entry: &&Entry| matches!(entry.status, Status::Early(_));
        self.entries.values().filter(early).count() as u64
    }

    /// Events that were written to disk so far.
    pub fn num_spilled(&self) -> u64 {
        self.spilled
    }

    /// Lets an event wait until `due`.
    pub fn wait(&mut self, id: &str, due: i64, bytes: &[u8]) -> Result<()> {
        self.insert(id.into(), due, Status::Waiting(Place::Memory(bytes.into())));
        self.spill()?;
        self.compact()
    }

    /// Remembers something else of an id until `due`.
    pub fn keep(&mut self, id: Arc<str>, due: i64, status: Status) -> Result<()> {
        self.remove(&id);
        self.insert(id, due, status);
        self.spill()
    }

    /// Writes the events that have waited longest to disk until the rest fits into memory: most
    /// labels come soon or not at all.
    fn spill(&mut self) -> Result<()> {
        while self.index_bytes + self.resident > self.limits.memory {
            let Some(due) = self.residents.pop_first() else { break };
            let entry = self.waiting.get(&due).and_then(|id| self.entries.get_mut(id));
            let Some(Entry { status: Status::Waiting(place), .. }) = entry else { continue };
            if let Place::Memory(bytes) = place {
                self.resident -= bytes.len();
                self.spilled += 1;
                *place = Place::Disk(self.spill.push(bytes)?);
            }
        }
        Ok(())
    }

    /// Forgets an id and gives what was known. The place of an event is the caller's then, who
    /// must give it to [`Store::fetch`] or [`Store::free`].
    pub fn remove(&mut self, id: &str) -> Option<(i64, Status)> {
        let (id, Entry { due, status }) = self.entries.remove_entry(id)?;
        self.index_bytes -= ENTRY + id.len();
        match &status {
            Status::Waiting(place) => {
                self.waiting.remove(&due);
                self.total -= place.len();
                if let Place::Memory(bytes) = place {
                    self.resident -= bytes.len();
                    self.residents.remove(&due);
                }
            }
            _ => {
                self.others.remove(&due);
            }
        }
        Some((due.0, status))
    }

    fn insert(&mut self, id: Arc<str>, due: i64, status: Status) {
        self.sequence += 1;
        let due = (due, self.sequence);
        self.put(id, due, status);
    }

    fn put(&mut self, id: Arc<str>, due: Due, status: Status) {
        self.index_bytes += ENTRY + id.len();
        match &status {
            Status::Waiting(place) => {
                self.total += place.len();
                if let Place::Memory(bytes) = place {
                    self.resident += bytes.len();
                    self.residents.insert(due);
                }
                self.waiting.insert(due, id.clone());
            }
            _ => {
                self.others.insert(due, id.clone());
            }
        }
        self.entries.insert(id, Entry { due, status });
    }

    /// The bytes of an event that waits no more.
    pub fn fetch(&mut self, place: Place) -> Result<Box<[u8]>> {
        match place {
            Place::Memory(bytes) => Ok(bytes),
            Place::Disk(spot) => {
                let bytes = self.spill.read(spot)?;
                self.spill.free(spot);
                Ok(bytes.into())
            }
        }
    }

    /// The bytes of an event that continues to wait.
    pub fn peek(&mut self, place: &Place) -> Result<Box<[u8]>> {
        match place {
            Place::Memory(bytes) => Ok(bytes.clone()),
            Place::Disk(spot) => Ok(self.spill.read(*spot)?.into()),
        }
    }

    /// Drops an event that waits no more.
    pub fn free(&mut self, place: Place) {
        if let Place::Disk(spot) = place {
            self.spill.free(spot);
        }
    }

    /// An event whose window was closed before `now`.
    pub fn overdue(&self, now: i64) -> Option<Arc<str>> {
        let (due, id) = self.waiting.first_key_value()?;
        (due.0 < now).then(|| id.clone())
    }

    /// Anything else that is kept only until before `now`.
    pub fn outdated(&self, now: i64) -> Option<Arc<str>> {
        let (due, id) = self.others.first_key_value()?;
        (due.0 < now).then(|| id.clone())
    }

    /// What has to go, since there is too much: a function of all that is kept, and not of what of
    /// it is in memory. What only detects duplicates goes before what can be learned from.
    pub fn too_much(&self) -> Option<Arc<str>> {
        let Limits { memory, disk } = self.limits;
        if self.index_bytes > memory {
            return self.others.values().chain(self.waiting.values()).next().cloned();
        }
        if self.total > memory.saturating_sub(self.index_bytes) as u64 + disk {
            return self.waiting.values().next().cloned();
        }
        None
    }

    /// Writes what waits in a segment that is mostly empty again, so that the segment can go.
    fn compact(&mut self) -> Result<()> {
        let Some(segment) = self.spill.sparse() else { return Ok(()) };
        for id in self.waiting.values() {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            if let Status::Waiting(Place::Disk(spot)) = &mut entry.status
                && spot.segment == segment
            {
                let bytes = self.spill.read(*spot)?;
                let moved = self.spill.push(&bytes)?;
                self.spill.free(*spot);
                *spot = moved;
            }
        }
        Ok(())
    }

    /// See [`Spill::checkpoint`].
    pub fn checkpoint(&mut self, is_new: bool) -> Result<Vec<Needed>> {
        self.spill.checkpoint(is_new)
    }

    /// All of it, in the order of time.
    pub fn write(&self, out: &mut Out) {
        out.u64(self.sequence);
        out.u64(self.spilled);
        out.u64(self.entries.len() as u64);
        for (due, id) in self.waiting.iter().chain(&self.others) {
            let Some(entry) = self.entries.get(id) else { continue };
            out.i64(due.0);
            out.u64(due.1);
            out.slice(id.as_bytes());
            entry.status.write(out);
        }
    }

    /// Takes over what was written; places on disk are those in `folder`. `None` if the bytes are
    /// none of [`Store::write`]. Places of `ready` are on disk too.
    pub fn read(&mut self, from: &mut In<'_>) -> Option<()> {
        self.sequence = from.u64()?;
        self.spilled = from.u64()?;
        for _ in 0..from.u64()? {
            let due = (from.i64()?, from.u64()?);
            let id = from.text()?.into();
            let status = Status::read(from)?;
            self.put(id, due, status);
        }
        Some(())
    }

    /// Opens the segments that the state refers to.
    pub fn reopen(&mut self, folder: &Path, keep: u64, ready: &[Spot]) -> Result<()> {
        let mut live = ready.to_vec();
        for entry in self.entries.values() {
            if let Status::Waiting(Place::Disk(spot)) = entry.status {
                live.push(spot);
            }
        }
        self.spill = Spill::open(folder, keep, &live)?;
        Ok(())
    }
}
