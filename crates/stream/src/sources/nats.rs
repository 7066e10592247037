//! A stream of NATS JetStream.

mod receiver;

use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use async_nats::{ConnectOptions, Event};
use futures_util::future::{self, Either};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};

use crate::error::{Error, Result};
use crate::inlet::Inlet;
use crate::position::Position;
use crate::records::Records;
use crate::source::{Counters, Poll, Source};
use receiver::{Receiver, check, part_of};

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
    /// The part that its records are from.
    part: Arc<str>,
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
        let part = part_of(stream.cached_info()).into();
        let (subject, runtime) = (subject.to_owned(), Some(runtime));
        let (thread, cancel, after) = (None, None, 0);
        Ok(NatsSource {
            name,
            subject,
            stream,
            connected,
            part,
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
            part: self.part.clone(),
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
        let (Some((part, mark)), Some(runtime)) = (position.parts.first_key_value(), &self.runtime)
        else {
            return Ok(());
        };
        runtime.block_on(check(&self.name, &mut self.stream, part, mark.major))?;
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
