//! A group of processes with a TCP connection between each two.
//!
//! A thread for each connection reads all that comes, so that nobody waits for each other with full buffers. Another
//! one gives signs of life while the worker computes. Who gives none for [`SILENCE`] is lost:
//! stopped, unplugged, or without a network.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill_engine::error::{Error, Result};
use tidemill_engine::group::{Group, Kind, Message};

use crate::frame::{self, Frame};

/// A worker that has not been heard of for so long is lost.
pub const SILENCE: Duration = Duration::from_secs(4);

/// A worker that has nothing to say says so after so long.
const ALIVE: Duration = Duration::from_millis(500);

/// What a reading thread has to say of a worker.
type Heard = (usize, std::result::Result<Message, String>);

/// A worker of such a group.
pub struct Tcp {
    rank: usize,
    peers: Vec<Option<Peer>>,
    names: Vec<String>,
    inbox: Receiver<Heard>,
    /// Messages that came before they were asked for.
    waiting: Vec<VecDeque<Message>>,
    lost: Vec<usize>,
    run: u64,
}

/// A connection that messages and signs of life are written to.
type Shared = Arc<Mutex<TcpStream>>;

/// A connection to another worker.
struct Peer {
    to: Shared,
    /// The same one, to end it while it is written to.
    stream: TcpStream,
    /// The thread that gives signs of life ends with this.
    _alive: Sender<()>,
}

impl Tcp {
    /// Worker `rank` of `run`; `streams` are its connections to the others, and `names` say where these are.
    ///
    /// # Errors
    /// If a connection or a thread cannot be set up.
    pub(crate) fn new(
        run: u64,
        rank: usize,
        streams: Vec<Option<TcpStream>>,
        names: Vec<String>,
    ) -> Result<Tcp> {
        let (heard, inbox) = channel();
        let size = streams.len();
        let mut peers = Vec::with_capacity(size);
        for (other, stream) in streams.into_iter().enumerate() {
            let Some(stream) = stream else {
                peers.push(None);
                continue;
            };
            let failed = |e: std::io::Error| {
                Error::Run(format!("the connection to worker {other} cannot be set up: {e}"))
            };
            stream.set_nodelay(true).map_err(failed)?;
            stream.set_read_timeout(Some(SILENCE)).map_err(failed)?;
            stream.set_write_timeout(Some(SILENCE)).map_err(failed)?;
            let from = stream.try_clone().map_err(failed)?;
            let to = Arc::new(Mutex::new(stream.try_clone().map_err(failed)?));
            let heard = heard.clone();
            let thread = |what: &str| std::thread::Builder::new().name(format!("{what}-{other}"));
            thread("receive").spawn(move || read_all(from, run, other, &heard)).map_err(failed)?;
            let (alive, ends) = channel();
            let (own, signs) = (to.clone(), thread("alive"));
            signs.spawn(move || give_signs_of_life(&own, run, &ends)).map_err(failed)?;
            peers.push(Some(Peer { to, stream, _alive: alive }));
        }
        let waiting = (0..size).map(|_| VecDeque::new()).collect();
        // Those that could not be reached.
        let missing = |other: &usize| *other != rank && peers[*other].is_none();
        let lost = (0..size).filter(missing).collect();
        Ok(Tcp { rank, peers, names, inbox, waiting, lost, run })
    }

    fn lose(&mut self, rank: usize, why: &str) -> Error {
        if let Some(peer) = self.peers[rank].take() {
            // Its threads end with the connection.
            drop(peer.stream.shutdown(Shutdown::Both));
            self.lost.push(rank);
        }
        Error::Run(format!("{} is lost: {why}", self.name(rank)))
    }
}

impl Group for Tcp {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.peers.len()
    }

    fn send(&mut self, to: usize, message: Message) -> Result<()> {
        // `receive` reports that it is lost.
        let Some(peer) = &self.peers[to] else { return Ok(()) };
        let mut stream = peer.to.lock().unwrap_or_else(PoisonError::into_inner);
        let written = frame::write(&mut *stream, self.run, Some(&message));
        drop(stream);
        // The other side may have said why it ended; if not, the reading thread finds out that it is gone.
        drop(written);
        Ok(())
    }

    fn receive(&mut self, from: usize) -> Result<Message> {
        loop {
            if let Some(message) = self.waiting[from].pop_front() {
                return Ok(message);
            }
            if self.peers[from].is_none() {
                return Err(Error::Run(format!("{} is lost", self.name(from))));
            }
            match self.inbox.recv() {
                Ok((rank, Ok(message))) => {
                    let is_regroup = message.kind == Kind::Regroup;
                    let other = message.number as usize;
                    if is_regroup && self.rank == 0 {
                        // Between two others a connection may end that both still have to this one.
                        if self.peers.get(other).is_some_and(Option::is_some) {
                            return Err(self.lose(other, &format!("worker {rank} has lost it")));
                        }
                        continue;
                    }
                    self.waiting[rank].push_back(message);
                    if is_regroup && rank != from {
                        self.lost.push(self.rank);
                        return Err(Error::Run("worker 0 begins the step again".into()));
                    }
                }
                // One that has said that it ends may close its connection.
                Ok((rank, Err(_))) if self.waiting[rank].iter().any(|m| m.kind == Kind::End) => {
                    if rank == from {
                        continue;
                    }
                }
                Ok((rank, Err(why))) if self.peers[rank].is_some() => {
                    return Err(self.lose(rank, &why));
                }
                Ok(_) => {}
                Err(_) => return Err(Error::Run("all other workers are lost".into())),
            }
        }
    }

    fn lost(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.lost)
    }

    fn put_back(&mut self, from: usize, message: Message) {
        self.waiting[from].push_front(message);
        self.lost.push(self.rank);
    }

    fn leave_out(&mut self, rank: usize) {
        if let Some(peer) = self.peers[rank].take() {
            drop(peer.stream.shutdown(Shutdown::Both));
        }
    }

    fn name(&self, rank: usize) -> String {
        match self.names.get(rank).filter(|name| !name.is_empty()) {
            Some(name) => format!("worker {rank} ({name})"),
            None => format!("worker {rank}"),
        }
    }
}

impl Drop for Tcp {
    /// Says that nothing more comes; what was sent still arrives.
    fn drop(&mut self) {
        for peer in self.peers.iter().flatten() {
            drop(peer.stream.shutdown(Shutdown::Write));
        }
    }
}

/// Tells another worker now and then that this one lives, until it ends.
fn give_signs_of_life(to: &Shared, run: u64, ends: &Receiver<()>) {
    while ends.recv_timeout(ALIVE) == Err(RecvTimeoutError::Timeout) {
        // A connection that is being written to needs no other sign. What fails, the reading thread finds out.
        if let Ok(mut to) = to.try_lock() {
            drop(frame::write(&mut *to, run, None));
        }
    }
}

/// Hands over what comes until the connection ends.
fn read_all(mut from: TcpStream, run: u64, rank: usize, heard: &Sender<Heard>) {
    loop {
        let what = match frame::read(&mut from, Some(run)) {
            Ok(Frame::Alive) => continue,
            Ok(Frame::Message(message)) => Ok(message),
            Err(e) => Err(why(&e)),
        };
        let ends = what.is_err();
        if heard.send((rank, what)).is_err() || ends {
            return;
        }
    }
}

pub(crate) fn why(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("it has given no sign of life for {} s", SILENCE.as_secs())
        }
        ErrorKind::UnexpectedEof => "it has closed its connection".into(),
        _ => error.to_string(),
    }
}
