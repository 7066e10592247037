//! Columns as hashed features, for models over sparse features.

use crate::events::{Event, Feature, Schema, Value};
use crate::formats::hash::vw_hash;
use crate::formats::row::nearest_in_words;
use crate::formats::{BadEvent, short};

/// Columns to features: a number is the feature `name` with its value, a text the feature
/// `name=text` with the value 1, hashed as the same names in VW text are. Position `i` of an input
/// vector is the feature `key[i]`. What is missing or 0 is no feature.
///
/// Columns that interact have a feature together as well, of which the value is the product of theirs:
/// Vowpal Wabbit's `-q`, `--cubic` and `--interactions`, hashed as there.
#[derive(Clone, Debug)]
pub struct HashedColumns {
    columns: Vec<Column>,
    vector: Vec<u32>,
    /// The columns of each interaction.
    interactions: Vec<Vec<usize>>,
    /// Where columns interact: the features of those of the event in hand, of value 0 where there is none.
    found: Vec<Feature>,
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
    /// The features of events of this schema, and those of the columns that interact, by their names.
    ///
    /// # Errors
    /// Says which column is not there.
    pub fn new(schema: &Schema, interactions: &[Vec<String>]) -> Result<HashedColumns, String> {
        if schema.sparse && !interactions.is_empty() {
            return Err(
                "names columns, and VW text and libsvm have features without columns: give the \
                        stream as CSV or JSON lines, or write the products into it as features"
                    .into(),
            );
        }
        let place = |name: &String| {
            let found = schema.columns.iter().position(|column| column == name);
            found.ok_or_else(|| {
                let nearest = nearest_in_words(name, schema.columns.iter());
                format!("names `{name}`, and the events have no such column{nearest}")
            })
        };
        let interactions = interactions.iter().map(|names| names.iter().map(place).collect());
        let interactions = interactions.collect::<Result<_, _>>()?;
        let columns = schema.columns.iter().map(|name| {
            let hash = vw_hash(name.as_bytes(), 0);
            Column { name: name.clone(), hash }
        });
        let key = schema.vector_key.as_deref().unwrap_or_default();
        let vector = (0..schema.vector).map(|i| vw_hash(format!("{key}[{i}]").as_bytes(), 0));
        Ok(HashedColumns {
            columns: columns.collect(),
            vector: vector.collect(),
            interactions,
            found: Vec::new(),
            sparse: schema.sparse,
            features: Vec::new(),
            text: Vec::new(),
        })
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
        self.found.clear();
        for (i, Column { name, hash }) in self.columns.iter().enumerate() {
            let found = match event.value(i) {
                Value::Missing => Feature { hash: *hash, value: 0.0 },
                Value::Number(n) => {
                    let value = n as f32;
                    if value.is_nan() || value.abs() > MOST_VALUE {
                        return Err(too_large(&format!("column `{}`", short(name.as_bytes()))));
                    }
                    Feature { hash: *hash, value }
                }
                Value::Text(text) => {
                    self.text.clear();
                    self.text.extend_from_slice(name.as_bytes());
                    self.text.push(b'=');
                    self.text.extend_from_slice(text.as_bytes());
                    Feature { hash: vw_hash(&self.text, 0), value: 1.0 }
                }
            };
            if found.value != 0.0 {
                self.features.push(found);
            }
            if !self.interactions.is_empty() {
                self.found.push(found);
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
        for columns in &self.interactions {
            let parts = columns.iter().map(|&column| self.found[column]);
            let Some(f) = parts.reduce(|a, b| Feature {
                hash: a.hash.wrapping_mul(FNV_PRIME) ^ b.hash,
                value: a.value * b.value,
            }) else {
                continue;
            };
            if f.value.is_nan() || f.value.abs() > MOST_VALUE {
                let names: Vec<_> =
                    columns.iter().map(|&i| short(self.columns[i].name.as_bytes())).collect();
                return Err(too_large(&format!("the product of {}", names.join(" and "))));
            }
            if f.value != 0.0 {
                self.features.push(f);
            }
        }
        Ok(&self.features)
    }
}

/// Vowpal Wabbit's factor between the hashes of features that interact.
const FNV_PRIME: u32 = 16_777_619;

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
        let mut hashed = HashedColumns::new(decoder.schema().unwrap(), &[]).unwrap();
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
    fn columns_that_interact_have_a_feature_together() {
        let mut decoder = decoder(&FormatSpec::default(), Format::Csv, None).unwrap();
        let mut events = Events::default();
        for (i, line) in ["a,b,c,class", "2,x,3,1", "2,,0,1", "1e9,x,1e9,1"].iter().enumerate() {
            decoder.decode(line.as_bytes(), i == 0, &mut events).unwrap();
        }
        let schema = decoder.schema().unwrap();
        let names = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        let mut hashed =
            HashedColumns::new(schema, &[names("a b"), names("b c a"), names("a a"), names("a c")])
                .unwrap();
        let (a, b, c) = (vw_hash(b"a", 0), vw_hash(b"b=x", 0), vw_hash(b"c", 0));
        let of = |a: u32, b: u32| a.wrapping_mul(16_777_619) ^ b;
        let found = hashed.features(events.get(0)).unwrap();
        let found: Vec<_> = found.iter().map(|f| (f.hash, f.value)).collect();
        let products = [(of(a, b), 2.0), (of(of(b, c), a), 6.0), (of(a, a), 4.0), (of(a, c), 6.0)];
        assert_eq!(found, [&[(a, 2.0), (b, 1.0), (c, 3.0)][..], &products].concat());
        // What is missing or 0 is in no product.
        assert_eq!(hashed.features(events.get(1)).unwrap().len(), 2);
        let bad = hashed.features(events.get(2)).unwrap_err();
        assert!(bad.reason.contains("product of b and c and a"), "{bad:?}");
        let lost = HashedColumns::new(schema, &[names("a clas")]).unwrap_err();
        assert!(lost.contains("no such column; the nearest name is `a`"), "{lost}");
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
