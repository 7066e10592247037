//! How the workers of a run find each other.
//!
//! Worker 0 listens. Each other worker connects to it and says on which port it listens itself, and what
//! number it would like to have. Once all are connected, worker 0 sends each its number and
//! the addresses of the others, and these connect to each other: each to those of lower numbers.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::group::{Kind, Message};

use crate::frame::{self, Frame};
use crate::tcp::{Tcp, why};

/// What a worker says to worker 0 first.
#[derive(Serialize, Deserialize)]
struct Hello {
    version: String,
    /// Where it listens.
    port: u16,
    rank: Option<usize>,
    /// How many workers there are, where it knows.
    size: Option<usize>,
}

/// What worker 0 answers.
#[derive(Serialize, Deserialize)]
struct Welcome {
    rank: usize,
    size: usize,
}

/// What worker 0 says to all when they are there.
#[derive(Serialize, Deserialize)]
struct Places {
    run: u64,
    /// The number of the worker that gets this message.
    rank: usize,
    /// Where the others listen, by their numbers; worker 0's is unused.
    addresses: Vec<SocketAddr>,
}

/// What workers say to each other first.
#[derive(Serialize, Deserialize)]
struct Greeting {
    rank: usize,
}

/// How long workers may take to reach each other: less than it takes until they count as lost.
const MEETING: Duration = Duration::from_millis(1500);

/// How long somebody who connects may take to say who it is.
const GREETING: Duration = Duration::from_secs(4);

/// Between two looks whether somebody has come.
const PAUSE: Duration = Duration::from_millis(20);

/// The version that all workers have to have.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Waits as worker 0 until `size - 1` others have joined at `listener`, for `patience` at most or until `interrupt` is true.
/// `tell` hears who comes.
///
/// # Errors
/// If they do not come in time, and for a worker of another version.
pub fn lead(
    listener: &TcpListener,
    size: usize,
    patience: Duration,
    interrupt: &AtomicBool,
    tell: &mut dyn FnMut(&str),
) -> Result<Tcp> {
    let start = Instant::now();
    let run = draw();
    let mut joined: Vec<Option<(TcpStream, SocketAddr)>> = (0..size).map(|_| None).collect();
    let count = |joined: &[Option<_>]| joined.iter().flatten().count() + 1;
    while count(&joined) < size {
        let late = start.elapsed() > patience;
        if late || interrupt.load(Relaxed) {
            let here = count(&joined);
            let missing = joined.iter().enumerate().filter(|(i, j)| *i > 0 && j.is_none());
            let missing: Vec<String> = missing.map(|(rank, _)| rank.to_string()).collect();
            let (why, missing) =
                (if late { "too late" } else { "interrupted" }, missing.join(", "));
            return Err(Error::Run(format!(
                "{why}: {here} of {size} workers are there, without worker {missing}"
            )));
        }
        for (rank, place) in joined.iter_mut().enumerate() {
            if place.as_ref().is_some_and(|(stream, _)| has_gone(stream)) {
                *place = None;
                tell(&format!("worker {rank} has gone again"));
            }
        }
        let (stream, address) = match accept(listener)? {
            Some(accepted) => accepted,
            None => {
                std::thread::sleep(PAUSE);
                continue;
            }
        };
        match greet(&stream, size, &joined) {
            Ok((rank, port)) => {
                if send(&stream, run, &Welcome { rank, size }).is_err() {
                    continue;
                }
                let address = SocketAddr::new(address.ip(), port);
                joined[rank] = Some((stream, address));
                let here = count(&joined);
                tell(&format!("worker {rank} has joined from {}: {here} of {size}", address.ip()));
            }
            // Whoever it was, the others are waited for.
            Err(e) => tell(&format!("somebody at {address} is not taken as a worker: {e}")),
        }
    }
    let nowhere = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0);
    let addresses: Vec<SocketAddr> =
        joined.iter().map(|j| j.as_ref().map_or(nowhere, |j| j.1)).collect();
    let names = addresses.iter().enumerate().map(|(rank, a)| match rank {
        0 => String::new(),
        _ => a.ip().to_string(),
    });
    let names = names.collect();
    for (rank, worker) in joined.iter().enumerate() {
        if let Some((stream, _)) = worker {
            let places = Places { run, rank, addresses: addresses.clone() };
            // One that is gone is found out by the group.
            drop(send(stream, run, &places));
        }
    }
    let streams = joined.into_iter().map(|j| j.map(|(stream, _)| stream)).collect();
    Tcp::new(run, 0, streams, names)
}

/// A connection, if one is there.
fn accept(listener: &TcpListener) -> Result<Option<(TcpStream, SocketAddr)>> {
    let failed = |e: std::io::Error| Error::Run(format!("workers cannot be waited for: {e}"));
    listener.set_nonblocking(true).map_err(failed)?;
    match listener.accept() {
        Ok((stream, address)) => {
            stream.set_nonblocking(false).map_err(failed)?;
            Ok(Some((stream, address)))
        }
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {
            Ok(None)
        }
        Err(e) => Err(failed(e)),
    }
}

/// The number that a worker gets, and the port on which it listens.
fn greet<T>(stream: &TcpStream, size: usize, joined: &[Option<T>]) -> Result<(usize, u16)> {
    let hello: Hello = hear(stream, None, Some(GREETING))?;
    if hello.version != VERSION {
        let theirs = hello.version;
        return refuse(stream, format!("it runs version {theirs}, and worker 0 runs {VERSION}"));
    }
    if let Some(theirs) = hello.size.filter(|theirs| *theirs != size) {
        return refuse(stream, format!("it is one of {theirs} workers, and worker 0 of {size}"));
    }
    let free = |rank: &usize| *rank > 0 && *rank < size && joined[*rank].is_none();
    let rank = match hello.rank {
        Some(rank) => Some(rank).filter(free),
        None => (1..size).find(free),
    };
    match (rank, hello.rank) {
        (Some(rank), _) => Ok((rank, hello.port)),
        (None, Some(rank)) => {
            refuse(stream, format!("there is no place for a worker {rank} of {size}"))
        }
        (None, None) => refuse(stream, format!("all {size} workers are there")),
    }
}

/// Tells somebody why it is not taken.
fn refuse<T>(mut stream: &TcpStream, why: String) -> Result<T> {
    drop(frame::write(&mut stream, 0, Some(&Message::new(Kind::End, 0).text(why.as_str()))));
    Err(Error::Run(why))
}

/// Joins the run whose worker 0 listens at `address`, which is tried for `patience`. `place` is the number that this worker
/// has to have, and how many there are; without, it takes the number that it gets.
///
/// # Errors
/// If nobody listens there in time, or does not take this worker.
pub fn join(
    address: &str,
    place: Option<[usize; 2]>,
    patience: Duration,
    interrupt: &AtomicBool,
    tell: &mut dyn FnMut(&str),
) -> Result<Tcp> {
    let port = address.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    if !matches!(port, Some((host, Ok(1..))) if !host.is_empty()) {
        return Err(Error::Usage(format!("\"{address}\" is no address such as 10.0.0.1:7000")));
    }
    let start = Instant::now();
    tell(&format!("looking for a run at {address}"));
    let stream = loop {
        match connect(address) {
            Ok(stream) => break stream,
            Err(e) if start.elapsed() > patience || interrupt.load(Relaxed) => {
                return Err(Error::Run(format!("nobody leads a run at {address}: {e}")));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    };
    let failed = |e: std::io::Error| Error::Run(format!("the workers at {address}: {e}"));
    let here = stream.local_addr().map_err(failed)?.ip();
    let leader = stream.peer_addr().map_err(failed)?.ip();
    let listener = TcpListener::bind((here, 0)).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let refused =
        |e: Error| Error::Run(format!("worker 0 at {address} has not let this one take part: {e}"));
    let (rank, size) = place.map_or((None, None), |[rank, size]| (Some(rank), Some(size)));
    send(&stream, 0, &Hello { version: VERSION.to_owned(), port, rank, size })?;
    let Welcome { rank, size } = hear(&stream, None, Some(GREETING)).map_err(refused)?;
    tell(&format!("worker {rank} of {size} at {address}"));
    // However long the others take.
    let places: Places = hear(&stream, None, None).map_err(refused)?;
    let Places { run, rank, addresses } = places;
    let mut streams: Vec<Option<TcpStream>> = addresses.iter().map(|_| None).collect();
    let mut names: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
    names[0] = leader.to_string();
    streams[0] = Some(stream);
    // Worker 0 notices which ones are missing, and the run continues without them.
    for (other, address) in addresses.iter().enumerate().take(rank).skip(1) {
        // Who joined worker 0 from its own machine is there for the others too.
        let ip = if address.ip().is_loopback() { leader } else { address.ip() };
        let found = TcpStream::connect_timeout(&SocketAddr::new(ip, address.port()), MEETING);
        streams[other] = found.ok().filter(|stream| send(stream, run, &Greeting { rank }).is_ok());
    }
    let start = Instant::now();
    while streams.iter().enumerate().any(|(i, s)| i > rank && s.is_none())
        && start.elapsed() < MEETING
    {
        match accept(&listener)? {
            Some((stream, _)) => {
                let greeting: Result<Greeting> = hear(&stream, Some(run), Some(MEETING));
                if let Ok(Greeting { rank: other }) = greeting
                    && let Some(place) = streams.get_mut(other).filter(|place| place.is_none())
                {
                    *place = Some(stream);
                }
            }
            None => std::thread::sleep(PAUSE / 10),
        }
    }
    Tcp::new(run, rank, streams, names)
}

/// Whether the other side has closed a connection on which it has nothing to say.
fn has_gone(stream: &TcpStream) -> bool {
    let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    drop(stream.set_nonblocking(false));
    match peeked {
        Ok(bytes) => bytes == 0,
        Err(e) => e.kind() != ErrorKind::WouldBlock,
    }
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, GREETING) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn send(mut stream: &TcpStream, run: u64, what: &impl Serialize) -> Result<()> {
    let failed = |e: String| Error::Run(format!("a worker cannot be greeted: {e}"));
    let text = serde_json::to_string(what).map_err(|e| failed(e.to_string()))?;
    let message = Message::new(Kind::Hello, 0).text(text);
    frame::write(&mut stream, run, Some(&message)).map_err(|e| failed(e.to_string()))
}

/// What the other side says first.
fn hear<T: for<'a> Deserialize<'a>>(
    mut stream: &TcpStream,
    run: Option<u64>,
    within: Option<Duration>,
) -> Result<T> {
    let failed = |e: String| Error::Run(e);
    stream.set_read_timeout(within).map_err(|e| failed(e.to_string()))?;
    match frame::read(&mut stream, run).map_err(|e| failed(why(&e)))? {
        Frame::Message(Message { kind: Kind::Hello, text, .. }) => {
            serde_json::from_str(&text).map_err(|e| failed(e.to_string()))
        }
        Frame::Message(Message { kind: Kind::End, text, .. }) => Err(failed(text)),
        _ => Err(failed("it says something else first".into())),
    }
}

/// A number that no other run has.
fn draw() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
