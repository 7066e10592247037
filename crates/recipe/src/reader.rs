//! Typed values from a document of toml_edit, as serde reads them, with the path of a mistake.
//!
//! toml_edit has such a reader, and `serde_path_to_error` such a path: the compiler then makes the code
//! of each key of each table for the readers of both, which was a sixth of all that it does for the
//! program. This is one reader that borrows from the document; its words are theirs.

use std::fmt;
use std::sync::LazyLock;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use toml_edit::{Item, Table, TableLike, Value};

/// Reads `T` from a document's root, or from any item.
///
/// # Errors
/// If the item is no `T`: where, and serde's words about it.
pub(super) fn read<'a, T: Deserialize<'a>>(item: &'a Item) -> Result<T, Mistake> {
    T::deserialize(Node::Item(item))
}

/// What is wrong, and the path to it: keys by name, positions in arrays as `[2]`.
#[derive(Debug)]
pub(super) struct Mistake(Box<(Vec<String>, String)>);

impl Mistake {
    fn new(message: String) -> Mistake {
        Mistake(Box::new((Vec::new(), message)))
    }

    /// Whether there is a table where another value is wanted.
    fn found_a_table(&self) -> bool {
        self.0.0.is_empty() && self.0.1.starts_with("invalid type: map")
    }

    /// The mistake as one of what stands at `part`.
    fn within(mut self, part: impl FnOnce() -> String) -> Mistake {
        self.0.0.push(part());
        self
    }

    /// The path from the root, and the message.
    pub(super) fn into_parts(self) -> (Vec<String>, String) {
        let (mut path, message) = *self.0;
        path.reverse();
        (path, message)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.1)
    }
}

impl std::error::Error for Mistake {}

impl de::Error for Mistake {
    fn custom<T: fmt::Display>(message: T) -> Mistake {
        Mistake::new(message.to_string())
    }
}

/// A place in the document.
#[derive(Clone, Copy)]
enum Node<'a> {
    Item(&'a Item),
    Value(&'a Value),
    Table(&'a Table),
}

/// What stands there.
enum Kind<'a> {
    Nothing,
    Text(&'a str),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Elements<'a>),
    Table(Entries<'a>),
}

impl<'a> Node<'a> {
    fn kind(self) -> Result<Kind<'a>, Mistake> {
        let value = match self {
            Node::Item(Item::None) => return Ok(Kind::Nothing),
            Node::Item(Item::Table(table)) | Node::Table(table) => {
                return Ok(Kind::Table(Entries::of(table)));
            }
            Node::Item(Item::ArrayOfTables(tables)) => {
                let nodes: Vec<Node<'a>> = tables.iter().map(Node::Table).collect();
                return Ok(Kind::List(Elements { nodes, next: 0 }));
            }
            Node::Item(Item::Value(value)) | Node::Value(value) => value,
        };
        Ok(match value {
            Value::String(text) => Kind::Text(text.value()),
            Value::Integer(value) => Kind::Integer(*value.value()),
            Value::Float(value) => Kind::Float(*value.value()),
            Value::Boolean(value) => Kind::Boolean(*value.value()),
            Value::Array(array) => {
                let nodes: Vec<Node<'a>> = array.iter().map(Node::Value).collect();
                Kind::List(Elements { nodes, next: 0 })
            }
            Value::InlineTable(table) => Kind::Table(Entries::of(table)),
            Value::Datetime(_) => {
                let message = "must not be a date or a time; in quotes it is a text";
                return Err(Mistake::new(message.into()));
            }
        })
    }

    /// The only entry of the table that stands for a variant with values.
    fn variant(self) -> Result<(&'a str, Node<'a>), Mistake> {
        // An array of tables is none, nor is a number.
        let Ok(Kind::Table(entries)) = self.kind() else {
            return Err(Mistake::new("wanted string or table".into()));
        };
        match entries.entries[..] {
            [entry] => Ok(entry),
            [] => Err(Mistake::new("wanted exactly 1 element, found 0 elements".into())),
            _ => Err(Mistake::new("wanted exactly 1 element, more than 1 element".into())),
        }
    }

    /// Refuses keys that are none of `fields`.
    fn check_keys(self, fields: &[&str]) -> Result<(), Mistake> {
        let Ok(Kind::Table(entries)) = self.kind() else { return Ok(()) };
        let keys = entries.entries.iter().map(|(key, _)| *key);
        let extra: Vec<&str> = keys.filter(|key| !fields.contains(key)).collect();
        if extra.is_empty() {
            return Ok(());
        }
        Err(Mistake::new(format!(
            "unexpected keys in table: {}, available keys: {}",
            extra.join(", "),
            fields.join(", ")
        )))
    }
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.kind()? {
            Kind::Nothing => visitor.visit_none(),
            Kind::Text(text) => visitor.visit_str(text),
            Kind::Integer(value) => visitor.visit_i64(value),
            Kind::Float(value) => visitor.visit_f64(value),
            Kind::Boolean(value) => visitor.visit_bool(value),
            Kind::List(elements) => visitor.visit_seq(elements),
            Kind::Table(entries) => visitor.visit_map(entries),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool u8 u16 u32 u64 i8 i16 i32 i64 f32 f64 char str string seq bytes byte_buf map unit
        struct ignored_any unit_struct tuple_struct tuple identifier
    }
}

/// A name alone, or a table of one key.
impl<'de> EnumAccess<'de> for Node<'de> {
    type Error = Mistake;
    type Variant = Variant<'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Variant<'de>), Mistake> {
        let (name, value) = match self.kind()? {
            Kind::Text(name) => (name, None),
            _ => self.variant().map(|(name, value)| (name, Some(value)))?,
        };
        let deserializer: de::value::StrDeserializer<'de, Mistake> = name.into_deserializer();
        Ok((seed.deserialize(deserializer)?, Variant { name, value }))
    }
}

/// The values of a variant.
struct Variant<'a> {
    name: &'a str,
    value: Option<Node<'a>>,
}

/// What a name alone stands for where a variant has values: a table in which all keys have their defaults.
static NO_KEYS: LazyLock<Table> = LazyLock::new(Table::new);

impl<'a> Variant<'a> {
    fn read<T>(self, read: impl FnOnce(Node<'a>) -> Result<T, Mistake>) -> Result<T, Mistake> {
        let name = self.name;
        let done = match self.value {
            Some(value) => read(value),
            None => read(Node::Table(&NO_KEYS)).map_err(|e| match e.found_a_table() {
                true => Mistake::new(format!("must have a value: write {{ {name} = ... }}")),
                false => e,
            }),
        };
        done.map_err(|e| e.within(|| name.to_owned()))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Mistake;

    fn unit_variant(self) -> Result<(), Mistake> {
        let Some(value) = self.value else { return Ok(()) };
        let empty = match value.kind() {
            Ok(Kind::List(elements)) => elements.nodes.is_empty(),
            Ok(Kind::Table(entries)) => entries.entries.is_empty(),
            _ => false,
        };
        match empty {
            true => Ok(()),
            false => {
                Err(Mistake::new("must be empty: write {}".into()).within(|| self.name.to_owned()))
            }
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Mistake> {
        self.read(|value| seed.deserialize(value))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Mistake> {
        self.read(|value| value.deserialize_any(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        self.read(|value| value.check_keys(fields).and_then(|()| value.deserialize_any(visitor)))
    }
}

/// An array, from its next element on.
struct Elements<'a> {
    nodes: Vec<Node<'a>>,
    next: usize,
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Mistake;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Mistake> {
        let Some(node) = self.nodes.get(self.next) else { return Ok(None) };
        let at = self.next;
        self.next += 1;
        seed.deserialize(*node).map(Some).map_err(|e| e.within(|| format!("[{at}]")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.nodes.len() - self.next)
    }
}

/// A table, from its next key on.
struct Entries<'a> {
    entries: Vec<(&'a str, Node<'a>)>,
    next: usize,
}

impl<'a> Entries<'a> {
    fn of(table: &'a dyn TableLike) -> Entries<'a> {
        let entries = table.iter().map(|(key, item)| (key, Node::Item(item))).collect();
        Entries { entries, next: 0 }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Mistake;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Mistake> {
        let Some((key, _)) = self.entries.get(self.next) else { return Ok(None) };
        let deserializer: de::value::StrDeserializer<'de, Mistake> = (*key).into_deserializer();
        seed.deserialize(deserializer).map(Some).map_err(|e| e.within(|| (*key).to_owned()))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Mistake> {
        let Some((key, value)) = self.entries.get(self.next) else {
            return Err(Mistake::new("a value was asked for that no key names".into()));
        };
        self.next += 1;
        seed.deserialize(*value).map_err(|e| e.within(|| (*key).to_owned()))
    }
}
