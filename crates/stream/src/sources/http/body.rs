//! What a request's body holds: its events, checked before they are acknowledged.

use std::io::{Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use memchr::{memchr, memchr_iter};
use tidemill_table::formats::{check_json, json_lines};
use tidemill_table::{Decoded, Events, Format, FormatSpec, decoder};

use super::budget::Held;
use super::receive::{too_large, too_many};

/// Why a body is not taken: a status and what to answer.
pub(super) type Refused = (u16, String);

/// So much is unpacked at once.
const PIECE: usize = 64 << 10;

/// The body as it was before its `encoding`, of at most `max` bytes.
pub(super) fn decoded(
    body: Vec<u8>,
    encoding: &str,
    max: usize,
    held: &mut Held,
) -> Result<Vec<u8>, Refused> {
    match encoding {
        "" | "identity" => Ok(body),
        "gzip" | "x-gzip" => {
            let mut text = Vec::new();
            let mut input = MultiGzDecoder::new(Cursor::new(body));
            loop {
                let before = text.len();
                match Read::by_ref(&mut input).take(PIECE as u64).read_to_end(&mut text) {
                    Err(e) => return Err((400, format!("the body is no whole gzip: {e}"))),
                    Ok(_) if text.len() > max => return Err(too_large()),
                    Ok(0) => return Ok(text),
                    Ok(_) if !held.grow(text.len() - before) => return Err(too_many()),
                    Ok(_) => {}
                }
            }
        }
        other => {
            Err((415, format!("the content encoding {other} is not read; send gzip, or plain")))
        }
    }
}

/// Whether a body is JSON of any layout.
pub(super) fn is_json(content_type: &str) -> bool {
    matches!(content_type, "application/json" | "text/json")
}

/// Refuses a body of another kind than the stream's format, and JSON of any layout as a value a line.
pub(super) fn laid_out(
    body: Vec<u8>,
    content_type: &str,
    format: Option<Format>,
) -> Result<Vec<u8>, Refused> {
    let is_json = is_json(content_type);
    let is_csv = matches!(content_type, "text/csv" | "text/tab-separated-values");
    match format {
        None => return Ok(body),
        Some(Format::JsonLines) if is_csv => {
            return Err((
                415,
                format!("this stream takes JSON, and the content type is {content_type}"),
            ));
        }
        Some(Format::JsonLines) => {}
        Some(other) if is_json => {
            return Err((
                415,
                format!("this stream takes {other:?}, and the content type is {content_type}"),
            ));
        }
        Some(_) => return Ok(body),
    }
    if !is_json {
        return Ok(body);
    }
    let mut lines = Vec::new();
    let read = json_lines(Box::new(Cursor::new(body)));
    match read.and_then(|mut text| text.read_to_end(&mut lines)) {
        Ok(_) => Ok(lines),
        Err(e) => Err((400, e.to_string())),
    }
}

/// The events of a body; one where the format is not known and `one` says so, else one a line.
pub(super) fn events(body: &[u8], one: bool) -> impl Iterator<Item = &[u8]> + Clone {
    let ends = memchr_iter(b'\n', if one { b"" } else { body }).chain([body.len()]);
    let mut start = 0;
    ends.filter_map(move |end| {
        let line = body[start..end].trim_ascii();
        start = end + 1;
        (!line.is_empty()).then_some(line)
    })
}

/// Why the event `i` of a body, from 0, makes all of it be refused.
pub(super) fn refused(status: u16, i: usize, what: &str) -> Refused {
    (status, format!("event {}: {what}; nothing of this request was taken", i + 1))
}

/// Refuses events that can be none, whatever the recipe says; then none of the body is taken. Gives the numbers of those that
/// are no events, as far as that shows. `known` says that events of JSON are checked by what is known of them.
pub(super) fn check<'a>(
    events: impl Iterator<Item = &'a [u8]>,
    format: Option<Format>,
    known: bool,
) -> Result<Vec<usize>, Refused> {
    // Each record of these formats is read by itself.
    let mut lines = match format {
        Some(format @ (Format::Vw | Format::Libsvm)) => {
            decoder(&FormatSpec::default(), format, None).ok()
        }
        _ => None,
    };
    let (mut decoded, mut others) = (Events::default(), Vec::new());
    for (i, event) in events.enumerate() {
        let refused = |status, what: &str| Err(refused(status, i, what));
        let checked = match (format, &mut lines) {
            (Some(Format::JsonLines), _) if known => match std::str::from_utf8(event) {
                Ok(_) => Ok(()),
                Err(_) => return refused(400, "it is not UTF-8"),
            },
            (Some(Format::JsonLines), _) => check_json(event),
            (_, Some(lines)) => {
                decoded.clear();
                lines.decode(event, false, &mut decoded).map(|decoded| {
                    if decoded != Decoded::Event {
                        others.push(i);
                    }
                })
            }
            // Rows mean what the columns say, which senders may have named in an earlier request. But this is no row.
            (Some(format), None) if event.starts_with(b"{") && check_json(event).is_ok() => {
                return refused(415, &format!("it is JSON, and this stream takes {format:?}"));
            }
            (Some(_), None) if memchr(0, event).is_some() => {
                return refused(400, "it is no text");
            }
            _ => Ok(()),
        };
        if let Err(bad) = checked {
            return refused(400, &bad.reason.to_string());
        }
    }
    Ok(others)
}
