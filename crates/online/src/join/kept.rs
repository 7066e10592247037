//! What is kept of an id, and its bytes.

use tidemill_recipe::stream::Value;
use tidemill_recipe::stream::features::Sets;

use super::bytes::{In, Out};
use super::spill::Spot;

/// A label as it came.
#[derive(Clone, Debug)]
pub(super) enum Given {
    Number(f64),
    Text(Box<str>),
}

/// What is known of an id.
#[derive(Clone, Debug)]
pub(super) enum Status {
    /// The event waits for its label.
    Waiting(Place),
    /// The event was answered by this label.
    Answered(Given),
    /// The label did not come in time.
    Expired,
    /// The label came before the event.
    Early(Given),
}

/// Where what was made of an event is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Memory(Box<[u8]>),
    Disk(Spot),
}

impl Place {
    pub fn len(&self) -> u64 {
        match self {
            Place::Memory(bytes) => bytes.len() as u64,
            Place::Disk(spot) => spot.len,
        }
    }

    pub fn write(&self, out: &mut Out) {
        match self {
            Place::Memory(bytes) => {
                out.u8(0);
                out.slice(bytes);
            }
            Place::Disk(Spot { segment, offset, len }) => {
                out.u8(1);
                [segment, offset, len].into_iter().for_each(|n| out.u64(*n));
            }
        }
    }

    pub fn read(from: &mut In<'_>) -> Option<Place> {
        Some(match from.u8()? {
            0 => Place::Memory(from.slice()?.into()),
            _ => Place::Disk(Spot { segment: from.u64()?, offset: from.u64()?, len: from.u64()? }),
        })
    }
}

impl Status {
    pub fn write(&self, out: &mut Out) {
        match self {
            Status::Waiting(place) => {
                out.u8(0);
                place.write(out);
            }
            Status::Answered(given) => {
                out.u8(1);
                given.write(out);
            }
            Status::Expired => out.u8(2),
            Status::Early(given) => {
                out.u8(3);
                given.write(out);
            }
        }
    }

    pub fn read(from: &mut In<'_>) -> Option<Status> {
        Some(match from.u8()? {
            0 => Status::Waiting(Place::read(from)?),
            1 => Status::Answered(Given::read(from)?),
            2 => Status::Expired,
            _ => Status::Early(Given::read(from)?),
        })
    }
}

impl Given {
    /// `None` where it is missing. With a `separator` a text is a set of classes, which is kept as it is written in one way.
    pub fn of(label: Value<'_>, separator: Option<char>) -> Option<Given> {
        match (label, separator) {
            (Value::Missing, _) => None,
            (Value::Number(n), _) => Some(Given::Number(n)),
            (Value::Text(text), None) => Some(Given::Text(text.into())),
            (Value::Text(text), Some(separator)) => {
                Some(Given::Text(Sets::canonical(text, separator).into()))
            }
        }
    }

    pub fn value(&self) -> Value<'_> {
        match self {
            Given::Number(n) => Value::Number(*n),
            Given::Text(text) => Value::Text(text),
        }
    }

    /// Whether both say the same; `"1"` and `1` do.
    pub fn agrees(&self, other: &Given) -> bool {
        match (self, other) {
            (Given::Number(a), Given::Number(b)) => a == b,
            (Given::Text(a), Given::Text(b)) => a == b,
            (Given::Number(n), Given::Text(text)) | (Given::Text(text), Given::Number(n)) => {
                text.parse::<f64>().is_ok_and(|t| t == *n)
            }
        }
    }

    fn write(&self, out: &mut Out) {
        match self {
            Given::Number(n) => {
                out.u8(0);
                out.f64(*n);
            }
            Given::Text(text) => {
                out.u8(1);
                out.slice(text.as_bytes());
            }
        }
    }

    fn read(from: &mut In<'_>) -> Option<Given> {
        Some(match from.u8()? {
            0 => Given::Number(from.f64()?),
            _ => Given::Text(from.text()?.into()),
        })
    }
}

impl std::fmt::Display for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Given::Number(n) => write!(f, "{n}"),
            // Only a set can have none.
            Given::Text(text) if text.is_empty() => write!(f, "no class"),
            Given::Text(text) => {
                write!(f, "`{}`", text.chars().take(40).collect::<String>().escape_debug())
            }
        }
    }
}
