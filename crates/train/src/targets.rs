//! Whether labels and targets are such that the model and the loss can learn them, or be measured by them.

use tidemill_engine::data::{Batch, Dataset, FillCost, LabelKind};
use tidemill_engine::fields::Truth;
use tidemill_engine::nn::LossSpec;
use tidemill_recipe::{RecipeFile, engine_spec};

use crate::doctor::Finding;

/// How far the sum of probabilities may be from 1: those that were stored in 16 bits are rounded.
const ROUNDED: f32 = 0.01;

/// Whether each label is one that the model has an output for.
pub(crate) fn check_range(file: &RecipeFile, key: &str, set: &dyn Dataset) -> Option<Finding> {
    let classes = engine_spec(file, None).classes()?;
    let index = (0..set.len()).find(|&i| set.class(i).is_some_and(|c| c as usize >= classes))?;
    let class = set.class(index)?;
    let what = format!(
        "{} has the label {class}, and the model's outputs are for the classes 0 to {}",
        set.describe(index),
        classes - 1
    );
    Some(Finding::error(key, what, "the last layer needs one unit for each class"))
}

/// Whether each target is one that the loss is defined for; of samples in memory.
pub(crate) fn check_targets(file: &RecipeFile, key: &str, set: &dyn Dataset) -> Option<Finding> {
    let loss = &file.recipe.training.loss;
    if !loss.refuses_some() {
        return None;
    }
    first_wrong(key, set, |values| {
        let refused = |t: &f32| Some((*t, loss.refusal(f64::from(*t))?));
        let (target, help) = values.iter().find_map(refused)?;
        Some((format!("the target {target}"), help))
    })
}

/// Whether each row of targets has the sum 1, where the loss takes probabilities of the classes; of samples in memory.
pub(crate) fn check_sums(file: &RecipeFile, key: &str, set: &dyn Dataset) -> Option<Finding> {
    if !matches!(file.recipe.training.loss, LossSpec::CategoricalCrossentropy { .. }) {
        return None;
    }
    first_wrong(key, set, |values| {
        let sum: f32 = values.iter().sum();
        let help = "the loss categorical_crossentropy takes one-hot rows, or other probabilities of the classes, whose sum is 1; \
                    where several classes may be true, take binary_crossentropy";
        let wrong = (sum - 1.0).abs() > ROUNDED;
        wrong.then(|| (format!("targets whose sum is {sum}"), help.to_owned()))
    })
}

/// The first sample that counts and whose targets are wrong: `wrong` says what it has, and what to do.
fn first_wrong(
    key: &str,
    set: &dyn Dataset,
    wrong: impl Fn(&[f32]) -> Option<(String, String)>,
) -> Option<Finding> {
    let is_values = matches!(set.label_kind(), LabelKind::Values { .. });
    if !is_values || set.fill_cost() == FillCost::Decode {
        return None;
    }
    let mut one = Batch::new(set.info().signature.clone());
    one.resize(1);
    for index in 0..set.len() {
        one.weights[0] = 1.0;
        set.fill(index, &mut one.row_mut(0)).ok()?;
        if let Truth::Values(values) = one.truth(0)
            && let Some((what, help)) = wrong(values)
            && one.weights[0] != 0.0
        {
            return Some(Finding::error(key, format!("{} has {what}", set.describe(index)), &help));
        }
    }
    None
}
