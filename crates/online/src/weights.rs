//! The weights of classes on a stream, by their names.

use std::collections::BTreeMap;

use tidemill_recipe::{ClassWeight, RecipeFile};

/// What each class weighs. Classes get their numbers as they come, so the weights are looked up when a
/// class comes for the first time.
#[derive(Default)]
pub(crate) struct ClassWeights {
    by_name: BTreeMap<String, f64>,
    by_class: Vec<Option<f32>>,
}

impl ClassWeights {
    pub(crate) fn of_recipe(file: &RecipeFile) -> ClassWeights {
        match &file.recipe.training.class_weight {
            Some(ClassWeight::Each(weights)) => {
                ClassWeights { by_name: weights.clone(), by_class: Vec::new() }
            }
            Some(ClassWeight::Named(_)) | None => ClassWeights::default(),
        }
    }

    /// The weight of a class, by its name or else its number; 1 if the recipe has none for it.
    pub(crate) fn of(&mut self, class: usize, names: impl FnOnce() -> Vec<String>) -> f32 {
        if self.by_name.is_empty() {
            return 1.0;
        }
        if self.by_class.len() <= class {
            self.by_class.resize(class + 1, None);
        }
        let ClassWeights { by_name, by_class } = self;
        *by_class[class].get_or_insert_with(|| {
            let names = names();
            let name = names.get(class).cloned().unwrap_or_else(|| class.to_string());
            by_name.get(&name).map_or(1.0, |&weight| weight as f32)
        })
    }

    /// The classes of the recipe that are none of these.
    pub(crate) fn unknown(&self, names: &[String]) -> Vec<&str> {
        let known = |name: &&String| names.is_empty() || names.contains(name);
        self.by_name.keys().filter(|name| !known(name)).map(String::as_str).collect()
    }
}
