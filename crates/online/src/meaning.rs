//! Whether a recipe means the columns and labels that a checkpoint has learned.

use tidemill_engine::data::Known;
use tidemill_engine::error::Result;
use tidemill_recipe::RecipeFile;

/// A key of the recipe, and what it says in the old and the new one.
type Key = (&'static str, String, String);

/// Compares `new` with the recipe that `known` was learned with: what was learned of columns and
/// labels stays as it is, and a key that would mean another thing has no effect. `same` says whether
/// the stream is the same, too.
///
/// # Errors
/// For the first key that differs.
pub(crate) fn check(old: &RecipeFile, new: &RecipeFile, known: &Known, same: bool) -> Result<()> {
    if known.schema.is_none() && known.encoder.is_none() && known.labels.is_none() {
        return Ok(());
    }
    let found =
        keys(old, new).into_iter().chain(same.then(|| layout(old, new)).into_iter().flatten());
    for (key, before, after) in found {
        if before == after || (key == "stream.label" && is_label(known, new)) {
            continue;
        }
        let what = format!(
            "is {after}, and the run has learned with {before}; what it knows of columns and labels \
             stays: leave the key as it was, or start a new run with --out"
        );
        return Err(new.error_at(key, &what));
    }
    Ok(())
}

/// Whether the recipe names the label that was found without its help.
fn is_label(known: &Known, new: &RecipeFile) -> bool {
    let found = known.schema.as_ref().and_then(|schema| schema.label.as_ref());
    found.is_some() && found == new.recipe.stream.label.as_ref()
}

/// What decides the meaning of columns and labels.
fn keys(old: &RecipeFile, new: &RecipeFile) -> Vec<Key> {
    macro_rules! keys {
        ($($key:literal $($field:ident).+),* $(,)?) => {
            vec![$((
                $key,
                shown(&old.recipe.$($field).+),
                shown(&new.recipe.$($field).+),
            )),*]
        };
    }
    keys![
        "stream.label" stream.label,
        "stream.label_separator" stream.label_separator,
        "stream.labels" stream.labels,
        "stream.id" stream.id,
        "stream.weight" stream.weight,
        "stream.vector" stream.vector,
        "stream.image" stream.image,
        "stream.columns" stream.columns,
        "stream.ignore" stream.ignore,
        "stream.text" stream.text,
        "stream.missing" stream.missing,
        "online.classes" online.classes,
        "online.scale_targets" online.scale_targets,
        "online.features" online.features,
    ]
}

/// How the records of a stream are written.
fn layout(old: &RecipeFile, new: &RecipeFile) -> Vec<Key> {
    let (old, new) = (&old.recipe.stream, &new.recipe.stream);
    vec![
        ("stream.format", shown(&old.format), shown(&new.format)),
        ("stream.delimiter", shown(&old.delimiter), shown(&new.delimiter)),
        ("stream.header", shown(&old.header), shown(&new.header)),
    ]
}

/// A value for a message.
fn shown(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    match text.strip_prefix("Some(").and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => inner.to_owned(),
        None if text == "None" => "not given".into(),
        None => text,
    }
}
