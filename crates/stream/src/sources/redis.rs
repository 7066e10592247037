//! A Redis stream.

use std::time::{Duration, Instant};

use redis::{Client, Connection, Value, cmd};

use crate::error::{Error, Result};
use crate::position::{Mark, Position};
use crate::records::Records;
use crate::source::{Counters, Poll, Source};

/// Entries that are asked for at once, at most and at first.
const COUNT: usize = 512;
const FIRST_COUNT: usize = 16;

/// As many are asked for as take about so many bytes by the size of those before: the server does not say how long they are,
/// and all of an answer is in memory.
const ANSWER: usize = 1 << 20;

/// A server that cannot be reached for so long is an error.
const PATIENCE: Duration = Duration::from_secs(60);

const CONNECT: Duration = Duration::from_secs(5);

/// One question waits no longer.
const LONGEST: Duration = Duration::from_secs(10);

/// Between attempts to reach it.
const PAUSE: Duration = Duration::from_millis(100);

/// The entries of a Redis stream, from an id on.
///
/// An entry of one field gives that field's value; one of several fields gives a JSON object, in which
/// what is written like a number is one (Redis knows texts only), and all else a text. The acknowledged time is that of the id, which is the server's clock when it was told
/// to make the id. The stream is only read, unless `trim` asks to remove what a checkpoint covers.
/// Lost connections come again by themselves.
pub struct RedisSource {
    name: String,
    key: String,
    client: Client,
    connection: Option<Connection>,
    lost: Option<Instant>,
    last: Mark,
    /// How many entries had ever been added up to that one, at most; none before it is known.
    passed: Option<u64>,
    first: bool,
    /// Entries that are asked for next.
    count: usize,
    /// Bytes of the entries of the last answer, also of those that are too long.
    answered: usize,
    trim: bool,
    max_record: usize,
    text: Vec<u8>,
    counters: Counters,
}

impl RedisSource {
    /// Reads the stream `key` of `server` (`[USER:PASSWORD@]HOST:PORT`), which need not exist yet.
    /// With `trim`, entries before the last committed one are removed. Longer entries than
    /// `max_record` bytes are passed over.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub fn connect(server: &str, key: &str, trim: bool, max_record: usize) -> Result<RedisSource> {
        let host = server.rsplit('@').next().unwrap_or(server);
        let name = format!("redis://{host}/{key}");
        let client = Client::open(format!("redis://{server}/"));
        let client = client.map_err(|e| Error::Usage(format!("{name}: {e}")))?;
        let mut source = RedisSource {
            name,
            key: key.to_owned(),
            client,
            connection: None,
            lost: None,
            last: Mark::default(),
            passed: None,
            first: true,
            count: FIRST_COUNT,
            answered: 0,
            trim,
            max_record,
            text: Vec::new(),
            counters: Counters::default(),
        };
        let failed = source.connection().err();
        match failed {
            Some(e) => Err(Error::io(&source.name, format!("cannot connect: {e}"))),
            None => Ok(source),
        }
    }

    fn connection(&mut self) -> redis::RedisResult<&mut Connection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connection = self.client.get_connection_with_timeout(CONNECT)?;
                // A server that hangs is like one that is away.
                connection.set_read_timeout(Some(2 * LONGEST))?;
                self.counters.reopened += 1;
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }

    fn ask(&mut self, command: &redis::Cmd) -> redis::RedisResult<Value> {
        let answer = self.connection().and_then(|connection| command.query(connection));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    /// Waits for entries, and reads them at once with the one before, whose presence shows that none
    /// between was removed: streams are trimmed from their oldest entry on.
    fn read(&mut self, block: Duration) -> redis::RedisResult<Value> {
        let last = id(self.last);
        // Zero would mean for ever.
        if !block.is_zero() {
            let mut wait = cmd("XREAD");
            wait.arg("COUNT").arg(1).arg("BLOCK").arg(block.as_millis().max(1) as u64);
            wait.arg("STREAMS").arg(&self.key).arg(&last);
            if let Value::Nil = self.ask(&wait)? {
                return Ok(Value::Nil);
            }
        }
        let mut both = redis::pipe();
        both.atomic().cmd("XRANGE").arg(&self.key).arg(&last).arg(&last);
        both.cmd("XREAD").arg("COUNT").arg(self.count).arg("STREAMS").arg(&self.key).arg(&last);
        let answer = self.connection().and_then(|connection| both.query(connection));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    /// Whether the entry `at`, which is no longer there, is the last one that was ever added or the
    /// last one that was removed, so that none after it is missing.
    fn is_last_removed(&mut self, at: &str) -> bool {
        let info = self.info();
        [&b"last-generated-id"[..], b"max-deleted-entry-id"]
            .into_iter()
            .any(|name| field(&info, name).and_then(bytes) == Some(at.as_bytes()))
    }

    /// What the server says of the stream; nothing where there is none.
    fn info(&mut self) -> Value {
        let info = cmd("XINFO").arg("STREAM").arg(&self.key).to_owned();
        self.ask(&info).unwrap_or(Value::Nil)
    }

    /// How many entries were ever added to the stream, and how many of them are no longer there; none of
    /// a server before 7.0.
    fn added_and_removed(&mut self) -> Option<(u64, u64)> {
        let info = self.info();
        let number = |name: &[u8]| match field(&info, name)? {
            Value::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        };
        let added = number(b"entries-added")?;
        Some((added, added.saturating_sub(number(b"length")?)))
    }

    /// Whether entries were removed that had not been read, when the last one that was is gone and
    /// `read` more have come.
    fn has_missed(&mut self, read: u64) -> bool {
        match (self.passed, self.added_and_removed()) {
            (Some(passed), Some((_, removed))) => removed > passed + read,
            _ => !self.is_last_removed(&id(self.last)),
        }
    }

    /// What a failure means: nothing yet while the server may come again.
    fn failed(&mut self, error: &redis::RedisError, wait: Duration) -> Result<Poll> {
        let refused = error.code().is_some_and(|code| code != "LOADING");
        let lost = *self.lost.get_or_insert_with(Instant::now);
        if refused || lost.elapsed() > PATIENCE {
            return Err(Error::io(&self.name, error));
        }
        std::thread::sleep(wait.min(PAUSE));
        Ok(Poll::Idle)
    }

    /// Appends an entry: its id and its fields. `None` if it is not one.
    fn take(&mut self, entry: &Value, records: &mut Records) -> Option<()> {
        let [id, fields] = array(entry)? else { return None };
        let id = parse(bytes(id)?)?;
        self.text.clear();
        let record = match array(fields)? {
            [_, value] => bytes(value)?,
            fields => {
                for (i, field) in fields.chunks_exact(2).enumerate() {
                    self.text.extend_from_slice(if i == 0 { b"{" } else { b"," });
                    quote(bytes(&field[0])?, &mut self.text);
                    self.text.push(b':');
                    let value = bytes(&field[1])?;
                    match is_number(value) {
                        true => self.text.extend_from_slice(value),
                        false => quote(value, &mut self.text),
                    }
                }
                self.text.push(b'}');
                &self.text
            }
        };
        self.last = id;
        self.answered += record.len();
        if record.len() > self.max_record {
            self.counters.too_long += 1;
            records.push_too_long(record, id, id.major * 1000);
            return Some(());
        }
        self.counters.records += 1;
        self.counters.bytes += record.len() as u64;
        records.push(record, id, id.major * 1000, self.first);
        self.first = false;
        Some(())
    }
}

/// A field of an answer that is names and values in turn.
fn field<'a>(info: &'a Value, name: &[u8]) -> Option<&'a Value> {
    let mut fields = array(info)?.chunks_exact(2);
    fields.find(|field| bytes(&field[0]) == Some(name)).map(|field| &field[1])
}

fn array(value: &Value) -> Option<&[Value]> {
    if let Value::Array(items) = value { Some(items) } else { None }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    if let Value::BulkString(bytes) = value { Some(bytes) } else { None }
}

fn parse(id: &[u8]) -> Option<Mark> {
    let (major, minor) = std::str::from_utf8(id).ok()?.split_once('-')?;
    Some(Mark { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

fn id(mark: Mark) -> String {
    format!("{}-{}", mark.major, mark.minor)
}

/// Whether a text is a number of JSON: no leading zeros, which are those of ids and codes.
fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return false;
    }
    let mut rest = &text[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let len = digits(fraction);
        if len == 0 {
            return false;
        }
        rest = &fraction[len..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent =
            exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
        let len = digits(exponent);
        return len > 0 && len == exponent.len();
    }
    rest.is_empty()
}

/// A JSON string; what is not UTF-8 in it is replaced.
fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for c in String::from_utf8_lossy(text).bytes() {
        match c {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', c]),
            0..0x20 => out.extend_from_slice(format!("\\u{c:04x}").as_bytes()),
            _ => out.push(c),
        }
    }
    out.push(b'"');
}

impl Source for RedisSource {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn not_seekable(&self) -> Option<&'static str> {
        None
    }

    /// The entry at the position must be there still, since nothing else tells whether entries
    /// after it were trimmed; only where it is the stream's last id may it be gone.
    fn seek(&mut self, position: &Position) -> Result<()> {
        let Some(mark) = position.mark("") else { return Ok(()) };
        let at = id(mark);
        let fail = |e, source: &RedisSource| Error::io(&source.name, e);
        let range = cmd("XRANGE").arg(&self.key).arg(&at).arg(&at).to_owned();
        let found = self.ask(&range).map_err(|e| fail(e, self))?;
        if array(&found).is_none_or(<[Value]>::is_empty) {
            let is_whole = self.is_last_removed(&at);
            if !is_whole {
                let what = "that entry is no longer there, and others may be missing after it; \
                            trim only what checkpoints cover (keep the last entry), or start again \
                            with --from-start";
                return Err(Error::gone(&self.name, position, what));
            }
        }
        (self.last, self.first, self.passed) = (mark, false, None);
        Ok(())
    }

    fn poll(&mut self, records: &mut Records, bytes: usize, wait: Duration) -> Result<Poll> {
        let (len, limit) = (records.len(), records.footprint() + bytes.max(1));
        let mut block = wait.min(LONGEST);
        while records.footprint() < limit {
            let answers = match self.read(block) {
                Ok(answers) => answers,
                Err(_) if records.len() > len => break,
                Err(e) => return self.failed(&e, wait),
            };
            self.lost = None;
            let [before, answer] = array(&answers).unwrap_or_default() else { break };
            let Some([stream]) = array(answer) else { break };
            let entries = array(stream).and_then(|s| s.get(1)).and_then(array).unwrap_or_default();
            let is_gone = array(before).is_none_or(<[Value]>::is_empty);
            let read = entries.len() as u64;
            if self.passed.is_none() && read > 0 {
                let starts = self.last == Mark::default();
                let known = self.added_and_removed();
                // Where reading continues from an entry, what was added before it is not known exactly.
                self.passed = known.map(|(a, r)| if starts { r } else { a.saturating_sub(read) });
            }
            if self.last != Mark::default() && is_gone && self.has_missed(read) {
                let what = "entries after it were removed before they were read; let the stream keep \
                            more of them (MAXLEN), and start again with --from-start";
                return Err(Error::gone(&self.name, format!("entry {}", id(self.last)), what));
            }
            self.answered = 0;
            for entry in entries {
                if self.take(entry, records).is_none() {
                    return Err(Error::io(&self.name, format!("no stream entry: {entry:?}")));
                }
            }
            self.passed = self.passed.map(|passed| passed + read);
            let (asked, each) = (self.count, self.answered / entries.len().max(1));
            self.count = (ANSWER / each.max(1)).clamp(1, (4 * asked).min(COUNT));
            if entries.len() < asked {
                break;
            }
            block = Duration::ZERO;
        }
        Ok(if records.len() > len { Poll::Some } else { Poll::Idle })
    }

    fn commit(&mut self, position: &Position) -> Result<()> {
        let Some(mark) = position.mark("").filter(|_| self.trim) else { return Ok(()) };
        // Keeps the entry itself: seek needs it. Exactness is not needed, the next one gets it.
        let trim = cmd("XTRIM").arg(&self.key).arg("MINID").arg("~").arg(id(mark)).to_owned();
        match self.ask(&trim) {
            Err(e) if e.code().is_some() => Err(Error::io(&self.name, e)),
            _ => Ok(()), // A lost connection shows at the next poll.
        }
    }

    fn counters(&self) -> Counters {
        self.counters.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::is_number;

    #[test]
    fn numbers_of_json() {
        let numbers = ["0", "-1", "12.50", "1e9", "-0.5E-3", "1E+2"];
        assert!(numbers.iter().all(|n| is_number(n.as_bytes())));
        let texts =
            ["", "-", "007", "1.", ".5", "+1", "1e", "NaN", "Inf", "1 ", "0x1f", "1,5", "12-3"];
        assert!(!texts.iter().any(|t| is_number(t.as_bytes())));
    }
}
