//! `--set a.b=value`, and data paths written into the copy of a recipe.

use std::collections::BTreeMap;

use toml_edit::{DocumentMut, InlineTable, Item, Value};

use super::locate::{index, parse_key};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::nn::HATS;

/// One `--set`.
#[derive(Clone, Debug)]
pub(crate) struct Override {
    /// As the user wrote it.
    pub(crate) text: String,
    pub(crate) path: Vec<String>,
    value: Value,
}

impl Override {
    pub(crate) fn parse(text: &str) -> Result<Override> {
        let wrong = |what: &str| Error::Recipe(format!("--set {text}: {what}"));
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| wrong("must be a key and a value, such as batch.epochs=3"))?;
        let mut path = parse_key(key.trim());
        if path.is_empty() {
            return Err(wrong("the key is missing; write it as in batch.epochs=3"));
        }
        // `layers[0].dense.units`, as messages name it; `input` is as plain.
        if path[0] == "layers" || path[0] == "input" {
            path.insert(0, "model".into());
        }
        let value = value.trim();
        // A bare word is a string: --set training.loss=mse needs no quotes inside quotes.
        let value = value.parse().unwrap_or_else(|_| Value::from(value));
        Ok(Override { text: text.to_string(), path, value })
    }

    pub(crate) fn apply(&self, document: &mut DocumentMut) -> Result<()> {
        put(document.as_item_mut(), &self.path, &self.value)
            .map_err(|what| Error::Recipe(format!("--set {}: {what}", self.text)))
    }
}

/// With other `model.hats.knots` columns have another number of inputs, which `model.input` counts: it follows, unless it is set too.
pub(crate) fn widen_for_hats(
    before: &Item,
    edited: &mut DocumentMut,
    overrides: &[Override],
) -> Result<()> {
    let sets = |path: &[&str]| overrides.iter().find(|o| o.path.iter().eq(path));
    let Some(one) = sets(&["model", "hats", "knots"]) else { return Ok(()) };
    let input = |o: &Override| o.path.len() > 1 && o.path[0] == "model" && o.path[1] == "input";
    if overrides.iter().any(input) {
        return Ok(());
    }
    let number = |item: &Item, path: &[&str]| {
        path.iter().try_fold(item, |item, key| item.get(key)).and_then(Item::as_integer)
    };
    let knots = number(before, &["model", "hats", "knots"]).unwrap_or(HATS as i64);
    let (now, model) = (edited.as_item(), ["model", "input", "features"]);
    let found = (
        number(now, &["model", "hats", "knots"]),
        number(now, &["model", "hats", "columns"]),
        number(now, &model),
    );
    let (Some(new), Some(columns), Some(inputs)) = found else { return Ok(()) };
    let Some(width) = new
        .checked_sub(knots)
        .and_then(|more| more.checked_mul(columns))
        .and_then(|more| inputs.checked_add(more))
        .filter(|width| *width > 0)
    else {
        return Ok(());
    };
    put(edited.as_item_mut(), &model.map(str::to_owned), &Value::from(width))
        .map_err(|what| Error::Recipe(format!("--set {}: {what}", one.text)))
}

fn put(item: &mut Item, path: &[String], value: &Value) -> std::result::Result<(), String> {
    let Some((part, rest)) = path.split_first() else {
        *item = Item::Value(value.clone());
        return Ok(());
    };
    if let Some(i) = index(part) {
        if let Some(tables) = item.as_array_of_tables_mut() {
            let len = tables.len();
            let table = tables.get_mut(i).ok_or_else(|| past(part, len))?;
            let key = rest.first().ok_or("names a whole table; name one of its keys")?;
            return put(table.entry(key).or_insert(empty()), &rest[1..], value);
        }
        let array = item.as_array_mut().ok_or_else(|| format!("{part}: there is no array"))?;
        let len = array.len();
        let slot = array.get_mut(i).ok_or_else(|| past(part, len))?;
        return put_value(slot, rest, value);
    }
    if item.is_none() {
        *item = empty();
    }
    // `optimizer = "adam"` gives way to `{ adam = { learning_rate = ... } }`.
    if item.as_str().is_some() {
        *item = empty();
    }
    let table =
        item.as_table_like_mut().ok_or_else(|| format!("{part}: what holds it is no table"))?;
    if rest.is_empty() {
        let mut value = value.clone();
        if let Some(old) = table.get(part).and_then(Item::as_value) {
            // Keeps the user's comment after it.
            *value.decor_mut() = old.decor().clone();
        }
        table.insert(part, Item::Value(value));
        return Ok(());
    }
    if table.get(part).is_none() {
        table.insert(part, empty());
    }
    let child = table.get_mut(part).ok_or_else(|| format!("{part} cannot be set"))?;
    put(child, rest, value)
}

/// [`put`] below a value of an array, which is no item.
fn put_value(slot: &mut Value, path: &[String], value: &Value) -> std::result::Result<(), String> {
    let mut item = Item::Value(slot.clone());
    put(&mut item, path, value)?;
    *slot = item.into_value().map_err(|_| "the value cannot be set".to_string())?;
    Ok(())
}

fn past(part: &str, len: usize) -> String {
    format!("{part} is beyond the array, which has {len} entries")
}

fn empty() -> Item {
    Item::Value(Value::InlineTable(InlineTable::new()))
}

/// Replaces the named files and folders of `[batch]` by where they were found.
pub(crate) fn set_paths(document: &mut DocumentMut, found: &[(String, String)]) {
    if let Some(model) = document.get_mut("model").and_then(Item::as_table_like_mut)
        && let Some(from) = model.get_mut("from")
    {
        replace(from, found);
    }
    let Some(batch) = document.get_mut("batch").and_then(Item::as_table_like_mut) else { return };
    for section in ["data", "validation"] {
        if let Some(item) = batch.get_mut(section) {
            replace(item, found);
        }
    }
}

/// Makes one of several folds of the training data (`"2/5"`) the validation data, and the others the training data. False where
/// there are no data to cut.
pub(crate) fn set_fold(document: &mut DocumentMut, fold: &str) -> bool {
    let Some(batch) = document.get_mut("batch").and_then(Item::as_table_like_mut) else {
        return false;
    };
    let Some(data) = batch.get("data").cloned() else { return false };
    for (key, subset) in [("data", "training"), ("validation", "validation")] {
        let mut side = data.clone();
        let Some(kind) = side.as_table_like_mut().and_then(|t| t.iter_mut().next()) else {
            return false;
        };
        let Some(options) = kind.1.as_table_like_mut() else { return false };
        options.insert("validation_split", Item::Value(Value::from(fold)));
        options.insert("subset", Item::Value(Value::from(subset)));
        batch.insert(key, side);
    }
    true
}

/// Says where the paths of a stream's images start.
pub(crate) fn set_image_folder(document: &mut DocumentMut, folder: &str) {
    if let Some(stream) = document.get_mut("stream").and_then(Item::as_table_like_mut) {
        stream.insert("image_folder", Item::Value(Value::from(folder)));
    }
}

/// Says where the sounds are that records name.
pub(crate) fn set_sound_folder(document: &mut DocumentMut, folder: &str) {
    let online = document.get_mut("online").and_then(Item::as_table_like_mut);
    let corrections = online.and_then(|online| online.get_mut("corrections"));
    if let Some(corrections) = corrections.and_then(Item::as_table_like_mut) {
        corrections.insert("sound_folder", Item::Value(Value::from(folder)));
    }
}

fn replace(item: &mut Item, found: &[(String, String)]) {
    let Some(table) = item.as_table_like_mut() else { return };
    let keys: Vec<String> = table.iter().map(|(k, _)| k.to_string()).collect();
    for key in keys {
        let Some(child) = table.get_mut(&key) else { continue };
        // Only keys that hold files; a `subset` may have the name of a folder.
        const FILES: [&str; 9] =
            ["path", "images", "labels", "x", "y", "source", "target", "run", "safetensors"];
        let is_file = FILES.contains(&key.as_str());
        let new = child.as_str().and_then(|s| found.iter().find(|(name, _)| name == s));
        match new {
            Some((_, path)) if is_file => {
                let mut value = Value::from(path.as_str());
                if let Some(old) = child.as_value() {
                    *value.decor_mut() = old.decor().clone();
                }
                *child = Item::Value(value);
            }
            _ => replace(child, found),
        }
    }
}

/// The keys with other values in one document than in the other, in their order.
pub(crate) fn differences(ours: &DocumentMut, theirs: &DocumentMut) -> Vec<String> {
    let (ours, theirs) = (values(ours.as_item()), values(theirs.as_item()));
    let changed = ours.iter().filter(|(key, value)| theirs.get(*key) != Some(value));
    let gone = theirs.keys().filter(|key| !ours.contains_key(*key));
    changed.map(|(key, _)| key).chain(gone).cloned().collect()
}

/// All keys as `a.b[2].c` with their values as text.
fn values(item: &Item) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    collect(item, "", &mut all);
    all
}

fn collect(item: &Item, key: &str, all: &mut BTreeMap<String, String>) {
    if item.as_inline_table().is_some_and(InlineTable::is_empty) {
        all.insert(key.to_owned(), "{}".to_owned());
    } else if let Some(table) = item.as_table_like() {
        for (name, child) in table.iter() {
            let key = if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
            collect(child, &key, all);
        }
    } else if let Some(tables) = item.as_array_of_tables() {
        for (i, table) in tables.iter().enumerate() {
            collect(&Item::Table(table.clone()), &format!("{key}[{i}]"), all);
        }
    } else if let Some(array) = item.as_array() {
        for (i, value) in array.iter().enumerate() {
            collect(&Item::Value(value.clone()), &format!("{key}[{i}]"), all);
        }
    } else if let Some(value) = item.as_value() {
        let mut value = value.clone();
        value.decor_mut().clear();
        all.insert(key.to_owned(), value.to_string().trim().to_owned());
    }
}
