//! Lines that any number of clients send over TCP.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::listener::{Listener, Serve};
use crate::access::Access;
use crate::error::{Error, Result};
use crate::inlet::Inlet;
use crate::lines::Lines;
use crate::position::Position;
use crate::records::Records;
use crate::source::{Counters, Poll, Source};

/// Each connection reads so much at once.
const CHUNK: usize = 16 << 10;

/// How connections are taken. Memory is bounded by `max_connections` times twice `max_record`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// Longer lines are passed over and counted. 1 MiB.
    pub max_record: usize,
    /// More connections at once are closed when they come. 256.
    pub max_connections: usize,
    /// Who may send: lines have no tokens.
    pub access: Access,
}

impl Default for TcpOptions {
    fn default() -> Self {
        TcpOptions { max_record: 1 << 20, max_connections: 256, access: Access::default() }
    }
}

/// The lines of all clients, in the order in which they arrive; the first line of each connection
/// may be a header. Nothing is acknowledged and nothing can be read again: HTTP push is the way
/// for events that must not be lost. When the learner is behind, clients wait in their writes.
#[derive(Debug)]
pub struct TcpSource {
    inlet: Arc<Inlet>,
    listener: Listener,
}

struct Receive {
    inlet: Arc<Inlet>,
    max_record: usize,
}

impl Serve for Receive {
    fn serve(&self, mut stream: &TcpStream) {
        let mut lines = Lines::with_chunk(self.max_record, CHUNK);
        let mut records = Records::default();
        let mut too_long = 0;
        loop {
            // A connection that breaks ends like one that is closed.
            let ended = lines.fill(&mut stream).unwrap_or(0) == 0;
            lines.take(&mut records, usize::MAX / 2);
            if ended {
                lines.finish(&mut records);
            }
            self.inlet.counters(|c| c.too_long += lines.too_long() - too_long);
            too_long = lines.too_long();
            if (!records.is_empty() && !self.inlet.push_numbered(&mut records)) || ended {
                return;
            }
        }
    }
}

impl TcpSource {
    /// Listens on `address`.
    ///
    /// # Errors
    /// If that fails, or other machines could connect.
    pub fn bind(address: &str, options: &TcpOptions) -> Result<TcpSource> {
        let inlet = Arc::new(Inlet::default());
        let receive = Receive { inlet: inlet.clone(), max_record: options.max_record };
        let bound = options.max_connections;
        let listener = Listener::start(address, &options.access, bound, receive)?;
        Ok(TcpSource { inlet, listener })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }
}

impl Drop for TcpSource {
    fn drop(&mut self) {
        self.inlet.close();
    }
}

impl Source for TcpSource {
    fn name(&self) -> String {
        format!("tcp://{}", self.address())
    }

    fn not_seekable(&self) -> Option<&'static str> {
        Some("what came over TCP is not kept")
    }

    fn seek(&mut self, position: &Position) -> Result<()> {
        if position.parts.is_empty() {
            return Ok(());
        }
        let what = "what came over TCP is not kept; send events by HTTP, or start anew";
        Err(Error::gone(self.name(), position, what))
    }

    fn poll(&mut self, records: &mut Records, _bytes: usize, wait: Duration) -> Result<Poll> {
        self.inlet.poll(records, wait)
    }

    fn commit(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }

    fn counters(&self) -> Counters {
        let reopened = self.listener.accepted();
        self.inlet.counters(|c| Counters { reopened, ..c.clone() })
    }
}
