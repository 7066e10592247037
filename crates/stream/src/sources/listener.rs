//! Accepts connections, a bounded number, each with a thread of its own, until it is dropped.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::access::{self, Access};
use crate::error::{Error, Result};
use crate::sync::{lock, wait_while};

/// A listening socket with its threads.
#[derive(Debug)]
pub(crate) struct Listener {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What is open, to be shut at the end: the descriptor of the thread that serves it.
    open: HashMap<u64, Arc<TcpStream>>,
    accepted: u64,
    stop: bool,
}

/// What is done with connections.
pub(crate) trait Serve: Send + Sync + 'static {
    /// Serves one until its end.
    fn serve(&self, stream: &TcpStream);
}

impl Listener {
    /// Listens on `address`, if `access` allows it. At most `bound` connections at once.
    pub(crate) fn start(
        address: &str,
        access: &Access,
        bound: usize,
        serve: impl Serve,
    ) -> Result<Listener> {
        let fail = |e| Error::io(address, e);
        let found = access.addresses(address, false)?;
        let bound = access::connections(bound);
        let listener = TcpListener::bind(&found[..]).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let shared = Arc::new(Shared::default());
        let (accepting, serve) = (shared.clone(), Arc::new(serve));
        let thread = std::thread::Builder::new()
            .name("accept".to_owned())
            .spawn(move || accept(&listener, &accepting, bound, &serve))
            .map_err(|e| Error::io(address, e))?;
        Ok(Listener { address, shared, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections taken so far.
    pub(crate) fn accepted(&self) -> u64 {
        lock(&self.shared.state).accepted
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, bound: usize, serve: &Arc<impl Serve>) {
    loop {
        let stream = listener.accept().map(|(stream, _)| stream);
        let mut state = lock(&shared.state);
        if state.stop {
            break;
        }
        let Ok(stream) = stream.map(Arc::new) else {
            // Out of file descriptors, say: what is open may end meanwhile.
            drop(state);
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        if state.open.len() >= bound {
            continue; // It is closed.
        }
        state.accepted += 1;
        let id = state.accepted;
        state.open.insert(id, stream.clone());
        drop(state);
        let (serve, closing) = (serve.clone(), Closing { shared: shared.clone(), id });
        let body = move || {
            serve.serve(&stream);
            drop(stream);
            // The end of the listener waits for the second, and then the first must be gone.
            drop(serve);
            drop(closing);
        };
        // Where no thread can be had, the connection is dropped with the closure.
        let _ = std::thread::Builder::new().name("connection".to_owned()).spawn(body);
    }
}

/// Strikes a connection off the list, also when its thread panics.
struct Closing {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Closing {
    fn drop(&mut self) {
        lock(&self.shared.state).open.remove(&self.id);
        self.shared.ended.notify_all();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.stop = true;
        for stream in state.open.values() {
            let _ = stream.shutdown(Shutdown::Both); // It may be closed already.
        }
        drop(state);
        // Wakes the thread that accepts; an address of all interfaces is reached by loopback.
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        let woken = TcpStream::connect_timeout(&address, Duration::from_secs(1));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join(); // It has nothing to tell.
        }
        // What is being appended to a log is done when this returns.
        let state = lock(&self.shared.state);
        let second = Duration::from_secs(1);
        drop(wait_while(&self.shared.ended, state, second, |s| !s.open.is_empty()));
    }
}
