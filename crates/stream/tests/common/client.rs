//! A client of HTTP over a plain socket.
#![allow(clippy::unwrap_used, dead_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::WAIT;

/// A client that keeps its connection.
pub struct Client(pub TcpStream);

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        Client(stream)
    }

    /// Sends a raw request; gives the status and the whole answer.
    pub fn send(&mut self, request: &str) -> (u16, String) {
        self.try_send(request).expect("closed without an answer")
    }

    pub fn try_send(&mut self, request: &str) -> Option<(u16, String)> {
        self.0.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let len = head.split("Content-Length: ").nth(1).unwrap();
                let len: usize = len.split("\r\n").next().unwrap().parse().unwrap();
                if body.len() == len {
                    return Some((head.split(' ').nth(1).unwrap().parse().unwrap(), text));
                }
            }
            let mut part = [0; 4096];
            let n = self.0.read(&mut part).ok().filter(|n| *n > 0)?;
            answer.extend_from_slice(&part[..n]);
        }
    }

    pub fn post(&mut self, headers: &str, body: &str) -> (u16, String) {
        self.try_post(headers, body).expect("closed without an answer")
    }

    pub fn try_post(&mut self, headers: &str, body: &str) -> Option<(u16, String)> {
        let len = body.len();
        self.try_send(&format!(
            "POST /events HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {len}\r\n\r\n{body}"
        ))
    }
}
