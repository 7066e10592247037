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

/// A server that cannot be reached for so long is an error.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between attempts to reach it.
const PAUSE: Duration = Duration::from_millis(100);

/// Checks that all that followed `last` is there still.
pub(super) async fn check(name: &str, stream: &mut stream::Stream, last: u64) -> Result<()> {
    let state = stream.info().await.map_err(|e| Error::io(name, e))?.state.clone();
    let gone = |what: String| Err(Error::gone(name, format!("message {last}"), what));
    if last > state.last_sequence {
        let end = state.last_sequence;
        return gone(format!("the stream ends with {end}: it was made anew; start anew too"));
    }
    if last > 0 && last + 1 < state.first_sequence {
        let first = state.first_sequence;
        return gone(format!("the stream's limits removed all before {first}; start anew"));
    }
    Ok(())
}

/// Lives in the thread.
pub(super) struct Receiver {
    pub(super) name: String,
    pub(super) subject: String,
    pub(super) stream: stream::Stream,
    pub(super) connected: Arc<Notify>,
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
        let error = receive(messages, self).await;
        Error::io(&self.name, error)
    }

    async fn consume(&mut self) -> Result<Ordered> {
        check(&self.name, &mut self.stream, self.last).await?;
        let deliver_policy = match self.last {
            0 => DeliverPolicy::All,
            last => DeliverPolicy::ByStartSequence { start_sequence: last + 1 },
        };
        let filter_subject = self.subject.clone();
        let config = OrderedConfig { deliver_policy, filter_subject, ..OrderedConfig::default() };
        let consumer = self.stream.create_consumer(config).await;
        let consumer = consumer.map_err(|e| Error::io(&self.name, e))?;
        consumer.messages().await.map_err(|e| Error::io(&self.name, e))
    }
}

/// Hands messages over as they come, until something fails.
async fn receive(mut messages: Ordered, to: &mut Receiver) -> String {
    loop {
        let mut message = messages.next().await;
        loop {
            match message {
                None => return "the server ended the stream".to_owned(),
                Some(Err(e)) => return e.to_string(),
                Some(Ok(message)) => {
                    let Ok(info) = message.info() else {
                        return "a message that is not from a stream".to_owned();
                    };
                    // The client starts from the first message of all when it has to make its
                    // consumer anew before anything has come.
                    if info.stream_sequence > to.last {
                        to.last = info.stream_sequence;
                        let at = (info.published.unix_timestamp_nanos() / 1000) as u64;
                        let mark = Mark { major: to.last, minor: 0 };
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
