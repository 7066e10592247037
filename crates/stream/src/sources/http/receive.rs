//! Reading a request's body, in the memory and the time that it has.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};

use super::body::Refused;
use super::budget::Held;

/// What a body may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    /// Bytes at most.
    pub(super) bytes: usize,
    /// So many bytes in each `time`, or the end.
    pub(super) least: usize,
    /// See `least`.
    pub(super) time: Duration,
}

/// A body too large.
pub(super) fn too_large() -> Refused {
    (413, "the body is too large; send fewer events at once".into())
}

/// More memory than is left.
pub(super) fn too_many() -> Refused {
    (503, "too many large bodies at once".into())
}

/// All of a body. Memory is taken as bytes come: what a sender promises takes none.
pub(super) async fn receive(
    mut incoming: Incoming,
    allowed: Allowed,
    held: &mut Held,
) -> Result<Vec<u8>, Refused> {
    // Before the sender is told to go on (`Expect: 100-continue`): what is refused need not be sent.
    if incoming.size_hint().lower() > allowed.bytes as u64 {
        return Err(too_large());
    }
    let mut body = Vec::new();
    // A rate since the beginning would let a sender that was fast at first keep its memory for hours.
    let (mut start, mut before) = (Instant::now(), 0);
    loop {
        let frame = match timeout_at(start + allowed.time, incoming.frame()).await {
            Err(_) => {
                let (least, seconds) = (allowed.least, allowed.time.as_secs_f64());
                let what =
                    format!("fewer than {least} bytes of the body came within {seconds} seconds");
                return Err((408, what));
            }
            Ok(None) => return Ok(body),
            Ok(Some(Err(e))) => {
                return Err((400, format!("the body is not whole, or its chunks are wrong: {e}")));
            }
            Ok(Some(Ok(frame))) => frame,
        };
        // What follows the last chunk holds no events.
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > allowed.bytes - body.len() {
            return Err(too_large());
        }
        if !held.grow(data.len()) {
            return Err(too_many());
        }
        body.extend_from_slice(&data);
        if body.len() - before >= allowed.least {
            (start, before) = (Instant::now(), body.len());
        }
    }
}
