//! A recipe for a folder of texts.

use std::path::Path;

use tidemill_engine::data::text::words::words;
use tidemill_engine::error::{Error, Result};

use super::text::{argument, count, few, plural, quoted};
use super::tree::Tree;
use super::{Data, Draft, no_table};

/// Texts that are read to see how long they are.
const PROBES: usize = 500;
/// Words of a text that the model reads at most.
const MOST_WORDS: usize = 512;
/// Rows of the table of words.
const WORDS: usize = 65_536;

pub(super) fn draft(data: &Data, out: &Path) -> Result<Draft> {
    let mut names = Vec::new();
    list(&data.path, "", &mut names)?;
    let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut tree = Tree::of(&data.name, "texts", &borrowed)?;
    let empty = tree.add_empty(&data.path);
    let length = length(&data.path, &names)?;
    let classes: Vec<String> = tree.classes.keys().cloned().collect();
    let mut found = vec![format!(
        "Found in {}: {} of {} ({}), 95 of 100 with at most {}.",
        data.name,
        plural(tree.num_files(), "text"),
        plural(classes.len(), "class"),
        few(&classes),
        plural(length, "word")
    )];
    found.push(match &tree.split {
        Some((_, part)) => {
            format!(
                "The {} in the folder {part} are for validation.",
                plural(tree.validation, "text")
            )
        }
        None => "A fifth of the texts is kept for validation.".into(),
    });
    found.extend(super::text::empty(&empty));
    let recipe = argument(&out.display().to_string());
    let next = vec![format!("tidemill train {recipe}"), format!("tidemill doctor {recipe}")];
    Ok(Draft {
        found,
        body: body(data, &tree, classes.len(), length),
        next,
        one_for_both: no_table(),
    })
}

/// The names of the files below a folder, with `/`; hidden ones are left out.
fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::read(folder, e))?;
    let mut entries: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        match path.is_dir() {
            true => list(&path, &format!("{prefix}{name}/"), names)?,
            false => names.push(format!("{prefix}{name}")),
        }
    }
    Ok(())
}

/// The words that the model reads of a text: as many as 95 of 100 texts have, within bounds.
fn length(root: &Path, names: &[String]) -> Result<usize> {
    let step = names.len().div_ceil(PROBES).max(1);
    let mut lengths = Vec::new();
    for name in names.iter().step_by(step) {
        let path = root.join(name);
        let bytes = std::fs::read(&path).map_err(|e| Error::read(&path, e))?;
        lengths.push(words(&String::from_utf8_lossy(&bytes)).count());
    }
    lengths.sort_unstable();
    let most = lengths.get(lengths.len() * 95 / 100).copied().unwrap_or(0);
    Ok(most.clamp(8, MOST_WORDS))
}

fn body(data: &Data, tree: &Tree, classes: usize, length: usize) -> String {
    let source = |part: Option<&str>, more: &str| {
        let path = quoted(&tree.folder(&data.name, part));
        format!("{{ text_directory = {{ path = {path}{more} }} }}")
    };
    let (train, validation) = match &tree.split {
        Some((train, validation)) => (source(Some(train), ""), source(Some(validation), "")),
        None => {
            let part = |side| format!(", validation_split = 0.2, subset = \"{side}\", seed = 1");
            (source(None, &part("training")), source(None, &part("validation")))
        }
    };
    format!(
        r#"[model]
# The first {length} words of a text, each one of {words} ids by its hash. Longer texts are cut.
input  = {{ tokens = {{ length = {length}, vocabulary = {WORDS} }} }}
layers = [
  {{ embedding = {{ vocabulary = {WORDS}, units = 64 }} }}, # 64 numbers for each word
  {{ global_avg_pool = {{}} }},                             # their mean over the text
  {{ dense = {{ units = {classes} }} }}, # one output per class; the loss takes logits, so no softmax
]

[training]
loss      = "sparse_categorical_crossentropy"
# The words that a batch has not are left alone. In batches the rate falls to 0; on a stream it stays.
optimizer = {{ rmsprop = {{ learning_rate = {{ cosine = {{ start = 5e-3 }} }}, rho = 0.999, bias_correction = true, lazy = true }} }}
seed      = 1

[batch]
data       = {train}
validation = {validation}
batch_size = 32
epochs     = 15

[stop]
# Stop when the validation loss has not improved for 3 epochs, and keep the best weights.
patience = {{ epochs = 3, restore_best = true }}
"#,
        words = count(WORDS)
    )
}
