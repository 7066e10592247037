//! Receives the messages of a stream in the thread of its source.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::stream;
use futures_util::future::{self, Either};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::inlet::Inlet;
use crate::position::Mark;
use crate::records::Records;

/// Messages are handed over in blocks of about this many bytes.
const BLOCK: usize = 64 << 10;

/// Messages that the server may send ahead: all of them are in memory, and each may have a MiB (or what `max_payload` says).
const AHEAD: i64 = 64;

/// A server that cannot be reached for so long is an error.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between attempts to reach it.
const PAUSE: Duration = Duration::from_millis(100);

/// Between looks at whether the stream is still the one that was opened.
const LOOK: Duration = Duration::from_secs(2);

/// Checks that it is the stream of the part `part`, and that all that followed `last` is there still.
pub(super) async fn check(
    name: &str,
    stream: &mut stream::Stream,
    part: &str,
    last: u64,
) -> Result<()> {
    let info = stream.info().await.map_err(|e| Error::io(name, e))?;
    let state = info.state.clone();
    let gone = |what: String| Err(Error::gone(name, format!("message {last}"), what));
    // Positions of earlier versions do not say when the stream was made.
    if (last > state.last_sequence) || (!part.is_empty() && part != part_of(info)) {
        let what = "the stream was deleted and made again; start again with --from-start";
        return gone(what.into());
    }
    if last > 0 && last + 1 < state.first_sequence {
        let first = state.first_sequence;
        return gone(format!(
            "the stream's limits removed all before {first}; let it keep more, and start again with \
             --from-start"
        ));
    }
    Ok(())
}

/// The name of the only part of a stream: when it was made, since another one of its name counts from
/// 1 again.
pub(super) fn part_of(info: &stream::Info) -> String {
    format!("made {}", info.created.unix_timestamp_nanos() / 1_000_000)
}

/// Lives in the thread.
pub(super) struct Receiver {
    pub(super) name: String,
    pub(super) subject: String,
    pub(super) stream: stream::Stream,
    pub(super) connected: Arc<Notify>,
    /// The part that its records are from, see [`part_of`].
    pub(super) part: Arc<str>,
    /// The last message that was received.
    pub(super) last: u64,
    /// When the consumer failed, until there is one again.
    pub(super) lost: Option<Instant>,
    /// Received and not handed over yet.
    pub(super) records: Records,
    pub(super) inlet: Arc<Inlet>,
    pub(super) max_record: usize,
}

impl Receiver {
    /// Receives until something fails for good: a server that was restarted has forgotten the
    /// consumer, and one that is away may come again.
    pub(super) async fn run(mut self) -> Error {
        loop {
            let connected = self.connected.clone();
            let error = match future::select(pin!(self.receive()), pin!(connected.notified())).await
            {
                Either::Left((error, _)) => Some(error),
                // Without this the client would notice after some missed heartbeats only.
                Either::Right(_) => None,
            };
            // What came before counts as received.
            leave(&self.inlet, &mut self.records).await;
            if let Some(error) = error {
                let lost = *self.lost.get_or_insert_with(Instant::now);
                if matches!(error, Error::Gone { .. }) || lost.elapsed() > PATIENCE {
                    return error;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Makes a consumer and receives from it.
    async fn receive(&mut self) -> Error {
        let messages = match self.consume().await {
            Ok(messages) => messages,
            Err(e) => return e,
        };
        self.lost = None;
        receive(messages, self).await
    }

    async fn consume(&mut self) -> Result<Ordered> {
        check(&self.name, &mut self.stream, &self.part, self.last).await?;
        let deliver_policy = match self.last {
            0 => DeliverPolicy::All,
            last => DeliverPolicy::ByStartSequence { start_sequence: last + 1 },
        };
        let filter_subject = self.subject.clone();
        let ahead = OrderedConfig { max_batch: AHEAD, ..OrderedConfig::default() };
        let config = OrderedConfig { deliver_policy, filter_subject, ..ahead };
        let consumer = self.stream.create_consumer(config).await;
        let consumer = consumer.map_err(|e| Error::io(&self.name, e))?;
        consumer.messages().await.map_err(|e| Error::io(&self.name, e))
    }
}

/// Hands messages over as they come, until something fails.
async fn receive(mut messages: Ordered, to: &mut Receiver) -> Error {
    let mut looked = Instant::now();
    loop {
        let next = tokio::time::timeout(LOOK, messages.next()).await;
        // The client waits for ever for a message of a stream that was deleted and made again.
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            if let Err(e @ Error::Gone { .. }) =
                check(&to.name, &mut to.stream, &to.part, to.last).await
            {
                return e;
            }
        }
        let Ok(mut message) = next else { continue };
        loop {
            match message {
                None => return Error::io(&to.name, "the server ended the stream"),
                Some(Err(e)) => return Error::io(&to.name, e),
                Some(Ok(message)) => {
                    let Ok(info) = message.info() else {
                        return Error::io(&to.name, "a message that is not from a stream");
                    };
                    // Messages may be missing since they were deleted one by one, or since the
                    // stream's limits removed them before they were read.
                    let skipped = to.last > 0 && info.stream_sequence > to.last + 1;
                    if skipped && to.subject.is_empty() {
                        let (name, part) = (to.name.clone(), to.part.clone());
                        let checked = check(&name, &mut to.stream, &part, to.last).await;
                        if let Err(e @ Error::Gone { .. }) = checked {
                            return e;
                        }
                    }
                    // The client starts from the first message of all when it has to make its
                    // consumer anew before anything has come.
                    if info.stream_sequence > to.last {
                        to.last = info.stream_sequence;
                        let at = (info.published.unix_timestamp_nanos() / 1000) as u64;
                        let mark = Mark { major: to.last, minor: 0 };
                        // The only part: positions of earlier versions name none.
                        to.records.follow_part(&to.part);
                        if message.payload.len() > to.max_record {
                            to.inlet.counters(|c| c.too_long += 1);
                            to.records.push_too_long(&message.payload, mark, at);
                        } else {
                            to.records.push(&message.payload, mark, at, to.last == 1);
                        }
                    }
                }
            }
            if to.records.footprint() >= BLOCK {
                leave(&to.inlet, &mut to.records).await;
            }
            // What has arrived already goes along.
            match messages.next().now_or_never() {
                Some(more) => message = more,
                None => break,
            }
        }
        leave(&to.inlet, &mut to.records).await;
    }
}

/// Waits for room without keeping the client from answering its server.
async fn leave(inlet: &Inlet, records: &mut Records) {
    while !inlet.has_room() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if !records.is_empty() {
        inlet.push(records);
    }
}
