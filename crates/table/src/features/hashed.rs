//! Columns as hashed features, for models over sparse features.

use crate::events::{Event, Feature, Schema, Value};
use crate::formats::hash::vw_hash;
use crate::formats::{BadEvent, short};

/// Columns to features: a number is the feature `name` with its value, a text the feature
/// `name=text` with the value 1, hashed as the same names in VW text are. Position `i` of an input
/// vector is the feature `key[i]`. What is missing or 0 is no feature.
#[derive(Clone, Debug)]
pub struct HashedColumns {
    columns: Vec<Column>,
    vector: Vec<u32>,
    sparse: bool,
    features: Vec<Feature>,
    text: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    /// The hash of the name alone.
    hash: u32,
}

impl HashedColumns {
    /// The features of events of this schema.
    pub fn new(schema: &Schema) -> HashedColumns {
        let columns = schema.columns.iter().map(|name| {
            let hash = vw_hash(name.as_bytes(), 0);
            Column { name: name.clone(), hash }
        });
        let key = schema.vector_key.as_deref().unwrap_or_default();
        let vector = (0..schema.vector).map(|i| vw_hash(format!("{key}[{i}]").as_bytes(), 0));
        HashedColumns {
            columns: columns.collect(),
            vector: vector.collect(),
            sparse: schema.sparse,
            features: Vec::new(),
            text: Vec::new(),
        }
    }

    /// The features of an event: its own where it is sparse, else those of its columns.
    ///
    /// # Errors
    /// If a number is not finite, or too large for its square to be.
    pub fn features<'a>(&'a mut self, event: Event<'a>) -> Result<&'a [Feature], BadEvent> {
        if self.sparse {
            let features = event.sparse();
            // One comparison for all of them: a branch for each would cost more than learning.
            let fits = features.iter().fold(true, |fits, f| fits & (f.value.abs() <= MOST_VALUE));
            return if fits { Ok(features) } else { Err(too_large("a feature")) };
        }
        self.features.clear();
        for (i, Column { name, hash }) in self.columns.iter().enumerate() {
            match event.value(i) {
                Value::Missing => {}
                Value::Number(n) => {
                    let value = n as f32;
                    if value.is_nan() || value.abs() > MOST_VALUE {
                        return Err(too_large(&format!("column `{}`", short(name.as_bytes()))));
                    }
                    if value != 0.0 {
                        self.features.push(Feature { hash: *hash, value });
                    }
                }
                Value::Text(text) => {
                    self.text.clear();
                    self.text.extend_from_slice(name.as_bytes());
                    self.text.push(b'=');
                    self.text.extend_from_slice(text.as_bytes());
                    let hash = vw_hash(&self.text, 0);
                    self.features.push(Feature { hash, value: 1.0 });
                }
            }
        }
        for (value, hash) in event.vector().iter().zip(&self.vector) {
            if value.is_nan() || value.abs() > MOST_VALUE {
                return Err(too_large("the vector"));
            }
            if *value != 0.0 {
                self.features.push(Feature { hash: *hash, value: *value });
            }
        }
        Ok(&self.features)
    }
}

/// Sums of squares of values up to this are finite, whatever the rule makes of them.
const MOST_VALUE: f32 = 1e15;

fn too_large(what: &str) -> BadEvent {
    BadEvent::new(format!("{what} has a value that is no number up to {MOST_VALUE:e}; scale it"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::events::Events;
    use crate::{Format, FormatSpec, decoder};

    fn features(format: Format, lines: &[&str]) -> Vec<Result<Vec<Feature>, BadEvent>> {
        let mut decoder = decoder(&FormatSpec::default(), format, None).unwrap();
        let mut events = Events::default();
        for (i, line) in lines.iter().enumerate() {
            decoder.decode(line.as_bytes(), i == 0, &mut events).unwrap();
        }
        let mut hashed = HashedColumns::new(decoder.schema().unwrap());
        (0..events.len()).map(|i| hashed.features(events.get(i)).map(<[_]>::to_vec)).collect()
    }

    #[test]
    fn columns_have_the_hashes_of_their_names_in_vw_text() {
        let csv = ["age,work,zero,gap,class", "3.5,State-gov,0,,1"];
        let json = [r#"{"age": 3.5, "work": "State-gov", "zero": 0, "gap": null, "class": 1}"#];
        let vw = features(Format::Vw, &["1 | age:3.5 work=State-gov"]);
        assert_eq!(features(Format::Csv, &csv), vw);
        assert_eq!(features(Format::JsonLines, &json), vw);
        assert_eq!(vw[0].as_ref().map(Vec::len), Ok(2));
    }

    #[test]
    fn what_is_too_large_is_told() {
        let found = features(Format::Csv, &["age,class", "1e16,1", "1e15,1"]);
        assert!(found[0].as_ref().is_err_and(|e| e.reason.contains("column `age`")), "{found:?}");
        assert!(found[1].is_ok());
        let found = features(Format::Vw, &["1 | a:1 b:-1e16"]);
        assert!(found[0].as_ref().is_err_and(|e| e.reason.contains("scale it")), "{found:?}");
    }
}
