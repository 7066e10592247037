//! A group of processes with a TCP connection between each two.
//!
//! For each connection one thread writes and one reads, so that nobody waits for each other with full
//! buffers, and a worker that computes gives signs of life all the same. Who gives none for
//! [`SILENCE`] is lost: stopped, unplugged, or without a network.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
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
}

struct Peer {
    sender: Option<Sender<Message>>,
    writer: Option<JoinHandle<()>>,
    stream: TcpStream,
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
            let (sender, messages) = channel();
            let to = stream.try_clone().map_err(failed)?;
            let from = stream.try_clone().map_err(failed)?;
            let heard = heard.clone();
            let name = |what: &str| std::thread::Builder::new().name(format!("{what}-{other}"));
            let writer =
                name("send").spawn(move || write_all(to, run, &messages)).map_err(failed)?;
            name("receive").spawn(move || read_all(from, run, other, &heard)).map_err(failed)?;
            peers.push(Some(Peer { sender: Some(sender), writer: Some(writer), stream }));
        }
        let waiting = (0..size).map(|_| VecDeque::new()).collect();
        Ok(Tcp { rank, peers, names, inbox, waiting, lost: Vec::new() })
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
        let sender = self.peers[to].as_ref().and_then(|peer| peer.sender.as_ref());
        match sender.map(|sender| sender.send(message)) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(self.lose(to, "it takes no more messages")),
            // That it is lost was told, or will be.
            None => Ok(()),
        }
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
    /// Waits until all that was sent is written, for [`SILENCE`] at most: the process may end after this.
    fn drop(&mut self) {
        for peer in self.peers.iter_mut().flatten() {
            peer.sender = None;
        }
        for peer in self.peers.iter_mut().flatten() {
            if let Some(writer) = peer.writer.take() {
                drop(writer.join());
            }
        }
    }
}

/// Writes messages until there are no more, then closes its side of the connection.
fn write_all(mut to: TcpStream, run: u64, messages: &Receiver<Message>) {
    loop {
        let written = match messages.recv_timeout(ALIVE) {
            Ok(message) => frame::write(&mut to, run, Some(&message)),
            Err(RecvTimeoutError::Timeout) => frame::write(&mut to, run, None),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        // The reading thread finds out what is the matter, and says so.
        if written.is_err() {
            drop(to.shutdown(Shutdown::Both));
            return;
        }
    }
    drop(to.shutdown(Shutdown::Write));
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

fn why(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("it has given no sign of life for {} s", SILENCE.as_secs())
        }
        ErrorKind::UnexpectedEof => "it has closed its connection".into(),
        _ => error.to_string(),
    }
}
