//! libsvm's format, also svmlight's: `label index:value ...`, then perhaps `# comment`.
//!
//! An index is taken as the feature's hash, as VW does with names that are numbers.

use memchr::memchr;

use super::bounds::check_numbers;
use super::words::{Amount, Words};
use super::{BadEvent, Decoded, Decoder, number};
use crate::events::{Events, Feature, Schema, Value};

pub(super) struct Libsvm {
    schema: Schema,
}

impl Libsvm {
    pub fn new() -> Libsvm {
        Libsvm { schema: Schema { sparse: true, ..Schema::default() } }
    }
}

impl Decoder for Libsvm {
    fn decode(
        &mut self,
        bytes: &[u8],
        _first: bool,
        events: &mut Events,
    ) -> Result<Decoded, BadEvent> {
        let end = memchr(b'#', bytes).unwrap_or(bytes.len());
        let mut words = Words::new(bytes[..end].trim_ascii()).peekable();
        if words.peek().is_none() {
            return Ok(Decoded::Nothing);
        }
        let mut draft = events.start(&self.schema);
        // An event without a label begins with a feature.
        if let Some(word) = words.next_if(|word| matches!(word.value, Amount::None)) {
            draft.label(match (number::whole(word.name), std::str::from_utf8(word.name)) {
                (Some(number), _) => Value::Number(number),
                (None, Ok("?")) => Value::Missing,
                (None, Ok(text)) => Value::Text(text),
                (None, Err(_)) => {
                    return Err(BadEvent::new(format!("label `{}` is not UTF-8", word.shown())));
                }
            });
        }
        for word in words {
            // svmlight's ids of queries are no features.
            if word.name == b"qid" {
                continue;
            }
            let hash = word.name.iter().try_fold(0_u32, |n, b| {
                let digit = b.is_ascii_digit().then(|| u32::from(b - b'0'))?;
                n.checked_mul(10)?.checked_add(digit)
            });
            let hash = hash
                .filter(|_| !word.name.is_empty() && !matches!(word.value, Amount::None))
                .ok_or_else(|| {
                    let word = word.shown();
                    BadEvent::new(format!("`{word}` is no `index:value` with a whole index"))
                })?;
            check_numbers("features", draft.num_features() + 1)?;
            let value = word.number()?;
            if value != 0.0 {
                draft.push(Feature { hash, value });
            }
        }
        draft.finish();
        Ok(Decoded::Event)
    }

    fn schema(&self) -> Option<&Schema> {
        Some(&self.schema)
    }
}
