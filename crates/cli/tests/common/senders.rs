//! Clients that send events and wait for their acknowledgement, in the plain text of each protocol:
//! a few lines, and no other client's buffering in between.

use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

pub trait Sender: Send {
    /// Sends events, and returns once all of them are acknowledged.
    fn send(&mut self, lines: &[String]) -> Result<Acknowledged>;
}

/// The first and the last sequence number of acknowledged events, where the answer tells.
pub type Acknowledged = Option<(u64, u64)>;

struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn open(port: u16) -> Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Connection { reader: BufReader::new(stream) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line)? {
            0 => Err(Error::other("the server is gone")),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    fn text(&mut self, len: usize) -> Result<String> {
        let mut bytes = vec![0; len];
        self.reader.read_exact(&mut bytes)?;
        String::from_utf8(bytes).map_err(Error::other)
    }
}

/// Posts to a learner; connects when it sends, since the learner comes and goes.
pub struct Http {
    pub port: u16,
    /// Whether it asks to wait for answers.
    pub waits: bool,
    connection: Option<Connection>,
}

impl Http {
    pub fn new(port: u16) -> Http {
        Http { port, waits: false, connection: None }
    }

    /// Posts records, and gives what is answered.
    pub fn post(&mut self, lines: &[String]) -> Result<serde_json::Value> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(self.port)?),
        };
        let body = lines.join("\n");
        let head = "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Type: \
                    application/x-ndjson\r\n";
        let prefer = if self.waits { "Prefer: wait=20\r\n" } else { "" };
        let head = format!("{head}{prefer}Content-Length: ");
        connection.write(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes())?;
        let status = connection.line()?;
        let mut len = 0;
        loop {
            let line = connection.line()?.to_lowercase();
            match line.strip_prefix("content-length:") {
                Some(n) => len = n.trim().parse().map_err(Error::other)?,
                None if line.is_empty() => break,
                None => {}
            }
        }
        let answer = connection.text(len)?;
        if !status.contains(" 200 ") {
            return Err(Error::other(answer));
        }
        Ok(serde_json::from_str(&answer)?)
    }
}

impl Sender for Http {
    fn send(&mut self, lines: &[String]) -> Result<Acknowledged> {
        // What is no JSON is refused, and with it all that was sent beside it.
        let valid = |line: &&String| serde_json::from_str::<serde_json::Value>(line).is_ok();
        let lines: Vec<String> = lines.iter().filter(valid).cloned().collect();
        if lines.is_empty() {
            return Ok(None);
        }
        let answer = self.post(&lines).inspect_err(|_| self.connection = None)?;
        let (accepted, last) = (answer["accepted"].as_u64(), answer["sequence"].as_u64());
        let (accepted, last) = (accepted.unwrap_or_default(), last.unwrap_or_default());
        assert_eq!(accepted, lines.len() as u64);
        Ok(Some((last + 1 - accepted, last)))
    }
}

/// Publishes to a JetStream stream `EVENTS`, which it makes.
pub struct Nats(Connection);

impl Nats {
    pub fn new(port: u16) -> Nats {
        let mut connection = Connection::open(port).unwrap();
        let info = connection.line().unwrap();
        assert!(info.starts_with("INFO "), "{info}");
        connection.write(b"CONNECT {\"verbose\":false}\r\nSUB _INBOX.acks 1\r\n").unwrap();
        let mut nats = Nats(connection);
        let made = nats.ask(
            "$JS.API.STREAM.CREATE.EVENTS",
            &[r#"{"name":"EVENTS","subjects":["events.>"],"storage":"file"}"#.to_owned()],
        );
        made.unwrap();
        nats
    }

    fn ask(&mut self, subject: &str, payloads: &[String]) -> Result<()> {
        let publish = |p: &String| format!("PUB {subject} _INBOX.acks {}\r\n{p}\r\n", p.len());
        self.0.write(payloads.iter().map(publish).collect::<String>().as_bytes())?;
        let mut answered = 0;
        while answered < payloads.len() {
            let line = self.0.line()?;
            if line == "PING" {
                self.0.write(b"PONG\r\n")?;
            } else if let Some(len) =
                line.strip_prefix("MSG ").and_then(|m| m.split_whitespace().last())
            {
                let answer = self.0.text(len.parse::<usize>().map_err(Error::other)? + 2)?;
                if answer.contains("\"error\"") {
                    return Err(Error::other(answer));
                }
                answered += 1;
            } else if line != "PONG" && !line.starts_with("INFO ") {
                return Err(Error::other(line));
            }
        }
        Ok(())
    }
}

impl Sender for Nats {
    fn send(&mut self, lines: &[String]) -> Result<Acknowledged> {
        // Only a learner that is killed may fail; a broker stays.
        self.ask("events.a", lines).unwrap();
        Ok(None)
    }
}

/// Adds to a Redis stream `events`.
pub struct Redis(Connection);

impl Redis {
    pub fn new(port: u16) -> Redis {
        Redis(Connection::open(port).unwrap())
    }
}

impl Sender for Redis {
    fn send(&mut self, lines: &[String]) -> Result<Acknowledged> {
        self.add(lines).unwrap();
        Ok(None)
    }
}

impl Redis {
    fn add(&mut self, lines: &[String]) -> Result<()> {
        let add = |line: &String| {
            let words = ["XADD", "events", "*", "event", line];
            let words = words.map(|w| format!("${}\r\n{w}\r\n", w.len()));
            format!("*5\r\n{}", words.concat())
        };
        self.0.write(lines.iter().map(add).collect::<String>().as_bytes())?;
        for _ in lines {
            let head = self.0.line()?;
            let Some(len) = head.strip_prefix('$') else { return Err(Error::other(head)) };
            self.0.text(len.parse::<usize>().map_err(Error::other)? + 2)?;
        }
        Ok(())
    }
}
