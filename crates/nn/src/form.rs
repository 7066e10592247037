//! Forms that a value may take in a recipe: a name or a table, one number or a pair.

use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use std::fmt;

/// Stands for `{}`: lets the name `"adam"` be read as the table `{ adam = {} }`.
pub(crate) struct EmptyTable<E>(std::marker::PhantomData<E>);

impl<'de, E: de::Error> Deserializer<'de> for EmptyTable<E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_map(MapDeserializer::new(std::iter::empty::<(&str, &str)>()))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, E: de::Error> IntoDeserializer<'de, E> for EmptyTable<E> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// What `{ name = {} }` deserializes from.
pub(crate) fn named<E>() -> EmptyTable<E> {
    EmptyTable(std::marker::PhantomData)
}

/// Reads the table of one key that stands for one of several kinds, as `{ adam = {} }`; a second key is
/// an error that names both. Serde's own enums take the first key of a map and leave the rest.
///
/// # Errors
/// If there is another number of keys, or `read` fails.
pub fn one_of<'de, A: MapAccess<'de>, T>(
    mut table: A,
    read: impl FnOnce(MapAccessDeserializer<First<'_, A>>) -> Result<T, A::Error>,
) -> Result<T, A::Error> {
    let Some(name) = table.next_key::<String>()? else {
        return Err(de::Error::custom("must name one kind, and is empty"));
    };
    let first = First { name: Some(name.clone()), table: &mut table };
    let value = read(MapAccessDeserializer::new(first))?;
    match table.next_key::<String>()? {
        None => Ok(value),
        Some(second) => Err(de::Error::custom(format!(
            "must be one of \"{name}\" and \"{second}\", found both; leave one out"
        ))),
    }
}

/// The first entry of a map, whose key has been read.
pub struct First<'t, A> {
    name: Option<String>,
    table: &'t mut A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for First<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let name = self.name.take();
        name.map(|name| seed.deserialize(name.into_deserializer())).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.table.next_value_seed(seed)
    }
}

/// Implements serde for an enum that derives it with `#[serde(remote = "Self")]`, so that a name
/// alone stands for a table with all defaults: `"huber"` for `{ huber = {} }`.
macro_rules! name_or_table {
    ($type:ident, $expecting:literal $(, number => $number:expr)?) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Form;

                impl Form {
                    /// With an error of its own, and not the visitor's: compiled once for all readers.
                    fn named(name: &str) -> Result<$type, serde::de::value::Error> {
                        let table = std::iter::once((name, crate::form::named()));
                        let table = serde::de::value::MapDeserializer::new(table);
                        $type::deserialize(serde::de::value::MapAccessDeserializer::new(table))
                    }
                }

                impl<'de> serde::de::Visitor<'de> for Form {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<$type, E> {
                        Form::named(name).map_err(E::custom)
                    }

                    $(
                        fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<$type, E> {
                            Ok($number(value))
                        }

                        fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<$type, E> {
                            Ok($number(value as f64))
                        }

                        fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<$type, E> {
                            Ok($number(value as f64))
                        }
                    )?

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        table: A,
                    ) -> Result<$type, A::Error> {
                        crate::form::one_of(table, |table| $type::deserialize(table))
                    }
                }

                deserializer.deserialize_any(Form)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $type::serialize(self, serializer)
            }
        }
    };
}
pub(crate) use name_or_table;

/// Reads a positive integer; says so where it is none.
pub(crate) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    struct Count;

    impl Visitor<'_> for Count {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a positive integer")
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<usize, E> {
            positive(value)
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<usize, E> {
            positive(i64::try_from(value).unwrap_or(0))
        }

        fn visit_f64<E: de::Error>(self, value: f64) -> Result<usize, E> {
            Err(E::custom(format!("must be a positive integer, found {value}")))
        }

        fn visit_str<E: de::Error>(self, value: &str) -> Result<usize, E> {
            Err(E::custom(format!("must be a positive integer, found {value:?}")))
        }
    }

    deserializer.deserialize_any(Count)
}

/// Reads `3` as `[3, 3]`, or a pair of rows and columns.
pub(crate) fn pair<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[usize; 2], D::Error> {
    struct Pair;

    impl<'de> Visitor<'de> for Pair {
        type Value = [usize; 2];

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a positive integer or two of them: [rows, columns]")
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<[usize; 2], E> {
            positive(value).map(|n| [n, n])
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<[usize; 2], E> {
            self.visit_i64(i64::try_from(value).unwrap_or(0))
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<[usize; 2], A::Error> {
            let mut values = Vec::new();
            while let Some(value) = seq.next_element::<i64>()? {
                values.push(positive(value)?);
            }
            values.try_into().map_err(|v: Vec<usize>| {
                de::Error::custom(format!("must be one number or two, found {}", v.len()))
            })
        }
    }

    deserializer.deserialize_any(Pair)
}

/// As [`pair`], for an option that may be left out.
pub(crate) fn optional_pair<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<[usize; 2]>, D::Error> {
    pair(deserializer).map(Some)
}

fn positive<E: de::Error>(value: i64) -> Result<usize, E> {
    usize::try_from(value)
        .ok()
        .filter(|&n| n > 0)
        .ok_or_else(|| E::custom(format!("must be a positive integer, found {value}")))
}
