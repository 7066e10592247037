//! A thread that accepts connections and reads their requests, until it is stopped.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::connections::{Connections, Ticket};
use super::service::{Service, TOO_MANY};
use super::tls::Tls;
use crate::error::{Error, Result};

/// The head of a request has at most so many bytes and headers.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
/// A connection reads at most so much at once.
const READ: usize = 64 << 10;
/// Requests that write to the log at once; they share its flushes.
const WRITERS: usize = 64;
/// Requests that are being answered have this long at the end.
const END: Duration = Duration::from_secs(1);
/// How long a closed connection is read on, so that its peer, which may still be sending, gets to read the answer.
const LINGER: Duration = Duration::from_secs(2);
/// And how many bytes.
const LINGER_BYTES: usize = 16 << 20;

/// The thread of a server, stopped when this is dropped.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    connections: Arc<Connections>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on one of `addresses`.
    pub(super) fn start(
        address: &str,
        addresses: &[SocketAddr],
        connections: Arc<Connections>,
        service: Service,
        tls: Option<Tls>,
    ) -> Result<Server> {
        let fail = |e| Error::io(address, e);
        let listener = TcpListener::bind(addresses).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(WRITERS)
            .thread_name("http log")
            .build()
            .map_err(fail)?;
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared { connections: connections.clone(), service, tls });
        let run = move || run(runtime, shared, listener, stopped);
        let thread = std::thread::Builder::new().name("http".into()).spawn(run).map_err(fail)?;
        Ok(Server { address, connections, stop, thread: Some(thread) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections taken so far.
    pub(super) fn accepted(&self) -> u64 {
        self.connections.accepted()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // It has nothing to tell.
        }
    }
}

struct Shared {
    connections: Arc<Connections>,
    service: Service,
    tls: Option<Tls>,
}

fn run(
    runtime: Runtime,
    shared: Arc<Shared>,
    listener: TcpListener,
    stopped: watch::Receiver<bool>,
) {
    runtime.block_on(async {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        let late = shared.connections.clone();
        tokio::spawn(async move {
            loop {
                sleep(late.pause()).await;
                late.close_late(Instant::now());
            }
        });
        // Each connection has a sender: once all are gone, so are the connections.
        let (open, mut closed) = mpsc::channel::<()>(1);
        accept(&shared, &listener, &open, stopped).await;
        drop((listener, open));
        let _ = timeout(END, closed.recv()).await;
    });
    // What is being appended to the log is done when this returns.
    runtime.shutdown_timeout(END);
}

/// Takes connections until the server is stopped.
async fn accept(
    shared: &Arc<Shared>,
    listener: &tokio::net::TcpListener,
    open: &mpsc::Sender<()>,
    stopped: watch::Receiver<bool>,
) {
    let mut stop = pin!(is_stopped(stopped.clone()));
    let mut next = async || {
        poll_fn(|cx| match stop.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => listener.poll_accept(cx).map(Some),
        })
        .await
    };
    while let Some(accepted) = next().await {
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors, say: what is open may end meanwhile.
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let Some(ticket) = shared.connections.admit(peer.ip(), Instant::now()) else {
            refuse(shared, stream);
            continue;
        };
        let id = ticket.id();
        let served = serve(shared.clone(), stream, ticket, stopped.clone());
        let open = open.clone();
        let task = tokio::spawn(async move {
            served.await;
            drop(open);
        });
        shared.connections.served_by(id, task.abort_handle());
        // One that was closed for this gives its descriptor back before the next one is taken.
        tokio::task::yield_now().await;
    }
}

async fn is_stopped(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone has stopped as well.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Says that there are too many connections, if that can be said at once.
fn refuse(shared: &Shared, stream: TcpStream) {
    if shared.tls.is_none()
        && let Ok(mut stream) = stream.into_std()
    {
        let _ = io::Write::write(&mut stream, TOO_MANY.as_bytes());
    }
}

async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    ticket: Ticket,
    stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    match &shared.tls {
        None => requests(&shared, stream, ticket, stopped).await,
        Some(tls) => {
            // As the head of a request: it has as long.
            ticket.received();
            if let Ok(stream) = tls.accept(stream).await {
                requests(&shared, stream, ticket, stopped).await;
            }
        }
    }
}

/// Answers the requests of a connection until its end.
async fn requests(
    shared: &Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ticket: Ticket,
    stopped: watch::Receiver<bool>,
) {
    let ticket = Arc::new(ticket);
    let io = TokioIo::new(Watched { stream, ticket: ticket.clone() });
    let service = service_fn(|request| {
        let (shared, ticket) = (shared.clone(), ticket.clone());
        Box::pin(async move { Ok::<_, Infallible>(shared.service.answer(request, &ticket).await) })
    });
    let mut connection = Builder::new()
        .half_close(true)
        // So that a request with an `Idempotency-Key` is answered the second time as it was the first time.
        .auto_date_header(false)
        .title_case_headers(true)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .max_buf_size(READ)
        // What is late is closed by `Connections`.
        .header_read_timeout(None)
        .serve_connection(io, service);
    let mut stop = pin!(is_stopped(stopped));
    let mut stopping = false;
    // Errors are those of the peer, who is told what can be told.
    let _ = poll_fn(|cx| {
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        connection.poll_without_shutdown(cx)
    })
    .await;
    let io = connection.into_parts().io.into_inner();
    if !stopping {
        let _ = timeout(LINGER, linger(io)).await;
    }
}

/// Ends what is written, and reads on.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await?;
    let (mut part, mut read) = (vec![0; 8 << 10], 0);
    while read < LINGER_BYTES {
        let mut buffer = ReadBuf::new(&mut part);
        poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut buffer)).await?;
        match buffer.filled().len() {
            0 => break,
            n => read += n,
        }
    }
    Ok(())
}

/// A stream that says when bytes come.
struct Watched<T> {
    stream: T,
    ticket: Arc<Ticket>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.ticket.received();
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
