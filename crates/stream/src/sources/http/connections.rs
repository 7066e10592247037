//! Which connections are open, what each of them does, and which one has to go.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::sync::lock;

/// A machine other than this one has at most one in so many connections.
const SHARE: usize = 4;

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It waits for a request, or for its peer to read an answer.
    Idle,
    /// The head of a request has begun.
    Head,
    /// The body of a request comes; who reads it minds the time.
    Body,
    /// A request is complete and not answered yet.
    Busy,
}

/// The bounds of connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// At once.
    pub(super) most: usize,
    /// A head must be complete after this time.
    pub(super) head: Duration,
    /// A connection may be idle for this long.
    pub(super) idle: Duration,
}

/// The connections of a server.
#[derive(Debug)]
pub(super) struct Connections {
    bounds: Bounds,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<u64, Open>,
    accepted: u64,
}

#[derive(Debug)]
struct Open {
    peer: IpAddr,
    phase: Phase,
    since: Instant,
    task: Option<AbortHandle>,
}

/// A connection's own entry, struck off when this is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    id: u64,
    connections: Arc<Connections>,
}

impl Connections {
    pub(super) fn new(bounds: Bounds) -> Arc<Connections> {
        Arc::new(Connections { bounds, table: Mutex::default() })
    }

    /// Takes a connection of `peer`. Where there are too many, of all or of that machine, the idlest of those is closed
    /// for it. Nothing if all of them are being answered.
    pub(super) fn admit(self: &Arc<Connections>, peer: IpAddr, now: Instant) -> Option<Ticket> {
        let peer = peer.to_canonical();
        let most = self.bounds.most;
        let mut table = lock(&self.table);
        let own = table.open.values().filter(|open| open.peer == peer).count();
        if !peer.is_loopback() && own >= most.div_ceil(SHARE) {
            table.close_idlest(|open| open.peer == peer)?;
        } else if table.open.len() >= most {
            table.close_idlest(|_| true)?;
        }
        table.accepted += 1;
        let id = table.accepted;
        table.open.insert(id, Open { peer, phase: Phase::Idle, since: now, task: None });
        Some(Ticket { id, connections: self.clone() })
    }

    /// Names the task that serves a connection: closing the connection ends it.
    pub(super) fn served_by(&self, id: u64, task: AbortHandle) {
        if let Some(open) = lock(&self.table).open.get_mut(&id) {
            open.task = Some(task);
        }
    }

    /// Closes the connections whose time is over.
    pub(super) fn close_late(&self, now: Instant) {
        let Bounds { head, idle, .. } = self.bounds;
        lock(&self.table).open.retain(|_, open| {
            let time = now.saturating_duration_since(open.since);
            let late = match open.phase {
                Phase::Idle => time >= idle,
                Phase::Head => time >= head,
                Phase::Body | Phase::Busy => false,
            };
            if late {
                open.close();
            }
            !late
        });
    }

    /// How often to look for late ones.
    pub(super) fn pause(&self) -> Duration {
        let Bounds { head, idle, .. } = self.bounds;
        (head.min(idle) / 8).clamp(Duration::from_millis(5), Duration::from_secs(1))
    }

    /// Connections taken so far.
    pub(super) fn accepted(&self) -> u64 {
        lock(&self.table).accepted
    }
}

impl Table {
    /// Closes the connection that does the least for the longest time: one without a request before one whose body
    /// comes, and none that is being answered.
    fn close_idlest(&mut self, among: impl Fn(&Open) -> bool) -> Option<()> {
        let closable = self.open.iter().filter(|(_, o)| o.phase != Phase::Busy && among(o));
        let idlest = closable.min_by_key(|(id, o)| (o.phase == Phase::Body, o.since, **id));
        let id = idlest.map(|(id, _)| *id)?;
        self.open.remove(&id)?.close();
        Some(())
    }
}

impl Open {
    fn close(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Ticket {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The connection enters a phase.
    pub(super) fn enter(&self, phase: Phase) {
        if let Some(open) = lock(&self.connections.table).open.get_mut(&self.id) {
            (open.phase, open.since) = (phase, Instant::now());
        }
    }

    /// Bytes came: if no request was under way, one has begun.
    pub(super) fn received(&self) {
        if let Some(open) = lock(&self.connections.table).open.get_mut(&self.id)
            && open.phase == Phase::Idle
        {
            (open.phase, open.since) = (Phase::Head, Instant::now());
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.connections.table).open.remove(&self.id);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn new(most: usize) -> Arc<Connections> {
        Connections::new(Bounds { most, head: 10 * SECOND, idle: 60 * SECOND })
    }

    fn ids(connections: &Connections) -> Vec<u64> {
        let mut ids: Vec<_> = lock(&connections.table).open.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    fn put(connections: &Connections, id: u64, phase: Phase, since: Instant) {
        let mut table = lock(&connections.table);
        let open = table.open.get_mut(&id).unwrap();
        (open.phase, open.since) = (phase, since);
    }

    #[test]
    fn the_idlest_goes_and_none_that_is_being_answered() {
        let (connections, start) = (new(4), Instant::now());
        let here: IpAddr = [127, 0, 0, 1].into();
        let mut tickets: Vec<_> = (0..4).map(|_| connections.admit(here, start).unwrap()).collect();
        put(&connections, 1, Phase::Busy, start);
        put(&connections, 2, Phase::Body, start);
        put(&connections, 3, Phase::Head, start + 2 * SECOND);
        put(&connections, 4, Phase::Idle, start + SECOND);
        for left in [[1, 2, 3, 5], [1, 2, 5, 6], [1, 2, 6, 7]] {
            tickets.push(connections.admit(here, start + 3 * SECOND).unwrap());
            assert_eq!(ids(&connections), left);
        }
        put(&connections, 6, Phase::Busy, start);
        put(&connections, 7, Phase::Busy, start);
        tickets.push(connections.admit(here, start).unwrap());
        assert_eq!(ids(&connections), [1, 6, 7, 8]);
        put(&connections, 8, Phase::Busy, start);
        assert!(connections.admit(here, start).is_none());
        drop(tickets);
        assert_eq!(ids(&connections), [0; 0]);
        assert_eq!(connections.accepted(), 8);
    }

    #[test]
    fn another_machine_has_a_share() {
        let (connections, now) = (new(8), Instant::now());
        let [one, other]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let mut tickets = Vec::new();
        for (peer, left) in [
            (one, &[1][..]),
            (other, &[1, 2]),
            (one, &[1, 2, 3]),
            (one, &[2, 3, 4]),
            ("::ffff:10.0.0.1".parse().unwrap(), &[2, 4, 5]),
            (other, &[2, 4, 5, 6]),
        ] {
            tickets.push(connections.admit(peer, now).unwrap());
            assert_eq!(ids(&connections), left);
        }
    }

    #[test]
    fn late_heads_and_idle_ones_are_closed() {
        let (connections, now) = (new(8), Instant::now());
        let tickets: Vec<_> =
            (0..4).map(|_| connections.admit([127, 0, 0, 1].into(), now).unwrap()).collect();
        put(&connections, 1, Phase::Head, now);
        put(&connections, 2, Phase::Body, now);
        put(&connections, 3, Phase::Busy, now);
        connections.close_late(now + 9 * SECOND);
        assert_eq!(ids(&connections), [1, 2, 3, 4]);
        connections.close_late(now + 10 * SECOND);
        assert_eq!(ids(&connections), [2, 3, 4]);
        connections.close_late(now + 60 * SECOND);
        assert_eq!(ids(&connections), [2, 3]);
        tickets[0].enter(Phase::Idle); // It is gone, and that is no matter.
        tickets[1].received();
        assert_eq!(lock(&connections.table).open[&2].phase, Phase::Body);
        tickets[1].enter(Phase::Idle);
        tickets[1].received();
        assert_eq!(lock(&connections.table).open[&2].phase, Phase::Head);
    }
}
