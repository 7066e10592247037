//! A stream of NATS JetStream.

use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::{self, stream};
use async_nats::{ConnectOptions, Event};
use futures_util::future::{self, Either};
use futures_util::{FutureExt, StreamExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};

use crate::error::{Error, Result};
use crate::inlet::Inlet;
use crate::position::{Mark, Position};
use crate::records::Records;
use crate::source::{Counters, Poll, Source};

/// Messages are handed over in blocks of about this many bytes.
const BLOCK: usize = 64 << 10;

/// A server that cannot be reached for so long is an error.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between attempts to reach it.
const PAUSE: Duration = Duration::from_millis(100);

/// The messages of a JetStream stream, in the order of the stream, from a sequence number on.
///
/// The stream is only read: nothing is acknowledged to the server, since the position is in the
/// checkpoint. So the stream must keep its messages long enough (`limits` retention); what its
/// limits removed after the position is [`Error::Gone`] when going on. Lost connections come again
/// by themselves. The acknowledged time is when the server stored a message.
#[derive(Debug)]
pub struct NatsSource {
    name: String,
    subject: String,
    stream: stream::Stream,
    /// Tells that a lost connection has come again.
    connected: Arc<Notify>,
    /// All up to this was read before.
    after: u64,
    /// Before the first poll; then it runs in the thread.
    runtime: Option<Runtime>,
    thread: Option<JoinHandle<()>>,
    cancel: Option<oneshot::Sender<()>>,
    inlet: Arc<Inlet>,
    max_record: usize,
}

impl NatsSource {
    /// Reads the stream `stream` of `server` (`[USER:PASSWORD@]HOST:PORT`); only messages of
    /// `subject`, unless that is empty. Longer ones than `max_record` bytes are passed over.
    ///
    /// # Errors
    /// If the server cannot be reached or has no such stream.
    pub fn connect(
        server: &str,
        stream: &str,
        subject: &str,
        max_record: usize,
    ) -> Result<NatsSource> {
        let host = server.rsplit('@').next().unwrap_or(server);
        let name = format!("nats://{host}/{stream}");
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::io(&name, e))?;
        let inlet = Arc::new(Inlet::default());
        let (connections, connected) = (inlet.clone(), Arc::new(Notify::new()));
        let again = connected.clone();
        let options = ConnectOptions::new().event_callback(move |event| {
            let count = |c: &mut Counters| {
                c.reopened += 1;
                c.reopened
            };
            if event == Event::Connected && connections.counters(count) > 1 {
                again.notify_one();
            }
            future::ready(())
        });
        let stream = runtime.block_on(async {
            let client = options.connect(format!("nats://{server}")).await;
            let client = client.map_err(|e| Error::io(&name, format!("cannot connect: {e}")))?;
            let found = jetstream::new(client).get_stream(stream).await;
            found.map_err(|e| {
                let what = format!("no stream {stream}: {e}; make it with `nats stream add`");
                Error::io(&name, what)
            })
        })?;
        let (subject, runtime) = (subject.to_owned(), Some(runtime));
        let (thread, cancel, after) = (None, None, 0);
        Ok(NatsSource {
            name,
            subject,
            stream,
            connected,
            after,
            runtime,
            thread,
            cancel,
            inlet,
            max_record,
        })
    }

    /// Starts the thread that receives.
    fn start(&mut self) -> Result<()> {
        let Some(runtime) = self.runtime.take() else { return Ok(()) };
        let (cancel, cancelled) = oneshot::channel();
        let inlet = self.inlet.clone();
        let receiver = Receiver {
            name: self.name.clone(),
            subject: self.subject.clone(),
            stream: self.stream.clone(),
            connected: self.connected.clone(),
            last: self.after,
            lost: None,
            records: Records::default(),
            inlet: inlet.clone(),
            max_record: self.max_record,
        };
        let body = move || {
            let error = runtime.block_on(async {
                match future::select(pin!(receiver.run()), cancelled).await {
                    Either::Left((error, _)) => Some(error),
                    Either::Right(_) => None,
                }
            });
            inlet.end(error);
        };
        let thread = std::thread::Builder::new().name("receive nats".to_owned()).spawn(body);
        self.thread = Some(thread.map_err(|e| Error::io(&self.name, e))?);
        self.cancel = Some(cancel);
        Ok(())
    }
}

/// Checks that all that followed `last` is there still.
async fn check(name: &str, stream: &mut stream::Stream, last: u64) -> Result<()> {
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
struct Receiver {
    name: String,
    subject: String,
    stream: stream::Stream,
    connected: Arc<Notify>,
    /// The last message that was received.
    last: u64,
    /// When the consumer failed, until there is one again.
    lost: Option<Instant>,
    /// Received and not handed over yet.
    records: Records,
    inlet: Arc<Inlet>,
    max_record: usize,
}

impl Receiver {
    /// Receives until something fails for good: a server that was restarted has forgotten the
    /// consumer, and one that is away may come again.
    async fn run(mut self) -> Error {
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
                        if message.payload.len() > to.max_record {
                            to.inlet.counters(|c| c.too_long += 1);
                        } else {
                            let mark = Mark { major: to.last, minor: 0 };
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

impl Drop for NatsSource {
    fn drop(&mut self) {
        self.inlet.close();
        drop(self.cancel.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // What it has to tell was told through the inlet.
        }
    }
}

impl Source for NatsSource {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn not_seekable(&self) -> Option<&'static str> {
        None
    }

    fn seek(&mut self, position: &Position) -> Result<()> {
        let (Some(mark), Some(runtime)) = (position.mark(""), &self.runtime) else {
            return Ok(());
        };
        runtime.block_on(check(&self.name, &mut self.stream, mark.major))?;
        self.after = mark.major;
        Ok(())
    }

    fn poll(&mut self, records: &mut Records, _bytes: usize, wait: Duration) -> Result<Poll> {
        self.start()?;
        self.inlet.poll(records, wait)
    }

    fn commit(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }

    fn counters(&self) -> Counters {
        self.inlet.counters(|c| c.clone())
    }
}
