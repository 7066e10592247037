//! Vowpal Wabbit's text format, hashed as VW does:
//! `label [importance] [base] ['tag] |namespace[:scale] feature[:value] ...`
//!
//! The constant feature is not added here. Features whose value is 0 are left out, as in VW.

use memchr::memchr;

use super::bounds::check_numbers;
use super::hash::vw_hash;
use super::words::{Amount, Words};
use super::{BadEvent, Decoded, Decoder, number, short};
use crate::events::{Draft, Events, Feature, Schema, Value};

type Result<T> = std::result::Result<T, BadEvent>;

pub(super) struct Vw {
    schema: Schema,
}

impl Vw {
    pub fn new() -> Vw {
        Vw { schema: Schema { sparse: true, ..Schema::default() } }
    }
}

impl Decoder for Vw {
    fn decode(&mut self, bytes: &[u8], _first: bool, events: &mut Events) -> Result<Decoded> {
        let bytes = bytes.trim_ascii();
        if bytes.is_empty() {
            return Ok(Decoded::Nothing);
        }
        let Some(bar) = memchr(b'|', bytes) else {
            return Err(BadEvent::new(format!("no `|` before features: `{}`", short(bytes))));
        };
        let mut draft = events.start(&self.schema);
        head(&bytes[..bar], &mut draft)?;
        let mut rest = &bytes[bar + 1..];
        loop {
            let end = memchr(b'|', rest).unwrap_or(rest.len());
            namespace(&rest[..end], &mut draft)?;
            match rest.get(end + 1..) {
                Some(after) => rest = after,
                None => break,
            }
        }
        draft.finish();
        Ok(Decoded::Event)
    }

    fn schema(&self) -> Option<&Schema> {
        Some(&self.schema)
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty())
}

/// Label, importance, base and tag.
fn head(bytes: &[u8], draft: &mut Draft<'_>) -> Result<()> {
    let touches = bytes.last().is_some_and(|b| !matches!(b, b' ' | b'\t'));
    let mut count = 0;
    let mut all = words(bytes).peekable();
    while let Some(word) = all.next() {
        // A tag begins with a quote, or touches the bar.
        let quoted = word.strip_prefix(b"'");
        if quoted.is_some() || (all.peek().is_none() && touches) {
            let tag = quoted.unwrap_or(word);
            let tag = std::str::from_utf8(tag)
                .map_err(|_| BadEvent::new(format!("tag `{}` is not UTF-8", short(tag))))?;
            draft.id(Value::Text(tag));
            continue;
        }
        let what = ["label", "importance", "base"].get(count).copied().unwrap_or("word");
        let number = number::whole(word)
            .ok_or_else(|| BadEvent::new(format!("{what} `{}` is no number", short(word))))?;
        match count {
            0 => draft.label(Value::Number(number)),
            1 if number >= 0.0 && number <= f64::from(f32::MAX) => draft.weight(number as f32),
            1 => {
                let text = format!("importance {number} must be at least 0 and finite");
                return Err(BadEvent::new(text));
            }
            2 if number == 0.0 => {}
            2 => return Err(BadEvent::new(format!("base {number}: only 0 can be learned from"))),
            _ => return Err(BadEvent::new(format!("`{}` after the base", short(word)))),
        }
        count += 1;
    }
    Ok(())
}

fn namespace(bytes: &[u8], draft: &mut Draft<'_>) -> Result<()> {
    let named = bytes.first().is_some_and(|b| !matches!(b, b' ' | b'\t'));
    let (mut seed, mut scale, mut anonymous) = (0, 1.0, 0_u32);
    let mut features = Words::new(bytes);
    if named && let Some(word) = features.next() {
        seed = vw_hash(word.name, 0);
        if !matches!(word.value, Amount::None) {
            scale = word.number()?;
        }
    }
    for word in features {
        check_numbers("features", draft.num_features() + 1)?;
        let value = match word.value {
            Amount::None => scale,
            Amount::Number(_) => scale * word.number()?,
            // Neither `color:red` nor `color:` is scaled, as in VW.
            Amount::Text(_) => 1.0,
        };
        let hash = match word.value {
            // `color:red`: the text is hashed, too.
            Amount::Text(text) if !text.is_empty() => vw_hash(text, vw_hash(word.name, seed)),
            // `:3`, a feature without a name.
            _ if word.name.is_empty() => {
                anonymous += 1;
                seed.wrapping_add(anonymous - 1)
            }
            _ => vw_hash(word.name, seed),
        };
        if value != 0.0 {
            draft.push(Feature { hash, value });
        }
    }
    Ok(())
}
