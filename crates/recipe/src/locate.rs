//! From a key path to the line it stands on.

use toml_edit::{Document, DocumentMut, Item, Table, TableLike, Value};

/// `layers[2].dense` as its parts: keys by name, positions in arrays as `[2]`.
pub(super) fn parse_key(key: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for piece in key.split('.').filter(|p| !p.is_empty()) {
        let (name, rest) = match piece.find('[') {
            Some(at) => piece.split_at(at),
            None => (piece, ""),
        };
        if !name.is_empty() {
            parts.push(name.to_string());
        }
        let indices = rest.split('[').filter(|i| !i.is_empty());
        parts.extend(indices.map(|i| format!("[{}]", i.trim_end_matches(']'))));
    }
    parts
}

/// The parts as a user reads them; layers are named from the model on.
pub(super) fn show(path: &[String]) -> String {
    let layers =
        path.first().is_some_and(|p| p == "model") && path.get(1).is_some_and(|p| p == "layers");
    let mut key = String::new();
    for part in &path[usize::from(layers)..] {
        if !key.is_empty() && !part.starts_with('[') {
            key.push('.');
        }
        key.push_str(part);
    }
    key
}

/// The position in an array that a part stands for.
pub(super) fn index(part: &str) -> Option<usize> {
    part.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Whether the document has something at `path`.
pub(super) fn exists(document: &DocumentMut, path: &[String]) -> bool {
    let root = Some(Node::Item(document.as_item()));
    path.iter().fold(root, |node, part| Some(node?.child(part)?.0)).is_some()
}

/// The keys of the table at `path`.
pub(super) fn keys(document: &DocumentMut, path: &[String]) -> Vec<String> {
    let root = Some(Node::Item(document.as_item()));
    let at = path.iter().fold(root, |node, part| Some(node?.child(part)?.0));
    let keys = |table: &dyn TableLike| table.iter().map(|(key, _)| key.to_owned()).collect();
    match at {
        Some(Node::Item(item)) => item.as_table_like().map(keys).unwrap_or_default(),
        Some(Node::Value(Value::InlineTable(table))) => keys(table),
        Some(Node::Table(table)) => keys(table),
        _ => Vec::new(),
    }
}

/// The line of the deepest part of `path` that the text has.
pub(super) fn line(document: &Document<String>, path: &[String]) -> usize {
    let text = document.raw();
    let mut at = 0;
    let mut node = Node::Item(document.as_item());
    for part in path {
        let Some((next, start)) = node.child(part) else { break };
        at = start.unwrap_or(at);
        node = next;
    }
    line_of(text, at)
}

/// The line, from 1, of a byte of the text.
pub(super) fn line_of(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|&b| b == b'\n').count() + 1
}

#[derive(Clone, Copy)]
enum Node<'a> {
    Item(&'a Item),
    Value(&'a Value),
    Table(&'a Table),
}

impl<'a> Node<'a> {
    /// The part below this, and where it (its key, if it has one) starts.
    fn child(self, part: &str) -> Option<(Node<'a>, Option<usize>)> {
        let start = |s: Option<std::ops::Range<usize>>| s.map(|s| s.start);
        if let Some(i) = index(part) {
            let array = match self {
                Node::Item(Item::ArrayOfTables(tables)) => {
                    let table = tables.get(i)?;
                    // There is no item for one table of the array; look on in its entries.
                    return Some((Node::Table(table), start(table.span())));
                }
                Node::Item(item) => item.as_array()?,
                Node::Value(value) => value.as_array()?,
                Node::Table(_) => return None,
            };
            let value = array.get(i)?;
            return Some((Node::Value(value), start(value.span())));
        }
        let (key, item) = match self {
            Node::Item(item) => item.as_table_like()?.get_key_value(part)?,
            Node::Value(value) => value.as_inline_table()?.get_key_value(part)?,
            Node::Table(table) => table.get_key_value(part)?,
        };
        Some((Node::Item(item), start(key.span()).or_else(|| start(item.span()))))
    }
}
