//! The keys of events that are used, by their paths.

use std::collections::{HashMap, HashSet};

use super::super::row::Role;
use super::super::spec::LABELS;
use crate::events::Schema;
use crate::formats::FormatSpec;

/// What is done with the value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Value {
        role: Role,
        text: bool,
    },
    Vector,
    /// Nothing: it is a label, or a weight, where none is needed, whatever it holds.
    Skipped,
    /// Nothing by itself, but keys within it are used.
    Outer,
}

/// The keys that are used, by their paths.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) list: Vec<Key>,
    index: HashMap<String, usize>,
    /// The key that an event began with last time.
    pub(super) first: usize,
}

pub(super) struct Key {
    pub(super) name: String,
    /// The name as it stands in JSON if nothing in it is escaped.
    pub(super) quoted: Vec<u8>,
    pub(super) what: Use,
    /// The key that followed it last time: a guess that saves the hashing, as the events of a
    /// stream mostly have their keys in one order.
    pub(super) next: usize,
}

impl Keys {
    pub(super) fn new(spec: &FormatSpec, schema: &Schema) -> Keys {
        let mut keys = Keys::default();
        let texts: HashSet<&String> = spec.text.iter().chain(&schema.texts).collect();
        let value = |name: &String, role| {
            let set = role == Role::Label && spec.set_separator().is_some();
            let text = texts.contains(name) || role == Role::Id || set;
            match role {
                _ if spec.skips(role) => (name.clone(), Use::Skipped),
                role => (name.clone(), Use::Value { role, text }),
            }
        };
        // The first that names a key has it.
        let labels: Vec<String> = match &schema.label {
            _ if !spec.labels.is_empty() => Vec::new(),
            Some(label) => vec![label.clone()],
            None => LABELS.map(String::from).to_vec(),
        };
        let all = spec
            .id
            .iter()
            .map(|n| value(n, Role::Id))
            .chain(spec.time.iter().map(|n| value(n, Role::Time)))
            .chain(spec.weight.iter().map(|n| value(n, Role::Weight)))
            .chain(spec.labels.iter().enumerate().map(|(i, n)| value(n, Role::Member(i))))
            .chain(labels.iter().map(|n| value(n, Role::Label)))
            .chain(schema.vector_key.iter().map(|n| (n.clone(), Use::Vector)))
            .chain(schema.columns.iter().enumerate().map(|(i, n)| value(n, Role::Input(i))));
        for (name, what) in all {
            keys.insert(name, what);
        }
        for i in 0..keys.list.len() {
            let name = keys.list[i].name.clone();
            for (dot, _) in name.match_indices('.') {
                keys.insert(name[..dot].to_owned(), Use::Outer);
            }
        }
        keys
    }

    fn insert(&mut self, name: String, what: Use) {
        if !self.index.contains_key(&name) {
            let at = self.list.len();
            self.index.insert(name.clone(), at);
            // A quote or backslash in it would be escaped: then this never matches.
            let quoted = format!("\"{name}\"").into_bytes();
            self.list.push(Key { name, quoted, what, next: at + 1 });
        }
    }

    /// The key that is likely to come after `last`.
    #[inline]
    pub(super) fn guess(&self, last: Option<usize>) -> Option<&Key> {
        self.list.get(last.map_or(self.first, |last| self.list[last].next))
    }

    /// The key `name`, which came after `last`.
    pub(super) fn find(&mut self, name: &str, last: Option<usize>) -> Option<usize> {
        let at = *self.index.get(name)?;
        match last {
            Some(last) => self.list[last].next = at,
            None => self.first = at,
        }
        Some(at)
    }
}
