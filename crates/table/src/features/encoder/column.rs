//! What one column has shown, and what a text among numbers becomes.

use serde::{Deserialize, Serialize};

use super::super::dictionary::Dictionary;
use super::super::labels::key;
use super::super::{MAX_NUMBER, number_key};
use crate::events::Value;
use crate::formats::{BadEvent, number, short};

/// A column of the schema.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) index: usize,
    pub(super) name: String,
    /// Values that were numbers, and values that were not.
    #[serde(default)]
    pub(super) numbers: u64,
    #[serde(default)]
    pub(super) texts: u64,
    /// Numbers beyond what a model can take, `inf` included; they say nothing of the column's kind.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) beyond: u64,
    /// The first value that was of the other kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) odd: Option<String>,
    /// Where that came from, in words; empty where it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) odd_place: String,
    /// Where a column of numbers turned out to be texts: its one input is a code of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) codes: Option<Dictionary>,
}

/// Texts that have a code of their own in a column that has one input.
const MOST_CODES: usize = 1024;

/// Fewer texts than this say nothing where a number came.
const ENOUGH: u64 = 3;

impl Column {
    /// A value of a column of numbers that is no number: missing while such values are few; from a
    /// tenth on the column is texts.
    #[cold]
    fn text(&mut self, text: &str) -> (f64, bool) {
        self.texts += 1;
        let mut revised = false;
        if self.codes.is_none() {
            self.odd.get_or_insert_with(|| short(text.as_bytes()));
            let few = self.texts < ENOUGH && self.numbers > 0;
            if few || number::mostly_numbers(self.numbers, self.texts) {
                return (f64::NAN, false);
            }
            self.codes = Some(Dictionary::new(MOST_CODES));
            revised = true;
        }
        (self.code(text), revised)
    }

    fn code(&mut self, text: &str) -> f64 {
        let codes = self.codes.as_mut();
        codes.and_then(|codes| codes.learn(text)).map_or(0.0, spread)
    }

    /// The same without learning.
    pub(super) fn find_code(&self, value: Value<'_>) -> Option<f64> {
        let codes = self.codes.as_ref()?;
        let mut buffer = [0; 32];
        let text = key(value, &mut buffer)?;
        Some(codes.find(text).map_or(0.0, spread))
    }

    /// A value that is no number to be used as it is: of a column of texts, or a text among numbers.
    #[cold]
    pub(super) fn other(&mut self, value: Value<'_>) -> (f64, bool) {
        match value {
            Value::Missing => (f64::NAN, false),
            _ if self.codes.is_none() && !value.is_text() => {
                self.beyond += 1;
                self.odd.get_or_insert_with(|| match value {
                    Value::Text(text) => short(text.as_bytes()),
                    Value::Number(n) => number_key(n, &mut [0; 32]).to_owned(),
                    Value::Missing => String::new(),
                });
                (f64::NAN, false)
            }
            Value::Number(n) => {
                self.numbers += 1;
                if number::mostly_numbers(self.numbers, self.texts + ENOUGH)
                    && n.abs() <= MAX_NUMBER
                {
                    // Numbers after all.
                    self.codes = None;
                    return (n, true);
                }
                let mut buffer = [0; 32];
                (self.code(number_key(n, &mut buffer)), false)
            }
            // Such as 007, where most values have no zeros before them.
            Value::Text(text) if self.codes.is_none() && self.numbers > 0 => match loose(text) {
                Some(n) if n.abs() <= MAX_NUMBER => {
                    self.numbers += 1;
                    (n, false)
                }
                _ => self.text(text),
            },
            Value::Text(text) => self.text(text),
        }
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Numbers from -1 to 1 for 0, 1, 2, ...: each far from those before it (multiples of the golden ratio).
fn spread(place: usize) -> f64 {
    (place as f64 * 0.618_033_988_749_894_9).fract() * 2.0 - 1.0
}

pub(super) fn loose(text: &str) -> Option<f64> {
    number::loose(text.as_bytes(), number::Style::default())
}

#[cold]
pub(super) fn bad_number(name: &str, n: f64) -> BadEvent {
    BadEvent::new(match n.is_finite() {
        true => format!("column `{name}`: {n:e} is beyond {MAX_NUMBER:e}"),
        false => format!("column `{name}`: {n} is not finite"),
    })
}
