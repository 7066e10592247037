//! Padding of windows over images.

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// What is put around an image before windows move over it. In a recipe `"same"`, `"valid"`, or
/// as in PyTorch a number or a pair for rows and columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// Nothing: windows stay within the image.
    #[default]
    Valid,
    /// As much as makes the output `ceil(size / stride)`; an odd one goes to the bottom and right,
    /// as in TensorFlow.
    Same,
    /// This many rows above and below, and columns left and right.
    Symmetric([usize; 2]),
}

impl Padding {
    /// Top, bottom, left, right for an image of rows and columns.
    pub fn resolve(
        self,
        image: [usize; 2],
        window: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
    ) -> [usize; 4] {
        let total = |i: usize| {
            let reach = dilation[i] * window[i].saturating_sub(1) + 1;
            let outputs = image[i].div_ceil(stride[i].max(1));
            (outputs.saturating_sub(1) * stride[i] + reach).saturating_sub(image[i])
        };
        match self {
            Padding::Valid => [0; 4],
            Padding::Symmetric([rows, columns]) => [rows, rows, columns, columns],
            Padding::Same => {
                let (rows, columns) = (total(0), total(1));
                [rows / 2, rows - rows / 2, columns / 2, columns - columns / 2]
            }
        }
    }
}

impl Serialize for Padding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Padding::Valid => serializer.serialize_str("valid"),
            Padding::Same => serializer.serialize_str("same"),
            Padding::Symmetric(pair) => pair.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Padding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Padding, D::Error> {
        deserializer.deserialize_any(Form)
    }
}

struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = Padding;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("\"same\", \"valid\", a number, or [rows, columns]")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Padding, E> {
        match name {
            "same" => Ok(Padding::Same),
            "valid" => Ok(Padding::Valid),
            other => Err(E::custom(format!(
                "must be \"same\", \"valid\", a number, or [rows, columns], found {other:?}"
            ))),
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Padding, E> {
        let n = usize::try_from(value)
            .map_err(|_| E::custom(format!("must not be negative, found {value}")))?;
        Ok(Padding::Symmetric([n, n]))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Padding, E> {
        self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Padding, A::Error> {
        let pair = <[usize; 2]>::deserialize(de::value::SeqAccessDeserializer::new(seq))?;
        Ok(Padding::Symmetric(pair))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_puts_the_odd_row_below() {
        let same = |size, window, stride, dilation| {
            Padding::Same.resolve([size; 2], [window; 2], [stride; 2], [dilation; 2])
        };
        assert_eq!(same(28, 3, 1, 1), [1, 1, 1, 1]);
        assert_eq!(same(32, 3, 2, 1), [0, 1, 0, 1]);
        assert_eq!(same(33, 3, 2, 1), [1, 1, 1, 1]);
        assert_eq!(same(28, 2, 1, 1), [0, 1, 0, 1]);
        assert_eq!(same(28, 3, 1, 2), [2, 2, 2, 2]);
        assert_eq!(same(32, 1, 2, 1), [0, 0, 0, 0]);
    }
}
