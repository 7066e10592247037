//! Tokens by id and ids by token.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::spec::MOST_TOKENS;

/// A map with a fast hash; nothing may depend on its order.
pub(crate) type Map<K, V> = HashMap<K, V, FixedState>;

/// A vocabulary. An id may lack a token: files of others have such holes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Vocabulary {
    tokens: Vec<Option<Box<str>>>,
    ids: Map<Box<str>, i32>,
}

impl Vocabulary {
    /// One more than the largest id.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn token(&self, id: i32) -> Option<&str> {
        self.tokens.get(usize::try_from(id).ok()?)?.as_deref()
    }

    pub(crate) fn id(&self, token: &str) -> Option<i32> {
        self.ids.get(token).copied()
    }

    /// The id of a token, which is the next free one if the token is new.
    pub(crate) fn push(&mut self, token: &str) -> i32 {
        if let Some(id) = self.id(token) {
            return id;
        }
        let id = self.tokens.len() as i32;
        self.tokens.push(Some(token.into()));
        self.ids.insert(token.into(), id);
        id
    }

    /// Gives a token this id; `false` if the id is out of range. A second token of one id is found by its
    /// text, and the id is the first one, as in the program that this format comes from.
    pub(crate) fn set(&mut self, token: &str, id: i64) -> bool {
        let Some(place) = usize::try_from(id).ok().filter(|&place| place < MOST_TOKENS) else {
            return false;
        };
        if self.tokens.len() <= place {
            self.tokens.resize(place + 1, None);
        }
        self.tokens[place].get_or_insert_with(|| token.into());
        self.ids.insert(token.into(), id as i32);
        true
    }

    /// All tokens and their ids, in no order: also those that share an id.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (&str, i32)> {
        self.ids.iter().map(|(token, &id)| (&**token, id))
    }

    /// Tokens and their ids, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, &str)> {
        let tokens = self.tokens.iter().enumerate();
        tokens.filter_map(|(id, token)| Some((id as i32, token.as_deref()?)))
    }
}

impl<T: AsRef<str>> FromIterator<T> for Vocabulary {
    fn from_iter<I: IntoIterator<Item = T>>(tokens: I) -> Vocabulary {
        let mut vocabulary = Vocabulary::default();
        tokens.into_iter().for_each(|token| {
            vocabulary.push(token.as_ref());
        });
        vocabulary
    }
}

impl Serialize for Vocabulary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (id, token) in self.iter() {
            map.serialize_entry(token, &id)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Vocabulary, D::Error> {
        let mut vocabulary = Vocabulary::default();
        for (token, id) in BTreeMap::<String, i64>::deserialize(deserializer)? {
            if !vocabulary.set(&token, id) {
                let message = format!("the id {id} of `{token}` is not in 0..{MOST_TOKENS}");
                return Err(de::Error::custom(message));
            }
        }
        Ok(vocabulary)
    }
}
