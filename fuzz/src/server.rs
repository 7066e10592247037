//! Whole connections to the server of HTTP.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tidemill_stream::sources::{HttpOptions, HttpSource};
use tidemill_stream::{Fsync, Log, LogOptions};

/// Any connection ends within this time.
const TIME: Duration = Duration::from_secs(2);

fn start() -> Mutex<HttpSource> {
    let log = LogOptions {
        fsync: Fsync::Never,
        segment_bytes: 1 << 20,
        max_bytes: 4 << 20,
        drop_unread: true,
        ..LogOptions::default()
    };
    let log = Log::open(crate::folder().join("events"), log).expect("an empty log");
    let options = HttpOptions { max_body: 1 << 16, all_bodies: 1 << 18, ..HttpOptions::default() };
    Mutex::new(HttpSource::bind("127.0.0.1:0", log, &options).expect("a free port"))
}

/// Sends the bytes, and reads what is answered.
pub(crate) fn connection(bytes: &[u8]) {
    static SERVER: OnceLock<Mutex<HttpSource>> = OnceLock::new();
    let address = SERVER.get_or_init(start).lock().expect("one thread").address();
    let mut client = TcpStream::connect(address).expect("the server listens");
    client.set_read_timeout(Some(TIME)).expect("a time");
    // The server may have closed already.
    let _ = client.write_all(bytes);
    let _ = client.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match client.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
        Err(e) => panic!("no end of the answer: {e}: {}", String::from_utf8_lossy(&answer)),
    }
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."));
}
